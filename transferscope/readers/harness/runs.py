"""Read one run: all of a harness's files in its folders, found by content and merged.

A file that cannot be read, or that no harness recognizes, is passed over and named in a note. The
usual files of a checkpoint's folder (weights, settings) need no note.

In:   paths, as a mapping file names them.
Out:  a `RunLog`: one sample for each target and item, and averages without samples.
"""

import hashlib
from collections.abc import Sequence
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
    SIZES,
    HarnessLog,
    HarnessSample,
    HarnessScore,
    Options,
)
from transferscope.tasks.untrusted import shown

_MOST_PASSED = 10
"""Files passed over whose reason a note gives; of more, only the names."""


class RunKey(NamedTuple):
    """What identifies a run."""

    model: str
    source: str | None
    seed: str | None


@dataclass
class RunLog:
    """One run."""

    label: str
    """The run's paths, as messages name it."""
    samples: dict[str, dict[str, HarnessSample]] = field(default_factory=dict)
    """By target and item."""
    scores: dict[str, HarnessScore] = field(default_factory=dict)
    """Averages, by target."""
    harnesses: dict[str, str] = field(default_factory=dict)
    """The harness that evaluated each target."""
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    """Both as in `HarnessLog`."""
    files: dict[str, str] = field(default_factory=dict)
    """Hashes of the files, by name."""
    sha256: str = ""
    """Of the names and hashes of the files."""
    notes: list[str] = field(default_factory=list)


def recognized(path: Path) -> str | None:
    """The name of the harness that wrote a file; None if it is unknown."""
    file = load(path)
    harness = None if file is None else harness_of(file)
    return None if harness is None else harness.NAME


def read_run(
    paths: Sequence[RunPath], options: Options | None = None, *, base: bool = False
) -> RunLog:
    """All that the harness's files below the paths hold; `base` is whether the run is the base.

    Raises:
        DataError: no file can be read, or two files are of two runs.
    """
    names = list(dict.fromkeys(path.name for path in paths))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    run = _Merging(RunLog(shown(" and ".join(names[:3]) + more)), base)
    hashes = hashlib.sha256()
    for path in paths:
        for place in files_in(path.path):
            run.count += 1
            try:
                file = load(place)
                harness = file and harness_of(file)
                if file is None or harness is None or file.broken:
                    run.pass_over(place, file)
                    continue
                log = harness.read(file, options or Options())
            except DataError as error:
                run.passed.append(str(error))
                continue
            hashes.update(f"{file.name} {file.sha256}\n".encode())
            run.log.files[shown(f"{file.folder}/{file.name}")] = file.sha256
            run.add(harness.NAME, LogFile(place, path.entry, place.stat().st_mtime), log)
    run.finish()
    run.log.sha256 = hashes.hexdigest()
    return run.log


@dataclass
class _Merging:
    """The files of one run, as far as they are read."""

    log: RunLog
    base: bool
    count: int = 0
    """Of files seen."""
    parts: dict[tuple[str, str], TaskPart] = field(default_factory=dict)
    """The files behind what the log has, by "samples" or "scores" and target."""
    first: dict[str, str] = field(default_factory=dict)
    """The first file of each target."""
    reruns: dict[str, list[str]] = field(default_factory=dict)
    """Targets, by the note that names the newer file."""
    passed: list[str] = field(default_factory=list)
    """Files that could not be read, with the reason."""
    foreign: dict[str, list[str]] = field(default_factory=dict)
    """Files that no harness recognizes, by what they are."""

    def pass_over(self, place: Path, file: ForeignFile | None) -> None:
        """Keep the reason why a file is not read, if it needs a note."""
        if file is not None and file.broken:
            self.passed.append(f"{shown(file.name)}: {file.broken}")
        elif what := described(place, file):
            self.foreign.setdefault(what, []).append(shown(place.name))

    def add(self, harness: str, file: LogFile, new: HarnessLog) -> None:
        """Merge one file with those before it; refuses files of two runs."""
        log, name = self.log, shown(file.path.name)
        samples = by_target(new.samples, file.path.name, log.label)
        scores = {score.target: score for score in new.scores}
        for target in dict.fromkeys([*samples, *scores]):
            before = log.harnesses.setdefault(target, harness)
            first = self.first.setdefault(target, name)
            if before != harness:
                raise DataError(
                    f"{log.label}: {target} is there from {before} ({first}) and from {harness} "
                    f"({name}); keep one of them"
                )
        for target, items in samples.items():
            log.samples[target] = dict(
                self._merge("samples", target, TaskPart(file, items)).samples
            )
        for target, score in scores.items():
            part = self._merge("scores", target, TaskPart(file, {}, score))
            log.scores[target] = part.score or score
        for kept, found in ((log.versions, new.versions), (log.metrics, new.metrics)):
            for target, value in found.items():
                parts = [self.parts.get((kind, target)) for kind in ("samples", "scores")]
                if not any(parts) or any(p and p.file == file for p in parts):  # the newer counts
                    kept[target] = value
        notes = [*new.notes]
        if again := len(new.samples) - sum(map(len, samples.values())):
            notes.append(f"{name}: {again} rows repeat an item alike; each counts once")
        labeled = (f"{log.label}: {note}" for note in notes)
        log.notes.extend(dict.fromkeys(note for note in labeled if note not in log.notes))

    def _merge(self, kind: str, target: str, new: TaskPart) -> TaskPart:
        if old := self.parts.get((kind, target)):
            new, note = merged(old, new, repr(target), base=self.base)
            if note:
                self.reruns.setdefault(note, []).append(target)
        self.parts[kind, target] = new
        return new

    def finish(self) -> None:
        """Add the notes on the run as a whole; refuses a run of which no file could be read."""
        log, label = self.log, self.log.label
        foreign = [f"{some(names, 10)} ({what})" for what, names in self.foreign.items()]
        passed = [*self.passed, *foreign]
        if not log.harnesses:
            self._refuse(passed)
        notes = [f"{some(targets, 40)}: {note}" for note, targets in self.reruns.items()]
        notes += [f"passed over: {one}" for one in passed[:_MOST_PASSED]]
        if rest := [one.partition(":")[0] for one in passed[_MOST_PASSED:]]:
            notes.append(f"also passed over: {some(rest, 100)}")
        for target, items in log.samples.items():
            size = SIZES.get(target)
            if size is not None and len(items) > size:
                notes.append(
                    f"{target} has {len(items)} items, but BLINK's validation split has "
                    f"{size}: some are repeated, or are of another split"
                )
        log.notes += [f"{label}: {note}" for note in notes]

    def _refuse(self, passed: list[str]) -> None:
        label, notes = self.log.label, self.log.notes
        if notes:
            flat = any("without a known answer" in note for note in notes)
            hint = ". BLINK's prediction files need its file of right answers, as gold" * flat
            raise DataError(f"{'; '.join(notes[:3])}; no item remains to judge{hint}")
        if len(passed) == self.count == 1:
            raise DataError(f"{label}: {passed[0]}")
        more = f"; and {len(passed) - 3} more" if len(passed) > 3 else ""
        names = f"; not readable: {'; '.join(passed[:3])}{more}" if passed else ""
        raise DataError(
            f"{label}: none of {self.count} files is one of {', '.join(HARNESSES)}{names}; "
            f"name the folder that holds the harness's output"
        )
