"""Files of one run put together: a task of a run comes from one evaluation.

Two files that both hold a task are refused, as they are two runs of which the mapping makes one,
but for two cases: a rerun, of which the newer file counts, and one evaluation in two files, such as
a table before and after scoring.

In:   what each file says, file by file.
Out:  the samples and scores of a `RunLog`, and notes; or a `DataError` that names both files and
      the key that the mapping lacks.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from transferscope.errors import DataError
from transferscope.predictions import shown, some
from transferscope.readers.harness.names import Identity, identity, missing_key
from transferscope.readers.harness.record import Sample, Score

_SAME = 1e-9


class File(NamedTuple):
    """Where something was read."""

    path: Path
    entry: int
    """Number of the mapping's entry."""
    modified: float
    """Seconds since 1970."""

    @property
    def identity(self) -> Identity:
        return identity(self.path)

    def reruns(self, other: "File") -> bool:
        """Whether both are of one evaluation, at different times or before and after scoring."""
        mine, its = self.identity.evaluation, other.identity.evaluation
        return self.entry == other.entry and mine == its

    def newer(self, other: "File") -> bool:
        """Whether this is the later of two; times in names count before those of the system."""
        one, two = self.identity.time, other.identity.time
        digits = min(len(one), len(two))  # a date beside a date with a time
        if digits and one[:digits] != two[:digits]:
            return one[:digits] > two[:digits]
        return self.modified > other.modified


class Kept(NamedTuple):
    """A sample and the name of the file it came from."""

    sample: Sample
    file: str


class Part(NamedTuple):
    """What one file, or several of one evaluation, say of a task."""

    file: File
    samples: Mapping[str, Kept]
    score: Score | None = None


def within(samples: Sequence[Sample], name: str, label: str) -> dict[str, dict[str, Kept]]:
    """The samples of one file by target and item.

    Args:
        name: the file's name.
        label: the run's.

    Raises:
        DataError: the file answers one item twice, and not alike.
    """
    found: dict[str, dict[str, Kept]] = {}
    for sample in samples:
        items = found.setdefault(sample.target, {})
        old = items.setdefault(sample.item, Kept(sample, name))
        if old.sample is not sample and (what := _clash(old.sample, sample)):
            raise DataError(
                f"{label}: {shown(name)}: rows {old.sample.row} and {sample.row} answer item "
                f"{sample.item!r} of {sample.target!r} with another {what}: two runs in one file; "
                f"keep the rows of one"
            )
    return found


def merged(old: Part, new: Part, what: str, *, base: bool) -> tuple[Part, str]:
    """The two parts as one, and a note where one of them is left out.

    Args:
        what: the task, as the message names it.
        base: whether the run is the base.

    Raises:
        DataError: the parts are of two runs.
    """
    if old.score is not None and new.score is not None:
        same = abs(old.score.accuracy - new.score.accuracy) < _SAME
    else:
        shared = [item for item in new.samples if item in old.samples]
        pairs = ((old.samples[item].sample, new.samples[item].sample) for item in shared)
        same = bool(shared) and not any(_clash(*pair) for pair in pairs)
    if old.file.reruns(new.file):
        if same:
            return _joined(old, new), ""
        first, last = (old, new) if new.file.newer(old.file) else (new, old)
        size = f" ({len(last.samples)} items, {len(first.samples)} before)"
        size *= len(last.samples) != len(first.samples)
        return last, (
            f"{_name(last)} counts{size}, as it is newer than {_name(first)}, which is left out"
        )
    one_folder = old.file.entry == new.file.entry and old.file.path.parent == new.file.path.parent
    if same and one_folder and _complete_each_other(old, new):
        return _joined(old, new), ""
    raise DataError(
        f"{_name(old)} and {_name(new)} both hold {what} of one run{', the base' if base else ''}; "
        f"{_remedy(old.file, new.file, base=base)}"
    )


def _remedy(one: File, two: File, *, base: bool) -> str:
    lacks = missing_key(str(one.path), str(two.path), base=base)
    if one.entry == two.entry:
        return f"one path holds both: list them as two runs; {lacks}"
    return f"in the mapping, {lacks}"


def _name(part: Part) -> str:
    """The file's name with that of its folder, as files of two runs often have one name."""
    return shown("/".join(part.file.path.parts[-2:]))


def _clash(one: Sample, two: Sample) -> str:
    """What two records of one item say differently; "" where they agree."""
    for what, left, right in (
        ("right answer", one.answer, two.answer),
        ("reply", one.reply, two.reply),
        ("reading", one.said, two.said) if None in (one.reply, two.reply) else ("", None, None),
        ("log-probability", one.logprobs, two.logprobs),
        ("score", one.score, two.score) if one.answer is None else ("", None, None),
    ):
        if left is not None and right is not None and left != right:
            return what
    return ""


def _complete_each_other(old: Part, new: Part) -> bool:
    """Whether one has what the other lacks, as a table has before and after scoring."""
    for item, kept in new.samples.items():
        if item in old.samples:
            one, two = old.samples[item].sample, kept.sample
            pairs = ((one.reply, two.reply), (one.score, two.score), (one.answer, two.answer))
            if any((left is None) != (right is None) for left, right in pairs):
                return True
    return False


def _joined(old: Part, new: Part) -> Part:
    """Both at once: the record with the raw reply, with the other's score."""
    samples = dict(old.samples)
    for item, kept in new.samples.items():
        samples[item] = _both(samples[item], kept) if item in samples else kept
    return Part(new.file, samples, old.score or new.score)


def _both(old: Kept, new: Kept) -> Kept:
    one, two = old.sample, new.sample
    first, second = (one, two) if one.reply is not None or two.reply is None else (two, one)
    kept = first._replace(
        answer=second.answer if first.answer is None else first.answer,
        score=second.score if first.score is None else first.score,
        said=second.said if first.said is None else first.said,
        prompt=second.prompt if first.prompt is None else first.prompt,
    )
    return Kept(kept, old.file if first is one else new.file)


def by_sentence(notes: list[tuple[str, str]]) -> Iterator[str]:
    """Sentences on targets, of which those that are alike are said once."""
    grouped: dict[str, list[str]] = {}
    for target, sentence in notes:
        grouped.setdefault(sentence, []).append(target)
    for sentence, targets in grouped.items():
        yield f"{some(targets, 40)}: {sentence}"
