"""What `transferscope compare` prints: for a terminal, and as Markdown for a pull request.

In:   a `Comparison`, and the width of the terminal.
Out:  `rich` renderables, or Markdown; `cli` prints them. Names from files are text, never markup.
"""

import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from transferscope.analysis.comparison import MEAN, ComparedRun, Comparison
from transferscope.analysis.verdict import ranked
from transferscope.plots.labels import clean
from transferscope.report.comparison_table import (
    Column,
    Entry,
    base_entry,
    columns,
    entry,
    most_moved,
)
from transferscope.report.comparison_words import (
    gate_words,
    legend,
    moved,
    moved_line,
    nothing_moved,
)
from transferscope.report.terminal import bullets
from transferscope.selection.decision import changes

STYLES = {1: "green", -1: "red", 0: ""}
MOST = 8
"""Lines of what broke or improved."""
TASKS, FEWER = 20, 15
"""Most tasks that are rows, in one table and in each of several."""
NOTES = 4
_LONGEST = 26
"""Terminal cells of a row's name before it is folded."""
_NAME = 14
"""The same for a column's name that is wider than the column."""
_WIDE = 6
"""A Markdown table with more columns has tasks as rows."""
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&@])")


def summary(comparison: Comparison, width: int) -> RenderableType:
    """The whole comparison, at most `width` columns wide."""
    decision = comparison.decision
    parts: list[RenderableType] = [Text(clean(decision.headline), "bold"), Text()]
    if comparison.gate:
        lines = [f"{c.outcome}: {c.text} for {c.run}: {c.why}" for c in comparison.gate]
        parts += [Text(clean(gate_words(comparison)), "bold"), bullets(map(clean, lines)), Text()]
    if comparison.checks:
        parts += [bullets(map(clean, ranked(comparison.checks))), Text()]
    parts += [*_tables(comparison, width), Text(), Text(clean(legend(comparison)), "dim")]
    sections: dict[str, Sequence[str]] = {}
    for title, sign in (("Broke", -1), ("Improved", 1)):
        lines = [moved_line(name, cell) for name, cell in moved(comparison, sign)]
        more = [f"{len(lines) - MOST} more"] * (len(lines) > MOST)
        sections[title] = [*lines[:MOST], *more] or [nothing_moved(comparison)]
    sections["Which to ship"] = decision.reasons
    more = [f"{len(comparison.notes) - NOTES} more on the page (--out DIR)"]
    more *= len(comparison.notes) > NOTES
    sections["Notes on the files"] = [*comparison.notes[:NOTES], *more]
    for title, lines in sections.items():
        if lines:
            parts += [Text(), Text(title, "bold"), bullets(map(clean, lines))]
    return Group(*parts)


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
        table = _table()
        for head, wide in zip(heads, widths, strict=True):
            table.add_column(Text(clean(head.title)), vertical="bottom", width=wide)
        if _counted(heads):
            table.add_row("items", *(head.items for head in heads), style="dim")
        base = [base_entry(comparison, head.target).accuracy for head in heads]
        table.add_row(Text(clean(comparison.base)), *base)
        for run in comparison.runs:
            table.add_row(Text(clean(run.name)), *map(_cell, entries[run.name]))
        yield table
        return
    overview = _table("mean", "worse", "better")
    for run in comparison.runs:
        mean = entry(comparison, run, MEAN)
        lists = (changes(run.moved(sign), 1) or "–" for sign in (-1, 1))
        overview.add_row(Text(clean(run.name)), _cell(mean), *(Text(clean(one)) for one in lists))
    yield Padding(overview, (0, 0, 1, 0))
    shown = most_moved(comparison, heads, TASKS)
    groups = _groups(comparison, shown, width, short=False)
    if short := len(groups) > 1:
        groups = _groups(comparison, shown, width, short=True)
    if len(groups) > 1:
        shown = most_moved(comparison, heads, FEWER)
    for number, runs in enumerate(groups, 1):
        table = _by_task(comparison, shown, runs, short=short and len(groups) > 1)
        yield Padding(table, (0, 0, number < len(groups), 0))
    if len(shown) < len(heads):
        yield Text(f"{len(heads) - len(shown)} more tasks: --csv, or --out DIR", "dim")


