"""Per-sample logs of lmms-eval and lm-evaluation-harness, which are siblings.

A sample is one JSON line: `doc_id`, `target`, `resps` or `filtered_resps`, and a key for each
metric.

In:   a `Content`.
Out:  a `Log`. What differs between the two harnesses is said in `lmms_eval` and `lm_eval`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from transferscope.predictions import some
from transferscope.readers.harness.metrics import preferred, score_of
from transferscope.readers.harness.record import (
    HIDDEN,
    Content,
    Log,
    Sample,
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
YES_NO = ("yes", "no")
"""Options of an item whose right answer is one of them."""
_NAME = re.compile(
    r"(?:.*_)?samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl?", re.I | re.S
)


def are_samples(content: Content) -> bool:
    """Whether the rows are per-sample logs of either harness."""
    return {"doc_id", "target"} <= content.first.keys() and bool(
        {"resps", "filtered_resps"} & content.first.keys()
    )


def read_samples(content: Content, asked: str | None = None) -> Log:
    """The samples of one file, which is one task of one run.

    Args:
        asked: the metric that decides where the samples have it.

    Raises:
        DataError: a row lacks its id, or the task is named neither in the rows nor by the file.
    """
    found: list[Sample] = []
    count = Counter[str]()
    metrics = list(dict.fromkeys(name for _, values in content.rows for name in _marks(values)))
    metric = asked if asked in metrics else preferred(metrics)
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
        score = score_of(metric, _marks(values))
        sample = _sample(content, row, values, replies[0] if replies else None, score)
        if metric is not None and metric == asked:
            sample = Sample(sample.target, sample.item, row, score=score)
        found.append(sample._replace(prompt=_prompt(values) or None))
    notes = [f"{content.name}: {n} {what}" for what, n in count.items()]
    judged = [s for s in found if s.answer is not None and s.logprobs is None]
    if metrics and metric is None and not judged:  # options may be compared for a bias alone
        tasks = dict.fromkeys(sample.target for sample in found)
        why = f"no one accuracy among {some(metrics)}; choose one with `metric: NAME`"
        return Log(notes=(*notes, f"{content.name}: {some(tasks)} left out: {why}"))
    by_score = {s.target: metric for s in found if s.answer is None and metric is not None}
    return Log(found, metrics=by_score, notes=tuple(notes))


def _sample(
    content: Content, row: int, values: dict[str, Any], reply: str | None, score: float | None
) -> Sample:
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
    said = text_of(blink.get("pred_parsed")) if "pred_parsed" in blink else None
    logprobs = _logprobs(values)
    if logprobs is not None:
        return Sample(
            *(target, item, row),
            choices=choices,
            answer=_index(values["target"], choices, len(logprobs), sure=score is None),
            score=score,
            logprobs=logprobs,
        )
    if reply is None and isinstance(blink.get("pred"), str):
        reply = blink["pred"]
    answer = letter_index(values["target"])
    if answer is None and str(values["target"]).strip().lower() in YES_NO:
        choices, answer = YES_NO, YES_NO.index(str(values["target"]).strip().lower())
    return Sample(target, item, row, reply, choices, answer, said, score)


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


def _marks(values: dict[str, Any]) -> dict[str, float]:
    """What the harness gave for a sample, by metric."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, dict) and key not in _OURS:
            keys = ("is_correct", "score", "accuracy", "correct")
            value = next((value[k] for k in keys if k in value), None)
        number = number_of(value)
        if key not in _OURS and number is not None:
            found[key] = number
    return found
