"""One run: all of a harness's files in its folders, found by content and put together.

In:   paths, as a mapping file names them.
Out:  a `RunLog`: one sample for each target and item, and averages where there are no samples.

A file that cannot be read, or is of no known harness, is passed over and named in a note; what lies
in every checkpoint's folder (weights, settings) is passed over without a word.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from transferscope.errors import DataError
from transferscope.predictions import shown, some
from transferscope.readers.harness import (
    blink,
    evalscope,
    every_eval_ever,
    helm,
    inspect_ai,
    lm_eval,
    lmms_eval,
    opencompass,
    vlmevalkit,
)
from transferscope.readers.harness.content import files_in, load
from transferscope.readers.harness.foreign import described
from transferscope.readers.harness.merging import File, Kept, Part, by_sentence, merged, within
from transferscope.readers.harness.record import Content, Log, Score
from transferscope.readers.harness.tasks import blink_size

__all__ = ["Format", "Kept", "RunLog", "formats", "read_run", "recognised"]


_MOST_PASSED = 10
"""Files that are passed over with a reason; those beyond are named alone."""


class Format(NamedTuple):
    """How the files of one harness are known and read."""

    name: str
    recognise: Callable[[Content], bool]
    read: Callable[[Content], Log]


class Key(NamedTuple):
    """What a run is."""

    model: str
    source: str | None
    seed: str | None


class RunLog(NamedTuple):
    """One run."""

    label: str
    """How the mapping file calls it: its paths."""
    samples: dict[str, dict[str, Kept]]
    """By target and item."""
    scores: dict[str, Score]
    """Averages, by target."""
    harnesses: dict[str, str]
    """Which harness evaluated each target."""
    versions: dict[str, str]
    """Of the harness's tasks, by target."""
    notes: list[str]
    sha256: str
    """Of the names and hashes of its files."""
    metrics: Mapping[str, str] = MappingProxyType({})
    """The harness's metric behind scores, by target."""
    files: Mapping[str, str] = MappingProxyType({})
    """Hashes of its files, by name."""


def formats(gold: Mapping[str, int], metric: str | None = None) -> list[Format]:
    """The known harnesses, in the order in which a file is tried on them.

    Args:
        gold: BLINK's right answers by item; empty where they are not given.
        metric: the metric to take in tasks that have it.
    """
    return [
        Format(lm_eval.NAME, lm_eval.recognise, partial(lm_eval.read, asked=metric)),
        Format(lmms_eval.NAME, lmms_eval.recognise, partial(lmms_eval.read, asked=metric)),
        Format(vlmevalkit.NAME, vlmevalkit.recognise, vlmevalkit.read),
        Format(inspect_ai.NAME, inspect_ai.recognise, inspect_ai.read),
        Format(evalscope.NAME, evalscope.recognise, evalscope.read),
        Format(helm.NAME, helm.recognise, helm.read),
        Format(every_eval_ever.NAME, every_eval_ever.recognise, every_eval_ever.read),
        Format(opencompass.NAME, opencompass.recognise, opencompass.read),
        Format(blink.NAME, blink.recognise, partial(blink.read, gold=gold)),
    ]


def recognised(path: Path) -> str | None:
    """The harness that wrote a file, if one did."""
    content = load(path)
    if content is None:
        return None
    return next((each.name for each in formats({}) if each.recognise(content)), None)


def read_run(
    paths: Sequence[Path],
    label: str,
    gold: Mapping[str, int],
    *,
    entries: Sequence[int] = (),
    metric: str | None = None,
    base: bool = False,
) -> RunLog:
    """Everything that the harness's files below the paths say.

    Args:
        gold: BLINK's right answers by item; empty where they are not given.
        entries: for each path, the number of the mapping's entry that it comes from; matches of
            one glob share it.
        metric: the metric to take in tasks that have it.
        base: whether the run is the base.

    Raises:
        DataError: no file can be read, or two files are of two runs.
    """
    pile = _Pile(label, base)
    known, hashes = formats(gold, metric), hashlib.sha256()
    for number, path in enumerate(paths):
        entry = entries[number] if entries else number
        for file in files_in(path):
            pile.seen += 1
            try:
                content = load(file)
            except DataError as error:
                pile.passed.append(str(error))
                continue
            harness = content and next((one for one in known if one.recognise(content)), None)
            if content is None or harness is None:
                pile.pass_over(file, content)
            elif content.broken:
                pile.passed.append(f"{shown(content.name)}: {content.broken}")
            else:
                try:
                    log = harness.read(content)
                except DataError as error:
                    pile.passed.append(str(error))
                    continue
                hashes.update(f"{content.name} {content.sha256}\n".encode())
                pile.files[shown(f"{content.folder}/{content.name}")] = content.sha256
                pile.add(harness.name, File(file, entry, file.stat().st_mtime), log)
    return pile.run(hashes.hexdigest())


