"""From the matrix to the analysis: every number, each with its uncertainty.

Point estimates come from `measure`, `graph` and `persona`; intervals from one bootstrap per model
(`evidence`), in whose draws all quantities of that model move together.

In:   the matrix (`matrix`, `readers`) and the settings.
Out:  an `analysis.Analysis`.

Opens no file, prints nothing.

Its parts: `placebo`, `one_model` (all that is said of one), `trajectory` (checkpoints of a
finetune), `audit` (the paper's findings, tried).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from transferscope.analysis import (
    Analysis,
    Decomposition,
    Input,
    ModelAnalysis,
    Persona,
    Personas,
    Power,
    Scale,
    TaskRecord,
    Trend,
    audit,
    graph,
    persona,
    placebo,
)
from transferscope.analysis.bootstrap import Evidence, gather, no_transfer, null_draws
from transferscope.analysis.cells import pair
from transferscope.analysis.one_model import BOUNDS, QUANTITIES, SIGNS, describe, over_tasks
from transferscope.analysis.settings import Settings
from transferscope.analysis.trajectory import trajectories
from transferscope.errors import StudyError
from transferscope.matrix import behavior as behaviour
from transferscope.matrix import measure
from transferscope.matrix.pairing import left_out
from transferscope.predictions import shown
from transferscope.stats import detection, simulate

if TYPE_CHECKING:
    import xarray as xr


FEW_ERRORS = 10
"""Base errors below which a target is said to be near its ceiling."""


def effects(matrix: xr.Dataset, name: str) -> xr.DataArray:
    """The effects of every cell in the named measure, dimensions (model, seed, source, target).

    Args:
        name: `pgf`, `relative_gain` or `raw_gain`; the last two need accuracies.
    """
    if name == "pgf":
        return matrix["pgf"]
    if matrix["accuracy"].isnull().all():
        raise StudyError(f"{name} needs accuracies, and these results hold only PGF values")
    change = getattr(measure, name)(matrix["paired_base_accuracy"], matrix["accuracy"])
    return change.transpose(*matrix["pgf"].dims).assign_coords(matrix["pgf"].coords)


def analyze(matrix: xr.Dataset, settings: Settings | None = None) -> Analysis:
    """Everything that can be said about a transfer matrix.

    Args:
        matrix: what `read_results` returns.
        settings: the choices; `ceiling` is taken from the matrix, where it was applied.

    Returns:
        The analysis, ready to be printed, drawn or written.

    Raises:
        StudyError: a setting is out of its range, or the measure needs what the matrix lacks.
    """
    settings = replace(settings or Settings(), ceiling=matrix.attrs["ceiling"])
    settings.check()
    matrix = _without_void(matrix)
    mu = effects(matrix, settings.measure)
    names = mu["model"].values.tolist()
    with ThreadPoolExecutor() as pool:  # numpy lets go of the interpreter in the bootstrap
        gathered = pool.map(lambda name: gather(matrix, mu, name, settings), names)
        evidence = dict(zip(names, gathered, strict=True))
    models = {name: describe(matrix, mu, evidence[name], settings) for name in names}
    nulls = {
        name: no_transfer(one, matrix, settings) if settings.preset == "default" else None
        for name, one in evidence.items()
    }
    tasks = _tasks(mu)
    mu = mu.where(~left_out(matrix))  # all that follows is averages
    return Analysis(
        version=version("transferscope"),
        settings=settings,
        inputs=[Input(**entry) for entry in matrix.attrs["inputs"]],
        tasks=tasks,
        models=models,
        personas=_personas(mu, evidence, settings),
        decomposition={name: _decomposition(mu, evidence[name], nulls[name]) for name in names},
        scale=_scale(mu, evidence, settings),
        claims=audit.audit(mu, evidence),
        power=_power(matrix, evidence, settings),
        notes=_notes(matrix, evidence, models, settings),
        checks=list(matrix.attrs.get("checks", ())),
        trajectories=trajectories(evidence, models, settings.seed),
        personas_by_chance=_personas_by_chance(evidence, nulls, settings),
    )


def _without_void(matrix: xr.Dataset) -> xr.Dataset:
    """The matrix with the cells of which nothing can be concluded as if they were not measured."""
    cells = {
        (model, source, target)
        for check in matrix.attrs.get("checks", ())
        if check.severity == "void"
        for model in ([check.model] if check.model else matrix["model"].values.tolist())
        for source, target in check.cells
    }
    if not cells:
        return matrix
    whole = matrix["pgf"].isel(seed=0, drop=True)
    void = whole.copy(data=np.zeros(whole.shape, bool))
    for model, source, target in cells:
        where = {"model": model, "source": source, "target": target or slice(None)}
        void.loc[where] = True
    changed = {
        name: each.where(~void)
        for name, each in matrix.data_vars.items()
        if {"source", "target"} <= set(each.dims)
    }
    if "item_correct" in matrix:
        items = matrix["item_correct"]
        changed["item_correct"] = items.where(~void.sel(target=matrix["item_target"]), -1)
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


def _decomposition(mu: xr.DataArray, evidence: Evidence, null: np.ndarray | None) -> Decomposition:
    one = mu.sel(model=[evidence.model], seed=evidence.seeds)
    shares = {str(name): part.item() for name, part in measure.decompose(one).items()}
    drawn = evidence.drawn_cells()
    mean = graph.seed_mean(evidence.data.averaged)
    found = placebo.decomposition(evidence, mean, drawn, measure.VarianceShares(**shares))
    return found if null is None else replace(found, no_transfer=_by_chance(evidence, mean, null))


def _by_chance(evidence: Evidence, mean: np.ndarray, null: np.ndarray) -> dict[Any, Any]:
    """Where shares of variance lie without transfer; empty where most draws have a perfect base.

    A share that is undefined, as among two tasks, is left out.
    """
    known = np.isfinite(mean) & ~evidence.data.itself
    drawn = graph.seed_mean(np.moveaxis(null, 1, 0))
    drawn = drawn[np.isfinite(drawn[:, known]).all(axis=1)]
    if 2 * len(drawn) < len(null):
        return {}
    parts = measure.variance_shares(np.nan_to_num(drawn), known)._asdict()
    level = [evidence.alpha / 2, 1 - evidence.alpha / 2]
    defined = {name: part for name, part in parts.items() if np.isfinite(part).any()}
    return {name: pair(np.nanquantile(part, level)) for name, part in defined.items()}


def _scale(mu: xr.DataArray, evidence: dict[str, Evidence], settings: Settings) -> Scale:
    means = measure.averages(mu, include_self=settings.include_self).mean("seed")
    names = list(evidence)
    trends = {}
    for quantity in QUANTITIES:
        values, ci, steps = {}, {}, {}
        for sign in SIGNS:
            estimate = means[f"{quantity}_{sign}"].sel(model=names).values
            values[sign] = estimate.tolist()
            tasks = [
                e.drawn(quantity, sign, include_self=settings.include_self, view="means")
                for e in evidence.values()
            ]
            drawn = [None if d is None else over_tasks(d) for d in tasks]
            low, high = BOUNDS[sign]
            ci[sign] = [
                pair(e.interval(d, np.asarray(v), low=low, high=high))
                for e, d, v in zip(evidence.values(), drawn, estimate, strict=True)
            ]
            steps[sign] = [
                pair(
                    evidence[names[k]].interval(
                        None if a is None or b is None else b - a,
                        np.asarray(estimate[k] - estimate[k - 1]),
                    )
                )
                for k, (a, b) in enumerate(pairwise(drawn), start=1)
            ]
        trends[quantity] = Trend(**values, ci=ci, steps=steps)
    return Scale(models=names, **trends)


def _personas(mu: xr.DataArray, evidence: dict[str, Evidence], settings: Settings) -> Personas:
    found = persona.personas(mu, include_self=settings.include_self)
    if not all(e.draws for e in evidence.values()):
        return found
    return Personas(
        **{
            role: [_with_support(p, trait, evidence, settings) for p in getattr(found, role)]
            for role, trait in persona.TRAITS.items()
        }
    )


def _personas_by_chance(
    evidence: dict[str, Evidence], nulls: dict[str, np.ndarray | None], settings: Settings
) -> dict[str, float]:
    drawn = [
        null if settings.include_self else np.where(evidence[name].data.itself, np.nan, null)
        for name, null in nulls.items()
        if null is not None
    ]
    if len(drawn) < len(evidence):
        return {}
    return {role: persona.by_chance(drawn, trait) for role, trait in persona.TRAITS.items()}


def _with_support(
    member: Persona, trait: persona.Trait, evidence: dict[str, Evidence], settings: Settings
) -> Persona:
    """The persona with intervals, and the share of draws in which it plays its role everywhere."""
    everywhere, models = np.asarray(True), {}
    for name, one in evidence.items():
        tasks = one.sources if trait.quantity == "transferability" else list(one.data.targets)
        assert one.draws is not None  # the caller made sure that every model has some
        drawn = one.draws.ahead[trait.quantity, trait.sign, settings.include_self]
        ahead = drawn[tasks.index(member.task)]
        known = member.models[name]
        ci = one.interval(ahead, np.asarray(known.value - known.average))
        models[name] = replace(known, ci=pair(ci))
        everywhere = everywhere & (trait.direction * ahead > 0)
    return Persona(member.task, models, float(everywhere.mean()))


def _power(matrix: xr.Dataset, evidence: dict[str, Evidence], settings: Settings) -> list[Power]:
    rows = []
    for name, one in evidence.items():
        base = matrix["base_accuracy"].sel(model=name).mean("seed")
        for table, target in zip(one.data.counted, one.data.targets, strict=True):
            accuracy = float(base.sel(target=target))
            if table is None or not 0 <= accuracy < 1:
                continue
            smallest = detection.power(
                table.equivalent_items,
                len(one.seeds),
                accuracy,
                alpha=settings.alpha,
                item_correlation=settings.item_correlation,
                seed_correlation=max(settings.item_correlation, simulate.SEED_CORRELATION),
                exact=one.items == "predictions",
                sources=len(one.sources),
            )
            rows.append(Power(name, target, table.shared_items, len(one.seeds), accuracy, smallest))
    return rows


def _notes(
    matrix: xr.Dataset,
    evidence: dict[str, Evidence],
    models: dict[str, ModelAnalysis],
    settings: Settings,
) -> list[str]:
    notes = list(matrix.attrs["notes"])
    for name, model in models.items():
        notes += behaviour.notes(name, model.behaviour)
        notes += placebo.notes(name, model.controls, model.adjusted)
    if settings.preset == "paper":
        notes.append("Preset 'paper': the paper's tests alone, without intervals or null models.")
        return notes
    for name, one in evidence.items():
        if not behaviour.knows_letters(models[name].behaviour):
            notes += _one_answer(one)
        notes += _near_ceiling(name, models[name], settings) + _too_few_draws(one, settings)
    counted = [name for name, one in evidence.items() if one.items == "counts"]
    if counted:
        notes.append(
            f"{', '.join(counted)}: only counts of correct answers are known, not which items. "
            "Intervals use a made-up item table with exactly these counts, in which answers of two "
            f"adapters correlate {settings.item_correlation:g} (an assumption)."
        )
    for name, one in evidence.items():
        if one.basis == "seeds":
            notes.append(
                f"{name}: no counts, so intervals account for seeds alone and say nothing about "
                "another sample of items."
            )
        if len(one.seeds) == 1:
            kept = "Intervals account for items alone" if one.basis == "items" else "No intervals"
            notes.append(
                f"{name}: one seed. {kept}, and tests over seeds are left out; what is said holds "
                "for these adapters, not for the recipe."
            )
        if (draws := null_draws(one, settings)) < settings.null_draws:
            notes.append(f"{name}: null models have {draws} draws, as the matrix is large.")
        if not models[name].cliques.complete:
            notes.append(
                f"{name}: more than {graph.MOST_CLIQUES} maximal cliques; the list is incomplete "
                "and the largest may be missing."
            )
        if one.basis != "none" and models[name].noise_floor is None:
            notes.append(f"{name}: {_no_floor(one)}.")
    return notes


def _no_floor(evidence: Evidence) -> str:
    """Why there is no noise floor."""
    none = "so there is no noise floor and no null model without transfer"
    if evidence.data.ceiling is None:
        return f"the ceiling is measured as the effects are, {none}"
    if any(table is None for table in evidence.data.items):
        return f"items are not known for every target, {none}"
    if not np.isfinite(evidence.data.averaged).any():
        return f"no effect has a part in averages, {none}"
    return "hardly an effect of one task on another would be defined by chance: no noise floor"


def _near_ceiling(name: str, model: ModelAnalysis, settings: Settings) -> list[str]:
    """Targets on which the base errs so little that one answer more or less is a large PGF."""
    if settings.measure != "pgf" or settings.ceiling != 1:
        return []
    few = []
    for target, errors in model.base_errors.items():
        known = [number for number in errors.values() if number is not None]
        if known and 0 < (mean := sum(known) / len(known)) < FEW_ERRORS:
            few.append(f"{shown(target)} ({mean:.3g})")
    if not few:
        return []
    return [
        f"{name}: the base errs on fewer than {FEW_ERRORS} items of {', '.join(few)}. One answer "
        "there is one over so much PGF, and averages over targets lean on it."
    ]


def _too_few_draws(evidence: Evidence, settings: Settings) -> list[str]:
    """Where the smallest p-value there is cannot stand after correction."""
    measured = np.isfinite(evidence.data.effects).any(axis=0)
    tests = int((measured & ~evidence.single & ~evidence.data.itself).sum())
    least = 2 / (settings.bootstrap + 1)
    if evidence.draws is None or least * tests <= settings.alpha:
        return []
    return [
        f"{evidence.model}: {settings.bootstrap:,} draws give no p-value below {least:.2g}, so of "
        f"{tests:,} tests fewer than {math.ceil(least * tests / settings.alpha)} cannot hold after "
        f"correction, however large; --bootstrap {math.ceil(2 * tests / settings.alpha):,} tells."
    ]


def _one_answer(evidence: Evidence) -> list[str]:
    """Targets on which most adapters score exactly the same, as one constant answer would."""
    notes = []
    for j, target in enumerate(evidence.data.targets):
        column = evidence.data.effects[:, ~evidence.data.itself[:, j], j]
        changed = np.round(column[np.isfinite(column) & (column != 0)], 9)
        values, counts = np.unique(changed, return_counts=True)
        if len(values) and counts.max() > column.size / 2 and column.size >= 8:
            notes.append(
                f"{evidence.model}: {counts.max()} of {column.size} adapters change {target} by "
                f"exactly {values[counts.argmax()]:+.3f}; they may all give one constant answer, "
                "which is no transfer."
            )
    return notes
