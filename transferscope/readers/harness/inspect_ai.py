"""Inspect: logs of one task, `.eval` (a zip archive, which `content` takes apart) or `.json`.

    {"version", "status", "eval": {"task", "config"}, "results", "samples": [{"id", "epoch",
     "choices", "target", "output", "scores": {SCORER: {"value", "answer"}}}]}

A value is C (correct), I (incorrect), P (partly), N (no answer), or a number. Of several epochs the
first is read: its replies and choices belong together.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from transferscope.readers.harness.metric import accuracy_of
from transferscope.readers.harness.record import (
    Content,
    Log,
    Sample,
    Score,
    dict_of,
    fraction_of,
    letter_index,
    list_of,
    number_of,
    text_of,
)
from transferscope.readers.harness.tasks import options_of, target_name

NAME = "Inspect"
_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_SCORERS = ("choice", "match", "exact", "answer", "pattern", "includes", "accuracy")
"""Scorers to be taken first where a log has several."""
_PARTS = ("dataset", "subset", "subject", "subjects", "category", "split", "language", "task")
"""Arguments of a task that choose its items, and so are part of the target's name."""


def recognise(content: Content) -> bool:
    """Whether the file is a log of Inspect's."""
    log = content.value
    return (
        isinstance(log, dict)
        and {"status", "eval"} <= log.keys()
        and {"task", "run_id"} <= dict_of(log["eval"]).keys()
    )


def read(content: Content) -> Log:
    """The samples of a log, or its accuracy where it keeps no samples.

    Raises:
        DataError: a sample has no id.
    """
    log = content.value
    task, results = dict_of(log["eval"]), dict_of(log.get("results"))
    target, count = _target(task), Counter[str]()
    samples = [each for each in list_of(log.get("samples")) if isinstance(each, dict)]
    scorer = _scorer(samples)
    first = min((_epoch(each) for each in samples), default=1)
    found: list[Sample] = []
    for row, sample in enumerate(samples, 1):
        if "id" not in sample:
            raise content.refuse(row, "the sample has no id")
        if _epoch(sample) != first:
            count["samples of later epochs are left out; the first epoch is read"] += 1
        elif sample.get("error"):
            count["samples ended in an error and are left out"] += 1
        else:
            found.append(_sample(target, row, sample, scorer))
    notes = [f"{content.name}: {n} {what}" for what, n in count.items()]
    if found and not any(sample.score is not None or sample.answer is not None for sample in found):
        step = (
            "run `inspect score` on it" if scorer is None else f"{scorer} gives no 0 to 1 or C, I"
        )
        notes.append(f"{content.name}: no sample has a usable score; {step}")
        found = []
    if scorer is not None and (others := _scorers(samples) - {scorer}):
        notes.append(f"{content.name}: scored by {scorer}; not read: {', '.join(sorted(others))}")
    if log["status"] != "success":
        notes.append(f"{content.name}: status is {text_of(log['status'])}, so items may be missing")
    total = number_of(results.get("total_samples"))
    if samples and total and total > len(samples):
        notes.append(f"{content.name}: holds {len(samples)} samples of {total:.0f}")
    scores = [] if found else list(_averages(target, results))
    if not samples and not scores:
        notes.append(f"{content.name}: no samples and no accuracy in the log")
    return Log(found, scores, notes=(*notes, *_limited(task)))


def _limited(task: Mapping[str, Any]) -> tuple[str, ...]:
    """That the log is of a part of the items; a limit beyond their number is none."""
    limit = dict_of(task.get("config")).get("limit")
    most, total = number_of(limit), number_of(dict_of(task.get("dataset")).get("samples"))
    if limit is None or (most and total and most >= total):
        return ()
    return (f"evaluated with limit {limit}, so not on all items",)


def _target(task: Mapping[str, Any]) -> str:
    """The task's name without its package, with the arguments that choose its items."""
    name = text_of(task["task"]).rpartition("/")[2]
    given = dict_of(task.get("task_args"))
    parts = [text_of(given[key]) for key in _PARTS if isinstance(given.get(key), str)]
    return target_name(":".join([name, *parts]))


def _sample(target: str, row: int, sample: Mapping[str, Any], scorer: str | None) -> Sample:
    scored = dict_of(_scores(sample).get(scorer or ""))
    choices = options_of(sample.get("choices"))
    right = sample.get("target")
    if isinstance(right, list):
        right = right[0] if len(right) == 1 else None
    answer = letter_index(right) if choices else None
    prompt = sample.get("input")
    return Sample(
        *(target, text_of(sample["id"]), row, _reply(dict_of(sample.get("output")))),
        choices=choices,
        answer=answer if answer is not None and answer < len(choices) else None,
        said=text_of(scored.get("answer")) or None,
        score=_value(scored.get("value")),
        prompt=prompt if isinstance(prompt, str) else None,
    )


def _value(value: Any) -> float | None:
    if isinstance(value, dict):
        found = accuracy_of(value)
        return found[1] if found else None
    return _LETTERS[value] if value in list(_LETTERS) else fraction_of(value)


def _reply(output: Mapping[str, Any]) -> str | None:
    """The text of the first completion, without its reasoning."""
    first = next(iter(list_of(output.get("choices"))), None)
    content = dict_of(dict_of(first).get("message")).get("content", output.get("completion"))
    if isinstance(content, list):
        texts = [
            dict_of(part).get("text") for part in content if dict_of(part).get("type") == "text"
        ]
        content = "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else None


def _scores(sample: Mapping[str, Any]) -> dict[str, Any]:
    """By scorer; older logs have the one score of a sample under `score`."""
    return dict_of(sample.get("scores")) or {"score": sample.get("score")}


def _scorers(samples: list[dict[str, Any]]) -> set[str]:
    return {name for sample in samples for name, value in _scores(sample).items() if value}


def _scorer(samples: list[dict[str, Any]]) -> str | None:
    """The scorer that counts: the only one, else a known one, else the first."""
    names = list(dict.fromkeys(n for s in samples for n, value in _scores(s).items() if value))
    return next((name for name in _SCORERS if name in names), next(iter(names), None))


def _averages(target: str, results: Mapping[str, Any]) -> Iterator[Score]:
    for scored in map(dict_of, list_of(results.get("scores"))[:1]):
        metrics = {n: dict_of(m).get("value") for n, m in dict_of(scored.get("metrics")).items()}
        total = number_of(results.get("completed_samples"))
        for name in ("accuracy", "mean"):
            if (value := fraction_of(metrics.get(name))) is not None:
                yield Score(target, value, int(total) if total else None)
                return


def _epoch(sample: Mapping[str, Any]) -> float:
    return number_of(sample.get("epoch")) or 1
