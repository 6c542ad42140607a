"""What the choice of training data is worth: the counterpart of the paper's Figure 8."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from transferscope.analysis import Analysis
from transferscope.analysis.parts import STRATEGIES, Estimate, Experiment, Strategy
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots import composition as vl
from transferscope.plots import theme
from transferscope.plots.labels import Labels, counted, labels, spelled
from transferscope.plots.numbers import UNKNOWN, between, percent, signed
from transferscope.selection import THRESHOLDS, Rule
from transferscope.selection.wording import listed

ROW, WIDTH = 18, 190
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


def strategies(analysis: Analysis, model: str, title: str) -> vl.Spec | None:
    """Accuracy of each strategy on each target, and the informed mixture minus the others."""
    experiment, names = analysis.experiment, labels(analysis)
    if experiment is None or model not in experiment.models:
        return None
    one, alpha = experiment.models[model], analysis.settings.alpha
    pairs: list[tuple[str, list[vl.Spec], list[vl.Spec]]] = []
    for target, trial in one.targets.items():
        rows = []  # the accuracy of each strategy, or why it is missing
        for name, arm in trial.arms.items():
            row = _row(name, arm.accuracy, "positive" if name == "informed" else "other")
            row["interval"] = " to ".join(percent(end) for end in arm.accuracy.ci)
            row["effect"] = f"{in_points(arm.effect.mean)} points ({_ends(arm.effect)})"
            why = {} if math.isfinite(row["value"]) else {"why": arm.why or "not measured"}
            rows.append(row | why | {"trained": trained(arm.mixtures, names)})
        differences = _differences(trial.differences, alpha)
        pairs.append((names.long.get(target, target), rows, differences))
    mean = _differences(one.differences, alpha)
    levels = [row for _, rows, _ in pairs for row in rows]
    apart = [row for _, _, rows in [*pairs, ("", [], mean)] for row in rows]
    left = partial(_panel, every=levels, ways=list(STRATEGIES), axis="accuracy, %")
    right = partial(_panel, every=apart, ways=RIVALS, axis="points of accuracy")
    minus, panels = "informed mixture minus", []
    for text, rows, differences in pairs:
        panels += [left(rows, text), right(differences, minus)]
    spec = vl.in_rows(panels, 2, 16, 12)
    if len(pairs) > 1:
        over = right(mean, f"{minus}, mean over targets tried both ways")
        spec["vconcat"].append(over | {"width": 2 * WIDTH + 120})
    verdict = " ".join(spelled(sentence, names) for sentence in one.verdict)
    return vl.finish(
        spec,
        title,
        "Left: accuracy on the target after each way to train. Grey line: the base.",
        "Right: the informed mixture minus each other way, in points. Hollow: may be noise.",
        description=f"{title}. {verdict}",
    )


def _differences(found: Mapping[Strategy, Estimate], alpha: float) -> list[vl.Spec]:
    """The informed mixture minus each other strategy."""
    rows = []
    for name in RIVALS:
        row = _row(name, found[name], "positive" if found[name].mean > 0 else "negative")
        sure = bool(beyond_noise(found[name], alpha))
        rows.append(row | {"sure": sure, "shade": row["sign"] if sure else "noise"})
    return rows


def _row(name: Strategy, estimate: Estimate, sign: str) -> vl.Spec:
    """An estimate in percent or points, and the strategy that it is of."""
    low, high = (100 * end for end in estimate.ci)
    row = {"way": NAMES[name], "value": 100 * estimate.mean, "interval": _ends(estimate)}
    return row | {"low": low, "high": high, "sign": sign, "shade": sign}


def _panel(
    rows: list[vl.Spec], title: str, *, every: list[vl.Spec], ways: Sequence[Strategy], axis: str
) -> vl.Spec:
    """A dot with its interval for each strategy, on the scale of all panels like this one."""
    ends = [row[key] for row in every for key in ("value", "low", "high")]
    accuracies = len(ways) == len(NAMES)
    scale = theme.padded(ends if accuracies and any(map(math.isfinite, ends)) else [0.0, *ends])
    x, y = vl.value_axis("value", axis, scale), vl.name_axis("way", (NAMES[way] for way in ways))
    shown = [row for row in rows if math.isfinite(row["value"])]
    base = [row for row in shown if accuracies and row["way"] == NAMES["base"]]
    layers = [vl.unit(base, "rule", color=theme.RULE, x=x) if base else vl.zero_line(x=x)]
    tooltip = vl.tips("way", f"value|{axis}|+.1f", "interval")
    tooltip += vl.tips("trained|tasks", "effect") if accuracies else []
    layers += vl.dots(shown, x, y, tooltip)
    words = [
        {"way": row["way"], "value": scale[0], "label": row.get("why", UNKNOWN)}
        for row in rows
        if row not in shown
    ]
    if words:
        text = vl.part(align="left", dx=4, color=theme.MUTED, fontSize=10, limit=WIDTH)
        layers.append(vl.unit(words, "text", x=x, y=y, text="label:N", **text))
    size = vl.part(width=WIDTH, height=ROW * len(ways), title=vl.panel_title(title))
    return vl.layer(*layers, **size)


def trained(mixtures: dict[str, dict[str, float]], names: Labels) -> str:
    """The mixture an arm was trained on; of several their number."""
    if len(mixtures) != 1:
        return counted(len(mixtures), "mixture") if mixtures else UNKNOWN
    (shares,) = mixtures.values()
    order = sorted(shares, key=lambda task: -shares[task])
    return listed(f"{names.long.get(task, task)} {percent(shares[task])}" for task in order)


def in_points(change: float) -> str:
    """`+3.1`"""
    return signed(100 * change, 1)


def _ends(estimate: Estimate) -> str:
    """The interval in points: `+0.5 to +5.7`."""
    return between((100 * estimate.ci[0], 100 * estimate.ci[1]), 1)


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
