"""The base's accuracy that an effect is measured from, and the change that an effect is."""

import math

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.parts import Estimate
from transferscope.matrix.measure import MEASURES

Seeds = dict[str, float]
Effect = Cell | Estimate


def ceiling(analysis: Analysis, target: str) -> float:
    """Best reachable accuracy of a target; NaN where it differs between sources."""
    known = analysis.settings.ceiling
    if known == "self":
        return math.nan
    return known.get(target, 1.0) if isinstance(known, dict) else known


def bases(analysis: Analysis, model: ModelAnalysis, target: str, cell: Effect | None) -> Seeds:
    """{seed: accuracy of the untuned model on the items of a cell}, of the seeds that have it."""
    own = cell.base if isinstance(cell, Cell) else None
    found = model.base_seeds.get(target, {}) if own is None else own
    if cell is None:
        return found
    # A seed without an effect has no run, unless its base leaves no gap to measure one in.
    return {
        seed: base
        for seed, base in found.items()
        if math.isfinite(cell.seeds.get(seed, math.nan)) or not _scale(analysis, target, base) > 0
    }


def base_accuracy(
    analysis: Analysis, model: ModelAnalysis, target: str, cell: Effect | None
) -> float:
    """Mean of `bases` over seeds."""
    known = [v for v in bases(analysis, model, target, cell).values() if math.isfinite(v)]
    return sum(known) / len(known) if known else model.base_accuracy.get(target, math.nan)


def scales(analysis: Analysis, model: ModelAnalysis, target: str, cell: Effect | None) -> Seeds:
    """{seed: change of accuracy at an effect of 1}, without seeds whose effect is undefined."""
    found = bases(analysis, model, target, cell).items()
    return {seed: value for seed, base in found if (value := _scale(analysis, target, base)) > 0}


def _scale(analysis: Analysis, target: str, base: float) -> float:
    return MEASURES[analysis.settings.measure].change(1.0, base, ceiling(analysis, target))
