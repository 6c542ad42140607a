"""Tasks, items and suites.

A `Task` is one perception skill with its place in the paper's Table 2; an `Item` is one question of
it; a `Suite` holds the items of several tasks, split into training and evaluation. The analysis
needs tasks alone, so this module imports numpy only, and decodes no image until its pixels are
needed.
"""

import base64
import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from transferscope.errors import DataError, StudyError
from transferscope.tasks.naming import task_of, unknown

if TYPE_CHECKING:
    from transferscope.tasks.open_answers import OpenAnswer

Level = Literal["low", "mid", "high"]
Granularity = Literal["pixel", "crop", "image"]
Split = Literal["train", "eval"]

LEVELS: tuple[Level, ...] = ("low", "mid", "high")
GRANULARITIES: tuple[Granularity, ...] = ("pixel", "crop", "image")
SPLITS: tuple[Split, ...] = ("train", "eval")
LETTERS = "ABCDEFGHIJ"
BY_IMAGES = "images of "  # then an item's id: the name of a group that `grouped` made


@dataclass(frozen=True)
class Task:
    """One perception skill."""

    name: str
    """Name as the benchmark spells it, e.g. `Relative_Depth`."""
    abbreviation: str
    """Short label for figures, e.g. `RD`."""
    level: Level | None = None
    """Perceptual level (paper, Table 2); None where the task is not classified."""
    granularity: Granularity | None = None
    """Granularity (paper, Table 2); None where the task is not classified."""
    items: int | None = None
    """Number of questions in the evaluation split; None where unknown."""
    twin: str | None = None
    """The multiple-choice task of which this is the open form: the same images in the same order;
    None for any other task."""

    @property
    def open_form(self) -> "Task":
        """The same task with an open answer, e.g. `Counting_open`."""
        short = f"{self.abbreviation}o"
        return replace(self, name=f"{self.name}_open", abbreviation=short, twin=self.name)


class ItemImage(Protocol):
    """One image of an item: drawn in memory, or read from a file when needed.

    Both methods raise a `DataError` where the file cannot be read, or not be decoded.
    """

    def pixels(self) -> np.ndarray:
        """The image as (height, width, 3) uint8, in RGB."""
        ...

    def content(self) -> bytes | None:
        """Stored bytes that identify the image without decoding it; None for one in memory."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayImage:
    """An image that exists in memory only."""

    array: np.ndarray
    """(height, width, 3) uint8, in RGB."""

    def pixels(self) -> np.ndarray:
        return self.array

    def content(self) -> None:
        return None


@dataclass(frozen=True, eq=False)
class GrayImage:
    """A gray image in place of another, of its size."""

    image: ItemImage

    def pixels(self) -> np.ndarray:
        return np.full_like(self.image.pixels(), 128)

    def content(self) -> None:
        return None


SIDE, IMAGES, ITEMS = 320, 6, 3
"""A notebook shows so many items of a list, images of an item, and pixels of an image's side."""


