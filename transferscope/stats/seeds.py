"""What seeds add to the uncertainty of a mean over them.

A mean over n seeds alone has Student's t interval with n - 1 degrees of freedom: of two seeds
12.7 standard errors to each side, as two values may agree by luck. But a matrix has many cells and
tasks, and how far seeds differ in the others helps to estimate how far they differ here (`Spread`).
In all arrays seeds come first, draws last.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from transferscope.matrix.measure import known_mean
from transferscope.matrix.task_effects import signed_parts

KNOWN = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])
"""Degrees of freedom that the other cells may be worth: few where cells differ in their spread."""
_STEPS = 60
Average = tuple[str, str, bool]
"""Transferability or malleability, positive or negative, and whether self-transfer counts."""
AXES = {"transferability": 2, "malleability": 1}
"""Over which axis of (seed, source, target) each is an average."""


class SeedNoise(NamedTuple):
    """Random weights of the seeds, one draw for all quantities."""

    normal: Float[np.ndarray, "seed draw"]
    stretch: Float[np.ndarray, "degrees draw"]
    """What makes a normal draw one of Student's t; row 0 is that of a single seed: no error."""
    others: Float[np.ndarray, " draw"]
    """Normal, for the part of an error that comes from the spread in other cells."""


class Spread(NamedTuple):
    """How far seeds differ in a quantity, estimated from all like it.

    A cell, (source, target), is like those of its target; a task's transferability or malleability,
    (task,), is like other tasks'.
    """

    variance: Float[np.ndarray, "*quantity"]
    """Of one seed's value; NaN where unknown."""
    degrees: Int[np.ndarray, "*quantity"]
    """How many degrees of freedom that is worth, beside the n - 1 of the quantity's own seeds."""
    most: Int[np.ndarray, "*quantity"]
    """Degrees of freedom of all data behind `variance`, an upper limit."""

    def rows(self, chosen: slice) -> Spread:
        """That of some of the sources."""
        return Spread(*(part[chosen] for part in self))

    def beyond(self, other: Spread) -> Spread:
        """That of a difference from another adapter with other seeds."""
        return Spread(
            self.variance + other.variance,
            np.minimum(self.degrees, other.degrees),
            np.minimum(self.most, other.most),
        )


def seed_noise(seeds: int, draws: int, seed: list[int]) -> SeedNoise:
    """Random weights for a number of seeds."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((seeds, draws), dtype=np.float32)
    number = max(seeds - 1, 1) + int(KNOWN.max())
    squares = np.cumsum(rng.standard_normal((number, draws)) ** 2, axis=0)
    degrees = np.arange(1, number + 1)[:, None]
    stretch = np.concatenate([np.zeros((1, draws)), np.sqrt(degrees / squares)])
    others = rng.standard_normal(draws, dtype=np.float32)
    return SeedNoise(normal, stretch.astype(np.float32), others)


def over_seeds(values: np.ndarray, noise: SeedNoise, spread: Spread | None = None) -> np.ndarray:
    """Mean over the first axis (seeds) plus its random error; the last axis is the draw.

    The error is that of a mean of n values with unknown variance: on its own it gives exactly the
    t interval. One seed has no error that could be known. A value may be undefined (NaN) in some
    draws, as where a ceiling below 1 is within the baseline's reach.

    Args:
        spread: for draws of each quantity by itself (`Draws.alone`). Its part of the error is the
            same draw for all.
    """
    known = np.isfinite(values)
    count = known.sum(axis=0)
    if (count == count[..., :1]).all():
        count = count[..., :1]
    if not known.all():
        values = np.where(known, values, 0)
    mean = values.sum(axis=0) / np.where(count > 0, count, np.nan).astype(np.float32)
    deviation = np.where(known, values - mean, 0) if not known.all() else values - mean
    error = np.einsum("s...d,sd->...d", deviation, noise.normal)
    number = np.maximum(count, 2)
    scale = (1 / np.sqrt(number * (number - 1))).astype(np.float32)
    degrees = np.maximum(count - 1, 0)
    if spread is None:
        return mean + error * scale * _stretch(noise, degrees)
    variance, worth, most = (part[..., None] for part in spread)
    helped = np.isfinite(variance) & (degrees > 0) & (most > degrees)
    learned = np.where(helped, worth, 0)
    all_known = learned + degrees
    own = np.sqrt(degrees / np.maximum(all_known, 1))
    of_mean = np.nan_to_num(variance) / np.maximum(count, 1)
    others = np.sqrt(learned / np.maximum(all_known, 1) * of_mean)
    error = error * (scale * own.astype(np.float32))
    error += others.astype(np.float32) * noise.others
    return mean + error * _stretch(noise, np.where(helped, np.minimum(all_known, most), degrees))


def _stretch(noise: SeedNoise, degrees: Int[np.ndarray, "*quantity one_or_draw"]) -> np.ndarray:
    """`noise.stretch` of each quantity's degrees of freedom, (*quantity, draw)."""
    if degrees.shape[-1] == 1:
        return noise.stretch[degrees[..., 0]]
    return noise.stretch[degrees, np.arange(degrees.shape[-1])]


