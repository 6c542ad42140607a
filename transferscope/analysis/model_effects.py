"""One model's effects and what is known about their uncertainty: items, draws, null model.

Item-level uncertainty comes from predictions where they exist. Where only counts do (accuracy
tables with counts, published PGF tables), a plausible item table with exactly those counts stands
in; where not even counts are known, intervals account for seeds alone, and notes say so.

In:   the matrix, a model's name, the settings.
Out:  `ModelEffects`: arrays, bootstrap draws, and the null model without transfer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from transferscope.analysis import Basis, Items, Quantity, Sign
from transferscope.analysis.settings import Settings
from transferscope.errors import StudyError
from transferscope.matrix.measure import MEASURES
from transferscope.matrix.pairing import left_out
from transferscope.matrix.task_effects import same_task
from transferscope.stats import (
    Draws,
    ItemTable,
    ModelData,
    bootstrap,
    draw_mean,
    intervals,
    signed,
    simulate,
)
from transferscope.stats.nulls import no_transfer_effects, seed_correlation
from transferscope.stats.seeds import above_mean, averages

if TYPE_CHECKING:
    import xarray as xr

View = Literal["joint", "alone", "means"]
"""What draws are for: to compare quantities, to see each by itself, or to take means over tasks.
Of two seeds, means are taken of `alone` draws: they vary at most as what they are of, and two
values of a mean may agree by luck."""
NULL_VALUES = 50_000_000
"""Effects that the draws of a null model may hold together: a few hundred MB."""


def effects(matrix: xr.Dataset, name: str) -> xr.DataArray:
    """The effects of every cell in the named measure, dimensions (model, seed, source, target).

    Args:
        name: a key of `MEASURES`; all but `pgf` need accuracies.
    """
    if name == "pgf":
        return matrix["pgf"]
    if matrix["accuracy"].isnull().all():
        raise StudyError(f"{name} needs accuracies, and these results hold only PGF values")
    change = MEASURES[name].formula(
        matrix["paired_base_accuracy"], matrix["accuracy"], matrix["ceiling"]
    )
    return change.transpose(*matrix["pgf"].dims).assign_coords(matrix["pgf"].coords)


@dataclass(frozen=True)
class ModelEffects:
    """One model's effects with what is known about their uncertainty."""

    model: str
    seeds: list[str]
    sources: list[str]
    data: ModelData
    items: Items
    basis: Basis
    draws: Draws | None
    """Centered on the estimates; None where nothing could be resampled, or under preset `paper`."""
    alpha: float

    @property
    def single(self) -> np.ndarray:
        """Cells of a study with several seeds that were measured in one only, (source, target)."""
        return (np.isfinite(self.data.effects).sum(axis=0) == 1) & (len(self.seeds) > 1)

    def drawn(
        self, quantity: Quantity, sign: Sign, *, include_self: bool, view: View = "joint"
    ) -> np.ndarray | None:
        """Draws of every task's transferability or malleability, (task, draw)."""
        if self.draws is None:
            return None
        tasks = self.draws.tasks_alone if self.alone(view) else self.draws.tasks
        return tasks[quantity, sign, include_self]

    def drawn_cells(self, view: View = "joint") -> np.ndarray | None:
        """Draws of every effect that has a part in averages, (source, target, draw)."""
        if self.draws is None:
            return None
        return self.draws.averaged_alone if self.alone(view) else self.draws.averaged

    def alone(self, view: View) -> bool:
        """Whether these are draws of each quantity by itself."""
        return view == "alone" or (view == "means" and len(self.seeds) == 2)

    def interval(
        self,
        draws: np.ndarray | None,
        estimate: Float[np.ndarray, "*shape"],
        *,
        low: float = -np.inf,
        high: float = np.inf,
    ) -> Float[np.ndarray, "*shape 2"]:
        """`stats.intervals`, or NaN without draws."""
        if draws is None:
            return np.full((*np.shape(estimate), 2), np.nan)
        return intervals(draws, estimate, self.alpha, low=low, high=high)

    def ends(
        self, draws: np.ndarray | None, estimate: float, low: float = -np.inf, high: float = np.inf
    ) -> tuple[float, float]:
        """The interval of one number."""
        return pair(self.interval(draws, np.asarray(estimate), low=low, high=high))

    def by_seed(self, values: np.ndarray) -> dict[str, float]:
        """{seed: value}."""
        return dict(zip(self.seeds, values.tolist(), strict=True))


