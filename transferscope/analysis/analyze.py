"""From the matrix to the analysis: every number, with its uncertainty.

Point estimates come from `matrix.task_effects`, `graph` and `persona`; intervals from one bootstrap
per model (`model_effects`), in whose draws all quantities of that model move together.

In:   the matrix (`matrix`, `readers`) and the settings.
Out:  an `analysis.Analysis`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
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
    Sign,
    TaskRecord,
    Trend,
    graph,
    persona,
)
from transferscope.analysis.claims import decide_claims
from transferscope.analysis.model_analysis import (
    DIMENSION,
    SIGNS,
    analyze_model,
    over_tasks,
)
from transferscope.analysis.model_effects import (
    ModelEffects,
    effects,
    model_effects,
    no_transfer,
    null_draws,
    pair,
)
from transferscope.analysis.parts import Part
from transferscope.analysis.placebo import decomposition, placebo_notes
from transferscope.analysis.settings import Settings
from transferscope.analysis.trajectory import trajectories
from transferscope.matrix import task_effects
from transferscope.matrix.collapse import behavior_notes
from transferscope.matrix.pairing import left_out
from transferscope.stats import detection, simulate
from transferscope.tasks.number import Interval
from transferscope.tasks.untrusted import shown

if TYPE_CHECKING:
    import xarray as xr


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
    # Threads, as numpy releases the interpreter's lock in the bootstrap. xarray silences these
    # warnings where all is NaN, but a thread's silence ends with any other's.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", "Mean of empty slice|All-NaN", RuntimeWarning)
        found = pool.map(lambda name: model_effects(matrix, mu, name, settings), names)
        by_model = dict(zip(names, found, strict=True))
    nulls = {name: no_transfer(one, matrix, settings) for name, one in by_model.items()}
    models = {
        name: analyze_model(matrix, mu, one, nulls[name], settings)
        for name, one in by_model.items()
    }
    tasks = _tasks(mu)
    mu = mu.where(~left_out(matrix))  # all that follows is averages
    return Analysis(
        version=version("transferscope"),
        settings=settings,
        inputs=[Input(**entry) for entry in matrix.attrs["inputs"]],
        tasks=tasks,
        models=models,
        personas=_personas(mu, by_model, settings),
        decomposition={name: _decomposition(mu, by_model[name], nulls[name]) for name in names},
        scale=_scale(by_model, models, settings),
        claims=decide_claims(mu, by_model),
        power=_power(matrix, by_model, settings),
        notes=list(_notes(matrix, by_model, models, settings)),
        checks=list(matrix.attrs.get("checks", ())),
        trajectories=trajectories(by_model, models, settings.seed),
        personas_by_chance=_personas_by_chance(by_model, nulls, settings),
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


def _decomposition(mu: xr.DataArray, one: ModelEffects, null: np.ndarray | None) -> Decomposition:
    part = mu.sel(model=[one.model], seed=one.seeds)
    shares = {str(name): part.item() for name, part in task_effects.decompose(part).items()}
    mean = graph.seed_mean(one.data.averaged)
    shares = task_effects.VarianceShares(**shares)
    found = decomposition(one, mean, one.drawn_cells(), shares)
    if null is None:
        return found
    # Where the shares lie without transfer; unknown where most draws have a perfect base.
    known = np.isfinite(mean) & ~one.data.itself
    drawn = graph.seed_mean(np.moveaxis(null, 1, 0))
    drawn = drawn[np.isfinite(drawn[:, known]).all(axis=1)]
    if 2 * len(drawn) < len(null):
        return found
    parts = task_effects.variance_shares(np.nan_to_num(drawn), known)
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
                over_tasks(
                    one.drawn(quantity, sign, include_self=settings.include_self, view="means")
                )
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
    if not all(one.draws for one in by_model.values()):
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
        tasks = one.sources if trait.quantity == "transferability" else list(one.data.targets)
        assert one.draws is not None  # the caller made sure that every model has some
        drawn = one.draws.ahead[trait.quantity, trait.sign, settings.include_self]
        ahead = drawn[tasks.index(member.task)]
        known = member.models[name]
        models[name] = replace(known, ci=one.ends(ahead, known.value - known.average))
        everywhere = everywhere & (trait.direction * ahead > 0)
    return Persona(member.task, models, float(everywhere.mean()))


def _personas_by_chance(
    by_model: dict[str, ModelEffects], nulls: dict[str, np.ndarray | None], settings: Settings
) -> dict[str, float]:
    drawn = [
        null if settings.include_self else np.where(by_model[name].data.itself, np.nan, null)
        for name, null in nulls.items()
        if null is not None
    ]
    if len(drawn) < len(by_model):
        return {}
    return {role: persona.by_chance(drawn, trait) for role, trait in persona.TRAITS.items()}


def _power(
    matrix: xr.Dataset, by_model: dict[str, ModelEffects], settings: Settings
) -> list[Power]:
    rows = []
    for name, one in by_model.items():
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
    by_model: dict[str, ModelEffects],
    models: dict[str, ModelAnalysis],
    settings: Settings,
) -> Iterator[str]:
    yield from matrix.attrs["notes"]
    for name, model in models.items():
        yield from behavior_notes(name, model.behaviour)
        yield from placebo_notes(name, model.controls, model.adjusted)
    if settings.preset == "paper":
        yield "Preset 'paper': the paper's tests alone, without intervals or null models."
        return
    for name, one in by_model.items():
        behaviour = models[name].behaviour
        if behaviour is None or not behaviour.knows_letters:
            yield from _constant_answers(one)
        yield from _near_ceiling(name, models[name], settings)
        yield from _too_few_draws(one, settings)
    if counted := [name for name, one in by_model.items() if one.items == "counts"]:
        yield (
            f"{', '.join(counted)}: only counts of correct answers are known, not which items. "
            "Intervals use a made-up item table with exactly these counts, in which answers of two "
            f"adapters correlate {settings.item_correlation:g} (an assumption)."
        )
    for name, one in by_model.items():
        for note in _limits(one, models[name], settings):
            yield f"{name}: {note}"


def _limits(one: ModelEffects, model: ModelAnalysis, settings: Settings) -> Iterator[str]:
    """What the results of one model do not cover."""
    if one.basis == "seeds":
        yield (
            "no counts, so intervals account for seeds alone and do not cover another sample of "
            "items."
        )
    if len(one.seeds) == 1:
        kept = "Intervals account for items alone" if one.basis == "items" else "No intervals"
        yield (
            f"one seed. {kept}, and tests over seeds are left out; results hold for these adapters,"
            " not for the recipe."
        )
    if (draws := null_draws(one, settings)) < settings.null_draws:
        yield f"null models have {draws} draws, as the matrix is large."
    if not model.cliques.complete:
        yield (
            f"more than {graph.MOST_CLIQUES} maximal cliques; the list is incomplete and the "
            "largest may be missing."
        )
    if one.basis != "none" and model.noise_floor is None:
        why = "hardly an effect of one task on another would be defined by chance"
        if one.data.ceiling is None:
            why = "the ceiling is measured as the effects are"
        elif any(table is None for table in one.data.items):
            why = "items are not known for every target"
        elif not np.isfinite(one.data.averaged).any():
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


def _too_few_draws(one: ModelEffects, settings: Settings) -> Iterator[str]:
    """Where the smallest possible p-value cannot stay significant after correction."""
    measured = np.isfinite(one.data.effects).any(axis=0)
    tests = int((measured & ~one.single & ~one.data.itself).sum())
    least = 2 / (settings.bootstrap + 1)
    if one.draws is not None and least * tests > settings.alpha:
        yield (
            f"{one.model}: {settings.bootstrap:,} draws give no p-value below {least:.2g}, so of "
            f"{tests:,} tests fewer than {math.ceil(least * tests / settings.alpha)} cannot be "
            f"significant after correction, however large; use --bootstrap "
            f"{math.ceil(2 * tests / settings.alpha):,}."
        )


def _constant_answers(one: ModelEffects) -> Iterator[str]:
    """Targets on which most adapters score exactly the same, as one constant answer would."""
    for j, target in enumerate(one.data.targets):
        column = one.data.effects[:, ~one.data.itself[:, j], j]
        changed = np.round(column[np.isfinite(column) & (column != 0)], 9)
        values, counts = np.unique(changed, return_counts=True)
        if len(values) and counts.max() > column.size / 2 and column.size >= 8:
            yield (
                f"{one.model}: {counts.max()} of {column.size} adapters change {target} by "
                f"exactly {values[counts.argmax()]:+.3f}; they may all give one constant answer, "
                "which is no transfer."
            )
