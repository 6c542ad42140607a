"""Images of the data sets: opened safely, upright, in RGB, and at the benchmark's sizes."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from transferscope.builders.record import Unusable
from transferscope.tasks.untrusted import MAX_PIXELS, ImageTooLarge, open_image

HEIGHT = 1024
"""Height to which the benchmark brought images before it drew points on them (not for depth)."""


def open_picture(path: Path | BinaryIO) -> Image.Image:
    """An image file as `untrusted.open_image` opens it.

    Raises:
        Unusable: the file is missing, damaged, of an unknown kind, or larger than `MAX_PIXELS`.
    """
    name = path.name if isinstance(path, Path) else "an image"
    try:
        return open_image(path)
    except FileNotFoundError:
        raise Unusable("an image that is missing", name) from None
    except ImageTooLarge:
        raise Unusable(f"an image of more than {MAX_PIXELS:,} pixels", name) from None
    except ValueError:
        raise Unusable("an image that cannot be decoded", name) from None


def to_height(image: Image.Image, height: int = HEIGHT) -> tuple[Image.Image, float]:
    """An image resized to a height, and the factor by which its coordinates grow.

    Raises:
        Unusable: it would have more than `MAX_PIXELS`.
    """
    factor = height / image.height
    width = max(1, round(image.width * factor))
    if width * height > MAX_PIXELS:
        raise Unusable(f"an image of more than {MAX_PIXELS:,} pixels", f"{width} x {height}")
    return image.resize((width, height), Image.Resampling.LANCZOS), factor


def resized(image: Image.Image, factor: float) -> Image.Image:
    """An image whose width and height are multiplied."""
    if factor == 1:
        return image
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def scaled(point: Sequence[float], factor: float) -> tuple[float, float]:
    """Where a point (x, y), from the center of the top left pixel, is on the resized image."""
    x, y = point
    return (x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5
