"""Heatmaps: the effect of every source on every target, with the controls below the sources.

A filled cell is an effect beyond noise, a hollow one may be noise, a hatched one is unknown. A
frame marks a task on itself, a cut corner a cell whose answers collapsed to one option.

A heatmap holds its numbers in points, in the analysis's measure and as accuracies, and shows those
that its parameter `shown` names. Its parameters `row` and `column` frame a cell, or with `cross` a
task's row and column: the page sets them, and so can a notebook.
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.accuracies import Effect, base_accuracy, bases, scales
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.collapse import Answers
from transferscope.plots import composition as vl
from transferscope.plots import numbers, theme
from transferscope.plots.answer_bars import answer_words
from transferscope.plots.labels import MEASURES, control_label, counted, labels, row_label
from transferscope.plots.numbers import UNKNOWN
from transferscope.tasks.checkpoints import same_task

Cells = Mapping[str, Mapping[str, Effect]]
Shown = Literal["points", "effect", "accuracy"]
LARGE, NUMBER, SMALL = 44, 25, 11
"""Side of a cell in pixels: at most, the least that holds a number, and at least."""
WIDTH, HEIGHT = 600, 600
"""Pixels that cells fill at most: one screen with the tiles beside them, or both columns of a paper
with the names."""
FAINT = 0.1
"""Least end of the color scale: 10 points, or a tenth of the gap."""
ABREAST, SPACE = 3, 18
"""`heatmaps`: models in a row at most, and the gap between them."""
DETAILS = ("points_text", "effect_text", "accuracy_text", "accuracy", "on", "replies")
"""Columns that charts of many cells do without."""
GAP = " "
"""The empty row between sources and controls."""
STRONG = 2 / 3
"""Share of the scale from which on a cell is dark enough for light text."""
CORNER = "M0.35,-1L1,-1L1,-0.35Z"
HATCH = "M-1,-0.4L-0.4,-1M-1,0.3L0.3,-1M-1,1L1,-1M-0.3,1L1,-0.3M0.4,1L1,0.4"
IS_CHOSEN = (
    "cross ? (datum.i === row || datum.j === column) : (datum.i === row && datum.j === column)"
)
"""Whether a cell is framed, as a Vega expression."""


def bound(analysis: Analysis, shown: Shown = "effect") -> float:
    """The effect at which the colors of all heatmaps end, on both sides of 0.

    The scale covers 98 % of the effects, so that one extreme cell does not bleach the rest. It
    also ends at twice the median target's largest effect at most: a target with few errors has
    losses of many times its gap. Larger effects get the full color. It reaches `FAINT` at least:
    where nothing is large, nothing looks so.
    """
    sizes: dict[str, list[float]] = {}
    for model in analysis.models.values():
        for source, row in model.pgf.items():
            for target, cell in row.items():
                value = cell.mean if shown == "effect" else cell.change
                if not same_task(source, target) and math.isfinite(value):
                    sizes.setdefault(target, []).append(abs(value))
    if not sizes:
        return FAINT
    nearly = float(np.quantile([size for each in sizes.values() for size in each], 0.98))
    usual = 2 * float(np.median([max(each) for each in sizes.values()]))
    return theme.ceil_nice(max(min(nearly, usual), FAINT))


def in_points(analysis: Analysis) -> bool:
    """Whether any change of accuracy is known; tables of PGF alone have none."""
    rows = (row for model in analysis.models.values() for row in model.pgf.values())
    return any(math.isfinite(cell.change) for row in rows for cell in row.values())


def heatmap(
    analysis: Analysis,
    model: str,
    title: str,
    *,
    shown: Shown = "points",
    adjusted: bool = False,
) -> vl.Spec | None:
    """The effects of one model; with `adjusted`, the effects beyond the placebo's.

    Sources are rows, targets are columns, and each control has a row at the end.

    Args:
        shown: what cells show; where no accuracy is known, `effect`.
    """
    record = analysis.models[model]
    if adjusted and record.adjusted is None:
        return None
    cells: Cells = record.adjusted.cells if adjusted and record.adjusted else record.pgf
    rows = _rows(analysis, record, cells)
    if all(row["kind"] == "missing" for row in rows):
        return None
    controls = {name: each.targets for name, each in record.controls.items() if not adjusted}
    rows += _rows(analysis, record, controls, controls=True)
    down, across = (len({row[key] for row in rows}) for key in ("row", "target"))
    side = max(SMALL, min(LARGE, HEIGHT // (down + 1), WIDTH // across))
    return _finished(analysis, _panel(analysis, rows, side), title, {"": rows}, shown)


def heatmaps(analysis: Analysis, _: object, title: str) -> vl.Spec | None:
    """The effects of all models beside each other, in cells as large as fit; None for one model."""
    names, found = labels(analysis).models, {}
    for model, label in names.items():
        rows = _rows(analysis, analysis.models[model], analysis.models[model].pgf)
        if any(row["kind"] != "missing" for row in rows):
            found[label] = rows
    if len(found) < 2:
        return None
    columns, panels = len({row["target"] for row in next(iter(found.values()))}), []
    abreast = max(1, min(len(found), ABREAST, WIDTH // (SMALL * columns)))
    side = max(SMALL, min(LARGE, WIDTH // (abreast * columns)))
    for number, (label, rows) in enumerate(found.items()):
        panel = _panel(analysis, rows, side, legend=number == len(found) - 1)
        panel["title"] = vl.part(text=label, fontSize=12, color=theme.SOFT, offset=6)
        if number % abreast:
            panel["encoding"]["y"]["axis"] = None
        panels.append(panel)
    return _finished(analysis, vl.in_rows(panels, abreast, SPACE, SPACE), title, found, "points")


def _rows(
    analysis: Analysis, model: ModelAnalysis, cells: Cells, *, controls: bool = False
) -> list[vl.Spec]:
    """The data of each cell, of all sources or of the controls in `cells`."""
    names, rows = labels(analysis), []
    sources = [task.name for task in analysis.tasks if task.source]
    targets = [task.name for task in analysis.tasks if task.target]
    answers: Mapping[str, Mapping[str, Answers]] = {}
    if model.behaviour:
        answers = model.behaviour.controls if controls else model.behaviour.sources
    for i, source in enumerate(cells, len(sources)) if controls else enumerate(sources):
        label = control_label(source) if controls else names.long[source]
        for j, target in enumerate(targets):
            cell, replies = cells.get(source, {}).get(target), answers.get(source, {}).get(target)
            row: vl.Spec = {"i": i, "j": j, "source": label, "target": names.long[target]}
            row |= {"row": label if controls else row_label(source, names)}
            row |= {"brief": label.split(" ")[0] if controls else names.short[source]}
            row |= {"column": names.short[target]}
            row |= {"own": not controls and same_task(source, target)}
            row |= {"collapsed": replies is not None and bool(replies.collapsed)}
            row |= {"replies": answer_words(replies) if replies else UNKNOWN}
            rows.append(row | _numbers(analysis, model, (source, target), cell))
    return rows


def _numbers(
    analysis: Analysis, model: ModelAnalysis, pair: tuple[str, str], cell: Effect | None
) -> vl.Spec:
    """Values, and the texts of cells and of what is shown beside the pointer."""
    source, target = pair
    change, effect = _change(analysis, model, target, cell), math.nan if cell is None else cell.mean
    row: vl.Spec = {"points": change, "effect": effect}
    if cell is None or (math.isnan(change) and math.isnan(effect)):
        return row | {"kind": "missing", "change": "not measured"}
    # What is beyond a placebo is no accuracy: that is of the plain effect.
    plainly = model.pgf.get(source, {}).get(target, cell)
    base = base_accuracy(analysis, model, target, plainly)
    tuned = base + _change(analysis, model, target, plainly)
    clear = beyond_noise(cell, analysis.settings.alpha)
    unknown = "no interval" if model.basis == "none" else "not tested"
    verdict = {None: unknown, True: "beyond noise", False: "may be noise"}[clear]
    row["kind"] = "clear" if clear or verdict == "no interval" else "noise"
    row["points_text"] = numbers.plain(100 * change, 0) if math.isfinite(change) else ""
    row["effect_text"] = numbers.plain(effect) if math.isfinite(effect) else ""
    row["accuracy_text"] = f"{100 * tuned:.0f}" if math.isfinite(tuned) else ""
    row["change"] = numbers.points(change) or UNKNOWN
    if ends := numbers.points_between(getattr(cell, "change_ci", (math.nan, math.nan)), change):
        row["change"] += f" ({ends})"
    measured, _ = numbers.with_measure(analysis, math.nan, effect)
    row["measured"] = f"{measured} ({numbers.between(cell.ci)})"
    row["accuracy"] = f"{numbers.percent(base)} → {numbers.percent(tuned)}"
    if isinstance(cell, Cell):
        if math.isfinite(cell.q_value):
            verdict += f" (q {numbers.chance(cell.q_value)})"
        items = f"{cell.n:.4g} items, " if cell.n is not None else ""
        seeds = len(bases(analysis, model, target, cell))
        seeds = seeds or sum(map(math.isfinite, cell.seeds.values()))
        row["on"] = items + counted(seeds, "seed")
        row["on"] += ": too few items for averages" * bool(cell.left_out)
    return row | {"verdict": verdict}


def _change(analysis: Analysis, model: ModelAnalysis, target: str, cell: Effect | None) -> float:
    """The change of accuracy; a control's is known seed by seed."""
    change: float = getattr(cell, "change", math.nan)
    if cell is None or math.isfinite(change):
        return change
    scale = scales(analysis, model, target, cell)
    found = [value * scale[s] for s, value in cell.seeds.items() if s in scale]
    return sum(found) / len(found) if found else math.nan


