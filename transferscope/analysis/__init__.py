"""The analysis of a study: its settings and its results, as plain data.

The summary, the page, the figures and a user's scripts read this one record, so a report can be
drawn again without the results it was made from. `analyze.analyze` fills it; `json_file` turns it
into `analysis.json` (schema 1) and back.

A number that is not known is NaN here and null in JSON. Effects (`mean`, `positive`, ...) are in
the units of `settings.measure`; with PGF, the part of the remaining gap that was closed. An
interval `ci` is `(low, high)` at `1 - settings.alpha`.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from transferscope.analysis.parts import (
    Adjusted,
    Decomposition,
    Estimate,
    Experiment,
    Placebo,
    Power,
    Training,
    Trajectory,
)
from transferscope.analysis.settings import Settings
from transferscope.analysis.surface import AnalysisMethods
from transferscope.analysis.verdict import Check, Verdict
from transferscope.matrix.collapse import Behaviour
from transferscope.matrix.flips import Flips
from transferscope.tasks import Granularity, Level
from transferscope.tasks.number import Interval, Number

Sign = Literal["positive", "negative"]
Quantity = Literal["transferability", "malleability"]
Basis = Literal["seeds and items", "seeds", "items", "none"]
Items = Literal["predictions", "counts", "none"]
Null = Literal["no transfer", "column shift"]


@dataclass(frozen=True)
class TaskRecord:
    """A task of the study."""

    name: str
    abbreviation: str
    level: Level | None
    granularity: Granularity | None
    source: bool
    """Whether some adapter was trained on it."""
    target: bool
    """Whether it was evaluated."""


@dataclass(frozen=True)
class Cell:
    """The effect of one source on one target, over seeds."""

    mean: Number
    std: Number
    """Standard deviation over seeds (n - 1); NaN with one seed."""
    ci: Interval
    p_value: Number
    """Two-sided: the level at which the interval of the change just reaches 0."""
    q_value: Number
    """Benjamini-Hochberg over this model's off-diagonal cells."""
    seeds: dict[str, Number]
    change: Number = math.nan
    """The change of accuracy, a fraction, mean over seeds; verdicts rest on it and `change_ci`."""
    change_ci: Interval = (math.nan, math.nan)
    expected: Number = math.nan
    """The change to expect on new items and with new seeds (`stats.expectation`)."""
    helps: Number = math.nan
    """Probability that it is a gain of more than a point."""
    harms: Number = math.nan
    """Probability that it is a loss of more than a point."""
    confidence: Number | None = None
    """Change of the probability of the right option, mean over items; None where log-probabilities
    are unknown. It shows how sharply a model answers, and is never counted as help or harm."""
    confidence_ci: Interval | None = None
    mcnemar: dict[str, Number] | None = None
    """Exact McNemar p-value of each seed; only where item-level predictions exist."""
    n: Number | None = None
    """Items that base and run both answered, mean over seeds; None where unknown."""
    base: dict[str, Number] | None = None
    """{seed: accuracy of the untuned model on these items}; None where they are all of its items,
    as in `ModelAnalysis.base_seeds`."""
    left_out: list[str] = field(default_factory=list)
    """Seeds without a part in averages: `n` is less than half of `ModelAnalysis.most_items`."""


@dataclass(frozen=True)
class TaskEffect:
    """Transferability of a source (eq. 1) or malleability of a target (eq. 2)."""

    positive: Estimate
    negative: Estimate
    breadth_positive: Number
    """Share of the considered tasks with an effect above 0, mean over seeds."""
    breadth_negative: Number


@dataclass(frozen=True)
class SignedIntervals:
    """Intervals of a `Signed`."""

    positive: Interval
    negative: Interval


@dataclass(frozen=True)
class Signed:
    """A positive and a negative mean with their intervals."""

    positive: Number
    negative: Number
    ci: SignedIntervals


@dataclass(frozen=True)
class TaskProfile:
    """Mean transferability and mean malleability of a group of tasks."""

    transferability: Signed
    malleability: Signed


