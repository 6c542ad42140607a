"""EvalScope: `reviews/MODEL/DATASET_SUBSET.jsonl` and `reports/MODEL/DATASET.json`.

    reviews      {"index", "input", "target", "sample_score": {"score": {"value": {"acc": 1.0},
                  "prediction", "extracted_prediction"}}}; before version 1 {"choices": [{"message",
                  "review": {"gold", "pred", "result"}}], "reviewed", "index"}
    reports      {"dataset_name", "metrics": [{"name", "categories": [{"subsets": [..]}]}]}
    predictions  {"index", "model", "model_output"}: replies without scores

A target is the dataset and its subset, `math_500_Level 1`, as the files of reviews are called. The
first metric of a report is the score that EvalScope shows.
"""

from collections.abc import Mapping
from typing import Any

from transferscope.readers.harness import raw, terms
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.metrics import accuracy_of, less_is_better
from transferscope.readers.harness.samples import HarnessLog, HarnessSample, HarnessScore, Options

NAME = "EvalScope"
_ROUNDING = 0.5e-4
"""Reports round scores to four decimals."""


def recognize(file: ForeignFile) -> bool:
    predictions = {"index", "model", "model_output"} <= file.first.keys()
    return _is_review(file.first) or _is_report(file) or predictions


def _is_review(values: Mapping[str, Any]) -> bool:
    return "sample_score" in values or {"reviewed", "choices"} <= values.keys()


def _is_report(file: ForeignFile) -> bool:
    return {"dataset_name", "model_name", "metrics"} <= raw.object(file.value).keys()


def read(file: ForeignFile, _options: Options) -> HarnessLog:
    if _is_report(file):
        return _report(file)
    if not _is_review(file.first):
        note = "EvalScope's predictions hold no scores; name its folder reviews/"
        return HarnessLog(notes=(note,))
    target = _named(file.name.rpartition(".")[0])
    return HarnessLog([_review(file, row, values, target) for row, values in file.rows])


def _named(name: str) -> str:
    """The dataset and its subset; a subset called default has no name."""
    for ending in ("_default", "_default_subset", "_OVERALL"):
        name = name.removesuffix(ending)
    return terms.target_name(name)


def _review(file: ForeignFile, row: int, values: dict[str, Any], target: str) -> HarnessSample:
    item = raw.text(values, "index")
    if not item or not {"sample_score", "choices"} & values.keys():
        raise file.refuse(row, "the review must have an index and a score")
    if "sample_score" in values:
        score = raw.object(values, "sample_score", "score")
        parsed, gold = score.get("extracted_prediction"), values.get("target")
        reply, marks, main = (score.get(k) for k in ("prediction", "value", "main_score_name"))
        prompt = raw.messages(values.get("input"))
    else:
        review = raw.object(values, "choices", 0, "review")
        parsed, gold, marks = (review.get(k) for k in ("pred", "gold", "result"))
        reply, main, prompt = raw.string(values, "choices", 0, "message", "content"), None, ""
    found = accuracy_of(marks, main) if isinstance(marks, dict) else ("", raw.fraction(marks))
    choices = terms.options_in(prompt)
    return HarnessSample(
        *(target, item, row, raw.string(reply), choices),
        answer=terms.option_index(gold, choices),
        parsed=raw.text(parsed) or None,
        score=found[1] if found else None,
        prompt=prompt or None,
        group=terms.group_of(raw.object(values, "sample_score", "sample_metadata")),
    )


def _report(file: ForeignFile) -> HarnessLog:
    """The first metric by subset; the scores are exact if all of them are counts of items."""
    metrics, dataset = raw.array(file.value, "metrics"), raw.text(file.value, "dataset_name")
    name = raw.text(metrics, 0, "name") if metrics else "no metric"
    subsets: list[tuple[str, float, int | None]] = []
    for category in raw.array(metrics, 0, "categories"):
        for subset in map(raw.object, raw.array(category, "subsets")):
            score, total = raw.fraction(subset, "score"), raw.number(subset, "num")
            if score is not None and not subset.get("is_aggregate"):
                subsets.append((raw.text(subset, "name"), score, int(total) if total else None))
    if not subsets or less_is_better(name):
        note = f"{dataset}: {name} is not an accuracy in [0, 1] and is left out"
        return HarnessLog(notes=(note,))
    several = f"{dataset}: of {len(metrics)} metrics the first is read, {name}"
    exact = all(_right(score, total) is not None for _, score, total in subsets)
    scores = []
    for subset, score, total in subsets:
        right = _right(score, total) if exact else None
        accuracy = right / total if right is not None and total else score
        scores.append(HarnessScore(_named(f"{dataset}_{subset}"), accuracy, total))
    return HarnessLog(scores=scores, notes=(several,) if len(metrics) > 1 else ())


def _right(score: float, total: int | None) -> int | None:
    """The number of right answers; None if no number rounds to the score."""
    if not total:
        return None
    right = round(score * total)
    return right if abs(right / total - score) <= _ROUNDING + 1e-12 else None
