"""What to train on for a target that has no training data, read off the matrix.

Two rules. `paper` takes every source whose mean PGF on the target is above a threshold, in equal
shares. `default` asks how surely a source helps, takes those that do, and weighs them:

    yardstick = the base, or the placebo where that helps the target too
    gain      = a source's effect beyond the yardstick's
    helps     = P(gain > 0)
    taken     : helps >= threshold and gain > 0
    share     ~ helps * gain

A mixture is expected to do what its sources do, in proportion to their shares. That is an
assumption: nobody has trained on the mixture yet.

In:   an `analysis.Analysis`.
Out:  a `Mixture`: sources with their shares, what was left out and why, and the answer in words.

Opens no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import get_args

from scipy.special import ndtri

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.checkpoints import checkpoint
from transferscope.conduct import says
from transferscope.errors import StudyError
from transferscope.estimate import Estimate
from transferscope.predictions import shown
from transferscope.selection.record import (
    THRESHOLDS,
    Candidate,
    Choice,
    Guard,
    LeftOut,
    Mixture,
    Normal,
    Question,
    Rule,
)
from transferscope.selection.words import evidence, notes, signed, told, verdict
from transferscope.study_file import nearest

__all__ = [
    "THRESHOLDS",
    "Choice",
    "Guard",
    "LeftOut",
    "Mixture",
    "Rule",
    "divide",
    "mixture",
    "mixtures",
]


def mixture(
    analysis: Analysis,
    target: str,
    *,
    model: str | None = None,
    rule: Rule = "default",
    threshold: float | None = None,
    items: int | None = None,
    protect: Mapping[str, float] | None = None,
    risk: float = 0.05,
) -> Mixture:
    """The sources to train on for a target, with their shares.

    Args:
        model: the model whose matrix is read; None for the last, hence largest, that has the
            target.
        rule: `default` or `paper`, as the head of this module says.
        threshold: least `helps` under `default` (0.9), PGF to exceed under `paper` (0).
        items: number of training items to divide; the choices' items sum to it exactly.
        protect: {task: loss}: no source is taken that loses more than `loss` on the task with a
            probability above `risk`. Without an interval there it is judged by its mean; one that
            was not measured there is left out.
        risk: in (0, 1).

    Raises:
        StudyError: an unknown target, model or protected task, or a number out of its range.
    """
    if rule not in THRESHOLDS:
        raise StudyError(f"unknown rule {rule!r}{nearest(rule, get_args(Rule))}")
    threshold = THRESHOLDS[rule] if threshold is None else threshold
    model_read = _model(analysis, target, model)
    question = Question(analysis, model_read, target, rule, threshold, protect or {}, risk)
    _check(question, items)
    candidates = _candidates(question)
    objections = {c.source: _objection(question, c) for c in candidates}
    helping = [c for c in candidates if objections[c.source] is None]
    objections |= {c.source: _danger(question, c) for c in helping}
    taken = [c for c in helping if objections[c.source] is None]
    taken.sort(key=lambda c: (-_weight(question, c), -c.effect.mean, c.source))
    shares = _shares([_weight(question, c) for c in taken])
    parts = [None] * len(taken) if items is None else divide(items, shares)
    choices = [
        _choice(question, c, share, part)
        for c, share, part in zip(taken, shares, parts, strict=True)
    ]
    expected = _expected(question, taken, shares)
    return Mixture(
        model=model_read,
        target=target,
        rule=rule,
        choices=choices,
        left_out=[LeftOut(source, why) for source, why in objections.items() if why is not None],
        expected=expected,
        verdict=verdict(question, candidates, helping, choices, expected),
        notes=notes(question, candidates, taken, chosen=model is not None),
        yardstick=question.yardstick,
        guards=_guards(question, [c.source for c in taken], shares),
    )


def mixtures(analysis: Analysis, model: str | None = None) -> dict[str, Mixture]:
    """The default rule for every target of the analysis."""
    targets = [task.name for task in analysis.tasks if task.target]
    return {target: mixture(analysis, target, model=model) for target in targets}


def divide(items: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `shares` that sum to `items`: the largest remainders win."""
    exact = [items * share for share in shares]
    parts = [math.floor(part) for part in exact]
    order = sorted(range(len(exact)), key=lambda k: parts[k] - exact[k])
    for k in order[: items - sum(parts)] if parts else ():
        parts[k] += 1
    return parts


