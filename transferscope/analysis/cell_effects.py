"""The cells of one model: each effect with its interval, test, items and what to expect of it.

In:   the model's `ModelEffects`.
Out:  `analysis.Cell` records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from transferscope.analysis import Cell
from transferscope.analysis.graph import seed_mean
from transferscope.analysis.model_effects import ModelEffects
from transferscope.matrix.measure import MEASURES, known_mean
from transferscope.predictions import MOST_UNREADABLE
from transferscope.stats import Effect, benjamini_hochberg, mcnemar, paired_effects, stacked
from transferscope.stats.effects import variance_over_seeds
from transferscope.stats.expectation import Expected, expectation


def cells(one: ModelEffects) -> dict[str, dict[str, Cell]]:
    """Every cell."""
    values, unknown = one.runs.effects, np.full(one.itself.shape, np.nan)
    change = stacked([each.effect for each in one.runs.by_target]).change
    ci, change_ci, p_values = _tests(one)
    expected = Expected(*[unknown] * 3)
    if one.has_intervals and one.in_accuracy:
        expected = expectation(one.runs.counted, one.itself)
    (down, up), (lost, won) = (_unreadable(one, m) for m in (None, "raw_gain"))
    bounded = (lost > 0) | (won > 0)
    ci = ci + np.stack([-down, up], -1)
    change_ci = np.clip(change_ci + np.stack([-lost, won], -1), -1, 1)
    p_values[bounded] = np.nan  # bounds have no test, and nothing to expect
    expected = Expected(*(np.where(bounded, np.nan, part) for part in expected))
    q_values = unknown.copy()
    q_values[~one.itself] = benjamini_hochberg(p_values[~one.itself])
    return one.records(
        Cell,
        {"seeds": values} | ({"mcnemar": _mcnemar(one)} if one.items == "predictions" else {}),
        mean=seed_mean(values),
        std=np.sqrt(variance_over_seeds(values)),
        ci=ci,
        p_value=p_values,
        q_value=q_values,
        change=change if one.in_accuracy else unknown,
        change_ci=change_ci if one.in_accuracy else np.full_like(change_ci, np.nan),
        expected=expected.mean,
        helps=expected.helps,
        harms=expected.harms,
        **_confidence(one),
        **_items(one),
    )


def _tests(one: ModelEffects) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interval in the measure and of the change, (source, target, 2), and p-values."""
    mean = seed_mean(one.runs.effects)
    effect = stacked([each.effect for each in one.runs.by_target])
    ci = np.full((*mean.shape, 2), np.nan)
    if not one.has_intervals:
        return ci, ci, np.full(mean.shape, np.nan)
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


def _mcnemar(one: ModelEffects) -> Float[np.ndarray, "seed source target"]:
    """McNemar's p-value of each seed; NaN where answers are not right or wrong."""
    found = np.full(one.runs.effects.shape, np.nan)
    assert one.marks is not None
    for j in range(len(one.targets)):
        marks = one.marks(j)
        base, tuned = marks.base[:, None], marks.tuned[:, : len(one.sources)]
        both = np.isfinite(base) & np.isfinite(tuned)
        known = both.any(-1) & ~((base % 1 > 0) | (tuned % 1 > 0)).any(-1)
        found[..., j] = np.where(known, mcnemar((base == 1) & both, (tuned == 1) & both), np.nan)
    return found


def _confidence(one: ModelEffects) -> dict[str, list[list[Any]]]:
    """`confidence` and its interval, [source][target]; empty where no log-probability is known."""
    matrix = one.matrix
    if "item_confidence" not in matrix or "base_item_confidence" not in matrix:
        return {}
    tuned = matrix["item_confidence"].transpose("seed", "source", "item").values.astype(float)
    base = matrix["base_item_confidence"].transpose("seed", "item").values.astype(float)
    found: list[Effect] = []
    for j, target in enumerate(one.targets):
        here = matrix["item_target"].values == target
        measured = np.isfinite(one.runs.changes[..., j])[..., None]
        after = np.where(measured, tuned[..., here], np.nan)
        groups = matrix["item_group"].values[here]
        found.append(paired_effects(base[:, here], after, groups=groups).effect)
    effect = stacked(found)
    known = np.isfinite(effect.change)
    return {
        "confidence": _where(known, effect.change),
        "confidence_ci": _where(known, np.stack(effect.interval(one.alpha), axis=-1)),
    }


def _where(known: np.ndarray, values: np.ndarray) -> list[list[Any]]:
    """The known values as plain numbers, [source][target]; None for the others."""
    rows = zip(values.tolist(), known.tolist(), strict=True)
    return [[v if is_known else None for v, is_known in zip(*row, strict=True)] for row in rows]


def _unreadable(one: ModelEffects, name: str | None) -> Float[np.ndarray, "2 source target"]:
    """How far unreadable replies can move each effect, down and up; 0 or more.

    Each of them may be right, of the base as of the run. 0 where at most `MOST_UNREADABLE` of the
    replies of base and run are.

    Args:
        name: of the measure; None for that of the settings.
    """
    nothing = np.zeros((2, *one.runs.effects.shape[1:]))
    if "unreadable_count" not in one.matrix:
        return nothing

    of_run, of_base = (
        np.nan_to_num(one.read(f"{prefix}unreadable_count") / one.read(total))
        for prefix, total in (("", "run_total"), ("base_", "base_total"))
    )
    high = (of_run > MOST_UNREADABLE) | (of_base > MOST_UNREADABLE)
    if not high.any():
        return nothing
    base, tuned, ceiling = map(one.read, ("paired_base_accuracy", "accuracy", "ceiling"))
    measure = MEASURES[name or one.settings.measure]
    least = ceiling
    if measure.slope:
        least = ceiling - 1 / one.read("total")  # with one error left PGF is at its lowest
    better = np.where(base + of_base < ceiling, base + of_base, np.fmax(least, base))
    here = measure.effect(base, tuned, ceiling)
    ends = (
        measure.effect(better, tuned, ceiling),
        measure.effect(base, np.minimum(tuned + of_run, 1), ceiling),
    )
    return np.nan_to_num([seed_mean(np.where(high, abs(end - here), 0)) for end in ends])


def _items(one: ModelEffects) -> dict[str, list[list[Any]]]:
    """`n`, `base` and `left_out` of each cell, [source][target]."""
    total, base, whole = map(one.read, ("total", "paired_base_accuracy", "base_accuracy"))
    items = known_mean(np.where(np.isnan(total), np.nan, np.fmin(total, one.read("base_total"))))
    other = (np.isfinite(base) & (base != whole)).any(axis=0)
    places = [[(i, j) for j in range(base.shape[2])] for i in range(base.shape[1])]

    def base_of(at: tuple[int, int]) -> dict[str, float] | None:
        return one.by_seed(base[:, *at]) if other[at] else None

    few, seeds = one.runs.left_out, np.array(one.seeds)
    return {
        "n": _where(np.isfinite(items), items),
        "base": [[base_of(at) for at in row] for row in places],
        "left_out": [[seeds[few[:, *at]].tolist() for at in row] for row in places],
    }
