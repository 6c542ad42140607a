"""What the page's explorer draws from: one record of plain numbers, read by the scripts beside it.

Tasks are places in a list, matrices are rows of sources by targets, and not known is null. Effects
are those of the analysis in its own measure; other measures are a factor of each seed's effect,
which holds exactly, as every measure is a change in accuracy over something that the base decides.

In:   an `Analysis`.
Out:  data for JSON, the explorer's script, and its colours.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from itertools import product
from typing import Any

import numpy as np

from transferscope.analysis import Analysis, Cell, ModelAnalysis, TaskEffect
from transferscope.analysis.parts import Estimate
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.cliques import null_words
from transferscope.plots.heatmaps import bound, bound_of
from transferscope.plots.labels import (
    MEASURES,
    Labels,
    answer_words,
    clean,
    in_order,
    labels,
    model_labels,
    same_task,
    spelled,
)
from transferscope.plots.points import base_accuracy, ceiling, divisor, scales
from transferscope.plots.theme import DARK, DIVERGING
from transferscope.selection import mixtures
from transferscope.tasks.checkpoints import checkpoint

SCRIPTS = (
    *("kit", "state", "values", "heatmap", "graph", "plane", "cliques", "detail"),
    *("items", "linked", "start"),
)
"""The explorer's scripts, in the order in which they are run as one."""
STEPS = 6
"""Shades of colour on either side of 0."""
UNREADABLE = 0.1
"""Share of unreadable replies from which a cell says so."""
CLIQUES = 150
"""Cliques of a sign that travel with the page, the largest first."""
Effect = Cell | Estimate
Data = dict[str, Any]


def script() -> str:
    """All of the explorer's scripts as one, which leaves no name behind."""
    folder = files("transferscope.report").joinpath("scripts")
    parts = [folder.joinpath(f"{name}.js").read_text("utf-8") for name in SCRIPTS]
    return '(function () {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def colours() -> str:
    """Style sheets that name the shades of the heatmap, for light and for dark screens."""
    light = ";".join(f"--d{n}:{shade}" for n, shade in _shades(DIVERGING))
    dark = ";".join(f"--d{n}:{shade}" for n, shade in _shades([DARK[c] for c in DIVERGING]))
    fills = "".join(f".d{n}{{fill:var(--d{n});stroke:var(--d{n})}}" for n in range(2 * STEPS + 1))
    screen = "@media screen and (prefers-color-scheme:dark)"
    return f":root{{{light}}}\n{screen}{{:root{{{dark}}}}}\n{fills}"


def _shades(stops: Iterable[str]) -> list[tuple[int, str]]:
    """The colours of the steps from most negative to most positive, between the given stops."""
    known = np.array([[int(stop[k : k + 2], 16) for k in (1, 3, 5)] for stop in stops])
    at = np.linspace(0, len(known) - 1, 2 * STEPS + 1)
    mixed = [np.interp(at, np.arange(len(known)), channel) for channel in known.T]
    return [
        (n, "#" + "".join(f"{round(value):02x}" for value in rgb))
        for n, rgb in enumerate(zip(*mixed, strict=True))
    ]


def data(analysis: Analysis) -> Data:
    """Everything that the explorer shows."""
    names = labels(analysis)
    tasks = [task.name for task in analysis.tasks]
    sources = [task.name for task in analysis.tasks if task.source]
    targets = [task.name for task in analysis.tasks if task.target]
    kinds = ("level", "granularity")
    return {
        "measure": analysis.settings.measure,
        "measures": MEASURES,
        "alpha": analysis.settings.alpha,
        "limits": _limits(analysis, (sources, targets)),
        "keep": round(100 * analysis.settings.graph_keep),
        "self": analysis.settings.include_self,
        "kinds": {
            kind: in_order(c for t in analysis.tasks if (c := getattr(t, kind)) is not None)
            for kind in kinds
        },
        "tasks": [
            {
                "long": names.long[task.name],
                "short": names.short[task.name],
                "level": task.level,
                "granularity": task.granularity,
                "own": tasks.index(own) if (own := checkpoint(task.name).task) in tasks else None,
                "roles": _roles(analysis, task.name),
            }
            for task in analysis.tasks
        ],
        "sources": [tasks.index(name) for name in sources],
        "targets": [tasks.index(name) for name in targets],
        "models": [
            {"label": label, **_model(analysis, name, (sources, targets), names)}
            for name, label in model_labels(analysis).items()
        ],
    }


def _roles(analysis: Analysis, task: str) -> list[str]:
    roles = ("donor", "pirate", "sponge", "sieve")
    return [
        role
        for role in roles
        if any(persona.task == task for persona in getattr(analysis.personas, role))
    ]


