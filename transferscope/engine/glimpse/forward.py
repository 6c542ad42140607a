"""The bases' arithmetic for many questions at once, much faster than the stock forward.

The stock vision tower walks over the pictures of a batch in a Python loop. Here all pictures are
112 x 112, so that a batch is one tensor, and all rows of a batch speak of the same number of
pictures and are padded on the right, so that causal attention needs no mask. The modules and
their weights are the model's own; the tests hold the results equal to the stock forward's.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration

from transferscope.engine.glimpse.architecture import HEAD, MROPE_SECTION, ROPE_THETA
from transferscope.engine.glimpse.prompts import SIDE, TOKENS, picture_slots, positions

_PATCH, _MERGE = 14, 2
_PATCHES = (SIDE // _PATCH) ** 2


def patches(pixels: Tensor) -> Tensor:
    """Pictures (n, 112, 112, 3) uint8 as patches (n, 64, 588) in -1 .. 1, in the tower's order."""
    scaled = pixels.float() / 127.5 - 1
    blocks = SIDE // _PATCH // _MERGE
    parted = scaled.view(-1, blocks, _MERGE, _PATCH, blocks, _MERGE, _PATCH, 3)
    return parted.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(len(pixels), _PATCHES, -1)


def vision_features(model: Qwen2_5_VLForConditionalGeneration, pixels: Tensor) -> Tensor:
    """What the vision tower makes of pictures (n, 112, 112, 3) uint8: (n, 16, width)."""
    tower: Any = model.model.visual
    # A picture is a video of two equal frames, so the kernel's two frames add up.
    kernel = tower.patch_embed.proj.weight.sum(2).flatten(1)
    x = functional.linear(patches(pixels).to(kernel.dtype), kernel)
    cosine, sine = _vision_rotation(x.device, x.dtype)
    for block in tower.blocks:
        mixed = block.attn.qkv(_norm(block.norm1, x)).view(len(x), _PATCHES, 3, -1, HEAD)
        q, k, v = mixed.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = _rotate(q, cosine, sine), _rotate(k, cosine, sine)
        heads = functional.scaled_dot_product_attention(q, k, v)
        x = x + block.attn.proj(heads.transpose(1, 2).flatten(2))
        x = x + block.mlp(_norm(block.norm2, x))
    merger = tower.merger
    return merger.mlp(_norm(merger.ln_q, x).view(len(x), TOKENS, -1))


def hidden(
    model: Qwen2_5_VLForConditionalGeneration, ids: Tensor, features: Tensor, pictures: int
) -> Tensor:
    """The language model's last hidden states (rows, length, width).

    Args:
        ids: (rows, length), padded on the right.
        features: (rows x pictures, 16, width), as `vision_features` gives them.
        pictures: how many pictures each row speaks of.
    """
    language: Any = model.model.language_model
    rows, length = ids.shape
    x = functional.embedding(ids, language.embed_tokens.weight)
    if pictures:
        seen = features.reshape(rows, pictures * TOKENS, -1).to(x.dtype)
        x = x.index_copy(1, _slots(pictures, ids.device), seen)
    cosine, sine = _rotation(pictures, length, ids.device, x.dtype)
    for layer in language.layers:
        attention, y = layer.self_attn, _norm(layer.input_layernorm, x)
        q, k, v = (
            project(y).view(rows, length, -1, HEAD).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = _rotate(q, cosine, sine), _rotate(k, cosine, sine)
        group = q.shape[1] // k.shape[1]
        if group > 1:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + attention.o_proj(heads.transpose(1, 2).flatten(2))
        x = x + layer.mlp(_norm(layer.post_attention_layernorm, x))
    return _norm(language.norm, x)


def answer_logits(
    model: Qwen2_5_VLForConditionalGeneration,
    ids: Tensor,
    features: Tensor,
    pictures: int,
    last: Tensor,
) -> Tensor:
    """Scores (rows, vocabulary), float32, of the token that follows place `last` of each row."""
    states = hidden(model, ids, features, pictures)
    said = states[torch.arange(len(ids), device=ids.device), last]
    return functional.linear(said, model.model.language_model.embed_tokens.weight).float()


def _norm(module: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], module.weight.to(x.dtype), module.variance_epsilon)


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine


@cache
def _vision_rotation(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the patches' angles, each (64, 32), in the tower's order of patches."""
    edge = SIDE // _PATCH
    line = torch.arange(edge)[:, None].expand(edge, edge)
    blocks = edge // _MERGE
    row, column = (
        table.reshape(blocks, _MERGE, blocks, _MERGE).permute(0, 2, 1, 3).flatten()
        for table in (line, line.T)
    )
    speed = 10000 ** (-torch.arange(0, HEAD // 2, 2).float() / (HEAD // 2))
    angle = torch.cat([row[:, None] * speed, column[:, None] * speed], -1)
    angle = torch.cat([angle, angle], -1).to(device)
    return angle.cos().to(dtype), angle.sin().to(dtype)


@cache
def _rotation(
    pictures: int, length: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the tokens' angles, each (length, 32)."""
    speed = ROPE_THETA ** (-torch.arange(HEAD // 2).float() / (HEAD // 2))
    place = torch.from_numpy(positions(pictures, length)).float()
    axes = zip(place, speed.split(MROPE_SECTION), strict=True)
    angle = torch.cat([axis[:, None] * section for axis, section in axes], -1)
    angle = torch.cat([angle, angle], -1).to(device)
    return angle.cos().to(dtype), angle.sin().to(dtype)


@cache
def _slots(pictures: int, device: torch.device) -> Tensor:
    return torch.tensor(picture_slots(pictures), device=device)
