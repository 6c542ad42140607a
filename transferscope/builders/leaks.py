"""Which images also appear in the evaluation split, and so must not be trained on.

In:   a folder with the benchmark (Parquet files with columns `image_1` .. `image_4`, each a struct
      of `bytes` and `path`; both splits count), or a suite's folder (its `eval` items).
Out:  `KnownImages`, which names the evaluation image that an image repeats (see `similar_images`).
"""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from PIL import Image

from transferscope.builders.record import Unusable
from transferscope.builders.source_files import open_source
from transferscope.errors import DataError, StudyError
from transferscope.suites.folder import FolderSuite
from transferscope.suites.similar_images import ImageHashes, KnownImages, image_hashes
from transferscope.tasks.untrusted import read_parquet

IMAGES = ("image_1", "image_2", "image_3", "image_4")


def seen_in(folder: Path) -> KnownImages:
    """The evaluation images of a benchmark's or a suite's folder.

    Raises:
        StudyError: the folder is neither.
        DataError: a file in it is damaged.
    """
    if not folder.is_dir():
        raise StudyError(f"--against {folder}: no such folder")
    if tables := sorted(folder.rglob("*.parquet")):
        # Decoding takes nearly all of the time, and Pillow lets other threads decode meanwhile.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            hashed = (threads.map(_decoded, *zip(*_cells(path), strict=True)) for path in tables)
            return KnownImages(chain.from_iterable(hashed))
    if not (folder / "suite.yaml").is_file():
        raise StudyError(
            f"--against {folder}: holds no Parquet files and no suite.yaml; expected a copy of the "
            "benchmark or a suite's folder"
        )
    suite = FolderSuite(folder)
    tasks = [task.name for task in suite.tasks if (folder / task.name / "eval.jsonl").is_file()]
    if not tasks:
        raise StudyError(f"--against {folder}: none of its tasks has an eval.jsonl")
    return KnownImages(
        image_hashes(f"{item.id}, image {number}", Image.fromarray(image.pixels()))
        for task in tasks
        for item in suite.items(task, "eval")
        for number, image in enumerate(item.images, 1)
    )


def _cells(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the images in one of the benchmark's files."""
    try:
        frame = read_parquet(path, IMAGES)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    cells: list[tuple[str, bytes]] = []
    if not frame.columns:
        raise DataError(f"{path}: has no column image_1; is it the benchmark?")
    for column in frame.columns:
        if "bytes" not in {field.name for field in getattr(frame[column].dtype, "fields", ())}:
            raise DataError(f"{path}: column {column} is not a struct with the field bytes")
        for row, data in enumerate(frame[column].struct.field("bytes"), 1):
            if data is not None:
                cells.append((f"{path.parent.name}/{path.name}, row {row}, {column}", data))
    if not cells:
        raise DataError(f"{path}: holds no images")
    return cells


def _decoded(name: str, data: bytes) -> ImageHashes:
    try:
        return image_hashes(name, open_source(io.BytesIO(data)))
    except Unusable as error:
        raise DataError(f"{name}: {error.reason}") from None
