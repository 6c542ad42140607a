"""HELM: `per_instance_stats.json`, `scenario_state.json` and `stats.json` of one run's folder.

    per_instance_stats  [{"instance_id", "train_trial_index", "stats": [{"name", "mean"}]}]
    scenario_state      {"adapter_spec", "request_states": [{"instance", "output_mapping", ..}]}
    stats               [{"name": {"name", "split"}, "mean"}]

The scores stand in the first, replies and options in the second; the run puts them together. The
scenario is named by the folder alone (`mmlu-subject=philosophy,..,model=openai_gpt2`). Perturbed
copies of items and further trials are left out, and the validation split where there is a test
split.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from transferscope.errors import DataError
from transferscope.predictions import shown
from transferscope.readers.harness.record import (
    Content,
    Log,
    Sample,
    Score,
    dict_of,
    fraction_of,
    list_of,
    text_of,
)
from transferscope.readers.harness.tasks import target_name
from transferscope.tasks import LETTERS

NAME = "HELM"
_METRICS = ("exact_match", "quasi_exact_match")
_OTHERS = ("f1_score", "rouge_l", "bleu_4")
"""Main metrics of scenarios whose answers are free text."""
_FOLDER = re.compile(r"(?P<scenario>[^=,:-][^=,]*?)[-:](?P<args>[^-]*=.*)")
_METHOD = (
    "method",
    "model",
    "model_deployment",
    "data_augmentation",
    "groups",
    "stop",
    "num_trials",
)
"""Arguments of a run that do not choose its items."""


def recognise(content: Content) -> bool:
    """Whether the file is one of HELM's: scores, replies, or the settings of a run."""
    settings = content.first.keys() >= {"definition_path", "tags"} or _is_spec(content)
    return settings or _are_instances(content) or _are_states(content) or _are_stats(content)


def _is_spec(content: Content) -> bool:
    return {"scenario_spec", "adapter_spec"} <= content.first.keys()


def _are_instances(content: Content) -> bool:
    return {"instance_id", "train_trial_index", "stats"} <= content.first.keys()


def _are_states(content: Content) -> bool:
    return {"adapter_spec", "request_states"} <= content.first.keys()


def _are_stats(content: Content) -> bool:
    first = content.first
    return {"count", "sum_squared"} <= first.keys() and "name" in dict_of(first.get("name"))


def read(content: Content) -> Log:
    """Scores or replies by instance, or the averages of a run.

    Raises:
        DataError: the folder's name does not name the scenario.
    """
    if not (_are_instances(content) or _are_states(content) or _are_stats(content)):
        return Log()
    target = _target(content)
    if _are_stats(content):
        stats = [values for _, values in content.rows if not _perturbed(values)]
        found = _mean(stats, _split([dict_of(each.get("name")).get("split") for each in stats]))
        notes = () if found else (f"{content.name}: no exact_match in it",)
        return Log(scores=[Score(target, found[1])] if found else (), notes=notes)
    rows = list(_states(content) if _are_states(content) else _instances(content, target))
    split = _split([split for split, _ in rows])
    samples = [sample for name, sample in rows if name == split]
    notes = []
    if others := len(rows) - len(samples):
        notes.append(f"{target}: {others} items of other splits than {split} are left out")
    if _are_instances(content) and any(
        _name(dict_of(stat)) in _OTHERS for stat in list_of(content.first["stats"])
    ):
        notes.append(f"{target}: scored by exact match; HELM's f1 and the like are not read")
    return Log([sample._replace(target=target) for sample in samples], notes=tuple(notes))


def _target(content: Content) -> str:
    """The scenario with the arguments that choose its items: `mmlu:subject=philosophy`."""
    found = _FOLDER.fullmatch(content.folder)
    if found is None or "model=" not in found["args"]:
        raise DataError(
            f"{shown(content.name)}: the folder {content.folder[:60]!r} does not name HELM's "
            f"scenario; keep the name that HELM gave it, such as mmlu-subject=anatomy,model=NAME"
        )
    kept = [arg for arg in found["args"].split(",") if arg.partition("=")[0] not in _METHOD]
    return target_name(":".join([found["scenario"], ",".join(kept)]).rstrip(":"))


def _split(splits: list[Any]) -> str:
    return "test" if "test" in splits else next((text_of(each) for each in splits if each), "")


def _name(stat: Mapping[str, Any]) -> str:
    return text_of(dict_of(stat.get("name")).get("name"))


def _perturbed(values: Mapping[str, Any]) -> bool:
    return bool(values.get("perturbation") or dict_of(values.get("name")).get("perturbation"))


def _mean(stats: list[Any], split: str) -> tuple[str, float] | None:
    """The first of the known metrics on a split, without perturbations."""
    plain = {
        _name(each): fraction_of(each.get("mean"))
        for each in map(dict_of, stats)
        if not _perturbed(each) and dict_of(each.get("name")).get("split") == split
    }
    known = ((name, plain.get(name)) for name in _METRICS)
    return next(((name, value) for name, value in known if value is not None), None)


def _instances(content: Content, target: str) -> Iterator[tuple[str, Sample]]:
    for row, values in content.rows:
        if _perturbed(values) or values.get("train_trial_index") != 0:
            continue
        stats = list_of(values.get("stats"))
        split = _split([dict_of(dict_of(each).get("name")).get("split") for each in stats])
        found = _mean(stats, split)
        item = text_of(values.get("instance_id"))
        yield split, Sample(target, item, row, score=found[1] if found else None)


def _states(content: Content) -> Iterator[tuple[str, Sample]]:
    for row, state in enumerate(list_of(content.value["request_states"]), 1):
        state, instance = dict_of(state), dict_of(dict_of(state).get("instance"))
        # Where each option is a request of its own, no reply names one: the scores alone count.
        alone = state.get("reference_index") is not None or state.get("train_trial_index") != 0
        if alone or _perturbed(instance):
            continue
        completion = dict_of(
            next(iter(list_of(dict_of(state.get("result")).get("completions"))), None)
        )
        reply, prompt = completion.get("text"), dict_of(state.get("request")).get("prompt")
        choices, answer = _options(state, instance)
        yield (
            text_of(instance.get("split")),
            Sample(
                *("", text_of(instance.get("id")), row, reply if isinstance(reply, str) else None),
                choices=choices,
                answer=answer,
                prompt=prompt if isinstance(prompt, str) else None,
            ),
        )


def _options(
    state: Mapping[str, Any], instance: Mapping[str, Any]
) -> tuple[tuple[str, ...], int | None]:
    """The options in the order of their letters, and the index of the only right one."""
    mapping = dict_of(state.get("output_mapping"))
    letters = LETTERS[: len(mapping)]
    if not mapping or list(mapping) != list(letters):
        return (), None
    choices = tuple(text_of(mapping[letter]) for letter in letters)
    right = [
        text_of(dict_of(each.get("output")).get("text"))
        for each in map(dict_of, list_of(instance.get("references")))
        if "correct" in list_of(each.get("tags"))
    ]
    indices = [n for n, choice in enumerate(choices) if choice in right]
    return choices, indices[0] if len(indices) == 1 else None
