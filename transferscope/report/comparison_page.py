"""The page of a comparison: verdict, table, what broke and improved, the curve, where it is from.

One HTML page without scripts, which opens offline. Text from files is escaped by the template.

In:   a `Comparison`.
Out:  HTML.
"""

import math
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

from markupsafe import Markup

from transferscope.comparison.record import ALPHA, MEAN, Cell, Comparison, Run
from transferscope.comparison.words import (
    changes,
    evidence,
    first_lines,
    gate_words,
    interval,
    left_out,
    mean_words,
    moved_lines,
    nothing,
    signed,
    task,
)
from transferscope.report.comparison_grid import (
    Column,
    base_accuracy,
    cell_of,
    columns,
    entry,
    most_moved,
)
from transferscope.report.comparison_terminal import LEGEND
from transferscope.report.template import asset, template

WIDE = 7
"""Columns at most; of more tasks, tasks are rows."""
ROWS = 20
"""Tasks that are rows and not folded away."""
PANELS = 25
"""Tasks drawn at most, those that moved most."""


class _Shown(NamedTuple):
    accuracy: str
    change: str
    sign: int
    why: str
    interval: str


class _Head(NamedTuple):
    title: str
    small: str


class _Row(NamedTuple):
    title: str
    small: str
    cells: list[_Shown]
    chosen: bool


class _Panel(NamedTuple):
    title: str
    svg: Markup


def page(comparison: Comparison) -> str:
    """The whole page."""
    missing = left_out(comparison)
    legend = [LEGEND, mean_words(comparison)]
    legend += [f"In no mean: {'; '.join(missing)}."] if missing else []
    return template("comparison.html.jinja").render(
        version=version("transferscope"),
        style=Markup(asset("page.css") + asset("comparison.css")),
        decision=comparison.decision,
        runs=comparison.runs,
        base=comparison.base,
        gate=comparison.gate,
        outcome=comparison.outcome,
        gated=gate_words(comparison),
        first=first_lines(comparison),
        tables=_tables(comparison),
        legend=" ".join(filter(None, legend)),
        moved=[
            (title, name, _moved(comparison, sign))
            for title, name, sign in (("What broke", "down", -1), ("What improved", "up", 1))
        ],
        nothing=nothing(comparison),
        curves=list(_curves(comparison)),
        how=_how(comparison),
        notes=comparison.notes,
        inputs=comparison.inputs,
    )


class _Table(NamedTuple):
    title: str
    heads: list[_Head]
    rows: list[_Row]
    folded: list[_Row]
    """Further rows, which a reader unfolds."""


def _tables(comparison: Comparison) -> list[_Table]:
    """Runs as rows; of many tasks, a row for each run's mean, then tasks as rows."""
    heads = columns(comparison)
    ship = comparison.decision.ship
    if len(heads) <= WIDE:
        rows = [
            _Row(comparison.base, "", [_base(comparison, head) for head in heads], False),
            *(
                _Row(
                    run.name,
                    _small(run),
                    [_shown(comparison, run, head) for head in heads],
                    run.name == ship,
                )
                for run in comparison.runs
            ),
        ]
        return [_Table("", [_Head(head.title, _items(head)) for head in heads], rows, [])]
    mean = Column(MEAN, "mean", "")
    overview = []
    for run in comparison.runs:
        moved = [
            _Shown("", changes(run.moved(sign)) or "–", sign if run.moved(sign) else 0, "", "")
            for sign in (-1, 1)
        ]
        cells = [_shown(comparison, run, mean), *moved]
        overview.append(_Row(run.name, _small(run), cells, run.name == ship))
    titles = [_Head("mean", ""), _Head("worse", ""), _Head("better", "")]
    runs = [_Head(comparison.base, ""), *(_Head(run.name, "") for run in comparison.runs)]
    kept = most_moved(comparison, heads, ROWS)
    rows, folded = (
        [
            _Row(
                head.title,
                _items(head),
                [
                    _base(comparison, head),
                    *(_shown(comparison, run, head) for run in comparison.runs),
                ],
                False,
            )
            for head in heads
            if (head in kept) == first
        ]
        for first in (True, False)
    )
    return [_Table("", titles, overview, []), _Table("By task", runs, rows, folded)]


def _items(head: Column) -> str:
    return head.items if "tasks" in head.items or not head.items else f"{head.items} items"


def _small(run: Run) -> str:
    seeds = f", {run.seeds} seeds" if run.seeds > 1 else ""
    return f"{run.verdict}{seeds}"


def _base(comparison: Comparison, head: Column) -> _Shown:
    return _Shown(base_accuracy(comparison, head.target), "", 0, "", "")


def _shown(comparison: Comparison, run: Run, head: Column) -> _Shown:
    cell = cell_of(run, head.target)
    ends = interval(cell) if cell is not None and cell.state in ("tested", "few items") else ""
    return _Shown(*entry(comparison, run, head.target), ends)


def _moved(comparison: Comparison, sign: int) -> list[dict[str, str]]:
    return [
        {
            "task": task(cell.target),
            "change": signed(cell.change),
            "run": name,
            "evidence": evidence(cell),
        }
        for name, cell in moved_lines(comparison, sign)
    ]


