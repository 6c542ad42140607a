"""Numbers, intervals and effects as a reader sees them; what is unknown is a dash.

Decisions are in points of accuracy, so an effect is written in points, with PGF beside it. Where
accuracies are unknown, as with tables of PGF alone, the measure is all there is.
"""

import math
from typing import Any, NamedTuple

from transferscope.analysis import Analysis, Interval, ModelAnalysis
from transferscope.analysis.accuracies import Effect
from transferscope.matrix.measure import MEASURES
from transferscope.selection import wording

UNKNOWN = "–"


def known(value: Any) -> Any:
    """`value`, or None for NaN and infinity, which charts and JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def has_interval(interval: Interval) -> bool:
    """Whether both ends are known."""
    return all(math.isfinite(end) for end in interval)


def from_zero(interval: Interval) -> bool | None:
    """Whether the interval excludes 0; None where there is no interval."""
    return (interval[0] > 0 or interval[1] < 0) if has_interval(interval) else None


def interval_columns(interval: Interval) -> dict[str, Any]:
    """Columns of a chart's row: both ends, and the interval as text."""
    return {"low": interval[0], "high": interval[1], "interval": between(interval)}


def signed(value: float, digits: int = 2) -> str:
    """An effect: `+0.12`, `−0.30`, `0.00`."""
    return wording.signed(value, digits) if math.isfinite(value) else UNKNOWN


def plain(value: float, digits: int = 2) -> str:
    """A number without a plus sign."""
    return signed(value, digits).lstrip("+")


def between(interval: Interval, digits: int = 2) -> str:
    """An interval of effects: `−0.05 to +0.12`, or a dash.

    An interval without 0 never shows an end as 0.00: `−2.88 to −0.004`.
    """
    if not has_interval(interval):
        return UNKNOWN
    ends = []
    for end in interval:
        places = digits
        while from_zero(interval) and places < 6 and float(f"{end:.{places}f}") == 0:
            places += 1
        ends.append(signed(end, places))
    return " to ".join(ends)


def percent(value: float) -> str:
    """A fraction as percent: `41%`."""
    return f"{100 * value:.0f}%".replace("-", "−") if math.isfinite(value) else UNKNOWN


def chance(value: float) -> str:
    """A p- or q-value: `0.03`, `0.051`, `0.002`, `< 0.001`.

    A value that rounds to 0.05 gets a third digit, which shows the side of 0.05.
    """
    if not math.isfinite(value):
        return UNKNOWN
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.01 or f"{value:.2f}" == "0.05" else f"{value:.2f}"


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
