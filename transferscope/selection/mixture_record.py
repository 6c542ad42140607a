"""The records of a selection: a mixture of sources, and what it was chosen from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.parts import BeyondPlacebo
from transferscope.matrix.collapse import Answers
from transferscope.tasks.number import Interval, Number
from transferscope.tasks.untrusted import shown

Rule = Literal["default", "paper"]
THRESHOLDS: dict[Rule, float] = {"default": 0.8, "paper": 0.0}
"""For `helps`, and for PGF: the paper has "above a certain threshold" and does not name it."""
RISK = 0.1
"""Highest probability of too great a loss on a protected task."""
Reason = Literal[
    "does not help",
    "not surely helping",
    "not above the threshold",
    "may do harm",
    "collapsed answers",
    "not known",
    "a better source",  # it helps, and another is expected to help more
]
"""Why a source is left out, in short."""


@dataclass(frozen=True)
class ChosenSource:
    """A source to train on."""

    source: str
    share: Number
    """Part of the mixture's items; the shares sum to 1."""
    items: int | None
    """Part of the budget; None without a budget."""
    expected: Number
    """Change of the target's accuracy to expect, a fraction, beyond the yardstick; under `paper`
    the measured change."""
    ci: Interval
    """Interval of the measured change, beyond the yardstick, at `1 - settings.alpha`."""
    helps: Number
    """Probability that it adds more than a point, beyond the yardstick; NaN without intervals."""
    evidence: str
    """In words: seeds, q-value, effect beyond the yardstick."""


@dataclass(frozen=True)
class LeftOut:
    """A source that is not trained on."""

    source: str
    reason: Reason
    why: str
    """The reason in full, with its numbers."""
    expected: Number
    """As in `ChosenSource`."""
    helps: Number


@dataclass(frozen=True)
class Guard:
    """The mixture's effect on a protected task."""

    task: str
    loss: Number
    """The allowed loss of accuracy, a fraction."""
    risk: Number
    """Highest allowed probability of a greater loss."""
    expected: Number
    """Measured change of the task's accuracy, mean over the choices; NaN without any."""
    probability: Number
    """Probability of a loss greater than `loss`; NaN without choices."""


@dataclass(frozen=True, repr=False)
class Mixture:
    """What to train on for a target."""

    model: str
    target: str
    rule: Rule
    threshold: Number
    """Least `helps` under `default`, PGF to exceed under `paper`."""
    choices: list[ChosenSource]
    """One source under `default`; empty if none is likely to help."""
    left_out: list[LeftOut]
    """The most helpful first; the target itself is never a source and not listed."""
    expected: Number
    """Mean of the choices' `expected`; NaN without any."""
    verdict: str
    """The answer in one sentence."""
    notes: list[str]
    """Caveats."""
    yardstick: str | None
    """The placebo beyond whose effect a source must help; None if the base is the yardstick."""
    guards: list[Guard]

    def __repr__(self) -> str:
        lines = [f"{shown(self.model)}: {self.verdict}"]
        for each in self.choices:
            items = "" if each.items is None else f", {each.items:,} items"
            lines.append(f"  {shown(each.source)} {100 * each.share:.0f} %{items}; {each.evidence}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Request:
    """The target, the rule, and the matrix to choose from."""

    analysis: Analysis
    model: str
    target: str
    rule: Rule
    threshold: float
    protect: Mapping[str, float]
    risk: float

    @property
    def matrix(self) -> ModelAnalysis:
        return self.analysis.models[self.model]

    @property
    def alpha(self) -> float:
        return self.analysis.settings.alpha

    @property
    def yardstick(self) -> str | None:
        """The placebo, if it helps the target; the paper's rule has none."""
        adjusted = self.matrix.adjusted
        if adjusted is None or self.rule == "paper":
            return None
        alone = self.matrix.controls[adjusted.placebo].targets[self.target].mean
        return adjusted.placebo if alone > 0 else None

    @property
    def gains(self) -> Mapping[str, Mapping[str, Cell | BeyondPlacebo]]:
        """{source: {target: effect beyond the yardstick}}"""
        adjusted = self.matrix.adjusted
        return adjusted.cells if adjusted and self.yardstick is not None else self.matrix.pgf

    def answers(self, source: str) -> Answers | None:
        """How a source's adapters answer the target's items, where known."""
        behavior = self.matrix.behaviour
        return behavior and behavior.sources.get(source, {}).get(self.target)


class SourceEffect(NamedTuple):
    """One source's effect on the target, and why it is not chosen."""

    source: str
    cell: Cell
    """The effect against the base."""
    gain: Cell | BeyondPlacebo
    """Beyond the yardstick."""
    expected: float
    """The gain of accuracy to expect; under `paper` the measured change."""
    reason: Reason | None = None
    """Why it is not trained on; None for a chosen source."""
    why: str = ""
