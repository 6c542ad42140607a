"""The page of a comparison: verdict, table, what broke and improved, the curve over steps.

One HTML page without scripts, which opens offline. The template escapes text from files.

In:   a `Comparison`.
Out:  HTML.
"""

import math
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

from markupsafe import Markup

from transferscope.analysis.comparison import ALPHA, MEAN, ComparedCell, Comparison
from transferscope.analysis.verdict import ranked
from transferscope.report.comparison_table import (
    Column,
    Entry,
    base_entry,
    columns,
    entry,
    most_moved,
)
from transferscope.report.comparison_words import evidence, gate_words, legend, moved, nothing_moved
from transferscope.report.template import asset, template
from transferscope.selection.decision import changes, interval, points, task

WIDE = 7
"""A table with more columns has tasks as rows."""
ROWS = 20
"""Tasks that are rows and not folded away."""
PANELS = 25
"""Most tasks drawn, in order."""
LIMITS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""Ends of scales."""


class PageRow(NamedTuple):
    """One row of a table."""

    title: str
    small: str
    cells: list[Entry]
    chosen: bool = False


class ComparisonTable(NamedTuple):
    """One table; rows beyond `ROWS` are folded."""

    title: str
    heads: list[tuple[str, str]]
    """Title and small print of each column."""
    rows: list[PageRow]
    folded: list[PageRow]


class StepPanel(NamedTuple):
    """Changes of one task over steps; the template draws it, with these coordinates."""

    title: str
    changes: list[tuple[int, ComparedCell | None]]
    """(step, the run's cell)"""
    limit: float
    """The change at the upper end of the scale."""

    @property
    def known(self) -> list[tuple[int, ComparedCell]]:
        return [(s, cell) for s, cell in self.changes if cell and not math.isnan(cell.change)]

    @property
    def labeled(self) -> list[int]:
        """The steps written below: all, or the first and the last."""
        steps = [step for step, _ in self.changes]
        return steps if len(steps) <= 4 else [steps[0], steps[-1]]

    def x(self, step: int) -> float:
        steps = [step for step, _ in self.changes]
        return 48 + 166 * (step - min(steps)) / (max(steps) - min(steps) or 1)

    def y(self, change: float) -> float:
        return 60 - 52 * max(-1.0, min(1.0, change / self.limit))


def page(comparison: Comparison) -> str:
    """The whole page."""
    return template("comparison.html.jinja").render(
        version=version("transferscope"),
        style=Markup(asset("page.css") + asset("comparison.css")),
        comparison=comparison,
        gated=gate_words(comparison),
        checks=ranked(comparison.checks),
        tables=_tables(comparison),
        legend=legend(comparison),
        moved=[
            (title, name, moved(comparison, sign))
            for title, name, sign in (("What broke", "down", -1), ("What improved", "up", 1))
        ],
        nothing=nothing_moved(comparison),
        curves=list(_curves(comparison)),
        kinds={cell.kind for run in comparison.runs for cell in run.cells.values()},
        alpha=100 * ALPHA,
        task=task,
        points=points,
        interval=interval,
        evidence=evidence,
    )


def _tables(comparison: Comparison) -> list[ComparisonTable]:
    """Runs as rows; of many tasks, a row for each run's mean, then tasks as rows."""
    heads, ship = columns(comparison), comparison.decision.ship
    small = {
        run.name: run.verdict + (f", {run.seeds} seeds" if run.seeds > 1 else "")
        for run in comparison.runs
    }
    base = {head.target: base_entry(comparison, head.target) for head in heads}
    if len(heads) <= WIDE:
        rows = [PageRow(comparison.base, "", list(base.values()))]
        for run in comparison.runs:
            cells = [entry(comparison, run, head.target) for head in heads]
            rows.append(PageRow(run.name, small[run.name], cells, run.name == ship))
        return [ComparisonTable("", [(head.title, _items(head)) for head in heads], rows, [])]
    overview = []
    for run in comparison.runs:
        cells = [entry(comparison, run, MEAN)]
        for sign in (-1, 1):
            there = run.moved(sign)
            cells.append(Entry("", changes(there) or "–", sign if there else 0))
        overview.append(PageRow(run.name, small[run.name], cells, run.name == ship))
    titles = [("mean", ""), ("worse", ""), ("better", "")]
    runs = [(name, "") for name in (comparison.base, *small)]
    kept = most_moved(comparison, heads, ROWS)
    rows, folded = [], []
    for head in heads:
        cells = [entry(comparison, run, head.target) for run in comparison.runs]
        row = PageRow(head.title, _items(head), [base[head.target], *cells])
        (rows if head in kept else folded).append(row)
    by_task = ComparisonTable("By task", runs, rows, folded)
    return [ComparisonTable("", titles, overview, []), by_task]


def _items(head: Column) -> str:
    return f"{head.items} items" if head.items and head.target != MEAN else head.items


def _curves(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """For each finetune with several steps, a panel for the mean and for each task."""
    heads = columns(comparison)
    heads.sort(key=lambda head: head.target != MEAN)
    for finetune in dict.fromkeys(run.finetune for run in comparison.runs):
        runs = [r for r in comparison.runs if r.finetune == finetune and r.step is not None]
        if len(runs) < 2:
            continue
        limit = _limit([cell for run in runs for head in heads if (cell := run.cell(head.target))])
        panels = [
            StepPanel(head.title, [(run.step or 0, run.cell(head.target)) for run in runs], limit)
            for head in heads[:PANELS]
        ]
        yield {"title": f"Over steps{f', {finetune}' if finetune else ''}", "panels": panels}


def _limit(cells: list[ComparedCell]) -> float:
    """The end of the panels' scales: a round number of points beyond all changes."""
    most = max((abs(cell.change) for cell in cells), default=0.0)
    ends = [abs(end) for cell in cells for end in cell.effect.interval() if not math.isnan(end)]
    wanted = max(most, min(max(ends, default=0.0), 1.6 * most), 0.02)
    return next(step for step in LIMITS if step >= min(wanted, 1.0))
