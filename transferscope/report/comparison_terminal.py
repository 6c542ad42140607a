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

from transferscope.comparison.record import MEAN, Cell, Comparison, Run
from transferscope.comparison.words import (
    changes,
    evidence,
    first_lines,
    gate_words,
    left_out,
    mean_words,
    moved_lines,
    nothing,
    signed,
    task,
)
from transferscope.plots.labels import clean
from transferscope.report.comparison_grid import (
    Column,
    Entry,
    base_accuracy,
    columns,
    entry,
    most_moved,
)

STYLES = {1: "green", -1: "red", 0: ""}
MOST = 8
"""Lines of what broke or improved."""
TASKS, FEWER = 20, 15
"""Tasks that are rows at most, in one table and in each of several."""
NOTES = 4
_LONGEST = 26
"""Cells of a row's name before it is folded."""
_NAME = 14
"""The same of a column's name, where the column is no wider."""
LEGEND = (
    "Accuracy in %, change in points on the items that base and run share. ▲ better, ▼ worse "
    "beyond noise; in parentheses: not tested."
)


def summary(comparison: Comparison, width: int) -> RenderableType:
    """The whole comparison, at most `width` columns wide."""
    decision = comparison.decision
    parts: list[RenderableType] = [Text(clean(decision.headline), "bold"), Text()]
    if comparison.gate:
        lines = [f"{c.outcome}: {c.text} for {c.run}: {c.why}" for c in comparison.gate]
        parts += [Text(clean(gate_words(comparison)), "bold"), _bullets(lines), Text()]
    if lines := first_lines(comparison):
        parts += [_bullets(lines), Text()]
    parts += [*_tables(comparison, width), Text()]
    legend = [LEGEND, mean_words(comparison)]
    if missing := left_out(comparison):
        legend.append(f"In no mean: {'; '.join(missing)}.")
    parts.append(Text(clean(" ".join(filter(None, legend))), "dim"))
    for title, sign in (("Broke", -1), ("Improved", 1)):
        moved = moved_lines(comparison, sign)
        lines = [moved_line(name, cell) for name, cell in moved[:MOST]]
        if len(moved) > MOST:
            lines.append(f"{len(moved) - MOST} more")
        parts += _section(title, lines or [nothing(comparison)])
    if decision.reasons:
        parts += _section("Which to ship", decision.reasons)
    if comparison.notes:
        more = [f"{len(comparison.notes) - NOTES} more on the page (--out DIR)"]
        shown = [*comparison.notes[:NOTES], *more * (len(comparison.notes) > NOTES)]
        parts += _section("Notes on the files", shown)
    return Group(*parts)


def moved_line(name: str, cell: Cell) -> str:
    """`checkpoint-100: Jigsaw −20.4 points (−32.2 to −8.6; 93 items: 7 fixed, 26 broken)`."""
    return f"{name}: {task(cell.target)} {signed(cell.change)} points ({evidence(cell)})"


def _section(title: str, lines: Sequence[str]) -> list[RenderableType]:
    return [Text(), Text(title, "bold"), _bullets(lines)]