def _how(comparison: Comparison) -> list[str]:
    kinds = {cell.kind for run in comparison.runs for cell in run.cells.values()}
    lines = []
    if "paired" in kinds:
        lines.append(
            "Base and run are compared on the items that both answered. Intervals are 95 % t "
            "intervals of the paired differences, with two half items (Agresti and Min). A p-value "
            "is the interval's or the exact test's (McNemar), whichever is larger."
        )
    if "counts" in kinds:
        lines.append(
            "Where only counts are known, items cannot be paired: the interval is that of two "
            "independent groups, which is wider than needed."
        )
    if "averages" in kinds:
        lines.append("Where only averages are known there is no interval and no verdict.")
    lines.append(
        f"Beyond noise: false discovery rate {100 * ALPHA:g} % over all cells of the table, gains "
        f"and losses apart; or, for a loss, {100 * ALPHA:g} % over the tasks of one run."
    )
    lines.append(
        "A cell with fewer than half of the task's items, or with over 5 % unreadable replies in "
        "the base or the run, is not tested and is in no mean."
    )
    if any(run.seeds > 1 for run in comparison.runs):
        lines.append("Seeds are averaged; intervals cover seeds and items.")
    else:
        lines.append("One seed: how another training run would differ is not in the intervals.")
    return lines


def _curves(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """For each finetune with several steps, a panel for the mean and for each task."""
    for finetune in dict.fromkeys(run.finetune for run in comparison.runs):
        runs = [r for r in comparison.runs if r.finetune == finetune and r.step is not None]
        if len(runs) < 2:
            continue
        heads = columns(comparison)[::-1]  # the mean first
        tasks = heads[1:][::-1] if len(heads) > 1 else []
        order = [heads[0], *tasks] if heads[0].title == "mean" else columns(comparison)
        limit = _limit([cell_of(run, head.target) for run in runs for head in order])
        panels = [
            _Panel(
                head.title,
                _svg([(run.step or 0, cell_of(run, head.target)) for run in runs], limit),
            )
            for head in order[:PANELS]
        ]
        yield {"title": f"Over steps{f', {finetune}' if finetune else ''}", "panels": panels}


def _limit(cells: list[Cell | None]) -> float:
    """Where the panels' scales end: a round number of points beyond all changes."""
    most = max((abs(cell.change) for cell in cells if cell is not None), default=0.0)
    ends = [abs(end) for cell in cells if cell is not None for end in cell.effect.interval]
    wide = max((end for end in ends if not math.isnan(end)), default=0.0)
    wanted = max(most, min(wide, 1.6 * most), 0.02)
    return next(
        step for step in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0) if step >= min(wanted, 1.0)
    )


def _svg(points: list[tuple[int, Cell | None]], limit: float) -> Markup:
    """One panel: changes over steps around the zero line."""
    left, right, top, bottom = 34, 228, 8, 112
    steps = [step for step, _ in points]
    span = max(steps) - min(steps) or 1
    middle = (top + bottom) / 2

    def across(step: int) -> float:
        return left + 14 + (right - left - 28) * (step - min(steps)) / span

    def up(change: float) -> float:
        return middle - (bottom - top) / 2 * max(-1.0, min(1.0, change / limit))

    parts = [
        f'<line class="{name}" x1="{left}" x2="{right}" y1="{up(at):.1f}" y2="{up(at):.1f}"/>'
        f'<text x="{left - 4}" y="{up(at) + 4:.1f}" text-anchor="end">{signed(at)[:-2]}</text>'
        for at, name in ((limit, "grid"), (0.0, "zero"), (-limit, "grid"))
    ]
    known = [
        (step, cell) for step, cell in points if cell is not None and cell.change == cell.change
    ]
    path = " ".join(f"{across(step):.1f},{up(cell.change):.1f}" for step, cell in known)
    parts.append(f'<polyline class="line" points="{path}"/>')
    for step, cell in known:
        kind = ("flat", "up", "down")[cell.sign]
        x, (low, high) = across(step), cell.effect.interval
        if cell.state in ("tested", "few items") and not math.isnan(low):
            parts.append(
                f'<line class="bar {kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{up(low):.1f}" '
                f'y2="{up(high):.1f}"/>'
            )
        parts.append(f'<circle class="dot {kind}" cx="{x:.1f}" cy="{up(cell.change):.1f}" r="4">')
        what = f"step {step:,}: {signed(cell.change)} points ({interval(cell)})"
        parts.append(f"<title>{what}</title></circle>")
        if cell.state != "tested":
            y = up(cell.change)
            parts.append(
                f'<path class="bar flat" d="M{x - 5:.1f},{y - 5:.1f}l10,10m0,-10l-10,10"/>'
            )
    shown = steps if len(steps) <= 4 else [steps[0], steps[-1]]
    parts += [
        f'<text x="{across(step):.1f}" y="{bottom + 16}" text-anchor="middle">{step:,}</text>'
        for step in shown
    ]
    return Markup(f'<svg viewBox="0 0 240 132" role="img">{"".join(parts)}</svg>')
