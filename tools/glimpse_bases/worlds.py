"""Scenes with questions and labels: the tasks' own, single images, and sets of images."""

import random
from typing import NamedTuple

import numpy as np

from tools.glimpse_bases.asides import ASKERS, Asides
from tools.glimpse_bases.labels import LABELERS, Labels, point_labels, thing_labels
from tools.glimpse_bases.questions import (
    COUNTS,
    REGIONS,
    Ask,
    listing,
    point_questions,
    region,
    same_things,
    scene_questions,
)
from transferscope.suites.glimpse.canvas import mark
from transferscope.suites.glimpse.generators import GENERATORS
from transferscope.suites.glimpse.scene import (
    COLORS,
    OPPOSITE,
    ORDINALS,
    YES_NO,
    Thing,
    World,
    edited,
    paint,
    relation,
    scatter,
)


class Scene(NamedTuple):
    """One drawn scene with all that the bases learn about it."""

    images: list[np.ndarray]
    """uint8 (112, 112, 3) each, not yet framed."""
    labels: Labels
    asides: Asides
    world: World | None = None
    """None for the scenes that belong to no task."""


def task_scene(task: str, rng: random.Random) -> Scene:
    """A scene of one of the suite's tasks."""
    world = GENERATORS[task](rng, 0)
    return Scene(world.images, LABELERS[task](world), ASKERS[task](rng, world), world)


def single(rng: random.Random) -> Scene:
    """One image of one to five things, often with marked points and a caption."""
    things = scatter(rng, rng.randint(1, 5), (8, 18))
    image = paint(rng, things)
    labels, asides = thing_labels(things), scene_questions(rng, things, 3)
    if rng.random() < 0.7:
        chosen = rng.sample(things, min(len(things), rng.randint(1, 4)))
        marked = dict(zip("ABCD", chosen, strict=False))
        points = {letter: (t.x, t.y) for letter, t in marked.items()}
        mark(image, [(x, y, letter) for letter, (x, y) in points.items()])
        labels += point_labels(points)
        asides = asides[:2] + _about_points(rng, things, marked)
    if rng.random() < 0.3:
        ordered = sorted(things, key=lambda t: (int(t.y * 3 / 112), t.x))
        caption = ", ".join(f"{t.name} {region(t.x, t.y)}" for t in ordered)
        asides.append([Ask("Describe the image.", caption)])
    return Scene([image], [labels], asides)


def _about_points(rng: random.Random, things: list[Thing], marked: dict[str, Thing]) -> Asides:
    asks: Asides = []
    letters = list(marked)
    for letter in rng.sample(letters, min(2, len(letters))):
        thing = marked[letter]
        asks.append(
            [
                rng.choice(
                    (
                        Ask(f"What is at point {letter}?", thing.name),
                        Ask(f"What color is at point {letter}?", thing.color, tuple(COLORS)),
                        Ask(f"Where is point {letter}?", region(thing.x, thing.y), REGIONS),
                    )
                )
            ]
        )
    if len(letters) < 2:
        return asks
    kind = rng.choice(("{0.name}", "{0.color} object", "{0.shape}"))
    names = [kind.format(t) for t in things]
    clear = {x: kind.format(t) for x, t in marked.items() if names.count(kind.format(t)) == 1}
    if len(clear) > 1:
        asks += point_questions(rng, clear)
    (a, p), (b, q) = rng.sample(list(marked.items()), 2)
    asks += _comparisons(a, p, b, q)
    true = relation(p.x - q.x, 0) if rng.random() < 0.5 else relation(0, p.y - q.y)
    gap = p.x - q.x if true in ("left of", "right of") else p.y - q.y
    if abs(gap) > 8:
        yes = rng.random() < 0.5
        text = f"Is point {a} {true if yes else OPPOSITE[true]} point {b}?"
        asks.append([Ask(text, "yes" if yes else "no", YES_NO)])
    return asks


def _comparisons(a: str, p: Thing, b: str, q: Thing) -> Asides:
    """Answers that name a point and what is true of it, as tasks of two points have them."""
    asks: Asides = []
    text = f"Two points are annotated on the image, labeled by {a} and {b}. Which point is"
    for word, gap in (("left", q.x - p.x), ("top", q.y - p.y)):
        if abs(gap) > 6:
            options = tuple(f"{letter} is more to the {word}" for letter in (a, b))
            asks.append([Ask(f"{text} more to the {word}?", options[gap < 0], options)])
    gap = p.radius - q.radius
    if abs(gap) < 0.8 or abs(gap) > 2:
        options = (f"{a} is larger", f"{b} is larger", "About the same")
        answer = options[2 if abs(gap) < 0.8 else gap < 0]
        asks.append([Ask(f"{text} on the larger object?", answer, options)])
    return asks


def several(rng: random.Random) -> Scene:
    """Two to four images; one may show what the first shows, or almost."""
    shown = [scatter(rng, rng.randint(1, 3), (10, 19)) for _ in range(rng.randint(2, 4))]
    later = range(1, len(shown))
    asides: Asides = []
    if rng.random() < 0.5:
        twin = rng.choice(later)
        shown[twin] = edited(rng, shown[0], 0 if rng.random() < 0.5 else rng.randint(1, 2))
        same = [k for k in later if same_things(shown[k], shown[0])]
        k = rng.choice((twin, twin, rng.choice(later)))
        text = f"Does the {ORDINALS[k]} image have the same objects as the first image?"
        asides.append([Ask(text, "yes" if k in same else "no", YES_NO)])
        if len(same) == 1 and len(shown) > 2:
            options = tuple(f"the {ORDINALS[k]} image" for k in later)
            text = "Which image has the same objects as the first image?"
            asides.append([Ask(text, options[same[0] - 1], options)])
    for _ in range(3):
        asides += _about_one(rng, shown)
    if not asides:
        number = str(len(shown[0]))
        asides = [[Ask("How many objects are there in the first image?", number, COUNTS[:7])]]
    return Scene(
        images=[paint(rng, things) for things in shown],
        labels=[thing_labels(things) for things in shown],
        asides=asides,
    )


def _about_one(rng: random.Random, shown: list[list[Thing]]) -> Asides:
    """A question that needs the right one of several images."""
    k, kind = rng.randrange(len(shown)), rng.randrange(4)
    if kind == 0:
        return scene_questions(rng, shown[k], 1, f"In the {ORDINALS[k]} image, ")
    if kind == 1:
        name = rng.choice(shown[k]).name
        if sum(any(t.name == name for t in things) for things in shown) > 1:
            return []
        options = tuple(f"the {word} image" for word in ORDINALS[: len(shown)])
        return [[Ask(f"Which image has a {name}?", options[k], options)]]
    if kind == 2:
        return [[Ask(f"What is in the {ORDINALS[k]} image?", listing(shown[k]))]]
    first, second = sorted(rng.sample(range(len(shown)), 2))
    color = rng.choice(shown[first]).color
    both = "yes" if any(t.color == color for t in shown[second]) else "no"
    images = f"the {ORDINALS[first]} image and the {ORDINALS[second]} image"
    return [[Ask(f"Is there a {color} object in {images}?", both, YES_NO)]]
