"""Samples judged by their replies, and how often the harness read them otherwise.

In:   `Sample`s.
Out:  for each the chosen option, whether it is right, and who read that in the reply.

Our own reading (`answers`) counts where it finds an option. Where it finds none, the harness's
reading counts, for a judge model may have understood the reply. A mapping file may put the harness
first. Items without options, such as numbers, keep the harness's score.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from transferscope.readers.harness.record import Sample
from transferscope.tasks.answers import read_reply

Reader = Literal["ours", "harness"]
"""Who read a reply."""
_RIGHT = 0.5
"""A harness's score of an item with options is 0 or 1."""


class Judged(NamedTuple):
    """A sample's columns of the predictions table."""

    choice: int | None
    """Index of the chosen option; None where no option, or only a score, is known."""
    answer: int | None
    correct: bool
    unreadable: bool
    score: float | None
    read_by: Reader | None
    """None where nobody found an option, and where options were compared without a reply."""
    differs: bool = False
    """Whether the harness scored the reply otherwise than its text says."""


def judge(sample: Sample, first: Reader = "ours") -> Judged | None:
    """What the sample's reply chooses; None where neither a reply nor a score is known.

    Args:
        first: whose reading counts where both have one.
    """
    if sample.answer is None:
        return None if sample.score is None else _scored(sample, sample.score)
    if sample.logprobs is not None:
        choice = sample.logprobs.index(max(sample.logprobs))
        return _chosen(sample, choice, None)
    if sample.reply is None and sample.said is None:
        return None
    found = None if sample.reply is None else read_reply(sample.reply, sample.choices)
    ours = None if found is None else _chosen(sample, found, "ours")
    if first == "harness" and sample.score is not None:
        option = _option(sample)
        right = _right_by_score(sample)
        unread = option is None and sample.said is not None and not right
        choice = option if (option == sample.answer) == right else None
        differs = ours is not None and ours.differs
        by = None if unread else "harness"
        return Judged(choice, sample.answer, right, unread, None, by, differs)
    theirs = _understood(sample)
    if found := (theirs or ours) if first == "harness" else (ours or theirs):
        return found
    return Judged(None, sample.answer, False, True, None, None, _right_by_score(sample))


def _scored(sample: Sample, score: float) -> Judged:
    """An item whose right answer is no option: the harness's score counts."""
    number = not sample.choices and sample.reply is not None
    unread = number and score == 0 and not re.search(r"\d", sample.reply or "")
    partial = score if 0 < score < 1 else None
    return Judged(None, None, score == 1, unread, partial, None if unread else "harness")


def _chosen(sample: Sample, choice: int, read_by: Reader | None) -> Judged:
    right = choice == sample.answer
    differs = sample.score is not None and _right_by_score(sample) != right
    return Judged(choice, sample.answer, right, False, None, read_by, differs)


def _option(sample: Sample) -> int | None:
    """The option that the harness read; None where it read none."""
    return None if sample.said is None else read_reply(sample.said, sample.choices)


def _understood(sample: Sample) -> Judged | None:
    """The harness's reading of a reply; None where it found no option, or took a random one."""
    reply, said = sample.reply, (sample.said or "").strip()
    if reply is not None and not re.search(r"\w", reply):
        return None  # nobody can read an empty reply, so a score is a guess
    word = re.match(r"[(\s]*([A-Za-z]{2,})", reply or "")
    if word and said == word[1][0].upper():
        return None  # lmms-eval takes the first letter: "Both fit" is B, "The answer is A" is T
    option = _option(sample)
    if option is not None:
        return _chosen(sample, option, "harness")._replace(differs=False)
    if sample.score is None or said:
        return None
    return Judged(None, sample.answer, _right_by_score(sample), False, None, "harness")


class Count(NamedTuple):
    """Who read the replies of one run on one target, and how often readings differ."""

    target: str
    replies: int
    """Replies to items with options."""
    by_harness: int
    """Replies in which only the harness found an option, or whose score alone is known."""
    too_good: int
    """Right for the harness, wrong or unreadable by the text."""
    too_bad: int
    example: str

    @property
    def differing(self) -> int:
        return self.too_good + self.too_bad


def count(target: str, judged: Sequence[tuple[Sample, Judged]]) -> Count:
    """The replies of one target, with the first disagreement as an example."""
    read = [(s, found) for s, found in judged if s.answer is not None and s.logprobs is None]
    read = [(s, found) for s, found in read if s.reply is not None]
    differing = [(sample, found) for sample, found in judged if found.differs]
    too_bad = sum(not _right_by_score(sample) for sample, _ in differing)
    example = _example(*differing[0]) if differing else ""
    by_harness = sum(found.read_by == "harness" for _, found in read)
    return Count(target, len(read), by_harness, len(differing) - too_bad, too_bad, example)


def _right_by_score(sample: Sample) -> bool:
    return sample.score is not None and sample.score > _RIGHT


def _example(sample: Sample, judged: Judged) -> str:
    reply = " ".join((sample.reply or sample.said or "").split())
    short = reply if len(reply) <= 60 else f"{reply[:40]} ... {reply[-15:]}"
    read = f", read as {sample.said[:20]!r}" if sample.said and sample.said != reply else ""
    if not _right_by_score(sample):  # so that the text is right, as the two differ
        return f"item {sample.item}: {short!r} is right, scored wrong{read}"
    verdict = "unreadable" if judged.unreadable else "wrong"
    return f"item {sample.item}: {short!r} is {verdict}, scored right{read}"


def sentences(run: str, harness: str, counts: list[Count], first: Reader) -> list[str]:
    """What a reader must know of a run where the harness's reading counts, or differs from ours."""
    found = []
    replies, theirs = sum(c.replies for c in counts), sum(c.by_harness for c in counts)
    if theirs and first == "ours":
        found.append(
            f"{run}: we find no option in {theirs:,} of {replies:,} replies that {harness} could "
            f"read; there the reading of {harness} counts"
        )
    elif theirs:
        found.append(
            f"{run}: the reading of {harness} counts in {theirs:,} of {replies:,} replies, as the "
            f"mapping file says (replies: harness)"
        )
    if differing := [each for each in counts if each.differing]:
        total = sum(c.differing for c in differing)
        good, bad = sum(c.too_good for c in differing), sum(c.too_bad for c in differing)
        worst = sorted(differing, key=lambda each: -each.differing)
        where = ", ".join(f"{c.target} {c.differing} of {c.replies}" for c in worst)
        counts_here = "the text counts" if first == "ours" else "the score counts"
        found.append(
            f"{run}: {harness} scored {total} of {replies} replies otherwise than their text says "
            f"({bad} wrong where the text is right, {good} right where it is not); {counts_here}. "
            f"{where}. For example {worst[0].example}."
        )
    return found
