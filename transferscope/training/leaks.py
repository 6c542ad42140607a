"""Which images also appear in the evaluation split, and so must not be trained on.

In:   a folder with the benchmark (Parquet files with columns `image_1` .. `image_4`, each a struct
      of `bytes` and `path`; both splits count), or a suite's folder (its `eval` items).
Out:  `Seen`, which names the evaluation image that an image repeats.

An image repeats another if all pixels are equal; or if it looks the same: their perceptual hashes
differ in at most `MOST_BITS` of 64 bits, and their brightness at 16 x 16 correlates by at least
`ALIKE`. The hash is of the coarsest pattern (the 8 x 8 lowest frequencies of the brightness at
32 x 32, each above or below their median), which coding anew, resizing, cropping a few percent and
drawing markers hardly change. Unrelated images differ in about 32 bits; the correlation tells apart
the few that happen to come closer.
"""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy.fft import dctn

from transferscope.errors import DataError, StudyError
from transferscope.training.pictures import open_picture
from transferscope.training.shape import Unusable

MOST_BITS = 14
"""Images whose hashes differ in more bits are different images."""

ALIKE = 0.9
"""Images whose brightness correlates less are different images."""

BLACK = 10
"""Of 255: brightness of what is black, but for the traces of JPEG."""

IMAGES = ("image_1", "image_2", "image_3", "image_4")


class Hashed(NamedTuple):
    """What is remembered of an evaluation image."""

    name: str
    exact: str
    bits: Bool[np.ndarray, "64"]
    coarse: Float[np.ndarray, "256"]


def hashed(name: str, image: Image.Image) -> Hashed:
    """What to remember of an RGB image."""
    return Hashed(name, exact_hash(image), perceptual_hash(image), coarse_brightness(image))


class Seen:
    """The evaluation images, as hashes."""

    def __init__(self, images: Iterable[Hashed] = ()) -> None:
        images = list(images)
        self.names = tuple(image.name for image in images)
        self.exact = {image.exact: image.name for image in reversed(images)}
        self._bits = np.array([image.bits for image in images], dtype=bool).reshape(-1, 64)
        self._coarse = np.array([image.coarse for image in images], np.float32).reshape(-1, 256)
        self.digest = hashlib.sha256("".join(sorted(self.exact)).encode()).hexdigest()
        """Changes whenever another image is seen."""

    def match(self, image: Image.Image) -> str | None:
        """The name of the evaluation image that an RGB image repeats, if it does."""
        if not self.names:
            return None
        if name := self.exact.get(exact_hash(image)):
            return name
        close = np.flatnonzero((self._bits != perceptual_hash(image)).sum(axis=1) <= MOST_BITS)
        alike = self._coarse[close] @ coarse_brightness(image)
        return self.names[close[alike.argmax()]] if alike.max(initial=0) >= ALIKE else None


def exact_hash(image: Image.Image) -> str:
    """SHA-256 of an RGB image's size and pixels."""
    content = hashlib.sha256(repr(image.size).encode())
    content.update(image.tobytes())
    return content.hexdigest()


def perceptual_hash(image: Image.Image) -> Bool[np.ndarray, "64"]:
    """64 bits that stay nearly the same as long as an image looks the same.

    The first, of the mean brightness, is always 0.
    """
    waves = np.asarray(dctn(_brightness(image, 32), norm="ortho"))[:8, :8].ravel()
    bits = waves > np.median(waves[1:])
    bits[0] = False
    return bits


def coarse_brightness(image: Image.Image) -> Float[np.ndarray, "256"]:
    """Brightness at 16 x 16, without its mean and at length 1: products are correlations."""
    values = _brightness(image, 16).ravel()
    values = values - values.mean()
    return (values / max(float(np.linalg.norm(values)), 1e-6)).astype(np.float32)


def _brightness(image: Image.Image, side: int) -> Float[np.ndarray, "side side"]:
    """Brightness at a low resolution; a black lower right quarter counts as grey.

    The benchmark's jigsaws have one; it would make all of them look alike.
    """
    small = image.convert("L").resize((side, side), Image.Resampling.BOX)
    values = np.asarray(small, dtype=float).copy()
    corner = values[side // 2 :, side // 2 :]
    if corner[1:, 1:].max() < BLACK:
        rest = values.sum() - corner.sum()
        corner[:] = rest / (values.size - corner.size)
    return values


def seen_in(folder: Path) -> Seen:
    """The evaluation images of a benchmark's or a suite's folder.

    Args:
        folder: see the module's text.

    Raises:
        StudyError: the folder is neither.
        DataError: a file in it is damaged.
    """
    if not folder.is_dir():
        raise StudyError(f"--against {folder}: no such folder")
    if tables := sorted(folder.rglob("*.parquet")):
        return Seen(_from_tables(tables))
    if (folder / "suite.yaml").is_file():
        return Seen(_from_suite(folder))
    raise StudyError(
        f"--against {folder}: holds no Parquet files and no suite.yaml; expected a copy of the "
        "benchmark or a suite's folder"
    )


def _from_tables(tables: list[Path]) -> Iterator[Hashed]:
    # Decoding takes nearly all of the time, and Pillow lets other threads decode meanwhile.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for path in tables:
            yield from threads.map(_decoded, *zip(*_cells(path), strict=True))


def _cells(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the images in one of the benchmark's files."""
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        raise DataError(f"{path}: not a readable Parquet file; was it cut short?") from None
    columns = [name for name in IMAGES if name in frame.columns]
    if not columns:
        raise DataError(f"{path}: has no column image_1; is it the benchmark?")
    cells = []
    for column in columns:
        if "bytes" not in {field.name for field in getattr(frame[column].dtype, "fields", ())}:
            raise DataError(f"{path}: column {column} is not a struct with the field bytes")
        for row, data in enumerate(frame[column].struct.field("bytes"), 1):
            if data is not None:
                cells.append((f"{path.parent.name}/{path.name}, row {row}, {column}", data))
    if not cells:
        raise DataError(f"{path}: holds no images")
    return cells


def _decoded(name: str, data: bytes) -> Hashed:
    try:
        return hashed(name, open_picture(io.BytesIO(data)))
    except Unusable as error:
        raise DataError(f"{name}: {error.reason}") from None


def _from_suite(folder: Path) -> Iterator[Hashed]:
    from transferscope.suites.folder import FolderSuite

    suite = FolderSuite(folder)
    tasks = [task.name for task in suite.tasks if (folder / task.name / "eval.jsonl").is_file()]
    if not tasks:
        raise StudyError(f"--against {folder}: none of its tasks has an eval.jsonl")
    for task in tasks:
        for item in suite.items(task, "eval"):
            for number, picture in enumerate(item.images, 1):
                name = f"{item.id}, image {number}"
                yield hashed(name, Image.fromarray(picture.pixels()))
