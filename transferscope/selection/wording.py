"""A selection and its experiment in words: evidence, verdicts and caveats."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from transferscope.analysis.parts import Estimate, Strategy, Trial
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.collapse import describe_answers
from transferscope.selection.mixture_record import ChosenSource, Request, SourceEffect
from transferscope.tasks.number import Interval
from transferscope.tasks.untrusted import shown

NAMED, TIES = 4, 2
"""Sources that the verdict names; pairs of sources of equal effect that are named."""
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


def with_interval(mean: float, ci: Interval) -> str:
    """`+0.12 (+0.03 to +0.21)`, or the mean alone."""
    if math.isnan(ci[0]):
        return signed(mean)
    return f"{signed(mean)} ({signed(ci[0])} to {signed(ci[1])})"


def listed(names: Iterable[str], most: int | None = None) -> str:
    """`a, b and c`; with `most` 2: `a, b and 1 more`."""
    words = list(names)
    if most is not None and len(words) > most:
        words[most:] = [f"{len(words) - most} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def evidence(request: Request, each: SourceEffect) -> str:
    known = [value for value in each.cell.seeds.values() if math.isfinite(value)]
    parts = [f"above 0 in {sum(v > 0 for v in known)} of {len(known)} seeds"]
    if math.isfinite(q := each.cell.q_value):
        parts.append(f"q {q:.3f}" if q >= 0.001 else "q < 0.001")
    if request.yardstick is not None:
        beyond = with_interval(each.gain.mean, each.gain.interval(request.alpha))
        parts.append(f"beyond {shown(request.yardstick)} {beyond}")
    answers = request.answers(each.source)
    if answers and answers.collapsed:
        parts.append(describe_answers(answers))
    return "; ".join(parts)


def verdict(
    request: Request,
    effects: Sequence[SourceEffect],
    choices: Sequence[ChosenSource],
    expected: Estimate,
) -> str:
    """The answer in one sentence."""

    def gain_of(each: SourceEffect) -> str:
        gain = with_interval(each.gain.mean, each.gain.interval(request.alpha))
        return f"{shown(each.source)}, {gain}"

    target = shown(request.target)
    if choices:
        names = listed([f"{shown(c.source)} ({100 * c.share:.0f}%)" for c in choices], NAMED)
        effect = with_interval(expected.mean, expected.ci)
        return f"For {target}, train on {names}: expected {effect}."
    known = [each for each in effects if math.isfinite(each.gain.mean)]
    if not known:
        return f"No answer for {target}: no source's effect on it is known."
    if any(each.reason == "may do harm" for each in effects):
        protected = listed(map(shown, request.protect))
        return f"Every source that helps {target} may harm {protected}."
    if earlier := [each for each in effects if each.reason == "an earlier checkpoint"]:
        best = max(earlier, key=lambda each: each.gain.mean)
        longer = "the same finetune trained for longer does not"
        return f"Only an earlier checkpoint helps {target}: {gain_of(best)}; {longer}."
    if request.rule == "default" and all(math.isnan(each.gain.sd) for each in known):
        why = "no effect on it has an interval; the rule `paper` needs none"
        return f"No sure answer for {target}: {why}."
    best = max(known, key=lambda each: each.gain.mean)
    beyond = f" beyond {shown(request.yardstick)}" if request.yardstick else ""
    answer = f"Nothing surely helps {target}{beyond}"
    if best.gain.mean <= 0:
        answer = f"Nothing helps {target}{beyond}"
    elif request.rule == "paper":
        answer = f"Nothing does more than {request.threshold:g} for {target}"
    return f"{answer}: the best of {len(known)} sources is {gain_of(best)}."


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
    if missing := sum(math.isnan(each.cell.mean) for each in effects):
        found.append(f"{missing} of {len(effects)} sources have no known effect on {target}.")
    if request.rule == "default":
        if taken and request.prior is not None:
            found.append("P(helps) weighs each effect by the sizes of all effects of this matrix.")
        elif taken:
            tested = sum(math.isfinite(each.gain.sd) for each in effects)
            found.append(
                f"Of {tested} source{'' if tested == 1 else 's'} without any effect, "
                f"{tested * (1 - request.threshold):.1f} would pass {request.threshold:g} by luck."
            )
        if request.yardstick is not None:
            alone = request.matrix.controls[request.yardstick].targets[request.target].mean
            found.append(
                f"{shown(request.yardstick)} alone has an effect of {signed(alone)} on {target}: "
                "a source must do more."
            )
        elif request.matrix.adjusted is None:
            found.append("No placebo was run: what any finetune does counts as help.")
    ties = [
        f"{shown(one.source)} and {shown(two.source)} tie: both were measured at "
        f"{signed(one.cell.mean)}"
        for one, two in pairwise(taken)
        if math.isclose(one.cell.mean, two.cell.mean, abs_tol=1e-9)
    ]
    if (more := len(ties) - TIES) > 0:
        ties[TIES - 1 :] = [f"{ties[1]}; {more} more pair{' ties' if more == 1 else 's tie'}"]
    found += [f"{tie}." for tie in ties]
    if len(taken) > 1:
        found.append(
            "A mixture is assumed to do what its sources do, in proportion to their shares; "
            "it is untested."
        )
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
    effect = with_interval(mean.mean, mean.ci)
    if of == 1:
        return f"The informed mixture is {how} on {listed(names)}: {effect}."

    def which(names: list[str]) -> str:
        return "" if len(names) == of else f" ({listed(names)})"

    parts = [f"{how} on {len(names)} of {of} targets{which(names)}"]
    parts += [f"{kind} on {len(names)}{which(names)}" for kind, names in found[1:]]
    noise = "" if beyond_noise(mean, alpha) else ", which may be noise"
    return f"The informed mixture is {listed(parts)}; over the {of} by {effect}{noise}."
