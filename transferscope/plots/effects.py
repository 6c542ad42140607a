"""One task at a time: how much it gives or takes, its persona, and what could have been detected.

In:   an `Analysis`.
Out:  Vega-Lite specifications.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from transferscope.analysis import Analysis, Power, Sign, TaskEffect
from transferscope.plots.labels import MEASURES, Labels, between, counted, known, percent, signed
from transferscope.plots.theme import GRID, INK, MUTED, NEGATIVE, POSITIVE, RULE, SOFT
from transferscope.plots.vegalite import (
    Spec,
    axis,
    beside,
    field,
    finish,
    heading,
    layer,
    mark,
    part,
    unit,
)

Quantity = Literal["transferability", "malleability"]
SIGNS: tuple[Sign, Sign] = ("positive", "negative")
ROW = 25


def task_effects(
    analysis: Analysis, model: str, quantity: Quantity, title: str, names: Labels
) -> Spec | None:
    """Positive and negative part of each task with intervals, and what is typical of the model."""
    record = analysis.models[model]
    effects: dict[str, TaskEffect] = getattr(record, quantity)
    points = [row for task, effect in effects.items() for row in _points(names.long[task], effect)]
    if not points:
        return None
    order = sorted(effects, key=lambda task: -(known(effects[task].positive.mean) or -1e9))
    domain = [names.long[task] for task in order]
    y = field("task:N", scale=part(domain=domain), axis=axis(labelOverlap=False))
    ends = _range(analysis, quantity)
    x = field(
        "value:Q",
        scale=part(domain=ends),
        axis=axis(f"{quantity}, {MEASURES[analysis.settings.measure]}", values=_ticks(*ends)),
    )
    missing = [{"task": task, "label": "not measured", "value": 0} for task in domain]
    measured = {row["task"] for row in points}
    missing = [row for row in missing if row["task"] not in measured]
    layers = [_zero(), *_lines(analysis, model, quantity), *_marks(points, x, y)]
    if missing:
        text = mark("text", align="left", dx=6, color=MUTED)
        layers.append(unit(missing, text, x=x, y=y, text="label:N"))
    role = "on the other tasks" if quantity == "transferability" else "from the other tasks"
    spec = layer(
        *layers,
        width=330,
        height=ROW * len(domain),
        title=heading(title, f"effect {role}; helpful in blue, harmful in orange", _key(points)),
    )
    best = names.long[order[0]]
    mean = signed(effects[order[0]].positive.mean)
    says = f"{title}: {counted(len(domain), 'task')}; highest positive {best}, {mean}."
    return finish(spec, says)


def _points(task: str, effect: TaskEffect) -> list[Spec]:
    rows = []
    for sign in SIGNS:
        estimate = getattr(effect, sign)
        if not math.isfinite(estimate.mean):
            continue
        breadth = getattr(effect, f"breadth_{sign}")
        rows.append(
            {
                "task": task,
                "sign": sign,
                "value": estimate.mean,
                "low": known(estimate.ci[0]),
                "high": known(estimate.ci[1]),
                "interval": between(estimate.ci),
                "breadth": percent(breadth),
                "seeds": [value for value in estimate.seeds.values() if math.isfinite(value)],
            }
        )
    return rows


def _range(analysis: Analysis, quantity: Quantity) -> list[float]:
    """One scale for all models, so that their figures compare."""
    ends = [0.0]
    for model in analysis.models.values():
        for effect in getattr(model, quantity).values():
            for sign in SIGNS:
                estimate = getattr(effect, sign)
                ends += [estimate.mean, *estimate.ci, *estimate.seeds.values()]
    ends = [end for end in ends if math.isfinite(end)]
    low, high = min(ends), max(ends)
    margin = 0.04 * (high - low) or 0.01
    return [low - margin, high + margin]


def _ticks(low: float, high: float) -> list[float]:
    """At most four round values, 0 among them: an axis that drops labels may drop that one."""
    power = math.floor(math.log10(high - low)) - 1
    steps = (round(step * 10.0**power, 12) for step in (1, 2, 5, 10, 20, 50))
    for step in steps:
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < 4:
            return [round(step * each, 12) for each in range(first, last + 1)]
    raise AssertionError("no step is large enough")


def _zero() -> Spec:
    return unit([{"value": 0}], mark("rule", color=RULE), x="value:Q")


def _lines(analysis: Analysis, model: str, quantity: Quantity) -> list[Spec]:
    """The model's averages and what they would be without any transfer."""
    record = analysis.models[model]
    average = getattr(record.average, quantity)
    kinds = [("average of the model", average)]
    if record.noise_floor is not None:
        kinds.append(("average if there were no transfer", getattr(record.noise_floor, quantity)))
    rows = [
        {"line": name, "value": getattr(each, sign)}
        for name, each in kinds
        for sign in SIGNS
        if math.isfinite(getattr(each, sign))
    ]
    if not rows:
        return []
    dash = field(
        "line:N",
        scale=part(domain=[name for name, _ in kinds], range=[[1, 0], [4, 3]][: len(kinds)]),
        legend=part(
            title=None, orient="bottom", columns=1, symbolStrokeColor=MUTED, labelLimit=260
        ),
    )
    rule = mark("rule", color=MUTED, strokeWidth=1.1)
    tooltip = [field("line:N"), field("value:Q", format="+.3f")]
    return [unit(rows, rule, x="value:Q", strokeDash=dash, tooltip=tooltip)]


