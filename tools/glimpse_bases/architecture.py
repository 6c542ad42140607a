"""The three sizes: configuration and construction.

All of them see with 14-pixel patches, merge 2 x 2 of them, use attention heads of width 32, and
tie input and output embeddings. `rope_theta` is 200 and the M-RoPE section (2, 4, 10): with the
large models' values the language model cannot tell the four columns of a image apart.
"""

from dataclasses import dataclass
from difflib import get_close_matches

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tools.glimpse_bases import tokenizer
from transferscope.engine.glimpse.prompt_layout import (
    HEAD,
    IMAGE,
    IMAGE_END,
    IMAGE_PAD,
    MROPE_SECTION,
    PAD,
    ROPE_THETA,
    TURN,
    TURN_END,
    VIDEO_PAD,
)
from transferscope.errors import StudyError

SPREAD = 0.04
"""Standard deviation of fresh weights."""


@dataclass(frozen=True)
class Size:
    """How large a base is."""

    hidden: int
    """Width of the language model."""
    layers: int
    """Layers of the language model."""
    units: int
    """Units of a feed-forward block of the language model."""
    key_heads: int
    """Heads of keys and values of the language model."""
    vision_hidden: int
    """Width of the vision tower."""
    vision_layers: int
    """Layers of the vision tower."""
    vision_units: int
    """Units of a feed-forward block of the vision tower."""
    epsilon: float = 1e-5
    """Epsilon of the language model's RMSNorm."""


SIZES = {
    "s": Size(128, 4, 320, 2, 96, 4, 256),
    "m": Size(192, 6, 544, 2, 128, 5, 352),
    # Grown from m: RMSNorm takes means over a width, and so the same epsilon would not be the same.
    "l": Size(320, 8, 832, 2, 192, 6, 480, epsilon=1e-5 * 192 / 320),
}


def size(name: str) -> Size:
    """A size by its letter.

    Raises:
        StudyError: there is no such size.
    """
    if name not in SIZES:
        near = get_close_matches(name.lower(), SIZES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(f"unknown size {name!r}; {hint}known: {', '.join(SIZES)}")
    return SIZES[name]


def configuration(name: str) -> Qwen2_5_VLConfig:
    """The transformers configuration of a size."""
    its = size(name)
    rope = {
        "type": "mrope",
        "rope_type": "default",
        "rope_theta": ROPE_THETA,
        "mrope_section": list(MROPE_SECTION),
    }
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": its.hidden,
            "intermediate_size": its.units,
            "num_hidden_layers": its.layers,
            "num_attention_heads": its.hidden // HEAD,
            "num_key_value_heads": its.key_heads,
            "vocab_size": tokenizer.rows(len(tokenizer.vocabulary())),
            "tie_word_embeddings": True,
            "rms_norm_eps": its.epsilon,
            "rope_theta": ROPE_THETA,
            "rope_scaling": rope,
            "max_position_embeddings": 1024,
            "initializer_range": SPREAD,
            "pad_token_id": PAD,
            "bos_token_id": TURN,
            "eos_token_id": TURN_END,
        },
        vision_config={
            "depth": its.vision_layers,
            "hidden_size": its.vision_hidden,
            "intermediate_size": its.vision_units,
            "num_heads": its.vision_hidden // HEAD,
            "out_hidden_size": its.hidden,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": list(range(its.vision_layers)),
            "in_channels": 3,
            "temporal_patch_size": 2,
            "initializer_range": SPREAD,
        },
        vision_start_token_id=IMAGE,
        vision_end_token_id=IMAGE_END,
        image_token_id=IMAGE_PAD,
        video_token_id=VIDEO_PAD,
        tie_word_embeddings=True,
        initializer_range=SPREAD,  # pyright: ignore[reportCallIssue]
    )


def build(name: str, seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """A base of a size with fresh random weights, float32; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2_5_VLForConditionalGeneration._from_config(
            configuration(name), attn_implementation="sdpa", dtype=torch.float32
        )


def parameters(model: torch.nn.Module) -> int:
    """Number of weights, tied ones counted once."""
    return sum(weight.numel() for weight in model.parameters())


def width(model: Qwen2_5_VLForConditionalGeneration) -> int:
    """Width of a base's language model."""
    return model.model.language_model.embed_tokens.embedding_dim
