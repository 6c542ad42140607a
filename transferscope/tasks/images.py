"""Images of items in files and tables, and small copies of them for a page.

An image's header is checked when its item is made, so that a damaged one is named early; pixels are
decoded when they are needed (`untrusted.open_image`).
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from transferscope.errors import DataError
from transferscope.tasks import Item, ItemImage
from transferscope.tasks.untrusted import open_image
from transferscope.tasks.video import Frame

THUMBNAIL = 160
"""Longest side of a thumbnail, in pixels; a smaller image keeps its size."""


@dataclass(frozen=True)
class EncodedImage:
    """An image in a file, or inside one, such as a cell of a table."""

    read: Callable[[], bytes] = field(compare=False)
    """Gets the encoded bytes."""
    where: str
    """Names the image in messages, and no other image."""

    def pixels(self) -> np.ndarray:
        encoded = io.BytesIO(self.content())
        try:
            return np.asarray(open_image(encoded))
        except ValueError as error:
            raise DataError(f"{self.where}: {error}") from None

    def content(self) -> bytes:
        try:
            return self.read()
        except OSError as error:
            raise DataError(f"{self.where}: cannot be read: {error.strerror}") from None


def thumbnails(item: Item, at_most: int) -> list[str]:
    """An item's first images, small, as WebP in base64; of a video, the first frame alone.

    Raises:
        DataError: an image cannot be decoded.
        ModuleNotFoundError: Pillow is not installed.
    """
    images = item.images[: 1 if any(isinstance(one, Frame) for one in item.images) else at_most]
    return [base64.b64encode(thumbnail(image)).decode() for image in images]


def thumbnail(image: ItemImage) -> bytes:
    """A small copy as WebP: pixels alone, without EXIF entries, names and color profiles."""
    from PIL import Image

    small = Image.fromarray(image.pixels())
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=75, method=6)
    return file.getvalue()
