"""Auxiliary questions about scenes: attributes, counts, places, comparisons, marked points.

They are the half-steps of the tasks (which point is on the star; is the ring above the bar) and
what the bases are pretrained on. No task's own question is among them.
"""

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from transferscope.suites.glimpse.canvas import SIZE
from transferscope.suites.glimpse.scene import (
    COLORS,
    OPPOSITE,
    SHAPES,
    YES_NO,
    Thing,
    pick,
    relation,
    unique,
)

COUNTS = tuple(str(n) for n in range(10))
REGIONS = tuple(
    f"{row} {column}"
    for row in ("top", "middle", "bottom")
    for column in ("left", "center", "right")
)
POINTS = tuple(f"point {letter}" for letter in "ABCD")


class Ask(NamedTuple):
    """An auxiliary question about a scene."""

    question: str
    answer: str
    options: tuple[str, ...] = ()
    """Answers it could have; empty for an open question."""


def region(x: float, y: float) -> str:
    """One of nine places, e.g. `top left`."""
    return REGIONS[3 * min(2, int(y * 3 / SIZE)) + min(2, int(x * 3 / SIZE))]


def with_prefix(prefix: str, text: str) -> str:
    """A question, opened with which image it is about where there are several."""
    return f"{prefix}{text}" if prefix else text[0].upper() + text[1:]


def scene_questions(
    rng: random.Random, things: Sequence[Thing], count: int, prefix: str = ""
) -> list[list[Ask]]:
    """Up to `count` questions about one image; a draw that does not fit the scene gives none."""
    drawn = (rng.choice(KINDS)(rng, things, prefix) for _ in range(count) if things)
    return [[ask] for ask in drawn if ask is not None]


def _color(rng: random.Random, things: Sequence[Thing], prefix: str) -> Ask | None:
    known = unique(things, "shape")
    if not known:
        return None
    thing = rng.choice(known)
    return Ask(with_prefix(prefix, f"what color is the {thing.shape}?"), thing.color, tuple(COLORS))


def _shape(rng: random.Random, things: Sequence[Thing], prefix: str) -> Ask | None:
    known = unique(things, "color")
    if not known:
        return None
    thing = rng.choice(known)
    return Ask(with_prefix(prefix, f"what shape is the {thing.color} object?"), thing.shape, SHAPES)


def _place(rng: random.Random, things: Sequence[Thing], prefix: str) -> Ask | None:
    known = unique(things)
    if not known:
        return None
    thing = rng.choice(known)
    return Ask(
        with_prefix(prefix, f"where is the {thing.name}?"), region(thing.x, thing.y), REGIONS
    )


def _how_many(rng: random.Random, things: Sequence[Thing], prefix: str) -> Ask | None:
    return Ask(with_prefix(prefix, "how many objects are there?"), str(len(things)), COUNTS)


def _how_many_of(rng: random.Random, things: Sequence[Thing], prefix: str) -> Ask | None:
    by = rng.choice(("color", "shape"))
    every = COLORS if by == "color" else SHAPES
    value = getattr(rng.choice(things), by) if rng.random() < 0.8 else pick(rng, every)
    number = sum(getattr(t, by) == value for t in things)
    return Ask(with_prefix(prefix, f"how many {value} objects are there?"), str(number), COUNTS[:7])


def _is_there(rng: random.Random, things: Sequence[Thing], prefix: str) -> Ask | None:
    present = rng.random() < 0.5
    name = rng.choice(things).name if present else f"{pick(rng, COLORS)} {pick(rng, SHAPES)}"
    answer = "yes" if any(t.name == name for t in things) else "no"
    return Ask(with_prefix(prefix, f"is there a {name}?"), answer, YES_NO)


def _more(rng: random.Random, things: Sequence[Thing], prefix: str) -> Ask | None:
    known = unique(things, "color")
    if len(known) < 2:
        return None
    (a, b), (word, axis) = rng.sample(known, 2), rng.choice((("left", "x"), ("top", "y")))
    if abs(getattr(a, axis) - getattr(b, axis)) <= 6:
        return None
    first = a if getattr(a, axis) < getattr(b, axis) else b
    text = f"which is more to the {word}, the {a.color} object or the {b.color} object?"
    return Ask(with_prefix(prefix, text), first.color, tuple(COLORS))


def _larger(rng: random.Random, things: Sequence[Thing], prefix: str) -> Ask | None:
    known = unique(things, "color")
    if len(known) < 2:
        return None
    a, b = rng.sample(known, 2)
    if abs(a.radius - b.radius) <= 2:
        return None
    larger = a if a.radius > b.radius else b
    text = f"which is larger, the {a.color} object or the {b.color} object?"
    return Ask(with_prefix(prefix, text), larger.color, tuple(COLORS))


def where_question(rng: random.Random, things: Sequence[Thing], prefix: str) -> Ask | None:
    """The main direction between two things, or yes or no about one axis."""
    by_color = rng.random() < 0.5
    known = unique(things, "color" if by_color else "name")
    if len(known) < 2:
        return None
    a, b = rng.sample(known, 2)
    name_a, name_b = (f"{t.color} object" if by_color else t.name for t in (a, b))
    dx, dy = a.x - b.x, a.y - b.y
    if rng.random() < 0.35:
        if abs(abs(dx) - abs(dy)) <= 6:
            return None
        text = f"where is the {name_a} relative to the {name_b}?"
        return Ask(with_prefix(prefix, text), relation(dx, dy), tuple(OPPOSITE))
    sideways = (abs(dx) > abs(dy)) != (rng.random() < 0.25)
    if abs(dx if sideways else dy) < 9:
        return None
    true = relation(dx, 0) if sideways else relation(0, dy)
    yes = rng.random() < 0.5
    text = f"is the {name_a} {true if yes else OPPOSITE[true]} the {name_b}?"
    return Ask(with_prefix(prefix, text), "yes" if yes else "no", YES_NO)


KINDS = (
    *(_color, _shape, _place, _how_many, _how_many_of, _is_there, _more, _larger),
    *(where_question, where_question, where_question, where_question),
)
"""What `scene_questions` draws from; relations most often."""


def point_questions(rng: random.Random, names: Mapping[str, str]) -> list[list[Ask]]:
    """Which point is on the X; is point A on the X. `names` (letter to name) must be distinct."""
    letters = list(names)
    letter = rng.choice(letters)
    options = tuple(f"point {other}" for other in letters)
    asks = [[which_point(names[letter], letter, options)]]
    if len(letters) > 1:
        letter, yes = rng.choice(letters), rng.random() < 0.5
        other = letter if yes else rng.choice([x for x in letters if x != letter])
        text = f"Is point {letter} on the {names[other]}?"
        asks.append([Ask(text, "yes" if yes else "no", YES_NO)])
    return asks


def which_point(name: str, letter: str, options: tuple[str, ...] = POINTS) -> Ask:
    """Which point is on the X."""
    return Ask(f"Which point is on the {name}?", f"point {letter}", options)


def listing(things: Sequence[Thing]) -> str:
    """The names from left to right."""
    return ", ".join(t.name for t in sorted(things, key=lambda t: t.x))


def same_things(a: Sequence[Thing], b: Sequence[Thing]) -> bool:
    """Whether both hold the same names, wherever they lie."""
    return sorted(t.name for t in a) == sorted(t.name for t in b)
