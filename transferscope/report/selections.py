"""What to train on, for the terminal, and as lines of a study file.

In:   mixtures that `selection` chose.
Out:  `rich` renderables, and YAML text; `cli` prints them. Names are text, never markup.
"""

import math
import re
from collections.abc import Mapping

import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from transferscope.analysis import Analysis
from transferscope.plots.labels import clean, labels
from transferscope.plots.numbers import UNKNOWN, percent, points, worded
from transferscope.report.tables import joined
from transferscope.report.terminal import bullets, indented, tabulated
from transferscope.selection import Mixture, Rule
from transferscope.selection.wording import probability
from transferscope.tasks.checkpoints import checkpoint

WANTED: dict[Rule, str] = {"default": "expected", "paper": "measured"}
SOURCES = 2
"""Sources named for each target in the table of all targets."""
HARM, UNSURE = "may do harm", ("not surely helping", "does not help")
"""Reasons: a protected task may lose, and those of sources that are only in doubt."""
HELPS = "P(helps): of a gain above a point; in brackets the best source's, where none is likely."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+ -]{0,59}")
"""A valid name of a mixture in a study file."""


def one(analysis: Analysis, mix: Mixture) -> RenderableType:
    """A target's mixture: the answer, its sources, sources left out with reasons, caveats."""
    title = Text(f"{clean(mix.model)}, rule {mix.rule}", style="dim")
    parts: list[RenderableType] = [Text(clean(mix.verdict), "bold"), title]
    heads = ["source", "share", "items", WANTED[mix.rule], "P(helps)"]
    rows = [
        (c.source, percent(c.share), f"{c.items}", points(c.expected), probability(c.helps))
        for c in mix.choices
    ]
    if len(rows) > 1:
        items = f"{sum(c.items or 0 for c in mix.choices)}"
        rows.append(("the mixture", "100%", items, points(mix.expected), " "))
    budget = any(c.items is not None for c in mix.choices)
    kept = [n for n, head in enumerate(heads) if budget or head != "items"]
    shown = ([clean(row[n]) or UNKNOWN for n in kept] for row in rows)
    cells = analysis.models[mix.model].pgf
    evidence = (
        (clean(c.source), joined(clean(c.evidence), worded(analysis, cell).beside))
        for c in mix.choices
        for cell in [cells[c.source][mix.target]]
    )
    guards = (
        (
            clean(guard.task),
            f"measured {points(guard.expected) or UNKNOWN}; loses more than "
            f"{100 * guard.loss:g} points with probability {probability(guard.probability)}, "
            f"at most {guard.risk:g} allowed",
        )
        for guard in mix.guards
        if mix.choices
    )
    left_out: dict[str, list[str]] = {}
    for left in mix.left_out:
        number = points(left.expected) if mix.rule == "paper" else probability(left.helps)
        number = clean(left.why) if left.reason == HARM else number.replace(UNKNOWN, "")
        left_out.setdefault(left.reason, []).append(f"{clean(left.source)} {number}".strip())
    reasons = ((r, ("\n" if r == HARM else ", ").join(texts)) for r, texts in left_out.items())
    by = "measured points" if mix.rule == "paper" else "P(more than a point)"
    sections = {
        "": tabulated(shown, [heads[n] for n in kept], right=range(1, len(kept))),
        "Evidence": tabulated(evidence),
        f"Left out, with {by}": tabulated(reasons),
        "Guard rails": tabulated(guards),
        "Caveats": bullets(map(clean, mix.notes)),
    }
    for title, table in sections.items():
        if table.row_count:
            parts += [Text(), *[Text(title, "bold")] * bool(title), indented(table)]
    return Group(*parts)


def several(analysis: Analysis, mixes: Mapping[str, Mixture]) -> RenderableType:
    """A line for each target, the most promising first, with how sure its sources are to help."""
    short = labels(analysis).short
    order = sorted(mixes.values(), key=lambda m: (not m.choices, -m.expected))
    least = {mix.target: _least_sure(mix) for mix in order}
    sure = any(math.isfinite(helps) for _, helps in least.values())
    rows = []
    for mix in order:
        parts = [
            f"{short.get(c.source, clean(c.source))} {percent(c.share)}"
            for c in mix.choices[:SOURCES]
        ]
        parts = parts if len(mix.choices) > 1 else [clean(c.source) for c in mix.choices]
        parts += [f"+{len(mix.choices) - SOURCES}"] * (len(mix.choices) > SOURCES)
        best, helps = least[mix.target]
        none = "none likely" if mix.rule == "default" else "none"
        none += f" ({short[best]})" if best else ""
        target = Text.assemble(clean(mix.target), " ", (short[mix.target], "dim"))
        chance = f"({probability(helps)})" if best else probability(helps)
        gain = points(mix.expected) or UNKNOWN
        rows.append((target, gain, *[chance] * sure, " ".join(parts) or none))
    heads = ["target", WANTED[order[0].rule], *["P(helps)"] * sure, "train on"]
    table = tabulated(rows, heads, right=(2,) * sure)
    title = Text("What to train on for each target", "bold")
    models = ", ".join(dict.fromkeys(clean(mix.model) for mix in order))
    parts = [title, Text(f"{models}, rule {order[0].rule}", style="dim"), Text(), table]
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
