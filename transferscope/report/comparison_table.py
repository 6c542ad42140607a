"""The table of a comparison as text, and the sentences beside it, for terminal, Markdown and page.

In:   a `Comparison`.
Out:  short cells and lines. Names come from files: each output escapes them itself.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from transferscope.analysis.comparison import MEAN, ComparedCell, ComparedRun, Comparison
from transferscope.selection.decision import NAMED, interval, points, task
from transferscope.selection.wording import listed

MARKS = {1: "▲", -1: "▼", 0: ""}
LEGEND = (
    "Accuracy in %, change in points on the items that base and run share. ▲ better, ▼ worse "
    "beyond noise; in parentheses: not tested."
)


class Entry(NamedTuple):
    """One cell of the table."""

    accuracy: str
    change: str = ""
    """With its mark, or why there is no verdict."""
    sign: int = 0
    tested: bool = True
    interval: str = ""


class Column(NamedTuple):
    """One task, or the mean."""

    target: str
    title: str
    items: str
    """Such as `93 of 150`; empty if unknown, or if it differs between runs."""


def columns(comparison: Comparison) -> list[Column]:
    """The tasks in order, and the mean where there is more than one."""
    found = [Column(t, task(t), _items(comparison, t)) for t in comparison.targets]
    if len(comparison.targets) > 1 and comparison.shared:
        found.append(Column(MEAN, "mean", f"{len(comparison.shared)} tasks"))
    return found


def most_moved(comparison: Comparison, heads: list[Column], most: int) -> list[Column]:
    """At most so many columns, in order: the mean, and the tasks that moved most."""

    def moved(head: Column) -> tuple[bool, float]:
        cells = [cell for run in comparison.runs if (cell := run.cell(head.target))]
        sizes = [abs(cell.change) for cell in cells if not math.isnan(cell.change)]
        clear = head.target == MEAN or any(cell.sign for cell in cells)
        return clear, max(sizes, default=0.0)

    kept = sorted(heads, key=moved, reverse=True)[:most]
    return [head for head in heads if head in kept]


def entry(comparison: Comparison, run: ComparedRun, target: str) -> Entry:
    """A run's cell."""
    cell = run.cell(target)
    if cell is None:
        return Entry("–", tested=False)
    if run.verdict == "void" or cell.state == "void":
        return Entry(percent(cell.tuned), "void", tested=False, interval=_tested_interval(cell))
    if cell.state == "unreadable":
        low, high = map(points, cell.bounds)
        return Entry(percent(cell.tuned), f"({low}..{high})", tested=False)
    if cell.state == "no items":
        return Entry("–", "(0 items)", tested=False)
    tested = cell.state == "tested"
    change = f"{points(cell.change)}{MARKS[cell.sign]}"
    if not tested:
        change = f"({change})"
    if target != MEAN and cell.items and not _items(comparison, target):
        change += f" n {cell.items}"
    return Entry(percent(cell.tuned), change, cell.sign, tested, _tested_interval(cell))


def _tested_interval(cell: ComparedCell) -> str:
    return interval(cell) if cell.state in ("tested", "few items") else ""


def base_entry(comparison: Comparison, target: str) -> Entry:
    """The base's accuracy; a dash for a mean whose items differ between runs."""
    if target != MEAN:
        return Entry(percent(comparison.base_accuracy[target]))
    found = [run.mean.base for run in comparison.runs if run.mean is not None]
    alike = bool(found) and max(found) - min(found) < 0.0005
    return Entry(percent(found[0]) if alike else "–")


def percent(accuracy: float) -> str:
    """An accuracy in percent: `52.7`."""
    return "–" if math.isnan(accuracy) else f"{100 * accuracy:.1f}"


def _items(comparison: Comparison, target: str) -> str:
    """The items of a target that run and base share, if they are as many for all runs."""
    cells = [run.cells[target] for run in comparison.runs if target in run.cells]
    counts = {(cell.items, cell.of) for cell in cells}
    if len(counts) != 1 or 0 in (pair := next(iter(counts))):
        return ""
    return f"{pair[0]:,}" if pair[0] == pair[1] else f"{pair[0]:,} of {pair[1]:,}"


def moved(comparison: Comparison, sign: int) -> list[tuple[str, ComparedCell]]:
    """(run, cell) of everything that broke or improved, by run, the largest change first."""
    return [(run.name, cell) for run in comparison.runs for cell in run.moved(sign)]


def evidence(cell: ComparedCell) -> str:
    """`−32.2 to −8.6; 93 items: 7 fixed, 26 broken`."""
    flips = "" if cell.fixed is None else f": {cell.fixed} fixed, {cell.broken} broken"
    counts = ", counts only" if cell.kind == "counts" else ""
    return f"{interval(cell)}; {cell.items:,} items{flips}{counts}"


def moved_line(name: str, cell: ComparedCell) -> str:
    """`checkpoint-100: Jigsaw −20.4 points (−32.2 to −8.6; 93 items: 7 fixed, 26 broken)`."""
    return f"{name}: {task(cell.target)} {points(cell.change)} points ({evidence(cell)})"


def nothing_moved(comparison: Comparison) -> str:
    """The line if no change is beyond noise: perhaps none could be tested."""
    cells = [(run, cell) for run in comparison.runs for cell in run.cells.values()]
    tested = sum(cell.state == "tested" and run.verdict != "void" for run, cell in cells)
    if not tested:
        return "not known: no task can be tested"
    untested = len(cells) - tested
    return "nothing beyond noise" + (f"; {untested} cells are not tested" if untested else "")


def gate_words(comparison: Comparison) -> str:
    """The outcome of the gate, and the runs that cause it: `Gate: fail at checkpoint-500`."""
    outcome = comparison.outcome
    names = dict.fromkeys(each.run for each in comparison.gate if each.outcome == outcome)
    return f"Gate: {outcome}" + ("" if outcome == "pass" else f" at {listed(names, NAMED)}")


def legend(comparison: Comparison) -> str:
    """How to read the table: signs, which tasks the mean is over, and why the others are not."""
    count, of = len(comparison.shared), len(comparison.targets)
    parts = [LEGEND]
    if count < of and count:
        parts.append(f"The mean is over the {count} of {of} tasks tested in every run.")
    elif count > 1:
        parts.append(f"The mean is over all {count} tasks.")
    live = [run for run in comparison.runs if run.verdict != "void"]
    missing: dict[str, list[str]] = {}
    for target in comparison.targets:
        if target not in comparison.shared and live:
            why = _why_in_no_mean([run.cells[target] for run in live if target in run.cells])
            missing.setdefault(why, []).append(task(target))
    if missing:
        words = (f"{listed(names, NAMED)} ({why})" for why, names in missing.items())
        parts.append(f"In no mean: {'; '.join(words)}.")
    return " ".join(parts)


def _why_in_no_mean(cells: Sequence[ComparedCell]) -> str:
    states = {cell.state for cell in cells} - {"tested"}
    if not states:
        return "not evaluated in every run"
    return {
        "few items": "under half of the items shared",
        "unreadable": "over 5 % of the replies unreadable",
        "void": "void",
        "no items": "no item shared",
        "averages": "number of items unknown",
    }[min(states)]
