"""Changes of accuracy and how certain they are: the one page of statistics behind every verdict.

Everything is in accuracy, as a fraction: 0.05 is 5 points. Of one target, with `S` seeds, each run
is compared with the base item by item, `D[s, k] = tuned[s, k] - base[s, k]`:

    change     d  = mean of D over items, then over seeds
    items      C  = variance of d over another sample of items (of groups of items that share an
                    image), with two half items added that change in opposite directions
    seeds      s2 = variance of one run's accuracy around that of its recipe; the target's other
                    sources count as `BORROWED` more degrees of freedom
    reach         = sqrt(t(n - 1)^2 C + t(df)^2 s2 / S), quantiles in quadrature
    p             = the level at which d's interval just reaches 0

The half items are those of Agresti and Min (Biometrics 61, 2005): where few items changed, what
might have changed is not in the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri, stdtrit

from transferscope.matrix.measure import known_mean

LEVEL = 0.05
"""Two-sided level of intervals, and one-sided level of bounds."""
POWER = 0.8
"""Chance that the planned number of items settles a question."""
BORROWED = 4
"""Degrees of freedom that a target's other sources are worth for how far seeds differ."""
SEED_CORRELATION = 0.8
"""Between the answers of two seeds of one adapter to one item, where only counts are known: 0.80 at
3B and 0.75 at 32B in the paper's published counts."""


@dataclass(frozen=True)
class Effect:
    """Changes of accuracy and their uncertainty: numbers, or arrays of one shape; NaN unknown."""

    change: Any
    """Accuracy of the run minus that of the base."""
    variance: Any = np.nan
    """Of the change, over items."""
    df: Any = np.inf
    """Degrees of freedom of `variance`."""
    seeds: Any = 0.0
    """Variance of the change over seeds; 0 with one seed, which shows none."""
    seeds_df: Any = np.inf

    def reach(self, level: Any) -> Any:
        """Half the width of the two-sided interval."""
        items = _quantile(level, self.df) ** 2 * self.variance
        seeds = np.where(self.seeds == 0, 0.0, _quantile(level, self.seeds_df) ** 2 * self.seeds)
        return np.sqrt(items + seeds)

    def interval(self, level: float = LEVEL) -> tuple[Any, Any]:
        """The two-sided interval, within what is possible."""
        reach = self.reach(level)
        return np.maximum(self.change - reach, -1.0), np.minimum(self.change + reach, 1.0)

    def lower(self, level: float = LEVEL) -> Any:
        """Lower end of the one-sided interval: the change is at least this."""
        return self.interval(2 * level)[0]

    def upper(self, level: float = LEVEL) -> Any:
        """Upper end of the one-sided interval: the change is at most this."""
        return self.interval(2 * level)[1]

    @property
    def p(self) -> Any:
        """Two-sided p-value of no change, at least 1e-16."""
        low, high = np.full(np.shape(self.change), -16.0), np.zeros(np.shape(self.change))
        for _ in range(40):  # halving the logarithm of the level
            middle = (low + high) / 2
            far = np.abs(self.change) >= self.reach(10**middle)
            low, high = np.where(far, low, middle), np.where(far, middle, high)
        return np.where(np.isnan(self.reach(LEVEL)), np.nan, 10**high)[()]

    def times_needed(self, margin: Any) -> Any:
        """How many times as many items show a one-sided bound `margin` away, with 80 % chance.

        Args:
            margin: distance between the true change and the limit.

        Returns:
            inf where no number of items does it: no margin, or seeds differ by too much.
        """
        spare = (np.maximum(margin, 0) / (ndtri(1 - LEVEL) + ndtri(POWER))) ** 2 - self.seeds
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((spare > 0) & ~np.isnan(self.variance), self.variance / spare, np.inf)[
                ()
            ]


def _quantile(level: Any, df: Any) -> Any:
    """Two-sided quantile of Student's t; of the normal distribution where `df` is infinite."""
    df = np.asarray(df, float)
    finite = np.isfinite(df)
    return np.where(finite, -stdtrit(np.where(finite, df, 1.0), level / 2), -ndtri(level / 2))


