"""What to train on for a target that has no training data: a mixture of sources from the matrix.

Two rules. `paper` takes every source whose mean PGF on the target is above a threshold, in equal
shares. `default` takes the sources that surely help, and weighs them:

    yardstick = the base, or the placebo if that helps the target too
    gain      = a source's effect beyond the yardstick's
    helps     = P(gain > 0), given the sizes of this matrix's effects
    taken     : helps >= threshold and gain > 0;   share ~ helps * gain

A mixture is assumed to do what its sources do, in proportion to their shares; it is untested.
"""

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, get_args

from transferscope.analysis import Analysis
from transferscope.analysis.parts import Estimate
from transferscope.errors import StudyError
from transferscope.matrix.collapse import describe_answers
from transferscope.selection.evidence import Normal, normal, normal_with_test
from transferscope.selection.mixture_record import (
    RISK,
    THRESHOLDS,
    ChosenSource,
    Guard,
    LeftOut,
    Mixture,
    Reason,
    Request,
    Rule,
    SourceEffect,
)
from transferscope.selection.wording import evidence, notes, signed, verdict, with_interval
from transferscope.study import apportioned
from transferscope.study.file import nearest
from transferscope.tasks.checkpoints import checkpoint
from transferscope.tasks.untrusted import shown

__all__ = ["THRESHOLDS", "Mixture", "Rule", "mixture", "mixtures"]


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
        rule: `default` or `paper`, as the head of this module defines them.
        threshold: least `helps` under `default` (0.9), PGF to exceed under `paper` (0).
        items: number of training items to divide; the choices' items sum to it exactly.
        protect: {task: loss}: leave out sources that lose more than `loss` on the task with a
            probability above `risk`, by the mean without an interval, and those not measured there.
        risk: in (0, 1).

    Raises:
        StudyError: an unknown target, model or protected task, or a number out of its range.
    """
    threshold = THRESHOLDS.get(rule, 0.0) if threshold is None else threshold
    read = _model(analysis, target, model)
    request = Request(analysis, read, target, rule, threshold, protect or {}, risk)
    _check(request, items)
    effects = _effects(request)
    taken, shares = _taken(effects, rule)
    parts = {} if items is None else apportioned(shares, items)
    choices = [
        ChosenSource(
            *(each.source, shares[each.source], parts.get(each.source)),
            *(each.cell.mean, each.cell.ci, each.helps, evidence(request, each)),
        )
        for each in taken
    ]
    of = list(shares.values())
    low, high = (_weighted([each.cell.ci[end] for each in taken], of) for end in (0, 1))
    seeds = {s: _weighted([each.cell.seeds[s] for each in taken], of) for s in request.matrix.seeds}
    mean = _weighted([each.cell.mean for each in taken], of)
    expected = Estimate(mean, (low, high), seeds)
    return Mixture(
        model=read,
        target=target,
        rule=rule,
        threshold=threshold,
        choices=choices,
        left_out=_left_out(request, effects),
        expected=expected,
        verdict=verdict(request, effects, choices, expected),
        notes=notes(request, effects, taken, named=model is not None),
        yardstick=request.yardstick,
        guards=_guards(request, shares),
    )


def mixtures(
    analysis: Analysis,
    model: str | None = None,
    *,
    protect: Mapping[str, float] | None = None,
    **options: Any,
) -> dict[str, Mixture]:
    """`mixture` for every target of the analysis; the target itself needs no protection."""
    found = {}
    for target in [task.name for task in analysis.tasks if task.target]:
        others = {task: loss for task, loss in (protect or {}).items() if task != target}
        found[target] = mixture(analysis, target, model=model, protect=others, **options)
    return found


def _model(analysis: Analysis, target: str, model: str | None) -> str:
    targets = [task.name for task in analysis.tasks if task.target]
    if target not in targets:
        raise StudyError(f"unknown target {target!r}{nearest(target, targets)}")
    models = list(analysis.models)
    if model is None:
        columns = {n: [row[target].mean for row in analysis.models[n].pgf.values()] for n in models}
        known = [name for name in models if any(map(math.isfinite, columns[name]))]
        return (known or models)[-1]
    if model not in models:
        raise StudyError(f"unknown model {model!r}{nearest(model, models)}")
    return model


def _check(request: Request, items: int | None) -> None:
    rule, threshold, risk = request.rule, request.threshold, request.risk
    if rule not in THRESHOLDS:
        raise StudyError(f"unknown rule {rule!r}{nearest(rule, get_args(Rule))}")
    if rule == "default" and not 0 <= threshold <= 1:
        raise StudyError(f"threshold must be a probability in [0, 1], got {threshold:g}")
    if not math.isfinite(threshold):
        raise StudyError(f"threshold must be a finite number, got {threshold:g}")
    if items is not None and items < 1:
        raise StudyError(f"items must be at least 1, got {items}")
    if not 0 < risk < 1:
        raise StudyError(f"risk must be a probability between 0 and 1, got {risk:g}")
    targets = [task.name for task in request.analysis.tasks if task.target]
    for task, loss in request.protect.items():
        if task not in targets:
            raise StudyError(f"unknown task {task!r} to protect{nearest(task, targets)}")
        if task == request.target:
            raise StudyError(f"{task} is the target and needs no protection; name another task")
        if not 0 <= loss < math.inf:
            raise StudyError(f"the loss allowed on {task} must be 0 or more, got {loss:g}")


def _effects(request: Request) -> list[SourceEffect]:
    """Every source's effect on the target, and why it is not chosen."""
    prior, alpha, found = request.prior, request.alpha, []
    for source, row in request.matrix.pgf.items():
        if checkpoint(source).task == request.target:
            continue
        gain = request.gains[source][request.target]
        tested = normal_with_test(gain, alpha)
        helps = tested.above(0) if prior is None else prior.above(tested)
        each = SourceEffect(source, row[request.target], normal(gain, alpha), helps)
        if objection := _objection(request, each) or _danger(request, source):
            each = each._replace(reason=objection[0], why=objection[1])
        found.append(each)
    return found


