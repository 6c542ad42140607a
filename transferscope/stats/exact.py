"""Exact tests that as much changed for the better as for the worse, item by item.

An interval from resampled items knows only items that changed: where two did, and both for the
worse, every resample says "worse". An exact test counts how few they are.

In:   a target's item-level answers.
Out:  p-values: one for each seed, and one for all seeds together.

Needs numpy and scipy only. Opens no file, draws nothing at random.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from transferscope.stats import ItemTable, mcnemar


class Changes(NamedTuple):
    """Exact p-values of one target's changes; NaN where answers have scores."""

    by_seed: Float[np.ndarray, "seed source"]
    """McNemar's test."""
    together: Float[np.ndarray, " source"]
    """`sign_flip` of the seeds' sum: with one seed, McNemar's test again."""


def changes(table: ItemTable) -> Changes:
    """The tests of every source against the base; only items that both answered count."""
    base = np.broadcast_to(table.base[:, None], table.tuned.shape)
    asked = np.isfinite(base) & np.isfinite(table.tuned)
    by_seed = mcnemar((base == 1) & asked, (table.tuned == 1) & asked)
    all_seeds = np.array([together(table.base, tuned) for tuned in table.tuned.swapaxes(0, 1)])
    known = asked.any(axis=-1) & table.right_or_wrong
    return Changes(
        by_seed=np.where(known, by_seed, np.nan),
        together=np.where(table.right_or_wrong, all_seeds, np.nan),
    )


def together(
    before: Float[np.ndarray, "seed item"], after: Float[np.ndarray, "seed item"]
) -> float:
    """`sign_flip` of the items' changes, added up over the seeds in which both were asked.

    NaN where nothing was, or where answers are not all right (1) or wrong (0).
    """
    asked = np.isfinite(before) & np.isfinite(after)
    marks = np.concatenate([before[asked], after[asked]])
    if not marks.size or not np.isin(marks, (0, 1)).all():
        return np.nan
    return sign_flip(np.where(asked, after - before, 0).sum(axis=0).astype(int))


def sign_flip(changed: Int[np.ndarray, " item"]) -> float:
    """Two-sided p-value of the sum, had each item's change been as likely the other way round.

    The exact paired permutation test over items: an item counts once, however many seeds answered
    it, so seeds that share the items on which they changed add no false certainty. Where every
    change is by one (a single seed), it is McNemar's test.

    Returns:
        At least 2 ** (1 - n) with n changed items; 1 where none changed.

    Source:
        Fisher, The Design of Experiments (1935), section 21. The sum's distribution is read off its
        characteristic function: the product of cos(t * size) over the items.
    """
    sizes, counts = np.unique(np.abs(changed[changed != 0]), return_counts=True)
    if not sizes.size:
        return 1.0
    reach = int(sizes @ counts)
    turns = 2 * np.pi * np.arange(2 * reach + 1) / (2 * reach + 1)
    share = np.fft.fft(np.prod(np.cos(np.outer(sizes, turns)) ** counts[:, None], axis=0)).real
    sums = np.abs(np.arange(2 * reach + 1) - reach)
    far = np.fft.fftshift(share)[sums >= abs(int(changed.sum()))].sum() / len(turns)
    return float(np.clip(far, 0.5 ** (int(counts.sum()) - 1), 1.0))
