"""Worlds of flat shapes on a soft ground.

Counting, localization, spatial relation, similarity and the jigsaw.
"""

import math
import random

import numpy as np

from transferscope.suites.glimpse.canvas import (
    SIZE,
    Point,
    Rgb,
    backdrop,
    box,
    develop,
    jitter,
    plain,
    polygon,
    relight,
)
from transferscope.suites.glimpse.scene import (
    COLORS,
    OPPOSITE,
    SHAPES,
    YES_NO,
    Thing,
    World,
    between,
    count,
    edited,
    paint,
    pick,
    relation,
    retry,
    scatter,
    span,
    unique,
)
from transferscope.tasks.open_answers import BoxAnswer, NumberAnswer


def counting(rng: random.Random, difficulty: float) -> World:
    """How many things of one color and shape there are, among others that share one of the two.

    The four choices are consecutive numbers drawn first, and the true number is any one of them:
    the choices alone carry no information.
    """
    first = rng.randrange(3) + round(between(difficulty, 0, 2))
    choices = rng.sample(range(first, first + 4), 4)
    answer = rng.randrange(4)
    color, kind = pick(rng, COLORS), pick(rng, SHAPES)
    looks = [(color, kind)] * choices[answer]
    while len(looks) < choices[answer] + count(rng, span(difficulty, (1, 4), (3, 6))):
        share = rng.random()
        look = (
            color if share < 0.35 else pick(rng, COLORS),
            kind if 0.35 <= share < 0.7 else pick(rng, SHAPES),
        )
        looks += [look] * (look != (color, kind))
    rng.shuffle(looks)
    radii = span(difficulty, (7.5, 11.5), (6, 8.5))

    def attempt() -> World | None:
        things = scatter(rng, len(looks), radii, looks)
        if len(things) < len(looks):
            return None
        return World(
            images=[paint(rng, things)],
            question=f"How many {color} {kind} objects are there?",
            choices=tuple(str(n) for n in choices),
            answer=answer,
            scene={"count": choices[answer], "distractors": len(looks) - choices[answer]},
            known={"things": [things], "look": (color, kind)},
            truth=NumberAnswer(choices[answer], exact=True),
        )

    return retry(attempt)


FITS = ("fits", "big", "small", "left", "right", "up", "down")
"""How a box fits its object."""
SHIFTS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def localization(rng: random.Random, difficulty: float) -> World:
    """Which of two boxes encloses a thing tightly.

    Both boxes are drawn first, and the thing fills one or the other with equal chance: nothing
    about the boxes alone shows which.
    """
    answer, wrong = rng.randrange(2), rng.choice(FITS[1:])
    kinds = ("circle", "square", "triangle", "star", "cross", "ring")
    colors = [c for c in COLORS if c not in ("red", "blue")]  # the boxes' own colors
    off = rng.uniform(*span(difficulty, (0.65, 1.0), (0.25, 0.45)))

    def attempt() -> World | None:
        looks = [(pick(rng, colors), pick(rng, kinds)) for _ in range(rng.randint(1, 3))]
        if wrong in SHIFTS:
            radii = [rng.uniform(13, 20)] * 2
        else:
            small = rng.uniform(11, 14)
            radii = [small, small * (1 + off)][:: 1 if wrong == "big" else -1]
        things = scatter(rng, 1, (radii[0], radii[0]), looks)
        target = things[0]
        for other in scatter(rng, 2, (13, 18), looks[1:]):  # with space for a box around the target
            away = ((other.x - target.x) ** 2 + (other.y - target.y) ** 2) ** 0.5
            if away > 1.2 * target.radius + other.radius:
                things.append(other)
        if target.radius != radii[0] or target not in unique(things):
            return None
        dx, dy = SHIFTS.get(wrong, (0, 0))
        shift = off * radii[0]
        centers = [(target.x, target.y), (target.x + dx * shift, target.y + dy * shift)]
        boxes = [
            [v + rng.uniform(-1, 1) for v in (x - r, y - r, x + r, y + r)]
            for (x, y), r in zip(centers, radii, strict=True)
        ]
        if any(min(b) < 1 or max(b) > SIZE - 2 for b in boxes):
            return None
        image = paint(rng, things)
        letters = "AB"[answer], "AB"[1 - answer]
        left, top, right, bottom = (edge / SIZE for edge in boxes[0])
        for letter in "AB":
            box(image, boxes[letters.index(letter)], letter)
        return World(
            images=[image],
            question="Given the two bounding boxes on the image, labeled by A and B, which "
            f"bounding box more accurately localizes and encloses the {target.name}?",
            lead="Select from the following options.",
            choices=("Box A", "Box B"),
            answer=answer,
            scene={"object": target.facts(), "wrong_box": wrong, "mismatch": round(off, 2)},
            known={"things": [things], "target": target, "boxes": boxes},
            open_question=f"Where is the bounding box of the {target.name}?",
            truth=BoxAnswer(left, top, right, bottom),
        )

    return retry(attempt)


