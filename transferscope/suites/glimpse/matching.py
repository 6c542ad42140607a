"""Worlds of two images with marked points: visual, semantic and functional correspondence.

Where the right point lies tells nothing: of the four points of the second image, sorted by their
distance from the reference's place in the first, the right one is the first, second, third or
fourth equally often.
"""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from transferscope.suites.glimpse.asking import (
    point_questions,
    scene_questions,
    which_point,
)
from transferscope.suites.glimpse.canvas import Point, backdrop, mark
from transferscope.suites.glimpse.figures import (
    KIND_PARTS,
    KINDS,
    TOOL_PARTS,
    TOOLS,
    Figure,
    Parts,
    creature,
    tool,
)
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
    retry,
    scatter,
    thing_labels,
    unique,
)

CHOICES = tuple(f"Point {letter}" for letter in "ABCD")
PURPOSES = {"end": "hang", "grip": "hold", "neck": "join"}
"""What a tool's parts are for; the edge's purpose is the tool's own."""


def visual(rng: random.Random, difficulty: float) -> World:
    """Which point of a turned, shifted and relit view is the reference point."""
    answer, rank = rng.randrange(4), rng.randrange(4)
    radii = (between(difficulty, 9.5, 7), between(difficulty, 14, 10))

    def attempt() -> World | None:
        things = scatter(rng, count_between(rng, difficulty, (4, 6), (6, 8)), radii, gap=1)
        turn = rng.randrange(4) * 90 + rng.uniform(-1, 1) * between(difficulty, 15, 45)
        view, inside = _seen_again(rng, things, turn)
        if len(inside) < 4:
            return None
        chosen = rng.sample(inside, 4)
        ours = things[chosen[answer]]
        points = {x: (view[i].x, view[i].y) for x, i in zip("ABCD", chosen, strict=True)}
        if _rank((ours.x, ours.y), points, answer) != rank:
            return None
        ground, gain = backdrop(rng), rng.uniform(0.75, 1.2)
        first, second = paint(rng, things, ground), paint(rng, view, ground)
        second = np.clip(second * np.float32(round(gain, 3)), 0, 255).astype(np.uint8)
        mark(first, [(ours.x, ours.y, "R")])
        mark(second, [(x, y, letter) for letter, (x, y) in points.items()])
        reference = point_labels({"R": (ours.x, ours.y)})
        world = World(
            images=[first, second],
            question="A point is circled on the first image, labeled with REF. Which point on the "
            "second image corresponds to the REF point?",
            lead="Select from the following options.",
            choices=CHOICES,
            answer=answer,
            scene={"objects": len(things), "turn": round(turn), "light": round(gain, 2)},
            labels=[thing_labels(things) + reference, thing_labels(view) + point_labels(points)],
        )
        _object_questions(rng, world, things, [things[i] for i in chosen])
        return world

    return retry(attempt, 4000)


def _seen_again(
    rng: random.Random, things: list[Thing], degrees: float
) -> tuple[list[Thing], list[int]]:
    """The things from another camera, and which of them lie well inside the picture."""
    turn, scale = math.radians(degrees), rng.uniform(0.85, 1.15)
    dx, dy = rng.uniform(-10, 10), rng.uniform(-10, 10)
    c, s = math.cos(turn) * scale, math.sin(turn) * scale
    view = []
    for t in things:
        x, y = t.x - 56, t.y - 56
        place = {"x": 56 + c * x - s * y + dx, "y": 56 + s * x + c * y + dy}
        view.append(replace(t, **place, radius=t.radius * scale, turn=t.turn + turn))
    inside = [i for i, t in enumerate(view) if 6 < t.x < 106 and 6 < t.y < 106]
    return view, inside


def _rank(reference: Point, points: Parts, answer: int) -> int:
    """Place of the right point among all, by distance from the reference's place."""
    away = [math.dist(reference, place) for place in points.values()]
    return sorted(range(4), key=lambda k: away[k]).index(answer)


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
    pair, order, answer = _posed_pair(
        rng, lambda: [creature(rng, kind, difficulty) for _ in range(2)]
    )
    world = _parts_world(rng, pair, order, answer, KIND_PARTS)
    world.question = (
        "A reference point is annotated on the first image, labeled with REF. Which point on the "
        "second image corresponds to the semantically same part?"
    )
    world.asides.insert(0, [Ask("What thing is in the images?", kind, KINDS)])
    return world


def functional(rng: random.Random, difficulty: float) -> World:
    """Which point of another tool serves the same action."""
    kinds = rng.sample(list(TOOLS), 2)
    pair, order, answer = _posed_pair(rng, lambda: [tool(rng, kind, difficulty) for kind in kinds])
    world = _parts_world(rng, pair, order, answer, TOOL_PARTS)
    action = PURPOSES.get(order[answer], TOOLS[kinds[0]])
    world.question = (
        f"Find the corresponding point for the action: {action}. Which point on the second image "
        "corresponds to the REF point?"
    )
    world.scene["action"] = action
    k = rng.randrange(2)
    text = f"What tool is in the {ORDINALS[k]} image?"
    world.asides.insert(0, [Ask(text, kinds[k], tuple(TOOLS))])
    return world


def _posed_pair(
    rng: random.Random, pose: Callable[[], list[Figure]]
) -> tuple[list[Figure], list[str], int]:
    """Two figures, the parts in the order of their letters, and which of them is asked for."""
    answer, rank = rng.randrange(4), rng.randrange(4)
    while True:
        pair = pose()
        order = rng.sample(list(pair[1].parts), 4)
        points = {letter: pair[1].parts[name] for letter, name in zip("ABCD", order, strict=True)}
        if _rank(pair[0].parts[order[answer]], points, answer) == rank:
            return pair, order, answer


def _parts_world(
    rng: random.Random, pair: list[Figure], order: list[str], answer: int, words: tuple[str, ...]
) -> World:
    """One part of the first figure and all parts of the second are marked."""
    part, names = order[answer], dict(zip("ABCD", order, strict=True))
    images = [figure.image(rng) for figure in pair]
    points = {letter: pair[1].parts[name] for letter, name in names.items()}
    mark(images[0], [(*pair[0].parts[part], "R")])
    mark(images[1], [(x, y, letter) for letter, (x, y) in points.items()])
    labels = [
        [Label(None, figure.kind), *(Label(place, name) for name, place in figure.parts.items())]
        for figure in pair
    ]
    labels[0] += point_labels({"R": pair[0].parts[part]})
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
            "figures": [figure.kind for figure in pair],
            "part": part,
            "turns": [figure.turn for figure in pair],
            "mirrored": [figure.mirrored for figure in pair],
        },
        labels=labels,
        asides=asides,
    )
