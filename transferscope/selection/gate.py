"""A comparison as a gate: conditions that every run must meet.

    --protect Jigsaw:2     the run must not lose more than 2 points on Jigsaw
    --gain Counting:5      the run must gain at least 5 points on Counting
    --protect all:3        every target; `mean` is the mean over targets

In:   conditions as text, and the runs of a comparison.
Out:  the outcome of each condition for each run: pass, fail, or cannot tell.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from transferscope.analysis.comparison import ALPHA, MEAN, ComparedRun, Condition, Outcome
from transferscope.errors import DataError
from transferscope.selection.decision import items_needed, points, task, why_untested
from transferscope.study.file import nearest

ALL = "all"
Kind = Literal["protect", "gain"]


class Limit(NamedTuple):
    """A condition."""

    kind: Kind
    target: str
    points: float
    """A fraction of accuracy: 0.02 for 2 points."""

    @property
    def text(self) -> str:
        return f"{self.kind} {self.target}:{100 * self.points:g}"

    @property
    def least(self) -> float:
        """The change must be above this."""
        return -self.points if self.kind == "protect" else self.points


def limits_of(protect: Sequence[str], gain: Sequence[str], targets: Sequence[str]) -> list[Limit]:
    """The conditions from their texts.

    Raises:
        DataError: a text is not TASK:POINTS, or no run has the task.
    """
    return [
        *(_limit("protect", text, targets) for text in protect),
        *(_limit("gain", text, targets) for text in gain),
    ]


def _limit(kind: Kind, text: str, targets: Sequence[str]) -> Limit:
    target, _, number = text.rpartition(":")
    try:
        size = float(number)
    except ValueError:
        size = -1.0
    if not target or not 0 <= size <= 100:
        raise DataError(
            f"--{kind} {text}: expected TASK:POINTS, such as {targets[0]}:2, with 0 to 100 points "
            f"of accuracy"
        )
    known = [*targets, ALL, MEAN]
    if target not in known:
        raise DataError(f"--{kind} {text}: no task {target!r}{nearest(target, known)}")
    return Limit(kind, target, size / 100)


def gate(
    runs: Sequence[ComparedRun], limits: Sequence[Limit], targets: Sequence[str]
) -> list[Condition]:
    """The outcome of every condition for every run."""
    return [
        Condition(limit.text, run.name, *_outcome(run, limit, targets))
        for limit in limits
        for run in runs
    ]


def _outcome(run: ComparedRun, limit: Limit, targets: Sequence[str]) -> tuple[Outcome, str]:
    """A condition for one run, with the reason."""
    if run.verdict == "void":
        return "cannot tell", "the run is void"
    chosen = targets if limit.target == ALL else [limit.target]
    # Failing on some target is a union over targets, passing on all an intersection.
    level = ALPHA / len(chosen)
    found = [_on_target(run, target, limit, level) for target in chosen]
    for outcome in ("fail", "cannot tell"):
        reasons = [why for each, why in found if each == outcome]
        if reasons:
            more = f"; and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            return outcome, reasons[0] + more
    if len(found) == 1:
        return found[0]
    least = min((run.cells[target] for target in chosen), key=lambda cell: cell.effect.lower())
    lowest = points(least.effect.lower())
    return "pass", f"all {len(found)} tasks; lowest {task(least.target)}, at least {lowest}"


def _on_target(run: ComparedRun, target: str, limit: Limit, level: float) -> tuple[Outcome, str]:
    cell, name = run.cell(target), task(target)
    if cell is None:
        return "cannot tell", f"{name}: not evaluated on items that the base answered"
    if cell.state != "tested":
        return "cannot tell", f"{name}: {why_untested(cell)}"
    change, low, high = cell.change, cell.effect.lower(), cell.effect.upper(level)
    if low > limit.least:
        return "pass", f"{name} {points(change)}, at least {points(low)}"
    if high < limit.least:
        return "fail", f"{name} {points(change)}, at most {points(high)}"
    # Items that settle it if the truth is as measured; a loss that may be noise counts as none.
    noise = limit.kind == "protect" and cell.effect.p > ALPHA
    needed = items_needed(cell, abs((0 if noise else change) - limit.least))
    return "cannot tell", (
        f"{name} {points(change)}, from {points(low)} to {points(cell.effect.upper())} on "
        f"{cell.items:,} items; {needed}"
    )