def _groups(
    comparison: Comparison, heads: list[Column], width: int, *, short: bool
) -> list[list[ComparedRun]]:
    """The runs that fit beside each other."""
    title = min(_LONGEST, max(cell_len(head.title) for head in heads))
    items = max(cell_len(head.items) for head in heads if head.target != MEAN)
    free = left = width - title - 2 - (items + 2 if items else 0) - 7
    groups: list[list[ComparedRun]] = [[]]
    for run in comparison.runs:
        cells = [entry(comparison, run, head.target) for head in heads]
        need = 2 + max(*(_width(one, short) for one in cells), min(_NAME, cell_len(run.name)))
        if groups[-1] and need > left:
            groups.append([])
            left = free
        groups[-1].append(run)
        left -= need
    return groups


def _by_task(
    comparison: Comparison, heads: list[Column], runs: list[ComparedRun], *, short: bool
) -> Table:
    """Tasks as rows; short, without the runs' accuracies."""
    table, counted = _table(), _counted(heads)
    if counted:
        table.add_column("items", style="dim", no_wrap=True)
    table.add_column(Text(clean(comparison.base)), no_wrap=True)
    for run in runs:
        table.add_column(Text(clean(run.name)), overflow="fold", max_width=max(_NAME, 20))
    for head in heads:
        table.add_row(
            Text(clean(head.title)),
            *([head.items] if counted else []),
            base_entry(comparison, head.target).accuracy,
            *(_cell(entry(comparison, run, head.target), short) for run in runs),
        )
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("", overflow="fold", max_width=_LONGEST)
    for title in titles:
        table.add_column(title)
    return table


def _counted(heads: list[Column]) -> bool:
    return any(head.items for head in heads if head.target != MEAN)


def _width(one: Entry, short: bool = False) -> int:
    return cell_len(one.change) if short else cell_len(f"{one.accuracy} {one.change}")


def _cell(one: Entry, short: bool = False) -> Text:
    change = (one.change, STYLES[one.sign] if one.tested else "dim")
    return Text.assemble(*([] if short else [one.accuracy, " "]), change, no_wrap=True)


def markdown(comparison: Comparison) -> str:
    """The verdict, the gate, the table, and what broke and improved."""
    decision = comparison.decision
    lines = [f"**{_escaped(decision.headline)}**", ""]
    if comparison.gate:
        lines += [f"**{_escaped(gate_words(comparison))}**", ""]
        gate = ((c.outcome, f"{c.text} for {c.run}: {c.why}") for c in comparison.gate)
        lines += [*(f"- {outcome}: {_escaped(text)}" for outcome, text in gate), ""]
    if comparison.checks:
        lines += [*(f"- {_escaped(line)}" for line in ranked(comparison.checks)), ""]
    heads = columns(comparison)
    rows = [["", *(f"{head.title} ({head.items})" if head.items else head.title for head in heads)]]
    rows.append([comparison.base, *(base_entry(comparison, c.target).accuracy for c in heads)])
    for run in comparison.runs:
        found = [entry(comparison, run, head.target) for head in heads]
        rows.append([run.name, *(f"{one.accuracy} {one.change}".strip() for one in found)])
    if len(heads) > _WIDE:
        rows = [list(column) for column in zip(*rows, strict=True)]
    first, *others = [[_escaped(each) for each in row] for row in rows]
    rule = ["---", *["--:"] * (len(first) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in (first, rule, *others)]
    lines += ["", f"<sub>{_escaped(legend(comparison))}</sub>", ""]
    for title, sign in (("Broke", -1), ("Improved", 1)):
        for name, cell in moved(comparison, sign):
            lines.append(f"- {title}: {_escaped(moved_line(name, cell))}")
    lines += [f"- {_escaped(reason)}" for reason in decision.reasons]
    return "\n".join(lines).rstrip() + "\n"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", clean(text))
