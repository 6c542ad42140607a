"""VSI-Bench: questions on videos of rooms, some with a number for an answer.

Names are the benchmark's question types; `object_rel_direction` is its three direction types
together. The paper evaluates five tasks, which are the default; the sources are BLINK's tasks.

In:   a snapshot of `nyu-visionx/VSI-Bench`, from the hub or a folder: test.jsonl (or a Parquet
      file of the same columns) and the videos, DATASET/SCENE.mp4, unpacked or in DATASET.zip.
Out:  items with the benchmark's prompts, whose pictures are frames of the video, spread evenly.

Choices are scored by their letters, numbers by mean relative accuracy. An item whose video is
missing or damaged is left out, counted and named in `notes`, or refused where `strict`.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transferscope.errors import DataError, StudyError
from transferscope.suites.blink import BLINK
from transferscope.suites.folder import complaint, read_training
from transferscope.suites.hub import snapshot
from transferscope.tasks import LETTERS, SPLITS, Item, Split, Task
from transferscope.tasks.video import Frame, Video, identity, inspect, locate, sampled

DIRECTIONS = tuple(f"object_rel_direction_{grade}" for grade in ("easy", "medium", "hard"))
VSI: tuple[Task, ...] = (
    Task("obj_appearance_order", "OAO", items=618),
    Task("object_counting", "OC", items=565),
    Task("object_rel_distance", "ORD", items=710),
    Task("route_planning", "RP", items=194),
    Task("object_rel_direction", "ORDir", items=968),
)
"""The paper's tasks."""
OTHERS: tuple[Task, ...] = (
    Task("object_rel_direction_easy", "ORDir-E", items=217),
    Task("object_rel_direction_medium", "ORDir-M", items=378),
    Task("object_rel_direction_hard", "ORDir-H", items=373),
    Task("object_abs_distance", "OAD", items=834),
    Task("object_size_estimation", "OSE", items=953),
    Task("room_size_estimation", "RSE", items=288),
)
"""Question types that the paper leaves out, and the three directions apart."""
NUMERIC = (
    "object_counting",
    "object_abs_distance",
    "object_size_estimation",
    "room_size_estimation",
)
"""Question types whose answer is a number."""

