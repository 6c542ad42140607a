"""A selection in words: evidence, reasons, verdict and notes.

In:   the question, its candidates and its choices.
Out:  sentences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from transferscope.analysis.parts import Estimate
from transferscope.matrix.collapse import says
from transferscope.predictions import shown
from transferscope.selection.record import Candidate, Choice, Objection, Question
from transferscope.tasks.number import Interval

NAMED = 4
"""Sources that the verdict names."""
TIES = 2
"""Pairs of sources of equal effect that are named."""


def evidence(question: Question, candidate: Candidate) -> str:
    """What speaks for it, in words."""
    cell, one, target = candidate.cell, question.one, question.target
    known = [value for value in cell.seeds.values() if math.isfinite(value)]
    said = [f"above 0 in {sum(v > 0 for v in known)} of {len(known)} seeds"]
    if math.isfinite(cell.q_value):
        said += [f"q {cell.q_value:.3f}" if cell.q_value >= 0.001 else "q < 0.001"]
    if question.yardstick is not None:
        beyond = told(candidate.gain.mean, candidate.gain.interval(question.alpha))
        said += [f"beyond {shown(question.yardstick)} {beyond}"]
    behaviour = one.behaviour
    answers = behaviour and behaviour.sources.get(candidate.source, {}).get(target)
    if answers and answers.collapsed:
        said += [says(answers)]
    return "; ".join(said)


def verdict(
    question: Question,
    candidates: Sequence[Candidate],
    helping: Sequence[Candidate],
    objections: Mapping[str, Objection | None],
    choices: Sequence[Choice],
    expected: Estimate,
) -> str:
    """The answer in one sentence."""
    target = shown(question.target)
    if choices:
        names = listed(
            [f"{shown(c.source)} ({100 * c.share:.0f}%)" for c in choices[:NAMED]]
            + ([f"{len(choices) - NAMED} more"] if len(choices) > NAMED else [])
        )
        return f"For {target}, train on {names}: expected {told(expected.mean, expected.ci)}."
    known = [c for c in candidates if math.isfinite(c.gain.mean)]
    if not known:
        return f"Nothing can be said of {target}: no source's effect on it is known."
    if helping:
        return f"Nothing that helps {target} surely spares {listed(map(shown, question.protect))}."
    earlier = [
        c
        for c in candidates
        if (why := objections[c.source]) and why.reason == "an earlier checkpoint"
    ]
    if earlier:
        best = max(earlier, key=lambda c: c.gain.mean)
        how_good = told(best.gain.mean, best.gain.interval(question.alpha))
        return (
            f"Only an earlier checkpoint helps {target}: {shown(best.source)}, {how_good}; the "
            f"same finetune trained for longer does not."
        )
    if question.rule == "default" and all(math.isnan(c.gain.sd) for c in known):
        return (
            f"Nothing sure can be said of {target}: no effect on it has an interval; "
            "the rule `paper` does without."
        )
    best = max(known, key=lambda c: c.gain.mean)
    beyond = f" beyond {shown(question.yardstick)}" if question.yardstick else ""
    says = f"Nothing surely helps {target}{beyond}"
    if best.gain.mean <= 0:
        says = f"Nothing helps {target}{beyond}"
    elif question.rule == "paper":
        says = f"Nothing does more than {question.threshold:g} for {target}"
    how_good = told(best.gain.mean, best.gain.interval(question.alpha))
    return f"{says}: the best of {len(known)} sources is {shown(best.source)}, {how_good}."


def notes(
    question: Question,
    candidates: Sequence[Candidate],
    taken: Sequence[Candidate],
    *,
    chosen: bool,
) -> list[str]:
    """What to know before believing it.

    Args:
        chosen: whether the model was named by who asks.
    """
    one, target, notes = question.one, shown(question.target), []
    if not chosen and len(question.analysis.models) > 1:
        models = ", ".join(map(shown, question.analysis.models))
        notes.append(f"Read from {shown(question.model)}, the last of {models} with this target.")
    if missing := sum(math.isnan(c.effect.mean) for c in candidates):
        notes.append(f"{missing} of {len(candidates)} sources have no known effect on {target}.")
    if question.rule == "default":
        judged = sum(math.isfinite(c.gain.sd) for c in candidates)
        if taken and not taken[0].shrunk:
            lucky = judged * (1 - question.threshold)
            notes.append(
                f"Of {judged} source{'' if judged == 1 else 's'} without any effect, "
                f"{lucky:.1f} would pass {question.threshold:g} by luck."
            )
        if taken and taken[0].shrunk:
            notes.append("P(helps) weighs each effect by what all effects of this matrix are like.")
        if question.yardstick is not None:
            alone = one.controls[question.yardstick].targets[question.target].mean
            notes.append(
                f"{shown(question.yardstick)} alone does {signed(alone)} on {target}: "
                "a source must do more."
            )
        elif one.adjusted is None:
            notes.append("No placebo was run: what any finetune does counts as help.")
    notes += _ties(taken)
    if len(taken) > 1:
        notes.append(
            "A mixture is taken to do what its sources do, in proportion to their shares; "
            "nobody has trained on it yet."
        )
    return notes


def _ties(taken: Sequence[Candidate]) -> list[str]:
    """Neighbours of equal effects, whose order is not the data's; of many, some and a count."""
    pairs = [
        (one, other)
        for one, other in pairwise(taken)
        if math.isclose(one.cell.mean, other.cell.mean, abs_tol=1e-9)
    ]
    said = [
        f"{shown(one.source)} and {shown(other.source)} tie: both were measured at "
        f"{signed(one.cell.mean)}."
        for one, other in pairs[:TIES]
    ]
    if (more := len(pairs) - TIES) > 0:
        said[-1] = f"{said[-1][:-1]}; {more} more pair{' ties' if more == 1 else 's tie'}."
    return said


def told(mean: float, ci: Interval) -> str:
    """`+0.12 (+0.03 to +0.21)`, or the mean alone."""
    if math.isnan(ci[0]):
        return signed(mean)
    return f"{signed(mean)} ({signed(ci[0])} to {signed(ci[1])})"


def signed(value: float) -> str:
    text = f"{value:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def listed(names: Iterable[str]) -> str:
    """`a, b and c`."""
    words = list(names)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
