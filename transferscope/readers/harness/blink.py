"""BLINK's own evaluation: per-task outputs with raw replies, flat prediction files, the gold file.

    outputs      {"val": [{"idx", "answer", "full_prediction", "prediction"}], "test": [..]}
    predictions  {"val_Relative_Depth_1": "(A)", ..}
    gold         the same form as predictions; a mapping file says which file is the gold

Its rule wants an option in parentheses that stands alone, so that "(A)." is found by a judge model
or not at all: raw replies are read again.
"""

import re
from collections.abc import Mapping
from typing import Any

from transferscope.readers.harness.record import HIDDEN, Content, Log, Sample, letter_index, text_of
from transferscope.readers.harness.tasks import ANY, CHOICES, target_of_item

NAME = "BLINK's own evaluation"
_ITEM = re.compile(r"(?:val|test)_.+_\d+")


def recognise(content: Content) -> bool:
    """Whether the file is one of BLINK's own evaluation."""
    return _are_outputs(content) or are_answers(content)


def _are_outputs(content: Content) -> bool:
    value = content.value
    if not isinstance(value, dict) or not value or not value.keys() <= {"val", "test"}:
        return False
    if not all(isinstance(split, list) for split in value.values()):
        return False
    rows = [row for split in value.values() for row in split]
    return bool(rows) and all(isinstance(row, dict) and "idx" in row for row in rows)


def are_answers(content: Content) -> bool:
    """Whether the file says an option for each of BLINK's items: predictions, or the gold."""
    value = content.value
    if not isinstance(value, dict) or not value:
        return False
    return all(_ITEM.fullmatch(k) and isinstance(v, str) for k, v in value.items())


def gold_of(content: Content) -> Mapping[str, int]:
    """The right options of a gold file, by item.

    Raises:
        DataError: the file is no gold file, or an answer is no option.
    """
    if not are_answers(content):
        raise content.refuse(1, 'no gold file; expected {"val_Relative_Depth_1": "(A)", ..}')
    gold = {}
    for row, (item, text) in enumerate(content.value.items(), 1):
        if text == HIDDEN:
            continue
        if (index := letter_index(text)) is None:
            raise content.refuse(row, f"{item} is {text[:40]!r}, expected an option such as (A)")
        gold[item] = index
    return gold


def read(content: Content, gold: Mapping[str, int]) -> Log:
    """The samples of the file.

    Args:
        gold: right options by item; only with it can a flat prediction file be judged.

    Raises:
        DataError: an item is not named as BLINK names them.
    """
    rows: list[dict[str, Any]]
    if are_answers(content):
        rows = [{"idx": item, "prediction": text} for item, text in content.value.items()]
    else:
        rows = [row for split in content.value.values() for row in split]
    found, lacking, hidden = [], 0, False
    for number, values in enumerate(rows, 1):
        item = text_of(values["idx"])
        target = target_of_item(item)
        if target is None:
            raise content.refuse(number, f"idx is {item[:60]!r}, expected val_TASK_NUMBER")
        own = letter_index(values.get("answer"))
        answer = own if own is not None else gold.get(item)
        if answer is None:
            secret = values.get("answer") == HIDDEN  # as of all items of the test split
            hidden, lacking = hidden or secret, lacking + (not secret)
            continue
        said = text_of(values.get("prediction"))
        reply = values.get("full_prediction")
        found.append(
            Sample(
                *(target, item, number),
                reply=reply if isinstance(reply, str) else None,
                choices=CHOICES.get(target, ANY),
                answer=answer,
                said=said,
                score=float(letter_index(said) == answer),
            )
        )
    notes = ["items whose right answer BLINK keeps hidden are left out"] if hidden else []
    if lacking:
        why = " (the gold lacks them; is it the whole file of right answers?)" if gold else ""
        notes.append(f"{content.name}: {lacking} items without a known answer are left out{why}")
    return Log(found, notes=tuple(notes))
