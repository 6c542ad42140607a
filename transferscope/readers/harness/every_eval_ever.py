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

from transferscope.readers.harness import raw, terms
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.metrics import accuracy_of
from transferscope.readers.harness.samples import HarnessLog, HarnessSample, HarnessScore, Options

NAME = "Every Eval Ever"
_SAMPLE = {"schema_version", "evaluation_name", "sample_id", "evaluation"}
_AGGREGATE = {"schema_version", "evaluation_results", "model_info"}


def recognize(file: ForeignFile) -> bool:
    return file.first.keys() >= _SAMPLE or file.first.keys() >= _AGGREGATE


def read(file: ForeignFile, _options: Options) -> HarnessLog:
    return _samples(file) if file.first.keys() >= _SAMPLE else _averages(file)


def _averages(file: ForeignFile) -> HarnessLog:
    by_name: dict[str, dict[str, Any]] = {}
    totals: dict[str, int | None] = {}
    for result in raw.array(file.value, "evaluation_results"):
        name, metric = raw.text(result, "evaluation_name"), raw.object(result, "metric_config")
        kind = raw.text(metric.get("metric_id") or metric.get("metric_name")) or "accuracy"
        score, most = raw.number(result, "score_details", "score"), raw.number(metric, "max_score")
        usable = metric.get("min_score") == 0 and metric.get("lower_is_better") is False
        fraction = score / most if usable and most in (1, 100) and score is not None else None
        by_name.setdefault(name, {})[kind] = raw.fraction(fraction)
        count = raw.number(result, "score_details", "uncertainty", "num_samples")
        totals[name] = int(count) if count else None
    scores, others = [], []
    for name, metrics in by_name.items():
        if found := accuracy_of(metrics):
            scores.append(HarnessScore(terms.target_name(name), found[1], totals[name]))
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
        result = raw.text(values, "evaluation_result_id")
        metrics = results.setdefault(raw.text(values["evaluation_name"]), {})
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
        if raw.text(values, "evaluation_result_id") == read[raw.text(values["evaluation_name"])]
    ]
    return HarnessLog(samples, notes=tuple(notes))


def _sample(row: int, values: Mapping[str, Any]) -> HarnessSample:
    choices = terms.options_of(raw.at(values, "input", "choices"))
    right = _first(raw.at(values, "input", "reference"))
    same = terms.same_option(choices, raw.text(right))
    parsed = [raw.text(each, "extracted_value") for each in raw.array(values, "answer_attribution")]
    score = raw.fraction(values, "evaluation", "score")
    return HarnessSample(
        terms.target_name(raw.text(values, "evaluation_name")),
        raw.text(values, "sample_id"),
        row,
        raw.string(_first(raw.at(values, "output", "raw"))),
        choices,
        answer=terms.option_index(right, choices) if same is None else same,
        parsed=(parsed[-1] or None) if parsed else None,
        score=raw.fraction(values, "evaluation", "is_correct") if score is None else score,
        prompt=raw.string(values, "input", "raw"),
    )


def _first(value: Any) -> Any:
    """A string itself, or the first entry of a list."""
    return value if isinstance(value, str) else raw.at(raw.array(value), 0)
