"""Worlds with a floor and a horizon: relative depth, multi-view reasoning."""

import math
import random
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from transferscope.suites.glimpse.canvas import (
    SIZE,
    Rgb,
    clamp,
    develop,
    ellipse,
    jitter,
    mark,
    plain,
)
from transferscope.suites.glimpse.scene import COLORS, Thing, World, pick, retry, span
from transferscope.tasks.open_answers import letter_of_point

SKIES: tuple[Rgb, ...] = ((150, 180, 220), (200, 190, 180), (120, 130, 150))


def depth(rng: random.Random, difficulty: float) -> World:
    """Which of two marked things is closer: size, haze and the shadow on the floor show it.

    Both may float, and both places are drawn before it is decided which is the closer one, so that
    height in the image is no cue.
    """
    answer = rng.randrange(2)
    ratio = span(difficulty, (1.25, 4.4), (1.08, 1.6))

    def attempt() -> World | None:
        floor = (rng.randint(60, 120), rng.randint(60, 120), rng.randint(60, 120))
        room = Room(rng.uniform(30, 55), jitter(rng, rng.choice(SKIES), 15), floor)
        near = math.exp(rng.uniform(math.log(1.6), math.log(5.6)))
        far = near * math.exp(rng.uniform(*(math.log(r) for r in ratio)))
        if far > 7:
            return None
        marked = [_stand(rng, room, z) for z in ((near, far) if answer == 0 else (far, near))]
        lowest = room.ground(far) - max(s.thing.radius for s in marked)
        places = [(rng.uniform(12, SIZE - 12), rng.uniform(10, lowest)) for _ in range(2)]
        apart = max(s.thing.radius for s in marked) + 6
        if math.dist(*places) < apart or any(abs(x - 56) > room.reach(far) for x, _ in places):
            return None
        pairs = zip(marked, places, strict=True)
        marked = [Stand(s.z, replace(s.thing, x=x, y=y)) for s, (x, y) in pairs]
        others = [_stand(rng, room) for _ in range(rng.randint(1, 3))]
        clear = [s for s in others if all(s.covers_none_of(m) for m in marked)]
        stands = [*marked, *clear]
        image = develop(rng, _seen(room, stands))
        mark(image, [(s.thing.x, s.thing.y, x) for x, s in zip("AB", marked, strict=True)])
        seen = [s for s in stands if 4 < s.thing.x < SIZE - 4 and 4 < s.thing.y < SIZE - 4]
        return World(
            images=[image],
            question="Two points are circled on the image, labeled by A and B. Which point is "
            "closer to the camera?",
            choices=("A is closer", "B is closer"),
            answer=answer,
            scene={"distances": [round(s.z, 2) for s in marked]},
            known={"stands": seen, "marked": marked},
            truth=letter_of_point(answer),
        )

    return retry(attempt)


class Room(NamedTuple):
    """A floor under a sky."""

    horizon: float
    sky: Rgb
    floor: Rgb

    def ground(self, z: float) -> float:
        """Row of the floor at a distance."""
        return self.horizon + 75 / z

    def reach(self, z: float) -> float:
        """The largest offset from the middle column of things at a distance, in pixels."""
        return 44 * (1.2 - 0.3 / z)


class Stand(NamedTuple):
    """A thing at a distance, on or above its shadow."""

    z: float
    thing: Thing

    def covers_none_of(self, other: "Stand") -> bool:
        """Whether both can be seen whole."""
        a, b = self.thing, other.thing
        return math.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius + 2


def _stand(rng: random.Random, room: Room, z: float | None = None) -> Stand:
    """Something on or above the floor."""
    z = math.exp(rng.uniform(math.log(1.6), math.log(7))) if z is None else z
    scale = 62 / z
    radius = min(24, rng.uniform(0.28, 0.5) * scale)
    lift = rng.uniform(0.3, 1.0) * scale if rng.random() < 0.5 else 0
    x, y = 56 + rng.uniform(-1, 1) * room.reach(z), room.ground(z) - radius - lift
    color, haze = pick(rng, COLORS), min(0.75, z / 7 * 0.75)
    lit = jitter(rng, COLORS[color])
    red, green, blue = (
        clamp(v * (1 - haze) + s * haze) for v, s in zip(lit, room.sky, strict=True)
    )
    kinds = ("circle", "square", "diamond", "star", "triangle", "cross")
    turn = rng.uniform(-0.3, 0.3)
    return Stand(z, Thing(x, y, radius, turn, color, rng.choice(kinds), (red, green, blue)))


