"""What `transferscope compare` prints and writes: for a terminal, as Markdown, and as a page.

In:   a `Comparison`, and the width of the terminal.
Out:  `rich` renderables, Markdown for a pull request, or HTML; `cli` prints them. Names from files
are text, never markup.

The page has no scripts and opens offline; the template escapes text from files. Curves are drawn
here: a page with `vega.js` would be 0.9 MB and need scripts, instead of a second or two.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from importlib.metadata import version

from markupsafe import Markup
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferscope.analysis.comparison import ALPHA, MEAN, Comparison
from transferscope.analysis.verdict import ranked
from transferscope.plots.composition import VERSION
from transferscope.plots.curves import compared_curves
from transferscope.plots.labels import clean
from transferscope.plots.theme import DARK
from transferscope.report import comparison_words as words
from transferscope.report.comparison_words import Entry, Grid
from transferscope.report.template import asset, template
from transferscope.report.terminal import bullets, indented

STYLES = {1: "green", -1: "red", 0: ""}
MOST, NOTES, TASKS = 8, 4, 24
"""Lines of a list, of the notes on the files, and of all tables of tasks, at most."""
_ROW, _WORD = 26, 14
"""Terminal cells of the name of a row, and of a word of a column's name, before it is folded."""
_WIDE = 6
"""A Markdown table with more columns has tasks as rows."""
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&@])")
COLUMNS = 5
"""A table with more columns is wide: the curves stand below it, not beside it."""
ROWS = {False: 12, True: 8}
"""Tasks that are rows and not folded away; True: of a wide table."""
PANELS = {False: (12, 3), True: (6, 6)}
"""Targets drawn at most, and beside each other."""


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
        yield indented(bullets(map(clean, [*lines[:most], *more])))


def _tables(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Runs as rows where that fits; else tasks as rows, in tables of the runs that fit."""
    every, short = words.targets(comparison), False
    shown, table = every, words.grid(comparison, every)
    if _width(table) > width:
        shown = words.most_moved(comparison, every, TASKS)
        table = words.turned(words.grid(comparison, shown))
        short = _width(table) > width
    groups = [[1]]  # of columns: if short each has the base, the first, and the runs that fit
    for column in range(2, len(table[0])):
        wider = _only(table, [*groups[-1], column])
        if short and len(groups[-1]) > 1 and _width(wider, short) > width:
            groups.append([1])
        groups[-1].append(column)
    if short:
        shown = words.most_moved(comparison, every, TASKS // len(groups))
        table = words.turned(words.grid(comparison, shown))
    for columns in groups:
        yield from (_drawn(_only(table, columns), short), Text())
    if left := len(set(comparison.targets) - set(shown)):
        yield from (Text(f"{left} more tasks: --csv, or --out DIR", "dim"), Text())


def _only(table: Grid, columns: list[int]) -> Grid:
    return [[row[n] for n in (0, *columns)] for row in table]


def _width(table: Grid, short: bool = False) -> int:
    names = min(_ROW, max(cell_len(row[0].text) for row in table[1:]))
    return names + sum((column.width or 0) + 2 for column in _drawn(table, short).columns)


def _drawn(table: Grid, short: bool = False) -> Table:
    """A table; short: without accuracies where there are changes."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    drawn.add_column("", overflow="fold")
    (_, *heads), *rows = table
    items = [Entry("items", items="items")] if any(row[0].items for row in rows) else []
    texts = [
        [Text(row[0].items, "dim")] * len(items) + [_cell(each, short) for each in row[1:]]
        for row in rows
    ]
    for head, *cells in zip([*items, *heads], *texts, strict=True):
        words = (min(_WORD, cell_len(word)) for word in head.text.split())
        width = max(1, len(head.items), *words, *(cell.cell_len for cell in cells))
        title = Text(clean(head.text))
        drawn.add_column(title, overflow="fold", vertical="bottom", width=width)
    if any(head.items for head in heads):
        drawn.add_row("items", *(head.items for head in heads), style="dim")
    for row, cells in zip(rows, texts, strict=True):
        drawn.add_row(Text(clean(row[0].text)), *cells)
    return drawn


def _cell(one: Entry, short: bool) -> Text:
    accuracy = "" if short and one.change else one.text
    change = (one.change, STYLES[one.sign] if one.tested else "dim")
    return Text.assemble(accuracy, " " if accuracy and one.change else "", change, no_wrap=True)


def markdown(comparison: Comparison) -> str:
    """The verdict, the gate, the table, and what broke and improved."""
    table = words.grid(comparison, words.targets(comparison))
    table = words.turned(table) if len(table[0]) > _WIDE + 1 else table
    lines = [f"| {' | '.join(_escaped(each.words) for each in row)} |" for row in table]
    lines.insert(1, f"| {' | '.join(['---', *['--:'] * (len(table[0]) - 1)])} |")
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


def page(comparison: Comparison) -> str:
    """The whole page."""
    every = words.targets(comparison)
    by_task = len(comparison.runs) <= len(every)
    wide = min(len(comparison.runs) + 1, len(every)) > COLUMNS
    kept = words.most_moved(comparison, every, ROWS[wide]) if by_task else every
    parts = [kept, [target for target in every if target not in kept]]
    tables = [words.grid(comparison, part) for part in parts if part]
    curves = list(_curves(comparison, every, *PANELS[wide]))
    colors = "".join(  # of the drawings in the dark scheme
        f'[{name}="{light}"] {{ {name}: {dark}; }} '
        for light, dark in DARK.items()
        if any(light in svg for _, svg in curves)
        for name in ("fill", "stroke")
    )
    scheme = f"@media screen and (prefers-color-scheme: dark) {{ {colors}}}"
    return template("comparison.html.jinja").render(
        version=version("transferscope"),
        style=Markup(asset("page.css") + asset("comparison.css") + scheme),
        comparison=comparison,
        words=words,
        checks=ranked(comparison.checks, len(comparison.checks)),
        tables=[words.turned(table) for table in tables] if by_task else tables,
        curves=curves,
        wide=wide,
        kinds={cell.kind for run in comparison.runs for cell in run.cells.values()},
        alpha=f"{100 * ALPHA:g} %",
    )


def _curves(
    comparison: Comparison, targets: list[str], most: int, columns: int
) -> Iterator[tuple[str, Markup]]:
    """For each finetune with several steps, what its chart shows, and the chart as SVG."""
    import vl_convert

    shown = words.most_moved(comparison, targets, most)
    shown.sort(key=lambda target: target != MEAN)
    for finetune in dict.fromkeys(run.finetune for run in comparison.runs):
        runs = [run for run in comparison.runs if run.finetune == finetune]
        if spec := compared_curves(runs, shown, columns):
            svg = vl_convert.vegalite_to_svg(json.dumps(spec), vl_version=VERSION)
            # HTML needs no namespaces; the description stands for the drawing.
            head = '<svg aria-hidden="true" class'
            yield spec["description"], Markup(re.sub("<svg .*?class", head, svg, count=1))
