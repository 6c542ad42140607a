"""Draw small images with numpy alone, to the same bytes on every machine.

An image is a float32 array (112, 112, 3) on a scale of 0 to 255 while it is drawn, and uint8 once
it is developed. Shapes are filled with 2 x 2 samples a pixel. Only additions, products, comparisons
and square roots touch pixels, so that neither a processor nor a library version can move a value;
grain comes from a bank of bytes, not from a library's normal distribution.
"""

import math
import random
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

SIZE = 112
"""Width and height in pixels: 4 x 4 of the tokens that the vision tower makes."""

Rgb = tuple[int, int, int]
Point = tuple[float, float]

MARKS: dict[str, Rgb] = {
    "A": (230, 20, 20),
    "B": (20, 60, 235),
    "C": (10, 130, 40),
    "D": (190, 0, 190),
    "R": (0, 0, 0),
}
"""Marker letters and their colors; R is the reference point."""

GLYPHS = {
    "A": ("01110", "10001", "10001", "11111", "10001", "10001", "10001"),
    "B": ("11110", "10001", "10001", "11110", "10001", "10001", "11110"),
    "C": ("01111", "10000", "10000", "10000", "10000", "10000", "01111"),
    "D": ("11110", "10001", "10001", "10001", "10001", "10001", "11110"),
    "R": ("11111", "10001", "10001", "11111", "10100", "10010", "10001"),
}
TAG_WIDTH, TAG_HEIGHT = 12, 14
EDGES: tuple[Rgb, Rgb, Rgb, Rgb] = ((40, 60, 220), (230, 210, 40), (220, 40, 40), (40, 180, 60))
"""Colors of the frame: top, bottom, left, right. They show a small model the place of a patch."""
PLANES = 64


def plain(low: Rgb) -> np.ndarray:
    """An image of one color."""
    return np.full((SIZE, SIZE, 3), low, np.float32)


def backdrop(rng: random.Random, low: int = 50, high: int = 130, tint: int = 18) -> np.ndarray:
    """A soft gradient between four colored corners."""
    rows = [rng.randint(low, high) for _ in range(4)]
    corners = np.array(
        [[clamp(v + rng.randint(-tint, tint)) for _ in range(3)] for v in rows], np.float32
    )
    top = corners[0] + _ramp()[:, None] * (corners[1] - corners[0])
    bottom = corners[2] + _ramp()[:, None] * (corners[3] - corners[2])
    return top[None] + _ramp()[:, None, None] * (bottom - top)[None]


