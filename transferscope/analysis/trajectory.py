"""How the effects of one finetune changed over its checkpoints.

Checkpoints are sources of their own, told by their names (`checkpoints.checkpoint`). Their cells
are already analysed; what is added here is their order, the change from the first to the last with
an interval of its own, on the items that both answered, and at which step a target is first helped
or harmed beyond noise.

In:   the evidence and the analysis of each model.
Out:  `analysis.Trajectory` records, for each model and finetune.
"""

from collections.abc import Mapping

import numpy as np

from transferscope.analysis import ModelAnalysis, graph
from transferscope.analysis.bootstrap import Evidence
from transferscope.analysis.cells import pair
from transferscope.analysis.noise import beyond_noise
from transferscope.stats import ItemTable, ModelData, bootstrap, effect_of_errors, exact
from transferscope.tasks.checkpoints import Course, Trajectory, checkpoint
from transferscope.tasks.number import Interval


def trajectories(
    evidence: Mapping[str, Evidence], models: Mapping[str, ModelAnalysis], seed: int
) -> list[Trajectory]:
    """Every finetune of every model that has checkpoints, in the order of their sources.

    Args:
        seed: of the analysis's own randomness.
    """
    found = []
    for model, one in evidence.items():
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
    one: Evidence, model: ModelAnalysis, sources: Mapping[int, str], target: str, seed: int
) -> Course:
    cells = {step: model.pgf[source][target] for step, source in sources.items()}
    beyond = {
        step: _sign(cell.ci) * bool(beyond_noise(cell, one.alpha)) for step, cell in cells.items()
    }
    measured = [step for step, cell in cells.items() if np.isfinite(cell.mean)]
    change, ci, moved = np.nan, (np.nan, np.nan), 0
    if len(measured) > 1:
        first, last = measured[0], measured[-1]
        ends = (sources[first], sources[last])
        change = cells[last].mean - cells[first].mean
        both = _both(one, ends, target)
        if both is None:
            ci = _change_interval(one, ends, target, change)
        else:
            change, ci = _change_on(both, one, seed)
        moved = _sign(ci) * _flips_enough(one, *ends, target)
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
    """The sign of what an interval says; 0 where it holds 0 or is unknown."""
    return int(ci[0] > 0) - int(ci[1] < 0)


def _flips_enough(one: Evidence, before: str, after: str, target: str) -> bool:
    """Whether the items that changed between two sources are enough for an exact test to agree."""
    table = one.data.items[one.data.targets.index(target)]
    if one.items != "predictions" or table is None:
        return True
    first, second = (table.tuned[:, one.sources.index(source)] for source in (before, after))
    p_value = exact.together(first, second)
    return bool(np.isnan(p_value)) or p_value <= one.alpha


def _both(one: Evidence, ends: tuple[str, str], target: str) -> ModelData | None:
    """Two sources on the items that both and the base answered; None where those are all."""
    data, j = one.data, one.data.targets.index(target)
    table = data.items[j]
    if one.items != "predictions" or table is None:
        return None
    places = [one.sources.index(source) for source in ends]
    before, after = table.shared[:, places].swapaxes(0, 1)
    common = before & after
    if (before == after)[before.any(axis=1) & after.any(axis=1)].all():  # in seeds that have both
        return None
    base = np.where(common, table.base, np.nan)
    tuned = np.where(common[:, None], table.tuned[:, places], np.nan)
    wrong = (1 - _over_items(base)[:, None], 1 - _over_items(tuned))
    shortfall = np.nan if data.ceiling is None else 1 - data.ceiling[j]
    effects = effect_of_errors(data.measure, *wrong, shortfall)[..., None]
    ceiling = None if data.ceiling is None else data.ceiling[j : j + 1]
    itself = np.zeros((2, 1), bool)
    return ModelData(effects, itself, (ItemTable(base, tuned),), (target,), ceiling, data.measure)


def _change_on(both: ModelData, one: Evidence, seed: int) -> tuple[float, Interval]:
    """The change between two sources and its interval, of items that both answered."""
    mean = graph.seed_mean(both.effects)[:, 0]
    change = float(mean[1] - mean[0])
    known = np.isfinite(both.effects).sum(axis=0).min()
    if one.draws is None or known == 0 or (known == 1 and len(one.seeds) > 1):
        return change, (np.nan, np.nan)
    number = one.draws.cells.shape[-1]
    drawn = bootstrap(both, draws=number, seed=seed, model=one.model).cells[:, 0]
    return change, pair(one.interval(drawn[1] - drawn[0], np.asarray(change)))


def _over_items(marks: np.ndarray) -> np.ndarray:
    """Mean of the known marks along the last axis; NaN where none is."""
    known = np.isfinite(marks)
    count = known.sum(axis=-1)
    return np.where(known, marks, 0).sum(axis=-1) / np.where(count > 0, count, np.nan)


def _change_interval(one: Evidence, ends: tuple[str, str], target: str, change: float) -> Interval:
    """Interval of the difference between two checkpoints, from draws in which both move."""
    before, after = (one.sources.index(source) for source in ends)
    j = one.data.targets.index(target)
    if one.draws is None or one.single[[before, after], j].any():
        return np.nan, np.nan
    drawn = one.draws.cells[after, j] - one.draws.cells[before, j]
    return pair(one.interval(drawn, np.asarray(change)))
