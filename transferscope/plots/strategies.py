"""What the choice of training data is worth: the counterpart of the paper's Figure 8.

In:   an `Analysis` with an experiment.
Out:  a Vega-Lite specification for each model, and rows of text for tables.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from transferscope.analysis import Analysis
from transferscope.analysis.experiment_record import (
    STRATEGIES,
    Experiment,
    Judgement,
    Strategy,
    Trial,
)
from transferscope.analysis.noise import beyond_noise
from transferscope.matrix.estimate import Estimate
from transferscope.plots.labels import (
    MEASURES,
    UNKNOWN,
    Labels,
    between,
    counted,
    has_interval,
    known,
    listed,
    percent,
    signed,
    spelled,
)
from transferscope.plots.theme import MUTED, NEGATIVE, PAPER, POSITIVE, RULE, SOFT
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
from transferscope.selection import THRESHOLDS, Rule

ROW = 19
WIDTH = 250
NAMES: dict[Strategy, str] = {
    "base": "base",
    "direct": "its own data",
    "informed": "informed mixture",
    "random": "random mixtures",
    "all": "all sources",
}
"""What the strategies are called where there is little room."""
RULES: dict[Rule, str] = {
    "paper": "every source with a mean effect above {:g}, in equal shares",
    "default": "sources that help with a probability of at least {:g}, weighed by how much",
}
RIVALS: tuple[Strategy, ...] = ("base", "direct", "random", "all")


class Line(NamedTuple):
    """One target of the table."""

    target: str
    """The target's name as it was given."""
    name: str
    informed: str
    """The informed mixture, or why there is none."""
    expected: str
    cells: list[tuple[str, str]]
    """Accuracy of each strategy, and its interval, or why there is none or what it coincides
    with."""


def strategies(analysis: Analysis, model: str, title: str, names: Labels) -> Spec | None:
    """Accuracy of each way to train for each target, and the informed mixture minus the others."""
    experiment = analysis.experiment
    if experiment is None or model not in experiment.models:
        return None
    one, alpha = experiment.models[model], analysis.settings.alpha
    measure = MEASURES[analysis.settings.measure]
    ends, final = _ends(one), list(one.targets)[-1]
    rows = [
        beside(
            _left(trial, names.long.get(target, target), ends[0], names, last=target == final),
            _right(trial.differences, ends[1], measure, alpha, last=len(one.targets) == 1),
            spacing=16,
        )
        for target, trial in one.targets.items()
    ]
    if len(one.targets) > 1:
        rows.append(
            beside(
                _blank("Mean over targets", "for which both were tried"),
                _right(one.differences, ends[1], measure, alpha, last=True),
                spacing=16,
            )
        )
    spec = below(
        *rows,
        spacing=8,
        title=heading(
            title,
            "left: accuracy of each way to train, %; grey line: the base",
            f"right: the informed mixture minus each other way, {measure}; hollow: may be noise",
        ),
    )
    said = " ".join(spelled(sentence, names) for sentence in one.verdict)
    return finish(spec, f"{title}. {said}")


def _ends(one: Judgement) -> tuple[list[float], list[float]]:
    """One scale of accuracies (percent) and one of differences for all panels."""
    levels: list[float] = []
    apart: list[float] = [0.0]
    for trial in one.targets.values():
        for arm in trial.arms.values():
            levels += [100 * end for end in (arm.accuracy.mean, *arm.accuracy.ci)]
    for its in (one.differences, *(trial.differences for trial in one.targets.values())):
        for difference in its.values():
            apart += [difference.mean, *difference.ci]
    return _padded(levels), _padded(apart)


def _padded(values: list[float]) -> list[float]:
    values = [value for value in values if math.isfinite(value)]
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 0.01
    return [low - margin, high + margin]


def _left(trial: Trial, label: str, ends: list[float], names: Labels, *, last: bool) -> Spec:
    """Accuracy of each way to train for one target."""
    rows, missing, seeds = [], [], []
    for name, arm in trial.arms.items():
        value = 100 * arm.accuracy.mean
        if not math.isfinite(value):
            missing.append({"way": NAMES[name], "why": arm.why or "not measured", "at": ends[0]})
            continue
        row = {"way": NAMES[name], "value": value, "trained": _trained(arm.mixtures, names)}
        row |= {"low": known(100 * arm.accuracy.ci[0]), "high": known(100 * arm.accuracy.ci[1])}
        row["interval"] = " to ".join(percent(end) for end in arm.accuracy.ci)
        row["effect"] = f"{signed(arm.effect.mean)} ({between(arm.effect.ci)})"
        rows.append(row)
        marks = arm.accuracy.seeds.values() if name != "base" else ()
        seeds += [{"way": NAMES[name], "value": 100 * s} for s in marks if math.isfinite(s)]
    y = field("way:N", scale=part(domain=list(NAMES.values())), axis=axis(labelOverlap=False))
    x = field(
        "value:Q",
        scale=part(domain=ends, nice=False),
        axis=axis("accuracy, %" if last else None, tickCount=6),
    )
    layers = []
    if base := [row for row in rows if row["way"] == NAMES["base"]]:
        layers.append(unit(base[:1], mark("rule", color=RULE), x=x))
    if seeds:
        stroke = mark("point", shape="stroke", angle=90, size=90, color=SOFT, opacity=0.45)
        layers.append(unit(seeds, stroke, x=x, y=y))
    colour = {NAMES["informed"]: POSITIVE}
    tooltip = [
        field("way:N", title="trained on"),
        field("trained:N", title="tasks"),
        field("value:Q", title="accuracy, %", format=".1f"),
        "interval:N",
        field("effect:N", title="effect"),
    ]
    for row in rows:
        ink = colour.get(row["way"], SOFT)
        if row["low"] is not None:
            rule = mark("rule", color=ink, strokeWidth=1.8)
            layers.append(unit([row], rule, x=field("low:Q"), x2="high:Q", y=y))
        dot = mark("circle", size=60, color=ink, opacity=1)
        layers.append(unit([row], dot, x=x, y=y, tooltip=tooltip))
    if missing:
        text = mark("text", align="left", dx=4, color=MUTED, fontSize=10, limit=WIDTH)
        at = field("at:Q", scale=part(domain=ends, nice=False))
        layers.append(unit(missing, text, x=at, y=y, text="why:N"))
    return layer(
        *layers,
        width=WIDTH,
        height=ROW * len(NAMES),
        title=part(text=label, fontSize=12, offset=4),
    )


