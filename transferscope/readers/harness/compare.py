"""Whether runs answered the same questions, so that their difference is the finetune's.

In:   the runs of a mapping file.
Out:  sentences on where they differ, or a `DataError` where they cannot be compared at all.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from transferscope.errors import DataError
from transferscope.predictions import shown, some
from transferscope.readers.harness.runs import RunLog


class Key(NamedTuple):
    """What a run is."""

    model: str
    source: str | None
    seed: str | None


def comparable(logs: Mapping[Key, RunLog]) -> Iterator[str]:
    """Where runs differ in their items, harness or versions.

    Raises:
        DataError: runs share no item of a target, or an item has two right answers.
    """
    base: dict[str, RunLog] = {}
    asked: dict[str, int] = {}
    for log in logs.values():
        for target, items in log.samples.items():
            asked[target] = max(asked.get(target, 0), len(items))
    for key, log in logs.items():
        first = base.setdefault(key.model, log)
        fewer = []
        for target, items in log.samples.items():
            if log is not first and target in first.samples:
                _check_items(first, log, target)
            if len(items) < asked[target]:
                fewer.append(f"{target} {len(items)} of {asked[target]}")
        if fewer:
            yield f"{log.label}: answers fewer items than other runs: {', '.join(fewer)}"
    yield from _harnesses(list(logs.values()))


def _harnesses(logs: list[RunLog]) -> Iterator[str]:
    for target in dict.fromkeys(target for log in logs for target in log.harnesses):
        used = {log.harnesses[target] for log in logs if target in log.harnesses}
        if len(used) > 1:
            yield (
                f"{target} was evaluated by {' and by '.join(sorted(used))}, whose prompts differ: "
                f"effects between such runs are not transfer alone"
            )
        versions = {log.versions[target] for log in logs if target in log.versions}
        if len(versions) > 1:
            yield f"{target} was evaluated in different versions: {some(sorted(versions))}"


def _check_items(base: RunLog, log: RunLog, target: str) -> None:
    ours, theirs = base.samples[target], log.samples[target]
    shared = [item for item in theirs if item in ours]
    if not shared:
        raise DataError(
            f"{log.label}: {target}: no item in common with {base.label} (such as "
            f"{next(iter(theirs))!r} and {next(iter(ours))!r}); evaluate both with one harness"
        )
    other = [item for item in shared if ours[item].sample.answer != theirs[item].sample.answer]
    if other:
        one, two = ours[other[0]], theirs[other[0]]
        raise DataError(
            f"{log.label}: {shown(two.file)}: row {two.sample.row}: item {other[0]!r} of "
            f"{target!r} has another right answer than in {base.label}, {shown(one.file)} (as have "
            f"{len(other)} of {len(shared)}): the data changed between the runs; evaluate both on "
            f"one version, or give BLINK's file of right answers as gold"
        )
