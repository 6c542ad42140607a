"""How well a predicted matrix orders what was measured.

A prediction and a measurement need not share a scale, so orders are compared, by Spearman's rank
correlation, over pairs of different tasks: what a task does to itself is left out. Within a target
the question is which source to train on; over all cells it is also which targets change at all.

    within     correlation of ranks taken target by target, centred there, over all targets
    overall    correlation of ranks over all cells

Intervals come from a Bayesian bootstrap in which every source and every target has a random weight
and a cell the product of both: cells of one source or target stand or fall together. Ranks are
those of all cells. The same weights serve all predictors, so that differences have intervals too.

In:   predicted matrices, measured analyses.
Out:  a `Comparison` for each model.

Needs numpy and xarray. Opens no file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from transferscope.analysis import Analysis, ModelAnalysis
from transferscope.errors import DataError
from transferscope.number import Interval, Number
from transferscope.study import Study

FEWEST = 3
"""Sources that a target needs: two are in the same order or in the opposite one."""

TARGET_MEAN = "target mean"
DIMS = ("source", "target")

_AT_ONCE = 1_000_000
"""Cells times draws that are weighted at a time."""

Cells = Float[np.ndarray, "source target"]
Known = Bool[np.ndarray, "source target"]


@dataclass(frozen=True)
class Correlation:
    """A rank correlation, or a difference of two; NaN where one side does not vary."""

    value: Number
    ci: Interval


@dataclass(frozen=True)
class Predictor:
    """One predictor beside what was measured."""

    within: Correlation
    overall: Correlation
    targets: dict[str, Number]
    """Spearman's correlation over the sources of each target."""


@dataclass(frozen=True)
class Baseline(Predictor):
    """Another predictor, on the cells that it shares with the forecast."""

    cells: int
    ahead_within: Correlation
    """By how much the forecast's correlation on these cells is above this one's."""
    ahead_overall: Correlation


@dataclass(frozen=True)
class Comparison:
    """A forecast and its baselines beside what was measured."""

    cells: int
    """Pairs of different tasks that were both predicted and measured."""
    sources: dict[str, int]
    """Of each target."""
    forecast: Predictor
    baselines: dict[str, Baseline]
    between_seeds: dict[str, Correlation]
    """`within` and `overall` of one seed's effects beside another's, mean over pairs of seeds."""
    best: dict[str, Number]
    """What to expect of a forecast that knew each effect's mean over ever more seeds."""


UNKNOWN = Correlation(math.nan, (math.nan, math.nan))

Table = Mapping[str, Mapping[str, float]]
"""{source: {target: predicted}}."""


def check_shared(study: Study, measured: Analysis, where: str) -> None:
    """Refuse results of other models or tasks before any work.

    Raises:
        DataError: naming what is there and what is wanted.
    """
    both = [name for name in study.models if name in measured.models]
    if not both:
        raise DataError(
            f"{where}: has results of {', '.join(measured.models)}; "
            f"the study's models are {', '.join(study.models)}"
        )
    for name in both:
        shared = [source for source in study.sources or () if source in measured.models[name].pgf]
        if len(shared) < FEWEST:
            raise DataError(
                f"{where}: has of the study's sources only {', '.join(shared) or 'none'}; "
                f"a comparison needs {FEWEST}"
            )


def comparisons(
    predicted: Mapping[str, Table], measured: Analysis, beside: Analysis | None = None
) -> dict[str, Comparison]:
    """Each model's forecast beside what was measured; other models' effects are baselines.

    Args:
        predicted: by model; one that was not measured is left out.
        beside: more models to take as baselines.

    Raises:
        DataError: see `compare`.
    """
    effects = {name: measured_effects(its) for name, its in measured.models.items()}
    others = {name: its.mean("seed") for name, its in effects.items()}
    for name, its in beside.models.items() if beside is not None else ():
        label = f"{name} (--other)" if name in others else name
        others[label] = measured_effects(its).mean("seed")
    return {
        name: compare(
            _matrix(table),
            effects[name],
            {label: its for label, its in others.items() if label != name},
            alpha=measured.settings.alpha,
        )
        for name, table in predicted.items()
        if name in effects
    }


def _matrix(table: Table) -> xr.DataArray:
    targets = list(next(iter(table.values())))
    values = [[row[target] for target in targets] for row in table.values()]
    coordinates = {"source": list(table), "target": targets}
    return xr.DataArray(values, coordinates, dims=DIMS)


