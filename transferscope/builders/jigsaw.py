"""Jigsaw from TARA's news photographs: which of two pieces is the missing one.

    input/train.jsonl     one object a line, of which `image_url` is read
    images/NAME           fetched from that address by the data set's own scripts

TARA comes without images; its `eval.py` saves `https://static01.nyt.com/images/2020/x.jpg` as
`images-2020-x.jpg` (`.jpg` put behind names without it), its `download_images.py` as
`https:__static01.nyt.com_images_2020_x.png` in a folder `train`; both are looked for. (TARA
repository of zeyofu.) Any photographs do, if a `train.jsonl` names them. `gold_dev.jsonl` and
`gold_test.jsonl`, which the benchmark may have drawn on, are never read.

As in the benchmark's items, the photograph is cut into 3 x 3 cells. The first image is the upper
left 2 x 2 cells, the center cell black; the pieces are the center cell and one of the five cells
outside the first image. So the wrong piece never stands in what is shown. Ours: each of the five is
equally likely, of those that differ visibly from the center cell; photographs wider than 600 pixels
are reduced to 600, which nearly all of the benchmark's are; narrower ones and those of other
proportions than the benchmark's are not used.

The benchmark's photographs have a light frame one pixel wide, which reveals the wrong piece in four
of five items: it shows a part of the frame, the center cell never does. No frame is drawn here.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from transferscope.builders.annotations import find, rows_of, within
from transferscope.builders.prompts import LATTER, jigsaw
from transferscope.builders.record import Builder, Candidate, Made, Skip, Unusable
from transferscope.builders.source_images import open_picture

ADDRESS = "https://static01.nyt.com/"

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


_FOLDERS = ("images", "train", "input_zip_nyt_final/train")


def _file_of(root: Path, url: str) -> Path:
    """Where the image of an address lies; the first place that comes into question if nowhere."""
    plain = url.replace(ADDRESS, "").replace("/", "-")
    plain = plain if plain.endswith(".jpg") else f"{plain}.jpg"
    scraped = f"{url.replace('/', '_').rpartition('.')[0] or url.replace('/', '_')}.png"
    places = [within(root / folder, name) for folder in _FOLDERS for name in (plain, scraped)]
    return next((place for place in places if place.is_file()), places[0])


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The center cell comes second or third, according to the answer."""
    path = _file_of(root, candidate.key)
    name = path.relative_to(root).as_posix()
    source = open_picture(path)
    photo, (width, height) = _in_cells(source, name)

    def cell(row: int, column: int) -> Image.Image:
        left, top = column * width, row * height
        return photo.crop((left, top, left + width, top + height))

    right = cell(1, 1)
    center = np.asarray(right, dtype=float)
    places = [OUTSIDE[index] for index in rng.permutation(len(OUTSIDE))]
    for place in places:
        wrong = cell(*place)
        if np.abs(np.asarray(wrong, dtype=float) - center).mean() >= LEAST_DIFFERENCE:
            break
    else:
        raise Unusable("pieces that look alike", name)
    shown = photo.crop((0, 0, 2 * width, 2 * height))
    shown.paste((0, 0, 0), (width, height, 2 * width, 2 * height))
    return Made(
        question="Which image is the missing part in the first image?",
        prompt=jigsaw(),
        choices=LATTER,
        images=(shown, right, wrong) if answer == 0 else (shown, wrong, right),
        sources=(source,),
        origin={
            "dataset": "TARA",
            "annotation": candidate.facts,
            "image_url": candidate.key,
            "file": name,
            "wrong_cell": list(place),
        },
    )


def _in_cells(image: Image.Image, name: str) -> tuple[Image.Image, tuple[int, int]]:
    """A photograph at the benchmark's width, and the width and height of its 3 x 3 cells."""
    if image.width < WIDTH:
        raise Unusable("an image that is too small", name)
    height = round(image.height * WIDTH / image.width)
    cell = WIDTH // 3, height // 3
    if not CELL_HEIGHTS[0] <= cell[1] <= CELL_HEIGHTS[1]:
        raise Unusable("an image of other proportions than the benchmark's", name)
    return image.resize((WIDTH, height), Image.Resampling.LANCZOS), cell


BUILDER = Builder("TARA", ("input/train.jsonl", "images/*.jpg"), 2, candidates, make)
