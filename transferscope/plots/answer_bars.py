"""Which options adapters choose: a small bar of shares for each source and target.

A row like the correct answers' row, on top, uses the options as often as they are correct. A bar
of one color is an adapter that gives the same option to every item.
"""

from collections.abc import Iterator, Mapping, Sequence

from transferscope.analysis import Analysis
from transferscope.matrix.collapse import Answers, describe_answers, letter
from transferscope.plots import composition as vl
from transferscope.plots.labels import control_label, labels, row_label
from transferscope.plots.numbers import UNKNOWN, percent
from transferscope.plots.theme import INK, OPTIONS, RULE, SOFT

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
    cells: dict[str, Mapping[str, Answers | list[float]]] = {CORRECT: record.right}
    cells[BASE] = record.base
    cells |= {row_label(name, names): each for name, each in record.sources.items()}
    cells |= {control_label(name): each for name, each in record.controls.items()}
    targets = [task.name for task in analysis.tasks if task.target]
    bars: list[vl.Spec] = [
        {"row": name, "target": names.long[target], "cell": j, **piece}
        for name, row in cells.items()
        for j, target in enumerate(targets)
        if target in row
        for piece in _pieces(row[target], j + (1 - BAR) / 2)
    ]
    if not bars:
        return None
    rows = dict.fromkeys(bar["row"] for bar in bars)
    top = [name for name in (CORRECT, BASE) if name in rows]
    down = [*top, GAP, *(name for name in rows if name not in top)]
    kinds = {bar["letter"] for bar in bars}
    options = sorted(kinds - {UNREADABLE})
    colors = [OPTIONS[n % len(OPTIONS)] for n in range(len(options))] + [RULE]
    options += [UNREADABLE] * (UNREADABLE in kinds)
    legend = vl.part(title=None, orient="top", symbolType="square", offset=34, labelLimit=120)
    scale = vl.part(domain=options, range=colors[: len(options)])
    y = vl.name_axis("row", down, labelLimit=220)
    x = vl.value_axis("from", None, [0, len(targets)]) | {"axis": None}
    look = vl.part(fill=vl.field("letter:N", scale=scale, legend=legend), x2="to:Q", y=y)
    tooltip = vl.tips("row|finetuned on", "target", "given|answers")
    drawn = [vl.unit(bars, "rect", x=x, tooltip=tooltip, **look)]
    if collapsed := {(bar["row"], bar["cell"]) for bar in bars if bar["collapsed"]}:
        spans = [{"row": row, "from": j + 0.05, "to": j + 0.95} for row, j in sorted(collapsed)]
        frame = vl.part(filled=False, stroke=INK, strokeWidth=1.6, x=x, x2="to:Q", y=y)
        drawn.append(vl.unit(spans, "rect", **frame))
    heads: list[vl.Spec] = [
        {"from": j + 0.5, "label": names.short[t]} for j, t in enumerate(targets)
    ]
    text = vl.part(color=SOFT, baseline="bottom", y=vl.part(value=-5), text="label:N")
    if max(len(head["label"]) for head in heads) > 4:
        text |= vl.part(angle=-90, align="left", baseline="middle", limit=110)
    drawn.append(vl.unit(heads, "text", x=x, **text))
    spec = vl.layer(*drawn, width=WIDTH * len(targets), height=HEIGHT * len(down))
    spec["title"] = vl.heading(
        title,
        "Targets across, sources down. Each bar: shares of the options given, over all seeds.",
        "A bar like the top one uses each option as often as it is correct. Grey: no option named.",
        "Framed: one option for nearly every item (collapsed)." * bool(collapsed),
    )
    return vl.finish(spec)


def _pieces(cell: Answers | list[float], start: float) -> Iterator[vl.Spec]:
    """One bar's pieces; x is counted in cells from the left."""
    known = isinstance(cell, Answers)
    shares, unreadable = (cell.letters, cell.unreadable) if known else (cell, 0.0)
    record = {"given": answer_words(cell) if known else _words(shares)}
    record |= {"collapsed": known and bool(cell.collapsed)}
    parts = [(letter(n), share * (1 - unreadable)) for n, share in enumerate(shares)]
    for kind, share in [*parts, (UNREADABLE, unreadable)]:
        if share > 0:
            end = start + BAR * share
            yield record | {"letter": kind, "from": round(start, 4), "to": round(end, 4)}
            start = end


def answer_words(answers: Answers) -> str:
    """The options that a cell's replies choose: `A 31%, B 69%`, `always A in 2 of 4 seeds`."""
    words = describe_answers(answers) if answers.collapsed else _words(answers.letters)
    unread = [f"{percent(answers.unreadable)} unreadable"] if answers.unreadable > 0 else []
    return "; ".join([*([words] if words else []), *unread]) or UNKNOWN


def _words(shares: Sequence[float]) -> str:
    return ", ".join(f"{letter(n)} {percent(share)}" for n, share in enumerate(shares))
