"""Build the training items of one task: pick, make, balance, write, resume.

In:   a task, the folder of its original data set, the number of items, a seed, and images to avoid.
Out:  a folder that is a suite (`suite_folder`).

The seed decides the order of the candidates and the places of right answers, so the same command
makes the same bytes. A build that was stopped resumes. Every letter is right equally often, to
within one. No file names the data set's folder.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transferscope.builders import BUILDERS
from transferscope.builders.record import Builder, Candidate, Skip, Unusable
from transferscope.builders.source_files import Misplaced
from transferscope.builders.suite_folder import (
    JOURNAL,
    Built,
    check_out,
    finished,
    journal,
    write_build,
    write_image,
    write_suite,
)
from transferscope.errors import DataError, StudyError
from transferscope.store.atomic import locked
from transferscope.suites.blink import open_prompt
from transferscope.suites.similar_images import KnownImages
from transferscope.tasks import LETTERS
from transferscope.tasks.open_answers import as_fields

VERSION = 4
"""Changes whenever a builder makes other items from the same data."""

HOPELESS = 1000
"""After so many candidates without one item, the build gives up."""

EXAMPLES = 3
"""Examples kept of each reason for leaving candidates out."""

LEAKED = "an image that is in the evaluation split"
UNBALANCED = "more of one answer than of another"


class BuildProgress(NamedTuple):
    """Progress of a build."""

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
    report: Callable[[BuildProgress], None] = lambda progress: None,
) -> Built:
    """Write training items of a task to a folder; fewer than wanted (`Built.made`) are no error.

    Args:
        root: the original data set's folder.
        out: the suite's folder; further tasks may be built into it.
        against: evaluation images that no item may repeat (`leaks.seen_in`).
        report: called after every candidate.

    Raises:
        StudyError: no such task, or a setting out of range.
        DataError: the data set's folder is not laid out as expected, an annotation file is damaged,
            or no balanced set of items could be made.
    """
    if task not in BUILDERS:
        near = get_close_matches(task, BUILDERS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(f"no builder for task {task!r}; {hint}known: {', '.join(BUILDERS)}")
    if items < (builder := BUILDERS[task]).options:
        raise StudyError(f"--items must be at least {builder.options} for {task}, but is {items}")
    if seed < 0:
        raise StudyError(f"--seed must not be negative, but is {seed}")
    check_out(out)
    try:
        offered, skipped = _list(builder.module.candidates(root, seed))
    except Misplaced as error:
        raise DataError(f"{error}; {builder.dataset} holds {builder.files}") from None
    if not offered:
        raise DataError(f"{root}: no annotation of {builder.dataset} could be used{_why(skipped)}")
    against = against or KnownImages()
    listed = hashlib.sha256()
    for one in offered:
        listed.update(f"{one.key}\0{one.group}\0{one.answers}\0{one.facts}\n".encode())
    settings = {
        "task": task,
        "items": items,
        "seed": seed,
        "version": VERSION,
        "against": against.digest,
        "candidates": listed.hexdigest(),
    }
    with locked(out / task) as folder:
        one = _Build(settings, builder, root, folder, against, offered, report)
        done = finished(folder, one.key) or one.carry_out(skipped)
        (folder / JOURNAL).unlink(missing_ok=True)
        write_suite(out)
    return done


def _list(found: Iterable[Candidate | Skip]) -> tuple[list[Candidate], list[Skip]]:
    """Candidates with different keys, and the rest."""
    offered: dict[str, Candidate] = {}
    skipped: list[Skip] = []
    for one in found:
        if isinstance(one, Skip):
            skipped.append(one)
        elif one.key in offered:
            skipped.append(Skip("an annotation that is there twice", one.key))
        else:
            offered[one.key] = one
    return list(offered.values()), skipped


def _order(offered: list[Candidate], rng: np.random.Generator) -> Iterator[Candidate]:
    """Shuffled, in rounds: every group once, then every group a second time, and so on."""
    shuffled = [offered[index] for index in rng.permutation(len(offered))]
    used: Counter[str] = Counter()
    rounds = np.empty(len(shuffled), dtype=int)
    for place, candidate in enumerate(shuffled):
        rounds[place] = used[candidate.group]
        used[candidate.group] += 1
    return (shuffled[place] for place in np.argsort(rounds, kind="stable"))


class _Build(NamedTuple):
    """One build, whose candidates are known."""

    settings: dict[str, Any]
    """What decides the outcome."""
    builder: Builder
    root: Path
    folder: Path
    against: KnownImages
    offered: list[Candidate]
    report: Callable[[BuildProgress], None]

    @property
    def key(self) -> str:
        """Changes with every setting."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    def carry_out(self, skipped: list[Skip]) -> Built:
        """Make items until there are enough, then write them and their record.

        Of each letter, at most one item more is kept than of the rarest.
        """
        options = self.builder.options
        rows, failed = self._made()
        skipped = [*skipped, *failed]
        counts = _answers(rows, options)
        fewest, most = min(counts.values()), max(counts.values())
        limit = fewest + 1 if fewest or most <= 1 else 0  # nothing where a letter is missing
        used: Counter[str] = Counter()
        kept: list[dict[str, Any]] = []
        for row in rows:
            used[row["answer"]] += 1
            if used[row["answer"]] <= limit:
                kept.append(row)
            else:
                skipped.append(Skip(UNBALANCED, row["id"]))
        if not kept:
            raise DataError(
                f"{self.root}: no items with balanced answers could be made: "
                f"{by_letter(counts)}{_why(skipped)}"
            )
        record = Built(
            task=self.settings["task"],
            dataset=self.builder.dataset,
            root=self.root.resolve().name,
            seed=self.settings["seed"],
            wanted=self.settings["items"],
            made=len(kept),
            answers=_answers(kept, options),
            candidates=len(self.offered),
            tried=len(rows) + len(failed),
            skipped=_summary(skipped),
            against=len(self.against.names) or None,
            version=VERSION,
            settings=self.key,
        )
        write_build(self.folder, kept, record)
        return record

    def _made(self) -> tuple[list[dict[str, Any]], list[Skip]]:
        """Items until every letter has its quota: equal shares, to within one; and failures."""
        rng, options = np.random.default_rng(self.settings["seed"]), self.builder.options
        items: int = self.settings["items"]
        shares = np.full(options, items // options)
        shares[rng.permutation(options)[: items % options]] += 1
        quotas = shares.tolist()
        rows: list[dict[str, Any]] = []
        skipped: list[Skip] = []
        with journal(self.folder / JOURNAL, self.settings) as (known, add):
            for candidate in _order(self.offered, rng):
                most = max((quotas[answer] for answer in candidate.answers), default=0)
                if most == 0:  # the letters that it can take are complete
                    continue
                free = [answer for answer in candidate.answers if quotas[answer] == most]
                answer = int(free[rng.integers(len(free))])
                entry = known.get(candidate.key)
                names = (entry or {}).get("row", {}).get("images", ())
                if entry is None or not all((self.folder / name).is_file() for name in names):
                    entry = self._entry(candidate, answer)
                    add(entry)
                if row := entry.get("row"):
                    rows.append(row | {"open": entry["open"]})
                    quotas[answer] -= 1
                else:
                    skipped.append(Skip(entry["reason"], entry["where"]))
                tried = len(rows) + len(skipped)
                self.report(BuildProgress(len(rows), items, tried))
                if not any(quotas) or (not rows and tried == HOPELESS):
                    break
        return rows, skipped

    def _entry(self, candidate: Candidate, answer: int) -> dict[str, Any]:
        """A journal entry: the candidate as a row, its images written, or why it is left out."""
        key = candidate.key
        # The generator depends on the candidate alone, so that a resumed build makes the same item.
        own = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
        rng = np.random.default_rng([self.settings["seed"], own])
        try:
            made = self.builder.module.make(self.root, candidate, answer, rng)
        except Unusable as error:
            return {"key": key, "reason": error.reason, "where": error.where}
        for image in {id(image): image for image in (*made.sources, *made.images)}.values():
            if name := self.against.match(image):
                return {"key": key, "reason": LEAKED, "where": f"{key} (like {name})"}
        names = [write_image(image, self.folder) for image in made.images]
        question, prompt, choices = made.wording
        content = hashlib.sha256(json.dumps([names, prompt, answer]).encode()).hexdigest()
        row = {
            "id": f"{self.settings['task']}/{key}/{content[:8]}",
            "images": names,
            "question": question,
            "choices": list(choices),
            "answer": LETTERS[answer],
            "prompt": prompt,
            "origin": dict(made.origin),
        }
        truth = made.truth and {
            "answer": as_fields(made.truth),
            "prompt": open_prompt(prompt, made.truth),
        }
        return {"key": key, "row": row, "open": truth}


def _answers(rows: list[dict[str, Any]], options: int) -> dict[str, int]:
    counts = Counter(row["answer"] for row in rows)
    return {letter: counts[letter] for letter in LETTERS[:options]}


def by_letter(answers: dict[str, int]) -> str:
    """The number of items of each letter, as a person reads it."""
    return ", ".join(f"{letter} {count}" for letter, count in answers.items())


def _summary(skipped: list[Skip]) -> dict[str, dict[str, Any]]:
    """By reason, most frequent first: how many candidates were left out, and a few examples."""
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.reason, []).append(one.where)
    ordered = sorted(by_reason.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return {name: {"count": len(where), "first": where[:EXAMPLES]} for name, where in ordered}


def _why(skipped: list[Skip]) -> str:
    """The most frequent reasons, for an error."""
    found = list(_summary(skipped).items())[:3]
    parts = [f"{one['count']} times {reason}, e.g. {one['first'][0]}" for reason, one in found]
    return f" ({'; '.join(parts)})" if parts else ""
