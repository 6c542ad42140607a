"""VSI-Bench: questions on videos of rooms, some with a number for an answer.

Names are the benchmark's question types; `object_rel_direction` is its three direction types
together. The paper evaluates five tasks, which are the default; the sources are BLINK's tasks.

In:   a snapshot of `nyu-visionx/VSI-Bench`: test.jsonl (or a Parquet file of the same columns) and
      the videos, DATASET/SCENE.mp4, unpacked or in DATASET.zip.
Out:  items with the benchmark's prompts, whose images are evenly spaced frames of the video.

Choices are scored by their letters, numbers by mean relative accuracy. An item whose video is
missing or damaged is left out, counted and named in `notes`, or refused where `strict`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from transferscope.errors import DataError
from transferscope.suites.blink import BLINK
from transferscope.suites.hub import HubSuite
from transferscope.suites.snapshot import read_rows
from transferscope.tasks import LETTERS, Item, Task
from transferscope.tasks.open_answers import NumberAnswer
from transferscope.tasks.untrusted import first_problem
from transferscope.tasks.video import Frame, content_hash, find_video, inspect, sample_frames

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
    *("object_counting", "object_abs_distance"),
    *("object_size_estimation", "room_size_estimation"),
)
"""Question types whose answer is a number."""

_TABLES = ("test.jsonl", "test.parquet", "full/test-*.parquet", "data/test-*.parquet")
_BEFORE = "These are frames of a video."
_NUMBER = "Please answer the question using a single word or phrase."
_CHOICE = "Answer with the option's letter from the given choices directly."
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
_Text = Annotated[str, Field(min_length=1)]


class _VsiRow(BaseModel):
    id: int | _Text
    dataset: _Name
    scene_name: _Name
    question_type: _Text
    question: _Text
    ground_truth: str | int | float
    options: list[str] | None = None


@dataclass(eq=False)
class VsiBench(HubSuite):
    """The benchmark's items."""

    name = "vsi-bench"
    hub = "nyu-visionx/VSI-Bench"
    tasks = (*VSI, *OTHERS)

    frames: Annotated[int, Field(strict=True, ge=1, le=512)] = 32
    """Frames of each video; 32 is what the benchmark gives to most open models."""

    strict: Annotated[bool, Field(strict=True)] = False
    """Refuse a missing or damaged video, instead of leaving out its items."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._frames = cache(self._frames)  # the same objects for all questions on a video
        # Decoded frames are large, and the items of one video stand together.
        self._sampled = lru_cache(maxsize=2)(sample_frames)

    @property
    def version(self) -> str:
        """The Hub's revision, or that it is a local copy; and the number of frames."""
        return f"{super().version}, {self.frames} frames"

    @property
    def defaults(self) -> tuple[str, ...]:
        """The paper's tasks."""
        return tuple(task.name for task in VSI)

    @property
    def sources(self) -> tuple[str, ...]:
        """BLINK's tasks."""
        return tuple(task.name for task in BLINK)

    def evaluation_items(self, task: str) -> list[Item]:
        """All items of a task whose videos can be read."""
        types = DIRECTIONS if task == "object_rel_direction" else (task,)
        folder, table = self._table
        rows = [(where, row) for where, row in table if row.question_type in types]
        if not rows:
            raise DataError(f"{self.path or self.hub}: no item of the question type {task}")
        items: list[Item] = []
        skipped: list[str] = []
        found: dict[int | str, str] = {}
        for where, row in rows:
            if row.id in found:
                raise DataError(f"{where}: id {row.id!r} is also in {found[row.id]}")
            found[row.id] = where
            frames = self._frames(folder, row.dataset, row.scene_name)
            if isinstance(frames, tuple):
                items.append(_item(row, task, frames, where))
            elif self.strict:
                raise DataError(f"{where}: item {row.id}: {frames}")
            else:
                skipped.append(f"{row.id} ({frames})")
        self.note(*self._caveats(task, len(rows), skipped))
        return items

    def _caveats(self, task: str, found: int, skipped: list[str]) -> Iterator[str]:
        name = f"VSI-Bench {task}"
        documented = next(known.items for known in self.tasks if known.name == task)
        if found != documented:
            yield f"{name}: {found} items, but the benchmark has {documented}; incomplete?"
        if skipped:
            more = f" and {len(skipped) - 5} more" if skipped[5:] else ""
            yield (
                f"{name}: {len(skipped)} of {found} items are left out because their videos "
                f"cannot be read: {'; '.join(skipped[:5])}{more}"
            )
        if task == "object_rel_direction":
            yield (
                f"{name}: the accuracy is over all items of its three question types; the "
                "benchmark's published number is the mean of the three accuracies"
            )

    @cached_property
    def _table(self) -> tuple[Path, list[tuple[str, _VsiRow]]]:
        """The benchmark's folder and its rows, each with the place that messages name."""
        folder = self.snapshot([*_TABLES, "*.zip"])
        files = next((hits for p in _TABLES if (hits := sorted(folder.glob(p)))), [])
        if not files:
            raise DataError(f"{folder}: no {' and no '.join(_TABLES[:2])}; expected {self.hub}")
        return folder, [row for path in files for row in _rows(path)]

    def _frames(self, folder: Path, dataset: str, scene: str) -> tuple[Frame, ...] | str:
        """The frames of a video, or what is wrong with it."""
        video = find_video(folder, dataset, scene)
        if video is None:
            return f"no video {dataset}/{scene}.mp4"
        problem, total = inspect(video, self.frames)
        if problem:
            return f"{dataset}/{scene}.mp4 {problem}"
        decode = partial(self._sampled, video, total, self.frames)
        count, whole = min(self.frames, total), content_hash(video)
        return tuple(Frame(decode, k, f"{whole} {k} of {count}") for k in range(count))