def _panel(analysis: Analysis, rows: list[vl.Spec], side: int, *, legend: bool = True) -> vl.Spec:
    """One model's cells with their axes."""
    if side < NUMBER:  # many: without numbers in them, and with less to read beside the pointer
        rows = [{key: each for key, each in row.items() if key not in DETAILS} for row in rows]
    across, down = (list(dict.fromkeys(row[key] for row in rows)) for key in ("column", "row"))
    if (last := sum(task.source for task in analysis.tasks)) < len(down):
        down.insert(last, GAP)
    gap = vl.part(paddingInner=0.08, paddingOuter=0.04)
    top = vl.part(title="evaluated on", orient="top", labelOverlap=False, labelLimit=110)
    top["labelAngle"] = 0 if max(map(len, across)) <= 3 and side > 20 else -90
    left = vl.part(title="finetuned on", labelOverlap=False, labelLimit=220)
    x = vl.field("column:N", scale=vl.part(domain=across, **gap), axis=top)
    y = vl.field("row:N", scale=vl.part(domain=down, **gap), axis=left)
    top, most = bound(analysis, "points"), bound(analysis)
    text = f"shown === 'effect' ? format(datum.value * {most}, '.2~f') : "
    text += f"format(datum.value * {100 * top:g}, datum.value ? '+.3~f' : 'd')"
    colors = vl.part(title=None, type="gradient", orient="bottom", gradientThickness=9)
    colors |= vl.part(gradientLength=min(240, side * 8), labelExpr=text)
    colors |= vl.part(values=[-1, -0.5, 0, 0.5, 1])
    return {
        "data": {"values": rows},
        "transform": [
            {"calculate": "datum[shown === 'accuracy' ? 'points' : shown]", "as": "value"},
            {"calculate": f"datum.value / (shown === 'effect' ? {most} : {top})", "as": "part"},
            {"calculate": "datum[shown + '_text']", "as": "label"},
        ],
        "encoding": {"x": x, "y": y},
        "layer": _layers(side, colors if legend else None, MEASURES[analysis.settings.measure]),
        "width": {"step": side},
        "height": {"step": side},
        "resolve": {"legend": {"fill": "independent", "stroke": "independent"}},
    }


