"""A user's own suite: a folder of questions, answers and images.

    suite.yaml          name, version, tasks: [{name, abbreviation, level, granularity}]
    TASK/train.jsonl    one question a line
    TASK/eval.jsonl
    TASK/...            images, at the paths that the lines give, within the folder

Lines:

    {"id": "cat-1", "images": ["images/1.png"], "question": "How many cats?",
     "choices": ["1", "2"], "answer": "B"}
    {"id": "cat-2", "images": ["images/1.png"], "question": "How many cats?",
     "answer": {"number": 2}}

An open answer is {"number": 2, "exact": true}, {"text": ["cat", "kitten"], "measure": "anls"},
{"point": [0.4, 0.7], "radius": 0.05} or {"box": [0.1, 0.2, 0.5, 0.8]}, places as fractions of the
width and height of the image with the number `image` (0 is the first).

`prompt` (the whole text given to a model), `origin` (anything) and `group` are optional. Every line
and the header of every image is checked when the file is read; pixels are decoded when they are
needed.

Evaluation items with one `group` are about one image, video or scene, so their answers depend on
each other. Items without one that share an image file's bytes get a group. If all items share an
image that is no part of the question, such as a legend, give each a `group` of its own.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from transferscope.errors import DataError, StudyError
from transferscope.tasks import (
    LETTERS,
    Granularity,
    Item,
    ItemList,
    Level,
    Split,
    Suite,
    Task,
    all_items,
    grouped,
    with_choices,
)
from transferscope.tasks.images import EncodedImage
from transferscope.tasks.open_answers import (
    BoxAnswer,
    NumberAnswer,
    OpenAnswer,
    PointAnswer,
    TextAnswer,
    TextMeasure,
)
from transferscope.tasks.untrusted import (
    first_problem,
    image_problem,
    json_lines,
    load_yaml,
    read_text,
)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


_Text = Annotated[str, Field(min_length=1), AfterValidator(_not_blank)]
_Forms = Annotated[
    list[_Text],
    Field(min_length=1),
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
]
_Letter = Annotated[str, Field(pattern=r"^(\([A-J]\)|[A-J])$")]
_Fraction = Annotated[float, Field(ge=0, le=1)]
_TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _TaskEntry(_Entry):
    name: _TaskName
    abbreviation: _Text | None = None
    level: Level | None = None
    granularity: Granularity | None = None


class _Heading(_Entry):
    name: _Text
    version: _Text = "1"
    tasks: Annotated[list[_TaskEntry], Field(min_length=1)]


class Open(_Entry):
    """An open answer: one of number, text, point and box."""

    number: Annotated[float, Field(allow_inf_nan=False)] | None = None
    exact: bool = False
    text: _Forms | None = None
    measure: TextMeasure = "exact"
    point: Annotated[list[_Fraction], Field(min_length=2, max_length=2)] | None = None
    radius: Annotated[float, Field(gt=0, le=1)] = 0.1
    polygon: list[Annotated[list[_Fraction], Field(min_length=2, max_length=2)]] = []
    box: Annotated[list[_Fraction], Field(min_length=4, max_length=4)] | None = None
    image: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one(self) -> "Open":
        given = [n for n in ("number", "text", "point", "box") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError("must have one of number, text, point and box")
        if self.box and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError("box must be left, top, right, bottom")
        if 0 < len(self.polygon) < 3:
            raise ValueError("polygon must have at least 3 corners")
        return self

    def answer(self) -> OpenAnswer:
        """The answer of an item."""
        if self.number is not None:
            return NumberAnswer(self.number, self.exact)
        if self.text is not None:
            return TextAnswer(tuple(self.text), self.measure)
        if self.point is not None:
            corners = tuple((x, y) for x, y in self.polygon)
            return PointAnswer(self.point[0], self.point[1], self.radius, corners, self.image)
        left, top, right, bottom = self.box or []
        return BoxAnswer(left, top, right, bottom, self.image)


class _Line(_Entry):
    id: _Text
    images: Annotated[list[_Text], Field(min_length=1)]
    question: _Text
    choices: Annotated[list[_Text], Field(min_length=2, max_length=len(LETTERS))] | None = None
    answer: Annotated[
        Annotated[_Letter, Tag("letter")] | Annotated[Open, Tag("open")],
        Discriminator(lambda given: "open" if isinstance(given, dict) else "letter"),
    ]
    prompt: _Text | None = None
    origin: Mapping[str, object] = Field(default_factory=dict)
    group: _Text | None = None


@dataclass(eq=False)
class FolderSuite(Suite):
    """A suite read from a folder.

    Raises:
        StudyError: there is no `suite.yaml`, or it is not what it must be.
    """

    folder: Path
    """The folder with `suite.yaml`."""

    def __post_init__(self) -> None:
        path = self.folder / "suite.yaml"
        text = read_text(path, StudyError, missing="not found; a suite's folder has a suite.yaml")
        try:
            heading = _Heading.model_validate(load_yaml(text))
        except ValidationError as error:
            raise StudyError(f"{path}: {first_problem(error)}") from None
        except ValueError as error:
            raise StudyError(f"{path}: not YAML: {error}") from None
        # Some file systems do not distinguish upper and lower case.
        counts = Counter(task.name.lower() for task in heading.tasks)
        if twice := [task.name for task in heading.tasks if counts[task.name.lower()] > 1]:
            raise StudyError(f"{path}: task {twice[0]!r} is given twice, ignoring case")
        self.name, self._version = heading.name, heading.version
        self.tasks = tuple(
            Task(t.name, t.abbreviation or t.name, t.level, t.granularity) for t in heading.tasks
        )

    @property
    def version(self) -> str:
        return self._version

    def options(self) -> dict[str, object]:
        """None: the folder is the suite's name."""
        return {}

    def items(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task's split, every line checked.

        Raises:
            StudyError: there is no such task or split.
            DataError: a file is missing, or a line is not what it must be.
        """
        task = self.check(task, split)
        items = read_items(self.folder / task / f"{split}.jsonl", task, self.folder)
        return ItemList(grouped(items) if split == "eval" else items, task, split)

    def checked(self, task: str, split: Split) -> Iterator[Item | DataError]:
        path = self.folder / self.check(task, split) / f"{split}.jsonl"
        if not path.exists():
            raise StudyError(f"{path}: not found")
        return checked_lines(path, path.parent.name, self.folder)


def read_items(path: Path, task: str, folder: Path) -> list[Item]:
    """The items of a file of JSON lines.

    Args:
        path: the file; images' paths are relative to its folder.
        folder: the folder that must contain the images.

    Raises:
        DataError: the file is missing or empty, or a line is not what it must be.
    """
    return all_items(checked_lines(path, task, folder))


def checked_lines(path: Path, task: str, folder: Path) -> Iterator[Item | DataError]:
    """The item of each line of a file, or what is wrong with the line; see `read_items`."""
    text = read_text(path, missing="not found; must have one question a line, as JSON")
    found: dict[str, int] = {}
    number = 0
    for number, value in json_lines(text, unique_keys=True):
        where = f"{path}:{number}"
        try:
            if isinstance(value, ValueError):
                raise DataError(f"{where}: not JSON: {value}")
            line = _Line.model_validate(value)
            if line.id in found:
                raise DataError(f"{where}: id {line.id!r} is also in line {found[line.id]}")
            found[line.id] = number
            yield _item(line, task, where, path.parent, folder)
        except ValidationError as error:
            yield DataError(f"{where}: {first_problem(error)}")
        except DataError as error:
            yield error
    if not number:
        yield DataError(f"{path}: has no questions")


def _item(line: _Line, task: str, where: str, beside: Path, folder: Path) -> Item:
    answer, truth, prompt = -1, None, line.question
    if isinstance(line.answer, Open):
        truth = line.answer.answer()
        if line.choices:
            raise DataError(f"{where}: choices and an open answer; give one of them")
        if truth.image >= len(line.images):
            count = len(line.images)
            wrong = f"answer.image must be below {count}, the number of images"
            raise DataError(f"{where}: {wrong}; found {truth.image}")
    else:
        answer = LETTERS.index(line.answer.strip("()"))
        choices = line.choices or ()
        if answer >= len(choices):
            wrong = f"answer {line.answer!r}, but there are {len(choices)} choices"
            raise DataError(f"{where}: {wrong}")
        prompt = with_choices(line.question, choices)
    return Item(
        id=line.id,
        task=task,
        images=tuple(_image(name, beside, folder, where) for name in line.images),
        question=line.question,
        choices=tuple(line.choices or ()),
        answer=answer,
        prompt=line.prompt or prompt,
        truth=truth,
        origin=line.origin,
        group=line.group,
    )


def _image(name: str, beside: Path, folder: Path, where: str) -> EncodedImage:
    """An image of a line, whose path is relative to the line's file and stays within the suite."""
    path, called = beside / name, f"{where}: image {name[:200]!r}"
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{called} is outside the suite's folder")
        if path.exists() and not path.is_file():
            raise DataError(f"{called} is not a file")
        problem = image_problem(path)
    except FileNotFoundError:
        raise DataError(f"{called} not found; looked for {path}") from None
    except DataError:
        raise
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, links in a circle
        raise DataError(f"{called}: not a valid path") from None
    if problem:
        raise DataError(f"{called} {problem}")
    return EncodedImage(path.read_bytes, str(path))