def _model(analysis: Analysis, target: str, model: str | None) -> str:
    """The model to read."""
    targets = [task.name for task in analysis.tasks if task.target]
    if target not in targets:
        raise StudyError(f"unknown target {target!r}{nearest(target, targets)}")
    if model is None:
        having = [
            name
            for name, one in analysis.models.items()
            if any(math.isfinite(row[target].mean) for row in one.pgf.values())
        ]
        return having[-1] if having else list(analysis.models)[-1]
    if model not in analysis.models:
        raise StudyError(f"unknown model {model!r}{nearest(model, list(analysis.models))}")
    return model


def _check(question: Question, items: int | None) -> None:
    rule, threshold, risk = question.rule, question.threshold, question.risk
    if rule == "default" and not 0 <= threshold <= 1:
        raise StudyError(f"threshold is {threshold:g}, expected a probability in [0, 1]")
    if not math.isfinite(threshold):
        raise StudyError(f"threshold is {threshold:g}, expected a number")
    if items is not None and items < 1:
        raise StudyError(f"items is {items}, expected at least 1")
    if not 0 < risk < 1:
        raise StudyError(f"risk is {risk:g}, expected a probability between 0 and 1")
    targets = [task.name for task in question.analysis.tasks if task.target]
    for task, loss in question.protect.items():
        if task not in targets:
            raise StudyError(f"unknown task {task!r} to protect{nearest(task, targets)}")
        if task == question.target:
            raise StudyError(f"{task} is the target and needs no protection; name another task")
        if not 0 <= loss < math.inf:
            raise StudyError(f"the loss allowed on {task} is {loss:g}, expected 0 or more")


def _candidates(question: Question) -> list[Candidate]:
    one, target = question.one, question.target
    found = []
    for source, row in one.pgf.items():
        if checkpoint(source).task == target:
            continue
        effect = gain = _normal(row[target], question.alpha)
        if question.yardstick is not None and one.adjusted is not None:
            gain = _normal(one.adjusted.cells[source][target], question.alpha)
        found.append(Candidate(source, row[target], effect, gain))
    return found


def _normal(measured: Cell | Estimate, alpha: float) -> Normal:
    """The normal distribution whose interval reaches as far as the measured one.

    An interval that a bound cuts off at one end is taken at the other.
    """
    low, high = measured.ci
    reach = max(measured.mean - low, high - measured.mean)
    return Normal(measured.mean, reach / float(ndtri(1 - alpha / 2)))


def _weight(question: Question, candidate: Candidate) -> float:
    """What shares are in proportion to."""
    if question.rule == "paper":
        return 1.0
    return candidate.gain.above(0) * candidate.gain.mean


