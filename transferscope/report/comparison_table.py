"""The cells of a comparison's table as texts; the outputs that show them escape names."""

import math
from typing import NamedTuple

from transferscope.analysis.comparison import MEAN, ComparedCell, ComparedRun, Comparison
from transferscope.selection.decision import interval, points, task

MARKS = {1: "▲", -1: "▼", 0: ""}


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
