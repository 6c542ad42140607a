"""Random draws of a whole matrix, for quantities that many effects go into.

Averages, shares and cliques have no formula for their uncertainty. So the noise of all effects is
drawn together: each group of items moves all sources of its target, in every model, and seeds move
each run by itself. Draws are always the last axis.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from transferscope.stats.effects import TargetEffects

DRAWS, NULL_DRAWS = 2_000, 500
MOST_VALUES = 8_000_000
"""Effects that draws may hold together, some 30 MB; large matrices have fewer draws."""


def affordable(draws: int, cells: int) -> int:
    """So many draws of a matrix, or fewer where the cells are so many that memory ends."""
    return min(draws, max(20, MOST_VALUES // max(cells, 1)))


def noise(
    effects: Sequence[TargetEffects], names: Sequence[str], *, seed: int, model: str, draws: int
) -> Float[np.ndarray, "source target draw"]:
    """Errors of the mean over seeds, as large as each effect's variance makes them; float32, and 0
    where an effect is unknown.

    Args:
        names: of the targets; items of one target move alike in all models.
    """
    drawn = np.empty((len(effects[0].change), len(effects), draws), np.float32)
    for j, one in enumerate(effects):
        of_seeds = np.random.default_rng([seed, 1, *f"{names[j]}/{model}".encode()])
        items = _of_items(seed, names[j], one.influence.shape[1], draws)
        drawn[:, j] = np.nan_to_num(one.influence).astype(np.float32) @ items
        if not np.nan_to_num(one.moved).any() and not one.base_moved:  # one seed
            continue
        # Student's t: how far seeds differ is an estimate, and the same one for all sources.
        df = one.seeds_df.max()
        wide = np.sqrt(df / of_seeds.chisquare(df, draws)).astype(np.float32)
        spread = np.sqrt([np.nan_to_num(one.moved), np.full(len(one.moved), one.base_moved)])
        spread = (spread / np.sqrt(np.maximum(one.seeds, 1))).astype(np.float32)[..., None]
        base = of_seeds.standard_normal(draws, dtype=np.float32)
        runs = of_seeds.standard_normal(drawn[:, j].shape, dtype=np.float32)
        drawn[:, j] += wide * (spread[0] * runs + spread[1] * base)
    return drawn


@lru_cache(16)  # the models of a study share them; a target's are a few megabytes
def _of_items(seed: int, target: str, groups: int, draws: int) -> np.ndarray:
    rng = np.random.default_rng([seed, *target.encode()])
    return rng.standard_normal((groups, draws), dtype=np.float32)


def no_transfer(
    effects: Sequence[TargetEffects], *, seeds: int, seed: int, draws: int
) -> Float[np.ndarray, "draw seed source target"]:
    """Each seed's effects where no finetune does anything: what luck alone makes; float32.

    The base is measured once, so what it got wrong by bad luck looks like a gain of every source:
    whole columns turn positive, and cliques appear.
    """
    rng = np.random.default_rng([seed, 2])
    drawn = np.empty((draws, seeds, len(effects[0].change), len(effects)), np.float32)
    for j, one in enumerate(effects):
        items = rng.standard_normal((draws, 1, one.influence.shape[1]), dtype=np.float32)
        runs = rng.standard_normal(drawn.shape[:-1], dtype=np.float32)
        base = rng.standard_normal((draws, seeds, 1), dtype=np.float32)
        drawn[..., j] = items @ np.nan_to_num(one.influence).T.astype(np.float32)
        drawn[..., j] += np.sqrt(np.nan_to_num(one.moved)) * runs + np.sqrt(one.base_moved) * base
    return drawn


def column_shift(
    mean: Float[np.ndarray, "source target"],
    itself: np.ndarray,
    draws: int,
    seed: int,
) -> Float[np.ndarray, "draw source target"]:
    """Matrices in which targets differ and sources do not: residuals permuted across sources.

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


def intervals(
    draws: Float[np.ndarray, "*shape draw"],
    estimate: Float[np.ndarray, "*shape"],
    alpha: float,
    *,
    low: float = -np.inf,
    high: float = np.inf,
) -> Float[np.ndarray, "*shape 2"]:
    """Where a quantity would lie in 1 - alpha of studies of this size.

    The draws' quantiles, moved so that their median is the estimate: a sum of positive parts is
    larger in every noisier draw, which is no evidence about its spread. NaN where the estimate is.
    """
    ends = np.quantile(draws, [alpha / 2, 0.5, 1 - alpha / 2], axis=-1)
    moved = np.moveaxis(ends[[0, 2]] - ends[1] + estimate, 0, -1)
    return np.clip(moved, low, high)
