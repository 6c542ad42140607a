"""Worlds with a floor and a horizon: relative depth, multi-view reasoning."""

import math
import random
from dataclasses import dataclass, replace
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
from transferscope.suites.glimpse.questions import point_questions
from transferscope.suites.glimpse.scene import (
    COLORS,
    ORDINALS,
    SHAPES,
    Ask,
    Label,
    Thing,
    World,
    band,
    between,
    pick,
    point_labels,
    retry,
    shape,
    span_between,
    thing_labels,
    unique,
)

BANDS = ("near", "middle", "far")
SKIES: tuple[Rgb, ...] = ((150, 180, 220), (200, 190, 180), (120, 130, 150))
NEAR, FAR = 2.6, 4.3
"""Distances where near ends and far begins, in units of the room of `depth`."""


def depth(rng: random.Random, difficulty: float) -> World:
    """Which of two marked things is closer: size, haze and the shadow on the floor tell.

    Both may float, and both places are drawn before it is decided which is the closer one, so that
    height in the image is no cue.
    """
    answer = rng.randrange(2)
    ratio = (between(difficulty, 1.25, 1.08), between(difficulty, 4.4, 1.6))

    def attempt() -> World | None:
        room = Room.draw(rng)
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
        marked = [stood.at(*place) for stood, place in zip(marked, places, strict=True)]
        others = [_stand(rng, room) for _ in range(rng.randint(1, 3))]
        clear = [s for s in others if all(_apart(s.thing, m.thing) for m in marked)]
        stands = [*marked, *clear]
        image = develop(rng, _seen(room, stands))
        points = {x: (s.thing.x, s.thing.y) for x, s in zip("AB", marked, strict=True)}
        mark(image, [(x, y, letter) for letter, (x, y) in points.items()])
        seen = [s for s in stands if 4 < s.thing.x < SIZE - 4 and 4 < s.thing.y < SIZE - 4]
        labels = thing_labels([s.thing for s in seen]) + point_labels(points)
        labels += [Label((s.thing.x, s.thing.y), band(s.z, NEAR, FAR)) for s in seen]
        return World(
            images=[image],
            question="Two points are circled on the image, labeled by A and B. Which point is "
            "closer to the camera?",
            choices=("A is closer", "B is closer"),
            answer=answer,
            scene={"distances": [round(s.z, 2) for s in marked]},
            labels=[labels],
            asides=_depth_questions(rng, seen, marked),
        )

    return retry(attempt, 4000)


@dataclass(frozen=True)
class Room:
    """A floor under a sky."""

    horizon: float
    sky: Rgb
    floor: Rgb

    @classmethod
    def draw(cls, rng: random.Random) -> "Room":
        """A room at random."""
        floor = (rng.randint(60, 120), rng.randint(60, 120), rng.randint(60, 120))
        return cls(rng.uniform(30, 55), jitter(rng, rng.choice(SKIES), 15), floor)

    def ground(self, z: float) -> float:
        """Row of the floor at a distance."""
        return self.horizon + 75 / z

    def reach(self, z: float) -> float:
        """How far from the middle column things at a distance lie, in pixels."""
        return 44 * (1.2 - 0.3 / z)


class Stand(NamedTuple):
    """A thing at a distance, on or above its shadow."""

    z: float
    thing: Thing

    def at(self, x: float, y: float) -> "Stand":
        """The same in another place of the image."""
        return Stand(self.z, replace(self.thing, x=x, y=y))


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


def _apart(a: Thing, b: Thing) -> bool:
    """Whether two things do not cover each other."""
    return math.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius + 2


def _seen(room: Room, stands: list[Stand]) -> np.ndarray:
    """The room with everything in it, the farthest drawn first."""
    canvas = _room(room.horizon, room.sky, room.floor)
    shadow = [clamp(v * 0.45) for v in room.floor]
    for z, thing in sorted(stands, key=lambda s: -s.z):
        wide = thing.radius * 0.9
        ellipse(canvas, (thing.x, room.ground(z)), (wide, max(1.0, wide * 0.25)), shadow)
        thing.draw(canvas)
    return canvas


def _room(horizon: float, sky: Rgb, floor: Rgb) -> np.ndarray:
    """A plain sky over a floor that fades into it."""
    canvas = plain(sky)
    start = int(horizon)
    rows = np.arange(start, SIZE, dtype=np.float32) - np.float32(round(horizon, 2))
    fade = np.clip(rows * np.float32(1.5 / (SIZE - horizon)), 0, 1)[:, None]
    above, below = np.array(sky, np.float32), np.array(floor, np.float32)
    mixed = above * ((1 - fade) * np.float32(0.8)) + below * (
        fade * np.float32(0.8) + np.float32(0.2)
    )
    canvas[start:] = mixed[:, None]
    return canvas


def _depth_questions(
    rng: random.Random, things: list[Stand], marked: list[Stand]
) -> list[list[Ask]]:
    asks: list[list[Ask]] = []
    alone = unique([t for _, t in things], "color")
    known = [(z, t) for z, t in things if t in alone]
    for _ in range(2):
        if len(known) > 1:
            (z, a), (w, b) = rng.sample(known, 2)
            if abs(math.log(z / w)) > 0.2:
                text = f"Which is closer, the {a.color} object or the {b.color} object?"
                asks.append([Ask(text, (a if z < w else b).color, tuple(COLORS))])
    if known:
        z, a = rng.choice(known)
        asks.append([Ask(f"How far is the {a.color} object?", band(z, NEAR, FAR), BANDS)])
    k = rng.randrange(2)
    (z, thing), letter = marked[k], "AB"[k]
    asks.append([Ask(f"What color is at point {letter}?", thing.color, tuple(COLORS))])
    asks.append([Ask(f"How far is point {letter}?", band(z, NEAR, FAR), BANDS)])
    names = {x: f"{t.color} object" for x, (_, t) in zip("AB", marked, strict=True)}
    if len(set(names.values())) == 2:
        asks += point_questions(rng, names)
    return asks


