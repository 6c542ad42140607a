"""Which run of a comparison to ship, in sentences, and the gate: conditions that runs must meet.

--protect Jigsaw:2     the run must not lose more than 2 points on Jigsaw
--gain Counting:5      the run must gain at least 5 points on Counting
--protect all:3        every target; `mean` is the mean over targets

Accuracies are in percent and changes in points.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transferscope.analysis.comparison import (
    ALPHA,
    MEAN,
    TOLERANCE,
    ComparedCell,
    ComparedRun,
    Condition,
    Decision,
    Outcome,
)
from transferscope.analysis.verdict import Check
from transferscope.analysis.verdicts import MOST_ITEMS
from transferscope.errors import DataError
from transferscope.selection.wording import in_points, listed, points
from transferscope.study.file import nearest

ALL = "all"
NAMED = 3
"""Tasks that a sentence names at most."""


def interval(cell: ComparedCell) -> str:
    """`−32.2 to −8.6`."""
    low, high = cell.effect.interval()
    return "" if math.isnan(low) else f"{points(low)} to {points(high)}"


def task(target: str) -> str:
    return target.replace("_", " ")


def changes(cells: Sequence[ComparedCell], most: int = NAMED) -> str:
    """`Jigsaw −20.4 and Visual Similarity −8.9`; of collapsed answers `Jigsaw +1.2 (always A)`."""

    def one(cell: ComparedCell) -> str:
        how = f" ({cell.collapsed})" if cell.collapsed else ""
        return f"{task(cell.target)} {points(cell.change)}{how}"

    return listed(map(one, cells), most)


def _harm(run: ComparedRun, worse: str = "worse on", unit: str = "") -> str:
    """`worse on Jigsaw −20.4 and collapsed on Counting (always A)`."""
    harmed = run.moved(-1)
    lost = [cell for cell in harmed if cell.sign < 0]
    fallen = [f"{task(cell.target)} ({cell.collapsed})" for cell in harmed if cell.sign >= 0]
    parts = [f"{worse} {changes(lost)}{unit}"] if lost else []
    return " and ".join(parts + ([f"collapsed on {listed(fallen, NAMED)}"] if fallen else []))


def why_untested(cell: ComparedCell) -> str:
    """Why a cell has no verdict."""
    low, high = map(points, cell.bounds)
    return {
        "few items": f"{cell.items:,} of {cell.of:,} items are shared with the base, too few",
        "unreadable": "over 5 % of the replies are unreadable, so the change is between "
        f"{low} and {high}",
        "averages": "only averages are known, so there is no interval",
        "void": "void",
        "no items": "no item is shared with the base",
        "tested": "tested",
    }[cell.state]


def items_needed(cell: ComparedCell, margin: float) -> str:
    """How many items would settle a question that is decided by `margin`."""
    needed = cell.items * cell.effect.times_needed(margin)
    if needed > MOST_ITEMS:
        return "more items would not settle it"
    items = math.ceil(needed)
    if items <= cell.items:
        return "the same number of new items may settle it"
    size = 10 ** max(0, len(str(items)) - 2)
    return f"about {math.ceil(items / size) * size:,} items would do"


def decide(
    runs: Sequence[ComparedRun], checks: Sequence[Check], conditions: Sequence[Condition]
) -> Decision:
    """Which run to ship: the best mean among those that are worse on nothing and pass the gate."""
    live = [run for run in runs if run.verdict != "void"]
    if not live:
        void = next(check.message for check in checks if check.severity == "void")
        return Decision(f"Cannot tell: {void}", None)
    if not (tested := [run for run in live if run.verdict != "nothing to test"]):
        return _untested(live)
    if not (fine := [run for run in tested if not run.moved(-1)]):
        return _all_worse(tested)
    not_passed = {(each.run, each.outcome) for each in conditions if each.outcome != "pass"}
    allowed = [run for run in fine if run.name not in {name for name, _ in not_passed}]
    if not allowed:
        unsettled = [run for run in fine if (run.name, "fail") not in not_passed]
        names = listed((run.name for run in unsettled or fine), NAMED)
        head = f"Ship none: {names} {'fails' if len(fine) == 1 else 'fail'} the gate."
        if unsettled:
            head = f"Cannot tell: the items do not settle the gate for {names}."
        return Decision(head, None, tuple(_hidden(max(unsettled or fine, key=_mean))))
    best = max(allowed, key=_mean)
    mean, gains, count, of = best.mean, best.moved(1), len(best.tested()), len(best.cells)
    hidden, others = tuple(_hidden(best)), tuple(_others(best, tested))
    if 2 * count < of:
        what = f"; of those, {changes(gains)} beyond noise" if gains else ""
        head = f"Cannot tell: only {count} of {of} tasks can be tested at {best.name}{what}."
        return Decision(head, None, hidden + others)
    if (mean is None or mean.change > 0) and (gains or (mean is not None and mean.sign > 0)):
        parts = [] if mean is None else [_mean_words(best)]
        parts += [changes(gains)] if gains and of > 1 else []
        worse = "nothing is worse beyond noise"
        if untested := of - count:
            them = "1 task is" if untested == 1 else f"{untested} tasks are"
            worse = f"no tested task is worse beyond noise, {them} not tested"
        head = f"Ship {best.name}: {', '.join(parts)}; {worse}."
        return Decision(head, best.name, hidden + others)
    if mean is not None and mean.sign < 0:
        head = f"Keep the base: {_mean_words(best)} at {best.name}."
        return Decision(head, None, hidden + others)
    return _no_gain(best, tested, others + hidden)


def _mean(run: ComparedRun) -> float:
    """The value by which runs are ranked; all are equal without shared targets."""
    return run.mean.change if run.mean is not None else 0.0


def _mean_words(run: ComparedRun) -> str:
    """`mean +3.1 points (+0.4 to +5.8)`."""
    if run.mean is None:
        return "no mean over tasks"
    name = "mean " if len(run.cells) > 1 else ""
    return name + in_points(run.mean.change, run.mean.effect.interval())


def _untested(live: list[ComparedRun]) -> Decision:
    cells = [cell for run in live for cell in run.cells.values()]
    if any(cell.state == "averages" for cell in cells):
        head = "the files hold averages without numbers of items, so noise is unknown."
        if with_mean := [run for run in live if run.mean is not None]:
            best = max(with_mean, key=_mean)
            head += f" The best mean is {best.name}'s, {points(_mean(best))} points."
        remedy = "Per-sample logs give intervals (docs/harnesses.md)."
        return Decision(f"Cannot tell: {head}", None, (remedy,))
    why = f" {task(cells[0].target)}: {why_untested(cells[0])}." if cells else ""
    return Decision(f"Cannot tell: no task can be tested.{why}", None)


def _all_worse(tested: list[ComparedRun]) -> Decision:
    best = max(tested, key=_mean)
    reasons = (*_harm_begins(tested), *_hidden(best))
    if len(tested) == 1:
        harm = _harm(best, "worse than the base beyond noise on", " points")
        head = f"Do not ship {best.name}: {harm}."
        return Decision(head, None, reasons)
    who = "both runs" if len(tested) == 2 else f"all {len(tested)} runs"
    lost = [{cell.target for cell in run.cells.values() if cell.sign < 0} for run in tested]
    if common := set.intersection(*lost):
        worst = max(common, key=lambda target: -sum(run.cells[target].change for run in tested))
        losses = [run.cells[worst].change for run in tested]
        ends = dict.fromkeys([points(max(losses)), points(min(losses))])
        how = (" and " if len(tested) == 2 else " to ").join(ends)
        head = f"Ship none: {who} are worse on {task(worst)} beyond noise ({how} points)."
    else:
        worse = "worse than the base beyond noise" + (" or collapsed" if not all(lost) else "")
        head = f"Ship none: {who} are {worse} on some task."
    least = f"The least bad is {best.name}: {_mean_words(best)}, {_harm(best)}."
    return Decision(head, None, (least, *reasons))


def _no_gain(best: ComparedRun, tested: list[ComparedRun], reasons: tuple[str, ...]) -> Decision:
    """The best run without harm gains nothing beyond noise."""
    if best.verdict == "no harm":
        most = max(cell.loss for cell in best.tested())
        head = (
            f"Ship {best.name} if it was not meant to improve these tasks: none loses more than "
            f"{abs(100 * most):.1f} points, none gains beyond noise."
        )
        return Decision(head, best.name, reasons)
    gains = best.moved(1)
    what = f"only {changes(gains)} is beyond noise" if gains else "no change is beyond noise"
    if harmful := [run for run in tested if run.moved(-1)]:
        worse = dict.fromkeys(task(cell.target) for run in harmful for cell in run.moved(-1))
        names = listed((run.name for run in harmful), NAMED)
        beyond = "beyond noise"
        if any(cell.sign >= 0 for run in harmful for cell in run.moved(-1)):
            beyond += " or collapsed"
        head = (
            f"Ship none: {names} {'is' if len(harmful) == 1 else 'are'} worse on "
            f"{listed(worse, NAMED)} {beyond}; at {best.name} {what}."
        )
        return Decision(head, None, reasons)
    mean = f", {_mean_words(best)}" if best.mean is not None else ""
    several = not gains and len(tested) > 1
    where = f"in any run; best is {best.name}" if several else f"at {best.name}"
    return Decision(f"Cannot tell: {what} {where}{mean}.", None, reasons)


def _others(best: ComparedRun, tested: list[ComparedRun]) -> Iterator[str]:
    """The run with a higher mean that harms, where harm begins, and how many runs there were."""
    if higher := [run for run in tested if _mean(run) > _mean(best) and run.moved(-1)]:
        run = max(higher, key=_mean)
        gains = f"; {changes(run.moved(1))}" if run.moved(1) else ""
        yield (
            f"{run.name} has a higher mean ({points(_mean(run))} points{gains}) but "
            f"is {_harm(run)}."
        )
    yield from _harm_begins(tested)
    if len(tested) > 3:
        yield f"The best of {len(tested)} looks better than it is: confirm it on new items."


def _harm_begins(tested: list[ComparedRun]) -> Iterator[str]:
    """For each finetune with several steps, the first run at which a task is worse."""
    for finetune in dict.fromkeys(run.finetune for run in tested):
        steps = [run for run in tested if run.finetune == finetune and run.step is not None]
        seen: set[str] = set()
        parts = []
        for run in steps:
            if first := [cell for cell in run.moved(-1) if cell.target not in seen]:
                parts.append(f"{changes(first)} at {run.name}")
                seen |= {cell.target for cell in first}
        if len(steps) > 1 and parts:
            yield f"Harm is first seen: {'; '.join(parts)}."


def _hidden(run: ComparedRun) -> Iterator[str]:
    """What the items of a run do not exclude: the largest loss, and tasks that are not tested."""
    harmed = run.moved(-1)
    tested = [cell for cell in run.tested() if cell not in harmed]
    worst = max(tested, key=lambda cell: cell.loss, default=None)
    if worst is not None and worst.loss < 0:
        yield f"At {run.name} every {'other ' if harmed else ''}tested task gains (95 %)."
    elif worst is not None and worst.loss <= TOLERANCE:
        other = "no other tested task" if harmed else "no tested task"
        yield f"At {run.name} {other} loses over {100 * worst.loss:.1f} points (95 %)."
    elif worst is not None:
        yield (
            f"Not excluded at {run.name}: a loss of {100 * worst.loss:.1f} points on "
            f"{task(worst.target)} ({worst.items:,} items). To exclude losses beyond "
            f"{100 * TOLERANCE:g} points, {items_needed(worst, TOLERANCE)}."
        )
    if untested := [cell for cell in run.cells.values() if cell.state != "tested"]:
        names = listed((task(cell.target) for cell in untested), NAMED)
        yield f"Not tested at {run.name}: {names}, where any loss may be hidden."


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
