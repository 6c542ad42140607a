"""Jigsaw from TARA's news photographs: which of two pieces is the missing corner.

    input/train.jsonl     one object a line, of which `image_url` is read
    images/NAME           fetched from that address by the data set's own scripts

TARA comes without images; its `eval.py` saves `https://static01.nyt.com/images/2020/x.jpg` as
`images-2020-x.jpg` (`.jpg` put behind names without it), its `download_images.py` as
`https:__static01.nyt.com_images_2020_x.png` in a folder `train`; both are looked for. (TARA
repository of zeyofu.) Any photographs do, if a `train.jsonl` names them. `gold_dev.jsonl` and
`gold_test.jsonl`, which the benchmark may have drawn on, are never read.

As in the benchmark, the photograph is 400 pixels wide, its lower right quarter is black, and the
pieces are that quarter and another part of the same photograph, of the same size; in the published
example the other part lies wholly in what is still visible. Ours: it may lie anywhere there (so it
touches the left or the upper border: no other place is free), it must differ visibly from the right
piece, and photographs of other proportions than the benchmark's are not used.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from transferscope.training.layout import find, rows_of, within
from transferscope.training.pictures import open_picture
from transferscope.training.prompts import LATTER, jigsaw
from transferscope.training.shape import Builder, Candidate, Made, Skip, Unusable

ADDRESS = "https://static01.nyt.com/"

WIDTH = 400
"""Pixels; the benchmark's whole photographs have it."""

HEIGHTS = (166, 266)
"""Lowest and highest of the benchmark's whole photographs, in pixels."""

LEAST_DIFFERENCE = 8.0
"""Between the two pieces: mean absolute difference of their values, of 255."""

_TRIES = 20


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
    """The missing corner comes second or third, as the answer says."""
    path = _file_of(root, candidate.key)
    name = path.relative_to(root).as_posix()
    source = open_picture(path)
    whole = _at_width(source, name)
    width, height = whole.size[0] // 2, whole.size[1] // 2
    right = whole.crop((width, height, 2 * width, 2 * height))
    corner = _elsewhere(whole, right, rng)
    if corner is None:
        raise Unusable("pieces that look alike", name)
    left, top = corner
    wrong = whole.crop((left, top, left + width, top + height))
    whole.paste((0, 0, 0), (width, height, 2 * width, 2 * height))
    return Made(
        question="Which one of the second image or the third image is the missing part?",
        prompt=jigsaw(),
        choices=LATTER,
        images=(whole, right, wrong) if answer == 0 else (whole, wrong, right),
        sources=(source,),
        origin={
            "dataset": "TARA",
            "annotation": candidate.facts,
            "image_url": candidate.key,
            "file": name,
            "wrong_piece": [left, top],
        },
    )


def _at_width(image: Image.Image, name: str) -> Image.Image:
    """A photograph at the benchmark's width, its height even, so that it has quarters."""
    if image.width < WIDTH:
        raise Unusable("an image that is too small", name)
    height = image.height * WIDTH // image.width // 2 * 2
    if not HEIGHTS[0] <= height <= HEIGHTS[1]:
        raise Unusable("an image of other proportions than the benchmark's", name)
    return image.resize((WIDTH, height), Image.Resampling.LANCZOS)


def _elsewhere(
    whole: Image.Image, right: Image.Image, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Upper left corner of a quarter that is visible and looks different from the right one."""
    pixels, piece = np.asarray(whole, dtype=float), np.asarray(right, dtype=float)
    height, width = piece.shape[:2]
    for place in rng.integers(0, width + height + 1, size=_TRIES):
        # Along the left border from below to above, then along the upper border to the right.
        left, top = (0, height - int(place)) if place <= height else (int(place) - height, 0)
        other = pixels[top : top + height, left : left + width]
        if np.abs(other - piece).mean() >= LEAST_DIFFERENCE:
            return left, top
    return None


BUILDER = Builder(
    task="Jigsaw",
    dataset="TARA",
    looks_for=("input/train.jsonl", "images/*.jpg"),
    letters=2,
    candidates=candidates,
    make=make,
)
