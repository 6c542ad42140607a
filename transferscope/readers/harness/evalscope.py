"""EvalScope: `reviews/MODEL/DATASET_SUBSET.jsonl` and `reports/MODEL/DATASET.json`.

    reviews      {"index", "input", "target", "sample_score": {"score": {"value": {"acc": 1.0},
                  "prediction", "extracted_prediction"}}}; before version 1 {"choices": [{"message",
                  "review": {"gold", "pred", "result"}}], "reviewed", "index"}
    reports      {"dataset_name", "metrics": [{"name", "categories": [{"subsets": [..]}]}]}
    predictions  {"index", "model", "model_output"}: replies without scores

Targets are the dataset and its subset, `math_500_Level 1`, as its files of reviews are called. The
first metric of a report is the score that EvalScope shows.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transferscope.readers.harness.metric import accuracy_of, less_is_better
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
from transferscope.readers.harness.tasks import options_in, target_name

NAME = "EvalScope"
_ROUNDING = 0.5e-4
"""Reports round scores to four decimals."""


def recognise(content: Content) -> bool:
    """Whether the file is one of EvalScope's."""
    return _is_review(content.first) or _is_report(content) or _is_prediction(content)


def _is_review(values: Mapping[str, Any]) -> bool:
    return "sample_score" in values or {"reviewed", "choices"} <= values.keys()


def _is_report(content: Content) -> bool:
    keys = dict_of(content.value).keys()
    return {"dataset_name", "model_name", "metrics"} <= keys


def _is_prediction(content: Content) -> bool:
    return {"index", "model", "model_output"} <= content.first.keys()


def read(content: Content) -> Log:
    """The samples of a file of reviews, or the averages of a report.

    Raises:
        DataError: a review has no index.
    """
    if _is_report(content):
        return _report(content)
    if not _is_review(content.first):
        return Log(notes=("EvalScope's predictions hold no scores; name its folder reviews/",))
    target = _named(content.name.rpartition(".")[0])
    samples = [_review(content, row, values, target) for row, values in content.rows]
    return Log(samples)


def _named(name: str) -> str:
    """The dataset and its subset, without subsets that are called default."""
    for ending in ("_default", "_default_subset", "_OVERALL"):
        name = name.removesuffix(ending)
    return target_name(name)


def _review(content: Content, row: int, values: dict[str, Any], target: str) -> Sample:
    item = text_of(values.get("index"))
    if not item:
        raise content.refuse(row, "the review has no index")
    if "sample_score" in values:
        score = dict_of(dict_of(values["sample_score"]).get("score"))
        said, gold = text_of(score.get("extracted_prediction")), values.get("target")
        reply, marks, main = (
            score.get("prediction"),
            score.get("value"),
            score.get("main_score_name"),
        )
        prompt = _prompt(values.get("input"))
    else:
        choice = dict_of(next(iter(list_of(values["choices"])), None))
        review = dict_of(choice.get("review"))
        said, gold, main = text_of(review.get("pred")), review.get("gold"), None
        reply, marks = dict_of(choice.get("message")).get("content"), review.get("result")
        prompt = ""
    found = accuracy_of(marks, main) if isinstance(marks, dict) else ("", fraction_of(marks))
    choices = options_in(prompt)
    answer = letter_index(gold) if choices else None
    return Sample(
        *(target, item, row, reply if isinstance(reply, str) else None),
        choices=choices,
        answer=answer if answer is not None and answer < len(choices) else None,
        said=said or None,
        score=found[1] if found else None,
        prompt=prompt or None,
    )


def _prompt(given: Any) -> str:
    """The text of an item's input: a string, or messages."""
    if isinstance(given, str):
        return given
    texts = []
    for message in map(dict_of, list_of(given)):
        content = message.get("content")
        parts = [dict_of(part).get("text") for part in list_of(content)] or [content]
        texts += [part for part in parts if isinstance(part, str)]
    return "\n".join(texts)


def _report(content: Content) -> Log:
    """The first metric by subset. Where all its scores are counts of items, they are exact."""
    report, notes = content.value, list[str]()
    metrics = [dict_of(metric) for metric in list_of(report["metrics"])]
    dataset = text_of(report["dataset_name"])
    name = text_of(metrics[0].get("name")) if metrics else "no metric"
    subsets = list(_subsets(metrics[0])) if metrics and not less_is_better(name) else []
    if len(metrics) > 1 and subsets:
        notes.append(f"{dataset}: of {len(metrics)} metrics the first is read, {name}")
    if not subsets:
        notes.append(f"{dataset}: {name} is no accuracy in [0, 1] and is left out")
    exact = all(_right(score, total) is not None for _, score, total in subsets)
    scores = []
    for subset, score, total in subsets:
        right = _right(score, total) if exact else None
        accuracy = right / total if right is not None and total else score
        scores.append(Score(_named(f"{dataset}_{subset}"), accuracy, total))
    return Log(scores=scores, notes=tuple(notes))


def _subsets(metric: Mapping[str, Any]) -> Iterator[tuple[str, float, int | None]]:
    """Name, score and items of every subset that is no mean of others."""
    for category in map(dict_of, list_of(metric.get("categories"))):
        for subset in map(dict_of, list_of(category.get("subsets"))):
            score, total = fraction_of(subset.get("score")), number_of(subset.get("num"))
            if score is not None and not subset.get("is_aggregate"):
                yield text_of(subset.get("name")), score, int(total) if total else None


def _right(score: float, total: int | None) -> int | None:
    """The number of right answers; None where no number rounds to the score."""
    if not total:
        return None
    right = round(score * total)
    return right if abs(right / total - score) <= _ROUNDING + 1e-12 else None
