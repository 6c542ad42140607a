"""Groups of tasks and sizes of models: category bars, category heatmaps and the scale trend."""

import math
from collections.abc import Iterable
from itertools import pairwise

from transferscope.analysis import Analysis, Category, CategoryAxis, Sign, Signed, Trend
from transferscope.plots.color_scale import ceil_nice, diverging, inked
from transferscope.plots.composition import below, beside, finish, heading, layer
from transferscope.plots.labels import MEASURES, clean, in_order, labels
from transferscope.plots.numbers import between, from_zero, interval_columns, known, plain, signed
from transferscope.plots.task_figures import SIGNS, Quantity
from transferscope.plots.theme import INK, ON_STRONG, ON_WEAK, PALE, PAPER, RULE, SOFT
from transferscope.plots.vegalite import Spec, by_sign, field, intervals, part, unit, zero_line

QUANTITIES: tuple[Quantity, Quantity] = ("transferability", "malleability")


def categories(analysis: Analysis, kind: str, title: str) -> Spec | None:
    """Mean transferability and malleability of each category, with and without self-transfer."""
    known_in = {
        label: analysis.models[name]
        for name, label in labels(analysis).models.items()
        if analysis.models[name].categories.get(kind)
    }
    rows = {
        (label, q): _bars(m.categories[kind], q)
        for label, m in known_in.items()
        for q in QUANTITIES
    }
    every = [row for group in rows.values() for row in group]
    if not every:
        return None
    values = [row[key] for row in every for key in ("value", "low", "high", "without")]
    ends = [0, *(value for value in values if value is not None)]
    reach = [min(ends) * 1.06, max(ends) * 1.06]
    stacked = []
    for quantity in QUANTITIES:
        warnings = {}
        for label, model in known_in.items():
            axes = model.category_axes.get(kind)
            signs = [s for s in SIGNS if axes and f"{quantity}.{s}" in axes.rests_on_self]
            warnings[label] = f"† {' and '.join(signs)} order" if signs else ""
        panels = []
        for label, warning in warnings.items():
            panel = _bar_panel(rows[label, quantity], reach)
            lines = [warning or "\u00a0", "rests on self-transfer" if warning else "\u00a0"]
            look = part(fontSize=12, color=SOFT, subtitleColor=INK, offset=6)
            subtitle = lines if any(warnings.values()) else []
            panel["title"] = part(text=f"{label}: {quantity}", subtitle=subtitle, **look)
            panels.append(panel)
        stacked.append(beside(*panels, spacing=26))
    head = heading(
        title,
        "bar: with self-transfer, as in the paper · diamond: without · line: interval",
        "in brackets: number of tasks · helpful to the right, harmful to the left",
    )
    words = []
    for (label, quantity), group in rows.items():
        both: dict[str, list[str]] = {}
        for row in group:
            both.setdefault(row["category"], []).append(signed(row["value"]))
        if both:
            parts = (f"{name} {' and '.join(texts)}" for name, texts in both.items())
            words.append(f"{label} {quantity}: {', '.join(parts)}")
    description = f"{title}: helpful and harmful parts. {'; '.join(words)}."
    return finish(below(*stacked, spacing=22, title=head), description)


def _bars(groups: dict[str, Category], quantity: Quantity) -> list[Spec]:
    rows = []
    for name in in_order(groups):
        effect: Signed = getattr(groups[name], quantity)
        without: Signed = getattr(groups[name].without_self, quantity)
        for sign in SIGNS:
            if math.isfinite(value := getattr(effect, sign)):
                row: Spec = {"category": f"{clean(name)} ({len(groups[name].tasks)})"}
                row |= {"sign": sign, "value": value, **interval_columns(getattr(effect.ci, sign))}
                rows.append(row | {"without": known(getattr(without, sign))})
    return rows