@dataclass
class _Pile:
    """What was read so far of one run."""

    label: str
    base: bool
    seen: int = 0
    samples: dict[str, Part] = field(default_factory=dict[str, Part])
    scores: dict[str, Part] = field(default_factory=dict[str, Part])
    harnesses: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Harness and file of each target."""
    versions: dict[str, str] = field(default_factory=dict[str, str])
    metrics: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    reruns: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Targets, with what is left out of them."""
    passed: list[str] = field(default_factory=list[str])
    """Files that should have been read, and why they could not be."""
    foreign: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Names of files of no known harness, by what they are."""

    def pass_over(self, file: Path, content: Content | None) -> None:
        """Keep what must be told of a file that no reader takes."""
        if content is not None and content.broken:
            self.passed.append(f"{shown(content.name)}: {content.broken}")
        elif what := described(file, content):
            self.foreign.setdefault(what, []).append(shown(file.name))

    def add(self, harness: str, file: File, log: Log) -> None:
        """Put what one file says to the rest.

        Raises:
            DataError: another file says something of the same task, or this one says two things.
        """
        samples = within(log.samples, file.path.name, self.label)
        scores = {score.target: score for score in log.scores}
        for target in dict.fromkeys([*samples, *scores]):
            before, first = self.harnesses.setdefault(target, (harness, file.path.name))
            if before != harness:
                raise DataError(
                    f"{self.label}: {target} is there from {before} ({shown(first)}) and from "
                    f"{harness} ({shown(file.path.name)}); keep one of them"
                )
        for target, items in samples.items():
            self._put(self.samples, target, Part(file, items))
        for target, score in scores.items():
            self._put(self.scores, target, Part(file, {}, score))
        for kept, new in ((self.versions, log.versions), (self.metrics, log.metrics)):
            kept.update(
                {target: value for target, value in new.items() if self._is_of(target, file)}
            )
        told = [f"{self.label}: {note}" for note in log.notes]
        if again := len(log.samples) - sum(map(len, samples.values())):
            name = shown(file.path.name)
            told.append(
                f"{self.label}: {name}: {again} rows repeat an item alike; each counts once"
            )
        self.notes.extend(note for note in told if note not in self.notes)

    def _put(self, parts: dict[str, Part], target: str, new: Part) -> None:
        if target in parts:
            new, left_out = merged(parts[target], new, repr(target), base=self.base)
            self.reruns += [(target, left_out)] * bool(left_out)
        parts[target] = new

    def _is_of(self, target: str, file: File) -> bool:
        """Whether the file counts for a target, and not an older or newer one."""
        parts = [parts[target] for parts in (self.samples, self.scores) if target in parts]
        return not parts or any(part.file == file for part in parts)

    def run(self, sha256: str) -> RunLog:
        """The whole run.

        Raises:
            DataError: nothing could be read.
        """
        foreign = [f"{some(names, 10)} ({what})" for what, names in self.foreign.items()]
        passed = [*self.passed, *foreign]
        if not self.harnesses:
            self._refuse_nothing(passed)
        notes = self.notes + [f"{self.label}: {note}" for note in by_sentence(self.reruns)]
        notes += [f"{self.label}: passed over: {one}" for one in passed[:_MOST_PASSED]]
        if rest := [one.partition(":")[0] for one in passed[_MOST_PASSED:]]:
            notes.append(f"{self.label}: also passed over: {some(rest, 100)}")
        for target, part in self.samples.items():
            size = blink_size(target)
            if size is not None and len(part.samples) > size:
                notes.append(
                    f"{self.label}: {target} has {len(part.samples)} items, but BLINK's validation "
                    f"split has {size}: some stand there twice, or are of another split"
                )
        return RunLog(
            self.label,
            {target: dict(part.samples) for target, part in self.samples.items()},
            {target: part.score for target, part in self.scores.items() if part.score},
            {target: harness for target, (harness, _) in self.harnesses.items()},
            self.versions,
            notes,
            sha256,
            self.metrics,
            self.files,
        )

    def _refuse_nothing(self, passed: list[str]) -> None:
        blinks = any("without a known answer" in note for note in self.notes)
        hint = ". BLINK's prediction files need its file of right answers, as gold" * blinks
        if self.notes:
            raise DataError(f"{'; '.join(self.notes[:3])}; nothing is left to judge{hint}")
        if len(passed) == self.seen == 1:
            raise DataError(f"{self.label}: {passed[0]}")
        more = f"; and {len(passed) - 3} more" if len(passed) > 3 else ""
        names = f"; not readable: {'; '.join(passed[:3])}{more}" if passed else ""
        raise DataError(
            f"{self.label}: none of {self.seen} files is one of "
            f"{', '.join(each.name for each in formats({}))}{names}; name the folder that holds "
            f"the harness's output"
        )