def _layers(side: int, legend: vl.Spec | None, measure: str) -> list[vl.Spec]:
    """Cells beyond noise, cells that may be noise, unknown cells, numbers, frames and corners."""

    def drawn(when: str, kind: str, **options: object) -> vl.Spec:
        return {"transform": [{"filter": when}] if when else [], **vl.mark(kind, **options)}

    stops = [-1, -STRONG, -STRONG / 2, 0, STRONG / 2, STRONG, 1]
    scale = vl.part(domain=stops, range=list(theme.DIVERGING), clamp=True, interpolate="lab")
    color = vl.field("part:Q", scale=scale, legend=legend)
    shown = ("source|finetuned on", "target|evaluated on", "change|change", f"measured|{measure}")
    shown += ("accuracy|accuracy", "verdict|verdict", "on|on", "replies|replies")
    many = side < NUMBER
    tips = vl.tips(*(each for each in shown if not many or each.partition("|")[0] not in DETAILS))
    there, corners, width = "isValid(datum.value)", side / 10, max(1.2, side / 20)
    ring = vl.part(filled=False, cornerRadius=corners)
    inset = ring | vl.part(width={"band": 0.92}, height={"band": 0.92})
    dark = {"test": f"datum.kind === 'clear' && abs(datum.part) > {STRONG:.3f}"}
    pale = {"test": "datum.kind === 'noise'", "value": theme.SOFT}
    ink = vl.part(condition=[dark | {"value": theme.ON_STRONG}, pale], value=theme.ON_WEAK)
    filled = vl.part(fill=color, tooltip=tips, cornerRadius=corners)
    hollow = vl.part(stroke={**color, "legend": None}, tooltip=tips, fill=theme.PAPER)
    blank = vl.part(tooltip=tips[:3], color=theme.SHADE, cornerRadius=corners)
    hatch = vl.part(shape=HATCH, size=(side * 0.7) ** 2, color=theme.RULE, filled=False)
    # A cell too small for a number has a minus for a harm beyond noise: colors may look alike.
    few = "datum.kind === 'clear' && datum.value < 0" if many else there
    label = {"value": "−"} if many else "label:N"
    corner = vl.part(shape=CORNER, size=(side * 0.9) ** 2, filled=True, fill=theme.INK)
    return [
        drawn(f"{there} && datum.kind === 'clear'", "rect", **filled),
        drawn(f"{there} && datum.kind === 'noise'", "rect", **hollow, **inset, strokeWidth=width),
        drawn(f"!{there}", "rect", **blank),
        drawn(f"!{there}", "point", **hatch, strokeWidth=1),
        drawn(few, "text", text=label, color=ink, fontSize=12 if side > 34 else 11),
        drawn("datum.own", "rect", **inset, stroke=theme.INK, strokeWidth=width * 0.9),
        drawn("datum.collapsed", "point", **corner, stroke=theme.PAPER, opacity=1, strokeWidth=1),
        drawn(IS_CHOSEN, "rect", **ring, stroke=theme.CHOSEN, strokeWidth=2.5),
    ]


