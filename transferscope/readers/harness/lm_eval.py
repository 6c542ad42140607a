"""lm-evaluation-harness: `samples_<task>_<date>.jsonl` and `results_<date>.json`.

    samples  {"doc_id", "target", "resps" or "filtered_resps", "prompt_hash", METRIC: mark, ..}
    results  {"results": {TASK: {"acc,none", "acc_stderr,none"}}, "n-samples", "higher_is_better"}

Options may be compared by log-probability: then the choice is the likeliest option, and there is no
reply. Before version 0.4 metrics have no filter (`acc`), and results have `versions` and `config`
alone. `lmms_eval` writes the same two formats, which this module reads for both.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from transferscope.predictions import some
from transferscope.readers.harness import raw, terms
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.metrics import (
    items_behind,
    less_is_better,
    plain_names,
    preferred,
    unit_in,
)
from transferscope.readers.harness.samples import HarnessLog, HarnessSample, HarnessScore, Options

NAME = "lm-evaluation-harness"
MRA = "MRA:.5:.95:.05"
"""VSI-Bench's mean relative accuracy, as harnesses call it."""
_SAMPLE_KEYS = {"prompt_hash", "target_hash", "metrics"}
_MME = ("mme_percetion_score", "mme_perception_score", "mme_cognition_score")
"""MME's metrics, whose `question_id` is an image that two questions share."""
_RESULT_KEYS = {"pretty_env_info", "transformers_version", "lm_eval_version", "eot_token_id"}
"""Keys that lmms-eval does not write."""
_NO_METRICS = {
    *("doc_id", "doc", "target", "arguments", "input", "input_media", "resps", "filtered_resps"),
    *("doc_hash", "prompt_hash", "target_hash", "filter", "metrics", "token_counts"),
}
"""Keys of a sample that are not metrics."""
_FILE_NAME = re.compile(
    r"(?:.*_)?samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl?", re.I | re.S
)


def recognize(file: ForeignFile) -> bool:
    keys = file.first.keys()
    if "lmms_eval_version" in keys:
        return False
    if are_samples(file):
        return bool(_SAMPLE_KEYS & keys)
    settings = {"model_args", "num_fewshot", "no_cache", "bootstrap_iters"}
    before_04 = "configs" not in keys and settings & raw.object(file.value, "config").keys()
    return are_results(file) and bool(_RESULT_KEYS & keys or before_04)


def are_samples(file: ForeignFile) -> bool:
    """Whether the rows are per-sample logs of lm-eval or lmms-eval."""
    keys = file.first.keys()
    return {"doc_id", "target"} <= keys and bool({"resps", "filtered_resps"} & keys)


def are_results(file: ForeignFile) -> bool:
    """Whether the file holds averages of lm-eval or lmms-eval."""
    keys = {"configs", "versions", "n-shot", "n-samples"}
    return isinstance(raw.at(file.value, "results"), dict) and bool(keys & file.value.keys())


def read(file: ForeignFile, options: Options) -> HarnessLog:
    return (_read_samples if are_samples(file) else _read_results)(file, options.metric)


# Samples


def _read_samples(file: ForeignFile, requested: str | None) -> HarnessLog:
    """The samples of one task; `requested` is the mapping's metric."""
    found: list[HarnessSample] = []
    count = Counter[str]()
    metrics = list(dict.fromkeys(name for _, values in file.rows for name in _marks(values)))
    metric = requested if requested in metrics else preferred(metrics)
    for row, values in file.rows:
        if not {"doc_id", "target"} <= values.keys():
            raise file.refuse(row, "must have doc_id and target")
        if values.get("filter") != file.first.get("filter"):
            count["samples of another filter are left out"] += 1
            continue
        if str(values["target"]).strip() == terms.HIDDEN:
            count["items with hidden answers are left out"] += 1
            continue
        given = values.get("resps") or values.get("filtered_resps")
        replies = [] if _logprobs(values) else list(_texts(given))
        if len(replies) > 1:
            count["items have several replies, of which the first is read"] += 1
        score = None if metric is None else raw.fraction(_marks(values).get(metric))
        if score is not None and less_is_better(metric or ""):
            score = 1 - score
        sample = _sample(file, row, values, replies[0] if replies else None, score)
        if metric is not None and metric == requested:  # so its score decides, not the reply
            sample = HarnessSample(sample.target, sample.item, row, score=score)
        found.append(sample._replace(prompt=_prompt(values) or None, group=_group(values)))
    notes = [f"{file.name}: {n} {what}" for what, n in count.items()]
    judged = any(s.answer is not None and s.logprobs is None for s in found)
    if metrics and metric is None and not judged:  # options may be compared for a bias alone
        tasks = dict.fromkeys(sample.target for sample in found)
        why = f"no one accuracy among {some(metrics)}; choose one with `metric: NAME`"
        return HarnessLog(notes=(*notes, f"{file.name}: {some(tasks)} left out: {why}"))
    by_score = {s.target: metric for s in found if s.answer is None and metric is not None}
    return HarnessLog(found, metrics=by_score, notes=tuple(notes))


