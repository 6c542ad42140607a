"""Worlds of two images with marked points: visual, semantic and functional correspondence.

Where the marks lie is no cue: the reference's place in the first image is drawn before, and
apart from, which object or part it will be, and the second image without regard to the first.
"""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from transferscope.suites.glimpse.canvas import SIZE, Point, backdrop, mark
from transferscope.suites.glimpse.figures import (
    KIND_PARTS,
    KINDS,
    TOOL_PARTS,
    TOOLS,
    PosedFigure,
    creature,
    posed,
    tool,
)
from transferscope.suites.glimpse.questions import point_questions, scene_questions, which_point
from transferscope.suites.glimpse.scene import (
    ORDINALS,
    Ask,
    Label,
    Thing,
    World,
    between,
    count_between,
    paint,
    pick,
    point_labels,
    scatter,
    thing_labels,
    unique,
)

CHOICES = tuple(f"Point {letter}" for letter in "ABCD")
PURPOSES = {"end": "hang", "grip": "hold", "neck": "join"}
"""What a tool's parts are for; the edge's purpose is the tool's own."""


def visual(rng: random.Random, difficulty: float) -> World:
    """Which point of a scene was circled in another view of it: turned, shifted and relit."""
    answer, place = rng.randrange(4), _place(rng)
    radii = (between(difficulty, 9.5, 7), between(difficulty, 14, 10))
    things: list[Thing] = []
    while len(things) < 4:
        things = scatter(rng, count_between(rng, difficulty, (4, 6), (6, 8)), radii, gap=1)
    chosen = rng.sample(things, 4)
    ours, turn = chosen[answer], rng.uniform(-1, 1) * between(difficulty, 24, 60)
    view = _seen_from(things, ours, place, math.radians(turn), rng.uniform(0.85, 1.15))
    points = {letter: (t.x, t.y) for letter, t in zip("ABCD", chosen, strict=True)}
    ground, gain = backdrop(rng), rng.uniform(0.75, 1.2)
    images = [paint(rng, view, ground), paint(rng, things, ground)]
    images[1] = np.clip(images[1] * np.float32(round(gain, 3)), 0, 255).astype(np.uint8)
    mark(images[0], [(*place, "R")])
    mark(images[1], [(x, y, letter) for letter, (x, y) in points.items()])
    reference = point_labels({"R": place})
    world = World(
        images=images,
        question="A point is circled on the first image, labeled with REF. Which point on the "
        "second image corresponds to the REF point?",
        lead="Select from the following options.",
        choices=CHOICES,
        answer=answer,
        scene={"objects": len(things), "turn": round(turn), "light": round(gain, 2)},
        labels=[thing_labels(view) + reference, thing_labels(things) + point_labels(points)],
    )
    seen = [t for t in view if 6 < t.x < SIZE - 6 and 6 < t.y < SIZE - 6]
    _object_questions(rng, world, seen, chosen)
    return world


def _place(rng: random.Random) -> Point:
    """Where the reference point will lie, whatever it is."""
    return rng.uniform(40, SIZE - 40), rng.uniform(40, SIZE - 40)


def _seen_from(
    things: list[Thing], fixed: Thing, place: Point, turn: float, scale: float
) -> list[Thing]:
    """The things in a view that shows one of them at the place."""
    c, s = math.cos(turn) * scale, math.sin(turn) * scale
    view = []
    for t in things:
        dx, dy = t.x - fixed.x, t.y - fixed.y
        x, y = place[0] + c * dx - s * dy, place[1] + s * dx + c * dy
        view.append(replace(t, x=x, y=y, radius=t.radius * scale, turn=t.turn + turn))
    return view


def _object_questions(
    rng: random.Random, world: World, things: list[Thing], chosen: list[Thing]
) -> None:
    names = [t.name for t in chosen]
    clear = [k for k in range(4) if names.count(names[k]) == 1]
    k, ours = rng.randrange(4), names[world.answer]
    chain = [Ask("What is at the REF point?", ours)]
    if world.answer in clear:
        chain.append(which_point(ours, "ABCD"[world.answer]))
    asides = [[Ask(f"What is at point {'ABCD'[k]}?", names[k])], chain]
    if len(clear) > 1:
        asides += point_questions(rng, {"ABCD"[k]: names[k] for k in clear})
    world.asides = [*asides, *scene_questions(rng, unique(things), 1, "In the first image, ")]


def semantic(rng: random.Random, difficulty: float) -> World:
    """Which point is on the same part of another figure of the same kind."""
    kind = pick(rng, KINDS)
    first, second = (partial(creature, rng, kind, difficulty) for _ in range(2))
    world = _parts_world(rng, first, second, KIND_PARTS)
    world.question = (
        "A reference point is annotated on the first image, labeled with REF. Which point on the "
        "second image corresponds to the semantically same part?"
    )
    world.asides.insert(0, [Ask("What thing is in the images?", kind, KINDS)])
    return world


def functional(rng: random.Random, difficulty: float) -> World:
    """Which point of another tool serves the same action."""
    kinds = rng.sample(list(TOOLS), 2)
    first, second = (partial(tool, rng, kind, difficulty) for kind in kinds)
    world = _parts_world(rng, first, second, TOOL_PARTS)
    action = PURPOSES.get(str(world.scene["part"]), TOOLS[kinds[0]])
    world.question = (
        f"Find the corresponding point for the action: {action}. Which point on the second image "
        "corresponds to the REF point?"
    )
    world.scene["action"] = action
    k = rng.randrange(2)
    text = f"What tool is in the {ORDINALS[k]} image?"
    world.asides.insert(0, [Ask(text, kinds[k], tuple(TOOLS))])
    return world


def _parts_world(
    rng: random.Random,
    first: Callable[[float], PosedFigure],
    second: Callable[[float], PosedFigure],
    words: tuple[str, ...],
) -> World:
    """One part of the first figure and all parts of the second are marked."""
    answer, place = rng.randrange(4), _place(rng)
    order = rng.sample(list(second(1).parts), 4)
    part, names = order[answer], dict(zip("ABCD", order, strict=True))
    pair = [posed(first, part, place), posed(second, order[0], _place(rng))]
    images = [figure.image(rng) for figure in pair]
    points = {letter: pair[1].parts[name] for letter, name in names.items()}
    mark(images[0], [(*place, "R")])
    mark(images[1], [(x, y, letter) for letter, (x, y) in points.items()])
    labels = [
        [Label(None, figure.kind), *(Label(place, name) for name, place in figure.parts.items())]
        for figure in pair
    ]
    labels[0] += point_labels({"R": place})
    labels[1] += point_labels(points)
    letter = pick(rng, names)
    asides = [
        [Ask("Which part is at the REF point?", part, words), which_point(part, "ABCD"[answer])],
        [Ask(f"Which part is at point {letter}?", names[letter], words)],
        *point_questions(rng, names),
        *point_questions(rng, names)[:1],
    ]
    return World(
        images=images,
        choices=CHOICES,
        answer=answer,
        scene={
            "kinds": [figure.kind for figure in pair],
            "part": part,
            "turns": [figure.turn for figure in pair],
            "mirrored": [figure.mirrored for figure in pair],
        },
        labels=labels,
        asides=asides,
    )
