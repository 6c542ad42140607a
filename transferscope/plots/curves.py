"""Checkpoints of one finetune: what rose and what fell, in sentences and as a chart."""

import math
from collections.abc import Iterable
from statistics import median

from transferscope.analysis import Analysis
from transferscope.analysis.parts import Course, Trajectory
from transferscope.plots.color_scale import padded
from transferscope.plots.composition import finish, heading, in_rows, layer
from transferscope.plots.labels import MEASURES, clean, counted, labels, listed, same_task
from transferscope.plots.numbers import between, has_interval, interval_columns, percent, signed
from transferscope.plots.theme import GRID, MUTED, NEGATIVE, PAPER, POSITIVE, SOFT
from transferscope.plots.vegalite import Spec, field, part, unit, zero_line

PANELS, COLUMNS = 24, 4
"""Targets drawn at most (those with the largest last effects), and panels in a row."""
NAMED = 5
"""Targets that a sentence names at most."""


def about(analysis: Analysis, trajectory: Trajectory) -> str:
    """Which finetune of which model: `7B finetuned on Jigsaw, steps 500 to 2,000`."""
    model = labels(analysis).models.get(trajectory.model, clean(trajectory.model))
    finetune = clean(trajectory.finetune).replace("_", " ")
    steps = trajectory.steps
    span = f"steps {steps[0]:,} to {steps[-1]:,}" if len(steps) > 1 else f"step {steps[0]:,}"
    return f"{model} finetuned on {finetune}, {span}"


def changes_over_steps(analysis: Analysis, trajectory: Trajectory) -> list[str]:
    """What changed between the first checkpoint and the last, and when each harm began."""
    courses, names = trajectory.targets, labels(analysis).long
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
            sentences.append(f"{word} from the first checkpoint to the last: {moves}.")
        still = sum(c.change_beyond == 0 and has_interval(c.change_ci) for c in courses.values())
        if still:
            count = counted(still, "target")
            sentences.append(f"No change beyond noise from first to last: {count}.")
    for word, key in (("harm", "harmed_from"), ("help", "helped_from")):
        since = {t: getattr(c, key) for t, c in courses.items() if getattr(c, key) is not None}
        order = sorted(since, key=lambda t: since[t])
        first = _some(f"{names[t]} at step {since[t]:,}" for t in order)
        sentences.append(f"First {word} beyond noise: {first}.")
    alpha = percent(analysis.settings.alpha)
    sentences.append(f"{tested} effects were tested; {alpha} exceed noise without any transfer.")
    return sentences


def _some(words: Iterable[str]) -> str:
    words = list(words)
    more = [f"{len(words) - NAMED} more"] if len(words) > NAMED else []
    return listed([*words[:NAMED], *more]) if words else "none"


def checkpoint_curves(analysis: Analysis, trajectory: Trajectory, _: str) -> Spec | None:
    """Effect over step, a panel for each target, the most harmed first; None for one step."""
    if len(trajectory.steps) < 2:
        return None
    courses = trajectory.targets
    known = {t: [e for e in c.effects if math.isfinite(e)] for t, c in courses.items()}
    last = {target: effects[-1] for target, effects in known.items() if effects}
    shown = sorted(last, key=lambda target: -abs(last[target]))[:PANELS]
    shown.sort(key=lambda target: last[target])
    if not shown:
        return None
    names, measure = labels(analysis).long, MEASURES[analysis.settings.measure]
    scale = part(domain=_range([courses[target] for target in shown]), nice=False)
    panels = [_panel(trajectory, target, names[target], scale, measure) for target in shown]
    key = "filled: beyond noise · most harmed at the end first"
    if left_out := len(last) - len(shown):
        key += f" · {counted(left_out, 'target')} with smaller effects not drawn"
    lines = (f"{measure} over training steps · grey line: the base · band: interval", key)
    title = about(analysis, trajectory)
    words = "; ".join(f"{names[target]} {signed(last[target])}" for target in shown[:6])
    spec = in_rows(panels, COLUMNS, 18, 16, title=heading(title, *lines))
    return finish(spec, f"{title}: a line for each target. At the last step: {words}.")


def _range(shown: list[Course]) -> list[float]:
    """One scale for all panels: every effect fits, and a typical interval around it."""
    effects = [value for course in shown for value in course.effects if math.isfinite(value)]
    shown_ci = [ci for course in shown for ci in course.ci if has_interval(ci)]
    margin = median(high - low for low, high in shown_ci) / 2 if shown_ci else 0.0
    return padded([min([0.0, *effects]) - margin, max([0.0, *effects]) + margin])


def _panel(trajectory: Trajectory, target: str, label: str, scale: Spec, measure: str) -> Spec:
    course, steps = trajectory.targets[target], trajectory.steps
    points = zip(steps, course.effects, course.ci, course.beyond, strict=True)
    rows = [
        {"step": step, "effect": effect, **interval_columns(ci), "beyond": str(beyond)}
        for step, effect, ci, beyond in points
        if math.isfinite(effect)
    ]
    x = field(
        "step:Q",
        scale=part(domain=[steps[0], steps[-1]], nice=False, padding=8),
        axis=part(title=None, values=steps[:: math.ceil(len(steps) / 4)], format="~s", grid=False),
    )
    y = field("effect:Q", scale=scale, axis=part(title=None, tickCount=4))
    layers = [zero_line(y=y)]
    if bars := [row for row in rows if None not in (row["low"], row["high"])]:
        band = part(color=GRID, opacity=0.75, clip=True, y={**y, "field": "low"}, y2="high:Q")
        layers.append(unit(bars, "area", x=x, **band))
    layers.append(unit(rows, "line", color=MUTED, strokeWidth=1.8, x=x, y=y))
    effect = field("effect:Q", title=measure, format="+.3f")
    tooltip = [field("step:Q", format=","), effect, "interval:N"]
    fill, stroke = (
        field("beyond:N", scale=part(domain=["1", "-1", "0"], range=colors), legend=None)
        for colors in ([POSITIVE, NEGATIVE, PAPER], [POSITIVE, NEGATIVE, MUTED])
    )
    look = part(filled=True, size=46, opacity=1, fill=fill, stroke=stroke)
    layers.append(unit(rows, "point", **look, x=x, y=y, tooltip=tooltip))
    own = " (own task)" if same_task(trajectory.sources[0], target) else ""
    head = part(text=label + own, fontSize=11, fontWeight=600, color=SOFT, offset=4)
    return layer(*layers, width=150, height=110, title=head)
