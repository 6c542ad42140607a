"""Read one run: all of a harness's files in its folders, found by content and merged.

A file that cannot be read, or that no harness recognizes, is passed over and named in a note. The
usual files of a checkpoint's folder (weights, settings) need no note.

In:   paths, as a mapping file names them.
Out:  a `RunLog`: one sample for each target and item, and averages without samples.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from transferscope.errors import DataError
from transferscope.predictions import some
from transferscope.readers.harness import HARNESSES, harness_of, terms
from transferscope.readers.harness.foreign_files import described, files_in, load
from transferscope.readers.harness.merging import RunPath, TaskPart, by_target, merged
from transferscope.readers.harness.samples import HarnessLog, HarnessSample, HarnessScore, Options
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


def read_run(
    paths: Sequence[RunPath], options: Options | None = None, *, base: bool = False
) -> RunLog:
    """All that the harness's files below the paths hold; `base` is whether the run is the base.

    Raises:
        DataError: no file can be read, or two files are of two runs.
    """
    names = list(dict.fromkeys(path.name for path in paths))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    log, hashes = RunLog(shown(" and ".join(names[:3]) + more)), hashlib.sha256()
    read: list[tuple[str, RunPath, HarnessLog]] = []
    passed: list[str] = []
    foreign: dict[str, list[str]] = {}
    places = [path._replace(path=file) for path in paths for file in files_in(path.path)]
    for place in places:
        try:
            file = load(place.path)
            harness = harness_of(file)
            if file is None or harness is None or file.broken:
                if file is not None and file.broken:
                    passed.append(f"{shown(file.name)}: {file.broken}")
                elif what := described(place.path, file):
                    foreign.setdefault(what, []).append(shown(place.path.name))
                continue
            found = harness.read(file, options or Options())
        except DataError as error:
            passed.append(str(error))
            continue
        hashes.update(f"{file.name} {file.sha256}\n".encode())
        log.files[shown(f"{file.folder}/{file.name}")] = file.sha256
        read.append((harness.NAME, place, found))
    passed += [f"{some(names, 10)} ({what})" for what, names in foreign.items()]
    log.sha256 = hashes.hexdigest()
    notes = _merge(log, read, base=base)
    if not log.harnesses:
        raise _nothing(log, passed, len(places))
    notes += [f"passed over: {one}" for one in passed[:_MOST_PASSED]]
    if rest := [one.partition(":")[0] for one in passed[_MOST_PASSED:]]:
        notes.append(f"also passed over: {some(rest, 100)}")
    notes += [
        f"{target} has {len(items)} items, but BLINK's validation split has {size}: some are "
        f"repeated, or are of another split"
        for target, items in log.samples.items()
        if (size := terms.SIZES.get(target)) is not None and len(items) > size
    ]
    log.notes += [f"{log.label}: {note}" for note in notes]
    return log


def _merge(
    log: RunLog, read: Sequence[tuple[str, RunPath, HarnessLog]], *, base: bool
) -> list[str]:
    """Fill the log from its files, by harness, and note reruns; refuses files of two runs."""
    parts: dict[tuple[str, str], TaskPart] = {}
    first: dict[str, str] = {}  # the first file of each target
    reruns: dict[str, list[str]] = {}
    for harness, file, new in read:
        name = shown(file.path.name)
        samples = by_target(new.samples, file.path.name, log.label)
        found = {("samples", target): TaskPart(file, items) for target, items in samples.items()}
        found |= {("scores", score.target): TaskPart(file, {}, score) for score in new.scores}
        for _, target in found:
            before = log.harnesses.setdefault(target, harness)
            if before != harness:
                raise DataError(
                    f"{log.label}: {target} is there from {before} ({first[target]}) and from "
                    f"{harness} ({name}); keep one of them"
                )
            first.setdefault(target, name)
        for (kind, target), part in found.items():
            if old := parts.get((kind, target)):
                part, note = merged(old, part, repr(target), base=base)
                if note:
                    reruns.setdefault(note, []).append(target)
            parts[kind, target] = part
        for kept, given in ((log.versions, new.versions), (log.metrics, new.metrics)):
            for target, value in given.items():
                known = [part for (_, named), part in parts.items() if named == target]
                if not known or any(part.file == file for part in known):  # the newer counts
                    kept[target] = value
        again = len(new.samples) - sum(map(len, samples.values()))
        alike = [f"{name}: {again} rows repeat an item alike; each counts once"] * bool(again)
        labeled = [f"{log.label}: {note}" for note in (*new.notes, *alike)]
        log.notes[:] = dict.fromkeys([*log.notes, *labeled])
    for (kind, target), part in parts.items():
        if kind == "samples":
            log.samples[target] = dict(part.samples)
        elif part.score:
            log.scores[target] = part.score
    return [f"{some(targets, 40)}: {note}" for note, targets in reruns.items()]


def _nothing(log: RunLog, passed: Sequence[str], count: int) -> DataError:
    """The error of a run that has no file of a harness, or none with items to judge."""
    if notes := log.notes:
        flat = any("without a known answer" in note for note in notes)
        hint = ". BLINK's prediction files need its file of right answers, as gold" * flat
        return DataError(f"{'; '.join(notes[:3])}; no item remains to judge{hint}")
    if len(passed) == count == 1:
        return DataError(f"{log.label}: {passed[0]}")
    more = f"; and {len(passed) - 3} more" if len(passed) > 3 else ""
    names = f"; not readable: {'; '.join(passed[:3])}{more}" if passed else ""
    return DataError(
        f"{log.label}: none of {count} files is one of {', '.join(HARNESSES)}{names}; name the "
        f"folder that holds the harness's output"
    )