def _bullets(lines: Sequence[str]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row("  •", Text(clean(line)))
    return grid


def _tables(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Runs as rows where that fits; else a line for each run, and tasks as rows."""
    heads = columns(comparison)
    entries = {r.name: [entry(comparison, r, c.target) for c in heads] for r in comparison.runs}
    widths = [
        max(
            *(_width(entries[run.name][n]) for run in comparison.runs),
            *map(cell_len, [*head.title.split(), head.items]),
        )
        for n, head in enumerate(heads)
    ]
    first = min(_LONGEST, max(cell_len(run.name) for run in comparison.runs))
    if first + sum(each + 2 for each in widths) <= width:
        yield _by_run(comparison, heads, entries, widths)
        return
    yield Padding(_overview(comparison), (0, 0, 1, 0))
    shown = most_moved(comparison, heads, TASKS)
    tables = _groups(comparison, shown, width, short=False)
    if len(tables) > 1:
        tables = _groups(comparison, shown, width, short=True)
    if len(tables) > 1:
        shown = most_moved(comparison, heads, FEWER)
    for number, runs in enumerate(tables):
        table = _by_task(comparison, shown, runs, short=len(tables) > 1)
        yield Padding(table, (0, 0, number < len(tables) - 1, 0))
    if len(shown) < len(heads):
        yield Text(f"{len(heads) - len(shown)} more tasks: --csv, or --out DIR", "dim")


def _groups(
    comparison: Comparison, heads: list[Column], width: int, *, short: bool
) -> list[list[Run]]:
    """The runs that fit beside each other."""
    title = min(_LONGEST, max(cell_len(head.title) for head in heads))
    items = max(cell_len(head.items) for head in heads if head.target != MEAN)
    room = left = width - title - 2 - (items + 2 if items else 0) - 7
    groups: list[list[Run]] = [[]]
    for run in comparison.runs:
        cells = [entry(comparison, run, head.target) for head in heads]
        need = 2 + max(*(_width(one, short) for one in cells), min(_NAME, cell_len(run.name)))
        if groups[-1] and need > left:
            groups.append([])
            left = room
        groups[-1].append(run)
        left -= need
    return groups


def _overview(comparison: Comparison) -> Table:
    """A line for each run: its mean, and what is worse and better beyond noise."""
    table = _table()
    table.add_column("", overflow="fold", max_width=_LONGEST)
    for title in ("mean", "worse", "better"):
        table.add_column(title)
    for run in comparison.runs:
        mean = entry(comparison, run, MEAN)
        moved = (changes(run.moved(sign), 1) or "–" for sign in (-1, 1))
        table.add_row(Text(clean(run.name)), _cell(mean), *(Text(clean(each)) for each in moved))
    return table


def _width(one: Entry, short: bool = False) -> int:
    return cell_len(one.change) if short else cell_len(f"{one.accuracy} {one.change}")


def _cell(one: Entry, short: bool = False) -> Text:
    change = (one.change, "dim" if one.why else STYLES[one.sign])
    return Text.assemble(*([] if short else [one.accuracy, " "]), change, no_wrap=True)


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")


def _by_run(
    comparison: Comparison,
    heads: list[Column],
    entries: dict[str, list[Entry]],
    widths: list[int],
) -> Table:
    table = _table()
    table.add_column("", overflow="fold", max_width=_LONGEST)
    for head, width in zip(heads, widths, strict=True):
        table.add_column(Text(clean(head.title)), vertical="bottom", width=width)
    if any(head.items for head in heads if head.target != MEAN):
        table.add_row("items", *(head.items for head in heads), style="dim")
    base = [base_accuracy(comparison, head.target) for head in heads]
    table.add_row(Text(clean(comparison.base)), *base)
    for run in comparison.runs:
        table.add_row(Text(clean(run.name)), *map(_cell, entries[run.name]))
    return table


def _by_task(comparison: Comparison, heads: list[Column], runs: list[Run], *, short: bool) -> Table:
    """Tasks as rows; short, without the runs' accuracies."""
    table = _table()
    table.add_column("", overflow="fold", max_width=_LONGEST)
    counted = any(head.items for head in heads if head.target != MEAN)
    if counted:
        table.add_column("items", style="dim", no_wrap=True)
    table.add_column(Text(clean(comparison.base)), no_wrap=True)
    for run in runs:
        table.add_column(Text(clean(run.name)), overflow="fold", max_width=max(_NAME, 20))
    for head in heads:
        table.add_row(
            Text(clean(head.title)),
            *([head.items] if counted else []),
            base_accuracy(comparison, head.target),
            *(_cell(entry(comparison, run, head.target), short) for run in runs),
        )
    return table
