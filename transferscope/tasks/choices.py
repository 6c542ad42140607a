"""The choices of an item in another order, and the prompt in another style.

A choice's letter changes what a model answers, for any text of the choice. An item evaluated
with every rotation of its choices (`rotations`) is free of that; evaluated once more in another
order (`derangement`), it shows how large that effect is. Tasks that always offer the same choices
in the same order keep it (`fixed_choices`): a letter names its choice there (`A is closer`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from transferscope.errors import StudyError
from transferscope.tasks import LETTERS, Item

Prompt = Literal["benchmark", "direct"]

DIRECT = "Answer with the option's letter from the given choices directly."
"""What evaluation harnesses often add to a question, so that the reply is a letter only."""


def with_style(item: Item, prompt: Prompt) -> Item:
    """An item with the benchmark's prompt, or with `DIRECT` after it if it has choices."""
    if prompt == "benchmark" or not item.choices:
        return item
    return replace(item, prompt=f"{item.prompt}\n{DIRECT}")


def reordered(item: Item, order: Sequence[int]) -> Item:
    """An item with its choices in another order; the id stays, as does the rest of the prompt.

    Args:
        order: the index of the choice that moves to each place.

    Raises:
        StudyError: the prompt does not show the choices as `(A) first`, one after another.
    """
    if list(order) == list(range(len(item.choices))):
        return item
    prompt, rest = "", item.prompt
    for letter, choice, index in zip(LETTERS, item.choices, order, strict=False):
        before, found, rest = rest.partition(shown := f"({letter}) {choice}")
        if not found:
            raise StudyError(
                f"item {item.id!r}: its prompt does not show {shown!r}, so its choices cannot be "
                "put in another order"
            )
        prompt += f"{before}({letter}) {item.choices[index]}"
    choices = tuple(item.choices[index] for index in order)
    return replace(
        item, prompt=prompt + rest, choices=choices, answer=list(order).index(item.answer)
    )


def fixed_choices(items: Iterable[Item]) -> set[str]:
    """The tasks of which all these items offer the same choices in the same order."""
    offered: dict[str, set[tuple[str, ...]]] = {}
    for item in items:
        offered.setdefault(item.task, set()).add(item.choices)
    return {task for task, choices in offered.items() if len(choices) == 1}


def rotations(item: Item) -> list[tuple[int, ...]]:
    """Every cyclic shift of the choices, the given order first."""
    given = tuple(range(len(item.choices)))
    return [given[shift:] + given[:shift] for shift in given or (0,)]


def derangement(item: Item, seed: int) -> tuple[int, ...]:
    """A random order in which no choice keeps its letter; two choices are exchanged."""
    count = len(item.choices)
    rng = np.random.default_rng([seed, *item.id.encode()])
    order = rng.permutation(count)
    while count > 1 and (order == np.arange(count)).any():
        order = rng.permutation(count)
    return tuple(order.tolist())


class CombinedAnswer(NamedTuple):
    """One answer from the answers to several orders of an item, in the item's given order."""

    choice: int | None
    """Index of the chosen option; None: no reply could be read."""
    logprobs: tuple[float, ...]
    """Log-probability of each option's letter, the mean over the orders."""
    margin: float
    """Log-probability of the best option less that of the second best."""


def combine_orders(
    answers: Sequence[Any], orders: Sequence[Sequence[int]], *, by_reply: bool
) -> Any:
    """The answer to an item, from one answer to each of several orders of its choices.

    The option with the highest mean log-probability; `by_reply` the option named most often, and
    of several the one with the highest mean.
    """
    if len(orders) == 1 and list(orders[0]) == sorted(orders[0]):
        return answers[0]
    table = np.array([answer.logprobs for answer in answers])
    mean = np.take_along_axis(table, np.argsort(orders, axis=1), axis=1).mean(axis=0)
    best = np.sort(mean)[::-1]
    margin = float(best[0] - best[1]) if len(best) > 1 else float("inf")
    choice: int | None = None if np.isnan(mean).any() else int(mean.argmax())
    if by_reply:
        pairs = zip(answers, orders, strict=True)
        named = [order[answer.choice] for answer, order in pairs if answer.choice is not None]
        votes = np.bincount(named, minlength=len(mean))
        most = np.flatnonzero(votes == votes.max())
        choice = int(most[mean[most].argmax()]) if named else None
    return CombinedAnswer(choice, tuple(mean.tolist()), margin)
