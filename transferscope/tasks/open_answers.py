"""Right answers that are no option: a number, a short text, a point or a box in an image.

Each writes itself as a reply, which a base is trained on, and scores a reply in [0, 1]. Places in
an image are kept as fractions of its width and height; replies give them as integers in the base's
own convention, which is an `Extent`.
"""

import itertools
import math
import re
import string
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import ClassVar, Literal, NamedTuple

from transferscope.errors import StudyError
from transferscope.tasks.number_replies import mean_relative_accuracy, number_is_final, read_number
from transferscope.tasks.reply_text import answer_text


class Extent(NamedTuple):
    """How a base writes coordinates in an image: those of the right and lower edges."""

    right: int
    """The width of the resized image in pixels, or 1000."""
    lower: int
    y_first: bool = False
    """Whether a point is written y, x and a box top, left, bottom, right."""


_GROUP = re.compile(r"[\[(]([^\[\]()]*)[\])]")
_NUMBER = re.compile(r"(?<![A-Za-z\d.])-?(?:\d+(?:\.\d+)?|\.\d+)")
"""A coordinate; the 1 of `x1` is none."""
_LABEL = re.compile(r"^(?:the )?answer(?: is\b|:)\s*", re.I)
_ARTICLES = {"a", "an", "the"}
_NAMED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": 0} | {word: value for value, word in enumerate(_NAMED)}


class OpenAnswer(ABC):
    """What is right where an item has no options."""

    image: int = 0
    """The image of the item that coordinates refer to."""
    longest: ClassVar[int] = 16
    """Most tokens of a reply, unless a study sets another number."""

    @abstractmethod
    def reply(self, extent: Extent) -> str:
        """The answer as a base is trained to reply; `extent` is that of its `image`."""

    @abstractmethod
    def score(self, reply: str, extent: Extent) -> float | None:
        """The worth of a reply in [0, 1]; None where it could not be read."""

    def is_final(self, reply: str) -> bool:
        """Whether nothing that may follow in the reply can change the score."""
        return False

    @abstractmethod
    def __str__(self) -> str:
        """The answer for a reader."""

    def key(self) -> str:
        """The answer in the hashes of items."""
        return repr(self)


TextMeasure = Literal["exact", "vqa", "anls"]
"""How a short text is scored; see `TextAnswer`."""

Label = int | OpenAnswer
"""What a model is trained to answer: an option's index, or an open answer."""


@dataclass(frozen=True)
class NumberAnswer(OpenAnswer):
    """A number; the first number of a reply counts."""

    value: float
    exact: bool = False
    """Whether only this number is right. Otherwise by mean relative accuracy."""

    def reply(self, extent: Extent) -> str:
        text = f"{self.value:.10g}"
        if self.exact and float(text) != self.value:
            return repr(float(self.value)).removesuffix(".0")
        return text

    def score(self, reply: str, extent: Extent) -> float | None:
        number = read_number(answer_text(reply))
        if number is None:
            return None
        return (
            float(number == self.value)
            if self.exact
            else mean_relative_accuracy(number, self.value)
        )

    def is_final(self, reply: str) -> bool:
        return number_is_final(reply)

    def __str__(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True)
class TextAnswer(OpenAnswer):
    """A short text, of which several forms may be right.

    Measures, each of the whole reply against the forms:

    - `exact`: 1 where it equals one of them, without case, punctuation and articles.
    - `vqa`: the forms are what several people answered. VQA's soft accuracy: the mean over the
      people of min(1, others who agree / 3) (Antol et al., "VQA"; the benchmark's code).
    - `anls`: 1 less the normalized Levenshtein distance to the closest form, 0 where that is half
      or more (Biten et al., "Scene Text Visual Question Answering", eq. 1).
    """

    longest: ClassVar[int] = 32
    forms: tuple[str, ...]
    measure: TextMeasure = "exact"

    def __post_init__(self) -> None:
        if not self.forms:
            raise StudyError("a text answer needs at least one form")

    def reply(self, extent: Extent) -> str:
        return max(self.forms, key=self.forms.count)  # the first of equals

    def score(self, reply: str, extent: Extent) -> float | None:
        text = _LABEL.sub("", answer_text(reply), count=1)
        if not text:
            return None
        if self.measure == "anls":
            return max(_similarity(text, form) for form in self.forms)
        right = [_plain(form) == _plain(text) for form in self.forms]
        if self.measure == "exact" or len(right) == 1:
            return float(any(right))
        return sum(min(1.0, (sum(right) - one) / 3) for one in right) / len(right)

    def __str__(self) -> str:
        return " or ".join(dict.fromkeys(self.forms))


@dataclass(frozen=True)
class PointAnswer(OpenAnswer):
    """A point in an image: right within a radius around it, or within a polygon."""

    longest: ClassVar[int] = 64  # each digit may be a token, and some bases write JSON
    x: float
    """Fraction of the image's width."""
    y: float
    """Fraction of the image's height."""
    radius: float = 0.1
    """Fractions of the width horizontally and of the height vertically."""
    polygon: tuple[tuple[float, float], ...] = ()
    """Corners of the region in place of the radius."""
    image: int = 0

    def reply(self, extent: Extent) -> str:
        return _written((self.x, self.y), extent)

    def score(self, reply: str, extent: Extent) -> float | None:
        place = _read(reply, 2, extent)
        if place is None:
            return None
        x, y = place
        if self.polygon:
            return float(_inside(x, y, self.polygon))
        return float((x - self.x) ** 2 + (y - self.y) ** 2 <= self.radius**2)

    def __str__(self) -> str:
        return f"point ({self.x:.2f}, {self.y:.2f})"


