"""What adapters do besides transferring: how they answer, what they change, what a placebo does.

Part of the record (`analysis`), and like it plain data. `behaviour`, `flips` and `placebo` fill it.
"""

import math
from dataclasses import dataclass

from transferscope.matrix.estimate import Decomposition, Estimate, Interval, Number
from transferscope.tasks import LETTERS


@dataclass(frozen=True)
class Answers:
    """How one source's adapters, or the base, answer the items of one target."""

    letters: list[Number]
    """Share of each option (A first) among the letters given, seeds pooled; empty where unknown."""
    unreadable: Number
    """Share of all replies that name no option, seeds pooled. They count as wrong."""
    collapsed: dict[str, int]
    """{seed: option}: seeds that give one letter to nearly everything (`behaviour`), and which."""
    seeds: int
    """Seeds whose answers are known."""


@dataclass(frozen=True)
class Behaviour:
    """How answers are given, run by run."""

    right: dict[str, list[Number]]
    """{target: share of each option among the right answers}; empty lists where unknown."""
    base: dict[str, Answers]
    """{target: answers}"""
    sources: dict[str, dict[str, Answers]]
    """{source: {target: answers}}"""
    controls: dict[str, dict[str, Answers]]
    """{control: {target: answers}}"""


@dataclass(frozen=True)
class Flips:
    """Items that finetuning on one source changed in one target."""

    fixed: Number
    """Items that the base had wrong and the adapter right, mean over seeds."""
    broken: Number
    """Items that the base had right and the adapter wrong, mean over seeds."""
    items: Number
    """Items that both answered, mean over seeds."""
    seeds: int
    """Seeds compared."""
    often_fixed: int
    """Items fixed in more than half of the seeds."""
    often_broken: int
    most_fixed: dict[str, int]
    """{item: seeds that fixed it}: the first few of them, most seeds first."""
    most_broken: dict[str, int]


@dataclass(frozen=True)
class Placebo:
    """What a control did: a source with nothing to teach, the base asked again (`reordered`), or a
    mixture of sources, which goes by a name of its own."""

    targets: dict[str, Estimate]
    """{target: effect}, in the units of `settings.measure`."""
    mean: Estimate
    """Mean over targets."""


@dataclass(frozen=True)
class Adjusted:
    """Effects beyond those of a placebo: each seed's effect minus the placebo's of that seed."""

    placebo: str
    """The control that was subtracted."""
    cells: dict[str, dict[str, Estimate]]
    """{source: {target: difference}}; NaN where either was not measured."""
    mean: Estimate
    """Mean over off-diagonal cells."""
    decomposition: Decomposition
    """Of the differences' off-diagonal variance."""
    variance: Number
    """Off-diagonal variance of the seed-mean differences over that of the plain effects; the
    placebo's own noise is in it."""
    variance_ci: Interval = (math.nan, math.nan)
    """Where that ratio would lie in another such study."""


def says(answers: Answers) -> str:
    """`always A`, and in how many seeds where not in all: `always A in 2 of 4 seeds`."""
    letters = sorted({letter(option) for option in answers.collapsed.values()})
    words = "always " + " or ".join(letters)
    count = len(answers.collapsed)
    return words if count == answers.seeds else f"{words} in {count} of {answers.seeds} seeds"


def letter(option: int) -> str:
    """An option's letter: A for 0."""
    return chr(ord(LETTERS[0]) + option)
