"""What is known of one model beyond its averages: item-level answers, and the draws made from them.

Item-level uncertainty comes from predictions where they exist. Where only counts do (accuracy
tables with counts, published PGF tables), a plausible item table with exactly those counts stands
in; where not even counts are known, intervals account for seeds alone, and say so.

In:   the matrix, a model's name, the settings.
Out:  `Evidence`: arrays, bootstrap draws, and null models of that model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from transferscope.analysis import Basis, Items, Sign
from transferscope.analysis.settings import Settings
from transferscope.matrix.measure import itself
from transferscope.matrix.pairing import left_out
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
from transferscope.stats.per_task import Average, above_mean, averages

if TYPE_CHECKING:
    import xarray as xr

Quantity = Literal["transferability", "malleability"]
View = Literal["joint", "alone", "means"]
"""What draws are for: to compare quantities, to look at each alone, or to take means over tasks.
Of two seeds, means are taken of what is told by others: they vary at most as what they are of, and
two values of a mean may agree by luck."""
NULL_VALUES = 50_000_000
"""Effects that the draws of a null model may hold together: a few hundred MB."""


@dataclass(frozen=True)
class Evidence:
    """One model's effects with what is known about their uncertainty."""

    model: str
    seeds: list[str]
    sources: list[str]
    data: ModelData
    items: Items
    basis: Basis
    draws: Draws | None
    """Centred on the estimates; None where nothing could be resampled, or under preset `paper`."""
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
        """Whether that is draws of quantities looked at alone."""
        return view == "alone" or (view == "means" and len(self.seeds) == 2)

    def interval(
        self,
        draws: np.ndarray | None,
        estimate: Float[np.ndarray, "*shape"],
        *,
        low: float = -np.inf,
        high: float = np.inf,
    ) -> Float[np.ndarray, "*shape 2"]:
        """`stats.intervals`, or NaN where there are no draws."""
        if draws is None:
            return np.full((*np.shape(estimate), 2), np.nan)
        return intervals(draws, estimate, self.alpha, low=low, high=high)


def gather(matrix: xr.Dataset, mu: xr.DataArray, model: str, settings: Settings) -> Evidence:
    """The evidence on one model.

    Args:
        matrix: the whole matrix, for its counts and item-level answers.
        mu: effects in the chosen measure, dimensions (model, seed, source, target).
    """
    effects = mu.sel(model=model).transpose("seed", "source", "target").values
    known = np.isfinite(effects).any(axis=(1, 2))
    # A base that leaves no gap has no effect in any seed, which were run nevertheless.
    ran = matrix["accuracy"].sel(model=model).notnull().any(("source", "target")).values
    present = known if known.any() else ran
    one = matrix.sel(model=model).isel(seed=np.flatnonzero(present))
    sources, targets = mu["source"].values.tolist(), mu["target"].values.tolist()
    tables = _item_tables(one, model, settings)
    ceiling = one["ceiling"].values
    out = left_out(matrix).sel(model=model).transpose("seed", "source", "target").values[present]
    data = ModelData(
        effects=effects[present],
        left_out=out if out.any() else None,
        itself=itself(sources, targets),
        items=tables,
        targets=tuple(targets),
        ceiling=None if settings.ceiling == "self" else ceiling,
        measure=settings.measure,
    )
    items: Items = "none"
    if any(table is not None for table in tables):
        items = "predictions" if _has_answers(one) else "counts"
    several = int(known.sum()) > 1
    basis: Basis = "none"
    if several:
        basis = "seeds" if items == "none" else "seeds and items"
    elif items != "none" and known.any():
        basis = "items"
    draws = None
    if basis != "none" and settings.preset == "default":
        raw = bootstrap(
            data,
            draws=settings.bootstrap,
            seed=settings.seed,
            model=model,
        )
        draws = _centred(raw, data)
        # One seed and no items: nothing was resampled, and a width of zero would be certainty.
        unknown = np.array([table is None for table in tables]) & (np.isfinite(effects).sum(0) < 2)
        draws.cells[unknown] = draws.alone[unknown] = np.nan
    seeds = one["seed"].values.tolist()
    return Evidence(model, seeds, sources, data, items, basis, draws, settings.alpha)


def _has_answers(one: xr.Dataset) -> bool:
    """Whether this model's items are known; beside it may stand models that have none."""
    return "item_correct" in one and bool((one["item_correct"] >= 0).any())


