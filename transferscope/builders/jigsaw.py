"""Jigsaw from TARA's news photographs: which of two pieces is the missing one.

    input/train.jsonl     one object a line, of which `image_url` is read; no other file is
    images/NAME           fetched from that address by the data set's own scripts

TARA's `eval.py` saves `https://static01.nyt.com/images/2020/x.jpg` as `images-2020-x.jpg` (`.jpg`
put behind names without it), its `download_images.py` as
`https:__static01.nyt.com_images_2020_x.png` in a folder `train`. (TARA repository of zeyofu.)

The photograph is cut into 3 x 3 cells. The first image is the upper left 2 x 2, the center cell
black; the pieces are the center cell and one that the first image does not show.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from transferscope.builders.prompts import JIGSAW
from transferscope.builders.record import Candidate, Made, Skip, Unusable
from transferscope.builders.source_files import find, located, open_source, rows_of

ADDRESS = "https://static01.nyt.com/"

_FOLDERS = ("images", "train", "input_zip_nyt_final/train")

WIDTH = 600
"""Pixels; 149 of the 150 photographs in the benchmark's validation items have it."""

CELL_HEIGHTS = (83, 133)
"""Lowest and highest cells of the benchmark's photographs of that width, in pixels."""

OUTSIDE = ((2, 0), (2, 1), (2, 2), (1, 2), (0, 2))
"""Row and column of the cells that the first image does not show."""

LEAST_DIFFERENCE = 8.0
"""Between the two pieces: mean absolute difference of their values, of 255. The least of the
benchmark's 150 validation items is 19.9."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each photograph that the training annotations name."""
    path = find(root, "input/train.jsonl", "train.jsonl")
    find(root, *_FOLDERS)
    for line in rows_of(path):
        if isinstance(line, Skip):
            yield line
            continue
        where, row = line
        url = row.get("image_url")
        if not isinstance(url, str) or not url.strip() or len(url.encode()) > 240:
            yield Skip("an annotation without a usable image_url", where)
        else:
            yield Candidate(url, url, (0, 1), where)


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The center cell comes second or third, according to the answer."""
    url = candidate.key
    plain = url.replace(ADDRESS, "").replace("/", "-")
    plain = plain if plain.endswith(".jpg") else f"{plain}.jpg"
    flat = url.replace("/", "_")
    path = located(root, _FOLDERS, plain, f"{flat.rpartition('.')[0] or flat}.png")
    name = path.relative_to(root).as_posix()
    source = open_source(path)
    photo = _at_width(source, name)
    width, height = photo.width // 3, photo.height // 3

    def cell(row: int, column: int) -> Image.Image:
        left, top = column * width, row * height
        return photo.crop((left, top, left + width, top + height))

    right = cell(1, 1)
    center = np.asarray(right, dtype=float)
    for index in rng.permutation(len(OUTSIDE)):
        wrong = cell(*OUTSIDE[index])
        if np.abs(np.asarray(wrong, dtype=float) - center).mean() >= LEAST_DIFFERENCE:
            break
    else:
        raise Unusable("pieces that look alike", name)
    shown = photo.crop((0, 0, 2 * width, 2 * height))
    shown.paste((0, 0, 0), (width, height, 2 * width, 2 * height))
    return Made(
        JIGSAW,
        images=(shown, right, wrong) if answer == 0 else (shown, wrong, right),
        sources=(source,),
        origin={
            "dataset": "TARA",
            "annotation": candidate.facts,
            "image_url": url,
            "file": name,
            "wrong_cell": list(OUTSIDE[index]),
        },
    )


def _at_width(image: Image.Image, name: str) -> Image.Image:
    """A photograph at the benchmark's width."""
    if image.width < WIDTH:
        raise Unusable("an image that is too small", name)
    height = round(image.height * WIDTH / image.width)
    if not CELL_HEIGHTS[0] <= height // 3 <= CELL_HEIGHTS[1]:
        raise Unusable("an image of other proportions than the benchmark's", name)
    return image.resize((WIDTH, height), Image.Resampling.LANCZOS)
