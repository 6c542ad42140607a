"""Heatmaps: every effect of every source on every target, and the same between categories.

A filled cell is an effect whose interval excludes 0; a hollow one can't be told from noise.

In:   an `Analysis`.
Out:  Vega-Lite specifications.
"""

import math
from collections.abc import Iterable

import numpy as np

from transferscope.analysis import Analysis, CategoryAxis, Cell, ModelAnalysis, Sign, TaskRecord
from transferscope.report.look import (
    DIVERGING,
    INK,
    MUTED,
    NEGATIVE,
    NEGATIVE_PALE,
    ON_STRONG,
    POSITIVE,
    POSITIVE_PALE,
    RULE,
    SHADE,
    SOFT,
    ceil_nice,
)
from transferscope.report.vegalite import (
    Spec,
    axis,
    below,
    beside,
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
    Labels,
    between,
    chance,
    counted,
    from_zero,
    in_order,
    known,
    percent,
    plain,
    same_task,
    signed,
)

NUMBERED = 20
"""Up to this many tasks each cell carries its number."""
HATCH = "M-1,-0.4L-0.4,-1M-1,0.3L0.3,-1M-1,1L1,-1M-0.3,1L1,-0.3M0.4,1L1,0.4"


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


def heatmap(analysis: Analysis, model: str, title: str, names: Labels) -> Spec | None:
    """The effects of one model: sources down, targets across. None where nothing was measured."""
    record = analysis.models[model]
    sources = [task for task in analysis.tasks if task.source]
    targets = [task for task in analysis.tasks if task.target]
    limit = bound(analysis)
    rows = [_row(record, source, target, names, limit) for source in sources for target in targets]
    measured = [row for row in rows if row["value"] is not None]
    if not measured:
        return None
    side = 38 if max(len(sources), len(targets)) <= NUMBERED else 17
    x, y = _axes(sources, targets, names, side)
    spec = layer(
        *_layers(rows, side, limit, MEASURES[analysis.settings.measure]),
        encoding={"x": x, "y": y},
        width=side * len(targets),
        height=side * len(sources),
        title=heading(title, _key(rows, limit)),
        resolve={"legend": {"fill": "independent", "stroke": "independent"}},
    )
    return finish(spec, _says(title, measured, len(rows)))


def _row(
    model: ModelAnalysis, source: TaskRecord, target: TaskRecord, names: Labels, limit: float
) -> Spec:
    cell = model.pgf.get(source.name, {}).get(target.name)
    value = known(cell.mean) if cell else None
    row: Spec = {
        "row": _row_label(source, names),
        "source": names.long[source.name],
        "target": names.short[target.name],
        "onto": names.long[target.name],
        "value": value,
        "self": same_task(source.name, target.name),
        "base": percent(model.base_accuracy.get(target.name, math.nan)),
    }
    if cell is None or value is None:
        return row | {"kind": "missing", "label": ""}
    kind = "noise" if from_zero(cell.ci) is False else "clear"
    return row | {
        "kind": kind,
        "label": signed(value).lstrip("+"),
        "beyond": abs(value) > limit,
        "interval": between(cell.ci),
        "q": chance(cell.q_value),
        "seeds": _seeds(cell),
    }


def _row_label(source: TaskRecord, names: Labels) -> str:
    """A full name, with the abbreviation that the columns use."""
    long, short = names.long[source.name], names.short[source.name]
    return long if long == short else f"{long} · {short}"


def _seeds(cell: Cell) -> str:
    return ", ".join(signed(value) for value in cell.seeds.values())


def _axes(
    sources: list[TaskRecord], targets: list[TaskRecord], names: Labels, side: int
) -> tuple[Spec, Spec]:
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
    down = [_row_label(task, names) for task in sources]
    y = field(
        "row:N",
        scale=part(domain=down, paddingInner=0.06, paddingOuter=0.03),
        axis=axis("source: finetuned on", labelOverlap=False, labelLimit=220),
    )
    return x, y


def _layers(rows: list[Spec], side: int, limit: float, measure: str) -> Iterable[Spec]:
    scale = part(domain=_stops(limit), range=list(DIVERGING), clamp=True, interpolate="lab")
    legend = part(
        title=measure,
        gradientLength=min(200, side * 8),
        gradientThickness=10,
        values=[-limit, -limit / 2, 0, limit / 2, limit],
        format=".2~f",
    )
    tooltip = _tooltip(measure)
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