def _shares(weights: Sequence[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def _objection(question: Question, candidate: Candidate) -> str | None:
    """Why a source is not believed to help; None where it is."""
    if later := _later(candidate.source, question.one):
        return f"{shown(later)} is the same finetune, trained for longer"
    mean = candidate.effect.mean
    if math.isnan(mean):
        return f"no effect on {shown(question.target)} is known"
    if question.rule == "default":
        return _doubt(question, candidate)
    if mean > question.threshold:
        return None
    return f"{signed(mean)} is not above {question.threshold:g}"


def _danger(question: Question, candidate: Candidate) -> str | None:
    """Why a source may not be trained on, because of what must not lose."""
    for task, loss in question.protect.items():
        effect = _normal(question.one.pgf[candidate.source][task], question.alpha)
        if math.isnan(effect.mean):
            return f"no effect on {shown(task)} is known, which is to be protected"
        if (probability := _loses(effect, loss)) > question.risk:
            return f"loses more than {loss:g} on {shown(task)} with probability {probability:.2f}"
    return None


def _doubt(question: Question, candidate: Candidate) -> str | None:
    """Why the default rule does not believe that a source helps."""
    gain, beyond = candidate.gain, ""
    if question.yardstick is not None:
        beyond = f" beyond {shown(question.yardstick)}"
        if math.isnan(gain.mean):
            return f"not measured beside {shown(question.yardstick)}"
    if math.isnan(gain.sd):
        return f"{signed(gain.mean)}{beyond}, without an interval"
    if fallen := _collapsed(question, candidate.source):
        return f"its answers are {fallen}: what looks like help is that letter's luck"
    if gain.mean <= 0:
        return f"does not help: {told(gain.mean, gain.interval(question.alpha))}{beyond}"
    if (helps := gain.above(0)) < question.threshold:
        return f"helps{beyond} with a probability of {helps:.2f}, below {question.threshold:g}"
    return None


def _later(source: str, one: ModelAnalysis) -> str | None:
    """The source that is the same finetune, trained for longer."""
    task, step = checkpoint(source)
    if step is None:
        return None
    steps = {name: checkpoint(name).step for name in one.pgf if checkpoint(name).task == task}
    longest = max(steps, key=lambda name: (steps[name] is None, steps[name] or 0))
    return None if longest == source else longest


def _collapsed(question: Question, source: str) -> str | None:
    """`always A`, where more than half of the seeds answer so to every item of the target."""
    behaviour = question.one.behaviour
    answers = behaviour and behaviour.sources.get(source, {}).get(question.target)
    if not answers or 2 * len(answers.collapsed) <= answers.seeds:
        return None
    return says(answers)


def _loses(effect: Normal, loss: float) -> float:
    """Probability of losing more than `loss`; without an interval the mean decides."""
    if math.isnan(effect.sd):
        return float(effect.mean < -loss)
    return 1 - effect.above(-loss)


def _mixed(effects: Sequence[Normal], shares: Sequence[float]) -> Normal:
    """What a mixture does if it does what its sources do, in proportion to their shares.

    The errors are added up as if all went the same way, as much of them does: the sources share a
    baseline. So the spread is an upper bound.
    """
    means, spreads = [e.mean for e in effects], [e.sd for e in effects]
    return Normal(_weighted(means, shares), _weighted(spreads, shares))


def _expected(question: Question, taken: list[Candidate], shares: Sequence[float]) -> Estimate:
    mixed = _mixed([c.effect for c in taken], shares)
    by_seed = {seed: [c.cell.seeds[seed] for c in taken] for seed in question.one.seeds}
    return Estimate(
        mixed.mean,
        mixed.interval(question.alpha),
        {seed: _weighted(values, shares) for seed, values in by_seed.items()},
    )


def _weighted(values: Sequence[float], shares: Sequence[float]) -> float:
    return sum(v * s for v, s in zip(values, shares, strict=True)) if shares else math.nan


def _guards(question: Question, taken: list[str], shares: Sequence[float]) -> list[Guard]:
    guards = []
    for task, loss in question.protect.items():
        effects = [_normal(question.one.pgf[source][task], question.alpha) for source in taken]
        mixed = _mixed(effects, shares)
        loses = _loses(mixed, loss) if taken else math.nan
        guards.append(Guard(task, loss, question.risk, mixed.mean, loses))
    return guards


def _choice(question: Question, candidate: Candidate, share: float, part: int | None) -> Choice:
    return Choice(
        source=candidate.source,
        share=share,
        items=part,
        expected=candidate.effect.mean,
        ci=candidate.effect.interval(question.alpha),
        helps=candidate.gain.above(0),
        evidence=evidence(question, candidate),
    )
