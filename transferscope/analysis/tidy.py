"""The cells of an analysis as tables with one row a cell, and as labeled arrays.

In:   an `Analysis`.
Out:  polars tables, in which null is unknown, or an `xarray.Dataset`, in which it is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from transferscope.analysis import Analysis, ModelAnalysis
from transferscope.analysis.accuracies import base_accuracy, bases, ceiling, scales
from transferscope.analysis.headline import TaskPair, pairs, verdict_of
from transferscope.analysis.lookup import POINTS, measure_named
from transferscope.analysis.twins import twin_pairs
from transferscope.matrix.measure import MEASURES, NO_GAP

if TYPE_CHECKING:
    import polars as pl
    import xarray as xr

    from transferscope.analysis.comparison import Comparison

WORDS = ("model", "source", "run", "target", "verdict", "state", "choice", "open", "moved")
WHOLE = ("step", "seeds")
"""Columns that are not numbers, and those of whole numbers."""
VERDICTS = {1: "helped", -1: "harmed", 0: "not settled", None: None}


def accuracy(analysis: Analysis) -> pl.DataFrame:
    """One row for each model, source and target: the accuracy before and after finetuning."""
    rows: list[dict[str, Any]] = []
    for name, model, pair in _every(analysis):
        cell = pair.cell
        base = base_accuracy(analysis, model, pair.target, cell)
        low, high = cell.change_ci
        rows.append(
            {
                "model": name,
                "source": pair.source,
                "target": pair.target,
                "n": cell.n,
                "base": base,
                "tuned": base + cell.change,
                "points": 100 * cell.change,
                "low": 100 * low,
                "high": 100 * high,
                "q": cell.q_value,
            }
        )
    return _table(rows)


def effects(analysis: Analysis, measure: str = POINTS) -> pl.DataFrame:
    """One row for each model, source and target: the effect in a measure.

    Raises:
        DataError: there is no such measure.
    """
    measure_named(measure)
    rows: list[dict[str, Any]] = []
    for name, model, pair in _every(analysis):
        cell = pair.cell
        effect, (low, high) = _in_measure(analysis, model, pair, measure)
        in_accuracy = {POINTS: 100, "raw_gain": 1}.get(measure, math.nan)
        rows.append(
            {
                "model": name,
                "source": pair.source,
                "target": pair.target,
                "effect": effect,
                "low": low,
                "high": high,
                "p": cell.p_value,
                "q": cell.q_value,
                "expected": in_accuracy * cell.expected,
                "n": cell.n,
                "seeds": sum(map(math.isfinite, cell.seeds.values())),
                "verdict": VERDICTS[verdict_of(pair, analysis.settings.alpha)],
            }
        )
    return _table(rows)


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


TWINS = (
    *("model", "source", "choice", "open"),
    *("choice_points", "choice_low", "choice_high", "open_points", "open_low", "open_high"),
    "moved",
)


def twins(analysis: Analysis) -> pl.DataFrame:
    """One row for each model, source and task that was evaluated in both forms."""
    rows: list[dict[str, Any]] = []
    for model in analysis.models:
        for pair in twin_pairs(analysis, model):
            effects = [
                100 * number
                for cell in (pair.choice.cell, pair.open.cell)
                for number in (cell.change, *cell.change_ci)
            ]
            names = (model, pair.choice.source, pair.choice.target, pair.open.target)
            rows.append(dict(zip(TWINS, (*names, *effects, pair.moved), strict=True)))
    return _table(rows, TWINS)


def _every(analysis: Analysis) -> Iterator[tuple[str, ModelAnalysis, TaskPair]]:
    for name, model in analysis.models.items():
        for pair in pairs(analysis, name):
            yield name, model, pair


def _in_measure(
    analysis: Analysis, model: ModelAnalysis, pair: TaskPair, measure: str
) -> tuple[float, tuple[float, float]]:
    """An effect and its interval, which is unknown in any measure but accuracy and the analysis's
    own: it does not follow from the record."""
    cell, settings = pair.cell, analysis.settings
    if measure == settings.measure:
        return cell.mean, cell.ci
    if measure == POINTS:
        return 100 * cell.change, (100 * cell.change_ci[0], 100 * cell.change_ci[1])
    if measure == "raw_gain":
        return cell.change, cell.change_ci
    top = ceiling(analysis, pair.target)
    scale = scales(analysis, model, pair.target, cell)
    found: list[float] = []
    for seed, base in bases(analysis, model, pair.target, cell).items():
        whole = MEASURES[measure].denominator(base, top)
        if seed in scale and whole > NO_GAP:
            found.append(cell.seeds[seed] * scale[seed] / whole)
    return (sum(found) / len(found) if found else math.nan), (math.nan, math.nan)


def compared(comparison: Comparison) -> pl.DataFrame:
    """One row for each run and target, and for each mean over targets."""
    rows: list[dict[str, Any]] = []
    for run in comparison.runs:
        for cell in [*run.cells.values(), *([run.mean] if run.mean else [])]:
            tested, (low, high) = cell.state == "tested", cell.effect.interval()
            verdict = {1: "better", -1: "worse", 0: "not settled"}[cell.sign]
            rows.append(
                {
                    "run": run.name,
                    "step": run.step,
                    "target": cell.target,
                    "n": cell.items or None,
                    "base": cell.base,
                    "tuned": cell.tuned,
                    "points": 100 * cell.change,
                    "low": 100 * float(low),
                    "high": 100 * float(high),
                    "q": cell.q,
                    "verdict": verdict if tested else None,
                    "state": cell.state,
                }
            )
    return _table(rows)


def _table(rows: list[dict[str, Any]], columns: Iterable[str] = ()) -> pl.DataFrame:
    import polars as pl

    kinds: dict[str, Any] = {**dict.fromkeys(WORDS, pl.String), **dict.fromkeys(WHOLE, pl.Int64)}
    schema = {name: kinds.get(name, pl.Float64) for name in columns or rows[0]}
    return pl.DataFrame(rows, schema).fill_nan(None)
