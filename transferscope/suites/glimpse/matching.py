"""Worlds of two images with marked points: visual, semantic and functional correspondence.

The places of the marks are no cue: the reference's place in the first image is drawn before, and
apart from, which object or part it will be, and the second image without regard to the first.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from transferscope.suites.glimpse.canvas import SIZE, Point, backdrop, mark
from transferscope.suites.glimpse.figures import KINDS, TOOLS, PosedFigure, creature, posed, tool
from transferscope.suites.glimpse.scene import (
    Thing,
    World,
    between,
    count,
    paint,
    pick,
    scatter,
    span,
)
from transferscope.tasks.open_answers import right_of

CHOICES = tuple(f"Point {letter}" for letter in "ABCD")
PURPOSES = {"end": "hang", "grip": "hold", "neck": "join"}
"""What a tool's parts are for; the edge's purpose is the tool's own."""


def visual(rng: random.Random, difficulty: float) -> World:
    """Which point of a scene was circled in another view of it: turned, shifted and relit."""
    answer, place = rng.randrange(4), _place(rng)
    radii = span(difficulty, (9.5, 14), (7, 10))
    things: list[Thing] = []
    while len(things) < 4:
        things = scatter(rng, count(rng, span(difficulty, (4, 6), (6, 8))), radii, gap=1)
    chosen = rng.sample(things, 4)
    ours, turn = chosen[answer], rng.uniform(-1, 1) * between(difficulty, 24, 60)
    angle, scale = math.radians(turn), rng.uniform(0.85, 1.15)
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    view = []
    for t in things:
        dx, dy = t.x - ours.x, t.y - ours.y
        x, y = place[0] + c * dx - s * dy, place[1] + s * dx + c * dy
        view.append(replace(t, x=x, y=y, radius=t.radius * scale, turn=t.turn + angle))
    points = {letter: (t.x, t.y) for letter, t in zip("ABCD", chosen, strict=True)}
    ground, gain = backdrop(rng), rng.uniform(0.75, 1.2)
    images = [paint(rng, view, ground), paint(rng, things, ground)]
    images[1] = np.clip(images[1] * np.float32(round(gain, 3)), 0, 255).astype(np.uint8)
    mark(images[0], [(*place, "R")])
    mark(images[1], [(x, y, letter) for letter, (x, y) in points.items()])
    return World(
        images=images,
        question="A point is circled on the first image, labeled with REF. Which point on the "
        "second image corresponds to the REF point?",
        lead="Select from the following options.",
        choices=CHOICES,
        answer=answer,
        scene={"objects": len(things), "turn": round(turn), "light": round(gain, 2)},
        known={"things": [view, things], "chosen": chosen, "place": place, "points": points},
        open_question="A point is circled on the first image, labeled with REF. Where on the "
        "second image is the corresponding point?",
        truth=right_of([*points.values()], answer, (SIZE, SIZE), image=1),
    )


def _place(rng: random.Random) -> Point:
    """The place of the reference point, drawn before the point is chosen."""
    return rng.uniform(40, SIZE - 40), rng.uniform(40, SIZE - 40)


def semantic(rng: random.Random, difficulty: float) -> World:
    """Which point is on the same part of another figure of the same kind."""
    kind = pick(rng, KINDS)
    world = _parts_world(rng, creature, (kind, kind), difficulty)
    world.question = (
        "A reference point is annotated on the first image, labeled with REF. Which point on the "
        "second image corresponds to the semantically same part?"
    )
    world.open_question = (
        "A reference point is annotated on the first image, labeled with REF. Where on the second "
        "image is the semantically same part?"
    )
    return world


def functional(rng: random.Random, difficulty: float) -> World:
    """Which point of another tool serves the same action."""
    kinds = rng.sample(list(TOOLS), 2)
    world = _parts_world(rng, tool, kinds, difficulty)
    action = PURPOSES.get(str(world.scene["part"]), TOOLS[kinds[0]])
    world.question = (
        f"Find the corresponding point for the action: {action}. Which point on the second image "
        "corresponds to the REF point?"
    )
    world.open_question = (
        f"Find the corresponding point for the action: {action}. Where on the second image is the "
        "point corresponding to the REF point?"
    )
    world.scene["action"] = action
    return world


def _parts_world(
    rng: random.Random,
    make: Callable[[random.Random, str, float, float], PosedFigure],
    kinds: Sequence[str],
    difficulty: float,
) -> World:
    """One part of the first figure and all parts of the second are marked; no question yet."""
    first, second = (partial(make, rng, kind, difficulty) for kind in kinds)
    answer, place = rng.randrange(4), _place(rng)
    order = rng.sample(list(second(1).parts), 4)
    figures = [posed(first, order[answer], place), posed(second, order[0], _place(rng))]
    images = [figure.image(rng) for figure in figures]
    points = {letter: figures[1].parts[name] for letter, name in zip("ABCD", order, strict=True)}
    mark(images[0], [(*place, "R")])
    mark(images[1], [(x, y, letter) for letter, (x, y) in points.items()])
    return World(
        images=images,
        question="",
        choices=CHOICES,
        answer=answer,
        scene={
            "kinds": list(kinds),
            "part": order[answer],
            "turns": [figure.turn for figure in figures],
            "mirrored": [figure.mirrored for figure in figures],
        },
        known={"posed": figures, "parts": order, "place": place, "points": points},
        truth=right_of([*points.values()], answer, (SIZE, SIZE), image=1),
    )
