"""Data of the page's explorer: one record of plain numbers, read by the scripts beside it.

Tasks are places in a list, matrices are flat rows of sources by targets, and unknown is null.
Effects are in the analysis's measure. Another measure is a factor of each seed's effect, exactly:
every measure is a change in accuracy divided by a number that depends on the base only.
"""

import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from itertools import product
from typing import Any

import numpy as np

from transferscope.analysis import Analysis, Cell, ModelAnalysis, Sign, TaskEffect
from transferscope.analysis.parts import Estimate
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.accuracy_points import (
    Effect,
    base_accuracy,
    bases,
    ceiling,
    divisor,
    scales,
)
from transferscope.plots.against_chance import clique_by_chance, has_cliques, personas
from transferscope.plots.answer_bars import answer_words
from transferscope.plots.heatmaps import bound, bound_of
from transferscope.plots.labels import MEASURES, Labels, clean, in_order, labels, same_task, spelled
from transferscope.plots.networks import null_words
from transferscope.plots.theme import DARK, DIVERGING
from transferscope.report.section_tables import UNREADABLE
from transferscope.selection import mixtures
from transferscope.tasks.checkpoints import checkpoint

SCRIPTS = (
    *("kit", "state", "values", "heatmap", "graph", "plane", "cliques", "detail"),
    *("items", "linked", "start"),
)
"""The explorer's scripts, in the order in which they run as one."""
SIGNS: tuple[Sign, ...] = ("positive", "negative")
STEPS = 6
"""Shades of color on either side of 0."""
CLIQUES = 150
"""Cliques of a sign that the page holds, the largest first."""
UNKNOWN = (math.nan, math.nan)
Axes = tuple[list[str], list[str]]
"""Names of sources and targets."""
Data = dict[str, Any]


def script() -> str:
    """All of the explorer's scripts as one, without global names."""
    folder = files("transferscope.report").joinpath("scripts")
    parts = [folder.joinpath(f"{name}.js").read_text("utf-8") for name in SCRIPTS]
    return '(function () {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def colors() -> str:
    """A style sheet with the shades of the heatmap, for light and for dark screens."""
    steps, palettes = 2 * STEPS + 1, []
    for stops in (DIVERGING, [DARK[color] for color in DIVERGING]):
        known = np.array([[int(stop[k : k + 2], 16) for k in (1, 3, 5)] for stop in stops])
        at = np.linspace(0, len(known) - 1, steps)
        mixed = [np.interp(at, np.arange(len(known)), channel) for channel in known.T]
        shades = ("".join(f"{round(part):02x}" for part in rgb) for rgb in zip(*mixed, strict=True))
        palettes.append(";".join(f"--d{n}:#{shade}" for n, shade in enumerate(shades)))
    light, dark = palettes
    fills = "".join(f".d{n}{{fill:var(--d{n});stroke:var(--d{n})}}" for n in range(steps))
    screen = "@media screen and (prefers-color-scheme:dark)"
    return f":root{{{light}}}\n{screen}{{:root{{{dark}}}}}\n{fills}"


def data(analysis: Analysis) -> Data:
    """Everything that the explorer shows."""
    names, settings = labels(analysis), analysis.settings
    tasks = [task.name for task in analysis.tasks]
    sources = [task.name for task in analysis.tasks if task.source]
    targets = [task.name for task in analysis.tasks if task.target]
    named = {role: {each.task for each in found} for role, found in personas(analysis).items()}
    records: list[Data] = [
        {
            "long": names.long[task.name],
            "short": names.short[task.name],
            "level": task.level,
            "granularity": task.granularity,
            "own": tasks.index(own) if (own := checkpoint(task.name).task) in tasks else None,
            "roles": [role for role, members in named.items() if task.name in members],
        }
        for task in analysis.tasks
    ]
    kinds = ("level", "granularity")
    return {
        "measure": settings.measure,
        "measures": MEASURES,
        "alpha": settings.alpha,
        "limits": _limits(analysis, (sources, targets)),
        "keep": round(100 * settings.graph_keep),
        "self": settings.include_self,
        "kinds": {k: in_order(task[k] for task in records if task[k] is not None) for k in kinds},
        "tasks": records,
        "sources": [tasks.index(name) for name in sources],
        "targets": [tasks.index(name) for name in targets],
        "models": [
            {"label": label, **_model(analysis, name, (sources, targets), names)}
            for name, label in names.models.items()
        ],
    }


