"""HELM: `per_instance_stats.json`, `scenario_state.json` and `stats.json` of one run's folder.

    per_instance_stats  [{"instance_id", "train_trial_index", "stats": [{"name", "mean"}]}]
    scenario_state      {"adapter_spec", "request_states": [{"instance", "output_mapping", ..}]}
    stats               [{"name": {"name", "split"}, "mean"}]

The first file has the scores, the second the replies and options; the run merges them. Only the
folder names the scenario (`mmlu-subject=philosophy,..,model=openai_gpt2`). Perturbed copies of
items and further trials are left out, and the validation split if there is a test split.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from transferscope.errors import DataError
from transferscope.readers.harness import raw, terms
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.samples import HarnessLog, HarnessSample, HarnessScore, Options
from transferscope.tasks import LETTERS
from transferscope.tasks.untrusted import shown

NAME = "HELM"
_METRICS = ("exact_match", "quasi_exact_match")
_FREE_TEXT = {"f1_score", "rouge_l", "bleu_4"}
"""Main metrics of scenarios whose answers are free text."""
_FOLDER = re.compile(r"(?P<scenario>[^=,:-][^=,]*?)[-:](?P<args>[^-]*=.*)")
_METHOD = (
    *("method", "model", "model_deployment", "data_augmentation", "groups", "stop"),
    "num_trials",
)
"""Arguments of a run that do not choose its items."""


def recognize(file: ForeignFile) -> bool:
    keys = file.first.keys()
    settings = {"definition_path", "tags"} <= keys or {"scenario_spec", "adapter_spec"} <= keys
    return settings or _kind(file) is not None


def _kind(file: ForeignFile) -> str | None:
    """Which of the three files it is, by its name in HELM."""
    keys = file.first.keys()
    if {"count", "sum_squared"} <= keys and "name" in raw.object(file.first, "name"):
        return "stats"
    if {"adapter_spec", "request_states"} <= keys:
        return "scenario_state"
    instances = {"instance_id", "train_trial_index", "stats"} <= keys
    return "per_instance_stats" if instances else None


def read(file: ForeignFile, _options: Options) -> HarnessLog:
    kind = _kind(file)
    if kind is None:
        return HarnessLog()
    target = _target(file)
    if kind == "stats":
        _, mean = _split_and_mean([values for _, values in file.rows if not _perturbed(values)])
        if mean is None:
            return HarnessLog(notes=(f"{file.name}: no exact_match in it",))
        return HarnessLog(scores=[HarnessScore(target, mean)])
    rows = list((_replies if kind == "scenario_state" else _scores)(file, target))
    split = _split([split for split, _ in rows])
    samples = [sample for name, sample in rows if name == split]
    notes = []
    if others := len(rows) - len(samples):
        notes.append(f"{target}: {others} items of other splits than {split} are left out")
    metrics = {raw.text(stat, "name", "name") for stat in raw.array(file.first, "stats")}
    if kind == "per_instance_stats" and _FREE_TEXT & metrics:
        notes.append(f"{target}: scored by exact match; HELM's f1 and the like are not read")
    return HarnessLog(samples, notes=tuple(notes))


def _target(file: ForeignFile) -> str:
    """The scenario with the arguments that choose its items: `mmlu:subject=philosophy`."""
    found = _FOLDER.fullmatch(file.folder)
    if found is None or "model=" not in found["args"]:
        raise DataError(
            f"{shown(file.name)}: the folder must name HELM's scenario, got {file.folder[:60]!r}; "
            f"keep the name that HELM gave it, such as mmlu-subject=anatomy,model=NAME"
        )
    kept = [arg for arg in found["args"].split(",") if arg.partition("=")[0] not in _METHOD]
    return terms.target_name(":".join([found["scenario"], ",".join(kept)]).rstrip(":"))


def _split(splits: list[Any]) -> str:
    return "test" if "test" in splits else next((raw.text(each) for each in splits if each), "")


def _perturbed(values: Mapping[str, Any]) -> bool:
    return bool(values.get("perturbation") or raw.at(values, "name", "perturbation"))


def _split_and_mean(stats: list[Any]) -> tuple[str, float | None]:
    """The split that counts, and on it the first known metric without perturbations."""
    split = _split([raw.at(each, "name", "split") for each in stats])
    plain = {
        raw.text(each, "name", "name"): raw.fraction(each, "mean")
        for each in map(raw.object, stats)
        if not _perturbed(each) and raw.at(each, "name", "split") == split
    }
    known = (plain.get(name) for name in _METRICS)
    return split, next((value for value in known if value is not None), None)


def _scores(file: ForeignFile, target: str) -> Iterator[tuple[str, HarnessSample]]:
    for row, values in file.rows:
        if not _perturbed(values) and values.get("train_trial_index") == 0:
            split, score = _split_and_mean(raw.array(values, "stats"))
            yield split, HarnessSample(target, raw.text(values, "instance_id"), row, score=score)


def _replies(file: ForeignFile, target: str) -> Iterator[tuple[str, HarnessSample]]:
    for row, state in enumerate(raw.array(file.value, "request_states"), 1):
        instance = raw.object(state, "instance")
        # If each option is a request, no reply names an option: the scores alone count.
        each_option = raw.at(state, "reference_index") is not None
        if each_option or raw.at(state, "train_trial_index") != 0 or _perturbed(instance):
            continue
        mapping = raw.object(state, "output_mapping")
        lettered = list(mapping) == list(LETTERS[: len(mapping)])
        choices = tuple(map(raw.text, mapping.values())) if lettered else ()
        right = [
            raw.text(each, "output", "text")
            for each in raw.array(instance, "references")
            if "correct" in raw.array(each, "tags")
        ]
        sample = HarnessSample(
            *(target, raw.text(instance, "id"), row),
            reply=raw.string(state, "result", "completions", 0, "text"),
            choices=choices,
            answer=terms.same_option(choices, *right),
            prompt=raw.string(state, "request", "prompt"),
        )
        yield raw.text(instance, "split"), sample