def _bar_panel(rows: list[Spec], reach: list[float]) -> Spec:
    order = list(dict.fromkeys(row["category"] for row in rows))
    y = field("category:N", scale=part(domain=order, padding=0.22), axis=part(title=None))
    scale = part(domain=reach, nice=False)
    both = (("value", "with self-transfer"), ("without", "without self-transfer"))
    values = [field(f"{name}:Q", title=title, format="+.3f") for name, title in both]
    tooltip = ["category:N", values[0], "interval:N", values[1]]
    layers = []
    if rows:
        x = field("value:Q", scale=scale, axis=part(title=None, tickCount=5))
        layers.append(unit(rows, "bar", fill=by_sign(colors=PALE), x=x, y=y, tooltip=tooltip))
        low = field("low:Q", scale=scale)
        layers += intervals(rows, color=by_sign(), strokeWidth=1.8, x=low, x2="high:Q", y=y)
    if marks := [row for row in rows if row["without"] is not None]:
        look = part(shape="diamond", filled=True, size=62, fill=PAPER, strokeWidth=1.5, opacity=1)
        x = field("without:Q", scale=scale)
        layers.append(unit(marks, "point", stroke=by_sign(), x=x, y=y, tooltip=tooltip, **look))
    layers.append(zero_line(x="value:Q"))
    return layer(*layers, width=250, height=36 * len(order))


def category_effects(analysis: Analysis, kind: str, title: str) -> Spec | None:
    """Mean positive and mean negative effect from category to category, for each model."""
    axes = {
        label: analysis.models[name].category_axes[kind]
        for name, label in labels(analysis).models.items()
        if kind in analysis.models[name].category_axes
    }
    rows = {label: _category_rows(effects) for label, effects in axes.items()}
    values = [abs(row["value"]) for group in rows.values() for row in group]
    if not values:
        return None
    limit = ceil_nice(max(*values, 0.01))
    panels, ends = [], []
    for label, group in rows.items():
        if group:
            upper, lower = (_category_panel(group, sign, limit) for sign in SIGNS)
            upper["title"] = part(text=label, fontSize=12, color=SOFT, offset=6)
            panels.append(below(upper, lower, spacing=14))
            for word, pick in (("highest", max), ("lowest", min)):
                row = pick(group, key=lambda each: each["value"])
                ends.append(f"{label}, {word} {row['source']} on {row['target']} {row['label']}")
    whole = "with" if analysis.settings.include_self else "without"
    lines = f"source category down, target category across; {whole} self-transfer"
    spec = beside(*panels, spacing=28, title=heading(title, lines))
    words = f"mean positive and mean negative effects for each model; {'; '.join(ends)}."
    return finish(spec, f"{title}: {words}")


def _category_rows(axes: CategoryAxis) -> list[Spec]:
    return [
        {"source": source, "target": target, "sign": sign, "value": value, "label": plain(value)}
        | {"interval": between(getattr(effect.ci, sign))}
        for source, row in axes.effects.items()
        for target, effect in row.items()
        for sign in SIGNS
        if math.isfinite(value := getattr(effect, sign))
    ]


def _category_panel(rows: list[Spec], sign: Sign, limit: float) -> Spec:
    group = [row for row in rows if row["sign"] == sign]
    sources = in_order(row["source"] for row in group)
    targets = in_order(row["target"] for row in group)
    top = part(title=None, orient="top", labelAngle=0) if sign == "positive" else None
    x = field("target:N", scale=part(domain=targets, padding=0.03), axis=top)
    y = field("source:N", scale=part(domain=sources, padding=0.03), axis=part(title=sign))
    value = field("value:Q", title=f"mean {sign} effect", format="+.3f")
    tooltip = ["source:N", "target:N", value, "interval:N"]
    color = field("value:Q", scale=diverging(limit), legend=None)
    layers = [unit(group, "rect", cornerRadius=2, color=color, tooltip=tooltip)]
    for ink in (ON_STRONG, ON_WEAK):
        if half := [row for row in group if inked(row["value"], limit) == ink]:
            layers.append(unit(half, "text", fontSize=11, color=ink, text="label:N"))
    return layer(
        *layers,
        encoding={"x": x, "y": y},
        width=56 * len(targets),
        height=32 * len(sources),
        resolve={"scale": {"color": "independent"}},
    )


def scale_trend(analysis: Analysis, _: object, title: str) -> Spec | None:
    """Averages model by model in size order; None with fewer than two models."""
    models = analysis.scale.models
    trends: dict[Quantity, Trend] = {q: getattr(analysis.scale, q) for q in QUANTITIES}
    panels = [
        _trend_panel(analysis, quantity, trend)
        for quantity, trend in trends.items()
        if any(math.isfinite(value) for value in [*trend.positive, *trend.negative])
    ]
    if len(models) < 2 or not panels:
        return None
    ends = [each for t in trends.values() for sign in SIGNS for each in t.steps.get(sign, [])]
    steps = [from_zero(interval) for interval in ends]
    floors = any(record.noise_floor for record in analysis.models.values())
    key = {
        "solid step: a change beyond noise": True in steps,
        "dashed step: may be no change": False in steps,
        "grey bars: averages without any transfer": floors,
    }
    words = " · ".join(text for text, there in key.items() if there)
    head = heading(title, "averages over tasks, with intervals", words)
    spec = beside(*panels, spacing=40, resolve={"scale": {"y": "shared"}}, title=head)
    names, trend = labels(analysis).models, trends["transferability"]
    values = "; ".join(
        f"{names.get(model, model)}: {signed(positive)} and {signed(negative)}"
        for model, positive, negative in zip(models, trend.positive, trend.negative, strict=True)
    )
    description = f"{title}. Average positive and negative transferability: {values}."
    return finish(spec, description)


