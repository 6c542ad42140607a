"""BLINK: the perception tasks of the paper, and their questions as the benchmark publishes them.

Names are the benchmark's configuration names; level and granularity are the paper's Table 2; the
number of items is that of the validation split, on which the paper evaluates. `IQ_Test`, the
benchmark's fourteenth task, has no training set and is left out unless it is asked for.

In:   a snapshot of `BLINK-Benchmark/BLINK`, from the hub or a folder: CONFIG/val-*.parquet, with
      columns idx, question, choices, answer, prompt and image_1 to image_4, images embedded.
Out:  items whose prompts are the benchmark's own. Training items are a folder's, as
      `transferscope build` makes them.

The labels of Relative_Reflectance were replaced in September 2025; which ones a copy has is told in
`notes`, and `suite.gold` tells any two apart.
"""

import io
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transferscope.errors import DataError, StudyError
from transferscope.suites.folder import read_training
from transferscope.suites.hub import snapshot
from transferscope.tasks import LETTERS, SPLITS, Item, Split, Task, gold
from transferscope.tasks.images import Embedded, look

if TYPE_CHECKING:
    import polars as pl

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

HUB = "BLINK-Benchmark/BLINK"
_IMAGES = {
    **dict.fromkeys(("Counting", "IQ_Test", "Object_Localization", "Relative_Depth"), 1),
    **dict.fromkeys(("Relative_Reflectance", "Spatial_Relation"), 1),
    **dict.fromkeys(("Functional_Correspondence", "Multi-view_Reasoning"), 2),
    **dict.fromkeys(("Semantic_Correspondence", "Visual_Correspondence"), 2),
    **dict.fromkeys(("Art_Style", "Jigsaw", "Visual_Similarity"), 3),
    "Forensic_Detection": 4,
}
_TEST_ITEMS = {"Object_Localization": 125, "Semantic_Correspondence": 140, "Visual_Similarity": 136}
"""Where the test split has another number of items than the validation split."""
_OLD_REFLECTANCE = "1de2f092f2b1f32cc0bb8d8ea2b660e621685ef76fe6766db53460f96799dfa5"
"""`suite.gold` of the labels in the benchmark's own val_answers.json, from before the change."""
_TEXT = ("idx", "question", "choices", "answer", "prompt")


