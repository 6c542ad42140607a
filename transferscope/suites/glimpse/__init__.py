"""Glimpse, the embedded suite: BLINK's 13 tasks as images that are drawn on demand.

Every item is a pure function of task, split, index, difficulty and `VERSION`, byte for byte the
same on every machine; there is nothing to download. Numbers of images and choices, wording and
markers follow the BLINK task of the same name, in few enough words for a small model. No item can
be answered from its text, from a mean color or from the places of its markers.

Six tasks have an open form, such as `Counting_open`: the same images, and a number, a word, a
point or a box to reply with in place of choices.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, overload

from pydantic import Field

from transferscope.suites.blink import BLINK, OPEN
from transferscope.tasks import (
    ArrayImage,
    Item,
    ItemsOfSplit,
    Split,
    Suite,
    Task,
    with_choices,
)

VERSION = "glimpse-2"
"""Changes with any item."""

DIFFICULTY: Mapping[str, float] = {
    "Art_Style": 0.9,
    "Counting": 0.75,
    "Forensic_Detection": 0.6,
    "Jigsaw": 1,
    "Object_Localization": 0.6,
    "Spatial_Relation": 1,
    "Visual_Similarity": 0.5,
}
"""How hard each task is, so that glimpse-m answers some 40 to 80 % of it; 0 where not named."""

COUNTS: dict[Split, int] = {"train": 4096, "eval": 1000}
"""Items of each task."""

GLIMPSE: tuple[Task, ...] = tuple(replace(task, items=COUNTS["eval"]) for task in BLINK)
"""BLINK's tasks by the same names, levels and granularities."""
TWINS = {task.name: task.twin for task in OPEN if task.twin}
"""{open form: the task whose items it has}"""


@dataclass(eq=False)
class Glimpse(Suite):
    """The embedded suite."""

    name = "glimpse"
    tasks = (*GLIMPSE, *(replace(task, items=COUNTS["eval"]) for task in OPEN))
    immutable = True

    difficulty: Annotated[float, Field(ge=0, le=1)] | None = None
    """0 to 1 for all tasks; None: each task's own, of `DIFFICULTY`."""

    @property
    def version(self) -> str:
        return VERSION if self.difficulty is None else f"{VERSION}/{self.difficulty:g}"

    @property
    def defaults(self) -> tuple[str, ...]:
        """BLINK's tasks, without the open forms."""
        return tuple(task.name for task in GLIMPSE)

    def items(self, task: str, split: Split) -> "Items":
        """A task's items of a split, each drawn when it is needed.

        Raises:
            StudyError: there is no such task or split.
        """
        name = self.check(task, split)
        own = DIFFICULTY.get(TWINS.get(name, name), 0)
        return Items(name, split, own if self.difficulty is None else self.difficulty)


@dataclass(frozen=True, eq=False, repr=False)
class Items(ItemsOfSplit):
    """A task's items of one split. `items[3]` draws the fourth and keeps nothing."""

    task: str
    split: Split
    difficulty: float = 0

    def __len__(self) -> int:
        return COUNTS[self.split]

    def ids(self) -> list[str]:  # without drawing them
        return [f"{self.split}_{self.task}_{k + 1}" for k in range(len(self))]

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.task} has {len(self)} {self.split} items; got index {index}")
        # Imported here: the list of suites needs no generator.
        from transferscope.suites.glimpse.canvas import frame
        from transferscope.suites.glimpse.generators import GENERATORS

        split, index = self.split, index % len(self)
        task = TWINS.get(self.task, self.task)
        rng = random.Random(f"{VERSION}/{split}/{task}/{index}/{self.difficulty:g}")
        world = GENERATORS[task](rng, self.difficulty)
        item = Item(
            id=f"{split}_{self.task}_{index + 1}",
            task=self.task,
            images=tuple(ArrayImage(frame(image)) for image in world.images),
            question=world.question,
            choices=world.choices,
            answer=world.answer,
            prompt=with_choices(world.question, world.choices, world.lead),
            origin={"version": VERSION, "difficulty": self.difficulty, **world.scene},
        )
        if self.task not in TWINS:
            return item
        question = world.open_question or world.question
        return replace(
            item, question=question, choices=(), answer=-1, prompt=question, truth=world.truth
        )
