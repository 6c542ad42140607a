"""The files that a comparison is given, read as rows with a short name for each run.

In:   BASE and RUN..., as a person types them: paths, globs, NAME=PATH.
Out:  a `Read`: the rows of base and runs, and what each run is called.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import NamedTuple

import polars as pl

from transferscope.errors import DataError
from transferscope.predictions import check_predictions, shown
from transferscope.readers import read_inputs
from transferscope.readers.files import is_mapping
from transferscope.readers.harness.evaluations import Evaluated, evaluate, read_evaluations
from transferscope.readers.harness.mapping import MappedRun, MappingFile
from transferscope.tasks.checkpoints import STEP, checkpoint, step_of

GOLD = "val_answers.json"
"""BLINK's file of right answers, which its flat prediction files need."""
_SEED = re.compile(r"(?<![a-z])seed[-_=]?(?P<seed>[0-9]+)", re.I)
_TIME = re.compile(
    r"(?<![0-9])(?:[0-9]{2,4}-[0-9]{2}-[0-9]{2,4}(?:[T_-][0-9]{2}[-:][0-9]{2}(?:[-:][0-9]{2})?"
    r"(?:\.[0-9]+)?)?|20[0-9]{6}_[0-9]{4,6})(?![0-9])"
)
"""When a harness ran: it tells runs apart only where nothing else does."""
_TOKEN = re.compile(r"[^/\\_\s]+[/\\_\s]*")
_EDGE = "/\\_-. "
_ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".xlsx", ".eval")
_TABLES = (".csv", ".parquet", ".jsonl")
_LONG = 24
"""Characters from which a single run's name is shortened to its step."""


class Given(NamedTuple):
    """One run as it was named."""

    name: str
    path: str
    seed: str | None


class Named(NamedTuple):
    """What a run is called."""

    name: str
    finetune: str
    step: int | None


class Read(NamedTuple):
    """Rows of base and runs."""

    evaluated: Evaluated
    base: str
    names: Mapping[str, Named]
    """By the source that the run is in the rows; in the order in which runs are shown."""
    notes: tuple[str, ...]


def read(
    base: str, runs: Sequence[str], gold: str | None = None, metric: str | None = None
) -> Read:
    """The base and the runs of a comparison.

    Args:
        base: a file or folder of a harness; without runs a table, study folder or mapping file that
            holds base and runs.
        runs: files or folders, globs, each with or without `NAME=` before it.
        gold: BLINK's file of right answers.
        metric: the harness's metric to take, in tasks that have it.

    Raises:
        DataError: nothing is there, or a file is not what it must be.
    """
    if not runs:
        return _whole(base)
    base_name, base_path = _one(base)
    given, notes = _given(runs, [base_path, *([gold] if gold else [])])
    paths = [base_path, *(each.path for each in given)]
    folder = Path(os.path.commonpath([os.path.abspath(os.path.dirname(p) or ".") for p in paths]))
    mapped = [MappedRun(path=_within(base_path, folder))]
    for name, path, seed in given:
        mapped.append(MappedRun(path=_within(path, folder), source=name, seed=seed))
        if mapped[-1].source is None:  # some names mean the base in a mapping
            raise DataError(
                f"{shown(path)}: {name!r} is a name for the base; name the run: NAME=PATH"
            )
    answers = None if gold is None else os.path.abspath(gold)
    mapping = MappingFile(gold=answers, metric=metric, runs=tuple(mapped))
    try:
        evaluated = evaluate(mapping, folder, "base")
    except DataError as error:
        hint = _gold_hint(str(error), base_path, gold)
        if any(each.lower().endswith(_TABLES) for each in paths):
            hint += "; a table of your own holds base (`source` empty) and runs: compare TABLE"
        raise DataError(f"{error}{hint}") from None
    known = {each.name for each in given}
    sources = _sources(evaluated)
    names = {
        source: _named(source if source in known else checkpoint(source).task) for source in sources
    }
    return Read(evaluated, base_name or "base", _ordered(names), tuple(notes))


def _whole(place: str) -> Read:
    """A single input that holds base and runs."""
    path = Path(place).expanduser()
    if is_mapping(path):
        evaluated = read_evaluations(path, None)
    else:
        try:
            (one,) = read_inputs([path])
        except DataError as error:
            raise DataError(f"{error}. To compare runs: compare BASE RUN...") from None
        if one.table.kind == "pgf table":
            raise DataError(f"{one.file}: PGF values, expected accuracies or answers to items")
        parts = [
            {key: str(part[key]) for key in ("file", "sha256", "kind")} for part in one.entries
        ]
        kind = one.table.kind == "predictions"
        evaluated = Evaluated(kind, one.table.rows, list(one.notes), parts, {})
    if len(models := evaluated.rows["model"].unique(maintain_order=True).to_list()) > 1:
        raise DataError(
            f"{shown(path.name)}: holds {len(models)} models ({models[0]!r}, {models[1]!r}, ..), "
            f"expected one base and its runs; use `transferscope analyze` for several"
        )
    names = {source: _named(source) for source in _sources(evaluated)}
    if not names:
        raise DataError(f"{shown(path.name)}: only base rows, expected runs: compare BASE RUN...")
    return Read(evaluated, "base", _ordered(names), ())


def is_comparison(path: Path, rows: pl.DataFrame) -> bool:
    """Whether a mapping file's runs are steps of one finetune, or of none that is a target.

    Then there is no transfer between tasks to analyze.
    """
    if not is_mapping(path) or rows["model"].n_unique() > 1:
        return False
    finetunes = {checkpoint(source).task for source in rows["source"].drop_nulls().unique()}
    return len(finetunes) == 1 or not finetunes & set(rows["target"].unique())


