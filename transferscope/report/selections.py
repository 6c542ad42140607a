"""What to train on, for the terminal, and as lines of a study file.

In:   mixtures that `selection` chose.
Out:  `rich` renderables, and YAML text; `cli` prints them. Names are text, never markup.
"""

import math
import re
from collections.abc import Iterable, Mapping

import yaml
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from transferscope.analysis import Analysis
from transferscope.plots.labels import clean, labels
from transferscope.plots.numbers import UNKNOWN, percent, points, worded
from transferscope.selection import Mixture
from transferscope.selection.wording import probability
from transferscope.tasks.checkpoints import checkpoint

SOURCES = 2
"""Sources named for each target in the table of all targets."""
UNSURE = ("not surely helping", "does not help")
"""Reasons of sources that are only in doubt."""
HELPS = "P(helps): of a gain above a point; in brackets the best source's, where none is likely."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+ -]{0,59}")
"""A valid name of a mixture in a study file."""


def one(analysis: Analysis, mix: Mixture) -> RenderableType:
    """A target's mixture: the answer, its sources, sources left out with reasons, caveats."""
    title = Text(f"{clean(mix.model)}, rule {mix.rule}", style="dim")
    parts: list[RenderableType] = [Text(clean(mix.verdict), style="bold"), title, Text()]
    if mix.choices:
        parts += [_indented(_choices(analysis, mix)), Text()]
    if mix.left_out:
        by = "measured points" if mix.rule == "paper" else "P(more than a point)"
        parts += [Text(f"Left out, with {by}", style="bold"), _indented(_left_out(mix)), Text()]
    if mix.guards and mix.choices:
        rows = [
            (
                clean(guard.task),
                f"measured {points(guard.expected) or UNKNOWN}; loses more than "
                f"{100 * guard.loss:g} points with probability {probability(guard.probability)}, "
                f"at most {guard.risk:g} allowed",
            )
            for guard in mix.guards
        ]
        parts += [Text("Guard rails", style="bold"), _indented(_grid(rows)), Text()]
    if mix.notes:
        notes = _grid([("•", clean(note)) for note in mix.notes], gap=1)
        parts += [Text("Caveats", style="bold"), _indented(notes)]
    return Group(*parts)


def several(analysis: Analysis, mixes: Mapping[str, Mixture]) -> RenderableType:
    """A line for each target, the most promising first, with how sure its sources are to help."""
    short = labels(analysis).short
    order = sorted(mixes.values(), key=lambda m: (not m.choices, -m.expected))
    least = {mix.target: _least_sure(mix) for mix in order}
    sure = any(math.isfinite(helps) for _, helps in least.values())
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("target", overflow="fold")
    table.add_column("measured" if order[0].rule == "paper" else "expected", no_wrap=True)
    if sure:
        table.add_column("P(helps)", justify="right", no_wrap=True)
    table.add_column("train on")
    nothing = {"default": "none likely", "paper": "none"}
    for mix in order:
        parts = [
            f"{short.get(c.source, clean(c.source))} {percent(c.share)}"
            for c in mix.choices[:SOURCES]
        ]
        parts = parts if len(mix.choices) > 1 else [clean(c.source) for c in mix.choices]
        more = len(mix.choices) - SOURCES
        best, helps = least[mix.target]
        none = nothing[mix.rule] + (f" ({short[best]})" if best else "")
        table.add_row(
            Text.assemble(clean(mix.target), " ", (short[mix.target], "dim")),
            points(mix.expected) or UNKNOWN,
            *[f"({probability(helps)})" if best else probability(helps)] * sure,
            Text((" ".join(parts) + (f" +{more}" if more > 0 else "")) or none),
        )
    models = ", ".join(dict.fromkeys(clean(mix.model) for mix in order))
    title = Text(f"{models}, rule {order[0].rule}", style="dim")
    parts = [Text("What to train on for each target", style="bold"), title, Text(), table]
    return Group(*parts, *[Text(f"\n{HELPS}", style="dim")] * sure)


def _least_sure(mix: Mixture) -> tuple[str, float]:
    """P(helps) of the least sure chosen source; if none is chosen, the best other source and its
    P(helps)."""
    if mix.choices:
        return "", min(c.helps for c in mix.choices)
    known = [left for left in mix.left_out if left.reason in UNSURE and math.isfinite(left.helps)]
    best = max(known, key=lambda left: left.helps, default=None)
    return ("", math.nan) if best is None else (best.source, best.helps)


def study_lines(mix: Mixture) -> str:
    """The part of a study file that trains on the mixture."""
    budget, name = sum(c.items or 0 for c in mix.choices), f"for {mix.target}"
    shares = {  # a checkpoint's task is the one that it was finetuned on
        checkpoint(c.source).task: round((c.items or 0) / budget if budget else c.share, 4)
        for c in mix.choices
    }
    shares = {task: share for task, share in shares.items() if share > 0}
    lines = {"sources": [], "mixtures": {name if _NAME.fullmatch(name) else "mixture": shares}}
    return yaml.safe_dump(lines, sort_keys=False, allow_unicode=True)


def _indented(part: RenderableType) -> Padding:
    return Padding(part, (0, 0, 0, 2))


def _choices(analysis: Analysis, mix: Mixture) -> Group:
    """Each source's numbers, and below them its evidence."""
    budget = any(c.items is not None for c in mix.choices)
    wanted = "measured" if mix.rule == "paper" else "expected"
    rows = [("source", "share", "items", wanted, "P(helps)")]
    for c in mix.choices:
        numbers = f"{c.items}", points(c.expected) or UNKNOWN, probability(c.helps)
        rows.append((clean(c.source), percent(c.share), *numbers))
    whole = points(mix.expected) or UNKNOWN
    rows.append(("the mixture", "100%", f"{sum(c.items or 0 for c in mix.choices)}", whole, ""))
    if not budget:
        rows = [(*row[:2], *row[3:]) for row in rows]
    wide = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    right = [head in ("share", "items", "P(helps)") for head in rows[0]]
    head, *sources, mixture = [
        "  ".join(
            " " * (width - cell_len(cell)) + cell if flush else set_cell_size(cell, width)
            for cell, width, flush in zip(row, wide, right, strict=True)
        ).rstrip()
        for row in rows
    ]
    parts: list[RenderableType] = [Text(head, "bold")]
    cells = analysis.models[mix.model].pgf
    for line, c in zip(sources, mix.choices, strict=True):
        beside = worded(analysis, cells[c.source][mix.target]).beside
        words = f"{clean(c.evidence)}{f'; {beside}' if beside else ''}"
        parts += [Text(line), Padding(Text(words, "dim"), (0, 0, 0, 2))]
    return Group(*parts, *[Text(mixture)] * (len(mix.choices) > 1))


def _left_out(mix: Mixture) -> Table:
    """Sources by reason; for protected tasks, a line for each."""
    rows: dict[str, list[str]] = {}
    harm = "may do harm"
    for left in mix.left_out:
        number = points(left.expected) if mix.rule == "paper" else probability(left.helps)
        text = clean(left.source) + ("" if number in ("", UNKNOWN) else f" {number}")
        if left.reason == harm:
            text = f"{clean(left.source)} {clean(left.why)}"
        rows.setdefault(left.reason, []).append(text)
    return _grid((r, ("\n" if r == harm else ", ").join(texts)) for r, texts in rows.items())


def _grid(rows: Iterable[tuple[str, str]], gap: int = 2) -> Table:
    table = Table.grid(padding=(0, gap))
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    return table
