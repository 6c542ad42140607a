"""The mapping file: which of a harness's files are which source, seed, step and model.

    model: qwen2.5-vl-7b
    runs:
      - {path: base/}
      - {path: ckpt-500/, source: Jigsaw, step: 500}

A run without a source is the base. Paths start at the mapping file's folder and may be globs;
`{path: "ckpt-*/", source: Jigsaw}` is one run for each checkpoint.
"""

import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from transferscope.errors import DataError
from transferscope.predictions import some
from transferscope.readers.harness.merging import RunPath
from transferscope.readers.spelling import LONGEST_NAME, check_name
from transferscope.study.file import nearest
from transferscope.tasks.checkpoints import step_of
from transferscope.tasks.naming import BASES
from transferscope.tasks.untrusted import load_yaml, shown

MOST_MATCHES = 1_000
"""Most files and folders that one glob may match."""


def _name(value: Any) -> Any:
    """A name, or a number as one, such as a seed."""
    text = str(value) if type(value) is int else value
    if isinstance(text, str):
        check_name(text, "the name")
    return text


def _source(value: Any) -> Any:
    """A source; None for a word that means the base."""
    return None if isinstance(value, str) and value.strip().lower() in BASES else _name(value)


def _step(value: Any) -> Any:
    """A number of steps, also in a name such as `checkpoint-500`."""
    found = step_of(value) if isinstance(value, str) else None
    return value if found is None else found


def _location(value: Any) -> Any:
    """A path, which may be longer than a name."""
    _name(value[:LONGEST_NAME] if isinstance(value, str) else value)
    return str(value) if type(value) is int else value


Location = Annotated[str, BeforeValidator(_location), Field(max_length=4096)]
Name = Annotated[str, BeforeValidator(_name)]
Source = Annotated[str | None, BeforeValidator(_source)]
Step = Annotated[int, Field(strict=True, ge=0, lt=10**15), BeforeValidator(_step)]


class MappedRun(BaseModel, extra="forbid", frozen=True):
    """One evaluation."""

    path: Location
    """A file, a folder whose files are recognized by their content, or a glob."""
    source: Source = None
    """The task finetuned on; None for the base."""
    seed: Name | None = None
    """The replicate; a base without a seed serves all seeds."""
    model: Name | None = None
    """The base model, if the mapping does not name one for all runs."""
    step: Step | None = None
    """The checkpoint's training step; a glob takes it from the names of its matches."""
    metric: Name | None = None
    """The harness's metric to take, in place of the mapping's."""


class MappingFile(BaseModel, extra="forbid", frozen=True):
    """A mapping file."""

    model: Name | None = None
    """The base model of all runs."""
    gold: Name | None = None
    """BLINK's file of right answers; flat prediction files need it."""
    metric: Name | None = None
    """The harness's metric to take, such as `acc_norm`, in tasks that have it."""
    replies: Literal["ours", "harness"] = "ours"
    """Whose reading of a reply counts if both found an option."""
    runs: Annotated[tuple[MappedRun, ...], Field(min_length=1, max_length=10_000)]


def read_mapping(path: Path) -> MappingFile:
    """The mapping in a file; a `DataError` names the file, the run and the key."""
    file = shown(path.name)
    try:
        data = load_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None
    if not isinstance(data, dict):
        raise DataError(f"{file}: must have keys such as model and runs")
    try:
        mapping = MappingFile.model_validate(data)
    except ValidationError as error:
        raise DataError(f"{file}: {_explain(error)}") from None
    for problem in _problems(mapping):
        raise DataError(f"{file}: {problem}")
    return mapping


def _explain(error: ValidationError) -> str:
    found: list[Any] = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    parts = list(first["loc"])
    in_run = len(parts) > 1 and parts[0] == "runs" and isinstance(parts[1], int)
    run = [f"run {parts[1] + 1}"] if in_run else []
    if first["type"] == "extra_forbidden":
        keys = list((MappedRun if in_run else MappingFile).model_fields)
        return ": ".join([*run, f"unknown key {str(parts[-1])[:60]!r}{nearest(parts[-1], keys)}"])
    where = ": ".join([*run, *map(str, parts[2:])]) if run else ".".join(map(str, parts))
    if first["type"] == "missing":
        return f"{where} is missing"
    message, given = first["msg"].removeprefix("Value error, "), first["input"]
    given = repr(given)[:60] if isinstance(given, str | int | float | None) else "something else"
    return f"{where}: {message[0].lower()}{message[1:]}; found {given}"


def _problems(mapping: MappingFile) -> Iterator[str]:
    for number, run in enumerate(mapping.runs, 1):
        where = f"run {number} ({shown(run.path)})"
        if run.model and mapping.model and run.model != mapping.model:
            yield f"{where}: model is {run.model!r}, but the file's is {mapping.model!r}; keep one"
        if run.step is not None and run.source is None:
            yield f"{where}: a step without a source; name the task finetuned on as `source`"
    based = {run.model or mapping.model for run in mapping.runs if run.source is None}
    for model in (run.model or mapping.model for run in mapping.runs):
        if model not in based:
            of = f" of {model!r}" if model else ""
            yield f"no run is the base{of}; give one without a source"
    if all(run.source is None for run in mapping.runs):
        yield "no run has a source; there is nothing to compare the base with"


# Paths and globs


def expanded(
    runs: Sequence[MappedRun], folder: Path
) -> Iterator[tuple[MappedRun, list[RunPath], list[str]]]:
    """The runs with their paths and notes; a glob over checkpoints is one run for each.

    Where nothing matches a path, the message names the nearest existing one.
    """
    for entry, run in enumerate(runs):
        if (folder / run.path).exists():
            yield run, [RunPath(folder / run.path, run.path, entry)], []
            continue
        if not glob.has_magic(run.path):
            raise DataError(f"{folder / run.path}: no such file or folder{_near(run, folder)}")
        found = glob.iglob(run.path, root_dir=folder, recursive=True)
        names = sorted(itertools.islice(found, MOST_MATCHES + 1), key=natural)
        if not names:
            raise DataError(f"{shown(run.path)}: matches no file or folder{_near(run, folder)}")
        if len(names) > MOST_MATCHES:
            raise DataError(f"{shown(run.path)}: must match at most {MOST_MATCHES:,} files")
        notes = [f"{shown(run.path)}: matches {len(names)}: {some(names, 10)}"]
        steps = {name: step_of(name) for name in names}
        if run.source is None or run.step is not None or set(steps.values()) == {None}:
            steps = dict.fromkeys(names, run.step)
        elif odd := [name for name in names if steps[name] is None]:
            notes.append(f"{some(odd)}: left out, as the name has no step; list it by itself")
            steps = {name: step for name, step in steps.items() if step is not None}
        for step in dict.fromkeys(steps.values()):
            paths = [RunPath(folder / name, name, entry) for name in steps if steps[name] == step]
            yield run.model_copy(update={"step": step}), paths, notes
            notes = []


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts `checkpoint-90` before `checkpoint-500`."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _near(run: MappedRun, folder: Path) -> str:
    """`; the nearest is 'logs/base'`, from the deepest existing folder of the path."""
    fixed = Path(run.path)
    while glob.has_magic(str(fixed)) or not (folder / fixed).is_dir():
        if fixed == fixed.parent:
            return ""
        fixed = fixed.parent
    with os.scandir(folder / fixed) as entries:
        few = itertools.islice(entries, 10_000)
        names = [os.path.normpath(fixed / entry.name) for entry in few]
    near = get_close_matches(os.path.normpath(run.path), names, n=1, cutoff=0.8)
    return f"; the nearest is {near[0]!r}" if near else ""
