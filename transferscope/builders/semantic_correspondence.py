"""Semantic_Correspondence from SPair-71k: the same part of another object of its category.

    PairAnnotation/trn/NUMBER-SOURCE-TARGET:CATEGORY.json
    JPEGImages/CATEGORY/IMAGE.jpg

A pair's JSON has `src_imname`, `trg_imname`, `src_imsize`, `trg_imsize` (width, height, depth),
`category`, and `src_kps`, `trg_kps`: the points that both images show, in the same order, as (x, y)
in pixels. Only the training pairs `trn` are read; the benchmark took the test pairs, whose images
are others. (The data set's loaders in juhongm999/hpf and sd-dino.)
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferscope.builders.markers import (
    Point,
    corresponding,
    legible,
    lettered_points,
    rounded,
    scaled,
    to_height,
)
from transferscope.builders.prompts import SEMANTIC_CORRESPONDENCE
from transferscope.builders.record import Candidate, Made, Skip, Unusable
from transferscope.builders.source_files import find, json_of, open_source, within
from transferscope.errors import DataError

LEAST = 4
"""Points that both images must show: the right one and three others."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each training pair."""
    folder = find(root, "PairAnnotation/trn", "SPair-71k/PairAnnotation/trn")
    files = sorted(path.name for path in folder.iterdir() if path.suffix == ".json")
    if not files:
        raise DataError(f"{folder}: holds no JSON files, one for each pair of images")
    for name in files:
        stem = name.removesuffix(".json")
        source = stem.split("-")[1] if stem.count("-") >= 2 else stem
        yield Candidate(stem, source, (0, 1, 2, 3), folder.relative_to(root) / name)


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """One point of the source as reference; on the target, the same one and three others."""
    path = root / candidate.facts
    pair = _pair(path)
    images = path.parents[2] / "JPEGImages"
    (source, first), (target, second) = (
        _view(images, pair, side, candidate.key) for side in ("src", "trg")
    )
    views, ids = (source, target), pair.get("kps_ids")
    ids = ids if isinstance(ids, list) else []
    for reference in rng.permutation(len(first)):
        others = [point for index, point in enumerate(second) if index != reference]
        points = lettered_points(second[reference], others, answer, target.size, rng)
        if points and legible({"REF": first[reference]}, source.size):
            at, names = first[reference], (pair["src_imname"], pair["trg_imname"])
            origin = {
                "dataset": "SPair-71k",
                "files": [f"{pair['category']}/{name}" for name in names],
                "category": pair["category"],
                "keypoint": ids[reference] if len(ids) > reference else None,
                "reference": rounded(at),
            }
            marks = {"REF": at}, points
            return corresponding(SEMANTIC_CORRESPONDENCE, views, views, marks, answer, origin)
    raise Unusable("points too close to each other or to the border", candidate.key)


def _pair(path: Path) -> dict[str, Any]:
    """A pair's annotation, with all that is needed."""
    try:
        pair = json_of(path)
        texts = [pair[key] for key in ("src_imname", "trg_imname", "category")]
        counts = [len(pair["src_kps"]), len(pair["trg_kps"])]
        sizes = [len(pair[key]) for key in ("src_imsize", "trg_imsize")]
    except (DataError, KeyError, TypeError):
        raise Unusable("an incomplete annotation", path.stem) from None
    if counts[0] != counts[1] or min(sizes) < 2 or not all(isinstance(t, str) for t in texts):
        raise Unusable("an incomplete annotation", path.stem)
    if counts[0] < LEAST:
        raise Unusable(f"fewer than {LEAST} points in common", path.stem)
    return pair


def _view(
    images: Path, pair: dict[str, Any], side: str, key: str
) -> tuple[Image.Image, list[Point]]:
    """One image at the benchmark's height, and its points."""
    image = open_source(within(images, f"{pair['category']}/{pair[f'{side}_imname']}"))
    if list(image.size) != list(pair[f"{side}_imsize"][:2]):
        raise Unusable("an image whose size is not the annotation's", key)
    image, factor = to_height(image)
    try:
        points = [scaled((float(x), float(y)), factor) for x, y in pair[f"{side}_kps"]]
    except (TypeError, ValueError):
        raise Unusable("an incomplete annotation", key) from None
    return image, points
