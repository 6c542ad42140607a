"""Significance tests, and the correction for many of them.

An interval from resampled items knows only items that changed: where two did, and both for the
worse, every resample is for the worse. The exact tests here (`mcnemar`, `sign_flip`) count how few
they are. A p-value is NaN where nothing is known.

`scipy.stats` takes most of a second to import, so it is imported where it is first used.
"""

import warnings
from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from transferscope.stats.bootstrap import ItemTable


def benjamini_hochberg(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """q-values: the smallest false discovery rate at which each test would be a discovery.

    NaN p-values stay NaN and do not count as tests.

    Source:
        Benjamini and Hochberg (1995).
    """
    from scipy.stats import false_discovery_control

    known = np.isfinite(p_values)
    q_values = np.full(p_values.shape, np.nan)
    q_values[known] = false_discovery_control(p_values[known])
    return q_values


def mcnemar(
    base: Bool[np.ndarray, "*shape item"], tuned: Bool[np.ndarray, "*shape item"]
) -> np.ndarray:
    """Exact two-sided McNemar test that finetuning fixed as many items as it broke.

    Args:
        base: whether the untuned model answered each item correctly.
        tuned: the same after finetuning, items in the same order.

    Returns:
        p-values; 1 where no item changed.
    """
    fixed = (~base & tuned).sum(-1)
    broken = (base & ~tuned).sum(-1)
    tail = scipy.special.bdtr(np.minimum(fixed, broken), np.maximum(fixed + broken, 1), 0.5)
    return np.asarray(np.minimum(1.0, 2 * tail))


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


def together(
    before: Float[np.ndarray, "seed item"], after: Float[np.ndarray, "seed item"]
) -> float:
    """`sign_flip` of the items' changes, added up over the seeds that answered both.

    NaN without any, or where answers are not all right (1) or wrong (0).
    """
    both = np.isfinite(before) & np.isfinite(after)
    marks = np.concatenate([before[both], after[both]])
    if not marks.size or not np.isin(marks, (0, 1)).all():
        return np.nan
    return sign_flip(np.where(both, after - before, 0).sum(axis=0).astype(int))


class Changes(NamedTuple):
    """Exact p-values of one target's changes; NaN where answers have scores."""

    by_seed: Float[np.ndarray, "seed source"]
    """McNemar's test."""
    together: Float[np.ndarray, " source"]
    """`sign_flip` of the seeds' sum: with one seed, McNemar's test again."""


def changes(table: ItemTable) -> Changes:
    """The tests of every source against the base; only items that both answered count."""
    base = np.broadcast_to(table.base[:, None], table.tuned.shape)
    both = np.isfinite(base) & np.isfinite(table.tuned)
    by_seed = mcnemar((base == 1) & both, (table.tuned == 1) & both)
    all_seeds = np.array([together(table.base, tuned) for tuned in table.tuned.swapaxes(0, 1)])
    known = both.any(axis=-1) & table.right_or_wrong
    return Changes(
        by_seed=np.where(known, by_seed, np.nan),
        together=np.where(table.right_or_wrong, all_seeds, np.nan),
    )


def signed_rank(sample: np.ndarray) -> float:
    """One-sided Wilcoxon p-value that the known values lie above 0; NaN where all of them are 0.

    As scipy's default has it: exact for up to 50 values without zeros or ties and for up to 13 with
    them; beyond, the normal approximation.
    """
    from scipy.stats import wilcoxon

    known = sample[np.isfinite(sample)]
    if not known.any():
        return np.nan
    return float(np.asarray(wilcoxon(known, alternative="greater")[1]))


def unpaired_t(
    values: np.ndarray, average: np.ndarray, direction: int, *, pooled: bool = True, sides: int = 1
) -> np.ndarray:
    """p-value that per-seed `values` (axis 1) lie beyond the per-seed `average`; NaN with one seed.

    Args:
        direction: 1 for above, -1 for below.
        pooled: Student's test with one variance, as in the paper; else Welch's.
        sides: 1 as in the paper, or 2.
    """
    from scipy.stats import ttest_ind

    beyond = "greater" if direction > 0 else "less"
    alternative = beyond if sides == 1 else "two-sided"
    with warnings.catch_warnings():  # of one seed, and of seeds that do not differ
        warnings.simplefilter("ignore")
        _, p_values = ttest_ind(
            values,
            np.broadcast_to(average, values.shape),
            axis=1,
            equal_var=pooled,
            alternative=alternative,
            nan_policy="omit",
        )
    return np.asarray(p_values, float)
