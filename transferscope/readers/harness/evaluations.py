"""The runs of a mapping file as one table, with notes on what was read and left out.

In:   a mapping file.
Out:  predictions if every run has per-sample logs, else accuracies. Sources are in the order of the
      mapping file, their checkpoints by step; targets are in BLINK's order, then as found.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from transferscope.errors import DataError
from transferscope.predictions import COLUMNS, some
from transferscope.readers.harness.blink_files import read_gold
from transferscope.readers.harness.judging import (
    JudgedSamples,
    Reader,
    apply_gold,
    judge,
    reading_notes,
)
from transferscope.readers.harness.mapping import MappingFile, RunPath, expanded, read_mapping
from transferscope.readers.harness.runs import RunKey, RunLog, read_run
from transferscope.readers.harness.samples import Gold, Options
from transferscope.readers.plain import DEFAULT_SEED
from transferscope.suites import KNOWN_TASKS
from transferscope.tasks.checkpoints import Checkpoint, checkpoint

NEAR = 0.01
"""Distance from a whole number, in items, up to which an average is a count of right answers."""
_KEYS = ("model", "source", "seed", "target")
_SHARED = ("pope", "hallusion", "mme")
"""How the names of benchmarks begin that ask several yes-no questions about an image."""
_JUDGED = ("choice", "answer", "correct", "unreadable", "score", "read_by")


class Evaluated(NamedTuple):
    """The runs of a mapping file."""

    rows: pl.DataFrame
    """Predictions, with replies, if every run has per-sample logs; else accuracies."""
    notes: list[str]
    inputs: list[dict[str, str]]
    """Model, file, hash and kind of every run."""
    logs: Mapping[RunKey, RunLog]
    """The runs as their files have them."""


def read_evaluations(path: Path, model: str | None) -> Evaluated:
    """Every run of a mapping file; `model` names the base model if the file does not."""
    mapping = read_mapping(path)
    return evaluate(mapping, path.parent, mapping.model or model or path.name.rsplit(".", 1)[0])


def evaluate(mapping: MappingFile, folder: Path, model: str) -> Evaluated:
    """Every run of a mapping, whose paths start at `folder`; runs without a model get `model`.

    Raises:
        DataError: a file is not what it must be, or the runs cannot be compared.
    """
    gold = Gold() if mapping.gold is None else read_gold(mapping.gold, folder)
    paths: dict[RunKey, list[RunPath]] = {}
    options: dict[RunKey, Options] = {}
    notes: list[str] = []
    for run, parts, found in expanded(mapping.runs, folder):
        source, seed = run.source, run.seed
        if source is not None:  # each checkpoint is a source
            source, seed = Checkpoint(source, run.step).name, seed or DEFAULT_SEED
        key = RunKey(run.model or model, source, seed)
        paths.setdefault(key, []).extend(parts)
        options.setdefault(key, Options(gold, run.metric or mapping.metric))
        notes += found
    models = list(dict.fromkeys(key.model for key in paths))
    finetunes = list(dict.fromkeys(checkpoint(key.source or "").task for key in paths))

    def place(key: RunKey) -> tuple[int, bool, int, float]:
        task, step = checkpoint(key.source or "")
        last = inf if step is None else step
        return models.index(key.model), key.source is not None, finetunes.index(task), last

    logs: dict[RunKey, RunLog] = {}
    for key in sorted(paths, key=place):
        logs[key] = read_run(paths[key], options[key], base=key.source is None)
        apply_gold(logs[key], gold)
    notes += _check_metrics(logs, options)
    notes += [note for log in logs.values() for note in log.notes]
    rows, more = _rows(logs, mapping.replies)
    inputs = [
        {
            "model": key.model,
            "file": log.label,
            "sha256": log.sha256,
            "kind": ", ".join(dict.fromkeys(log.harnesses.values())),
        }
        for key, log in logs.items()
    ]
    return Evaluated(rows, [*notes, *more], inputs, logs)


def _check_metrics(
    logs: Mapping[RunKey, RunLog], options: Mapping[RunKey, Options]
) -> Iterator[str]:
    """Notes on tasks without the mapping's metric; refuses runs without it, and mixed metrics."""
    first: dict[str, tuple[str, RunLog]] = {}
    for key, log in logs.items():
        if (metric := options[key].metric) is not None:
            others = {t: name for t, name in log.metrics.items() if name.split(" in ")[0] != metric}
            if len(others) == len(log.metrics):
                why = next((f": {note}" for note in log.notes if metric in note), "")
                raise DataError(f"{log.label}: no score for the metric {metric!r}{why}")
            if others:
                named = ", ".join(f"{target} by {name}" for target, name in others.items())
                yield f"{log.label}: has no {metric} for some tasks, so these are scored: {named}"
        for target, name in log.metrics.items():
            before, other = first.setdefault(target, (name, log))
            if before != name:
                raise DataError(
                    f"{log.label}: {target} has {name}, but {before} in {other.label}; choose one "
                    f"that both have with `metric:`"
                )