def _finished(
    analysis: Analysis, spec: vl.Spec, title: str, models: Mapping[str, list[vl.Spec]], shown: Shown
) -> vl.Spec:
    """The figure with its parameters, the kinds of cells that occur, and what it shows in words."""
    if not in_points(analysis):
        shown = "effect"
    params = {"shown": shown, "row": -1, "column": -1, "cross": False}
    spec["params"] = [{"name": name, "value": value} for name, value in params.items()]
    every = [(model, row) for model, rows in models.items() for row in rows]
    measured = [(model, row) for model, row in every if row["kind"] != "missing"]
    noise = any(row["kind"] == "noise" for _, row in every)
    key = {
        "filled: beyond noise": noise,
        "hollow: may be noise, or not tested": noise,
        "hatched: not measured": len(measured) < len(every),
        "framed: a task on itself": any(row["own"] for _, row in every),
    }
    units = {"points": "points of accuracy", "accuracy": "accuracy, %, in the colors of points"}
    in_accuracy = any(math.isfinite(row["points"]) for _, row in measured)
    size, words = ("points", "change") if in_accuracy else ("effect", "measured")
    order = [(model, row) for model, row in measured if math.isfinite(row[size])]
    order.sort(key=lambda each: each[1][size])
    largest, smallest = (
        f"{f'{model}, ' * bool(model)}{row['source']} on {row['target']}, "
        + row[words].split(" (")[0]
        for model, row in (order[-1], order[0])
    )
    clear = sum(row["kind"] == "clear" for _, row in measured)
    return vl.finish(
        spec,
        title,
        f"{units.get(shown, MEASURES[analysis.settings.measure])}; blue helped, orange harmed",
        " · ".join(word for word, there in key.items() if there),
        "cut corner: one option for nearly every item, no transfer"
        * any(row["collapsed"] for _, row in every),
        description=f"{title}: heatmap of {counted(len(every), 'cell')}, {len(measured):,} "
        f"measured, {clear:,} drawn as beyond noise. Largest: {largest}. Smallest: {smallest}.",
    )
