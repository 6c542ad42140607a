"""Conversations about small images as rows of token ids. Needs no torch."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tools.glimpse_bases.tokenizer import encode
from transferscope.engine.glimpse.prompt_layout import ASSISTANT, PAD, TURN, TURN_END, USER, opening

LONGEST = {1: 152, 2: 192, 3: 168, 4: 176}
"""Number of images to tokens of a row; what does not fit is left out."""


class Packed(NamedTuple):
    """A conversation of several turns in one row."""

    ids: list[int]
    answered: list[bool]
    """Which tokens the model has to write itself."""


def prompt(images: int, text: str) -> list[int]:
    """One question, up to the place where the answer begins."""
    return [*opening(images), *encode(text), TURN_END, TURN, ASSISTANT]


def pack(images: int, turns: Iterable[tuple[str, str]], longest: int) -> Packed:
    """Questions and answers in a row of at most `longest` tokens; what is too long is left out."""
    ids, answered = opening(images), [False] * len(opening(images))
    lead: list[int] = []
    for question, answer in turns:
        question_ids = [*lead, *encode(question), TURN_END, TURN, ASSISTANT]
        answer_ids = [*encode(answer), TURN_END]
        if len(ids) + len(question_ids) + len(answer_ids) > longest:
            continue
        ids += question_ids + answer_ids
        answered += [False] * len(question_ids) + [True] * len(answer_ids)
        lead = [TURN, USER]
    return Packed(ids, answered)


def padded(table: Sequence[Sequence[int]], length: int | None = None) -> np.ndarray:
    """Rows of ids made equally long on the right: (rows, length), int64."""
    length = max(map(len, table), default=0) if length is None else length
    filled = np.full((len(table), length), PAD, dtype=np.int64)
    for row, ids in zip(filled, table, strict=True):
        row[: len(ids)] = ids
    return filled
