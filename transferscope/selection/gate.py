"""A comparison as a gate: conditions that every run must meet.

--protect Jigsaw:2     the run must not lose more than 2 points on Jigsaw
--gain Counting:5      the run must gain at least 5 points on Counting
--protect all:3        every target; `mean` is the mean over targets
"""

from collections.abc import Sequence
from typing import NamedTuple

from transferscope.analysis.comparison import ALPHA, MEAN, ComparedRun, Condition, Outcome
from transferscope.errors import DataError
from transferscope.selection.decision import items_needed, points, task, why_untested
from transferscope.study.file import nearest

ALL = "all"


class Limit(NamedTuple):
    """A condition."""

    kind: str
    """`protect` or `gain`."""
    target: str
    points: float
    """A fraction of accuracy: 0.02 for 2 points."""

    @property
    def least(self) -> float:
        """The change must be above this."""
        return -self.points if self.kind == "protect" else self.points


def limits_of(protect: Sequence[str], gain: Sequence[str], targets: Sequence[str]) -> list[Limit]:
    """The conditions from their texts.

    Raises:
        DataError: a text is not TASK:POINTS, or no run has the task.
    """
    known, limits = [*targets, ALL, MEAN], []
    for kind, texts in (("protect", protect), ("gain", gain)):
        for text in texts:
            target, _, number = text.rpartition(":")
            try:
                size = float(number)
            except ValueError:
                size = -1.0
            if not target or not 0 <= size <= 100:
                raise DataError(
                    f"--{kind} {text}: expected TASK:POINTS, such as {targets[0]}:2, with 0 to 100 "
                    f"points of accuracy"
                )
            if target not in known:
                raise DataError(f"--{kind} {text}: no task {target!r}{nearest(target, known)}")
            limits.append(Limit(kind, target, size / 100))
    return limits


def gate(
    runs: Sequence[ComparedRun], limits: Sequence[Limit], targets: Sequence[str]
) -> list[Condition]:
    """The outcome of every condition for every run."""
    found = []
    for limit in limits:
        text = f"{limit.kind} {limit.target}:{100 * limit.points:g}"
        found += [Condition(text, run.name, *_of_run(run, limit, targets)) for run in runs]
    return found


def _of_run(run: ComparedRun, limit: Limit, targets: Sequence[str]) -> tuple[Outcome, str]:
    """A condition for one run, with the reason."""
    if run.verdict == "void":
        return "cannot tell", "the run is void"
    chosen = targets if limit.target == ALL else [limit.target]
    # Failing on some target is a union over targets, passing on all an intersection.
    found = [_on_target(run, target, limit, ALPHA / len(chosen)) for target in chosen]
    for outcome in ("fail", "cannot tell"):
        if reasons := [why for each, why in found if each == outcome]:
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
    change, low, high = cell.change, cell.effect.lower(), cell.effect.upper(level)
    if cell.state == "tested" and high < limit.least:
        return "fail", f"{name} {points(change)}, at most {points(high)}"
    if cell.collapsed:
        return "fail", f"{name} {points(change)}, answers collapsed ({cell.collapsed})"
    if cell.state != "tested":
        return "cannot tell", f"{name}: {why_untested(cell)}"
    if low > limit.least:
        return "pass", f"{name} {points(change)}, at least {points(low)}"
    # Items that settle it if the truth is as measured; a loss that may be noise counts as none.
    noise = limit.kind == "protect" and cell.effect.p > ALPHA
    needed = items_needed(cell, abs((0 if noise else change) - limit.least))
    return "cannot tell", (
        f"{name} {points(change)}, from {points(low)} to {points(cell.effect.upper())} on "
        f"{cell.items:,} items; {needed}"
    )
