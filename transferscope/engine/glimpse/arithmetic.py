"""The embedded bases' vision tower and the arithmetic that their forward passes share.

transformers' vision tower loops over the images of a batch. Here all images are 112 x 112, so a
batch is one tensor. The modules and their weights are the model's own; tests compare the results
with transformers' forward.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from transferscope.engine.glimpse import prompt_layout as layout

_PATCH, _MERGE = 14, 2
_PATCHES = (layout.SIDE // _PATCH) ** 2


def patches(pixels: Tensor) -> Tensor:
    """Images (n, 112, 112, 3) uint8 as patches (n, 64, 588) in -1 .. 1, in the tower's order."""
    scaled = pixels.float() / 127.5 - 1
    blocks = layout.SIDE // _PATCH // _MERGE
    parted = scaled.view(-1, blocks, _MERGE, _PATCH, blocks, _MERGE, _PATCH, 3)
    return parted.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(len(pixels), _PATCHES, -1)


def vision_features(model: Any, pixels: Tensor) -> Tensor:
    """Vision features of images (n, 112, 112, 3) uint8: (n, 16, hidden size)."""
    tower: Any = model.model.visual
    # An image is a video of two equal frames, so the kernel's two frames add up.
    kernel = tower.patch_embed.proj.weight.sum(2).flatten(1)
    x = functional.linear(patches(pixels).to(kernel.dtype), kernel)
    cosine, sine = _vision_rotation(x.device, x.dtype)
    for block in tower.blocks:
        mixed = block.attn.qkv(norm(block.norm1, x)).view(len(x), _PATCHES, 3, -1, layout.HEAD)
        q, k, v = mixed.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
        heads = functional.scaled_dot_product_attention(q, k, v)
        x = x + block.attn.proj(heads.transpose(1, 2).flatten(2))
        x = x + block.mlp(norm(block.norm2, x))
    merger = tower.merger
    return merger.mlp(norm(merger.ln_q, x).view(len(x), layout.TOKENS, -1))


def norm(module: Any, x: Tensor) -> Tensor:
    """RMSNorm with a module's weights."""
    return functional.rms_norm(x, x.shape[-1:], module.weight.to(x.dtype), module.variance_epsilon)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding of queries or keys."""
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine


@cache
def _vision_rotation(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the patches' angles, each (64, 32), in the tower's order of patches."""
    edge = layout.SIDE // _PATCH
    line = torch.arange(edge)[:, None].expand(edge, edge)
    blocks = edge // _MERGE
    row, column = (
        table.reshape(blocks, _MERGE, blocks, _MERGE).permute(0, 2, 1, 3).flatten()
        for table in (line, line.T)
    )
    speed = 10000 ** (-torch.arange(0, layout.HEAD // 2, 2).float() / (layout.HEAD // 2))
    angle = torch.cat([row[:, None] * speed, column[:, None] * speed], -1)
    angle = torch.cat([angle, angle], -1).to(device)
    return angle.cos().to(dtype), angle.sin().to(dtype)


@cache
def rotation(
    images: int, length: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the tokens' angles, each (length, 32)."""
    speed = layout.ROPE_THETA ** (-torch.arange(layout.HEAD // 2).float() / (layout.HEAD // 2))
    place = torch.from_numpy(layout.positions(images, length)).float()
    axes = zip(place, speed.split(layout.MROPE_SECTION), strict=True)
    angle = torch.cat([axis[:, None] * section for axis, section in axes], -1)
    angle = torch.cat([angle, angle], -1).to(device)
    return angle.cos().to(dtype), angle.sin().to(dtype)
