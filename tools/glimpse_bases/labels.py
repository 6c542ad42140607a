"""A word for every place of a scene's images, which the bases' vision tower is pretrained on."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from transferscope.suites.glimpse.canvas import SIZE, Point
from transferscope.suites.glimpse.scene import Thing, World

BANDS = ("near", "middle", "far")
ROOM_BANDS = (2.6, 4.3)
"""Where near ends and far begins, in units of the room of Relative_Depth."""
ORBIT_BANDS = (2.2, 3)
"""The same for Multi-view_Reasoning."""


class Label(NamedTuple):
    """A word that is true at a place of an image; everywhere where the place is None."""

    place: Point | None
    word: str


Labels = list[list[Label]]
"""For each image."""


def thing_labels(things: Iterable[Thing]) -> list[Label]:
    """Color and shape at each thing's center."""
    return [Label((t.x, t.y), word) for t in things for word in (t.color, t.shape)]


def point_labels(points: Mapping[str, Point]) -> list[Label]:
    """The marker's letter at each point."""
    return [Label(place, f"@{letter}") for letter, place in points.items()]


def band(distance: float, ends: tuple[float, float]) -> str:
    """Near, middle or far."""
    return BANDS[(distance >= ends[0]) + (distance >= ends[1])]


def _things(world: World) -> Labels:
    return [thing_labels(things) for things in world.known["things"]]


def _styles(world: World) -> Labels:
    styles = world.known["styles"]
    return [[*found, Label(None, s)] for found, s in zip(_things(world), styles, strict=True)]


def _flaws(world: World) -> Labels:
    pairs = zip(world.known["things"], world.known["flaws"], strict=True)
    return [
        [*(Label((t.x, t.y), t.color) for t in balls), Label(None, f"f_{flaw}")]
        for balls, flaw in pairs
    ]


def _surfaces(world: World) -> Labels:
    known = world.known
    labels = point_labels(known["points"])
    for y in range(14, SIZE, 28):
        for x in range(14, SIZE, 28):
            row, column = (
                np.searchsorted(cuts, v, "right") - 1
                for cuts, v in zip(known["cuts"], (y, x), strict=True)
            )
            labels.append(Label((x, y), known["surface"][row][column]))
            if world.scene["shadow"] and not known["lit"][y, x]:
                labels.append(Label((x, y), "shadow"))
    return [labels]


def _objects(world: World) -> Labels:
    (view, things), points = world.known["things"], world.known["points"]
    reference = point_labels({"R": world.known["place"]})
    return [thing_labels(view) + reference, thing_labels(things) + point_labels(points)]


def _parts(world: World) -> Labels:
    labels = [
        [Label(None, figure.kind), *(Label(place, name) for name, place in figure.parts.items())]
        for figure in world.known["posed"]
    ]
    labels[0] += point_labels({"R": world.known["place"]})
    labels[1] += point_labels(world.known["points"])
    return labels


def _pieces(world: World) -> Labels:
    (things,), run, half = world.known["things"], str(world.scene["stripes"]), SIZE // 2
    visible = thing_labels(t for t in things if t.x < half or t.y < half)
    hidden = thing_labels(t for t in things if t.x > half and t.y > half)
    pieces: Labels = [[], []]
    pieces[world.answer] = [*hidden, Label((90, 90), run)]
    return [[*visible, Label(None, run)], *pieces]


def _boxes(world: World) -> Labels:
    target, letters = world.known["target"], "AB" if world.answer == 0 else "BA"
    (labels,) = _things(world)
    for letter, how in zip(letters, ("fits", world.scene["wrong_box"]), strict=True):
        labels.append(Label((target.x, target.y), f"{letter}_{how}"))
    return [labels]


def _depths(world: World) -> Labels:
    stands, marked = world.known["stands"], world.known["marked"]
    points = {letter: (s.thing.x, s.thing.y) for letter, s in zip("AB", marked, strict=True)}
    labels = thing_labels([s.thing for s in stands]) + point_labels(points)
    return [labels + [Label((s.thing.x, s.thing.y), band(s.z, ROOM_BANDS)) for s in stands]]


def _posts(world: World) -> Labels:
    return [
        [
            Label((t.x, t.y), word)
            for z, t in view
            for word in (t.color, t.shape, band(z, ORBIT_BANDS))
        ]
        for view in world.known["views"]
    ]


LABELERS: dict[str, Callable[[World], Labels]] = {
    "Art_Style": _styles,
    "Counting": _things,
    "Forensic_Detection": _flaws,
    "Functional_Correspondence": _parts,
    "Jigsaw": _pieces,
    "Multi-view_Reasoning": _posts,
    "Object_Localization": _boxes,
    "Relative_Depth": _depths,
    "Relative_Reflectance": _surfaces,
    "Semantic_Correspondence": _parts,
    "Spatial_Relation": _things,
    "Visual_Correspondence": _objects,
    "Visual_Similarity": _things,
}
"""The labels of each task's worlds."""
