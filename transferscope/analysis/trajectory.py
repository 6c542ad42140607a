"""How the effects of one finetune changed over its checkpoints.

Each checkpoint is a source with a name such as `Jigsaw @ 500`. Its cells are already analyzed; this
adds the order, the change from the first to the last with an interval on the items that both
answered, and at which step a target is first helped or harmed beyond noise.

In:   the effects and the analysis of each model.
Out:  `Trajectory` records, for each model and finetune.
"""

from collections.abc import Mapping

import numpy as np

from transferscope.analysis import ModelAnalysis
from transferscope.analysis.graph import seed_mean
from transferscope.analysis.model_effects import ModelEffects
from transferscope.analysis.parts import Course, Trajectory
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.measure import MEASURES, known_mean
from transferscope.stats import ItemTable, ModelData, bootstrap
from transferscope.stats.significance import together
from transferscope.tasks.checkpoints import checkpoint
from transferscope.tasks.number import Interval


def trajectories(
    effects: Mapping[str, ModelEffects], models: Mapping[str, ModelAnalysis], seed: int
) -> list[Trajectory]:
    """Every finetune of every model that has checkpoints, in the order of their sources.

    Args:
        seed: of the analysis's randomness.
    """
    found = []
    for model, one in effects.items():
        finetunes: dict[str, dict[int, str]] = {}
        for source in one.sources:
            task, step = checkpoint(source)
            if step is not None:
                finetunes.setdefault(task, {})[step] = source
        for finetune, sources in finetunes.items():
            ordered = dict(sorted(sources.items()))
            courses = {
                target: _course(one, models[model], ordered, target, seed)
                for target in one.data.targets
            }
            found.append(
                Trajectory(model, finetune, list(ordered), list(ordered.values()), courses)
            )
    return found


def _course(
    one: ModelEffects, model: ModelAnalysis, sources: Mapping[int, str], target: str, seed: int
) -> Course:
    cells = {step: model.pgf[source][target] for step, source in sources.items()}
    beyond = {
        step: _sign(cell.ci) * bool(beyond_noise(cell, one.alpha)) for step, cell in cells.items()
    }
    measured = [step for step, cell in cells.items() if np.isfinite(cell.mean)]
    change, ci, moved = np.nan, (np.nan, np.nan), 0
    if len(measured) > 1:
        first, last = measured[0], measured[-1]
        before, after = (one.sources.index(sources[step]) for step in (first, last))
        j = one.data.targets.index(target)
        change = cells[last].mean - cells[first].mean
        both = _on_shared_items(one, before, after, j)
        if both is not None:
            change, ci = _change_on(both, one, seed)
        elif one.draws is not None and not one.single[[before, after], j].any():
            ci = one.ends(one.draws.cells[after, j] - one.draws.cells[before, j], change)
        table = one.data.items[j]
        exact = np.nan
        if one.items == "predictions" and table is not None:
            exact = together(table.tuned[:, before], table.tuned[:, after])
        # As for an effect, the exact test over the items that changed must agree.
        moved = _sign(ci) * bool(np.isnan(exact) or exact <= one.alpha)
    return Course(
        effects=[cell.mean for cell in cells.values()],
        ci=[cell.ci for cell in cells.values()],
        beyond=list(beyond.values()),
        change=change,
        change_ci=ci,
        change_beyond=moved,
        helped_from=next((step for step, sign in beyond.items() if sign > 0), None),
        harmed_from=next((step for step, sign in beyond.items() if sign < 0), None),
    )


def _sign(ci: Interval) -> int:
    """The sign of all values in an interval; 0 where it holds 0 or is unknown."""
    return int(ci[0] > 0) - int(ci[1] < 0)


def _on_shared_items(one: ModelEffects, before: int, after: int, j: int) -> ModelData | None:
    """Two sources on the items that both and the base answered; None where those are all."""
    data, table = one.data, one.data.items[j]
    if one.items != "predictions" or table is None:
        return None
    first, second = table.shared[:, before], table.shared[:, after]
    common = first & second
    if (first == second)[first.any(axis=1) & second.any(axis=1)].all():  # in seeds that have both
        return None
    base = np.where(common, table.base, np.nan)
    tuned = np.where(common[:, None], table.tuned[:, [before, after]], np.nan)
    wrong = 1 - known_mean(base, -1)[:, None], 1 - known_mean(tuned, -1)
    shortfall = np.nan if data.ceiling is None else 1 - data.ceiling[j]
    effects = MEASURES[data.measure].from_errors(*wrong, shortfall)[..., None]
    ceiling = None if data.ceiling is None else data.ceiling[j : j + 1]
    itself, target = np.zeros((2, 1), bool), (data.targets[j],)
    return ModelData(effects, itself, (ItemTable(base, tuned),), target, ceiling, data.measure)


def _change_on(both: ModelData, one: ModelEffects, seed: int) -> tuple[float, Interval]:
    """The change between two sources and its interval, of items that both answered."""
    mean = seed_mean(both.effects)[:, 0]
    change = float(mean[1] - mean[0])
    known = np.isfinite(both.effects).sum(axis=0).min()
    if one.draws is None or known == 0 or (known == 1 and len(one.seeds) > 1):
        return change, (np.nan, np.nan)
    number = one.draws.cells.shape[-1]
    drawn = bootstrap(both, draws=number, seed=seed, model=one.model).cells[:, 0]
    return change, one.ends(drawn[1] - drawn[0], change)
