"""Examples drawn and encoded in other processes. Needs no torch, so that those start fast."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tools.glimpse_bases.rows import pack, padded

LONGEST = {1: 152, 2: 192, 3: 168, 4: 176}
"""Number of pictures to tokens of a row; what does not fit is left out."""


class Example(Protocol):
    """A scene with questions: what `tools.glimpse_bases.stream.example` answers with."""

    @property
    def images(self) -> np.ndarray:
        """(pictures, 112, 112, 3) uint8."""
        ...

    @property
    def turns(self) -> list[tuple[str, str]]:
        """Questions and answers."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """(pictures, 16, labels) uint8, which words hold at each token of a picture."""
        ...


class Order(NamedTuple):
    """Which examples to draw."""

    example: Callable[..., Example]
    """Called with index, seed and `dose`."""
    seed: int
    dose: float
    first: int
    """Index of the first example."""
    examples: int
    folder: Path
    """Where the pixels are left as a file, too large for a pipe."""


class Block(NamedTuple):
    """Examples with one number of pictures."""

    pixels: Path
    """File with (examples, pictures, 112, 112, 3) uint8; whoever reads it removes it."""
    ids: np.ndarray
    """(examples, length) int16, padded on the right."""
    answered: np.ndarray
    """(examples, length) uint8: 1 at tokens that the model has to say."""
    labels: np.ndarray
    """(examples, pictures, 16, labels) uint8."""
    lengths: np.ndarray
    """(examples,) int16: tokens without the padding."""


def draw(order: Order) -> dict[int, Block]:
    """Draw an order's examples, by number of pictures; one that fits no row is left out."""
    found: dict[int, list[tuple[Example, list[int], list[bool]]]] = {}
    for index in range(order.first, order.first + order.examples):
        example = order.example(index, order.seed, dose=order.dose)
        pictures = len(example.images)
        packed = pack(pictures, example.turns, LONGEST[pictures])
        if any(packed.answered):
            found.setdefault(pictures, []).append((example, packed.ids, packed.answered))
    return {
        pictures: _block(rows, LONGEST[pictures], order.folder) for pictures, rows in found.items()
    }


def _block(rows: list[tuple[Example, list[int], list[bool]]], longest: int, folder: Path) -> Block:
    path = folder / f"{os.getpid()}-{uuid.uuid4().hex}.npy"
    np.save(path, np.stack([example.images for example, _, _ in rows]))
    ids = [ids for _, ids, _ in rows]
    return Block(
        path,
        padded(ids, longest).astype(np.int16),
        padded([answered for _, _, answered in rows], longest).astype(np.uint8),
        np.stack([example.labels for example, _, _ in rows]),
        np.array([len(row) for row in ids], dtype=np.int16),
    )
