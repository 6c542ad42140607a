"""The controls: runs that are no source and stand beside the matrix.

A placebo is trained on a mixture of all sources' items whose labels are useless, so it shows what
finetuning does when there is nothing to learn. `format-only` sees gray images: random answers to
what a base can see would make it unlearn. `reordered` trains nothing: the base answers again with
each item's options in another order, so it shows how far scores move by themselves.

To add a placebo, write how its labels are drawn and give it a place in `CONTROLS`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from transferscope.tasks import Item
from transferscope.tasks.open_answers import Label


class Control(NamedTuple):
    """How a control's runs differ from those of a source."""

    placebo: bool
    """Whether its effect is subtracted from the sources' effects."""
    labels: Callable[[Sequence[Item], np.random.Generator], list[Label]] | None
    """Draws one label per item to train on; None: nothing is trained."""
    blank: bool = False
    """Whether gray images of the same sizes stand in place of the items'."""
    version: int = 1
    """Counts the changes of its training set, whose digest a results folder keeps."""


def random_labels(items: Sequence[Item], rng: np.random.Generator) -> list[Label]:
    """Random options, each as often as any other of a task's: else they would teach a letter.

    An open answer is that of another item of its task.
    """
    answers = shuffled_labels(items, rng)
    for (_, options), places in _alike(items).items():
        if items[places[0]].truth is None:
            for place, option in zip(places, rng.permutation(len(places)).tolist(), strict=True):
                answers[place] = option % options
    return answers


def shuffled_labels(items: Sequence[Item], rng: np.random.Generator) -> list[Label]:
    """The right answers, exchanged among items of one task with equally many options."""
    answers = [item.label for item in items]
    for places in _alike(items).values():
        for place, other in zip(places, rng.permutation(places).tolist(), strict=True):
            answers[place] = items[other].label
    return answers


def _alike(items: Sequence[Item]) -> dict[tuple[str, int], list[int]]:
    """Indices of the items by task and number of options."""
    groups: dict[tuple[str, int], list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault((item.task, len(item.choices)), []).append(index)
    return groups


CONTROLS: dict[str, Control] = {
    "format-only": Control(placebo=True, labels=random_labels, blank=True, version=3),
    "shuffled": Control(placebo=True, labels=shuffled_labels),
    "reordered": Control(placebo=False, labels=None),
}
"""Every control, by the name that studies and tables use; of placebos the preferred one first."""

PLACEBOS = tuple(name for name, control in CONTROLS.items() if control.placebo)

REORDERED = "reordered"
"""The control whose runs answer reordered options."""
