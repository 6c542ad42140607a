"""What the effects on several targets share: how far seeds differ, and their mean."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from transferscope.matrix.measure import known_mean
from transferscope.stats.effects import BORROWED, Effect, TargetEffects, over_seeds, stacked


def borrowed(effects: Sequence[TargetEffects], lenders: int | None = None) -> list[TargetEffects]:
    """The effects of all targets, where those with few sources borrow from other targets, too.

    A target whose own sources lend fewer than `BORROWED` degrees of freedom, as where one finetune
    was run with two seeds, takes the rest from how far seeds differ on other targets.

    Args:
        lenders: only so many sources lend, the first ones; None for all.
    """
    own = np.stack([np.maximum(one.seeds - 1, 0) for one in effects], axis=-1)
    moved = np.stack([one.moved for one in effects], axis=-1)
    lends = np.where(np.isfinite(moved), own, 0)[:lenders]
    found = []
    for j, one in enumerate(effects):
        elsewhere = np.arange(len(effects)) != j
        lent = lends[:, elsewhere].sum()
        if not lent:
            found.append(one)
            continue
        usual = (lends * np.nan_to_num(moved[:lenders]))[:, elsewhere].sum() / lent
        has = np.where(np.isfinite(one.moved), one.seeds_df, 0.0)
        more = np.clip(BORROWED - (has - own[:, j]), 0, lent)
        df = has + more
        pooled = (has * np.nan_to_num(one.moved) + more * usual) / np.maximum(df, 1)
        found.append(replace(one, moved=pooled, seeds_df=np.maximum(df, 1.0)))
    return found


def over_targets(
    effects: Sequence[TargetEffects], by_seed: Float[np.ndarray, "seed source target"]
) -> Effect:
    """The mean of each source's changes over the targets that it was measured on, (source,).

    Items of two targets are different ones. A run may be good or bad as a whole, so the variance
    over seeds is that of the means themselves.

    Args:
        by_seed: the changes that count, NaN for the others.
    """
    known = np.isfinite(by_seed).any(axis=0)
    each = stacked([one.effect for one in effects])
    number = known.sum(axis=1)
    variance = np.where(known, each.variance, 0.0)
    total = variance.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (variance**2 / each.df).sum(axis=1)  # Welch and Satterthwaite
        freedom = np.where(shares > 0, total**2 / shares, np.inf)
        total = np.where(number > 0, total / number**2, np.nan)
    change = known_mean(np.where(known, each.change, np.nan), axis=1)
    # Seeds that lack a target have another mean, which is no spread.
    whole = np.isfinite(by_seed) | ~known
    means = np.where(
        whole.all(axis=-1) & (number > 0), np.nansum(by_seed, -1) / np.maximum(number, 1), np.nan
    )
    moved, _, seeds_df = over_seeds(means, np.full(means.shape, np.nan), None)
    seeds = np.isfinite(means).sum(axis=0)
    return Effect(change, total, freedom, moved / np.maximum(seeds, 1), seeds_df)