def pair(ends: np.ndarray) -> tuple[float, float]:
    """An interval as plain numbers."""
    return float(ends[0]), float(ends[1])


def model_effects(
    matrix: xr.Dataset, mu: xr.DataArray, model: str, settings: Settings
) -> ModelEffects:
    """The effects of one model, with their bootstrap draws.

    Args:
        matrix: the whole matrix, for its counts and item-level answers.
        mu: effects in the chosen measure, dimensions (model, seed, source, target).
    """
    values = mu.sel(model=model).transpose("seed", "source", "target").values
    known = np.isfinite(values).any(axis=(1, 2))
    # A base that leaves no gap has no effect in any seed, which were run nevertheless.
    ran = matrix["accuracy"].sel(model=model).notnull().any(("source", "target")).values
    present = known if known.any() else ran
    one = matrix.sel(model=model).isel(seed=np.flatnonzero(present))
    sources, targets = mu["source"].values.tolist(), mu["target"].values.tolist()
    has_items = "item_correct" in one and bool((one["item_correct"] >= 0).any())
    tables = _answers(one) if has_items else _plausible_tables(one, model, settings)
    out = left_out(matrix).sel(model=model).transpose("seed", "source", "target").values[present]
    data = ModelData(
        effects=values[present],
        left_out=out if out.any() else None,
        itself=same_task(sources, targets),
        items=tables,
        targets=tuple(targets),
        ceiling=None if settings.ceiling == "self" else one["ceiling"].values,
        measure=settings.measure,
    )
    items: Items = "none"
    if any(table is not None for table in tables):
        items = "predictions" if has_items else "counts"
    basis: Basis = "none"
    if known.sum() > 1:
        basis = "seeds" if items == "none" else "seeds and items"
    elif items != "none" and known.any():
        basis = "items"
    draws = None
    if basis != "none" and settings.preset == "default":
        raw = bootstrap(data, draws=settings.bootstrap, seed=settings.seed, model=model)
        draws = _centered(raw, data)
        # One seed and no items: nothing was resampled, and a width of zero would be certainty.
        unknown = np.array([table is None for table in tables]) & (np.isfinite(values).sum(0) < 2)
        draws.cells[unknown] = draws.alone[unknown] = np.nan
    seeds = one["seed"].values.tolist()
    return ModelEffects(model, seeds, sources, data, items, basis, draws, settings.alpha)


def _answers(one: xr.Dataset) -> tuple[ItemTable | None, ...]:
    """Every target's answers, as the predictions have them."""
    tuned = one["item_correct"].transpose("seed", "source", "item").values
    base = one["base_item_correct"].transpose("seed", "item").values
    target_of = one["item_target"].values
    return tuple(
        ItemTable(*(np.where(v[..., here] < 0, np.nan, v[..., here]) for v in (base, tuned)))
        for here in (target_of == name for name in one["target"].values)
    )


def _plausible_tables(
    one: xr.Dataset, model: str, settings: Settings
) -> tuple[ItemTable | None, ...]:
    """A stand-in for every target's answers; None where the counts are not known throughout."""
    tuned, base, total, base_total = (
        one[name].transpose("seed", ..., "target").values
        for name in ("correct", "base_correct", "total", "base_total")
    )
    tables: list[ItemTable | None] = []
    for j, target in enumerate(one["target"].values.tolist()):
        totals = np.unique(np.append(total[..., j], base_total[..., j]))
        totals = totals[np.isfinite(totals)]
        known = np.isfinite(base[..., j]).all() and np.isfinite(tuned[..., j]).any()
        if len(totals) != 1 or not known:
            tables.append(None)
            continue
        of_items, of_runs = target.encode(), f"{target}/{model}".encode()
        answers = simulate.plausible_answers(
            base[..., j].astype(int),
            np.nan_to_num(tuned[..., j]).astype(int),
            int(totals[0]),
            item_correlation=settings.item_correlation,
            seeds=([settings.seed, *of_items], [settings.seed, *of_runs]),
        )
        tables.append(ItemTable(*(part.astype(np.float32) for part in answers[:2])))
    return tuple(tables)