def _model(analysis: Analysis, name: str, axes: Axes, names: Labels) -> Data:
    model, alpha = analysis.models[name], analysis.settings.alpha
    (sources, targets), adjusted = axes, model.adjusted
    tasks = [task.name for task in analysis.tasks]
    cells = [model.pgf.get(source, {}).get(target) for source, target in product(*axes)]
    counts = [_number(cell.n) if cell else None for cell in cells]
    left_out = {
        str(place): [model.seeds.index(seed) for seed in cell.left_out if seed in model.seeds]
        for place, cell in enumerate(cells)
        if cell is not None and cell.left_out
    }
    beyond_placebo = adjusted and {
        "placebo": clean(adjusted.placebo),
        **_matrix(adjusted.cells, axes, model.seeds, alpha),
    }
    flips = [model.flips.get(source, {}).get(target) for source, target in product(*axes)]
    return {
        "seeds": [clean(seed) for seed in model.seeds],
        "base": [_number(model.base_accuracy.get(target, math.nan)) for target in targets],
        "factors": _factors(analysis, model, targets),
        "own": _own_factors(analysis, model, cells, targets),
        "items": counts if any(count is not None for count in counts) else None,
        "left": left_out,
        "effects": _matrix(model.pgf, axes, model.seeds, alpha),
        "adjusted": beyond_placebo,
        "order": _cluster(model, tasks),
        "give": _sides(model.transferability, sources),
        "take": _sides(model.malleability, targets),
        "cliques": _cliques(analysis, model, tasks),
        "answers": _answers(model, axes),
        "flips": [f and [_number(v) for v in (f.fixed, f.broken, f.items)] for f in flips]
        if model.flips
        else None,
        "advice": [clean(spelled(mix.verdict, names)) for mix in mixtures(analysis, name).values()],
    }


def _number(value: float | bool | None) -> float | int | None:
    if value is None or isinstance(value, bool):
        return None if value is None else int(value)
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _ends(estimate: Estimate) -> list[float | None]:
    """Mean, low and high."""
    return [_number(value) for value in (estimate.mean, *estimate.ci)]


def _matrix(
    rows: Mapping[str, Mapping[str, Effect]], axes: Axes, seeds: list[str], alpha: float
) -> Data:
    """The columns of a table of cells, sources by targets; None for one that is all unknown."""
    cells = [rows.get(source, {}).get(target) for source, target in product(*axes)]

    def column(read: Callable[[Effect], float | bool | None]) -> list[Any] | None:
        found = [None if cell is None else _number(read(cell)) for cell in cells]
        return found if any(value is not None for value in found) else None

    def alone(cell: Effect, seed: str) -> bool | None:
        """Whether one seed alone is beyond noise by McNemar's test; None where it is unknown."""
        known = (cell.mcnemar or {}) if isinstance(cell, Cell) else {}
        p_value = known.get(seed, math.nan)
        return None if math.isnan(p_value) else p_value <= alpha

    return {
        "mean": column(lambda cell: cell.mean),
        "low": column(lambda cell: cell.ci[0]),
        "high": column(lambda cell: cell.ci[1]),
        "beyond": column(lambda cell: beyond_noise(cell, alpha)),
        "change": column(lambda cell: getattr(cell, "change", math.nan)),
        "change_low": column(lambda cell: getattr(cell, "change_ci", UNKNOWN)[0]),
        "change_high": column(lambda cell: getattr(cell, "change_ci", UNKNOWN)[1]),
        "expected": column(lambda cell: getattr(cell, "expected", math.nan)),
        "confidence": column(lambda cell: getattr(cell, "confidence", None)),
        "p": column(lambda cell: cell.p_value if isinstance(cell, Cell) else None),
        "q": column(lambda cell: cell.q_value if isinstance(cell, Cell) else None),
        "seeds": [column(lambda cell, s=seed: cell.seeds.get(s, math.nan)) for seed in seeds],
        "alone": [column(lambda cell, s=seed: alone(cell, s)) for seed in seeds],
    }


def _target_factors(
    analysis: Analysis, model: ModelAnalysis, target: str, cell: Cell | None = None
) -> dict[str, list[float | None]]:
    """{measure: factor of each seed} that turns an effect into that measure, where known."""
    scale, top = scales(analysis, model, target, cell), ceiling(analysis, target)
    known = bases(model, target, cell)
    own = [scale.get(seed, math.nan) for seed in model.seeds]
    found = {}
    for measure in MEASURES:
        other = [divisor(measure, known.get(seed, math.nan), top) for seed in model.seeds]
        pairs = zip(own, other, strict=True)
        found[measure] = [_number(a / b) if a > 0 and b > 0 else None for a, b in pairs]
    return found


