"""The mapping file: which of a harness's files are which source, seed, step and model.

    model: qwen2.5-vl-7b
    runs:
      - {path: base/}
      - {path: ckpt-500/, source: Jigsaw, step: 500}

A run without a source is the base. Paths are taken from the mapping file's folder and may be globs;
`{path: "ckpt-*/", source: Jigsaw}` is one run for each checkpoint.

In:   a YAML file.
Out:  a `Mapping`; unknown keys are errors that name the nearest valid one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from transferscope.errors import DataError
from transferscope.predictions import shown
from transferscope.readers.formats import check_name
from transferscope.readers.spelling import BASES
from transferscope.study.file import nearest
from transferscope.tasks.checkpoints import Checkpoint, step_of
from transferscope.tasks.untrusted import load_yaml


def _name(value: Any) -> Any:
    """A name, or a number that is one, such as a seed."""
    text = str(value) if type(value) is int else value
    if isinstance(text, str):
        check_name(text, "the name")
    return text


def _source(value: Any) -> Any:
    """A source, or None where the text is a word for the base."""
    return None if isinstance(value, str) and value.strip().lower() in BASES else _name(value)


def _step(value: Any) -> Any:
    """A number of steps, also as a name such as `checkpoint-500`."""
    found = step_of(value) if isinstance(value, str) else None
    return value if found is None else found


def _location(value: Any) -> Any:
    """A path, which may be longer than a name."""
    if isinstance(value, str) and len(value) > 200:
        _name(value[:200])
        return value
    return _name(value)


Location = Annotated[str, BeforeValidator(_location), Field(max_length=4096)]
Name = Annotated[str, BeforeValidator(_name)]
Source = Annotated[str | None, BeforeValidator(_source)]
Step = Annotated[int, Field(strict=True, ge=0, lt=10**15), BeforeValidator(_step)]


class Run(BaseModel):
    """One evaluation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Location
    """A file, or a folder in which the harness's files are found by their content; or a glob."""
    source: Source = None
    """The task finetuned on; None for the base."""
    seed: Name | None = None
    """The replicate; a base without one serves all seeds."""
    model: Name | None = None
    """The base model, where it is not the file's."""
    step: Step | None = None
    """Steps after which the checkpoint was taken; None where there is just one, or where `path` is
    a glob whose matches have steps in their names."""
    metric: Name | None = None
    """The harness's metric to take, where it is not the file's."""

    @property
    def named_source(self) -> str | None:
        """The source's name in the matrix: checkpoints are sources of their own."""
        return None if self.source is None else Checkpoint(self.source, self.step).name


class Mapping(BaseModel):
    """A mapping file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Name | None = None
    """The base model of all runs."""
    gold: Name | None = None
    """BLINK's file of right answers: without it, flat prediction files cannot be judged."""
    metric: Name | None = None
    """The harness's metric to take, such as `acc_norm`, in tasks that have it."""
    replies: Literal["ours", "harness"] = "ours"
    """Whose reading of a reply counts where both found an option."""
    runs: Annotated[tuple[Run, ...], Field(min_length=1, max_length=10_000)]


def read_mapping(path: Path) -> Mapping:
    """The mapping in a file.

    Raises:
        DataError: it is not what it must be; the message names the file, the run and the key.
    """
    file = shown(path.name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    try:
        data = load_yaml(text)
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None
    if not isinstance(data, dict):
        raise DataError(f"{file}: expected keys such as model and runs")
    try:
        mapping = Mapping.model_validate(data)
    except ValidationError as error:
        raise DataError(f"{file}: {_explain(error)}") from None
    for problem in _problems(mapping):
        raise DataError(f"{file}: {problem}")
    return mapping


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong, on one line."""
    found: list[Any] = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    parts = list(first["loc"])
    where = _place(parts)
    if first["type"] == "extra_forbidden":
        keys = list((Run if len(parts) > 1 else Mapping).model_fields)
        inside = f"{_place(parts[:-1])}: " if len(parts) > 1 else ""
        return f"{inside}unknown key {str(parts[-1])[:60]!r}{nearest(parts[-1], keys)}"
    if first["type"] == "missing":
        return f"{where} is missing"
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    given = repr(given)[:60] if isinstance(given, str | int | float | None) else "something else"
    return f"{where}: {message[0].lower()}{message[1:]}; found {given}"


def _place(parts: list[Any]) -> str:
    """`run 2: path` of `("runs", 1, "path")`."""
    if len(parts) > 1 and parts[0] == "runs" and isinstance(parts[1], int):
        return ": ".join([f"run {parts[1] + 1}", *map(str, parts[2:])])
    return ".".join(map(str, parts)) or "the file"


def _problems(mapping: Mapping) -> Iterator[str]:
    """What no single key can know."""
    based: dict[str | None, bool] = {}
    for number, run in enumerate(mapping.runs, 1):
        where = f"run {number} ({shown(run.path)})"
        if run.model and mapping.model and run.model != mapping.model:
            yield f"{where}: model is {run.model!r}, but the file's is {mapping.model!r}; keep one"
        if run.step is not None and run.source is None:
            yield f"{where}: a step without a source; say which task it was finetuned on"
        model = run.model or mapping.model
        based[model] = based.get(model, False) or run.source is None
    for model, base in based.items():
        if not base:
            of = f" of {model!r}" if model else ""
            yield f"no run is the base{of}; give one without a source"
    if all(run.source is None for run in mapping.runs):
        yield "no run has a source; there is nothing to compare the base with"