def _rows(path: Path) -> Iterator[tuple[str, _VsiRow]]:
    """A table's rows, each with the place that messages name."""
    for row in read_rows(path, f"{path}"):
        if row.problem:
            raise DataError(f"{row.where}: {row.problem}")
        try:
            yield row.where, _VsiRow.model_validate(row.values)
        except ValidationError as error:
            raise DataError(f"{row.where}: {first_problem(error)}") from None


def _item(row: _VsiRow, task: str, frames: tuple[Frame, ...], where: str) -> Item:
    if row.question_type in NUMERIC:
        try:
            number = float(row.ground_truth)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise DataError(f"{where}: ground_truth must be a number, got {row.ground_truth!r}")
        truth, choices, answer = NumberAnswer(number), (), -1
        prompt = f"{_BEFORE}\n{row.question}\n{_NUMBER}"
    else:
        truth = None
        lines, choices = _options(row, where)
        letter = str(row.ground_truth).strip().upper()
        if letter not in LETTERS[: len(choices)] or len(letter) != 1:
            last = LETTERS[len(choices) - 1]
            raise DataError(
                f"{where}: ground_truth must be a letter, A to {last}; got {row.ground_truth!r}"
            )
        answer = LETTERS.index(letter)
        prompt = "\n".join([_BEFORE, row.question, "Options:", *lines, _CHOICE])
    return Item(
        id=str(row.id),
        task=task,
        images=frames,
        question=row.question,
        choices=choices,
        answer=answer,
        prompt=prompt,
        origin={"dataset": row.dataset, "scene": row.scene_name, "type": row.question_type},
        truth=truth,
        group=f"{row.dataset}/{row.scene_name}",
    )


def _options(row: _VsiRow, where: str) -> tuple[list[str], tuple[str, ...]]:
    """The option lines as the prompt shows them, and the choices without their letters."""
    given = row.options or []
    if not 2 <= len(given) <= len(LETTERS):
        raise DataError(f"{where}: must have 2 to {len(LETTERS)} options, got {len(given)}")
    found = [re.fullmatch(r"([A-J])\.\s*(.+)", option.strip(), re.S) for option in given]
    if not any(found):
        return [f"{letter}. {text}" for letter, text in zip(LETTERS, given, strict=False)], tuple(
            given
        )
    lettered = [one for one in found if one]
    if "".join(one[1] for one in lettered) != LETTERS[: len(given)]:
        raise DataError(f"{where}: options must be lettered A. to J., in order; got {given!r}")
    return given, tuple(one[2] for one in lettered)
