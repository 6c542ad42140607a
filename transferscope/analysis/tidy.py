"""The cells of an analysis as tables with one row a cell, and as labeled arrays.

In:   an `Analysis`.
Out:  polars tables, in which null is unknown, or an `xarray.Dataset`, in which it is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.accuracies import base_accuracy, bases, ceiling, scales
from transferscope.analysis.headline import TaskPair, pairs, twin_pairs, verdict_of
from transferscope.analysis.lookup import POINTS
from transferscope.errors import DataError
from transferscope.matrix.measure import MEASURES, NO_GAP
from transferscope.tasks.naming import unknown

if TYPE_CHECKING:
    import polars as pl
    import xarray as xr

    from transferscope.analysis.comparison import Comparison

WORDS = (
    *("model", "source", "seed", "run", "target"),
    *("verdict", "state", "choice", "open", "moved"),
)
WHOLE = ("step", "seeds")
"""Columns that are not numbers, and those of whole numbers."""
VERDICTS = {1: "helped", -1: "harmed", 0: "not settled", None: None}


def accuracy(analysis: Analysis) -> pl.DataFrame:
    """One row for each model, source and target: the accuracy before and after finetuning."""
    rows: list[tuple[Any, ...]] = []
    for name, model, (source, target, cell) in _every(analysis):
        base = base_accuracy(analysis, model, target, cell)
        accuracies = base, base + cell.change
        rows.append((name, source, target, cell.n, *accuracies, *_points(cell), cell.q_value))
    return _table("model source target n base tuned points low high q", rows)


def effects(analysis: Analysis, measure: str = POINTS) -> pl.DataFrame:
    """One row for each model, source and target: the effect in a measure.

    Raises:
        DataError: there is no such measure.
    """
    if measure not in (known := [POINTS, *MEASURES]):
        raise DataError(unknown("measure", measure, known))
    rows: list[tuple[Any, ...]] = []
    for name, model, pair in _every(analysis):
        source, target, cell = pair
        expected = {POINTS: 100, "raw_gain": 1}.get(measure, math.nan) * cell.expected
        effect = *_in_measure(analysis, model, pair, measure), cell.p_value, cell.q_value, expected
        seeds = sum(map(math.isfinite, cell.seeds.values()))
        verdict = VERDICTS[verdict_of(pair, analysis.settings.alpha)]
        rows.append((name, source, target, *effect, cell.n, seeds, verdict))
    columns = "model source target effect low high p q expected n seeds verdict"
    return _table(columns, rows)


def to_xarray(analysis: Analysis, measure: str = POINTS) -> xr.Dataset:
    """The table of `effects` as arrays over (model, source, target)."""
    import xarray as xr

    table, models = effects(analysis, measure), analysis.models
    first = next(iter(models.values())).pgf
    labels = {
        "model": list(models),
        "source": list(first),
        "target": list(next(iter(first.values()))),
    }
    shape = [len(names) for names in labels.values()]
    columns = ("effect", "low", "high", "p", "q", "n")
    arrays = {name: table[name].fill_null(math.nan).to_numpy().reshape(shape) for name in columns}
    found = xr.Dataset({name: (list(labels), each) for name, each in arrays.items()}, labels)
    return found.assign_attrs(measure=measure)


def twins(analysis: Analysis) -> pl.DataFrame:
    """One row for each model, source and task that was evaluated in both forms."""
    rows: list[tuple[Any, ...]] = []
    for model in analysis.models:
        for choice, other, moved in twin_pairs(analysis, model):
            names = model, choice.source, choice.target, other.target
            rows.append((*names, *_points(choice.cell), *_points(other.cell), moved))
    numbers = "choice_points choice_low choice_high open_points open_low open_high"
    return _table(f"model source choice open {numbers} moved", rows)


def losses(analysis: Analysis) -> pl.DataFrame:
    """One row for each logged step of each finished adapter."""
    rows: list[tuple[Any, ...]] = []
    for one in analysis.trainings:
        if not one.failed:
            steps = zip(one.step, one.loss, one.gradient_norm, strict=True)
            rows += [(one.model, one.source, one.seed, *each) for each in steps]
    return _table("model source seed step loss gradient_norm", rows)


def compared(comparison: Comparison) -> pl.DataFrame:
    """One row for each run and target, and for each mean over targets."""
    rows: list[tuple[Any, ...]] = []
    for run, cell in comparison.every_cell():
        verdict = {1: "better", -1: "worse", 0: "not settled"}[cell.sign]
        known = run.name, run.step, cell.target, cell.items or None, cell.base, cell.tuned
        change = [100 * float(number) for number in (cell.change, *cell.effect.interval())]
        verdict = verdict if cell.state == "tested" else None
        rows.append((*known, *change, cell.q, verdict, cell.state))
    return _table("run step target n base tuned points low high q verdict state", rows)


def _points(cell: Cell) -> list[float]:
    """The change of accuracy and its interval in percentage points."""
    return [100 * number for number in (cell.change, *cell.change_ci)]


def _every(analysis: Analysis) -> Iterator[tuple[str, ModelAnalysis, TaskPair]]:
    for name, model in analysis.models.items():
        for pair in pairs(analysis, name):
            yield name, model, pair


def _in_measure(
    analysis: Analysis, model: ModelAnalysis, pair: TaskPair, measure: str
) -> Sequence[float]:
    """An effect and its interval, which is unknown in any measure but accuracy and the analysis's
    own: it does not follow from the record."""
    cell = pair.cell
    if measure == analysis.settings.measure:
        return cell.mean, *cell.ci
    if measure == POINTS:
        return _points(cell)
    if measure == "raw_gain":
        return cell.change, *cell.change_ci
    top = ceiling(analysis, pair.target)
    scale = scales(analysis, model, pair.target, cell)
    found: list[float] = []
    for seed, base in bases(analysis, model, pair.target, cell).items():
        whole = MEASURES[measure].denominator(base, top)
        if seed in scale and whole > NO_GAP:
            found.append(cell.seeds[seed] * scale[seed] / whole)
    return (sum(found) / len(found) if found else math.nan), math.nan, math.nan


def _table(columns: str, rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    import polars as pl

    kinds: dict[str, Any] = {**dict.fromkeys(WORDS, pl.String), **dict.fromkeys(WHOLE, pl.Int64)}
    schema = {name: kinds.get(name, pl.Float64) for name in columns.split()}
    return pl.DataFrame(rows, schema, orient="row").fill_nan(None)
