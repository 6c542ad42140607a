"""From the matrix to the analysis: every number, with its uncertainty.

Point estimates come from `matrix.task_effects`, `graph` and `persona`; intervals from one bootstrap
per model (`model_effects`), in whose draws all quantities of that model move together.

In:   the matrix (`matrix`, `readers`) and the settings.
Out:  an `analysis.Analysis`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from transferscope.analysis import (
    Analysis,
    Decomposition,
    Input,
    ModelAnalysis,
    Persona,
    Personas,
    Power,
    Scale,
    Sign,
    TaskRecord,
    Trend,
    graph,
    persona,
)
from transferscope.analysis.claims import decide_claims
from transferscope.analysis.model_analysis import DIMENSION, analyze_model, over_tasks
from transferscope.analysis.model_effects import SIGNS, ModelEffects, effects, model_effects, pair
from transferscope.analysis.parts import Part
from transferscope.analysis.placebo import decomposition, placebo_notes
from transferscope.analysis.settings import Settings
from transferscope.analysis.trajectory import states, trajectories
from transferscope.matrix import task_effects
from transferscope.matrix.collapse import Behaviour, behavior_notes
from transferscope.matrix.measure import known_mean
from transferscope.matrix.pairing import left_out
from transferscope.stats.effects import POWER
from transferscope.tasks.number import Interval
from transferscope.tasks.untrusted import shown

FEW_ERRORS = 10
"""A target with fewer errors of the base is near its ceiling."""


def analyze(matrix: xr.Dataset, settings: Settings | None = None) -> Analysis:
    """The analysis of a transfer matrix.

    Args:
        matrix: what `read_results` returns.
        settings: the choices; `ceiling` is taken from the matrix, where it was applied.

    Returns:
        The analysis, ready to be printed, drawn or written.

    Raises:
        StudyError: a setting is out of range, or the measure needs what the matrix lacks.
    """
    settings = replace(settings or Settings(), ceiling=matrix.attrs["ceiling"])
    settings.check()
    matrix = _without_void(matrix)
    mu = effects(matrix, settings.measure)
    names = mu["model"].values.tolist()
    by_model = {name: model_effects(matrix, mu, name, settings) for name in names}
    models = {name: analyze_model(matrix, mu, one, settings) for name, one in by_model.items()}
    tasks = _tasks(mu)
    mu = mu.where(~left_out(matrix))  # all that follows is averages
    return Analysis(
        version=version("transferscope"),
        settings=settings,
        inputs=[Input(**entry) for entry in matrix.attrs["inputs"]],
        tasks=tasks,
        models=models,
        personas=_personas(mu, by_model, settings),
        decomposition={name: _decomposition(mu, by_model[name]) for name in names},
        scale=_scale(by_model, models, settings),
        claims=decide_claims(mu, by_model),
        power=_power(by_model),
        notes=list(_notes(matrix, by_model, models, settings)),
        checks=list(matrix.attrs.get("checks", ())),
        trajectories=[
            *trajectories(by_model, {name: model.pgf for name, model in models.items()}),
            *states(matrix, settings),
        ],
        personas_by_chance=_personas_by_chance(by_model),
    )


def counted(matrix: xr.Dataset) -> xr.DataArray:
    """Which cells have a part in averages: of enough items, not void, and no copy of a seed."""
    return ~(_void(matrix) | left_out(_without_void(matrix)))


def _void(matrix: xr.Dataset) -> xr.DataArray:
    """Cells of which nothing can be concluded, and copies of a seed."""
    gone = xr.zeros_like(matrix["pgf"], bool)
    for check in matrix.attrs.get("checks", ()):
        for source, target in check.cells if check.severity == "void" or check.copied else ():
            where = {"model": check.model, "seed": check.copied, "source": source, "target": target}
            gone.loc[{dim: name for dim, name in where.items() if name}] = True
    return gone


def _without_void(matrix: xr.Dataset) -> xr.Dataset:
    """The matrix with void cells and copies of a seed as if they were not measured."""
    if not (gone := _void(matrix)).any():
        return matrix
    changed = {
        name: each.where(~gone)
        for name, each in matrix.data_vars.items()
        if {"source", "target"} <= set(each.dims)
    }
    if "item_correct" in matrix:
        items = matrix["item_correct"]
        changed["item_correct"] = items.where(~gone.sel(target=matrix["item_target"]), -1)
    return matrix.assign(
        {name: each.transpose(*matrix[name].dims) for name, each in changed.items()}
    )


def _tasks(mu: xr.DataArray) -> list[TaskRecord]:
    records: dict[str, dict[str, Any]] = {}
    for dim, prefix in (("target", ""), ("source", "source_")):
        for i, name in enumerate(mu[dim].values.tolist()):
            entry = records.setdefault(name, {"source": False, "target": False})
            entry[dim] = True
            for field in ("abbreviation", "level", "granularity"):
                entry[field] = mu[prefix + field].values[i].item() or None
    return [TaskRecord(name=name, **entry) for name, entry in records.items()]


def _decomposition(mu: xr.DataArray, one: ModelEffects) -> Decomposition:
    part = mu.sel(model=[one.model], seed=one.seeds)
    shares = {str(name): part.item() for name, part in task_effects.decompose(part).items()}
    mean = graph.seed_mean(one.runs.averaged)
    shares = task_effects.VarianceShares(**shares)
    found = decomposition(one, mean, one.drawn, shares)
    if one.null is None:
        return found
    known = np.isfinite(mean) & ~one.itself
    drawn = graph.seed_mean(np.moveaxis(one.null, 1, 0))
    parts = task_effects.variance_shares(drawn, known)
    level = [one.alpha / 2, 1 - one.alpha / 2]
    names: tuple[Part, ...] = ("target", "source", "both")
    defined = [name for name in names if np.isfinite(getattr(parts, name)).any()]
    by_chance = {name: pair(np.nanquantile(getattr(parts, name), level)) for name in defined}
    return replace(found, no_transfer=by_chance)


def _scale(
    by_model: dict[str, ModelEffects], models: dict[str, ModelAnalysis], settings: Settings
) -> Scale:
    trends = {}
    for quantity in DIMENSION:
        averages = [getattr(model.average, quantity) for model in models.values()]
        values = {sign: [getattr(each, sign) for each in averages] for sign in SIGNS}
        steps: dict[Sign, list[Interval]] = {sign: [] for sign in SIGNS}
        for sign in SIGNS:
            drawn = [
                over_tasks(one.of_tasks(quantity, sign, include_self=settings.include_self))
                for one in by_model.values()
            ]
            for one, (a, b), (x, y) in zip(
                list(by_model.values())[1:], pairwise(drawn), pairwise(values[sign]), strict=True
            ):
                steps[sign].append(one.ends(None if a is None or b is None else b - a, y - x))
        ci: dict[Sign, list[Interval]] = {
            sign: [getattr(each.ci, sign) for each in averages] for sign in SIGNS
        }
        trends[quantity] = Trend(**values, ci=ci, steps=steps)
    return Scale(models=list(by_model), **trends)


def _personas(mu: xr.DataArray, by_model: dict[str, ModelEffects], settings: Settings) -> Personas:
    found = persona.personas(mu, include_self=settings.include_self)
    if not all(one.has_intervals for one in by_model.values()):
        return found
    return Personas(
        **{
            role: [_with_support(p, trait, by_model, settings) for p in getattr(found, role)]
            for role, trait in persona.TRAITS.items()
        }
    )


def _with_support(
    member: Persona, trait: persona.Trait, by_model: dict[str, ModelEffects], settings: Settings
) -> Persona:
    """The persona with intervals, and the share of draws in which it plays its role everywhere."""
    everywhere, models = np.asarray(True), {}
    for name, one in by_model.items():
        tasks = one.sources if trait.quantity == "transferability" else list(one.targets)
        drawn = one.of_tasks(trait.quantity, trait.sign, include_self=settings.include_self)
        assert drawn is not None  # the caller made sure that every model has some
        known = member.models[name]
        ahead = (drawn - known_mean(drawn))[tasks.index(member.task)]
        models[name] = replace(known, ci=one.ends(ahead, known.value - known.average))
        everywhere = everywhere & (trait.direction * ahead > 0)
    return Persona(member.task, models, float(everywhere.mean()))


def _personas_by_chance(by_model: dict[str, ModelEffects]) -> dict[str, float]:
    drawn = [one.null for one in by_model.values() if one.null is not None]
    if len(drawn) < len(by_model):
        return {}
    return {role: persona.by_chance(drawn, trait) for role, trait in persona.TRAITS.items()}


def _power(by_model: dict[str, ModelEffects]) -> list[Power]:
    """What each target's intervals, as wide as they are, can distinguish from 0."""
    rows = []
    for name, one in by_model.items():
        for j, (target, table) in enumerate(zip(one.targets, one.runs.counted, strict=True)):
            effect = table.effect
            far = effect.reach(one.alpha) + ndtri(POWER) * np.sqrt(effect.variance)
            known = np.isfinite(far) & ~one.itself[:, j] & np.isfinite(one.runs.items[..., j]).any()
            if not (one.has_intervals and one.in_accuracy and known.any()):
                continue
            smallest, base = float(np.median(far[known])), float(np.median(table.base[known]))
            gap = float(np.median(one.denominator(table, j)[0][known]))
            items = one.items_of(j)
            rows.append(Power(name, target, items, len(one.seeds), base, smallest / gap, smallest))
    return rows


