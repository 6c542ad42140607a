"""Which options adapters choose: a small bar of shares for each source and target.

A row like the correct answers' row, on top, uses the options as often as they are correct. A bar
of one color is an adapter that gives the same option to every item.
"""

from collections.abc import Mapping
from itertools import product

from transferscope.analysis import Analysis
from transferscope.matrix.collapse import Answers, describe_answers, letter
from transferscope.plots import composition as vl
from transferscope.plots import theme
from transferscope.plots.labels import control_label, labels, row_label
from transferscope.plots.numbers import UNKNOWN, percent

CORRECT, BASE, UNREADABLE = "correct answers", "base", "unreadable"
GAP = " "
"""The empty row between the base and the sources."""
WIDTH, HEIGHT, BAR = 40, 19, 0.9
"""Pixels of a cell, and the share of its width that the bar fills."""


def answer_shares(analysis: Analysis, model: str, title: str) -> vl.Spec | None:
    """Shares of options and of unreadable replies; None where the results do not hold them."""
    record, names = analysis.models[model].behaviour, labels(analysis)
    if record is None:
        return None
    right = {target: Answers(shares, 0.0, {}, 0) for target, shares in record.right.items()}
    cells: dict[str, Mapping[str, Answers]] = {CORRECT: right, BASE: record.base}
    cells |= {row_label(name, names): each for name, each in record.sources.items()}
    cells |= {control_label(name): each for name, each in record.controls.items()}
    targets = [task.name for task in analysis.tasks if task.target]
    bars: list[vl.Spec] = []
    for (name, row), (j, target) in product(cells.items(), enumerate(targets)):
        if target not in row:
            continue
        cell, start = row[target], j + (1 - BAR) / 2  # counted in cells from the left
        bar = {"row": name, "target": names.long[target], "cell": j, "given": answer_words(cell)}
        bar |= {"collapsed": bool(cell.collapsed)}
        parts = {letter(n): each * (1 - cell.unreadable) for n, each in enumerate(cell.letters)}
        for kind, share in (parts | {UNREADABLE: cell.unreadable}).items():
            if share > 0:
                end = start + BAR * share
                bars.append(bar | {"letter": kind, "from": round(start, 4), "to": round(end, 4)})
                start = end
    if not bars:
        return None
    rows = dict.fromkeys(bar["row"] for bar in bars)
    top = [name for name in (CORRECT, BASE) if name in rows]
    down = [*top, GAP, *(name for name in rows if name not in top)]
    kinds = {bar["letter"] for bar in bars}
    options = sorted(kinds - {UNREADABLE})
    colors = [theme.OPTIONS[n % len(theme.OPTIONS)] for n in range(len(options))] + [theme.RULE]
    options += [UNREADABLE] * (UNREADABLE in kinds)
    legend = vl.part(title=None, orient="top", symbolType="square", offset=34, labelLimit=120)
    scale = vl.part(domain=options, range=colors[: len(options)])
    x = vl.value_axis("from", None, [0, len(targets)]) | {"axis": None}
    at = vl.part(x2="to:Q", y=vl.name_axis("row", down, labelLimit=220))
    fill = vl.field("letter:N", scale=scale, legend=legend)
    tooltip = vl.tips("row|finetuned on", "target", "given|answers")
    drawn = [vl.unit(bars, "rect", x=x, tooltip=tooltip, fill=fill, **at)]
    if collapsed := {(bar["row"], bar["cell"]) for bar in bars if bar["collapsed"]}:
        spans = [{"row": row, "from": j + 0.05, "to": j + 0.95} for row, j in sorted(collapsed)]
        frame = vl.part(filled=False, stroke=theme.INK, strokeWidth=1.6, x=x, **at)
        drawn.append(vl.unit(spans, "rect", **frame))
    short = [names.short[target] for target in targets]
    heads: list[vl.Spec] = [{"from": j + 0.5, "label": label} for j, label in enumerate(short)]
    text = vl.part(color=theme.SOFT, baseline="bottom", y=vl.part(value=-5), text="label:N")
    if max(map(len, short)) > 4:
        text |= vl.part(angle=-90, align="left", baseline="middle", limit=110)
    drawn.append(vl.unit(heads, "text", x=x, **text))
    return vl.finish(
        vl.layer(*drawn, width=WIDTH * len(targets), height=HEIGHT * len(down)),
        title,
        "Targets across, sources down. Each bar: shares of the options given, over all seeds.",
        "A bar like the top one uses each option as often as it is correct. Grey: no option named.",
        "Framed: one option for nearly every item (collapsed)." * bool(collapsed),
    )


def answer_words(answers: Answers) -> str:
    """The options that a cell's replies choose: `A 31%, B 69%`, `always A in 2 of 4 seeds`."""
    shares = ", ".join(f"{letter(n)} {percent(each)}" for n, each in enumerate(answers.letters))
    words = describe_answers(answers) if answers.collapsed else shares
    unread = f"{percent(answers.unreadable)} unreadable" if answers.unreadable > 0 else ""
    return "; ".join(filter(None, (words, unread))) or UNKNOWN
