"""BLINK: the perception tasks of the paper, and their questions as the benchmark publishes them.

Names are the benchmark's configuration names; level and granularity are the paper's Table 2; the
number of items is that of the validation split, on which the paper evaluates. `IQ_Test`, the
benchmark's fourteenth task, has no training set and is evaluated only if a study names it.

In:   a snapshot of `BLINK-Benchmark/BLINK`: CONFIG/val-*.parquet, with columns idx, question,
      choices, answer, prompt and image_1 to image_4, images embedded.
Out:  items whose prompts are the benchmark's own.

The labels of Relative_Reflectance were replaced in September 2025; `notes` reports the old ones,
and `tasks.gold` distinguishes any two versions.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from transferscope.errors import DataError, StudyError
from transferscope.suites.hub import HubSuite
from transferscope.suites.snapshot import Files, Problem, names_in
from transferscope.tasks import LETTERS, Item, Task, gold, grouped
from transferscope.tasks.images import EncodedImage
from transferscope.tasks.number_replies import read_number
from transferscope.tasks.open_answers import (
    BoxAnswer,
    NumberAnswer,
    OpenAnswer,
    PointAnswer,
    TextAnswer,
    letter_of_point,
)

BLINK: tuple[Task, ...] = (
    Task("Art_Style", "AS", "mid", "image", 117),
    Task("Counting", "CN", "high", "image", 120),
    Task("Forensic_Detection", "FD", "high", "image", 132),
    Task("Functional_Correspondence", "FC", "high", "pixel", 130),
    Task("Jigsaw", "JG", "mid", "crop", 150),
    Task("Multi-view_Reasoning", "MR", "mid", "image", 133),
    Task("Object_Localization", "OL", "high", "crop", 122),
    Task("Relative_Depth", "RD", "low", "pixel", 124),
    Task("Relative_Reflectance", "RR", "low", "pixel", 134),
    Task("Semantic_Correspondence", "SC", "high", "pixel", 139),
    Task("Spatial_Relation", "SR", "mid", "image", 143),
    Task("Visual_Correspondence", "VC", "low", "pixel", 172),
    Task("Visual_Similarity", "VS", "high", "image", 135),
)
"""The paper's tasks."""
IQ_TEST = Task("IQ_Test", "IQ", items=150)
OPEN: tuple[Task, ...] = tuple(
    task.open_form
    for task in BLINK
    if task.name in ("Counting", "Object_Localization", "Relative_Depth")
    or task.name.endswith("_Correspondence")
)
"""Open forms of the tasks whose right answer is a number, a letter, a point or a box."""

_IMAGES = {
    **dict.fromkeys(("Functional_Correspondence", "Multi-view_Reasoning"), 2),
    **dict.fromkeys(("Semantic_Correspondence", "Visual_Correspondence"), 2),
    **dict.fromkeys(("Art_Style", "Jigsaw", "Visual_Similarity"), 3),
    "Forensic_Detection": 4,
}
"""Where items have more than one image."""
_TEST_ITEMS = {"Object_Localization": 125, "Semantic_Correspondence": 140, "Visual_Similarity": 136}
"""Where the test split has another number of items than the validation split."""
_OLD_REFLECTANCE = "1de2f092f2b1f32cc0bb8d8ea2b660e621685ef76fe6766db53460f96799dfa5"
"""`suite.gold` of the labels in the benchmark's own val_answers.json, from before the change."""
_READABLE = ("Counting", "Relative_Depth")
"""Tasks whose choices give the answer of the open form."""
_REPLIES: dict[type[OpenAnswer], str] = {
    NumberAnswer: "Answer with a number.",
    TextAnswer: "Answer with the letter of the point.",
    PointAnswer: "Answer with the coordinates of that point.",
    BoxAnswer: "Answer with the coordinates of that box.",
}
"""The last line of the open forms' prompts; each base has its own order of coordinates."""
_IMAGE_COLUMNS = ("image_1", "image_2", "image_3", "image_4")
_TEXT = ("idx", "question", "choices", "answer", "prompt")