UNKNOWN = Effect(np.nan)


def stacked(effects: Sequence[Effect]) -> Effect:
    """Several changes as one record; the last axis is theirs."""
    return Effect(*(np.stack([getattr(e, f.name) for e in effects], -1) for f in fields(Effect)))


@dataclass(frozen=True)
class TargetEffects:
    """One target's changes under every source, each beside what it shares with the others."""

    change: Float[np.ndarray, " source"]
    """NaN where nothing was measured."""
    base: Float[np.ndarray, " source"]
    """The base's accuracy on the same items."""
    influence: Float[np.ndarray, "source group"]
    """How far each group of items moves `change`: its products are the covariance over items. The
    last two groups are the half items."""
    base_influence: Float[np.ndarray, "source group"]
    """The same of `base`."""
    df: Float[np.ndarray, " source"]
    """Degrees of freedom of the variance over items."""
    seeds: Int[np.ndarray, " source"]
    """How many seeds `change` is a mean of."""
    moved: Float[np.ndarray, " source"]
    """Variance of one run's accuracy over seeds; 0 in a study of one seed."""
    base_moved: float
    """The same of the base, which all sources share; 0 where one base serves all seeds."""
    seeds_df: Float[np.ndarray, " source"]

    @property
    def effect(self) -> Effect:
        """The changes against the base."""
        seeds = (self.moved + self.base_moved) / np.maximum(self.seeds, 1)
        variance = (self.influence**2).sum(axis=1)
        if not self.influence.shape[1]:  # items are unknown: seeds alone
            variance = np.where(np.isfinite(seeds) & (seeds > 0), 0.0, np.nan)
        return Effect(self.change, variance, self.df, seeds, self.seeds_df)

    def beyond(self, other: TargetEffects, k: int) -> TargetEffects:
        """The changes less that of run `k` of `other`, such as a placebo: the base cancels."""
        return replace(
            self,
            change=self.change - other.change[k],
            influence=self.influence - other.influence[k],
            df=np.minimum(self.df, other.df[k]),
            seeds=np.minimum(self.seeds, other.seeds[k]),
            moved=self.moved + other.moved[k],
            base_moved=0.0,
            seeds_df=np.minimum(self.seeds_df, other.seeds_df[k]),
        )

    def only(self, sources: Any) -> TargetEffects:
        """Some of the sources."""
        changed = {
            name: value[sources]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        return replace(self, **changed)

    def scaled(self, denominator: Float[np.ndarray, " source"], slope: float) -> TargetEffects:
        """The changes over a denominator that moves with the base, to first order; see `ratio`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.change / denominator
            moved = self.influence - slope * np.nan_to_num(ratio)[:, None] * self.base_influence
            influence, spread = moved / denominator[:, None], self.moved / denominator**2
        known = denominator[np.isfinite(denominator)]
        base_moved = self.base_moved / float(known.mean()) ** 2 if known.size else 0.0
        return replace(self, change=ratio, influence=influence, moved=spread, base_moved=base_moved)

    def ratio(
        self, denominator: Float[np.ndarray, " source"], slope: float, level: float = LEVEL
    ) -> tuple[Float[np.ndarray, " source"], Float[np.ndarray, " source"]]:
        """Interval of `change / denominator`, where the denominator moves with the base too.

        Every ratio r that data do not refute, as the interval of `change - r * denominator` holds 0
        (Fieller, Journal of the Royal Statistical Society B 16, 1954). So it leaves 0 out exactly
        where the interval of the change does.

        Args:
            denominator: a linear function of `base` with `slope`, as PGF's gap with -1; above 0.

        Returns:
            (low, high); infinite to one or both sides where the denominator may be 0.
        """
        items = _quantile(level, self.df) ** 2
        seeds = _quantile(level, np.where(self.moved == 0, np.inf, self.seeds_df)) ** 2
        seeds = seeds / np.maximum(self.seeds, 1)
        below = slope * self.base_influence
        of_both = items * (self.influence * below).sum(1) - seeds * slope * self.base_moved
        of_below = items * (below**2).sum(1) + seeds * slope**2 * self.base_moved
        # The roots of a r^2 - 2 b r + c, which is at most 0 where r is not refuted.
        a = denominator**2 - of_below
        b = self.change * denominator - of_both
        c = self.change**2 - self.effect.reach(level) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(np.maximum(b**2 - a * c, 0))
            ends = np.sort([(b - root) / a, (b + root) / a], axis=0)
            here = self.change / denominator
        nothing = (a < 0) & (b**2 < a * c)  # no ratio is refuted
        low = np.where(a > 0, ends[0], np.where(nothing | (here < ends[1]), -np.inf, ends[1]))
        high = np.where(a > 0, ends[1], np.where(nothing | (here > ends[0]), np.inf, ends[0]))
        known = np.isfinite(self.effect.reach(level))
        return np.where(known, low, np.nan), np.where(known, high, np.nan)


def paired_effects(
    base: Float[np.ndarray, "baseseed item"],
    tuned: Float[np.ndarray, "seed source item"],
    *,
    groups: Int[np.ndarray, " item"] | None = None,
    others: Bool[np.ndarray, " source"] | None = None,
) -> TargetEffects:
    """The changes of one target, item by item, on the items that base and run both answered.

    Args:
        base: marks in [0, 1], NaN where not answered; one row, or one for each seed.
        groups: items with the same number share an image; None where none do.
        others: the sources from which the others borrow how far seeds differ; None for all.
    """
    base = np.broadcast_to(base, (len(tuned), base.shape[1]))[:, None]
    both = np.isfinite(base) & np.isfinite(tuned)
    count = both.sum(axis=-1)
    ran, seeds = count > 0, (count > 0).sum(axis=0)

    before, after = (np.where(both, marks, 0.0) for marks in (base, tuned))
    shares = both / np.maximum(count, 1)[..., None]
    of_base, of_run = ((m.sum(-1) / np.maximum(count, 1)) for m in (before, after))
    used = np.maximum(seeds, 1)[:, None]
    # Means over the seeds of how far each item is from its run's mean.
    influence, base_influence = (
        (((marks - mean[..., None]) * shares).sum(axis=0) / used)
        for marks, mean in ((after - before, of_run - of_base), (before, of_base))
    )
    answered = np.asarray(both.any(axis=0))
    if groups is not None and len(np.unique(groups)) < len(groups):
        order = np.argsort(groups, kind="stable")
        starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1))
        influence, base_influence, answered = (
            np.add.reduceat(each[:, order], starts, axis=1)
            for each in (influence, base_influence, answered)
        )
    number = (answered > 0).sum(axis=-1)
    wider = np.sqrt(number / np.maximum(number - 1, 1))[:, None]
    change, first = _seed_means(after - before, count), _seed_means(before, count)
    items = np.where(seeds > 0, count.sum(axis=0) / np.maximum(seeds, 1), np.nan)
    change_halves, base_halves = _halves(change, first, items)
    return TargetEffects(
        change,
        first,
        np.hstack([wider * influence, change_halves]),
        np.hstack([wider * base_influence, base_halves]),
        np.maximum(number - 1, 1).astype(float),
        seeds,
        *over_seeds(np.where(ran, of_run, np.nan), np.where(ran, of_base, np.nan), others),
    )


def _seed_means(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean over items, then over the seeds that answered any."""
    means = np.where(count > 0, values.sum(axis=-1) / np.maximum(count, 1), np.nan)
    return known_mean(means)


def counted_effects(
    base: Float[np.ndarray, "seed source"],
    tuned: Float[np.ndarray, "seed source"],
    items: float | Float[np.ndarray, " source"],
    *,
    correlation: float,
    others: Bool[np.ndarray, " source"] | None = None,
) -> TargetEffects:
    """The changes of one target of which only accuracies on so many items are known.

    In closed form, from an assumption: answers of two adapters, and of the base and an adapter, to
    one item correlate `correlation`. With 0 the items of base and run are taken as different ones.
    Accuracies are raised as by one right and one wrong answer more (Agresti and Caffo, The American
    Statistician 54, 2000).

    Args:
        base, tuned: accuracies, NaN where not measured.
        items: of the target, or of each run; NaN where unknown: then only seeds say how certain
            the changes are.
    """
    ran = np.isfinite(base) & np.isfinite(tuned)
    seeds = ran.sum(axis=0)
    of_base, of_run = (np.where(ran, values, np.nan) for values in (base, tuned))
    first, then = known_mean(of_base), known_mean(of_run)
    df, of_seeds = np.full(len(first), np.inf), over_seeds(of_run, of_base, others)
    if np.isnan(items).all():
        nothing = np.zeros((len(first), 0))
        return TargetEffects(then - first, first, nothing, nothing, df, seeds, *of_seeds)
    base_spread, spread = (
        rate * (1 - rate) / (items + 2)
        for rate in ((items * values + 1) / (items + 2) for values in (first, then))
    )
    within = max(SEED_CORRELATION, correlation)
    own = spread * (within + (1 - within) / np.maximum(seeds, 1) - correlation)
    # A difficulty that all share, the base's own answers, each source's own, and the half items.
    shared, alone = np.sqrt(correlation), np.sqrt((1 - correlation) * base_spread)
    none = np.zeros((len(first), len(first)))
    every = np.broadcast_to(np.asarray(items, float), first.shape)
    change_halves, base_halves = _halves(then - first, first, every)
    influence = np.column_stack(
        [
            shared * (np.sqrt(spread) - np.sqrt(base_spread)),
            -alone,
            none + np.diag(np.sqrt(own)),
            change_halves,
        ]
    )
    base_influence = np.column_stack([shared * np.sqrt(base_spread), alone, none, base_halves])
    return TargetEffects(then - first, first, influence, base_influence, df, seeds, *of_seeds)


def _halves(
    change: Float[np.ndarray, " source"],
    base: Float[np.ndarray, " source"],
    items: Float[np.ndarray, " source"],
) -> tuple[np.ndarray, np.ndarray]:
    """The influence of the two half items on the change and on the base's accuracy."""
    half = np.sqrt(0.5) / items[:, None]
    return half * ([1.0, -1.0] - change[:, None]), half * ([0.0, 1.0] - base[:, None])


def over_seeds(
    tuned: Float[np.ndarray, "seed source"],
    base: Float[np.ndarray, "seed source"],
    others: Bool[np.ndarray, " source"] | None,
) -> tuple[Float[np.ndarray, " source"], float, Float[np.ndarray, " source"]]:
    """How far seeds move a run's accuracy, and the base's, and the degrees of freedom of both."""
    own = np.maximum(np.isfinite(tuned).sum(axis=0) - 1, 0)
    spread, of_base = variance_over_seeds(tuned), variance_over_seeds(base)
    lent = (own > 0) & (True if others is None else others)
    if not own.any():
        return np.zeros(len(own)), 0.0, np.full(len(own), np.inf)
    borrowed = np.minimum(BORROWED, np.where(lent, own[lent].sum() - own, own[lent].sum()))
    pooled = float(spread[lent].mean()) if lent.any() else 0.0
    df = borrowed + own
    moved = (borrowed * pooled + own * np.where(own > 0, spread, 0)) / np.maximum(df, 1)
    moved = np.where(df > 0, moved, np.nan)
    known = of_base[own > 0]
    return moved, float(known.mean()) if known.size else 0.0, np.maximum(df, 1).astype(float)


def variance_over_seeds(values: Float[np.ndarray, "seed *cell"]) -> Float[np.ndarray, "*cell"]:
    """Over seeds; NaN with fewer than two."""
    known = np.isfinite(values)
    number = known.sum(axis=0)
    squares = np.where(known, (values - known_mean(values)) ** 2, 0).sum(axis=0)
    return squares / np.where(number > 1, number - 1, np.nan)
