"""BLINK's own evaluation: outputs of each task with raw replies, flat predictions, the gold file.

    outputs      {"val": [{"idx", "answer", "full_prediction", "prediction"}], "test": [..]}
    predictions  {"val_Relative_Depth_1": "(A)", ..}
    gold         the same form as predictions; a mapping file names the gold file

Its rule reads only an option in parentheses that stands alone; "(A)." goes to a judge model or
counts as wrong. Raw replies are therefore read again.
"""

import re
from pathlib import Path
from typing import Any

from transferscope.errors import DataError
from transferscope.readers.harness import raw, terms
from transferscope.readers.harness.foreign_files import ForeignFile, load
from transferscope.readers.harness.samples import Gold, HarnessLog, HarnessSample, Options
from transferscope.tasks.untrusted import shown

NAME = "BLINK's own evaluation"
_ITEM = re.compile(r"(?:val|test)_.+_\d+")


def recognize(file: ForeignFile) -> bool:
    return bool(_outputs(file)) or _is_flat(file)


def _outputs(file: ForeignFile) -> list[dict[str, Any]]:
    """The rows of an output file; none of any other file."""
    splits = raw.object(file.value)
    lists = all(isinstance(split, list) for split in splits.values())
    rows = [row for split in splits.values() for row in split] if lists else []
    ours = splits.keys() <= {"val", "test"} and all("idx" in raw.object(row) for row in rows)
    return rows if ours else []


def _is_flat(file: ForeignFile) -> bool:
    """Whether the file maps BLINK's items to options, as predictions and gold do."""
    items = raw.object(file.value).items()
    return bool(items) and all(_ITEM.fullmatch(k) and isinstance(v, str) for k, v in items)


def read_gold(name: str, folder: Path) -> Gold:
    """The gold file of a mapping; refuses any other file, and an answer that is no option."""
    file = load(folder / name)
    if file is None or file.broken:
        raise DataError(f"gold: {shown(name)}: {'not JSON' if file is None else file.broken}")
    if not _is_flat(file):
        raise file.refuse(1, 'a gold file must be {"val_Relative_Depth_1": "(A)", ..}')
    gold: dict[str, int] = {}
    for row, (item, text) in enumerate(file.value.items(), 1):
        if (index := terms.letter_index(text)) is not None:
            gold[item] = index
        elif text != terms.HIDDEN:
            raise file.refuse(row, f"{item} must be an option such as (A), got {text[:40]!r}")
    return Gold(gold, shown(file.name), file.sha256)


def read(file: ForeignFile, options: Options) -> HarnessLog:
    """The samples of the file; flat predictions need the gold in `options`."""
    if _is_flat(file):
        rows = [{"idx": item, "prediction": text} for item, text in file.value.items()]
    else:
        rows = _outputs(file)
    found, unknown, hidden = [], 0, False
    for number, values in enumerate(rows, 1):
        item = raw.text(values, "idx")
        target = terms.target_of_item(item)
        if target is None:
            raise file.refuse(number, f"idx must be val_TASK_NUMBER, got {item[:60]!r}")
        answer = terms.letter_index(values.get("answer"))
        if answer is None:
            answer = options.gold.answers.get(item)
        if answer is None:
            is_hidden = values.get("answer") == terms.HIDDEN
            hidden, unknown = hidden or is_hidden, unknown + (not is_hidden)
            continue
        reply, parsed = raw.string(values, "full_prediction"), raw.text(values, "prediction")
        score = float(terms.letter_index(parsed) == answer)
        choices = terms.CHOICES.get(target, terms.ANY)
        found.append(HarnessSample(target, item, number, reply, choices, answer, parsed, score))
    notes = ["items whose right answer BLINK keeps hidden are left out"] if hidden else []
    if unknown:
        why = " (the gold lacks them; is it the whole file of right answers?)"
        why *= bool(options.gold.answers)
        notes.append(f"{file.name}: {unknown} items without a known answer are left out{why}")
    return HarnessLog(found, notes=tuple(notes))
