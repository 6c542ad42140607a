"""Loss over training steps, a panel for each source: whether a training went wrong."""

import math
from collections.abc import Sequence

from transferscope.analysis import Analysis
from transferscope.analysis.parts import Training
from transferscope.plots import composition as vl
from transferscope.plots import theme
from transferscope.plots.labels import clean, control_label, counted, labels
from transferscope.selection.wording import listed

FLOOR = 0.01
"""Nats per token; a smaller loss is drawn as this."""
ABREAST, NAMED = 4, 3
"""Panels in a row, and adapters that a line names at most."""
CROSS = "M-.7,-.7L.7,.7M-.7,.7L.7,-.7"


def training_loss(analysis: Analysis, model: str, title: str) -> vl.Spec | None:
    """A line for each adapter, failed ones with a cross at their end; None without a log."""
    own = [one for one in analysis.trainings if one.model == model and one.step]
    losses = [loss for one in own for loss in one.loss if math.isfinite(loss)]
    if not losses:
        return None
    names, controls = labels(analysis).long, analysis.models[model].controls
    names |= {name: control_label(name) for name in controls}
    runs: dict[str, list[Training]] = {}
    for one in sorted(own, key=lambda one: not one.failed):
        runs.setdefault(names.get(one.source, clean(one.source)), []).append(one)
    axes = _axes(max(step for one in own for step in one.step), losses)
    panels = [_panel(label, each, axes, max(losses)) for label, each in runs.items()]
    failed, flat = [], []
    for label, each in runs.items():
        for one in each:
            name, (start, end) = f"{label} (seed {clean(one.seed)})", _ends(one)
            if one.failed:
                failed.append(f"{name[:-1]}, {clean(one.failed).partition(':')[0]})")
            elif end >= start:
                flat.append(name)
    lines = [
        "Nats per token, log scale (below 0.01 as 0.01), over training steps · a line per seed",
        f"Failed and not kept (×): {listed(failed, NAMED)}" * bool(failed),
        f"No lower at the end than at the start: {listed(flat, NAMED)}" * bool(flat),
    ]
    words = " ".join([f"{title}: {counted(len(own), 'adapter')}.", *(f"{e}." for e in lines if e)])
    return vl.finish(vl.in_rows(panels, ABREAST, 18, 16), title, *lines, description=words)


def _panel(
    label: str, trainings: Sequence[Training], axes: dict[str, vl.Spec], top: float
) -> vl.Spec:
    """The adapters of one source; a failed one without any finite loss is a cross at `top`."""
    kept: list[vl.Spec] = []
    failed: list[vl.Spec] = []
    crosses: list[vl.Spec] = []
    for one in trainings:
        start, end = (f"{mean:.3g}" for mean in _ends(one))
        same = {"seed": clean(one.seed), "course": clean(one.failed) or f"{start} → {end}"}
        rows = [
            {"step": step, "loss": max(float(f"{loss:.4g}"), FLOOR), **same}
            for step, loss in zip(one.step, one.loss, strict=True)
            if math.isfinite(loss)
        ]
        if one.failed or not rows:
            crosses.append(rows[-1] if rows else {"step": one.step[0], "loss": top, **same})
        (failed if one.failed else kept).extend(rows)
    tooltip, layers = vl.tips("seed", "course|loss"), []
    for rows, color in ((kept, theme.SOFT), (failed, theme.NEGATIVE)):
        look = vl.part(color=color, strokeWidth=1.3, opacity=0.8, tooltip=tooltip)
        layers += [vl.unit(rows, "line", detail="seed:N", **look)] * bool(rows)
    if crosses:
        look = vl.part(color=theme.NEGATIVE, strokeWidth=2, opacity=1, tooltip=tooltip)
        layers.append(vl.unit(crosses, "point", shape=CROSS, size=90, **look))
    head = vl.part(text=label, fontSize=11, fontWeight=600, offset=4, limit=150)
    head["color"] = theme.NEGATIVE if crosses else theme.SOFT
    return vl.layer(*layers, encoding=axes, width=150, height=90, title=head)


def _ends(one: Training) -> tuple[float, float]:
    """Mean loss over the first and over the last fifth of the logged steps."""
    few = max(1, len(one.loss) // 5)
    start, end = (sum(part) / few for part in (one.loss[:few], one.loss[-few:]))
    return start, end


def _axes(last: int, losses: Sequence[float]) -> dict[str, vl.Spec]:
    """Steps up to `last`, and losses on a log scale, the same in every panel."""
    low, high = (max(end, FLOOR) for end in (min(losses), max(losses)))
    high = min(1e99, high * max(high / low, 2) ** 0.15)  # a cross stays inside
    digits = (1,) if high > 100 * low else (1, 2, 5) if high > 5 * low else range(1, 10)
    powers = range(-2, math.ceil(math.log10(high)))
    ticks = [n * 10.0**power for power in powers for n in digits if low <= n * 10.0**power <= high]
    scale = vl.part(type="log", domain=[low, high], nice=False)
    y = vl.field("loss:Q", scale=scale, axis=vl.part(title=None, values=ticks, format="~g"))
    scale = vl.part(domain=[0, last], nice=False)
    axis = vl.part(title=None, tickCount=3, grid=False, format=",d", labelOverlap="greedy")
    return {"x": vl.field("step:Q", scale=scale, axis=axis), "y": y}
