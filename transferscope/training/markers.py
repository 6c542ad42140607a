"""Markers in the benchmark's style: circled points with letters, and boxes with letters.

A point is a hollow circle, its label white letters on a black rectangle above it, or below where
the image ends above. A box has a tab with its letter in its top left corner. Sizes are measured
from the benchmark's published examples: on an image 1024 pixels high a circle of radius 10 with a
line of 5, letters as high as the circle; smaller images get smaller circles, never under radius 5.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
RED, GREEN, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""
Points = Mapping[str, tuple[float, float]]
"""Label to (x, y), in pixels from the centre of the top left pixel."""


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
        wide, high = right - left + 2 * _pad(radius), bottom - top + 2 * _pad(radius)
        upper = y - outer - 1 - high
        upper = upper if upper >= 0 else y + outer + 1
        upper = min(max(upper, 0), max(height - 1 - high, 0))
        start = min(max(x - wide // 2, 0), max(width - 1 - wide, 0))
        circle = (x - outer, y - outer, x + outer, y + outer)
        markers.append(Marker(circle, (start, upper, start + wide, upper + high), text))
    return markers


def legible(points: Points, size: tuple[int, int]) -> bool:
    """Whether all circles lie in the image and no marker hides a part of another."""
    markers = place(points, size)
    width, height = size
    for marker in markers:
        left, top, right, bottom = marker.circle
        if left < 0 or top < 0 or right > width - 1 or bottom > height - 1:
            return False
    return not any(
        _meet(one, other)
        for index, marker in enumerate(markers)
        for another in markers[index + 1 :]
        for one in marker[:2]
        for other in another[:2]
    )


def circled(image: Image.Image, points: Points, colour: Colour = RED) -> Image.Image:
    """A copy of an RGB image with circled, labelled points."""
    drawn = image.copy()
    draw = ImageDraw.Draw(drawn)
    radius = radius_for(image.size)
    for marker in place(points, image.size):
        draw.ellipse(marker.circle, outline=colour, width=_line(radius))
    for marker in place(points, image.size):  # after all circles: letters stay whole
        draw.rectangle(marker.label, fill=BLACK)
        _write(draw, marker.label, marker.text, WHITE, radius)
    return drawn


def boxed(image: Image.Image, boxes: Mapping[str, Box]) -> Image.Image:
    """A copy of an RGB image with labelled boxes: the first red, the second green."""
    drawn = image.copy()
    draw = ImageDraw.Draw(drawn)
    radius = radius_for(image.size)
    colours = ((RED, WHITE), (GREEN, BLACK))
    styled = list(zip(boxes.items(), colours, strict=True))
    for (_, box), (colour, _) in styled:
        draw.rectangle(box, outline=colour, width=_line(radius))
    for (text, box), (colour, ink) in styled:  # after both boxes: letters stay whole
        tab = _tab(box, text, image.size, radius)
        draw.rectangle(tab, fill=colour)
        _write(draw, tab, text, ink, radius)
    return drawn


def _tab(box: Box, text: str, size: tuple[int, int], radius: int) -> Box:
    """The tab in a box's top left corner, within the image."""
    left, top, right, bottom = _font(radius).getbbox(text)
    wide, high = right - left + 2 * _pad(radius), bottom - top + 2 * _pad(radius)
    x = min(max(box[0], 0), max(size[0] - 1 - wide, 0))
    y = min(max(box[1], 0), max(size[1] - 1 - high, 0))
    return x, y, x + wide, y + high


def _write(draw: ImageDraw.ImageDraw, box: Box, text: str, ink: Colour, radius: int) -> None:
    left, top, _, _ = _font(radius).getbbox(text)
    start = round(box[0]) + _pad(radius) - left, round(box[1]) + _pad(radius) - top
    draw.text(start, text, fill=ink, font=_font(radius))


def _line(radius: int) -> int:
    """Width of the lines that go with a radius: 5 with 10."""
    return (radius + 1) // 2


def _pad(radius: int) -> int:
    return max(1, radius // 5)


@cache
def _font(radius: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, with capitals about as high as the circle is wide."""
    font = ImageFont.load_default(3.4 * radius)
    if not isinstance(font, ImageFont.FreeTypeFont):  # a Pillow built without FreeType
        raise RuntimeError("Pillow without FreeType cannot draw letters of a chosen size")
    return font


def _meet(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
