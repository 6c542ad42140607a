"""The analysis of one model: its cells, tasks, categories, graph and cliques.

In:   the matrix, the model's `ModelEffects` and its null model without transfer.
Out:  an `analysis.ModelAnalysis`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

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
    NoiseFloor,
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
from transferscope.analysis.model_effects import ModelEffects, null_draws, pair
from transferscope.analysis.placebo import control_effects
from transferscope.analysis.settings import Settings
from transferscope.matrix import task_effects
from transferscope.matrix.collapse import behavior
from transferscope.matrix.flips import flips
from transferscope.matrix.measure import known_mean
from transferscope.matrix.pairing import most_items
from transferscope.matrix.task_effects import Axis
from transferscope.stats import nulls
from transferscope.tasks import GRANULARITIES, LEVELS

if TYPE_CHECKING:
    import xarray as xr

SIGNS: tuple[Sign, ...] = get_args(Sign)
BOUNDS: dict[Sign, tuple[float, float]] = {"positive": (0.0, np.inf), "negative": (-np.inf, 0.0)}
ORDER: dict[Axis, tuple[str, ...]] = {"level": LEVELS, "granularity": GRANULARITIES}
DIMENSION: dict[Quantity, str] = {"transferability": "source", "malleability": "target"}


def analyze_model(
    matrix: xr.Dataset,
    mu: xr.DataArray,
    one: ModelEffects,
    null: np.ndarray | None,
    settings: Settings,
) -> ModelAnalysis:
    """One model's part of the analysis.

    Everything but the cells themselves is computed without the cells that are left out.

    Args:
        matrix: of all models, as `mu`.
        null: its effects without transfer, (draw, seed, source, target); None where unknown.
    """
    base = matrix.sel(model=one.model, seed=one.seeds)
    part = mu.sel(model=[one.model], seed=one.seeds)
    gaps = _gaps(base, part[0])
    part = part.copy(data=one.data.averaged[None])
    found, q_values = cells(one, base)
    mean = seed_mean(one.data.averaged)
    edges = [
        Edge(one.sources[i], one.data.targets[j], float(mean[i, j]), float(q_values[i, j]))
        for i, j in graph.strongest_edges(mean, one.data.itself, settings.graph_keep)
    ]
    controls = control_effects(matrix, one, settings)
    trends = {by: _categories(part, one, by, settings.include_self) for by in ORDER}
    means = task_effects.averages(part, include_self=settings.include_self).isel(model=0)
    targets = one.data.targets
    accuracy = base["base_accuracy"].transpose("target", "seed")
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
        noise_floor=None if null is None else _noise_floor(one, null, settings),
        categories={by: records for by, (records, _) in trends.items()},
        category_axes={by: axis for by, (_, axis) in trends.items()},
        graph=Graph(edges),
        cliques=_cliques(part, one, null, settings),
        behaviour=behavior(matrix.sel(model=one.model)),
        flips=flips(matrix.sel(model=one.model)),
        controls=controls.controls,
        adjusted=controls.adjusted,
        base_seeds={t: one.by_seed(row) for t, row in zip(targets, accuracy.values, strict=True)},
        most_items={
            target: _whole(most_items(matrix).sel(model=one.model, target=target).item())
            for target in targets
        },
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
    mean = effect.mean("seed")
    draws = {
        sign: one.drawn(quantity, sign, include_self=include_self, view="alone") for sign in SIGNS
    }

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
        tasks = [
            one.drawn(quantity, sign, include_self=include_self, view="means") for sign in SIGNS
        ]
        signed[quantity] = _signed(
            one,
            [means[f"{quantity}_{sign}"].item() for sign in SIGNS],
            [None if draws is None else draws[chosen] for draws in tasks],
        )
    return TaskProfile(**signed)


def _noise_floor(one: ModelEffects, null: np.ndarray, settings: Settings) -> NoiseFloor | None:
    chosen = null if settings.include_self else np.where(one.data.itself, np.nan, null)
    signed = {}
    for name, axis in (("transferability", -1), ("malleability", -2)):
        parts = task_effects.signed_parts(chosen, axis=axis)
        drawn = {s: known_mean(getattr(parts, s).reshape(len(null), -1).T) for s in SIGNS}
        # A draw in which every base is perfect is undefined.
        drawn = {sign: values[np.isfinite(values)] for sign, values in drawn.items()}
        if 2 * len(drawn["positive"]) < len(null):
            return None
        means = {sign: float(values.mean()) for sign, values in drawn.items()}
        level = [settings.alpha / 2, 1 - settings.alpha / 2]
        ends = {sign: pair(np.quantile(values, level)) for sign, values in drawn.items()}
        signed[name] = Signed(**means, ci=SignedIntervals(**ends))
    return NoiseFloor(**signed)


def _cliques(
    part: xr.DataArray, one: ModelEffects, null: np.ndarray | None, settings: Settings
) -> Cliques:
    found = {sign: graph.cliques(part, sign=sign)[one.model] for sign in SIGNS}
    complete = all(len(listed) < graph.MOST_CLIQUES for listed in found.values())
    row = {name: i for i, name in enumerate(one.sources)}
    column = {name: j for j, name in enumerate(one.data.targets)}
    drawn = one.drawn_cells("means")
    if drawn is not None:
        for listed in found.values():
            for k, clique in enumerate(listed):
                block = drawn[
                    np.ix_([row[n] for n in clique.tasks], [column[n] for n in clique.tasks])
                ]
                apart = block[~np.eye(clique.size, dtype=bool)]
                listed[k] = replace(clique, ci=one.ends(over_tasks(apart), clique.mean))
    shared = [name for name in one.sources if name in column]
    square = np.ix_([row[n] for n in shared], [column[n] for n in shared])
    tried: list[CliqueNull] = []
    if settings.preset == "default" and len(shared) >= graph.SMALLEST_CLIQUE:
        mean = seed_mean(one.data.averaged)[square]
        same = np.eye(len(shared), dtype=bool)
        draws = null_draws(one, settings)
        shift = nulls.column_shift_effects(mean, same, draws, settings.seed)
        means: dict[Null, np.ndarray] = {"column shift": shift}
        if null is not None:
            by_chance = seed_mean(np.moveaxis(null, 1, 0))
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
    apart = np.zeros_like(one.data.itself) if include_self else one.data.itself
    rows, columns = (means[f"{end}_category"].values.tolist() for end in ("source", "target"))
    effects: dict[str, dict[str, Signed]] = {}
    for giving in [c for c in ORDER[by] if c in rows]:
        for taking in [c for c in ORDER[by] if c in columns]:
            block = np.outer(
                _members(part, by, "transferability", giving),
                _members(part, by, "malleability", taking),
            )
            place = rows.index(giving), columns.index(taking)
            sides = one.draws.sides if one.draws else (None, None)
            drawn = [None if side is None else side[block & ~apart] for side in sides]
            values = [means[sign].values[place].item() for sign in SIGNS]
            effects.setdefault(giving, {})[taking] = _signed(one, values, drawn)
    return effects
