"""Every Eval Ever: `*_samples.jsonl`, one line for each item and metric, and the aggregate JSON.

    samples    {"schema_version", "evaluation_name", "evaluation_result_id", "sample_id", "input":
                {"raw", "reference", "choices"}, "output": {"raw"}, "evaluation": {"score",
                "is_correct"}}
    aggregate  {"schema_version", "model_info", "evaluation_results": [{"evaluation_name",
                "metric_config", "score_details": {"score"}}]}

Where an evaluation has several metrics, each is a line of its own; the accuracy among them is read.
"""

from collections.abc import Mapping
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

NAME = "Every Eval Ever"
_SAMPLE = {"schema_version", "evaluation_name", "sample_id", "evaluation"}
_AGGREGATE = {"schema_version", "evaluation_results", "model_info"}


def recognise(content: Content) -> bool:
    """Whether the file follows the schema."""
    return content.first.keys() >= _SAMPLE or content.first.keys() >= _AGGREGATE


def read(content: Content) -> Log:
    """The samples, or the averages of an aggregate.

    Raises:
        DataError: a line lacks its evaluation's name or its sample's id.
    """
    if content.first.keys() >= _SAMPLE:
        return _read_samples(content)
    by_name: dict[str, dict[str, Any]] = {}
    totals: dict[str, int | None] = {}
    for result in map(dict_of, list_of(content.value["evaluation_results"])):
        name, metric = text_of(result.get("evaluation_name")), dict_of(result.get("metric_config"))
        details = dict_of(result.get("score_details"))
        kind = text_of(metric.get("metric_id") or metric.get("metric_name")) or "accuracy"
        by_name.setdefault(name, {})[kind] = _fraction(metric, details.get("score"))
        count = number_of(dict_of(details.get("uncertainty")).get("num_samples"))
        totals[name] = int(count) if count else None
    scores, other = [], []
    for name, metrics in by_name.items():
        found = accuracy_of(metrics)
        if found is None:
            other.append(f"{name} ({', '.join(metrics)})")
        else:
            scores.append(Score(target_name(name), found[1], totals[name]))
    note = (
        f"{content.name}: no score from 0 to 1 or 100 of which more is better: {', '.join(other)}"
    )
    return Log(scores=scores, notes=(note,) if other else ())


def _fraction(metric: Mapping[str, Any], score: Any) -> float | None:
    """A score from 0 to 1 or 100, of which more is better, as a fraction; None for any other."""
    most, value = number_of(metric.get("max_score")), number_of(score)
    usable = metric.get("min_score") == 0 and most in (1, 100)
    if not usable or metric.get("lower_is_better") is not False or not most or value is None:
        return None
    return fraction_of(value / most)


def _read_samples(content: Content) -> Log:
    metrics: dict[str, dict[str, float]] = {}
    for row, values in content.rows:
        if not values.keys() >= _SAMPLE:
            raise content.refuse(row, "no evaluation_name, sample_id or evaluation")
        result = text_of(values.get("evaluation_result_id"))
        metrics.setdefault(text_of(values["evaluation_name"]), {})[result] = 1.0
    read, notes = {}, []
    for name, results in metrics.items():
        found = accuracy_of({result.rpartition(".")[2]: 1.0 for result in results})
        named = found[0] if found else None
        read[name] = next((r for r in results if r.rpartition(".")[2] == named), None)
        if read[name] is None:
            notes.append(f"{content.name}: {name} has several metrics, none called accuracy")
    samples = [
        _sample(row, values)
        for row, values in content.rows
        if text_of(values.get("evaluation_result_id")) == read[text_of(values["evaluation_name"])]
    ]
    return Log(samples, notes=tuple(notes))


def _sample(row: int, values: Mapping[str, Any]) -> Sample:
    asked, judged = dict_of(values.get("input")), dict_of(values["evaluation"])
    replies = dict_of(values.get("output")).get("raw")
    reply = replies if isinstance(replies, str) else next(iter(list_of(replies)), None)
    choices = options_of(asked.get("choices"))
    given = asked.get("reference")
    right = given if isinstance(given, str) else next(iter(list_of(given)), None)
    said = [dict_of(each) for each in list_of(values.get("answer_attribution"))]
    score = fraction_of(judged.get("score"))
    prompt = asked.get("raw")
    return Sample(
        target_name(text_of(values["evaluation_name"])),
        text_of(values["sample_id"]),
        row,
        reply if isinstance(reply, str) else None,
        choices,
        answer=_answer(choices, right),
        said=text_of(said[-1].get("extracted_value")) or None if said else None,
        score=fraction_of(judged.get("is_correct")) if score is None else score,
        prompt=prompt if isinstance(prompt, str) else None,
    )


def _answer(choices: tuple[str, ...], right: Any) -> int | None:
    """The right option by its text, else by its letter."""
    same = [n for n, choice in enumerate(choices) if choice == text_of(right).strip()]
    if len(same) == 1:
        return same[0]
    letter = letter_index(right)
    return letter if letter is not None and letter < len(choices) else None
