"""The paper's tests over seeds, McNemar's over items, and the correction for many tests.

A p-value is NaN where nothing is known. `scipy.stats` has all of this, but importing it takes a
second, a third of a whole analysis; tests hold each function to scipy's.
"""

import numpy as np
import scipy.special
from jaxtyping import Bool, Float

from transferscope.matrix.measure import known_mean


def benjamini_hochberg(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """q-values: the smallest false discovery rate at which each test would be a discovery.

    NaN p-values stay NaN and do not count as tests.

    Source:
        Benjamini and Hochberg (1995).
    """
    known = np.flatnonzero(np.isfinite(p_values))
    q_values = np.full(p_values.shape, np.nan)
    falling = known[np.argsort(-p_values[known])]
    ratio = p_values[falling] * len(known) / np.arange(len(known), 0, -1)
    q_values[falling] = np.minimum.accumulate(np.minimum(ratio, 1.0))
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

    Exact for up to 50 values without zeros or ties; else the normal approximation, corrected for
    ties, zeros left out.
    """
    known = sample[np.isfinite(sample)]
    changed = known[known != 0]
    n = len(changed)
    if not n:
        return np.nan
    _, place, ties = np.unique(np.abs(changed), return_inverse=True, return_counts=True)
    ranks = np.cumsum(ties) - (ties - 1) / 2
    positive = ranks[place[changed > 0]].sum()
    if n == len(known) == len(ties) <= 50:
        ways = np.ones(1)  # in how many choices of signs each sum of positive ranks comes about
        for rank in range(1, n + 1):
            ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
        return float(ways[round(positive) :].sum() / 2.0**n)
    variance = n * (n + 1) * (2 * n + 1) / 24 - (ties.astype(float) ** 3 - ties).sum() / 48
    return float(scipy.special.ndtr((n * (n + 1) / 4 - positive) / np.sqrt(variance)))


def unpaired_t(
    values: np.ndarray, average: np.ndarray, direction: int, *, pooled: bool = True, sides: int = 1
) -> np.ndarray:
    """p-value that per-seed `values` (axis 1) lie beyond the per-seed `average`; NaN with one seed.

    Args:
        direction: 1 for above, -1 for below.
        pooled: Student's test with one variance, as in the paper; else Welch's.
        sides: 1 as in the paper, or 2.
    """
    samples = values, np.broadcast_to(average, values.shape)
    with np.errstate(all="ignore"):  # one seed, and seeds that do not differ
        n, m = (np.isfinite(each).sum(axis=1) for each in samples)
        means = [known_mean(each, axis=1) for each in samples]
        squares = [
            np.nansum((each - mean[:, None]) ** 2, axis=1)
            for each, mean in zip(samples, means, strict=True)
        ]
        if pooled:
            df = n + m - 2
            variance = sum(squares) / df * (1 / n + 1 / m)
        else:
            u, v = squares[0] / (n - 1) / n, squares[1] / (m - 1) / m
            variance = u + v
            df = variance**2 / (u**2 / (n - 1) + v**2 / (m - 1))
        t = (means[0] - means[1]) / np.sqrt(variance)
        tail = scipy.special.stdtr(df, -np.abs(t) if sides == 2 else -direction * t)
    return np.asarray(sides * tail)
