"""Heatmaps: the effect of every source on every target, with the controls below the sources.

`heatmap` shows one model with a number in each cell, `heatmaps` all models beside each other. A
filled cell is an effect beyond noise, a hollow one may be noise, a hatched one was not measured.
A frame marks a task on itself, a cut corner a cell whose answers collapsed to one option.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import product

import numpy as np

from transferscope.analysis import Analysis, Cell, TaskRecord
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.collapse import Answers
from transferscope.plots.accuracy_points import Effect, base_accuracy, points, points_between
from transferscope.plots.answer_bars import answer_words
from transferscope.plots.color_scale import ceil_nice, diverging, inked
from transferscope.plots.composition import finish, heading, in_rows, layer
from transferscope.plots.labels import (
    MEASURES,
    control_label,
    counted,
    labels,
    row_label,
    same_task,
)
from transferscope.plots.numbers import UNKNOWN, between, chance, known, percent, plain, signed
from transferscope.plots.theme import INK, MUTED, ON_STRONG, ON_WEAK, PAPER, RULE, SHADE, SOFT
from transferscope.plots.vegalite import Spec, field, part, unit

Cells = Mapping[str, Mapping[str, Effect]]
NUMBERED = 20
"""Up to this many tasks each cell carries a number."""
LARGE, SMALL, NUMBER = 38, 17, 26
"""Side of a cell in pixels with and without a number, and the least side that holds a number."""
MAX_WIDTH, ABREAST, SPACE = 600, 3, 16
"""`heatmaps`: pixels of a row of models, models in it at most, and the gap between them."""
SPELLED, LEGIBLE = 16, 11
"""Least side of a cell for full row names, and for abbreviations, which would overlap below."""
GAP = " "
"""The empty row between sources and controls."""
CORNER = "M0.35,-1L1,-1L1,-0.35Z"
HATCH = "M-1,-0.4L-0.4,-1M-1,0.3L0.3,-1M-1,1L1,-1M-0.3,1L1,-0.3M0.4,1L1,0.4"


def bound(analysis: Analysis) -> float:
    """The effect at which the colors of all heatmaps end, on both sides of 0."""
    sizes: dict[str, list[float]] = {}
    for model in analysis.models.values():
        for source, row in model.pgf.items():
            for target, cell in row.items():
                if not same_task(source, target) and math.isfinite(cell.mean):
                    sizes.setdefault(target, []).append(abs(cell.mean))
    return bound_of(sizes.values())


def bound_of(targets: Iterable[list[float]]) -> float:
    """The end of the color scale for effects of these sizes, target by target.

    The scale covers 98 % of the effects, so that one extreme cell does not bleach the rest. It
    also ends at twice the median target's largest effect at most: a target with few errors has
    losses of many times its gap. Larger effects get the full color.
    """
    known = [sizes for sizes in targets if sizes]
    if not known:
        return ceil_nice(0.02)
    nearly = float(np.quantile([size for sizes in known for size in sizes], 0.98))
    usual = 2 * float(np.median([max(sizes) for sizes in known]))
    return ceil_nice(max(min(nearly, usual), 0.02))


def heatmap(analysis: Analysis, model: str, title: str, *, adjusted: bool = False) -> Spec | None:
    """The effects of one model; with `adjusted`, the effects beyond the placebo's.

    Sources are rows, targets are columns, and each control has a row at the end.
    """
    record, names = analysis.models[model], labels(analysis)
    if adjusted and record.adjusted is None:
        return None
    cells: Cells = record.adjusted.cells if adjusted and record.adjusted else record.pgf
    limit = bound(analysis)
    rows = _rows(analysis, model, cells, limit)
    measured = [row for row in rows if row["value"] is not None]
    if not measured:
        return None
    sources, targets = _axes_of(analysis)
    controls = {name: each.targets for name, each in record.controls.items() if not adjusted}
    extra = _rows(analysis, model, controls, limit, controls=True)
    side = LARGE if max(len(sources), len(targets)) <= NUMBERED else SMALL
    down = [row_label(task.name, names) for task in sources]
    down += [GAP, *dict.fromkeys(row["row"] for row in extra)] if extra else []
    panel = _panel(analysis, rows + extra, down, side, MEASURES[analysis.settings.measure])
    panel["title"] = heading(title, *_key(rows + extra, limit, side))
    return finish(panel, _description(title, measured, len(rows)))


def heatmaps(analysis: Analysis, _: object, title: str) -> Spec | None:
    """The effects of all models beside each other, in cells as large as fit; None for one model."""
    names, limit, sources = labels(analysis), bound(analysis), _axes_of(analysis)[0]
    found: dict[str, list[Spec]] = {}
    for model, label in names.models.items():
        rows = _rows(analysis, model, analysis.models[model].pgf, limit)
        if any(row["kind"] != "missing" for row in rows):
            found[label] = [row | {"model": label} for row in rows]
    if len(found) < 2:
        return None
    abreast, side, spelled = _fitting(analysis, min(len(found), ABREAST))
    short = {row_label(task.name, names): names.short[task.name] for task in sources}
    panels = []
    for number, (label, rows) in enumerate(found.items()):
        if not spelled:
            rows = [row | {"row": short[row["row"]]} for row in rows]
        last = number % abreast == abreast - 1 or number == len(found) - 1
        measure = MEASURES[analysis.settings.measure] if last else None
        panel = _panel(analysis, rows, list(dict.fromkeys(r["row"] for r in rows)), side, measure)
        panel["title"] = part(text=label, fontSize=12, color=SOFT, offset=6)
        if number % abreast:
            panel["encoding"]["y"]["axis"] = None
        panels.append(panel)
    every = [row for rows in found.values() for row in rows]
    head = heading(title, *_key(every, limit, side))
    spec = in_rows(panels, abreast, SPACE, SPACE, title=head)
    measured = [row for row in every if row["value"] is not None]
    return finish(spec, _description(title, measured, len(every)))


def _axes_of(analysis: Analysis) -> tuple[list[TaskRecord], list[TaskRecord]]:
    sources = [task for task in analysis.tasks if task.source]
    return sources, [task for task in analysis.tasks if task.target]


def _fitting(analysis: Analysis, most: int) -> tuple[int, float, bool]:
    """Models in a row, the side of a cell, and whether rows have their full names."""
    names, (sources, targets) = labels(analysis), _axes_of(analysis)
    for abreast in range(most, 0, -1):
        for spelled, least in ((True, SPELLED), (False, LEGIBLE)):
            texts = [row_label(t.name, names) if spelled else names.short[t.name] for t in sources]
            free = MAX_WIDTH - 6.0 * max(map(len, texts)) - SPACE * (abreast - 1)
            if (side := free / (abreast * len(targets))) >= least:
                return abreast, min(side, LARGE), spelled
    return 1, LEGIBLE, False


def _rows(
    analysis: Analysis, model: str, cells: Cells, limit: float, *, controls: bool = False
) -> list[Spec]:
    """The data of each cell, of all sources or of the controls in `cells`."""
    record, names, rows = analysis.models[model], labels(analysis), []
    sources, targets = ([task.name for task in tasks] for tasks in _axes_of(analysis))
    answers: Mapping[str, Mapping[str, Answers]] = {}
    if record.behaviour:
        answers = record.behaviour.controls if controls else record.behaviour.sources
    for name, target in product(cells if controls else sources, targets):
        cell, replies = cells.get(name, {}).get(target), answers.get(name, {}).get(target)
        row: Spec = {"target": names.short[target], "onto": names.long[target]}
        row["base"] = percent(base_accuracy(record, target, cell))
        row |= _effect(analysis, cell, limit)
        if replies is not None:
            row |= {"collapsed": bool(replies.collapsed), "answers": answer_words(replies)}
        label = control_label(name) if controls else row_label(name, names)
        row |= {"row": label, "source": label if controls else names.long[name]}
        rows.append(row | {"self": not controls and same_task(name, target)})
    return rows


def _effect(analysis: Analysis, cell: Effect | None, limit: float) -> Spec:
    if cell is None or (value := known(cell.mean)) is None:
        return {"value": None, "kind": "missing", "label": ""}
    change = getattr(cell, "change", math.nan)
    ends = points_between(getattr(cell, "change_ci", (math.nan, math.nan)), change)
    row: Spec = {
        "value": value,
        "kind": "noise" if beyond_noise(cell, analysis.settings.alpha) is False else "clear",
        "label": plain(value),
        "beyond": abs(value) > limit,
        "interval": between(cell.ci),
        "points": (points(change) + (f" ({ends})" if ends else "")) or UNKNOWN,
        "p": chance(cell.p_value) if isinstance(cell, Cell) else UNKNOWN,
        "q": chance(cell.q_value) if isinstance(cell, Cell) else UNKNOWN,
        "seeds": ", ".join(signed(each) for each in cell.seeds.values()),
        "items": UNKNOWN,
    }
    if isinstance(cell, Cell) and cell.n is not None:
        row["items"] = f"{cell.n:.4g}" + (", too few for averages" if cell.left_out else "")
    return row


def _panel(
    analysis: Analysis, rows: list[Spec], down: list[str], side: float, measure: str | None
) -> Spec:
    """One model's cells with their axes; without `measure` there is no legend."""
    if side <= NUMBER:  # too small for numbers: a sign keeps harm apart from help in grey
        harmful = [row["kind"] == "clear" and row["value"] < 0 for row in rows]
        pairs = zip(rows, harmful, strict=True)
        rows = [row | {"beyond": harm, "label": "−" if harm else ""} for row, harm in pairs]
    names, targets = labels(analysis), _axes_of(analysis)[1]
    across = [names.short[task.name] for task in targets]
    upright = max(map(len, across)) <= 3 and side > 20
    top = part(title="target: evaluated on", orient="top", labelAngle=0 if upright else -90)
    top |= part(labelLimit=110, labelOverlap=False)
    left = part(title="source: finetuned on", labelOverlap=False, labelLimit=220)
    gap = part(paddingInner=0.06, paddingOuter=0.03)
    x = field("target:N", scale=part(domain=across, **gap), axis=top)
    y = field("row:N", scale=part(domain=down, **gap), axis=left)
    return layer(
        *_drawn(rows, side, bound(analysis), measure),
        encoding={"x": x, "y": y},
        width={"step": side},
        height={"step": side},
        resolve={"legend": {"fill": "independent", "stroke": "independent"}},
    )


