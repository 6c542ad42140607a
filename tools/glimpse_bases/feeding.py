"""The stream of examples into a training: drawn ahead, kept in rings, used a few times each."""

import multiprocessing
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tools.glimpse_bases.drawing import LONGEST, Block, Example, Order, draw

IGNORED = -100
"""Target of a token that the model does not have to say."""

SHARE = {1: 1.3, 2: 1.0, 3: 0.9, 4: 0.75}
"""Number of pictures to rows of a batch, in parts of the batch size."""

_SHARED_MEMORY = Path("/dev/shm")


class Batch(NamedTuple):
    """Examples with one number of pictures."""

    pixels: Tensor
    """(rows x pictures, 112, 112, 3) uint8."""
    ids: Tensor
    """(rows, length) int64."""
    targets: Tensor
    """(rows, length - 1) int64: the token after each one, or -100."""
    labels: Tensor
    """(rows x pictures, 16, labels) uint8."""

    @property
    def pictures(self) -> int:
        return len(self.pixels) // len(self.ids)


@dataclass(frozen=True)
class Supply:
    """Where examples come from and how many are kept."""

    example: Callable[..., Example]
    """`stream.example` or one like it; must be importable by name."""
    seed: int = 0
    dose: float = 0.06
    """Probability that the task's own question is among an example's."""
    workers: int = 1
    reuse: float = 1.0
    """How often an example is used on average."""
    chunk: int = 64
    """Examples drawn at a time by one worker."""
    fill: int = 512
    """Examples drawn before training starts."""
    memory: float = 1e9
    """Bytes of pixels kept."""


