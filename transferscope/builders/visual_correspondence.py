"""Visual_Correspondence from HPatches: the same point of a scene in another view or light.

    hpatches-sequences-release/SEQUENCE/1.ppm .. 6.ppm
    hpatches-sequences-release/SEQUENCE/H_1_2 .. H_1_6

`i_*` are 57 sequences with other light, `v_*` 59 with another camera position. `H_1_k` holds nine
numbers that carry homogeneous pixel coordinates of image 1 to image k, so that
`H_1_j @ inverse(H_1_i)` carries those of image i to image j. (hpatches-dataset repository.) All
four points are corners (`corners`), so the wrong ones are as good to look at as the right one.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import gaussian_filter, maximum_filter, sobel

from transferscope.builders.markers import (
    corresponding,
    legible,
    lettered_points,
    rounded,
    scaled,
    to_height,
)
from transferscope.builders.prompts import VISUAL_CORRESPONDENCE
from transferscope.builders.record import Candidate, Made, Skip, Unusable
from transferscope.builders.source_files import find, open_source
from transferscope.errors import DataError
from transferscope.tasks.untrusted import read_text

WORKING_SIDE = 512
"""Pixels of the longer side of the image in which corners are looked for."""

CORNERS_APART = 12
"""Working pixels between one corner and the next."""

WEAKEST = 0.02
"""A corner has at least this part of the strength of the image's strongest."""

IMAGES = range(1, 7)

PER_PAIR = 8
"""Candidates for each pair of a sequence's images."""

APART = 60
"""Pixels between the right point and a wrong one, on an image 1024 pixels high."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """Some points of every pair of images of every sequence."""
    first = find(root, "hpatches-sequences-release/[iv]_*/1.ppm", "[iv]_*/1.ppm")
    for folder in sorted(first.parent.parent.glob("[iv]_*")):
        there = [k for k in IMAGES if (folder / f"{k}.ppm").is_file()]
        known = [k for k in there if k == 1 or (folder / f"H_1_{k}").is_file()]
        if 1 not in there or len(known) < 2:
            yield Skip("a sequence without images or homographies", folder.name)
            continue
        name = folder.relative_to(root).as_posix()
        for draw in range(PER_PAIR):
            for i, j in ((i, j) for i in known for j in known if i < j):
                key = f"{folder.name}/{i}-{j}/{draw}"
                yield Candidate(key, folder.name, (0, 1, 2, 3), (name, i, j, draw))


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """A corner of image i as reference; on image j, where it went, and where three others went."""
    name, i, j, draw = candidate.facts
    folder = root / name
    carry = _homography(folder, j) @ np.linalg.inv(_homography(folder, i))
    source, target = (open_source(folder / f"{k}.ppm") for k in (i, j))
    found = corners(source)
    (first, grown), (second, shrunk) = to_height(source), to_height(target)
    here = [scaled(point, grown) for point in found.tolist()]
    there = [scaled(point, shrunk) for point in _carried(carry, found).tolist()]
    shown = [
        n
        for n in range(len(found))
        if legible({"REF": here[n]}, first.size) and legible({"A": there[n]}, second.size)
    ]
    # Draws of one pair take different corners: all shuffle them alike, and start one further on.
    same = np.random.default_rng([int(i), int(j), len(found)]).permutation(shown).tolist()
    for n in same[draw::PER_PAIR]:
        others = [there[m] for m in shown if math.dist(there[m], there[n]) >= APART]
        points = lettered_points(there[n], others, answer, second.size, rng)
        if points:
            origin = {
                "dataset": "HPatches",
                "files": [f"{name}/{i}.ppm", f"{name}/{j}.ppm"],
                "reference": rounded(found[n].tolist()),
            }
            sources, views = (source, target), (first, second)
            marks = {"REF": here[n]}, points
            return corresponding(VISUAL_CORRESPONDENCE, sources, views, marks, answer, origin)
    raise Unusable("too few points that both images show", candidate.key)


def corners(image: Image.Image, most: int = 60) -> Float[np.ndarray, "corner 2"]:
    """The strongest corners of an RGB image as (x, y), in pixels of the image.

    A corner is where brightness changes in every direction: where the smaller eigenvalue of the
    gradients' local covariance has a maximum (Shi and Tomasi, 1994).
    """
    factor = min(1.0, WORKING_SIDE / max(image.size))
    width, height = (max(1, round(length * factor)) for length in image.size)
    grey = np.asarray(image.convert("L").resize((width, height), Image.Resampling.BOX), dtype=float)
    across, down = sobel(grey, axis=1), sobel(grey, axis=0)
    xx, yy, xy = (
        gaussian_filter(a * b, 2) for a, b in ((across,) * 2, (down,) * 2, (across, down))
    )
    strength = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    peaks = (strength == maximum_filter(strength, size=2 * CORNERS_APART + 1)) & (
        strength > max(WEAKEST * strength.max(), 1e-6)
    )
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-strength[rows, columns], kind="stable")[:most]
    scale = np.array([image.width / width, image.height / height])
    return (np.stack([columns[order], rows[order]], axis=1) + 0.5) * scale - 0.5


def _homography(folder: Path, k: int) -> Float[np.ndarray, "3 3"]:
    """What carries homogeneous pixel coordinates of image 1 to image k."""
    if k == 1:
        return np.eye(3)
    where = f"{folder.name}/H_1_{k}"
    try:
        numbers = [float(word) for word in read_text(folder / f"H_1_{k}").split()]
        matrix = np.array(numbers).reshape(3, 3)
    except (ValueError, DataError):
        raise Unusable("a homography that is not nine numbers", where) from None
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < 3:
        raise Unusable("a homography that cannot be inverted", where)
    return matrix


def _carried(
    carry: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "point 2"]
) -> Float[np.ndarray, "point 2"]:
    """Where points go; far outside every image where they go to infinity or behind the camera."""
    moved = np.column_stack([points, np.ones(len(points))]) @ carry.T
    in_front = moved[:, 2] * np.sign(carry[2, 2]) > 1e-9
    depth = np.where(in_front, moved[:, 2], 1.0)
    return np.where(in_front[:, None], moved[:, :2] / depth[:, None], -1e6)
