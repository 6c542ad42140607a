"""How much of a fleet fits at once.

When memory runs short: fewer adapters at a time, then a part of their batch at a time (gradients
add up, so the numbers stay the same), then activations computed twice.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from transferscope.fleet.layer import Stack
from transferscope.models.vlm import Base

FOLDED_BYTES = 256 << 20
"""Most bytes of weights that are folded with an adapter's factors in each forward."""

SHARE = 0.7
"""Part of a GPU's free memory that activations may take."""


class Room(NamedTuple):
    """What one training forward holds."""

    adapters: int
    """Adapters of one squad."""
    parts: int
    """Parts of a batch, one after another."""
    checkpointing: bool
    """Whether activations are computed again in the backward."""

    def smaller(self, batch: int) -> "Room | None":
        """The next thing to try; None where all has been tried. Adapters stay: they have begun."""
        if self.parts < batch:
            return self._replace(parts=min(2 * self.parts, batch))
        return None if self.checkpointing else self._replace(checkpointing=True)


def training_room(base: Base, batch: int, length: int) -> Room:
    """What fits when each adapter's batch holds `batch` rows of `length` tokens.

    On a CPU each adapter is alone: company gains nothing there, and so an adapter is the same to
    the last bit whatever else is trained.
    """
    if base.device.type == "cpu":
        return Room(1, 1, False)
    tokens = tokens_at_once(base, training=True)
    if adapters := tokens // max(1, batch * length):
        return Room(adapters, 1, False)
    rows = tokens // max(1, length)
    return Room(1, -(-batch // max(1, rows)), rows == 0)


def tokens_at_once(base: Base, *, training: bool) -> int:
    """Tokens that one forward may hold, from the model's shapes and a GPU's free memory."""
    text = base.model.config.get_text_config()
    wide = 14 * text.hidden_size + 5 * text.intermediate_size
    layers = text.num_hidden_layers if training else 2
    free, _ = torch.cuda.mem_get_info(base.device)
    return int(SHARE * free / (wide * layers * base.dtype.itemsize))


def folding_pays(base: Base, stack: Stack) -> bool:
    """Whether `attached(folded=True)` is faster: on a CPU, for weights as small as Glimpse's."""
    weights = sum(base.model.get_submodule(name).weight.numel() for name in stack.factors)
    small = weights * base.dtype.itemsize * stack.size <= FOLDED_BYTES
    return base.device.type == "cpu" and stack.values.dtype == base.dtype and small


@contextlib.contextmanager
def checkpointing(model: Any) -> Iterator[None]:
    """While this is open, a backward computes the decoder layers' activations again."""
    layers = list(model.get_decoder().layers)
    own = [layer.forward for layer in layers]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            layer.forward = forward
