"""Which options adapters choose: a small bar of shares for each source and target.

A row like the correct answers' row, on top, uses the options as often as they are correct. A bar
of one color is an adapter that gives the same option to every item.
"""

from collections.abc import Mapping

from transferscope.analysis import Analysis
from transferscope.matrix.collapse import Answers, describe_answers, letter
from transferscope.plots.composition import finish, heading, layer
from transferscope.plots.labels import Labels, control_label, counted, labels, row_label
from transferscope.plots.numbers import UNKNOWN, percent
from transferscope.plots.theme import INK, OPTIONS, RULE, SOFT
from transferscope.plots.vegalite import Spec, field, part, unit

CORRECT, BASE, UNREADABLE = "correct answers", "base", "unreadable"
GAP = " "
"""The empty row between the base and the sources."""
WIDTH, HEIGHT, BAR = 46, 21, 0.9
"""Pixels of a cell, and the share of its width that the bar fills."""
MAX_WIDTH = 500
"""Pixels for all columns where the figure is printed as wide as a page."""


def answer_shares(analysis: Analysis, model: str, title: str) -> Spec | None:
    """Shares of options and of unreadable replies; None where the results do not hold them."""
    record, names = analysis.models[model].behaviour, labels(analysis)
    if record is None:
        return None
    rows: dict[str, Mapping[str, Answers | list[float]]]
    rows = {CORRECT: record.right} if any(record.right.values()) else {}
    rows[BASE] = record.base
    rows |= {row_label(name, names): cells for name, cells in record.sources.items()}
    rows |= {control_label(name): cells for name, cells in record.controls.items()}
    targets = [task.name for task in analysis.tasks if task.target]
    bars = [bar for name, cells in rows.items() for bar in _bars(name, cells, targets, names)]
    if not bars:
        return None
    down = [*(name for name in (CORRECT, BASE) if name in rows), GAP]
    down += [name for name in rows if name not in down]
    kinds = {bar["letter"] for bar in bars}
    options = sorted(kinds - {UNREADABLE})
    colors = [OPTIONS[n % len(OPTIONS)] for n in range(len(options))]
    if UNREADABLE in kinds:
        options, colors = [*options, UNREADABLE], [*colors, RULE]
    legend = part(title=None, orient="top", symbolType="square", offset=34, labelLimit=120)
    fill = field("letter:N", scale=part(domain=options, range=colors), legend=legend)
    spread = part(domain=down, paddingInner=0.16, paddingOuter=0.08)
    left = part(title=None, labelOverlap=False, labelLimit=220)
    y = field("row:N", scale=spread, axis=left)
    x = field("from:Q", scale=part(domain=[0, len(targets)], nice=False, zero=True), axis=None)
    tooltip = [field("row:N", title="finetuned on"), "target:N", field("given:N", title="answers")]
    drawn = [unit(bars, "rect", x=x, x2="to:Q", fill=fill, tooltip=tooltip, y=y)]
    edge = (1 - BAR) / 2
    cells = sorted({(bar["row"], bar["cell"]) for bar in bars if bar["collapsed"]})
    spans = ((row, round(j + edge, 4), round(j + 1 - edge, 4)) for row, j in cells)
    if collapsed := [{"row": row, "from": start, "to": end} for row, start, end in spans]:
        frame = part(filled=False, stroke=INK, strokeWidth=1.6)
        drawn.append(unit(collapsed, "rect", x=x, x2="to:Q", y=y, **frame))
    heads: list[Spec] = [{"from": j + 0.5, "label": names.short[t]} for j, t in enumerate(targets)]
    text = part(color=SOFT, fontSize=11, baseline="bottom")
    if any(7.5 * len(head["label"]) > min(WIDTH, MAX_WIDTH / len(heads)) for head in heads):
        text |= part(angle=-90, align="left", baseline="middle", limit=110)
    drawn.append(unit(heads, "text", x=x, y=part(value=-5), text="label:N", **text))
    lines = ["targets across, sources down; each bar: shares of the options given, all seeds"]
    lines += ["framed: one option for nearly every item (collapsed)"] if collapsed else []
    size = part(width=WIDTH * len(targets), height=HEIGHT * len(down))
    count = counted(len(collapsed), "cell") if collapsed else "no cell"
    spec = layer(*drawn, **size, title=heading(title, *lines))
    return finish(spec, f"{title}: a bar of option shares for each cell; {count} collapsed.")


def _bars(
    name: str, cells: Mapping[str, Answers | list[float]], targets: list[str], names: Labels
) -> list[Spec]:
    """The pieces of one row's bars; x is counted in cells from the left."""
    pieces = []
    for j, target in enumerate(targets):
        if (cell := cells.get(target)) is None:
            continue
        place: Spec = {"row": name, "target": names.long[target], "cell": j, "collapsed": False}
        if isinstance(cell, Answers):
            shares, unreadable = cell.letters, cell.unreadable
            place |= {"given": answer_words(cell), "collapsed": bool(cell.collapsed)}
        else:
            shares, unreadable = cell, 0.0
            words = (f"{letter(n)} {percent(share)}" for n, share in enumerate(shares))
            place["given"] = ", ".join(words)
        parts = [(letter(n), share * (1 - unreadable)) for n, share in enumerate(shares)]
        end = j + (1 - BAR) / 2
        for kind, share in [*parts, (UNREADABLE, unreadable)]:
            if share > 0:
                start, end = end, end + BAR * share
                ends = {"from": round(start, 4), "to": round(end, 4)}
                pieces.append(place | {"letter": kind} | ends)
    return pieces


def answer_words(answers: Answers) -> str:
    """The options that a cell's replies choose: `A 31%, B 69%`, `always A in 2 of 4 seeds`."""
    parts = [f"{letter(n)} {percent(share)}" for n, share in enumerate(answers.letters)]
    words = describe_answers(answers) if answers.collapsed else ", ".join(parts)
    unread = [f"{percent(answers.unreadable)} unreadable"] if answers.unreadable > 0 else []
    return "; ".join([*([words] if words else []), *unread]) or UNKNOWN
