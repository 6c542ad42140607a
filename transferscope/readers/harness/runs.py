"""One run: all of a harness's files in its folders, found by content and put together.

In:   paths, as a mapping file names them.
Out:  a `RunLog`: one sample for each target and item, and averages where there are no samples.

Files that are no harness's are passed over (a checkpoint's folder holds weights and settings);
what looks like data and cannot be read is named in a note.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
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
from transferscope.readers.harness.record import Content, Log, Sample, Score


class Format(NamedTuple):
    """How the files of one harness are known and read."""

    name: str
    recognise: Callable[[Content], bool]
    read: Callable[[Content], Log]


class Kept(NamedTuple):
    """A sample and the file it came from."""

    sample: Sample
    file: str


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


def formats(gold: Mapping[str, int]) -> list[Format]:
    """The known harnesses, in the order in which a file is tried on them."""
    return [
        Format(lm_eval.NAME, lm_eval.recognise, lm_eval.read),
        Format(lmms_eval.NAME, lmms_eval.recognise, lmms_eval.read),
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


def read_run(paths: Sequence[Path], label: str, gold: Mapping[str, int]) -> RunLog:
    """Everything that the harness's files below the paths say.

    Args:
        gold: BLINK's right answers by item; empty where they are not given.

    Raises:
        DataError: nothing is there, no file is a harness's, a file is damaged, or two files
            contradict each other.
    """
    run = RunLog(label, {}, {}, {}, {}, [], "")
    whole, unread, seen = hashlib.sha256(), [], 0
    for path in (file for each in paths for file in files_in(each)):
        content = load(path)
        seen += 1
        if content is None:
            continue
        known = next((each for each in formats(gold) if each.recognise(content)), None)
        if known is None:
            unread += [content.name] if content.broken else []
            continue
        if content.broken:
            raise DataError(f"{label}: {shown(content.name)}: {content.broken}")
        whole.update(f"{content.name} {content.sha256}\n".encode())
        try:
            _add(run, known.name, content.name, known.read(content))
        except DataError as error:
            raise DataError(f"{label}: {error}") from None
    if not run.harnesses and run.notes:
        blinks = any("without a known answer" in note for note in run.notes)
        hint = ". BLINK's prediction files need its file of right answers, as gold" * blinks
        raise DataError(f"{'; '.join(run.notes[:3])}; nothing is left to judge{hint}")
    if not run.harnesses:
        names = f"; not readable: {some(unread)}" if unread else ""
        if any(path.suffix.lower() == ".pkl" for each in paths for path in files_in(each)):
            names += "; pickles are never opened (docs/harnesses.md)"
        raise DataError(
            f"{label}: none of {seen} files is one of lmms-eval, lm-evaluation-harness, VLMEvalKit "
            f"or BLINK's own evaluation{names}; name the folder that holds the harness's output"
        )
    if unread:
        run.notes.append(f"{label}: passed over, as they cannot be read: {some(unread)}")
    return run._replace(sha256=whole.hexdigest())


def _add(run: RunLog, harness: str, file: str, log: Log) -> None:
    for sample in log.samples:
        before = run.harnesses.setdefault(sample.target, harness)
        if before != harness:
            raise DataError(
                f"{shown(file)}: {sample.target} is there from {before} and from {harness}; "
                f"keep one of them"
            )
        items = run.samples.setdefault(sample.target, {})
        new = Kept(sample, file)
        old = items.get(sample.item)
        items[sample.item] = new if old is None else _merged(old, new)
    for score in log.scores:
        run.harnesses.setdefault(score.target, harness)
        old = run.scores.setdefault(score.target, score)
        if abs(old.accuracy - score.accuracy) > 1e-9 and score.target not in run.samples:
            raise DataError(
                f"{shown(file)}: {score.target} has two averages, {old.accuracy:g} and "
                f"{score.accuracy:g}; keep one of the files"
            )
    run.versions.update(log.versions)
    told = [f"{run.label}: {note}" for note in log.notes]
    run.notes.extend(note for note in told if note not in run.notes)


def _merged(old: Kept, new: Kept) -> Kept:
    """One item in two files: a table before and after scoring, or a run done twice.

    Both must say the same; the one with the raw reply is kept, with the harness's score.
    """
    one, two = old.sample, new.sample
    for what, left, right in (
        ("right answer", one.answer, two.answer),
        ("reply", one.reply, two.reply),
        ("score", one.score, two.score) if one.answer is None else ("", None, None),
    ):
        if left is not None and right is not None and left != right:
            raise DataError(
                f"{shown(new.file)}: row {two.row}: item {two.item!r} of {two.target!r} has "
                f"another {what} than in {shown(old.file)} row {one.row}; keep one of the files"
            )
    first, second = (one, two) if one.reply is not None or two.reply is None else (two, one)
    kept = first._replace(
        answer=second.answer if first.answer is None else first.answer,
        score=second.score if first.score is None else first.score,
        said=second.said if first.said is None else first.said,
    )
    return Kept(kept, old.file if first is one else new.file)
