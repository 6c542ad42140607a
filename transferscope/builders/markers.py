"""Images at the benchmark's sizes, and markers in its style: circled points and lettered boxes.

A point is a hollow circle, its label white letters on a black rectangle above it, or below where
the image ends above. A box has a tab with its letter in its top left corner. Sizes are measured on
the benchmark's items. On an image 1024 pixels high: a circle of radius 10 with a line of 5, a gap
of twice the radius between circle and label, letters four fifths as high as the circle. Smaller
images get smaller markers, never under radius 5, where the label's center is 24 pixels above the
circle's. Unlike the benchmark's, no label is cut off by the border. Boxes on COCO's images have
lines of 2 pixels and tabs of 22 x 31.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations, islice, product
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from transferscope.builders.prompts import Wording
from transferscope.builders.record import Made, Unusable
from transferscope.tasks.open_answers import right_of
from transferscope.tasks.untrusted import MAX_PIXELS

Color = tuple[int, int, int]
RED, GREEN, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)

HEIGHT = 1024
"""Height to which the benchmark brought images before it drew points on them (not for depth)."""

PAD = 2
"""Pixels between a label's border and its letters."""

BOX_LINE = 2
"""Width of a box's edges, in pixels."""

TAB_LETTER = 10
"""The letters in a box's tab are those that go with a circle of this radius."""

TAB_PADS = (1, 5)
"""Pixels left and right of a tab's letter, and above and below it."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""
Point = tuple[float, float]
"""(x, y), in pixels from the center of the top left pixel."""
Points = Mapping[str, Point]
"""{label: point}"""


class Marker(NamedTuple):
    """Where a circled point and its label go."""

    circle: Box
    label: Box
    text: str


def radius_for(size: tuple[int, int]) -> int:
    """Radius, in pixels, of the circles on an image of (width, height)."""
    return max(5, round(10 * size[1] / 1024))


def place(points: Points, size: tuple[int, int]) -> list[Marker]:
    """Where the circles and labels of some points go on an image of (width, height)."""
    width, height = size
    radius = radius_for(size)
    outer = radius + _line(radius) // 2
    markers = []
    for text, point in points.items():
        x, y = (round(value) for value in point)
        left, top, right, bottom = _font(radius).getbbox(text)
        wide, high = right - left + 2 * PAD, bottom - top + 2 * PAD
        gap = 2 * radius
        upper = y - outer - gap - 1 - high
        upper = upper if upper >= 0 else y + outer + gap
        upper = min(max(upper, 0), max(height - 1 - high, 0))
        start = min(max(x - wide // 2, 0), max(width - 1 - wide, 0))
        circle = (x - outer, y - outer, x + outer, y + outer)
        markers.append(Marker(circle, (start, upper, start + wide, upper + high), text))
    return markers


def legible(points: Points, size: tuple[int, int]) -> bool:
    """Whether all circles are in the image and no marker hides a part of another."""
    markers = place(points, size)
    width, height = size
    inside = all(
        left >= 0 and top >= 0 and right <= width - 1 and bottom <= height - 1
        for left, top, right, bottom in (marker.circle for marker in markers)
    )
    return inside and not any(
        a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
        for one, other in combinations(markers, 2)
        for a, b in product(one[:2], other[:2])
    )


def lettered_points(
    right: Point,
    others: Sequence[Point],
    answer: int,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> dict[str, Point] | None:
    """Four points by letter, A to D, on an image of (width, height).

    The right one gets the letter at index `answer`, three of the others the rest, at random, but so
    that no marker hides another; None where no three of them go with it.
    """
    shuffled = [others[index] for index in rng.permutation(len(others))]
    apart = [other for other in shuffled if legible({"A": right, "B": other}, size)]
    for three in islice(combinations(apart, 3), 60):
        chosen = [*three[:answer], right, *three[answer:]]
        points = dict(zip("ABCD", chosen, strict=True))
        if legible(points, size):
            return points
    return None


def circled(image: Image.Image, points: Points, color: Color = RED) -> Image.Image:
    """A copy of an RGB image with circled, labeled points."""
    drawn = image.copy()
    draw = ImageDraw.Draw(drawn)
    radius = radius_for(image.size)
    markers = place(points, image.size)
    for marker in markers:
        draw.ellipse(marker.circle, outline=color, width=_line(radius))
    for marker in markers:  # after all circles: letters stay whole
        draw.rectangle(marker.label, fill=BLACK)
        left, top = marker.label[0] + PAD, marker.label[1] + PAD
        # Large letters are bold, as in the published examples.
        _write(draw, (left, top), marker.text, WHITE, radius, stroke=radius // 10)
    return drawn


def corresponding(
    wording: Wording,
    sources: tuple[Image.Image, Image.Image],
    views: tuple[Image.Image, Image.Image],
    marks: tuple[Points, Points],
    answer: int,
    origin: Mapping[str, object],
) -> Made:
    """An item with a reference point on one view and on another lettered points, of which the one
    at index `answer` is right."""
    images, points = tuple(map(circled, views, marks)), marks[1]
    lettered = {letter: rounded(at) for letter, at in points.items()}
    truth = right_of([*points.values()], answer, views[1].size, image=1)
    return Made(wording, images, sources, truth, {**origin, "points": lettered})


def rounded(point: Point) -> list[float]:
    """A point as an item's origin has it."""
    return [round(value, 1) for value in point]