class Ring:
    """The newest examples with one number of pictures, on the training's device."""

    def __init__(self, pictures: int, capacity: int, labels: int, device: torch.device) -> None:
        def room(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
            return torch.zeros(capacity, *shape, dtype=dtype, device=device)

        length = LONGEST[pictures]
        self.pixels = room(pictures, 112, 112, 3)
        self.ids = room(length, dtype=torch.int16)
        self.answered = room(length)
        self.labels = room(pictures, 16, labels)
        self.lengths = torch.zeros(capacity, dtype=torch.int64)  # on the CPU: sorted by it there
        self.capacity, self.filled, self.seen = capacity, 0, 0

    def add(self, pixels: Tensor, block: Block) -> None:
        """Put examples in the places of the oldest."""
        start = self.seen % self.capacity
        count = min(len(pixels), self.capacity - start)
        for room, new in (
            (self.pixels, pixels),
            (self.ids, torch.from_numpy(block.ids)),
            (self.answered, torch.from_numpy(block.answered)),
            (self.labels, torch.from_numpy(block.labels)),
            (self.lengths, torch.from_numpy(block.lengths)),
        ):
            room[start : start + count].copy_(new[:count], non_blocking=True)
        self.seen += count
        self.filled = min(self.capacity, self.seen)

    def take(self, rows: int, generator: torch.Generator, trim: bool) -> Batch:
        """Random examples; trimmed ones are of similar length and no longer than they must be."""
        length = self.ids.shape[1]
        if trim:  # one of four runs of rows sorted by length: little padding, no bias
            many = torch.randint(self.filled, (4 * rows,), generator=generator)
            ordered = many[self.lengths[many].argsort()].view(4, rows)
            index = ordered[int(torch.randint(4, (), generator=generator))]
            length = int(self.lengths[index].max())
        else:
            index = torch.randint(self.filled, (rows,), generator=generator)
        index = index.to(self.ids.device, non_blocking=True)
        ids = self.ids[index, :length].long()
        said = self.answered[index, 1:length].bool()
        return Batch(
            self.pixels[index].flatten(0, 1),
            ids,
            torch.where(said, ids[:, 1:], IGNORED),
            self.labels[index].flatten(0, 1),
        )


class Feeder:
    """Draws examples in processes and hands out batches of them; made by `feeder`."""

    def __init__(self, supply: Supply, first: int, device: torch.device, pool: Pool) -> None:
        self.next = first
        """Index of the first example that nobody has drawn."""
        self.drawn = self.used = 0
        self._supply, self._device, self._pool = supply, device, pool
        self._under_way = 0
        self._rings: dict[int, Ring] = {}
        self._ready: queue.Queue[dict[int, Block] | BaseException] = queue.Queue()
        self._loaded: queue.Queue[list[tuple[int, Tensor, Block]] | BaseException] = queue.Queue(3)
        self._generator = torch.Generator().manual_seed(supply.seed + first)
        self._over = threading.Event()
        self._folder = Path(
            tempfile.mkdtemp(dir=_SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None)
        )
        self._loader = threading.Thread(target=self._load, daemon=True)
        self._loader.start()

    def batch(self, size: int) -> Batch:
        """A batch of about `size` examples, all with one number of pictures.

        Every number of pictures comes up as often as the stream has it.
        """
        self._order()
        while self.drawn < self._supply.fill:
            self._collect(wait=True)
        self._collect(wait=False)
        kinds = list(self._rings)
        often = torch.tensor([self._rings[kind].seen / SHARE[kind] for kind in kinds])
        kind = kinds[int(torch.multinomial(often, 1, generator=self._generator))]
        rows = max(1, round(size * SHARE[kind]))
        self.used += rows
        trim = self._device.type == "cpu"
        return self._rings[kind].take(rows, self._generator, trim)

    def close(self) -> None:
        """Stop the loading thread and remove what waits on disk."""
        self._over.set()
        self._loader.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _order(self) -> None:
        """Ask for examples while they are wanted and the workers have not enough to do."""
        its = self._supply
        wanted = its.fill + self.used / its.reuse
        while (
            self._under_way < its.workers + 4
            and self.drawn + self._under_way * its.chunk < wanted + its.chunk
        ):
            order = Order(its.example, its.seed, its.dose, self.next, its.chunk, self._folder)
            self._pool.apply_async(
                draw, (order,), callback=self._ready.put, error_callback=self._ready.put
            )
            self.next += its.chunk
            self._under_way += 1

    def _load(self) -> None:
        """In a thread: read pixels from the workers' files, pinned for a GPU."""
        while not self._over.is_set():
            try:
                blocks = self._ready.get(timeout=0.2)
            except queue.Empty:
                continue
            if isinstance(blocks, BaseException):
                self._offer(blocks)
                continue
            loaded = []
            for pictures, block in blocks.items():
                pixels = torch.from_numpy(np.load(block.pixels))
                block.pixels.unlink()
                pinned = pixels.pin_memory() if self._device.type == "cuda" else pixels
                loaded.append((pictures, pinned, block))
            self._offer(loaded)

    def _offer(self, loaded: "list[tuple[int, Tensor, Block]] | BaseException") -> None:
        while not self._over.is_set():
            try:
                self._loaded.put(loaded, timeout=0.2)
                return
            except queue.Full:
                continue

    def _collect(self, wait: bool) -> None:
        """Move what has been loaded into the rings."""
        try:
            loaded = self._loaded.get(block=wait)
        except queue.Empty:
            return
        if isinstance(loaded, BaseException):
            raise loaded
        self._under_way -= 1
        for pictures, pixels, block in loaded:
            if pictures not in self._rings:
                capacity = int(self._supply.memory / len(LONGEST) / pixels[0].nbytes)
                labels = block.labels.shape[-1]
                self._rings[pictures] = Ring(pictures, capacity, labels, self._device)
            self._rings[pictures].add(pixels, block)
            self.drawn += len(pixels)
        self._order()


@contextmanager
def feeder(supply: Supply, first: int, device: torch.device) -> Generator[Feeder]:
    """A feeder with its processes, which end with the block.

    Args:
        first: index of the first example to draw.
    """
    kept = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers; here torch runs already
    try:
        pool = multiprocessing.get_context("spawn").Pool(supply.workers)
    finally:
        if kept is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = kept
    with pool:
        its = Feeder(supply, first, device, pool)
        try:
            yield its
        finally:
            its.close()
