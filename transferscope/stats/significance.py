"""The paper's tests over seeds, McNemar's over items, and the correction for many tests.

A p-value is NaN where nothing is known. `scipy.stats` takes most of a second to import, so it is
imported where it is first used.
"""

import warnings

import numpy as np
import scipy.special
from jaxtyping import Bool, Float


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


def signed_rank(sample: np.ndarray) -> float:
    """One-sided Wilcoxon p-value that the known values lie above 0; NaN where all of them are 0.

    Exact for up to 50 values without zeros or ties; else the normal approximation, as scipy's exact
    test of few values with ties goes through all their permutations, in seconds each.
    """
    from scipy.stats import wilcoxon

    known = sample[np.isfinite(sample)]
    if not known.any():
        return np.nan
    exact = len(known) <= 50 and known.all() and len(np.unique(np.abs(known))) == len(known)
    method = "exact" if exact else "asymptotic"
    return float(np.asarray(wilcoxon(known, alternative="greater", method=method)[1]))


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