def _notes(
    matrix: xr.Dataset,
    by_model: dict[str, ModelEffects],
    models: dict[str, ModelAnalysis],
    settings: Settings,
) -> Iterator[str]:
    yield from matrix.attrs["notes"]
    for name, model in models.items():
        yield from behavior_notes(name, _without_harms(model))
        yield from placebo_notes(name, model.controls, model.adjusted)
    if settings.preset == "paper":
        yield "Preset 'paper': the paper's tests alone, without intervals or null models."
        return
    for name, one in by_model.items():
        behaviour = models[name].behaviour
        if behaviour is None or not behaviour.knows_letters:
            yield from _constant_answers(one)
        yield from _near_ceiling(name, models[name], settings)
    if counted := [name for name, one in by_model.items() if one.items == "counts"]:
        yield (
            f"{', '.join(counted)}: only counts of correct answers are known, not which items. "
            f"Intervals assume that answers of two adapters to an item correlate "
            f"{settings.item_correlation:g}."
        )
    for name, one in by_model.items():
        for note in _limits(one, models[name]):
            yield f"{name}: {note}"


def _without_harms(model: ModelAnalysis) -> Behaviour | None:
    """How replies are given, without the collapses that a verdict names already."""
    if model.behaviour is None:
        return None
    named = {source: verdict.collapsed for source, verdict in model.verdicts.items()}
    sources = {
        source: {
            target: replace(answers, collapsed={}) if target in named.get(source, ()) else answers
            for target, answers in row.items()
        }
        for source, row in model.behaviour.sources.items()
    }
    return replace(model.behaviour, sources=sources)


