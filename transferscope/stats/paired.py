"""The change of one accuracy: its interval, its p-value, and how many items would settle it.

Base and run are compared item by item, on the items that both answered. Where only counts are
known, the two accuracies are compared as if the items were different ones, which is conservative.
All are fractions of accuracy: 0.05 is 5 points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from transferscope.stats.significance import sign_flip

LEVEL = 0.05
"""Two-sided level of intervals, and one-sided level of bounds."""
POWER = 0.8
"""Chance that the planned number of items settles a question."""
BORROWED = 4
"""Degrees of freedom that the other cells are worth for how far seeds differ."""


@dataclass(frozen=True)
class Effect:
    """A change of accuracy and its uncertainty. All NaN where nothing is known."""

    change: float
    """Accuracy of the run minus that of the base."""
    variance: float = math.nan
    """Variance of the change over items."""
    df: float = math.inf
    """Degrees of freedom of `variance`."""
    seeds: float = 0.0
    """Variance of the change over seeds; 0 with one seed, which shows no such variance."""
    seeds_df: float = math.inf
    exact: float = 0.0
    """p-value of the exact test on items that changed; 0 where it does not apply."""

    def reach(self, level: float) -> float:
        """Half the width of the two-sided interval: items and seeds in quadrature."""
        items = _quantile(level / 2, self.df) ** 2 * self.variance
        seeds = _quantile(level / 2, self.seeds_df) ** 2 * self.seeds if self.seeds else 0.0
        return float(np.sqrt(items + seeds))

    @property
    def interval(self) -> tuple[float, float]:
        """The two-sided 95 % interval, within what is possible."""
        reach = self.reach(LEVEL)
        return max(self.change - reach, -1.0), min(self.change + reach, 1.0)

    def lower(self, level: float = LEVEL) -> float:
        """Lower end of the one-sided interval: the change is at least this."""
        return max(self.change - self.reach(2 * level), -1.0)

    def upper(self, level: float = LEVEL) -> float:
        """Upper end of the one-sided interval: the change is at most this."""
        return min(self.change + self.reach(2 * level), 1.0)

    @property
    def p(self) -> float:
        """Two-sided p-value of no change: the interval's or the exact test's, the larger."""
        if math.isnan(self.variance):
            return math.nan
        size = abs(self.change)
        if size == 0:
            return 1.0
        if not self.seeds:
            ratio = -size / math.sqrt(self.variance)
            reached = 2 * float(ndtr(ratio) if math.isinf(self.df) else stdtr(self.df, ratio))
        elif self.reach(1e-12) <= size:
            reached = 1e-12
        else:
            found = brentq(lambda log: self.reach(10**log) - size, -12, 0)
            reached = 10 ** float(found)  # pyright: ignore[reportArgumentType]
        return max(reached, self.exact)

    def times_needed(self, margin: float) -> float | None:
        """How many times as many items show a one-sided bound `margin` away, with 80 % chance.

        Args:
            margin: distance between the true change and the limit.

        Returns:
            None where no number of items does it: no margin, or seeds differ by too much.
        """
        reach = float(ndtri(1 - LEVEL) + ndtri(POWER))
        spare = (margin / reach) ** 2 - self.seeds if margin > 0 else 0.0
        return None if spare <= 0 or math.isnan(self.variance) else self.variance / spare


def _quantile(level: float, df: float) -> float:
    """Upper quantile of Student's t; of the normal distribution where `df` is infinite."""
    return float(-ndtri(level) if math.isinf(df) else -stdtrit(df, level))


UNKNOWN = Effect(math.nan)


class Paired(NamedTuple):
    """A run and the base on the items that both answered."""

    effect: Effect
    items: int
    base: float
    """Accuracy of the base on those items."""
    tuned: float
    fixed: int | None
    """Items that were wrong and are right; None where marks are not right or wrong, or of several
    seeds."""
    broken: int | None
    spread: float
    """Variance of the change between seeds; NaN with one seed."""


