"""Small images and checks for the tests of training items."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferscope.builders.build import Built, build
from transferscope.suites.folder import FolderSuite
from transferscope.tasks.open_answers import Extent

Color = tuple[int, int, int]
RED, WHITE, BLACK, GREEN = (255, 0, 0), (255, 255, 255), (0, 0, 0), (0, 255, 0)


@cache
def photo(seed: int, size: tuple[int, int] = (500, 375)) -> Image.Image:
    """Something photo-like, never red, black or white: soft blobs of all sizes, and some grain."""
    rng = np.random.default_rng(seed)
    whole = np.zeros((size[1], size[0], 3), np.float32)
    for cells in (2, 4, 8, 16, 32):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        whole += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) / np.float32(cells)
    whole = 70 + 100 * (whole - whole.min()) / (whole.max() - whole.min())
    whole += rng.integers(-3, 4, whole.shape, np.int8)  # of standard deviation 2
    return Image.fromarray(np.clip(whole, 50, 190).astype(np.uint8))


def save(image: Image.Image, path: Path, **options: Any) -> None:
    """An image into a file whose folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        options.setdefault("compress_level", 0)
    image.save(path, **options)


def turned(image: Image.Image) -> tuple[Image.Image, Image.Exif]:
    """An image lying on its side, and the EXIF entry that puts it upright again."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    return image.transpose(Image.Transpose.ROTATE_90), exif


def built(
    task: str, root: Path, out: Path, items: int, seed: int = 0, **options: Any
) -> tuple[Built, list[dict[str, Any]]]:
    """A build's record and its rows, after the folder has shown itself to be a suite."""
    done = build(task, root, out, items=items, seed=seed, **options)
    lines = (out / task / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    suite = FolderSuite(out)
    assert [item.id for item in suite.items(task, "train")] == [row["id"] for row in rows]
    assert suite.tasks[0].level  # known from the paper's table
    if f"{task}_open" in [each.name for each in suite.tasks]:
        agree(suite, task, rows)
    return done, rows


def agree(suite: FolderSuite, task: str, rows: list[dict[str, Any]]) -> None:
    """Check that the open form has the same items, and that the right option answers them."""
    choice, opened = (suite.items(name, "train") for name in (task, f"{task}_open"))
    for one, other, row in zip(choice, opened, rows, strict=True):
        assert other.id == one.id.replace(task, f"{task}_open", 1)
        assert [i.content() for i in other.images] == [i.content() for i in one.images]
        assert "(A)" not in other.prompt
        assert one.prompt.startswith(other.prompt.rpartition("\n")[0])
        truth, letters = other.truth, "ABCD"[: len(one.choices)]
        assert truth is not None
        height, width, _ = one.images[truth.image].pixels().shape
        pixels = Extent(width, height)
        if task == "Object_Localization":
            boxes = [str([*row["origin"][name]]) for name in ("box", "worse")]
            right, wrong = (truth.score(box, pixels) or 0 for box in boxes)
            assert right > 0.98  # the annotation may pass the image's edge
            assert 0.55 < wrong < 0.85
            continue
        replies = {letter: letter for letter in letters}
        if task == "Counting":
            replies = dict(zip(letters, one.choices, strict=True))
        elif points := row["origin"].get("points"):
            replies = {letter: "{}, {}".format(*points[letter]) for letter in letters}
        scores = {m: truth.score(reply, pixels) for m, reply in replies.items()}
        assert scores == {letter: float(letter == row["answer"]) for letter in letters}


def shown(out: Path, task: str, row: dict[str, Any]) -> list[np.ndarray]:
    """An item's images as (height, width, 3) arrays."""
    return [np.asarray(Image.open(out / task / name)) for name in row["images"]]


def near(pixel: np.ndarray, color: Color, by: int = 60) -> bool:
    """Whether a pixel has a color, as well as JPEG keeps it."""
    return bool(np.abs(pixel.astype(int) - color).max() <= by)


def ring(pixels: np.ndarray, point: Sequence[float], color: Color = RED) -> bool:
    """Whether a circle of the benchmark's radius runs round a point (x, y) on an image."""
    radius = max(5, round(10 * pixels.shape[0] / 1024))
    x, y = (round(value) for value in point)
    around = ((radius, 0), (-radius, 0), (0, radius), (0, -radius))
    on = all(near(pixels[y + down, x + right], color) for right, down in around)
    return on and not near(pixels[y, x], color)  # hollow


def label_side(pixels: np.ndarray, point: Sequence[float]) -> str:
    """Whether the black label with white letters stands above or below a circled point.

    Its center is 1.85 of the circle's widths away: 24 pixels where the circle is 13 wide, as in the
    benchmark's Relative_Depth, and 46 where it is 25 wide, as in its published correspondences.
    """
    across = max(13, round(25 * pixels.shape[0] / 1024))
    x, y = (round(value) for value in point)
    for side, center in (("above", y - 1.85 * across), ("below", y + 1.85 * across)):
        start = round(center - 0.4 * across)
        part = pixels[max(start, 0) : round(center + 0.4 * across)]
        part = part[:, max(x - across // 3, 0) : x + across // 3]
        dark = (part.max(axis=2) < 60).mean() if part.size else 0
        light = (part.min(axis=2) > 190).mean() if part.size else 0
        if dark > 0.25 and light > 0.1:
            return side
    return "nowhere"


def difference(pixels: np.ndarray, image: Image.Image) -> float:
    """Mean difference of two images' values, 0 to 255."""
    return float(np.abs(pixels.astype(float) - np.asarray(image, dtype=float)).mean())


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, locks aside, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
