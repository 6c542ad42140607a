"""Inspect: logs of one task, `.eval` (a zip archive) or `.json`.

    {"version", "status", "eval": {"task", "config"}, "results", "samples": [{"id", "epoch",
     "choices", "target", "output", "scores": {SCORER: {"value", "answer"}}}]}

A value is C (correct), I (incorrect), P (partly), N (no answer), or a number. Of several epochs the
first is read: its replies and choices belong together.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from transferscope.readers.harness import raw, terms
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.metrics import accuracy_of
from transferscope.readers.harness.samples import HarnessLog, HarnessSample, HarnessScore, Options

NAME = "Inspect"
_VALUES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_SCORERS = ("choice", "match", "exact", "answer", "pattern", "includes", "accuracy")
"""Scorers that count before others."""
_AVERAGES = ("accuracy", "mean")
_PARTS = ("dataset", "subset", "subject", "subjects", "category", "split", "language", "task")
"""Arguments of a task that choose its items, and so are part of the target's name."""


def recognize(file: ForeignFile) -> bool:
    return "status" in file.first and {"task", "run_id"} <= raw.object(file.value, "eval").keys()


def read(file: ForeignFile, _options: Options) -> HarnessLog:
    """The samples of a log, or its accuracy if it has no samples."""
    log = file.value
    task, results = log["eval"], raw.object(log, "results")
    # The task's name without its package, with the arguments that choose its items.
    parts = [raw.string(task, "task_args", key) for key in _PARTS]
    name = raw.text(task, "task").rpartition("/")[2]
    target = terms.target_name(":".join([name, *(part for part in parts if part is not None)]))
    count = Counter[str]()
    samples = [each for each in raw.array(log, "samples") if isinstance(each, dict)]
    scorers = list(dict.fromkeys(n for each in samples for n, v in _scores(each).items() if v))
    scorer = next((name for name in _SCORERS if name in scorers), next(iter(scorers), None))
    epochs = [raw.number(each, "epoch") or 1 for each in samples]
    first = min(epochs, default=1)
    found: list[HarnessSample] = []
    for row, (sample, epoch) in enumerate(zip(samples, epochs, strict=True), 1):
        if "id" not in sample:
            raise file.refuse(row, "the sample must have an id")
        if epoch != first:
            count["samples of later epochs are left out; the first epoch is read"] += 1
        elif sample.get("error"):
            count["samples ended in an error and are left out"] += 1
        else:
            found.append(_sample(target, row, sample, scorer))
    notes = [f"{n} {what}" for what, n in count.items()]
    if found and not any(sample.score is not None or sample.answer is not None for sample in found):
        step = f"{scorer} must give 0 to 1, or C and I" if scorer else "run `inspect score` on it"
        notes.append(f"no sample has a usable score; {step}")
        found = []
    if others := sorted(set(scorers) - {scorer}):
        notes.append(f"scored by {scorer}; not read: {', '.join(others)}")
    if log["status"] != "success":
        notes.append(f"status is {raw.text(log, 'status')}, so items may be missing")
    total = raw.number(results, "total_samples")
    if samples and total and total > len(samples):
        notes.append(f"holds {len(samples)} samples of {total:.0f}")
    finished = raw.number(results, "completed_samples")
    averages = (raw.fraction(results, "scores", 0, "metrics", name, "value") for name in _AVERAGES)
    scores = [
        HarnessScore(target, value, int(finished) if finished else None)
        for value in averages
        if value is not None and not found
    ][:1]
    if not samples and not scores:
        notes.append("no samples and no accuracy in the log")
    notes = [f"{file.name}: {note}" for note in notes]
    limit, items = raw.at(task, "config", "limit"), raw.number(task, "dataset", "samples")
    most = raw.number(limit)
    if limit is not None and not (most and items and most >= items):
        notes.append(f"evaluated with limit {limit}, so not on all items")
    return HarnessLog(found, scores, notes=tuple(notes))


def _sample(target: str, row: int, sample: Mapping[str, Any], scorer: str | None) -> HarnessSample:
    scored = raw.object(_scores(sample), scorer or "")
    value, choices = scored.get("value"), terms.options_of(sample.get("choices"))
    if isinstance(value, dict):
        found = accuracy_of(value)
        score = found[1] if found else None
    else:
        score = _VALUES.get(value) if isinstance(value, str) else None
        score = raw.fraction(value) if score is None else score
    right = sample.get("target")
    if isinstance(right, list):
        right = right[0] if len(right) == 1 else None
    output = raw.object(sample, "output")
    message = raw.object(output, "choices", 0, "message")
    reply = message.get("content", output.get("completion"))
    if isinstance(reply, list):  # its parts of other types are reasoning
        texts = [raw.string(part, "text") for part in reply if raw.at(part, "type") == "text"]
        reply = "\n".join(text for text in texts if text is not None)
    return HarnessSample(
        *(target, raw.text(sample, "id"), row, raw.string(reply)),
        choices=choices,
        answer=terms.option_index(right, choices),
        parsed=raw.text(scored, "answer") or None,
        score=score,
        prompt=raw.string(sample, "input"),
        group=terms.group_of(raw.object(sample, "metadata")),
    )


def _scores(sample: Mapping[str, Any]) -> dict[str, Any]:
    """By scorer; older logs have one score of a sample, under `score`."""
    return raw.object(sample, "scores") or {"score": sample.get("score")}
