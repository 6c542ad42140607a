"""Vision features once: what a frozen vision tower makes of a picture serves every adapter.

Features are kept by the picture's content, in memory up to a budget of bytes, the longest unused
given up first; what was given up is computed again when it is wanted.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from transferscope.suite import Picture

BUDGET = 2 << 30
"""Bytes of features kept in memory unless told otherwise."""

Seen = tuple[str, Picture]
"""A picture with its content key."""


def content_key(picture: Picture) -> str:
    """A key of a picture's pixels: the same pixels, the same key."""
    pixels = np.ascontiguousarray(picture.pixels())
    return hashlib.blake2b(
        pixels.tobytes() + repr(pixels.shape).encode(), digest_size=20
    ).hexdigest()


class Eyes:
    """A vision tower with a memory."""

    def __init__(
        self, look: Callable[[Sequence[Picture]], list[Tensor]], at_once: int, budget: int = BUDGET
    ) -> None:
        """Args:
        look: pictures to features, one tensor (tokens, width) a picture.
        at_once: how many pictures to look at in one call.
        budget: bytes of features to keep.
        """
        self._look, self._at_once, self.budget = look, at_once, budget
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self.held = 0
        """Bytes kept."""
        self.looked = 0
        """Pictures computed."""

    def features(self, wanted: Sequence[Seen]) -> list[Tensor]:
        """The features (tokens, width) of each picture; each distinct one is looked at once."""
        found: dict[str, Tensor] = {}
        missing: dict[str, Picture] = {}
        for key, picture in wanted:
            if key in self._kept:
                self._kept.move_to_end(key)
                found[key] = self._kept[key]
            else:
                missing[key] = picture
        keys = list(missing)
        for start in range(0, len(keys), self._at_once):
            part = keys[start : start + self._at_once]
            with torch.no_grad():
                made = self._look([missing[key] for key in part])
            self.looked += len(part)
            for key, features in zip(part, made, strict=True):
                found[key] = features.clone()  # a view would keep the whole batch alive
                self._keep(key, found[key])
        return [found[key] for key, _ in wanted]

    def _keep(self, key: str, features: Tensor) -> None:
        size = features.numel() * features.element_size()
        if size > self.budget:
            return
        self._kept[key] = features
        self.held += size
        while self.held > self.budget:
            _, old = self._kept.popitem(last=False)
            self.held -= old.numel() * old.element_size()
