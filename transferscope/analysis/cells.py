"""The cells of one model: each effect with its interval, tests and items.

In:   the model's `Evidence` and its part of the matrix.
Out:  `analysis.Cell` records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from transferscope import stats
from transferscope.analysis import Cell, graph
from transferscope.analysis.bootstrap import Evidence
from transferscope.matrix import measure
from transferscope.matrix.pairing import cell_items
from transferscope.predictions import MOST_UNREADABLE
from transferscope.stats import exact


def cells(evidence: Evidence, matrix: xr.Dataset) -> tuple[dict[str, dict[str, Cell]], np.ndarray]:
    """Every cell, and the q-values of the off-diagonal ones.

    Args:
        matrix: the model's, of the seeds of `evidence`.
    """
    values, data = evidence.data.effects, evidence.data
    mean = graph.seed_mean(values)
    drawn = None if evidence.draws is None else evidence.draws.alone
    capped = data.measure == "pgf" and data.ceiling is not None and np.all(data.ceiling == 1)
    ci = evidence.interval(drawn, mean, high=1.0 if capped else np.inf)
    changed = None
    if evidence.items == "predictions":  # which give every target a table
        changed = [exact.changes(table) for table in data.items if table is not None]
    p_values = np.full(mean.shape, np.nan)
    if drawn is not None:
        p_values = stats.sign_p_values(drawn, mean)
    ci[evidence.single], p_values[evidence.single] = np.nan, np.nan
    down, up = _unread(evidence, matrix)
    bounded = (down > 0) | (up > 0)
    ci += np.stack([-down, up], axis=-1)
    p_values[bounded] = np.nan  # bounds have no test
    q_values = _corrected(p_values, changed, data.itself)
    count = np.isfinite(values).sum(axis=0)
    squares = np.where(np.isfinite(values), (values - mean) ** 2, 0).sum(axis=0)
    std = np.sqrt(squares / np.where(count > 1, count - 1, np.nan))

    def by_seed(numbers: np.ndarray) -> dict[str, float]:
        return dict(zip(evidence.seeds, numbers.tolist(), strict=True))

    items = _items(evidence, matrix)
    found = {
        source: {
            target: Cell(
                mean=float(mean[i, j]),
                std=float(std[i, j]),
                ci=pair(ci[i, j]),
                p_value=float(p_values[i, j]),
                q_value=float(q_values[i, j]),
                seeds=by_seed(values[:, i, j]),
                mcnemar=None if changed is None else by_seed(changed[j].by_seed[:, i]),
                exact_p=None if changed is None or bounded[i, j] else float(changed[j].together[i]),
                **items[i][j],
            )
            for j, target in enumerate(data.targets)
        }
        for i, source in enumerate(evidence.sources)
    }
    return found, q_values


def _unread(evidence: Evidence, matrix: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """How far unreadable replies can move each effect, down and up: (source, target), 0 or more.

    Each of them may be right, of the base as of the run. 0 where at most `MOST_UNREADABLE` of the
    replies of base and run are.
    """
    size = evidence.data.effects.shape[1:]
    if "unreadable_count" not in matrix:
        return np.zeros(size), np.zeros(size)
    order = ("seed", "source", "target")
    of_run = (matrix["unreadable_count"] / matrix["run_total"]).fillna(0)
    of_base = (matrix["base_unreadable_count"] / matrix["base_total"]).fillna(0)
    of_base = of_base.broadcast_like(of_run)
    high = (of_run > MOST_UNREADABLE) | (of_base > MOST_UNREADABLE)
    base, tuned, ceiling = (
        matrix["paired_base_accuracy"],
        matrix["accuracy"],
        matrix["ceiling"],
    )
    least = ceiling - 1 / matrix["total"]  # with one error left PGF is at its lowest
    better = xr.where(base + of_base < ceiling, base + of_base, np.fmax(least, base))

    def effect(before: xr.DataArray, after: xr.DataArray) -> np.ndarray:
        bounds = {"ceiling": ceiling} if evidence.data.measure == "pgf" else {}
        change = getattr(measure, evidence.data.measure)(before, after.clip(max=1), **bounds)
        return change.transpose(*order).values

    here, bounded = effect(base, tuned), high.transpose(*order).values

    def distance(end: np.ndarray) -> np.ndarray:
        return np.nan_to_num(graph.seed_mean(np.where(bounded, abs(end - here), 0)))

    return distance(effect(better, tuned)), distance(effect(base, tuned + of_run))


def _items(evidence: Evidence, matrix: xr.Dataset) -> list[list[dict[str, Any]]]:
    """What each cell says of its items: `n`, `base` and `left_out`."""
    order = ("source", "target", "seed")
    items = cell_items(matrix).transpose(*order).values
    base = matrix["paired_base_accuracy"].transpose(*order).values
    whole = matrix["base_accuracy"].transpose("target", "seed").values
    left_out = evidence.data.left_out
    out = np.zeros(items.shape, bool) if left_out is None else left_out.transpose(1, 2, 0)

    def record(number: np.ndarray, of_base: np.ndarray, own: np.ndarray, out: np.ndarray) -> Any:
        known = np.isfinite(number)
        other = (np.isfinite(of_base) & (of_base != own)).any()
        return {
            "n": float(number[known].mean()) if known.any() else None,
            "base": dict(zip(evidence.seeds, of_base.tolist(), strict=True)) if other else None,
            "left_out": [seed for seed, off in zip(evidence.seeds, out, strict=True) if off],
        }

    return [
        [record(*parts) for parts in zip(*rows, strict=True)]
        for rows in zip(items, base, [whole] * len(items), out, strict=True)
    ]


def _corrected(
    p_values: np.ndarray, changed: list[exact.Changes] | None, itself: np.ndarray
) -> np.ndarray:
    """q-values of the off-diagonal cells.

    Of the larger of two p-values where both are known: of a few changed items the draws alone are
    too sure (`stats.exact`), and one such p-value makes discoveries of others.
    """
    larger = p_values
    if changed is not None:
        by_items = np.stack([one.together for one in changed], axis=-1)
        larger = np.where(np.isnan(by_items), p_values, np.maximum(p_values, by_items))
    q_values = np.full(p_values.shape, np.nan)
    q_values[~itself] = stats.benjamini_hochberg(larger[~itself])
    return q_values


def pair(ends: np.ndarray) -> tuple[float, float]:
    """An interval as plain numbers."""
    return float(ends[0]), float(ends[1])
