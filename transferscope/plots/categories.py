"""Groups of tasks and sizes of models: category bars, category heatmaps and the scale trend."""

import math

from transferscope.analysis import Analysis, Quantity, Sign
from transferscope.plots import composition as vl
from transferscope.plots import theme
from transferscope.plots.labels import MEASURES, clean, in_order, labels
from transferscope.plots.numbers import between, from_zero, interval_columns, plain, signed
from transferscope.plots.task_figures import PLAYED, SIGNS


def categories(analysis: Analysis, kind: str, title: str) -> vl.Spec | None:
    """Mean transferability and malleability of each category, with and without self-transfer."""
    found: dict[str, list[vl.Spec]] = {}
    for quantity in PLAYED:
        for name, label in labels(analysis).models.items():
            groups = analysis.models[name].categories.get(kind, {})
            axis = analysis.models[name].category_axes.get(kind)
            rests = axis and any(each.startswith(quantity) for each in axis.rests_on_self)
            rows: list[vl.Spec] = [
                {"category": f"{clean(group)} ({len(groups[group].tasks)})", "sign": sign}
                | {"value": getattr(effect, sign), "without": getattr(without, sign)}
                | interval_columns(getattr(effect.ci, sign))
                for group in in_order(groups)
                for effect in [getattr(groups[group], quantity)]
                for without in [getattr(groups[group].without_self, quantity)]
                for sign in SIGNS
                if math.isfinite(getattr(effect, sign))
            ]
            if rows:
                found[f"{label}: {quantity}{' †' * bool(rests)}"] = rows
    if not found:
        return None
    keys = ("value", "low", "high", "without")
    ends = (row[key] for rows in found.values() for row in rows for key in keys)
    x, panels = vl.value_axis("value", None, theme.padded([0.0, *ends])), []
    tooltip = vl.tips("category", "value|with self-transfer|+.3f", "interval")
    tooltip += vl.tips("without|without self-transfer|+.3f")
    diamond = vl.part(shape="diamond", filled=True, size=62, fill=theme.PAPER, opacity=1)
    diamond |= {"x": x | {"field": "without"}, "stroke": vl.by_sign(), "tooltip": tooltip}
    for text, rows in found.items():
        y = vl.name_axis("category", (row["category"] for row in rows))
        layers = [vl.unit(rows, "bar", fill=vl.by_sign(theme.PALE), x=x, y=y, tooltip=tooltip)]
        layers += vl.intervals(rows, x=x | {"field": "low"}, x2="high:Q", y=y)
        if marks := [row for row in rows if math.isfinite(row["without"])]:
            layers.append(vl.unit(marks, "point", y=y, **diamond))
        size = vl.part(width=120, height=15 * len(rows), title=vl.panel_title(text))
        panels.append(vl.layer(*layers, vl.zero_line(x=x), **size))
    return vl.finish(
        vl.in_rows(panels, min(max(len(analysis.models), 2), 3), 26, 20),
        title,
        "Bars: means with self-transfer, as in the paper, with intervals. Diamonds: without.",
        "†: the order changes without self-transfer." * any("†" in text for text in found),
    )


def category_effects(analysis: Analysis, kind: str, title: str) -> vl.Spec | None:
    """Mean positive and mean negative effect from category to category, for each model."""
    found: dict[tuple[Sign, str], list[vl.Spec]] = {
        (sign, label): [
            {"source": clean(source), "target": clean(target), "sign": sign, "value": value}
            | {"label": plain(value), "interval": between(getattr(effect.ci, sign))}
            for source, row in analysis.models[name].category_axes[kind].effects.items()
            for target, effect in row.items()
            if math.isfinite(value := getattr(effect, sign))
        ]
        for sign in SIGNS
        for name, label in labels(analysis).models.items()
        if kind in analysis.models[name].category_axes
    }
    every = [abs(row["value"]) for rows in found.values() for row in rows]
    if not every:
        return None
    limit, panels = theme.ceil_nice(max([0.01, *every])), []
    tooltip = vl.tips("source", "target", "value|mean effect|+.3f", "interval")
    for (sign, label), rows in found.items():
        down, across = (in_order(row[key] for row in rows) for key in ("source", "target"))
        x = vl.name_axis("target", across, orient="top", labelAngle=0)
        panel = vl.table(rows, x, vl.name_axis("source", down), limit, tooltip)
        panel |= vl.part(width=46 * len(across), height=30 * len(down))
        panels.append(panel | {"title": vl.panel_title(f"{label}: {sign}")})
    whole = "with" if analysis.settings.include_self else "without"
    return vl.finish(
        vl.in_rows(panels, min(max(len(analysis.models), 2), 3), 28, 20),
        title,
        "Means over all pairs of tasks of the helpful (blue) and of the harmful effects (orange).",
        f"Source category down, target category across; {whole} self-transfer.",
    )


