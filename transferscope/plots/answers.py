"""How answers are given: the letters of every source on every target, as a grid of small bars.

A row that looks like the right answers' row, on top, uses the letters as they are right; a bar of
one colour is an adapter that answers the same letter to everything.

In:   an `Analysis`.
Out:  a Vega-Lite specification.
"""

from collections.abc import Mapping

from transferscope.analysis import Analysis, TaskRecord
from transferscope.matrix.collapse import Answers, letter
from transferscope.plots.labels import Labels, answer_words, control_label, counted, row_label
from transferscope.plots.theme import INK, LETTERS, RULE, SOFT
from transferscope.plots.vegalite import Spec, axis, field, finish, heading, layer, mark, part, unit

RIGHT, BASE = "right answers", "base"
UNREAD = "unreadable"
GAP = " "
"""The empty row between the base and the sources."""
WIDTH, HEIGHT = 46, 21
ROOM = 500
"""Pixels for all columns where the figure is printed as wide as a page."""
BAR = 0.9
"""Share of a cell's width that its bar fills."""


def letters(analysis: Analysis, model: str, title: str, names: Labels) -> Spec | None:
    """Shares of letters and of unreadable replies; None where the results do not say."""
    record = analysis.models[model].behaviour
    targets = [task for task in analysis.tasks if task.target]
    if record is None:
        return None
    rows = _rows(analysis, model, names)
    bars = [bar for name, cells in rows.items() for bar in _row(name, cells, targets, names)]
    if not bars:
        return None
    down = [*(n for n in (RIGHT, BASE) if n in rows), GAP]
    down += [name for name in rows if name not in down]
    kinds = list(dict.fromkeys(bar["letter"] for bar in bars))
    options = sorted(kind for kind in kinds if kind != UNREAD)
    colours = [LETTERS[n % len(LETTERS)] for n in range(len(options))]
    legend = part(title=None, orient="top", symbolType="square", offset=34, labelLimit=120)
    fill = field(
        "letter:N",
        scale=part(
            domain=[*options, *([UNREAD] if UNREAD in kinds else [])],
            range=[*colours, *([RULE] if UNREAD in kinds else [])],
        ),
        legend=legend,
    )
    y = field(
        "row:N",
        scale=part(domain=down, paddingInner=0.16, paddingOuter=0.08),
        axis=axis(labelOverlap=False, labelLimit=220),
    )
    tooltip = [field("row:N", title="finetuned on"), "target:N", field("says:N", title="answers")]
    x = field("from:Q", scale=part(domain=[0, len(targets)], nice=False, zero=True), axis=None)
    drawn = [unit(bars, mark("rect"), x=x, x2="to:Q", fill=fill, tooltip=tooltip, y=y)]
    fallen = _fallen(bars)
    if fallen:
        frame = mark("rect", filled=False, stroke=INK, strokeWidth=1.6)
        drawn.append(unit(fallen, frame, x=x, x2="to:Q", y=y))
    spec = layer(
        *drawn,
        _heads(targets, names, x),
        width=WIDTH * len(targets),
        height=HEIGHT * len(down),
        title=heading(
            title,
            "targets across, sources down; each bar: shares of the letters given, all seeds",
            "framed: one letter to nearly every item (collapsed)" if fallen else "",
        ),
    )
    framed = counted(len(fallen), "cell") if fallen else "no cell"
    return finish(spec, f"{title}: a bar of letter shares for each cell; {framed} collapsed.")


def _rows(
    analysis: Analysis, model: str, names: Labels
) -> dict[str, Mapping[str, Answers | list[float]]]:
    record = analysis.models[model].behaviour
    assert record is not None  # the caller has looked
    rows: dict[str, Mapping[str, Answers | list[float]]] = {}
    if any(record.right.values()):
        rows[RIGHT] = record.right
    rows[BASE] = record.base
    rows |= {row_label(name, names): cells for name, cells in record.sources.items()}
    rows |= {control_label(name): cells for name, cells in record.controls.items()}
    return rows


def _row(
    name: str,
    cells: Mapping[str, Answers | list[float]],
    targets: list[TaskRecord],
    names: Labels,
) -> list[Spec]:
    """The pieces of one row's bars: from where to where, in cells from the left."""
    pieces = []
    for j, task in enumerate(targets):
        cell = cells.get(task.name)
        if cell is None:
            continue
        own = isinstance(cell, Answers)
        shares = cell.letters if own else cell
        unread = cell.unreadable if own else 0.0
        place: Spec = {"row": name, "target": names.long[task.name], "cell": j}
        place["says"] = answer_words(cell) if own else _listed(shares)
        place["collapsed"] = bool(own and cell.collapsed)
        parts = [(letter(n), share * (1 - unread)) for n, share in enumerate(shares)]
        end = j + (1 - BAR) / 2
        for kind, share in [*parts, (UNREAD, unread)]:
            if share > 0:
                start, end = end, end + BAR * share
                pieces.append(
                    place | {"letter": kind, "from": round(start, 4), "to": round(end, 4)}
                )
    return pieces


def _listed(shares: list[float]) -> str:
    return ", ".join(f"{letter(n)} {share:.0%}" for n, share in enumerate(shares))


def _fallen(bars: list[Spec]) -> list[Spec]:
    """The whole bars of collapsed cells."""
    ends = {(bar["row"], bar["cell"]) for bar in bars if bar["collapsed"]}
    edge = (1 - BAR) / 2
    return [
        {"row": row, "from": round(j + edge, 4), "to": round(j + 1 - edge, 4)}
        for row, j in sorted(ends)
    ]


def _heads(targets: list[TaskRecord], names: Labels, x: Spec) -> Spec:
    """The targets' abbreviations above their columns."""
    heads = [{"from": j + 0.5, "label": names.short[t.name]} for j, t in enumerate(targets)]
    room = min(WIDTH, ROOM / max(1, len(heads)))
    wide = any(7.5 * len(head["label"]) > room for head in heads)
    text = mark("text", color=SOFT, fontSize=11, baseline="bottom")
    if wide:
        text |= {"angle": -90, "align": "left", "baseline": "middle", "limit": 110}
    return unit(heads, text, x=x, y=part(value=-5), text="label:N")