def _rows(logs: Mapping[RunKey, RunLog], first: Reader) -> tuple[pl.DataFrame, list[str]]:
    """A row for each run and item, or else for each run and target, and notes."""
    items = all(log.samples for log in logs.values())
    sampled = {target for log in logs.values() for target in log.samples}
    given = ((*log.samples, *(() if items else log.scores)) for log in logs.values())
    found = dict.fromkeys(target for targets in given for target in targets)
    order = [t for t in KNOWN_TASKS if t in found] + [t for t in found if t not in KNOWN_TASKS]
    rows: list[tuple[Any, ...]] = []
    notes: list[str] = []
    mixed: list[str] = []
    for key, log in logs.items():
        judged, more = _judged(log, order, first)
        notes += more
        if items:
            rows += [
                (*key, t, s.item, s.reply, *each[: len(_JUDGED)], s.group, s.row)
                for t, pairs in judged.items()
                for s, each in pairs
            ]
            if alone := [target for target in log.scores if target not in order]:
                left_out = f"averages without per-sample logs left out: {some(alone)}"
                notes.append(f"{log.label}: {left_out}")
            continue
        if not log.samples:
            notes.append(
                f"{log.label}: averages alone, without per-sample logs: replies cannot be read "
                f"again, and items cannot be paired"
            )
        averages = ((target, _average(log, judged, target)) for target in order)
        known = [(*key, target, *cells) for target, cells in averages if cells is not None]
        rows += [(*row, number) for number, row in enumerate(known, len(rows) + 1)]
        if both := [t for t in log.scores if t in sampled and t not in log.samples]:
            mixed.append(
                f"{log.label}: {some(both)}: averages of the harness, but replies read in other "
                f"runs: the rules of scoring may differ"
            )
    columns = ("item", "reply", *_JUDGED, "group") if items else ("accuracy", "correct", "total")
    schema: dict[str, Any] = dict.fromkeys(_KEYS, pl.String)
    schema |= {column: COLUMNS[column] if items else pl.Float64 for column in columns}
    table = pl.DataFrame(rows, schema=schema | {"row": pl.Int64}, orient="row")
    if items:  # a run may lack the names of images, or call them otherwise: see `checks`
        named = pl.col("group").drop_nulls().first()
        table = table.with_columns(group=named.over("target", "item"))
        table = table.select(*(name for name in COLUMNS if name in table.columns), "row")
    # Without a group and with a number of items, which are then taken as independent.
    lone = table.filter(pl.col("group").is_null() if items else pl.col("total").is_not_null())
    alike = [t for t in lone["target"].unique(maintain_order=True) if t.lower().startswith(_SHARED)]
    if alike:
        mixed.append(
            f"{some(alike)}: several items are about one image, which no file names, so intervals "
            f"are too narrow; a table of your own can name it in a column `group`"
        )
    return table, [*notes, *mixed]


def _judged(log: RunLog, order: Sequence[str], first: Reader) -> tuple[JudgedSamples, list[str]]:
    """The judged samples of a run, and notes on replies and omissions."""
    found: JudgedSamples = {}
    notes: list[str] = []
    for target in (name for name in order if name in log.samples):
        samples = log.samples[target].values()
        judged = [(sample, judge(sample, first)) for sample in samples]
        found[target] = [(sample, each) for sample, each in judged if each is not None]
        if lost := len(samples) - len(found[target]):
            notes.append(
                f"{log.label}: {target}: {lost} items have neither a reply with a right answer nor "
                f"a score in [0, 1], and are left out"
            )
    for harness in dict.fromkeys(log.harnesses[target] for target in found):
        of_harness = {t: pairs for t, pairs in found.items() if log.harnesses[t] == harness}
        notes += reading_notes(log.label, harness, of_harness, first)
    return found, notes


def _average(
    log: RunLog, judged: JudgedSamples, target: str
) -> tuple[float, float | None, float | None] | None:
    """Accuracy, right answers and items of a run on a target; None if it has no result there."""
    if known := [each for _, each in judged.get(target, ())]:
        marks = sum(each.correct if each.score is None else each.score for each in known)
        if any(each.score is not None for each in known):
            return marks / len(known), None, None
        return marks / len(known), float(marks), float(len(known))
    if target not in log.scores:
        return None
    _, accuracy, total = log.scores[target]
    right = round(accuracy * (total or 0))
    if not total or abs(accuracy * total - right) > NEAR:
        return accuracy, None, None
    return right / total, float(right), float(total)