@dataclass(frozen=True)
class Category:
    """A category's trend: self-transfer included, as in the paper's Figures 3 and 4, and not."""

    tasks: list[str]
    transferability: Signed
    malleability: Signed
    without_self: TaskProfile


@dataclass(frozen=True)
class CategoryAxis:
    """One way to group tasks."""

    rests_on_self: list[str]
    """Trends (`transferability.positive`, ...) whose order changes without self-transfer."""
    effects: dict[str, dict[str, Signed]]
    """Mean positive and mean negative effect over all ordered task pairs: source, then target
    category. Self-transfer as in `settings.include_self`."""


@dataclass(frozen=True)
class Edge:
    """One edge of the transfer graph."""

    source: str
    target: str
    pgf: Number
    """Seed-mean effect, in the units of `settings.measure`."""
    q_value: Number


@dataclass(frozen=True)
class Graph:
    """The strongest effects of both signs."""

    edges: list[Edge]


@dataclass(frozen=True)
class Clique:
    """Tasks of which every ordered pair has the same sign (definition 3)."""

    tasks: list[str]
    size: int
    mean: Number
    ci: Interval
    p_value: Number
    """One-sided Wilcoxon signed-rank test over (ordered pair x seed) values, as in the paper."""
    q_value: Number
    """Benjamini-Hochberg over all cliques of this model and sign."""
    every_seed: bool
    """Whether each seed alone agrees in every sign; cells not measured are ignored."""


@dataclass(frozen=True)
class CliqueNull:
    """How large the largest clique is under one null model."""

    null: Null
    sign: Sign
    observed: int
    """Size of the largest clique in the data (0 where none reaches three tasks)."""
    mean: Number
    """Mean size of the largest clique under the null."""
    upper: int
    """The null's 1 - alpha quantile of that size."""
    p_value: Number
    """Share of null draws with a clique at least as large as observed."""
    sizes: dict[str, Number]
    """Largest size -> share of null draws."""


@dataclass(frozen=True)
class Cliques:
    """Maximal cliques of both signs, largest first."""

    positive: list[Clique]
    negative: list[Clique]
    complete: bool
    """False where there were too many to list them all."""
    nulls: list[CliqueNull]
    """Empty where no null model could be computed; `notes` has the reason."""


@dataclass(frozen=True)
class Gaps:
    """What could not be computed, counted."""

    cells: int
    """Cells (seed, source, target) that the study spans."""
    missing: int
    """Cells that were not measured."""
    undefined: int
    """Cells whose baseline is at or above the ceiling, so that the effect is undefined."""


