"""Glimpse, the embedded suite: BLINK's 13 tasks as pictures that are drawn when asked for.

Every item is a pure function of task, split, index, difficulty and `VERSION`, byte for byte the
same on every machine; there is nothing to download. Numbers of images and choices, wording and
markers follow the BLINK task of the same name, in few enough words for a small model. No item can
be answered from its text, from a mean color or from where its markers lie.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import overload

from transferscope.errors import StudyError
from transferscope.suites.blink import BLINK
from transferscope.suites.glimpse.canvas import frame
from transferscope.suites.glimpse.jigsaw import jigsaw
from transferscope.suites.glimpse.matching import functional, semantic, visual
from transferscope.suites.glimpse.scene import World
from transferscope.suites.glimpse.space import depth, multiview
from transferscope.suites.glimpse.surfaces import art_style, forensic, reflectance
from transferscope.suites.glimpse.tabletop import counting, localization, similarity, spatial
from transferscope.tasks import SPLITS, Drawn, Item, Split, Task, lettered

VERSION = "glimpse-1"
"""Changes with any item."""

COUNTS: dict[Split, int] = {"train": 4096, "eval": 300}
"""Items of each task."""

GENERATORS: dict[str, Callable[[random.Random, float], World]] = {
    "Art_Style": art_style,
    "Counting": counting,
    "Forensic_Detection": forensic,
    "Functional_Correspondence": functional,
    "Jigsaw": jigsaw,
    "Multi-view_Reasoning": multiview,
    "Object_Localization": localization,
    "Relative_Depth": depth,
    "Relative_Reflectance": reflectance,
    "Semantic_Correspondence": semantic,
    "Spatial_Relation": spatial,
    "Visual_Correspondence": visual,
    "Visual_Similarity": similarity,
}

GLIMPSE: tuple[Task, ...] = tuple(replace(task, items=COUNTS["eval"]) for task in BLINK)
"""BLINK's tasks by the same names, levels and granularities."""


class Glimpse:
    """The embedded suite.

    Args:
        difficulty: 0, which the embedded bases are made for, to 1.

    Raises:
        StudyError: the difficulty is outside 0 to 1.
    """

    name = "glimpse"
    tasks = GLIMPSE

    def __init__(self, difficulty: float = 0) -> None:
        if not 0 <= difficulty <= 1:
            raise StudyError(f"glimpse: difficulty must be from 0 to 1, but is {difficulty}")
        self.difficulty = difficulty
        self.version = VERSION if difficulty == 0 else f"{VERSION}/{difficulty:g}"

    def items(self, task: str, split: Split) -> "Items":
        """A task's items of a split, drawn one by one as they are asked for.

        Raises:
            StudyError: there is no such task or split.
        """
        return Items(task, split, self.difficulty)


class Items(Sequence[Item]):
    """A task's items of one split. `items[3]` draws the fourth and keeps nothing."""

    def __init__(self, task: str, split: Split, difficulty: float = 0) -> None:
        if task not in GENERATORS:
            known = ", ".join(GENERATORS)
            raise StudyError(f"glimpse: unknown task {task!r}; known: {known}")
        if split not in SPLITS:
            raise StudyError(f"glimpse: unknown split {split!r}; known: {', '.join(SPLITS)}")
        self.task = task
        self.split: Split = split
        self.difficulty = difficulty

    def __len__(self) -> int:
        return COUNTS[self.split]

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.task} has {len(self)} {self.split} items; asked for {index}")
        return draw(self.task, self.split, index % len(self), self.difficulty)


def draw(task: str, split: Split, index: int, difficulty: float = 0) -> Item:
    """One item; a pure function of its arguments and `VERSION`."""
    rng = random.Random(f"{VERSION}/{split}/{task}/{index}/{difficulty:g}")
    world = GENERATORS[task](rng, difficulty)
    return Item(
        id=f"{split}_{task}_{index + 1}",
        task=task,
        images=tuple(Drawn(frame(image)) for image in world.images),
        question=world.question,
        choices=world.choices,
        answer=world.answer,
        prompt=lettered(world.question, world.choices, world.lead),
        origin={"version": VERSION, "difficulty": difficulty, **world.scene},
    )
