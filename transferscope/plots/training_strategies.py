"""What the choice of training data is worth: the counterpart of the paper's Figure 8."""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from transferscope.analysis import Analysis
from transferscope.analysis.parts import STRATEGIES, Estimate, Experiment, Strategy, Trial
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.color_scale import padded
from transferscope.plots.composition import below, beside, finish, heading, layer
from transferscope.plots.labels import Labels, counted, labels, listed, spelled
from transferscope.plots.numbers import UNKNOWN, between, has_interval, known, percent, signed
from transferscope.plots.theme import MUTED, NEGATIVE, PAPER, POSITIVE, RULE, SOFT
from transferscope.plots.vegalite import Spec, by_sign, field, intervals, part, unit, zero_line
from transferscope.selection import THRESHOLDS, Rule

ROW, WIDTH = 19, 250
NAMES: dict[Strategy, str] = {
    "base": "base",
    "direct": "target’s data",
    "informed": "informed mixture",
    "random": "random mixtures",
    "all": "all sources",
}
"""Short names of the strategies."""
RIVALS: list[Strategy] = [name for name in STRATEGIES if name != "informed"]
RULES: dict[Rule, str] = {
    "paper": "every source with a mean effect above {:g}, in equal shares",
    "default": "sources that help with a probability of at least {:g}, weighted by effect",
}


class StrategyRow(NamedTuple):
    """One target of the table."""

    target: str
    """The target's label."""
    informed: str
    """The informed mixture, or why nothing was chosen."""
    expected: str
    cells: list[tuple[str, str]]
    """Accuracy of each strategy, and its interval, or why it is missing."""


def strategies(analysis: Analysis, model: str, title: str) -> Spec | None:
    """Accuracy of each strategy on each target, and the informed mixture minus the others."""
    experiment, names = analysis.experiment, labels(analysis)
    if experiment is None or model not in experiment.models:
        return None
    one = experiment.models[model]
    levels, apart = [], [0.0]
    for trial in one.targets.values():
        for arm in trial.arms.values():
            levels += [100 * end for end in (arm.accuracy.mean, *arm.accuracy.ci)]
    for judged in (one, *one.targets.values()):
        for difference in judged.differences.values():
            apart += [100 * end for end in (difference.mean, *difference.ci)]
    left = padded(levels)
    differences = partial(_differences, ends=padded(apart), alpha=analysis.settings.alpha)
    several, final = len(one.targets) > 1, list(one.targets)[-1]
    rows = [
        beside(
            _accuracies(trial, names, left, last=target == final)
            | {"title": part(text=names.long.get(target, target), fontSize=12, offset=4)},
            differences(trial.differences, last=not several),
            spacing=16,
        )
        for target, trial in one.targets.items()
    ]
    if several:
        words = [{"label": "Mean over targets, for which both were tried"}]
        text = part(align="right", dx=WIDTH / 2 - 6, color=SOFT, fontSize=12)
        label = unit(words, "text", text="label:N", **text) | {"width": WIDTH}
        rows.append(beside(label, differences(one.differences, last=True), spacing=16))
    head = heading(
        title,
        "left: accuracy of each strategy, %; grey line: the base",
        "right: the informed mixture minus each other strategy, points; hollow: may be noise",
    )
    verdict = " ".join(spelled(sentence, names) for sentence in one.verdict)
    return finish(below(*rows, spacing=8, title=head), f"{title}. {verdict}")


def _accuracies(trial: Trial, names: Labels, ends: list[float], *, last: bool) -> Spec:
    """Accuracy of each strategy for one target."""
    rows, missing, seeds = [], [], []
    for name, arm in trial.arms.items():
        value, ci = 100 * arm.accuracy.mean, arm.accuracy.ci
        if not math.isfinite(value):
            missing.append({"way": NAMES[name], "why": arm.why or "not measured", "at": ends[0]})
            continue
        row: Spec = {"way": NAMES[name], "value": value, "trained": _trained(arm.mixtures, names)}
        row |= {"low": known(100 * ci[0]), "high": known(100 * ci[1])}
        row["interval"] = " to ".join(percent(end) for end in ci)
        row["effect"] = f"{_points(arm.effect.mean)} points ({_ends(arm.effect)})"
        rows.append(row | {"kind": "informed" if name == "informed" else "other"})
        if name != "base":
            values = (100 * seed for seed in arm.accuracy.seeds.values())
            seeds += [{"way": NAMES[name], "value": each} for each in values if math.isfinite(each)]
    ways = part(domain=list(NAMES.values()))
    y = field("way:N", scale=ways, axis=part(title=None, labelOverlap=False))
    scale = part(domain=ends, nice=False)
    axis = part(title="accuracy, %" if last else None, tickCount=6)
    x = field("value:Q", scale=scale, axis=axis)
    way, tasks = field("way:N", title="trained on"), field("trained:N", title="tasks")
    value = field("value:Q", title="accuracy, %", format=".1f")
    tooltip = [way, tasks, value, "interval:N", "effect:N"]
    layers = []
    if base := [row for row in rows if row["way"] == NAMES["base"]]:
        layers.append(unit(base, "rule", color=RULE, x=x))
    if seeds:
        stroke = part(shape="stroke", angle=90, size=90, color=SOFT, opacity=0.45)
        layers.append(unit(seeds, "point", x=x, y=y, **stroke))
    if rows:
        shades = part(domain=["informed", "other"], range=[POSITIVE, SOFT])
        color = field("kind:N", scale=shades, legend=None)
        layers += intervals(rows, color=color, strokeWidth=1.8, x="low:Q", x2="high:Q", y=y)
        dot = part(size=60, opacity=1)
        layers.append(unit(rows, "circle", color=color, x=x, y=y, tooltip=tooltip, **dot))
    if missing:
        text = part(align="left", dx=4, color=MUTED, fontSize=10, limit=WIDTH)
        at = field("at:Q", scale=scale)
        layers.append(unit(missing, "text", x=at, y=y, text="why:N", **text))
    return layer(*layers, width=WIDTH, height=ROW * len(NAMES))


