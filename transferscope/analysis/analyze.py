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
    Input,
    ModelAnalysis,
    Power,
    Quantity,
    Scale,
    Sign,
    TaskRecord,
    Trend,
    graph,
    persona,
)
from transferscope.analysis.claims import decide_claims
from transferscope.analysis.model_analysis import analyze_model
from transferscope.analysis.model_effects import SIGNS, ModelEffects, effects, model_effects
from transferscope.analysis.placebo import decomposition, placebo_notes
from transferscope.analysis.settings import Settings
from transferscope.analysis.trajectory import states, trajectories
from transferscope.matrix.collapse import behavior_notes
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
    models = {name: analyze_model(one) for name, one in by_model.items()}
    tasks = _tasks(mu)
    nulls = [one.null for one in by_model.values() if one.null is not None]
    mu = mu.where(~left_out(matrix))  # all that follows is averages
    return Analysis(
        version=version("transferscope"),
        settings=settings,
        inputs=[Input(**entry) for entry in matrix.attrs["inputs"]],
        tasks=tasks,
        models=models,
        personas=persona.personas(mu, include_self=settings.include_self, effects=by_model),
        decomposition={
            name: decomposition(one, graph.seed_mean(one.runs.averaged), one.drawn, one.null)
            for name, one in by_model.items()
        },
        scale=_scale(by_model, models, settings),
        claims=decide_claims(mu, by_model),
        power=_power(by_model),
        notes=list(_notes(matrix, by_model, models, settings)),
        checks=list(matrix.attrs.get("checks", ())),
        trajectories=[
            *trajectories(by_model, {name: model.pgf for name, model in models.items()}),
            *states(matrix, settings),
        ],
        personas_by_chance={
            role: persona.by_chance(nulls, trait)
            for role, trait in persona.TRAITS.items()
            if len(nulls) == len(names)
        },
        trainings=[one for one in matrix.attrs.get("trainings", ()) if one.model in names],
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


def _scale(
    by_model: dict[str, ModelEffects], models: dict[str, ModelAnalysis], settings: Settings
) -> Scale:
    def trend(quantity: Quantity) -> Trend:
        averages = [getattr(model.average, quantity) for model in models.values()]
        values = {sign: [getattr(each, sign) for each in averages] for sign in SIGNS}
        ci: dict[Sign, list[Interval]] = {}
        steps: dict[Sign, list[Interval]] = {}
        for sign in SIGNS:
            ci[sign] = [getattr(each.ci, sign) for each in averages]
            drawn = [
                known_mean(one.of_tasks(quantity, sign, include_self=settings.include_self))
                for one in by_model.values()
            ]
            larger = list(by_model.values())[1:]
            both = zip(larger, pairwise(drawn), pairwise(values[sign]), strict=True)
            steps[sign] = [one.ends(b - a, y - x) for one, (a, b), (x, y) in both]
        return Trend(**values, ci=ci, steps=steps)

    return Scale(list(by_model), trend("transferability"), trend("malleability"))


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
            items = round(float(np.nanmedian(one.runs.items[..., j])))
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
        harms = {source: verdict.collapsed for source, verdict in model.verdicts.items()}
        yield from behavior_notes(name, model.behaviour, harms)
        yield from placebo_notes(name, model.controls, model.adjusted)
    if settings.preset == "paper":
        yield "Preset 'paper': the paper's tests alone, without intervals or null models."
        return
    for name, one in by_model.items():
        behaviour = models[name].behaviour
        if behaviour is None or not behaviour.knows_letters:
            yield from _constant_answers(one)
        yield from _near_ceiling(name, models[name], settings)
    known = {
        name: one
        for name, one in by_model.items()
        if np.isfinite(one.runs.changes).any() or np.isfinite(one.runs.effects).any()
    }
    if unknown := [name for name in by_model if name not in known]:
        yield f"{', '.join(unknown)}: no effect is known, as each is void or was not measured."
    if counted := [name for name, one in known.items() if one.items == "counts"]:
        yield (
            f"{', '.join(counted)}: only counts of correct answers are known, not which items. "
            f"Intervals assume that answers of two adapters to an item correlate "
            f"{settings.item_correlation:g}."
        )
    for name, one in known.items():
        for note in _limits(one, models[name]):
            yield f"{name}: {note}"


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
