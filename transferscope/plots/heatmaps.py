"""Heatmaps: every effect of every source on every target, and of every control below them.

`heatmap` shows one model, with a number in each cell; `heatmaps` all models beside each other.

A filled cell is an effect beyond noise (`noise.beyond_noise`); `cells` says what the others are.

In:   an `Analysis`.
Out:  Vega-Lite specifications.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from transferscope.analysis import Analysis, Cell, ModelAnalysis, TaskRecord
from transferscope.analysis.parts import Estimate
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.collapse import Answers
from transferscope.plots.cells import HOLDS, drawn, key
from transferscope.plots.labels import (
    MEASURES,
    UNKNOWN,
    Labels,
    answer_words,
    between,
    chance,
    control_label,
    counted,
    known,
    percent,
    row_label,
    same_task,
    signed,
)
from transferscope.plots.points import base_accuracy
from transferscope.plots.theme import SOFT, ceil_nice
from transferscope.plots.vegalite import (
    Spec,
    axis,
    below,
    beside,
    field,
    finish,
    heading,
    layer,
    part,
)

Cells = Mapping[str, Mapping[str, Cell | Estimate]]
NUMBERED = 20
"""Up to this many tasks each cell carries its number."""
LARGE, SMALL, SPELLED = 38, 17, 16
"""Sides of a cell in pixels; and from which on rows have their full names beside each other."""
ROOM, ABREAST, SPACE = 600, 3, 16
"""Pixels for the names and cells of models beside each other, how many at most, and the gap."""
LEGIBLE = 11
"""Least side of a cell of these, in pixels: below it the names of neighbours lie on each other."""
HARM = "minus: a harm beyond noise"
GAP = " "
"""The empty row between sources and controls."""


class _Scale(NamedTuple):
    """What all cells of a heatmap share."""

    limit: float
    """Where the colours end."""
    alpha: float
    """Level at which an effect is beyond noise."""


def bound(analysis: Analysis) -> float:
    """Where the colours of all heatmaps end, on both sides of 0; self-transfer has no say."""
    sizes: dict[str, list[float]] = {}
    for model in analysis.models.values():
        for source, row in model.pgf.items():
            for target, cell in row.items():
                if not same_task(source, target) and math.isfinite(cell.mean):
                    sizes.setdefault(target, []).append(abs(cell.mean))
    return bound_of(sizes.values())


def bound_of(targets: Iterable[list[float]]) -> float:
    """Where colours end for effects of these sizes, target by target.

    Nearly all effects fit (their 98th percentile), so that one extreme cell does not bleach the
    rest; nor does one target, whose few errors make any loss many times its gap: colours end at no
    more than twice what half of the targets never exceed. What lies beyond has the full colour.
    """
    known = [sizes for sizes in targets if sizes]
    if not known:
        return ceil_nice(0.02)
    nearly = float(np.quantile([size for sizes in known for size in sizes], 0.98))
    usual = 2 * float(np.median([max(sizes) for sizes in known]))
    return ceil_nice(max(min(nearly, usual), 0.02))


def heatmap(
    analysis: Analysis, model: str, title: str, names: Labels, *, adjusted: bool = False
) -> Spec | None:
    """The effects of one model: sources down, targets across; controls in rows of their own.

    None where nothing was measured. With `adjusted`, the effects beyond the placebo's.
    """
    record = analysis.models[model]
    if adjusted and record.adjusted is None:
        return None
    cells: Cells = record.adjusted.cells if adjusted and record.adjusted else record.pgf
    sources = [task for task in analysis.tasks if task.source]
    targets = [task for task in analysis.tasks if task.target]
    limit = bound(analysis)
    scale = _Scale(limit, analysis.settings.alpha)
    rows = [
        _row(record, cells, source, target, names, scale)
        for source in sources
        for target in targets
    ]
    measured = [row for row in rows if row["value"] is not None]
    if not measured:
        return None
    extra = [] if adjusted else _control_rows(record, targets, names, scale)
    side = LARGE if max(len(sources), len(targets)) <= NUMBERED else SMALL
    every = rows + extra
    said = [*key(every, limit), HARM * (side <= HOLDS)]
    shown = every if side > HOLDS else [row | _minus(row) for row in every]
    down = [row_label(task.name, names) for task in sources]
    controls = list(dict.fromkeys(row["row"] for row in extra))
    down += [GAP, *controls] if controls else []
    spec = layer(
        *drawn(shown, side, limit, MEASURES[analysis.settings.measure]),
        encoding=_axes(down, targets, names, side),
        width={"step": side},
        height={"step": side},
        title=heading(title, *said),
        resolve={"legend": {"fill": "independent", "stroke": "independent"}},
    )
    return finish(spec, _says(title, measured, len(rows)))


def heatmaps(
    analysis: Analysis, model_names: dict[str, str], title: str, names: Labels
) -> Spec | None:
    """The effects of all models beside each other, in cells as large as fit; None for one model."""
    sources = [task for task in analysis.tasks if task.source]
    targets = [task for task in analysis.tasks if task.target]
    limit = bound(analysis)
    scale = _Scale(limit, analysis.settings.alpha)
    found: dict[str, list[Spec]] = {
        label: [
            _row(record, record.pgf, i, j, names, scale) | {"model": label}
            for i in sources
            for j in targets
        ]
        for model, label in model_names.items()
        for record in [analysis.models[model]]
    }
    found = {k: rows for k, rows in found.items() if any(row["kind"] != "missing" for row in rows)}
    if len(found) < 2:
        return None
    every = [row for rows in found.values() for row in rows]
    abreast, side, spelled = _fitting(sources, targets, names, min(len(found), ABREAST))
    if side <= HOLDS:
        found = {k: [row | _minus(row) for row in v] for k, v in found.items()}
    if not spelled:
        short = {row_label(task.name, names): names.short[task.name] for task in sources}
        found = {k: [row | {"row": short[row["row"]]} for row in v] for k, v in found.items()}
    panels = []
    for number, (label, rows) in enumerate(found.items()):
        last = number % abreast == abreast - 1 or number == len(found) - 1
        measure = MEASURES[analysis.settings.measure] if last else None
        encoding = _axes(list(dict.fromkeys(row["row"] for row in rows)), targets, names, side)
        if number % abreast:
            encoding["y"] |= {"axis": None}
        panels.append(_panel(drawn(rows, side, limit, measure), encoding, side, label))
    lines = [panels[at : at + abreast] for at in range(0, len(panels), abreast)]
    spec = below(
        *(beside(*line, spacing=SPACE) for line in lines),
        title=heading(title, *key(every, limit), HARM * (side <= HOLDS)),
    )
    measured = [row for row in every if row["value"] is not None]
    return finish(spec, _says(title, measured, len(every)))


def _minus(row: Spec) -> Spec:
    """What a cell too small for its number carries: a sign, as in grey harm looks like help."""
    harm = row["kind"] == "clear" and row["value"] < 0
    return {"beyond": harm, "label": "−" if harm else ""}


def _panel(layers: Iterable[Spec], encoding: Spec, side: float, label: str) -> Spec:
    return layer(
        *layers,
        encoding=encoding,
        width={"step": side},
        height={"step": side},
        title=part(text=label, fontSize=12, color=SOFT, offset=6),
        resolve={"legend": {"fill": "independent", "stroke": "independent"}},
    )


def _fitting(
    sources: list[TaskRecord], targets: list[TaskRecord], names: Labels, most: int
) -> tuple[int, float, bool]:
    """How many models stand beside each other, the side of a cell, and whether there is room for
    the rows' full names."""
    for abreast in range(most, 0, -1):
        cells = abreast * len(targets)
        for spelled, least in ((True, SPELLED), (False, LEGIBLE)):
            labels = [row_label(t.name, names) if spelled else names.short[t.name] for t in sources]
            room = ROOM - 6.0 * max(map(len, labels)) - SPACE * (abreast - 1)
            if (side := room / cells) >= least:
                return abreast, min(side, LARGE), spelled
    return 1, LEGIBLE, False


