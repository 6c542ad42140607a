"""Images of the data sets: opened safely, upright, in RGB, and at the benchmark's sizes."""

import io
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from transferscope.suites.pictures import MOST_PIXELS
from transferscope.training.shape import Unusable

HEIGHT = 1024
"""Height to which the benchmark brought images before it drew points on them (not for depth)."""

QUALITY = 95
"""JPEG quality of the images written."""

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
    Image.DecompressionBombError,
)
"""What Pillow raises, one place or another, at a damaged file."""


def open_picture(path: Path | BinaryIO) -> Image.Image:
    """An image file as RGB, turned upright as its EXIF entry says.

    Transparent parts become white; 16-bit grey becomes 8-bit; of an animation, the first frame.

    Raises:
        Unusable: the file is missing, damaged, of an unknown kind, or larger than `MOST_PIXELS`.
    """
    name = path.name if isinstance(path, Path) else "an image"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size (refused below) and of odd EXIF entries
            with Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Unusable(f"an image of more than {MOST_PIXELS:,} pixels", name)
                image.load()
                return rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise Unusable("an image that is missing", name) from None
    except Unusable:
        raise
    except _BROKEN:
        raise Unusable("an image that cannot be decoded", name) from None


def rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        grey = np.clip(np.asarray(image, dtype=np.int64) // 257, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise ValueError("grey in floating point has no white")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image.convert("RGB")


def to_height(image: Image.Image, height: int = HEIGHT) -> tuple[Image.Image, float]:
    """An image resized to a height, and the factor by which its coordinates grow.

    Raises:
        Unusable: it would have more than `MOST_PIXELS`.
    """
    factor = height / image.height
    width = max(1, round(image.width * factor))
    if width * height > MOST_PIXELS:
        raise Unusable(f"an image of more than {MOST_PIXELS:,} pixels", f"{width} x {height}")
    return image.resize((width, height), Image.Resampling.LANCZOS), factor


def at_most(image: Image.Image, side: int) -> tuple[Image.Image, float]:
    """An image whose longer side is at most so long, and the factor of its coordinates."""
    factor = min(1.0, side / max(image.size))
    if factor == 1.0:
        return image, 1.0
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS), factor


def scaled(point: Sequence[float], factor: float) -> tuple[float, float]:
    """Where a point (x, y), from the centre of the top left pixel, is on the resized image."""
    x, y = point
    return (x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5


def jpeg(image: Image.Image) -> bytes:
    """The file that is written: JPEG, as all images of the benchmark."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()
