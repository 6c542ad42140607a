"""How sure one can be: intervals, tests, corrections, power.

The central idea is one bootstrap that all numbers share. A draw gives every item a random weight,
the same for the base and all adapters, and every seed a random weight, the same for all cells; each
quantity is computed anew from the draw. So an interval accounts for both kinds of chance and for
what cells have in common, above all the baseline.

In:   effects and, where they exist, item-level answers of one model, as arrays.
Out:  draws, intervals, p-values. Draws are always the last axis.

Randomness comes in as a seed. Opens no file.

Beside it: `items` (answers of a target), `seeds`, `per_task`, `noise` (the one rule for "beyond
noise"), `exact`, `nulls`, `detection` (power).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float

from transferscope.matrix.measure import Measure
from transferscope.stats.items import ItemTable as ItemTable
from transferscope.stats.per_task import Average, above_mean, averages, spread_of_averages
from transferscope.stats.seeds import SeedNoise, over_seeds, seed_noise, spread_of

HALVES = np.array([0, 1], np.float32)
"""The base's answers to two more items of each target, half an item each on average, on which every
adapter answers otherwise. Where few answers change, what might have changed is not in the data."""
CHUNK_VALUES = 1_000_000
"""Effects the bootstrap holds at once, so that its few arrays of that size stay in cache."""


@dataclass(frozen=True)
class ModelData:
    """One model's part of the matrix, as the bootstrap needs it."""

    effects: Float[np.ndarray, "seed source target"]
    """mu; NaN where not measured or undefined."""
    itself: Bool[np.ndarray, "source target"]
    """True where source and target are the same task."""
    items: tuple[ItemTable | None, ...]
    """For each target; None where only averages are known."""
    targets: tuple[str, ...]
    """Each target's randomness hangs on its name, not on its place."""
    ceiling: Float[np.ndarray, " target"] | None = None
    """Fractions; None where the ceiling is the diagonal's own accuracy."""
    measure: Measure = "pgf"
    left_out: Bool[np.ndarray, "seed source target"] | None = None
    """Cells without a part in averages (`matrix.pairing`); None where all have one."""

    @property
    def averaged(self) -> Float[np.ndarray, "seed source target"]:
        """The effects that have a part in averages; NaN in place of the others."""
        return self.kept(self.effects)

    @property
    def counted(self) -> tuple[ItemTable | None, ...]:
        """`items` without the runs that have no part in averages, where others of a target have."""
        if self.left_out is None:
            return self.items
        return tuple(
            table
            if table is None or out.all()
            else ItemTable(table.base, np.where(out[..., None], np.nan, table.tuned))
            for table, out in zip(self.items, np.moveaxis(self.left_out, -1, 0), strict=True)
        )

    def kept(self, effects: Float[np.ndarray, "seed source target *draw"]) -> np.ndarray:
        """Effects, or draws of them, with NaN in cells that have no part in averages."""
        if self.left_out is None:
            return effects
        out = self.left_out.reshape(self.left_out.shape + (1,) * (effects.ndim - 3))
        return np.where(out, np.asarray(np.nan, effects.dtype), effects)


class Draws(NamedTuple):
    """Bootstrap draws of what is measured on one model, seed means of it, the draw last.

    In what is `alone`, each quantity is looked at alone: what seeds add is told by the other cells,
    or tasks, too (`seeds.Spread`). No difference of them means anything, and their mean varies as
    if all moved together, the most that it can.
    """

    cells: np.ndarray
    """Effects, (source, target, draw)."""
    alone: np.ndarray
    averaged: np.ndarray
    """`cells` and then `alone` of the runs that have a part in averages; where all have one, the
    same arrays."""
    averaged_alone: np.ndarray
    tasks: dict[Average, np.ndarray]
    """Each (task, draw)."""
    tasks_alone: dict[Average, np.ndarray]
    ahead: dict[Average, np.ndarray]
    """How far each task lies above the mean of all, (task, draw), looked at alone."""
    sides: tuple[np.ndarray, np.ndarray]
    """The effects' positive and negative parts, (source, target, draw), to take means of: of two
    seeds `alone`."""


