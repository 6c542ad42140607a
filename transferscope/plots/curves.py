"""Effects over training steps: as a chart, and what rose and what fell in sentences."""

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from transferscope.analysis import Analysis, Interval
from transferscope.analysis.comparison import ComparedRun
from transferscope.analysis.parts import Trajectory
from transferscope.plots import composition as vl
from transferscope.plots.labels import MEASURES, clean, counted, labels
from transferscope.plots.numbers import between, has_interval, interval_columns, percent, signed
from transferscope.plots.theme import MUTED, NEGATIVE, PAPER, POSITIVE, RULE, SOFT, padded
from transferscope.selection.decision import task
from transferscope.selection.wording import listed
from transferscope.tasks.checkpoints import same_task

PANELS, COLUMNS = 24, 4
"""Targets drawn at most (those with the largest last effects), and panels in a row."""
NAMED = 5
"""Targets that a sentence names at most."""
MARKS = {
    "better": (POSITIVE, POSITIVE, "triangle-up"),
    "worse": (NEGATIVE, NEGATIVE, "triangle-down"),
    "may be noise": (PAPER, MUTED, "circle"),
    "not tested": (PAPER, MUTED, "M-.8,-.8L.8,.8M-.8,.8L.8,-.8"),
}
"""Fill, stroke and shape of a point, by its verdict."""
VERDICTS = {1: "better", -1: "worse", 0: "may be noise"}
KEY = "▲▼ beyond noise, ○ may be noise"


class StepPoint(NamedTuple):
    """The effect on one target at one step."""

    step: int | float
    effect: float
    ci: Interval
    verdict: str
    """A key of `MARKS`."""


Panels = Sequence[tuple[str, Sequence[StepPoint]]]
"""Label and points of each target."""


