"""The analysis of one model: its cells, tasks, categories, graph and cliques.

In:   the model's `ModelEffects`.
Out:  an `analysis.ModelAnalysis`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

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
from transferscope.analysis.model_effects import AXES, SIGNS, ModelEffects, pair
from transferscope.analysis.placebo import control_effects
from transferscope.analysis.verdicts import seed_share, verdicts
from transferscope.matrix.collapse import behavior
from transferscope.matrix.flips import flips
from transferscope.matrix.measure import known_mean
from transferscope.matrix.pairing import most_items
from transferscope.matrix.task_effects import Axis, signed_parts
from transferscope.stats.draws import NULL_DRAWS, affordable, column_shift
from transferscope.tasks import GRANULARITIES, LEVELS

BOUNDS: dict[Sign, tuple[float, float]] = {"positive": (0.0, np.inf), "negative": (-np.inf, 0.0)}
ORDER: dict[Axis, tuple[str, ...]] = {"level": LEVELS, "granularity": GRANULARITIES}
Members = dict[Quantity, np.ndarray]
"""Which sources, and which targets, are in a category."""


def analyze_model(one: ModelEffects) -> ModelAnalysis:
    """One model's part of the analysis.

    Everything but the cells themselves is computed without the cells that are left out.
    """
    found, answers = cells(one), behavior(one.matrix)
    mean = seed_mean(one.runs.averaged)
    edges = [
        Edge(s, t, float(mean[i, j]), found[s][t].q_value)
        for i, j in graph.strongest_edges(mean, one.itself, one.settings.graph_keep)
        for s, t in [(one.sources[i], one.targets[j])]
    ]
    measured = np.isfinite(one.read("pgf")) | np.isfinite(one.read("accuracy"))
    undefined = measured & np.isnan(one.runs.effects)
    controls = control_effects(one)
    trends = {by: _categories(one, by) for by in ORDER}
    accuracy, errors = (
        dict(zip(one.targets, one.read(f"base_{name}")[:, 0].T, strict=True))
        for name in ("accuracy", "errors")
    )
    return ModelAnalysis(
        seeds=one.seeds,
        basis=one.basis,
        items=one.items,
        gaps=Gaps(measured.size, int((~measured).sum()), int(undefined.sum())),
        base_accuracy={target: float(known_mean(values)) for target, values in accuracy.items()},
        base_errors={
            target: {seed: _whole(value) for seed, value in one.by_seed(values).items()}
            for target, values in errors.items()
        },
        pgf=found,
        transferability=_task_effects(one, "transferability", one.sources),
        malleability=_task_effects(one, "malleability", one.targets),
        average=_profile(one, one.settings.include_self),
        noise_floor=_noise_floor(one),
        categories={by: records for by, (records, _) in trends.items()},
        category_axes={by: axis for by, (_, axis) in trends.items()},
        graph=Graph(edges),
        cliques=_cliques(one),
        behaviour=answers,
        verdicts=verdicts(one, found, answers),
        seed_share=seed_share(one) if one.has_intervals else {},
        flips=flips(one.matrix),
        controls=controls.controls,
        adjusted=controls.adjusted,
        base_seeds={target: one.by_seed(values) for target, values in accuracy.items()},
        most_items=dict(zip(one.targets, map(_whole, most_items(one.matrix).values), strict=True)),
    )


def _whole(number: float) -> int | None:
    return None if np.isnan(number) else round(number)


def _task_effects(
    one: ModelEffects, quantity: Quantity, tasks: Iterable[str]
) -> dict[str, TaskEffect]:
    include_self = one.settings.include_self
    parts = one.by_task(quantity, include_self=include_self)

    def estimate(k: int, sign: Sign) -> Estimate:
        values = getattr(parts, sign)[:, k]
        drawn = one.of_tasks(quantity, sign, include_self=include_self)[k]
        mean = float(known_mean(values))
        return Estimate(mean, one.ends(drawn, mean, *BOUNDS[sign]), one.by_seed(values))

    breadths = np.stack([known_mean(part) for part in parts[2:]], axis=-1).tolist()
    return {
        name: TaskEffect(estimate(k, "positive"), estimate(k, "negative"), *breadths[k])
        for k, name in enumerate(tasks)
    }


def _signed(one: ModelEffects, values: Iterable[np.ndarray], drawn: Iterable[np.ndarray]) -> Signed:
    """A positive and a negative mean over tasks or pairs, with their intervals.

    Args:
        values: of each sign, (seed, task); drawn: the same, (task, draw).
    """
    means = [float(known_mean(known_mean(each, 1))) for each in values]
    ci = [
        one.ends(known_mean(draws), mean, *BOUNDS[sign])
        for sign, mean, draws in zip(SIGNS, means, drawn, strict=True)
    ]
    return Signed(*means, ci=SignedIntervals(*ci))


def _profile(one: ModelEffects, include_self: bool, members: Members | None = None) -> TaskProfile:
    """Mean transferability and malleability of all tasks, or of the given `members`."""
    signed = {}
    for quantity in AXES:
        chosen = members[quantity] if members else slice(None)
        parts = one.by_task(quantity, include_self=include_self)
        drawn = (one.of_tasks(quantity, sign, include_self=include_self)[chosen] for sign in SIGNS)
        signed[quantity] = _signed(one, (each[:, chosen] for each in parts[:2]), drawn)
    return TaskProfile(**signed)


def _noise_floor(one: ModelEffects) -> TaskProfile | None:
    if (null := one.null) is None:
        return None
    signed = {}
    for quantity, axis in AXES.items():
        sides = signed_parts(null, axis=axis)[:2]
        drawn = [known_mean(side.reshape(len(null), -1).T) for side in sides]
        level = [one.alpha / 2, 1 - one.alpha / 2]
        ends = SignedIntervals(*(pair(np.quantile(values, level)) for values in drawn))
        signed[quantity] = Signed(*(float(values.mean()) for values in drawn), ci=ends)
    return TaskProfile(**signed)


def _cliques(one: ModelEffects) -> Cliques:
    shared = [name for name in one.sources if name in one.targets]
    places = [[names.index(name) for name in shared] for names in (one.sources, one.targets)]
    square, effects = np.ix_(*places), one.runs.averaged
    found = {sign: graph.cliques_of(effects[:, *square], shared, sign) for sign in SIGNS}
    complete = all(len(listed) < graph.MOST_CLIQUES for listed in found.values())
    drawn = one.drawn[square]
    for listed in found.values():
        for k, clique in enumerate(listed):
            members = [shared.index(name) for name in clique.tasks]
            apart = drawn[np.ix_(members, members)][~np.eye(clique.size, dtype=bool)]
            listed[k] = replace(clique, ci=one.ends(known_mean(apart), clique.mean))
    tried: list[CliqueNull] = []
    if one.settings.preset == "default" and len(shared) >= graph.SMALLEST_CLIQUE:
        mean, number = seed_mean(effects)[square], affordable(NULL_DRAWS, effects.size)
        shifted = column_shift(mean, np.eye(len(shared), dtype=bool), number, one.settings.seed)
        means: dict[Null, np.ndarray] = {"column shift": shifted}
        if one.null is not None:
            by_chance = seed_mean(np.moveaxis(one.null, 1, 0))
            means = {"no transfer": by_chance[:, *square], **means}
        tried = [
            graph.clique_null(name, sign, largest, values, one.alpha)
            for name, values in means.items()
            for sign in SIGNS
            for largest in [max((clique.size for clique in found[sign]), default=0)]
        ]
    return Cliques(found["positive"], found["negative"], complete, tried)


def _categories(one: ModelEffects, by: Axis) -> tuple[dict[str, Category], CategoryAxis]:
    """The categories' trends, which of them change without self-transfer, and their effects."""
    givers, takers = one.matrix[f"source_{by}"].values, one.matrix[by].values
    members: dict[str, Members] = {
        category: {"transferability": givers == category, "malleability": takers == category}
        for category in ORDER[by]
        if category in givers or category in takers
    }
    counted, apart = (
        {category: _profile(one, include_self, of) for category, of in members.items()}
        for include_self in (True, False)
    )

    def order(profiles: dict[str, TaskProfile], quantity: Quantity, sign: Sign) -> list[str]:
        def value(name: str) -> float:
            return getattr(getattr(profiles[name], quantity), sign)

        return sorted(profiles, key=value, reverse=True)

    rests = [
        f"{quantity}.{sign}"
        for quantity in AXES
        for sign in SIGNS
        if order(counted, quantity, sign) != order(apart, quantity, sign)
    ]
    names = [*zip(one.targets, takers, strict=True), *zip(one.sources, givers, strict=True)]
    records = {
        category: Category(
            tasks=list(dict.fromkeys(name for name, label in names if label == category)),
            transferability=profile.transferability,
            malleability=profile.malleability,
            without_self=apart[category],
        )
        for category, profile in counted.items()
    }
    return records, CategoryAxis(rests, _category_effects(one, members))


def _category_effects(
    one: ModelEffects, members: dict[str, Members]
) -> dict[str, dict[str, Signed]]:
    considered = np.ones_like(one.itself) if one.settings.include_self else ~one.itself
    # A pair counts in both means: with its effect in the one of its sign, with 0 in the other.
    values, drawn = (
        [side(effects, 0) for side in (np.maximum, np.minimum)]
        for effects in (one.runs.averaged, one.drawn)
    )

    def signed(giving: np.ndarray, taking: np.ndarray) -> Signed:
        block = np.outer(giving, taking) & considered
        return _signed(one, [side[:, block] for side in values], [side[block] for side in drawn])

    return {
        giver: {
            taker: signed(giving["transferability"], taking["malleability"])
            for taker, taking in members.items()
            if taking["malleability"].any()
        }
        for giver, giving in members.items()
        if giving["transferability"].any()
    }
