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
from transferscope.analysis.model_effects import ModelEffects
from transferscope.analysis.parts import Course, Trajectory
from transferscope.analysis.verdict import beyond_noise
from transferscope.tasks.checkpoints import checkpoint
from transferscope.tasks.number import Interval


def trajectories(
    effects: Mapping[str, ModelEffects], models: Mapping[str, ModelAnalysis]
) -> list[Trajectory]:
    """Every finetune of every model that has checkpoints, in the order of their sources."""
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
                target: _course(one, models[model], ordered, target) for target in one.targets
            }
            found.append(
                Trajectory(model, finetune, list(ordered), list(ordered.values()), courses)
            )
    return found


def _course(
    one: ModelEffects, model: ModelAnalysis, sources: Mapping[int, str], target: str
) -> Course:
    cells = {step: model.pgf[source][target] for step, source in sources.items()}
    beyond = {
        step: int(np.sign(cell.mean)) * bool(beyond_noise(cell, one.alpha))
        for step, cell in cells.items()
    }
    measured = [step for step, cell in cells.items() if np.isfinite(cell.mean)]
    change, ci, moved = np.nan, (np.nan, np.nan), 0
    if len(measured) > 1:
        ends = [one.sources.index(sources[measured[end]]) for end in (0, -1)]
        change, ci = _change(one, ends[0], ends[1], one.targets.index(target))
        moved = _sign(ci)
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


def _change(one: ModelEffects, before: int, after: int, j: int) -> tuple[float, Interval]:
    """The effect of one source minus that of another, on the items that both answered."""
    both, scale = one.between(before, after, j)
    reach = float(both.effect.reach(one.alpha)[0]) / scale if one.has_intervals else np.nan
    change = float(both.change[0]) / scale
    return change, (change - reach, change + reach)
