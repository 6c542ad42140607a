"""What happened in one model: counts that a reader sees first, and what moved skill or format.

Where a study evaluates a task as multiple choice and its open form (`Task.twin`), the same items
show whether a finetune changed the skill, which moves both, or the answer format, which moves one.

In:   an `Analysis` and a model's name.
Out:  a `Headline`, and a `TwinPair` for each source and pair of forms, judged by the cells' tests.
"""

import math
from typing import Literal, NamedTuple

from transferscope.analysis import Analysis, Cell
from transferscope.analysis.verdict import beyond_noise
from transferscope.suites import KNOWN_TASKS
from transferscope.tasks.checkpoints import same_task

STRONGEST = 3
"""Gains and losses that are listed."""
Moved = Literal["both", "choice only", "open only", "neither", "opposite"]
"""Which forms a finetune changed; `opposite`: one up, the other down."""


class TaskPair(NamedTuple):
    """One source, one target, and the effect."""

    source: str
    target: str
    cell: Cell

    @property
    def own(self) -> bool:
        """Whether the target is the task that the source finetunes on."""
        return same_task(self.source, self.target)

    @property
    def size(self) -> float:
        """The change of accuracy where it is known, else the effect in the analysis's measure."""
        return self.cell.change if math.isfinite(self.cell.change) else self.cell.mean


class Headline(NamedTuple):
    """One model's counts. An effect that is not beyond noise is not settled."""

    learned: int
    """Finetunes that gained on the task they were trained on."""
    surely: int
    """Those that did so beyond noise."""
    own: int
    """Finetunes with a known effect on the task they were trained on."""
    helped: int
    """Effects of one task on another above 0, beyond noise."""
    harmed: int
    not_settled: int
    gains: list[TaskPair]
    """The strongest effects of one task on another, at most `STRONGEST`: of those beyond noise,
    else of all."""
    losses: list[TaskPair]


def verdict_of(pair: TaskPair, alpha: float) -> int | None:
    """1 helped or -1 harmed beyond noise, 0 not settled, None unknown."""
    beyond = beyond_noise(pair.cell, alpha)
    return None if beyond is None else int(math.copysign(beyond, pair.size))


def headline(analysis: Analysis, model: str) -> Headline:
    """The counts of one model."""
    alpha, every = analysis.settings.alpha, pairs(analysis, model)
    known = [pair for pair in every if math.isfinite(pair.size)]
    own = [pair for pair in known if pair.own]
    others = [pair for pair in known if not pair.own]
    judged = [verdict_of(pair, alpha) for pair in others]
    helped, harmed = judged.count(1), judged.count(-1)
    return Headline(
        learned=sum(pair.size > 0 for pair in own),
        surely=[verdict_of(pair, alpha) for pair in own].count(1),
        own=len(own),
        helped=helped,
        harmed=harmed,
        not_settled=len(others) - helped - harmed,
        gains=_strongest(others, 1, alpha),
        losses=_strongest(others, -1, alpha),
    )


def pairs(analysis: Analysis, model: str) -> list[TaskPair]:
    """Every cell of a model, measured or not, by source and target."""
    matrix = analysis.models[model].pgf
    return [TaskPair(s, t, cell) for s, row in matrix.items() for t, cell in row.items()]


def _strongest(others: list[TaskPair], sign: int, alpha: float) -> list[TaskPair]:
    # Points and PGF do not compare: PGF decides only where no accuracy is known.
    alike = [pair for pair in others if math.isfinite(pair.cell.change)] or others
    side = [pair for pair in alike if sign * pair.size > 0]
    clear = [pair for pair in side if verdict_of(pair, alpha) == sign]
    return sorted(clear or side, key=lambda pair: -sign * pair.size)[:STRONGEST]


class TwinPair(NamedTuple):
    """A source's effects on the two forms of a task."""

    choice: TaskPair
    open: TaskPair
    moved: Moved | None
    """None where one of them has no test."""


def twin_pairs(analysis: Analysis, model: str) -> list[TwinPair]:
    """Every source and pair of forms that were both evaluated, by source and target."""
    found = {(pair.source, pair.target): pair for pair in pairs(analysis, model)}
    answer: list[TwinPair] = []
    for (source, target), pair in found.items():
        task = KNOWN_TASKS.get(target)
        if task and task.twin and (choice := found.get((source, task.twin))):
            answer.append(TwinPair(choice, pair, _moved(choice, pair, analysis.settings.alpha)))
    return answer


def _moved(choice: TaskPair, open_form: TaskPair, alpha: float) -> Moved | None:
    one, other = (_sign(pair, alpha) for pair in (choice, open_form))
    if one is None or other is None:
        return None
    if one and other:
        return "both" if one == other else "opposite"
    return "choice only" if one else "open only" if other else "neither"


def _sign(pair: TaskPair, alpha: float) -> int | None:
    """The direction of an effect that holds after correction for the number of effects, else 0.

    Effects of a source on itself are no part of that correction, and stand uncorrected.
    """
    q = pair.cell.q_value
    return 0 if math.isfinite(q) and q > alpha else verdict_of(pair, alpha)
