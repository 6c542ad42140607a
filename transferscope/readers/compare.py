"""A base and its runs, from files and folders as a person types them, as a comparison.

In:   BASE and RUN...: paths, globs, NAME=PATH; or one table, study folder or mapping file.
Out:  an `analysis.comparison.Comparison`.

Changes are points of accuracy on the items that base and run both answered. One finetune has no
donors, cliques or personas: for a matrix of many finetunes, see `transferscope.analyze`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import glob, has_magic
from itertools import takewhile
from math import inf
from pathlib import Path

import polars as pl

from transferscope.analysis.compared_runs import RunName, compare_runs
from transferscope.analysis.comparison import Comparison
from transferscope.analysis.verdict import MEAN
from transferscope.errors import DataError
from transferscope.readers import PathLike, read_inputs
from transferscope.readers.checks import check_runs
from transferscope.readers.files import is_mapping
from transferscope.readers.harness.evaluations import Evaluated, evaluate, read_evaluations
from transferscope.readers.harness.mapping import MappedRun, MappingFile, natural
from transferscope.selection.decision import decide, gate, limits_of
from transferscope.tasks.checkpoints import SEED, STEP, checkpoint, step_of
from transferscope.tasks.untrusted import shown

GOLD = "val_answers.json"
"""BLINK's file of right answers, which its flat prediction files need."""
_TIME = re.compile(
    r"(?<![0-9])(?:[0-9]{2,4}-[0-9]{2}-[0-9]{2,4}(?:[T_-][0-9]{2}[-:][0-9]{2}(?:[-:][0-9]{2})?"
    r"(?:\.[0-9]+)?)?|20[0-9]{6}_[0-9]{4,6})(?![0-9])"
)
"""When a harness ran: it distinguishes runs only where nothing else does."""
_TOKEN = re.compile(r"[^/\\_\s]+[/\\_\s]*")
_EDGE = "/\\_-. "
_ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".xlsx", ".eval")
_TABLES = (".csv", ".parquet", ".jsonl")
_LONG = 24
"""A single run's name is shortened to its step from so many characters on."""


def compare(
    base: PathLike,
    runs: Sequence[PathLike] | Mapping[str, PathLike] = (),
    *,
    gold: PathLike | None = None,
    metric: str | None = None,
    protect: Sequence[str] = (),
    gain: Sequence[str] = (),
) -> Comparison:
    """Compare runs with their base.

    Args:
        base: a file or folder that an evaluation harness wrote for the base; without runs, a table,
            study folder or mapping file that holds base and runs.
        runs: the same for each run: paths, globs, `NAME=PATH`, or paths by name.
        gold: BLINK's file of right answers, for its flat prediction files.
        metric: the harness's metric to take, such as `acc_norm`, in tasks that have it.
        protect: `TASK:POINTS`, the most that a task may lose; `all` is every task.
        gain: `TASK:POINTS`, the least that a task must gain.

    Raises:
        DataError: a file is missing or damaged, or a condition names an unknown task.
    """
    texts = [f"{n}={os.fspath(p)}" for n, p in runs.items()] if isinstance(runs, Mapping) else runs
    texts, file = [os.fspath(each) for each in texts], os.fspath(base)
    answers = None if gold is None else os.fspath(gold)
    (name, path), *others = _expanded(file) if texts else [(None, file)]
    if others:
        raise DataError(f"{file}: matches {len(others) + 1} files, expected one as the base")
    evaluated = _read_runs(path, texts, answers, metric) if texts else _read_whole(Path(file))
    rows = evaluated.rows
    if "item" not in rows.columns and "accuracy" not in rows.columns:
        rows = rows.with_columns(accuracy=pl.col("correct") / pl.col("total"))
    evaluated = evaluated._replace(rows=rows)
    sources = rows["source"].drop_nulls().unique(maintain_order=True)
    names = _in_order([_run_name(source) for source in sources])
    checks = [
        replace(each, message=_with_names(each.message, names, evaluated))
        for each in check_runs(evaluated)
    ]
    found, shared, base_accuracy = compare_runs(rows, names, checks)
    targets = [t for t in base_accuracy if any(t in run.cells for run in found)]
    if not targets:
        raise DataError("no task is evaluated in both the base and a run")
    if MEAN in targets:
        raise DataError(f"a task is named {MEAN!r}, as the mean over tasks is; rename it")
    conditions = gate(found, limits_of(protect, gain, targets), targets)
    notes = (_with_names(note, names, evaluated) for note in evaluated.notes)
    return Comparison(
        base=name or "base",
        runs=tuple(found),
        targets=tuple(targets),
        shared=tuple(shared),
        base_accuracy=base_accuracy,
        checks=tuple(checks),
        decision=decide(found, checks, conditions),
        gate=tuple(conditions),
        notes=tuple(dict.fromkeys(notes)),
        inputs=tuple(evaluated.inputs),
    )


