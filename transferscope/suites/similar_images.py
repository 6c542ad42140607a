"""Which pictures look the same: stored anew, resized, cropped a little, or with markers on them.

In:   images in memory, or items with their pictures.
Out:  `Seen`, which names the known image that an image repeats; `Shown`, which finds the known item
      whose pictures an item shows.

An image repeats another if all pixels are equal; or if it looks the same: their perceptual hashes
differ in at most `MOST_BITS` of 64 bits, and their brightness at 16 x 16 correlates by at least
`ALIKE`. The hash is of the coarsest pattern (the 8 x 8 lowest frequencies of the brightness at
32 x 32, each above or below their median), which coding anew, resizing, cropping a few percent and
drawing markers hardly change. Unrelated images differ in about 32 bits; the correlation tells apart
the few that happen to come closer. An image is a copy of another if it repeats it and differs
nowhere by more than `MOST_LOCAL`: then no marker was drawn or moved.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy.fft import dctn

from transferscope.tasks import Item

MOST_BITS = 14
"""Images whose hashes differ in more bits are different images."""

ALIKE = 0.9
"""Images whose brightness correlates less are different images."""

MOST_LOCAL = 10
"""Of 255: greatest difference of a copy's brightness at 32 x 32. JPEG of quality 20 and half the
size change 200 real images of the benchmark by at most that, other markers 38 of 40 by more."""

BLACK = 10
"""Of 255: brightness of what is black, but for the traces of JPEG."""


class Hashed(NamedTuple):
    """What is remembered of an image."""

    name: str
    exact: str
    bits: Bool[np.ndarray, "64"]
    coarse: Float[np.ndarray, "256"]
    local: UInt8[np.ndarray, "1024"]


def hashed(name: str, image: Image.Image) -> Hashed:
    """What to remember of an RGB image."""
    local = np.array(image.convert("L").resize((32, 32), Image.Resampling.BILINEAR)).ravel()
    return Hashed(name, exact_hash(image), perceptual_hash(image), coarse_brightness(image), local)


class Seen:
    """Known images, as hashes."""

    def __init__(self, images: Iterable[Hashed] = ()) -> None:
        images = list(images)
        self.names = tuple(image.name for image in images)
        self.exact = {image.exact: image.name for image in reversed(images)}
        self._bits = np.array([image.bits for image in images], dtype=bool).reshape(-1, 64)
        self._coarse = np.array([image.coarse for image in images], np.float32).reshape(-1, 256)
        self._local = np.array([image.local for image in images], np.uint8).reshape(-1, 1024)
        self.digest = hashlib.sha256("".join(sorted(self.exact)).encode()).hexdigest()
        """Changes whenever another image is seen."""

    def match(self, image: Image.Image) -> str | None:
        """The name of the known image that an RGB image repeats, if it does."""
        if not self.names:
            return None
        if name := self.exact.get(exact_hash(image)):
            return name
        close = np.flatnonzero((self._bits != perceptual_hash(image)).sum(axis=1) <= MOST_BITS)
        alike = self._coarse[close] @ coarse_brightness(image)
        return self.names[close[alike.argmax()]] if alike.max(initial=0) >= ALIKE else None

    def copied(self, image: Hashed) -> set[str]:
        """The names of the known images that an image is a copy of; a plain one is of none."""
        close = np.flatnonzero((self._bits != image.bits).sum(axis=1) <= MOST_BITS)
        close = close[self._coarse[close] @ image.coarse >= ALIKE]
        apart = np.abs(self._local[close].astype(int) - image.local).max(axis=1, initial=0)
        return {self.names[place] for place in close[apart <= MOST_LOCAL]}


Kind = tuple[int, frozenset[str]]
"""An item's number of pictures and its choices."""


class Shown:
    """Items by the pictures that they show, looked at when another item may repeat them."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items: dict[Kind, list[Item]] = {}
        for item in items:
            self._items.setdefault(_kind(item), []).append(item)
        self._seen: dict[Kind, Seen] = {}

    def repeated(self, others: Sequence[Item]) -> tuple[Item, Item] | None:
        """The first of others whose pictures and choices are one of these items', and that item.

        The order of pictures and choices does not count, nor does the question: data sets word the
        same question differently. Items without pictures or choices are left out.
        """
        doubtful = [item for item in others if all(_kind(item)) and _kind(item) in self._items]
        for item, pictures in zip(doubtful, _looked_at(doubtful), strict=True):
            seen = self._pictures(_kind(item))
            if places := set.intersection(*(seen.copied(one) for one in pictures)):
                return item, self._items[_kind(item)][int(min(places, key=int))]
        return None

    def _pictures(self, kind: Kind) -> Seen:
        """The pictures of the items of a kind, named for the item's place among them."""
        if kind not in self._seen:
            looked = enumerate(_looked_at(self._items[kind]))
            named = [one._replace(name=str(place)) for place, found in looked for one in found]
            self._seen[kind] = Seen(named)
        return self._seen[kind]


def _kind(item: Item) -> Kind:
    return len(item.images), frozenset(item.choices)


def _looked_at(items: Sequence[Item]) -> Iterator[list[Hashed]]:
    """The pictures of each item; decoding takes nearly all of the time, so in threads."""

    def looked(item: Item) -> list[Hashed]:
        return [hashed("", Image.fromarray(picture.pixels())) for picture in item.images]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for start in range(0, len(items), 64):  # a few at a time: nothing but hashes is kept
            yield from threads.map(looked, items[start : start + 64])


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
