"""Find images that repeat known ones: re-encoded, resized, slightly cropped, or marked.

An image repeats another if all pixels are equal, or if it looks the same: their perceptual hashes
differ in at most `MAX_BITS` of 64 bits, and their brightness at 16 x 16 correlates by at least
`MIN_CORRELATION`. The hash is of the coarsest pattern (the 8 x 8 lowest frequencies of the
brightness at 32 x 32, each above or below their median), which re-encoding, resizing, cropping a
few percent and drawing markers hardly change. Unrelated images differ in about 32 bits; the
correlation separates the few that come closer by chance. An image is a copy of another if it
repeats it and differs nowhere by more than `MAX_LOCAL`: then no marker was drawn or moved.
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

MAX_BITS = 14
"""Images whose hashes differ in more bits are different images."""

MIN_CORRELATION = 0.9
"""Images whose brightness correlates less are different images."""

MAX_LOCAL = 10
"""Of 255: greatest difference of a copy's brightness at 32 x 32. JPEG of quality 20 and half the
size change 200 real images of the benchmark by at most that, other markers 38 of 40 by more."""

BLACK = 10
"""Of 255: greatest brightness of black pixels, with JPEG artifacts."""


class ImageHashes(NamedTuple):
    """What is kept of an image."""

    name: str
    exact: str
    bits: Bool[np.ndarray, "64"]
    coarse: Float[np.ndarray, "256"]
    local: UInt8[np.ndarray, "1024"]


def image_hashes(name: str, image: Image.Image) -> ImageHashes:
    """The hashes of an RGB image."""
    local = np.array(image.convert("L").resize((32, 32), Image.Resampling.BILINEAR)).ravel()
    return ImageHashes(
        name, exact_hash(image), perceptual_hash(image), coarse_brightness(image), local
    )


class KnownImages:
    """Known images, as hashes."""

    def __init__(self, images: Iterable[ImageHashes] = ()) -> None:
        images = list(images)
        self.names = tuple(image.name for image in images)
        self.exact = {image.exact: image.name for image in reversed(images)}
        self._bits = np.array([image.bits for image in images], dtype=bool).reshape(-1, 64)
        self._coarse = np.array([image.coarse for image in images], np.float32).reshape(-1, 256)
        self._local = np.array([image.local for image in images], np.uint8).reshape(-1, 1024)
        self.digest = hashlib.sha256("".join(sorted(self.exact)).encode()).hexdigest()
        """Changes with every image that is added."""

    def match(self, image: Image.Image) -> str | None:
        """The name of the known image that an RGB image repeats, if any."""
        if not self.names:
            return None
        if name := self.exact.get(exact_hash(image)):
            return name
        close = np.flatnonzero((self._bits != perceptual_hash(image)).sum(axis=1) <= MAX_BITS)
        alike = self._coarse[close] @ coarse_brightness(image)
        found = alike.max(initial=0) >= MIN_CORRELATION
        return self.names[close[alike.argmax()]] if found else None

    def copied(self, image: ImageHashes) -> set[str]:
        """The names of the known images that an image copies; none for a plain image."""
        close = np.flatnonzero((self._bits != image.bits).sum(axis=1) <= MAX_BITS)
        close = close[self._coarse[close] @ image.coarse >= MIN_CORRELATION]
        apart = np.abs(self._local[close].astype(int) - image.local).max(axis=1, initial=0)
        return {self.names[place] for place in close[apart <= MAX_LOCAL]}


Kind = tuple[int, frozenset[str]]
"""An item's number of images and its choices."""


class KnownItems:
    """Known items, whose images are hashed when another item may repeat them."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items: dict[Kind, list[Item]] = {}
        for item in items:
            self._items.setdefault(_kind(item), []).append(item)
        self._images: dict[Kind, KnownImages] = {}

    def repeats(self, others: Sequence[Item]) -> Iterator[tuple[Item, Item]]:
        """The other items that repeat a known item, each with the known item.

        They have equal pixels and the same question; or copies of its images and its choices, for
        any question, as data sets word the same question differently. Order does not count.
        """
        # Hashing pixels is slow, so only items with an equal question are compared by them.
        questions = {(item.question, len(item.images)) for item in others}
        every = (item for items in self._items.values() for item in items)
        alike = (item for item in every if (item.question, len(item.images)) in questions)
        same = {item.content_key(): item for item in alike}
        doubtful = []
        for item in others:
            if same and (other := same.get(item.content_key())):
                yield item, other
            elif all(_kind(item)) and _kind(item) in self._items:
                doubtful.append(item)
        for item, hashes in zip(doubtful, _hashes_of(doubtful), strict=True):
            kind = _kind(item)
            if kind not in self._images:  # images named for their item's place among the kind's
                known = enumerate(_hashes_of(self._items[kind]))
                named = [one._replace(name=str(place)) for place, all_ in known for one in all_]
                self._images[kind] = KnownImages(named)
            images = self._images[kind]
            if places := set.intersection(*(images.copied(one) for one in hashes)):
                yield item, self._items[kind][int(min(places, key=int))]


def _kind(item: Item) -> Kind:
    return len(item.images), frozenset(item.choices)


def _hashes_of(items: Sequence[Item]) -> Iterator[list[ImageHashes]]:
    """The hashes of each item's images. Decoding takes nearly all of the time: threads share it."""

    def hashes(item: Item) -> list[ImageHashes]:
        return [image_hashes("", Image.fromarray(image.pixels())) for image in item.images]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for start in range(0, len(items), 64):  # a few at a time, so that only hashes are kept
            yield from threads.map(hashes, items[start : start + 64])


def exact_hash(image: Image.Image) -> str:
    """SHA-256 of an RGB image's size and pixels."""
    content = hashlib.sha256(repr(image.size).encode())
    content.update(image.tobytes())
    return content.hexdigest()


def perceptual_hash(image: Image.Image) -> Bool[np.ndarray, "64"]:
    """64 bits that hardly change as long as an image looks the same.

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
    """Brightness at a low resolution; a black lower right quarter counts as gray."""
    small = image.convert("L").resize((side, side), Image.Resampling.BOX)
    values = np.asarray(small, dtype=float).copy()
    corner = values[side // 2 :, side // 2 :]
    # The benchmark's jigsaws have a black corner, which would make all of them look alike.
    if corner[1:, 1:].max() < BLACK:
        rest = values.sum() - corner.sum()
        corner[:] = rest / (values.size - corner.size)
    return values