def spread_of(
    effects: Float[np.ndarray, "seed source target"], kinds: Int[np.ndarray, "source target"]
) -> Spread:
    """How far seeds differ, estimated from the cells of each target together.

    A cell's variance over seeds is taken as drawn around that of its target (inverse chi-square
    distributions, alike but for their scale), and estimated from its seeds and the other cells:
    empirical Bayes. Where seeds move the cells of a target together, as where each has another
    base, those are worth less than as many that move apart: their degrees of freedom are divided by
    Kish's design effect.

    Args:
        kinds: 0 for cells that are like the others of their target. Those that vary otherwise,
            self-transfer and placebos, are estimated from their like: cells of the same number,
            each in units of its target.

    Source:
        Smyth, "Linear models and empirical Bayes methods for assessing differential expression in
        microarray experiments", Statistical Applications in Genetics and Molecular Biology 3
        (2004), section 3 and, for the cap on the degrees of freedom, the limma package; the
        distribution is fitted by its likelihood here, as counts of correct answers often agree.
        Kish, "Survey Sampling" (1965), for the design effect.
    """
    squares, degrees = _squares(effects)
    squares += degrees * _resolution(effects) ** 2 / 12
    usual = np.where(kinds == 0, degrees, 0)
    scale, worth = _fit(squares, usual)
    shared = _shared(np.where(kinds == 0, effects, np.nan))
    most = usual.sum(axis=0) / _design_effect((usual > 0).sum(axis=0), shared.of_targets)
    found = Spread(
        np.tile(scale, (len(kinds), 1)),
        np.full(kinds.shape, worth),
        np.tile(np.rint(most).astype(int), (len(kinds), 1)),
    )
    unit = np.where(np.nan_to_num(found.variance) > 0, found.variance, np.nan)
    for kind in np.unique(kinds[kinds > 0]):
        alike = (kinds == kind) & np.isfinite(unit)
        own, worth = _fit((squares / unit)[alike][:, None], degrees[alike][:, None])
        found.variance[kinds == kind] = (own * unit)[kinds == kind]
        found.degrees[kinds == kind] = worth
        of_runs = (alike & (degrees > 0)).sum(axis=1).max()  # one of each run, or all of a run
        found.most[kinds == kind] = np.rint(
            degrees[alike].sum() / _design_effect(of_runs, shared.of_sources)
        )
    return found


class _Shared(NamedTuple):
    """How seeds' deviations from their mean correlate between cells."""

    of_targets: float
    """Of one target, across sources: each seed has another base."""
    of_sources: float
    """Of one source, across targets: a run that is good or bad as a whole."""


def _shared(effects: Float[np.ndarray, "seed source target"]) -> _Shared:
    """Mean correlation of all pairs, each target in its unit; 0 where it is negative."""
    known = np.isfinite(effects)
    number = known.sum(axis=0)
    mean = np.where(known, effects, 0).sum(axis=0) / np.maximum(number, 1)
    apart = np.where(known & (number > 1), effects - mean, 0)
    several = (number > 1).sum(axis=0)
    unit = np.sqrt((apart**2).sum(axis=(0, 1)) / np.maximum(several, 1))
    apart = apart / np.where(unit > 0, unit, np.inf)
    found = []
    for axis in (0, 1):
        squares = (apart**2).sum(axis=axis + 1)
        together = (apart.sum(axis=axis + 1) ** 2 - squares).sum()
        pairs = (np.maximum((number > 1).sum(axis=axis) - 1, 0) * squares).sum()
        found.append(float(np.clip(together / pairs, 0, 1)) if pairs > 0 else 0.0)
    return _Shared(*found)


def _design_effect(cells: Any, correlation: float) -> Any:
    """How many such cells are worth one independent cell (Kish)."""
    return 1 + np.maximum(cells - 1, 0) * correlation


def averages(
    effects: Float[np.ndarray, "seed source target *draw"],
    itself: Bool[np.ndarray, "source target"],
) -> dict[Average, Float[np.ndarray, "seed task *draw"]]:
    """Transferability and malleability of all tasks, with and without self-transfer (eq. 1, 2)."""
    found = {}
    others = ~itself.reshape(itself.shape + (1,) * (effects.ndim - 3))
    for with_self in (False, True):
        values = effects if with_self else np.where(others, effects, np.float32(np.nan))
        for quantity, axis in AXES.items():
            parts = signed_parts(values, axis=axis)
            found[quantity, "positive", with_self] = parts.positive
            found[quantity, "negative", with_self] = parts.negative
    return found


