"""Why a source is not trained on.

In:   the question and a candidate.
Out:  an `Objection`, or None.
"""

from __future__ import annotations

import math

from transferscope.analysis import ModelAnalysis
from transferscope.matrix.collapse import says
from transferscope.predictions import shown
from transferscope.selection.record import Candidate, Normal, Objection, Question, normal
from transferscope.selection.wording import signed, told
from transferscope.tasks.checkpoints import checkpoint


def objection(question: Question, candidate: Candidate) -> Objection | None:
    """Why a source is not believed to help; None where it is."""
    mean = candidate.effect.mean
    if math.isnan(mean):
        return Objection("not known", f"no effect on {shown(question.target)} is known")
    if question.rule == "default":
        if doubt := _doubt(question, candidate):
            return doubt
    elif mean <= question.threshold:
        why = f"{signed(mean)} is not above {question.threshold:g}"
        return Objection("not above the threshold", why)
    if later := _later(candidate.source, question.one):  # last: it helps all the same
        why = f"{shown(later)} is the same finetune, trained for longer"
        return Objection("an earlier checkpoint", why)
    return None


def danger(question: Question, candidate: Candidate) -> Objection | None:
    """Why a source may not be trained on, because of what must not lose."""
    for task, loss in question.protect.items():
        effect = normal(question.one.pgf[candidate.source][task], question.alpha)
        if math.isnan(effect.mean):
            why = f"no effect on {shown(task)} is known, which is to be protected"
            return Objection("may do harm", why)
        if (probability := loses(effect, loss)) > question.risk:
            why = f"loses more than {loss:g} on {shown(task)} with probability {probability:.2f}"
            return Objection("may do harm", why)
    return None


def _doubt(question: Question, candidate: Candidate) -> Objection | None:
    """Why the default rule does not believe that a source helps."""
    gain, beyond = candidate.gain, ""
    if question.yardstick is not None:
        beyond = f" beyond {shown(question.yardstick)}"
        if math.isnan(gain.mean):
            return Objection("not known", f"not measured beside {shown(question.yardstick)}")
    if math.isnan(gain.sd):
        return Objection("not known", f"{signed(gain.mean)}{beyond}, without an interval")
    if fallen := _collapsed(question, candidate.source):
        why = f"its answers are {fallen}: what looks like help is that letter's luck"
        return Objection("collapsed answers", why)
    if gain.mean <= 0:
        why = f"does not help: {told(gain.mean, gain.interval(question.alpha))}{beyond}"
        return Objection("does not help", why)
    if (helps := candidate.helps) < question.threshold:
        why = f"helps{beyond} with a probability of {helps:.2f}, below {question.threshold:g}"
        return Objection("not surely helping", why)
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


def loses(effect: Normal, loss: float) -> float:
    """Probability of losing more than `loss`; without an interval the mean decides."""
    if math.isnan(effect.sd):
        return float(effect.mean < -loss)
    return 1 - effect.above(-loss)
