"""Parts of the `Analysis` record: estimates, controls, checkpoints, and the mixtures tried.

Effects are in the units of `settings.measure`; a number that is not known is NaN.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from transferscope.tasks.number import Interval, Number

Part = Literal["target", "source", "both"]
PARTS: tuple[Part, ...] = get_args(Part)
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
class Estimate:
    """A mean over seeds of a quantity computed on each seed alone."""

    mean: Number
    ci: Interval
    seeds: dict[str, Number]


@dataclass(frozen=True)
class Power:
    """The smallest effect that a study of these widths detects, with a chance of 80 %."""

    model: str
    target: str
    items: int
    seeds: int
    base_accuracy: Number
    smallest_pgf: Number
    """In the units of `settings.measure`."""
    smallest: Number = math.nan
    """The same as a change of accuracy, a fraction."""


@dataclass(frozen=True)
class Decomposition:
    """Share of the off-diagonal variance of the seed mean that targets, sources, or both explain.

    The rest, `1 - both`, is interaction: what depends on the pair.
    """

    target: Number
    source: Number
    both: Number
    ci: dict[Part, Interval]
    no_transfer: dict[Part, Interval] = field(default_factory=dict)
    """Where the shares lie in 1 - alpha of studies without any transfer; empty where unknown. They
    are not 0 there: a baseline's luck is shared by all of a target's effects."""


@dataclass(frozen=True)
class Placebo:
    """The effects of a control: a source with nothing to teach, the base evaluated again
    (`reordered`), or a named mixture of sources."""

    targets: dict[str, Estimate]
    """{target: effect}"""
    mean: Estimate
    """Mean over targets."""


@dataclass(frozen=True)
class BeyondPlacebo(Estimate):
    """A source's effect beyond the placebo's; changes are of accuracy, as in `Cell`."""

    change: Number = math.nan
    change_ci: Interval = (math.nan, math.nan)
    expected: Number = math.nan
    helps: Number = math.nan
    harms: Number = math.nan


@dataclass(frozen=True)
class Adjusted:
    """Effects beyond those of a placebo: each seed's effect minus the placebo's of that seed."""

    placebo: str
    """The control that was subtracted."""
    cells: dict[str, dict[str, BeyondPlacebo]]
    """{source: {target: difference}}; NaN where either was not measured."""
    mean: Estimate
    """Mean over off-diagonal cells."""
    decomposition: Decomposition
    """Of the differences' off-diagonal variance."""
    variance: Number
    """Off-diagonal variance of the seed-mean differences over that of the plain effects; it
    includes the placebo's noise."""
    variance_ci: Interval = (math.nan, math.nan)
    """Where that ratio would lie in another such study."""


@dataclass(frozen=True)
class Course:
    """The effect of one finetune on one target, checkpoint by checkpoint."""

    effects: list[Number]
    """Mean over seeds at each step."""
    ci: list[Interval]
    beyond: list[int]
    """At each step the sign of an effect beyond noise (`verdict.beyond_noise`), else 0."""
    change: Number
    """Effect at the last measured step minus that at the first; NaN with fewer than two."""
    change_ci: Interval
    change_beyond: int
    """As `beyond`, of the change."""
    helped_from: int | float | None
    """First step at which the effect is above 0 beyond noise."""
    harmed_from: int | float | None
    """First step at which it is below."""
    points: list[Number] = field(default_factory=list)
    """Change of accuracy at each step, a fraction."""


@dataclass(frozen=True)
class Trajectory:
    """One finetune over its checkpoints, sources such as `Jigsaw @ 500`, or over the strengths of
    its finished adapter, such as `Jigsaw x 0.5`."""

    model: str
    finetune: str
    """The task, or the mixture, finetuned on."""
    steps: list[int | float]
    """Training steps, or strengths."""
    sources: list[str]
    """The source that each step is."""
    targets: dict[str, Course]
    axis: Literal["step", "strength"] = "step"
    """What `steps` are."""

    @property
    def stem(self) -> str:
        """The end of its figure's file name."""
        return f"-{self.model}-{self.finetune}" + "-strength" * (self.axis == "strength")


@dataclass(frozen=True)
class Training:
    """How one adapter of a study learned, at some 50 of its steps, evenly spaced."""

    model: str
    source: str
    """What it was finetuned on: a source, a mixture or a placebo."""
    seed: str
    step: list[int]
    loss: list[Number]
    """Of each step's batch, before the step, in nats per token; NaN where it is not finite."""
    gradient_norm: list[Number]
    """Before clipping."""
    failed: str = ""
    """Why the adapter was not kept; empty for a finished one."""


@dataclass(frozen=True)
class Arm:
    """One way to train for one target. The base is one too: no training."""

    mixtures: dict[str, dict[str, float]]
    """{adapter: {task: share of its items}}; several where mixtures are random."""
    why: str
    """Why it was not tried, or what else it coincides with; empty otherwise."""
    accuracy: Estimate
    """A fraction; of random mixtures the mean over them."""
    effect: Estimate
    """The change of the target's accuracy; 0 for the base."""


@dataclass(frozen=True)
class Trial:
    """All ways to train for one target."""

    choice: str
    """What was chosen from the matrix, in a sentence."""
    expected: Number
    """Change of accuracy by the informed mixture as the matrix has it; NaN where it is empty."""
    arms: dict[Strategy, Arm]
    differences: dict[Strategy, Estimate]
    """Accuracy of the informed mixture minus that of another way, paired by seed and item."""


@dataclass(frozen=True)
class Judgement:
    """The results of the experiment on one model."""

    targets: dict[str, Trial]
    differences: dict[Strategy, Estimate]
    """The same differences, mean over the targets of `compared`."""
    compared: dict[Strategy, list[str]]
    """The targets for which the informed mixture and the other way were both tried."""
    verdict: list[str]
    """What follows, in sentences."""


@dataclass(frozen=True)
class Experiment:
    """Mixtures chosen from a matrix, and how they did with other seeds (the paper's Figure 8)."""

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
    """Seeds of the runs that were judged."""
    questions: dict[str, int]
    """{target: evaluation items it was judged on}"""
    other_items: bool
    """Whether those are other items than the matrix was measured on."""
    models: dict[str, Judgement]
    notes: list[str]
    """What to know before believing it."""
