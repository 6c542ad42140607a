"""Changes of accuracy in words, with the analysis's measure beside them.

Decisions are in points of accuracy, so points come first and PGF stands beside them. Where
accuracies are unknown, as with tables of PGF alone, the measure is all there is.
"""

import math
from typing import NamedTuple

from transferscope.analysis import Analysis, Interval, ModelAnalysis
from transferscope.analysis.accuracies import Effect
from transferscope.matrix.measure import MEASURES
from transferscope.plots.numbers import UNKNOWN, between, has_interval, signed


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