def compare(
    predicted: xr.DataArray,
    measured: xr.DataArray,
    others: Mapping[str, xr.DataArray],
    *,
    alpha: float = 0.05,
    draws: int = 2000,
    seed: int = 0,
) -> Comparison:
    """A forecast and its baselines beside what was measured.

    Args:
        predicted: (source, target).
        measured: effects (seed, source, target); their mean over seeds is what is predicted.
        others: matrices (source, target) of other models, which are baselines too.
        alpha: intervals are at 1 - alpha.

    Raises:
        DataError: no target has three sources that are other tasks, predicted and measured.
    """
    measured, predicted = xr.align(measured, predicted, join="inner")
    effects, forecast = measured.transpose("seed", *DIMS).values, _values(predicted)
    apart = predicted["source"].values[:, None] != predicted["target"].values[None, :]
    known = _enough(apart & np.isfinite(effects).all(0) & np.isfinite(forecast))
    if not known.any():
        raise DataError(
            f"too few tasks to compare: no target has {FEWEST} other tasks as sources, both "
            "predicted and measured"
        )
    truth = _Truth(effects.mean(0), known, _weights(known.shape, draws, seed), alpha)
    between = _between_seeds(truth, effects)
    targets = predicted["target"].values.tolist()
    baselines = {TARGET_MEAN: _target_mean(truth, forecast, targets)}
    for name, other in others.items():
        baselines[name] = _baseline(
            truth, forecast, _values(other.reindex_like(predicted)), targets
        )
    return Comparison(
        cells=int(known.sum()),
        sources=dict(zip(targets, known.sum(0).tolist(), strict=True)),
        forecast=_predictor(truth, forecast, targets),
        baselines=baselines,
        between_seeds=between,
        best={name: reached(its.value, len(effects)) for name, its in between.items()},
    )


def measured_effects(model: ModelAnalysis) -> xr.DataArray:
    """A model's effects (seed, source, target) as an analysis has them."""
    sources = list(model.pgf)
    targets = list(dict.fromkeys(target for row in model.pgf.values() for target in row))
    values = np.full((len(model.seeds), len(sources), len(targets)), math.nan)
    for i, source in enumerate(sources):
        for target, cell in model.pgf[source].items():
            of_seed = [cell.seeds.get(seed, math.nan) for seed in model.seeds]
            values[:, i, targets.index(target)] = of_seed
    coordinates = {"seed": model.seeds, "source": sources, "target": targets}
    return xr.DataArray(values, coordinates, dims=("seed", *DIMS))


def target_means(effects: Cells, known: Known) -> Cells:
    """Of each cell the mean effect of the *other* sources on its target; itself is left out."""
    total = np.where(known, effects, 0.0).sum(0)
    return np.where(known, (total - effects) / np.maximum(known.sum(0) - 1, 1), math.nan)


def reached(between: float, seeds: int) -> float:
    """Correlation that the true effects would have with the mean over some seeds.

        sqrt(n r / (1 + (n - 1) r))

    for `n` seeds of which two correlate by `r` (Spearman and Brown's formula, and the attenuation
    that follows from it). NaN where the seeds do not agree at all.
    """
    if not between > 0:
        return math.nan
    return math.sqrt(seeds * between / (1 + (seeds - 1) * between))


class Weights(NamedTuple):
    """Of sources and targets in each draw; a cell has the product."""

    sources: Float[np.ndarray, "draw source"]
    targets: Float[np.ndarray, "draw target"]


