"""Worlds with a floor and a horizon: relative depth, multi-view reasoning."""

import math
import random
from typing import NamedTuple

import numpy as np

from transferscope.suites.glimpse.asking import point_questions
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
    """Which of two marked things is closer.

    Size, haze and the shadow on the floor tell. Half of the items show the closer thing higher in
    the image, so that height alone does not.
    """
    answer, higher = rng.randrange(2), rng.random() < 0.5
    floating = between(difficulty, 0.45, 0.7)
    ratio = (between(difficulty, 1.25, 1.08), between(difficulty, 5, 1.6))

    def attempt() -> World | None:
        horizon = rng.uniform(18, 45)
        sky = jitter(rng, rng.choice(SKIES), 15)
        floor = (rng.randint(60, 120), rng.randint(60, 120), rng.randint(60, 120))
        placed = [_stand(rng, horizon, sky, floating) for _ in range(rng.randint(3, 5))]
        placed.sort(key=lambda p: -p[0])
        clear = [p for i, p in enumerate(placed) if _clear(p[1], [q[1] for q in placed[i + 1 :]])]
        if len(clear) < 2:
            return None
        (near_z, near, _), (far_z, far, _) = sorted(rng.sample(clear, 2), key=lambda p: p[0])
        if not ratio[0] <= far_z / near_z <= ratio[1] or (near.y < far.y) != higher:
            return None
        if math.hypot(near.x - far.x, near.y - far.y) < 12:
            return None
        picture = _room(horizon, sky, floor)
        for _, thing, ground in placed:
            wide = thing.radius * 0.9
            shadow = [clamp(v * 0.45) for v in floor]
            ellipse(picture, (thing.x, ground), (wide, max(1.0, wide * 0.25)), shadow)
            thing.draw(picture)
        image = develop(rng, picture)
        marked = [(near_z, near), (far_z, far)][:: 1 if answer == 0 else -1]
        points = {letter: (t.x, t.y) for letter, (_, t) in zip("AB", marked, strict=True)}
        mark(image, [(x, y, letter) for letter, (x, y) in points.items()])
        labels = thing_labels([t for _, t, _ in clear]) + point_labels(points)
        labels += [Label((t.x, t.y), band(z, NEAR, FAR)) for z, t, _ in clear]
        return World(
            images=[image],
            question="Two points are circled on the image, labeled by A and B. Which point is "
            "closer to the camera?",
            choices=("A is closer", "B is closer"),
            answer=answer,
            scene={"distances": [round(z, 2) for z, _ in marked], "closer_is_higher": higher},
            labels=[labels],
            asides=_depth_questions(rng, [(z, t) for z, t, _ in clear], marked),
        )

    return retry(attempt)


def _stand(
    rng: random.Random, horizon: float, sky: Rgb, floating: float
) -> tuple[float, Thing, float]:
    """Something that stands or floats in the room: its distance, itself, its shadow's row."""
    z = math.exp(rng.uniform(math.log(1.6), math.log(7)))
    scale = 62 / z
    radius = min(26, rng.uniform(0.28, 0.5) * scale)
    lift = rng.uniform(0.3, 1.0) * scale if rng.random() < floating else 0
    x, ground = 56 + rng.uniform(-1, 1) * 44 * (1.2 - 0.3 / z), horizon + 75 / z
    color, haze = pick(rng, COLORS), min(0.75, z / 7 * 0.75)
    lit = jitter(rng, COLORS[color])
    red, green, blue = (clamp(v * (1 - haze) + s * haze) for v, s in zip(lit, sky, strict=True))
    kinds = ("circle", "square", "diamond", "star", "triangle", "cross")
    y, turn = ground - radius - lift, rng.uniform(-0.3, 0.3)
    return z, Thing(x, y, radius, turn, color, rng.choice(kinds), (red, green, blue)), ground


def _clear(thing: Thing, nearer: list[Thing]) -> bool:
    """Whether its center is in the picture and not hidden."""
    seen = 5 < thing.x < SIZE - 5 and 4 < thing.y < SIZE - 4
    return seen and all(math.hypot(thing.x - t.x, thing.y - t.y) > t.radius + 4 for t in nearer)


def _room(horizon: float, sky: Rgb, floor: Rgb) -> np.ndarray:
    """A plain sky over a floor that fades into it."""
    picture = plain(sky)
    start = int(horizon)
    rows = np.arange(start, SIZE, dtype=np.float32) - np.float32(round(horizon, 2))
    fade = np.clip(rows * np.float32(1.5 / (SIZE - horizon)), 0, 1)[:, None]
    above, below = np.array(sky, np.float32), np.array(floor, np.float32)
    mixed = above * ((1 - fade) * np.float32(0.8)) + below * (
        fade * np.float32(0.8) + np.float32(0.2)
    )
    picture[start:] = mixed[:, None]
    return picture


def _depth_questions(
    rng: random.Random, things: list[tuple[float, Thing]], marked: list[tuple[float, Thing]]
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
    picture = plain(sky)
    picture[round(horizon) :] = floor
    shadow = [clamp(v * 0.5) for v in floor]
    c, s = math.cos(turn), math.sin(turn)
    stands = [(2.6 + p.x * s + p.y * c, p.x * c - p.y * s, p) for p in posts]
    labels, places = [], {}
    for z, across, (_, _, color, kind, size) in sorted(stands, key=lambda p: -p[0]):
        radius, x, ground = size * 95 / z, 56 + across * 95 / z, horizon + 115 / z
        ellipse(picture, (x, ground), (radius * 0.9, radius * 0.25), shadow)
        shape(picture, kind, (x, ground - radius * 0.9), radius, 0, jitter(rng, COLORS[color], 6))
        labels += [Label((x, ground - radius * 0.9), w) for w in (color, kind, band(z, 2.2, 3))]
        places[color] = (x, z)
    return develop(rng, picture), labels, places


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
