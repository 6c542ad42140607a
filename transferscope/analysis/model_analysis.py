"""The analysis of one model: its cells, tasks, categories, graph and cliques.

In:   the matrix, the model's `ModelEffects` and its null model without transfer.
Out:  an `analysis.ModelAnalysis`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from transferscope.analysis import (
    Category,
    CategoryAxis,
    CliqueNull,
    Cliques,
    Edge,
    Estimate,
    Gaps,
    Graph,
    ModelAnalysis,
    Null,
    Quantity,
    Sign,
    Signed,
    SignedIntervals,
    TaskEffect,
    TaskProfile,
    graph,
)
from transferscope.analysis.cell_effects import cells
from transferscope.analysis.graph import seed_mean
from transferscope.analysis.model_effects import SIGNS, ModelEffects, pair
from transferscope.analysis.placebo import control_effects
from transferscope.analysis.settings import Settings
from transferscope.analysis.verdicts import seed_share, verdicts
from transferscope.matrix import task_effects
from transferscope.matrix.collapse import behavior
from transferscope.matrix.flips import flips
from transferscope.matrix.measure import known_mean
from transferscope.matrix.pairing import most_items
from transferscope.matrix.task_effects import Axis
from transferscope.stats.draws import NULL_DRAWS, affordable, column_shift
from transferscope.tasks import GRANULARITIES, LEVELS

if TYPE_CHECKING:
    import xarray as xr

BOUNDS: dict[Sign, tuple[float, float]] = {"positive": (0.0, np.inf), "negative": (-np.inf, 0.0)}
ORDER: dict[Axis, tuple[str, ...]] = {"level": LEVELS, "granularity": GRANULARITIES}
DIMENSION: dict[Quantity, str] = {"transferability": "source", "malleability": "target"}


def analyze_model(
    matrix: xr.Dataset,
    mu: xr.DataArray,
    one: ModelEffects,
    settings: Settings,
) -> ModelAnalysis:
    """One model's part of the analysis.

    Everything but the cells themselves is computed without the cells that are left out.

    Args:
        matrix: of all models, as `mu`.
    """
    base = matrix.sel(model=one.model, seed=one.seeds)
    part = mu.sel(model=[one.model], seed=one.seeds)
    gaps = _gaps(base, part[0])
    part = part.copy(data=one.runs.averaged[None])
    found, answers = cells(one, base), behavior(matrix.sel(model=one.model))
    mean = seed_mean(one.runs.averaged)
    edges = [
        Edge(s, t, float(mean[i, j]), found[s][t].q_value)
        for i, j in graph.strongest_edges(mean, one.itself, settings.graph_keep)
        for s, t in [(one.sources[i], one.targets[j])]
    ]
    controls = control_effects(one)
    trends = {by: _categories(part, one, by, settings.include_self) for by in ORDER}
    means = task_effects.averages(part, include_self=settings.include_self).isel(model=0)
    targets = one.targets
    accuracy = base["base_accuracy"].transpose("target", "seed")
    most = most_items(matrix).sel(model=one.model).transpose("target")
    errors = base["base_errors"].transpose("target", "seed").values
    return ModelAnalysis(
        seeds=one.seeds,
        basis=one.basis,
        items=one.items,
        gaps=gaps,
        base_accuracy=dict(zip(targets, accuracy.mean("seed").values.tolist(), strict=True)),
        base_errors={
            target: {seed: _whole(value) for seed, value in one.by_seed(row).items()}
            for target, row in zip(targets, errors, strict=True)
        },
        pgf=found,
        transferability=_task_effects(part, one, "transferability", settings.include_self),
        malleability=_task_effects(part, one, "malleability", settings.include_self),
        average=_profile(one, means.mean("seed"), settings.include_self),
        noise_floor=_noise_floor(one, settings),
        categories={by: records for by, (records, _) in trends.items()},
        category_axes={by: axis for by, (_, axis) in trends.items()},
        graph=Graph(edges),
        cliques=_cliques(part, one, settings),
        behaviour=answers,
        verdicts=verdicts(one, found, answers),
        seed_share=seed_share(one) if one.has_intervals else {},
        flips=flips(matrix.sel(model=one.model)),
        controls=controls.controls,
        adjusted=controls.adjusted,
        base_seeds={t: one.by_seed(row) for t, row in zip(targets, accuracy.values, strict=True)},
        most_items=dict(zip(targets, map(_whole, most.values.tolist()), strict=True)),
    )


def _gaps(base: xr.Dataset, mu: xr.DataArray) -> Gaps:
    measured = (base["pgf"].notnull() | base["accuracy"].notnull()).transpose(*mu.dims)
    return Gaps(
        cells=mu.size,
        missing=int((~measured).sum()),
        undefined=int((measured.values & mu.isnull().values).sum()),
    )


def _whole(number: float) -> int | None:
    return None if np.isnan(number) else round(number)


def over_tasks(draws: np.ndarray | None) -> np.ndarray | None:
    """Mean over tasks (the first axis) of those that have a value."""
    return None if draws is None else known_mean(draws)


def _task_effects(
    part: xr.DataArray, one: ModelEffects, quantity: Quantity, include_self: bool
) -> dict[str, TaskEffect]:
    effect = getattr(task_effects, quantity)(part, include_self=include_self).isel(model=0)
    effect = effect.transpose("seed", DIMENSION[quantity])
    mean = {name: values.mean("seed").values for name, values in effect.items()}
    draws = {sign: one.of_tasks(quantity, sign, include_self=include_self) for sign in SIGNS}

    def estimate(k: int, sign: Sign) -> Estimate:
        drawn = draws[sign]
        value = float(mean[sign][k])
        ci = one.ends(None if drawn is None else drawn[k], value, *BOUNDS[sign])
        return Estimate(value, ci, one.by_seed(effect[sign].values[:, k]))

    return {
        name: TaskEffect(
            positive=estimate(k, "positive"),
            negative=estimate(k, "negative"),
            breadth_positive=float(mean["breadth_positive"][k]),
            breadth_negative=float(mean["breadth_negative"][k]),
        )
        for k, name in enumerate(effect[DIMENSION[quantity]].values.tolist())
    }


def _signed(
    one: ModelEffects, means: Iterable[float], draws: Iterable[np.ndarray | None]
) -> Signed:
    """A positive and a negative mean with their intervals.

    Args:
        draws: those of the parts (first axis) that each is a mean of.
    """
    positive, negative = means
    ci = [
        one.ends(over_tasks(drawn), mean, *BOUNDS[sign])
        for sign, mean, drawn in zip(SIGNS, (positive, negative), draws, strict=True)
    ]
    return Signed(positive, negative, SignedIntervals(*ci))


def _profile(
    one: ModelEffects,
    means: xr.Dataset,
    include_self: bool,
    members: dict[Quantity, np.ndarray] | None = None,
) -> TaskProfile:
    """Mean transferability and malleability of all tasks, or of the given `members`."""
    signed = {}
    for quantity in DIMENSION:
        chosen = members[quantity] if members else slice(None)
        tasks = [one.of_tasks(quantity, sign, include_self=include_self) for sign in SIGNS]
        signed[quantity] = _signed(
            one,
            [means[f"{quantity}_{sign}"].item() for sign in SIGNS],
            [None if draws is None else draws[chosen] for draws in tasks],
        )
    return TaskProfile(**signed)


def _noise_floor(one: ModelEffects, settings: Settings) -> TaskProfile | None:
    if (null := one.null) is None:
        return None
    signed = {}
    for name, axis in (("transferability", -1), ("malleability", -2)):
        parts = task_effects.signed_parts(null, axis=axis)
        drawn = {s: known_mean(getattr(parts, s).reshape(len(null), -1).T) for s in SIGNS}
        means = {sign: float(values.mean()) for sign, values in drawn.items()}
        level = [settings.alpha / 2, 1 - settings.alpha / 2]
        ends = {sign: pair(np.quantile(values, level)) for sign, values in drawn.items()}
        signed[name] = Signed(**means, ci=SignedIntervals(**ends))
    return TaskProfile(**signed)


def _cliques(part: xr.DataArray, one: ModelEffects, settings: Settings) -> Cliques:
    found = {sign: graph.cliques(part, sign=sign)[one.model] for sign in SIGNS}
    complete = all(len(listed) < graph.MOST_CLIQUES for listed in found.values())
    row = {name: i for i, name in enumerate(one.sources)}
    column = {name: j for j, name in enumerate(one.targets)}
    if one.drawn is not None:
        for listed in found.values():
            for k, clique in enumerate(listed):
                block = one.drawn[
                    np.ix_([row[n] for n in clique.tasks], [column[n] for n in clique.tasks])
                ]
                apart = block[~np.eye(clique.size, dtype=bool)]
                listed[k] = replace(clique, ci=one.ends(over_tasks(apart), clique.mean))
    shared = [name for name in one.sources if name in column]
    square = np.ix_([row[n] for n in shared], [column[n] for n in shared])
    tried: list[CliqueNull] = []
    if settings.preset == "default" and len(shared) >= graph.SMALLEST_CLIQUE:
        mean = seed_mean(one.runs.averaged)[square]
        same = np.eye(len(shared), dtype=bool)
        number = affordable(NULL_DRAWS, one.runs.effects.size)
        means: dict[Null, np.ndarray] = {
            "column shift": column_shift(mean, same, number, settings.seed)
        }
        if one.null is not None:
            by_chance = seed_mean(np.moveaxis(one.null, 1, 0))
            means = {"no transfer": by_chance[:, *square], **means}
        tried = [
            graph.clique_null(
                name, sign, max((c.size for c in found[sign]), default=0), values, settings.alpha
            )
            for name, values in means.items()
            for sign in SIGNS
        ]
    return Cliques(found["positive"], found["negative"], complete, tried)


def _members(part: xr.DataArray, by: Axis, quantity: Quantity, category: str) -> np.ndarray:
    return part[by if quantity == "malleability" else f"source_{by}"].values == category


def _profiles(
    part: xr.DataArray, one: ModelEffects, by: Axis, *, include_self: bool
) -> dict[str, TaskProfile]:
    """The profile of each category."""
    trends = task_effects.category_trends(part, by, include_self=include_self)
    trends = trends.isel(model=0).mean("seed")
    return {
        category: _profile(
            one,
            trends.sel(category=category),
            include_self,
            {quantity: _members(part, by, quantity, category) for quantity in DIMENSION},
        )
        for category in ORDER[by]
        if category in trends["category"].values
    }


def _categories(
    part: xr.DataArray, one: ModelEffects, by: Axis, include_self: bool
) -> tuple[dict[str, Category], CategoryAxis]:
    """The categories' trends, which of them change without self-transfer, and their effects."""
    counted = _profiles(part, one, by, include_self=True)
    apart = _profiles(part, one, by, include_self=False)
    names = [*part["target"].values.tolist(), *part["source"].values.tolist()]
    labels = [*part[by].values.tolist(), *part[f"source_{by}"].values.tolist()]
    tasks = {c: [n for n, label in zip(names, labels, strict=True) if label == c] for c in counted}

    def order(profiles: dict[str, TaskProfile], quantity: Quantity, sign: Sign) -> list[str]:
        def value(name: str) -> float:
            return getattr(getattr(profiles[name], quantity), sign)

        return sorted(profiles, key=value, reverse=True)

    rests = [
        f"{quantity}.{sign}"
        for quantity in DIMENSION
        for sign in SIGNS
        if order(counted, quantity, sign) != order(apart, quantity, sign)
    ]
    records = {
        category: Category(
            tasks=list(dict.fromkeys(tasks[category])),
            transferability=profile.transferability,
            malleability=profile.malleability,
            without_self=apart[category],
        )
        for category, profile in counted.items()
    }
    return records, CategoryAxis(rests, _category_effects(part, one, by, include_self))


def _category_effects(
    part: xr.DataArray, one: ModelEffects, by: Axis, include_self: bool
) -> dict[str, dict[str, Signed]]:
    means = task_effects.category_effects(part, by, include_self=include_self)
    means = means.isel(model=0).mean("seed")
    apart = np.zeros_like(one.itself) if include_self else one.itself
    rows, columns = (means[f"{end}_category"].values.tolist() for end in ("source", "target"))
    effects: dict[str, dict[str, Signed]] = {}
    sides = None, None
    if one.drawn is not None:
        sides = np.maximum(one.drawn, 0), np.minimum(one.drawn, 0)
    for giving in [c for c in ORDER[by] if c in rows]:
        for taking in [c for c in ORDER[by] if c in columns]:
            block = np.outer(
                _members(part, by, "transferability", giving),
                _members(part, by, "malleability", taking),
            )
            place = rows.index(giving), columns.index(taking)

            drawn = [None if side is None else side[block & ~apart] for side in sides]
            values = [means[sign].values[place].item() for sign in SIGNS]
            effects.setdefault(giving, {})[taking] = _signed(one, values, drawn)
    return effects
