"""Build the training items of one task: pick, make, balance, write, resume.

In:   a task, the folder of its original data set, how many items, a seed, and what not to repeat.
Out:  a folder that is a suite:

    OUT/suite.yaml              the tasks built so far
    OUT/TASK/train.jsonl        one item a line, as `suites/folder.py` reads it
    OUT/TASK/images/HASH.jpg    named by their pixels
    OUT/TASK/build.json         what was made, and what was left out and why

The seed decides which candidates are tried in which order and where right answers stand, so the
same command makes the same bytes. Stopped at any time, it continues where it was. Every letter is
right equally often, to within one. No file names the folder that the data set lies in.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL.Image import Image

from transferscope.builders import BUILDERS
from transferscope.builders.images import jpeg
from transferscope.builders.journal import journal
from transferscope.builders.layout import Misplaced
from transferscope.builders.record import Builder, Candidate, Made, Skip, Unusable
from transferscope.builders.suite_file import check_heading, write_heading
from transferscope.errors import DataError, StudyError
from transferscope.store import as_json, read_json
from transferscope.store.atomic import locked, write_whole
from transferscope.suites.similar_images import KnownImages
from transferscope.tasks import LETTERS

VERSION = 2
"""Changes whenever a builder makes other items from the same data."""

HOPELESS = 1000
"""If so many candidates were tried and none became an item, there is no point in going on."""

JOURNAL = ".building.jsonl"

SHOWN = 3
"""How many of what was left out are named, for each reason."""

LEAKED = "an image that is in the evaluation split"
UNBALANCED = "more of one answer than of another"


@dataclass
class Built:
    """What a build made: the content of its `build.json`."""

    task: str
    dataset: str
    root: str
    """Name of the data set's folder, without what stands above it."""
    seed: int
    wanted: int
    made: int
    answers: dict[str, int]
    """Items by the letter of their right answer."""
    candidates: int
    """What the annotations offer."""
    tried: int
    """How many of them were looked at."""
    skipped: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By reason: `count`, and the `first` few."""
    against: int | None = None
    """Evaluation images that the items were compared with; None if with none."""
    version: int = VERSION
    settings: str = ""
    """Changes with everything that decides the outcome."""
    sha256: str = ""
    """Of `train.jsonl`."""


class Progress(NamedTuple):
    """How far a build is."""

    done: int
    of: int
    tried: int


def build(
    task: str,
    root: Path,
    out: Path,
    *,
    items: int = 2000,
    seed: int = 0,
    against: KnownImages | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Built:
    """Training items of a task, written to a folder; see the module's text.

    Fewer items than wanted are no error: `Built.made` says how many there are.

    Args:
        task: one of `BUILDERS`.
        root: the original data set's own folder.
        out: the suite's folder; further tasks may be built into it.
        items: how many items to make.
        seed: decides everything random.
        against: evaluation images that no item may repeat (`leaks.seen_in`).
        tell: called after every candidate.

    Raises:
        StudyError: there is no such task, or a setting is not what it must be.
        DataError: the data set's folder is not laid out as expected, an annotation file is damaged,
            or not one balanced set of items could be made.
    """
    builder = _builder(task)
    if items < builder.letters:
        raise StudyError(f"--items must be at least {builder.letters} for {task}, but is {items}")
    if seed < 0:
        raise StudyError(f"--seed must not be negative, but is {seed}")
    check_heading(out)
    try:
        offered, skipped = _listed(builder.candidates(root, seed))
    except Misplaced as error:
        holds = ", ".join(builder.looks_for)
        raise DataError(f"{error}; {builder.dataset} holds {holds}") from None
    if not offered:
        raise DataError(f"{root}: no annotation of {builder.dataset} could be used{_why(skipped)}")
    against = against or KnownImages()
    settings = {
        "task": task,
        "items": items,
        "seed": seed,
        "version": VERSION,
        "against": against.digest,
        "candidates": _digest(offered),
    }
    with locked(out / task) as folder:
        done = _finished(folder, settings)
        if done is None:
            job = _Job(builder, root, folder, seed, against)
            done = _carry_out(job, offered, skipped, settings, items, tell)
        (folder / JOURNAL).unlink(missing_ok=True)
        write_heading(out)
    return done


@dataclass(frozen=True)
class _Job:
    """What making one item needs."""

    builder: Builder
    root: Path
    folder: Path
    seed: int
    against: KnownImages


def _builder(task: str) -> Builder:
    if task in BUILDERS:
        return BUILDERS[task]
    near = get_close_matches(task, BUILDERS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise StudyError(f"no builder for task {task!r}; {hint}known: {', '.join(BUILDERS)}")


def _listed(found: Iterable[Candidate | Skip]) -> tuple[list[Candidate], list[Skip]]:
    """Candidates with different keys, and the rest."""
    offered: dict[str, Candidate] = {}
    skipped = []
    for one in found:
        if isinstance(one, Skip):
            skipped.append(one)
        elif one.key in offered:
            skipped.append(Skip("an annotation that is there twice", one.key))
        else:
            offered[one.key] = one
    return list(offered.values()), skipped


def _digest(offered: list[Candidate]) -> str:
    content = hashlib.sha256()
    for one in offered:
        content.update(f"{one.key}\0{one.group}\0{one.answers}\0{one.facts}\n".encode())
    return content.hexdigest()


def _finished(folder: Path, settings: dict[str, object]) -> Built | None:
    """The record of the same build, if it is there, whole, and as large as wanted."""
    record = read_json(folder / "build.json")
    if record.get("settings") != _key(settings) or record.get("made") != record.get("wanted"):
        return None
    try:
        data = (folder / "train.jsonl").read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != record.get("sha256"):
        return None
    names = {name for line in data.splitlines() for name in json.loads(line)["images"]}
    return Built(**record) if all((folder / name).is_file() for name in names) else None


def _key(settings: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _carry_out(
    job: _Job,
    offered: list[Candidate],
    skipped: list[Skip],
    settings: dict[str, object],
    items: int,
    tell: Callable[[Progress], None],
) -> Built:
    """Make items until there are enough, then write what belongs to them."""
    rng = np.random.default_rng(job.seed)
    quotas = _quotas(items, job.builder.letters, rng)
    rows: list[dict[str, Any]] = []
    tried = 0
    with journal(job.folder / JOURNAL, settings) as (known, writing):
        for candidate in _order(offered, rng):
            answer = _position(candidate, quotas, rng)
            if answer is None:
                continue
            entry = known.get(candidate.key)
            if entry is None or not _still_there(entry, job.folder):
                entry = _tried(job, candidate, answer)
                writing.add(entry)
            tried += 1
            if row := entry.get("row"):
                rows.append(row)
                quotas[answer] -= 1
            else:
                skipped.append(Skip(entry["reason"], entry["where"]))
            tell(Progress(len(rows), items, tried))
            if not any(quotas) or (not rows and tried == HOPELESS):
                break
    kept = _balanced(rows, job.builder.letters, full=not any(quotas))
    ids = {row["id"] for row in kept}
    skipped += [Skip(UNBALANCED, row["id"]) for row in rows if row["id"] not in ids]
    if not kept:
        raise DataError(
            f"{job.root}: no items with balanced answers could be made: "
            f"{told(_by_letter(rows, job.builder.letters))}{_why(skipped)}"
        )
    record = Built(
        task=job.builder.task,
        dataset=job.builder.dataset,
        root=job.root.resolve().name,
        seed=job.seed,
        wanted=items,
        made=len(kept),
        answers=_by_letter(kept, job.builder.letters),
        candidates=len(offered),
        tried=tried,
        skipped=_summary(skipped),
        against=len(job.against.names) or None,
        settings=_key(settings),
    )
    _write(job.folder, kept, record)
    return record


def _quotas(items: int, letters: int, rng: np.random.Generator) -> list[int]:
    """How often each letter is to be right: equally often, to within one."""
    quotas = np.full(letters, items // letters)
    quotas[rng.permutation(letters)[: items % letters]] += 1
    return quotas.tolist()


def _order(offered: list[Candidate], rng: np.random.Generator) -> Iterator[Candidate]:
    """Shuffled, in rounds: every group once, then every group a second time, and so on."""
    shuffled = [offered[index] for index in rng.permutation(len(offered))]
    used: Counter[str] = Counter()
    rounds = np.empty(len(shuffled), dtype=int)
    for place, candidate in enumerate(shuffled):
        rounds[place] = used[candidate.group]
        used[candidate.group] += 1
    return (shuffled[place] for place in np.argsort(rounds, kind="stable"))


def _position(candidate: Candidate, quotas: list[int], rng: np.random.Generator) -> int | None:
    """Where the right answer goes: to the letter still wanted most; None if to none it can take."""
    most = max((quotas[answer] for answer in candidate.answers), default=0)
    if most == 0:
        return None
    wanted = [answer for answer in candidate.answers if quotas[answer] == most]
    return int(wanted[rng.integers(len(wanted))])


def _still_there(entry: dict[str, Any], folder: Path) -> bool:
    names = entry.get("row", {}).get("images", ())
    return all((folder / name).is_file() for name in names)


def _tried(job: _Job, candidate: Candidate, answer: int) -> dict[str, Any]:
    """A candidate as a row, its images written, or as why it is left out."""
    own = int.from_bytes(hashlib.sha256(candidate.key.encode()).digest()[:8])
    try:
        made = job.builder.make(job.root, candidate, answer, np.random.default_rng([job.seed, own]))
    except Unusable as error:
        return {"key": candidate.key, "reason": error.reason, "where": error.where}
    for image in {id(image): image for image in (*made.sources, *made.images)}.values():
        if name := job.against.match(image):
            where = f"{candidate.key} (like {name})"
            return {"key": candidate.key, "reason": LEAKED, "where": where}
    return {"key": candidate.key, "row": _row(job, candidate, made, answer)}


def _row(job: _Job, candidate: Candidate, made: Made, answer: int) -> dict[str, Any]:
    """A line of train.jsonl, once its images are on disk."""
    names = [_written(image, job.folder) for image in made.images]
    seen = json.dumps([names, made.prompt, answer])
    mark = hashlib.sha256(seen.encode()).hexdigest()[:8]
    return {
        "id": f"{job.builder.task}/{candidate.key}/{mark}",
        "images": names,
        "question": made.question,
        "choices": list(made.choices),
        "answer": LETTERS[answer],
        "prompt": made.prompt,
        "origin": dict(made.origin),
    }


def _written(image: Image, folder: Path) -> str:
    """The name of an image's file, which is written unless it is there."""
    content = hashlib.sha256(repr(image.size).encode())
    content.update(image.tobytes())
    name = f"images/{content.hexdigest()[:24]}.jpg"
    if not (folder / name).is_file():
        write_whole(folder / name, jpeg(image))
    return name


