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
from transferscope.plots.answer_bars import answer_words
from transferscope.plots.labels import MEASURES, control_label, counted, labels, row_label
from transferscope.plots.numbers import (
    UNKNOWN,
    between,
    chance,
    known,
    percent,
    plain,
    points,
    points_between,
    with_measure,
)
from transferscope.plots.theme import (
    CHOSEN,
    DIVERGING,
    INK,
    ON_STRONG,
    ON_WEAK,
    PAPER,
    RULE,
    SHADE,
    SOFT,
    ceil_nice,
)
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
DIGITS = 5
"""Decimals of a value, which the page holds thousands of."""
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
    return ceil_nice(max(min(nearly, usual), FAINT))


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
    spec = _panel(analysis, rows, side)
    spec |= _params(analysis, shown) | {"title": vl.heading(title, *_key(analysis, rows, shown))}
    return vl.finish(spec, _description(title, {"": rows}))


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
        panel["title"] = vl.part(text=label, fontSize=12, color=SOFT, offset=6)
        if number % abreast:
            panel["encoding"]["y"]["axis"] = None
        panels.append(panel)
    every = [row for rows in found.values() for row in rows]
    head = vl.heading(title, *_key(analysis, every, "points"))
    spec = vl.in_rows(panels, abreast, SPACE, SPACE, title=head) | _params(analysis, "points")
    return vl.finish(spec, _description(title, found))


def _params(analysis: Analysis, shown: Shown) -> vl.Spec:
    if not in_points(analysis):
        shown = "effect"
    params = {"shown": shown, "row": -1, "column": -1, "cross": False}
    return {"params": [{"name": name, "value": value} for name, value in params.items()]}


def _rows(
    analysis: Analysis, model: ModelAnalysis, cells: Cells, *, controls: bool = False
) -> list[vl.Spec]:
    """The data of each cell, of all sources or of the controls in `cells`."""
    names, rows = labels(analysis), []
    sources = list(cells) if controls else [task.name for task in analysis.tasks if task.source]
    targets = [task.name for task in analysis.tasks if task.target]
    answers: Mapping[str, Mapping[str, Answers]] = {}
    if model.behaviour:
        answers = model.behaviour.controls if controls else model.behaviour.sources
    first = sum(task.source for task in analysis.tasks) if controls else 0
    for i, source in enumerate(sources, first):
        label = control_label(source) if controls else names.long[source]
        for j, target in enumerate(targets):
            cell, replies = cells.get(source, {}).get(target), answers.get(source, {}).get(target)
            rows.append(
                {
                    **{"i": i, "j": j, "source": label, "target": names.long[target]},
                    "row": label if controls else row_label(source, names),
                    "brief": label.split(" ")[0] if controls else names.short[source],
                    "column": names.short[target],
                    "own": not controls and same_task(source, target),
                    "collapsed": replies is not None and bool(replies.collapsed),
                    **_numbers(analysis, model, (source, target), cell),
                    "replies": answer_words(replies) if replies else UNKNOWN,
                }
            )
    return rows


def _numbers(
    analysis: Analysis, model: ModelAnalysis, pair: tuple[str, str], cell: Effect | None
) -> dict[str, object]:
    """Values, and the texts of cells and of what is shown beside the pointer."""
    source, target = pair
    effect = math.nan if cell is None else cell.mean
    change = _change(analysis, model, target, cell)
    if cell is None or (math.isnan(change) and math.isnan(effect)):
        return {"kind": "missing", "points": None, "effect": None, "change": "not measured"}
    # What is beyond a placebo is no accuracy: that is of the plain effect.
    plainly = model.pgf.get(source, {}).get(target, cell)
    base = base_accuracy(analysis, model, target, plainly)
    tuned = base + _change(analysis, model, target, plainly)
    clear = beyond_noise(cell, analysis.settings.alpha)
    unknown = "no interval" if model.basis == "none" else "not tested"
    verdicts = {None: unknown, True: "beyond noise", False: "may be noise"}
    ends = points_between(getattr(cell, "change_ci", (math.nan, math.nan)), change)
    row: dict[str, object] = {
        "kind": "clear" if clear or verdicts[clear] == "no interval" else "noise",
        "points": known(round(change, DIGITS)),
        "effect": known(round(effect, DIGITS)),
        "points_text": plain(100 * change, 0) if math.isfinite(change) else "",
        "effect_text": plain(effect) if math.isfinite(effect) else "",
        "accuracy_text": f"{100 * tuned:.0f}" if math.isfinite(tuned) else "",
        "change": (points(change) or UNKNOWN) + (f" ({ends})" if ends else ""),
        "measured": with_measure(analysis, math.nan, effect)[0] + f" ({between(cell.ci)})",
        "verdict": verdicts[clear],
        "accuracy": f"{percent(base)} → {percent(tuned)}",
    }
    if isinstance(cell, Cell):
        if math.isfinite(cell.q_value):
            row["verdict"] = f"{row['verdict']} (q {chance(cell.q_value)})"
        known_items = [] if cell.n is None else [f"{cell.n:.4g} items"]
        seeds = len(bases(analysis, model, target, cell))
        seeds = seeds or sum(map(math.isfinite, cell.seeds.values()))
        row["on"] = ", ".join([*known_items, counted(seeds, "seed")])
        row["on"] += ": too few items for averages" * bool(cell.left_out)
    return row