def paired(
    base: Float[np.ndarray, "baseseed item"], tuned: Float[np.ndarray, "seed item"]
) -> Paired:
    """The change on the items that both answered, averaged over seeds.

    The variance is that of the items' differences, and two half items that change in opposite
    directions (Agresti and Min, Biometrics 61, 2005): where few items changed, what might have
    changed is not in the data.

    Args:
        base: marks in [0, 1], NaN where not answered; one row, or one for each seed.
        tuned: the same items, a row for each seed.
    """
    before = np.broadcast_to(base, tuned.shape)
    both = np.isfinite(before) & np.isfinite(tuned)
    used = both.any(axis=1)
    before, tuned, both = before[used], tuned[used], both[used]
    count = both.sum(axis=1)
    items = int(both.any(axis=0).sum()) if len(both) else 0
    if items == 0:
        return Paired(UNKNOWN, 0, math.nan, math.nan, None, None, math.nan)
    difference = np.where(both, tuned - before, 0.0)
    by_seed = difference.sum(axis=1) / count
    change = float(by_seed.mean())
    first, then = (
        float((np.where(both, x, 0).sum(axis=1) / count).mean()) for x in (before, tuned)
    )
    influence = (np.where(both, difference - by_seed[:, None], 0) / count[:, None]).mean(axis=0)
    n = count.mean()
    half = 0.5 * (((1 - change) / n) ** 2 + ((-1 - change) / n) ** 2)
    variance = float((influence**2).sum() * items / max(items - 1, 1) + half)
    truth = bool(np.isin(np.concatenate([before[both], tuned[both]]), (0, 1)).all())
    total = difference.sum(axis=0)
    exact = sign_flip(total.astype(int)) if truth else 0.0
    effect = Effect(change, variance, float(max(items - 1, 1)), exact=exact)
    spread = float(by_seed.var(ddof=1)) if len(by_seed) > 1 else math.nan
    fixed, broken = int((total > 0).sum()), int((total < 0).sum())
    if not truth or len(tuned) > 1:
        fixed = broken = None
    return Paired(effect, items, first, then, fixed, broken, spread)


def unpaired(right: tuple[float, float], items: tuple[int, int]) -> Effect:
    """The change of two accuracies of which only counts are known, base first.

    The variance is that of two independent groups (Agresti and Caffo, The American Statistician 54,
    2000). Answers to the same items go together, so the true variance is smaller.
    """
    raised = [(x + 1) / (n + 2) for x, n in zip(right, items, strict=True)]
    variance = sum(p * (1 - p) / (n + 2) for p, n in zip(raised, items, strict=True))
    return Effect(right[1] / items[1] - right[0] / items[0], variance)


def with_seeds(effect: Effect, seeds: int, spread: float, others: Sequence[float]) -> Effect:
    """The effect with the variance that seeds add, estimated from this cell and the others.

    Args:
        seeds: how many seeds the change is a mean of.
        spread: variance of the change between the seeds.
        others: the same of other cells with as many seeds.
    """
    if seeds < 2 or math.isnan(spread):
        return effect
    own = seeds - 1
    borrowed = min(BORROWED, len(others) * own)
    pooled = (borrowed * float(np.mean(others)) if others else 0.0) + own * spread
    return replace(effect, seeds=pooled / (borrowed + own) / seeds, seeds_df=float(borrowed + own))


def mean_effect(effects: Sequence[Effect]) -> Effect:
    """The mean of changes on different targets, whose items differ; without seeds' variance."""
    if not effects:
        return UNKNOWN
    count = len(effects)
    change = float(np.mean([each.change for each in effects]))
    variances = np.array([each.variance for each in effects])
    if np.isnan(variances).any():
        return Effect(change)
    # Welch and Satterthwaite
    shares = float((variances**2 / [each.df for each in effects]).sum())
    df = float(variances.sum()) ** 2 / shares if shares > 0 else math.inf
    return Effect(change, float(variances.sum()) / count**2, df)
