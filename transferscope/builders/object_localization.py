"""Object_Localization from LVIS v1 on COCO 2017: which of two boxes fits an object.

    lvis_v1_train.json                  or in annotations/ or lvis/; the validation file is never
                                        read
    train2017/*.jpg, val2017/*.jpg      or in images/, coco/ or coco/images/

The annotation file has `images` (`id`, `coco_url`, whose last two parts name the file, `width`,
`height`, `not_exhaustive_category_ids`), `annotations` (`id`, `image_id`, `category_id`, `bbox` as
left, top, width, height in pixels, `area` of the mask) and `categories` (`id`, `name`). (lvis-api
of lvis-dataset.) The bounds of what is used follow a published rebuilding of the benchmark, LIVR
(arXiv 2512.21218), which stops at boxes that cover 50 %. An object is the only one of its category
in the image, as far as LVIS knows, so that no other can be meant.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.builders.markers import Box, boxed
from transferscope.builders.prompts import object_localization
from transferscope.builders.record import Candidate, Made, Skip, Unusable
from transferscope.builders.source_files import find, open_source, within
from transferscope.errors import DataError
from transferscope.tasks.open_answers import BoxAnswer, overlap
from transferscope.tasks.untrusted import read_text

COVERS = (0.15, 0.6)
"""Least and greatest part of the image that an object's box covers."""

FILLED = 0.6
"""Least part of its box that an object's mask fills."""

OVERLAP = (0.6, 0.8)
"""Least and greatest intersection over union of the two boxes."""

_FURTHEST = 0.4
"""Of a shift, as a part of the box's width or height."""

_TRIES = 500

_DAMAGED = (KeyError, TypeError, AttributeError, ValueError, OverflowError, ZeroDivisionError)
"""What reading an object raises that lacks a field or has something else in it."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each object that is large, solid, and alone of its category in its image."""
    path = find(root, *(f"{folder}lvis_v1_train.json" for folder in ("", "annotations/", "lvis/")))
    _images_of(root)
    content = _content(path)
    names = _by_id(content["categories"], _spoken)
    images = _by_id(content["images"], _image)
    together = Counter(
        (one.get("image_id"), one.get("category_id"))
        for one in content["annotations"]
        if isinstance(one, dict)
        and isinstance(one.get("image_id"), int)
        and isinstance(one.get("category_id"), int)
    )
    for place, one in enumerate(content["annotations"]):
        try:
            key = (one["image_id"], one["category_id"])
            image, name = images[key[0]], names[key[1]]
            left, top, wide, high = (_number(value) for value in one["bbox"])
            box = (left, top, left + wide, top + high)
            fits = together[key] == 1 and _fits(image["size"], box, _number(one["area"]))
            if fits and key[1] not in image["open"]:
                facts = (image["file"], name, box, image["size"])
                yield Candidate(str(int(one["id"])), image["file"], (0, 1), facts)
        except _DAMAGED:
            yield Skip("a damaged annotation", f"{path.name}: annotations[{place}]")


def _images_of(root: Path) -> Path:
    """The folder that holds COCO's folders."""
    above = ("", "images/", "coco/", "coco/images/")
    return find(root, *(f"{folder}train2017" for folder in above)).parent


def _content(path: Path) -> dict[str, list[Any]]:
    """The annotation file without its outlines, which are most of it."""

    def without(found: dict[str, Any]) -> dict[str, Any]:
        found.pop("segmentation", None)
        return found

    try:
        content = json.loads(read_text(path), object_hook=without)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}; was it cut short?") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: has no list {key!r}; is it the LVIS v1 annotation file?")
    return content


def _by_id(rows: list[Any], read: Callable[[dict[str, Any]], Any]) -> dict[int, Any]:
    """What can be read of some rows, by their ids."""
    found = {}
    for row in rows:
        with suppress(*_DAMAGED):  # what refers to it is a damaged annotation
            found[row["id"]] = read(row)
    return found


def _spoken(category: dict[str, Any]) -> str:
    """`bat_(animal)` as `bat (animal)`."""
    if name := " ".join(category["name"].replace("_", " ").split()):
        return name
    raise ValueError(category["name"])


def _image(image: dict[str, Any]) -> dict[str, Any]:
    """File (`train2017/000000155379.jpg`), size, and categories that may be there once more."""
    address = image.get("coco_url") or image["file_name"]
    return {
        "file": "/".join(address.split("/")[-2:]),
        "size": (int(image["width"]), int(image["height"])),
        "open": frozenset(image.get("not_exhaustive_category_ids") or ()),
    }


def _number(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(value)
    return number


def _fits(size: tuple[int, int], box: Box, area: float) -> bool:
    """Whether an object is as large and as solid as it must be."""
    left, top, right, bottom = box
    inside = left >= -1 and top >= -1 and right <= size[0] + 1 and bottom <= size[1] + 1
    part = (right - left) * (bottom - top) / (size[0] * size[1])
    solid = area >= FILLED * (right - left) * (bottom - top)
    return inside and solid and COVERS[0] <= part <= COVERS[1]


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The annotated box gets the letter of the answer."""
    file, thing, right, size = candidate.facts
    source = open_source(within(_images_of(root), file))
    if source.size != size:
        raise Unusable("an image whose size is not the annotation's", file)
    wrong = _worse(right, size, rng)
    boxes = (right, wrong) if answer == 0 else (wrong, right)
    drawn = {letter: _edges(box, size) for letter, box in zip("AB", boxes, strict=True)}
    return Made(
        object_localization(thing),
        images=(boxed(source, drawn),),
        sources=(source,),
        truth=_as_answer(right, size),
        origin={
            "dataset": "LVIS v1",
            "annotation": int(candidate.key),
            "file": file,
            "category": thing,
            "box": list(right),
            "worse": [round(value, 2) for value in wrong],
        },
    )


def _worse(right: Box, size: tuple[int, int], rng: np.random.Generator) -> Box:
    """The right box shifted, within the image, so that both overlap as they should."""
    reach = _FURTHEST * np.array([right[2] - right[0], right[3] - right[1]])
    for shift in rng.uniform(-reach, reach, size=(_TRIES, 2)):
        left, top, end, low = (float(value) for value in np.asarray(right) + np.tile(shift, 2))
        box = (max(left, 0.0), max(top, 0.0), min(end, size[0]), min(low, size[1]))
        if box[0] < box[2] and box[1] < box[3] and OVERLAP[0] <= overlap(right, box) <= OVERLAP[1]:
            return box
    raise Unusable("an object for which no worse box was found", f"{right}")


def _as_answer(box: Box, size: tuple[int, int]) -> BoxAnswer:
    """A box in pixels as fractions of its image, within it."""
    sides = (min(max(edge / size[n % 2], 0.0), 1.0) for n, edge in enumerate(box))
    left, top, right, bottom = sides
    return BoxAnswer(left, top, right, bottom)


def _edges(box: Box, size: tuple[int, int]) -> Box:
    """The outermost pixels of a box, which its edges are drawn on."""
    left, top = (max(round(value), 0) for value in box[:2])
    right, bottom = (min(round(v), side) - 1 for v, side in zip(box[2:], size, strict=True))
    return left, top, max(right, left), max(bottom, top)
