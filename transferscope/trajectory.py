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
from transferscope.checkpoints import Course, Trajectory, checkpoint
from transferscope.evidence import Evidence
from transferscope.number import Interval
from transferscope.one_model import pair
from transferscope.stats import mcnemar


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
        step: _sign(cells[step].ci) * _flips_enough(one, target, None, source)
        for step, source in sources.items()
    }
    measured = [step for step, cell in cells.items() if np.isfinite(cell.mean)]
    change, ci, moved = np.nan, (np.nan, np.nan), 0
    if len(measured) > 1:
        first, last = measured[0], measured[-1]
        change = cells[last].mean - cells[first].mean
        ci = _change_interval(one, (sources[first], sources[last]), target, change)
        moved = _sign(ci) * _flips_enough(one, target, sources[first], sources[last])
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


def _flips_enough(one: Evidence, target: str, before: str | None, after: str) -> bool:
    """Whether as many items flipped as an exact test of one seed's answers asks for.

    Where two answers changed and both for the worse, every resample of the items says worse; the
    exact McNemar test knows better. With several seeds, the interval over seeds decides alone.

    Args:
        before: a source; None for the base.
    """
    j = one.data.targets.index(target)
    table = one.data.items[j]
    if len(one.seeds) > 1 or one.items != "predictions" or table is None:
        return True
    tuned = dict(zip(one.sources, table.tuned[0], strict=True))
    first, second = (table.base[0] if before is None else tuned[before]), tuned[after]
    known = np.isfinite(first) & np.isfinite(second)
    if not np.isin([first[known], second[known]], (0, 1)).all():
        return True  # parts of full marks are no flips
    return float(mcnemar(first[known] == 1, second[known] == 1)) <= one.alpha


def _change_interval(one: Evidence, ends: tuple[str, str], target: str, change: float) -> Interval:
    """Interval of the difference between two checkpoints, from draws in which both move."""
    before, after = (one.sources.index(source) for source in ends)
    j = one.data.targets.index(target)
    if one.draws is None or one.single[[before, after], j].any():
        return np.nan, np.nan
    drawn = one.draws.cells[after, j] - one.draws.cells[before, j]
    return pair(one.interval(drawn, np.asarray(change)))
