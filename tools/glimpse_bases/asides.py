"""Auxiliary questions about the worlds of the suite's tasks, which the bases are pretrained on.

A function draws from the generator that drew the world, directly after it. `Asides` are lists of
questions, each of which keeps its order.
"""

import math
import random
from collections.abc import Callable

from tools.glimpse_bases.labels import BANDS, ORBIT_BANDS, ROOM_BANDS, band
from tools.glimpse_bases.questions import (
    COUNTS,
    Ask,
    listing,
    point_questions,
    same_things,
    scene_questions,
    where_question,
    which_point,
)
from transferscope.suites.glimpse.canvas import SIZE
from transferscope.suites.glimpse.figures import KINDS, TOOLS
from transferscope.suites.glimpse.scene import (
    COLORS,
    OPPOSITE,
    ORDINALS,
    SHAPES,
    YES_NO,
    World,
    pick,
    unique,
)
from transferscope.suites.glimpse.surfaces import ALBEDO, FAKES, STYLES
from transferscope.suites.glimpse.tabletop import FITS

Asides = list[list[Ask]]

KIND_PARTS = (
    *("head", "tail", "leg", "back", "wheel", "roof", "front", "fin", "belly", "wing", "seat"),
    "foot",
)
TOOL_PARTS = ("end", "grip", "neck", "edge")
SLANTS = ("vertical", "horizontal", "rising", "falling")


def _counting(rng: random.Random, world: World) -> Asides:
    (things,), (color, kind) = world.known["things"], world.known["look"]
    colored = str(sum(t.color == color for t in things))
    shaped = str(sum(t.shape == kind for t in things))
    count = world.choices[world.answer]
    return [
        *scene_questions(rng, things, 2),
        [Ask(f"How many {color} objects are there?", colored, COUNTS)],
        [Ask(f"How many {kind} objects are there?", shaped, COUNTS)],
        [Ask(f"Count the {color} {kind} objects.", count, COUNTS[:7])],
    ]


def _localization(rng: random.Random, world: World) -> Asides:
    (things,), name = world.known["things"], world.known["target"].name
    wrong, answer = str(world.scene["wrong_box"]), world.answer
    boxes, shown = ("box A", "box B"), rng.randrange(2)
    good, bad = boxes[answer], boxes[1 - answer]
    asks = [
        Ask(f"How does {boxes[shown]} fit the {name}?", "fits" if shown == answer else wrong, FITS),
        Ask(f"How does {bad} fit the {name}?", wrong, FITS),
        Ask(
            f"Is {boxes[1 - shown]} tight around the {name}?",
            "yes" if 1 - shown == answer else "no",
            YES_NO,
        ),
        Ask(f"What object is in {boxes[shown]}?", name),
    ]
    if wrong in ("big", "small"):
        asks.append(Ask("Which box is larger?", bad if wrong == "big" else good, boxes))
    elif wrong in ("left", "right"):
        asks.append(Ask("Which box is more to the left?", bad if wrong == "left" else good, boxes))
    else:
        asks.append(Ask("Which box is more to the top?", bad if wrong == "up" else good, boxes))
    return [*scene_questions(rng, things, 1), *([ask] for ask in asks)]


def _spatial(rng: random.Random, world: World) -> Asides:
    (things,), (a, b) = world.known["things"], world.known["pair"]
    about_one = scene_questions(rng, things, 1)
    between = [[ask] for ask in (where_question(rng, things, "") for _ in range(2)) if ask]
    text = f"Where is the {a.name} relative to the {b.name}?"
    return [*about_one, *between, [Ask(text, str(world.scene["relation"]), tuple(OPPOSITE))]]


def _similarity(rng: random.Random, world: World) -> Asides:
    shown, index = world.known["things"], rng.randrange(3)
    asides = scene_questions(rng, shown[index], 1, f"In the {ORDINALS[index]} image, ")
    for k in (1, 2):
        same = "yes" if same_things(shown[0], shown[k]) else "no"
        text = f"Does the {ORDINALS[k]} image have the same objects as the first image?"
        asides.append([Ask(text, same, YES_NO)])
    index = rng.randrange(3)
    asides.append([Ask(f"What is in the {ORDINALS[index]} image?", listing(shown[index]))])
    return asides


