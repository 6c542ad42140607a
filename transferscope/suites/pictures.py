"""Stored pictures: encoded bytes in a file or in a table, decoded when somebody asks for pixels.

In:   a path, or bytes from elsewhere.
Out:  pictures as (height, width, 3) uint8, red green blue.

A picture is looked at when its item is made, so that a damaged one is named early, and is never
larger than `MOST_PIXELS`: a small file can claim any size.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transferscope.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 50_000_000
"""Larger images are refused."""


@dataclass(frozen=True)
class Stored:
    """A picture in a file."""

    path: Path

    def pixels(self) -> np.ndarray:
        """The image as (height, width, 3) uint8, red green blue.

        Raises:
            DataError: the file cannot be decoded.
        """
        return decoded(self.path, str(self.path))

    def content(self) -> bytes:
        """The file's bytes.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}") from None


@dataclass(frozen=True, eq=False)
class Embedded:
    """A picture inside another file, such as a cell of a table."""

    read: Callable[[], bytes]
    """Gets the encoded bytes."""
    where: str
    """Names the picture in messages."""

    def pixels(self) -> np.ndarray:
        """The image as (height, width, 3) uint8, red green blue.

        Raises:
            DataError: the bytes cannot be decoded.
        """
        return decoded(io.BytesIO(self.read()), self.where)

    def content(self) -> bytes:
        """The encoded bytes."""
        return self.read()


def decoded(source: Path | io.BytesIO, where: str) -> np.ndarray:
    """A picture as (height, width, 3) uint8, turned as its EXIF orientation says.

    Raises:
        DataError: it cannot be decoded, or is too large; `where` names it.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(source) as image:
            if problem := _too_large(image.size):
                raise DataError(f"{where}: {problem}")
            upright = ImageOps.exif_transpose(image)
            return np.asarray(_in_color(upright))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        problem = " ".join(str(error).split())
        raise DataError(f"{where}: cannot be decoded as an image: {problem}") from None


def look(source: Path | io.BytesIO) -> str | None:
    """What is wrong with an encoded picture as far as its first bytes tell; None: nothing.

    Raises:
        FileNotFoundError: there is no such file.
    """
    from PIL import Image

    try:
        with Image.open(source) as image:
            return _too_large(image.size)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        problem = " ".join(str(error).split()).replace(repr(source), "it")
        return f"is not an image: {problem}"


def _too_large(size: tuple[int, int]) -> str | None:
    width, height = size
    if width * height <= MOST_PIXELS:
        return None
    return f"has {width} x {height} pixels; at most {MOST_PIXELS:,}"


def _in_color(image: "Image") -> "Image":
    """The image in red, green and blue, without transparency."""
    from PIL import Image

    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits where it should scale them
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of a direct way
    return image.convert("RGB")
