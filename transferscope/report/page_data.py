"""What the page's script knows: every cell, the example items, and charts' rows, stored compactly.

Tasks are places in a list of labels; unknown is null. Texts of items come from an `Exhibits` and
are untrusted, as names are; the template escapes them. Images travel apart, as WebP in base64.
"""

import json
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from markupsafe import Markup

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.accuracies import base_accuracy, scales
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.examples import Exhibits, Flip
from transferscope.plots.against_chance import personas
from transferscope.plots.answer_bars import answer_words
from transferscope.plots.composition import Spec
from transferscope.plots.labels import MEASURES, clean, counted, labels
from transferscope.plots.numbers import UNKNOWN, known


def block(value: Any) -> Markup:
    """JSON that is safe inside a script element: ASCII, without characters that HTML knows."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def packed(rows: Sequence[Spec], digits: int) -> dict[str, list[Any]]:
    """Rows as columns: {name: [values, the place of each row's value among them, divisor]}.

    With null for places each row has the value that stands in its place. A row that lacks the
    column has the place -1. Numbers are whole, and to be divided by the divisor; the largest of
    a column has so many digits.
    """
    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        values, divisor = [known(row.get(name)) for row in rows], 1
        numbers = {n: v for n, v in enumerate(values) if isinstance(v, float) or type(v) is int}
        largest = max(map(abs, numbers.values()), default=0)
        if largest and any(value != int(value) for value in numbers.values()):
            divisor = 10 ** max(0, digits - 1 - math.floor(math.log10(largest)))
            for n, value in numbers.items():
                values[n] = round(value * divisor)
        written = [
            repr(value) if name in row else "" for row, value in zip(rows, values, strict=True)
        ]
        distinct = {text: value for text, value in zip(written, values, strict=True) if text}
        if "" not in written and 2 * len(distinct) > len(rows):
            columns[name] = [values, None]
        else:
            places = {text: place for place, text in enumerate(distinct)} | {"": -1}
            columns[name] = [list(distinct.values()), [places[text] for text in written]]
        columns[name] += [divisor] * (divisor > 1)
    return columns


def cell_data(analysis: Analysis) -> dict[str, Any]:
    """All models; `cells` are rows, with the keys that they have."""
    names = labels(analysis)
    places = {task.name: place for place, task in enumerate(analysis.tasks)}
    found = personas(analysis).items()
    models = []
    for name, label in names.models.items():
        model = analysis.models[name]
        base = model.behaviour.base if model.behaviour else {}
        accuracy = model.base_accuracy.items()
        models.append(
            {
                "label": label,
                "seeds": [clean(seed) for seed in model.seeds],
                "cells": [
                    {"source": places[source], "target": places[target]}
                    | _cell(analysis, model, source, target, cell)
                    for source, row in model.pgf.items()
                    for target, cell in row.items()
                    if not (math.isnan(cell.mean) and math.isnan(cell.change))
                ],
                "base_replies": {str(places[t]): answer_words(each) for t, each in base.items()},
                "base": {str(places[t]): known(each) for t, each in accuracy},
            }
        )
    return {
        "measure": MEASURES[analysis.settings.measure],
        "tasks": [names.long[task.name] for task in analysis.tasks],
        "roles": [
            [role for role, members in found if each in {persona.task for persona in members}]
            for each in places
        ],
        "sources": [places[task.name] for task in analysis.tasks if task.source],
        "targets": [places[task.name] for task in analysis.tasks if task.target],
        "models": models,
    }


def _cell(
    analysis: Analysis, model: ModelAnalysis, source: str, target: str, cell: Cell
) -> dict[str, Any]:
    """One cell; `beyond` is whether it is beyond noise, `seed0` the change of the first seed."""
    scale = scales(analysis, model, target, cell)
    row: dict[str, Any] = {
        "items": cell.n,
        "base": base_accuracy(analysis, model, target, cell),
        **dict(zip(("change", "low", "high"), (cell.change, *cell.change_ci), strict=True)),
        **dict(zip(("effect", "effect_low", "effect_high"), (cell.mean, *cell.ci), strict=True)),
        "q": cell.q_value,
        "beyond": beyond_noise(cell, analysis.settings.alpha),
        "expected": cell.expected,
        "confidence": cell.confidence,
    }
    for n, seed in enumerate(model.seeds):
        row[f"seed{n}"] = cell.seeds.get(seed, math.nan) * scale.get(seed, math.nan)
    if found := model.flips.get(source, {}).get(target):
        row |= {"fixed": found.fixed, "broken": found.broken, "flipped_of": found.items}
        row["most_fixed"] = list(map(clean, found.most_fixed))
        row["most_broken"] = list(map(clean, found.most_broken))
    answers = model.behaviour.sources.get(source, {}) if model.behaviour else {}
    words = answer_words(answers[target]) if target in answers else UNKNOWN
    return row | ({"replies": words} if words != UNKNOWN else {})


def example_cards(analysis: Analysis, exhibits: Exhibits | None) -> dict[str, Any] | None:
    """What the template draws of the models and tasks in the analysis; None without any items.

    `targets` are the items by model and target, each with the place of its first image and what
    changed it; `images` are WebP in base64, each once, however many models show it.
    """
    if exhibits is None:
        return None
    (names, _, models), targets = labels(analysis), []
    first = list(accumulate((len(item.thumbnails) for item in exhibits.items), initial=0))
    for model, label in models.items():
        rows = exhibits.models.get(model, {})
        for target in names:
            cells = {s: rows[s][target] for s in names if target in rows.get(s, {})}
            if not cells:
                continue
            changes: dict[int, list[tuple[str, str, Flip, int]]] = {}
            for source, cell in cells.items():
                for way, flips in (("broken", cell.most_broken), ("fixed", cell.most_fixed)):
                    for flip in flips:
                        line = way, names[source], flip, cell.seeds
                        changes.setdefault(flip.item, []).append(line)
            cards = [
                (exhibits.items[n], first[n], lines)
                for n, lines in sorted(changes.items(), key=lambda each: -len(each[1]))
            ]
            often = (  # a cell has its flips in 1 seed, in 2, and so on
                sum(sum(getattr(cell, way)[cell.seeds // 2 :]) for cell in cells.values())
                for way in ("fixed", "broken")
            )
            fixed, broken = (counted(number, "time") for number in often)
            counts = f"{fixed} fixed and {broken} broken in most seeds"
            one = {"model": label, "target": names[target], "cards": cards}
            targets.append(one | {"counts": f"{counts}; {counted(len(cards), 'item')} here"})
    images = [image for item in exhibits.items for image in item.thumbnails]
    notes = [clean(note) for note in exhibits.notes]
    return {"targets": targets, "notes": notes, "images": images} if targets else None