def _marks(points: list[Spec], x: Spec, y: Spec) -> list[Spec]:
    layers = []
    for sign, colour in zip(SIGNS, (POSITIVE, NEGATIVE), strict=True):
        group = [row for row in points if row["sign"] == sign]
        if not group:
            continue
        seeds = [
            {"task": row["task"], "value": value}
            for row in group
            for value in row["seeds"]
            if len(row["seeds"]) > 1
        ]
        if seeds:
            stroke = mark(
                "point",
                shape="stroke",
                angle=90,
                size=130,
                color=colour,
                opacity=0.5,
                strokeWidth=1.2,
            )
            layers.append(unit(seeds, stroke, x=x, y=y))
        bars = [row for row in group if row["low"] is not None]
        if bars:
            rule = mark("rule", color=colour, strokeWidth=1.8)
            layers.append(unit(_plain(bars), rule, x="low:Q", x2="high:Q", y=y))
        tooltip = [
            field("task:N"),
            field("value:Q", title=sign, format="+.3f"),
            field("interval:N"),
            field("breadth:N", title=f"share of effects that are {sign}"),
        ]
        dot = mark("circle", size=62, color=colour, opacity=1)
        layers.append(unit(_plain(group), dot, x=x, y=y, tooltip=tooltip))
    return layers


def _plain(rows: Sequence[Mapping[str, Any]]) -> list[Spec]:
    return [{key: value for key, value in row.items() if key != "seeds"} for row in rows]


def _key(points: list[Spec]) -> str:
    parts = ["dot: mean"]
    if any(row["low"] is not None for row in points):
        parts.append("line: interval")
    if any(len(row["seeds"]) > 1 for row in points):
        parts.append("short strokes: single seeds")
    return " · ".join(parts)


def power(analysis: Analysis, model: str, title: str, names: Labels) -> Spec | None:
    """The band of effects too small to detect for each target, and the measured effects."""
    entries = [
        each
        for each in analysis.power
        if each.model == model and math.isfinite(each.smallest_pgf) and each.target in names.long
    ]
    if not entries:
        return None
    entries.sort(key=lambda each: each.smallest_pgf)
    dots = _measured(analysis, model, entries, names)
    widest = max([each.smallest_pgf for each in entries] + [abs(row["value"]) for row in dots])
    limit = min(1.0, widest * 1.04)
    y = field(
        "target:N",
        scale=part(domain=[names.long[each.target] for each in entries]),
        axis=axis(labelOverlap=False, labelPadding=9),
    )
    scale = part(domain=[-limit, limit], clamp=True, nice=False)
    layers = [_bands(entries, names, y, scale), _zero()]
    for colour, loud in ((MUTED, 0), (POSITIVE, 1), (NEGATIVE, -1)):
        group = [row for row in dots if row["loud"] == loud]
        if group:
            opacity = 0.75 if loud else 0.45
            dot = mark("circle", size=30, color=colour, opacity=opacity)
            tooltip = ["source:N", "target:N", field("value:Q", title="PGF", format="+.3f")]
            layers.append(unit(group, dot, x=field("value:Q", scale=scale), y=y, tooltip=tooltip))
    edge = "; effects beyond the edge stand on it" if widest * 1.04 > limit else ""
    beyond = f"dots: effects of the sources, grey where inside the band{edge}" if dots else ""
    spec = layer(
        *layers,
        width=420,
        height=ROW * len(entries),
        title=heading(title, "grey band: effects too small to be seen (80% power)", beyond),
    )
    says = (
        f"{title}: smallest detectable PGF from {signed(entries[0].smallest_pgf)} "
        f"({names.long[entries[0].target]}) to {signed(entries[-1].smallest_pgf)} "
        f"({names.long[entries[-1].target]})."
    )
    return finish(spec, says)