def _factors(
    analysis: Analysis, model: ModelAnalysis, targets: list[str]
) -> dict[str, list[list[float | None]]]:
    """{measure: factors (seed, target)}, of measures with any; empty for a single measure."""
    columns, found = [_target_factors(analysis, model, target) for target in targets], {}
    for measure in MEASURES:
        rows = [list(row) for row in zip(*(each[measure] for each in columns), strict=True)]
        if any(value is not None for row in rows for value in row):
            found[measure] = rows
    return found if len(found) > 1 else {}


def _own_factors(
    analysis: Analysis, model: ModelAnalysis, cells: list[Cell | None], targets: list[str]
) -> dict[str, Data]:
    """{"cell's place": {measure: factors of the seeds, "base": accuracy}}, for cells with a base
    of their own because they have fewer items than the base."""
    found: dict[str, Data] = {}
    for place, cell in enumerate(cells):
        if cell is not None and cell.base is not None:
            target = targets[place % len(targets)]
            found[str(place)] = _target_factors(analysis, model, target, cell)
            found[str(place)]["base"] = _number(base_accuracy(model, target, cell))
    return found


def _limits(analysis: Analysis, axes: Axes) -> dict[str, float]:
    """{measure: end of its color scale} for all models, as in the heatmaps' figures."""
    found = {analysis.settings.measure: bound(analysis)}
    sizes: dict[str, dict[str, list[float]]] = {}
    for model in analysis.models.values():
        for measure, rows in _factors(analysis, model, axes[1]).items():
            factors = np.array(rows, float)  # None becomes NaN
            for source, (j, target) in product(axes[0], enumerate(axes[1])):
                cell = model.pgf.get(source, {}).get(target)
                if cell is None or same_task(source, target):
                    continue
                effects = [cell.seeds.get(seed, math.nan) for seed in model.seeds]
                values = np.array(effects) * factors[:, j]
                if (known := values[np.isfinite(values)]).size:
                    by_target = sizes.setdefault(measure, {})
                    by_target.setdefault(target, []).append(abs(float(known.mean())))
    for measure, by_target in sizes.items():
        found.setdefault(measure, bound_of(by_target.values()))
    return found


def _cluster(model: ModelAnalysis, tasks: list[str]) -> list[int]:
    """The tasks' places, ordered so that tasks which give and take alike are neighbors."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering

    size = len(tasks)
    if size < 3:
        return list(range(size))
    effects = np.zeros((size, size))
    for source, row in model.pgf.items():
        for target, cell in row.items():
            if math.isfinite(cell.mean) and source != target:
                effects[tasks.index(source), tasks.index(target)] = cell.mean
    profile = np.hstack([effects, effects.T])
    return leaves_list(optimal_leaf_ordering(linkage(profile, "average"), profile)).tolist()


def _sides(effects: Mapping[str, TaskEffect], tasks: list[str]) -> Data:
    """{sign: [mean, low, high] of each task}, of transferability or malleability."""
    found: Data = {}
    for sign in SIGNS:
        parts = [getattr(effects[task], sign) if task in effects else None for task in tasks]
        found[sign] = [p and _ends(p) for p in parts]
    return found


def _cliques(analysis: Analysis, model: ModelAnalysis, tasks: list[str]) -> Data:
    """The cliques of each sign, the largest first, and their null models in words; one line where
    chance explains them."""
    found: Data = {"more": {}, "chance": {}}
    for sign in SIGNS:
        line = clique_by_chance(model, sign)
        few = "Needs at least three tasks that are source and target."
        found["chance"][sign] = (line and f"Largest: {line}.") if has_cliques(analysis) else few
        cliques = sorted(getattr(model.cliques, sign), key=lambda each: -each.size)
        found["more"][sign] = max(0, len(cliques) - CLIQUES)
        found[sign] = [
            {
                "tasks": [*map(tasks.index, c.tasks)],
                "mean": _number(c.mean),
                "every_seed": c.every_seed,
            }
            for c in cliques[:CLIQUES]
        ]
    found["nulls"] = [
        {"words": null_words(null.null), "sign": null.sign, "observed": null.observed}
        | {"upper": null.upper, "p": _number(null.p_value)}
        | {"sizes": {size: _number(share) for size, share in null.sizes.items()}}
        for null in model.cliques.nulls
    ]
    return found


def _answers(model: ModelAnalysis, axes: Axes) -> dict[str, str]:
    """{"source place,target place": replies in words}, of cells that deserve a warning."""
    found = model.behaviour.sources if model.behaviour else {}
    warnings = {}
    for (i, source), (j, target) in product(*(list(enumerate(names)) for names in axes)):
        answers = found.get(source, {}).get(target)
        if answers and (answers.collapsed or answers.unreadable >= UNREADABLE):
            start = "collapsed, no transfer: " if answers.collapsed else ""
            warnings[f"{i},{j}"] = start + answer_words(answers)
    return warnings