@dataclass(frozen=True, eq=False, repr=False)
class Item:
    """One question: multiple choice, or one with an open answer."""

    id: str
    """Unique within its suite and never reused for another question."""
    task: str
    images: tuple[ItemImage, ...]
    """The images, in the order in which the question mentions them."""
    question: str
    """The question, without the choices."""
    choices: tuple[str, ...]
    """The choices' texts, without letters; empty where the answer is open."""
    answer: int
    """Index of the right choice; -1 where the answer is open, or hidden."""
    prompt: str
    """The whole text given to a model, with choices and letters."""
    origin: Mapping[str, object] = field(default_factory=dict)
    """What made the item: a scene's parameters, or the file and annotation it was built from."""
    truth: "OpenAnswer | None" = None
    """The right number, text, point or box; None for multiple choice."""
    group: str | None = None
    """What the items of a task share that are about one image, video or scene; None: alone."""

    @property
    def label(self) -> "int | OpenAnswer":
        """What a model is trained to answer."""
        return self.answer if self.truth is None else self.truth

    @property
    def hidden(self) -> bool:
        """Whether the right answer is unknown."""
        return self.answer < 0 and self.truth is None

    def __repr__(self) -> str:
        number = f"{len(self.images)} image{'' if len(self.images) == 1 else 's'}"
        return f"Item({self.id!r}, {self.task}, {number}, answer {self._answer()!r})"

    def _answer(self) -> str:
        if self.hidden:
            return "hidden"
        if self.truth is not None:
            return str(self.truth)
        return f"({LETTERS[self.answer]}) {self.choices[self.answer]}"

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """The item for a notebook: its first images, small, the prompt and the answer."""
        images = "".join(map(_as_img, self.images[:IMAGES]))
        more = f"<p>{len(self.images) - IMAGES} more images</p>" * (len(self.images) > IMAGES)
        head, prompt, answer = map(escape, (self.id, self.prompt, self._answer()))
        text = f'<div style="white-space:pre-wrap">{prompt}</div><p>Answer: {answer}</p>'
        return f"<p><b>{head}</b></p>{images}{more}{text}"

    def digest(self) -> str:
        """SHA-256 of images (stored bytes, else pixels), prompt and answer, without the id."""
        answer = self.answer if self.truth is None else self.truth.key()
        content = hashlib.sha256(f"{self.prompt}\0{answer}".encode())
        for image in self.images:
            if (stored := image.content()) is not None:
                content.update(hashlib.sha256(stored).digest())
            else:
                pixels = image.pixels()
                content.update(repr(pixels.shape).encode() + pixels.tobytes())
        return content.hexdigest()

    def content_key(self) -> str:
        """A hash of the pixels and the question: items with one key give each other away."""
        content = self.question + "".join(fingerprint(image).key for image in self.images)
        return hashlib.blake2b(content.encode(), digest_size=20).hexdigest()


def _as_img(image: ItemImage) -> str:
    """The image as a small PNG inside the page."""
    from PIL import Image

    small = Image.fromarray(image.pixels())
    small.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img style="margin:2px" src="data:image/png;base64,{data}">'


class ItemsOfSplit(Sequence[Item]):
    """The items of one task's split. They print as a line, in a notebook with the first few."""

    task: str
    split: Split

    def ids(self) -> list[str]:
        """The items' ids."""
        return [item.id for item in self]

    def __repr__(self) -> str:
        ids = [*(repr(name)[1:-1] for name in self.ids()[:ITEMS]), *["..."] * (len(self) > ITEMS)]
        return f"{len(self):,} {self.split} items of {self.task}: {', '.join(ids)}"

    def _repr_html_(self) -> str:
        shown = "".join(f"<li>{item.html()}</li>" for item in self[:ITEMS])
        return f"<p>{escape(repr(self))}</p><ul>{shown}</ul>"


class ItemList(list[Item], ItemsOfSplit):
    """Items that were read, of one task's split."""

    def __init__(self, items: Iterable[Item], task: str, split: Split) -> None:
        super().__init__(items)
        self.task, self.split = task, split

    __repr__ = ItemsOfSplit.__repr__


class Fingerprint(NamedTuple):
    """An image's pixels, hashed, and their shape (height, width, 3)."""

    key: str
    shape: tuple[int, ...]


_FINGERPRINTS: WeakKeyDictionary[ItemImage, Fingerprint] = WeakKeyDictionary()


def fingerprint(image: ItemImage) -> Fingerprint:
    """An image's key and size; each object is decoded and hashed once."""
    if image not in _FINGERPRINTS:
        pixels = np.ascontiguousarray(image.pixels())
        content = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=20)
        content.update(pixels.data)
        _FINGERPRINTS[image] = Fingerprint(content.hexdigest(), pixels.shape)
    return _FINGERPRINTS[image]


def grouped(items: Sequence[Item]) -> list[Item]:
    """The items of a task; those that share an image have a group, named for the first of them.

    Sharing is passed on: if the first item shares an image with the second and the second shares
    another with the third, all three belong together, as the answers to any two may depend on
    each other. Stored bytes are compared, so an image that is marked or encoded anew is another
    one. An item that has a group keeps it, and is compared with no other.
    """
    before = list(range(len(items)))
    """For each item an earlier one of its group, or itself."""

    def first(place: int) -> int:
        while before[place] != place:
            place = before[place]
        return place

    seen: dict[bytes, int] = {}
    for place, item in enumerate(items):
        for image in item.images if item.group is None else ():
            if (stored := image.content()) is not None:
                other = seen.setdefault(hashlib.sha256(stored).digest(), place)
                one, two = sorted((first(other), first(place)))
                before[two] = one
    firsts = [first(place) for place in range(len(items))]
    shared = {one for place, one in enumerate(firsts) if one != place}
    return [
        replace(item, group=f"{BY_IMAGES}{items[one].id}") if one in shared else item
        for item, one in zip(items, firsts, strict=True)
    ]


