"""The jigsaw: which of two pieces fills the missing corner."""

import math
import random

import numpy as np

from transferscope.suites.glimpse.canvas import (
    SIZE,
    Point,
    Rgb,
    backdrop,
    develop,
    jitter,
    plain,
    polygon,
)
from transferscope.suites.glimpse.scene import (
    COLORS,
    ORDINALS,
    SHAPES,
    YES_NO,
    Ask,
    Label,
    Thing,
    World,
    pick,
    scatter,
    span_between,
    thing_labels,
    unique,
)

HALF = SIZE // 2
SLANTS = ("vertical", "horizontal", "rising", "falling")


def jigsaw(rng: random.Random, difficulty: float) -> World:
    """Which piece is the missing corner; the other is from elsewhere, another scene or mirrored."""
    answer = rng.randrange(2)
    wrong = rng.choice(("corner", "scene", "mirror") if difficulty < 0.5 else ("scene", "mirror"))
    ink = jitter(rng, COLORS[pick(rng, COLORS)], 40)
    slant, width, phase = rng.uniform(0, math.pi), rng.uniform(10, 18), rng.uniform(0, 20)
    ground = backdrop(rng)
    things = scatter(rng, rng.randint(3, 5), (16, 26), gap=-12)
    picture = _striped(ground, ink, slant, width, phase, things)
    piece = picture[HALF:, HALF:]
    if wrong == "corner":
        y, x = rng.choice(((0, 0), (0, HALF), (HALF, 0)))
        bad = picture[y : y + HALF, x : x + HALF]
    elif wrong == "scene":
        turned = slant + span_between(rng, difficulty, (0.6, 2.5), (0.2, 0.5))
        others = scatter(rng, rng.randint(3, 5), (16, 26), gap=-12)
        bad = _striped(ground, ink, turned, width, phase, others)[HALF:, HALF:]
    else:
        bad = piece[:, ::-1] if rng.random() < 0.5 else piece[::-1]
    shown = picture.copy()
    shown[HALF:, HALF:] = 0
    pieces = [piece, bad] if answer == 0 else [bad, piece]
    images = [develop(rng, p, rng.uniform(3, 8)) for p in (shown, *(_in_place(p) for p in pieces))]
    visible = [t for t in things if t.x < HALF or t.y < HALF]
    run = _slant(slant)
    hidden = [*thing_labels(t for t in things if t.x > HALF and t.y > HALF), Label((90, 90), run)]
    labels = [
        [*thing_labels(visible), Label(None, run)],
        *(hidden if k == answer else [] for k in range(2)),
    ]
    k = rng.randrange(2)
    fits = Ask(
        f"Does the {ORDINALS[k + 1]} image fit the dark corner?",
        "yes" if k == answer else "no",
        YES_NO,
    )
    asides = [[fits], [Ask("How do the stripes run in the first image?", run, SLANTS)]]
    if visible and visible[-1] in unique(things, "color"):
        text = f"What shape is the {visible[-1].color} object in the first image?"
        asides.append([Ask(text, visible[-1].shape, SHAPES)])
    return World(
        images=images,
        question="Given the first image with the lower right corner missing, which one of the "
        "second image or the third image is the missing part?",
        choices=("the second image", "the third image"),
        answer=answer,
        scene={"wrong_piece": wrong, "stripes": run, "objects": len(things)},
        labels=labels,
        asides=asides,
    )


def _striped(
    ground: np.ndarray, ink: Rgb, slant: float, width: float, phase: float, things: list[Thing]
) -> np.ndarray:
    """Stripes and things over the ground."""
    picture = ground.copy()
    c, s = math.cos(slant), math.sin(slant)

    def corner(across: float, along: float) -> Point:
        return HALF + c * across - s * along, HALF + s * across + c * along

    for k in range(-8, 9, 2):
        near, far = k * width + phase, (k + 1) * width + phase
        ends = [corner(near, 200), corner(near, -200), corner(far, -200), corner(far, 200)]
        polygon(picture, ends, ink)
    for thing in things:
        thing.draw(picture)
    return picture


def _in_place(piece: np.ndarray) -> np.ndarray:
    """A piece in its corner of a dark picture."""
    picture = plain((20, 20, 20))
    picture[HALF:, HALF:] = piece
    return picture


def _slant(angle: float) -> str:
    degrees = math.degrees(angle) % 180
    if degrees < 22.5 or degrees > 157.5:
        return "vertical"
    if 67.5 < degrees < 112.5:
        return "horizontal"
    return "rising" if degrees <= 67.5 else "falling"
