"""How the cells of heatmaps are drawn, and what their kinds mean.

A filled cell is an effect beyond noise; a hollow one can't be told from it; a hatched one was not
measured; a framed one is a task on itself; a cut corner says that one letter was the answer.

In:   rows of plain data, one for each cell, as `heatmaps` makes them.
Out:  parts of Vega-Lite specifications.
"""

from collections.abc import Iterable

from transferscope.plots.theme import (
    DIVERGING,
    INK,
    MUTED,
    ON_STRONG,
    ON_WEAK,
    PAPER,
    RULE,
    SHADE,
    inked,
    stops,
)
from transferscope.plots.vegalite import Spec, field, mark, part, unit

HOLDS = 26
"""Side of a cell from which on it holds a number."""
CORNER = "M0.35,-1L1,-1L1,-0.35Z"
HATCH = "M-1,-0.4L-0.4,-1M-1,0.3L0.3,-1M-1,1L1,-1M-0.3,1L1,-0.3M0.4,1L1,0.4"


def drawn(rows: list[Spec], side: float, limit: float, measure: str | None) -> Iterable[Spec]:
    """What is drawn in the cells; without the name of a measure, without its legend."""
    scale = part(domain=stops(limit), range=list(DIVERGING), clamp=True, interpolate="lab")
    legend = measure and part(
        title=measure,
        gradientLength=min(200, side * 8),
        gradientThickness=10,
        values=[-limit, -limit / 2, 0, limit / 2, limit],
        format=".2~f",
    )
    tooltip = _tooltip(measure or "effect", any("answers" in row for row in rows))
    clear = [row for row in rows if row["kind"] == "clear"]
    noise = [row for row in rows if row["kind"] == "noise"]
    missing = [row for row in rows if row["kind"] == "missing"]
    own = [row for row in rows if row["self"]]
    # An empty layer would still add its fields to the shared scales, as an empty domain.
    if clear:
        cell = mark("rect", cornerRadius=2)
        yield unit(clear, cell, fill=field("value:Q", scale=scale, legend=legend), tooltip=tooltip)
    if noise:
        inset = {"band": 0.9}
        ring = mark("rect", filled=False, cornerRadius=2, width=inset, height=inset)
        stroke = field("value:Q", scale=scale, legend=None if clear else legend)
        yield unit(
            noise, {**ring, "strokeWidth": max(1.25, side / 16)}, stroke=stroke, tooltip=tooltip
        )
    if missing:
        yield unit(missing, mark("rect", color=SHADE, cornerRadius=2), tooltip=tooltip[:2])
        size = (side * 0.7) ** 2
        yield unit(
            _bare(missing),
            mark("point", shape=HATCH, size=size, color=RULE, strokeWidth=1, filled=False),
        )
    yield from _numbers(rows, side, limit)
    if own:
        frame = mark(
            "rect", filled=False, stroke=INK, strokeWidth=min(1.5, side / 14), cornerRadius=2
        )
        yield unit(_bare(own), frame)
    if collapsed := [row for row in rows if row.get("collapsed")]:
        size = (side * 0.94) ** 2
        corner = mark("point", shape=CORNER, size=size, filled=True, fill=INK, stroke=PAPER)
        yield unit(_bare(collapsed), corner | {"opacity": 1, "strokeWidth": 1})


def _bare(rows: list[Spec]) -> list[Spec]:
    """Rows without what only tooltips show."""
    return [{key: row[key] for key in ("row", "target", "label")} for row in rows]


def _numbers(rows: list[Spec], side: float, limit: float) -> Iterable[Spec]:
    """What is written in the cells: the number where they are large, else what `beyond` marks."""
    inks: dict[str, list[Spec]] = {MUTED: [], ON_STRONG: [], ON_WEAK: []}
    for row in rows:
        if row["value"] is not None and (side > HOLDS or row["beyond"]):
            ink = MUTED if row["kind"] == "noise" else inked(row["value"], limit)
            inks[ink].append(row)
    for ink, group in inks.items():
        if group:
            yield unit(_bare(group), mark("text", fontSize=10, color=ink), text="label:N")


def _tooltip(measure: str, answers: bool) -> list[Spec]:
    shown = [
        field("source:N", title="source"),
        field("onto:N", title="target"),
        field("value:Q", title=measure, format="+.3f"),
        field("interval:N", title="interval"),
        field("q:N", title="q"),
        field("seeds:N", title="each seed"),
        field("items:N", title="items"),
        field("base:N", title="base accuracy"),
    ]
    return [*shown, field("answers:N", title="answers")] if answers else shown


def key(rows: list[Spec], limit: float) -> list[str]:
    """What the kinds of cell mean, of those that occur; a second line for what is no transfer."""
    kinds = {row["kind"] for row in rows}
    parts = []
    if "noise" in kinds:
        parts += ["filled: beyond noise", "hollow: can’t be told from noise"]
    if "missing" in kinds:
        parts.append("hatched: not measured")
    if any(row["self"] for row in rows):
        parts.append("framed: a task on itself")
    if any(row.get("beyond") for row in rows):
        parts.append(f"colours end at ±{limit:g}")
    if any(row.get("collapsed") for row in rows):
        return [" · ".join(parts), "cut corner: one letter to nearly every item, no transfer"]
    return [" · ".join(parts)]