def _limits(one: ModelEffects, model: ModelAnalysis) -> Iterator[str]:
    """What the results of one model do not cover."""
    if one.basis == "seeds":
        yield (
            "no counts, so intervals account for seeds alone and do not cover another sample of "
            "items."
        )
    if not one.repeated:
        kept = "Intervals account for items alone" if one.basis == "items" else "No intervals"
        each = "" if len(one.seeds) == 1 else " of each source"
        yield (
            f"one seed{each}. {kept}, and tests over seeds are left out; results hold for these "
            "adapters, not for the recipe."
        )
    if not model.cliques.complete:
        yield (
            f"more than {graph.MOST_CLIQUES} maximal cliques; the list is incomplete and the "
            "largest may be missing."
        )
    if one.basis != "none" and model.noise_floor is None:
        why = "hardly an effect of one task on another would be defined by chance"
        if any(not table.influence.shape[1] for table in one.runs.counted):
            why = "items are not known for every target"
        elif not np.isfinite(one.runs.averaged).any():
            why = "no effect has a part in averages"
        yield f"{why}, so neither a noise floor nor a null model without transfer is known."


def _near_ceiling(name: str, model: ModelAnalysis, settings: Settings) -> Iterator[str]:
    """Targets on which the base errs so little that one answer more or less is a large PGF."""
    few = []
    for target, errors in model.base_errors.items():
        known = [number for number in errors.values() if number is not None]
        if known and 0 < (mean := sum(known) / len(known)) < FEW_ERRORS:
            few.append(f"{shown(target)} ({mean:.3g})")
    if few and settings.measure == "pgf" and settings.ceiling == 1:
        yield (
            f"{name}: the base errs on fewer than {FEW_ERRORS} items of {', '.join(few)}. PGF is "
            "unstable there: one answer changes it by one over that number, and averages over "
            "targets depend on it."
        )


def _constant_answers(one: ModelEffects) -> Iterator[str]:
    """Targets on which most adapters score exactly the same, as one constant answer would."""
    for j, target in enumerate(one.targets):
        column = one.runs.effects[:, ~one.itself[:, j], j]
        changed = np.round(column[np.isfinite(column) & (column != 0)], 9)
        values, counts = np.unique(changed, return_counts=True)
        if len(values) and counts.max() > column.size / 2 and column.size >= 8:
            yield (
                f"{one.model}: {counts.max()} of {column.size} adapters change {target} by "
                f"exactly {values[counts.argmax()]:+.3f}; they may all give one constant answer, "
                "which is no transfer."
            )
