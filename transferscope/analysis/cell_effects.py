"""The cells of one model: each effect with its interval, test, items and what to expect of it.

In:   the model's `ModelEffects` and its part of the matrix.
Out:  `analysis.Cell` records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from transferscope.analysis import Cell
from transferscope.analysis.graph import seed_mean
from transferscope.analysis.model_effects import ModelEffects, pair
from transferscope.matrix.measure import MEASURES
from transferscope.matrix.pairing import cell_items
from transferscope.predictions import MOST_UNREADABLE
from transferscope.stats import benjamini_hochberg, mcnemar, paired_effects, stacked
from transferscope.stats.effects import variance_over_seeds
from transferscope.stats.expectation import Expected, expectation

_ORDER = ("seed", "source", "target")


def cells(one: ModelEffects, matrix: xr.Dataset) -> dict[str, dict[str, Cell]]:
    """Every cell.

    Args:
        matrix: the model's, of the seeds of `one`.
    """
    values = one.runs.effects
    mean, change = seed_mean(values), stacked([each.effect for each in one.runs.by_target]).change
    ci, change_ci, p_values = _tests(one)
    expected = Expected(*np.full((3, *mean.shape), np.nan))
    if one.has_intervals and one.in_accuracy:
        expected = expectation(one.runs.counted, one.itself)
    (down, up), (lost, won) = (_unreadable(one, matrix, m) for m in (None, "raw_gain"))
    bounded = (lost > 0) | (won > 0)
    ci, change_ci = ci + np.stack([-down, up], -1), change_ci + np.stack([-lost, won], -1)
    p_values[bounded] = np.nan  # bounds have no test, and nothing to expect
    expected = Expected(*(np.where(bounded, np.nan, part) for part in expected))
    q_values = np.full(p_values.shape, np.nan)
    q_values[~one.itself] = benjamini_hochberg(p_values[~one.itself])
    changed, items = _mcnemar(one, matrix), _items(one, matrix)
    sure = _confidence(one, matrix)
    std = np.sqrt(variance_over_seeds(values))
    return {
        source: {
            target: Cell(
                mean=float(mean[i, j]),
                std=float(std[i, j]),
                ci=pair(ci[i, j]),
                p_value=float(p_values[i, j]),
                q_value=float(q_values[i, j]),
                seeds=one.by_seed(values[:, i, j]),
                change=float(change[i, j]) if one.in_accuracy else np.nan,
                change_ci=pair(change_ci[i, j]) if one.in_accuracy else (np.nan, np.nan),
                expected=float(expected.mean[i, j]),
                helps=float(expected.helps[i, j]),
                harms=float(expected.harms[i, j]),
                mcnemar=None if changed is None else one.by_seed(changed[:, i, j]),
                **({} if sure is None else sure[j][i]),
                **items[i][j],
            )
            for j, target in enumerate(one.targets)
        }
        for i, source in enumerate(one.sources)
    }


def _tests(one: ModelEffects) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interval in the measure and of the change, (source, target, 2), and p-values."""
    mean, effect = (
        seed_mean(one.runs.effects),
        stacked([each.effect for each in one.runs.by_target]),
    )
    nothing = np.full((*mean.shape, 2), np.nan)
    if not one.has_intervals:
        return nothing, nothing, np.full(mean.shape, np.nan)
    ci = nothing.copy()
    for j, target in enumerate(one.runs.by_target):
        denominator, slope = one.denominator(target, j)
        ends = target.ratio(denominator, slope, one.alpha)
        # Of several bases, the mean of the ratios is not the ratio of the means.
        apart = mean[:, j] - target.change / denominator
        # From a loss of all accuracy to a gain of all that is left.
        lowest, highest = -target.base / denominator, (1 - target.base) / denominator
        for end, values in enumerate(ends):
            ci[:, j, end] = np.clip(values + apart, lowest, highest)
    change_ci = np.stack(effect.interval(one.alpha), axis=-1)
    if not one.in_accuracy:
        ci = effect.change[..., None] + effect.reach(one.alpha)[..., None] * [-1.0, 1.0]
    return ci, change_ci, np.array(effect.p)