@dataclass(frozen=True)
class BoxAnswer(OpenAnswer):
    """A box, in fractions of its image's width and height; the score is intersection over union."""

    longest: ClassVar[int] = 64
    left: float
    top: float
    right: float
    bottom: float
    image: int = 0

    def reply(self, extent: Extent) -> str:
        return _written((self.left, self.top, self.right, self.bottom), extent)

    def score(self, reply: str, extent: Extent) -> float | None:
        place = _read(reply, 4, extent)
        if place is None:
            return None
        return overlap((self.left, self.top, self.right, self.bottom), place)

    def __str__(self) -> str:
        return "box ({:.2f}, {:.2f}) to ({:.2f}, {:.2f})".format(*astuple(self)[:4])


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes: left, top, right, bottom."""
    wide = max(min(one[2], other[2]) - max(one[0], other[0]), 0.0)
    high = max(min(one[3], other[3]) - max(one[1], other[1]), 0.0)
    areas = [max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0) for box in (one, other)]
    return wide * high / union if (union := sum(areas) - wide * high) > 0 else 0.0


def right_of(
    points: Sequence[tuple[float, float]], right: int, size: tuple[int, int], image: int
) -> PointAnswer:
    """The right one of several different points, with a radius that no other point is within.

    As in the choice among them, a reply need only be clearly closer to the right point: its radius
    is three quarters of the distance to the nearest other, at most a quarter of the image.

    Args:
        points: (x, y) in pixels.
        right: the index of the right one.
        size: width and height of their image in pixels.
        image: the number of that image in the item.
    """
    places = [(x / size[0], y / size[1]) for x, y in points]
    x, y = places[right]
    nearest = min(math.dist((x, y), each) for n, each in enumerate(places) if n != right)
    return PointAnswer(x, y, min(0.25, 0.75 * nearest), image=image)


def letter_of_point(answer: int) -> TextAnswer:
    """`A` or `point A` where the answer is 0."""
    letter = string.ascii_uppercase[answer]
    return TextAnswer((letter, f"point {letter}"))


def as_fields(answer: OpenAnswer) -> dict[str, object]:
    """The answer as a line of a suite's folder has it (`suites.folder`)."""
    match answer:
        case NumberAnswer(value, exact):
            return {"number": value, "exact": exact}
        case TextAnswer(forms, measure):
            return {"text": list(forms), "measure": measure}
        case PointAnswer(x, y, radius, polygon, image):
            corners = [list(corner) for corner in polygon]
            return {"point": [x, y], "radius": radius, "polygon": corners, "image": image}
        case BoxAnswer(left, top, right, bottom, image):
            return {"box": [left, top, right, bottom], "image": image}
        case _:
            raise AssertionError(answer)


def _written(fractions: Sequence[float], extent: Extent) -> str:
    """Coordinates x, y, x, y as integers; without brackets, which small vocabularies lack."""
    numbers = [part * extent[place % 2] for place, part in enumerate(fractions)]
    return ", ".join(f"{round(number)}" for number in _ordered(numbers, extent))


def _read(reply: str, count: int, extent: Extent) -> list[float] | None:
    """The first `count` coordinates that stand together, as fractions; None without any.

    `[12, 30]`, `(12, 30)`, `{"point_2d": [12, 30]}`, `<point>12 30</point>`, and a reply of these
    numbers alone; two corners in two pairs of parentheses are a box.
    """
    text = answer_text(reply)
    groups = [_NUMBER.findall(inside) for inside in _GROUP.findall(text)]
    pairs = [[*one, *two] for one, two in itertools.pairwise(groups) if len(one) == 2]
    alone = _NUMBER.findall(text) if not groups else []
    found = next((one for one in (*groups, *pairs, alone) if len(one) == count), None)
    if found is None:
        return None
    numbers = _ordered([float(number) for number in found], extent)
    return [number / extent[place % 2] for place, number in enumerate(numbers)]


def _ordered(numbers: Sequence[float], extent: Extent) -> list[float]:
    """Pairs x, y in the base's order, or back."""
    return [numbers[place ^ extent.y_first] for place in range(len(numbers))]


def _inside(x: float, y: float, polygon: Sequence[tuple[float, float]]) -> bool:
    """Whether a ray to the right from (x, y) crosses the polygon's edges an odd number of times."""
    edges = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    return bool(
        sum(
            (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1)
            for (x1, y1), (x2, y2) in edges
        )
        % 2
    )


def _plain(text: str) -> str:
    """A text without case, punctuation and articles, small numbers as digits, as VQA compares."""
    # Between digits a comma or a period belongs to a number; elsewhere a hyphen parts words.
    text = re.sub(r"(?<=\d),(?=\d)", "", text.lower().replace("'", ""))
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "", text)
    kept = "".join(" " if _is_mark(letter) else letter for letter in text)
    words = kept.split() or [text.strip()]  # a reply may be a mark: + is not -
    # A last word is no article: "A" and "point A" name a point.
    words = [word for word in words[:-1] if word not in _ARTICLES] + words[-1:]
    return " ".join(str(_DIGITS.get(word, word)) for word in words)


def _is_mark(letter: str) -> bool:
    """Whether a character is punctuation of any script, or a symbol of ASCII; not a period."""
    return letter != "." and (
        letter in string.punctuation or unicodedata.category(letter).startswith("P")
    )


def _similarity(text: str, form: str) -> float:
    """1 less the Levenshtein distance by the longer text; 0 where that is below a half."""
    a, b = (" ".join(one.lower().split()) for one in (text, form))
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != other))
    similar = 1 - row[-1] / max(len(a), len(b), 1)
    return similar if similar > 0.5 else 0.0
