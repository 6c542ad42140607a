"""Relative_Reflectance from Intrinsic Images in the Wild (IIW): which surface is darker.

    data/PHOTO.json     beside data/PHOTO.png; the files may also be in the folder itself

A photo's JSON has `intrinsic_points` (`id`, `x`, `y` as parts of width and height, `opaque`) and
`intrinsic_comparisons` (`id`, `point1`, `point2`, `darker`: `1`, `2` or `E` for equal, null where
people disagreed, and its weight `darker_score`). (intrinsic repository of seanbell,
`bell2014/judgements.py`; a later data set in the same form adds `compare_what`, of which only `R`,
reflectance, is used.) The data set has no split. Papers test on every fifth photo by number.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.builders.markers import WHITE, circled, legible, rounded, to_height
from transferscope.builders.prompts import RELATIVE_REFLECTANCE
from transferscope.builders.record import Candidate, Made, Skip, Unusable
from transferscope.builders.source_files import find, json_of, open_source, within

PER_PHOTO = 8
"""At most so many comparisons with each answer are taken from a photo, which has about 100."""

HELD_OUT = 5
"""The first of every so many photos is left out."""

SAME = "E"
ENDS = ("point1", "point2")


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """Some comparisons of every photo, chosen by the seed."""
    folder = find(root, "iiw-dataset/data/*.json", "data/*.json", "*.json").parent
    rng = np.random.default_rng(seed)
    files = sorted(folder.glob("*.json"), key=lambda path: (len(path.stem), path.stem))
    for place, path in enumerate(files):
        if place % HELD_OUT:
            yield from _photo(path, root, rng)
        else:
            yield Skip("a photo that is held out", path.name)


def _photo(path: Path, root: Path, rng: np.random.Generator) -> Iterator[Candidate | Skip]:
    content = json_of(path)
    try:
        points = {point["id"]: point for point in content["intrinsic_points"]}
        compared = [
            (str(one["id"]), one["darker"], [_position(points[one[end]]) for end in ENDS])
            for one in content["intrinsic_comparisons"]
            if _counts(one, points)
        ]
    except (KeyError, TypeError, ValueError):
        yield Skip("an incomplete annotation", path.name)
        return
    name = path.with_suffix(".png").relative_to(root).as_posix()
    aspect = content.get("aspect_ratio")
    for darker in ("1", "2", SAME):
        of_kind = [one for one in compared if one[1] == darker]
        for index in rng.permutation(len(of_kind))[:PER_PHOTO]:
            key, _, ends = of_kind[index]
            facts = (name, darker, *ends, aspect)
            answers = (2,) if darker == SAME else (0, 1)
            yield Candidate(f"{path.stem}/{key}", f"{path.stem}{darker == SAME}", answers, facts)


def _counts(comparison: dict[str, Any], points: dict[Any, dict[str, Any]]) -> bool:
    """Whether a comparison is of reflectance, between opaque points, and people agreed."""
    return (
        comparison.get("compare_what", "R") == "R"
        and comparison["darker"] in ("1", "2", SAME)
        and (comparison.get("darker_score") or 0) > 0
        and all(points[comparison[end]].get("opaque") is True for end in ENDS)
    )


def _position(point: dict[str, Any]) -> tuple[float, float]:
    x, y = float(point["x"]), float(point["y"])
    if not (0 <= x < 1 and 0 <= y < 1):
        raise ValueError("a point outside its image")
    return x, y


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The darker point gets the letter of the answer; of equal ones, either gets either."""
    name, darker, *ends, aspect = candidate.facts
    source = open_source(within(root, name))
    ratio = source.width / source.height
    if isinstance(aspect, int | float) and abs(aspect - ratio) > 0.02 * ratio:
        raise Unusable("an image whose shape is not the annotation's", name)
    image, _ = to_height(source)
    ends = [(x * image.width - 0.5, y * image.height - 0.5) for x, y in ends]
    first_is_b = bool(rng.integers(2)) if darker == SAME else (darker == "1") == (answer == 1)
    points = dict(zip("AB", ends[::-1] if first_is_b else ends, strict=True))
    if not legible(points, image.size):
        raise Unusable("points too close to each other or to the border", candidate.key)
    return Made(
        RELATIVE_REFLECTANCE,
        images=(circled(image, points, WHITE),),
        sources=(source,),
        origin={
            "dataset": "IIW",
            "file": name,
            "comparison": candidate.key,
            "darker": darker,
            **{letter: rounded(at) for letter, at in points.items()},
        },
    )
