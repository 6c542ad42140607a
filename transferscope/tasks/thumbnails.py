"""Small copies of an item's pictures, for a page.

Pixels alone are kept: no EXIF entry, no name, no color profile.
"""

import base64
import io

from transferscope.tasks import Item, Picture

SIDE = 160
"""Longest side, in pixels; a smaller picture keeps its size."""
QUALITY = 75


def thumbnails(item: Item, most: int) -> list[str]:
    """The first pictures of an item, small, as WebP in base64; of a video, its first frame alone.

    Args:
        most: how many at most.

    Raises:
        DataError: a picture cannot be decoded.
        ModuleNotFoundError: Pillow is not installed.
    """
    pictures = item.images[: 1 if is_video(item) else most]
    return [base64.b64encode(thumbnail(picture)).decode() for picture in pictures]


def is_video(item: Item) -> bool:
    """Whether an item's pictures are frames of one video."""
    from transferscope.tasks.video import Frame

    return len(item.images) > 0 and isinstance(item.images[0], Frame)


def thumbnail(picture: Picture) -> bytes:
    """One picture, small, as WebP."""
    from PIL import Image

    image = Image.fromarray(picture.pixels())
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=6)
    return file.getvalue()
