"""What the study can show: smallest detectable effects, explained variance, and PGF's behavior."""

import math
from collections.abc import Iterable

from transferscope.analysis import Analysis
from transferscope.analysis.parts import Part
from transferscope.plots.composition import below, beside, finish, heading, layer
from transferscope.plots.labels import MEASURES, clean, labels
from transferscope.plots.numbers import known, percent, plain, signed
from transferscope.plots.theme import GRID, INK, MUTED, NEGATIVE, POSITIVE, RULE, SOFT
from transferscope.plots.vegalite import Spec, field, intervals, part, unit, zero_line

SHARES: dict[Part, str] = {
    "target": "which target",
    "source": "which source",
    "both": "both together",
}
CHANGES = (0.05, 0.10, 0.20, 0.40)
LOWEST = -2.0
"""Lower end of the drawing of PGF; PGF itself goes on to -(m - 1)."""


def power(analysis: Analysis, model: str, title: str) -> Spec | None:
    """The band of changes too small to detect for each target, and the measured changes."""
    names, measure = labels(analysis).long, MEASURES[analysis.settings.measure]
    entries = [each for each in analysis.power if each.model == model and each.target in names]
    entries = [each for each in entries if math.isfinite(each.smallest)]
    entries.sort(key=lambda each: each.smallest)
    if not entries:
        return None
    bands: list[Spec] = [
        {"target": names[each.target], "low": -100 * each.smallest, "high": 100 * each.smallest}
        | {"items": each.items, "seeds": each.seeds, "base": percent(each.base_accuracy)}
        | {"beside": f"{plain(each.smallest_pgf)} {measure}"}
        for each in entries
    ]
    dots: list[Spec] = [
        {"source": names[source], "target": names[each.target], "value": 100 * cell.change}
        | {"loud": 0 if abs(cell.change) < each.smallest else 1 if cell.change > 0 else -1}
        | {"beside": f"{signed(cell.mean)} {measure}"}
        for each in entries
        for source, row in analysis.models[model].pgf.items()
        if source != each.target
        and (cell := row.get(each.target)) is not None
        and math.isfinite(cell.change)
    ]
    widest = max([row["high"] for row in bands] + [abs(row["value"]) for row in dots]) * 1.04
    scale = part(domain=[-widest, widest], nice=False)
    targets = part(domain=[row["target"] for row in bands])
    y = field("target:N", scale=targets, axis=part(title=None, labelOverlap=False, labelPadding=9))
    x = field("low:Q", scale=scale, axis=part(title="points of accuracy", tickCount=7))
    smallest = field("high:Q", title="smallest detectable change, points", format=".1f")
    beside, base = field("beside:N", title="that is"), field("base:N", title="base accuracy")
    tooltip = ["target:N", smallest, beside, "items:Q", "seeds:Q", base]
    bar = part(color=GRID, cornerRadius=2, height={"band": 0.8})
    layers = [unit(bands, "bar", x=x, x2="high:Q", y=y, tooltip=tooltip, **bar)]
    layers.append(zero_line(x="value:Q"))
    for color, loud in ((MUTED, 0), (POSITIVE, 1), (NEGATIVE, -1)):  # the grey ones at the back
        if group := [row for row in dots if row["loud"] == loud]:
            change = field("value:Q", title="points", format="+.1f")
            dot = part(size=30, color=color, opacity=0.75 if loud else 0.45)
            tooltip = ["source:N", "target:N", change, beside]
            value = field("value:Q", scale=scale)
            layers.append(unit(group, "circle", x=value, y=y, tooltip=tooltip, **dot))
    head = heading(
        title,
        "grey band: changes too small to be seen (80% power)",
        "dots: the sources’ changes, grey where inside the band" if dots else "",
    )
    spec = layer(*layers, width=420, height=25 * len(entries), title=head)
    ends = (f"{b['high']:.1f} points, {b['beside']} ({b['target']})" for b in (bands[0], bands[-1]))
    return finish(spec, f"{title}: smallest detectable change from {' to '.join(ends)}.")


def decomposition(analysis: Analysis, _: object, title: str) -> Spec | None:
    """The share of the variance that targets and sources explain, in each model."""
    found: dict[str, list[Spec]] = {}
    unknown = (math.nan, math.nan)
    for model, label in labels(analysis).models.items():
        if (shares := analysis.decomposition.get(model)) is None:
            continue
        for name, words in SHARES.items():
            value, interval = getattr(shares, name), shares.ci.get(name, unknown)
            null = shares.no_transfer.get(name, unknown)
            if math.isfinite(value):
                row: Spec = {"part": words, "value": value, "label": percent(value)}
                row |= {"low": known(interval[0]), "high": known(interval[1])}
                row |= {"from": known(null[0]), "until": known(null[1])}
                row["interval"] = " to ".join(map(percent, interval))
                row["chance"] = " to ".join(map(percent, null))
                row["end"] = max(value, row["high"] or 0)
                found.setdefault(label, []).append(row)
    if not found:
        return None
    every = [row for rows in found.values() for row in rows]
    nulls = any(row["until"] for row in every)
    head = heading(
        title,
        "share of the variance between effects, without self-transfer",
        "dotted line: shares without any transfer" * nulls,
    )
    panels = [_share_panel(rows, model) for model, rows in found.items()]
    words = []
    for model, rows in found.items():
        for row in rows:
            without = f" (without any transfer {row['chance']})" if row["until"] else ""
            words.append(f"{model}, {row['part']}: {row['label']}{without}")
    return finish(beside(*panels, spacing=26, title=head), f"{title}. {'; '.join(words)}.")


