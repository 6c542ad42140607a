"""Checkpoints of a finetune: what rose, what fell and from when on, in words and as a chart.

In:   an `Analysis`.
Out:  sentences for the summary and the page, and Vega-Lite specifications.
"""

import math
from statistics import median
from typing import Any

from transferscope.analysis import Analysis
from transferscope.analysis.parts import Course, Trajectory
from transferscope.plots.labels import (
    MEASURES,
    Labels,
    between,
    clean,
    counted,
    has_interval,
    known,
    listed,
    percent,
    same_task,
    signed,
)
from transferscope.plots.theme import GRID, MUTED, NEGATIVE, PAPER, POSITIVE, RULE, SOFT
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

PANELS = 24
"""Targets drawn at most: those with the largest last effects."""
COLUMNS = 4
NAMED = 5
"""Targets that a sentence names at most."""


def about(trajectory: Trajectory, model_names: dict[str, str]) -> str:
    """Which finetune of which model: `7B finetuned on Jigsaw, steps 500 to 2,000`."""
    model = model_names.get(trajectory.model, clean(trajectory.model))
    finetune = clean(trajectory.finetune).replace("_", " ")
    steps = trajectory.steps
    span = f"steps {steps[0]:,} to {steps[-1]:,}" if len(steps) > 1 else f"step {steps[0]:,}"
    return f"{model} finetuned on {finetune}, {span}"


def sentences(analysis: Analysis, trajectory: Trajectory, names: Labels) -> list[str]:
    """What changed between the first checkpoint and the last, and from when on a harm was clear."""
    courses = trajectory.targets
    tried = sum(has_interval(ci) for course in courses.values() for ci in course.ci)
    if not tried:
        return ["No effect has an interval, so which rose and which fell cannot be told."]
    said = []
    if len(trajectory.steps) > 1:
        for word, sign in (("Rising", 1), ("Falling", -1)):
            moved = [t for t, course in courses.items() if course.change_beyond == sign]
            moved.sort(key=lambda t: -abs(courses[t].change))
            moves = _moves(moved, courses, names)
            said.append(f"{word} from the first checkpoint to the last: {moves}.")
        rest = sum(
            course.change_beyond == 0 and has_interval(course.change_ci)
            for course in courses.values()
        )
        if rest:
            said.append(f"No change beyond noise from first to last: {counted(rest, 'target')}.")
    for word, key in (("Harmed", "harmed_from"), ("Helped", "helped_from")):
        since = {t: getattr(c, key) for t, c in courses.items() if getattr(c, key) is not None}
        order = sorted(since, key=lambda t: since[t])
        listing = [f"{names.long[t]} at step {since[t]:,}" for t in order]
        said.append(f"{word} beyond noise, and first when: {_some(listing)}.")
    said.append(
        f"These are {tried} effects; with no transfer at all, about "
        f"{percent(analysis.settings.alpha)} of them would look like one beyond noise."
    )
    return said


def _moves(targets: list[str], courses: dict[str, Course], names: Labels) -> str:
    return _some(
        f"{names.long[t]} {signed(courses[t].change)} ({between(courses[t].change_ci)})"
        for t in targets
    )


def _some(words: Any) -> str:
    words = list(words)
    more = [f"{len(words) - NAMED} more"] if len(words) > NAMED else []
    return listed([*words[:NAMED], *more]) if words else "none"