def _sample(
    file: ForeignFile, row: int, values: dict[str, Any], reply: str | None, score: float | None
) -> HarnessSample:
    # VSI-Bench has the question's record under each metric instead of `doc`.
    records = (v for k, v in values.items() if k == "doc" or "question_type" in raw.object(v))
    doc = next((each for each in records if isinstance(each, dict)), {})
    if "question_type" in doc:
        return _vsi_sample(file, row, values, doc, reply)
    blink = raw.object(values, "blink_acc")
    item = raw.text(blink.get("id") or doc.get("idx") or values["doc_id"])
    target = terms.target_of_item(item)
    if target is None:
        if (named := _FILE_NAME.fullmatch(file.name)) is None:
            why = "must name the task, or the file must; call it samples_TASK.jsonl"
            raise file.refuse(row, why)
        target = terms.target_name(named["task"])
    choices = terms.first_known(
        terms.options_of(doc.get("choices") or doc.get("options")),
        terms.options_in(_prompt(values)),
        terms.CHOICES.get(target, ()),
    )
    if (logprobs := _logprobs(values)) is not None:
        answer = _index(values["target"], choices, len(logprobs), sure=score is None)
        sample = HarnessSample(target, item, row, None, choices, answer, score=score)
        return sample._replace(logprobs=logprobs)
    gold, answer = str(values["target"]).strip().lower(), terms.letter_index(values["target"])
    if answer is None and gold in terms.YES_NO:
        choices, answer = terms.YES_NO, terms.YES_NO.index(gold)
    reply = raw.string(blink, "pred") if reply is None else reply
    parsed = raw.text(blink, "pred_parsed") if "pred_parsed" in blink else None
    return HarnessSample(target, item, row, reply, choices, answer, parsed, score)


def _vsi_sample(
    file: ForeignFile, row: int, values: dict[str, Any], doc: dict[str, Any], reply: str | None
) -> HarnessSample:
    target, item = raw.text(doc, "question_type"), raw.text(doc.get("id", values["doc_id"]))
    marked = (v for v in map(raw.object, values.values()) if {MRA, "accuracy"} & v.keys())
    scored = next(marked, doc)
    reply = raw.string(scored, "prediction") if reply is None else reply
    parsed = raw.text(scored, "prediction") if "prediction" in scored else None
    if MRA in scored:
        score = raw.fraction(scored, MRA)
        if score is None:
            raise file.refuse(row, f"{MRA} must be a fraction in [0, 1], got {scored[MRA]!r}")
        return HarnessSample(target, item, row, reply, parsed=parsed, score=score)
    choices = terms.first_known(terms.options_of(doc.get("options")))
    answer = terms.letter_index(doc.get("ground_truth", values["target"]))
    score = raw.fraction(scored, "accuracy")
    return HarnessSample(target, item, row, reply, choices, answer, parsed, score)


def _group(values: dict[str, Any]) -> str | None:
    """What the question is about, as its record names it, or what a metric keeps of the record."""
    for name, record in values.items():
        if isinstance(record, dict):
            if name in _MME:
                return f"{raw.text(record, 'category')}/{raw.text(record, 'question_id')}"
            if (group := terms.group_of(record)) is not None:
                return group
    return None


def _prompt(values: dict[str, Any]) -> str:
    """The prompt's text: `input`, or the first argument."""
    if isinstance(values.get("input"), str):
        return values["input"]
    return next((text for text in _texts(values.get("arguments")) if len(text) > 1), "")


def _texts(value: Any) -> Iterator[str]:
    """All strings in nested lists and objects, in order."""
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, list | dict):
            stack += reversed(each if isinstance(each, list) else each.values())


def _logprobs(values: dict[str, Any]) -> tuple[float, ...] | None:
    """Log-probabilities of compared options, each logged as (log-probability, whether greedy)."""
    pairs = raw.array(values.get("filtered_resps") or values.get("resps"))
    inner = [p[0] if isinstance(p, list) and len(p) == 1 else p for p in pairs]
    if len(inner) < 2 or not all(
        isinstance(p, list) and len(p) == 2 and str(p[1]) in ("True", "False") for p in inner
    ):
        return None
    numbers = [raw.number(p[0]) for p in inner]
    return tuple(n for n in numbers if n is not None) if None not in numbers else None


