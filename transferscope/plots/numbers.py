"""Numbers and intervals as a reader sees them; what is unknown is a dash."""

import math
from typing import Any

from transferscope.analysis import Interval

UNKNOWN = "–"


def known(value: float) -> float | None:
    """`value`, or None for NaN and infinity, which charts and JSON cannot hold."""
    return value if math.isfinite(value) else None


def has_interval(interval: Interval) -> bool:
    """Whether both ends are known."""
    return all(math.isfinite(end) for end in interval)


def from_zero(interval: Interval) -> bool | None:
    """Whether the interval excludes 0; None where there is no interval."""
    return (interval[0] > 0 or interval[1] < 0) if has_interval(interval) else None


def interval_columns(interval: Interval) -> dict[str, Any]:
    """Columns of a chart's row: both ends, and the interval as text."""
    low, high = interval
    return {"low": known(low), "high": known(high), "interval": between(interval)}


def signed(value: float, digits: int = 2) -> str:
    """An effect: `+0.12`, `−0.30`, `0.00`."""
    if not math.isfinite(value):
        return UNKNOWN
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


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
