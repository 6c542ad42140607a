"""Everything about one model: its cells, tasks, categories, graph and cliques.

In:   the matrix and the model's `Evidence`.
Out:  an `analysis.ModelAnalysis`.
"""

from __future__ import annotations

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
    Profile,
    Sign,
    Signed,
    SignedCI,
    TaskEffect,
    graph,
)
from transferscope.analysis.bootstrap import Evidence, Quantity, no_transfer, null_draws
from transferscope.analysis.cells import cells, pair
from transferscope.analysis.placebo import compare
from transferscope.analysis.settings import Settings
from transferscope.matrix import behavior as behaviour
from transferscope.matrix import measure
from transferscope.matrix.flips import flips
from transferscope.matrix.pairing import most_items
from transferscope.stats import nulls
from transferscope.tasks import GRANULARITIES, LEVELS

if TYPE_CHECKING:
    import xarray as xr

SIGNS: tuple[Sign, ...] = get_args(Sign)
BOUNDS: dict[Sign, tuple[float, float]] = {"positive": (0.0, np.inf), "negative": (-np.inf, 0.0)}
AXES: tuple[measure.Axis, ...] = get_args(measure.Axis)
ORDER: dict[measure.Axis, tuple[str, ...]] = {"level": LEVELS, "granularity": GRANULARITIES}
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
DIMENSION: dict[Quantity, str] = {"transferability": "source", "malleability": "target"}


def describe(
    matrix: xr.Dataset, mu: xr.DataArray, evidence: Evidence, settings: Settings
) -> ModelAnalysis:
    """One model's part of the analysis; `mu` holds all models.

    Everything but the cells themselves is computed without the cells that are left out.
    """
    one = mu.sel(model=[evidence.model], seed=evidence.seeds)
    gaps = _gaps(matrix, one)
    one = one.copy(data=evidence.data.averaged[None])
    include_self = settings.include_self
    trends = {by: _categories(one, evidence, by) for by in AXES}
    base = matrix.sel(model=evidence.model, seed=evidence.seeds)
    found, q_values = cells(evidence, base)
    mean = graph.seed_mean(evidence.data.averaged)
    null = no_transfer(evidence, matrix, settings) if settings.preset == "default" else None
    kept = graph.strongest_edges(mean, evidence.data.itself, settings.graph_keep)
    names = (evidence.sources, evidence.data.targets)
    placebos = compare(matrix, evidence, settings)
    return ModelAnalysis(
        seeds=evidence.seeds,
        basis=evidence.basis,
        items=evidence.items,
        gaps=gaps,
        base_accuracy=dict(
            zip(names[1], base["base_accuracy"].mean("seed").values.tolist(), strict=True)
        ),
        base_errors=_base_errors(base),
        pgf=found,
        transferability=_task_effects(one, evidence, "transferability", include_self),
        malleability=_task_effects(one, evidence, "malleability", include_self),
        average=_average(one, evidence, include_self),
        noise_floor=_noise_floor(evidence, null, settings),
        categories={by: records for by, (records, _) in trends.items()},
        category_axes={
            by: CategoryAxis(trends[by][1], _category_effects(one, evidence, by, include_self))
            for by in AXES
        },
        graph=Graph(
            [
                Edge(names[0][i], names[1][j], float(mean[i, j]), float(q_values[i, j]))
                for i, j in kept
            ]
        ),
        cliques=_cliques(one, evidence, null, settings),
        behaviour=behaviour.describe(matrix.sel(model=evidence.model)),
        flips=flips(matrix.sel(model=evidence.model)),
        controls=placebos.controls,
        adjusted=placebos.adjusted,
        base_seeds=_by_target(base["base_accuracy"]),
        most_items=_most_items(matrix, evidence.model),
    )


def _by_target(values: xr.DataArray) -> dict[str, dict[str, float]]:
    """{target: {seed: value}}."""
    rows = values.transpose("target", "seed")
    return {
        target: dict(zip(rows["seed"].values.tolist(), row, strict=True))
        for target, row in zip(rows["target"].values.tolist(), rows.values.tolist(), strict=True)
    }


def _most_items(matrix: xr.Dataset, model: str) -> dict[str, int | None]:
    most = most_items(matrix).sel(model=model)
    return {
        target: None if np.isnan(number) else int(number)
        for target, number in zip(most["target"].values.tolist(), most.values, strict=True)
    }


def _gaps(matrix: xr.Dataset, one: xr.DataArray) -> Gaps:
    here = matrix.sel(model=one["model"], seed=one["seed"])
    measured = here["pgf"].notnull() | here["accuracy"].notnull()
    return Gaps(
        cells=one.size,
        missing=int((~measured).sum()),
        undefined=int((measured.transpose(*one.dims).values & one.isnull().values).sum()),
    )


