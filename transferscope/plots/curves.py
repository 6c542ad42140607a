"""Effects over training steps: as a chart, and what rose and what fell in sentences."""

import math
from collections.abc import Sequence
from statistics import median

from transferscope.analysis import Analysis, Interval
from transferscope.analysis.comparison import ComparedRun
from transferscope.analysis.parts import Trajectory
from transferscope.plots import composition as vl
from transferscope.plots import theme
from transferscope.plots.labels import MEASURES, clean, counted, labels
from transferscope.plots.numbers import between, has_interval, interval_columns, percent, signed
from transferscope.selection.decision import task
from transferscope.selection.wording import listed
from transferscope.tasks.checkpoints import same_task

PANELS, COLUMNS = 24, 4
"""Targets drawn at most (those with the largest last effects), and panels in a row."""
NAMED = 5
"""Targets that a sentence names at most."""
MARKS = {
    "better": (theme.POSITIVE, theme.POSITIVE, "triangle-up"),
    "worse": (theme.NEGATIVE, theme.NEGATIVE, "triangle-down"),
    "may be noise": (theme.PAPER, theme.MUTED, "circle"),
    "not tested": (theme.PAPER, theme.MUTED, "M-.8,-.8L.8,.8M-.8,.8L.8,-.8"),
}
"""Fill, stroke and shape of a point, by its verdict."""
VERDICTS = {1: "better", -1: "worse", 0: "may be noise"}
KEY = "▲▼ beyond noise, ○ may be noise"


Panels = Sequence[tuple[str, list[vl.Spec]]]
"""Label of each target, and a row for each step, see `_row`."""


def _row(step: float, effect: float, ci: Interval, verdict: str) -> vl.Spec:
    """The effect on one target at one step; `verdict` is a key of `MARKS`."""
    return {"step": step, "effect": effect, "verdict": verdict, **interval_columns(ci)}


