"""Example items on the page: by model and target, each with the sources that changed it.

Texts come from an `Exhibits` and are untrusted; the template escapes them. Images travel apart, as
WebP in base64.
"""

from itertools import accumulate
from typing import Any

from transferscope.analysis import Analysis
from transferscope.matrix.collapse import letter
from transferscope.matrix.examples import Exhibits, Flip, Flipped, ShownItem
from transferscope.plots.labels import clean, counted, labels
from transferscope.plots.numbers import UNKNOWN
from transferscope.selection.wording import listed

Card = dict[str, Any]


def example_cards(analysis: Analysis, exhibits: Exhibits | None) -> dict[str, Any] | None:
    """What the template draws of the models and tasks in the analysis; None without any items.

    `targets` are the items by model and target, and `images` WebP in base64, each once, however
    many models show it.
    """
    if exhibits is None:
        return None
    (names, _, models), targets = labels(analysis), []
    first = list(accumulate((len(item.pictures) for item in exhibits.items), initial=0))
    for model, label in models.items():
        rows = exhibits.models.get(model, {})
        for target in names:
            cells = {s: rows[s][target] for s in names if target in rows.get(s, {})}
            if not cells:
                continue
            changes: dict[int, list[Card]] = {}
            for source, cell in cells.items():
                for way, flips in (("broken", cell.most_broken), ("fixed", cell.most_fixed)):
                    for flip in flips:
                        line = _change(way, names[source], flip, cell.seeds)
                        changes.setdefault(flip.item, []).append(line)
            cards = [_card(exhibits.items[n], first[n], lines) for n, lines in changes.items()]
            cards.sort(key=lambda card: -len(card["changes"]))
            often = [counted(_often(cells, way), "time") for way in ("fixed", "broken")]
            counts = f"{often[0]} fixed and {often[1]} broken in most seeds"
            one = {"model": label, "target": names[target], "cards": cards}
            targets.append(one | {"counts": f"{counts}; {counted(len(cards), 'item')} here"})
    images = [image for item in exhibits.items for image in item.pictures]
    notes = [clean(note) for note in exhibits.notes]
    return {"targets": targets, "notes": notes, "images": images} if targets else None


def _often(cells: dict[str, Flipped], way: str) -> int:
    """Flips in more than half of the seeds."""
    return sum(
        count
        for cell in cells.values()
        for k, count in enumerate(getattr(cell, way), 1)
        if 2 * k > cell.seeds
    )


def _change(way: str, source: str, flip: Flip, seeds: int) -> Card:
    """What one source's adapters did to an item: `way` is `fixed` or `broken`."""
    also = [f"also by {counted(flip.others, 'other source')}"] if flip.others else []
    if flip.controls:
        also.append(f"and by the control {listed(map(clean, flip.controls))}: no transfer")
    replies = []
    for choices in (flip.base, flip.tuned) if flip.base else ():
        given = dict.fromkeys(choices.values())  # several where seeds differ
        words = ("unreadable" if one is None else letter(one) for one in given)
        replies.append(", ".join(words) or UNKNOWN)
    count = f"{len(flip.seeds)} of {counted(seeds, 'seed')}"
    words = {"answers": " → ".join(replies), "also": "; ".join(also)}
    return {"way": way, "source": source, "seeds": count, **words}


def _card(item: ShownItem, first: int, changes: list[Card]) -> Card:
    """One item; `images` are places in the images of all items."""
    shown, rest = len(item.pictures), item.images - len(item.pictures)
    options = enumerate(item.choices)
    choices = [(f"({letter(n)}) {clean(text)}", n == item.answer) for n, text in options]
    correct = ""
    if item.truth is not None:
        correct = (
            f"correct: {clean(format(item.truth, 'g' if isinstance(item.truth, float) else ''))}"
        )
    elif not choices and item.answer is not None:
        correct = f"correct: {letter(item.answer)}"
    more = f"and {counted(rest, 'more image')}" if shown and rest > 0 else ""
    images = list(range(first, first + shown))
    texts = {"name": clean(item.item), "question": clean(item.question), "correct": correct}
    return {**texts, "choices": choices, "images": images, "more": more, "changes": changes}