class Post(NamedTuple):
    """Something that stands on the floor, in units of the room's radius."""

    x: float
    y: float
    color: str
    shape: str
    size: float


def multiview(rng: random.Random, difficulty: float) -> World:
    """Whether the camera moves left or right around things that stand on a floor."""
    right = rng.random() < 0.5
    choices = tuple(rng.sample(("left", "right"), 2))
    posts = _posts(rng)
    start = rng.uniform(0, 2 * math.pi)
    orbit = span_between(rng, difficulty, (18, 42), (5, 14))
    turns = (start, start + math.radians(-orbit if right else orbit))
    floor = (rng.randint(60, 120), rng.randint(60, 120), rng.randint(60, 120))
    sky = (rng.randint(120, 200), rng.randint(120, 200), rng.randint(120, 200))
    horizon = rng.uniform(22, 34)
    images, labels, seen = [], [], []
    for turn in turns:
        image, words, places = _view(rng, posts, turn, horizon, floor, sky)
        images.append(image)
        labels.append(words)
        seen.append(places)
    return World(
        images=images,
        question="The images are frames from a video of a static scene. Is the camera moving left "
        "or right around the objects?",
        lead="Select from the following options.",
        choices=choices,
        answer=choices.index("right" if right else "left"),
        scene={
            "objects": [f"{post.color} {post.shape}" for post in posts],
            "degrees": round(orbit, 1),
        },
        labels=labels,
        asides=_motion_questions(rng, posts, seen),
    )


def _posts(rng: random.Random) -> list[Post]:
    """Three or four things of different colors that stand apart."""
    posts: list[Post] = []
    for color in rng.sample(list(COLORS), rng.randint(3, 4)):
        x = y = 0.0
        for _ in range(30):
            reach, turn = math.sqrt(rng.uniform(0.25, 1)), rng.uniform(0, 2 * math.pi)
            x, y = reach * math.cos(turn), reach * math.sin(turn)
            if all(math.hypot(x - p.x, y - p.y) > 0.4 for p in posts):
                break
        kind = rng.choice(("circle", "square", "diamond", "triangle"))
        posts.append(Post(x, y, color, kind, rng.uniform(0.2, 0.29)))
    return posts


def _view(
    rng: random.Random,
    posts: list[Post],
    turn: float,
    horizon: float,
    floor: Rgb,
    sky: Rgb,
) -> tuple[np.ndarray, list[Label], dict[str, tuple[float, float]]]:
    """The image, its labels, and each color's (column, distance)."""
    canvas = plain(sky)
    canvas[round(horizon) :] = floor
    shadow = [clamp(v * 0.5) for v in floor]
    c, s = math.cos(turn), math.sin(turn)
    stands = [(2.6 + p.x * s + p.y * c, p.x * c - p.y * s, p) for p in posts]
    labels, places = [], {}
    for z, across, (_, _, color, kind, size) in sorted(stands, key=lambda p: -p[0]):
        radius, x, ground = size * 95 / z, 56 + across * 95 / z, horizon + 115 / z
        ellipse(canvas, (x, ground), (radius * 0.9, radius * 0.25), shadow)
        shape(canvas, kind, (x, ground - radius * 0.9), radius, 0, jitter(rng, COLORS[color], 6))
        labels += [Label((x, ground - radius * 0.9), w) for w in (color, kind, band(z, 2.2, 3))]
        places[color] = (x, z)
    return develop(rng, canvas), labels, places


def _motion_questions(
    rng: random.Random,
    posts: list[Post],
    seen: list[dict[str, tuple[float, float]]],
) -> list[list[Ask]]:
    colors = [post.color for post in posts]

    def moved(color: str, name: str = "") -> Ask:
        way = "right" if seen[1][color][0] > seen[0][color][0] else "left"
        return Ask(f"Which way did the {name or color} object move?", way, ("left", "right"))

    asks = [
        [moved(color)]
        for color in rng.sample(colors, 2)
        if abs(seen[1][color][0] - seen[0][color][0]) > 5
    ]
    k, color = rng.randrange(2), rng.choice(colors)
    text = f"In the {ORDINALS[k]} image, how far is the {color} object?"
    asks.append([Ask(text, band(seen[k][color][1], 2.2, 3), BANDS)])
    nearest = min(colors, key=lambda c: seen[0][c][1] + seen[1][c][1])
    chain = [Ask("What color is the near object?", nearest, tuple(COLORS)), moved(nearest, "near")]
    asks.append([*chain, *([moved(nearest)] if rng.random() < 0.3 else [])])
    a, b = rng.sample(colors, 2)
    closer = min((a, b), key=lambda c: seen[k][c][1])
    text = f"In the {ORDINALS[k]} image, which is closer, the {a} object or the {b} object?"
    asks.append([Ask(text, closer, tuple(COLORS))])
    kind = next(post.shape for post in posts if post.color == a)
    asks.append([Ask(f"What shape is the {a} object?", kind, SHAPES)])
    return asks
