"""The cells of one model: each effect with its interval, tests and items.

In:   the model's `ModelEffects` and its part of the matrix.
Out:  `analysis.Cell` records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from transferscope.analysis import Cell
from transferscope.analysis.graph import seed_mean
from transferscope.analysis.model_effects import ModelEffects, pair
from transferscope.matrix.measure import MEASURES
from transferscope.matrix.pairing import cell_items
from transferscope.predictions import MOST_UNREADABLE
from transferscope.stats import benjamini_hochberg, sign_p_values
from transferscope.stats.significance import Changes, changes


def cells(one: ModelEffects, matrix: xr.Dataset) -> tuple[dict[str, dict[str, Cell]], np.ndarray]:
    """Every cell, and the q-values of the off-diagonal ones.

    Args:
        matrix: the model's, of the seeds of `one`.
    """
    values, data = one.data.effects, one.data
    mean = seed_mean(values)
    drawn = None if one.draws is None else one.draws.alone
    at_most_one = data.ceiling is not None and np.all(data.ceiling == 1)
    at_most_one &= MEASURES[data.measure].bounded
    ci = one.interval(drawn, mean, high=1.0 if at_most_one else np.inf)
    changed = None
    if one.items == "predictions":  # which give every target a table
        changed = [changes(table) for table in data.items if table is not None]
    p_values = np.full(mean.shape, np.nan) if drawn is None else sign_p_values(drawn, mean)
    ci[one.single], p_values[one.single] = np.nan, np.nan
    down, up = _unreadable(one, matrix)
    bounded = (down > 0) | (up > 0)
    ci += np.stack([-down, up], axis=-1)
    p_values[bounded] = np.nan  # bounds have no test
    q_values = _corrected(p_values, changed, data.itself)
    count = np.isfinite(values).sum(axis=0)
    squares = np.where(np.isfinite(values), (values - mean) ** 2, 0).sum(axis=0)
    std = np.sqrt(squares / np.where(count > 1, count - 1, np.nan))
    items = _items(one, matrix)
    found = {
        source: {
            target: Cell(
                mean=float(mean[i, j]),
                std=float(std[i, j]),
                ci=pair(ci[i, j]),
                p_value=float(p_values[i, j]),
                q_value=float(q_values[i, j]),
                seeds=one.by_seed(values[:, i, j]),
                mcnemar=None if changed is None else one.by_seed(changed[j].by_seed[:, i]),
                exact_p=None if changed is None or bounded[i, j] else float(changed[j].together[i]),
                **items[i][j],
            )
            for j, target in enumerate(data.targets)
        }
        for i, source in enumerate(one.sources)
    }
    return found, q_values


def _unreadable(one: ModelEffects, matrix: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """How far unreadable replies can move each effect, down and up: (source, target), 0 or more.

    Each of them may be right, of the base as of the run. 0 where at most `MOST_UNREADABLE` of the
    replies of base and run are.
    """
    size = one.data.effects.shape[1:]
    if "unreadable_count" not in matrix:
        return np.zeros(size), np.zeros(size)
    order = ("seed", "source", "target")
    of_run = (matrix["unreadable_count"] / matrix["run_total"]).fillna(0)
    of_base = (matrix["base_unreadable_count"] / matrix["base_total"]).fillna(0)
    of_base = of_base.broadcast_like(of_run)
    high = ((of_run > MOST_UNREADABLE) | (of_base > MOST_UNREADABLE)).transpose(*order).values
    base, tuned = matrix["paired_base_accuracy"], matrix["accuracy"]
    ceiling = matrix["ceiling"]
    least = ceiling - 1 / matrix["total"]  # with one error left PGF is at its lowest
    better = xr.where(base + of_base < ceiling, base + of_base, np.fmax(least, base))

    def effect(before: xr.DataArray, after: xr.DataArray) -> np.ndarray:
        change = MEASURES[one.data.measure].formula(before, after.clip(max=1), ceiling)
        return change.transpose(*order).values

    here = effect(base, tuned)
    ends = effect(better, tuned), effect(base, tuned + of_run)
    down, up = (seed_mean(np.where(high, abs(end - here), 0)) for end in ends)
    return np.nan_to_num(down), np.nan_to_num(up)


def _items(one: ModelEffects, matrix: xr.Dataset) -> list[list[dict[str, Any]]]:
    """`n`, `base` and `left_out` of each cell."""
    order = ("source", "target", "seed")
    items = cell_items(matrix).transpose(*order).values
    base = matrix["paired_base_accuracy"].transpose(*order).values
    whole = matrix["base_accuracy"].transpose("target", "seed").values
    few = one.data.left_out
    out = np.zeros(items.shape, bool) if few is None else few.transpose(1, 2, 0)

    def record(i: int, j: int) -> dict[str, Any]:
        known = np.isfinite(items[i, j])
        other = (np.isfinite(base[i, j]) & (base[i, j] != whole[j])).any()
        return {
            "n": float(items[i, j][known].mean()) if known.any() else None,
            "base": one.by_seed(base[i, j]) if other else None,
            "left_out": [seed for seed, off in zip(one.seeds, out[i, j], strict=True) if off],
        }

    return [[record(i, j) for j in range(items.shape[1])] for i in range(len(items))]


def _corrected(
    p_values: np.ndarray, changed: list[Changes] | None, itself: np.ndarray
) -> np.ndarray:
    """q-values of the off-diagonal cells.

    Of the larger of two p-values where both are known: with few changed items the draws alone are
    too certain (`stats.significance`), and one such p-value makes discoveries of others.
    """
    larger = p_values
    if changed is not None:
        by_items = np.stack([one.together for one in changed], axis=-1)
        larger = np.where(np.isnan(by_items), p_values, np.maximum(p_values, by_items))
    q_values = np.full(p_values.shape, np.nan)
    q_values[~itself] = benjamini_hochberg(larger[~itself])
    return q_values
