"""Vision features, computed once: the frozen vision tower's output serves every adapter.

Features are kept by the image's content: those used last in memory, up to a limit; the others, if a
folder is given, on disk up to another. The least recently used are dropped first, and computed
again.
"""

import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferscope.engine.devices import to_device
from transferscope.engine.records import CacheLimits
from transferscope.errors import DataError
from transferscope.store.atomic import write_whole
from transferscope.tasks import ItemImage, fingerprint

CPU = torch.device("cpu")

AHEAD = 2
"""Batches that are prepared while one is encoded."""


class VisionCache:
    """A vision tower's features for images."""

    def __init__(
        self,
        encode: Callable[[Sequence[Any]], list[Tensor]],
        batch_size: int,
        limits: CacheLimits,
        name: str = "features",
        *,
        device: torch.device = CPU,
        size: Callable[[ItemImage], int] = lambda _: 1,
        prepare: Callable[[ItemImage], Any] = lambda image: image,
    ) -> None:
        """Args:
        encode: images to features, one tensor (tokens, hidden size) per image.
        batch_size: the largest sum of `size` in one call of `encode`.
        name: of the folder of these features; must name everything that they depend on.
        device: of the features in memory, as `encode` returns them.
        size: of an image.
        prepare: makes `encode`'s input from an image, in threads.
        """
        self._encode, self._batch_size, self._memory = encode, batch_size, limits.memory
        self._device = device
        self._size, self._prepare = size, prepare
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._folder, self._disk = limits.folder / name if limits.folder else None, limits.disk
        self._files: OrderedDict[Path, os.stat_result] = OrderedDict()
        """Files on disk as they were used last, the least recently used first."""
        self._file_bytes = 0
        for path in limits.folder.rglob("*.safetensors") if limits.folder else ():
            self._note(path)
        self._files = OrderedDict(sorted(self._files.items(), key=lambda one: one[1].st_mtime_ns))
        # A thread allocates from a separate heap arena. Features in the main arena, between
        # tensors that come and go, would fragment the free memory by gigabytes.
        self._copier = ThreadPoolExecutor(1, "features")
        self._preparers = ThreadPoolExecutor(thread_name_prefix="images")
        self.bytes_held = 0
        """In memory."""

    def features(self, wanted: Sequence[ItemImage]) -> list[Tensor]:
        """The features (tokens, hidden size) of each image; each distinct image is encoded once."""
        keys = [fingerprint(image).key for image in wanted]
        distinct = dict(zip(keys, wanted, strict=True))
        recalled = {key: self._recalled(key) for key in distinct}
        found = {key: features for key, features in recalled.items() if features is not None}
        missing = [image for key, image in distinct.items() if key not in found]
        for batch, inputs in self._prepared(missing):
            with torch.no_grad():
                made = self._encode(inputs)
            # Cloned, as a view would keep the whole batch alive.
            copies = self._copier.submit(lambda made=made: [one.clone() for one in made])
            for image, features in zip(batch, copies.result(), strict=True):
                key = fingerprint(image).key
                found[key] = features
                self._keep(key, features)
        return [found[key] for key in keys]

    def _prepared(self, images: Iterable[ItemImage]) -> Iterator[tuple[list[ItemImage], list[Any]]]:
        """Batches of images, each prepared while earlier ones are encoded."""
        ahead: deque[tuple[list[ItemImage], Iterator[Any]]] = deque()
        for batch in self._batches(images):
            ahead.append((batch, self._preparers.map(self._prepare, batch)))
            if len(ahead) > AHEAD:
                first, made = ahead.popleft()
                yield first, list(made)
        yield from ((batch, list(made)) for batch, made in ahead)

    def _batches(self, images: Iterable[ItemImage]) -> Iterator[list[ItemImage]]:
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
            features = load(path.read_bytes())["features"]
        except (OSError, SafetensorError, KeyError):  # damaged: computed and written again
            with suppress(OSError):
                path.unlink()
            self._note(path)
            return None
        self._use(path)
        features = to_device(features, self._device)
        self._keep(key, features)
        return features

    def _keep(self, key: str, features: Tensor) -> None:
        """Keep features in memory, and on disk those that were used least recently."""
        self._kept[key] = features
        self.bytes_held += features.nbytes
        while self.bytes_held > self._memory:
            old_key, old = self._kept.popitem(last=False)
            self.bytes_held -= old.nbytes
            self._write(old_key, old)

    def _write(self, key: str, features: Tensor) -> None:
        """Write features to disk, unless they are there, in place of older ones."""
        from safetensors.torch import save

        if self._folder is None or features.nbytes > self._disk:
            return
        path = _path(self._folder, key)
        if path.is_file():
            self._use(path)
            return
        data = save({"features": features.cpu().contiguous()})
        while self._files and self._file_bytes + len(data) > self._disk:
            self._drop_oldest()
        try:
            self._use(write_whole(path, data))
        except DataError:  # a full disk is no reason to stop: features can be computed again
            self._disk = self._file_bytes

    def _use(self, path: Path) -> None:
        """Note that a file is used now, for other processes too."""
        now = time.time_ns()  # without it the time would be that of the system's last tick
        with suppress(OSError):
            os.utime(path, ns=(now, now))
        self._note(path)

    def _note(self, path: Path) -> None:
        """Put a file last in `_files`, if it is still there."""
        if (before := self._files.pop(path, None)) is not None:
            self._file_bytes -= before.st_size
        with suppress(OSError):
            self._files[path] = path.stat()
            self._file_bytes += self._files[path].st_size

    def _drop_oldest(self) -> None:
        """Remove the file that was used least recently, unless another process has used it."""
        path, known = next(iter(self._files.items()))
        self._note(path)
        now = self._files.get(path)
        if now is not None and now.st_mtime_ns == known.st_mtime_ns:
            self._file_bytes -= self._files.pop(path).st_size
            with suppress(OSError):
                path.unlink()


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"
