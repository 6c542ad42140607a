"""What a selection is: a mixture of sources, and what it is made from.

In:   nothing; `selection` fills the records.
Out:  plain data, and the normal distributions that stand for what is believed of an effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from scipy.special import ndtr, ndtri

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.parts import Estimate
from transferscope.tasks.number import Interval, Number

Rule = Literal["default", "paper"]
THRESHOLDS: dict[Rule, float] = {"default": 0.9, "paper": 0.0}
"""Of `helps`, and of PGF: the paper says "above a certain threshold" and not which."""
RISK = 0.1
"""How probable too great a loss on a protected task may be."""
Reason = Literal[
    "does not help",
    "not surely helping",
    "not above the threshold",
    "may do harm",
    "collapsed answers",
    "not known",
    "an earlier checkpoint",  # it helps, and the same finetune was trained for longer
]
"""Why a source is left out, in short."""


@dataclass(frozen=True)
class Choice:
    """A source to train on."""

    source: str
    share: Number
    """Part of the mixture's items; the shares sum to 1."""
    items: int | None
    """Its part of the budget; None where none was given."""
    expected: Number
    """Effect on the target, measured against the base, in the units of `settings.measure`."""
    ci: Interval
    """Of `expected`, at `1 - settings.alpha`."""
    helps: Number
    """Probability that it helps, beyond the yardstick; NaN without intervals."""
    evidence: str
    """What speaks for it, in words: seeds, q-value, what it does beyond the yardstick."""


@dataclass(frozen=True)
class LeftOut:
    """A source that is not trained on."""

    source: str
    reason: Reason
    why: str
    """The same in full, with its numbers."""
    expected: Number
    """Effect on the target, as in `Choice`."""
    helps: Number
    """Probability that it helps, as in `Choice`."""


@dataclass(frozen=True)
class Guard:
    """What the mixture does to a task that must not lose."""

    task: str
    loss: Number
    """The loss that is still allowed, in the units of `settings.measure`."""
    risk: Number
    """How probable a greater loss may be."""
    expected: Number
    """The mixture's effect on the task; NaN where the mixture is empty."""
    probability: Number
    """That it loses more than `loss`; NaN where the mixture is empty."""


@dataclass(frozen=True)
class Mixture:
    """What to train on for a target."""

    model: str
    target: str
    rule: Rule
    threshold: Number
    """Least `helps` under `default`, PGF to exceed under `paper`."""
    choices: list[Choice]
    """Largest share first; empty where nothing is known to help."""
    left_out: list[LeftOut]
    """The most helpful first; the target itself is never a source and not listed."""
    expected: Estimate
    """The mixture's effect on the target; NaN where it is empty."""
    verdict: str
    """The answer in one sentence."""
    notes: list[str]
    """What to know before believing it."""
    yardstick: str | None
    """The placebo beyond whose effect a source must help; None where the base is the measure."""
    guards: list[Guard]


class Normal(NamedTuple):
    """What is believed of an effect."""

    mean: float
    sd: float
    """NaN where nothing tells the effect from noise."""

    def above(self, value: float) -> float:
        """Probability that the effect is above `value`."""
        if self.sd == 0:
            return float(self.mean > value)
        return float(ndtr((self.mean - value) / self.sd))

    def interval(self, alpha: float) -> Interval:
        """Where the effect lies with a probability of `1 - alpha`."""
        reach = self.sd * float(ndtri(1 - alpha / 2))
        return self.mean - reach, self.mean + reach


def normal(measured: Cell | Estimate, alpha: float) -> Normal:
    """The normal distribution whose interval reaches as far as the measured one.

    An interval that a bound cuts off at one end is taken at the other.
    """
    low, high = measured.ci
    reach = max(measured.mean - low, high - measured.mean)
    return Normal(measured.mean, reach / float(ndtri(1 - alpha / 2)))


def sober(measured: Cell | Estimate, alpha: float) -> Normal:
    """`normal`, no surer of the sign than the exact test over items, where that is known."""
    its = normal(measured, alpha)
    exact = measured.exact_p if isinstance(measured, Cell) else None
    if exact is None or math.isnan(exact) or exact <= 0:
        return its
    reach = float(ndtri(1 - exact / 2))
    return its._replace(sd=max(its.sd, abs(its.mean) / max(reach, 1e-3)))


class Question(NamedTuple):
    """What is asked, and of which matrix."""

    analysis: Analysis
    model: str
    target: str
    rule: Rule
    threshold: float
    protect: Mapping[str, float]
    risk: float

    @property
    def one(self) -> ModelAnalysis:
        return self.analysis.models[self.model]

    @property
    def alpha(self) -> float:
        return self.analysis.settings.alpha

    @property
    def yardstick(self) -> str | None:
        """The placebo, where it helps the target; the paper's rule knows of none."""
        adjusted = self.one.adjusted
        if adjusted is None or self.rule == "paper":
            return None
        alone = self.one.controls[adjusted.placebo].targets[self.target].mean
        return adjusted.placebo if alone > 0 else None


class Candidate(NamedTuple):
    source: str
    cell: Cell
    effect: Normal
    """On the target, against the base."""
    gain: Normal
    """On the target, beyond the yardstick."""
    helps: float
    """Probability that it helps, beyond the yardstick; NaN without an interval."""
    shrunk: bool
    """Whether `helps` takes into account what the matrix's other effects are like."""


class Objection(NamedTuple):
    """Why a source is not trained on."""

    reason: Reason
    why: str
