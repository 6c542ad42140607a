"""What is asked: pictures, items, tasks and suites, whoever made them.

A `Task` is one perception skill with its place in the paper's Table 2; an `Item` is one question of
it; a `Suite` holds the items of several tasks, split into training and evaluation. The analysis
needs tasks alone, so this module imports nothing but numpy, and no picture is decoded before
somebody asks for its pixels.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np

Level = Literal["low", "mid", "high"]
Granularity = Literal["pixel", "crop", "image"]
Split = Literal["train", "eval"]

LEVELS: tuple[Level, ...] = ("low", "mid", "high")
GRANULARITIES: tuple[Granularity, ...] = ("pixel", "crop", "image")
SPLITS: tuple[Split, ...] = ("train", "eval")
LETTERS = "ABCDEFGHIJ"
"""Option letters, in order."""


@dataclass(frozen=True)
class Task:
    """One perception skill."""

    name: str
    """Name as the benchmark spells it, e.g. `Relative_Depth`."""

    abbreviation: str
    """Short label for figures, e.g. `RD`."""

    level: Level | None = None
    """Perceptual level (paper, Table 2); None where nobody has classified the task."""

    granularity: Granularity | None = None
    """Granularity (paper, Table 2); None where nobody has classified the task."""

    items: int | None = None
    """Number of questions in the evaluation split; None where unknown."""


class Picture(Protocol):
    """One image of an item: drawn in memory, or a file that is read when needed.

    One that is stored may have `content()` too: bytes that make it itself, had without decoding.
    """

    def pixels(self) -> np.ndarray:
        """The image as (height, width, 3) uint8, red green blue."""
        ...


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture that exists in memory only."""

    array: np.ndarray
    """(height, width, 3) uint8."""

    def pixels(self) -> np.ndarray:
        """The image as (height, width, 3) uint8, red green blue."""
        return self.array


@dataclass(frozen=True, eq=False)
class Item:
    """One question: multiple choice, or one whose answer is a number."""

    id: str
    """Unique within its suite and never reused for another question."""

    task: str
    """Name of the task."""

    images: tuple[Picture, ...]
    """The images, in the order in which the question speaks of them."""

    question: str
    """The question, without the choices."""

    choices: tuple[str, ...]
    """The choices' texts, without letters; none where the answer is a number."""

    answer: int
    """Index of the right choice; -1 where the answer is a number, or hidden."""

    prompt: str
    """The whole text put to a model, choices and letters included."""

    origin: Mapping[str, object] = field(default_factory=dict)
    """What made the item: a scene's parameters, or the file and annotation it was built from."""

    truth: float | None = None
    """The right number where the answer is one; None for multiple choice."""

    @property
    def hidden(self) -> bool:
        """Whether the right answer is not known."""
        return self.answer < 0 and self.truth is None

    def digest(self) -> str:
        """SHA-256 of what is seen and asked: pictures, prompt and answer; not the id.

        Stored pictures count by their bytes, drawn ones by their pixels.
        """
        answer = self.answer if self.truth is None else repr(self.truth)
        content = hashlib.sha256(f"{self.prompt}\0{answer}".encode())
        for picture in self.images:
            if (stored := getattr(picture, "content", None)) is not None:
                content.update(hashlib.sha256(stored()).digest())
                continue
            pixels = picture.pixels()
            content.update(repr(pixels.shape).encode())
            content.update(np.ascontiguousarray(pixels).tobytes())
        return content.hexdigest()

    def shown(self) -> str:
        """A hash of the pixels and the question alone: equal where one gives the other away."""
        content = hashlib.blake2b(self.question.encode(), digest_size=20)
        for picture in self.images:
            content.update(fingerprint(picture).key.encode())
        return content.hexdigest()


class Fingerprint(NamedTuple):
    """What is known of a picture's pixels."""

    key: str
    """The same pixels, the same key."""
    shape: tuple[int, ...]
    """(height, width, 3)."""


_FINGERPRINTS: WeakKeyDictionary[Picture, Fingerprint] = WeakKeyDictionary()


def fingerprint(picture: Picture) -> Fingerprint:
    """A picture's key and size; each object is decoded and hashed once."""
    if picture not in _FINGERPRINTS:
        pixels = np.ascontiguousarray(picture.pixels())
        content = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=20)
        content.update(pixels.data)
        _FINGERPRINTS[picture] = Fingerprint(content.hexdigest(), pixels.shape)
    return _FINGERPRINTS[picture]


def gold_hash(task: str, answers: Iterable[tuple[str, int | float]]) -> str:
    """SHA-256 of a task's right answers, whatever their order.

    Benchmarks correct their labels; two results with different hashes answer different questions.

    Args:
        answers: each item's id with the index of its right choice, or its right number.
    """
    content = json.dumps([task, sorted([str(item), answer] for item, answer in answers)])
    return hashlib.sha256(content.encode()).hexdigest()


def gold(items: Sequence[Item]) -> str:
    """The `gold_hash` of items of one task."""
    right = ((i.id, i.answer if i.truth is None else i.truth) for i in items)
    return gold_hash(items[0].task if items else "", right)


class Suite(Protocol):
    """A named set of tasks with their items."""

    @property
    def name(self) -> str:
        """Name, as a study file spells it."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever an item changes."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order in which tables show them.

        A suite may also have `defaults` and `sources`, names of the tasks that a study takes as
        targets and as sources where it names none, and `notes`, what a reader of results must know
        of the items read so far.
        """
        ...

    def items(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task's split; may be made or read one by one, as they are asked for.

        Raises:
            StudyError: the suite has no such task or split.
        """
        ...


def lettered(
    question: str, choices: Sequence[str], lead: str = "Select from the following choices."
) -> str:
    """A question with its choices as BLINK writes them: a lead, then one lettered choice a line."""
    lines = [f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, lead, *lines])
