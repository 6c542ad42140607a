"""Per-sample logs and results files of lmms-eval and lm-evaluation-harness, which are siblings.

A sample is one JSON line: `doc_id`, `target`, `resps` or `filtered_resps`, and a key for each
metric. A results file holds `results`, task by task, under keys such as `acc,none`.

In:   a `Content`.
Out:  a `Log`. What differs between the two harnesses is said in `lmms_eval` and `lm_eval`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from transferscope.readers.harness.record import (
    HIDDEN,
    Content,
    Log,
    Sample,
    Score,
    fraction_of,
    letter_index,
    number_of,
    text_of,
)
from transferscope.readers.harness.tasks import (
    CHOICES,
    first_known,
    options_in,
    options_of,
    target_name,
    target_of_item,
)

MRA = "MRA:.5:.95:.05"
"""VSI-Bench's mean relative accuracy, as harnesses call it."""
_OURS = {
    *("doc_id", "doc", "target", "arguments", "input", "input_media", "resps", "filtered_resps"),
    *("doc_hash", "prompt_hash", "target_hash", "filter", "metrics", "token_counts"),
}
"""Keys of a sample that are no metrics."""
_METRICS = ("blink_acc", "acc", "exact_match", "accuracy")
"""Metrics to be taken first where a task has several."""
_NAME = re.compile(
    r"(?:.*_)?samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl?", re.I | re.S
)


def are_samples(content: Content) -> bool:
    """Whether the rows are per-sample logs of either harness."""
    return {"doc_id", "target"} <= content.first.keys() and bool(
        {"resps", "filtered_resps"} & content.first.keys()
    )


def are_results(content: Content) -> bool:
    """Whether the file holds aggregated results of either harness."""
    value = content.value
    if not isinstance(value, dict) or not isinstance(value.get("results"), dict):
        return False
    return bool({"configs", "versions", "n-shot", "n-samples"} & value.keys())


def read_samples(content: Content) -> Log:
    """The samples of one file, which is one task of one run.

    Raises:
        DataError: a row lacks its id, or the task is named neither in the rows nor by the file.
    """
    found: list[Sample] = []
    count = Counter[str]()
    for row, values in content.rows:
        if not {"doc_id", "target"} <= values.keys():
            raise content.refuse(row, "no doc_id or no target")
        if values.get("filter") != content.first.get("filter"):
            count["samples of another filter are left out"] += 1
            continue
        if str(values["target"]).strip() == HIDDEN:
            count["items with hidden answers are left out"] += 1
            continue
        logprobs = _logprobs(values)
        replies = (
            [] if logprobs else list(_texts(values.get("resps") or values.get("filtered_resps")))
        )
        if len(replies) > 1:
            count["items have several replies, of which the first is read"] += 1
        sample = _sample(content, row, values, replies[0] if replies else None)
        found.append(sample._replace(prompt=_prompt(values) or None))
    return Log(found, notes=tuple(f"{content.name}: {n} {what}" for what, n in count.items()))


def _sample(content: Content, row: int, values: dict[str, Any], reply: str | None) -> Sample:
    doc = _doc(values)
    if "question_type" in doc:
        return _vsi(content, row, values, doc, reply)
    blink = values.get("blink_acc")
    blink = blink if isinstance(blink, dict) else {}
    item = text_of(blink.get("id") or doc.get("idx") or values["doc_id"])
    target = target_of_item(item) or target_name(_task(content, row))
    choices = first_known(
        options_of(doc.get("choices") or doc.get("options")),
        options_in(_prompt(values)),
        CHOICES.get(target, ()),
    )
    metric = _metric(values)
    said = text_of(blink.get("pred_parsed")) if "pred_parsed" in blink else None
    logprobs = _logprobs(values)
    if logprobs is not None:
        return Sample(
            *(target, item, row),
            choices=choices,
            answer=_index(values["target"], choices, len(logprobs), sure=metric is None),
            score=metric,
            logprobs=logprobs,
        )
    if reply is None and isinstance(blink.get("pred"), str):
        reply = blink["pred"]
    answer = letter_index(values["target"])
    return Sample(target, item, row, reply, choices, answer, said, metric)


def _doc(values: dict[str, Any]) -> dict[str, Any]:
    """The question's own record: `doc`, or VSI-Bench's under each of its metrics."""
    for key, value in values.items():
        if isinstance(value, dict) and (key == "doc" or "question_type" in value):
            return value
    return {}


def _vsi(
    content: Content, row: int, values: dict[str, Any], doc: dict[str, Any], reply: str | None
) -> Sample:
    target, item = text_of(doc["question_type"]), text_of(doc.get("id", values["doc_id"]))
    scored = next((v for v in values.values() if isinstance(v, dict) and _vsi_score(v)), doc)
    if reply is None and isinstance(scored.get("prediction"), str):
        reply = scored["prediction"]
    said = text_of(scored["prediction"]) if "prediction" in scored else None
    if MRA in scored:
        score = fraction_of(scored[MRA])
        if score is None:
            raise content.refuse(row, f"{MRA} is {scored[MRA]!r}, expected a fraction in [0, 1]")
        return Sample(target, item, row, reply, said=said, score=score)
    options = first_known(options_of(doc.get("options")))
    answer = letter_index(doc.get("ground_truth", values["target"]))
    score = fraction_of(scored.get("accuracy"))
    return Sample(target, item, row, reply, options, answer, said, score)


def _vsi_score(value: dict[str, Any]) -> bool:
    return MRA in value or "accuracy" in value


def _task(content: Content, row: int) -> str:
    """The task's name, which nothing in the file but its own name may tell."""
    found = _NAME.fullmatch(content.name)
    if found is None:
        raise content.refuse(
            row, "names no task, and neither does the file; call it samples_TASK.jsonl"
        )
    return found["task"]


