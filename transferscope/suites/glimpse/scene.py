"""What a scene is made of: colored shapes with places and names.

A `World` is one drawn scene: its images, the task's question, its parameters, and what else its
maker knows, of which `tools/glimpse_bases` makes labels and questions to pretrain the bases on.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from transferscope.suites.glimpse.canvas import (
    SIZE,
    Point,
    Rgb,
    backdrop,
    develop,
    ellipse,
    jitter,
    polygon,
)
from transferscope.tasks.open_answers import OpenAnswer

COLORS: dict[str, Rgb] = {
    "red": (215, 40, 40),
    "green": (45, 165, 60),
    "blue": (50, 80, 215),
    "yellow": (235, 215, 50),
    "purple": (140, 50, 170),
    "orange": (240, 135, 25),
    "cyan": (60, 200, 210),
    "white": (238, 238, 238),
}
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "bar")
ORDINALS = ("first", "second", "third", "fourth")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
YES_NO = ("yes", "no")


_A = 0.3
OUTLINES: dict[str, list[Point]] = {
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "triangle": [(0, -1), (0.9, 0.7), (-0.9, 0.7)],
    "diamond": [(0, -1), (0.6, 0), (0, 1), (-0.6, 0)],
    "bar": [(-1, -0.33), (1, -0.33), (1, 0.33), (-1, 0.33)],
    "star": [
        (reach * math.sin(turn), -reach * math.cos(turn))
        for reach, turn in ((0.42 if i % 2 else 1, i * math.pi / 5) for i in range(10))
    ],
    "cross": [
        *[(-_A, -1), (_A, -1), (_A, -_A), (1, -_A), (1, _A), (_A, _A)],
        *[(_A, 1), (-_A, 1), (-_A, _A), (-1, _A), (-1, -_A), (-_A, -_A)],
    ],
}
"""Polygons of radius 1; circle and ring are ellipses."""


@dataclass(frozen=True)
class Thing:
    """One colored shape; lengths in pixels, y downwards, turn in radians."""

    x: float
    y: float
    radius: float
    turn: float
    color: str
    shape: str
    rgb: Rgb

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"

    def draw(self, canvas: np.ndarray) -> None:
        """Onto the image, in place."""
        x, y, radius = self.x, self.y, self.radius
        if self.shape in ("circle", "ring"):
            hole = 0.62 if self.shape == "ring" else 0
            ellipse(canvas, (x, y), (radius, radius), self.rgb, hole)
        else:
            c, s = math.cos(self.turn) * radius, math.sin(self.turn) * radius
            corners = [(x + c * u - s * v, y + s * u + c * v) for u, v in OUTLINES[self.shape]]
            polygon(canvas, corners, self.rgb)

    def facts(self) -> dict[str, object]:
        """For an item's origin."""
        place = {"x": round(self.x, 1), "y": round(self.y, 1), "radius": round(self.radius, 1)}
        return {"name": self.name, **place}


@dataclass
class World:
    """One drawn scene with everything its maker knows about it."""

    images: list[np.ndarray]
    """uint8 (112, 112, 3) each, not yet framed."""

    question: str
    choices: tuple[str, ...]
    answer: int
    scene: dict[str, object]
    """The parameters that say why the item is easy or hard."""

    known: dict[str, Any]
    """What is where, by names that `tools/glimpse_bases` shares; `things` holds those of each
    image."""

    lead: str = "Select from the following choices."

    open_question: str = ""
    """The question of the task's open form; empty where that is the question itself."""
    truth: OpenAnswer | None = None
    """The answer to that; None where the task has no open form."""


def between(difficulty: float, easy: float, hard: float) -> float:
    """The value of a knob: `easy` at difficulty 0, `hard` at 1."""
    return easy + (hard - easy) * difficulty


def span(
    difficulty: float, easy: tuple[float, float], hard: tuple[float, float]
) -> tuple[float, float]:
    """The ends of a range that moves with the difficulty."""
    return between(difficulty, easy[0], hard[0]), between(difficulty, easy[1], hard[1])


def count(rng: random.Random, ends: tuple[float, float]) -> int:
    """A random whole number between two numbers, rounded."""
    return rng.randint(round(ends[0]), round(ends[1]))


def scatter(
    rng: random.Random,
    count: int,
    radii: tuple[float, float],
    looks: Sequence[tuple[str, str]] = (),
    gap: float = 2,
) -> list[Thing]:
    """Up to `count` things that keep apart by `gap` pixels; fewer where the image is full.

    The first have the (color, shape) of `looks`, the others random ones. A negative gap lets
    outlines overlap.
    """
    things: list[Thing] = []
    for index in range(count):
        for attempt in range(40):
            radius = rng.uniform(*radii) * (1 if attempt < 20 else 0.8)
            x, y = (rng.uniform(radius + 2, SIZE - radius - 2) for _ in range(2))
            if all(math.hypot(x - t.x, y - t.y) > radius + t.radius + gap for t in things):
                given = index < len(looks)
                color, kind = looks[index] if given else (pick(rng, COLORS), pick(rng, SHAPES))
                rgb = jitter(rng, COLORS[color])
                things.append(Thing(x, y, radius, rng.uniform(-0.5, 0.5), color, kind, rgb))
                break
    return things


def paint(
    rng: random.Random, things: Iterable[Thing], ground: np.ndarray | None = None, noise: float = 4
) -> np.ndarray:
    """The things on a backdrop, developed."""
    canvas = backdrop(rng) if ground is None else ground.copy()
    for thing in things:
        thing.draw(canvas)
    return develop(rng, canvas, noise)


def edited(rng: random.Random, things: Sequence[Thing], changes: int) -> list[Thing]:
    """A slightly moved copy in which that many things differ in color, shape or place."""
    copy = []
    for t in things:
        x, y = (min(SIZE - 14, max(14, v + rng.uniform(-4, 4))) for v in (t.x, t.y))
        copy.append(replace(t, x=x, y=y, turn=t.turn + rng.uniform(-0.3, 0.3)))
    for index in rng.sample(range(len(copy)), min(changes, len(copy))):
        old, kind = copy[index], rng.choice(("color", "color", "shape", "shape", "place"))
        if kind == "color":
            color = pick(rng, [c for c in COLORS if c != old.color])
            copy[index] = replace(old, color=color, rgb=jitter(rng, COLORS[color]))
        elif kind == "shape":
            copy[index] = replace(old, shape=pick(rng, [s for s in SHAPES if s != old.shape]))
        else:
            for _ in range(20):
                x, y = rng.uniform(16, SIZE - 16), rng.uniform(16, SIZE - 16)
                copy[index] = replace(old, x=x, y=y)
                if math.hypot(x - old.x, y - old.y) > 34:
                    break
    return copy


def unique(things: Sequence[Thing], by: str = "name") -> list[Thing]:
    """The things that no other shares an attribute with."""
    values = [getattr(t, by) for t in things]
    return [t for t, value in zip(things, values, strict=True) if values.count(value) == 1]


def relation(dx: float, dy: float) -> str:
    """The direction of an offset, `dx` to the right and `dy` down: along the larger of the two."""
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def pick(rng: random.Random, options: Iterable[str]) -> str:
    """One of the options."""
    return rng.choice(list(options))


def retry(attempt: Callable[[], World | None]) -> World:
    """The first world that meets its maker's conditions."""
    for _ in range(4000):
        if world := attempt():
            return world
    raise AssertionError("no scene met its conditions in 4000 tries")
