"""Vision features, computed once: the frozen vision tower's output serves every adapter.

Features are kept by the image's content: in memory up to a limit in bytes, the least recently used
dropped first; beyond that, if a folder is given, on disk up to a second limit. What is in neither
is computed again.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transferscope.engine.records import CacheLimits
from transferscope.errors import DataError
from transferscope.store.atomic import write_whole
from transferscope.tasks import ItemImage, fingerprint

AHEAD = 2
"""Batches that are prepared while one is encoded."""


class KeyedImage(NamedTuple):
    """An image with a key of its content."""

    image: ItemImage
    key: str
    """Images with equal pixels have equal keys."""
    shape: tuple[int, ...]
    """(height, width, 3)."""


def keyed(image: ItemImage) -> KeyedImage:
    """An image with its key and size; each object is read and hashed once."""
    return KeyedImage(image, *fingerprint(image))


class VisionCache:
    """A vision tower's features for images."""

    def __init__(
        self,
        encode: Callable[[Sequence[Any]], list[Tensor]],
        batch_size: int,
        limits: CacheLimits,
        name: str = "features",
        *,
        size: Callable[[KeyedImage], int] = lambda _: 1,
        prepare: Callable[[ItemImage], Any] | None = None,
    ) -> None:
        """Args:
        encode: images to features, one tensor (tokens, hidden size) per image.
        batch_size: the largest sum of `size` in one call of `encode`.
        name: of the folder of these features; must name everything that they depend on.
        size: of an image.
        prepare: makes `encode`'s input from an image, in threads; None: the image itself.
        """
        self._encode, self._batch_size, self._memory = encode, batch_size, limits.memory
        self._size, self._prepare = size, prepare
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._folder = limits.folder / name if limits.folder else None
        on_disk = limits.folder.rglob("*.safetensors") if limits.folder else ()
        self._free = limits.disk - sum(path.stat().st_size for path in on_disk)
        # A thread allocates from a heap arena of its own. Features in the main arena, between
        # tensors that come and go, would fragment the free memory by gigabytes.
        self._copier = ThreadPoolExecutor(1, "features")
        self._preparers = ThreadPoolExecutor(thread_name_prefix="images")
        self.bytes_held = 0
        """In memory."""
        self.encoded = 0
        """Images encoded so far."""

    def features(self, wanted: Sequence[KeyedImage]) -> list[Tensor]:
        """The features (tokens, hidden size) of each image; each distinct image is encoded once."""
        found: dict[str, Tensor] = {}
        missing: dict[str, KeyedImage] = {}
        for one in wanted:
            if one.key in found or one.key in missing:
                continue
            features = self._recalled(one.key)
            if features is None:
                missing[one.key] = one
            else:
                found[one.key] = features
        for batch, inputs in self._prepared(missing.values()):
            with torch.no_grad():
                made = self._encode(inputs)
            self.encoded += len(batch)
            # Cloned, as a view would keep the whole batch alive.
            copies = self._copier.submit(lambda made=made: [one.clone() for one in made])
            for one, features in zip(batch, copies.result(), strict=True):
                found[one.key] = features
                self._keep(one.key, features)
        return [found[one.key] for one in wanted]

    def _prepared(
        self, images: Iterable[KeyedImage]
    ) -> Iterator[tuple[list[KeyedImage], list[Any]]]:
        """Batches of images, each prepared while earlier ones are encoded."""
        if self._prepare is None:
            yield from ((batch, [one.image for one in batch]) for batch in self._batches(images))
            return
        ahead: deque[tuple[list[KeyedImage], Iterator[Any]]] = deque()
        for batch in self._batches(images):
            ahead.append((batch, self._preparers.map(self._prepare, [one.image for one in batch])))
            if len(ahead) > AHEAD:
                first, made = ahead.popleft()
                yield first, list(made)
        yield from ((batch, list(made)) for batch, made in ahead)

    def _batches(self, images: Iterable[KeyedImage]) -> Iterator[list[KeyedImage]]:
        batch, total = [], 0
        for one in images:
            size = self._size(one)
            if batch and total + size > self._batch_size:
                yield batch
                batch, total = [], 0
            batch.append(one)
            total += size
        if batch:
            yield batch

    def _recalled(self, key: str) -> Tensor | None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._folder is None or not (path := _path(self._folder, key)).is_file():
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(path.read_bytes())["features"]
        except (OSError, SafetensorError, KeyError):  # damaged: computed and written again
            return None

    def _keep(self, key: str, features: Tensor) -> None:
        size = features.numel() * features.element_size()
        if self.bytes_held + size > self._memory and self._write(key, features, size):
            return
        self._kept[key] = features
        self.bytes_held += size
        while self.bytes_held > self._memory:
            _, old = self._kept.popitem(last=False)
            self.bytes_held -= old.numel() * old.element_size()

    def _write(self, key: str, features: Tensor, size: int) -> bool:
        """Write features to disk if there is space; returns whether they are there now."""
        from safetensors.torch import save

        if self._folder is None or size > self._free:
            return False
        try:
            write_whole(_path(self._folder, key), save({"features": features.cpu().contiguous()}))
        except DataError:  # a full disk is no reason to stop: features can be computed again
            self._free = 0
            return False
        self._free -= size
        return True


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"