def _centered(draws: Draws, data: ModelData) -> Draws:
    """The draws moved so that their means are the estimates (see `stats.intervals`)."""
    whole = averages(data.averaged, data.itself)

    def move(values: np.ndarray, estimate: np.ndarray) -> np.ndarray:
        known = np.isfinite(estimate).sum(axis=0)
        mean = np.nan_to_num(estimate).sum(axis=0) / np.where(known > 0, known, np.nan)
        shift = mean - draw_mean(values)
        return np.add(values, shift[..., None].astype(np.float32), out=values)

    cells, alone = move(draws.cells, data.effects), move(draws.alone, data.effects)
    averaged, averaged_alone = cells, alone  # moved already where they are the same arrays
    if data.left_out is not None:
        averaged = move(draws.averaged, data.averaged)
        averaged_alone = move(draws.averaged_alone, data.averaged)
    positive, negative = map(move, draws.sides, signed(data.averaged))
    return Draws(
        cells=cells,
        alone=alone,
        averaged=averaged,
        averaged_alone=averaged_alone,
        tasks={key: move(v, whole[key]) for key, v in draws.tasks.items()},
        tasks_alone={key: move(v, whole[key]) for key, v in draws.tasks_alone.items()},
        ahead={key: move(v, above_mean(whole[key])) for key, v in draws.ahead.items()},
        sides=(positive, negative),
    )


def null_draws(one: ModelEffects, settings: Settings) -> int:
    """Draws of a null model: fewer than set where the matrix is so large that memory ends."""
    affordable = NULL_VALUES // max(one.data.effects.size, 1)
    return min(settings.null_draws, max(100, affordable))


def no_transfer(
    one: ModelEffects, matrix: xr.Dataset, settings: Settings
) -> Float[np.ndarray, "draw seed source target"] | None:
    """Effects of this model under null model (a), where they have a part in averages; None where
    items are not known for all targets, where no effect is, and under preset `paper`.

    The correlations are those of the predictions where they exist; counts give only the one between
    seeds, and the one between adapters is the assumed one.
    """
    data = one.data
    known = np.isfinite(data.averaged)
    if settings.preset == "paper" or data.ceiling is None or not known.any():
        return None
    if any(table is None for table in data.items):
        return None
    part = matrix.sel(model=one.model, seed=one.seeds)
    tables = [table for table in data.counted if table is not None]
    counts = np.array([table.equivalent_items for table in tables])
    base = part["base_accuracy"].mean("seed").transpose("target").values
    tuned = data.kept(part["accuracy"].transpose("seed", "source", "target").values)
    between = settings.item_correlation
    if one.items == "predictions":
        between = _answer_correlation(tables)
    within = seed_correlation(tuned, counts)
    drawn = no_transfer_effects(
        base,
        counts,
        (null_draws(one, settings), *data.effects.shape[:2]),
        correlations=(between, between if np.isnan(within) else within),
        measure=settings.measure,
        ceiling=data.ceiling,
        seed=settings.seed,
    )
    return np.where(known, drawn, np.nan)


def _answer_correlation(tables: list[ItemTable]) -> float:
    """Correlation between the base's and an adapter's answers to one item, pooled over runs."""
    shared = total = 0.0
    for table in tables:
        base, tuned = np.broadcast_arrays(table.base[:, None], table.tuned)
        both = np.isfinite(base) & np.isfinite(tuned)
        number = np.maximum(both.sum(-1, keepdims=True), 1)
        one, two = (np.where(both, values, 0) for values in (base, tuned))
        one = np.where(both, one - one.sum(-1, keepdims=True) / number, 0)
        two = np.where(both, two - two.sum(-1, keepdims=True) / number, 0)
        shared += (one * two).sum()
        total += np.sqrt((one**2).sum(-1) * (two**2).sum(-1)).sum()
    return float(np.clip(shared / total, 0, 1)) if total > 0 else 0.0
