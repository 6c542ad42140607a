"""The table of a comparison as text: a row for each run, or for each task where they are many.

In:   a `Comparison`.
Out:  a `Grid` of short cells, for the terminal, Markdown and the page.
"""

import math
from typing import NamedTuple

from transferscope.comparison.record import MEAN, Cell, Comparison, Run
from transferscope.comparison.words import percent, signed, task

MARKS = {1: "▲", -1: "▼", 0: ""}


class Entry(NamedTuple):
    """One cell of the table."""

    accuracy: str
    change: str
    """With its mark, or why there is no verdict."""
    sign: int
    why: str = ""
    """The state of a cell that has no verdict."""


class Column(NamedTuple):
    """One task, or the mean."""

    target: str
    title: str
    items: str
    """Such as `93 of 150`; empty where that is not known, or differs between runs."""


def columns(comparison: Comparison) -> list[Column]:
    """The tasks in order, and the mean where there is more than one."""
    found = [Column(t, task(t), _items(comparison, t)) for t in comparison.targets]
    if len(comparison.targets) > 1 and comparison.shared:
        found.append(Column(MEAN, "mean", f"{len(comparison.shared)} tasks"))
    return found


def most_moved(comparison: Comparison, heads: list[Column], most: int) -> list[Column]:
    """At most so many columns, in order: the mean, and the tasks that moved most."""

    def moved(head: Column) -> tuple[bool, float]:
        cells = [cell for run in comparison.runs if (cell := cell_of(run, head.target))]
        sizes = [abs(cell.change) for cell in cells if not math.isnan(cell.change)]
        clear = head.target == MEAN or any(cell.sign for cell in cells)
        return clear, max(sizes, default=0.0)

    kept = sorted(heads, key=moved, reverse=True)[:most]
    return [head for head in heads if head in kept]


def cell_of(run: Run, target: str) -> Cell | None:
    return run.mean if target == MEAN else run.cells.get(target)


def entry(comparison: Comparison, run: Run, target: str) -> Entry:
    """A run's cell."""
    cell = cell_of(run, target)
    if cell is None:
        return Entry("–", "", 0, "void" if run.verdict == "void" else "missing")
    mark = MARKS[cell.sign]
    if run.verdict == "void" or cell.state == "void":
        return Entry(percent(cell.tuned), "void", 0, "void")
    if cell.state == "unreadable":
        low, high = cell.bounds
        return Entry(percent(cell.tuned), f"({signed(low)}..{signed(high)})", 0, cell.state)
    if cell.state == "no items":
        return Entry("–", "(0 items)", 0, cell.state)
    change = f"{signed(cell.change)}{mark}"
    if cell.state != "tested":
        change = f"({change})"
    if target != MEAN and cell.items and not _items(comparison, target):
        change += f" n {cell.items}"
    return Entry(
        percent(cell.tuned), change, cell.sign, "" if cell.state == "tested" else cell.state
    )


def base_accuracy(comparison: Comparison, target: str) -> str:
    if target != MEAN:
        return percent(comparison.base_accuracy[target])
    found = [run.mean.base for run in comparison.runs if run.mean is not None]
    return percent(found[0]) if found and max(found) - min(found) < 0.0005 else "–"


def _items(comparison: Comparison, target: str) -> str:
    """The items of a target that all runs share with the base, where they are as many for all."""
    cells = [run.cells[target] for run in comparison.runs if target in run.cells]
    counts = {(cell.items, cell.of) for cell in cells}
    if len(counts) != 1 or 0 in (pair := next(iter(counts))):
        return ""
    return f"{pair[0]:,}" if pair[0] == pair[1] else f"{pair[0]:,} of {pair[1]:,}"
