"""Stored pictures: encoded bytes in a file or in a table, decoded when somebody asks for pixels.

In:   a path, or bytes from elsewhere.
Out:  pictures as (height, width, 3) uint8, red green blue.

A picture is looked at when its item is made, so that a damaged one is named early, and is never
larger than `MOST_PIXELS`: a small file can claim any size.
"""

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from transferscope.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 50_000_000
"""Larger images are refused."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "AVIF")
"""Kinds of pictures that are read: not those, as EPS, for which Pillow calls other programs."""

_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
)
"""What Pillow raises, one place or another, at a damaged file."""


class TooLarge(ValueError):
    """A picture of more than `MOST_PIXELS`; the message says how many."""


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
    """A picture as (height, width, 3) uint8, as `opened` opens it.

    Raises:
        DataError: it cannot be decoded, or is too large; `where` names it.
    """
    try:
        return np.asarray(opened(source))
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: {error}") from None


def opened(source: Path | BinaryIO) -> "Image":
    """A picture in red, green and blue, turned upright as its EXIF entry says.

    Transparent parts become white; 16-bit grey becomes 8-bit; of an animation, the first frame.

    Raises:
        FileNotFoundError: there is no such file.
        TooLarge: it has more than `MOST_PIXELS`.
        ValueError: it is damaged or of an unknown kind.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size (refused below) and of odd EXIF entries
            with Image.open(source, formats=_known_formats()) as image:
                if problem := _too_large(image.size):
                    raise TooLarge(problem)
                image.load()
                return _in_color(ImageOps.exif_transpose(image))
    except (FileNotFoundError, TooLarge):
        raise
    except (*_BROKEN, Image.DecompressionBombError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"cannot be decoded as an image: {problem}") from None


def look(source: Path | io.BytesIO) -> str | None:
    """What is wrong with an encoded picture as far as its first bytes tell; None: nothing.

    Raises:
        FileNotFoundError: there is no such file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source, formats=_known_formats()) as image:
            return _too_large(image.size)
    except FileNotFoundError:
        raise
    except UnidentifiedImageError:
        return "is not an image of a kind that is read, as PNG, JPEG or WebP"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        problem = getattr(error, "strerror", None) or " ".join(str(error).split())
        return f"is not an image: {problem}"


def _known_formats() -> list[str]:
    """Those of `FORMATS` that this Pillow reads."""
    from PIL import Image

    Image.init()
    return [kind for kind in FORMATS if kind in Image.OPEN]


def _too_large(size: tuple[int, int]) -> str | None:
    width, height = size
    if width * height <= MOST_PIXELS:
        return None
    return f"has {width} x {height} pixels; at most {MOST_PIXELS:,}"


def _in_color(image: "Image") -> "Image":
    """The image in red, green and blue, on white."""
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        grey = np.clip((np.asarray(image, np.int64) + 128) // 257, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise ValueError("grey in floating point has no white")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image.convert("RGB")