def _drawn(rows: list[Spec], side: float, limit: float, measure: str | None) -> Iterable[Spec]:
    """The layers of the cells; each kind of cell is a layer, where it occurs."""
    scale = diverging(limit, clamp=True)
    legend = measure and part(
        title=measure,
        gradientLength=min(200, side * 8),
        gradientThickness=10,
        values=[-limit, -limit / 2, 0, limit / 2, limit],
        format=".2~f",
    )
    shown = {"source": "source", "onto": "target", "interval": "interval", "points": "accuracy"}
    shown |= {
        "p": "p of the interval",
        "q": "q",
        "seeds": "each seed",
        "items": "items",
        "base": "base accuracy",
    }
    shown |= {"answers": "answers"} if any("answers" in row for row in rows) else {}
    tooltip = [field(f"{name}:N", title=title) for name, title in shown.items()]
    tooltip.insert(2, field("value:Q", title=measure or "effect", format="+.3f"))
    kinds = {k: [r for r in rows if r["kind"] == k] for k in ("clear", "noise", "missing")}
    if clear := kinds["clear"]:
        fill = field("value:Q", scale=scale, legend=legend)
        yield unit(clear, "rect", fill=fill, cornerRadius=2, tooltip=tooltip)
    if noise := kinds["noise"]:
        stroke = field("value:Q", scale=scale, legend=None if clear else legend)
        ring = part(filled=False, cornerRadius=2, width={"band": 0.9}, height={"band": 0.9})
        width = max(1.25, side / 16)
        yield unit(noise, "rect", stroke=stroke, strokeWidth=width, tooltip=tooltip, **ring)
    if missing := kinds["missing"]:
        yield unit(missing, "rect", color=SHADE, cornerRadius=2, tooltip=tooltip[:2])
        hatch = part(shape=HATCH, size=(side * 0.7) ** 2, color=RULE, strokeWidth=1, filled=False)
        yield unit(_bare(missing), "point", **hatch)
    inks: dict[str, list[Spec]] = {MUTED: [], ON_STRONG: [], ON_WEAK: []}
    for row in [r for r in rows if r["value"] is not None and (side > NUMBER or r["beyond"])]:
        inks[MUTED if row["kind"] == "noise" else inked(row["value"], limit)].append(row)
    for ink, group in inks.items():
        if group:
            yield unit(_bare(group), "text", fontSize=10, color=ink, text="label:N")
    if own := [row for row in rows if row["self"]]:
        frame = part(filled=False, stroke=INK, strokeWidth=min(1.5, side / 14), cornerRadius=2)
        yield unit(_bare(own), "rect", **frame)
    if collapsed := [row for row in rows if row.get("collapsed")]:
        cut = part(shape=CORNER, size=(side * 0.94) ** 2, filled=True, opacity=1, strokeWidth=1)
        yield unit(_bare(collapsed), "point", fill=INK, stroke=PAPER, **cut)