def is_comparison(path: Path, rows: pl.DataFrame) -> bool:
    """Whether a mapping file's runs are steps of one finetune, or of none that is a target.

    Then there is no transfer between tasks to analyze.
    """
    if not is_mapping(path) or rows["model"].n_unique() > 1:
        return False
    finetunes = {checkpoint(source).task for source in rows["source"].drop_nulls().unique()}
    return len(finetunes) == 1 or not finetunes & set(rows["target"].unique())


def _in_order(names: Sequence[RunName]) -> dict[str, RunName]:
    """Finetunes as they first appear, each by its steps."""
    finetunes = list(dict.fromkeys(each.finetune for each in names))

    def place(one: RunName) -> tuple[int, float]:
        return finetunes.index(one.finetune), inf if one.step is None else one.step

    return {one.name: one for one in sorted(names, key=place)}


def _with_names(text: str, names: Mapping[str, RunName], evaluated: Evaluated) -> str:
    """A reader's sentence with the names of runs in place of their files' paths."""
    labels = {
        log.label: key.source or "base"
        for key, log in evaluated.logs.items()
        if key.source is None or key.source in names
    }
    for label in sorted(labels, key=len, reverse=True):
        whole = rf"(?<![\w./-]){re.escape(label)}(?![\w/-]|\.\w)"  # not within another name
        text = re.sub(whole, lambda _, name=labels[label]: name, text)
    return text


def _read_runs(base: str, runs: Sequence[str], gold: str | None, metric: str | None) -> Evaluated:
    named, notes = _named_paths(runs, [base, *([gold] if gold else [])])
    paths = [base, *(path for _, path in named)]
    folder = Path(os.path.commonpath([os.path.abspath(os.path.dirname(p) or ".") for p in paths]))
    mapped = [MappedRun(path=os.path.relpath(base, folder))]
    for name, path in named:
        seed = found["seed"] if (found := SEED.search(path)) else None
        mapped.append(MappedRun(path=os.path.relpath(path, folder), source=name, seed=seed))
        if mapped[-1].source is None:  # some names mean the base in a mapping
            raise DataError(
                f"{shown(path)}: {name!r} is a name for the base; name the run: NAME=PATH"
            )
    answers = None if gold is None else os.path.abspath(gold)
    mapping = MappingFile(gold=answers, metric=metric, runs=tuple(mapped))
    try:
        evaluated = evaluate(mapping, folder, "base")
        return evaluated._replace(notes=[*notes, *evaluated.notes])
    except DataError as error:
        hint = ""
        if gold is None and "right answers" in str(error):
            here = Path(base).absolute()
            near = (place / GOLD for place in [here, *list(here.parents)[:3]])
            file = next((os.path.relpath(each) for each in near if each.is_file()), "")
            hint = "; add --gold " + (file or f"FILE, where FILE is BLINK's {GOLD}")
        if any(each.lower().endswith(_TABLES) for each in paths):
            hint += "; a table of your own holds base (`source` empty) and runs: compare TABLE"
        raise DataError(f"{error}{hint}") from None


