"""Changes of accuracy in words, with the analysis's measure beside them.

Decisions are in points of accuracy, so points come first and PGF stands beside them. Where
accuracies are unknown, as with tables of PGF alone, the measure is all there is.
"""

import math
from typing import NamedTuple

from transferscope.analysis import Analysis, Cell, Interval, ModelAnalysis
from transferscope.analysis.parts import Estimate
from transferscope.matrix.measure import MEASURES
from transferscope.plots.numbers import UNKNOWN, between, has_interval, signed

Seeds = dict[str, float]
Effect = Cell | Estimate


class Worded(NamedTuple):
    """An effect in words."""

    value: str
    """`+23 points`; in the analysis's measure where accuracies are unknown."""
    interval: str
    """`+10 to +36`; empty where it is unknown."""
    beside: str
    """`+0.40 PGF`; empty where `value` is in the measure already, and where it is undefined."""

    @property
    def text(self) -> str:
        """`+23 points (+10 to +36), +0.40 PGF`"""
        ends = f" ({self.interval})" if self.interval else ""
        return f"{self.value}{ends}" + (f", {self.beside}" if self.beside else "")


def divisor(measure: str, base: float, ceiling: float) -> float:
    """The divisor of a change in accuracy."""
    return MEASURES[measure].change(1.0, base, ceiling)


def ceiling(analysis: Analysis, target: str) -> float:
    """Best reachable accuracy of a target; NaN where it differs between sources."""
    known = analysis.settings.ceiling
    if known == "self":
        return math.nan
    return known.get(target, 1.0) if isinstance(known, dict) else known


def bases(model: ModelAnalysis, target: str, cell: Effect | None = None) -> Seeds:
    """{seed: base accuracy on a target, or on the items of one cell}."""
    own = cell.base if isinstance(cell, Cell) else None
    return model.base_seeds.get(target, {}) if own is None else own


def base_accuracy(model: ModelAnalysis, target: str, cell: Effect | None) -> float:
    """Mean over seeds of the base accuracy on a cell's items."""
    if not isinstance(cell, Cell) or cell.base is None:
        return model.base_accuracy.get(target, math.nan)
    known = [value for value in cell.base.values() if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def scales(
    analysis: Analysis, model: ModelAnalysis, target: str, cell: Effect | None = None
) -> Seeds:
    """{seed: change in accuracy at an effect of 1}, without seeds whose effect is undefined."""
    top, measure = ceiling(analysis, target), analysis.settings.measure
    found = {seed: divisor(measure, base, top) for seed, base in bases(model, target, cell).items()}
    return {seed: value for seed, value in found.items() if value > 0}


def size(cell: Effect) -> float:
    """The change of accuracy where it is known, else the effect: what decides helped or harmed."""
    change = getattr(cell, "change", math.nan)
    return change if math.isfinite(change) else cell.mean


def worded(analysis: Analysis, cell: Effect) -> Worded:
    """An effect in words."""
    change, ends = getattr(cell, "change", math.nan), getattr(cell, "change_ci", cell.ci)
    value, beside = with_measure(analysis, change, cell.mean)
    if math.isfinite(change):
        return Worded(value, points_between(ends, change), beside)
    return Worded(value, between(cell.ci) if has_interval(cell.ci) else "", beside)


def with_measure(analysis: Analysis, change: float, effect: float) -> tuple[str, str]:
    """A change in points, and the effect in the analysis's measure beside it; see `Worded`."""
    measure = analysis.settings.measure
    text = f"{signed(effect)} {MEASURES[measure].label}" if math.isfinite(effect) else ""
    if not math.isfinite(change):
        return text or UNKNOWN, ""
    return points(change), "" if measure == "raw_gain" else text


def items(model: ModelAnalysis, target: str, cell: Effect | None) -> str:
    """` on 20 of 124 items` where another run of the target has more items, else empty."""
    n, most = getattr(cell, "n", None), model.most_items.get(target)
    if n is None or most is None or n >= most:
        return ""
    return f" on {n:.4g} of {most:,} items"


def points(value: float, *, sign: bool = True) -> str:
    """A change of accuracy as text: `+41 points`, `−3.2 points`; empty where it is unknown."""
    if not math.isfinite(value):
        return ""
    text = signed(100 * value, _digits(value))
    return f"{text if sign else text.lstrip('+−')} points"


def points_between(ci: Interval, value: float) -> str:
    """The interval of a change in points, with its digits; empty where it is unknown."""
    low, high = ci
    return between((100 * low, 100 * high), _digits(value)) if has_interval(ci) else ""


def _digits(value: float) -> int:
    return 0 if abs(value) >= 0.0995 else 1
