"""Figures with named parts, drawn from polygons: five things of the world and eight tools."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from transferscope.suites.glimpse.canvas import SIZE, Point, Rgb, backdrop, develop, jitter, polygon
from transferscope.suites.glimpse.scene import COLORS, between, pick, span

KINDS = ("horse", "car", "fish", "bird", "chair")
TOOLS = {
    "hammer": "hit",
    "knife": "cut",
    "spoon": "scoop",
    "axe": "chop",
    "brush": "sweep",
    "pan": "fry",
    "shovel": "dig",
    "rake": "rake",
}
"""Each tool and what its edge is for."""
WOODS: tuple[Rgb, ...] = ((150, 95, 50), (60, 60, 70), (170, 140, 90), (120, 40, 40))
METALS: tuple[Rgb, ...] = ((190, 190, 200), (130, 140, 150), (210, 180, 90), (80, 120, 160))
DARK, YELLOW, PALE, WHITE = (25, 25, 25), (245, 180, 30), (255, 255, 180), (255, 255, 255)


Parts = dict[str, Point]


class Brush:
    """Notes what to draw, in a figure's own units, about 1 from its middle to its edge."""

    def __init__(self, scale: float, turn: float, flip: int) -> None:
        self.turn, self.flip = turn, flip
        self._cos, self._sin = math.cos(turn) * scale, math.sin(turn) * scale
        self._strokes: list[tuple[list[Point], Rgb]] = []

    def place(self, x: float, y: float) -> Point:
        """From the figure's own units to pixels."""
        x, c, s = x * self.flip, self._cos, self._sin
        return SIZE / 2 + c * x - s * y, SIZE / 2 + s * x + c * y

    def patch(self, points: Sequence[Point], color: Rgb) -> None:
        """A polygon."""
        self._strokes.append(([self.place(*p) for p in points], color))

    def bar(self, x0: float, y0: float, x1: float, y1: float, color: Rgb) -> None:
        """An upright rectangle."""
        self.patch([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)

    def oval(self, x: float, y: float, rx: float, ry: float, color: Rgb) -> None:
        """An upright ellipse, as a polygon of 14 sides."""
        turns = [i * math.pi / 7 for i in range(14)]
        self.patch([(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns], color)

    def figure(self, kind: str, parts: Parts) -> "PosedFigure":
        """What was noted, with its parts."""
        placed = {name: self.place(*place) for name, place in parts.items()}
        turn = round(math.degrees(self.turn))
        return PosedFigure(kind, placed, self._strokes, turn, self.flip < 0)


@dataclass(frozen=True)
class PosedFigure:
    """A posed figure, not drawn yet."""

    kind: str
    parts: Parts
    """Where its four parts are, in pixels."""
    strokes: list[tuple[list[Point], Rgb]]
    turn: int
    """Degrees, clockwise."""
    mirrored: bool

    def moved(self, dx: float, dy: float) -> "PosedFigure":
        """The figure in another place."""
        parts = {name: (x + dx, y + dy) for name, (x, y) in self.parts.items()}
        strokes = [([(x + dx, y + dy) for x, y in line], color) for line, color in self.strokes]
        return replace(self, parts=parts, strokes=strokes)

    def image(self, rng: random.Random) -> np.ndarray:
        """The figure on a backdrop, uint8."""
        canvas = backdrop(rng)
        for points, color in self.strokes:
            polygon(canvas, points, color)
        return develop(rng, canvas)


def creature(rng: random.Random, kind: str, difficulty: float, shrink: float = 1) -> PosedFigure:
    """One of `KINDS`, turned to either side and perhaps mirrored."""
    turn = math.radians(rng.uniform(-1, 1) * between(difficulty, 20, 90))
    scale = rng.uniform(*span(difficulty, (34, 42), (22, 30))) * shrink
    brush = Brush(scale, turn, rng.choice((1, -1)))
    body, limbs = (jitter(rng, COLORS[pick(rng, COLORS)], 30) for _ in range(2))
    return brush.figure(kind, CREATURES[kind](rng, brush, body, limbs))


def tool(rng: random.Random, kind: str, difficulty: float, shrink: float = 1) -> PosedFigure:
    """One of `TOOLS`, turned any way."""
    scale = rng.uniform(*span(difficulty, (34, 42), (22, 30))) * shrink
    turn = rng.uniform(0, 2 * math.pi)
    brush = Brush(scale, turn, rng.choice((1, -1)))
    wood, metal = jitter(rng, rng.choice(WOODS), 20), jitter(rng, rng.choice(METALS), 20)
    half, neck = rng.uniform(0.07, 0.1), rng.uniform(-0.3, -0.1)
    brush.bar(-half, neck, half, 1, wood)
    brush.oval(0, 0.97, half * 1.2, half * 1.2, wood)
    edge = _tool_head(brush, kind, neck, wood, metal)
    parts = {"end": (0, 0.95), "grip": (0, 0.5), "neck": (0, neck + 0.06), "edge": edge}
    return brush.figure(kind, parts)


def posed(make: Callable[[float], PosedFigure], part: str, place: Point) -> PosedFigure:
    """A figure with one part at a place, and all of whose parts are in the image.

    The place is never given up for a part's sake: poses are tried, ever smaller, until one fits. So
    the place is no cue to which part it is.
    """
    shrink = 1.0
    while True:
        figure = make(shrink)
        x, y = figure.parts[part]
        moved = figure.moved(place[0] - x, place[1] - y)
        if all(4 < v < SIZE - 4 for spot in moved.parts.values() for v in spot):
            return moved
        shrink *= 0.985


def _tool_head(brush: Brush, kind: str, neck: float, wood: Rgb, metal: Rgb) -> Point:
    """Draw what is on the handle; returns where it works."""
    n = neck
    match kind:
        case "hammer":
            brush.bar(-0.35, n - 0.32, 0.45, n, metal)
            return 0.38, n - 0.16
        case "axe":
            outline = [(-0.1, n - 0.35), (0.2, n - 0.35), (0.6, n - 0.5), (0.6, n + 0.25)]
            brush.patch([*outline, (0.2, n), (-0.1, n)], metal)
            return 0.5, n - 0.14
        case "knife":
            brush.patch([(-0.12, n), (0.12, n), (0.14, n - 0.5), (-0.1, n - 0.9)], metal)
            return 0, n - 0.5
        case "spoon":
            brush.oval(0, n - 0.33, 0.24, 0.36, metal)
            return 0, n - 0.4
        case "pan":
            brush.oval(0, n - 0.38, 0.42, 0.42, metal)
            return 0, n - 0.42
        case "brush":
            brush.patch([(-0.3, n), (0.3, n), (0.34, n - 0.2), (-0.34, n - 0.2)], wood)
            for x in (-0.27, -0.16, -0.05, 0.06, 0.17, 0.28):
                brush.bar(x - 0.03, n - 0.6, x + 0.03, n - 0.2, metal)
            return 0, n - 0.5
        case "shovel":
            blade = [(-0.28, n), (0.28, n), (0.28, n - 0.4), (0, n - 0.75), (-0.28, n - 0.4)]
            brush.patch(blade, metal)
            return 0, n - 0.5
        case _:  # rake
            brush.bar(-0.5, n - 0.1, 0.5, n, metal)
            for x in (-0.46, -0.23, 0, 0.23, 0.46):
                brush.bar(x - 0.04, n - 0.45, x + 0.04, n - 0.1, metal)
            return 0.1, n - 0.35


def _horse(rng: random.Random, brush: Brush, body: Rgb, limbs: Rgb) -> Parts:
    long, high, leg = rng.uniform(0.5, 0.7), rng.uniform(0.45, 0.65), 0.07
    brush.oval(0, 0, long, 0.28, body)
    for x in (-long * 0.75, -long * 0.45, long * 0.45, long * 0.75):
        brush.bar(x - leg, 0.1, x + leg, 0.1 + high, limbs)
    hx, hy, tx = long + 0.2, -rng.uniform(0.3, 0.5), -long - 0.25
    neck = [(long * 0.6, -0.1), (long * 0.9, 0.05), (hx + 0.05, hy), (hx - 0.15, hy)]
    brush.patch(neck, body)
    brush.oval(hx, hy, 0.2, 0.13, body)
    brush.patch([(-long * 0.9, -0.12), (-long * 0.8, 0.02), (tx, rng.uniform(0.1, 0.3))], limbs)
    foot = (long * 0.6, 0.1 + high * 0.8)
    return {"head": (hx, hy), "tail": (tx + 0.1, 0.06), "leg": foot, "back": (-0.05, -0.2)}


def _car(rng: random.Random, brush: Brush, body: Rgb, limbs: Rgb) -> Parts:
    long, top, wheel = rng.uniform(0.75, 0.95), rng.uniform(0.35, 0.5), rng.uniform(0.15, 0.2)
    hood = [(-long, -0.1), (long * 0.85, -0.1), (long, 0.05), (long, 0.3), (-long, 0.3)]
    brush.patch(hood, body)
    cabin = [(-long * 0.6, -0.1), (-long * 0.4, -top), (long * 0.25, -top), (long * 0.5, -0.1)]
    brush.patch(cabin, limbs)
    for x in (-long * 0.55, long * 0.55):
        brush.oval(x, 0.3, wheel, wheel, DARK)
    brush.oval(long * 0.95, 0.1, 0.07, 0.07, PALE)
    return {
        "wheel": (long * 0.55, 0.32),
        "roof": (-long * 0.05, -top + 0.05),
        "front": (long * 0.9, 0.1),
        "back": (-long * 0.93, 0.1),
    }


def _fish(rng: random.Random, brush: Brush, body: Rgb, limbs: Rgb) -> Parts:
    long, fin = rng.uniform(0.55, 0.7), rng.uniform(0.45, 0.6)
    brush.oval(0, 0, long, rng.uniform(0.25, 0.4), body)
    brush.patch([(-long * 0.8, 0), (-long - 0.3, -0.3), (-long - 0.3, 0.3)], limbs)
    brush.patch([(-0.2, -0.2), (0.15, -0.2), (-0.1, -fin)], limbs)
    brush.patch([(-0.05, 0.2), (0.2, 0.2), (0, 0.45)], limbs)
    brush.oval(long * 0.65, -0.06, 0.07, 0.07, WHITE)
    return {
        "head": (long * 0.72, 0),
        "tail": (-long - 0.2, 0),
        "fin": (-0.06, -fin + 0.12),
        "belly": (0.05, 0.36),
    }


def _bird(rng: random.Random, brush: Brush, body: Rgb, limbs: Rgb) -> Parts:
    long, wing = rng.uniform(0.4, 0.55), rng.uniform(0.5, 0.75)
    brush.oval(0, 0, long, 0.27, body)
    brush.oval(long + 0.1, -0.3, 0.17, 0.17, body)
    brush.patch([(long + 0.22, -0.36), (long + 0.22, -0.24), (long + 0.5, -0.28)], YELLOW)
    brush.patch([(-long * 0.4, 0), (long * 0.4, 0), (-0.2, -wing)], limbs)
    brush.patch([(-long * 0.7, 0.1), (-long * 0.7, -0.12), (-long - 0.4, -0.05)], limbs)
    brush.bar(-0.03, 0.2, 0.03, 0.6, YELLOW)
    return {
        "head": (long + 0.1, -0.3),
        "tail": (-long - 0.2, -0.04),
        "wing": (-0.13, -wing + 0.2),
        "leg": (0, 0.5),
    }


def _chair(rng: random.Random, brush: Brush, body: Rgb, limbs: Rgb) -> Parts:
    high, back, wide = rng.uniform(0.35, 0.5), rng.uniform(0.6, 0.85), rng.uniform(0.4, 0.5)
    brush.bar(-wide, 0, wide, 0.12, body)
    rest = [(-wide, 0), (-wide + 0.12, 0), (-wide + 0.02, -back), (-wide - 0.1, -back)]
    brush.patch(rest, limbs)
    for x in (-wide + 0.06, wide - 0.06):
        brush.bar(x - 0.05, 0.1, x + 0.05, 0.1 + high, limbs)
    low = 0.1 + high * 0.85
    return {
        "back": (-wide, -back * 0.85),
        "seat": (wide * 0.75, 0.05),
        "leg": (wide - 0.06, low),
        "foot": (-wide + 0.06, low),
    }


CREATURES: dict[str, Callable[[random.Random, Brush, Rgb, Rgb], Parts]] = {
    "horse": _horse,
    "car": _car,
    "fish": _fish,
    "bird": _bird,
    "chair": _chair,
}