def spatial(rng: random.Random, difficulty: float) -> World:
    """Whether one thing is left of, right of, above or below another."""
    choices = tuple(rng.sample(YES_NO, 2))
    yes = rng.random() < 0.5
    apart = between(difficulty, 18, 8)
    radii = span(difficulty, (13, 20), (6, 9))

    def attempt() -> World | None:
        things = scatter(rng, count(rng, span(difficulty, (2, 3), (5, 8))), radii)
        known = unique(things)
        if len(known) < 2:
            return None
        a, b = rng.sample(known, 2)
        dx, dy = a.x - b.x, a.y - b.y
        if max(abs(dx), abs(dy)) < apart or abs(abs(dx) - abs(dy)) < 6:
            return None
        true = relation(dx, dy)
        across = relation(0, -dy) if abs(dx) > abs(dy) else relation(-dx, 0)
        claim = true if yes else OPPOSITE[true] if rng.random() < 0.7 else across
        return World(
            images=[paint(rng, things)],
            question=f"Is the {a.name} {claim} the {b.name}?",
            choices=choices,
            answer=choices.index("yes" if yes else "no"),
            scene={"objects": [t.facts() for t in things], "relation": true, "claim": claim},
            known={"things": [things], "pair": (a, b)},
        )

    return retry(attempt)


def similarity(rng: random.Random, difficulty: float) -> World:
    """Which of two images has more of the reference's things.

    Each image has another ground and another mean color, so that neither is a cue.
    """
    answer = rng.randrange(2)
    number = count(rng, span(difficulty, (2, 3), (4, 5)))
    reference: list[Thing] = []
    while len(reference) < 2:
        radii = span(difficulty, (14, 20), (9, 13))
        reference = scatter(rng, number, radii)
    fewer = int(len(reference) > 2 and rng.random() < between(difficulty, 0.25, 0.65))
    more = fewer + (1 if rng.random() < between(difficulty, 0.5, 1) else 2)
    edits = [fewer, more] if answer == 0 else [more, fewer]
    shown = [reference, *(edited(rng, reference, n) for n in edits)]
    images = [relight(rng, paint(rng, things, backdrop(rng)), 80, 110) for things in shown]
    return World(
        images=images,
        question="Given three similar images, take the first image as the reference image. Which "
        "one of the second or the third image is most similar to the first image?",
        choices=("the second image", "the third image"),
        answer=answer,
        scene={"objects": [t.facts() for t in reference], "edits": edits},
        known={"things": shown},
    )


HALF = SIZE // 2


def jigsaw(rng: random.Random, difficulty: float) -> World:
    """Which piece is the missing corner; the other is from elsewhere, another scene or mirrored."""
    answer = rng.randrange(2)
    wrong = rng.choice(("corner", "scene", "mirror") if difficulty < 0.5 else ("scene", "mirror"))
    ink = jitter(rng, COLORS[pick(rng, COLORS)], 40)
    slant, width, phase = rng.uniform(0, math.pi), rng.uniform(10, 18), rng.uniform(0, 20)
    ground = backdrop(rng)
    things = scatter(rng, rng.randint(3, 5), (16, 26), gap=-12)
    canvas = _striped(ground, ink, slant, width, phase, things)
    piece = canvas[HALF:, HALF:]
    if wrong == "corner":
        y, x = rng.choice(((0, 0), (0, HALF), (HALF, 0)))
        bad = canvas[y : y + HALF, x : x + HALF]
    elif wrong == "scene":
        turned = slant + rng.uniform(*span(difficulty, (0.6, 2.5), (0.2, 0.5)))
        others = scatter(rng, rng.randint(3, 5), (16, 26), gap=-12)
        bad = _striped(ground, ink, turned, width, phase, others)[HALF:, HALF:]
    else:
        bad = piece[:, ::-1] if rng.random() < 0.5 else piece[::-1]
    shown = canvas.copy()
    shown[HALF:, HALF:] = 0
    panels = [shown]
    for fragment in [piece, bad] if answer == 0 else [bad, piece]:
        panels.append(plain((20, 20, 20)))
        panels[-1][HALF:, HALF:] = fragment
    images = [develop(rng, panel, rng.uniform(3, 8)) for panel in panels]
    degrees = math.degrees(slant) % 180
    run = "rising" if degrees <= 67.5 else "horizontal" if degrees < 112.5 else "falling"
    if degrees < 22.5 or degrees > 157.5:
        run = "vertical"
    return World(
        images=images,
        question="Given the first image with the lower right corner missing, which one of the "
        "second image or the third image is the missing part?",
        choices=("the second image", "the third image"),
        answer=answer,
        scene={"wrong_piece": wrong, "stripes": run, "objects": len(things)},
        known={"things": [things]},
    )


def _striped(
    ground: np.ndarray, ink: Rgb, slant: float, width: float, phase: float, things: list[Thing]
) -> np.ndarray:
    """Stripes and things over the ground."""
    canvas = ground.copy()
    c, s = math.cos(slant), math.sin(slant)

    def corner(across: float, along: float) -> Point:
        return HALF + c * across - s * along, HALF + s * across + c * along

    for k in range(-8, 9, 2):
        near, far = k * width + phase, (k + 1) * width + phase
        ends = [corner(near, 200), corner(near, -200), corner(far, -200), corner(far, 200)]
        polygon(canvas, ends, ink)
    for thing in things:
        thing.draw(canvas)
    return canvas
