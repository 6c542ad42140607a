"""Vision features once: what a frozen vision tower makes of a picture serves every adapter.

Features are kept by the picture's content: in memory up to a budget of bytes, the longest unused
given up first; beyond that, where a folder is named, on disk up to a second budget; what is found
in neither is computed again when it is wanted.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transferscope.errors import DataError
from transferscope.store.atomic import write_whole
from transferscope.tasks import ItemImage, fingerprint

AHEAD = 2
"""Parts that are prepared while one is looked at."""


@dataclass(frozen=True)
class Budget:
    """How much room vision features may take."""

    memory: int = 2 << 30
    """Bytes in memory."""
    folder: Path | None = None
    """Where to keep on disk what does not fit in memory; None: nowhere."""
    disk: int = 20 << 30
    """Bytes in the folder."""


class Seen(NamedTuple):
    """A picture and what is known about it."""

    picture: ItemImage
    key: str
    """Of its pixels: the same pixels, the same key."""
    shape: tuple[int, ...]
    """(height, width, 3)."""


def seen(picture: ItemImage) -> Seen:
    """A picture with its key and its size; each object is read and hashed once."""
    return Seen(picture, *fingerprint(picture))


class Eyes:
    """A vision tower with a memory."""

    def __init__(
        self,
        look: Callable[[Sequence[Any]], list[Tensor]],
        at_once: int,
        budget: Budget,
        name: str = "features",
        *,
        size: Callable[[Seen], int] = lambda _: 1,
        prepare: Callable[[ItemImage], Any] | None = None,
    ) -> None:
        """Args:
        look: pictures to features, one tensor (tokens, width) a picture.
        at_once: how much to look at in one call, by `size`.
        name: folder of these features in the budget's folder; names everything they depend on.
        size: of a picture.
        prepare: makes of each picture what `look` takes, in threads beside it; None: nothing.
        """
        self._look, self._at_once, self._memory = look, at_once, budget.memory
        self._size, self._prepare = size, prepare
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._folder = budget.folder / name if budget.folder else None
        self._free = budget.disk - (_size(budget.folder) if budget.folder else 0)
        # A thread has a heap of its own. Features that stay, laid among tensors that come and go,
        # cut the free memory into pieces which the next tensors no longer fit: gigabytes of them.
        self._shelf = ThreadPoolExecutor(1, "features")
        self._hands = ThreadPoolExecutor(thread_name_prefix="pictures")
        self.held = 0
        """Bytes in memory."""
        self.looked = 0
        """Pictures computed."""

    def features(self, wanted: Sequence[Seen]) -> list[Tensor]:
        """The features (tokens, width) of each picture; each distinct one is looked at once."""
        found: dict[str, Tensor] = {}
        missing: dict[str, Seen] = {}
        for one in wanted:
            if one.key in found or one.key in missing:
                continue
            features = self._recalled(one.key)
            if features is None:
                missing[one.key] = one
            else:
                found[one.key] = features
        for part, pictures in self._prepared(missing.values()):
            with torch.no_grad():
                made = self._look(pictures)
            self.looked += len(part)
            for one, features in zip(part, self._shelf.submit(_copied, made).result(), strict=True):
                found[one.key] = features
                self._keep(one.key, features)
        return [found[one.key] for one in wanted]

    def _prepared(self, some: Iterable[Seen]) -> Iterator[tuple[list[Seen], list[Any]]]:
        """Pictures in parts, each prepared while those before it are looked at."""
        if self._prepare is None:
            yield from ((part, [one.picture for one in part]) for part in self._parts(some))
            return
        ahead: deque[tuple[list[Seen], Iterator[Any]]] = deque()
        for part in self._parts(some):
            ahead.append((part, self._hands.map(self._prepare, [one.picture for one in part])))
            if len(ahead) > AHEAD:
                first, made = ahead.popleft()
                yield first, list(made)
        yield from ((part, list(made)) for part, made in ahead)

    def _parts(self, some: Iterable[Seen]) -> Iterator[list[Seen]]:
        part, held = [], 0
        for one in some:
            size = self._size(one)
            if part and held + size > self._at_once:
                yield part
                part, held = [], 0
            part.append(one)
            held += size
        if part:
            yield part

    def _recalled(self, key: str) -> Tensor | None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._folder is None or not (path := self._path(key)).is_file():
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(path.read_bytes())["features"]
        except (OSError, SafetensorError, KeyError):  # damaged: it is computed and written again
            return None

    def _keep(self, key: str, features: Tensor) -> None:
        size = features.numel() * features.element_size()
        if self.held + size > self._memory and self._write(key, features, size):
            return
        self._kept[key] = features
        self.held += size
        while self.held > self._memory:
            _, old = self._kept.popitem(last=False)
            self.held -= old.numel() * old.element_size()

    def _write(self, key: str, features: Tensor, size: int) -> bool:
        """Whether the features are on disk now."""
        from safetensors.torch import save

        if self._folder is None or size > self._free:
            return False
        try:
            write_whole(self._path(key), save({"features": features.cpu().contiguous()}))
        except DataError:  # a full disk is no reason to stop: features can be computed again
            self._free = 0
            return False
        self._free -= size
        return True

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.safetensors"


def _copied(made: Sequence[Tensor]) -> list[Tensor]:
    """Each on its own: a view would keep the whole batch alive."""
    return [features.clone() for features in made]


def _size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
