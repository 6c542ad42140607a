"""What is one number for each task: transferability and malleability, and what seeds add to them.

In:   effects of one model, seeds first.
Out:  averages of each task, and how far seeds differ in them.

Opens no file.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from transferscope.matrix.measure import signed_parts
from transferscope.stats.seeds import Spread, spread_of_tasks

Average = tuple[str, str, bool]
"""Transferability or malleability, positive or negative, and whether self-transfer counts."""
AXES = {"transferability": 2, "malleability": 1}
"""Over which axis of (seed, source, target) each is an average."""


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
    """How far each task lies above the mean of those that have a value."""
    known = np.isfinite(values)
    if known.all():
        return values - values.mean(axis=1, keepdims=True)
    count = known.sum(axis=1, keepdims=True)
    total = np.where(known, values, 0).sum(axis=1, keepdims=True)
    return values - total / np.where(count > 0, count, np.nan).astype(values.dtype)


def spread_of_averages(
    effects: Float[np.ndarray, "seed source target"], itself: Bool[np.ndarray, "source target"]
) -> dict[Average, tuple[Spread, Spread]]:
    """How far seeds differ in `averages` and in what is `above_mean` of them.

    Targets are in units of their own, as their gaps are.
    """
    found = {}
    for key, values in averages(effects, itself).items():
        quantity, _, with_self = key
        cells = effects if with_self else np.where(itself, np.nan, effects)
        of_targets = cells if quantity == "malleability" else None
        of_above = spread_of_tasks(above_mean(values), of_targets)
        found[key] = spread_of_tasks(values, of_targets), of_above
    return found
