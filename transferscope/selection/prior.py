"""What effects are like in this matrix, which P(helps) takes as likely beforehand.

Where most true effects are small, an interval that leaves 0 out is more often luck than it says.
How large they are can be read off the matrix itself: its effects vary by their noise and by what is
true. True effects are taken as a mixture of normal distributions of many widths around one centre,
their weights those that make the measured effects most likely (empirical Bayes).

In:   the effects of one model, as normal distributions.
Out:  a `Prior`.

Source:
    Stephens, "False discovery rates: a new deal", Biostatistics 18 (2017), section 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from transferscope.analysis import Cell
from transferscope.analysis.parts import Estimate
from transferscope.selection.record import Normal, sober
from transferscope.tasks.checkpoints import checkpoint

FEWEST = 30
"""Effects from which a prior is estimated; of fewer it would be luck's."""
_WIDTHS = 10
_STEPS = 300
_NULL = 2
"""So many effects of nothing are counted as if they had been measured, too: where hardly any is
real, the likelihood alone believes in some. Stephens takes ten; of middling effects that finds
less."""


class Prior(NamedTuple):
    """Of a true effect, before it was measured: normal distributions around one centre."""

    centre: float
    widths: Float[np.ndarray, " width"]
    """Standard deviations."""
    weights: Float[np.ndarray, " width"]
    """They sum to 1."""

    def above(self, effect: Normal) -> float:
        """Probability that an effect is above 0, now that it was measured; NaN without an sd."""
        if math.isnan(effect.sd) or effect.sd == 0:
            return effect.above(0)
        likely, middle, sds = self._measured(effect)
        return float(likely @ ndtr(middle / sds))

    def mean(self, effect: Normal) -> float:
        """What to expect of an effect, now that it was measured; NaN without an sd.

        The largest of many effects is so mostly by luck, and less is to be expected of it.
        """
        if math.isnan(effect.sd) or effect.sd == 0:
            return effect.mean if effect.sd == 0 else math.nan
        likely, middle, _ = self._measured(effect)
        return float(likely @ middle)

    def _measured(self, effect: Normal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The weights, means and standard deviations after measuring."""
        likely = _likelihoods(np.array([effect.mean]), np.array([effect.sd]), self)[0]
        measured = 1 / effect.sd**2
        known = measured + 1 / self.widths**2
        middle = (effect.mean * measured + self.centre / self.widths**2) / known
        return likely / likely.sum(), middle, 1 / np.sqrt(known)


def of_matrix(rows: Mapping[str, Mapping[str, Cell | Estimate]], alpha: float) -> Prior | None:
    """The prior that a model's effects suggest, a task's on itself left out."""
    return prior(
        [
            sober(cell, alpha)
            for source, row in rows.items()
            for target, cell in row.items()
            if checkpoint(source).task != target
        ]
    )


def prior(effects: Sequence[Normal]) -> Prior | None:
    """The prior that a matrix's effects suggest.

    Its centre is 0, or the mean effect where that is lower: a source is not taken to help because
    the others do, but it is taken to harm where most harm.

    Returns:
        None where too few effects are known.
    """
    known = tuple((e.mean, e.sd) for e in effects if e.sd > 0 and math.isfinite(e.mean))
    return None if len(known) < FEWEST else _fitted(known)


@lru_cache(maxsize=16)  # every target of a model asks for the same
def _fitted(known: tuple[tuple[float, float], ...]) -> Prior:
    means, sds = np.array(known).T
    widths = 2 * max(float(np.abs(means).max()), 1e-9) * 0.5 ** np.arange(_WIDTHS)
    found = Prior(min(0.0, float(means.mean())), widths, np.full(_WIDTHS, 1 / _WIDTHS))
    for _ in range(_STEPS):
        likely = _likelihoods(means, sds, found)
        counts = (likely / likely.sum(1, keepdims=True)).sum(0)
        counts[-1] += _NULL
        found = found._replace(weights=counts / counts.sum())
    return found


def _likelihoods(
    means: Float[np.ndarray, " effect"], sds: Float[np.ndarray, " effect"], prior: Prior
) -> Float[np.ndarray, "effect width"]:
    """Densities of each measured effect under each width, times its weight, up to a factor."""
    spread = np.hypot(sds[:, None], prior.widths)
    log = -0.5 * ((means - prior.centre)[:, None] / spread) ** 2 - np.log(spread)
    return np.exp(log - log.max(axis=1, keepdims=True)) * prior.weights