def _trained(mixtures: dict[str, dict[str, float]], names: Labels) -> str:
    """What an arm was trained on; of several mixtures how many."""
    if len(mixtures) != 1:
        return counted(len(mixtures), "mixture") if mixtures else UNKNOWN
    (shares,) = mixtures.values()
    order = sorted(shares, key=lambda task: -shares[task])
    return listed(f"{names.long.get(task, task)} {percent(shares[task])}" for task in order)


def _blank(label: str, below_it: str) -> Spec:
    """Words in place of a panel."""
    text = mark("text", align="right", dx=WIDTH / 2 - 6, color=SOFT, fontSize=12)
    return unit([{"label": f"{label}, {below_it}"}], text, {"width": WIDTH}, text="label:N")


def _right(
    differences: dict[Strategy, Estimate],
    ends: list[float],
    measure: str,
    alpha: float,
    *,
    last: bool,
) -> Spec:
    domain = [NAMES[name] for name in RIVALS]
    rows = []
    for name in RIVALS:
        its = differences[name]
        if math.isfinite(its.mean):
            sure = bool(beyond_noise(its, alpha))
            row = {"way": NAMES[name], "value": its.mean, "sure": sure}
            row |= {"low": known(its.ci[0]), "high": known(its.ci[1])}
            rows.append(row | {"interval": between(its.ci)})
    y = field(
        "way:N",
        scale=part(domain=domain),
        axis=axis(labelOverlap=False, labelExpr="'minus ' + datum.label"),
    )
    x = field(
        "value:Q",
        scale=part(domain=ends, nice=False),
        axis=axis(f"difference, {measure}" if last else None, tickCount=5),
    )
    layers = [unit([{"value": 0}], mark("rule", color=RULE), x=x)]
    tooltip = [
        field("way:N", title="informed mixture minus"),
        field("value:Q", title=f"difference, {measure}", format="+.3f"),
        "interval:N",
    ]
    for row in rows:
        ink = POSITIVE if row["value"] > 0 else NEGATIVE
        if row["low"] is not None:
            rule = mark("rule", color=ink, strokeWidth=1.6)
            layers.append(unit([row], rule, x=field("low:Q"), x2="high:Q", y=y))
        fill = ink if row["sure"] else PAPER
        dot = mark("point", filled=True, size=55, fill=fill, stroke=ink, opacity=1)
        layers.append(unit([row], dot, x=x, y=y, tooltip=tooltip))
    if not rows:
        said = [{"label": "nothing to compare", "way": domain[1], "value": ends[0]}]
        text = mark("text", align="left", dx=4, color=MUTED, fontSize=10)
        layers.append(unit(said, text, x=x, y=y, text="label:N"))
    return layer(*layers, width=200, height=ROW * len(domain))


def lines(analysis: Analysis, model: str, names: Labels) -> list[Line]:
    """The experiment on one model, target by target."""
    experiment = analysis.experiment
    if experiment is None or model not in experiment.models:
        return []
    return [
        Line(
            target=target,
            name=names.long.get(target, target),
            informed=trial.arms["informed"].why or _trained(trial.arms["informed"].mixtures, names),
            expected=_expected(trial),
            cells=[_cell(trial, name) for name in STRATEGIES],
        )
        for target, trial in experiment.models[model].targets.items()
    ]


def _expected(trial: Trial) -> str:
    """What the matrix promised and what came; empty where there is no informed mixture."""
    got = trial.arms["informed"].effect.mean
    if not math.isfinite(got):
        return ""
    return f"{signed(trial.expected.mean)} expected, {signed(got)} reached"


def _cell(trial: Trial, name: Strategy) -> tuple[str, str]:
    arm = trial.arms[name]
    if not math.isfinite(arm.accuracy.mean):
        return UNKNOWN, arm.why
    ends = arm.accuracy.ci
    interval = f"{percent(ends[0])} to {percent(ends[1])}" if has_interval(ends) else ""
    return percent(arm.accuracy.mean), "; ".join(filter(None, (interval, arm.why)))


def how(experiment: Experiment) -> Iterator[str]:
    """How the experiment was made, in sentences."""
    threshold = experiment.threshold
    if threshold is None:
        threshold = THRESHOLDS[experiment.rule]
    informed, judged = (
        counted(len(seeds), word)
        for seeds, word in (
            (experiment.informed_by, "seed"),
            (experiment.judged_by, "other seed"),
        )
    )
    items = "on other items" if experiment.other_items else "on the same items"
    draws = counted(experiment.draws, "random mixture")
    yield (
        f"The mixtures were chosen from {informed}: {RULES[experiment.rule].format(threshold)}. "
        f"They were judged with {judged} {items}. Every way to train had {experiment.items:,} "
        f"training items; {draws} were drawn for each seed."
    )
    yield from experiment.notes
