"""One generator for each of BLINK's tasks, and the items drawn with them."""

import random
from collections.abc import Callable

from transferscope.suites.glimpse import VERSION
from transferscope.suites.glimpse.canvas import frame
from transferscope.suites.glimpse.matching import functional, semantic, visual
from transferscope.suites.glimpse.scene import World
from transferscope.suites.glimpse.space import depth, multiview
from transferscope.suites.glimpse.surfaces import art_style, forensic, reflectance
from transferscope.suites.glimpse.tabletop import (
    counting,
    jigsaw,
    localization,
    similarity,
    spatial,
)
from transferscope.tasks import ArrayImage, Item, Split, with_choices

GENERATORS: dict[str, Callable[[random.Random, float], World]] = {
    "Art_Style": art_style,
    "Counting": counting,
    "Forensic_Detection": forensic,
    "Functional_Correspondence": functional,
    "Jigsaw": jigsaw,
    "Multi-view_Reasoning": multiview,
    "Object_Localization": localization,
    "Relative_Depth": depth,
    "Relative_Reflectance": reflectance,
    "Semantic_Correspondence": semantic,
    "Spatial_Relation": spatial,
    "Visual_Correspondence": visual,
    "Visual_Similarity": similarity,
}


def draw(task: str, split: Split, index: int, difficulty: float = 0) -> Item:
    """One item; a pure function of its arguments and `VERSION`."""
    rng = random.Random(f"{VERSION}/{split}/{task}/{index}/{difficulty:g}")
    world = GENERATORS[task](rng, difficulty)
    return Item(
        id=f"{split}_{task}_{index + 1}",
        task=task,
        images=tuple(ArrayImage(frame(image)) for image in world.images),
        question=world.question,
        choices=world.choices,
        answer=world.answer,
        prompt=with_choices(world.question, world.choices, world.lead),
        origin={"version": VERSION, "difficulty": difficulty, **world.scene},
    )
