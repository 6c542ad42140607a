"""Ask all adapters of a fleet the same items.

Options are compared by the log-probability of their letters where the answer begins, in one
forward pass; `generate` decodes a reply instead and reads the letter in it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from transferscope.fleet.adapter import Adapter, stacked
from transferscope.fleet.layer import attached, merged
from transferscope.models.paths import forward_path
from transferscope.models.rows import ForwardPath, Letters, Row, letters
from transferscope.models.vlm import Base
from transferscope.suite import Item

Scoring = Literal["letters", "generate"]
Progress = Callable[[int, int], None]


class Answer(NamedTuple):
    """One adapter's answer to one item."""

    choice: int | None
    """Index of the chosen option, the first of equals; None: the reply was unreadable."""
    logprobs: tuple[float, ...]
    """Log-probability of each option's letter, in the item's order."""
    margin: float
    """Log-probability of the best option less that of the next; 0 is a tie."""


@torch.inference_mode()
def score_fleet(
    base: Base,
    adapters: Sequence[Adapter | None],
    items: Sequence[Item],
    *,
    scoring: Scoring = "letters",
    batch_size: int = 64,
    progress: Progress | None = None,
) -> list[list[Answer]]:
    """The answers of each adapter, None being the base itself, to each item.

    Args:
        batch_size: items of a forward.
        progress: called with the answers given and the answers in all.
    """
    path = forward_path(base, items)
    its_letters = letters(base.processor)
    rows = path.encode(items)
    order = sorted(range(len(rows)), key=lambda index: (rows[index].length, len(rows[index].pictures)))
    answers: list[list[Answer]] = [[] for _ in adapters]
    total, done = len(adapters) * len(items), 0
    found: dict[tuple[int, int], Answer] = {}
    for index, adapter in enumerate(adapters):
        stack = None if adapter is None else stacked(base, [adapter])
        with nullcontext() if stack is None else merged(base.model, stack, 0):
            for start in range(0, len(order), batch_size):
                part = order[start : start + batch_size]
                for place, answer in zip(
                    part, _letters(path, [rows[i] for i in part], its_letters), strict=True
                ):
                    found[index, place] = answer
                done += len(part)
                if progress is not None:
                    progress(done, total)
        answers[index] = [found[index, place] for place in range(len(items))]
    return answers


def _letters(path: ForwardPath, rows: Sequence[Row], its_letters: Letters) -> list[Answer]:
    asked = [row._replace(said=its_letters.stem) for row in rows]
    logprobs = path.logits(asked)[:, -1].log_softmax(-1)
    table = logprobs[:, [tail[0] for tail in its_letters.tails]].tolist()
    return [
        judged(line[: len(row.item.choices)]) for line, row in zip(table, rows, strict=True)
    ]


def judged(logprobs: Sequence[float]) -> Answer:
    """The answer that some options' log-probabilities amount to."""
    best, *others = sorted(logprobs, reverse=True)
    margin = best - others[0] if others else float("inf")
    return Answer(logprobs.index(best), tuple(logprobs), margin)