def _prompt(values: dict[str, Any]) -> str:
    """The prompt's text: `input`, or the first argument."""
    if isinstance(values.get("input"), str):
        return values["input"]
    return next((text for text in _texts(values.get("arguments")) if len(text) > 1), "")


def _texts(value: Any) -> Iterator[str]:
    """Texts in lists of lists, in order."""
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, list):
            stack.extend(reversed(each))
        elif isinstance(each, dict):
            stack.extend(reversed(list(each.values())))


def _logprobs(values: dict[str, Any]) -> tuple[float, ...] | None:
    """Log-probabilities of compared options: a pair (log-probability, whether greedy) for each."""
    pairs = values.get("filtered_resps") or values.get("resps")
    if not isinstance(pairs, list) or len(pairs) < 2:
        return None
    inner = [p[0] if isinstance(p, list) and len(p) == 1 else p for p in pairs]
    if not all(isinstance(p, list) and len(p) == 2 and _is_truth(p[1]) for p in inner):
        return None
    numbers = [number_of(p[0]) for p in inner]
    return tuple(n for n in numbers if n is not None) if None not in numbers else None


def _is_truth(value: Any) -> bool:
    return str(value) in ("True", "False")


def _index(target: Any, choices: tuple[str, ...], size: int, *, sure: bool) -> int | None:
    """The right option of a comparison: its index, its letter or its text.

    Logs hold indices as text. Where options are numbers, or their texts are not known, a number may
    be either, and unless it is `sure` to be an index the harness's score decides.
    """
    text = str(target).strip()
    if text.isascii() and text.isdigit() and len(text) < 4:
        index = int(text) if int(text) < size else None
        known = [choice.strip() for choice in choices[:size]]
        clear = all(known) and (text not in known or known.index(text) == index)
        return index if sure or clear else None
    letter = letter_index(text)
    if letter is not None and letter < size:
        return letter
    same = [n for n, choice in enumerate(choices) if choice and choice.strip() == text]
    return same[0] if len(same) == 1 else None


def _metric(values: dict[str, Any]) -> float | None:
    """The harness's own score of a sample; None where it has none, or several of no known name."""
    found: dict[str, float] = {}
    for key in values.keys() - _OURS:
        value = values[key]
        if isinstance(value, dict):
            keys = ("is_correct", "score", "accuracy", "correct")
            value = next((value[k] for k in keys if k in value), None)
        score = fraction_of(value)
        if score is not None:
            found[key] = score
    for name in _METRICS:
        if name in found:
            return found[name]
    return next(iter(found.values())) if len(found) == 1 else None


def read_results(content: Content) -> Log:
    """The averages of every task in a results file; groups of tasks are left out."""
    value = content.value
    groups = _groups(value)
    scores: list[Score] = []
    notes: list[str] = []
    for task, metrics in value["results"].items():
        if task in groups or not isinstance(metrics, dict):
            continue
        expanded = list(_vsi_scores(metrics))
        if expanded:
            scores += expanded
            continue
        chosen = _chosen(metrics)
        if chosen is None:
            notes.append(f"{content.name}: {task} has no one score in [0, 1] and is left out")
            continue
        scores.append(Score(target_name(task), chosen, _total(value, task, metrics)))
    versions = value.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    config = value.get("config")
    return Log(
        scores=scores,
        versions={target_name(task): text_of(version) for task, version in versions.items()},
        notes=(*notes, *limit_notes(config if isinstance(config, dict) else {})),
    )


def limit_notes(settings: dict[str, Any]) -> tuple[str, ...]:
    """What a reader must know where a command's settings left items out."""
    limit = settings.get("limit")
    if limit in (None, "", "None"):
        return ()
    return (f"evaluated with limit {limit}, so not on all items",)


def _groups(value: dict[str, Any]) -> set[str]:
    listed = value.get("group_subtasks")
    named = value.get("groups")
    groups = set(named) if isinstance(named, dict) else set()
    if isinstance(listed, dict):
        groups |= {group for group, members in listed.items() if members}
    return groups


def _chosen(metrics: dict[str, Any]) -> float | None:
    """The task's score: a metric known by name, else the only one that is a fraction."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        name = key.partition(",")[0]
        score = fraction_of(value)
        plain = score is not None and not isinstance(value, bool) and "stderr" not in name
        if plain and name not in ("alias", "samples", "size", "sample_len"):
            found.setdefault(name, score or 0.0)
    only = next(iter(found.values())) if len(found) == 1 else None
    return next((found[name] for name in _METRICS if name in found), only)


def _total(value: dict[str, Any], task: str, metrics: dict[str, Any]) -> int | None:
    samples = value.get("n-samples")
    entry = samples.get(task) if isinstance(samples, dict) else None
    count = entry.get("effective") if isinstance(entry, dict) else metrics.get("samples")
    number = number_of(count)
    return int(number) if number is not None and number >= 1 and number.is_integer() else None


def _vsi_scores(metrics: dict[str, Any]) -> Iterator[Score]:
    """VSI-Bench's scores by question type; older files have them in percent under one key."""
    for key, value in metrics.items():
        name = key.partition(",")[0]
        if name == "vsibench_score" and isinstance(value, dict):
            for inner, percent in value.items():
                yield from _by_type(inner, (number_of(percent) or 0.0) / 100)
        elif isinstance(value, float | int) and "vsibench_overall,none" in metrics:
            yield from _by_type(name, float(value))


def _by_type(name: str, value: float) -> Iterator[Score]:
    found = re.fullmatch(r"(.+?)_(?:accuracy|mra|MRA:.*)", name)
    if found and 0 <= value <= 1:
        yield Score(found[1], value)