def courses(analysis: Analysis, trajectory: Trajectory, title: str, names: Labels) -> Spec | None:
    """Effect over step, a panel for each target, the most harmed first; None for a single step."""
    if len(trajectory.steps) < 2:
        return None
    ends = {target: _last(course) for target, course in trajectory.targets.items()}
    measured = [target for target, end in ends.items() if math.isfinite(end)]
    shown = sorted(measured, key=lambda target: -abs(ends[target]))[:PANELS]
    shown.sort(key=lambda target: ends[target])
    if not shown:
        return None
    scale = part(domain=_range([trajectory.targets[target] for target in shown]), nice=False)
    measure = MEASURES[analysis.settings.measure]
    panels = [_panel(trajectory, target, scale, measure, names) for target in shown]
    rows = [panels[n : n + COLUMNS] for n in range(0, len(panels), COLUMNS)]
    left_out = len(measured) - len(shown)
    spec = below(
        *(beside(*row, spacing=18) for row in rows),
        spacing=16,
        title=heading(
            title,
            f"{measure} over training steps · grey line: the base · band: interval",
            "filled: beyond noise · the most harmed at the end come first"
            + (f" · {counted(left_out, 'target')} with less effect not drawn" if left_out else ""),
        ),
    )
    says = "; ".join(f"{names.long[target]} {signed(ends[target])}" for target in shown[:6])
    return finish(spec, f"{title}: a line for each target. At the last step: {says}.")


def _last(course: Course) -> float:
    return next((value for value in reversed(course.effects) if math.isfinite(value)), math.nan)


def _range(shown: list[Course]) -> list[float]:
    """One scale for all panels: every effect fits, and of intervals what one common width shows."""
    effects = [value for course in shown for value in course.effects if math.isfinite(value)]
    shown_ci = [ci for course in shown for ci in course.ci if has_interval(ci)]
    margin = median(high - low for low, high in shown_ci) / 2 if shown_ci else 0.0
    low, high = min([0.0, *effects]) - margin, max([0.0, *effects]) + margin
    space = 0.04 * (high - low) or 0.01
    return [low - space, high + space]


def _panel(trajectory: Trajectory, target: str, scale: Spec, measure: str, names: Labels) -> Spec:
    course = trajectory.targets[target]
    rows = [
        {
            "step": step,
            "effect": effect,
            "low": known(ci[0]),
            "high": known(ci[1]),
            "interval": between(ci),
            "beyond": beyond,
        }
        for step, effect, ci, beyond in zip(
            trajectory.steps, course.effects, course.ci, course.beyond, strict=True
        )
        if math.isfinite(effect)
    ]
    steps = trajectory.steps
    every = max(1, math.ceil(len(steps) / 4))
    x = field(
        "step:Q",
        scale=part(domain=[steps[0], steps[-1]], nice=False, padding=8),
        axis=axis(values=steps[::every], format="~s", grid=False),
    )
    y = field("effect:Q", scale=scale, axis=axis(tickCount=4))
    layers = [unit([{"effect": 0}], mark("rule", color=RULE), y=y)]
    bars = [row for row in rows if row["low"] is not None and row["high"] is not None]
    if bars:
        band = mark("area", color=GRID, opacity=0.75, clip=True)
        layers.append(unit(bars, band, x=x, y={**y, "field": "low"}, y2="high:Q"))
    layers.append(unit(rows, mark("line", color=MUTED, strokeWidth=1.8), x=x, y=y))
    layers += _dots(rows, x, y, measure)
    own = " (own task)" if same_task(trajectory.sources[0], target) else ""
    head = part(text=names.long[target] + own, fontSize=11, fontWeight=600, color=SOFT, offset=4)
    return layer(*layers, width=150, height=110, title=head)


def _dots(rows: list[Spec], x: Spec, y: Spec, measure: str) -> list[Spec]:
    tooltip = [
        field("step:Q", format=","),
        field("effect:Q", title=measure, format="+.3f"),
        field("interval:N"),
    ]
    layers = []
    for colour, sign in ((POSITIVE, 1), (NEGATIVE, -1), (PAPER, 0)):
        if some := [row for row in rows if row["beyond"] == sign]:
            edge = MUTED if colour == PAPER else colour
            dot = mark("point", filled=True, size=46, fill=colour, stroke=edge, opacity=1)
            layers.append(unit(some, dot, x=x, y=y, tooltip=tooltip))
    return layers