@dataclass(eq=False)
class Blink(HubSuite):
    """The benchmark's items."""

    name = "blink"
    hub = "BLINK-Benchmark/BLINK"
    tasks = (*BLINK, IQ_TEST, *OPEN)

    split: Literal["val", "test"] = "val"
    """The benchmark's split that is evaluated; the answers of `test` are hidden."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split == "test":
            self.unscorable = (
                "suite.split: the answers of BLINK's test split are hidden, so nothing can be "
                "scored on it; use split: val"
            )

    @property
    def defaults(self) -> tuple[str, ...]:
        """The paper's tasks."""
        return tuple(task.name for task in BLINK)

    def evaluation_items(self, task: str) -> list[Item]:
        """All items of a task in the chosen split.

        Raises:
            StudyError: it is an open form whose answers the benchmark does not hold.
        """
        if twin := next(known.twin for known in self.tasks if known.name == task):
            if twin not in _READABLE:
                raise StudyError(
                    f"{self.name}: {task} can be trained on but not evaluated: the benchmark draws "
                    f"its points and boxes into the images and does not give their coordinates; "
                    f"evaluate {twin}"
                )
            return [_opened(item, task) for item in self.evaluation_items(twin)]
        pattern = f"{task}/{self.split}-*.parquet"
        folder = self.snapshot([pattern])
        files = Files(f"{folder}", names_in(folder), lambda patterns: folder)
        items: list[Item] = []
        found: dict[str, str] = {}
        for name in files.tables(pattern):
            for item, where in _read(files, name, task):
                if item.id in found:
                    raise DataError(f"{where}: idx {item.id!r} is also in {found[item.id]}")
                found[item.id] = where
                items.append(item)
        self.note(*self._caveats(task, items))
        return grouped(items)

    def _caveats(self, task: str, items: Sequence[Item]) -> Iterator[str]:
        """What a reader of results must know of a task's items."""
        name = f"BLINK {task}, {self.split}"
        documented = next(known.items for known in self.tasks if known.name == task)
        if self.split == "test":
            documented = _TEST_ITEMS.get(task, documented)
        if len(items) != documented:
            yield f"{name}: {len(items)} items, but the benchmark has {documented}; incomplete?"
        # Prompts are never rebuilt, but a prompt that lacks its choices deserves a note.
        unlisted = [
            item.id
            for item in items
            if any(
                f"({letter}) {choice.strip()}" not in item.prompt
                for letter, choice in zip(LETTERS, item.choices, strict=False)
            )
        ]
        if unlisted:
            count = f"{len(unlisted)} of {len(items)}"
            yield f"{name}: {count} prompts do not list their choices, first that of {unlisted[0]}"
        if task == "Relative_Reflectance" and gold(items) == _OLD_REFLECTANCE:
            yield (
                f"{name}: these labels are from before September 2025, when the authors replaced "
                "them because most were wrong; download the data again, and do not compare with "
                "results on the new labels"
            )
        if stray := sum(not item.id.startswith(f"{self.split}_{task}_") for item in items):
            yield f"{name}: {stray} of {len(items)} rows have another task or split in idx"


def open_prompt(prompt: str, truth: OpenAnswer) -> str:
    """A prompt of the benchmark with how to reply openly in place of the choices."""
    question = re.split(r"\sSelect from the following (?:choices|options)\.", prompt)[0]
    return f"{question.rstrip()}\n{_REPLIES[type(truth)]}"


def _opened(item: Item, task: str) -> Item:
    """The open form of an item whose answer is a number or a point's letter."""
    truth: OpenAnswer | None = None
    if item.answer >= 0 and task == "Counting_open":
        number = read_number(item.choices[item.answer])
        if number is None:
            raise DataError(f"{item.id}: choices must be numbers, got {item.choices!r}")
        truth = NumberAnswer(number, exact=True)
    elif item.answer >= 0:
        truth = letter_of_point(item.answer)
    return replace(
        item,
        id=item.id.replace(item.task, task, 1),
        task=task,
        choices=(),
        answer=-1,
        prompt=open_prompt(item.prompt, truth) if truth else item.prompt,
        truth=truth,
    )


def _read(files: Files, name: str, task: str) -> Iterator[tuple[Item, str]]:
    """A file's items, each with the place that messages name."""
    expected = _IMAGE_COLUMNS[: _IMAGES.get(task, 1)]
    table = files.table(name, [*_TEXT, *expected], _IMAGE_COLUMNS)
    for row in table.rows:
        where = f"{row.where}: {task}, {row.values['idx']}"
        given = [column for column in table.encoded if files.cell(row, table, column)]
        if given != list(expected):
            raise DataError(
                f"{where}: has {', '.join(given) or 'no image'}; expected {', '.join(expected)}"
            )
        try:
            images = files.images(row, table, expected)
        except Problem as problem:
            raise DataError(f"{where}: {problem}") from None
        yield _item(row.values, task, images, where), where


def _item(row: dict[str, Any], task: str, images: Sequence[EncodedImage], where: str) -> Item:
    for name in ("idx", "question", "answer", "prompt"):
        if not isinstance(row[name], str) or not row[name].strip():
            raise DataError(f"{where}: {name} must be text, got {row[name]!r}")
    choices = row["choices"]
    texts = isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)
    if not texts or not 2 <= len(choices) <= 4:
        raise DataError(f"{where}: choices must be two to four texts, got {choices!r}")
    letter = re.fullmatch(r"\(([A-D])\)", row["answer"])
    answer = LETTERS.index(letter[1]) if letter else -1
    if answer >= len(choices) or (not letter and row["answer"] != "hidden"):
        raise DataError(
            f"{where}: answer must be one of (A) to ({LETTERS[len(choices) - 1]}), or hidden; "
            f"got {row['answer']!r}"
        )
    return Item(
        id=row["idx"],
        task=task,
        images=tuple(images),
        question=row["question"],
        choices=tuple(choices),
        answer=answer,
        prompt=row["prompt"],
    )