def all_items(checked: Iterable[Item | DataError]) -> list[Item]:
    """The items, if none is bad; else the first one's `DataError` is raised."""
    items: list[Item] = []
    for item in checked:
        if isinstance(item, DataError):
            raise item
        items.append(item)
    return items


def gold_hash(task: str, answers: Iterable[tuple[str, int | str]]) -> str:
    """SHA-256 of a task's right answers, in any order: item ids with indices or open answers' keys.

    Benchmarks correct their labels; results with different hashes answer different questions.
    """
    content = json.dumps([task, sorted([str(item), answer] for item, answer in answers)])
    return hashlib.sha256(content.encode()).hexdigest()


def gold(items: Sequence[Item]) -> str:
    """The `gold_hash` of items of one task."""
    right = ((i.id, i.answer if i.truth is None else i.truth.key()) for i in items)
    return gold_hash(items[0].task if items else "", right)


class Suite(ABC):
    """A named set of tasks with their items.

    A subclass is a dataclass whose fields are its options: what a study file may set under
    `suite:`. To add a suite, write its module and list the class in `suites.SUITES`.
    """

    name: str
    """Name, as a study file spells it."""
    tasks: tuple[Task, ...]
    """The tasks, in the order in which tables show them."""
    hub: str | None = None
    """The data set on the Hub that has the items; None: nothing is downloaded."""
    immutable: bool = False
    """Whether `version` determines every item, and the two splits share none by construction."""
    unscorable: str = ""
    """Why nothing can be scored on these items, and the remedy; empty where it can."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Changes whenever an item changes."""

    @abstractmethod
    def items(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task's split; may be made or read one by one, when they are needed.

        Raises:
            StudyError: the suite has no such task or split.
        """

    def checked(self, task: str, split: Split) -> Iterator[Item | DataError]:
        """The items of a task's split before they are grouped, and what is wrong with bad rows.

        Suites that read rows read on after a bad one; others end there.

        Raises:
            StudyError: the suite has no such task or split.
        """
        try:
            yield from self.items(task, split)
        except DataError as error:
            yield error

    @property
    def defaults(self) -> tuple[str, ...]:
        """Tasks that a study evaluates where it names no targets."""
        return tuple(task.name for task in self.tasks)

    @property
    def sources(self) -> tuple[str, ...]:
        """Tasks that a study finetunes on where it names no sources."""
        return self.defaults

    @cached_property
    def notes(self) -> list[str]:
        """Caveats about the items read so far, for a reader of results."""
        return []

    def note(self, *caveats: str) -> None:
        """Add caveats to `notes`, each once."""
        self.notes.extend(c for c in dict.fromkeys(caveats) if c not in self.notes)

    def options(self) -> dict[str, Any]:
        """The options and their values, as a study file spells them."""
        values = {name: getattr(self, name) for name in option_names(type(self))}
        return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}

    def check(self, task: str, split: str, known: Iterable[str] | None = None) -> str:
        """The name of a task that may be abbreviated, or spelled with spaces.

        Args:
            known: names of the split's tasks; None for `tasks`.

        Raises:
            StudyError: the suite lacks the task or the split.
        """
        short = {each.name: each.abbreviation for each in self.tasks}
        names = list(short if known is None else known)
        found = task_of(task, {name: short.get(name, name) for name in names})
        if found is None:
            raise StudyError(f"{self.name}: {unknown('task', task, names)}")
        if split not in SPLITS:
            raise StudyError(f"{self.name}: {unknown('split', split, SPLITS)}")
        return found


def option_names(suite: type[Suite]) -> list[str]:
    """Names of a suite's options."""
    return [each.name for each in fields(suite)] if is_dataclass(suite) else []


def with_choices(
    question: str, choices: Sequence[str], lead: str = "Select from the following choices."
) -> str:
    """A question with its choices as BLINK writes them: a lead, then one lettered choice a line."""
    lines = [f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, lead, *lines])
