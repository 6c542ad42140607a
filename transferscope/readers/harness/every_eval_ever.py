"""Every Eval Ever: `*_samples.jsonl`, one line for each item and metric, and the aggregate JSON.

    samples    {"schema_version", "evaluation_name", "evaluation_result_id", "sample_id", "input":
                {"raw", "reference", "choices"}, "output": {"raw"}, "evaluation": {"score",
                "is_correct"}}
    aggregate  {"schema_version", "model_info", "evaluation_results": [{"evaluation_name",
                "metric_config", "score_details": {"score"}}]}

Each metric of an evaluation is a line; the lines of the accuracy are read.
"""

from collections.abc import Mapping
from typing import Any

from transferscope.readers.harness.foreign_files import (
    ForeignFile,
    at,
    dict_of,
    fraction_of,
    list_of,
    number_of,
    string_of,
    text_of,
)
from transferscope.readers.harness.metrics import accuracy_of
from transferscope.readers.harness.samples import (
    HarnessLog,
    HarnessSample,
    HarnessScore,
    Options,
    option_index,
    options_of,
    target_name,
)

NAME = "Every Eval Ever"
_SAMPLE = {"schema_version", "evaluation_name", "sample_id", "evaluation"}
_AGGREGATE = {"schema_version", "evaluation_results", "model_info"}


def recognize(file: ForeignFile) -> bool:
    return file.first.keys() >= _SAMPLE or file.first.keys() >= _AGGREGATE


def read(file: ForeignFile, _options: Options) -> HarnessLog:
    """The samples, or the averages of an aggregate."""
    return _samples(file) if file.first.keys() >= _SAMPLE else _averages(file)


def _averages(file: ForeignFile) -> HarnessLog:
    by_name: dict[str, dict[str, Any]] = {}
    totals: dict[str, int | None] = {}
    for result in list_of(file.value, "evaluation_results"):
        name, metric = text_of(result, "evaluation_name"), dict_of(result, "metric_config")
        kind = text_of(metric.get("metric_id") or metric.get("metric_name")) or "accuracy"
        score, most = number_of(result, "score_details", "score"), number_of(metric, "max_score")
        usable = metric.get("min_score") == 0 and metric.get("lower_is_better") is False
        fraction = score / most if usable and most in (1, 100) and score is not None else None
        by_name.setdefault(name, {})[kind] = fraction_of(fraction)
        count = number_of(result, "score_details", "uncertainty", "num_samples")
        totals[name] = int(count) if count else None
    scores, others = [], []
    for name, metrics in by_name.items():
        if found := accuracy_of(metrics):
            scores.append(HarnessScore(target_name(name), found[1], totals[name]))
        else:
            others.append(f"{name} ({', '.join(metrics)})")
    note = "no score from 0 to 1 or 100 of which more is better"
    notes = (f"{file.name}: {note}: {', '.join(others)}",) if others else ()
    return HarnessLog(scores=scores, notes=notes)


def _samples(file: ForeignFile) -> HarnessLog:
    results: dict[str, dict[str, str]] = {}
    """Of each evaluation the result ids by their last part, which names the metric."""
    for row, values in file.rows:
        if not values.keys() >= _SAMPLE:
            raise file.refuse(row, "must have evaluation_name, sample_id and evaluation")
        result = text_of(values, "evaluation_result_id")
        metrics = results.setdefault(text_of(values["evaluation_name"]), {})
        metrics.setdefault(result.rpartition(".")[2], result)
    read, notes = {}, []
    for name, metrics in results.items():
        found = accuracy_of(dict.fromkeys(metrics, 1.0))
        read[name] = metrics[found[0]] if found else None
        if found is None:
            notes.append(f"{file.name}: {name} has several metrics, none called accuracy")
    samples = [
        _sample(row, values)
        for row, values in file.rows
        if text_of(values, "evaluation_result_id") == read[text_of(values["evaluation_name"])]
    ]
    return HarnessLog(samples, notes=tuple(notes))


def _sample(row: int, values: Mapping[str, Any]) -> HarnessSample:
    choices = options_of(at(values, "input", "choices"))
    right = _first(at(values, "input", "reference"))
    same = [n for n, choice in enumerate(choices) if choice == text_of(right).strip()]
    parsed = [text_of(each, "extracted_value") for each in list_of(values, "answer_attribution")]
    score = fraction_of(values, "evaluation", "score")
    return HarnessSample(
        target_name(text_of(values, "evaluation_name")),
        text_of(values, "sample_id"),
        row,
        string_of(_first(at(values, "output", "raw"))),
        choices,
        answer=same[0] if len(same) == 1 else option_index(right, choices),
        parsed=(parsed[-1] or None) if parsed else None,
        score=fraction_of(values, "evaluation", "is_correct") if score is None else score,
        prompt=string_of(values, "input", "raw"),
    )


def _first(value: Any) -> Any:
    """A string itself, or the first entry of a list."""
    return value if isinstance(value, str) else at(list_of(value), 0)
