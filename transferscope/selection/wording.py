"""A selection and its experiment in words: evidence, verdicts and caveats."""

import math
from collections.abc import Iterable, Mapping, Sequence

from transferscope.analysis.parts import Estimate, Strategy, Trial
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.collapse import describe_answers
from transferscope.selection.mixture_record import ChosenSource, Request, SourceEffect
from transferscope.tasks.number import Interval
from transferscope.tasks.untrusted import shown

NAMED = 4
"""Sources that the verdict names."""
RIVALS: dict[Strategy, str] = {
    "random": "random mixtures of the same size",
    "all": "all sources",
    "direct": "the target's own data",
    "base": "not training",
}
"""What the informed mixture is compared with, the paper's comparison first."""


def signed(value: float, digits: int = 2) -> str:
    """An effect: `+0.12`, `−0.30`, `0.00`."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def listed(names: Iterable[str], most: int | None = None) -> str:
    """`a, b and c`; with `most` 2: `a, b and 1 more`."""
    words = list(names)
    if most is not None and len(words) > most:
        words[most:] = [f"{len(words) - most} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def points(change: float) -> str:
    """A change of accuracy in points: `+3.3`, `−20.4`; `–` where it is unknown."""
    return "–" if math.isnan(change) else signed(100 * change, 1)


def probability(value: float) -> str:
    """`0.93`, `> 0.99`, `< 0.01`; `–` where it is unknown."""
    if math.isnan(value):
        return "–"
    if value < 0.005:
        return "< 0.01"
    return "> 0.99" if value > 0.995 else f"{value:.2f}"


def in_points(change: float, ci: Interval) -> str:
    """`+3.1 points (+0.5 to +5.7)`, or the change alone."""
    ends = "" if math.isnan(ci[0]) else f" ({points(ci[0])} to {points(ci[1])})"
    return f"{points(change)} points{ends}"


def beyond(request: Request) -> str:
    """` beyond NAME` where a placebo is the yardstick, else empty."""
    return f" beyond {shown(request.yardstick)}" if request.yardstick else ""


def measured(request: Request, each: SourceEffect) -> str:
    """What was measured of one source."""
    return f"measured {in_points(each.gain.change, each.gain.change_ci)}{beyond(request)}"


def evidence(request: Request, each: SourceEffect) -> str:
    known = [value for value in each.cell.seeds.values() if math.isfinite(value)]
    parts = [measured(request, each)]
    if math.isfinite(q := each.cell.q_value):
        parts.append(f"q {q:.3f}" if q >= 0.001 else "q < 0.001")
    parts.append(f"above 0 in {sum(v > 0 for v in known)} of {len(known)} seeds")
    answers = request.answers(each.source)
    if answers and answers.collapsed:
        parts.append(describe_answers(answers))
    return "; ".join(parts)


def verdict(
    request: Request,
    effects: Sequence[SourceEffect],
    choices: Sequence[ChosenSource],
    expected: float,
) -> str:
    """The answer in one sentence."""
    target = shown(request.target)
    if choices and request.rule == "default":
        (one,) = choices
        chance = f"P(more than a point) {probability(one.helps)}"
        gain = f"{points(expected)} points{beyond(request)} expected, {chance}"
        return f"For {target}, train on {shown(one.source)}: {gain}."
    if choices:
        names = listed([f"{shown(c.source)} ({100 * c.share:.0f}%)" for c in choices], NAMED)
        return f"For {target}, train on {names}: on average {points(expected)} points measured."
    known = [each for each in effects if math.isfinite(each.expected)]
    if not known:
        why = max((each.why for each in effects), key=len, default="it has no other source")
        return f"No answer for {target}: {why}."
    if any(each.reason == "may do harm" for each in effects):
        protected = listed(map(shown, request.protect))
        return f"Every source that helps {target} may harm {protected}."
    best = max(known, key=lambda each: each.expected)
    if request.rule == "paper":
        head = f"Nothing does more than {request.threshold:g} for {target}"
        return f"{head}: the best of {len(known)} sources is {shown(best.source)}."
    guess = f"best guess {shown(best.source)}, {points(best.expected)} points"
    chance = f"P(more than a point) {probability(best.gain.helps)}"
    return f"No source is likely to add a point to {target}{beyond(request)}: {guess}, {chance}."


def notes(
    request: Request,
    effects: Sequence[SourceEffect],
    taken: Sequence[SourceEffect],
    *,
    named: bool,
) -> list[str]:
    """Caveats; `named`: whether the user named the model."""
    target, found = shown(request.target), []
    if not named and len(request.analysis.models) > 1:
        models = ", ".join(map(shown, request.analysis.models))
        found.append(f"Read from {shown(request.model)}, the last of {models} with this target.")
    unknown = [math.isnan(each.cell.mean) and math.isnan(each.cell.change) for each in effects]
    if missing := sum(unknown):
        found.append(f"{missing} of {len(effects)} sources have no known effect on {target}.")
    if request.rule == "default":
        if taken:
            found.append(
                "The expected gain is smaller than the measured one where the other effects of the "
                "matrix show that luck is part of it."
            )
        if request.yardstick is not None:
            alone = request.matrix.controls[request.yardstick].targets[request.target].mean
            found.append(
                f"{shown(request.yardstick)} alone has an effect of {signed(alone)} on {target}: "
                "a source must do more."
            )
        elif request.matrix.adjusted is None:
            found.append("No placebo was run: what any finetune does counts as help.")
    if len(taken) > 1:
        found.append("This mixture is untested: what its sources do alone need not add up.")
    return found


def experiment_verdict(
    trials: Mapping[str, Trial],
    means: Mapping[Strategy, Estimate],
    compared: Mapping[Strategy, Sequence[str]],
    alpha: float,
) -> list[str]:
    """A sentence for each comparison, and one for the targets without any."""
    compared = {name: compared[name] for name in RIVALS if compared[name]}
    lines = [_against(n, names, trials, means[n], alpha) for n, names in compared.items()]
    if empty := [shown(n) for n, trial in trials.items() if not trial.arms["informed"].mixtures]:
        lines.append(
            f"For {listed(empty)} the matrix names nothing that helps surely enough: "
            "there is no informed mixture to judge."
        )
    return lines


def _against(
    name: Strategy,
    targets: Sequence[str],
    trials: Mapping[str, Trial],
    mean: Estimate,
    alpha: float,
) -> str:
    """How often the informed mixture is better, worse or neither, and by how much over targets."""
    kinds: dict[str, list[str]] = {"better": [], "worse": [], "not distinguishable": []}
    for target in targets:
        difference = trials[target].differences[name]
        kind = "not distinguishable"
        if beyond_noise(difference, alpha) and difference.mean:
            kind = "better" if difference.mean > 0 else "worse"
        kinds[kind].append(shown(target))
    found = [(kind, names) for kind, names in kinds.items() if names]
    rival, of, (first, names) = RIVALS[name], len(targets), found[0]
    how = f"{first} {'from' if first == 'not distinguishable' else 'than'} {rival}"
    effect = in_points(mean.mean, mean.ci)
    if of == 1:
        return f"The informed mixture is {how} on {listed(names)}: {effect}."

    def which(names: list[str]) -> str:
        return "" if len(names) == of else f" ({listed(names)})"

    parts = [f"{how} on {len(names)} of {of} targets{which(names)}"]
    parts += [f"{kind} on {len(names)}{which(names)}" for kind, names in found[1:]]
    noise = "" if beyond_noise(mean, alpha) else ", which may be noise"
    return f"The informed mixture is {listed(parts)}; over the {of} by {effect}{noise}."
