"""What the embedded bases are pretrained on: an endless stream of scenes with questions and labels.

Every example is one scene, some turns of question and answer about it, and for each of its 4 x 4
places the words that are true there. Most turns are auxiliary; with a small probability, the dose,
the task's own question is among them, except for `HELD_OUT`.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from tools.glimpse_bases.asides import KIND_PARTS, SLANTS, TOOL_PARTS
from tools.glimpse_bases.labels import BANDS, Label
from tools.glimpse_bases.questions import Ask
from tools.glimpse_bases.worlds import Scene, several, single, task_scene
from transferscope.suites.glimpse import VERSION
from transferscope.suites.glimpse.canvas import SIZE, frame
from transferscope.suites.glimpse.figures import KINDS, TOOLS
from transferscope.suites.glimpse.generators import GENERATORS
from transferscope.suites.glimpse.scene import COLORS, ORDINALS, SHAPES
from transferscope.suites.glimpse.surfaces import ALBEDO, FAKES, STYLES
from transferscope.suites.glimpse.tabletop import FITS
from transferscope.tasks import LETTERS, with_choices

HELD_OUT = ("Functional_Correspondence", "Object_Localization", "Visual_Similarity")
"""Tasks whose own question is never part of the stream; their scenes are."""

DOSE: Mapping[str, float] = {
    "Art_Style": 0.15,
    "Forensic_Detection": 0.2,
    "Jigsaw": 0.3,
    "Relative_Depth": 0.2,
    "Relative_Reflectance": 0.2,
    "Spatial_Relation": 0.4,
    "Semantic_Correspondence": 0.7,
    "Visual_Correspondence": 0.7,
    **dict.fromkeys(HELD_OUT, 0.0),
}
"""Factor on the probability of a task's own question; 1 where not named: easy tasks need less."""

WEIGHTS: Mapping[str, float] = {
    "single": 3,
    "several": 2,
    "Art_Style": 0.7,
    "Forensic_Detection": 0.6,
    "Jigsaw": 0.8,
    "Relative_Depth": 0.8,
    "Relative_Reflectance": 0.8,
    "Multi-view_Reasoning": 1.2,
    "Functional_Correspondence": 2,
    "Semantic_Correspondence": 3,
    "Visual_Correspondence": 2,
}
"""How often a world is drawn, relative to the others; 1 where not named."""

GUESSES = (
    *(("A is right", "B is right"), ("left", "right"), ("the second image", "the third image")),
    *(("Point A", "Point B", "Point C", "Point D"), ("A is right", "B is right", "About the same")),
    *(("yes", "no"), ("1", "2", "3", "4"), tuple(f"the {name} image" for name in ORDINALS)),
)
"""Choices of a question that nobody can answer: a base that guesses should prefer no letter."""

WORLDS: dict[str, Callable[[random.Random], Scene]] = {
    **{task: partial(task_scene, task) for task in GENERATORS},
    "single": single,
    "several": several,
}
CELLS = 4
"""Places on each side of an image: the tokens that the language model sees."""

LABELS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [
            *COLORS,
            *SHAPES,
            *(f"@{letter}" for letter in "ABCDR"),
            *BANDS,
            *ALBEDO,
            "shadow",
            *KIND_PARTS,
            *TOOL_PARTS,
            *KINDS,
            *TOOLS,
            *STYLES,
            *SLANTS,
            *(f"f_{flaw}" for flaw in ("none", *FAKES)),
            *(f"{letter}_{fit}" for letter in "AB" for fit in FITS),
            *(f"r{row}" for row in range(CELLS)),
            *(f"c{column}" for column in range(CELLS)),
        ]
    )
)
"""The words a place of an image can be labeled with."""
INDEX = {word: k for k, word in enumerate(LABELS)}


class Example(NamedTuple):
    """One scene as the bases are trained on it."""

    world: str
    images: np.ndarray
    """uint8 (n, 112, 112, 3)."""
    turns: list[tuple[str, str]]
    """Question and answer, in order."""
    labels: np.ndarray
    """uint8 (n, 16, `len(LABELS)`): which words are true at each place, row by row."""


def example(
    index: int, seed: int, *, dose: float = 0.06, choices: float = 0.4, guesses: float = 0
) -> Example:
    """The stream's example number `index`; a pure function of its arguments.

    Args:
        index: number of the example, from 0.
        seed: seed of the stream.
        dose: probability that a task's own question is among the turns, before `DOSE`.
        choices: share of the auxiliary questions that have choices.
        guesses: probability that a question that nobody can answer is among the turns.
    """
    rng = random.Random(f"{VERSION}/pretrain/{seed}/{index}")
    names = list(WORLDS)
    world = rng.choices(names, [WEIGHTS.get(name, 1) for name in names])[0]
    drawn = WORLDS[world](rng)
    images = np.stack([frame(image) for image in drawn.images])
    turns = _turns(rng, drawn, dose * DOSE.get(world, 1), choices, guesses)
    return Example(world, images, turns, _dense(drawn.labels))


def _turns(
    rng: random.Random, scene: Scene, chance: float, choices: float, guesses: float
) -> list[tuple[str, str]]:
    """Up to six auxiliary turns, some with choices, and the task's own question by chance."""
    chains = rng.sample(scene.asides, len(scene.asides))
    turns: dict[str, str] = {}
    for ask in [ask for chain in chains for ask in chain][:6]:
        question, answer = _with_choices(rng, ask) if rng.random() < choices else ask[:2]
        turns.setdefault(question, answer)
    listed = list(turns.items())
    if rng.random() < guesses:
        options = rng.choice(GUESSES)
        guess = rng.randrange(len(options))
        text = with_choices("Which one is right?", options)
        listed.insert(rng.randrange(len(listed) + 1), (text, f"({LETTERS[guess]})"))
    world = scene.world
    if world and rng.random() < chance:
        text = with_choices(world.question, world.choices, world.lead)
        place = 0 if rng.random() < 0.5 else rng.randrange(len(listed) + 1)
        listed.insert(place, (text, f"({LETTERS[world.answer]})"))
    return listed


def _with_choices(rng: random.Random, ask: Ask) -> tuple[str, str]:
    """The question with two to four of its options, with_choices."""
    if len(ask.options) < 2:
        return ask[:2]
    others = [option for option in ask.options if option != ask.answer]
    shown = rng.sample(others, min(len(others), rng.choice((1, 2, 3))))
    place = rng.randrange(len(shown) + 1)
    shown.insert(place, ask.answer)
    return with_choices(ask.question, shown), f"({LETTERS[place]})"


def _dense(labels: Sequence[Sequence[Label]]) -> np.ndarray:
    """Labels as (n, 16, words) of 0 and 1; rows and columns are always true of their places."""
    dense = np.zeros((len(labels), CELLS, CELLS, len(LABELS)), np.uint8)
    for k in range(CELLS):
        dense[:, k, :, INDEX[f"r{k}"]] = 1
        dense[:, :, k, INDEX[f"c{k}"]] = 1
    side = SIZE // CELLS
    for image, found in enumerate(labels):
        for place, word in found:
            if place is None:
                dense[image, :, :, INDEX[word]] = 1
            elif 0 <= place[0] < SIZE and 0 <= place[1] < SIZE:
                dense[image, int(place[1]) // side, int(place[0]) // side, INDEX[word]] = 1
    return dense.reshape(len(labels), CELLS * CELLS, len(LABELS))
