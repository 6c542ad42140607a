"""What the study can show: smallest detectable effects, explained variance, and PGF's behavior."""

import math

import numpy as np

from transferscope.analysis import Analysis
from transferscope.analysis.parts import Part
from transferscope.plots import composition as vl
from transferscope.plots import theme
from transferscope.plots.labels import MEASURES, clean, labels
from transferscope.plots.numbers import percent, plain, signed

SHARES: dict[Part, str] = {
    "target": "which target",
    "source": "which source",
    "both": "both together",
}
CHANGES = (0.05, 0.10, 0.20, 0.40)
LOWEST = -2.0
"""Lower end of the drawing of PGF; PGF itself goes on to -(m - 1)."""


def power(analysis: Analysis, model: str, title: str) -> vl.Spec | None:
    """The band of changes too small to detect for each target, and the measured changes."""
    names, measure = labels(analysis).long, MEASURES[analysis.settings.measure]
    entries = [each for each in analysis.power if each.model == model and each.target in names]
    entries = [each for each in entries if math.isfinite(each.smallest)]
    entries.sort(key=lambda each: each.smallest)
    if not entries:
        return None
    bands: list[vl.Spec] = [
        {"target": names[each.target], "low": -100 * each.smallest, "high": 100 * each.smallest}
        | {"items": each.items, "seeds": each.seeds, "base": percent(each.base_accuracy)}
        | {"beside": f"{plain(each.smallest_pgf)} {measure}"}
        for each in entries
    ]
    changes: list[vl.Spec] = [
        {"source": names[source], "target": names[each.target], "value": 100 * cell.change}
        | {"sign": "positive" if cell.change > 0 else "negative"}
        | ({"sign": "other"} if abs(cell.change) < each.smallest else {})
        | {"beside": f"{signed(cell.mean)} {measure}"}
        for each in entries
        for source, row in analysis.models[model].pgf.items()
        if source != each.target and (cell := row.get(each.target))
        if math.isfinite(cell.change)
    ]
    widest = max([row["high"] for row in bands] + [abs(row["value"]) for row in changes]) * 1.04
    x = vl.value_axis("value", "points of accuracy", [-widest, widest])
    y = vl.name_axis("target", (row["target"] for row in bands))
    tooltip = vl.tips("target", "high|smallest detectable change, points|.1f", "beside|that is")
    tooltip += vl.tips("items", "seeds", "base|base accuracy")
    bar = vl.part(color=theme.GRID, cornerRadius=2, height={"band": 0.95}, tooltip=tooltip)
    layers = [vl.unit(bands, "bar", x=x | {"field": "low"}, x2="high:Q", y=y, **bar)]
    layers.append(vl.zero_line(x=x))
    lines = ["Grey band: changes of accuracy that such a study misses at least one time in five."]
    if changes:
        tooltip = vl.tips("source", "target", "value|points|+.1f", "beside|that is")
        dot = vl.part(size=28, opacity=0.65, color=vl.by_sign(), tooltip=tooltip)
        layers.append(vl.unit(changes, "circle", x=x, y=y, **dot))
        lines.append("Dots: the sources’ changes, grey inside the band, where absence of evidence")
        lines.append("is not evidence of absence.")
    return vl.finish(vl.layer(*layers, width=240, height=21 * len(entries)), title, *lines)


