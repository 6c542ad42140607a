"""lmms-eval: `<date>_samples_<task>.jsonl` and `<date>_results.json`.

BLINK's tasks name their items under `blink_acc`; VSI-Bench repeats the question's record under each
metric. Its parser takes the first letter of a reply, so that "The answer is B" is read as T: raw
replies are read again.

Versions before 0.2.4, and VSI-Bench's own evaluation, which is made from one, write `<task>.json`:
an object with the samples under `logs`, beside the task's settings and the command's.
"""

from typing import Any

from transferscope.errors import DataError
from transferscope.predictions import shown
from transferscope.readers.harness import averages, lm_eval, samples
from transferscope.readers.harness.record import Content, Log

NAME = "lmms-eval"


def recognise(content: Content) -> bool:
    """Whether the file is one of lmms-eval's."""
    if _old(content):
        return True
    ours = samples.are_samples(content) or averages.are_results(content)
    return ours and not lm_eval.recognise(content)


def read(content: Content, asked: str | None = None) -> Log:
    """The samples, or the averages, of the file.

    Args:
        asked: the metric to take in tasks that have it.
    """
    if _old(content):
        return _read_old(content, asked)
    if samples.are_samples(content):
        return samples.read_samples(content, asked)
    return averages.read_results(content, asked)


def _old(content: Content) -> bool:
    """Whether the file is an older version's object around its samples."""
    logs = _part(content, "logs", list)
    return bool(logs) and "model_configs" in content.value and samples.are_samples(_rows(content))


def _read_old(content: Content, asked: str | None) -> Log:
    """The samples; the task is named by its settings, else by the file."""
    rows, task = _rows(content), _part(content, "model_configs", dict).get("task")
    if len(rows.rows) < len(content.value["logs"]):
        raise DataError(f"{shown(content.name)}: logs: some entries are no objects")
    named = task if isinstance(task, str) else content.name.removesuffix(".json")
    log = samples.read_samples(rows._replace(name=f"samples_{named}.jsonl"), asked)
    return log._replace(notes=averages.limit_notes(_part(content, "args", dict)) + log.notes)


def _rows(content: Content) -> Content:
    rows = [(n, row) for n, row in enumerate(content.value["logs"], 1) if isinstance(row, dict)]
    return content._replace(value=None, rows=rows)


def _part(content: Content, key: str, kind: type) -> Any:
    """What stands under a key; an empty one where it is of another kind."""
    value = content.value.get(key) if isinstance(content.value, dict) else None
    return value if isinstance(value, kind) else kind()