def _base_errors(base: xr.Dataset) -> dict[str, dict[str, int | None]]:
    errors = base["base_errors"].transpose("target", "seed")
    return {
        target: {
            seed: None if np.isnan(value) else round(float(value))
            for seed, value in zip(errors["seed"].values.tolist(), row, strict=True)
        }
        for target, row in zip(errors["target"].values.tolist(), errors.values, strict=True)
    }


def _task_effects(
    one: xr.DataArray, evidence: Evidence, quantity: Quantity, include_self: bool
) -> dict[str, TaskEffect]:
    effect = getattr(measure, quantity)(one, include_self=include_self).isel(model=0)
    dim = DIMENSION[quantity]
    effect = effect.transpose("seed", dim)
    mean = effect.mean("seed")
    estimates = {}
    for sign in SIGNS:
        low, high = BOUNDS[sign]
        drawn = evidence.drawn(quantity, sign, include_self=include_self, view="alone")
        ci = evidence.interval(drawn, mean[sign].values, low=low, high=high)
        estimates[sign] = [
            Estimate(float(value), pair(ends), dict(zip(evidence.seeds, by_seed, strict=True)))
            for value, ends, by_seed in zip(
                mean[sign].values, ci, effect[sign].values.T.tolist(), strict=True
            )
        ]
    return {
        name: TaskEffect(
            positive=estimates["positive"][k],
            negative=estimates["negative"][k],
            breadth_positive=float(mean["breadth_positive"][k]),
            breadth_negative=float(mean["breadth_negative"][k]),
        )
        for k, name in enumerate(effect[dim].values.tolist())
    }


def _average(one: xr.DataArray, evidence: Evidence, include_self: bool) -> Profile:
    means = measure.averages(one, include_self=include_self).isel(model=0).mean("seed")
    signed = {}
    for quantity in QUANTITIES:
        values: dict[Sign, float] = {s: float(means[f"{quantity}_{s}"]) for s in SIGNS}
        drawn: dict[Sign, np.ndarray | None] = {
            s: evidence.drawn(quantity, s, include_self=include_self, view="means") for s in SIGNS
        }
        signed[quantity] = _signed(evidence, values, drawn)
    return Profile(**signed)


def over_tasks(draws: np.ndarray) -> np.ndarray:
    """Mean over tasks (the first axis) of those that have a value."""
    known = np.isfinite(draws)
    if len(draws) and known.all():
        return draws.mean(axis=0)
    count = known.sum(axis=0)
    return np.where(known, draws, 0).sum(axis=0) / np.where(count > 0, count, np.nan)


def _noise_floor(
    evidence: Evidence, null: np.ndarray | None, settings: Settings
) -> NoiseFloor | None:
    if null is None:
        return None
    chosen = null if settings.include_self else np.where(evidence.data.itself, np.nan, null)
    signed = {}
    for name, axis in (("transferability", -1), ("malleability", -2)):
        parts = measure.signed_parts(chosen, axis=axis)
        drawn = {s: over_tasks(getattr(parts, s).reshape(len(null), -1).T) for s in SIGNS}
        # A draw in which every base is perfect says nothing.
        drawn = {sign: values[np.isfinite(values)] for sign, values in drawn.items()}
        if 2 * len(drawn["positive"]) < len(null):
            return None
        means = {sign: float(values.mean()) for sign, values in drawn.items()}
        level = [settings.alpha / 2, 1 - settings.alpha / 2]
        ends = {sign: pair(np.quantile(values, level)) for sign, values in drawn.items()}
        signed[name] = Signed(**means, ci=SignedCI(**ends))
    return NoiseFloor(**signed)


def _cliques(
    one: xr.DataArray, evidence: Evidence, null: np.ndarray | None, settings: Settings
) -> Cliques:
    found = {sign: graph.cliques(one, sign=sign)[evidence.model] for sign in SIGNS}
    complete = all(len(listed) < graph.MOST_CLIQUES for listed in found.values())
    sources, targets = evidence.sources, list(evidence.data.targets)
    if evidence.draws:
        for sign in SIGNS:
            found[sign] = [
                replace(clique, ci=_clique_interval(evidence, clique.tasks, clique.mean))
                for clique in found[sign]
            ]
    shared = [name for name in sources if name in targets]
    square = np.ix_([sources.index(n) for n in shared], [targets.index(n) for n in shared])
    tried: list[CliqueNull] = []
    if settings.preset == "default" and len(shared) >= graph.SMALLEST_CLIQUE:
        mean = graph.seed_mean(evidence.data.averaged)[square]
        same = np.eye(len(shared), dtype=bool)
        draws = null_draws(evidence, settings)
        shift = nulls.column_shift_effects(mean, same, draws, settings.seed)
        means: dict[Null, np.ndarray] = {"column shift": shift}
        if null is not None:
            by_chance = graph.seed_mean(np.moveaxis(null, 1, 0))
            means = {"no transfer": by_chance[:, *square], **means}
        tried = [
            graph.clique_null(
                name, sign, max((c.size for c in found[sign]), default=0), drawn, settings.alpha
            )
            for name, drawn in means.items()
            for sign in SIGNS
        ]
    return Cliques(found["positive"], found["negative"], complete, tried)