def correlation(
    a: Cells, b: Cells, known: Known, weights: Weights, *, within: bool
) -> Float[np.ndarray, " draw"]:
    """Rank correlation of the known cells of two matrices, under each draw's weights."""
    x, y = (_ranks(its, known, within) for its in (a, b))
    axes, few = 1 if within else (1, 2), max(1, _AT_ONCE // known.size)
    found = []
    for start in range(0, len(weights.sources), few):
        by_source, by_target = (its[start : start + few] for its in weights)
        w = by_source[:, :, None] * by_target[:, None, :] * known
        total = w.sum(axes, keepdims=True)
        total = np.where(total > 0, total, 1.0)
        dx, dy = (its - (w * its).sum(axes, keepdims=True) / total for its in (x, y))
        xy, xx, yy = ((w * its).sum((1, 2)) for its in (dx * dy, dx * dx, dy * dy))
        least = 1e-9 * w.sum((1, 2))  # of squared ranks, whose steps are halves at least
        flat = (xx <= least) | (yy <= least)
        found.append(np.where(flat, math.nan, xy / np.sqrt(np.where(flat, 1.0, xx * yy))))
    return np.concatenate(found)


class _Truth(NamedTuple):
    """What predictors are held against."""

    effects: Cells
    """Seed means."""
    known: Known
    weights: Weights
    alpha: float

    def drawn(self, matrix: Cells, *, within: bool) -> Float[np.ndarray, " draw"]:
        """A matrix's correlation with the effects: with equal weights, then in every draw."""
        both = (_equal(self.known), self.weights)
        return np.concatenate(
            [correlation(matrix, self.effects, self.known, its, within=within) for its in both]
        )

    def told(self, drawn: Float[np.ndarray, " draw"]) -> Correlation:
        """A value and its draws as a value and its interval."""
        value, drawn = float(drawn[0]), drawn[1:][np.isfinite(drawn[1:])]
        if not math.isfinite(value) or not len(drawn):
            return Correlation(value, UNKNOWN.ci)
        low, high = np.quantile(drawn, [self.alpha / 2, 1 - self.alpha / 2]).tolist()
        return Correlation(value, (low, high))


def _predictor(truth: _Truth, matrix: Cells, targets: list[str]) -> Predictor:
    each = {}
    for j, target in enumerate(targets):
        column = np.zeros_like(truth.known)
        column[:, j] = truth.known[:, j]
        each[target] = _plain(matrix, truth.effects, column, within=True)
    within, overall = (truth.told(truth.drawn(matrix, within=its)) for its in (True, False))
    return Predictor(within, overall, each)


def _between_seeds(
    truth: _Truth, effects: Float[np.ndarray, "seed source target"]
) -> dict[str, Correlation]:
    found = {}
    for name, within in (("within", True), ("overall", False)):
        pairs = [
            truth._replace(effects=b).drawn(a, within=within) for a, b in combinations(effects, 2)
        ]
        found[name] = truth.told(np.mean(pairs, 0)) if pairs else UNKNOWN
    return found


def _baseline(truth: _Truth, forecast: Cells, matrix: Cells, targets: list[str]) -> Baseline:
    truth = truth._replace(known=_enough(truth.known & np.isfinite(matrix)))
    own = _predictor(truth, matrix, targets)
    ahead = [
        truth.told(truth.drawn(forecast, within=its) - truth.drawn(matrix, within=its))
        for its in (True, False)
    ]
    return Baseline(own.within, own.overall, own.targets, int(truth.known.sum()), *ahead)


def _target_mean(truth: _Truth, forecast: Cells, targets: list[str]) -> Baseline:
    """It says nothing within a target: that it differs there at all is the cell left out."""
    its = _baseline(truth, forecast, target_means(truth.effects, truth.known), targets)
    nothing = dict.fromkeys(targets, math.nan)
    return replace(its, within=UNKNOWN, ahead_within=UNKNOWN, targets=nothing)


def _plain(a: Cells, b: Cells, known: Known, *, within: bool) -> float:
    """Rank correlation with equal weights."""
    return float(correlation(a, b, known, _equal(known), within=within)[0])


def _equal(known: Known) -> Weights:
    return Weights(*(np.ones((1, count)) for count in known.shape))


def _weights(shape: tuple[int, ...], draws: int, seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    return Weights(*(rng.exponential(size=(draws, count)) for count in shape))


def _values(matrix: xr.DataArray) -> np.ndarray:
    return matrix.transpose(*DIMS).values


def _enough(known: Known) -> Known:
    """The known cells of targets that have enough of them."""
    return known & (known.sum(0) >= FEWEST)


def _ranks(values: Cells, known: Known, within: bool) -> Cells:
    """Ranks of the known cells, 0 elsewhere; ties share their mean rank."""
    ranks = np.zeros(values.shape)
    if not within:
        ranks[known] = _ranked(values[known])
        return ranks
    for j in range(values.shape[1]):
        ranks[known[:, j], j] = _ranked(values[known[:, j], j])
    return ranks


def _ranked(values: np.ndarray) -> np.ndarray:
    """As `scipy.stats.rankdata`, which takes a second to import."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[places]