def _item_tables(one: xr.Dataset, model: str, settings: Settings) -> tuple[ItemTable | None, ...]:
    targets = one["target"].values.tolist()
    if _has_answers(one):
        tuned = one["item_correct"].transpose("seed", "source", "item").values
        base = one["base_item_correct"].transpose("seed", "item").values
        asked_of = one["item_target"].values
        return tuple(
            ItemTable(
                np.where(base[:, asked_of == name] < 0, np.nan, base[:, asked_of == name]),
                np.where(tuned[..., asked_of == name] < 0, np.nan, tuned[..., asked_of == name]),
            )
            for name in targets
        )
    counts = {
        name: one[name].transpose("seed", ..., "target").values
        for name in ("correct", "base_correct", "total", "base_total")
    }
    return tuple(
        _plausible_table({name: v[..., j] for name, v in counts.items()}, target, model, settings)
        for j, target in enumerate(targets)
    )


def _plausible_table(
    column: dict[str, np.ndarray], target: str, model: str, settings: Settings
) -> ItemTable | None:
    """A stand-in for one target's answers; None where its counts are not known throughout."""
    tuned, base = column["correct"], column["base_correct"]
    totals = np.unique(np.append(column["total"], column["base_total"]))
    totals = totals[np.isfinite(totals)]
    if len(totals) != 1 or not np.isfinite(base).all() or not np.isfinite(tuned).any():
        return None
    answers = simulate.plausible_answers(
        base.astype(int),
        np.nan_to_num(tuned).astype(int),
        int(totals[0]),
        item_correlation=settings.item_correlation,
        seeds=([settings.seed, *target.encode()], [settings.seed, *f"{target}/{model}".encode()]),
    )
    return ItemTable(answers.base.astype(np.float32), answers.tuned.astype(np.float32))


def _centred(draws: Draws, data: ModelData) -> Draws:
    """The draws moved so that their means are the estimates (see `stats.intervals`)."""
    whole = averages(data.averaged, data.itself)

    def move(values: np.ndarray, estimate: np.ndarray) -> np.ndarray:
        known = np.isfinite(estimate).sum(axis=0)
        mean = np.nan_to_num(estimate).sum(axis=0) / np.where(known > 0, known, np.nan)
        shift = mean - draw_mean(values)
        return np.add(values, shift[..., None].astype(np.float32), out=values)

    def move_each(
        tasks: dict[Average, np.ndarray], to: dict[Average, np.ndarray]
    ) -> dict[Average, np.ndarray]:
        return {key: move(values, to[key]) for key, values in tasks.items()}

    positive, negative = map(move, draws.sides, signed(data.averaged))
    cells, alone = move(draws.cells, data.effects), move(draws.alone, data.effects)
    averaged, averaged_alone = cells, alone  # moved already where they are the same arrays
    if data.left_out is not None:
        averaged = move(draws.averaged, data.averaged)
        averaged_alone = move(draws.averaged_alone, data.averaged)
    return Draws(
        cells=cells,
        alone=alone,
        averaged=averaged,
        averaged_alone=averaged_alone,
        tasks=move_each(draws.tasks, whole),
        tasks_alone=move_each(draws.tasks_alone, whole),
        ahead=move_each(draws.ahead, {key: above_mean(its) for key, its in whole.items()}),
        sides=(positive, negative),
    )


def null_draws(evidence: Evidence, settings: Settings) -> int:
    """Draws of a null model: fewer than asked for where the matrix is so large that memory ends."""
    affordable = NULL_VALUES // max(evidence.data.effects.size, 1)
    return min(settings.null_draws, max(100, affordable))


def no_transfer(
    evidence: Evidence, matrix: xr.Dataset, settings: Settings
) -> Float[np.ndarray, "draw seed source target"] | None:
    """Effects of this model under null model (a), where they have a part in averages; None where
    items are not known for all targets, or no such effect is.

    The correlations are those of the predictions where they exist; from counts, only the one
    between seeds can be told, and the one between adapters is the assumed one.
    """
    data = evidence.data
    if any(table is None for table in data.items) or data.ceiling is None:
        return None
    known = np.isfinite(data.averaged)
    if not known.any():
        return None
    one = matrix.sel(model=evidence.model, seed=evidence.seeds)
    tables = [table for table in data.counted if table is not None]
    counts = np.array([table.equivalent_items for table in tables])
    base = one["base_accuracy"].mean("seed").transpose("target").values
    tuned = data.kept(one["accuracy"].transpose("seed", "source", "target").values)
    between = settings.item_correlation
    if evidence.items == "predictions":
        between = _answer_correlation(tables)
    within = seed_correlation(tuned, counts)
    effects = no_transfer_effects(
        base,
        counts,
        (null_draws(evidence, settings), *data.effects.shape[:2]),
        correlations=(between, between if np.isnan(within) else within),
        measure=settings.measure,
        ceiling=data.ceiling,
        seed=settings.seed,
    )
    return np.where(known, effects, np.nan)


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
