"""An item asked in another way: its choices in another order, its answer called for otherwise.

A choice's letter changes what a model answers, whatever the choice says. Asked once with every
rotation of its choices (`rotations`), an item is answered without that; asked once more in some
other order (`reordered`), it shows how much that alone moves.

Some tasks always offer the same choices in the same order (`A is closer`, `the second image`):
there a letter is the choice's name, and another order would ask another task. Those keep theirs
(`named_by_letter`).

In:   an `Item`.
Out:  the same question as another `Item`, with the same id.

A prompt is changed where its lettered choices stand and nowhere else. Draws nothing, asks nobody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from transferscope.errors import StudyError
from transferscope.tasks import LETTERS, Item

Prompt = Literal["benchmark", "direct"]

DIRECT = "Answer with the option's letter from the given choices directly."
"""What evaluation harnesses often add to a question, so that the reply is a letter and no more."""


def styled(item: Item, prompt: Prompt) -> Item:
    """An item as a study asks it: as the benchmark does, or with `DIRECT` after it."""
    if prompt == "benchmark":
        return item
    return replace(item, prompt=f"{item.prompt}\n{DIRECT}")


def reordered(item: Item, order: Sequence[int]) -> Item:
    """An item with its choices in another order.

    Args:
        order: at each place the index of the choice that comes to stand there.

    Raises:
        StudyError: the prompt does not show the choices as `(A) first`, one after another.
    """
    if list(order) == list(range(len(item.choices))):
        return item
    head, places, start = item.prompt, [], 0
    for letter, choice in zip(LETTERS, item.choices, strict=False):
        shown = f"({letter}) {choice}"
        place = head.find(shown, start)
        if place < 0:
            raise StudyError(
                f"item {item.id!r}: its prompt does not show {shown!r}, so its choices cannot be "
                "put in another order"
            )
        places.append((place + 4, place + len(shown)))
        start = places[-1][1]
    prompt = item.prompt
    for (begin, end), index in reversed(list(zip(places, order, strict=True))):
        prompt = prompt[:begin] + item.choices[index] + prompt[end:]
    return replace(
        item,
        prompt=prompt,
        choices=tuple(item.choices[index] for index in order),
        answer=list(order).index(item.answer),
    )


def named_by_letter(items: Iterable[Item]) -> set[str]:
    """The tasks of which all these items offer the same choices in the same order."""
    offered: dict[str, set[tuple[str, ...]]] = {}
    for item in items:
        offered.setdefault(item.task, set()).add(item.choices)
    return {task for task, choices in offered.items() if len(choices) == 1}


def rotations(item: Item) -> list[tuple[int, ...]]:
    """Every order in which the choices can be read round in a circle, the given one first."""
    given = tuple(range(len(item.choices)))
    return [given[shift:] + given[:shift] for shift in given or (0,)]


def other_order(item: Item, seed: int) -> tuple[int, ...]:
    """An order by chance in which no choice keeps its letter; of two choices, the exchange."""
    count = len(item.choices)
    rng = np.random.default_rng([seed, *item.id.encode()])
    while True:
        order = rng.permutation(count)
        if count < 2 or not (order == np.arange(count)).any():
            return tuple(order.tolist())


class Combined(NamedTuple):
    """One answer out of those to several orders of an item, in the item's own order."""

    choice: int | None
    """Index of the chosen option; None: no reply could be read."""
    logprobs: tuple[float, ...]
    """Log-probability of each option's letter, the mean over the orders."""
    margin: float
    """That of the best option less that of the next."""


def combined(answers: Sequence[Any], orders: Sequence[Sequence[int]], *, by_reply: bool) -> Any:
    """The answer that an item's answers in several orders amount to.

    The option with the highest mean log-probability; `by_reply` the one that was named most often,
    of equals the one with the highest mean.

    Args:
        answers: with `choice`, `logprobs` and `margin` as they were given, order by order.
        orders: of the choices, as for `reordered`.
    """
    if len(orders) == 1 and list(orders[0]) == sorted(orders[0]):
        return answers[0]
    table = np.array([given.logprobs for given in answers])
    own = np.take_along_axis(table, np.argsort(orders, axis=1), axis=1).mean(axis=0)
    best = np.sort(own)[::-1]
    margin = float(best[0] - best[1]) if len(best) > 1 else float("inf")
    choice: int | None = None if np.isnan(own).any() else int(own.argmax())
    if by_reply:
        named = [order[given.choice] for given, order in zip(answers, orders, strict=True)
                 if given.choice is not None]  # fmt: skip
        votes = np.bincount(named, minlength=len(own))
        most = np.flatnonzero(votes == votes.max())
        choice = int(most[own[most].argmax()]) if named else None
    return Combined(choice, tuple(own.tolist()), margin)