def _index(target: Any, choices: tuple[str, ...], size: int, *, sure: bool) -> int | None:
    """The right option of a comparison, from an index, a letter or a text.

    Logs hold indices as text. If options are numbers, or their texts are unknown, a number may be
    an index or a text: unless it is `sure` to be an index, the harness's score decides.
    """
    text = str(target).strip()
    if text.isascii() and text.isdigit() and len(text) < 4:
        index = int(text) if int(text) < size else None
        known = [choice.strip() for choice in choices[:size]]
        clear = all(known) and (text not in known or known.index(text) == index)
        return index if sure or clear else None
    letter = terms.option_index(text, range(size))
    return terms.same_option(choices, text) if letter is None else letter


def _marks(values: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            keys = ("is_correct", "score", "accuracy", "correct")
            value = next((value[k] for k in keys if k in value), None)
        if key not in _NO_METRICS and (number := raw.number(value)) is not None:
            found[key] = number
    return found


# Averages


def _read_results(file: ForeignFile, requested: str | None) -> HarnessLog:
    """The averages of every task; groups of tasks are left out.

    `requested` is the mapping's metric; a task without it gets its usual accuracy.
    """
    value = file.value
    groups = {group for group, tasks in raw.object(value, "group_subtasks").items() if tasks}
    groups |= raw.object(value, "groups").keys()
    if any(task.startswith("blink_") for task in value["results"]):
        groups.add("blink")  # which older files have among their tasks
    scores: list[HarnessScore] = []
    metrics: dict[str, str] = {}
    flipped: list[str] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    for task, found in value["results"].items():
        if task in groups or not isinstance(found, dict):
            continue
        # VSI-Bench's by question type, which older files have under one key.
        older = (v for k, v in found.items() if k.partition(",")[0] == "vsibench_score")
        inner = next((each for each in older if isinstance(each, dict)), None)
        by_type = inner or (found if "vsibench_overall,none" in found else {})
        if vsi := vsi_scores(file, by_type, None if inner else 1):
            scores += vsi
            continue
        numbers, higher = plain_names(found), raw.object(value, "higher_is_better", task)
        name = requested if requested in numbers else preferred(numbers, higher)
        if name is None:
            none = f"no one accuracy among {some(numbers)}; choose one with `metric: NAME`"
            left_out[none if numbers else "no number"].append(task)
            continue
        score, less = numbers[name], less_is_better(name, higher)
        percent = 1 < score <= 100 and not less
        if not (percent or 0 <= score <= 1):
            left_out[f"{name} must be a fraction in [0, 1], got {score:g}"].append(task)
            continue
        target = terms.target_name(task)
        metrics[target] = f"{name} in percent" if percent else name
        if less:
            flipped.append(f"{task}: 1 - {name}")
        score = 1 - score if less else score / 100 if percent else score
        scores.append(HarnessScore(target, score, _total(value, task, found)))
    notes = [f"{file.name}: left out: {some(tasks, 40)}: {why}" for why, tasks in left_out.items()]
    if flipped:
        notes.append(f"{file.name}: less is better, so these are shown: {'; '.join(flipped)}")
    notes += limit_notes(value.get("config"))
    listed = raw.object(value, "versions").items()
    versions = {terms.target_name(task): raw.text(version) for task, version in listed}
    return HarnessLog((), scores, versions, metrics, tuple(notes))


def limit_notes(settings: Any) -> tuple[str, ...]:
    """A note if a command's settings limit the number of items."""
    limit = raw.at(settings, "limit")
    if limit in (None, "", "None"):
        return ()
    return (f"evaluated with limit {limit}, so not on all items",)


def _total(value: dict[str, Any], task: str, metrics: dict[str, Any]) -> int | None:
    """The number of items: from the file, a standard error, or BLINK's known sizes."""
    counts = raw.at(value, "n-samples", task)
    given = counts.get("effective") if isinstance(counts, dict) else metrics.get("samples")
    number = raw.number(given)
    if number is not None and number >= 1 and number.is_integer():
        return int(number)
    known = items_behind(
        (raw.number(share), raw.number(metrics, re.sub(r"^[^,]+", r"\g<0>_stderr", key)))
        for key, share in metrics.items()
    )
    limited = limit_notes(value.get("config"))
    return known if known or limited else terms.SIZES.get(terms.target_name(task))


def vsi_scores(
    file: ForeignFile, values: Mapping[str, Any], unit: int | None = None
) -> list[HarnessScore]:
    """Scores by question type; `unit` is 1 for fractions, 100 for percent, None for either."""
    numbers = plain_names(values)
    unit = unit or unit_in(file, numbers.values())
    named = [
        (re.fullmatch(r"(.+?)_(?:accuracy|mra|MRA:.*)", name), number / unit)
        for name, number in numbers.items()
    ]
    return [HarnessScore(found[1], value) for found, value in named if found and 0 <= value <= 1]