def _bands(entries: list[Power], names: Labels, y: Spec, scale: Spec) -> Spec:
    rows = [
        {
            "target": names.long[each.target],
            "low": -each.smallest_pgf,
            "high": each.smallest_pgf,
            "items": each.items,
            "seeds": each.seeds,
            "base": percent(each.base_accuracy),
        }
        for each in entries
    ]
    return unit(
        rows,
        mark("bar", color=GRID, cornerRadius=2, height={"band": 0.8}),
        x=field("low:Q", scale=scale, axis=axis("PGF", tickCount=7)),
        x2="high:Q",
        y=y,
        tooltip=[
            "target:N",
            field("high:Q", title="smallest detectable PGF", format=".3f"),
            "items:Q",
            "seeds:Q",
            field("base:N", title="base accuracy"),
        ],
    )


def _measured(analysis: Analysis, model: str, entries: list[Power], names: Labels) -> list[Spec]:
    """The study's own effects on each target; none where they are not PGF."""
    if analysis.settings.measure != "pgf":
        return []
    rows = []
    for each in entries:
        for source, row in analysis.models[model].pgf.items():
            cell = row.get(each.target)
            if cell is None or source == each.target or not math.isfinite(cell.mean):
                continue
            loud = 0 if abs(cell.mean) < each.smallest_pgf else 1 if cell.mean > 0 else -1
            rows.append(
                {
                    "source": names.long[source],
                    "target": names.long[each.target],
                    "value": cell.mean,
                    "loud": loud,
                }
            )
    return rows


def decomposition(analysis: Analysis, model_names: dict[str, str], title: str) -> Spec | None:
    """How much of the effects the tasks explain one by one, in each model."""
    parts: tuple[tuple[Literal["target", "source", "both"], str], ...] = (
        ("target", "which target"),
        ("source", "which source"),
        ("both", "both together"),
    )
    rows = []
    for model, shares in analysis.decomposition.items():
        for name, words in parts:
            value, interval = getattr(shares, name), shares.ci.get(name, (math.nan, math.nan))
            chance = shares.no_transfer.get(name, (math.nan, math.nan))
            if math.isfinite(value) and model in model_names:
                rows.append(
                    {
                        "model": model_names[model],
                        "part": words,
                        "value": value,
                        "label": percent(value),
                        "low": known(interval[0]),
                        "high": known(interval[1]),
                        "interval": " to ".join(map(percent, interval)),
                        "from": known(chance[0]),
                        "until": known(chance[1]),
                        "chance": " to ".join(map(percent, chance)),
                    }
                )
    if not rows:
        return None
    shown = list(dict.fromkeys(row["model"] for row in rows))
    panels = [
        _share_panel([row for row in rows if row["model"] == model], model, [w for _, w in parts])
        for model in shown
    ]
    spec = beside(
        *panels,
        spacing=26,
        title=heading(
            title,
            "share of the variance between effects, self-transfer left out",
            "dotted line: what no transfer would give" if any(row["until"] for row in rows) else "",
        ),
    )
    says = "; ".join(f"{row['model']}, {row['part']}: {_share(row)}" for row in rows)
    return finish(spec, f"{title}. {says}.")


def _share(row: Spec) -> str:
    without = f" (no transfer would give {row['chance']})" if row["until"] else ""
    return f"{row['label']}{without}"


def _share_panel(rows: list[Spec], model: str, order: list[str]) -> Spec:
    y = field("part:N", scale=part(domain=order, padding=0.25), axis=axis())
    x = field(
        "value:Q",
        scale=part(domain=[0, 1]),
        axis=axis(format=".0%", tickCount=5, labelFlush=False),
    )
    tooltip = [
        field("part:N", title="explained by"),
        field("label:N", title="share"),
        field("interval:N"),
        field("chance:N", title="no transfer would give"),
    ]
    layers = [unit(rows, mark("bar", color=RULE), x=x, y=y, tooltip=tooltip)]
    bars = [row for row in rows if None not in (row["low"], row["high"])]
    if bars:
        rule = mark("rule", color=SOFT, strokeWidth=1.8)
        layers.append(unit(bars, rule, x="low:Q", x2="high:Q", y=y))
    nulls = [row for row in rows if row["until"]]
    if nulls:
        dots = mark("rule", color=INK, strokeWidth=2.5, strokeDash=[1.5, 3], yOffset=9)
        layers.append(unit(nulls, dots, x="from:Q", x2="until:Q", y=y))
    ends = [{**row, "end": max(row["value"], row["high"] or 0)} for row in rows]
    text = mark("text", align="left", dx=6, color=SOFT)
    layers.append(unit(ends, text, x="end:Q", y=y, text="label:N"))
    head = part(text=model, fontSize=12, color=SOFT, offset=6)
    return layer(*layers, width=230, height=108, title=head)