def _trained(mixtures: dict[str, dict[str, float]], names: Labels) -> str:
    """The mixture an arm was trained on; of several their number."""
    if len(mixtures) != 1:
        return counted(len(mixtures), "mixture") if mixtures else UNKNOWN
    (shares,) = mixtures.values()
    order = sorted(shares, key=lambda task: -shares[task])
    return listed(f"{names.long.get(task, task)} {percent(shares[task])}" for task in order)


def _differences(
    found: dict[Strategy, Estimate], *, ends: list[float], alpha: float, last: bool
) -> Spec:
    """The informed mixture minus each other strategy."""
    domain, x_title = [NAMES[name] for name in RIVALS], "difference, points of accuracy"
    rows = []
    for name in RIVALS:
        estimate = found[name]
        if math.isfinite(estimate.mean):
            row: Spec = {"way": NAMES[name], "value": 100 * estimate.mean}
            row |= {"low": known(100 * estimate.ci[0]), "high": known(100 * estimate.ci[1])}
            row["sign"] = "positive" if estimate.mean > 0 else "negative"
            row["sure"] = bool(beyond_noise(estimate, alpha))
            row["shade"] = row["sign"] if row["sure"] else "noise"
            rows.append(row | {"interval": _ends(estimate)})
    minus = part(title=None, labelOverlap=False, labelExpr="'minus ' + datum.label")
    y = field("way:N", scale=part(domain=domain), axis=minus)
    scale = part(domain=ends, nice=False)
    x = field("value:Q", scale=scale, axis=part(title=x_title if last else None, tickCount=5))
    layers = [zero_line(x=x)]
    if rows:
        # Panels share scales by channel: `color` has those of the accuracies on the left.
        layers += intervals(rows, stroke=by_sign(), strokeWidth=1.6, x="low:Q", x2="high:Q", y=y)
        fills = part(domain=["positive", "negative", "noise"], range=[POSITIVE, NEGATIVE, PAPER])
        fill = field("shade:N", scale=fills, legend=None)
        value = field("value:Q", title=x_title, format="+.1f")
        tooltip = [field("way:N", title="informed mixture minus"), value, "interval:N"]
        dot = part(filled=True, size=55, opacity=1, fill=fill, stroke=by_sign())
        layers.append(unit(rows, "point", x=x, y=y, tooltip=tooltip, **dot))
    else:
        words = [{"label": "nothing to compare", "way": domain[1], "value": ends[0]}]
        text = part(align="left", dx=4, color=MUTED, fontSize=10)
        layers.append(unit(words, "text", x=x, y=y, text="label:N", **text))
    return layer(*layers, width=200, height=ROW * len(domain))


def _points(change: float) -> str:
    """`+3.1`"""
    return signed(100 * change, 1)


def _ends(estimate: Estimate) -> str:
    """The interval in points: `+0.5 to +5.7`."""
    return between((100 * estimate.ci[0], 100 * estimate.ci[1]), 1)


def strategy_rows(analysis: Analysis, model: str) -> list[StrategyRow]:
    """The experiment on one model, target by target."""
    experiment, names = analysis.experiment, labels(analysis)
    if experiment is None or model not in experiment.models:
        return []
    rows = []
    for target, trial in experiment.models[model].targets.items():
        informed, cells = trial.arms["informed"], []
        for name in STRATEGIES:
            arm = trial.arms[name]
            ends, why = arm.accuracy.ci, arm.why
            if math.isfinite(arm.accuracy.mean) and has_interval(ends):
                interval = f"{percent(ends[0])} to {percent(ends[1])}"
                why = f"{interval}; {why}" if why else interval
            cells.append((percent(arm.accuracy.mean), why))
        expected = ""
        if math.isfinite(reached := informed.effect.mean):
            expected = f"{_points(trial.expected)} points expected, {_points(reached)} reached"
        mixture = informed.why or _trained(informed.mixtures, names)
        rows.append(StrategyRow(names.long.get(target, target), mixture, expected, cells))
    return rows


def experiment_words(experiment: Experiment) -> Iterator[str]:
    """How the experiment was made, in sentences."""
    threshold, rule = experiment.threshold, experiment.rule
    limit = THRESHOLDS[rule] if threshold is None else threshold
    seeds = counted(len(experiment.informed_by), "seed")
    others = counted(len(experiment.judged_by), "other seed")
    items = "other items" if experiment.other_items else "the same items"
    yield f"The mixtures were chosen from {seeds}: {RULES[rule].format(limit)}."
    yield f"They were judged with {others} on {items}."
    yield f"Each strategy had {experiment.items:,} training items."
    yield f"Random mixtures for each seed: {experiment.draws}."
    yield from experiment.notes