def _trend_panel(analysis: Analysis, quantity: Quantity, trend: Trend) -> Spec:
    names = labels(analysis).models
    models = [names.get(model, clean(model)) for model in analysis.scale.models]
    angle = 0 if max(map(len, models)) < 14 else -30
    order = part(domain=models, paddingOuter=0.4)
    x = field("model:N", scale=order, axis=part(title=None, labelAngle=angle))
    measure = MEASURES[analysis.settings.measure]
    y = field("value:Q", axis=part(title=f"average {quantity}, {measure}"))
    layers = [zero_line(y=y)]
    floors: list[Spec] = [
        {"model": label, "value": getattr(getattr(record.noise_floor, quantity), sign)}
        for name, label in names.items()
        if (record := analysis.models[name]).noise_floor is not None
        for sign in SIGNS
    ]
    if floors := [row for row in floors if math.isfinite(row["value"])]:
        tick = part(color=RULE, orient="horizontal", size=44, thickness=3)
        tooltip = [field("value:Q", title="noise floor", format="+.3f")]
        layers.append(unit(floors, "tick", x=x, y=y, tooltip=tooltip, **tick))
    lines, rows = [], []
    for sign in SIGNS:
        steps = trend.steps.get(sign, [])
        points = _trend_rows(models, trend, sign)
        rows += points
        for at, (before, after) in enumerate(pairwise(points)):
            if before["place"] + 1 == after["place"]:
                place = before["place"]
                dashed = place < len(steps) and from_zero(steps[place]) is False
                step = {"step": f"{sign} {at}", "dash": "dashed" if dashed else "solid"}
                lines += [row | step for row in (before, after)]
    if lines:
        scale = part(domain=["solid", "dashed"], range=[[1, 0], [5, 4]])
        dash = field("dash:N", scale=scale, legend=None)
        look = part(strokeWidth=2, color=by_sign(), strokeDash=dash, detail="step:N")
        layers.append(unit(lines, "line", **look, x=x, y=y))
    if rows:
        layers += intervals(rows, color=by_sign(), strokeWidth=2.2, x=x, y="low:Q", y2="high:Q")
        mean = field("value:Q", title="average", format="+.3f")
        tooltip = ["model:N", "sign:N", mean, "interval:N"]
        dot = part(size=80, opacity=1)
        layers.append(unit(rows, "circle", color=by_sign(), x=x, y=y, tooltip=tooltip, **dot))
        layers += _trend_labels(rows, models, x, y)
    return layer(*layers, width=max(220, 110 * len(models)), height=280)


def _trend_rows(models: list[str], trend: Trend, sign: Sign) -> list[Spec]:
    unknown = [(math.nan, math.nan)] * len(models)
    values = zip(models, getattr(trend, sign), trend.ci.get(sign) or unknown, strict=True)
    return [
        {"model": model, "place": place, "sign": sign, "value": value}
        | interval_columns(interval)
        | {"label": signed(value)}
        for place, (model, value, interval) in enumerate(values)
        if math.isfinite(value)
    ]


def _trend_labels(rows: list[Spec], models: list[str], x: Spec, y: Spec) -> Iterable[Spec]:
    """Numbers beside the points, off the steps and the intervals."""
    outer = {models[0]: part(align="right", dx=-11, dy=0)}
    outer[models[-1]] = part(align="left", dx=11, dy=0)
    for row, after in zip(rows, [*rows[1:], rows[-1]], strict=True):
        rises = after["sign"] == row["sign"] and after["value"] > row["value"]
        at = outer.get(row["model"], part(align="left", dx=7, dy=13 if rises else -13))
        yield unit([row], "text", fontWeight=600, color=by_sign(), x=x, y=y, text="label:N", **at)
