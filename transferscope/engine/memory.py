"""How much of a fleet fits at once.

When memory runs short: fewer adapters at a time, then a part of their batch at a time (gradients
add up, so the numbers stay the same), then activations computed twice.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint

from transferscope.engine.devices import free_on
from transferscope.engine.linears import decoder_layers
from transferscope.engine.lora import Stack
from transferscope.engine.split import layers_by_device
from transferscope.engine.vlm import Base
from transferscope.study import cost
from transferscope.study.cost import SHARE, MemoryPlan, adapter_bytes, fits, free_memory


def training_room(base: Base, batch: int, length: int, numbers: int = 0) -> MemoryPlan:
    """What fits when each adapter's batch holds `batch` rows of `length` tokens.

    On a CPU each adapter is alone: company gains nothing there, and so an adapter is the same to
    the last bit whatever else is trained.

    Args:
        numbers: of an adapter.
    """
    left = _left(base)
    if left is None:
        return MemoryPlan(1, 1, False)
    row, alone = length * _token_bytes(base, training=True), base.device.type == "cpu"
    return fits(left, batch, row, adapter_bytes(numbers), alone=alone)


def tokens_at_once(base: Base) -> int:
    """Tokens that one scoring forward may hold, from the model's shapes and a GPU's free memory."""
    return int(SHARE * (_left(base) or 0) / _token_bytes(base, training=False))


def _token_bytes(base: Base, *, training: bool) -> int:
    text = base.model.config.get_text_config()
    layers = text.num_hidden_layers if training else cost.SCORING_LAYERS
    units = getattr(text, "intermediate_size", None) or getattr(text, "moe_intermediate_size", 0)
    units = max(units) if isinstance(units, list | tuple) else units  # where layers differ
    return cost.token_bytes(text.hidden_size, units, layers, base.dtype.itemsize)


def _left(base: Base) -> int | None:
    """Bytes left where the base lies; None where nobody says.

    Of several devices, as many as if all had what the fullest has for each of its layers.
    """
    if base.device.type == "cpu":
        return free_memory()
    layers = layers_by_device(base.model)
    return min(free_on(device) * layers.total() // its for device, its in layers.items())


def folding_pays(base: Base, stack: Stack, dropout: float = 0.0) -> bool:
    """Whether `attached(folded=True)` is faster, by the rule that `plan` uses too."""
    params = sum(base.model.get_submodule(name).weight.numel() for name in stack.factors)
    return cost.folding_pays(
        params * base.dtype.itemsize * stack.size,
        str(base.dtype).removeprefix("torch."),
        cpu=base.device.type == "cpu",
        dropout=dropout,
        quantization=base.quantization,
    )


@contextlib.contextmanager
def checkpointing(model: Any) -> Iterator[None]:
    """While this is open, a backward computes the decoder layers' activations again."""
    layers = decoder_layers(model)
    own = [layer.forward for layer in layers]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            layer.forward = forward
