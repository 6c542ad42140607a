"""lmms-eval: `<date>_samples_<task>.jsonl` and `<date>_results.json`, in the formats of `lm_eval`.

BLINK's tasks name their items under `blink_acc`. Its parser takes the first letter of a reply, so
that "The answer is B" is read as T: raw replies are read again.

Versions before 0.2.4, and VSI-Bench's own evaluation, which was made from one, write `<task>.json`:

    {"args", "model_configs": {"task"}, "logs": [SAMPLE, ..]}
"""

from transferscope.errors import DataError
from transferscope.readers.harness import lm_eval, raw
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.samples import HarnessLog, Options
from transferscope.tasks.untrusted import shown

NAME = "lmms-eval"


def recognize(file: ForeignFile) -> bool:
    either = lm_eval.are_samples(file) or lm_eval.are_results(file)
    return _before_024(file) is not None or (either and not lm_eval.recognize(file))


def read(file: ForeignFile, options: Options) -> HarnessLog:
    inner = _before_024(file)
    if inner is None:
        return lm_eval.read(file, options)
    if len(inner.rows) < len(file.value["logs"]):
        raise DataError(f"{shown(file.name)}: logs: every entry must be an object")
    log = lm_eval.read(inner, options)
    return log._replace(notes=(*lm_eval.limit_notes(raw.at(file.value, "args")), *log.notes))


def _before_024(file: ForeignFile) -> ForeignFile | None:
    """The samples inside an older version's object, named by the task; None for other files."""
    logs = raw.array(file.value, "logs")
    rows = [(n, row) for n, row in enumerate(logs, 1) if isinstance(row, dict)]
    task = raw.string(file.value, "model_configs", "task")
    named = file.name.removesuffix(".json") if task is None else task
    inner = file._replace(name=f"samples_{named}.jsonl", value=None, rows=rows)
    old = bool(logs) and "model_configs" in file.value and lm_eval.are_samples(inner)
    return inner if old else None
