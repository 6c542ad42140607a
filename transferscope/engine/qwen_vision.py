"""Qwen's vision towers, faster: the same sums in other shapes, attention without loops.

The towers attend within windows and images, and transformers' sdpa loops over these one by one.
Here all are one call if torch has variable-length attention on the device, else one call per
length that occurs, without padding. The language model's attention is not changed.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from transferscope.engine.devices import to_device
from transferscope.tasks import ItemImage, fingerprint

EVEN, TILE = 8, 128
"""16-bit numbers that tensor cores take at once, and those of a whole tile."""

VARLEN, GROUPED = "varlen_flash_windows", "grouped_flash_windows"
"""Names of the two attention functions in transformers, which passes all windows at once only to
functions with `flash` in their names."""


def patch_grid(processor: Any, image: ItemImage) -> tuple[int, int, int]:
    """Time, height and width in patches of an image that an image processor has resized."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    height, width, _ = fingerprint(image).shape
    edge, size = processor.patch_size, processor.size
    height, width = smart_resize(
        height, width, edge * processor.merge_size, size["shortest_edge"], size["longest_edge"]
    )
    return 1, height // edge, width // edge


def embed_by_product(tower: Any) -> None:
    """Embed a tower's patches by a matrix product: on a CPU 4 to 150 times as fast.

    The sums are those of the tower's convolution, whose windows do not overlap, added up in another
    order.
    """
    first: Any = tower.patch_embed.proj
    if isinstance(first, nn.Conv3d) and first.kernel_size == first.stride:
        vars(first)["forward"] = partial(_embedded, first)


def pad_tower(tower: Any) -> None:
    """Pad a tower's MLPs of a size that tensor cores do not support with zeros."""
    for block in tower.blocks:
        if hasattr(block.mlp, "gate_proj") and block.mlp.gate_proj.out_features % EVEN:
            pad_gated_mlp(block.mlp)


def _embedded(first: Any, patches: Tensor) -> Tensor:
    return functional.linear(patches.flatten(1), first.weight.flatten(1), first.bias)


def pad_gated_mlp(mlp: Any) -> None:
    """Pad a gated MLP's intermediate size with zeros to a whole number of tiles."""
    more = -mlp.gate_proj.out_features % TILE
    for linear in (mlp.gate_proj, mlp.up_proj):
        _set_weight(linear, functional.pad(linear.weight, (0, 0, 0, more)))
        if linear.bias is not None:
            padded = functional.pad(linear.bias.detach(), (0, more))
            linear.bias = nn.Parameter(padded, requires_grad=False)
    _set_weight(mlp.down_proj, functional.pad(mlp.down_proj.weight, (0, more)))


def _set_weight(linear: nn.Linear, weight: Tensor) -> None:
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    linear.out_features, linear.in_features = weight.shape


class PreparedImage(NamedTuple):
    """The vision tower's input for one image, in bytes."""

    patches: Tensor
    """(patches, channels x frames x height x width) uint8."""
    grid: Tensor
    """(1, 3): time, rows and columns of patches."""


class ImagePreparer:
    """Qwen's image processor in two steps: bytes on the CPU, their values on the GPU.

    Bytes are a quarter of the size of float values.
    """

    def __init__(self, processor: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._processor = processor
        # An image with every byte value in every channel, processed with and without scaling.
        edge = processor.patch_size * processor.merge_size
        every = np.arange(edge * edge).astype(np.uint8).reshape(edge, edge, 1).repeat(3, -1)
        plain, whole = (
            self._processed(every, do_resize=False, **options)["pixel_values"].unflatten(1, (3, -1))
            for options in ({"do_rescale": False, "do_normalize": False}, {})
        )
        table = torch.zeros(3, 256, dtype=dtype)
        for row, values, scaled in zip(table, plain.unbind(1), whole.unbind(1), strict=True):
            row[values.flatten().long()] = scaled.flatten().to(dtype)
        self._table = to_device(table, device)
        """(channels, 256): the processor's value for each byte."""

    def prepare(self, image: ItemImage) -> PreparedImage:
        """An image cut into patches."""
        made = self._processed(image.pixels(), do_rescale=False, do_normalize=False)
        return PreparedImage(made["pixel_values"].to(torch.uint8), made["image_grid_thw"])

    def values(self, patches: Tensor) -> Tensor:
        """The processor's values for the bytes of patches on the device."""
        channel = torch.arange(3, device=patches.device)[:, None]
        return self._table[channel, patches.unflatten(1, (3, -1)).long()].flatten(1)

    def _processed(self, pixels: np.ndarray, **options: Any) -> Any:
        from PIL import Image

        return self._processor(images=[Image.fromarray(pixels)], return_tensors="pt", **options)


def use_window_attention(model: Any) -> bool:
    """Give a model's vision tower this attention; returns whether all windows are one call."""
    from transformers import AttentionInterface

    AttentionInterface.register(VARLEN, varlen_attention)
    AttentionInterface.register(GROUPED, grouped_attention)
    one_call = _has_varlen(model.device, model.dtype)
    model.set_attn_implementation({"vision_config": VARLEN if one_call else GROUPED})
    return one_call


def varlen_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **options: Any
) -> tuple[Tensor, None]:
    """Attention within windows in one call, with the signature that transformers expects.

    Args:
        query: as `key` and `value` (1, heads, patches, head size).
        options: `cu_seq_lens_q`, the starts of windows and the end of the last one (windows + 1),
            and `max_length_q`, the patches of the longest window.

    Returns:
        (1, patches, heads, head size), and no weights.
    """
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (one[0].transpose(0, 1) for one in (query, key, value))
    starts, longest = options["cu_seq_lens_q"].to(torch.int32), int(options["max_length_q"])
    out: Any = varlen_attn(q, k, v, starts, starts, longest, longest)
    return out[None], None


def grouped_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **options: Any
) -> tuple[Tensor, None]:
    """As `varlen_attention`, with one call per window length."""
    q, k, v = query[0], key[0], value[0]  # (heads, patches, head size)
    heads, patches, size = q.shape
    sizes = options["cu_seq_lens_q"].diff()
    kinds = sorted(set(sizes.tolist()) - {0})
    if len(kinds) == 1:
        q, k, v = (one.view(heads, -1, kinds[0], size).transpose(0, 1) for one in (q, k, v))
        attended = functional.scaled_dot_product_attention(q, k, v)
        return attended.transpose(1, 2).reshape(1, patches, heads, size), None
    out = q.new_empty(patches, heads, size)
    starts = options["cu_seq_lens_q"][:-1]
    for length in kinds:
        index = starts[sizes == length, None] + torch.arange(length, device=q.device)
        some = [one[:, index].transpose(0, 1) for one in (q, k, v)]
        attended = functional.scaled_dot_product_attention(some[0], some[1], some[2])
        out[index] = attended.transpose(1, 2)
    return out[None], None


def _has_varlen(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch has variable-length attention on this device."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    try:
        from torch.nn.attention import varlen
    except ImportError:  # torch before 2.10
        return False
    return hasattr(varlen, "varlen_attn") and torch.cuda.get_device_capability(device) >= (8, 0)
