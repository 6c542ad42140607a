"""The shape that the builders of all tasks share: what a data set offers, and an item made of it.

A builder first lists `Candidate`s, cheaply, from annotation files alone; `build` picks among them,
and the builder then makes each picked one, opening its images, with the right answer in the
position that `build` chooses. What cannot be an item is a `Skip` in the list, or an `Unusable`
when it is made: both are counted by their reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.random import Generator
from PIL.Image import Image

from transferscope.builders.prompts import Wording
from transferscope.errors import DataError
from transferscope.tasks.open_answers import OpenAnswer


@dataclass(frozen=True, slots=True)
class Candidate:
    """One annotation that may become an item. A data set may have half a million: keep it small."""

    key: str
    """A unique key within the data set: an annotation's id, or file names."""

    group: str
    """What it shares with others that look alike, usually its image: every group is used once
    before any is used twice."""

    answers: tuple[int, ...]
    """The positions in which the right answer can be put. All of them where points can be labeled
    or images ordered at will; one where the annotation itself decides, as with yes and no."""

    facts: Any = None
    """What the builder's `make` needs."""


class Skip(NamedTuple):
    """An annotation that cannot become an item."""

    reason: str
    """A few words that are the same for all of its kind, e.g. `incomplete annotation`."""
    where: str
    """File, or file and line."""


class Unusable(DataError):
    """A candidate that turns out not to be an item, for the reason of a `Skip`: its image is
    damaged, its points too close."""

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.reason, self.where = reason, where


@dataclass(frozen=True)
class Made:
    """An item, ready to be written."""

    wording: Wording
    """The choice at the wanted position is right."""

    images: tuple[Image, ...]
    """What the item shows, RGB, markers drawn."""

    sources: tuple[Image, ...] = ()
    """The images that it was made of, RGB, unmarked, where it does not show these themselves: both
    are compared with the evaluation images."""

    truth: OpenAnswer | None = None
    """The answer of the task's open form; None where the task has none."""

    origin: Mapping[str, object] = field(default_factory=dict)
    """Files (relative to the data set's folder), annotation ids, coordinates: JSON values only."""


class TaskModule(Protocol):
    """How the items of one task are made."""

    def candidates(self, root: Path, seed: int, /) -> Iterator[Candidate | Skip]:
        """Everything that the annotations offer, in any order that is always the same.

        Opens annotation files, never images.

        Raises:
            DataError: the folder does not hold what is looked for, or a file in it is damaged.
        """
        ...

    def make(self, root: Path, candidate: Candidate, answer: int, rng: Generator, /) -> Made:
        """An item whose right choice stands at index `answer`.

        `rng` belongs to this candidate alone, so an item does not depend on those made before it.

        Raises:
            Unusable: it cannot be an item.
        """
        ...


class Builder(NamedTuple):
    """A task's module, and the data set that it reads."""

    module: TaskModule
    dataset: str
    options: int
    """Number of options of every item."""
    files: str
    """What the data set's folder holds, as errors name it."""