def _clique_interval(evidence: Evidence, tasks: list[str], mean: float) -> tuple[float, float]:
    drawn = evidence.drawn_cells("means")
    assert drawn is not None
    rows = [evidence.sources.index(name) for name in tasks]
    columns = [evidence.data.targets.index(name) for name in tasks]
    block = drawn[np.ix_(rows, columns)]
    apart = block[~np.eye(len(tasks), dtype=bool)]
    return pair(evidence.interval(over_tasks(apart), np.asarray(mean)))


def _signed(
    evidence: Evidence, means: dict[Sign, float], draws: dict[Sign, np.ndarray | None]
) -> Signed:
    """Means with their intervals, from the draws of the parts (first axis) they are means of."""
    ci = {}
    for sign in SIGNS:
        low, high = BOUNDS[sign]
        parts = draws[sign]
        drawn = None if parts is None else over_tasks(parts)
        ci[sign] = pair(evidence.interval(drawn, np.asarray(means[sign]), low=low, high=high))
    return Signed(**means, ci=SignedCI(**ci))


def _members(one: xr.DataArray, by: measure.Axis, dim: str, category: str) -> np.ndarray:
    return one[by if dim == "target" else f"source_{by}"].values == category


def _profiles(
    one: xr.DataArray, evidence: Evidence, by: measure.Axis, *, include_self: bool
) -> dict[str, Profile]:
    """Mean transferability and mean malleability of each category."""
    trends = measure.category_trends(one, by, include_self=include_self).isel(model=0).mean("seed")
    known = trends["category"].values.tolist()
    profiles = {}
    for category in [c for c in ORDER[by] if c in known]:
        signed = {}
        for quantity in QUANTITIES:
            members = _members(one, by, DIMENSION[quantity], category)
            drawn: dict[Sign, np.ndarray | None] = {}
            for sign in SIGNS:
                all_tasks = evidence.drawn(quantity, sign, include_self=include_self, view="means")
                drawn[sign] = None if all_tasks is None else all_tasks[members]
            means: dict[Sign, float] = {
                s: trends[f"{quantity}_{s}"].values[known.index(category)].item() for s in SIGNS
            }
            signed[quantity] = _signed(evidence, means, drawn)
        profiles[category] = Profile(**signed)
    return profiles


def _categories(
    one: xr.DataArray, evidence: Evidence, by: measure.Axis
) -> tuple[dict[str, Category], list[str]]:
    """The categories' trends, and which of them change their order without self-transfer."""
    counted = _profiles(one, evidence, by, include_self=True)
    apart = _profiles(one, evidence, by, include_self=False)
    names = [*one["target"].values.tolist(), *one["source"].values.tolist()]
    labels = [*one[by].values.tolist(), *one[f"source_{by}"].values.tolist()]
    tasks = {c: [n for n, label in zip(names, labels, strict=True) if label == c] for c in counted}
    rests = [
        f"{quantity}.{sign}"
        for quantity in QUANTITIES
        for sign in SIGNS
        if _order(counted, quantity, sign) != _order(apart, quantity, sign)
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
    return records, rests


def _order(profiles: dict[str, Profile], quantity: Quantity, sign: Sign) -> list[str]:
    return sorted(
        profiles, key=lambda name: getattr(getattr(profiles[name], quantity), sign), reverse=True
    )


def _category_effects(
    one: xr.DataArray, evidence: Evidence, by: measure.Axis, include_self: bool
) -> dict[str, dict[str, Signed]]:
    means = measure.category_effects(one, by, include_self=include_self).isel(model=0).mean("seed")
    apart = np.zeros_like(evidence.data.itself) if include_self else evidence.data.itself
    rows, columns = (means[f"{end}_category"].values.tolist() for end in ("source", "target"))
    effects: dict[str, dict[str, Signed]] = {}
    for giving in [c for c in ORDER[by] if c in rows]:
        for taking in [c for c in ORDER[by] if c in columns]:
            block = np.outer(
                _members(one, by, "source", giving), _members(one, by, "target", taking)
            )
            place = rows.index(giving), columns.index(taking)
            drawn: dict[Sign, np.ndarray | None] = dict.fromkeys(SIGNS)
            if evidence.draws:
                sides = dict(zip(SIGNS, evidence.draws.sides, strict=True))
                drawn = {s: sides[s][block & ~apart] for s in SIGNS}
            values: dict[Sign, float] = {s: means[s].values[place].item() for s in SIGNS}
            effects.setdefault(giving, {})[taking] = _signed(evidence, values, drawn)
    return effects