def curves(panels: Panels, columns: int, title: str, *lines: str) -> vl.Spec:
    """A panel for each target, with its effects over steps or strengths, on one scale.

    Args:
        panels: label and rows of each target, in order; at least one effect is known.
        columns: panels in a row.
        lines: below the title; must name the measure.
    """
    steps = sorted({row["step"] for _, rows in panels for row in rows})
    panels = [(label, [r for r in rows if math.isfinite(r["effect"])]) for label, rows in panels]
    every = [row for _, rows in panels for row in rows]
    values = steps[:: math.ceil(len(steps) / 4)]
    # `format` alone would write 250 beside 2,000 as 0.3k.
    written = "~s" if all(isinstance(step, int) for step in steps) else "~g"
    axis = vl.part(title=None, values=values, grid=False, labelSeparation=8)
    axis |= vl.part(labelExpr=f"format(datum.value, '{written}')", labelOverlap="greedy")
    scale = vl.part(domain=[steps[0], steps[-1]], nice=False, padding=8)
    x = vl.field("step:Q", scale=scale, axis=axis)
    # Every effect fits on the scale, and a typical interval around it. Clamped, not clipped: clips
    # are numbered by how often the process has drawn, so that equal pages would differ.
    widths = [width for row in every if math.isfinite(width := row["high"] - row["low"])]
    margin = median(widths) / 2 if widths else 0.0
    effects = [0.0, *(row["effect"] for row in every)]
    domain = theme.padded([min(effects) - margin, max(effects) + margin])
    scale = vl.part(domain=domain, nice=False, clamp=True)
    y = vl.field("effect:Q", scale=scale, axis=vl.part(title=None, tickCount=4))
    fill, stroke, shape = (
        vl.field("verdict:N", scale=vl.part(domain=list(MARKS), range=list(looks)), legend=None)
        for looks in zip(*MARKS.values(), strict=True)
    )
    size = max(14, min(50, 600 // len(steps)))
    look = vl.part(filled=True, size=size, opacity=1, fill=fill, stroke=stroke, shape=shape)
    look["tooltip"] = vl.tips("step||,", "effect||+.3~f", "interval", "verdict")
    head = vl.part(fontSize=11, fontWeight=600, color=theme.SOFT, offset=4, limit=135)
    drawn = []
    for label, rows in panels:
        bars = vl.intervals(rows, x=x, y={**y, "field": "low"}, y2="high:Q", color=theme.RULE)
        line = vl.unit(rows, "line", color=theme.MUTED, strokeWidth=1.8, x=x, y=y)
        layers = (vl.zero_line(y=y), *bars, line, vl.unit(rows, "point", **look, x=x, y=y))
        drawn.append(vl.layer(*layers, width=150, height=110, title=head | {"text": label}))
    last = [f"{label} {signed(rows[-1]['effect'])}" for label, rows in panels if rows]
    words = f"{title}: a line for each target. At the last step: {'; '.join(last[:6])}."
    return vl.finish(vl.in_rows(drawn, columns, 18, 16), title, *lines, description=words)


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
    panels: list[tuple[str, list[vl.Spec]]] = [(clean(task(target)), []) for target in targets]
    for (_, rows), target in zip(panels, targets, strict=True):
        for run in runs:
            if cell := run.cell(target):
                known = cell.state in ("tested", "few items")
                low, high = cell.effect.interval() if known else (math.nan, math.nan)
                tested = cell.state == "tested" and run.verdict != "void"
                verdict = VERDICTS[cell.sign] if tested else "not tested"
                rows.append(
                    _row(run.step or 0, 100 * cell.change, (100 * low, 100 * high), verdict)
                )
    if len(runs) < 2 or not any(math.isfinite(r["effect"]) for _, rows in panels for r in rows):
        return None
    name = f" of {clean(runs[0].finetune)}" if runs[0].finetune else ""
    left_out = len({target for run in runs for target in run.cells} - set(targets))
    return curves(
        panels,
        columns,
        f"Over the steps{name}",
        "change in points · grey line: the base · bars: 95 % intervals",
        f"{KEY}, × not tested" + f" · {counted(left_out, 'task')} not drawn" * bool(left_out),
    )


def checkpoint_curves(analysis: Analysis, trajectory: Trajectory, _: str) -> vl.Spec | None:
    """Effect over step, a panel for each target, the most harmed first; None for one step."""
    courses = trajectory.targets
    known = {t: [e for e in c.effects if math.isfinite(e)] for t, c in courses.items()}
    last = {target: effects[-1] for target, effects in known.items() if effects}
    if len(trajectory.steps) < 2 or not last:
        return None
    panels, shown = [], sorted(last, key=lambda target: -abs(last[target]))[:PANELS]
    for target in sorted(shown, key=lambda target: last[target]):
        course = courses[target]
        verdicts = (VERDICTS[sign] for sign in course.beyond)
        rows = zip(trajectory.steps, course.effects, course.ci, verdicts, strict=True)
        own = " (own task)" * same_task(trajectory.sources[0], target)
        panels.append((labels(analysis).long[target] + own, [_row(*row) for row in rows]))
    key = f"{KEY} · most harmed at the end first"
    if left_out := len(last) - len(shown):
        key += f" · {counted(left_out, 'target')} with smaller effects not drawn"
    over = "training steps" if trajectory.axis == "step" else "LoRA's strength"
    measured = f"{MEASURES[analysis.settings.measure]} over {over}"
    line = f"{measured} · grey line: the base · bars: intervals"
    return curves(panels, COLUMNS, about(analysis, trajectory), line, key)


def about(analysis: Analysis, trajectory: Trajectory) -> str:
    """Which finetune of which model: `7B finetuned on Jigsaw, steps 500 to 2,000`; or
    `strengths 0.5 to 1`."""
    model = labels(analysis).models.get(trajectory.model, clean(trajectory.model))
    finetune, axis = clean(trajectory.finetune).replace("_", " "), trajectory.axis
    first, last = number(trajectory.steps[0]), number(trajectory.steps[-1])
    span = f"{axis} {first}" if len(trajectory.steps) == 1 else f"{axis}s {first} to {last}"
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
        ends = "the first checkpoint to the last"
        if axis == "strength":
            ends = f"strength {number(trajectory.steps[0])} to {number(trajectory.steps[-1])}"
        for word, sign in (("Rising", 1), ("Falling", -1)):
            moved = [(t, course) for t, course in courses.items() if course.change_beyond == sign]
            moved.sort(key=lambda each: -abs(each[1].change))
            moves = (f"{names[t]} {signed(c.change)} ({between(c.change_ci)})" for t, c in moved)
            sentences.append(f"{word} from {ends}: {listed(moves, NAMED) or 'none'}.")
        still = sum(c.change_beyond == 0 and has_interval(c.change_ci) for c in courses.values())
        if still:
            count = counted(still, "target")
            sentences.append(f"No change beyond noise from first to last: {count}.")
    for word, key in (("harm", "harmed_from"), ("help", "helped_from")):
        since = {t: getattr(c, key) for t, c in courses.items() if getattr(c, key) is not None}
        order = sorted(since, key=lambda t: since[t])
        first = (f"{names[t]} at {axis} {number(since[t])}" for t in order)
        sentences.append(f"First {word} beyond noise: {listed(first, NAMED) or 'none'}.")
    alpha = percent(analysis.settings.alpha)
    sentences.append(f"{tested} effects were tested; {alpha} exceed noise without any transfer.")
    return sentences
