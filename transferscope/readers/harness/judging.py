"""Judge logged replies: the chosen option, whether it is right, and who read it.

Our reading (`tasks.answers`) counts if it finds an option. Otherwise the harness's reading counts,
because a judge model may have understood the reply. A mapping file may put the harness first. Items
without options, such as numbers, keep the harness's score.

In:   `HarnessSample`s, and BLINK's gold file.
Out:  a `JudgedSample` for each, and notes on how often the two readings differ.
"""

import re
from collections import Counter
from functools import lru_cache
from typing import Literal, NamedTuple

from transferscope.errors import DataError
from transferscope.readers.harness.runs import RunLog
from transferscope.readers.harness.samples import Gold, HarnessSample
from transferscope.tasks.answers import read_reply
from transferscope.tasks.untrusted import shown

Reader = Literal["ours", "harness"]
"""Who read a reply."""
_RIGHT = 0.5
"""The harness's score of an item with options is 0 or 1."""
_SURE = 100
"""Items that no model answers without any error."""
_read = lru_cache(4096)(read_reply)
"""Short replies are the same for many items, and each item is judged again under a gold file."""


class JudgedSample(NamedTuple):
    """The columns of a sample in the predictions table."""

    choice: int | None
    """Index of the chosen option; None if no option, or only a score, is known."""
    answer: int | None
    correct: bool
    unreadable: bool
    score: float | None
    read_by: Reader | None
    """None if neither found an option, or if options were compared without a reply."""
    differs: bool = False
    """Whether the harness's score contradicts the reply's text; not a column."""


JudgedSamples = dict[str, list[tuple[HarnessSample, JudgedSample]]]
"""By target."""


def judge(sample: HarnessSample, first: Reader = "ours") -> JudgedSample | None:
    """The option that the reply chooses, by the reader `first` if it finds one; None: unknown."""
    if sample.answer is None:  # the harness's score counts
        if sample.score is None:
            return None
        number = not sample.choices and sample.reply is not None
        unread = number and sample.score == 0 and not re.search(r"\d", sample.reply or "")
        partial = sample.score if 0 < sample.score < 1 else None
        by = None if unread else "harness"
        return JudgedSample(None, None, sample.score == 1, unread, partial, by)
    if sample.logprobs is not None:
        return _chosen(sample, sample.logprobs.index(max(sample.logprobs)), None)
    if sample.reply is None and sample.parsed is None:
        return None
    found = None if sample.reply is None else _read(sample.reply, sample.choices)
    ours = None if found is None else _chosen(sample, found, "ours")
    if ours is not None and first == "ours":
        return ours
    option = None if sample.parsed is None else _read(sample.parsed, sample.choices)
    right = _scored_right(sample)
    if first == "harness" and sample.score is not None:
        unread = option is None and sample.parsed is not None and not right
        choice = option if (option == sample.answer) == right else None
        differs = ours is not None and ours.differs
        by = None if unread else "harness"
        return JudgedSample(choice, sample.answer, right, unread, None, by, differs)
    # An empty reply has no answer. lmms-eval takes the first letter of a reply: "Both fit" is B,
    # "The answer is A" is T.
    word = re.match(r"[(\s]*([A-Za-z]{2,})", sample.reply or "")
    guess = word is not None and (sample.parsed or "").strip() == word[1][0].upper()
    if not guess and (sample.reply is None or re.search(r"\w", sample.reply)):
        if option is not None:
            return _chosen(sample, option, "harness")._replace(differs=False)
        if sample.score is not None and not (sample.parsed or "").strip():
            return JudgedSample(None, sample.answer, right, False, None, "harness")
    return ours or JudgedSample(None, sample.answer, False, True, None, None, differs=right)


def _chosen(sample: HarnessSample, choice: int, read_by: Reader | None) -> JudgedSample:
    right = choice == sample.answer
    differs = sample.score is not None and _scored_right(sample) != right
    return JudgedSample(choice, sample.answer, right, False, None, read_by, differs)