def curves(panels: Panels, title: vl.Spec, columns: int = COLUMNS) -> vl.Spec:
    """A panel for each target, with its effects over steps or strengths, on one scale.

    Args:
        panels: label and points of each target, in order; at least one effect is known.
        title: from `heading`; must name the measure.
        columns: panels in a row.
    """
    known = [(label, [p for p in points if math.isfinite(p.effect)]) for label, points in panels]
    every = [point for _, points in known for point in points]
    steps = sorted({point.step for _, points in panels for point in points})
    values = steps[:: math.ceil(len(steps) / 4)]
    # `format` alone would write 250 beside 2,000 as 0.3k.
    written = "~s" if all(isinstance(step, int) for step in steps) else "~g"
    short = vl.part(
        labelExpr=f"format(datum.value, '{written}')", labelOverlap="greedy", labelSeparation=8
    )
    axis = vl.part(title=None, values=values, grid=False, **short)
    x = vl.field(
        "step:Q", scale=vl.part(domain=[steps[0], steps[-1]], nice=False, padding=8), axis=axis
    )
    # Every effect fits on the scale, and a typical interval around it. Clamped, not clipped: clips
    # are numbered by how often the process has drawn, so that equal pages would differ.
    widths = [point.ci[1] - point.ci[0] for point in every if has_interval(point.ci)]
    margin = median(widths) / 2 if widths else 0.0
    effects = [0.0, *(point.effect for point in every)]
    domain = padded([min(effects) - margin, max(effects) + margin])
    scale = vl.part(domain=domain, nice=False, clamp=True)
    y = vl.field("effect:Q", scale=scale, axis=vl.part(title=None, tickCount=4))
    fill, stroke, shape = (
        vl.field("verdict:N", scale=vl.part(domain=list(MARKS), range=list(looks)), legend=None)
        for looks in zip(*MARKS.values(), strict=True)
    )
    size = max(14, min(50, 600 // len(steps)))
    look = vl.part(filled=True, size=size, opacity=1, fill=fill, stroke=stroke, shape=shape)
    look["tooltip"] = vl.tips("step||,", "effect||+.3~f", "interval", "verdict")
    drawn = []
    for label, points in known:
        rows = [
            {"step": p.step, "effect": p.effect, "verdict": p.verdict, **interval_columns(p.ci)}
            for p in points
        ]
        bars = vl.intervals(rows, x=x, y={**y, "field": "low"}, y2="high:Q", color=RULE)
        line = vl.unit(rows, "line", color=MUTED, strokeWidth=1.8, x=x, y=y)
        layers = (vl.zero_line(y=y), *bars, line, vl.unit(rows, "point", **look, x=x, y=y))
        head = vl.part(text=label, fontSize=11, fontWeight=600, color=SOFT, offset=4, limit=135)
        drawn.append(vl.layer(*layers, width=150, height=110, title=head))
    last = [f"{label} {signed(points[-1].effect)}" for label, points in known if points]
    words = f"a line for each target. At the last step: {'; '.join(last[:6])}."
    return vl.finish(vl.in_rows(drawn, columns, 18, 16, title=title), f"{title['text']}: {words}")


def compared_curves(
    runs: Sequence[ComparedRun], targets: Sequence[str], columns: int = COLUMNS
) -> vl.Spec | None:
    """Change in points over the steps of one finetune, a panel for each target.

    Args:
        runs: those of a comparison with one `finetune`; runs without a step are left out.
        targets: names of targets; `mean` is their mean.
        columns: panels in a row.

    Returns:
        None with fewer than two steps, or if no change is known.
    """
    runs = [run for run in runs if run.step is not None]
    panels = []
    for target in targets:
        points = []
        for run in runs:
            if cell := run.cell(target):
                known = cell.state in ("tested", "few items")
                ci = cell.effect.interval() if known else (math.nan, math.nan)
                tested = cell.state == "tested" and run.verdict != "void"
                verdict = VERDICTS[cell.sign] if tested else "not tested"
                change, low, high = (100 * value for value in (cell.change, *ci))
                points.append(StepPoint(run.step or 0, change, (low, high), verdict))
        panels.append((clean(task(target)), points))
    if len(runs) < 2 or not any(math.isfinite(p.effect) for _, ps in panels for p in ps):
        return None
    name = f" of {clean(runs[0].finetune)}" if runs[0].finetune else ""
    line = "change in points · grey line: the base · bars: 95 % intervals"
    key = f"{KEY}, × not tested"
    if left_out := len({target for run in runs for target in run.cells} - set(targets)):
        key += f" · {counted(left_out, 'task')} not drawn"
    return curves(panels, vl.heading(f"Over the steps{name}", line, key), columns)


def checkpoint_curves(analysis: Analysis, trajectory: Trajectory, _: str) -> vl.Spec | None:
    """Effect over step, a panel for each target, the most harmed first; None for one step."""
    if len(trajectory.steps) < 2:
        return None
    courses = trajectory.targets
    known = {t: [e for e in c.effects if math.isfinite(e)] for t, c in courses.items()}
    last = {target: effects[-1] for target, effects in known.items() if effects}
    shown = sorted(last, key=lambda target: -abs(last[target]))[:PANELS]
    panels = []
    for target in sorted(shown, key=lambda target: last[target]):
        course = courses[target]
        verdicts = (VERDICTS[sign] for sign in course.beyond)
        rows = zip(trajectory.steps, course.effects, course.ci, verdicts, strict=True)
        own = " (own task)" if same_task(trajectory.sources[0], target) else ""
        panels.append((labels(analysis).long[target] + own, [StepPoint(*row) for row in rows]))
    if not panels:
        return None
    key = f"{KEY} · most harmed at the end first"
    if left_out := len(last) - len(shown):
        key += f" · {counted(left_out, 'target')} with smaller effects not drawn"
    measure = MEASURES[analysis.settings.measure]
    over = "training steps" if trajectory.axis == "step" else "LoRA's strength"
    lines = (f"{measure} over {over} · grey line: the base · bars: intervals", key)
    return curves(panels, vl.heading(about(analysis, trajectory), *lines))


def about(analysis: Analysis, trajectory: Trajectory) -> str:
    """Which finetune of which model: `7B finetuned on Jigsaw, steps 500 to 2,000`; or
    `strengths 0.5 to 1`."""
    model = labels(analysis).models.get(trajectory.model, clean(trajectory.model))
    finetune = clean(trajectory.finetune).replace("_", " ")
    steps, axis = trajectory.steps, trajectory.axis
    span = f"{axis}s {number(steps[0])} to {number(steps[-1])}"
    if len(steps) == 1:
        span = f"{axis} {number(steps[0])}"
    return f"{model} finetuned on {finetune}, {span}"


def number(step: int | float) -> str:
    """A step or a strength: `2,000`, `0.5`, `1`."""
    return f"{step:,}" if isinstance(step, int) else f"{step:g}"


def changes_over_steps(analysis: Analysis, trajectory: Trajectory) -> list[str]:
    """What changed between the first checkpoint and the last, and when each harm began."""
    courses, names, axis = trajectory.targets, labels(analysis).long, trajectory.axis
    tested = sum(has_interval(ci) for course in courses.values() for ci in course.ci)
    if not tested:
        return ["No effect has an interval, so rises and falls may be noise."]
    sentences = []
    if len(trajectory.steps) > 1:
        for word, sign in (("Rising", 1), ("Falling", -1)):
            moved = [t for t, course in courses.items() if course.change_beyond == sign]
            moved.sort(key=lambda t: -abs(courses[t].change))
            moves = _some(
                f"{names[t]} {signed(courses[t].change)} ({between(courses[t].change_ci)})"
                for t in moved
            )
            ends = "the first checkpoint to the last"
            if axis == "strength":
                ends = f"strength {number(trajectory.steps[0])} to {number(trajectory.steps[-1])}"
            sentences.append(f"{word} from {ends}: {moves}.")
        still = sum(c.change_beyond == 0 and has_interval(c.change_ci) for c in courses.values())
        if still:
            count = counted(still, "target")
            sentences.append(f"No change beyond noise from first to last: {count}.")
    for word, key in (("harm", "harmed_from"), ("help", "helped_from")):
        since = {t: getattr(c, key) for t, c in courses.items() if getattr(c, key) is not None}
        order = sorted(since, key=lambda t: since[t])
        first = _some(f"{names[t]} at {axis} {number(since[t])}" for t in order)
        sentences.append(f"First {word} beyond noise: {first}.")
    alpha = percent(analysis.settings.alpha)
    sentences.append(f"{tested} effects were tested; {alpha} exceed noise without any transfer.")
    return sentences


def _some(words: Iterable[str]) -> str:
    words = list(words)
    more = [f"{len(words) - NAMED} more"] if len(words) > NAMED else []
    return listed([*words[:NAMED], *more]) if words else "none"
