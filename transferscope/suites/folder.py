"""A user's own suite: a folder of questions, answers and images.

    suite.yaml          name, version, tasks: [{name, abbreviation, level, granularity}]
    TASK/train.jsonl    one question a line
    TASK/eval.jsonl
    TASK/...            images, wherever the lines say, within the folder

A line:

    {"id": "cat-1", "images": ["images/1.png"], "question": "How many cats?",
     "choices": ["1", "2"], "answer": "B"}

`prompt` (the whole text put to a model) and `origin` (anything) may be added. Every line is checked
when its file is read; images are opened to see that they are images, and decoded when somebody asks
for their pixels.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from errno import EINVAL
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transferscope.errors import DataError, StudyError
from transferscope.tasks import LETTERS, SPLITS, Granularity, Item, Level, Split, Task, lettered
from transferscope.tasks.images import Stored, look
from transferscope.tasks.yaml_text import load_yaml, problem_of

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _TaskEntry(Strict):
    name: Name
    abbreviation: Text | None = None
    level: Level | None = None
    granularity: Granularity | None = None


class _Heading(Strict):
    name: Text
    version: Text = "1"
    tasks: Annotated[list[_TaskEntry], Field(min_length=1)]


class _Row(Strict):
    id: Text
    images: Annotated[list[Text], Field(min_length=1)]
    question: Text
    choices: Annotated[list[Text], Field(min_length=2, max_length=len(LETTERS))]
    answer: Annotated[str, Field(pattern=r"^(\([A-J]\)|[A-J])$")]
    prompt: Text | None = None
    origin: Mapping[str, object] = Field(default_factory=dict)


class FolderSuite:
    """A suite read from a folder.

    Args:
        folder: the folder with `suite.yaml`.

    Raises:
        StudyError: there is no `suite.yaml`, or it is not what it must be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        heading = _heading(folder / "suite.yaml")
        self.name, self.version = heading.name, heading.version
        self.tasks = tuple(
            Task(t.name, t.abbreviation or t.name, t.level, t.granularity) for t in heading.tasks
        )

    def items(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task's split, every line checked.

        Raises:
            StudyError: there is no such task or split.
            DataError: a file is missing, or a line is not what it must be.
        """
        names = [known.name for known in self.tasks]
        if task not in names:
            raise StudyError(f"{self.folder}: unknown task {task!r}; known: {', '.join(names)}")
        if split not in SPLITS:
            raise StudyError(f"{self.folder}: unknown split {split!r}; known: {', '.join(SPLITS)}")
        return read_items(self.folder / task / f"{split}.jsonl", task, self.folder)


def read_items(path: Path, task: str, folder: Path) -> list[Item]:
    """The items of a file of JSON lines.

    Args:
        path: the file; images' paths count from where it lies.
        task: the task that the items are of.
        folder: what the images must lie within.

    Raises:
        DataError: the file is missing or empty, or a line is not what it must be.
    """
    found: dict[str, int] = {}
    items = []
    for line, row in _rows(path):
        where = f"{path}:{line}"
        if row.id in found:
            raise DataError(f"{where}: id {row.id!r} is also in line {found[row.id]}")
        found[row.id] = line
        items.append(_item(row, task, path.parent, folder, where))
    if not items:
        raise DataError(f"{path}: has no questions")
    return items


def read_training(training: Path | None, task: str, suite: str, *, built: bool) -> list[Item]:
    """Training items of a benchmark that has none of its own: `TASK/train.jsonl` of a folder.

    Args:
        built: whether `transferscope build` knows the task.

    Raises:
        StudyError: no folder is given, or it does not have the task.
        DataError: a line is not what it must be.
    """
    build = f"`transferscope build {task}` writes them" if built else "write them yourself"
    if training is None:
        raise StudyError(
            f"{suite} has no training items; {build} into a folder, "
            f"which the study names: suite: {{name: {suite}, training: FOLDER}}"
        )
    path = training / task / "train.jsonl"
    if not path.is_file():
        raise StudyError(f"{path}: not found, so there are no training items for {task}; {build}")
    return read_items(path, task, training)


def _heading(path: Path) -> _Heading:
    try:
        heading = _Heading.model_validate(load_yaml(_text(path)))
    except FileNotFoundError:
        raise StudyError(f"{path}: not found; a suite's folder has a suite.yaml") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: not YAML: {problem_of(error)}") from None
    except ValidationError as error:
        raise StudyError(f"{path}: {complaint(error)}") from None
    counts = Counter(task.name.lower() for task in heading.tasks)  # some file systems know no case
    for task in heading.tasks:
        if counts[task.name.lower()] > 1:
            raise StudyError(f"{path}: task {task.name!r} is there twice, case aside")
    return heading


def _text(path: Path) -> str:
    """The text of a file; of a pipe or a device, which may never end, nothing is read."""
    if path.exists() and not path.is_file():
        raise OSError(EINVAL, "expected a file")
    return path.read_text(encoding="utf-8-sig")


def _rows(path: Path) -> Iterator[tuple[int, _Row]]:
    """Line numbers and rows; empty lines are passed over."""
    try:
        # At line feeds alone: text may hold what `splitlines` takes for an end too, as U+2028.
        lines = _text(path).split("\n")
    except FileNotFoundError:
        raise DataError(f"{path}: not found; expected one question a line, as JSON") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            yield line, _Row.model_validate(json.loads(text, object_pairs_hook=_once))
        except ValidationError as error:
            raise DataError(f"{path}:{line}: {complaint(error)}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{line}: not JSON: {error}") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The keys and values of an object, no key twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {twice[:60]!r} is given twice")
    return found


def _item(row: _Row, task: str, beside: Path, folder: Path, where: str) -> Item:
    answer = LETTERS.index(row.answer.strip("()"))
    if answer >= len(row.choices):
        raise DataError(f"{where}: answer {row.answer!r}, but there are {len(row.choices)} choices")
    return Item(
        id=row.id,
        task=task,
        images=tuple(_picture(name, beside, folder, where) for name in row.images),
        question=row.question,
        choices=tuple(row.choices),
        answer=answer,
        prompt=row.prompt or lettered(row.question, row.choices),
        origin=row.origin,
    )


def _picture(name: str, beside: Path, folder: Path, where: str) -> Stored:
    """An image of a line, whose path counts from the line's file and stays within the suite."""
    path, called = beside / name, f"{where}: image {name[:200]!r}"
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        odd = inside and path.exists() and not path.is_file()
        problem = None if odd or not inside else look(path)
    except FileNotFoundError:
        raise DataError(f"{called} not found; looked for {path}") from None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, links in a circle
        raise DataError(f"{called}: no path of a file") from None
    if not inside:
        raise DataError(f"{called} lies outside the suite's folder")
    if odd:
        raise DataError(f"{called} is no file")
    if problem:
        raise DataError(f"{called} {problem}")
    return Stored(path)


def complaint(error: ValidationError) -> str:
    """The first thing wrong, with its field."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if not field:
        return f"expected keys and values; found {str(first['input'])[:60]!r}"
    found = f"; found {str(first['input'])[:60]!r}" if first["type"] != "missing" else ""
    return f"field {field!r}: {first['msg']}{found}"
