"""Null models: what a matrix looks like when there is less in it than one might think.

    no transfer    no finetune does anything; sampling noise and one shared baseline remain
    column shift   targets differ, sources do not

In:   accuracies and item counts, or a seed-mean matrix; a seed.
Out:  effects, draw by draw.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from transferscope.matrix.measure import Measure
from transferscope.stats import effect_of_errors, simulate


def no_transfer_effects(
    base_accuracy: Float[np.ndarray, " target"],
    items: Int[np.ndarray, " target"],
    shape: tuple[int, int, int],
    *,
    correlations: tuple[float, float],
    measure: Measure,
    ceiling: Float[np.ndarray, " target"],
    seed: int,
) -> Float[np.ndarray, "draw seed source target"]:
    """Null model (a): mu where no finetune does anything: sampling noise and a shared baseline.

    The baseline is measured once, so what it got wrong by bad luck looks like a gain of every
    source: whole columns turn positive, and cliques appear.

    Args:
        shape: draws, seeds, sources.
        correlations: of answers to one item, between adapters and between seeds of one.
    """
    rng = np.random.default_rng([seed, 1])
    base, tuned = simulate.no_transfer_accuracies(base_accuracy, items, shape, correlations, rng)
    return effect_of_errors(measure, 1 - base[:, None, None], 1 - tuned, 1 - ceiling)


def column_shift_effects(
    mean: Float[np.ndarray, "source target"],
    itself: Bool[np.ndarray, "source target"],
    draws: int,
    seed: int,
) -> Float[np.ndarray, "draw source target"]:
    """Null model (b): targets differ, sources do not. Residuals permuted across sources.

    Each target keeps its mean and its values; which source they came from is shuffled, the
    diagonal left in place.
    """
    rng = np.random.default_rng([seed, 2])
    shuffled = np.broadcast_to(mean, (draws, *mean.shape)).copy()
    for j in range(mean.shape[1]):
        others = np.flatnonzero(~itself[:, j])
        order = rng.random((draws, len(others))).argsort(axis=1)
        shuffled[:, others, j] = mean[others[order], j]
    return shuffled


def seed_correlation(
    accuracy: Float[np.ndarray, "seed source target"], items: Int[np.ndarray, " target"]
) -> float:
    """How far two seeds of one adapter agree on items, from how little their counts differ.

    The variance of a count between seeds is n p (1 - p) (1 - correlation) where seeds differ item
    by item; where training also moves a seed as a whole, the correlation comes out too low, never
    too high. NaN with one seed or no variation.
    """
    if len(accuracy) < 2:
        return np.nan
    spread = accuracy.var(axis=0, ddof=1) * items
    chance = accuracy.mean(axis=0) * (1 - accuracy.mean(axis=0))
    known = np.isfinite(spread) & np.isfinite(chance)
    total = chance[known].sum()
    return float(np.clip(1 - spread[known].sum() / total, 0, 1)) if total > 0 else np.nan
