"""Right answers from a file of their own: BLINK's `val_answers.json`, in place of those in logs.

In:   the gold file that a mapping names, and a run.
Out:  the run judged by it, with notes; a `DataError` where a model's predictions are taken for the
      gold, or the gold for predictions.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from transferscope.errors import DataError
from transferscope.predictions import shown
from transferscope.readers.harness import blink
from transferscope.readers.harness.content import load
from transferscope.readers.harness.judge import judge
from transferscope.readers.harness.merging import Kept
from transferscope.readers.harness.runs import RunLog

_SURE = 100
"""Items that no model answers without any error."""


class Gold(NamedTuple):
    """Right answers."""

    answers: Mapping[str, int]
    """By item; empty where no file is given."""
    name: str = ""
    sha256: str = ""


def read_gold(name: str | None, folder: Path) -> Gold:
    """The gold file of a mapping.

    Raises:
        DataError: it is none.
    """
    if name is None:
        return Gold({})
    content = load(folder / name)
    if content is None:
        raise DataError(f"gold: {shown(name)} holds no JSON")
    if content.broken:
        raise DataError(f"gold: {shown(name)}: {content.broken}")
    return Gold(blink.gold_of(content), shown(content.name), content.sha256)


def with_gold(log: RunLog, gold: Gold) -> RunLog:
    """The run with the given right answers in place of its own, and a note of what that changes.

    Raises:
        DataError: the run is the gold file, or agrees with it on every one of many items.
    """
    if twin := next((name for name, sha in log.files.items() if sha == gold.sha256), None):
        raise DataError(
            f"{log.label}: {shown(twin)} is the same file as the gold, {gold.name}, so every "
            f"answer would be right; give the model's predictions as the run, the answers as gold"
        )
    changed: Counter[str] = Counter()
    right = judged = 0
    for target, items in log.samples.items():
        for item, (sample, file) in items.items():
            answer = gold.answers.get(item, sample.answer)
            if answer != sample.answer:
                sample = sample._replace(answer=answer, score=None, own=sample.answer)
                items[item] = Kept(sample, file)
                changed[target] += 1
            if item in gold.answers and (found := judge(sample)) is not None:
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
    return log
