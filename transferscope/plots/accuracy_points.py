"""Effects converted to points of accuracy, to stand beside PGF.

Every measure is a change in accuracy divided by a number that depends on the base only. The
base's accuracy therefore gives the change back: points = 100 x PGF x (ceiling - base). Where
accuracies are unknown, as with tables of PGF alone, a change is NaN and its text is empty.
"""

import math

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.analysis.parts import Estimate
from transferscope.matrix.measure import MEASURES
from transferscope.plots.numbers import signed

Seeds = dict[str, float]


def divisor(measure: str, base: float, ceiling: float) -> float:
    """The divisor of a change in accuracy."""
    return MEASURES[measure].inverse(1.0, base, ceiling)


def ceiling(analysis: Analysis, target: str) -> float:
    """Best reachable accuracy of a target; NaN where it differs between sources."""
    known = analysis.settings.ceiling
    if known == "self":
        return math.nan
    return known.get(target, 1.0) if isinstance(known, dict) else known


def bases(model: ModelAnalysis, target: str, cell: Cell | Estimate | None = None) -> Seeds:
    """{seed: base accuracy on a target, or on the items of one cell}."""
    own = cell.base if isinstance(cell, Cell) else None
    return model.base_seeds.get(target, {}) if own is None else own


def base_accuracy(model: ModelAnalysis, target: str, cell: Cell | Estimate | None) -> float:
    """Mean over seeds of the base accuracy on a cell's items."""
    if not isinstance(cell, Cell) or cell.base is None:
        return model.base_accuracy.get(target, math.nan)
    known = [value for value in cell.base.values() if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def scales(
    analysis: Analysis, model: ModelAnalysis, target: str, cell: Cell | Estimate | None = None
) -> Seeds:
    """{seed: change in accuracy at an effect of 1}, without seeds whose effect is undefined."""
    top, measure = ceiling(analysis, target), analysis.settings.measure
    found = {seed: divisor(measure, base, top) for seed, base in bases(model, target, cell).items()}
    return {seed: value for seed, value in found.items() if value > 0}


def change(analysis: Analysis, model: ModelAnalysis, target: str, cell: Cell) -> float:
    """The mean over seeds of the change in accuracy."""
    scale = scales(analysis, model, target, cell)
    known = [v * scale[s] for s, v in cell.seeds.items() if math.isfinite(v) and s in scale]
    return sum(known) / len(known) if known else math.nan


def of_effect(
    analysis: Analysis, model: ModelAnalysis, target: str, effect: float, cell: Cell | None = None
) -> float:
    """The change in accuracy of any effect on a target (or on a cell's items), by the mean base."""
    scale = scales(analysis, model, target, cell).values()
    return effect * sum(scale) / len(scale) if scale else math.nan


def beside(analysis: Analysis, model: ModelAnalysis, target: str, cell: Cell) -> str:
    """A cell's change in accuracy as text."""
    return points(analysis, change(analysis, model, target, cell))


def items(model: ModelAnalysis, target: str, cell: Cell | Estimate | None) -> str:
    """` on 20 of 124 items` where another run of the target has more items, else empty."""
    n, most = getattr(cell, "n", None), model.most_items.get(target)
    if n is None or most is None or n >= most:
        return ""
    return f" on {n:.4g} of {most:,} items"


def points(analysis: Analysis, value: float, *, sign: bool = True) -> str:
    """A change in accuracy as text: `+41 points`, `−3.2 points`.

    Empty where it is unknown, and where the analysis measures that change already.
    """
    if not math.isfinite(value) or analysis.settings.measure == "raw_gain":
        return ""
    text = signed(100 * value, 0 if abs(value) >= 0.0995 else 1)
    return f"{text if sign else text.lstrip('+−')} points"
