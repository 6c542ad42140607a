"""A few items of every task, which stand for the others where a study's cost is estimated.

In:   a plan and its items.
Out:  of a few items each how many pictures they show, how large, and how long their text is.

Draws items, opens no file, knows no torch.
"""

import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from transferscope.study.items import Stock
from transferscope.study.plan import Plan
from transferscope.study.shapes import Shapes
from transferscope.tasks import Item, ItemImage, Split

SAMPLED = 6
"""Items drawn of each task and split."""

_PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]+|_+|\n+")

Key = tuple[str, Split]
"""A task and a split of it."""


class Sample(NamedTuple):
    """Items that stand for the others."""

    items: dict[Key, list[Item]]
    sizes: dict[Key, list[list[tuple[int, int]]]]
    """Of each item's pictures: height and width."""
    seconds: float
    """To draw or read one item."""


def sample(plan: Plan, stock: Stock) -> Sample:
    """A few items of each task and split, evenly spread, their pictures decoded."""
    splits = _splits(plan, stock)
    begun = time.perf_counter()
    items: dict[Key, list[Item]] = {}
    sizes: dict[Key, list[list[tuple[int, int]]]] = {}
    for key, its in splits.items():
        count = min(SAMPLED, len(its))
        items[key] = [its[k * len(its) // count] for k in range(count)]
        sizes[key] = [[_size(picture) for picture in item.images] for item in items[key]]
    drawn = sum(map(len, items.values()))
    return Sample(items, sizes, (time.perf_counter() - begun) / max(1, drawn))


def _size(picture: ItemImage) -> tuple[int, int]:
    height, width, _ = picture.pixels().shape
    return height, width


def text_tokens(text: str) -> int:
    """Tokens of a text, nearly: a word, a digit, a run of marks and of line ends are one each.

    That is how byte-pair tokenizers with large vocabularies cut English before they merge, and
    its common words are single tokens; rare words take more, so this is a little low.
    """
    return len(_PIECE.findall(text))


def frame_tokens(shapes: Shapes, pictures: int) -> int:
    """Tokens that a chat template adds around the text and the pictures of a question.

    Qwen2-VL's and Qwen2.5-VL's have a system prompt of 11 tokens; each picture stands between two.
    """
    around = 5 if shapes.small else 19 if shapes.family in ("qwen2_vl", "qwen2_5_vl") else 8
    return around + 2 * pictures


def _splits(plan: Plan, stock: Stock) -> dict[Key, Sequence[Item]]:
    """The tasks' splits that a plan draws from."""
    found: dict[Key, Sequence[Item]] = {}
    for name in plan.targets:
        found[name, "eval"] = stock.split(name, "eval")
    for name in dict.fromkeys(task for its in plan.parts.values() for task in its):
        found[name, "train"] = stock.split(name, "train")
    return found