def _seen(room: Room, stands: list[Stand]) -> np.ndarray:
    """The room, whose floor fades into the sky, and the things in it, the farthest drawn first."""
    canvas = plain(room.sky)
    start = int(room.horizon)
    rows = np.arange(start, SIZE, dtype=np.float32) - np.float32(round(room.horizon, 2))
    fade = np.clip(rows * np.float32(1.5 / (SIZE - room.horizon)), 0, 1)[:, None]
    above, below = np.array(room.sky, np.float32), np.array(room.floor, np.float32)
    near = fade * np.float32(0.8) + np.float32(0.2)
    canvas[start:] = (above * ((1 - fade) * np.float32(0.8)) + below * near)[:, None]
    shadow = [clamp(v * 0.45) for v in room.floor]
    for z, thing in sorted(stands, key=lambda s: -s.z):
        wide = thing.radius * 0.9
        ellipse(canvas, (thing.x, room.ground(z)), (wide, max(1.0, wide * 0.25)), shadow)
        thing.draw(canvas)
    return canvas


def multiview(rng: random.Random, difficulty: float) -> World:
    """Whether the camera moves left or right around things that stand on a floor."""
    right = rng.random() < 0.5
    choices = tuple(rng.sample(("left", "right"), 2))
    posts = _posts(rng)
    start = rng.uniform(0, 2 * math.pi)
    orbit = rng.uniform(*span(difficulty, (18, 42), (5, 14)))
    turns = (start, start + math.radians(-orbit if right else orbit))
    floor = (rng.randint(60, 120), rng.randint(60, 120), rng.randint(60, 120))
    sky = (rng.randint(120, 200), rng.randint(120, 200), rng.randint(120, 200))
    horizon = rng.uniform(22, 34)
    views = [_view(rng, posts, turn, horizon, floor, sky) for turn in turns]
    return World(
        images=[image for image, _ in views],
        question="The images are frames from a video of a static scene. Is the camera moving left "
        "or right around the objects?",
        lead="Select from the following options.",
        choices=choices,
        answer=choices.index("right" if right else "left"),
        scene={"objects": [post.name for post in posts], "degrees": round(orbit, 1)},
        known={"posts": posts, "views": [stands for _, stands in views]},
    )


def _posts(rng: random.Random) -> list[Thing]:
    """Three or four things of different colors that stand apart, in units of the room's radius."""
    posts: list[Thing] = []
    for color in rng.sample(list(COLORS), rng.randint(3, 4)):
        x = y = 0.0
        for _ in range(30):
            reach, turn = math.sqrt(rng.uniform(0.25, 1)), rng.uniform(0, 2 * math.pi)
            x, y = reach * math.cos(turn), reach * math.sin(turn)
            if all(math.hypot(x - p.x, y - p.y) > 0.4 for p in posts):
                break
        kind = rng.choice(("circle", "square", "diamond", "triangle"))
        posts.append(Thing(x, y, rng.uniform(0.2, 0.29), 0, color, kind, COLORS[color]))
    return posts


def _view(
    rng: random.Random, posts: list[Thing], turn: float, horizon: float, floor: Rgb, sky: Rgb
) -> tuple[np.ndarray, list[Stand]]:
    """The image, and where the posts are in it."""
    canvas = plain(sky)
    canvas[round(horizon) :] = floor
    shadow = [clamp(v * 0.5) for v in floor]
    c, s = math.cos(turn), math.sin(turn)
    around = [(2.6 + p.x * s + p.y * c, p.x * c - p.y * s, p) for p in posts]
    stands = []
    for z, across, post in sorted(around, key=lambda p: -p[0]):
        radius, x, ground = post.radius * 95 / z, 56 + across * 95 / z, horizon + 115 / z
        lit = jitter(rng, post.rgb, 6)
        thing = replace(post, x=x, y=ground - radius * 0.9, radius=radius, rgb=lit)
        ellipse(canvas, (x, ground), (radius * 0.9, radius * 0.25), shadow)
        thing.draw(canvas)
        stands.append(Stand(z, thing))
    return develop(rng, canvas), stands
