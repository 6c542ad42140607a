"""How likely an effect is above 0, given its interval and all other effects of the matrix.

Where most true effects are small, an interval that excludes 0 is more often luck than it states.
The matrix itself shows how large effects are: they vary by their noise and by what is true. The
prior of a true effect is a mixture of normal distributions of many widths around one center, with
the weights that make the measured effects most likely (empirical Bayes; Stephens, "False discovery
rates: a new deal", Biostatistics 18, 2017, section 2).
"""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from transferscope.analysis import Cell
from transferscope.analysis.parts import Estimate
from transferscope.tasks.checkpoints import checkpoint
from transferscope.tasks.number import Interval

FEWEST = 30
"""A prior is estimated from at least so many effects."""
_WIDTHS = 10
_STEPS = 300
_NULL = 2
"""Null effects that are counted as if they had been measured, too: where hardly any effect is real,
the likelihood alone believes in some. Stephens takes ten; that finds fewer middling effects."""


class Normal(NamedTuple):
    """A normal distribution: where an effect may lie."""

    mean: float
    sd: float
    """NaN without an interval."""

    def above(self, value: float) -> float:
        """Probability that the effect is above `value`."""
        if self.sd == 0:
            return float(self.mean > value)
        return float(ndtr((self.mean - value) / self.sd))

    def interval(self, alpha: float) -> Interval:
        """The effect is in it with a probability of `1 - alpha`."""
        reach = self.sd * float(ndtri(1 - alpha / 2))
        return self.mean - reach, self.mean + reach


def normal(measured: Cell | Estimate, alpha: float) -> Normal:
    """The normal distribution whose interval reaches as far as the measured one.

    If a bound cuts the interval off at one end, the other end counts.
    """
    low, high = measured.ci
    reach = max(measured.mean - low, high - measured.mean)
    return Normal(measured.mean, reach / float(ndtri(1 - alpha / 2)))


def normal_with_test(measured: Cell | Estimate, alpha: float) -> Normal:
    """`normal`, but no surer of the sign than the exact test over items, if there is one."""
    found = normal(measured, alpha)
    exact = measured.exact_p if isinstance(measured, Cell) else None
    if exact is None or math.isnan(exact) or exact <= 0:
        return found
    reach = float(ndtri(1 - exact / 2))
    return found._replace(sd=max(found.sd, abs(found.mean) / max(reach, 1e-3)))


class Prior(NamedTuple):
    """The distribution of true effects: a mixture of normal distributions around one center."""

    center: float
    widths: Float[np.ndarray, " width"]
    """Standard deviations."""
    weights: Float[np.ndarray, " width"]
    """They sum to 1."""

    def above(self, effect: Normal) -> float:
        """Posterior probability that a measured effect is above 0; NaN without an sd."""
        if not effect.sd > 0:
            return effect.above(0)
        weights, means, sds = self._posterior(effect)
        return float(weights @ ndtr(means / sds))

    def mean(self, effect: Normal) -> float:
        """Posterior mean of a measured effect; NaN without an sd.

        The largest of many effects is largest mostly by luck, so less is to be expected of it.
        """
        if not effect.sd > 0:
            return effect.mean if effect.sd == 0 else math.nan
        weights, means, _ = self._posterior(effect)
        return float(weights @ means)

    def _posterior(self, effect: Normal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, means and standard deviations of the posterior mixture."""
        weights = _likelihoods(np.array([effect.mean]), np.array([effect.sd]), self)[0]
        precision = 1 / effect.sd**2 + 1 / self.widths**2
        means = (effect.mean * (1 / effect.sd**2) + self.center / self.widths**2) / precision
        return weights / weights.sum(), means, 1 / np.sqrt(precision)


def matrix_prior(rows: Mapping[str, Mapping[str, Cell | Estimate]], alpha: float) -> Prior | None:
    """The prior from one model's effects, without those of a task on itself."""
    return prior(
        normal_with_test(cell, alpha)
        for source, row in rows.items()
        for target, cell in row.items()
        if checkpoint(source).task != target
    )


def prior(effects: Iterable[Normal]) -> Prior | None:
    """The prior from measured effects.

    Its center is 0, or the mean effect if that is lower: a source is not taken to help because
    others do, but it is taken to harm where most harm.

    Returns:
        None if fewer than `FEWEST` effects are known.
    """
    known = tuple(e for e in effects if e.sd > 0 and math.isfinite(e.mean))
    return None if len(known) < FEWEST else _fitted(known)


@lru_cache(maxsize=16)  # every target of a model needs the same prior
def _fitted(known: tuple[Normal, ...]) -> Prior:
    means, sds = np.array(known).T
    widths = 2 * max(float(np.abs(means).max()), 1e-9) * 0.5 ** np.arange(_WIDTHS)
    found = Prior(min(0.0, float(means.mean())), widths, np.full(_WIDTHS, 1 / _WIDTHS))
    for _ in range(_STEPS):  # expectation-maximization
        likely = _likelihoods(means, sds, found)
        counts = (likely / likely.sum(1, keepdims=True)).sum(0)
        counts[-1] += _NULL
        found = found._replace(weights=counts / counts.sum())
    return found


def _likelihoods(
    means: Float[np.ndarray, " effect"], sds: Float[np.ndarray, " effect"], prior: Prior
) -> Float[np.ndarray, "effect width"]:
    """Density of each measured effect under each width, times its weight, up to a factor."""
    spread = np.hypot(sds[:, None], prior.widths)
    log = -0.5 * ((means - prior.center)[:, None] / spread) ** 2 - np.log(spread)
    return np.exp(log - log.max(axis=1, keepdims=True)) * prior.weights
