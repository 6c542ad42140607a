"""OpenCompass: `results/MODEL/DATASET.json`, `predictions/MODEL/DATASET.json`, `summary/*.csv`.

    results      {"accuracy": 75.0, "details": {"0": {"prompt", "origin_prediction", "predictions",
                  "references", "correct"}}}, with details where its run dumped them
    predictions  {"0": {"origin_prompt", "prediction", "gold"}}: replies without scores
    summary      dataset, version, metric, mode, and a column for each model, in percent

The dataset is named by the file alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

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

NAME = "OpenCompass"
_SUMMARY = ("dataset", "version", "metric", "mode")
_ACCURACIES = ("accuracy", "acc", "exact_match", "em", "pass@1", "humaneval_pass@1")
"""Metrics of a summary that are read, in percent."""
_DETAILS = {"correct", "predictions", "pred", "origin_prediction"}


def recognise(content: Content) -> bool:
    """Whether the file is one of OpenCompass's."""
    return bool(_are_predictions(content) or _details(content) or _is_summary(content))


def _is_summary(content: Content) -> bool:
    return tuple(content.first)[:4] == _SUMMARY and len(content.first) > len(_SUMMARY)


def _are_predictions(content: Content) -> bool:
    value = content.value
    return (
        isinstance(value, dict)
        and bool(value)
        and all(str(key).isdigit() for key in value)
        and all("prediction" in dict_of(each) for each in value.values())
    )


def _details(content: Content) -> dict[str, dict[str, Any]]:
    """The details of a results file by item; none where it has none."""
    given = dict_of(content.value).get("details")
    pairs = given.items() if isinstance(given, dict) else enumerate(list_of(given))
    found = {str(key): each for key, each in pairs if isinstance(each, dict)}
    return found if all(_DETAILS & each.keys() for each in found.values()) else {}


def read(content: Content) -> Log:
    """The samples of results or predictions, or the averages of a summary.

    Raises:
        DataError: a summary has several models.
    """
    if _is_summary(content):
        return _summary(content)
    target = target_name(content.name.rpartition(".")[0])
    if _are_predictions(content):
        samples = list(_predictions(content.value, target))
        if any(sample.answer is not None for sample in samples):
            return Log(samples)
        note = (
            "OpenCompass's predictions hold no scores; evaluate with --dump-eval-details and name "
            "its folder results/"
        )
        return Log(notes=(note,))
    samples = [
        _sample(target, row, item, values)
        for row, (item, values) in enumerate(_details(content).items(), 1)
    ]
    return Log(samples, notes=tuple(_disagreement(content, samples)))


def _sample(target: str, row: int, item: str, values: Mapping[str, Any]) -> Sample:
    reply = values.get("origin_prediction")
    said = values.get("predictions", values.get("pred"))
    gold = values.get("references", values.get("answer", values.get("answers")))
    prompt = _prompt(values.get("prompt"))
    choices, answer = _options(prompt, gold)
    correct = values.get("correct")
    marks = [fraction_of(each) for each in (correct if isinstance(correct, list) else [correct])]
    known = [mark for mark in marks if mark is not None]
    return Sample(
        *(target, item, row, reply if isinstance(reply, str) else None),
        choices=choices,
        answer=answer,
        said=text_of(said) or None,
        score=sum(known) / len(known) if known and len(known) == len(marks) else None,
        prompt=prompt or None,
    )


def _predictions(value: Mapping[str, Any], target: str) -> Iterator[Sample]:
    for row, (item, values) in enumerate(value.items(), 1):
        reply, prompt = values["prediction"], _prompt(values.get("origin_prompt"))
        choices, answer = _options(prompt, values.get("gold"))
        if isinstance(reply, str):
            yield Sample(
                *(target, item, row, reply), choices=choices, answer=answer, prompt=prompt or None
            )


def _prompt(given: Any) -> str:
    """The text of a prompt: a string, or turns."""
    if isinstance(given, str):
        return given
    turns = [dict_of(turn).get("prompt") for turn in list_of(given)]
    return "\n".join(turn for turn in turns if isinstance(turn, str))


def _options(prompt: str, gold: Any) -> tuple[tuple[str, ...], int | None]:
    """The options in a prompt and the right one, where the right answer is a letter of theirs."""
    answer = letter_index(gold)
    choices = options_in(prompt)
    if answer is None or answer >= len(choices):
        return (), None
    return choices, answer


def _disagreement(content: Content, samples: list[Sample]) -> Iterator[str]:
    """Where items do not have the accuracy that the file prints, as after circular evaluation."""
    printed = number_of(content.value.get("accuracy"))
    known = [sample.score for sample in samples if sample.score is not None]
    if printed is not None and known:
        percent = 100 * sum(known) / len(known)
        if abs(percent - printed) > 0.1:
            yield (
                f"{content.name}: prints an accuracy of {printed:g} %, but its items have "
                f"{percent:.4g} %, which counts"
            )


def _summary(content: Content) -> Log:
    """Averages of the one model; groups of datasets, which have no version, are left out."""
    models = [column for column in content.first if column not in _SUMMARY]
    if len(models) > 1:
        raise content.refuse(
            1, f"{len(models)} models ({', '.join(models[:3])}); keep the column of one model"
        )
    scores, other = [], []
    for _, values in content.rows:
        value, metric = number_of(values[models[0]]), text_of(values["metric"])
        if value is None or text_of(values["version"]) == "-":
            continue
        # A custom evaluator may give a fraction, which as percent would be a hundredth of it.
        percent = value == 0 or 1 < value <= 100
        if metric.lower() in _ACCURACIES and percent:
            scores.append(Score(target_name(text_of(values["dataset"])), value / 100))
        else:
            other.append(f"{text_of(values['dataset'])} ({metric} {value:g})")
    note = f"{content.name}: no accuracies in percent, so left out: {', '.join(other)}"
    return Log(scores=scores, notes=(note,) if other else ())
