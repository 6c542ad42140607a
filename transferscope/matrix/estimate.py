"""The bricks of the record: means with their uncertainty."""

from dataclasses import dataclass, field
from typing import Literal

from transferscope.tasks.number import Interval, Number


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds of a quantity computed on each seed alone."""

    mean: Number
    ci: Interval
    seeds: dict[str, Number]


@dataclass(frozen=True)
class Shares:
    """A share of variance for each of the additive decomposition's parts."""

    target: Number
    source: Number
    both: Number


@dataclass(frozen=True)
class Decomposition(Shares):
    """Share of the off-diagonal variance of the seed mean that tasks explain by themselves.

    The rest, `1 - both`, is interaction: what depends on the pair.
    """

    ci: dict[Literal["target", "source", "both"], Interval]
    no_transfer: dict[Literal["target", "source", "both"], Interval] = field(default_factory=dict)
    """Where the shares lie in 1 - alpha of studies without any transfer; empty where unknown. They
    are not 0 there: a baseline's luck is shared by all of a target's effects."""
