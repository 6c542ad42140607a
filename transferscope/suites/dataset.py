"""Any data set of the Hub, or a folder of Parquet, JSON lines or JSON: a row is an item.

A study names the columns, or relies on a preset (`presets.PRESETS`). A row with choices is
multiple choice, one without has an open answer of the kind that `answer` names. Prompts are ours
(`tasks.with_choices`) unless a column has them. Every row and the header of every image is checked
when a split is read; pixels are decoded when they are needed.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field

from transferscope.errors import DataError, StudyError
from transferscope.suites.columns import (
    AnswerKind,
    OpenKind,
    choices_of,
    in_text,
    open_answer,
    right_option,
)
from transferscope.suites.hub import HubSuite
from transferscope.suites.presets import PRESETS
from transferscope.suites.snapshot import Problem, Table, TableRow
from transferscope.tasks import (
    LETTERS,
    Item,
    ItemList,
    Split,
    Task,
    all_items,
    grouped,
    with_choices,
)
from transferscope.tasks.choices import reordered
from transferscope.tasks.images import EncodedImage
from transferscope.tasks.open_answers import TextMeasure

Column = Literal[
    "images", "question", "choices", "answer", "task", "id", "group", "prompt", "split"
]
OPEN: tuple[OpenKind, ...] = get_args(OpenKind)
_PLACEHOLDER = re.compile(r"<image>\s*|<(image \d+)>")
"""Where a text refers to its images. Some models would read it as an image."""


@dataclass(eq=False)
class DataSet(HubSuite):
    """A data set's items.

    Raises:
        StudyError: no data set is named, or no column of images.
    """

    name = "hub"
    tasks = ()

    hub: str | None = None
    """OWNER/NAME on the Hub; may be null where `path` is a local copy."""
    columns: dict[Column, str | list[str]] = field(default_factory=dict)
    """The names of the data set's columns; `images` and `choices` may be several."""
    train: str | None = None
    """The split to train on, or a pattern of its files; null: the preset's, or none."""
    eval: str | None = None
    """The split to evaluate, or a pattern of its files; null: the preset's, or `test`."""
    answer: AnswerKind | None = None
    """How right answers are written. `option`: as letter, choice or index from 0; others allow one
    of these only, or name the open answer of rows without choices. Null: the preset's, or
    `option`."""
    select: list[str] | dict[str, str | list[str]] | None = None
    """The values of the task column that are used, as patterns, also by the name of their task."""
    shuffle: bool | None = None
    """Offer each row's choices in a random order, the same in every study. Null: the preset's, or
    false."""
    measure: TextMeasure | None = None
    """How a text is scored; `exact` for a number: without partial credit."""
    radius: Annotated[float, Field(gt=0, le=1)] = 0.1
    """How far from a point a reply may be, in fractions."""
    coordinates: Literal["fractions", "pixels", 1000] = "fractions"
    """The unit of points and boxes."""

    def __post_init__(self) -> None:
        preset = PRESETS.get(self.hub or "", {})
        usual = {"question": "question", "answer": "answer"}
        self.columns = usual | preset.get("columns", {}) | self.columns
        self._known_select = self.select is None
        for option in ("train", "eval", "answer", "select", "shuffle"):
            if getattr(self, option) is None:
                setattr(self, option, preset.get(option))
        self.eval, self.answer = self.eval or "test", self.answer or "option"
        super().__post_init__()
        if not (self.hub or self.path):
            raise StudyError("suite.hub: must be a data set's name; or give a local copy as path")
        if not self.columns.get("images"):
            near = get_close_matches(self.hub or "", PRESETS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            known = ", ".join(PRESETS)
            raise StudyError(f"suite.columns: must name images; {hint}known without: {known}")
        self._files = self.files()
        self.name = self._files.title
        self._read, self._values = cache(self._read), dict[str, str]()
        self.tasks = tuple(Task(name, name) for name in self._names("eval"))

    @cached_property
    def _trained(self) -> list[str]:
        if self.train:
            trained, evaluated = self._names("train"), [task.name for task in self.tasks]
            self._note_unpaired(trained, evaluated)
            return trained
        found = self.training.glob("*/train.jsonl") if self.training else ()
        return sorted(path.parent.name for path in found)

    @property
    def sources(self) -> tuple[str, ...]:
        """The tasks of the training split, or else of the training folder."""
        return tuple(self._trained)

    def evaluation_items(self, task: str) -> list[Item]:
        return grouped(all_items(self.checked(task, "eval")))

    def items(self, task: str, split: Split) -> Sequence[Item]:
        if split != "train" or not self.train:
            return super().items(task, split)
        return ItemList(all_items(self.checked(task, split)), task, split)

    def checked(self, task: str, split: Split) -> Iterator[Item | DataError]:
        """Reads on after a bad row; a row without a task is bad in each."""
        if split == "train" and not self.train:
            return super().checked(task, split)
        known = self._trained if split == "train" else [each.name for each in self.tasks]
        read, task = self._read(split), self.check(task, split, known)
        return iter([*read.get("", ()), *read.get(task, ())])

    def _rows(self, split: Split, *keys: Column) -> Iterator[tuple[TableRow, Table]]:
        """The split's rows with what these columns hold."""
        wanted = (self.train if split == "train" else self.eval) or ""
        by_column = self.columns.get("split")
        named = {key: self._columns(key) for key in (*keys, "split")}
        columns = list(dict.fromkeys(name for names in named.values() for name in names))
        for name in self._files.tables("*" if by_column else wanted):
            table = self._files.table(name, columns, named.get("images", []))
            for row in table.rows:
                if not by_column or row.problem or row.values.get(f"{by_column}") == wanted:
                    yield row, table

    def _columns(self, key: Column) -> list[str]:
        given = self.columns.get(key, [])
        return [given] if isinstance(given, str) else given

    def _names(self, split: Split) -> list[str]:
        """The tasks of a split, in the order of their first rows."""
        names, left_out = dict[str, None](), Counter[Any]()
        for row, _ in self._rows(split, "task" if "task" in self.columns else "question"):
            if name := self._task(row):
                names[name] = None
            elif name is None:
                left_out[row.values.get(f"{self.columns['task']}")] += 1
        if not names:
            raise StudyError(f"{self.name}: the {split} split has no row of a selected task")
        if left_out and self._known_select:
            tasks = ", ".join(f"{value} ({count})" for value, count in left_out.most_common(8))
            self.note(f"{self.name}, {split}: rows of these tasks are left out: {tasks}")
        return list(names)

    def _note_unpaired(self, trained: Sequence[str], evaluated: Sequence[str]) -> None:
        """Note the tasks that stand in one split only; a data set may name one task in two ways."""
        alone = [
            f"in the {split} split only: {', '.join(names)}"
            for split, here, there in (("train", trained, evaluated), ("eval", evaluated, trained))
            if (names := [name for name in here if name not in there])
        ]
        if alone:
            hint = "; suite.select may give two of them one name" if len(alone) == 2 else ""
            self.note(f"{self.name}: tasks {'; '.join(alone)}{hint}")

    def _task(self, row: TableRow) -> str | None:
        """The name of a row's task, as files may be named; None if it is not selected."""
        value = self.name.rpartition("/")[2]
        if column := self.columns.get("task"):
            value = f"{row.values.get(f'{column}') or ''}"
        if isinstance(self.select, dict):
            named = {name: [p] if isinstance(p, str) else p for name, p in self.select.items()}
            names = (n for n, each in named.items() if any(fnmatchcase(value, p) for p in each))
            if (value := next(names, None)) is None:
                return None
        elif self.select and not any(fnmatchcase(value, pattern) for pattern in self.select):
            return None
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", value).strip("_.-")
        # Some file systems do not distinguish upper and lower case.
        if (other := self._values.setdefault(name.lower(), value)) != value and name:
            raise StudyError(f"{self.name}: tasks {other!r} and {value!r} look alike; use select")
        return name

    def _read(self, split: Split) -> dict[str, list[Item | DataError]]:
        """The items of a split by task; under "" what is wrong with rows of none."""
        found: dict[str, list[Item | DataError]] = {}
        ids: dict[tuple[str, str], str] = {}
        for number, (row, table) in enumerate(self._rows(split, *get_args(Column)), 1):
            task = "" if row.problem else self._task(row)
            if task is None:
                continue
            try:
                if not task:
                    raise ValueError(row.problem or f"{self.columns['task']}: no name of a task")
                item = self._item(row, table, task, f"{split}-{number}")
                if other := ids.get((task, item.id)):
                    raise Problem(f"{self.columns['id']}", f"another id than {other}", item.id)
                ids[task, item.id] = row.where
            except ValueError as problem:
                item = DataError(f"{row.where}: {problem}")
            found.setdefault(task, []).append(item)
        for task, items in found.items():
            right = [one.answer for one in items if isinstance(one, Item) and one.answer >= 0]
            if len(right) >= 10 and len({*right}) == 1:
                self.note(
                    f"{self.name}, {split}: {LETTERS[right[0]]} is right in all {len(right)} items "
                    f"of {task}, so that a letter suffices; set suite.shuffle"
                )
        return found

    def _item(self, row: TableRow, table: Table, task: str, name: str) -> Item:
        """A row's item.

        Raises:
            Problem: a column does not hold what it must.
        """

        def text(key: Column, default: str = "") -> str:
            column = f"{self.columns.get(key, '')}"
            value = row.values.get(column) if column else default
            if value is None or not f"{value}".strip():
                raise Problem(column, "text", value)
            return f"{value}"

        images = self._files.images(row, table, self._columns("images"))
        question, choices = text("question"), self._choices(row)
        if choices and self.columns["choices"] == self.columns["question"]:
            question = (in_text(question) or ("", []))[0]
        question = _without_placeholders(question)
        answer, truth = self._answer(row, choices, images)
        item = Item(
            id=text("id", name),
            task=task,
            images=tuple(images),
            question=question,
            choices=tuple(choices),
            answer=answer,
            prompt=text("prompt", with_choices(question, choices) if choices else question),
            truth=truth,
            group=text("group") if "group" in self.columns else None,
        )
        if not self.shuffle:
            return item
        order = np.random.default_rng([*item.id.encode()]).permutation(len(choices))
        return reordered(item, order.tolist())

    def _choices(self, row: TableRow) -> list[str]:
        """The row's choices; empty where the answer is open."""
        columns = self._columns("choices")
        value: Any = [row.values.get(column) for column in columns]
        value = value[0] if len(value) == 1 else value
        try:
            choices = [_without_placeholders(choice) for choice in choices_of(value)]
        except ValueError:
            raise Problem(columns[0], "choices", value) from None
        if not choices and self.answer in OPEN:
            return []
        if not 2 <= len(choices) <= len(LETTERS) or not all(choices):
            column = " ".join(columns) or "choices"
            raise Problem(column, f"2 to {len(LETTERS)} choices", value)
        return choices

    def _answer(
        self, row: TableRow, choices: Sequence[str], images: Sequence[EncodedImage]
    ) -> tuple[int, Any]:
        """The index of the right choice, and the open answer."""
        column, kind = f"{self.columns['answer']}", self.answer or "option"
        value = row.values.get(column)
        try:
            if choices:
                return right_option(value, choices, kind), None
            options: dict[str, Any] = {"radius": self.radius} if kind == "point" else {}
            if self.measure:
                exact = {"exact": self.measure == "exact"}
                options |= exact if kind == "number" else {"measure": self.measure}
            sides = [1.0, 1.0] if self.coordinates == "fractions" else [1000.0, 1000.0]
            if self.coordinates == "pixels" and kind in ("point", "box"):
                height, width, _ = images[0].pixels().shape
                sides = [width, height]
            return -1, open_answer(value, kind, options, sides)
        except DataError:
            raise
        except ValueError as expected:
            raise Problem(column, expected, value) from None


def _without_placeholders(text: str) -> str:
    return _PLACEHOLDER.sub(lambda mark: mark[1] or "", text).strip()
