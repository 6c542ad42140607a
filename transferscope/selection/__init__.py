"""What to train on for a target that has no training data, read off the matrix.

Two rules. `paper` takes every source whose mean PGF on the target is above a threshold, in equal
shares. `default` asks how surely a source helps, takes those that do, and weighs them:

    yardstick = the base, or the placebo where that helps the target too
    gain      = a source's effect beyond the yardstick's
    helps     = P(gain > 0), given what the effects of this matrix are like
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

from transferscope.analysis import Analysis, Cell
from transferscope.analysis.parts import Estimate
from transferscope.errors import StudyError
from transferscope.selection.objections import danger, loses, objection
from transferscope.selection.prior import of_matrix
from transferscope.selection.record import (
    RISK,
    THRESHOLDS,
    Candidate,
    Choice,
    Guard,
    LeftOut,
    Mixture,
    Normal,
    Objection,
    Question,
    Rule,
    normal,
    sober,
)
from transferscope.selection.wording import evidence, notes, verdict
from transferscope.study import apportioned
from transferscope.study.file import nearest
from transferscope.tasks.checkpoints import checkpoint

__all__ = [
    "THRESHOLDS",
    "Choice",
    "Guard",
    "LeftOut",
    "Mixture",
    "Rule",
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
    risk: float = RISK,
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
    objections = {c.source: objection(question, c) for c in candidates}
    helping = [c for c in candidates if objections[c.source] is None]
    objections |= {c.source: danger(question, c) for c in helping}
    taken = [c for c in helping if objections[c.source] is None]
    taken.sort(key=lambda c: (-_weight(question, c), -c.effect.mean, c.source))
    shares = _shares([_weight(question, c) for c in taken])
    sources = [c.source for c in taken]
    parts = {} if items is None else apportioned(dict(zip(sources, shares, strict=True)), items)
    choices = [
        _choice(question, c, share, parts.get(c.source))
        for c, share in zip(taken, shares, strict=True)
    ]
    expected = _expected(question, taken, shares)
    return Mixture(
        model=model_read,
        target=target,
        rule=rule,
        threshold=threshold,
        choices=choices,
        left_out=_left_out(question, candidates, objections),
        expected=expected,
        verdict=verdict(question, candidates, helping, objections, choices, expected),
        notes=notes(question, candidates, taken, chosen=model is not None),
        yardstick=question.yardstick,
        guards=_guards(question, sources, shares),
    )


def mixtures(analysis: Analysis, model: str | None = None) -> dict[str, Mixture]:
    """The default rule for every target of the analysis."""
    targets = [task.name for task in analysis.tasks if task.target]
    return {target: mixture(analysis, target, model=model) for target in targets}


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
    found = []
    likely = of_matrix(_gains(question), question.alpha)
    for source, row in question.one.pgf.items():
        if checkpoint(source).task == question.target:
            continue
        cell = row[question.target]
        gain = cell if question.yardstick is None else _gains(question)[source][question.target]
        believed = sober(gain, question.alpha)
        helps = believed.above(0) if likely is None else likely.above(believed)
        its, effect = (normal(each, question.alpha) for each in (gain, cell))
        found.append(Candidate(source, cell, effect, its, helps, likely is not None))
    return found


def _gains(question: Question) -> Mapping[str, Mapping[str, Cell | Estimate]]:
    """The matrix by which helping is judged: effects, or effects beyond the placebo."""
    adjusted = question.one.adjusted
    return question.one.pgf if question.yardstick is None or adjusted is None else adjusted.cells


def _weight(question: Question, candidate: Candidate) -> float:
    """What shares are in proportion to."""
    if question.rule == "paper":
        return 1.0
    return candidate.helps * candidate.gain.mean


def _shares(weights: Sequence[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def _mixed(effects: Sequence[Normal], shares: Sequence[float]) -> Normal:
    """What a mixture does if it does what its sources do, in proportion to their shares.

    The errors are added up as if all went the same way, as much of them does: the sources share a
    baseline. So the spread is an upper bound.
    """
    means, spreads = [e.mean for e in effects], [e.sd for e in effects]
    return Normal(_weighted(means, shares), _weighted(spreads, shares))


def _expected(question: Question, taken: list[Candidate], shares: Sequence[float]) -> Estimate:
    by_seed = {seed: [c.cell.seeds[seed] for c in taken] for seed in question.one.seeds}
    low, high = ([c.cell.ci[end] for c in taken] for end in (0, 1))
    return Estimate(
        _weighted([c.cell.mean for c in taken], shares),
        (_weighted(low, shares), _weighted(high, shares)),
        {seed: _weighted(values, shares) for seed, values in by_seed.items()},
    )


def _weighted(values: Sequence[float], shares: Sequence[float]) -> float:
    return sum(v * s for v, s in zip(values, shares, strict=True)) if shares else math.nan


def _guards(question: Question, taken: list[str], shares: Sequence[float]) -> list[Guard]:
    guards = []
    for task, loss in question.protect.items():
        effects = [normal(question.one.pgf[source][task], question.alpha) for source in taken]
        mixed = _mixed(effects, shares)
        probability = loses(mixed, loss) if taken else math.nan
        guards.append(Guard(task, loss, question.risk, mixed.mean, probability))
    return guards


def _left_out(
    question: Question, candidates: list[Candidate], objections: Mapping[str, Objection | None]
) -> list[LeftOut]:
    """The most helpful first; what nothing is known of comes last."""

    def order(c: Candidate) -> tuple[bool, float, str]:
        value = c.helps if question.rule == "default" else c.effect.mean
        return math.isnan(value), -value, c.source

    return [
        LeftOut(c.source, its.reason, its.why, c.effect.mean, c.helps)
        for c in sorted(candidates, key=order)
        if (its := objections[c.source]) is not None
    ]


def _choice(question: Question, candidate: Candidate, share: float, part: int | None) -> Choice:
    return Choice(
        source=candidate.source,
        share=share,
        items=part,
        expected=candidate.cell.mean,
        ci=candidate.cell.ci,
        helps=candidate.helps,
        evidence=evidence(question, candidate),
    )
