"""What to expect of an effect on new items and with new seeds, given the whole matrix.

The largest of many measured effects is the largest partly by luck. An effect is taken as the sum of
what any finetune does to its target and what this pair of tasks adds:

    target's part   the median of its column, drawn to the matrix's mean by as much of its variance
                    as is luck: of the base, which all effects of the column share, and of chance
    pair's part     drawn from a mixture of normal distributions of many widths around 0, with the
                    weights that make the residuals most likely (empirical Bayes; Stephens, "False
                    discovery rates: a new deal", Biostatistics 18, 2017, section 2)

All in accuracy, as fractions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtr

from transferscope.matrix.measure import known_mean
from transferscope.stats.effects import TargetEffects

WORTHWHILE = 0.01
"""A change of a point: less is no help and no harm."""
FEWEST = 30
"""From at least so many effects one learns what effects are like."""
_WIDTHS = 10
_STEPS = 200
_NULL = 2.0
"""Null effects counted as if they had been measured, too: where hardly any effect is real, the
likelihood alone believes in some."""
_OF_MEDIAN = np.pi / 2
"""Variance of a median of normal values over that of their mean."""


class _Columns(NamedTuple):
    """What any finetune does to each target."""

    middle: Float[np.ndarray, " target"]
    """Median of the measured changes."""
    center: Float[np.ndarray, " target"]
    """What to expect of it."""
    variance: Float[np.ndarray, " target"]
    """Of `center`, by the base's luck and by how little is known of all targets."""
    chance: Float[np.ndarray, " target"]
    """Variance of `middle` as the median of so few noisy changes."""
    own: Float[np.ndarray, "source target"]
    """Variance of each change without what its target's share."""


class Expected(NamedTuple):
    """Of every effect, (source, target); NaN where it is unknown."""

    mean: Float[np.ndarray, "source target"]
    helps: Float[np.ndarray, "source target"]
    """Probability of a gain of more than `WORTHWHILE`."""
    harms: Float[np.ndarray, "source target"]
    """Probability of a loss of more than that."""


def expectation(
    effects: Sequence[TargetEffects], itself: Bool[np.ndarray, "source target"]
) -> Expected:
    """What to expect of the effects of each source on each other target.

    Where fewer than `FEWEST` are known, each effect stands alone.
    """
    change = np.stack([one.change for one in effects], axis=-1)
    spread = np.stack([_own_and_shared(one)[0] for one in effects], axis=-1)
    known = ~itself & np.isfinite(change) & (spread > 0)
    if known.sum() < FEWEST:
        change, spread = change[known][:, None], spread[known][:, None]
        return _expected(known, np.ones(change.shape), change, np.sqrt(spread))
    columns = _of_targets(effects, change, known)
    residuals = (change - columns.middle)[known][:, None]
    noise = np.sqrt(columns.own[known])[:, None]
    widths = 2 * max(np.abs(residuals).max(), 1e-9) * 0.5 ** np.arange(_WIDTHS)
    total = np.hypot(noise, widths)
    log = -0.5 * (residuals / total) ** 2 - np.log(total)
    likely = np.exp(log - log.max(axis=1, keepdims=True))
    weights = np.full(_WIDTHS, 1 / _WIDTHS)
    for _ in range(_STEPS):  # expectation-maximization
        counts = (likely * weights / (likely @ weights)[:, None]).sum(axis=0)
        counts[-1] += _NULL
        weights = counts / counts.sum()
    posterior = likely * weights / (likely @ weights)[:, None]
    kept = widths**2 / total**2
    center, variance, chance = (
        np.broadcast_to(part, change.shape)[known][:, None]
        for part in (columns.center, columns.variance, columns.chance)
    )
    # A median that is too high by chance is made up for by residuals that are too low, if kept.
    variance = variance + kept * noise**2 + (1 - kept) ** 2 * chance
    return _expected(known, posterior, center + kept * residuals, np.sqrt(variance))


def _own_and_shared(one: TargetEffects) -> tuple[Float[np.ndarray, " source"], np.ndarray]:
    """Variance of each change, and the covariances with the others, (source, source)."""
    seeds = np.maximum(one.seeds, 1)
    shared = one.influence @ one.influence.T + one.base_moved / seeds
    return np.diag(shared) + np.nan_to_num(one.moved) / seeds, shared


def _of_targets(
    effects: Sequence[TargetEffects],
    change: Float[np.ndarray, "source target"],
    known: Bool[np.ndarray, "source target"],
) -> _Columns:
    own = np.full(change.shape, np.nan)
    middle, luck, count = np.zeros((3, change.shape[1]))
    for j, one in enumerate(effects):
        i = np.flatnonzero(known[:, j])
        count[j] = len(i)
        if not len(i):
            continue
        variance, shared = (part[i] for part in _own_and_shared(one))
        pairs = len(i) * (len(i) - 1)
        together = shared[:, i].sum() - np.trace(shared[:, i])
        luck[j] = max(together / pairs, 0.0) if pairs else 0.0
        own[i, j] = np.maximum(variance - luck[j], 0.25 * variance)
        middle[j] = np.median(change[i, j])
    there = count > 0
    chance = _OF_MEDIAN * np.nan_to_num(known_mean(own)) / np.maximum(count, 1)
    of_middle = luck + chance
    mean, number = middle[there].mean(), there.sum()
    # How far targets differ is hardly known from a dozen of them: each possible width counts as
    # much as it makes their medians likely, and none at all is one of them.
    between = (of_middle[there].mean() * np.append(0, 2.0 ** np.arange(-2, 9)))[:, None]
    total = between + of_middle
    log = -0.5 * (np.log(total) + (middle - mean) ** 2 / total)[:, there].sum(axis=1)
    weights = np.exp(log - log.max())
    weights /= weights.sum()
    of_mean = (weights @ between[:, 0] + of_middle[there].mean()) / number
    if mean:
        mean *= max(0.0, 1 - of_mean / mean**2)
    kept = between / total
    centers = mean + kept * (middle - mean)
    variances = kept * luck + (1 - kept) ** 2 * of_mean
    center = weights @ centers
    variance = weights @ (variances + centers**2) - center**2
    return _Columns(middle, center, variance, chance, own)


def _expected(
    known: Bool[np.ndarray, "source target"],
    weights: Float[np.ndarray, "effect width"],
    means: Float[np.ndarray, "effect width"],
    sds: Float[np.ndarray, "effect width"],
) -> Expected:
    """The moments of normal mixtures, back in their places."""
    sds = np.maximum(sds, 1e-9)
    found = []
    for values in (means, ndtr((means - WORTHWHILE) / sds), ndtr((-WORTHWHILE - means) / sds)):
        out = np.full(known.shape, np.nan)
        out[known] = (weights * values).sum(axis=1)
        found.append(out)
    return Expected(*found)
