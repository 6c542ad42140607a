"""A vision tower and its pictures as a GPU likes them: the same sums in other shapes.

Patches are embedded by a matrix product where the model has a convolution whose windows do not
overlap, and feed-forward blocks whose number of units tensor cores do not take are filled up with
units that say nothing. Pictures come as bytes, a quarter of what they amount to as numbers.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from transferscope.engine.devices import sent
from transferscope.tasks import ItemImage

EVEN, WIDE = 8, 128
"""Numbers of 16 bits that tensor cores take at once, and a whole tile of them."""


def smooth(tower: Any) -> None:
    """Change a tower of Qwen's, whose answers stay as they are."""
    first: Any = tower.patch_embed.proj
    if isinstance(first, nn.Conv3d) and first.kernel_size == first.stride:
        vars(first)["forward"] = partial(_embedded, first)
    for block in tower.blocks:
        if hasattr(block.mlp, "gate_proj") and block.mlp.gate_proj.out_features % EVEN:
            fill_up(block.mlp)


def _embedded(first: Any, patches: Tensor) -> Tensor:
    return functional.linear(patches.flatten(1), first.weight.flatten(1), first.bias)


def fill_up(block: Any) -> None:
    """Give a gated block units of zeros, up to a whole number of tiles."""
    more = -block.gate_proj.out_features % WIDE
    for linear in (block.gate_proj, block.up_proj):
        _changed(linear, functional.pad(linear.weight, (0, 0, 0, more)))
        if linear.bias is not None:
            linear.bias = _frozen(functional.pad(linear.bias, (0, more)))
    _changed(block.down_proj, functional.pad(block.down_proj.weight, (0, more)))


def _changed(linear: nn.Linear, weight: Tensor) -> None:
    linear.weight = _frozen(weight)
    linear.out_features, linear.in_features = weight.shape


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)


class Prepared(NamedTuple):
    """A picture as the tower takes it, in bytes."""

    patches: Tensor
    """(patches, channels x frames x height x width) uint8."""
    grid: Tensor
    """(1, 3): time, rows and columns of patches."""


class Pixels:
    """A processor of Qwen's in two parts: bytes here, what they amount to where the model is."""

    def __init__(self, processor: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._processor = processor
        edge = processor.patch_size * processor.merge_size
        every = np.arange(edge * edge).astype(np.uint8).reshape(edge, edge, 1).repeat(3, -1)
        kept = {"do_resize": False}
        plain, whole = (
            self._made(every, **kept, **how)["pixel_values"].unflatten(1, (3, -1))
            for how in ({"do_rescale": False, "do_normalize": False}, {})
        )
        table = torch.zeros(3, 256, dtype=dtype)
        for row, its, numbers in zip(table, plain.unbind(1), whole.unbind(1), strict=True):
            row[its.flatten().long()] = numbers.flatten().to(dtype)
        self._table = sent(table, device)
        """(channels, 256): the processor's own number for each value of a pixel."""

    def prepared(self, picture: ItemImage) -> Prepared:
        """A picture cut into patches."""
        made = self._made(picture.pixels(), do_rescale=False, do_normalize=False)
        return Prepared(made["pixel_values"].to(torch.uint8), made["image_grid_thw"])

    def numbers(self, patches: Tensor) -> Tensor:
        """What the bytes of patches on the device amount to."""
        channel = torch.arange(3, device=patches.device)[:, None]
        return self._table[channel, patches.unflatten(1, (3, -1)).long()].flatten(1)

    def _made(self, pixels: np.ndarray, **how: Any) -> Any:
        from PIL import Image

        return self._processor(images=[Image.fromarray(pixels)], return_tensors="pt", **how)
