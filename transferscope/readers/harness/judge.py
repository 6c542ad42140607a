"""Samples judged by what the replies say, and how often a harness said otherwise.

In:   `Sample`s.
Out:  for each the chosen option, whether it is right, and whether the harness agrees.

Where an item has options and its raw reply was kept, our own reading counts (`answers`). Items
without options, such as numbers, keep the harness's score.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from transferscope.answers import read_long_reply
from transferscope.readers.harness.record import Sample, letter_index

_RIGHT = 0.5
"""A harness's score of an item with options is 0 or 1."""


class Judged(NamedTuple):
    """A sample's columns of the predictions table."""

    choice: int | None
    answer: int | None
    correct: bool
    unreadable: bool
    score: float | None
    differs: bool
    """Whether the harness scored the reply otherwise than its text says."""


def judge(sample: Sample) -> Judged | None:
    """What the sample says; None where neither its reply nor a score says anything."""
    if sample.answer is None:
        if sample.score is None:
            return None
        digits = sample.reply is None or re.search(r"\d", sample.reply) is not None
        partial = sample.score if 0 < sample.score < 1 else None
        full = sample.score == 1
        return Judged(None, None, full, sample.score == 0 and not digits, partial, False)
    if sample.logprobs is not None:
        choice = sample.logprobs.index(max(sample.logprobs))
    elif sample.reply is not None:
        choice = read_long_reply(sample.reply, sample.choices)
    elif sample.said is not None:
        choice = letter_index(sample.said)
    else:
        return None
    right = choice == sample.answer
    differs = sample.score is not None and (sample.score > _RIGHT) != right
    return Judged(choice, sample.answer, right, choice is None, None, differs)


class Count(NamedTuple):
    """How often a harness disagrees with the replies of one run on one target."""

    target: str
    replies: int
    too_good: int
    """Right for the harness, wrong or unreadable by the text."""
    too_bad: int
    example: str

    @property
    def differing(self) -> int:
        return self.too_good + self.too_bad


def count(target: str, judged: Sequence[tuple[Sample, Judged]]) -> Count:
    """The disagreements on one target, with the first as an example."""
    differing = [(sample, found) for sample, found in judged if found.differs]
    too_bad = sum(found.correct for _, found in differing)
    example = _example(*differing[0]) if differing else ""
    scored = sum(s.score is not None and s.answer is not None for s, _ in judged)
    return Count(target, scored, len(differing) - too_bad, too_bad, example)


def _example(sample: Sample, judged: Judged) -> str:
    reply = " ".join((sample.reply or sample.said or "").split())
    short = reply if len(reply) <= 60 else f"{reply[:40]} ... {reply[-15:]}"
    verdict = "unreadable" if judged.unreadable else "right" if judged.correct else "wrong"
    read = f", read as {sample.said[:20]!r}" if sample.said and sample.said != reply else ""
    theirs = "wrong" if judged.correct else "right"
    return f"item {sample.item}: {short!r} is {verdict}, scored {theirs}{read}"


def sentence(run: str, harness: str, counts: list[Count]) -> str | None:
    """What a reader must know of a run whose harness disagrees with its replies."""
    differing = [each for each in counts if each.differing]
    if not differing:
        return None
    total, replies = sum(c.differing for c in differing), sum(c.replies for c in counts)
    good, bad = sum(c.too_good for c in differing), sum(c.too_bad for c in differing)
    worst = sorted(differing, key=lambda each: -each.differing)
    where = ", ".join(f"{c.target} {c.differing} of {c.replies}" for c in worst)
    return (
        f"{run}: {harness} scored {total} of {replies} replies otherwise than their text says "
        f"({bad} wrong where the text is right, {good} right where it is not); the text counts. "
        f"{where}. "
        f"For example {worst[0].example}."
    )