def checked(evaluated: Evaluated, label: str) -> Evaluated:
    """The rows as a predictions table; else with `accuracy`, also where the file has counts."""
    rows = evaluated.rows
    if evaluated.items:
        rows = check_predictions(rows, label)
    elif "accuracy" not in rows.columns:
        rows = rows.with_columns(accuracy=pl.col("correct") / pl.col("total"))
    return evaluated._replace(rows=rows)


def _one(text: str) -> tuple[str | None, str]:
    found = _expanded(text)
    if len(found) > 1:
        raise DataError(f"{text}: matches {len(found)} files, expected one as the base")
    return found[0]


def _expanded(text: str) -> list[tuple[str | None, str]]:
    """(name, path) of what was typed; a path that exists may hold an equals sign."""
    name, equals, path = text.partition("=")
    if not equals or os.path.exists(text):
        name, path = "", text
    path = os.path.expanduser(path)
    if os.path.exists(path):
        return [(name or None, path)]
    if not has_magic(path):
        raise DataError(f"{shown(path)}: no such file or folder")
    found = sorted(glob(path), key=_natural)
    if not found:
        raise DataError(f"{shown(path)}: no file or folder matches")
    return [(name or None, each) for each in found]


def _given(runs: Sequence[str], others: Sequence[str]) -> tuple[list[Given], list[str]]:
    """The runs by name; a glob that also finds the base or the right answers leaves those out."""
    taken = {os.path.realpath(path): path for path in others}
    found: list[tuple[str | None, str]] = []
    notes = []
    for name, path in (pair for text in runs for pair in _expanded(text)):
        real = os.path.realpath(path)
        if name is None and real in taken:
            notes.append(f"{shown(path)} is given as {taken[real]} too, and is no run")
        elif (name, path) not in found:
            found.append((name, path))
    if not found:
        raise DataError("no run beside the base; give at least one: compare BASE RUN...")
    bare = short_names([path for name, path in found if name is None])
    often = [name for name, _ in found]
    given = []
    for name, path in found:
        called = name or bare[path]
        step = step_of(path)
        if name and often.count(name) > 1 and step_of(name) is None and step is not None:
            called = f"{name} @ {step}"
        seed = _SEED.search(path)
        given.append(Given(called, path, seed["seed"] if seed else None))
    return given, notes


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Each path by what tells it from the others: neither seeds, which are averaged, nor times.

    `val/qwen_lora_checkpoint-100.json` and `val/qwen_lora_checkpoint-784.json` are `checkpoint-100`
    and `checkpoint-784`.
    """
    plain = {path: _SEED.sub("", _stem(path)) for path in paths}
    timeless = {path: _TIME.sub("", text) for path, text in plain.items()}
    if len(set(timeless.values())) == len(set(plain.values())):
        plain = timeless
    unique = list(dict.fromkeys(plain.values()))
    if len(unique) == 1:
        last = re.split(r"[/\\]", unique[0].rstrip(_EDGE))[-1].strip(_EDGE) or "run"
        step = STEP.search(last)
        return dict.fromkeys(paths, step[0] if step and len(last) > _LONG else last)
    tokens = [_TOKEN.findall(text) for text in unique]
    bare = [[token.rstrip(_EDGE) for token in each] for each in tokens]
    first = _shared(bare)
    last = _shared([each[first:][::-1] for each in bare])
    short = [
        "".join(each[first : len(each) - last]).strip(_EDGE).replace("\\", "/") for each in tokens
    ]
    if len(set(short)) < len(short) or not all(short):
        short = [os.path.basename(text.rstrip("/")) or text for text in unique]
    if len(set(short)) < len(short):
        short = unique
    named = dict(zip(unique, short, strict=True))
    return {path: named[plain[path]] for path in paths}


def _shared(lists: list[list[str]]) -> int:
    """How many first entries all lists have in common."""
    count = 0
    for entries in zip(*lists, strict=False):
        if len(set(entries)) > 1:
            break
        count += 1
    return count


def _stem(path: str) -> str:
    path = os.path.normpath(path)
    root, ending = os.path.splitext(path)
    return root if ending.lower() in _ENDINGS else path


def _named(name: str) -> Named:
    """A run's finetune and step, from its name."""
    task, step = checkpoint(name)
    if step is None and name.isdecimal() and len(name) < 16:
        return Named(name, "", int(name))
    if step is None:
        task, step = STEP.sub("", name).strip(_EDGE + "@"), step_of(name)
    return Named(name, task if step is not None else name, step)


def _sources(evaluated: Evaluated) -> list[str]:
    return evaluated.rows["source"].drop_nulls().unique(maintain_order=True).to_list()


def _ordered(names: Mapping[str, Named]) -> dict[str, Named]:
    """Finetunes as they first appear, each by its steps."""
    first = list(dict.fromkeys(each.finetune for each in names.values()))
    order = sorted(
        names.items(),
        key=lambda pair: (first.index(pair[1].finetune), pair[1].step is None, pair[1].step or 0),
    )
    return dict(order)


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which `checkpoint-500` stands before `checkpoint-1000`."""
    parts: Iterable[str] = re.split(r"([0-9]+)", text)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _within(path: str, folder: Path) -> str:
    return os.path.relpath(path, folder)


def _gold_hint(message: str, base: str, gold: str | None) -> str:
    """Where BLINK's right answers are, if that is what is missing."""
    if gold is not None or "right answers" not in message:
        return ""
    here = Path(base).absolute()
    for folder in [here, *list(here.parents)[:3]]:
        if folder.is_dir() and (folder / GOLD).is_file():
            return f"; add --gold {os.path.relpath(folder / GOLD)}"
    return f"; add --gold FILE, where FILE is BLINK's {GOLD}"