def _row(
    model: ModelAnalysis,
    cells: Cells,
    source: TaskRecord,
    target: TaskRecord,
    names: Labels,
    scale: _Scale,
) -> Spec:
    place: Spec = {"row": row_label(source.name, names), "source": names.long[source.name]}
    cell = cells.get(source.name, {}).get(target.name)
    found = model.behaviour.sources if model.behaviour else {}
    answers = found.get(source.name, {}).get(target.name)
    row = place | _effect(model, cell, target, names, scale) | _answered(answers)
    return row | {"self": same_task(source.name, target.name)}


def _control_rows(
    model: ModelAnalysis, targets: list[TaskRecord], names: Labels, scale: _Scale
) -> list[Spec]:
    """The controls' effects, a row for each control."""
    rows = []
    found = model.behaviour.controls if model.behaviour else {}
    for name, control in model.controls.items():
        label = control_label(name)
        for target in targets:
            effect = _effect(model, control.targets.get(target.name), target, names, scale)
            answers = _answered(found.get(name, {}).get(target.name))
            rows.append({"row": label, "source": label, "self": False} | effect | answers)
    return rows


def _answered(answers: Answers | None) -> Spec:
    if answers is None:
        return {}
    return {"collapsed": bool(answers.collapsed), "answers": answer_words(answers)}