def polygon(canvas: np.ndarray, points: Sequence[Point], color: Sequence[float]) -> None:
    """Fill a polygon (even-odd rule), in place."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    box = _box(min(xs), min(ys), max(xs), max(ys))
    column, row = _samples(box[0], box[2]), _samples(box[1], box[3])
    inside = np.zeros((len(row), len(column)), bool)
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        if ay == by:
            continue
        first, last = np.searchsorted(row, (min(ay, by), max(ay, by)))
        crossing = ax + (row[first:last] - ay) * ((bx - ax) / (by - ay))
        inside[first:last] ^= column < crossing[:, None]
    _blend(canvas, box, inside, color)


def ellipse(
    canvas: np.ndarray,
    center: Point,
    radii: tuple[float, float],
    color: Sequence[float],
    hole: float = 0,
) -> None:
    """Fill an upright ellipse, or a ring where `hole` is the inner part of the radius; in place."""
    (x, y), (rx, ry) = center, radii
    box = _box(x - rx, y - ry, x + rx, y + ry)
    x0, y0, x1, y1 = box
    distance = ((_samples(x0, x1) - x) / rx) ** 2 + (((_samples(y0, y1) - y) / ry) ** 2)[:, None]
    inside = distance <= 1
    if hole:
        inside &= distance > hole * hole
    _blend(canvas, box, inside, color)


def sphere(canvas: np.ndarray, center: Point, radius: float, light: int, color: Rgb) -> None:
    """A lit ball, in place; `light` is one of eight directions."""
    (x, y), angle = center, light * math.pi / 4
    box = _box(x - radius, y - radius, x + radius, y + radius)
    x0, y0, x1, y1 = box
    u = ((np.arange(x0, x1, dtype=np.float32) + 0.5 - x) / radius).astype(np.float32)
    v = ((np.arange(y0, y1, dtype=np.float32) + 0.5 - y) / radius).astype(np.float32)[:, None]
    height = 1 - u * u - v * v
    lit = u * np.float32(math.cos(angle) * 0.75) + v * np.float32(math.sin(angle) * 0.75)
    lit = np.clip(lit + np.sqrt(np.clip(height, 0, 1)) * np.float32(0.6), 0, 1)
    shade = (np.float32(0.2) + np.float32(0.8) * lit)[..., None] * np.array(color, np.float32)
    region = canvas[y0:y1, x0:x1]
    canvas[y0:y1, x0:x1] = np.where((height > 0)[..., None], shade, region)


def grain(rng: random.Random) -> np.ndarray:
    """One plane of noise of unit variance, (112, 112, 1) float32."""
    return _bank()[rng.randrange(PLANES)]


def develop(rng: random.Random, canvas: np.ndarray, noise: float = 4) -> np.ndarray:
    """The image with grain, as uint8."""
    if noise:
        canvas = canvas + grain(rng) * np.float32(noise)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def blur(canvas: np.ndarray, width: int) -> np.ndarray:
    """Three box filters of an odd width, close to a Gaussian of sigma `width / 2`; float32."""
    whole = np.clip(canvas, 0, 255).astype(np.int32)
    half = width // 2
    for axis in (0, 1, 0, 1, 0, 1):
        padding = [(half, half) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(whole, padding, mode="edge")
        total = np.zeros_like(whole)
        for k in range(width):
            total += padded[k : k + SIZE] if axis == 0 else padded[:, k : k + SIZE]
        whole = (total + width // 2) // width  # rounded, exact in integers
    return whole.astype(np.float32)


def relight(rng: random.Random, image: np.ndarray, low: int = 92, high: int = 128) -> np.ndarray:
    """Shift each channel of a uint8 image to a fresh random mean: a mean that is no cue."""
    target = np.array([rng.randint(low, high) for _ in range(3)], np.float32)
    shifted = image.astype(np.float32)
    one = np.ones(SIZE * SIZE, np.float32)
    for _ in range(2):  # clipping moves the mean a little, so the shift is done twice
        mean = (one @ shifted.reshape(-1, 3)) / np.float32(SIZE * SIZE)  # sums below 2**24: exact
        shifted = np.clip(shifted + np.round(target - mean), 0, 255)
    return shifted.astype(np.uint8)


def mark(image: np.ndarray, points: Iterable[tuple[float, float, str]]) -> None:
    """Ring each point (x, y, letter) and put a tag beside it, clear of the others; in place."""
    listed = [(round(x), round(y), letter) for x, y, letter in points]
    for x, y, letter in listed:
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                away = dx * dx + dy * dy
                if 3 < away <= 10 and 0 <= x + dx < SIZE and 0 <= y + dy < SIZE:
                    image[y + dy, x + dx] = (255, 255, 255) if away <= 5 else MARKS[letter]
    taken: list[tuple[int, int]] = []
    for x, y, letter in listed:
        others = [(a, b) for a, b, other in listed if other != letter]
        taken.append(_tag_place(x, y, others, taken))
        _tag(image, *taken[-1], letter)


def box(image: np.ndarray, corners: Sequence[float], letter: str) -> None:
    """Outline a box (x0, y0, x1, y1), with its tag above (A) or below (B); in place."""
    x0, y0, x1, y1 = (min(SIZE - 1, max(0, round(v))) for v in corners)
    color = MARKS[letter]
    for k in range(3):
        image[min(y0 + k, SIZE - 1), x0 : x1 + 1] = color
        image[max(y1 - k, 0), x0 : x1 + 1] = color
        image[y0 : y1 + 1, min(x0 + k, SIZE - 1)] = color
        image[y0 : y1 + 1, max(x1 - k, 0)] = color
    if letter == "A":
        _tag(image, x0, y0 - TAG_HEIGHT, letter)
    else:
        _tag(image, x1 - TAG_WIDTH + 1, y1 + 1, letter)


def frame(image: np.ndarray) -> np.ndarray:
    """A copy with the colored frame of two pixels that every image of the suite has."""
    framed = image.copy()
    top, bottom, left, right = EDGES
    framed[:2], framed[-2:] = top, bottom
    framed[2:-2, :2], framed[2:-2, -2:] = left, right
    return framed


def clamp(value: float) -> int:
    """To a whole number from 0 to 255."""
    return max(0, min(255, int(value)))


def jitter(rng: random.Random, color: Rgb, by: int = 16) -> Rgb:
    """The color, each channel moved by up to `by`."""
    red, green, blue = (clamp(v + rng.randint(-by, by)) for v in color)
    return red, green, blue


@cache
def _ramp() -> np.ndarray:
    """0 in the first quarter, 1 in the last, even between."""
    steps = (2 * np.arange(SIZE) + 1 - SIZE // 2) / SIZE
    return np.clip(steps, 0, 1).astype(np.float32)


@cache
def _bank() -> np.ndarray:
    """Noise planes: sums of four random bytes, which are nearly normal and the same everywhere."""
    count = PLANES * SIZE * SIZE
    raw = np.frombuffer(random.Random("glimpse/grain").randbytes(4 * count), np.uint8)
    total = raw.reshape(4, count).sum(0, dtype=np.int32) - 510
    spread = np.float32(147.8)  # standard deviation of a sum of four bytes
    return (total.astype(np.float32) / spread).reshape(PLANES, SIZE, SIZE, 1)


def _samples(first: int, last: int) -> np.ndarray:
    """Two sample positions in each pixel from `first` to `last`."""
    return np.arange(2 * first, 2 * last) * 0.5 + 0.25


def _box(x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
    """Whole pixels that a region touches within the image; as wide or high as 0 outside of it."""
    left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
    right, bottom = min(SIZE, math.ceil(x1) + 1), min(SIZE, math.ceil(y1) + 1)
    return left, top, max(left, right), max(top, bottom)


def _blend(
    canvas: np.ndarray, box: tuple[int, int, int, int], inside: np.ndarray, color: Sequence[float]
) -> None:
    x0, y0, x1, y1 = box
    quarter = inside[0::2, 0::2].astype(np.float32)
    for part in (inside[1::2, 0::2], inside[0::2, 1::2], inside[1::2, 1::2]):
        quarter += part
    region = canvas[y0:y1, x0:x1]
    region += (np.array(color, np.float32) - region) * (quarter * np.float32(0.25))[..., None]


def _tag_place(
    x: int, y: int, others: list[tuple[int, int]], taken: list[tuple[int, int]]
) -> tuple[int, int]:
    """Of the four corners around a point, the one that covers least of the other marks."""
    best = (math.inf, 0, 0)
    for left in (x + 4, x - TAG_WIDTH - 3):
        for top in (y - TAG_HEIGHT, y + 3):
            cx = max(2, min(SIZE - TAG_WIDTH - 2, left))
            cy = max(2, min(SIZE - TAG_HEIGHT - 2, top))
            cost = 3 * (abs(cx - left) + abs(cy - top))
            cost += 20 * (cx < x < cx + TAG_WIDTH and cy < y < cy + TAG_HEIGHT)
            for a, b in taken:
                wide = max(0, min(cx, a) + TAG_WIDTH - max(cx, a))
                cost += wide * max(0, min(cy, b) + TAG_HEIGHT - max(cy, b))
            for a, b in others:
                near = cx - 3 < a < cx + TAG_WIDTH + 3 and cy - 3 < b < cy + TAG_HEIGHT + 3
                cost += 8 * near
            best = min(best, (cost, cx, cy))
    return best[1], best[2]


def _tag(image: np.ndarray, x: int, y: int, letter: str) -> None:
    x, y = max(0, min(SIZE - TAG_WIDTH, x)), max(0, min(SIZE - TAG_HEIGHT, y))
    tag = image[y : y + TAG_HEIGHT, x : x + TAG_WIDTH]
    tag[:] = 255
    tag[1:-1, 1:-1] = MARKS[letter]
    tag[3:10, 3:8][[[bit == "1" for bit in row] for row in GLYPHS[letter]]] = 255
