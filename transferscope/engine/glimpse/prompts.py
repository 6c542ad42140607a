"""Conversations about small pictures as rows of token ids.

All pictures are 112 x 112 and stand before the text, so the places of the picture tokens depend
on the number of pictures alone. Needs no torch.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from transferscope.engine.glimpse.tokenizer import (
    ASSISTANT,
    IMAGE,
    IMAGE_END,
    IMAGE_PAD,
    PAD,
    TURN,
    TURN_END,
    USER,
    encode,
)

SIDE = 112
"""Pixels along an edge of a picture."""

GRID = 4
"""Tokens along an edge of a picture, after merging."""

TOKENS = GRID * GRID
"""Tokens of a picture."""


class Packed(NamedTuple):
    """A conversation of several turns in one row."""

    ids: list[int]
    answered: list[bool]
    """Which tokens the model has to say itself."""


def opening(pictures: int) -> list[int]:
    """How the user's first turn begins: the pictures."""
    return [TURN, USER, *([IMAGE, *[IMAGE_PAD] * TOKENS, IMAGE_END] * pictures)]


def picture_slots(pictures: int) -> list[int]:
    """Places of the picture tokens in a row."""
    return [place for place, token in enumerate(opening(pictures)) if token == IMAGE_PAD]


def positions(pictures: int, length: int) -> np.ndarray:
    """Time, row and column of every token as M-RoPE counts them: (3, length), int64."""
    table, now = [(0, 0, 0), (1, 1, 1)], 2
    for _ in range(pictures):
        table.append((now, now, now))
        start = now + 1
        table += [(start, start + cell // GRID, start + cell % GRID) for cell in range(TOKENS)]
        now = start + GRID
        table.append((now, now, now))
        now += 1
    table += [(now + extra,) * 3 for extra in range(length - len(table))]
    return np.array(table[:length], dtype=np.int64).T


def prompt(pictures: int, text: str) -> list[int]:
    """One question, up to the place where the answer's first token is said."""
    return [*opening(pictures), *encode(text), TURN_END, TURN, ASSISTANT]


def pack(pictures: int, turns: Iterable[tuple[str, str]], longest: int) -> Packed:
    """Questions and answers in a row of at most `longest` tokens; what is too long is left out."""
    ids, answered = opening(pictures), [False] * len(opening(pictures))
    lead: list[int] = []
    for question, answer in turns:
        asked = [*lead, *encode(question), TURN_END, TURN, ASSISTANT]
        said = [*encode(answer), TURN_END]
        if len(ids) + len(asked) + len(said) > longest:
            continue
        ids += asked + said
        answered += [False] * len(asked) + [True] * len(said)
        lead = [TURN, USER]
    return Packed(ids, answered)


def padded(table: Sequence[Sequence[int]], length: int | None = None) -> np.ndarray:
    """Rows of ids made equally long on the right: (rows, length), int64."""
    length = max(map(len, table), default=0) if length is None else length
    filled = np.full((len(table), length), PAD, dtype=np.int64)
    for row, ids in zip(filled, table, strict=True):
        row[: len(ids)] = ids
    return filled