def bootstrap(data: ModelData, *, draws: int, seed: int, model: str) -> Draws:
    """Resample the seeds and, where known, the items of one model.

    Items are weighted by a Bayesian bootstrap (Rubin, 1981), the same weights for the base and all
    adapters, so that what they share cancels as it should; a baseline below 1 never becomes 1, so
    no effect turns undefined by chance. Two half items (`HALVES`) are added, as Agresti and Min add
    to a paired table ("Frequentist performance of Bayesian confidence intervals for comparing
    proportions in 2 x 2 contingency tables", Biometrics 61, 2005). Seeds are weighted so that a
    mean over seeds has exactly its t interval, where resampling four seeds would give one far too
    narrow.

    Args:
        model: the model's name: models draw different seeds but the same items.

    Returns:
        Draws, float32.
    """
    shape, kinds = (*data.itself.shape, draws), data.itself.astype(int)
    cells, alone, *sides = np.empty((4, *shape), np.float32)
    averaged, averaged_alone = cells, alone
    if data.left_out is not None:
        averaged, averaged_alone = np.empty((2, *shape), np.float32)
    told = spread_of(data.averaged, kinds)
    two = len(data.effects) == 2
    told_sides = [spread_of(side, kinds) if two else None for side in signed(data.averaged)]
    told_tasks = spread_of_averages(data.averaged, data.itself)
    tasks, tasks_alone, ahead = (
        {key: np.empty((len(one.most), draws), np.float32) for key, (one, _) in told_tasks.items()}
        for _ in range(3)
    )
    for now, noise, effects in resamples(data, draws=draws, seed=seed, model=model):
        cells[..., now] = over_seeds(effects, noise)
        alone[..., now] = over_seeds(effects, noise, told)
        kept = data.kept(effects)
        if data.left_out is not None:
            averaged[..., now] = over_seeds(kept, noise)
            averaged_alone[..., now] = over_seeds(kept, noise, told)
        for drawn, side, spread in zip(sides, signed(kept), told_sides, strict=True):
            drawn[..., now] = over_seeds(side, noise, spread)
        for key, values in averages(kept, data.itself).items():
            tasks[key][:, now] = over_seeds(values, noise)
            of_task, of_ahead = told_tasks[key]
            tasks_alone[key][:, now] = over_seeds(values, noise, of_task)
            ahead[key][:, now] = over_seeds(above_mean(values), noise, of_ahead)
    of_cells = (cells, alone, averaged, averaged_alone)
    return Draws(*of_cells, tasks, tasks_alone, ahead, (sides[0], sides[1]))