def _change(analysis: Analysis, model: ModelAnalysis, target: str, cell: Effect | None) -> float:
    """The change of accuracy; a control's is known seed by seed."""
    if cell is None:
        return math.nan
    change: float = getattr(cell, "change", math.nan)
    if math.isfinite(change):
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
    colors |= vl.part(
        gradientLength=min(240, side * 8), labelExpr=text, values=[-1, -0.5, 0, 0.5, 1]
    )
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
    stops = [-1, -STRONG, -STRONG / 2, 0, STRONG / 2, STRONG, 1]
    scale = vl.part(domain=stops, range=list(DIVERGING), clamp=True, interpolate="lab")
    color = vl.field("part:Q", scale=scale, legend=legend)
    shown = {"source": "finetuned on", "target": "evaluated on", "change": "change"}
    shown |= {"measured": measure, "accuracy": "accuracy", "verdict": "verdict", "on": "on"}
    shown |= {"replies": "replies"}
    shown = {key: text for key, text in shown.items() if side >= NUMBER or key not in DETAILS}
    tooltip = [vl.field(f"{key}:N", title=text) for key, text in shown.items()]

    def drawn(when: str, mark: str, encoding: vl.Spec | None = None, **look: object) -> vl.Spec:
        test = [{"filter": when}] if when else []
        return {"transform": test, "mark": {"type": mark, **look}, "encoding": encoding or {}}

    there, inset = "isValid(datum.value)", vl.part(width={"band": 0.92}, height={"band": 0.92})
    ring, width = vl.part(filled=False, cornerRadius=side / 10), max(1.2, side / 20)
    dark = f"datum.kind === 'clear' && abs(datum.part) > {STRONG:.3f}"
    pale = {"test": "datum.kind === 'noise'", "value": SOFT}
    ink = vl.part(condition=[{"test": dark, "value": ON_STRONG}, pale], value=ON_WEAK)
    layers = [
        drawn(
            f"{there} && datum.kind === 'clear'",
            "rect",
            vl.part(fill=color, tooltip=tooltip),
            cornerRadius=side / 10,
        ),
        drawn(
            f"{there} && datum.kind === 'noise'",
            "rect",
            vl.part(stroke={**color, "legend": None}, tooltip=tooltip),
            **ring | inset | vl.part(strokeWidth=width, fill=PAPER),
        ),
        drawn(
            f"!{there}", "rect", vl.part(tooltip=tooltip[:3]), color=SHADE, cornerRadius=side / 10
        ),
        drawn(
            f"!{there}",
            "point",
            **vl.part(shape=HATCH, size=(side * 0.7) ** 2, color=RULE, strokeWidth=1, filled=False),
        ),
    ]
    # A cell too small for a number has a minus for a harm beyond noise: colors may look alike.
    few = "" if side >= NUMBER else "datum.kind === 'clear' && datum.value < 0"
    label = {"field": "label", "type": "nominal"} if side >= NUMBER else {"value": "−"}
    look = vl.part(fontSize=12 if side > 34 else 11)
    layers.append(drawn(few, "text", vl.part(text=label, color=ink), **look))
    layers.append(
        drawn("datum.own", "rect", **ring | inset | vl.part(stroke=INK, strokeWidth=width * 0.9))
    )
    corner = vl.part(shape=CORNER, size=(side * 0.9) ** 2, filled=True, fill=INK, stroke=PAPER)
    layers.append(drawn("datum.collapsed", "point", **corner, opacity=1, strokeWidth=1))
    layers.append(drawn(IS_CHOSEN, "rect", **ring, stroke=CHOSEN, strokeWidth=2.5))
    return layers


def _key(analysis: Analysis, rows: list[vl.Spec], shown: Shown) -> list[str]:
    """What is shown, and what each kind of cell means, of the kinds that occur."""
    kinds = {row["kind"] for row in rows}
    words = {
        "filled: beyond noise": "noise" in kinds,
        "hollow: may be noise, or not tested": "noise" in kinds,
        "hatched: not measured": "missing" in kinds,
        "framed: a task on itself": any(row["own"] for row in rows),
    }
    collapsed = any(row["collapsed"] for row in rows)
    unit = MEASURES[analysis.settings.measure]
    if in_points(analysis) and shown != "effect":
        unit = "points of accuracy" if shown == "points" else "accuracy, %, in the colors of points"
    return [
        f"{unit}; blue helped, orange harmed",
        " · ".join(word for word, there in words.items() if there),
        "cut corner: one option for nearly every item, no transfer" * collapsed,
    ]


def _description(title: str, models: Mapping[str, list[vl.Spec]]) -> str:
    every = [(model, row) for model, rows in models.items() for row in rows]
    measured = [(model, row) for model, row in every if row["kind"] != "missing"]
    key = "points" if any(row["points"] is not None for _, row in measured) else "effect"
    text = "change" if key == "points" else "measured"
    order = sorted((e for e in measured if e[1][key] is not None), key=lambda each: each[1][key])
    ends = [
        f"{model}{', ' * bool(model)}{row['source']} on {row['target']}, {row[text].split(' (')[0]}"
        for model, row in (order[-1], order[0])
    ]
    clear = sum(row["kind"] == "clear" for _, row in measured)
    return (
        f"{title}: heatmap of {counted(len(every), 'cell')}, {len(measured):,} measured, {clear:,} "
        f"drawn as beyond noise. Largest: {ends[0]}. Smallest: {ends[1]}."
    )
