"""How the embedded bases see an image and a prompt: sizes, special tokens, token positions.

All images are 112 x 112 and stand before the text, so the positions of the image tokens depend on
the number of images alone. Needs no torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferscope.tasks import Item, fingerprint

HEAD = 32
"""Size of an attention head, in the language model and in the vision tower."""

ROPE_THETA = 200.0
MROPE_SECTION = (2, 4, 10)

SIDE = 112
"""Pixels along an edge of an image."""

GRID = 4
"""Tokens along an edge of an image, after merging."""

TOKENS = GRID * GRID

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen's special tokens; the index here is the token id."""

PAD, TURN, TURN_END, IMAGE, IMAGE_END, IMAGE_PAD, VIDEO_PAD, USER, ASSISTANT = range(9)
"""Ids of the special tokens and of the two speakers."""


def opening(images: int) -> list[int]:
    """Token ids with which the user's first turn begins: the images."""
    return [TURN, USER, *([IMAGE, *[IMAGE_PAD] * TOKENS, IMAGE_END] * images)]


def image_slots(images: int) -> list[int]:
    """Positions of the image tokens in a row."""
    return [place for place, token in enumerate(opening(images)) if token == IMAGE_PAD]


def positions(images: int, length: int) -> np.ndarray:
    """Time, row and column of every token as M-RoPE counts them: (3, length), int64."""
    table, now = [(0, 0, 0), (1, 1, 1)], 2
    for _ in range(images):
        table.append((now, now, now))
        start = now + 1
        table += [(start, start + cell // GRID, start + cell % GRID) for cell in range(TOKENS)]
        now = start + GRID
        table.append((now, now, now))
        now += 1
    table += [(now + extra,) * 3 for extra in range(length - len(table))]
    return np.array(table[:length], dtype=np.int64).T


def is_embedded(base: Any) -> bool:
    """Whether a base has the embedded bases' architecture, by configuration and tokenizer."""
    config = base.model.config
    if config.model_type != "qwen2_5_vl":
        return False
    text, vision = config.text_config, config.vision_config
    rope = getattr(text, "rope_parameters", None) or {}
    ids = base.processor.tokenizer.convert_tokens_to_ids(list(SPECIAL))
    return (
        rope.get("rope_theta") == ROPE_THETA
        and tuple(rope.get("mrope_section") or ()) == MROPE_SECTION
        and text.hidden_size == HEAD * text.num_attention_heads
        and vision.hidden_size == HEAD * vision.num_heads
        and (vision.patch_size, vision.spatial_merge_size) == (14, 2)
        and len(vision.fullatt_block_indexes) == vision.depth
        and ids == list(range(len(SPECIAL)))
    )


def fits(items: Sequence[Item]) -> bool:
    """Whether all images have the embedded bases' size."""
    shapes = (fingerprint(image).shape for item in items for image in item.images)
    return all(shape == (SIDE, SIDE, 3) for shape in shapes)