def signed(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Their positive and their negative parts."""
    return np.maximum(effects, 0), np.minimum(effects, 0)


class Resample(NamedTuple):
    """Some of the bootstrap's draws."""

    now: slice
    """Which."""
    noise: SeedNoise
    effects: np.ndarray
    """mu on reweighted items, (seed, source, target, draw)."""


def resamples(data: ModelData, *, draws: int, seed: int, model: str) -> Iterator[Resample]:
    """The bootstrap's draws, a few at a time.

    The k-th draw weighs an item, or a seed, alike whatever sources stand in `data`, as long as the
    targets have the same items: what is computed of two calls may be compared draw by draw.
    """
    noise = seed_noise(len(data.effects), draws, [seed, *model.encode()])
    streams = [
        tuple(np.random.default_rng([seed, *name.encode(), *more]) for more in ((), (256,)))
        for name in data.targets
    ]
    tables = [table and _errors(table) for table in data.items]
    step = draws if not any(data.items) else max(16, CHUNK_VALUES // data.effects.size)
    for start in range(0, draws, step):
        now = slice(start, min(start + step, draws))
        part = SeedNoise(*(weights[..., now] for weights in noise))
        yield Resample(now, part, _resampled_effects(data, tables, streams, now.stop - now.start))


class _Errors(NamedTuple):
    """One target's wrong answers, (run, item): the base's runs, then each seed's sources.

    The base is one run for each seed; where runs answered other items than it, one for each seed
    and source, on the items that both answered.
    """

    wrong: np.ndarray
    asked: np.ndarray | None
    """None where every run was asked every item."""
    empty: np.ndarray
    """Runs without any item."""
    halves: int
    """How many of the items, the last ones, are `HALVES`; none where answers have scores."""


def _errors(table: ItemTable) -> _Errors:
    items = table.base.shape[1]
    base, tuned = table.paired()
    bases, runs = base.reshape(-1, items), tuned.reshape(-1, items)
    answers = np.concatenate([bases, runs]).astype(np.float32)
    empty = np.asarray(np.isnan(answers).all(axis=1))
    halves = len(HALVES) if table.right_or_wrong else 0
    more = np.where(np.arange(len(answers))[:, None] < len(bases), HALVES, 1 - HALVES)
    answers = np.concatenate([answers, more[:, :halves]], axis=1)
    asked = np.isfinite(answers)
    wrong = np.where(asked, 1 - answers, np.float32(0))
    return _Errors(wrong, None if asked.all() else asked.astype(np.float32), empty, halves)


def _resampled_effects(
    data: ModelData,
    tables: list[_Errors | None],
    streams: list[tuple[np.random.Generator, ...]],
    draws: int,
) -> np.ndarray:
    """mu on reweighted items, (seed, source, target, draw); one draw serves all without items."""
    if not any(data.items):
        return data.effects[..., None].astype(np.float32)
    seeds, sources, targets = data.effects.shape
    effects = np.empty((seeds, sources, targets, draws), np.float32)
    for j, (table, (of_items, of_halves)) in enumerate(zip(tables, streams, strict=True)):
        if table is None:
            effects[:, :, j] = data.effects[:, :, j, None]
            continue
        items = table.wrong.shape[1] - table.halves
        weights = of_items.standard_exponential((draws, items), dtype=np.float32)
        if table.halves:
            halves = of_halves.standard_gamma(0.5, (draws, table.halves), dtype=np.float32)
            weights = np.concatenate([weights, halves], axis=1)
        rates = _error_rates(table, weights)
        tuned = rates[-seeds * sources :].reshape(seeds, sources, draws)
        base = rates[: -seeds * sources].reshape(seeds, -1, draws)  # one for all sources, or each
        if data.ceiling is not None:
            shortfall = 1 - data.ceiling[j]
        else:
            own = data.itself[:, j]
            out = False if data.left_out is None else data.left_out[:, own, j, None]
            shortfall = _known_mean(np.where(out, np.float32(np.nan), tuned[:, own]))
        effects[:, :, j] = effect_of_errors(data.measure, base, tuned, shortfall)
        effects[:, :, j][~np.isfinite(data.effects[:, :, j])] = np.nan
    return effects


def _known_mean(rates: Float[np.ndarray, "seed source draw"]) -> Float[np.ndarray, " draw"]:
    """Mean over the runs that have answers; NaN where none has."""
    known = np.isfinite(rates)
    if rates.size and known.all():
        return rates.mean((0, 1))
    count = known.sum((0, 1))
    return np.where(known, rates, 0).sum((0, 1)) / np.where(count > 0, count, np.nan)


def _error_rates(table: _Errors, weights: np.ndarray) -> np.ndarray:
    """Weighted share of wrong answers, (run, draw); NaN for a run without any."""
    if table.asked is None:
        return table.wrong @ (weights / weights.sum(axis=1, keepdims=True)).T
    with np.errstate(invalid="ignore"):  # 0 / 0
        rates = (table.wrong @ weights.T) / (table.asked @ weights.T)
    rates[table.empty] = np.nan
    return rates


def effect_of_errors(
    measure: Measure, base: np.ndarray, tuned: np.ndarray, shortfall: object
) -> np.ndarray:
    """mu from error rates, which keep their precision near an accuracy of 1."""
    if measure == "raw_gain":
        return base - tuned
    gap = base - np.asarray(shortfall, np.float32) if measure == "pgf" else 1 - base
    return (base - tuned) / np.where(gap > 0, gap, np.float32(np.nan))


def intervals(
    draws: Float[np.ndarray, "*shape draw"],
    estimate: Float[np.ndarray, "*shape"],
    alpha: float,
    *,
    low: float = -np.inf,
    high: float = np.inf,
) -> Float[np.ndarray, "*shape 2"]:
    """Where the quantity would lie, in 1 - alpha of studies of this size.

    The draws' quantiles, moved so that the draws' mean (`draw_mean`) is the estimate: a sum of
    positive parts is larger in every noisier draw, which says nothing about its spread. (How much
    of it noise alone would make is the noise floor, `nulls.no_transfer_effects`.)

    Returns:
        (low, high), NaN where the estimate is, or where more than 5 % of draws are undefined.
    """
    draws = np.asarray(draws, np.float32)
    undefined = ~np.isfinite(draws)
    few = undefined.mean(axis=-1) <= 0.05
    middle = draw_mean(draws)
    if undefined.any():
        draws = np.where(undefined, middle[..., None], draws)
    ends = np.quantile(draws, [alpha / 2, 1 - alpha / 2], axis=-1)
    moved = np.moveaxis(ends - middle + estimate, 0, -1)
    return np.where(few[..., None], np.clip(moved, low, high), np.nan)


def draw_mean(draws: Float[np.ndarray, "*shape draw"]) -> Float[np.ndarray, "*shape"]:
    """Mean over the defined draws, the outer hundredth at each end drawn in; NaN where none is.

    Of two seeds the draws have the tails of Student's t with one degree of freedom, which has no
    mean: the plain mean of such draws is anywhere, carried off by the few largest.
    """
    known = np.isfinite(draws)
    if known.all():
        ends = np.quantile(draws, [0.01, 0.99], axis=-1, keepdims=True)
        return np.asarray(np.clip(draws, *ends).mean(axis=-1, dtype=float))
    count = known.sum(axis=-1)
    some = np.where(known, draws, np.where(count > 0, np.nan, 0)[..., None])
    ends = np.nanquantile(some, [0.01, 0.99], axis=-1, keepdims=True)
    mean = np.nanmean(np.clip(some, *ends), axis=-1, dtype=float)
    return np.where(count > 0, mean, np.nan)


def sign_p_values(
    draws: Float[np.ndarray, "*shape draw"], estimate: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Two-sided p-value that the quantity is 0, from the draws behind its interval.

    Never below 2 / (draws + 1); NaN where the interval is.
    """
    known = np.isfinite(draws)
    shift = (estimate - draw_mean(draws))[..., None].astype(np.float32)
    below = (draws <= -shift).sum(axis=-1)
    above = (draws >= -shift).sum(axis=-1)
    p_values = np.minimum(1.0, 2 * (np.minimum(below, above) + 1) / (known.sum(axis=-1) + 1))
    few = (~known).mean(axis=-1) <= 0.05
    return np.where(np.isfinite(estimate) & few, p_values, np.nan)


def benjamini_hochberg(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """q-values: the smallest false discovery rate at which each test would be a discovery.

    NaN p-values stay NaN and do not count as tests.

    Source:
        Benjamini and Hochberg (1995).
    """
    known = np.flatnonzero(np.isfinite(p_values))
    falling = known[np.argsort(p_values[known])[::-1]]
    rank = np.arange(len(falling), 0, -1)
    q_values = np.full(p_values.shape, np.nan)
    q_values[falling] = np.minimum.accumulate(p_values[falling] * (len(falling) / rank))
    return np.minimum(q_values, 1.0)


def mcnemar(
    base: Bool[np.ndarray, "*shape item"], tuned: Bool[np.ndarray, "*shape item"]
) -> np.ndarray:
    """Exact two-sided McNemar test that finetuning fixed as many items as it broke.

    Args:
        base: whether the untuned model answered each item correctly.
        tuned: the same after finetuning, items in the same order.

    Returns:
        p-values; 1 where no item changed.
    """
    fixed = (~base & tuned).sum(-1)
    broken = (base & ~tuned).sum(-1)
    tail = scipy.special.bdtr(np.minimum(fixed, broken), np.maximum(fixed + broken, 1), 0.5)
    return np.asarray(np.minimum(1.0, 2 * tail))
