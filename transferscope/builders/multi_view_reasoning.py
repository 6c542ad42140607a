"""Multi-view_Reasoning from Wild6D: did the camera move left or right round an object.

    CATEGORY/OBJECT/SEQUENCE/images/N.jpg         frames, N a number
    CATEGORY/OBJECT/SEQUENCE/images/N-mask.png    the object in them
    CATEGORY/OBJECT/SEQUENCE/metadata             JSON without extension: `K`, nine numbers, the
                                                  focal length first; perhaps `w` and `poses`

(Wild6D repository of OasisYang, `data/pose_dataset.py`, and its public loaders.) `poses` have the
form of the app Record3D: for each frame a quaternion x, y, z, w and a position, y up. Where there
are any, the camera's angle round the point that it looks at is taken from them, unless the frames
contradict; else the background's movement behind the object decides (`camera`). Clockwise, seen
from above, is left. A clip played backwards is a clip with the other answer.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transferscope.builders.camera import (
    WIDTH,
    View,
    turned_by_background,
    turned_by_poses,
    view_of,
)
from transferscope.builders.prompts import MULTI_VIEW_REASONING
from transferscope.builders.record import Candidate, Made, Skip, Unusable
from transferscope.builders.source_files import find, json_of, open_source, within
from transferscope.errors import DataError

CATEGORIES = ("bottle", "bowl", "camera", "can", "laptop", "mug")

LEAST, MOST = 20.0, 120.0
"""Degrees between a clip's first and last frame; beyond, two frames could not show the way."""

STEADY = 0.7
"""Least part of all movement that goes the clip's way."""

SAMPLES = 31
"""Frames sampled where there are no poses."""


class Way(NamedTuple):
    """A camera's way round an object."""

    frames: list[str]
    """Names of the frames that it is known for, in order."""
    turned: np.ndarray
    """Its angle at each, in degrees to the right."""
    known_from: str
    """`poses` or `background`."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each sequence of frames outside the test set."""
    find(root, *(f"{category}/*/*/images" for category in CATEGORIES))
    for category in CATEGORIES:
        for folder in sorted((root / category).glob("*/*/images")):
            sequence = folder.parent
            name = sequence.relative_to(root).as_posix()
            if not (sequence / "metadata").is_file():
                yield Skip("a clip without metadata", name)
            else:
                yield Candidate(name, sequence.parent.relative_to(root).as_posix(), (0, 1))


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """A clip's first and last frame, in the order that fits the answer."""
    name = candidate.key
    folder = within(root, f"{name}/images")
    stems = sorted(path.stem for path in folder.glob("*.jpg"))
    frames = sorted((stem for stem in stems if re.fullmatch("[0-9]{1,9}", stem)), key=int)
    if len(frames) < 2:
        raise Unusable("a clip of fewer than two frames", name)
    frames, turned, known_from = _way(folder, frames, name)
    last = _last(turned, name)
    right = bool(turned[last] > 0)
    backwards = right != (answer == 1)
    shown = [frames[last], frames[0]] if backwards else [frames[0], frames[last]]
    images = tuple(open_source(folder / f"{frame}.jpg") for frame in shown)
    return Made(
        MULTI_VIEW_REASONING,
        images=images,
        origin={
            "dataset": "Wild6D",
            "sequence": name,
            "frames": shown,
            "backwards": backwards,
            "degrees": round(float(-turned[last] if backwards else turned[last]), 1),
            "known_from": known_from,
        },
    )


def _way(folder: Path, frames: list[str], name: str) -> Way:
    """The camera's way, from poses if there are any that the frames do not contradict."""
    try:
        metadata = json_of(folder.parent / "metadata")
    except DataError:
        raise Unusable("metadata that cannot be read", name) from None
    poses, focal = _poses(metadata, frames), _focal(metadata)
    if poses is None and focal is None:
        raise Unusable("metadata without poses and without a focal length", name)
    posed = None if poses is None else turned_by_poses(poses)
    at = np.linspace(0, len(frames) - 1, SAMPLES).round().astype(int)
    sampled = [frames[place] for place in dict.fromkeys(at.tolist())]
    seen = None if focal is None else _seen(folder, sampled, *focal)
    if posed is None:
        if seen is None:
            raise Unusable("a camera whose way cannot be followed", name)
        return Way(sampled, seen, "background")
    ends = posed[-1], posed[-1] if seen is None else seen[-1]
    if min(np.abs(ends)) >= LEAST and ends[0] * ends[1] < 0:
        raise Unusable("poses that the frames contradict", name)
    return Way(frames, posed, "poses")


def _poses(metadata: Any, frames: list[str]) -> np.ndarray | None:
    """The poses of some frames, if there are any."""
    found = metadata.get("poses") if isinstance(metadata, dict) else None
    if not isinstance(found, list) or len(found) <= int(frames[-1]):
        return None
    try:
        poses = np.array([found[int(frame)] for frame in frames], dtype=float)
    except (TypeError, ValueError):
        return None
    return poses if poses.shape == (len(frames), 7) else None


def _focal(metadata: Any) -> tuple[float, float] | None:
    """The focal length and, unless 0, the width of the frames that it belongs to, in pixels."""
    try:
        focal, width = float(metadata["K"][0]), float(metadata.get("w", 0))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    sane = math.isfinite(focal) and focal > 0 and math.isfinite(width) and width >= 0
    return (focal, width) if sane else None


def _seen(folder: Path, frames: list[str], focal: float, width: float) -> np.ndarray | None:
    """The camera's angle at some frames, from their backgrounds; None if it cannot be known."""
    if not any((folder / f"{frame}-mask.png").is_file() for frame in frames):
        return None

    def view(frame: str) -> View | None:
        image = open_source(folder / f"{frame}.jpg")
        if not (path := folder / f"{frame}-mask.png").is_file():
            return None
        mask = open_source(path)
        known = mask.size == image.size
        return view_of(image, np.asarray(mask.convert("L")) > 0) if known else None

    width = width or open_source(folder / f"{frames[0]}.jpg").width
    return turned_by_background(map(view, frames), focal * WIDTH / width)


def _last(turned: np.ndarray, name: str) -> int:
    """The frame that a clip ends with."""
    too_far = np.flatnonzero(np.abs(turned) > MOST)
    last = int(too_far[0]) - 1 if len(too_far) else len(turned) - 1
    if abs(turned[last]) < LEAST:
        raise Unusable("a camera that hardly moves round the object", name)
    if abs(turned[last]) < STEADY * np.abs(np.diff(turned[: last + 1])).sum():
        raise Unusable("a camera that moves to and fro", name)
    return last