def _balanced(rows: list[dict[str, Any]], letters: int, *, full: bool) -> list[dict[str, Any]]:
    """The rows, of no letter more than one above the rarest; none where a letter cannot be had."""
    counts = _by_letter(rows, letters).values()
    fewest = min(counts)
    if full or max(counts) - fewest <= 1:
        return rows
    if not fewest:
        return []
    used: Counter[str] = Counter()
    kept = []
    for row in rows:
        used[row["answer"]] += 1
        if used[row["answer"]] <= fewest + 1:
            kept.append(row)
    return kept


def _by_letter(rows: list[dict[str, Any]], letters: int) -> dict[str, int]:
    counts = Counter(row["answer"] for row in rows)
    return {letter: counts[letter] for letter in LETTERS[:letters]}


def told(answers: dict[str, int]) -> str:
    """How many items there are of each letter, for people."""
    return ", ".join(f"{letter} {count}" for letter, count in answers.items())


def _summary(skipped: list[Skip]) -> dict[str, dict[str, Any]]:
    """How many were left out for which reason, most first, and the first few of each."""
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.reason, []).append(one.where)
    ordered = sorted(by_reason.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return {reason: {"count": len(all_), "first": all_[:SHOWN]} for reason, all_ in ordered}


def _why(skipped: list[Skip]) -> str:
    """The commonest reasons, for an error."""
    parts = [
        f"{found['count']} times {reason}, e.g. {found['first'][0]}"
        for reason, found in list(_summary(skipped).items())[:3]
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _write(folder: Path, rows: list[dict[str, Any]], record: Built) -> None:
    """The items, then their record; images that no item shows any more are removed."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    record.sha256 = hashlib.sha256(lines).hexdigest()
    write_whole(folder / "train.jsonl", lines)
    write_whole(folder / "build.json", as_json(asdict(record)))
    shown = {name for row in rows for name in row["images"]}
    for path in (folder / "images").iterdir():
        ours = path.suffix == ".jpg" and len(path.stem) == 24
        if ours and f"images/{path.name}" not in shown:
            path.unlink()