class Blink:
    """The benchmark's items.

    Args:
        path: a local snapshot; None fetches what is asked for from the hub.
        split: the benchmark's split that is evaluated; the answers of `test` are hidden.
        training: a folder with TASK/train.jsonl.
        revision: a branch, tag or commit on the hub; None is the newest.

    Raises:
        StudyError: `path` or `training` is no folder.
    """

    name = "blink"
    tasks: tuple[Task, ...] = (*BLINK, IQ_TEST)
    defaults = tuple(task.name for task in BLINK)
    sources = defaults

    def __init__(
        self,
        path: Path | None = None,
        *,
        split: Literal["val", "test"] = "val",
        training: Path | None = None,
        revision: str | None = None,
    ) -> None:
        if path is not None and not path.is_dir():
            raise StudyError(f"suite.path: {path}: no such folder; expected a snapshot of BLINK")
        if training is not None and not training.is_dir():
            raise StudyError(
                f"suite.training: {training}: no such folder; `transferscope build` makes one, "
                "task by task"
            )
        self.path, self.split, self.training, self.revision = path, split, training, revision
        self.notes: list[str] = []
        # Images stay encoded; those of one task serve while it is encoded for a model.
        self._images = lru_cache(maxsize=2)(partial(_columns, wanted=None))

    @property
    def version(self) -> str:
        """The hub's revision, or that it is a local copy."""
        return "local" if self.path else self.revision or "newest"

    def items(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task: the benchmark's split for evaluation, or the training folder's.

        Raises:
            StudyError: there is no such task or split, no training folder, or no hub.
            DataError: a file is missing or damaged, or a row is not what it must be.
        """
        names = [known.name for known in self.tasks]
        if task not in names:
            raise StudyError(f"{self.name}: unknown task {task!r}; known: {', '.join(names)}")
        if split not in SPLITS:
            raise StudyError(f"{self.name}: unknown split {split!r}; known: {', '.join(SPLITS)}")
        if split == "train":
            return read_training(self.training, task, self.name, built=task in self.sources)
        items: list[Item] = []
        found: dict[str, str] = {}
        for path in self._files(task):
            for item, where in self._read(path, task):
                if item.id in found:
                    raise DataError(f"{where}: idx {item.id!r} is also in {found[item.id]}")
                found[item.id] = where
                items.append(item)
        self._note(task, items)
        return items

    def _files(self, task: str) -> list[Path]:
        """The Parquet files of a configuration's split."""
        pattern = f"{self.split}-*.parquet"
        folder = self.path
        if folder is None:
            folder = snapshot(HUB, [f"{task}/{pattern}"], self.revision)
            if re.fullmatch(r"[0-9a-f]{40}", folder.name):  # all tasks from one commit
                self.revision = folder.name
        files = sorted((folder / task).glob(pattern))
        if not files:
            raise DataError(
                f"{folder / task / pattern}: no such file; expected a snapshot of {HUB}"
            )
        return files

    def _read(self, path: Path, task: str) -> Iterator[tuple[Item, str]]:
        """A file's items, each with the place that messages name."""
        table, images = _columns(path, wanted=_TEXT), self._images(path)
        columns = [f"image_{k}" for k in range(1, 5)]
        missing = [name for name in _TEXT if name not in table.columns]
        missing += [name for name in columns[: _IMAGES[task]] if name not in images.columns]
        if missing:
            raise DataError(f"{path}: no column {missing[0]!r}; expected {HUB}'s columns")
        for index, row in enumerate(table.iter_rows(named=True)):
            where = f"{path}: {task}, {row['idx'] or f'row {index + 1}'}"
            given = [
                name
                for name in columns
                if name in images.columns and _cell(images[name][index]) is not None
            ]
            if given != columns[: _IMAGES[task]]:
                raise DataError(
                    f"{where}: has {', '.join(given) or 'no image'}; "
                    f"expected {', '.join(columns[: _IMAGES[task]])}"
                )
            pictures = [self._picture(path, name, index, f"{where}, {name}") for name in given]
            yield _item(row, task, pictures, where), where

    def _picture(self, path: Path, column: str, index: int, where: str) -> Embedded:
        read = partial(_encoded, self._images, path, column, index, where)
        if problem := look(io.BytesIO(read())):
            raise DataError(f"{where}: {problem}")
        return Embedded(read, where)

    def _note(self, task: str, items: Sequence[Item]) -> None:
        """Note what a reader of results must know of a task's items."""
        name = f"BLINK {task}, {self.split}"
        said = [_count_note(name, task, self.split, len(items)), _prompt_note(name, items)]
        if task == "Relative_Reflectance" and gold(items) == _OLD_REFLECTANCE:
            said.append(
                f"{name}: these are the labels from before September 2025, when the authors "
                "replaced them because most were wrong; fetch the data again, and compare with no "
                "result on the new labels"
            )
        astray = sum(not item.id.startswith(f"{self.split}_{task}_") for item in items)
        if astray:
            said.append(f"{name}: {astray} of {len(items)} rows have another task or split in idx")
        self.notes += [note for note in said if note and note not in self.notes]


def _columns(path: Path, wanted: Sequence[str] | None) -> "pl.DataFrame":
    """A file's columns of these names, as far as it has them; None: those with images."""
    import polars as pl

    try:
        known = pl.read_parquet_schema(path)
        names = [f"image_{k}" for k in range(1, 5)] if wanted is None else wanted
        return pl.read_parquet(path, columns=[name for name in names if name in known])
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        problem = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a readable Parquet file: {problem}") from None


def _cell(value: Any) -> dict[str, Any] | None:
    """An image cell; None where it is empty."""
    if not isinstance(value, dict) or value.get("bytes") is value.get("path") is None:
        return None
    return value


def _encoded(images: Any, path: Path, column: str, index: int, where: str) -> bytes:
    cell = _cell(images(path)[column][index]) or {}
    if not isinstance(data := cell.get("bytes"), bytes):
        raise DataError(f"{where}: holds no image, only the path {cell.get('path')!r}")
    return data


def _item(row: dict[str, Any], task: str, pictures: Sequence[Embedded], where: str) -> Item:
    for name in ("idx", "question", "answer", "prompt"):
        if not isinstance(row[name], str) or not row[name].strip():
            raise DataError(f"{where}: {name} is {row[name]!r}, expected text")
    choices = row["choices"]
    texts = isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)
    if not texts or not 2 <= len(choices) <= 4:
        raise DataError(f"{where}: choices are {choices!r}, expected two to four texts")
    letter = re.fullmatch(r"\(([A-D])\)", row["answer"])
    answer = LETTERS.index(letter[1]) if letter else -1
    if answer >= len(choices) or (not letter and row["answer"] != "hidden"):
        raise DataError(
            f"{where}: answer is {row['answer']!r}, expected one of (A) to "
            f"({LETTERS[len(choices) - 1]}), or hidden"
        )
    return Item(
        id=row["idx"],
        task=task,
        images=tuple(pictures),
        question=row["question"],
        choices=tuple(choices),
        answer=answer,
        prompt=row["prompt"],
    )


def _count_note(name: str, task: str, split: str, found: int) -> str | None:
    documented = next(known.items for known in Blink.tasks if known.name == task)
    if split == "test":
        documented = _TEST_ITEMS.get(task, documented)
    if found == documented:
        return None
    return f"{name}: {found} items, where the benchmark has {documented}; not the whole split?"


def _prompt_note(name: str, items: Sequence[Item]) -> str | None:
    """Prompts are never rebuilt, but one without its choices is worth a word."""
    lacking = [
        item.id
        for item in items
        if not all(
            f"({letter}) {choice.strip()}" in item.prompt
            for letter, choice in zip(LETTERS, item.choices, strict=False)
        )
    ]
    if not lacking:
        return None
    count = f"{len(lacking)} of {len(items)}"
    return f"{name}: {count} prompts do not list their choices, the first that of {lacking[0]}"