def boxed(image: Image.Image, boxes: Mapping[str, Box]) -> Image.Image:
    """A copy of an RGB image with labeled boxes: the first red, the second green."""
    drawn = image.copy()
    draw = ImageDraw.Draw(drawn)
    colors = ((RED, WHITE), (GREEN, BLACK))
    # The first on top, as in the published example, and letters over all edges.
    styled = list(zip(boxes.items(), colors, strict=True))[::-1]
    for (_, box), (color, _) in styled:
        draw.rectangle(box, outline=color, width=BOX_LINE)
    for (text, box), (color, ink) in styled:
        left, top, right, bottom = _font(TAB_LETTER).getbbox(text)
        wide, high = right - left + 2 * TAB_PADS[0], bottom - top + 2 * TAB_PADS[1]
        x = min(max(box[0], 0), max(image.width - 1 - wide, 0))
        y = min(max(box[1], 0), max(image.height - 1 - high, 0))
        draw.rectangle((x, y, x + wide, y + high), fill=color)
        _write(draw, (x + TAB_PADS[0], y + TAB_PADS[1]), text, ink, TAB_LETTER)
    return drawn


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    ink: Color,
    radius: int,
    stroke: int = 0,
) -> None:
    """Write letters whose thin form has its upper left corner there."""
    left, top, _, _ = _font(radius).getbbox(text)
    start = round(corner[0]) - left, round(corner[1]) - top
    draw.text(start, text, fill=ink, font=_font(radius), stroke_width=stroke, anchor="la")


def _line(radius: int) -> int:
    """Width of the lines that go with a radius: 5 with 10."""
    return (radius + 1) // 2


@cache
def _font(radius: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, with capitals about four fifths as high as the circle is wide."""
    font = ImageFont.load_default(3 * radius)
    if not isinstance(font, ImageFont.FreeTypeFont):  # a Pillow built without FreeType
        raise RuntimeError("Pillow without FreeType cannot draw letters of a chosen size")
    return font


def to_height(image: Image.Image, height: int = HEIGHT) -> tuple[Image.Image, float]:
    """An image resized to a height, and the factor by which its coordinates grow.

    Raises:
        Unusable: it would have more than `MAX_PIXELS`.
    """
    factor = height / image.height
    width = max(1, round(image.width * factor))
    if width * height > MAX_PIXELS:
        raise Unusable(f"an image of more than {MAX_PIXELS:,} pixels", f"{width} x {height}")
    return image.resize((width, height), Image.Resampling.LANCZOS), factor


def resized(image: Image.Image, factor: float) -> Image.Image:
    """An image whose width and height are multiplied."""
    if factor == 1:
        return image
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def scaled(point: Sequence[float], factor: float) -> tuple[float, float]:
    """Where a point (x, y), from the center of the top left pixel, is on the resized image."""
    x, y = point
    return (x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5