def _taken(
    effects: Sequence[SourceEffect], rule: Rule
) -> tuple[list[SourceEffect], dict[str, float]]:
    """The chosen sources, the largest share first, and {source: share}."""
    weights = {
        each.source: 1.0 if rule == "paper" else each.helps * each.gain.mean
        for each in effects
        if each.reason is None
    }
    taken = [each for each in effects if each.source in weights]
    taken.sort(key=lambda each: (-weights[each.source], -each.cell.mean, each.source))
    total = sum(weights[each.source] for each in taken)
    return taken, {each.source: weights[each.source] / total for each in taken}


def _objection(request: Request, each: SourceEffect) -> tuple[Reason, str] | None:
    """Why a source is not believed to help; None if it is."""
    mean, helps, gain, source = each.cell.mean, each.helps, each.gain, each.source
    yardstick = shown(request.yardstick or "")
    beyond = f" beyond {yardstick}" if yardstick else ""
    answers = request.answers(source)
    if math.isnan(mean):
        return "not known", f"no effect on {shown(request.target)} is known"
    if request.rule == "paper":
        if mean <= request.threshold:
            why = f"{signed(mean)} is not above {request.threshold:g}"
            return "not above the threshold", why
    elif yardstick and math.isnan(gain.mean):
        return "not known", f"not measured beside {yardstick}"
    elif math.isnan(gain.sd):
        return "not known", f"{signed(gain.mean)}{beyond}, without an interval"
    elif answers and 2 * len(answers.collapsed) > answers.seeds:
        fallen = describe_answers(answers)
        why = f"its answers are {fallen}: the apparent help is that option's luck"
        return "collapsed answers", why
    elif gain.mean <= 0:
        measured = with_interval(gain.mean, gain.interval(request.alpha))
        return "does not help", f"does not help: {measured}{beyond}"
    elif helps < request.threshold:
        why = f"helps{beyond} with a probability of {helps:.2f}, below {request.threshold:g}"
        return "not surely helping", why
    task, step = checkpoint(source)
    steps = {s: checkpoint(s).step for s in request.matrix.pgf if checkpoint(s).task == task}
    longest = max(steps, key=lambda name: (steps[name] is None, steps[name] or 0))
    if step is not None and longest != source:
        why = f"{shown(longest)} is the same finetune, trained for longer"
        return "an earlier checkpoint", why
    return None


def _danger(request: Request, source: str) -> tuple[Reason, str] | None:
    """Why a source may harm a protected task."""
    for task, loss in request.protect.items():
        effect = normal(request.matrix.pgf[source][task], request.alpha)
        if math.isnan(effect.mean):
            why = f"no effect on {shown(task)} is known, which is to be protected"
            return "may do harm", why
        if (probability := _loses(effect, loss)) > request.risk:
            why = f"loses more than {loss:g} on {shown(task)} with probability {probability:.2f}"
            return "may do harm", why
    return None


def _loses(effect: Normal, loss: float) -> float:
    """Probability of losing more than `loss`; without an interval the mean decides."""
    return float(effect.mean < -loss) if math.isnan(effect.sd) else 1 - effect.above(-loss)


def _guards(request: Request, shares: Mapping[str, float]) -> list[Guard]:
    guards, of = [], list(shares.values())
    for task, loss in request.protect.items():
        effects = [normal(request.matrix.pgf[source][task], request.alpha) for source in shares]
        # The errors are added up as if all went the same way, as the sources share a baseline. So
        # the sd is an upper bound.
        mean, sd = (_weighted([effect[n] for effect in effects], of) for n in (0, 1))
        probability = _loses(Normal(mean, sd), loss) if of else math.nan
        guards.append(Guard(task, loss, request.risk, mean, probability))
    return guards


def _weighted(values: Sequence[float], shares: Sequence[float]) -> float:
    return sum(v * s for v, s in zip(values, shares, strict=True)) if shares else math.nan


def _left_out(request: Request, effects: Sequence[SourceEffect]) -> list[LeftOut]:
    """The most helpful first; sources with unknown effects come last."""
    helpful = attrgetter("helps" if request.rule == "default" else "expected")
    left = [
        LeftOut(each.source, each.reason, each.why, each.cell.mean, each.helps)
        for each in effects
        if each.reason is not None
    ]
    return sorted(left, key=lambda one: (math.isnan(helpful(one)), -helpful(one), one.source))
