"""The items to look at, as the page lists them: by model and target, each with what changed it.

In:   an `Exhibits`, whose texts are not to be trusted, and the labels of an `Analysis`.
Out:  plain text for the template, which escapes it, and pictures as WebP in base64, apart.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from transferscope.analysis import Analysis
from transferscope.matrix.collapse import letter
from transferscope.matrix.examples import Exhibits, Flip, Flipped, ShownItem
from transferscope.plots.labels import UNKNOWN, clean, counted, labels, listed, model_labels


class Change(NamedTuple):
    """What one source's adapters did to an item."""

    way: str
    """`fixed` or `broken`."""
    source: str
    seeds: str
    answers: str
    also: str


class Choice(NamedTuple):
    """One option of an item."""

    text: str
    right: bool


class Card(NamedTuple):
    """One item."""

    name: str
    question: str
    choices: list[Choice]
    right: str
    pictures: list[int]
    """Their places among the gallery's."""
    more: str
    """What of its pictures is not shown."""
    changes: list[Change]


class Target(NamedTuple):
    """The items of one target, for one model."""

    title: str
    model: str
    target: str
    counts: str
    cards: list[Card]


class Gallery(NamedTuple):
    """All that is shown."""

    targets: list[Target]
    notes: list[str]
    pictures: list[str]
    """WebP in base64, each once, whatever the number of models that show it."""


def gallery(analysis: Analysis, exhibits: Exhibits | None) -> Gallery | None:
    """The items of the models and tasks that the analysis knows; None where there are none."""
    if exhibits is None:
        return None
    models, names = model_labels(analysis), labels(analysis).long
    targets = [
        _target(exhibits, names, (label, names[target]), cells)
        for model, label in models.items()
        for target, cells in _by_target(exhibits, model, names).items()
    ]
    if not targets:
        return None
    pictures = [picture for item in exhibits.items for picture in item.pictures]
    return Gallery(targets, [clean(note) for note in exhibits.notes], pictures)


def _by_target(
    exhibits: Exhibits, model: str, names: dict[str, str]
) -> dict[str, dict[str, Flipped]]:
    """{target: {source: cell}}, in the analysis's order, where something changed."""
    rows = exhibits.models.get(model, {})
    found = {
        target: {s: rows[s][target] for s in names if target in rows.get(s, {})} for target in names
    }
    return {target: cells for target, cells in found.items() if cells}


def _target(
    exhibits: Exhibits, names: dict[str, str], of: tuple[str, str], cells: dict[str, Flipped]
) -> Target:
    changes: dict[int, list[Change]] = {}
    for source, cell in cells.items():
        for way, flips in (("broken", cell.most_broken), ("fixed", cell.most_fixed)):
            for flip in flips:
                changes.setdefault(flip.item, []).append(
                    _change(way, names[source], flip, cell.seeds)
                )
    first = list(accumulate((len(item.pictures) for item in exhibits.items), initial=0))
    cards = [_card(exhibits.items[place], first[place], its) for place, its in changes.items()]
    cards.sort(key=lambda card: -len(card.changes))
    often = [
        sum(_often(getattr(cell, way), cell.seeds) for cell in cells.values())
        for way in ("fixed", "broken")
    ]
    counts = (
        f"{counted(often[0], 'time')} fixed and {counted(often[1], 'time')} broken in most seeds"
    )
    model, target = of
    shown = f"{counts}; {counted(len(cards), 'item')} here"
    return Target(f"{target} · {model}", model, target, shown, cards)


def _often(times: Sequence[int], seeds: int) -> int:
    return sum(count for k, count in enumerate(times, 1) if 2 * k > seeds)


def _change(way: str, source: str, flip: Flip, seeds: int) -> Change:
    also = [f"also by {counted(flip.others, 'other source')}"] if flip.others else []
    if flip.controls:
        also.append(f"and by the control {listed(map(clean, flip.controls))}: no transfer")
    answers = ""
    if flip.base:
        answers = f"{_letters(flip.base)} → {_letters(flip.tuned)}"
    return Change(
        way, source, f"{len(flip.seeds)} of {counted(seeds, 'seed')}", answers, "; ".join(also)
    )


def _letters(choices: dict[str, int | None]) -> str:
    """`B`, or `B, unreadable` where seeds differ."""
    given = dict.fromkeys(choices.values())
    return ", ".join("unreadable" if one is None else letter(one) for one in given) or UNKNOWN


def _card(item: ShownItem, first: int, changes: list[Change]) -> Card:
    rest = item.images - len(item.pictures)
    more = f"and {counted(rest, 'more picture')}" if item.pictures and rest > 0 else ""
    choices = [
        Choice(f"({letter(n)}) {clean(text)}", n == item.answer)
        for n, text in enumerate(item.choices)
    ]
    right = ""
    if item.truth is not None:
        right = f"right: {item.truth:g}"
    elif not choices and item.answer is not None:
        right = f"right: {letter(item.answer)}"
    return Card(
        clean(item.item),
        clean(item.question),
        choices,
        right,
        list(range(first, first + len(item.pictures))),
        more,
        changes,
    )
