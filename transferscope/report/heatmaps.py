"""The heatmap: every effect of every source on every target, and of every control below them.

A filled cell is an effect beyond noise (`noise.beyond_noise`); a hollow one can't be told from it.

In:   an `Analysis`.
Out:  Vega-Lite specifications.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from transferscope.analysis import Analysis, Cell, ModelAnalysis, TaskRecord
from transferscope.conduct import Answers
from transferscope.estimate import Estimate
from transferscope.noise import beyond_noise
from transferscope.report.look import (
    DIVERGING,
    INK,
    MUTED,
    ON_STRONG,
    PAPER,
    RULE,
    SHADE,
    ceil_nice,
)
from transferscope.report.vegalite import (
    Spec,
    axis,
    field,
    finish,
    heading,
    layer,
    mark,
    part,
    unit,
)
from transferscope.report.words import (
    MEASURES,
    UNKNOWN,
    Labels,
    answer_words,
    between,
    chance,
    control_label,
    counted,
    known,
    percent,
    row_label,
    same_task,
    signed,
)

Cells = Mapping[str, Mapping[str, Cell | Estimate]]
NUMBERED = 20
"""Up to this many tasks each cell carries its number."""
GAP = " "
"""The empty row between sources and controls."""
CORNER = "M0.35,-1L1,-1L1,-0.35Z"
HATCH = "M-1,-0.4L-0.4,-1M-1,0.3L0.3,-1M-1,1L1,-1M-0.3,1L1,-0.3M0.4,1L1,0.4"


class _Scale(NamedTuple):
    """What all cells of a heatmap share."""

    limit: float
    """Where the colours end."""
    alpha: float
    """Level at which an effect is beyond noise."""


def bound(analysis: Analysis) -> float:
    """Where the colours of all heatmaps end, on both sides of 0.

    Nearly all effects fit (the 98th percentile of their sizes, self-transfer left out), so that one
    extreme cell does not bleach the rest; the few beyond are labelled with their number.
    """
    sizes = [
        abs(cell.mean)
        for model in analysis.models.values()
        for source, row in model.pgf.items()
        for target, cell in row.items()
        if not same_task(source, target) and math.isfinite(cell.mean)
    ]
    largest = float(np.quantile(sizes, 0.98)) if sizes else 0.0
    return ceil_nice(max(largest, 0.02))


def heatmap(
    analysis: Analysis, model: str, title: str, names: Labels, *, adjusted: bool = False
) -> Spec | None:
    """The effects of one model: sources down, targets across; controls in rows of their own.

    None where nothing was measured. With `adjusted`, the effects beyond the placebo's.
    """
    record = analysis.models[model]
    if adjusted and record.adjusted is None:
        return None
    cells: Cells = record.adjusted.cells if adjusted and record.adjusted else record.pgf
    sources = [task for task in analysis.tasks if task.source]
    targets = [task for task in analysis.tasks if task.target]
    limit = bound(analysis)
    scale = _Scale(limit, analysis.settings.alpha)
    rows = [
        _row(record, cells, source, target, names, scale)
        for source in sources
        for target in targets
    ]
    measured = [row for row in rows if row["value"] is not None]
    if not measured:
        return None
    beside = [] if adjusted else _control_rows(record, targets, names, scale)
    side = 38 if max(len(sources), len(targets)) <= NUMBERED else 17
    down = [row_label(task.name, names) for task in sources]
    controls = list(dict.fromkeys(row["row"] for row in beside))
    down += [GAP, *controls] if controls else []
    spec = layer(
        *_layers(rows + beside, side, limit, MEASURES[analysis.settings.measure]),
        encoding=_axes(down, targets, names, side),
        width={"step": side},
        height={"step": side},
        title=heading(title, *_key(rows + beside, limit)),
        resolve={"legend": {"fill": "independent", "stroke": "independent"}},
    )
    return finish(spec, _says(title, measured, len(rows)))


def _row(
    model: ModelAnalysis,
    cells: Cells,
    source: TaskRecord,
    target: TaskRecord,
    names: Labels,
    scale: _Scale,
) -> Spec:
    place: Spec = {"row": row_label(source.name, names), "source": names.long[source.name]}
    cell = cells.get(source.name, {}).get(target.name)
    found = model.behaviour.sources if model.behaviour else {}
    answers = found.get(source.name, {}).get(target.name)
    row = place | _effect(model, cell, target, names, scale) | _answered(answers)
    return row | {"self": same_task(source.name, target.name)}


def _control_rows(
    model: ModelAnalysis, targets: list[TaskRecord], names: Labels, scale: _Scale
) -> list[Spec]:
    """The controls' effects, a row for each control."""
    rows = []
    found = model.behaviour.controls if model.behaviour else {}
    for name, control in model.controls.items():
        label = control_label(name)
        for target in targets:
            effect = _effect(model, control.targets.get(target.name), target, names, scale)
            answers = _answered(found.get(name, {}).get(target.name))
            rows.append({"row": label, "source": label, "self": False} | effect | answers)
    return rows


