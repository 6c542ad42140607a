"""How the embedded bases see an image and a prompt: sizes, special tokens, token positions.

All images are 112 x 112 and stand before the text, so the positions of the image tokens depend on
the number of images alone. Needs no torch.
"""

import numpy as np

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