def _effect(
    model: ModelAnalysis,
    cell: Cell | Estimate | None,
    target: TaskRecord,
    names: Labels,
    scale: _Scale,
) -> Spec:
    value = known(cell.mean) if cell else None
    row: Spec = {
        "target": names.short[target.name],
        "onto": names.long[target.name],
        "value": value,
        "base": percent(base_accuracy(model, target.name, cell)),
    }
    if cell is None or value is None:
        return row | {"kind": "missing", "label": ""}
    kind = "noise" if beyond_noise(cell, scale.alpha) is False else "clear"
    return row | {
        "kind": kind,
        "label": signed(value).lstrip("+"),
        "beyond": abs(value) > scale.limit,
        "interval": between(cell.ci),
        "q": chance(cell.q_value) if isinstance(cell, Cell) else UNKNOWN,
        "seeds": ", ".join(signed(each) for each in cell.seeds.values()),
        "items": _items(cell),
    }


def _items(cell: Cell | Estimate) -> str:
    """How many items the effect is of, and whether that is too few for averages."""
    if not isinstance(cell, Cell) or cell.n is None:
        return UNKNOWN
    return f"{cell.n:.4g}" + (", too few for averages" if cell.left_out else "")


def _axes(down: list[str], targets: list[TaskRecord], names: Labels, side: float) -> Spec:
    across = [names.short[task.name] for task in targets]
    angle = 0 if max(len(label) for label in across) <= 3 and side > 20 else -90
    gap = part(domain=across, paddingInner=0.06, paddingOuter=0.03)
    x = field(
        "target:N",
        scale=gap,
        axis=axis(
            "target: evaluated on",
            orient="top",
            labelAngle=angle,
            labelLimit=110,
            labelOverlap=False,
        ),
    )
    y = field(
        "row:N",
        scale=part(domain=down, paddingInner=0.06, paddingOuter=0.03),
        axis=axis("source: finetuned on", labelOverlap=False, labelLimit=220),
    )
    return {"x": x, "y": y}


def _says(title: str, rows: list[Spec], cells: int) -> str:
    best = max(rows, key=lambda row: row["value"])
    worst = min(rows, key=lambda row: row["value"])
    clear = sum(row["kind"] == "clear" for row in rows)
    return (
        f"{title}: heatmap of {counted(cells, 'cell')}, {len(rows):,} measured, {clear:,} drawn as "
        f"distinguishable from noise. Largest: {_named(best)}. Smallest: {_named(worst)}."
    )


def _named(row: Spec) -> str:
    model = f"{row['model']}, " if "model" in row else ""
    return f"{model}{row['source']} on {row['onto']}, {row['label']}"
