"""What `transferscope compare` prints: for a terminal, and as Markdown for a pull request.

In:   a `Comparison`, and the width of the terminal.
Out:  `rich` renderables, or Markdown; `cli` prints them. Names from files are text, never markup.
"""

import re
import textwrap
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferscope.analysis.comparison import Comparison
from transferscope.plots.labels import clean
from transferscope.report import comparison_words as words
from transferscope.report.comparison_words import Entry, Grid
from transferscope.report.terminal import bullets

STYLES = {1: "green", -1: "red", 0: ""}
MOST, NOTES, TASKS = 8, 4, 24
"""Lines of a list, of the notes on the files, and of all tables of tasks, at most."""
_ROW, _WORD = 26, 14
"""Terminal cells of the name of a row, and of a word of a column's name, before it is folded."""
_WIDE = 6
"""A Markdown table with more columns has tasks as rows."""
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&@])")


def summary(comparison: Comparison, width: int) -> RenderableType:
    """The whole comparison, at most `width` columns wide."""
    parts: list[RenderableType] = []
    for title, lines in words.opening(comparison):
        parts += [*_part(title, lines, len(lines)), Text()]
    parts += [*_tables(comparison, width), Text(clean(words.legend(comparison)), "dim")]
    for title, lines in words.details(comparison):
        parts += [Text(), *_part(title, lines)]
    if notes := words.notes(comparison):
        short = [textwrap.shorten(note, 2 * width, placeholder=" …") for note in notes]
        parts += [Text(), *_part("Notes on the files", short, NOTES)]
    return Group(*parts)


def _part(title: str, lines: list[str], most: int = MOST) -> Iterator[RenderableType]:
    if title:
        yield Text(clean(title), "bold")
    if lines:
        more = [f"{len(lines[most:])} more on the page (--out DIR)"] if lines[most:] else []
        yield bullets(map(clean, [*lines[:most], *more]))


def _tables(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Runs as rows where that fits; else tasks as rows, in tables of the runs that fit."""
    shown = words.targets(comparison)
    table, short, groups = words.grid(comparison, shown), False, [range(len(shown))]
    if _width(table) > width:
        shown = words.most_moved(comparison, shown, TASKS)
        table = words.grid(comparison, shown).turned()
        groups = [range(len(table.across))]
        if short := _width(table) > width:
            groups = _groups(table, width)
            shown = words.most_moved(comparison, shown, TASKS // len(groups))
            table = words.grid(comparison, shown).turned()
    for columns in groups:
        yield from (_drawn(table.only(columns), short), Text())
    if left := len(set(comparison.targets) - set(shown)):
        yield from (Text(f"{left} more tasks: --csv, or --out DIR", "dim"), Text())


def _groups(table: Grid, width: int) -> list[list[int]]:
    """The columns of tables that fit without accuracies: each has the base, 0, and some runs."""
    groups = [[0]]
    for column in range(1, len(table.across)):
        if len(groups[-1]) > 1 and _width(table.only([*groups[-1], column]), short=True) > width:
            groups.append([0])
        groups[-1].append(column)
    return groups


def _widths(table: Grid, short: bool) -> list[int]:
    """Terminal cells of the items of rows, where they have any, and of each column."""
    items = max(len(label.items) for label in table.down)
    widths = [max(items, len("items"))] if items else []
    for n, label in enumerate(table.across):
        title = (min(_WORD, cell_len(word)) for word in label.title.split())
        cells = (cell_len(_cell(row[n], short).plain) for row in table.cells)
        widths.append(max(1, len(label.items), *title, *cells))
    return widths


def _width(table: Grid, short: bool = False) -> int:
    names = min(_ROW, max(cell_len(label.title) for label in table.down))
    return names + sum(width + 2 for width in _widths(table, short))


def _drawn(table: Grid, short: bool = False) -> Table:
    """A table; short: without accuracies where there are changes."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    drawn.add_column("", overflow="fold")
    items = ["items"] if any(label.items for label in table.down) else []
    titles = [*items, *(clean(label.title) for label in table.across)]
    for title, width in zip(titles, _widths(table, short), strict=True):
        drawn.add_column(Text(title), overflow="fold", vertical="bottom", width=width)
    if any(label.items for label in table.across):
        drawn.add_row("items", *(label.items for label in table.across), style="dim")
    for label, row in zip(table.down, table.cells, strict=True):
        first = [Text(label.items, "dim")] if items else []
        drawn.add_row(Text(clean(label.title)), *first, *(_cell(each, short) for each in row))
    return drawn


def _cell(one: Entry, short: bool) -> Text:
    change = (one.change, STYLES[one.sign] if one.tested else "dim")
    accuracy = "" if short and one.change else one.accuracy
    return Text.assemble(accuracy, " " if accuracy and one.change else "", change, no_wrap=True)


def markdown(comparison: Comparison) -> str:
    """The verdict, the gate, the table, and what broke and improved."""
    table = words.grid(comparison, words.targets(comparison))
    table = table.turned() if len(table.across) > _WIDE else table
    down, across = (
        [f"{each.title} ({each.items})" if each.items else each.title for each in labels]
        for labels in (table.down, table.across)
    )
    rows = [["", *across]]
    for head, cells in zip(down, table.cells, strict=True):
        rows.append([head, *(f"{one.accuracy} {one.change}".strip() for one in cells)])
    lines = [f"| {' | '.join(map(_escaped, row))} |" for row in rows]
    lines.insert(1, f"| {' | '.join(['---', *['--:'] * len(across)])} |")
    before = [line for part in words.opening(comparison) for line in _listed(*part)]
    after = [line for part in words.details(comparison) for line in _listed(*part)]
    small = f"<sub>{_escaped(words.legend(comparison))}</sub>"
    return "\n".join([*before, *lines, "", small, "", *after]).rstrip() + "\n"


def _listed(title: str, lines: list[str]) -> Iterator[str]:
    if title:
        yield from (f"**{_escaped(title)}**", "")
    if lines:
        yield from (*(f"- {_escaped(line)}" for line in lines), "")


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", clean(text))