def _read_whole(path: Path) -> Evaluated:
    path = path.expanduser()
    if is_mapping(path):
        evaluated = read_evaluations(path, None)
    else:
        try:
            (one,) = read_inputs([path])
        except DataError as error:
            raise DataError(f"{error}. To compare runs: compare BASE RUN...") from None
        if one.kind == "pgf table":
            raise DataError(f"{one.file}: PGF values, expected accuracies or answers to items")
        keys = ("file", "sha256", "kind")
        parts = [{key: str(part[key]) for key in keys} for part in one.entries]
        evaluated = Evaluated(one.rows, list(one.notes), parts, {})
    if len(models := evaluated.rows["model"].unique(maintain_order=True).to_list()) > 1:
        raise DataError(
            f"{shown(path.name)}: holds {len(models)} models ({models[0]!r}, {models[1]!r}, ..), "
            f"expected one base and its runs; use `transferscope analyze` for several"
        )
    if evaluated.rows["source"].is_null().all():
        raise DataError(f"{shown(path.name)}: only base rows, expected runs: compare BASE RUN...")
    return evaluated


def _expanded(text: str) -> list[tuple[str | None, str]]:
    """(name, path) of each match of an argument; a path that exists may hold an equals sign."""
    name, equals, path = text.partition("=")
    if not equals or os.path.exists(text):
        name, path = "", text
    path = os.path.expanduser(path)
    if os.path.exists(path):
        return [(name or None, path)]
    if not has_magic(path):
        raise DataError(f"{shown(path)}: no such file or folder")
    if found := sorted(glob(path), key=natural):
        return [(name or None, each) for each in found]
    raise DataError(f"{shown(path)}: no file or folder matches")


def _named_paths(
    runs: Sequence[str], others: Sequence[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """(name, path) of each run, and notes; a glob may also match the base or the right answers."""
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
    given = [name for name, _ in found]
    named = []
    for name, path in found:
        label, step = name or bare[path], step_of(path)
        if name and given.count(name) > 1 and step_of(name) is None and step is not None:
            label = f"{name} @ {step}"
        named.append((label, path))
    return named, notes


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Each path by its difference from the others: neither seeds, which are averaged, nor times.

    `val/qwen_lora_checkpoint-100.json` and `val/qwen_lora_checkpoint-784.json` are `checkpoint-100`
    and `checkpoint-784`.
    """
    plain: dict[str, str] = {}
    for path in paths:
        stem, ending = os.path.splitext(os.path.normpath(path))
        plain[path] = SEED.sub("", stem if ending.lower() in _ENDINGS else stem + ending)
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
    first = _shared_start(bare)
    last = _shared_start([each[first:][::-1] for each in bare])
    kept = ("".join(each[first : len(each) - last]) for each in tokens)
    short = [text.strip(_EDGE).replace("\\", "/") for text in kept]
    if len(set(short)) < len(short) or not all(short):
        short = [os.path.basename(text.rstrip("/")) or text for text in unique]
    named = dict(zip(unique, short if len(set(short)) == len(short) else unique, strict=True))
    return {path: named[plain[path]] for path in paths}


def _shared_start(lists: list[list[str]]) -> int:
    """How many first entries all lists have in common."""
    return len(list(takewhile(lambda entries: len(set(entries)) == 1, zip(*lists, strict=False))))


def _run_name(name: str) -> RunName:
    """A run's finetune and step, from its name."""
    task, step = checkpoint(name)
    if step is None and name.isdecimal() and len(name) < 16:
        return RunName(name, "", int(name))
    if step is None:
        task, step = STEP.sub("", name).strip(_EDGE + "@"), step_of(name)
    return RunName(name, task if step is not None else name, step)