def _tooltip(measure: str) -> list[Spec]:
    return [
        field("source:N", title="source"),
        field("onto:N", title="target"),
        field("value:Q", title=measure, format="+.3f"),
        field("interval:N", title="interval"),
        field("q:N", title="q"),
        field("seeds:N", title="each seed"),
        field("base:N", title="base accuracy"),
    ]


def _key(rows: list[Spec], limit: float) -> str:
    """What the kinds of cell mean, of those that occur."""
    kinds = {row["kind"] for row in rows}
    parts = []
    if "noise" in kinds:
        parts += ["filled: interval excludes 0", "hollow: can’t be told from noise"]
    if "missing" in kinds:
        parts.append("hatched: not measured")
    if any(row["self"] for row in rows):
        parts.append("framed: a task on itself")
    if any(row.get("beyond") for row in rows):
        parts.append(f"colours end at ±{limit:g}")
    return " · ".join(parts)


def _says(title: str, rows: list[Spec], cells: int) -> str:
    best = max(rows, key=lambda row: row["value"])
    worst = min(rows, key=lambda row: row["value"])
    clear = sum(row["kind"] == "clear" for row in rows)
    return (
        f"{title}: heatmap of {counted(cells, 'cell')}, {len(rows)} measured, {clear} drawn as "
        f"distinguishable from noise. Largest: {best['source']} on {best['onto']}, "
        f"{best['label']}. Smallest: {worst['source']} on {worst['onto']}, {worst['label']}."
    )


def category_effects(
    analysis: Analysis, kind: str, model_names: dict[str, str], title: str
) -> Spec | None:
    """Mean positive and mean negative effect from category to category, for each model."""
    axes = {
        label: analysis.models[name].category_axes[kind]
        for name, label in model_names.items()
        if kind in analysis.models[name].category_axes
    }
    rows = {label: _category_rows(effects) for label, effects in axes.items()}
    values = [abs(row["value"]) for group in rows.values() for row in group]
    if not values:
        return None
    limit = ceil_nice(max(*values, 0.01))
    panels = [
        below(
            _category_panel(group, "positive", label, limit),
            _category_panel(group, "negative", "", limit),
            spacing=14,
        )
        for label, group in rows.items()
        if group
    ]
    whole = "with" if analysis.settings.include_self else "without"
    spec = beside(
        *panels,
        spacing=28,
        title=heading(
            title, f"source category down, target category across; {whole} self-transfer"
        ),
    )
    return finish(spec, f"{title}: heatmaps of positive and of negative effects for each model.")


def _category_rows(axes: CategoryAxis) -> list[Spec]:
    signs: tuple[Sign, Sign] = ("positive", "negative")
    return [
        {
            "source": source,
            "target": target,
            "sign": sign,
            "value": value,
            "label": plain(value),
            "interval": between(getattr(effect.ci, sign)),
        }
        for source, row in axes.effects.items()
        for target, effect in row.items()
        for sign in signs
        if math.isfinite(value := getattr(effect, sign))
    ]


def _category_panel(rows: list[Spec], sign: Sign, title: str, limit: float) -> Spec:
    group = [row for row in rows if row["sign"] == sign]
    sources = in_order(row["source"] for row in group)
    targets = in_order(row["target"] for row in group)
    strong, pale = (POSITIVE, POSITIVE_PALE) if sign == "positive" else (NEGATIVE, NEGATIVE_PALE)
    domain = [0, limit] if sign == "positive" else [0, -limit]
    place: Spec = {
        "x": field(
            "target:N",
            scale=part(domain=targets, padding=0.03),
            axis=axis(orient="top", labelAngle=0) if sign == "positive" else None,
        ),
        "y": field("source:N", scale=part(domain=sources, padding=0.03), axis=axis(sign)),
    }
    tooltip = [
        "source:N",
        "target:N",
        field("value:Q", title=f"mean {sign} effect", format="+.3f"),
        "interval:N",
    ]
    shades = part(domain=domain, range=[SHADE, pale, strong], interpolate="lab")
    colour = field("value:Q", scale=shades, legend=None)
    layers = [unit(group, mark("rect", cornerRadius=2), color=colour, tooltip=tooltip)]
    for deep, ink in ((True, ON_STRONG), (False, INK)):
        half = [row for row in group if (abs(row["value"]) > 0.62 * limit) == deep]
        if half:
            layers.append(unit(half, mark("text", fontSize=11, color=ink), text="label:N"))
    spec = layer(
        *layers,
        encoding=place,
        width=56 * len(targets),
        height=32 * len(sources),
        resolve={"scale": {"color": "independent"}},
    )
    if title:
        spec["title"] = part(text=title, fontSize=12, color=SOFT, offset=6)
    return spec
