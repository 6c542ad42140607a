"""Ways to train for a target, and how each of them did: the counterpart of the paper's Figure 8.

Part of the record (`analysis`), and like it plain data. `experiment` has the ways tried, `trial`
fills the numbers in.
"""

from dataclasses import dataclass
from typing import Literal

from transferscope.matrix.estimate import Estimate

Strategy = Literal["base", "direct", "informed", "random", "all"]
STRATEGIES: dict[Strategy, str] = {
    "base": "the base",
    "direct": "the target's own data",
    "informed": "the informed mixture",
    "random": "random mixtures",
    "all": "all sources",
}
"""In the order of figures and tables, with what each is called."""


@dataclass(frozen=True)
class Arm:
    """One way to train for one target. The base is one too: not to train."""

    mixtures: dict[str, dict[str, float]]
    """{adapter: {task: share of its items}}; several where mixtures are random."""
    why: str
    """Why there is nothing to judge, or what else it coincides with; empty otherwise."""
    accuracy: Estimate
    """A fraction; of random mixtures the mean over them."""
    effect: Estimate
    """On the target, in the units of `settings.measure`."""


@dataclass(frozen=True)
class Trial:
    """All ways to train for one target."""

    choice: str
    """What the matrix said, in a sentence."""
    expected: Estimate
    """Effect of the informed mixture by the matrix; NaN where it is empty."""
    arms: dict[Strategy, Arm]
    differences: dict[Strategy, Estimate]
    """Effect of the informed mixture minus that of another way, paired by seed and item."""


@dataclass(frozen=True)
class Judgement:
    """What the experiment says of one model."""

    targets: dict[str, Trial]
    differences: dict[Strategy, Estimate]
    """The same differences, mean over the targets of `compared`."""
    compared: dict[Strategy, list[str]]
    """The targets for which the informed mixture and the other way were both tried."""
    verdict: list[str]
    """What follows, in sentences."""


@dataclass(frozen=True)
class Experiment:
    """What was chosen from a matrix, and how it did with other seeds."""

    rule: Literal["default", "paper"]
    threshold: float | None
    """None for the rule's own."""
    items: int
    """Training items of every adapter."""
    draws: int
    """Random mixtures for each judging seed."""
    informed_by: list[str]
    """Seeds of the matrix."""
    judged_by: list[str]
    """Seeds of what was judged."""
    questions: dict[str, int]
    """{target: evaluation items it was judged on}"""
    other_items: bool
    """Whether those are other items than the matrix was measured on."""
    models: dict[str, Judgement]
    notes: list[str]
    """What to know before believing it."""
