"""OpenCompass: `results/MODEL/DATASET.json`, `predictions/MODEL/DATASET.json`, `summary/*.csv`.

    results      {"accuracy": 75.0, "details": {"0": {"prompt", "origin_prediction", "predictions",
                  "references", "correct"}}}, with details where its run dumped them
    predictions  {"0": {"origin_prompt", "prediction", "gold"}}: replies without scores
    summary      dataset, version, metric, mode, and a column for each model, in percent

Only the file names the dataset.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transferscope.readers.harness import raw, terms
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.samples import HarnessLog, HarnessSample, HarnessScore, Options

NAME = "OpenCompass"
_SUMMARY = ("dataset", "version", "metric", "mode")
_ACCURACIES = ("accuracy", "acc", "exact_match", "em", "pass@1", "humaneval_pass@1")
"""Metrics of a summary that are accuracies in percent."""
_DETAILS = {"correct", "predictions", "pred", "origin_prediction"}
"""Keys of which each item of a results file has some."""


def recognize(file: ForeignFile) -> bool:
    return bool(_are_predictions(file) or _details(file) or _is_summary(file))


def _is_summary(file: ForeignFile) -> bool:
    return tuple(file.first)[:4] == _SUMMARY and len(file.first) > len(_SUMMARY)


def _are_predictions(file: ForeignFile) -> bool:
    items = raw.object(file.value).items()
    return bool(items) and all(key.isdigit() and "prediction" in raw.object(v) for key, v in items)


def _details(file: ForeignFile) -> dict[str, dict[str, Any]]:
    """The details of a results file by item; empty for other files."""
    given = raw.at(file.value, "details")
    pairs = given.items() if isinstance(given, dict) else enumerate(raw.array(given))
    found = {str(key): each for key, each in pairs if isinstance(each, dict)}
    return found if all(_DETAILS & each.keys() for each in found.values()) else {}


def read(file: ForeignFile, _options: Options) -> HarnessLog:
    if _is_summary(file):
        return _summary(file)
    target = terms.target_name(file.name.rpartition(".")[0])
    if _are_predictions(file):
        names = {"prompt": "origin_prompt", "origin_prediction": "prediction", "references": "gold"}
        items = {k: {to: v.get(name) for to, name in names.items()} for k, v in file.value.items()}
        samples = [each for each in _samples(target, items) if each.reply is not None]
        if any(sample.answer is not None for sample in samples):
            return HarnessLog(samples)
        note = "evaluate with --dump-eval-details and name its folder results/"
        return HarnessLog(notes=(f"OpenCompass's predictions hold no scores; {note}",))
    samples = list(_samples(target, _details(file)))
    printed = raw.number(file.value, "accuracy")
    known = [sample.score for sample in samples if sample.score is not None]
    found = 100 * sum(known) / max(len(known), 1)
    if printed is None or not known or abs(found - printed) <= 0.1:
        return HarnessLog(samples)
    # As after circular evaluation.
    note = f"prints an accuracy of {printed:g} %, but its items have {found:.4g} %, which counts"
    return HarnessLog(samples, notes=(f"{file.name}: {note}",))


def _samples(target: str, items: Mapping[str, Mapping[str, Any]]) -> Iterator[HarnessSample]:
    for row, (item, values) in enumerate(items.items(), 1):
        gold = values.get("references", values.get("answer", values.get("answers")))
        prompt = raw.messages(values.get("prompt"), "prompt")
        choices = terms.options_in(prompt)
        answer = terms.option_index(gold, choices)
        given = raw.array(values, "correct") or [values.get("correct")]
        marks = [raw.fraction(each) for each in given]
        known = [mark for mark in marks if mark is not None]
        yield HarnessSample(
            *(target, item, row, raw.string(values, "origin_prediction")),
            choices=() if answer is None else choices,  # else the options are others
            answer=answer,
            parsed=raw.text(values.get("predictions", values.get("pred"))) or None,
            score=sum(known) / len(known) if known and len(known) == len(marks) else None,
            prompt=prompt or None,
        )


def _summary(file: ForeignFile) -> HarnessLog:
    """Averages of the one model; groups of datasets, which have no version, are left out."""
    models = [column for column in file.first if column not in _SUMMARY]
    if len(models) > 1:
        named = f"{len(models)} ({', '.join(models[:3])})"
        raise file.refuse(1, f"must have one model, got {named}; keep the column of one model")
    scores, others = [], []
    for _, values in file.rows:
        value, metric = raw.number(values, models[0]), raw.text(values, "metric")
        dataset = raw.text(values, "dataset")
        if value is None or raw.text(values, "version") == "-":
            continue
        # A custom evaluator may give a fraction, which as percent would be a hundredth of it.
        if metric.lower() in _ACCURACIES and (value == 0 or 1 < value <= 100):
            scores.append(HarnessScore(terms.target_name(dataset), value / 100))
        else:
            others.append(f"{dataset} ({metric} {value:g})")
    note = f"{file.name}: no accuracies in percent, so left out: {', '.join(others)}"
    return HarnessLog(scores=scores, notes=(note,) if others else ())
