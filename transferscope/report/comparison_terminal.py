"""What `transferscope compare` prints: the verdict, the table, what broke, what improved.

In:   a `Comparison` and the width of the terminal.
Out:  `rich` renderables; `cli` prints them. Names are text, never markup.
"""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from transferscope.compare.record import Comparison, Run
from transferscope.compare.words import (
    evidence,
    first_lines,
    left_out,
    mean_words,
    moved_lines,
    task,
)
from transferscope.report.comparison_grid import Column, Entry, base_accuracy, columns, entry
from transferscope.report.words import clean

STYLES = {1: "green", -1: "red", 0: ""}
MOST = 8
"""Lines of what broke or improved."""
NOTES = 4
_LONGEST = 22
"""Cells of a name before it is folded."""
LEGEND = (
    "Accuracy in %, change in points on the items that base and run both answered. "
    "▲ better, ▼ worse beyond noise (false discovery rate 5 %); in parentheses: not tested."
)


def summary(comparison: Comparison, width: int) -> RenderableType:
    """The whole comparison, at most `width` columns wide."""
    decision = comparison.decision
    parts: list[RenderableType] = [Text(clean(decision.headline), "bold"), Text()]
    if comparison.gate:
        lines = [f"{c.outcome}: {c.text} for {c.run}: {c.why}" for c in comparison.gate]
        parts += [Text(f"Gate: {comparison.outcome}", "bold"), _bullets(lines), Text()]
    if lines := first_lines(comparison):
        parts += [_bullets(lines), Text()]
    parts += [*_tables(comparison, width), Text()]
    legend = [LEGEND, mean_words(comparison)]
    if missing := left_out(comparison):
        legend.append(f"Left out: {'; '.join(missing)}.")
    parts.append(Text(clean(" ".join(filter(None, legend))), "dim"))
    for title, sign in (("Broke", -1), ("Improved", 1)):
        moved = moved_lines(comparison, sign)
        lines = [f"{name}: {task(cell.target)} {evidence(cell)}" for name, cell in moved[:MOST]]
        if len(moved) > MOST:
            lines.append(f"{len(moved) - MOST} more")
        parts += _section(title, lines or ["nothing beyond noise"])
    if decision.reasons:
        parts += _section("Which to ship", decision.reasons)
    if comparison.notes:
        more = [f"{len(comparison.notes) - NOTES} more on the page (--out DIR)"]
        shown = [*comparison.notes[:NOTES], *more * (len(comparison.notes) > NOTES)]
        parts += _section("Notes on the files", shown)
    return Group(*parts)


def _section(title: str, lines: Sequence[str]) -> list[RenderableType]:
    return [Text(), Text(title, "bold"), _bullets(lines)]


def _bullets(lines: Sequence[str]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row("  •", Text(clean(line)))
    return grid


def _tables(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Runs as rows where that fits; else tasks as rows, with as many runs beside as fit."""
    heads = columns(comparison)
    entries = {
        run.name: [entry(comparison, run, c.target) for c in heads] for run in comparison.runs
    }
    widths = [
        max(
            *(_width(entries[run.name][n]) for run in comparison.runs),
            *(cell_len(word) for word in [*head.title.split(), head.items]),
        )
        for n, head in enumerate(heads)
    ]
    first = min(_LONGEST, max(cell_len(run.name) for run in comparison.runs))
    if first + sum(each + 2 for each in widths) <= width:
        yield _by_run(comparison, heads, entries)
        return
    first = min(_LONGEST, max(cell_len(head.title) for head in heads))
    taken = first + 2 + max(cell_len(head.items) for head in heads) + 2 + 7
    group: list[Run] = []
    room = width - taken
    for run in comparison.runs:
        need = 2 + max(*map(_width, entries[run.name]), min(_LONGEST, cell_len(run.name)))
        if group and need > room:
            yield Padding(_by_task(comparison, heads, entries, group), (0, 0, 1, 0))
            group, room = [], width - taken
        group.append(run)
        room -= need
    yield _by_task(comparison, heads, entries, group)


def _width(one: Entry) -> int:
    return cell_len(one.accuracy) + cell_len(one.change) + 1


def _cell(one: Entry) -> Text:
    style = "dim" if one.why else STYLES[one.sign]
    return Text.assemble(one.accuracy, " ", (one.change, style), no_wrap=True)


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")


def _by_run(comparison: Comparison, heads: list[Column], entries: dict[str, list[Entry]]) -> Table:
    table = _table()
    table.add_column("", overflow="fold", max_width=_LONGEST)
    for head in heads:
        table.add_column(Text(clean(head.title)), vertical="bottom")
    table.add_row("items", *(head.items for head in heads), style="dim")
    table.add_row(
        Text(clean(comparison.base)), *(base_accuracy(comparison, head.target) for head in heads)
    )
    for run in comparison.runs:
        table.add_row(Text(clean(run.name)), *map(_cell, entries[run.name]))
    return table


def _by_task(
    comparison: Comparison, heads: list[Column], entries: dict[str, list[Entry]], group: list[Run]
) -> Table:
    table = _table()
    table.add_column("", overflow="fold", max_width=_LONGEST)
    table.add_column("items", style="dim", no_wrap=True)
    table.add_column(Text(clean(comparison.base)), no_wrap=True)
    for run in group:
        table.add_column(Text(clean(run.name)), overflow="fold", max_width=_LONGEST)
    for n, head in enumerate(heads):
        table.add_row(
            Text(clean(head.title)),
            head.items,
            base_accuracy(comparison, head.target),
            *(_cell(entries[run.name][n]) for run in group),
        )
    return table