HUB = "nyu-visionx/VSI-Bench"
FRAMES = 32
"""Frames of a video, as the benchmark gives to most open models."""
_TABLES = ("test.jsonl", "test.parquet", "full/test-*.parquet", "data/test-*.parquet")
_BEFORE = "These are frames of a video."
_NUMBER = "Please answer the question using a single word or phrase."
_CHOICE = "Answer with the option's letter from the given choices directly."
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
_Text = Annotated[str, Field(min_length=1)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: int | _Text
    dataset: _Name
    scene_name: _Name
    question_type: _Text
    question: _Text
    ground_truth: str | int | float
    options: list[str] | None = None


class VsiBench:
    """The benchmark's items.

    Args:
        path: a local snapshot; None fetches it from the hub.
        training: a folder with TASK/train.jsonl.
        frames: pictures of each video.
        strict: refuse an item whose video is missing or damaged instead of leaving it out.
        revision: a branch, tag or commit on the hub; None is the newest.

    Raises:
        StudyError: `path` or `training` is no folder.
    """

    name = "vsi-bench"
    tasks: tuple[Task, ...] = (*VSI, *OTHERS)
    defaults = tuple(task.name for task in VSI)
    sources = tuple(task.name for task in BLINK)

    def __init__(
        self,
        path: Path | None = None,
        *,
        training: Path | None = None,
        frames: int = FRAMES,
        strict: bool = False,
        revision: str | None = None,
    ) -> None:
        for folder in (path, training):
            if folder is not None and not folder.is_dir():
                raise StudyError(f"{folder}: no such folder")
        self.path, self.training, self.revision = path, training, revision
        self.frames, self.strict = frames, strict
        self.notes: list[str] = []
        self._fetched: Path | None = None
        self._rows: list[tuple[str, _Row]] | None = None
        self._videos: dict[tuple[str, str], tuple[Frame, ...] | str] = {}
        # Decoded frames are large, and the items of one video stand together.
        self._sampled = lru_cache(maxsize=2)(sampled)

    @property
    def version(self) -> str:
        """The hub's revision, or that it is a local copy; and the number of frames."""
        where = "local" if self.path else self.revision or "newest"
        return f"{where}, {self.frames} frames"

    def items(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task: the benchmark's for evaluation, or the training folder's.

        Raises:
            StudyError: there is no such task or split, no training folder, or no hub.
            DataError: a file is missing or damaged, or a row is not what it must be; where
                `strict`, a video is.
            MissingExtra: PyAV is not installed.
        """
        if split not in SPLITS:
            raise StudyError(f"{self.name}: unknown split {split!r}; known: {', '.join(SPLITS)}")
        names = [known.name for known in self.tasks]
        if task not in names and not (split == "train" and task in self.sources):
            raise StudyError(f"{self.name}: unknown task {task!r}; known: {', '.join(names)}")
        if split == "train":
            return read_training(self.training, task, self.name, built=task in self.sources)
        types = DIRECTIONS if task == "object_rel_direction" else (task,)
        rows = [(where, row) for where, row in self._table() if row.question_type in types]
        if not rows:
            raise DataError(f"{self.path or HUB}: no item of the question type {task}")
        items, skipped, found = [], [], {}
        for where, row in rows:
            if row.id in found:
                raise DataError(f"{where}: id {row.id!r} is also in {found[row.id]}")
            found[row.id] = where
            frames = self._frames(row)
            if isinstance(frames, str):
                if self.strict:
                    raise DataError(f"{where}: item {row.id}: {frames}")
                skipped.append(f"{row.id} ({frames})")
                continue
            items.append(_item(row, task, frames, where))
        self._note(task, len(rows), skipped)
        return items

    def _note(self, task: str, found: int, skipped: list[str]) -> None:
        said, name = [], f"VSI-Bench {task}"
        documented = next(known.items for known in self.tasks if known.name == task)
        if found != documented:
            said.append(
                f"{name}: {found} items, where the benchmark has {documented}; not all of it?"
            )
        if skipped:
            more = f" and {len(skipped) - 5} more" if skipped[5:] else ""
            said.append(
                f"{name}: {len(skipped)} of {found} items are left out, as their videos cannot be "
                f"had: {'; '.join(skipped[:5])}{more}"
            )
        if task == "object_rel_direction":
            said.append(
                f"{name}: the accuracy is that over all items of its three question types; the "
                "benchmark's own figure is the mean of the three accuracies"
            )
        self.notes += [note for note in said if note not in self.notes]

    def _folder(self) -> Path:
        """The folder of the snapshot, with everything in it."""
        if self._fetched is None:
            self._fetched = self.path or snapshot(HUB, [*_TABLES, "*.zip"], self.revision)
        return self._fetched

    def _table(self) -> list[tuple[str, _Row]]:
        """The benchmark's rows, each with the place that messages name."""
        if self._rows is None:
            folder = self._folder()
            files = next((hits for p in _TABLES if (hits := sorted(folder.glob(p)))), [])
            if not files:
                raise DataError(f"{folder}: no {' and no '.join(_TABLES[:2])}; expected {HUB}")
            self._rows = [row for path in files for row in _rows(path)]
        return self._rows

    def _frames(self, row: _Row) -> tuple[Frame, ...] | str:
        """The frames of a row's video, the same objects for all its rows; or what is wrong."""
        key = row.dataset, row.scene_name
        if key not in self._videos:
            self._videos[key] = self._sample(*key)
        return self._videos[key]

    def _sample(self, dataset: str, scene: str) -> tuple[Frame, ...] | str:
        video = locate(self._folder(), dataset, scene)
        if video is None:
            return f"no video {dataset}/{scene}.mp4"
        problem, total = inspect(video, self.frames)
        if problem:
            return f"{dataset}/{scene}.mp4 {problem}"
        return self._spread(video, total)

    def _spread(self, video: Video, total: int) -> tuple[Frame, ...]:
        decode = partial(self._sampled, video, total, self.frames)
        count, whole = min(self.frames, total), identity(video)
        return tuple(Frame(decode, k, f"{whole} {k} of {count}") for k in range(count))


def _rows(path: Path) -> Iterator[tuple[str, _Row]]:
    """A table's rows, each with the place that messages name."""
    for where, given in (_json_rows if path.suffix == ".jsonl" else _parquet_rows)(path):
        try:
            yield where, _Row.model_validate(given)
        except ValidationError as error:
            raise DataError(f"{where}: {complaint(error)}") from None


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not JSON: {error}") from None


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import polars as pl

    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        problem = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a readable Parquet file: {problem}") from None
    for number, row in enumerate(table.iter_rows(named=True), 1):
        yield f"{path}: row {number}", row


def _item(row: _Row, task: str, frames: tuple[Frame, ...], where: str) -> Item:
    origin = {"dataset": row.dataset, "scene": row.scene_name, "type": row.question_type}
    if row.question_type in NUMERIC:
        return Item(
            id=str(row.id),
            task=task,
            images=frames,
            question=row.question,
            choices=(),
            answer=-1,
            prompt=f"{_BEFORE}\n{row.question}\n{_NUMBER}",
            origin=origin,
            truth=_truth(row, where),
        )
    lines, choices = _options(row, where)
    letter = str(row.ground_truth).strip().upper()
    if letter not in LETTERS[: len(choices)] or len(letter) != 1:
        last = LETTERS[len(choices) - 1]
        raise DataError(
            f"{where}: ground_truth is {row.ground_truth!r}, expected a letter, A to {last}"
        )
    options = "\n".join(lines)
    return Item(
        id=str(row.id),
        task=task,
        images=frames,
        question=row.question,
        choices=choices,
        answer=LETTERS.index(letter),
        prompt=f"{_BEFORE}\n{row.question}\nOptions:\n{options}\n{_CHOICE}",
        origin=origin,
    )


def _truth(row: _Row, where: str) -> float:
    try:
        truth = float(row.ground_truth)
    except ValueError:
        truth = math.nan
    if not 0 <= truth < math.inf:
        raise DataError(f"{where}: ground_truth is {row.ground_truth!r}, expected a number")
    return truth


def _options(row: _Row, where: str) -> tuple[list[str], tuple[str, ...]]:
    """The option lines as the prompt shows them, and the choices without their letters."""
    given = row.options or []
    if not 2 <= len(given) <= len(LETTERS):
        raise DataError(f"{where}: {len(given)} options, expected 2 to {len(LETTERS)}")
    found = [re.fullmatch(r"([A-J])\.\s*(.+)", option.strip(), re.S) for option in given]
    lettered = [one for one in found if one]
    if not lettered:
        lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, given, strict=False)]
        return lines, tuple(given)
    if "".join(one[1] for one in lettered) != LETTERS[: len(given)]:
        raise DataError(f"{where}: options are {given!r}, expected them as A. to J., in order")
    return given, tuple(one[2] for one in lettered)