def scale_trend(analysis: Analysis, _: object, title: str) -> vl.Spec | None:
    """Averages model by model in size order; None with fewer than two models."""
    found: dict[Quantity, list[vl.Spec]]
    found = {quantity: _averages(analysis, quantity) for quantity in PLAYED}
    every = [row for rows in found.values() for row in rows]
    if len(analysis.scale.models) < 2 or not every:
        return None
    ends = theme.padded([0.0, *(row[key] for row in every for key in ("value", "low", "high"))])
    panels = [_trend(analysis, quantity, rows, ends) for quantity, rows in found.items() if rows]
    return vl.finish(
        vl.part(hconcat=panels, spacing=40),
        title,
        "Averages over tasks, from small to large models. Hollow: the step to it may be no change.",
        "Grey bars: averages without any transfer."
        * any(record.noise_floor for record in analysis.models.values()),
    )


def _averages(analysis: Analysis, quantity: Quantity) -> list[vl.Spec]:
    """The averages of each model; `shade` is `noise` where the step to it may be no change."""
    rows, models, trend = [], analysis.scale.models, getattr(analysis.scale, quantity)
    names, unknown = labels(analysis).models, [(math.nan, math.nan)] * len(models)
    for sign in SIGNS:
        steps = [(math.nan, math.nan), *(trend.steps.get(sign) or unknown)]
        columns = models, getattr(trend, sign), steps, trend.ci.get(sign) or unknown
        for model, value, step, ci in zip(*columns, strict=False):
            row: vl.Spec = {"model": names.get(model, clean(model)), "sign": sign, "value": value}
            row |= {"shade": "noise" if from_zero(step) is False else sign, "label": signed(value)}
            rows += [row | interval_columns(ci)] if math.isfinite(value) else []
    return rows


def _trend(
    analysis: Analysis, quantity: Quantity, rows: list[vl.Spec], ends: list[float]
) -> vl.Spec:
    names, measure = labels(analysis).models, MEASURES[analysis.settings.measure]
    turn = 0 if max(map(len, names.values())) < 14 else -30
    x = vl.name_axis("model", (row["model"] for row in rows), labelAngle=turn)
    y = vl.value_axis("value", f"average {quantity}, {measure}", ends)
    floors = [
        {"model": names[model], "value": value}
        for model, record in analysis.models.items()
        for sign in SIGNS
        if (floor := record.noise_floor)
        and math.isfinite(value := getattr(getattr(floor, quantity), sign))
    ]
    layers = [vl.zero_line(y=y)]
    if floors:
        tick = vl.part(color=theme.RULE, orient="horizontal", size=44, thickness=3)
        tooltip = vl.tips("value|without any transfer|+.3f")
        layers.append(vl.unit(floors, "tick", x=x, y=y, tooltip=tooltip, **tick))
    layers.append(vl.unit(rows, "line", x=x, y=y, color=vl.by_sign(), strokeWidth=2))
    layers += vl.dots(rows, x, y, vl.tips("model", "sign", "value|average|+.3f", "interval"))
    text = vl.part(align="left", dx=8, dy=11, fontWeight=600, color=vl.by_sign(), text="label:N")
    layers.append(vl.unit(rows, "text", x=x, y=y, **text))
    return vl.layer(*layers, width=max(180, 50 * len(names)), height=240)
