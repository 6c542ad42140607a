"""A comparison as a gate: conditions that every run must meet.

    --protect Jigsaw:2     the run must not lose more than 2 points on Jigsaw
    --gain Counting:5      the run must gain at least 5 points on Counting
    --protect all:3        every target; `mean` is the mean over targets

In:   conditions as text, and a `Comparison`.
Out:  the outcome of each condition for each run: pass, fail, or cannot tell.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal, NamedTuple

from transferscope.comparison.record import ALPHA, MEAN, Condition, Run
from transferscope.comparison.words import needed, signed, state_words, task
from transferscope.errors import DataError

ALL = "all"
Outcome = Literal["pass", "fail", "cannot tell"]
Kind = Literal["protect", "gain"]


class Limit(NamedTuple):
    """A condition."""

    what: Kind
    target: str
    points: float
    """A fraction of accuracy: 0.02 for 2 points."""

    @property
    def text(self) -> str:
        return f"{self.what} {self.target}:{100 * self.points:g}"

    @property
    def limit(self) -> float:
        """The change that must be exceeded."""
        return -self.points if self.what == "protect" else self.points


def limits_of(protect: Sequence[str], gain: Sequence[str], targets: Sequence[str]) -> list[Limit]:
    """The conditions, read.

    Raises:
        DataError: one is not TASK:POINTS, or no run has the task.
    """
    found = []
    kinds: tuple[tuple[Kind, Sequence[str]], ...] = (("protect", protect), ("gain", gain))
    for what, texts in kinds:
        for text in texts:
            target, colon, number = text.rpartition(":")
            try:
                size = float(number)
            except ValueError:
                size = -1.0
            if not colon or not target or not 0 <= size <= 100:
                raise DataError(
                    f"--{what} {text}: expected TASK:POINTS, such as {targets[0]}:2, with 0 to "
                    f"100 points of accuracy"
                )
            known = (*targets, ALL, MEAN)
            if target not in known:
                near = get_close_matches(target, known, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise DataError(
                    f"--{what} {text}: no task {target!r}; {hint}known: {', '.join(known)}"
                )
            found.append(Limit(what, target, size / 100))
    return found


def gate(runs: Sequence[Run], limits: Sequence[Limit], targets: Sequence[str]) -> list[Condition]:
    """The outcome of every condition for every run."""
    return [_condition(run, limit, targets) for limit in limits for run in runs]


def _condition(run: Run, limit: Limit, targets: Sequence[str]) -> Condition:
    if run.verdict == "void":
        return Condition(limit.text, run.name, "cannot tell", "the run is void")
    chosen = targets if limit.target == ALL else [limit.target]
    # Failing on some target is a union over targets, passing on all an intersection.
    level = ALPHA / len(chosen)
    found = [_outcome(run, target, limit, level) for target in chosen]
    for outcome in ("fail", "cannot tell"):
        reasons = [why for each, why in found if each == outcome]
        if reasons:
            more = f"; and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            return Condition(limit.text, run.name, outcome, reasons[0] + more)
    if len(found) == 1:
        return Condition(limit.text, run.name, "pass", found[0][1])
    least = min((run.cells[target] for target in chosen), key=lambda cell: cell.effect.lower())
    why = f"all {len(found)} tasks; lowest {task(least.target)}, at least "
    return Condition(limit.text, run.name, "pass", why + signed(least.effect.lower()))


def _outcome(run: Run, target: str, limit: Limit, level: float) -> tuple[Outcome, str]:
    cell = run.mean if target == MEAN else run.cells.get(target)
    name = "mean" if target == MEAN else task(target)
    if cell is None:
        return "cannot tell", f"{name}: not evaluated on items that the base answered"
    if cell.state != "tested":
        return "cannot tell", f"{name}: {state_words(cell)}"
    low, high = cell.effect.lower(), cell.effect.upper(level)
    if low > limit.limit:
        return "pass", f"{name} {signed(cell.change)}, at least {signed(low)}"
    if high < limit.limit:
        return "fail", f"{name} {signed(cell.change)}, at most {signed(high)}"
    # Items that settle it if the truth is as measured; a loss that may be noise is taken for none.
    noise = limit.what == "protect" and cell.effect.p > ALPHA
    margin = abs((0 if noise else cell.change) - limit.limit)
    return "cannot tell", (
        f"{name} {signed(cell.change)}, from {signed(low)} to {signed(cell.effect.upper())} on "
        f"{cell.items:,} items; {needed(cell, margin)}"
    )
