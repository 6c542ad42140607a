"""One generator for each of BLINK's tasks."""

import random
from collections.abc import Callable

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
