"""Resample the items and seeds of one model, all quantities with the same draws."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from transferscope.matrix.measure import MEASURES, known_mean
from transferscope.stats.seeds import (
    Average,
    SeedNoise,
    above_mean,
    averages,
    over_seeds,
    seed_noise,
    spread_of,
    spread_of_averages,
)

HALVES = np.array([0, 1], np.float32)
"""The base's answers to two more items of each target, half an item each on average, on which every
adapter answers otherwise. Where few answers change, what might have changed is not in the data."""
CHUNK_VALUES = 1_000_000
"""Effects the bootstrap holds at once, so that its few arrays of that size stay in cache."""


@dataclass(frozen=True)
class ItemTable:
    """Answers of one model to one target's items: 1 correct, 0 wrong, NaN not answered.

    Answers that are not right or wrong have scores between.
    """

    base: Float[np.ndarray, "seed item"]
    tuned: Float[np.ndarray, "seed source item"]

    @property
    def right_or_wrong(self) -> bool:
        """Whether every answer is."""
        return all(bool(np.isin(a[np.isfinite(a)], (0, 1)).all()) for a in (self.base, self.tuned))

    @property
    def shared(self) -> Bool[np.ndarray, "seed source item"]:
        """The items that base and run both answered; all of the run's in a seed without a base."""
        answered = np.isfinite(self.base)
        return np.isfinite(self.tuned) & (answered | ~answered.any(axis=1, keepdims=True))[:, None]

    @property
    def shared_items(self) -> int:
        """How many items are shared, mean over the runs that share any."""
        number = self.shared.sum(axis=-1)
        return round(number[number > 0].mean()) if (number > 0).any() else self.base.shape[1]

    def paired(self) -> tuple[np.ndarray, Float[np.ndarray, "seed source item"]]:
        """Base and run on shared items; the base is (seed, item) where all runs have its items."""
        answered, shared = np.isfinite(self.tuned), self.shared
        same = (shared == answered) & (answered == np.isfinite(self.base)[:, None])
        if (same.all(axis=-1) | ~answered.any(axis=-1)).all():
            return self.base, self.tuned
        base = np.where(shared, self.base[:, None], np.nan)
        return base, np.where(shared, self.tuned, np.nan)

    @property
    def equivalent_items(self) -> int:
        """Right-or-wrong items whose mean would be as uncertain as that of the shared items.

        The items themselves where they are right or wrong. Scores vary less around their mean p
        than p (1 - p), so there they are worth more.
        """
        number, answered = self.shared_items, np.isfinite(self.base).any(axis=1)
        if self.right_or_wrong or not answered.any():
            return number
        marks = self.base[answered].astype(float)
        mean, spread = np.nanmean(marks, axis=1), np.nanvar(marks, axis=1).mean()
        chance = (mean * (1 - mean)).mean()
        return round(number * min(chance / spread, 100)) if spread > 0 else number


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
    """Fractions; None where the ceiling is the diagonal's accuracy."""
    measure: str = "pgf"
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
    """Bootstrap draws of one model's quantities, means over seeds, the draw last.

    `alone` draws serve each quantity by itself: how far seeds differ is estimated from the other
    cells, or tasks, too (`seeds.Spread`). A difference of two of them means nothing, and their mean
    varies as if all moved together, the most that it can.
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
    """How far each task is above the mean of all, (task, draw), `alone`."""
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
    of_cells = spread_of(data.averaged, kinds)
    two = len(data.effects) == 2
    of_sides = [spread_of(side, kinds) if two else None for side in signed(data.averaged)]
    of_tasks = spread_of_averages(data.averaged, data.itself)
    tasks, tasks_alone, ahead = (
        {key: np.empty((len(one.most), draws), np.float32) for key, (one, _) in of_tasks.items()}
        for _ in range(3)
    )
    for now, noise, effects in resamples(data, draws=draws, seed=seed, model=model):
        cells[..., now] = over_seeds(effects, noise)
        alone[..., now] = over_seeds(effects, noise, of_cells)
        kept = data.kept(effects)
        if data.left_out is not None:
            averaged[..., now] = over_seeds(kept, noise)
            averaged_alone[..., now] = over_seeds(kept, noise, of_cells)
        for drawn, side, spread in zip(sides, signed(kept), of_sides, strict=True):
            drawn[..., now] = over_seeds(side, noise, spread)
        for key, values in averages(kept, data.itself).items():
            of_task, of_ahead = of_tasks[key]
            tasks[key][:, now] = over_seeds(values, noise)
            tasks_alone[key][:, now] = over_seeds(values, noise, of_task)
            ahead[key][:, now] = over_seeds(above_mean(values), noise, of_ahead)
    of_effects = (cells, alone, averaged, averaged_alone)
    return Draws(*of_effects, tasks, tasks_alone, ahead, (sides[0], sides[1]))


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

    The k-th draw gives an item, or a seed, the same weight for any sources in `data`, as
    long as the targets have the same items: results of two calls may be compared draw by draw.
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
    answered: np.ndarray | None
    """None where every run answered every item."""
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
    known = np.isfinite(answers)
    wrong = np.where(known, 1 - answers, np.float32(0))
    return _Errors(wrong, None if known.all() else known.astype(np.float32), empty, halves)


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
        if table.answered is None:
            rates = table.wrong @ (weights / weights.sum(axis=1, keepdims=True)).T
        else:
            with np.errstate(invalid="ignore"):  # 0 / 0
                rates = (table.wrong @ weights.T) / (table.answered @ weights.T)
            rates[table.empty] = np.nan
        tuned = rates[-seeds * sources :].reshape(seeds, sources, draws)
        base = rates[: -seeds * sources].reshape(seeds, -1, draws)  # one for all sources, or each
        if data.ceiling is not None:
            shortfall = 1 - data.ceiling[j]
        else:
            own = data.itself[:, j]
            out = False if data.left_out is None else data.left_out[:, own, j, None]
            shortfall = known_mean(np.where(out, np.float32(np.nan), tuned[:, own]), (0, 1))
        effects[:, :, j] = MEASURES[data.measure].from_errors(base, tuned, shortfall)
        effects[:, :, j][~np.isfinite(data.effects[:, :, j])] = np.nan
    return effects
