"""How much of a fleet fits in memory at once.

When memory is short: fewer adapters at a time, then smaller microbatches (gradients add up, so the
numbers stay the same), then activation checkpointing.
"""

import ctypes
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint

from transferscope.engine.base_model import Base
from transferscope.engine.devices import free_memory_on, layers_by_device
from transferscope.engine.linears import language_linears
from transferscope.engine.lora import Stack
from transferscope.study import FullRecipe, cost
from transferscope.study.cost import SHARE, MemoryPlan, adapter_bytes, fits, free_memory

MMAP_THRESHOLD = -3
"""glibc's number of the size from which on a block has pages of its own."""

FOLDED_BYTES = 256 << 20
"""Largest base weights to which a CPU adds the adapter's product in each forward."""


def memory_plan(base: Base, recipe: FullRecipe, length: int, num_params: int) -> MemoryPlan:
    """What fits if each adapter has `num_params` and batches of rows of `length` tokens.

    On a CPU adapters are trained one by one: together they would not be faster, and so an adapter
    is the same to the last bit with any other adapters.
    """
    free = _free_bytes(base)
    if free is None:
        return MemoryPlan(1, 1, False)
    row = round(length * _token_bytes(base, training=True) * cost.kept_activations(recipe))
    alone = base.device.type == "cpu"
    if alone and 2 * recipe.batch_size * row > free:
        _return_freed_memory()
    return fits(free, recipe.batch_size, row, adapter_bytes(num_params), alone=alone)


def _return_freed_memory() -> None:
    """Have glibc give large blocks back when they are freed, from now on.

    It keeps those below 32 MiB for reuse: trainings of Qwen2.5-VL-3B's widths took 1.4 and 1.9
    times their activations. New pages make it a third slower, so only where twice would not fit.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(MMAP_THRESHOLD, 1 << 20)


def scoring_tokens(base: Base) -> int:
    """Tokens that fit in one scoring forward, from the model's shapes and a GPU's free memory."""
    return int(SHARE * (_free_bytes(base) or 0) / _token_bytes(base, training=False))


def _token_bytes(base: Base, *, training: bool) -> int:
    text = base.model.config.get_text_config()
    layers = text.num_hidden_layers if training else cost.SCORING_LAYERS
    size = getattr(text, "intermediate_size", None) or getattr(text, "moe_intermediate_size", 0)
    size = max(size) if isinstance(size, list | tuple) else size  # if layers differ
    return cost.token_bytes(text.hidden_size, size, layers, base.dtype.itemsize)


def _free_bytes(base: Base) -> int | None:
    """Free bytes; of several devices as if all had as little per layer as the fullest one."""
    if base.device.type == "cpu":
        return free_memory()
    layers = layers_by_device(base.model)
    return min(free_memory_on(one) * layers.total() // count for one, count in layers.items())


def folding_pays(base: Base, stack: Stack, dropout: float = 0.0) -> bool:
    """Whether `attached(folded=True)` is faster: on a CPU, for small full-precision weights."""
    params = sum(base.model.get_submodule(name).weight.numel() for name in stack.factors)
    small = params * base.dtype.itemsize * stack.size <= FOLDED_BYTES
    return base.device.type == "cpu" and base.mergeable and not dropout and small


@contextmanager
def checkpointing(model: Any) -> Generator[None]:
    """Within this context, a backward recomputes the decoder layers' activations."""
    # A layer's name ends with its number: `model.layers.3.mlp.up_proj` is a part of layer 3.
    names = (re.match(r"(.*?\.)?\d+(?=\.)", name) for name in language_linears(model))
    layers = [model.get_submodule(name) for name in dict.fromkeys(one[0] for one in names if one)]
    forwards = [layer.forward for layer in layers]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer, forward in zip(layers, forwards, strict=True):
            layer.forward = forward
