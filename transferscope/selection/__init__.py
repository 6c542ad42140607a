"""What to train on for a target that has no training data: a source, chosen from the matrix.

Everything is in accuracy. Rule `default` names one source, or none:

    yardstick = the base, or the placebo if that helps the target too
    expected  = a source's gain over the yardstick, on new items and with new seeds
    helps     = P(gain > 1 point)                        (both of `stats.expectation`)
    taken     = the source with the highest `expected`, if its `helps` >= threshold

If the effect of a mixture is the mean of its sources' effects, no mixture is expected to do more
than its best source; whether one does is untested unless a study trains it. Rule `paper` takes
every source whose mean PGF on the target is above a threshold, in equal shares.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from scipy.special import ndtr, ndtri

from transferscope.analysis import Analysis, Cell
from transferscope.errors import StudyError
from transferscope.matrix.collapse import describe_answers
from transferscope.predictions import MOST_UNREADABLE
from transferscope.selection import wording
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
from transferscope.selection.wording import points, signed
from transferscope.study import apportioned
from transferscope.study.file import nearest
from transferscope.suites import multiple_choice
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
        threshold: least `helps` under `default` (0.8), PGF to exceed under `paper` (0).
        items: number of training items to divide; the choices' items sum to it exactly.
        protect: {task: loss}: leave out sources that lose more accuracy than `loss`, a fraction, on
            the task with a probability above `risk`, and those not measured there.
        risk: in (0, 1).

    Raises:
        StudyError: an unknown target, model or protected task, or a number out of its range.
    """
    threshold = THRESHOLDS.get(rule, 0.0) if threshold is None else threshold
    read = _model(analysis, target, model)
    request = Request(analysis, read, target, rule, threshold, protect or {}, risk)
    _check(request, items)
    effects = _effects(request)
    taken = [each for each in effects if each.reason is None]
    taken.sort(key=lambda each: (-each.expected, each.source))
    shares = {each.source: 1 / len(taken) for each in taken}
    parts = {} if items is None else apportioned(shares, items)
    choices = [
        ChosenSource(
            *(each.source, shares[each.source], parts.get(each.source)),
            *(each.expected, each.gain.change_ci, each.gain.helps, wording.evidence(request, each)),
        )
        for each in taken
    ]
    expected = sum(c.share * c.expected for c in choices) if choices else math.nan
    return Mixture(
        model=read,
        target=target,
        rule=rule,
        threshold=threshold,
        choices=choices,
        left_out=_left_out(effects),
        expected=expected,
        verdict=wording.verdict(request, effects, choices, expected),
        notes=wording.notes(request, effects, taken, named=model is not None),
        yardstick=request.yardstick,
        guards=[_guard(request, shares, task, loss) for task, loss in request.protect.items()],
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
    found: list[SourceEffect] = []
    for source, row in request.matrix.pgf.items():
        if multiple_choice(checkpoint(source).task) == multiple_choice(request.target):
            continue  # the target's own items, if with answers of another form
        gain = request.gains[source][request.target]
        expected = gain.expected if request.rule == "default" else row[request.target].change
        each = SourceEffect(source, row[request.target], gain, expected)
        if objection := _objection(request, each) or _danger(request, source):
            each = each._replace(reason=objection[0], why=objection[1])
        found.append(each)
    fine = [each for each in found if each.reason is None]
    if request.rule == "paper" or not fine:
        return found
    best = max(fine, key=lambda each: (each.expected, each.gain.helps))
    why = f"{shown(best.source)} is expected to do more"
    return [
        each._replace(reason="a better source", why=f"{points(each.expected)} points; {why}")
        if each.reason is None and each is not best
        else each
        for each in found
    ]


def _objection(request: Request, each: SourceEffect) -> tuple[Reason, str] | None:
    """Why a source is not believed to help; None if it is."""
    gain, source, threshold = each.gain, each.source, request.threshold
    answers = request.answers(source)
    if math.isnan(each.cell.mean) and math.isnan(each.cell.change):
        return "not known", f"no effect on {shown(request.target)} is known"
    if request.rule == "paper":
        if math.isnan(each.cell.mean):
            return "not known", "its PGF is undefined, as the base leaves no gap"
        if each.cell.mean <= threshold:
            return "not above the threshold", f"{signed(each.cell.mean)} is not above {threshold:g}"
    elif math.isnan(gain.expected):
        why = "no interval of its change of accuracy is known"
        if math.isfinite(each.cell.change_ci[0]):
            why = f"over {MOST_UNREADABLE:.0%} of the replies are unreadable"
            if request.yardstick:
                why = f"not measured beside {shown(request.yardstick)}"
        return "not known", why
    elif answers and 2 * len(answers.collapsed) > answers.seeds:
        why = f"its answers are {describe_answers(answers)}: any gain is that option's luck"
        return "collapsed answers", why
    elif gain.expected <= 0:
        return "does not help", f"does not help: {wording.measured(request, each)}"
    elif gain.helps < threshold:
        chance = f"with a probability of {int(100 * gain.helps) / 100:.2f}, below {threshold:g}"
        return "not surely helping", f"adds a point{wording.beyond(request)} {chance}"
    return None


def _danger(request: Request, source: str) -> tuple[Reason, str] | None:
    """Why a source may harm a protected task."""
    for task, loss in request.protect.items():
        cell, verdict_on = request.matrix.pgf[source][task], request.matrix.verdicts.get(source)
        if verdict_on and task in verdict_on.collapsed:
            return "may do harm", f"gives one answer to nearly every item of {shown(task)}"
        if math.isnan(cell.change):
            why = f"no change on {shown(task)} is known, which is to be protected"
            return "may do harm", why
        if (probability := _loses([cell], [1.0], loss, request.alpha)) > request.risk:
            lost = f"loses more than {100 * loss:g} points on {shown(task)}"
            return "may do harm", f"{lost} with probability {probability:.2f}"
    return None


def _loses(cells: Sequence[Cell], shares: Sequence[float], loss: float, alpha: float) -> float:
    """Probability of losing more than `loss`; without an interval the change decides.

    Errors of several sources are added up as if all went the same way, as they share a base.
    """
    change, reach = (
        sum(share * value for share, value in zip(shares, values, strict=True))
        for values in (
            [cell.change for cell in cells],
            [(cell.change_ci[1] - cell.change_ci[0]) / 2 for cell in cells],
        )
    )
    if math.isnan(reach):
        return float(change < -loss)
    return float(ndtr((-loss - change) / (reach / float(ndtri(1 - alpha / 2)))))


def _left_out(effects: Sequence[SourceEffect]) -> list[LeftOut]:
    """The most promising first; sources with unknown effects come last."""
    left = [
        LeftOut(each.source, each.reason, each.why, each.expected, each.gain.helps)
        for each in effects
        if each.reason is not None
    ]
    return sorted(left, key=lambda one: (math.isnan(one.expected), -one.expected, one.source))


def _guard(request: Request, shares: Mapping[str, float], task: str, loss: float) -> Guard:
    of, change, probability = list(shares.values()), math.nan, math.nan
    cells = [request.matrix.pgf[source][task] for source in shares]
    if of:
        change = sum(s * c.change for s, c in zip(of, cells, strict=True))
        probability = _loses(cells, of, loss, request.alpha)
    return Guard(task, loss, request.risk, change, probability)