def _share_panel(rows: list[Spec], model: str) -> Spec:
    parts = part(domain=list(SHARES.values()), padding=0.25)
    y = field("part:N", scale=parts, axis=part(title=None))
    axis = part(title=None, format=".0%", tickCount=5, labelFlush=False)
    x = field("value:Q", scale=part(domain=[0, 1]), axis=axis)
    titles = {"part": "explained by", "label": "share", "interval": "interval"}
    titles["chance"] = "without any transfer"
    tooltip = [field(f"{name}:N", title=each) for name, each in titles.items()]
    layers = [unit(rows, "bar", color=RULE, x=x, y=y, tooltip=tooltip)]
    layers += intervals(rows, color=SOFT, strokeWidth=1.8, x="low:Q", x2="high:Q", y=y)
    if nulls := [row for row in rows if row["until"]]:
        dots = part(color=INK, strokeWidth=2.5, strokeDash=[1.5, 3], yOffset=9)
        layers.append(unit(nulls, "rule", x="from:Q", x2="until:Q", y=y, **dots))
    text = part(align="left", dx=6, color=SOFT, text="label:N")
    layers.append(unit(rows, "text", x="end:Q", y=y, **text))
    head = part(text=model, fontSize=12, color=SOFT, offset=6)
    return layer(*layers, width=230, height=108, title=head)


def pgf_behavior(analysis: Analysis, _: object, title: str) -> Spec | None:
    """PGF over the base accuracy for fixed changes (the paper's Figure 9), and the bases."""
    if analysis.settings.measure != "pgf":
        return None
    ceiling = analysis.settings.ceiling if isinstance(analysis.settings.ceiling, float) else 1.0
    whole, (names, _, models) = part(domain=[0, 1], nice=False), labels(analysis)
    axis = part(title="accuracy before finetuning", format=".0%", tickCount=6, offset=27)
    x = field("base:Q", scale=whole, axis=axis)
    changes = [sign * change for change in CHANGES for sign in (1, -1)]
    curves = [each for change in changes for each in _curve(change, ceiling, x)]
    parts = [layer(zero_line(y="pgf:Q"), *curves, width=560, height=270)]
    bases = [
        {"model": label, "base": accuracy, "target": names.get(target, clean(target))}
        for name, label in models.items()
        for target, accuracy in analysis.models[name].base_accuracy.items()
        if math.isfinite(accuracy)
    ]
    if order := list(dict.fromkeys(row["model"] for row in bases)):
        base = field("base:Q", title="base accuracy", format=".0%")
        tooltip = ["model:N", "target:N", base]
        x = field("base:Q", scale=whole, axis=None)
        y = field("model:N", scale=part(domain=order), axis=part(title=None))
        look = part(color=MUTED, thickness=2, height=12)
        text = part(text="base accuracies of this study’s targets", fontSize=12)
        head = part(**text, fontWeight="normal", color=SOFT, offset=4)
        size = part(width=560, height=20 * len(order), title=head)
        parts.append(unit(bases, "tick", **look, x=x, y=y, tooltip=tooltip) | size)
    line = "each line: one change in accuracy, in points, over the base"
    head = heading(title, f"{line} (ceiling {percent(ceiling)})")
    spec = below(*parts, spacing=16, title=head)
    words = "lines for gains and losses of 5, 10, 20 and 40 points, over the base accuracy"
    return finish(spec, f"{title}: {words}.")


def _curve(change: float, ceiling: float, x: Spec) -> Iterable[Spec]:
    start = max(0.0, -change)
    end = ceiling - change if change > 0 else ceiling + change / abs(LOWEST)
    bases = [start + (end - start) * n / 80 for n in range(81)]
    rows = [{"base": base, "pgf": change / (ceiling - base)} for base in bases if base < ceiling]
    pgf = part(domain=[LOWEST, 1], nice=False)
    y = field("pgf:Q", scale=pgf, axis=part(title="PGF", tickCount=6))
    color = POSITIVE if change > 0 else NEGATIVE
    yield unit(rows, "line", color=color, strokeWidth=0.8 + 4 * abs(change), clip=True, x=x, y=y)
    # Neighboring ends are close to each other: the labels of losses alternate between two lines.
    second = CHANGES.index(abs(change)) % 2 == 0
    at = part(align="center", dx=0, dy=-9 if change > 0 else 22 if second else 10)
    if abs(change) == min(CHANGES):
        at |= part(align="left", dx=-1 if change > 0 else -4)
    ends = [{**rows[-1], "label": signed(100 * change, 0)}]
    yield unit(ends, "text", color=color, fontWeight=600, x=x, y=y, text="label:N", **at)
