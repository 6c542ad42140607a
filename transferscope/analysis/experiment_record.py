"""The record of the experiment of the paper's Figure 8: ways to train for a target, and results.

Part of the analysis, and like it plain data. `selection.arms` makes the ways to train,
`selection.trials` measures them.
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
"""In the order of figures and tables, with their labels."""


@dataclass(frozen=True)
class Arm:
    """One way to train for one target. The base is one too: no training."""

    mixtures: dict[str, dict[str, float]]
    """{adapter: {task: share of its items}}; several where mixtures are random."""
    why: str
    """Why nothing was trained, or which other arm this one equals; empty otherwise."""
    accuracy: Estimate
    """A fraction; for random mixtures the mean over them."""
    effect: Estimate
    """On the target, in the units of `settings.measure`."""


@dataclass(frozen=True)
class Trial:
    """All ways to train for one target."""

    choice: str
    """The matrix's answer, in a sentence."""
    expected: Estimate
    """Effect of the informed mixture by the matrix; NaN if it is empty."""
    arms: dict[Strategy, Arm]
    differences: dict[Strategy, Estimate]
    """Effect of the informed mixture minus that of another way, paired by seed and item."""


@dataclass(frozen=True)
class Judgement:
    """The results of the experiment on one model."""

    targets: dict[str, Trial]
    differences: dict[Strategy, Estimate]
    """The same differences, mean over the targets of `compared`."""
    compared: dict[Strategy, list[str]]
    """The targets for which both the informed mixture and the other way were tried."""
    verdict: list[str]
    """The conclusions, in sentences."""


@dataclass(frozen=True)
class Experiment:
    """The mixtures chosen from a matrix, and their results with other seeds."""

    rule: Literal["default", "paper"]
    threshold: float | None
    """None for the rule's default."""
    items: int
    """Training items of every adapter."""
    draws: int
    """Random mixtures for each judging seed."""
    informed_by: list[str]
    """Seeds of the matrix."""
    judged_by: list[str]
    """Seeds of the judged adapters."""
    questions: dict[str, int]
    """{target: evaluation items that judge}"""
    other_items: bool
    """Whether the matrix was measured on other items."""
    models: dict[str, Judgement]
    notes: list[str]
    """Caveats."""
