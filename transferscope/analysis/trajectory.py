"""How the effects of one finetune changed over its checkpoints, or over strengths of its adapter.

Each is a source with a name such as `Jigsaw @ 500` or `Jigsaw x 0.5`. This adds to their cells the
order, the change from the first to the last with an interval on the items that both answered, and
at which step a target is first helped or harmed beyond noise.

In:   the effects and the cells of each model.
Out:  `Trajectory` records, for each model and finetune.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import xarray as xr

from transferscope.analysis import Cell
from transferscope.analysis.cell_effects import cells
from transferscope.analysis.model_effects import ModelEffects, model_effects
from transferscope.analysis.parts import Course, Trajectory
from transferscope.analysis.settings import Settings
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.measure import MEASURES
from transferscope.tasks.checkpoints import checkpoint, strength, task_of

Axis = Literal["step", "strength"]
Cells = Mapping[str, Mapping[str, Cell]]
"""{source: {target: cell}}"""


def trajectories(
    effects: Mapping[str, ModelEffects], cells: Mapping[str, Cells], axis: Axis = "step"
) -> list[Trajectory]:
    """Every finetune of every model that has checkpoints, in the order of their sources.

    Args:
        cells: of each model.
        axis: `strength` for adapters at several strengths instead.
    """
    found = []
    for model, one in effects.items():
        finetunes: dict[str, dict[int | float, str]] = {}
        for source in one.sources:
            scaled = strength(source)
            step = checkpoint(source).step if axis == "step" else scaled and scaled.factor
            if step is not None:
                finetunes.setdefault(task_of(source), {})[step] = source
        for finetune, sources in finetunes.items():
            ordered = dict(sorted(sources.items()))
            courses = {t: _course(one, cells[model], ordered, t) for t in one.targets}
            if not np.isfinite([course.effects for course in courses.values()]).any():
                continue  # another model has it
            steps = list(ordered), list(ordered.values())
            found.append(Trajectory(model, finetune, *steps, courses, axis))
    return found


def states(matrix: xr.Dataset, settings: Settings) -> list[Trajectory]:
    """The trajectories of a study's snapshots and strengths, which stand beside its matrix."""
    beside: xr.Dataset | None = matrix.attrs.get("states")
    if beside is None:
        return []
    beside = beside.assign(ceiling=matrix["ceiling"])
    mu = MEASURES[settings.measure].effect(
        beside["paired_base_accuracy"], beside["accuracy"], beside["ceiling"]
    )
    mu = mu.transpose(*beside["pgf"].dims).assign_coords(beside["pgf"].coords)
    by_model = {m: model_effects(beside, mu, m, settings) for m in mu["model"].values.tolist()}
    found = {m: cells(one) for m, one in by_model.items()}
    return [*trajectories(by_model, found), *trajectories(by_model, found, "strength")]


def _course(
    one: ModelEffects, every: Cells, sources: Mapping[int | float, str], target: str
) -> Course:
    cells = {step: every[source][target] for step, source in sources.items()}
    beyond = {
        step: int(np.sign(cell.mean)) if beyond_noise(cell, one.alpha) else 0
        for step, cell in cells.items()
    }
    measured = [step for step, cell in cells.items() if np.isfinite(cell.mean)]
    change, ci = np.nan, (np.nan, np.nan)
    if len(measured) > 1:
        before, after = (one.sources.index(sources[measured[end]]) for end in (0, -1))
        both, scale = one.between(before, after, one.targets.index(target))
        reach = float(both.effect.reach(one.alpha)[0]) / scale if one.has_intervals else np.nan
        change = float(both.change[0]) / scale
        ci = change - reach, change + reach
    return Course(
        effects=[cell.mean for cell in cells.values()],
        ci=[cell.ci for cell in cells.values()],
        beyond=list(beyond.values()),
        change=change,
        change_ci=ci,
        change_beyond=int(ci[0] > 0) - int(ci[1] < 0),
        helped_from=next((step for step, sign in beyond.items() if sign > 0), None),
        harmed_from=next((step for step, sign in beyond.items() if sign < 0), None),
        points=[cell.change for cell in cells.values()],
    )
