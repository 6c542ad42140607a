"""Read one run: all of a harness's files in its folders, found by content and merged.

A file that cannot be read, or that no harness recognizes, is passed over and named in a note. The
usual files of a checkpoint's folder (weights, settings) need no note.

In:   paths, as a mapping file names them.
Out:  a `RunLog`: one sample for each target and item, and averages without samples.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from transferscope.errors import DataError
from transferscope.predictions import some
from transferscope.readers.harness import HARNESSES, harness_of
from transferscope.readers.harness.foreign_files import ForeignFile, described, files_in, load
from transferscope.readers.harness.mapping import RunPath
from transferscope.readers.harness.merging import LogFile, TaskPart, by_target, merged
from transferscope.readers.harness.samples import (
    HarnessLog,
    HarnessSample,
    HarnessScore,
    Options,
    blink_size,
)
from transferscope.tasks.untrusted import shown

_MOST_PASSED = 10
"""Files passed over whose reason a note gives; of more, only the names."""


class RunKey(NamedTuple):
    """What identifies a run."""

    model: str
    source: str | None
    seed: str | None


class RunLog(NamedTuple):
    """One run."""

    label: str
    """The run's paths, as messages name it."""
    samples: dict[str, dict[str, HarnessSample]]
    """By target and item."""
    scores: dict[str, HarnessScore]
    """Averages, by target."""
    harnesses: dict[str, str]
    """The harness that evaluated each target."""
    versions: Mapping[str, str]
    """Version of the harness's task, by target."""
    metrics: Mapping[str, str]
    """The harness's metric behind scores, by target."""
    files: Mapping[str, str]
    """Hashes of the files, by name."""
    sha256: str
    """Of the names and hashes of the files."""
    notes: list[str]


def recognized(path: Path) -> str | None:
    """The name of the harness that wrote a file; None if it is unknown."""
    file = load(path)
    harness = None if file is None else harness_of(file)
    return None if harness is None else harness.NAME


def read_run(
    paths: Sequence[RunPath], options: Options | None = None, *, base: bool = False
) -> RunLog:
    """All that the harness's files below the paths hold.

    Args:
        base: whether the run is the base.

    Raises:
        DataError: no file can be read, or two files are of two runs.
    """
    names = list(dict.fromkeys(path.name for path in paths))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    run = _Merging(shown(" and ".join(names[:3]) + more), base)
    hashes = hashlib.sha256()
    for path in paths:
        for place in files_in(path.path):
            run.count += 1
            try:
                file = load(place)
                harness = None if file is None else harness_of(file)
                if file is None or harness is None or file.broken:
                    run.pass_over(place, file)
                    continue
                log = harness.read(file, options or Options())
            except DataError as error:
                run.passed.append(str(error))
                continue
            hashes.update(f"{file.name} {file.sha256}\n".encode())
            run.files[shown(f"{file.folder}/{file.name}")] = file.sha256
            run.add(harness.NAME, LogFile(place, path.entry, place.stat().st_mtime), log)
    return run.result(hashes.hexdigest())