def _bare(rows: list[Spec]) -> list[Spec]:
    """Rows without what only tooltips show."""
    return [{key: row[key] for key in ("row", "target", "label")} for row in rows]


def _key(rows: list[Spec], limit: float, side: float) -> list[str]:
    """What each kind of cell means, of the kinds that occur."""
    kinds = {row["kind"] for row in rows}
    words = {
        "filled: beyond noise": "noise" in kinds,
        "hollow: may be noise": "noise" in kinds,
        "hatched: not measured": "missing" in kinds,
        "framed: a task on itself": any(row["self"] for row in rows),
        f"colors end at ±{limit:g}": any(row.get("beyond") for row in rows),
    }
    collapsed = any(row.get("collapsed") for row in rows)
    return [
        " · ".join(word for word, there in words.items() if there),
        "cut corner: one option for nearly every item, no transfer" * collapsed,
        "minus: a harm beyond noise" * (side <= NUMBER),
    ]


def _description(title: str, rows: list[Spec], cells: int) -> str:
    ends = []
    for pick in (max, min):
        row = pick(rows, key=lambda each: each["value"])
        model = f"{row['model']}, " if "model" in row else ""
        ends.append(f"{model}{row['source']} on {row['onto']}, {row['label']}")
    clear = sum(row["kind"] == "clear" for row in rows)
    return (
        f"{title}: heatmap of {counted(cells, 'cell')}, {len(rows):,} measured, {clear:,} drawn as "
        f"beyond noise. Largest: {ends[0]}. Smallest: {ends[1]}."
    )
