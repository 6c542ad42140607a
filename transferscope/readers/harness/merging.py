"""Merge the files of one run: each task of a run comes from one evaluation.

Two files that hold the same task are two runs under one name, and are refused, with two exceptions:
of a rerun the newer file counts, and two files of one evaluation (such as a table before and after
scoring) are joined. The error names both files and the missing key.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from transferscope.errors import DataError
from transferscope.readers.harness.samples import HarnessSample, HarnessScore
from transferscope.readers.harness.vlmevalkit import SCORED
from transferscope.tasks.checkpoints import SEED, step_of
from transferscope.tasks.untrusted import shown

_SAME = 1e-9
_TIME = re.compile(
    r"""(?<!\d)(?:
    (?P<iso>\d{4}-\d\d-\d\d(?:[T_ ]\d\d[-:]\d\d(?:[-:]\d\d(?:\.\d+)?)?)?)
    (?:[+-]\d\d[-:]\d\d)?                                    # zone: 2026-01-02T10-00-00+00-00
    | (?P<compact>20\d{6}(?:[_T-]?\d{4,6})?)(?:_G[0-9a-f]+)?  # 20260102_100000, 20260102_Gf00
    )(?!\d)""",
    re.X,
)


class RunPath(NamedTuple):
    """An existing path of a run, or a file below it."""

    path: Path
    name: str
    """As the mapping names it."""
    entry: int = 0
    """Number of the mapping's entry; matches of one glob share it."""

    @property
    def _stem(self) -> str:
        return str(self.path.parent / self.path.name.rsplit(".", 1)[0])

    @property
    def evaluation(self) -> str:
        """The path without times and without VLMEvalKit's endings; a rerun has the same."""
        parts = Path(_TIME.sub("", self._stem)).parts
        return SCORED.sub("", "/".join(part.strip("_-. ") for part in parts))

    @property
    def _time(self) -> str:
        """The last time in the path, as digits."""
        times = [found["iso"] or found["compact"] for found in _TIME.finditer(self._stem)]
        return re.sub(r"\D", "", times[-1]) if times else ""

    def newer(self, other: "RunPath") -> bool:
        """Whether this file is the later one; times in paths count before modification times."""
        digits = min(len(self._time), len(other._time))  # a date beside a date with a time
        one, two = self._time[:digits], other._time[:digits]
        if one != two:
            return one > two
        return self.path.stat().st_mtime > other.path.stat().st_mtime


class TaskPart(NamedTuple):
    """A task's samples or average, from one file or from several files of one evaluation."""

    file: RunPath
    samples: Mapping[str, HarnessSample]
    """By item."""
    score: HarnessScore | None = None

    @property
    def name(self) -> str:
        """The file's name with its folder's, because files of two runs often share a name."""
        return shown("/".join(self.file.path.parts[-2:]))


def by_target(
    samples: Sequence[HarnessSample], name: str, label: str
) -> dict[str, dict[str, HarnessSample]]:
    """The samples of the file called `name`, by target and item; `label` names the run.

    Refuses a file that answers one item twice, in different ways.
    """
    found: dict[str, dict[str, HarnessSample]] = {}
    for sample in samples:
        first = found.setdefault(sample.target, {}).setdefault(sample.item, sample)
        if first is not sample and (what := _clash(first, sample)):
            raise DataError(
                f"{label}: {shown(name)}: rows {first.row} and {sample.row} answer item "
                f"{sample.item!r} of {sample.target!r} with another {what}: two runs in one file; "
                f"keep the rows of one"
            )
    return found


def merged(old: TaskPart, new: TaskPart, what: str, *, base: bool) -> tuple[TaskPart, str]:
    """Both parts of the task `what` as one, and a note if one of them is left out.

    Refuses parts of two runs; `base` is whether the run is the base.
    """
    if old.score is not None and new.score is not None:
        same = abs(old.score.accuracy - new.score.accuracy) < _SAME
    else:
        pairs = [(old.samples[i], new.samples[i]) for i in new.samples if i in old.samples]
        same = bool(pairs) and not any(_clash(*pair) for pair in pairs)
    # One file may have what the other lacks, as a table has before and after scoring.
    complete = any(
        (getattr(old.samples[item], name) is None) != (getattr(new.samples[item], name) is None)
        for item in new.samples.keys() & old.samples.keys()
        for name in ("reply", "score", "answer")
    )
    one_entry = old.file.entry == new.file.entry
    rerun = one_entry and old.file.evaluation == new.file.evaluation
    one_folder = one_entry and old.file.path.parent == new.file.path.parent
    if same and (rerun or (one_folder and complete)):
        return _joined(old, new), ""
    if rerun:
        first, last = (old, new) if new.file.newer(old.file) else (new, old)
        size = f" ({len(last.samples)} items, {len(first.samples)} before)"
        size *= len(last.samples) != len(first.samples)
        note = f"{last.name} counts{size}, as it is newer than {first.name}, which is left out"
        return last, note
    lacks = missing_key(str(old.file.path), str(new.file.path), base=base)
    where = "one path holds both: list them as two runs; " if one_entry else "in the mapping, "
    raise DataError(
        f"{old.name} and {new.name} both hold {what} of one run{', the base' if base else ''}; "
        f"{where}{lacks}"
    )


def missing_key(one: str, two: str, *, base: bool) -> str:
    """The mapping's key that would distinguish two files of one run, and how to set it."""
    seeds = [found[-1] if found else None for found in map(SEED.findall, (one, two))]
    for key, values in (("step", [step_of(one), step_of(two)] * (not base)), ("seed", seeds)):
        if values and None not in values and values[0] != values[1]:
            return f"`{key}` is missing: {values[0]} for one and {values[1]} for the other"
    if base:
        return "`source` is missing: only the base has none"
    return "`source` is missing: give each a source of its own, or a `step` or `seed`"


def _clash(one: HarnessSample, two: HarnessSample) -> str:
    """The field in which two records of one item differ; "" if they agree."""
    for what, left, right in (
        ("right answer", one.answer, two.answer),
        ("reply", one.reply, two.reply),
        # Beside two replies the readings may differ, as before and after scoring.
        ("reading", one.parsed, two.parsed) if None in (one.reply, two.reply) else ("", None, None),
        ("log-probability", one.logprobs, two.logprobs),
        ("score", one.score, two.score) if one.answer is None else ("", None, None),
    ):
        if left is not None and right is not None and left != right:
            return what
    return ""


def _joined(old: TaskPart, new: TaskPart) -> TaskPart:
    """All samples of both files; of one item the record with the raw reply, completed."""
    samples = dict(old.samples)
    for item, second in new.samples.items():
        first = samples.get(item, second)
        if first.reply is None and second.reply is not None:
            first, second = second, first
        lacking = (
            n for n in ("answer", "score", "parsed", "prompt", "group") if getattr(first, n) is None
        )
        samples[item] = first._replace(**{name: getattr(second, name) for name in lacking})
    return TaskPart(new.file, samples, old.score or new.score)