def _answered(answers: Answers | None) -> Spec:
    if answers is None:
        return {}
    return {"collapsed": bool(answers.collapsed), "answers": answer_words(answers)}


def _effect(
    model: ModelAnalysis,
    cell: Cell | Estimate | None,
    target: TaskRecord,
    names: Labels,
    scale: _Scale,
) -> Spec:
    value = known(cell.mean) if cell else None
    row: Spec = {
        "target": names.short[target.name],
        "onto": names.long[target.name],
        "value": value,
        "base": percent(model.base_accuracy.get(target.name, math.nan)),
    }
    if cell is None or value is None:
        return row | {"kind": "missing", "label": ""}
    kind = "noise" if beyond_noise(cell, scale.alpha) is False else "clear"
    return row | {
        "kind": kind,
        "label": signed(value).lstrip("+"),
        "beyond": abs(value) > scale.limit,
        "interval": between(cell.ci),
        "q": chance(cell.q_value) if isinstance(cell, Cell) else UNKNOWN,
        "seeds": ", ".join(signed(each) for each in cell.seeds.values()),
    }


def _axes(down: list[str], targets: list[TaskRecord], names: Labels, side: int) -> Spec:
    across = [names.short[task.name] for task in targets]
    angle = 0 if max(len(label) for label in across) <= 3 and side > 20 else -90
    gap = part(domain=across, paddingInner=0.06, paddingOuter=0.03)
    x = field(
        "target:N",
        scale=gap,
        axis=axis(
            "target: evaluated on",
            orient="top",
            labelAngle=angle,
            labelLimit=110,
            labelOverlap=False,
        ),
    )
    y = field(
        "row:N",
        scale=part(domain=down, paddingInner=0.06, paddingOuter=0.03),
        axis=axis("source: finetuned on", labelOverlap=False, labelLimit=220),
    )
    return {"x": x, "y": y}


def _layers(rows: list[Spec], side: int, limit: float, measure: str) -> Iterable[Spec]:
    scale = part(domain=_stops(limit), range=list(DIVERGING), clamp=True, interpolate="lab")
    legend = part(
        title=measure,
        gradientLength=min(200, side * 8),
        gradientThickness=10,
        values=[-limit, -limit / 2, 0, limit / 2, limit],
        format=".2~f",
    )
    tooltip = _tooltip(measure, any("answers" in row for row in rows))
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
        frame = mark("rect", filled=False, stroke=INK, strokeWidth=1.5, cornerRadius=2)
        yield unit(_bare(own), frame)
    if collapsed := [row for row in rows if row.get("collapsed")]:
        size = (side * 0.94) ** 2
        corner = mark("point", shape=CORNER, size=size, filled=True, fill=INK, stroke=PAPER)
        yield unit(_bare(collapsed), corner | {"opacity": 1, "strokeWidth": 1})


def _bare(rows: list[Spec]) -> list[Spec]:
    """Rows without what only tooltips show."""
    return [{key: row[key] for key in ("row", "target", "label")} for row in rows]


def _numbers(rows: list[Spec], side: int, limit: float) -> Iterable[Spec]:
    """The number in each cell: all where cells are large, else those beyond the colours' end."""
    shown = [row for row in rows if row["value"] is not None and (side > 20 or row["beyond"])]
    faint = [row for row in shown if row["kind"] == "noise"]
    strong = [row for row in shown if row["kind"] == "clear" and abs(row["value"]) > limit * 0.55]
    light = [row for row in shown if row["kind"] == "clear" and abs(row["value"]) <= limit * 0.55]
    size = 10 if side > 20 else 6.5
    for group, colour in ((faint, MUTED), (strong, ON_STRONG), (light, INK)):
        if group:
            text = mark("text", fontSize=size, color=colour)
            yield unit(_bare(group), text, text="label:N")


def _stops(limit: float) -> list[float]:
    return [-limit, -limit * 2 / 3, -limit / 3, 0, limit / 3, limit * 2 / 3, limit]


def _tooltip(measure: str, answers: bool) -> list[Spec]:
    shown = [
        field("source:N", title="source"),
        field("onto:N", title="target"),
        field("value:Q", title=measure, format="+.3f"),
        field("interval:N", title="interval"),
        field("q:N", title="q"),
        field("seeds:N", title="each seed"),
        field("base:N", title="base accuracy"),
    ]
    return [*shown, field("answers:N", title="answers")] if answers else shown


def _key(rows: list[Spec], limit: float) -> list[str]:
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


def _says(title: str, rows: list[Spec], cells: int) -> str:
    best = max(rows, key=lambda row: row["value"])
    worst = min(rows, key=lambda row: row["value"])
    clear = sum(row["kind"] == "clear" for row in rows)
    return (
        f"{title}: heatmap of {counted(cells, 'cell')}, {len(rows)} measured, {clear} drawn as "
        f"distinguishable from noise. Largest: {best['source']} on {best['onto']}, "
        f"{best['label']}. Smallest: {worst['source']} on {worst['onto']}, {worst['label']}."
    )