def decomposition(analysis: Analysis, _: object, title: str) -> vl.Spec | None:
    """The share of the variance that targets and sources explain, in each model."""
    panels, unknown = [], (math.nan, math.nan)
    y = vl.name_axis("part", SHARES.values())
    x = vl.value_axis("value", None, [0, 1], format=".0%", labelFlush=False)
    tooltip = vl.tips("part|explained by", "label|share", "interval")
    tooltip += vl.tips("chance|without any transfer")
    dotted = vl.part(color=theme.INK, strokeWidth=2.5, strokeDash=[1.5, 3], yOffset=9)
    text = vl.part(align="left", dx=6, color=theme.SOFT, text="label:N")
    for model, label in labels(analysis).models.items():
        if (shares := analysis.decomposition.get(model)) is None:
            continue
        rows = []
        for name, words in SHARES.items():
            value, ends = getattr(shares, name), shares.ci.get(name, unknown)
            null = shares.no_transfer.get(name, unknown)
            row: vl.Spec = {"part": words, "value": value, "label": percent(value), "sign": "other"}
            row |= {"low": ends[0], "high": ends[1], "from": null[0], "until": null[1]}
            row |= {"interval": " to ".join(map(percent, ends)), "end": np.fmax(value, ends[1])}
            rows += [row | {"chance": " to ".join(map(percent, null))}] * math.isfinite(value)
        layers = [vl.unit(rows, "bar", color=theme.RULE, x=x, y=y, tooltip=tooltip)]
        layers += vl.intervals(rows, x=x | {"field": "low"}, x2="high:Q", y=y)
        if nulls := [row for row in rows if row["until"] > 0]:
            at = x | {"field": "from"}
            layers.append(vl.unit(nulls, "rule", x=at, x2="until:Q", y=y, **dotted))
        layers.append(vl.unit(rows, "text", x=x | {"field": "end"}, y=y, **text))
        panel = vl.layer(*layers, width=150, height=100, title=vl.panel_title(label))
        panels += [panel] if rows else []
    if not panels:
        return None
    return vl.finish(
        vl.in_rows(panels, 3, 26, 20),
        title,
        "Share of the variance between effects, without self-transfer; the rest is the pair’s.",
        "Dotted: shares without any transfer, as a base’s luck is in all effects on its target.",
    )


def pgf_behavior(analysis: Analysis, _: object, title: str) -> vl.Spec | None:
    """PGF over the base accuracy for fixed changes (the paper's Figure 9), and the bases."""
    if analysis.settings.measure != "pgf":
        return None
    ceiling = analysis.settings.ceiling if isinstance(analysis.settings.ceiling, float) else 1.0
    lines, ends = [], []
    for change in (sign * change for change in CHANGES for sign in (1, -1)):
        row: vl.Spec = {"change": change, "sign": "positive" if change > 0 else "negative"}
        start, end = max(0.0, -change), ceiling - change if change > 0 else ceiling + change / 2
        places = (start + (end - start) * n / 80 for n in range(81))
        lines += [row | {"base": b, "pgf": change / (ceiling - b)} for b in places if b < ceiling]
        # Neighboring ends are close to each other: their labels stand in two lines.
        away = 0.28 if abs(change) in CHANGES[::2] else 0.12
        at = {"base": end, "pgf": 1 + away if change > 0 else LOWEST - away}
        ends.append(row | at | {"label": signed(100 * change, 0)})
    x = vl.value_axis("base", "accuracy before finetuning", [0, 1], format=".0%", offset=30)
    y = vl.value_axis("pgf", "PGF", [LOWEST, 1])
    look = vl.part(color=vl.by_sign(), strokeWidth=2, detail="change:N")
    text = vl.part(color=vl.by_sign(), fontWeight=600, text="label:N")
    curves = vl.unit(lines, "line", x=x, y=y, **look), vl.unit(ends, "text", x=x, y=y, **text)
    parts = [vl.layer(vl.zero_line(y=y), *curves, width=320, height=220)]
    names, models = labels(analysis).long, labels(analysis).models
    bases: list[vl.Spec] = [
        {"model": label, "base": accuracy, "target": names.get(target, clean(target))}
        for name, label in models.items()
        for target, accuracy in analysis.models[name].base_accuracy.items()
        if math.isfinite(accuracy)
    ]
    if order := list(dict.fromkeys(row["model"] for row in bases)):
        tooltip = vl.tips("model", "target", "base|base accuracy|.0%")
        y = vl.name_axis("model", order)
        ticks = vl.unit(
            bases, "tick", color=theme.MUTED, x=x | {"axis": None}, y=y, tooltip=tooltip
        )
        head = vl.panel_title("base accuracies of this study’s targets")
        parts.append(ticks | vl.part(width=320, height=20 * len(order), title=head))
    return vl.finish(
        vl.part(vconcat=parts, spacing=16),
        title,
        f"Each line: a change in accuracy, in points, over the base (ceiling {percent(ceiling)}).",
        "It counts for more near the ceiling. Gains end at 1; losses do not end at −1.",
    )