def _mcnemar(one: ModelEffects, matrix: xr.Dataset) -> np.ndarray | None:
    """McNemar's p-value of each seed, (seed, source, target); None where items are not known.

    NaN where answers are not right or wrong.
    """
    if one.items != "predictions":
        return None
    base = matrix["base_item_correct"].transpose("seed", "item").values[:, None]
    tuned = matrix["item_correct"].transpose("seed", "source", "item").values
    both = (base >= 0) & (tuned >= 0)
    whole = ~((base % 1 != 0) | (tuned % 1 != 0))
    found = np.full((*tuned.shape[:2], len(one.targets)), np.nan)
    for j, target in enumerate(one.targets):
        here = matrix["item_target"].values == target
        right, there = [(marks[..., here] == 1) & both[..., here] for marks in (base, tuned)]
        known = both[..., here].any(-1) & whole[..., here].all(-1)
        found[..., j] = np.where(known, mcnemar(right, there), np.nan)
    return found


def _confidence(one: ModelEffects, matrix: xr.Dataset) -> list[list[dict[str, Any]]] | None:
    """`confidence` and its interval, [target][source]; None where no log-probability is known."""
    if "item_confidence" not in matrix or "base_item_confidence" not in matrix:
        return None
    tuned = matrix["item_confidence"].transpose("seed", "source", "item").values.astype(float)
    base = matrix["base_item_confidence"].transpose("seed", "item").values.astype(float)
    groups, found = matrix["item_group"].values, []
    for j, target in enumerate(one.targets):
        here = matrix["item_target"].values == target
        measured = np.isfinite(one.runs.changes[..., j])[..., None]
        effect = paired_effects(
            base[:, here], np.where(measured, tuned[..., here], np.nan), groups=groups[here]
        ).effect
        low, high = effect.interval(one.alpha)
        known = np.isfinite(effect.change)
        found.append(
            [
                {"confidence": float(change), "confidence_ci": (float(a), float(b))} if here else {}
                for change, a, b, here in zip(effect.change, low, high, known, strict=True)
            ]
        )
    return found


def _unreadable(
    one: ModelEffects, matrix: xr.Dataset, name: str | None
) -> Float[np.ndarray, "2 source target"]:
    """How far unreadable replies can move each effect, down and up; 0 or more.

    Each of them may be right, of the base as of the run. 0 where at most `MOST_UNREADABLE` of the
    replies of base and run are.

    Args:
        name: of the measure; None for that of the settings.
    """
    nothing = np.zeros((2, *one.runs.effects.shape[1:]))
    if "unreadable_count" not in matrix:
        return nothing

    def known(name: str) -> np.ndarray:
        """A variable, (seed, source or 1, target or 1)."""
        found = matrix[name]
        return (
            found.expand_dims([d for d in _ORDER if d not in found.dims]).transpose(*_ORDER).values
        )

    of_run, of_base = (
        np.nan_to_num(known(f"{prefix}unreadable_count") / known(total))
        for prefix, total in (("", "run_total"), ("base_", "base_total"))
    )
    high = (of_run > MOST_UNREADABLE) | (of_base > MOST_UNREADABLE)
    if not high.any():
        return nothing
    base, tuned, ceiling = map(known, ("paired_base_accuracy", "accuracy", "ceiling"))
    measure = MEASURES[name or one.settings.measure]
    least = ceiling
    if measure.slope:
        least = ceiling - 1 / known("total")  # with one error left PGF is at its lowest
    better = np.where(base + of_base < ceiling, base + of_base, np.fmax(least, base))
    here = measure.effect(base, tuned, ceiling)
    ends = (
        measure.effect(better, tuned, ceiling),
        measure.effect(base, np.minimum(tuned + of_run, 1), ceiling),
    )
    return np.nan_to_num([seed_mean(np.where(high, abs(end - here), 0)) for end in ends])


def _items(one: ModelEffects, matrix: xr.Dataset) -> list[list[dict[str, Any]]]:
    """`n`, `base` and `left_out` of each cell."""
    order = ("source", "target", "seed")
    items = cell_items(matrix).transpose(*order).values
    base = matrix["paired_base_accuracy"].transpose(*order).values
    whole = matrix["base_accuracy"].transpose("target", "seed").values
    few = one.runs.left_out.transpose(1, 2, 0)

    def record(i: int, j: int) -> dict[str, Any]:
        known = np.isfinite(items[i, j])
        other = (np.isfinite(base[i, j]) & (base[i, j] != whole[j])).any()
        return {
            "n": float(items[i, j][known].mean()) if known.any() else None,
            "base": one.by_seed(base[i, j]) if other else None,
            "left_out": [seed for seed, off in zip(one.seeds, few[i, j], strict=True) if off],
        }

    return [[record(i, j) for j in range(items.shape[1])] for i in range(len(items))]
