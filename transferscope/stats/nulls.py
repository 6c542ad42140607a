"""Null models: what a matrix looks like when there is less in it than one might think.

no transfer    no finetune does anything; sampling noise and one shared baseline remain
column shift   targets differ, sources do not
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from transferscope.matrix.measure import MEASURES


def no_transfer_effects(
    base_accuracy: Float[np.ndarray, " target"],
    items: Int[np.ndarray, " target"],
    shape: tuple[int, int, int],
    *,
    correlations: tuple[float, float],
    measure: str,
    ceiling: Float[np.ndarray, " target"],
    seed: int,
) -> Float[np.ndarray, "draw seed source target"]:
    """Null model (a): mu where no finetune does anything: sampling noise and a shared baseline.

    The baseline is measured once, so what it got wrong by bad luck looks like a gain of every
    source: whole columns turn positive, and cliques appear. Counts are drawn from the normal
    approximation to the simulated study and rounded.

    Args:
        shape: draws, seeds, sources.
        correlations: of answers to one item, between adapters and between seeds of one.
    """
    rng = np.random.default_rng([seed, 1])
    draws, seeds, sources = shape
    between, within = correlations
    within = max(within, between)
    size = (draws, len(items))
    common = np.sqrt(between) * rng.standard_normal(size, dtype=np.float32)
    base = common + np.sqrt(1 - between) * rng.standard_normal(size, dtype=np.float32)
    adapter = rng.standard_normal((draws, 1, sources, len(items)), dtype=np.float32)
    run = rng.standard_normal((draws, seeds, sources, len(items)), dtype=np.float32)
    tuned = common[:, None, None] + np.sqrt(within - between) * adapter + np.sqrt(1 - within) * run
    spread = np.sqrt(base_accuracy * (1 - base_accuracy) * items)

    def errors(score: np.ndarray) -> np.ndarray:
        right = np.round(base_accuracy * items + spread * score)
        return 1 - np.clip(right, 0, items) / items

    rates = errors(base)[:, None, None], errors(tuned)
    return MEASURES[measure].from_errors(*rates, 1 - ceiling)


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
