"""Skill or format: what a finetune changes in both forms of a task, and what in one.

Where a study evaluates a task as multiple choice and its open form (`Task.twin`), the same items
show whether a finetune changed the skill, which moves both, or the answer format, which moves one.

In:   an `Analysis` and a model's name.
Out:  a `TwinPair` for each source and pair of forms, judged by the cells' own tests.
"""

import math
from typing import Literal, NamedTuple

from transferscope.analysis import Analysis
from transferscope.analysis.headline import TaskPair, pairs, verdict_of
from transferscope.suites import KNOWN_TASKS

Moved = Literal["both", "choice only", "open only", "neither", "opposite"]
"""Which forms a finetune changed; `opposite`: one up, the other down."""


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
