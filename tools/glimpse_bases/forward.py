"""The language model's forward for pretraining: all rows of a batch have the same number of images.

Rows are padded on the right, so causal attention needs no mask.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration

from transferscope.engine.glimpse.arithmetic import norm, rotate, rotation
from transferscope.engine.glimpse.prompt_layout import HEAD, TOKENS, image_slots


def hidden(
    model: Qwen2_5_VLForConditionalGeneration, ids: Tensor, features: Tensor, images: int
) -> Tensor:
    """The language model's last hidden states (rows, length, width).

    Args:
        ids: (rows, length), padded on the right.
        features: (rows x images, 16, width), as `vision_features` gives them.
        images: how many images each row speaks of.
    """
    language: Any = model.model.language_model
    rows, length = ids.shape
    x = functional.embedding(ids, language.embed_tokens.weight)
    if images:
        seen = features.reshape(rows, images * TOKENS, -1).to(x.dtype)
        x = x.index_copy(1, _slots(images, ids.device), seen)
    cosine, sine = rotation(images, length, ids.device, x.dtype)
    for layer in language.layers:
        attention, y = layer.self_attn, norm(layer.input_layernorm, x)
        q, k, v = (
            project(y).view(rows, length, -1, HEAD).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
        group = q.shape[1] // k.shape[1]
        if group > 1:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + attention.o_proj(heads.transpose(1, 2).flatten(2))
        x = x + layer.mlp(norm(layer.post_attention_layernorm, x))
    return norm(language.norm, x)


def answer_logits(
    model: Qwen2_5_VLForConditionalGeneration,
    ids: Tensor,
    features: Tensor,
    images: int,
    last: Tensor,
) -> Tensor:
    """Scores (rows, vocabulary), float32, of the token that follows place `last` of each row."""
    states = hidden(model, ids, features, images)
    last_states = states[torch.arange(len(ids), device=ids.device), last]
    return functional.linear(last_states, model.model.language_model.embed_tokens.weight).float()


@cache
def _slots(images: int, device: torch.device) -> Tensor:
    return torch.tensor(image_slots(images), device=device)