def above_mean(values: Float[np.ndarray, "seed task *draw"]) -> np.ndarray:
    """How far each task is above the mean of those that have a value."""
    return values - known_mean(values, axis=1)[:, None]


def spread_of_averages(
    effects: Float[np.ndarray, "seed source target"], itself: Bool[np.ndarray, "source target"]
) -> dict[Average, tuple[Spread, Spread]]:
    """How far seeds differ in `averages` and in what is `above_mean` of them."""
    found = {}
    for key, values in averages(effects, itself).items():
        quantity, _, with_self = key
        cells = effects if with_self else np.where(itself, np.nan, effects)
        of_targets = cells if quantity == "malleability" else None
        of_above = spread_of_tasks(above_mean(values), of_targets)
        found[key] = spread_of_tasks(values, of_targets), of_above
    return found


def spread_of_tasks(
    averages: Float[np.ndarray, "seed task"],
    cells: Float[np.ndarray, "seed other task"] | None = None,
) -> Spread:
    """How far seeds differ in one number for each task, estimated from all tasks together.

    As in `spread_of`, with its design effect: another base moves all tasks.

    Args:
        cells: what each task's number is an average of, where tasks are expected to differ as far
            as these do: a target's effects are in units of its gap.
    """
    squares, degrees = _squares(averages)
    unit = np.ones(degrees.shape)
    if cells is not None:
        of_cells, number = (part.sum(axis=0) for part in _squares(cells))
        unit = np.where(of_cells > 0, of_cells, np.nan) / np.maximum(number, 1)
    used = np.where(np.isfinite(unit), degrees, 0)
    scale, worth = _fit((squares / unit)[:, None], used[:, None])
    shared = _shared((averages / np.sqrt(unit))[..., None]).of_targets
    most = np.rint(used.sum() / _design_effect((used > 0).sum(), shared)).astype(int)
    return Spread(scale * unit, np.full(used.shape, worth), np.full(used.shape, most))


def _squares(
    effects: Float[np.ndarray, "seed *quantity"],
) -> tuple[Float[np.ndarray, "*quantity"], Int[np.ndarray, "*quantity"]]:
    """Sums of squared deviations from the mean over seeds, and their degrees of freedom."""
    known = np.isfinite(effects)
    degrees = np.maximum(known.sum(axis=0) - 1, 0)
    mean = np.where(known, effects, 0).sum(axis=0) / np.maximum(degrees + 1, 1)
    return np.where(known, (effects - mean) ** 2, 0).sum(axis=0), degrees


def _resolution(effects: Float[np.ndarray, "seed source target"]) -> Float[np.ndarray, " target"]:
    """The least difference between two effects on a target: of counts, the effect of one answer.

    Its square over 12 is what rounding to whole answers hides of a variance.
    """
    steps = np.zeros(effects.shape[-1])
    for j, values in enumerate(np.moveaxis(effects, -1, 0)):
        apart = np.diff(np.sort(values[np.isfinite(values)])).tolist()
        steps[j] = min((step for step in apart if step > 1e-7), default=0.0)
    return steps


def _fit(
    squares: Float[np.ndarray, "cell group"], degrees: Int[np.ndarray, "cell group"]
) -> tuple[Float[np.ndarray, " group"], int]:
    """What the variances of groups of cells are like.

    Args:
        squares: sums of squared deviations from the mean.
        degrees: their degrees of freedom; a cell with 0 is left out.

    Returns:
        Each group's scale (NaN without a cell), and how many degrees of freedom it is worth: half
        the harmonic mean of `KNOWN` weighed by likelihood. Half, as some cells vary far more than
        the others suggest (a seed that collapses), and intervals are hardly wider for it.
    """
    used = degrees > 0
    total, number = degrees.sum(axis=0), used.sum(axis=0)
    scale = np.where(used, squares, 0).sum(axis=0) / np.where(total > 0, total, np.nan)
    varied = np.flatnonzero(np.nan_to_num(scale) > 0)
    if not varied.size:
        return scale, int(KNOWN[0])
    squares, degrees, used = squares[:, varied], degrees[:, varied], used[:, varied]
    worth = KNOWN[:, None, None]
    fitted = np.tile(scale[varied], (len(KNOWN), 1))[:, None]
    for _ in range(_STEPS):
        likely = (worth + degrees) / (worth * fitted + squares)
        fitted = number[varied] / np.where(used, likely, 0).sum(axis=1, keepdims=True)
    log = scipy.special.gammaln((worth + degrees) / 2) - scipy.special.gammaln(worth / 2)
    log = log + worth / 2 * np.log(worth * fitted)
    log = log - (worth + degrees) / 2 * np.log(worth * fitted + squares)
    log = np.where(used, log, 0).sum(axis=(1, 2))
    weight = np.exp(log - log.max())
    best = weight.sum() / (weight / KNOWN).sum()
    scale[varied] = fitted[np.abs(KNOWN - best).argmin(), 0]
    return scale, max(1, round(best / 2))