@dataclass(frozen=True)
class ModelAnalysis:
    """Everything about one model."""

    seeds: list[str]
    basis: Basis
    """What the intervals account for."""
    items: Items
    """Where their item-level part comes from."""
    gaps: Gaps
    base_accuracy: dict[str, Number]
    """Accuracy of the untuned model on each target, mean over seeds; NaN where unknown."""
    base_errors: dict[str, dict[str, int | None]]
    """{target: {seed: wrong answers of the untuned model}}; None where unknown."""
    pgf: dict[str, dict[str, Cell]]
    """{source: {target: cell}}, in the units of `settings.measure`."""
    transferability: dict[str, TaskEffect]
    malleability: dict[str, TaskEffect]
    average: TaskProfile
    """Means over tasks."""
    noise_floor: TaskProfile | None
    """The averages with no transfer at all: sampling noise and the shared baseline."""
    categories: dict[str, dict[str, Category]]
    """{level | granularity: {category: trend}}"""
    category_axes: dict[str, CategoryAxis]
    graph: Graph
    cliques: Cliques
    behaviour: Behaviour | None = None
    """How replies are given; None where the results do not hold the options chosen."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """{source: whether it harms}; empty where accuracies are unknown."""
    seed_share: dict[str, Number] = field(default_factory=dict)
    """{target: how much of an interval's squared reach is due to seeds}; NaN where unknown. Above a
    half, one more seed helps more than more items. It rests on widths alone, never on signs."""
    flips: dict[str, dict[str, Flips]] = field(default_factory=dict)
    """{source: {target: items that changed}}; empty without item-level predictions."""
    controls: dict[str, Placebo] = field(default_factory=dict)
    """{control or mixture: its effects}; empty where none was run."""
    adjusted: Adjusted | None = None
    """Effects beyond the placebo's; None where no placebo was run."""
    base_seeds: dict[str, dict[str, Number]] = field(default_factory=dict)
    """{target: {seed: accuracy of the untuned model}}, whose means are `base_accuracy`."""
    most_items: dict[str, int | None] = field(default_factory=dict)
    """{target: items of its largest run, base included}; None where unknown."""


@dataclass(frozen=True)
class PersonaEvidence:
    """A persona in one model."""

    value: Number
    average: Number
    """The model's average over tasks."""
    p_value: Number
    """One-sided unpaired t-test of the task's per-seed values against the per-seed averages."""
    ci: Interval
    """Interval of `value - average`."""


@dataclass(frozen=True)
class Persona:
    """A task that plays one role in every model."""

    task: str
    models: dict[str, PersonaEvidence]
    support: Number
    """Share of bootstrap draws in which the task plays the role in every model."""


@dataclass(frozen=True)
class Personas:
    """The four personas of section 5.2."""

    donor: list[Persona]
    pirate: list[Persona]
    sponge: list[Persona]
    sieve: list[Persona]


@dataclass(frozen=True)
class Trend:
    """An average over tasks, model by model in size order."""

    positive: list[Number]
    negative: list[Number]
    ci: dict[Sign, list[Interval]]
    steps: dict[Sign, list[Interval]]
    """Interval of the difference between each model and the one before it."""


@dataclass(frozen=True)
class Scale:
    """How the averages change with model size."""

    models: list[str]
    transferability: Trend
    malleability: Trend


@dataclass(frozen=True)
class Claim:
    """A published finding, decided for the given models."""

    id: str
    statement: str
    source: str
    """Its place in the paper."""
    holds: bool | None
    """None where it cannot be decided; `evidence` names what is missing."""
    evidence: str
    support: Number
    """Share of bootstrap draws in which it holds."""
    sensitive_to: list[str]
    """Defensible choices that, changed one at a time, reverse `holds`."""
    held: int
    """Number of combinations of defensible choices under which it holds ..."""
    tried: int
    """... of this many."""


@dataclass(frozen=True)
class Input:
    """A file that was read."""

    model: str
    """Model name or names, in the order of the argument."""
    file: str
    """File name without its folder."""
    sha256: str
    kind: str
    """The table's format, or the harness that wrote it."""
    gold: dict[str, str] = field(default_factory=dict)
    """{target: SHA-256 of its right answers}, where they are known."""


@dataclass(frozen=True, repr=False)
class Analysis(AnalysisMethods):
    """One analysis of one study."""

    version: str
    """Version of transferscope that wrote it."""
    settings: Settings
    inputs: list[Input]
    tasks: list[TaskRecord]
    models: dict[str, ModelAnalysis]
    """In size order, smallest first."""
    personas: Personas
    decomposition: dict[str, Decomposition]
    scale: Scale
    claims: list[Claim]
    power: list[Power]
    notes: list[str]
    """What a reader must know before believing the numbers."""
    checks: list[Check] = field(default_factory=list)
    """What voids a verdict, or puts it in doubt."""
    trajectories: list[Trajectory] = field(default_factory=list)
    """Empty where no source is a checkpoint."""
    experiment: Experiment | None = None
    """Whether choosing training data by the matrix pays; None where that was not tried."""
    personas_by_chance: dict[str, Number] = field(default_factory=dict)
    """{role: how many tasks would play it without any transfer}; empty where unknown."""
    trainings: list[Training] = field(default_factory=list)
    """How each adapter learned; empty where a study's folder does not log it."""
    schema: Literal[1] = 1
