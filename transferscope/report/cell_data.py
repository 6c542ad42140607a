"""What the page's script knows: every cell as plain numbers, for the side panel and the table.

Tasks are places in a list of labels; unknown is null.
"""

import math
from collections.abc import Iterable
from typing import Any

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.accuracies import base_accuracy, scales
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.against_chance import personas
from transferscope.plots.answer_bars import answer_words
from transferscope.plots.labels import MEASURES, Labels, clean, labels
from transferscope.plots.numbers import UNKNOWN

COLUMNS = (
    *("source", "target", "items", "base", "change", "low", "high"),
    *("effect", "effect_low", "effect_high", "q", "beyond", "expected", "confidence"),
)
"""Of a cell. `beyond` is 1 for beyond noise, 0 for may be noise."""
DIGITS = 4


def cell_data(analysis: Analysis) -> dict[str, Any]:
    """All models."""
    names = labels(analysis)
    places = {task.name: place for place, task in enumerate(analysis.tasks)}
    roles = {
        each: [role for role, them in personas(analysis).items() if each in {p.task for p in them}]
        for each in places
    }
    return {
        "measure": MEASURES[analysis.settings.measure],
        "columns": COLUMNS,
        "tasks": [names.long[task.name] for task in analysis.tasks],
        "roles": [roles[task.name] for task in analysis.tasks],
        "sources": [places[task.name] for task in analysis.tasks if task.source],
        "targets": [places[task.name] for task in analysis.tasks if task.target],
        "models": [
            {"label": label, **_model(analysis, analysis.models[name], names, places)}
            for name, label in names.models.items()
        ],
    }


def _model(
    analysis: Analysis, model: ModelAnalysis, names: Labels, places: dict[str, int]
) -> dict[str, Any]:
    cells, seeds, flips, replies = [], {}, {}, {}
    answers = model.behaviour.sources if model.behaviour else {}
    for source, row in model.pgf.items():
        for target, cell in row.items():
            if math.isnan(cell.mean) and math.isnan(cell.change):
                continue
            key = f"{places[source]},{places[target]}"
            cells.append(_cell(analysis, model, (places[source], places[target]), target, cell))
            scale = scales(analysis, model, target, cell)
            seeds[key] = [
                _number(cell.seeds.get(s, math.nan) * scale.get(s, math.nan)) for s in model.seeds
            ]
            if found := model.flips.get(source, {}).get(target):
                lists = (
                    [clean(item) for item in each] for each in (found.most_fixed, found.most_broken)
                )
                flips[key] = [*_numbers((found.fixed, found.broken, found.items)), *lists]
            words = (
                answer_words(given) if (given := answers.get(source, {}).get(target)) else UNKNOWN
            )
            if words != UNKNOWN:
                replies[key] = words
    base = model.behaviour.base if model.behaviour else {}
    return {
        "seeds": [clean(seed) for seed in model.seeds],
        "cells": cells,
        "changes": seeds,
        "flips": flips,
        "replies": replies,
        "base_replies": {str(places[t]): answer_words(each) for t, each in base.items()},
        "base": {str(places[t]): _number(each) for t, each in model.base_accuracy.items()},
    }


def _cell(
    analysis: Analysis, model: ModelAnalysis, place: tuple[int, int], target: str, cell: Cell
) -> list[float | None]:
    beyond = beyond_noise(cell, analysis.settings.alpha)
    known = (
        *(cell.n, base_accuracy(analysis, model, target, cell), cell.change, *cell.change_ci),
        *(cell.mean, *cell.ci, cell.q_value, beyond, cell.expected, cell.confidence),
    )
    return [*place, *_numbers(known)]


def _numbers(values: Iterable[float | None]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.{DIGITS}g}")