def _model(analysis: Analysis, name: str, axes: tuple[list[str], list[str]], names: Labels) -> Data:
    model, settings = analysis.models[name], analysis.settings
    sources, targets = axes
    adjusted = model.adjusted
    return {
        "seeds": [clean(seed) for seed in model.seeds],
        "base": [_number(model.base_accuracy.get(target, math.nan)) for target in targets],
        "factors": _factors(analysis, model, targets),
        "own": _own_factors(analysis, model, axes),
        "items": _items(model, axes),
        "left": _left_out(model, axes),
        "effects": _matrix(model.pgf, axes, model.seeds, settings.alpha),
        "adjusted": None
        if adjusted is None
        else {
            "placebo": clean(adjusted.placebo),
            **_matrix(adjusted.cells, axes, model.seeds, settings.alpha),
        },
        "order": _cluster(model, [task.name for task in analysis.tasks]),
        "give": _sides(model.transferability, sources),
        "take": _sides(model.malleability, targets),
        "cliques": _cliques(model, [task.name for task in analysis.tasks]),
        "answers": _answers(model, axes),
        "flips": _flips(model, axes),
        "advice": [_advice(mix, names) for mix in mixtures(analysis, name).values()],
    }


def _matrix(
    rows: Mapping[str, Mapping[str, Effect]],
    axes: tuple[list[str], list[str]],
    seeds: list[str],
    alpha: float,
) -> Data:
    """The columns of a table of cells, sources by targets; None for one that is all unknown."""
    cells = [rows.get(source, {}).get(target) for source in axes[0] for target in axes[1]]

    def column(read: Callable[[Effect], float | bool | None]) -> list[Any] | None:
        found = [None if cell is None else _number(read(cell)) for cell in cells]
        return found if any(value is not None for value in found) else None

    def exact(cell: Effect) -> float | None:
        return cell.exact_p if isinstance(cell, Cell) else None

    return {
        "mean": column(lambda cell: cell.mean),
        "low": column(lambda cell: cell.ci[0]),
        "high": column(lambda cell: cell.ci[1]),
        "beyond": column(lambda cell: beyond_noise(cell, alpha)),
        "q": column(lambda cell: cell.q_value if isinstance(cell, Cell) else None),
        "exact": column(exact),
        "seeds": [column(lambda cell, s=seed: cell.seeds.get(s, math.nan)) for seed in seeds],
        "alone": [column(lambda cell, s=seed: _alone(cell, s, alpha)) for seed in seeds],
    }


def _alone(cell: Effect, seed: str, alpha: float) -> bool | None:
    """Whether one seed alone is beyond noise by McNemar's test; None where nothing tells."""
    p_value = (cell.mcnemar or {}).get(seed, math.nan) if isinstance(cell, Cell) else math.nan
    return None if math.isnan(p_value) else p_value <= alpha


def _number(value: float | bool | None) -> float | int | None:
    if value is None or isinstance(value, bool):
        return None if value is None else int(value)
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _factors(
    analysis: Analysis, model: ModelAnalysis, targets: list[str]
) -> dict[str, list[list[float | None]]]:
    """{measure: factors (seed, target)} that turn an effect into that measure, where known."""
    own = {target: scales(analysis, model, target) for target in targets}
    found = {
        measure: [
            [
                _ratio(
                    own[target].get(seed, math.nan),
                    divisor(
                        measure,
                        model.base_seeds.get(target, {}).get(seed, math.nan),
                        ceiling(analysis, target),
                    ),
                )
                for target in targets
            ]
            for seed in model.seeds
        ]
        for measure in MEASURES
    }
    known = {
        measure: rows
        for measure, rows in found.items()
        if any(value is not None for row in rows for value in row)
    }
    return known if len(known) > 1 else {}


def _own_factors(
    analysis: Analysis, model: ModelAnalysis, axes: tuple[list[str], list[str]]
) -> dict[str, Data]:
    """{"cell's place": {measure: factors of the seeds, "base": accuracy}} of cells on fewer items
    than the base answered."""
    found: dict[str, Data] = {}
    for place, (source, target) in enumerate(product(*axes)):
        cell = model.pgf.get(source, {}).get(target)
        if cell is None or cell.base is None:
            continue
        own, top = scales(analysis, model, target, cell), ceiling(analysis, target)
        found[str(place)] = {
            measure: [
                _ratio(own.get(s, math.nan), divisor(measure, cell.base.get(s, math.nan), top))
                for s in model.seeds
            ]
            for measure in MEASURES
        } | {"base": _number(base_accuracy(model, target, cell))}
    return found


def _items(model: ModelAnalysis, axes: tuple[list[str], list[str]]) -> list[float | None] | None:
    """How many items each cell is of."""
    cells = [model.pgf.get(source, {}).get(target) for source, target in product(*axes)]
    found = [cell and _number(cell.n) for cell in cells]
    return found if any(n is not None for n in found) else None


def _left_out(model: ModelAnalysis, axes: tuple[list[str], list[str]]) -> dict[str, list[int]]:
    """{"cell's place": places of its seeds that have no part in averages}."""
    cells = [model.pgf.get(source, {}).get(target) for source, target in product(*axes)]
    return {
        str(place): [model.seeds.index(seed) for seed in cell.left_out if seed in model.seeds]
        for place, cell in enumerate(cells)
        if cell is not None and cell.left_out
    }


