"""The runs of a mapping file as one table, and what a reader must know of them.

In:   a mapping file.
Out:  predictions, where every run has per-sample logs; else accuracies. Sources stand in the order
      of the mapping file, their checkpoints by step; targets in BLINK's order, then as found.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from transferscope.errors import DataError
from transferscope.predictions import COLUMNS, shown, some
from transferscope.readers.harness.gold import read_gold, with_gold
from transferscope.readers.harness.judge import Judged, Reader, count, judge, sentences
from transferscope.readers.harness.mapping import Mapping as RunMapping
from transferscope.readers.harness.mapping import Run, read_mapping
from transferscope.readers.harness.paths import Part, expanded
from transferscope.readers.harness.runs import Key, RunLog, read_run
from transferscope.suites import KNOWN_TASKS
from transferscope.tasks.checkpoints import checkpoint

NEAR = 0.01  # of an item: so near to a whole number must an average bring the right answers
DEFAULT_SEED = "0"


class Evaluated(NamedTuple):
    """What a mapping file and the files it names amount to."""

    items: bool
    """Whether rows are predictions; else they are accuracies."""
    rows: pl.DataFrame
    notes: list[str]
    inputs: list[dict[str, str]]
    """Model, file, hash and kind of every run."""
    logs: Mapping[Key, RunLog]
    """The runs as their files have them."""


def read_evaluations(path: Path, model: str | None) -> Evaluated:
    """Every run of a mapping file.

    Args:
        model: the base model's name where the file has none; None takes the file's own name.

    Raises:
        DataError: the mapping or one of the files is not what it must be, or the runs cannot be
            compared.
    """
    mapping = read_mapping(path)
    return evaluate(mapping, path.parent, mapping.model or model or path.name.rsplit(".", 1)[0])


def evaluate(mapping: RunMapping, folder: Path, model: str) -> Evaluated:
    """Every run of a mapping, wherever that came from; its paths start at `folder`.

    Args:
        model: the base model's name where a run has none.

    Raises:
        DataError: as `read_evaluations`.
    """
    gold = read_gold(mapping.gold, folder)
    grouped: dict[Key, list[tuple[Run, list[Part]]]] = {}
    notes: list[str] = []
    for run, parts, told in expanded(mapping.runs, folder):
        seed = run.seed if run.source is None else run.seed or DEFAULT_SEED
        key = Key(run.model or model, run.named_source, seed)
        grouped.setdefault(key, []).append((run, parts))
        notes += told
    asked = {key: runs[0][0].metric or mapping.metric for key, runs in grouped.items()}
    logs: dict[Key, RunLog] = {}
    for key in sorted(grouped, key=_order(list(grouped))):
        parts = [part for _, these in grouped[key] for part in these]
        log = read_run(
            [part.path for part in parts],
            _label([part.name for part in parts]),
            gold.answers,
            entries=[part.entry for part in parts],
            metric=asked[key],
            base=key.source is None,
        )
        logs[key] = with_gold(log, gold)
    notes += _check_metrics(logs, asked)
    notes += [note for log in logs.values() for note in log.notes]
    items = all(log.samples for log in logs.values())
    rows, more = (_predictions if items else _accuracies)(logs, mapping.replies)
    inputs = [
        {
            "model": key.model,
            "file": log.label,
            "sha256": log.sha256,
            "kind": ", ".join(dict.fromkeys(log.harnesses.values())),
        }
        for key, log in logs.items()
    ]
    return Evaluated(items, rows, [*notes, *more], inputs, logs)


def _label(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return shown(" and ".join(names[:3]) + more)


def _check_metrics(logs: Mapping[Key, RunLog], asked: Mapping[Key, str | None]) -> Iterator[str]:
    """Tasks that lack the metric that was asked for.

    Raises:
        DataError: no task of a run has it, or the scores of a target are of two metrics.
    """
    first: dict[str, tuple[str, RunLog]] = {}
    for key, log in logs.items():
        metric, others = asked[key], dict(log.metrics)
        if metric is not None:
            own = [
                target for target, name in log.metrics.items() if name.split(" in ")[0] == metric
            ]
            if not own:
                why = next((f": {note}" for note in log.notes if metric in note), "")
                raise DataError(f"{log.label}: no score for the metric {metric!r}{why}")
            others = {target: name for target, name in others.items() if target not in own}
            if others:
                told = ", ".join(f"{target} by {name}" for target, name in others.items())
                yield f"{log.label}: has no {metric} for some tasks, so these are scored: {told}"
        for target, name in log.metrics.items():
            before, other = first.setdefault(target, (name, log))
            if before != name:
                raise DataError(
                    f"{log.label}: {target} has {name}, but {before} in {other.label}; choose one "
                    f"that both have with `metric:`"
                )


def _order(keys: list[Key]) -> Callable[[Key], tuple[int, int, float]]:
    """Models and finetunes as they first appear, the base first, checkpoints by step."""
    models = list(dict.fromkeys(key.model for key in keys))
    finetunes = list(dict.fromkeys(checkpoint(key.source).task for key in keys if key.source))

    def place(key: Key) -> tuple[int, int, float]:
        model = models.index(key.model)
        if key.source is None:
            return model, -1, 0
        task, step = checkpoint(key.source)
        return model, finetunes.index(task), float("inf" if step is None else step)

    return place


def _targets(names: list[str]) -> list[str]:
    """BLINK's tasks in BLINK's order, then the others as found."""
    found = list(dict.fromkeys(names))
    return [t for t in KNOWN_TASKS if t in found] + [t for t in found if t not in KNOWN_TASKS]


def _predictions(logs: Mapping[Key, RunLog], first: Reader) -> tuple[pl.DataFrame, list[str]]:
    """A row for each run and item, and the disagreements with the harness."""
    rows: list[tuple[Any, ...]] = []
    notes: list[str] = []
    order = _targets([target for log in logs.values() for target in log.samples])
    for key, log in logs.items():
        judged = _judged(log, order, first)
        rows += [
            (*key, target, sample.item, *_cells(found), sample.row)
            for target, pairs in judged.items()
            for sample, found in pairs
        ]
        notes += _told(log, judged, first)
        if alone := [target for target in log.scores if target not in order]:
            notes.append(f"{log.label}: averages without per-sample logs left out: {some(alone)}")
    names = ("model", "source", "seed", "target", "item")
    answers = ("choice", "answer", "correct", "unreadable", "score", "read_by")
    schema = {column: COLUMNS[column] for column in (*names, *answers)} | {"row": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row"), notes


def _judged(log: RunLog, order: list[str], first: Reader) -> dict[str, list[tuple[Any, Judged]]]:
    """The samples of a run that say anything, with what they say, by target."""
    found: dict[str, list[tuple[Any, Judged]]] = {}
    for target in (name for name in order if name in log.samples):
        judged = [(kept.sample, judge(kept.sample, first)) for kept in log.samples[target].values()]
        found[target] = [(sample, each) for sample, each in judged if each is not None]
    return found


def _told(log: RunLog, judged: Mapping[str, list[tuple[Any, Judged]]], first: Reader) -> list[str]:
    """How often the harness disagrees with the text, and what was left out."""
    notes = []
    for target, pairs in judged.items():
        if lost := len(log.samples[target]) - len(pairs):
            notes.append(
                f"{log.label}: {target}: {lost} items have neither a reply with a right answer nor "
                f"a score in [0, 1], and are left out"
            )
    by_harness: dict[str, list[str]] = {}
    for target in judged:
        by_harness.setdefault(log.harnesses[target], []).append(target)
    for harness, targets in by_harness.items():
        counts = [count(target, judged[target]) for target in targets]
        notes += sentences(log.label, harness, counts, first)
    return notes


def _cells(judged: Judged) -> tuple[Any, ...]:
    return judged[:6]


def _accuracies(logs: Mapping[Key, RunLog], first: Reader) -> tuple[pl.DataFrame, list[str]]:
    """A row for each run and target; counts where they are certain."""
    rows: list[tuple[Any, ...]] = []
    notes = []
    order = _targets([t for log in logs.values() for t in (*log.samples, *log.scores)])
    for key, log in logs.items():
        judged = _judged(log, order, first)
        notes += _told(log, judged, first)
        if not log.samples:
            notes.append(
                f"{log.label}: averages alone, without per-sample logs: replies cannot be read "
                f"again, and items cannot be paired"
            )
        for target in order:
            cells = _average(log, judged, target)
            if cells is not None:
                rows.append((*key, target, *cells, len(rows) + 1))
    read = {target for log in logs.values() for target in log.samples}
    for log in logs.values():
        if mixed := [target for target in log.scores if target in read - log.samples.keys()]:
            notes.append(
                f"{log.label}: {some(mixed)}: averages of the harness, but replies read in other "
                f"runs: the rules of scoring may differ"
            )
    schema: dict[str, Any] = dict.fromkeys(("model", "source", "seed", "target"), pl.String)
    schema |= dict.fromkeys(("accuracy", "correct", "total"), pl.Float64) | {"row": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row"), notes


def _average(
    log: RunLog, judged: Mapping[str, list[tuple[Any, Judged]]], target: str
) -> tuple[float, float | None, float | None] | None:
    """Accuracy, right answers and items of a run on a target; None where it has neither."""
    if known := [each for _, each in judged.get(target, ())]:
        marks = sum(each.correct if each.score is None else each.score for each in known)
        whole = all(each.score is None for each in known)
        if not whole:
            return marks / len(known), None, None
        return marks / len(known), float(marks), float(len(known))
    if target not in log.scores:
        return None
    score = log.scores[target]
    right = score.accuracy * (score.total or 0)
    if not score.total or abs(right - round(right)) > NEAR:
        return score.accuracy, None, None
    return round(right) / score.total, float(round(right)), float(score.total)
