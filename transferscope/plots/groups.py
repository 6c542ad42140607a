"""Heatmaps from group to group of tasks: the mean effects between categories.

In:   an `Analysis`.
Out:  a Vega-Lite specification.
"""

import math

from transferscope.analysis import Analysis, CategoryAxis, Sign
from transferscope.plots.labels import between, in_order, plain
from transferscope.plots.theme import DIVERGING, ON_STRONG, ON_WEAK, SOFT, ceil_nice, inked, stops
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
    ends = [
        f"{label}, {word} {row['source']} on {row['target']} {row['label']}"
        for label, group in rows.items()
        for word, pick in (("highest", max), ("lowest", min))
        if group
        for row in [pick(group, key=lambda each: each["value"])]
    ]
    says = f"mean positive and mean negative effects for each model; {'; '.join(ends)}."
    return finish(spec, f"{title}: {says}")


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
    shades = part(domain=stops(limit), range=list(DIVERGING), interpolate="lab")
    colour = field("value:Q", scale=shades, legend=None)
    layers = [unit(group, mark("rect", cornerRadius=2), color=colour, tooltip=tooltip)]
    for ink in (ON_STRONG, ON_WEAK):
        if half := [row for row in group if inked(row["value"], limit) == ink]:
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
