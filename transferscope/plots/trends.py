"""Groups of tasks and sizes of models: category bars and the scale trend.

In:   an `Analysis`.
Out:  Vega-Lite specifications.
"""

import math
from collections.abc import Iterable

from transferscope.analysis import Analysis, Category, ModelAnalysis, Sign, Signed, Trend
from transferscope.plots.effects import SIGNS, Quantity
from transferscope.plots.labels import MEASURES, between, clean, from_zero, in_order, known, signed
from transferscope.plots.theme import (
    INK,
    NEGATIVE,
    NEGATIVE_PALE,
    PAPER,
    POSITIVE,
    POSITIVE_PALE,
    RULE,
    SOFT,
)
from transferscope.plots.vegalite import (
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

QUANTITIES: tuple[Quantity, Quantity] = ("transferability", "malleability")
BAR = {"positive": POSITIVE_PALE, "negative": NEGATIVE_PALE}
LINE = {"positive": POSITIVE, "negative": NEGATIVE}


def categories(
    analysis: Analysis, kind: str, model_names: dict[str, str], title: str
) -> Spec | None:
    """Mean transferability and malleability of each category, with and without self-transfer."""
    records = {
        label: analysis.models[name]
        for name, label in model_names.items()
        if analysis.models[name].categories.get(kind)
    }
    rows = {
        (label, quantity): _bars(record.categories[kind], quantity)
        for label, record in records.items()
        for quantity in QUANTITIES
    }
    every = [row for group in rows.values() for row in group]
    if not every:
        return None
    ends = [row[key] for row in every for key in ("value", "low", "high", "without")]
    ends = [end for end in ends if end is not None]
    reach = [min([*ends, 0]) * 1.06, max([*ends, 0]) * 1.06]
    stacked = []
    for quantity in QUANTITIES:
        warned = any(_rests(record, kind, quantity) for record in records.values())
        panels = [
            _category_panel(
                rows[label, quantity],
                f"{label}: {quantity}",
                _rests(record, kind, quantity) if warned else None,
                reach,
            )
            for label, record in records.items()
        ]
        stacked.append(beside(*panels, spacing=26))
    spec = below(
        *stacked,
        spacing=22,
        title=heading(
            title,
            "bar: with self-transfer, as in the paper · diamond: without · line: interval",
            "in brackets: number of tasks · helpful to the right, harmful to the left",
        ),
    )
    says = "; ".join(
        f"{label} {quantity}: {', '.join(_pairs(group))}"
        for (label, quantity), group in rows.items()
        if group
    )
    return finish(spec, f"{title}: helpful and harmful parts. {says}.")


def _pairs(rows: list[Spec]) -> list[str]:
    """`low (3) +0.06 and −0.04` for each category."""
    values: dict[str, list[str]] = {}
    for row in rows:
        values.setdefault(row["category"], []).append(signed(row["value"]))
    return [f"{category} {' and '.join(both)}" for category, both in values.items()]


def _rests(record: ModelAnalysis, kind: str, quantity: Quantity) -> list[str]:
    """What of this panel turns when self-transfer is left out, in two lines; empty for nothing."""
    axes = record.category_axes.get(kind)
    signs = [s for s in SIGNS if axes and f"{quantity}.{s}" in axes.rests_on_self]
    return [f"† {' and '.join(signs)} order", "rests on self-transfer"] if signs else []


def _bars(groups: dict[str, Category], quantity: Quantity) -> list[Spec]:
    rows = []
    for name in in_order(groups):
        group = groups[name]
        effect: Signed = getattr(group, quantity)
        without: Signed = getattr(group.without_self, quantity)
        for sign in SIGNS:
            value = getattr(effect, sign)
            if math.isfinite(value):
                low, high = getattr(effect.ci, sign)
                rows.append(
                    {
                        "category": f"{clean(name)} ({len(group.tasks)})",
                        "sign": sign,
                        "value": value,
                        "low": known(low),
                        "high": known(high),
                        "interval": between((low, high)),
                        "without": known(getattr(without, sign)),
                    }
                )
    return rows


def _category_panel(
    rows: list[Spec], title: str, warning: list[str] | None, reach: list[float]
) -> Spec:
    order = list(dict.fromkeys(row["category"] for row in rows))
    y = field("category:N", scale=part(domain=order, padding=0.22), axis=axis())
    scale = part(domain=reach, nice=False)
    layers = []
    tooltip = [
        field("category:N"),
        field("value:Q", title="with self-transfer", format="+.3f"),
        field("interval:N"),
        field("without:Q", title="without self-transfer", format="+.3f"),
    ]
    for sign in SIGNS:
        group = [row for row in rows if row["sign"] == sign]
        if not group:
            continue
        x = field("value:Q", scale=scale, axis=axis(tickCount=5))
        layers.append(unit(group, mark("bar", color=BAR[sign]), x=x, y=y, tooltip=tooltip))
        bars = [row for row in group if row["low"] is not None]
        if bars:
            rule = mark("rule", color=LINE[sign], strokeWidth=1.8)
            layers.append(unit(bars, rule, x=field("low:Q", scale=scale), x2="high:Q", y=y))
        marks = [row for row in group if row["without"] is not None]
        if marks:
            diamond = mark(
                "point",
                shape="diamond",
                filled=True,
                size=62,
                fill=PAPER,
                stroke=LINE[sign],
                strokeWidth=1.5,
                opacity=1,
            )
            layers.append(
                unit(marks, diamond, x=field("without:Q", scale=scale), y=y, tooltip=tooltip)
            )
    layers.append(unit([{"value": 0}], mark("rule", color=RULE), x="value:Q"))
    head = part(
        text=title,
        subtitle=[] if warning is None else warning or ["\u00a0", "\u00a0"],
        fontSize=12,
        color=SOFT,
        subtitleColor=INK,
        offset=6,
    )
    return layer(*layers, width=250, height=36 * len(order), title=head)


def scale_trend(analysis: Analysis, model_names: dict[str, str], title: str) -> Spec | None:
    """Averages model by model in size order; None with fewer than two models."""
    models = analysis.scale.models
    if len(models) < 2:
        return None
    panels = []
    for quantity in QUANTITIES:
        trend: Trend = getattr(analysis.scale, quantity)
        if any(math.isfinite(value) for value in [*trend.positive, *trend.negative]):
            panels.append(_trend_panel(analysis, quantity, trend, model_names))
    if not panels:
        return None
    floor = any(record.noise_floor for record in analysis.models.values())
    steps = [step for panel in QUANTITIES for step in _steps(getattr(analysis.scale, panel))]
    parts = []
    if any(known for known in steps):
        parts.append("solid step: a change beyond noise")
    if any(known is False for known in steps):
        parts.append("dashed step: may be no change")
    parts += ["grey bars: what no transfer would give"] if floor else []
    spec = beside(
        *panels,
        spacing=40,
        resolve={"scale": {"y": "shared"}},
        title=heading(title, "averages over tasks, with intervals", " · ".join(parts)),
    )
    trend = analysis.scale.transferability
    says = "; ".join(
        f"{model_names.get(model, model)}: {signed(positive)} and {signed(negative)}"
        for model, positive, negative in zip(models, trend.positive, trend.negative, strict=True)
    )
    return finish(spec, f"{title}. Average positive and negative transferability: {says}.")


def _steps(trend: Trend) -> list[bool | None]:
    return [from_zero(step) for sign in SIGNS for step in trend.steps.get(sign, [])]


def _trend_panel(
    analysis: Analysis, quantity: Quantity, trend: Trend, model_names: dict[str, str]
) -> Spec:
    models = [model_names.get(model, clean(model)) for model in analysis.scale.models]
    x = field(
        "model:N",
        scale=part(domain=models, paddingOuter=0.4),
        axis=axis(labelAngle=0 if max(map(len, models)) < 14 else -30),
    )
    y = field(
        "value:Q",
        axis=axis(f"average {quantity}, {MEASURES[analysis.settings.measure]}"),
    )
    layers = [unit([{"value": 0}], mark("rule", color=RULE), y=y)]
    floors = [
        {"model": label, "value": getattr(getattr(record.noise_floor, quantity), sign)}
        for name, label in model_names.items()
        if (record := analysis.models[name]).noise_floor is not None
        for sign in SIGNS
    ]
    floors = [row for row in floors if math.isfinite(row["value"])]
    if floors:
        tick = mark("tick", color=RULE, orient="horizontal", size=44, thickness=3)
        tooltip = [field("value:Q", title="noise floor", format="+.3f")]
        layers.append(unit(floors, tick, x=x, y=y, tooltip=tooltip))
    for sign in SIGNS:
        layers += _trend_line(models, trend, sign, x, y)
    return layer(*layers, width=max(220, 110 * len(models)), height=280)


def _trend_line(models: list[str], trend: Trend, sign: Sign, x: Spec, y: Spec) -> list[Spec]:
    values = getattr(trend, sign)
    intervals = trend.ci.get(sign, [])
    steps = trend.steps.get(sign, [])
    layers = []
    for place in range(1, len(models)):
        if not (math.isfinite(values[place - 1]) and math.isfinite(values[place])):
            continue
        sure = from_zero(steps[place - 1]) if place - 1 < len(steps) else None
        ends = [{"model": models[at], "value": values[at]} for at in (place - 1, place)]
        dash = [5, 4] if sure is False else [1, 0]
        line = mark("line", color=LINE[sign], strokeWidth=2, strokeDash=dash)
        layers.append(unit(ends, line, x=x, y=y))
    rows = [
        {
            "model": model,
            "value": value,
            "low": known(interval[0]),
            "high": known(interval[1]),
            "interval": between(interval),
            "label": signed(value),
        }
        for model, value, interval in zip(
            models, values, intervals or [(math.nan, math.nan)] * len(models), strict=True
        )
        if math.isfinite(value)
    ]
    if not rows:
        return layers
    bars = [row for row in rows if row["low"] is not None]
    if bars:
        rule = mark("rule", color=LINE[sign], strokeWidth=2.2)
        layers.append(unit(bars, rule, x=x, y="low:Q", y2="high:Q"))
    tooltip = [
        field("model:N"),
        field("value:Q", title=sign, format="+.3f"),
        field("interval:N"),
    ]
    dot = mark("circle", size=80, color=LINE[sign], opacity=1)
    layers.append(unit(rows, dot, x=x, y=y, tooltip=tooltip))
    layers.extend(_trend_labels(rows, models, LINE[sign], x, y))
    return layers


def _trend_labels(
    rows: list[Spec], models: list[str], colour: str, x: Spec, y: Spec
) -> Iterable[Spec]:
    """Numbers beside the points, where neither a step nor an interval runs."""
    places = {models[0]: ("right", -11, 0), models[-1]: ("left", 11, 0)}
    for row, after in zip(rows, [*rows[1:], rows[-1]], strict=True):
        below_step = ("left", 7, 13 if after["value"] > row["value"] else -13)
        align, dx, dy = places.get(row["model"], below_step)
        text = mark("text", align=align, dx=dx, dy=dy, color=colour, fontWeight=600)
        yield unit([row], text, x=x, y=y, text="label:N")
