"""A comparison as Markdown, for the comment on a pull request.

In:   a `Comparison`.
Out:  text. Names come from files: what Markdown or HTML would read in them is escaped.
"""

import re

from transferscope.comparison.record import Comparison
from transferscope.comparison.words import (
    first_lines,
    gate_words,
    left_out,
    mean_words,
    moved_lines,
)
from transferscope.plots.labels import clean
from transferscope.report.comparison_grid import base_accuracy, columns, entry
from transferscope.report.comparison_terminal import LEGEND, moved_line

_WIDE = 6
"""Columns from which tasks are rows."""
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&@])")


def markdown(comparison: Comparison) -> str:
    """The verdict, the gate, the table, and what broke and improved."""
    decision = comparison.decision
    lines = [f"**{_plain(decision.headline)}**", ""]
    if comparison.gate:
        lines += [f"**{_plain(gate_words(comparison))}**", ""]
        lines += [
            f"- {c.outcome}: {_plain(f'{c.text} for {c.run}: {c.why}')}" for c in comparison.gate
        ]
        lines.append("")
    if first := first_lines(comparison):
        lines += [*(f"- {_plain(line)}" for line in first), ""]
    lines += [*_table(comparison), ""]
    missing = left_out(comparison)
    left = f" In no mean: {'; '.join(missing)}." if missing else ""
    lines += [f"<sub>{_plain(f'{LEGEND} {mean_words(comparison)}{left}'.strip())}</sub>", ""]
    for title, sign in (("Broke", -1), ("Improved", 1)):
        for name, cell in moved_lines(comparison, sign):
            lines.append(f"- {title}: {_plain(moved_line(name, cell))}")
    lines += [f"- {_plain(reason)}" for reason in decision.reasons]
    return "\n".join(lines).rstrip() + "\n"


def _table(comparison: Comparison) -> list[str]:
    heads = columns(comparison)
    rows = [["", *(f"{head.title} ({head.items})" if head.items else head.title for head in heads)]]
    rows.append([comparison.base, *(base_accuracy(comparison, head.target) for head in heads)])
    for run in comparison.runs:
        found = [entry(comparison, run, head.target) for head in heads]
        rows.append([run.name, *(f"{one.accuracy} {one.change}".strip() for one in found)])
    if len(heads) > _WIDE:
        rows = [list(column) for column in zip(*rows, strict=True)]
    first, *others = [[_plain(each) for each in row] for row in rows]
    rule = ["---", *["--:"] * (len(first) - 1)]
    return [f"| {' | '.join(row)} |" for row in (first, rule, *others)]


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", clean(text))
