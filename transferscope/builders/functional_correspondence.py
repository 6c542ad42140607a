"""Functional_Correspondence from FunKPoint: the point that serves the same purpose in an action.

    annotations.jsonl     {"image", "action", "category", "points": [[x, y], ...]} on each line
    or annotations.csv, or ACTION/references.csv and ACTION/tests.csv, with the columns `action`,
    `dataset_image_path` (or `image`), `object_category` (or `category`), `p1_x`, `p1_y` .. `p5_y`

Points are parts of width and height, in the same order in all images of an action; null (or empty)
where an image does not show one. "The Functional Correspondence Problem" (ICCV 2021). How the
original files look is not known: these columns are those of a public labeling tool for them.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transferscope.builders.markers import (
    Point,
    corresponding,
    legible,
    lettered_points,
    rounded,
    to_height,
)
from transferscope.builders.prompts import functional_correspondence
from transferscope.builders.record import Candidate, Made, Skip, Unusable
from transferscope.builders.source_files import find, open_source, rows_of, within
from transferscope.errors import DataError
from transferscope.tasks.untrusted import read_text

PARTNERS = 4
"""How many other images each image is paired with, for each of its actions."""

SPOKEN = {"Brush Dust": "Brush/Dust", "Mash Pound": "Mash/Pound"}
"""Actions whose spelling in the benchmark is not that of a folder's name with spaces."""


class Annotated(NamedTuple):
    """An image's points for one action."""

    image: str
    action: str
    category: str
    points: tuple[Point | None, ...]
    """As parts of width and height."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """Each image with some others of the same action, of other categories where there are any."""
    by_action: dict[str, list[Annotated]] = defaultdict(list)
    for found in _annotations(root):
        if isinstance(found, Skip):
            yield found
        else:
            by_action[found.action].append(found)
    rng = np.random.default_rng(seed)
    for action, images in sorted(by_action.items()):
        for one in images:
            others = [other for other in images if other.image != one.image]
            unlike = [other for other in others if other.category != one.category]
            partners = unlike or others
            for index in rng.permutation(len(partners))[:PARTNERS]:
                other = partners[index]
                key = f"{action}/{one.image}/{other.image}"
                yield Candidate(key, one.image, (0, 1, 2, 3), (one, other))


def _annotations(root: Path) -> Iterator[Annotated | Skip]:
    names = ("annotations.jsonl", "annotations.csv", "*/references.csv", "*/tests.csv")
    path = find(root, *names)
    if path.suffix == ".jsonl":
        for found in rows_of(path):
            yield found if isinstance(found, Skip) else _annotated(found[1], found[0])
        return
    paths = [path] if path.parent == root else [*root.glob(names[2]), *root.glob(names[3])]
    for path in sorted(paths):
        table = csv.DictReader(io.StringIO(read_text(path), newline=""))
        if table.fieldnames is None or not {"action", "p1_x", "p1_y"} <= set(table.fieldnames):
            raise DataError(f"{path}: has no columns action, p1_x, p1_y, ..., as FunKPoint's do")
        for row in table:
            points: list[list[str | None] | None] = []
            while (point := f"p{len(points) + 1}_") + "x" in row:
                pair = [row.get(point + axis) or None for axis in "xy"]
                points.append(None if None in pair else pair)
            as_line = {
                "image": row.get("dataset_image_path") or row.get("image"),
                "action": row["action"],
                "category": row.get("object_category") or row.get("category"),
                "points": points,
            }
            where = f"{path.relative_to(root).as_posix()}:{table.line_num}"
            yield _annotated(as_line, where)


def _annotated(row: dict[str, Any], where: str) -> Annotated | Skip:
    image, action = row.get("image"), row.get("action")
    if not (isinstance(image, str) and image and isinstance(action, str) and action.strip()):
        return Skip("an incomplete annotation", where)
    try:
        points = tuple(
            None if point is None else (float(point[0]), float(point[1])) for point in row["points"]
        )
    except (KeyError, TypeError, ValueError, IndexError):
        return Skip("an incomplete annotation", where)
    if any(not (0 <= x <= 1 and 0 <= y <= 1) for x, y in filter(None, points)):
        return Skip("points that are not parts of width and height", where)
    spaced = " ".join(action.replace("_", " ").split())
    category = row.get("category")
    return Annotated(image, SPOKEN.get(spaced, spaced), str(category or ""), points)


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """A point of the first image as reference; on the second, the same one and three others."""
    one, other = candidate.facts
    source, target = (open_source(within(root, each.image)) for each in (one, other))
    (first, _), (second, _) = to_height(source), to_height(target)
    here, there = (
        [p and (p[0] * view.width - 0.5, p[1] * view.height - 0.5) for p in each.points]
        for each, view in ((one, first), (other, second))
    )
    for reference in rng.permutation(min(len(here), len(there))):
        begin, end = here[reference], there[reference]
        if begin is None or end is None or not legible({"REF": begin}, first.size):
            continue
        rest = [point for n, point in enumerate(there) if n != reference and point is not None]
        points = lettered_points(end, rest, answer, second.size, rng)
        if points:
            origin = {
                "dataset": "FunKPoint",
                "files": [one.image, other.image],
                "action": one.action,
                "categories": [one.category, other.category],
                "keypoint": int(reference) + 1,
                "reference": rounded(begin),
            }
            wording, views = functional_correspondence(one.action), (first, second)
            marks = {"REF": begin}, points
            return corresponding(wording, (source, target), views, marks, answer, origin)
    raise Unusable("points missing, or too close to each other or to the border", candidate.key)
