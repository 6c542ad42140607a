"""Results files of lmms-eval and lm-evaluation-harness: averages, task by task.

The averages stand under `results`, as `acc,none`, or before lm-evaluation-harness 0.4 as `acc`. The
number of items is in `n-samples`, else it follows from the standard error.

In:   a `Content`.
Out:  a `Log` of scores.
"""

import re
from collections.abc import Iterator
from typing import Any

from transferscope.predictions import some
from transferscope.readers.harness.metrics import Metric, choose, items_behind, plain_names, unit_in
from transferscope.readers.harness.record import Content, Log, Score, number_of, text_of
from transferscope.readers.harness.tasks import blink_size, target_name


def are_results(content: Content) -> bool:
    """Whether the file holds aggregated results of either harness."""
    value = content.value
    if not isinstance(value, dict) or not isinstance(value.get("results"), dict):
        return False
    return bool({"configs", "versions", "n-shot", "n-samples"} & value.keys())


def read_results(content: Content, asked: str | None = None) -> Log:
    """The averages of every task in a results file; groups of tasks are left out.

    Args:
        asked: the metric to take in tasks that have it.
    """
    value = content.value
    groups = _groups(value)
    scores: list[Score] = []
    metrics: dict[str, str] = {}
    flipped: list[str] = []
    left: dict[str, list[str]] = {}
    for task, found in value["results"].items():
        if task in groups or not isinstance(found, dict):
            continue
        if expanded := list(_vsi_scores(content, found)):
            scores += expanded
            continue
        chosen = choose(plain_names(found), asked, _part(_part(value, "higher_is_better"), task))
        if not isinstance(chosen, Metric):
            left.setdefault(chosen, []).append(task)
            continue
        target = target_name(task)
        scores.append(Score(target, chosen.value, _total(value, task, found)))
        metrics[target] = chosen.name
        if chosen.flipped:
            flipped.append(f"{task}: 1 - {chosen.name}")
    notes = [f"{content.name}: left out: {some(tasks, 40)}: {why}" for why, tasks in left.items()]
    if flipped:
        notes.append(f"{content.name}: less is better, so these are shown: {'; '.join(flipped)}")
    versions = _part(value, "versions").items()
    return Log(
        scores=scores,
        versions={target_name(task): text_of(version) for task, version in versions},
        metrics=metrics,
        notes=(*notes, *limit_notes(_part(value, "config"))),
    )


def limit_notes(settings: dict[str, Any]) -> tuple[str, ...]:
    """What a reader must know where a command's settings left items out."""
    limit = settings.get("limit")
    if limit in (None, "", "None"):
        return ()
    return (f"evaluated with limit {limit}, so not on all items",)


def _part(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _groups(value: dict[str, Any]) -> set[str]:
    members = _part(value, "group_subtasks")
    groups = set(_part(value, "groups")) | {group for group, tasks in members.items() if tasks}
    if any(str(task).startswith("blink_") for task in value["results"]):
        groups.add("blink")  # which older files have among their tasks
    return groups


def _total(value: dict[str, Any], task: str, metrics: dict[str, Any]) -> int | None:
    """The number of items: by the file, by a standard error, or by what is known of BLINK."""
    entry = _part(value, "n-samples").get(task)
    count = entry.get("effective") if isinstance(entry, dict) else metrics.get("samples")
    number = number_of(count)
    if number is not None and number >= 1 and number.is_integer():
        return int(number)
    pairs = [
        (number_of(share), number_of(metrics.get(re.sub(r"^[^,]+", r"\g<0>_stderr", key))))
        for key, share in metrics.items()
    ]
    known = items_behind([(p, e) for p, e in pairs if p is not None and e is not None])
    if known is None and not limit_notes(_part(value, "config")):
        return blink_size(target_name(task))
    return known


def _vsi_scores(content: Content, metrics: dict[str, Any]) -> Iterator[Score]:
    """VSI-Bench's scores by question type; older files have them under one key."""
    for key, value in metrics.items():
        name = key.partition(",")[0]
        if name == "vsibench_score" and isinstance(value, dict):
            yield from vsi_scores(content, value)
        elif isinstance(value, float | int) and "vsibench_overall,none" in metrics:
            yield from _by_type(name, float(value))


def vsi_scores(content: Content, values: dict[str, Any]) -> Iterator[Score]:
    """Scores by question type, in fractions or in percent, as the whole of them says.

    Raises:
        DataError: they are neither.
    """
    numbers = {name: number_of(value) for name, value in values.items()}
    known = {name: number for name, number in numbers.items() if number is not None}
    unit = unit_in(content, known.values())
    for name, number in known.items():
        yield from _by_type(name, number / unit)


def _by_type(name: str, value: float) -> Iterator[Score]:
    found = re.fullmatch(r"(.+?)_(?:accuracy|mra|MRA:.*)", name)
    if found and 0 <= value <= 1:
        yield Score(found[1], value)
