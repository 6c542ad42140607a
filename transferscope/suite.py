"""What is asked: pictures, items, tasks and suites, whoever made them.

A `Task` is one perception skill with its place in the paper's Table 2; an `Item` is one question of
it; a `Suite` holds the items of several tasks, split into training and evaluation. The analysis
needs tasks alone, so this module imports nothing but numpy, and no picture is decoded before
somebody asks for its pixels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

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
    """One image of an item: drawn in memory, or a file that is read when needed."""

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
    """One multiple-choice question."""

    id: str
    """Unique within its suite and never reused for another question."""

    task: str
    """Name of the task."""

    images: tuple[Picture, ...]
    """The images, in the order in which the question speaks of them."""

    question: str
    """The question, without the choices."""

    choices: tuple[str, ...]
    """The choices' texts, without letters."""

    answer: int
    """Index of the right choice."""

    prompt: str
    """The whole text put to a model, choices and letters included."""

    origin: Mapping[str, object] = field(default_factory=dict)
    """What made the item: a scene's parameters, or the file and annotation it was built from."""

    def digest(self) -> str:
        """SHA-256 of what is seen and asked: pixels, prompt and answer; not the id."""
        content = hashlib.sha256(f"{self.prompt}\0{self.answer}".encode())
        for picture in self.images:
            pixels = picture.pixels()
            content.update(repr(pixels.shape).encode())
            content.update(np.ascontiguousarray(pixels).tobytes())
        return content.hexdigest()


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
        """The tasks, in the order in which tables show them."""
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