def _ratio(given: float, wanted: float) -> float | None:
    return _number(given / wanted) if given > 0 and wanted > 0 else None


def _limits(analysis: Analysis, axes: tuple[list[str], list[str]]) -> dict[str, float]:
    """{measure: where its colours end}, in all models, as in the heatmaps' figures."""
    found = {analysis.settings.measure: bound(analysis)}
    sizes: dict[str, dict[str, list[float]]] = {}
    for model in analysis.models.values():
        for measure, rows in _factors(analysis, model, axes[1]).items():
            factors = np.array(rows, float)  # None becomes NaN
            for source in axes[0]:
                for j, target in enumerate(axes[1]):
                    cell = model.pgf.get(source, {}).get(target)
                    if cell is None or same_task(source, target):
                        continue
                    values = np.array([cell.seeds.get(seed, math.nan) for seed in model.seeds])
                    known = np.isfinite(values * factors[:, j])
                    if known.any():
                        mean = (values * factors[:, j])[known].mean()
                        by_target = sizes.setdefault(measure, {})
                        by_target.setdefault(target, []).append(abs(float(mean)))
    for measure, by_target in sizes.items():
        found.setdefault(measure, bound_of(by_target.values()))
    return found


def _cluster(model: ModelAnalysis, tasks: list[str]) -> list[int]:
    """The tasks' places in an order in which those that give and take alike lie together."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering

    size = len(tasks)
    if size < 3:
        return list(range(size))
    place = {task: k for k, task in enumerate(tasks)}
    effects = np.zeros((size, size))
    for source, row in model.pgf.items():
        for target, cell in row.items():
            if math.isfinite(cell.mean) and source != target:
                effects[place[source], place[target]] = cell.mean
    profile = np.hstack([effects, effects.T])
    tree = optimal_leaf_ordering(linkage(profile, "average"), profile)
    return [int(k) for k in leaves_list(tree)]


def _sides(effects: Mapping[str, TaskEffect], tasks: list[str]) -> Data:
    """Transferability or malleability of each task: for each sign mean, low and high."""

    def side(task: str, sign: str) -> list[float | None] | None:
        if task not in effects:
            return None
        part = getattr(effects[task], sign)
        return [_number(value) for value in (part.mean, *part.ci)]

    return {sign: [side(task, sign) for task in tasks] for sign in ("positive", "negative")}


def _cliques(model: ModelAnalysis, tasks: list[str]) -> Data:
    """The cliques of each sign, the largest first, and their null models in words."""
    found: Data = {"more": {}}
    for sign in ("positive", "negative"):
        cliques = getattr(model.cliques, sign)
        found["more"][sign] = max(0, len(cliques) - CLIQUES)
        found[sign] = [
            {
                "tasks": [tasks.index(task) for task in clique.tasks],
                "mean": _number(clique.mean),
                "every_seed": clique.every_seed,
            }
            for clique in sorted(cliques, key=lambda each: -each.size)[:CLIQUES]
        ]
    found["nulls"] = [
        {
            "words": null_words(null.null),
            "sign": null.sign,
            "observed": null.observed,
            "upper": null.upper,
            "p": _number(null.p_value),
            "sizes": {size: _number(share) for size, share in null.sizes.items()},
        }
        for null in model.cliques.nulls
    ]
    return found


def _answers(model: ModelAnalysis, axes: tuple[list[str], list[str]]) -> dict[str, str]:
    """{"source place,target place": how answers are given}, where that is worth a warning."""
    found = model.behaviour.sources if model.behaviour else {}
    return {
        f"{i},{j}": ("collapsed, no transfer: " if answers.collapsed else "")
        + answer_words(answers)
        for i, source in enumerate(axes[0])
        for j, target in enumerate(axes[1])
        if (answers := found.get(source, {}).get(target))
        and (answers.collapsed or answers.unreadable >= UNREADABLE)
    }


def _flips(model: ModelAnalysis, axes: tuple[list[str], list[str]]) -> list[Any] | None:
    """For each cell the items fixed, broken and compared, means over seeds."""
    if not model.flips:
        return None
    cells = [model.flips.get(source, {}).get(target) for source in axes[0] for target in axes[1]]
    return [f and [_number(v) for v in (f.fixed, f.broken, f.items)] for f in cells]


def _advice(mix: Any, names: Labels) -> Data:
    """What to train on for one target, sources as labels."""
    return {
        "sources": [[names.long[c.source], round(c.share, 4)] for c in mix.choices],
        "mean": _number(mix.expected.mean),
        "low": _number(mix.expected.ci[0]),
        "high": _number(mix.expected.ci[1]),
        "words": "" if mix.choices else clean(spelled(mix.verdict, names)),
    }