@dataclass
class _Merging:
    """The files of one run, as far as they are read."""

    label: str
    base: bool
    count: int = 0
    """Of files seen."""
    samples: dict[str, TaskPart] = field(default_factory=dict[str, TaskPart])
    scores: dict[str, TaskPart] = field(default_factory=dict[str, TaskPart])
    harnesses: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Harness and file of each target."""
    versions: dict[str, str] = field(default_factory=dict[str, str])
    metrics: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    reruns: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Targets, by the note that names the newer file."""
    passed: list[str] = field(default_factory=list[str])
    """Files that could not be read, with the reason."""
    foreign: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Files that no harness recognizes, by what they are."""

    def pass_over(self, place: Path, file: ForeignFile | None) -> None:
        """Keep the reason why a file is not read, if it needs a note."""
        if file is not None and file.broken:
            self.passed.append(f"{shown(file.name)}: {file.broken}")
        elif what := described(place, file):
            self.foreign.setdefault(what, []).append(shown(place.name))

    def add(self, harness: str, file: LogFile, log: HarnessLog) -> None:
        """Merge one file with those before it.

        Raises:
            DataError: the file and another one are of two runs, or it holds two runs itself.
        """
        name = shown(file.path.name)
        samples = by_target(log.samples, file.path.name, self.label)
        scores = {score.target: score for score in log.scores}
        for target in dict.fromkeys([*samples, *scores]):
            before, first = self.harnesses.setdefault(target, (harness, name))
            if before != harness:
                raise DataError(
                    f"{self.label}: {target} is there from {before} ({first}) and from {harness} "
                    f"({name}); keep one of them"
                )
        for target, items in samples.items():
            self._merge(self.samples, target, TaskPart(file, items))
        for target, score in scores.items():
            self._merge(self.scores, target, TaskPart(file, {}, score))
        for kept, new in ((self.versions, log.versions), (self.metrics, log.metrics)):
            for target, value in new.items():
                parts = [parts[target] for parts in (self.samples, self.scores) if target in parts]
                if not parts or any(part.file == file for part in parts):  # the newer file counts
                    kept[target] = value
        notes = [*log.notes]
        if again := len(log.samples) - sum(map(len, samples.values())):
            notes.append(f"{name}: {again} rows repeat an item alike; each counts once")
        for note in (f"{self.label}: {note}" for note in notes):
            if note not in self.notes:
                self.notes.append(note)

    def _merge(self, parts: dict[str, TaskPart], target: str, new: TaskPart) -> None:
        if target in parts:
            new, note = merged(parts[target], new, repr(target), base=self.base)
            if note:
                self.reruns.setdefault(note, []).append(target)
        parts[target] = new

    def result(self, sha256: str) -> RunLog:
        """The merged run.

        Raises:
            DataError: no file could be read.
        """
        foreign = [f"{some(names, 10)} ({what})" for what, names in self.foreign.items()]
        passed = [*self.passed, *foreign]
        if not self.harnesses:
            self._refuse(passed)
        notes = [f"{some(targets, 40)}: {note}" for note, targets in self.reruns.items()]
        notes += [f"passed over: {one}" for one in passed[:_MOST_PASSED]]
        if rest := [one.partition(":")[0] for one in passed[_MOST_PASSED:]]:
            notes.append(f"also passed over: {some(rest, 100)}")
        for target, part in self.samples.items():
            size = blink_size(target)
            if size is not None and len(part.samples) > size:
                notes.append(
                    f"{target} has {len(part.samples)} items, but BLINK's validation split has "
                    f"{size}: some are repeated, or are of another split"
                )
        return RunLog(
            label=self.label,
            samples={target: dict(part.samples) for target, part in self.samples.items()},
            scores={target: part.score for target, part in self.scores.items() if part.score},
            harnesses={target: harness for target, (harness, _) in self.harnesses.items()},
            versions=self.versions,
            metrics=self.metrics,
            files=self.files,
            sha256=sha256,
            notes=[*self.notes, *(f"{self.label}: {note}" for note in notes)],
        )

    def _refuse(self, passed: list[str]) -> None:
        if self.notes:
            flat = any("without a known answer" in note for note in self.notes)
            hint = ". BLINK's prediction files need its file of right answers, as gold" * flat
            raise DataError(f"{'; '.join(self.notes[:3])}; no item remains to judge{hint}")
        if len(passed) == self.count == 1:
            raise DataError(f"{self.label}: {passed[0]}")
        more = f"; and {len(passed) - 3} more" if len(passed) > 3 else ""
        names = f"; not readable: {'; '.join(passed[:3])}{more}" if passed else ""
        raise DataError(
            f"{self.label}: none of {self.count} files is one of {', '.join(HARNESSES)}{names}; "
            f"name the folder that holds the harness's output"
        )
