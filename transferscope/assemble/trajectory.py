"""How the effects of one finetune changed over its checkpoints.

Checkpoints are sources of their own, told by their names (`checkpoints.checkpoint`). Their cells
are already analysed; what is added here is their order, the change from the first to the last with
an interval of its own (the same items answer at both), and at which step a target is first helped
or harmed beyond noise.

In:   the evidence and the analysis of each model.
Out:  `analysis.Trajectory` records, for each model and finetune.
"""

from collections.abc import Mapping

import numpy as np

from transferscope.analysis import ModelAnalysis
from transferscope.assemble.cells import pair
from transferscope.checkpoints import Course, Trajectory, checkpoint
from transferscope.evidence import Evidence
from transferscope.number import Interval
from transferscope.stats import exact
from transferscope.stats.noise import beyond_noise


def trajectories(
    evidence: Mapping[str, Evidence], models: Mapping[str, ModelAnalysis]
) -> list[Trajectory]:
    """Every finetune of every model that has checkpoints, in the order of their sources."""
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
                target: _course(one, models[model], ordered, target) for target in one.data.targets
            }
            found.append(
                Trajectory(model, finetune, list(ordered), list(ordered.values()), courses)
            )
    return found


def _course(one: Evidence, model: ModelAnalysis, sources: Mapping[int, str], target: str) -> Course:
    cells = {step: model.pgf[source][target] for step, source in sources.items()}
    beyond = {
        step: _sign(cell.ci) * bool(beyond_noise(cell, one.alpha)) for step, cell in cells.items()
    }
    measured = [step for step, cell in cells.items() if np.isfinite(cell.mean)]
    change, ci, moved = np.nan, (np.nan, np.nan), 0
    if len(measured) > 1:
        first, last = measured[0], measured[-1]
        change = cells[last].mean - cells[first].mean
        ci = _change_interval(one, (sources[first], sources[last]), target, change)
        moved = _sign(ci) * _flips_enough(one, sources[first], sources[last], target)
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


def _change_interval(one: Evidence, ends: tuple[str, str], target: str, change: float) -> Interval:
    """Interval of the difference between two checkpoints, from draws in which both move."""
    before, after = (one.sources.index(source) for source in ends)
    j = one.data.targets.index(target)
    if one.draws is None or one.single[[before, after], j].any():
        return np.nan, np.nan
    drawn = one.draws.cells[after, j] - one.draws.cells[before, j]
    return pair(one.interval(drawn, np.asarray(change)))