def _jigsaw(rng: random.Random, world: World) -> Asides:
    (things,), k = world.known["things"], rng.randrange(2)
    text = f"Does the {ORDINALS[k + 1]} image fit the dark corner?"
    run = str(world.scene["stripes"])
    asides = [
        [Ask(text, "yes" if k == world.answer else "no", YES_NO)],
        [Ask("How do the stripes run in the first image?", run, SLANTS)],
    ]
    visible = [t for t in things if t.x < SIZE // 2 or t.y < SIZE // 2]
    if visible and visible[-1] in unique(things, "color"):
        text = f"What shape is the {visible[-1].color} object in the first image?"
        asides.append([Ask(text, visible[-1].shape, SHAPES)])
    return asides


def _reflectance(rng: random.Random, world: World) -> Asides:
    surface, cells, lit = (world.known[key] for key in ("surface", "cells", "lit"))
    asides: Asides = []
    for letter in rng.sample("AB", 2):
        row, column = cells["AB".index(letter)]
        name = surface[row][column]
        asides.append([Ask(f"How dark is the surface at point {letter}?", name, tuple(ALBEDO))])
        if world.scene["shadow"]:
            x, y = world.known["points"][letter]
            answer = "no" if lit[int(y), int(x)] else "yes"
            asides.append([Ask(f"Is point {letter} in shadow?", answer, YES_NO)])
    number = str(sum(map(len, surface)))
    return [*asides, [Ask("How many surfaces are there?", number, ("9", "12", "16"))]]


def _art_style(rng: random.Random, world: World) -> Asides:
    styles, index = world.known["styles"], rng.randrange(3)
    first, second = sorted(rng.sample(range(3), 2))
    same = "yes" if styles[first] == styles[second] else "no"
    text = f"the {ORDINALS[first]} image and the {ORDINALS[second]} image have the same style?"
    return [
        [Ask(f"What is the style of the {ORDINALS[index]} image?", styles[index], STYLES)],
        [Ask(f"Do {text}", same, YES_NO)],
    ]


def _forensic(rng: random.Random, world: World) -> Asides:
    i, j = rng.sample(range(4), 2)
    flaw = world.known["flaws"][i]
    real = "yes" if j == world.answer else "no"
    return [
        [Ask(f"What is wrong with the {ORDINALS[i]} image?", flaw, ("none", *FAKES))],
        [Ask(f"Is the {ORDINALS[j]} image real?", real, YES_NO)],
    ]


def _visual(rng: random.Random, world: World) -> Asides:
    things = [t for t in world.known["things"][0] if 6 < t.x < SIZE - 6 and 6 < t.y < SIZE - 6]
    names = [t.name for t in world.known["chosen"]]
    clear = [k for k in range(4) if names.count(names[k]) == 1]
    k, ours = rng.randrange(4), names[world.answer]
    chain = [Ask("What is at the REF point?", ours)]
    if world.answer in clear:
        chain.append(which_point(ours, "ABCD"[world.answer]))
    asides = [[Ask(f"What is at point {'ABCD'[k]}?", names[k])], chain]
    if len(clear) > 1:
        asides += point_questions(rng, {"ABCD"[k]: names[k] for k in clear})
    return [*asides, *scene_questions(rng, unique(things), 1, "In the first image, ")]


def _parts(rng: random.Random, world: World, words: tuple[str, ...]) -> Asides:
    names = dict(zip("ABCD", world.known["parts"], strict=True))
    part, letter = str(world.scene["part"]), pick(rng, names)
    right = which_point(part, "ABCD"[world.answer])
    return [
        [Ask("Which part is at the REF point?", part, words), right],
        [Ask(f"Which part is at point {letter}?", names[letter], words)],
        *point_questions(rng, names),
        *point_questions(rng, names)[:1],
    ]


def _semantic(rng: random.Random, world: World) -> Asides:
    kind = world.known["posed"][0].kind
    return [[Ask("What thing is in the images?", kind, KINDS)], *_parts(rng, world, KIND_PARTS)]


def _functional(rng: random.Random, world: World) -> Asides:
    asides, k = _parts(rng, world, TOOL_PARTS), rng.randrange(2)
    kind, text = world.known["posed"][k].kind, f"What tool is in the {ORDINALS[k]} image?"
    return [[Ask(text, kind, tuple(TOOLS))], *asides]


def _depth(rng: random.Random, world: World) -> Asides:
    stands, marked = world.known["stands"], world.known["marked"]
    asks: Asides = []
    alone = unique([t for _, t in stands], "color")
    known = [(z, t) for z, t in stands if t in alone]
    for _ in range(2):
        if len(known) > 1:
            (z, a), (w, b) = rng.sample(known, 2)
            if abs(math.log(z / w)) > 0.2:
                text = f"Which is closer, the {a.color} object or the {b.color} object?"
                asks.append([Ask(text, (a if z < w else b).color, tuple(COLORS))])
    if known:
        z, a = rng.choice(known)
        asks.append([Ask(f"How far is the {a.color} object?", band(z, ROOM_BANDS), BANDS)])
    k = rng.randrange(2)
    (z, thing), letter = marked[k], "AB"[k]
    asks.append([Ask(f"What color is at point {letter}?", thing.color, tuple(COLORS))])
    asks.append([Ask(f"How far is point {letter}?", band(z, ROOM_BANDS), BANDS)])
    names = {x: f"{t.color} object" for x, (_, t) in zip("AB", marked, strict=True)}
    if len(set(names.values())) == 2:
        asks += point_questions(rng, names)
    return asks


def _multiview(rng: random.Random, world: World) -> Asides:
    posts = world.known["posts"]
    seen = [{t.color: (t.x, z) for z, t in view} for view in world.known["views"]]
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
    asks.append([Ask(text, band(seen[k][color][1], ORBIT_BANDS), BANDS)])
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


ASKERS: dict[str, Callable[[random.Random, World], Asides]] = {
    "Art_Style": _art_style,
    "Counting": _counting,
    "Forensic_Detection": _forensic,
    "Functional_Correspondence": _functional,
    "Jigsaw": _jigsaw,
    "Multi-view_Reasoning": _multiview,
    "Object_Localization": _localization,
    "Relative_Depth": _depth,
    "Relative_Reflectance": _reflectance,
    "Semantic_Correspondence": _semantic,
    "Spatial_Relation": _spatial,
    "Visual_Correspondence": _visual,
    "Visual_Similarity": _similarity,
}
"""The questions about each task's worlds."""