def _scored_right(sample: HarnessSample) -> bool:
    return sample.score is not None and sample.score > _RIGHT


def reading_notes(run: str, harness: str, judged: JudgedSamples, first: Reader) -> list[str]:
    """Notes if a harness's reading of its targets counts, or differs from ours."""
    notes: list[str] = []
    replies: dict[str, int] = {}  # to items with options
    differing: JudgedSamples = {}
    theirs = 0
    for target, pairs in judged.items():
        options = [(s, found) for s, found in pairs if s.answer is not None and s.logprobs is None]
        read = [found.read_by for sample, found in options if sample.reply is not None]
        replies[target], theirs = len(read), theirs + read.count("harness")
        if differs := [(sample, found) for sample, found in pairs if found.differs]:
            differing[target] = differs
    total = sum(replies.values())
    if theirs and first == "ours":
        notes.append(
            f"{run}: we find no option in {theirs:,} of {total:,} replies that {harness} could "
            f"read; there the reading of {harness} counts"
        )
    elif theirs:
        notes.append(
            f"{run}: the reading of {harness} counts in {theirs:,} of {total:,} replies, as the "
            f"mapping file asks (replies: harness)"
        )
    if differing:
        worst = sorted(differing, key=lambda target: -len(differing[target]))
        scored = [_scored_right(sample) for pairs in differing.values() for sample, _ in pairs]
        where = ", ".join(f"{each} {len(differing[each])} of {replies[each]}" for each in worst)
        notes.append(
            f"{run}: {harness} scored {len(scored)} of {total} replies differently from their "
            f"text ({scored.count(False)} wrong where the text is right, {scored.count(True)} "
            f"right where it is not); the {'text' if first == 'ours' else 'score'} counts. "
            f"{where}. For example {_example(*differing[worst[0]][0])}."
        )
    return notes


def _example(sample: HarnessSample, judged: JudgedSample) -> str:
    reply = " ".join((sample.reply or sample.parsed or "").split())
    short = reply if len(reply) <= 60 else f"{reply[:40]} ... {reply[-15:]}"
    parsed = sample.parsed if sample.parsed != reply else None
    read = f", read as {parsed[:20]!r}" if parsed else ""
    if not _scored_right(sample):
        return f"item {sample.item}: {short!r} is right, scored wrong{read}"
    verdict = "unreadable" if judged.unreadable else "wrong"
    return f"item {sample.item}: {short!r} is {verdict}, scored right{read}"


def apply_gold(log: RunLog, gold: Gold) -> None:
    """Replace the run's right answers by those of the gold, and note how many that changes.

    Refuses a run that is the gold file, or that agrees with it on every one of many items.
    """
    if twin := next((name for name, sha in log.files.items() if sha == gold.sha256), None):
        raise DataError(
            f"{log.label}: {shown(twin)} is the same file as the gold, {gold.name}, so every "
            f"answer would be right; give the model's predictions as the run, the answers as gold"
        )
    changed: Counter[str] = Counter()
    right = judged = 0
    for target, items in log.samples.items():
        for item in items.keys() & gold.answers.keys():
            answer, logged = gold.answers[item], items[item].answer
            if answer != logged:
                new = {"answer": answer, "score": None, "logged_answer": logged}
                items[item] = items[item]._replace(**new)
                changed[target] += 1
            if (found := judge(items[item])) is not None:
                judged, right = judged + 1, right + found.correct
    if right == judged >= _SURE:
        raise DataError(
            f"{log.label}: all {judged} answers equal the gold, {gold.name}: one is a copy of the "
            f"other; give the model's predictions as the run, the right answers as gold"
        )
    if changed:
        where = ", ".join(f"{target} {n}" for target, n in changed.items())
        log.notes.append(
            f"{log.label}: {changed.total()} items have another right answer in the gold file, "
            f"which counts: {where}"
        )
