"""The ends of scales, and the colors of values between them."""

import math
from collections.abc import Iterable
from typing import Any

from transferscope.plots.theme import DIVERGING, ON_STRONG, ON_WEAK


def stops(limit: float) -> list[float]:
    """The values of the colors of `DIVERGING` on a scale that ends at +-limit."""
    return [-limit, -limit * 2 / 3, -limit / 3, 0, limit / 3, limit * 2 / 3, limit]


def diverging(limit: float, **options: Any) -> dict[str, Any]:
    """The scale of colors of effects, which ends at +-limit."""
    ends = {"domain": stops(limit), "range": list(DIVERGING)}
    return {**ends, **options, "interpolate": "lab"}


def inked(value: float, limit: float) -> str:
    """The text color on a cell of that value."""
    return ON_STRONG if abs(value) > limit * 2 / 3 else ON_WEAK


def padded(values: Iterable[float], share: float = 0.04) -> list[float]:
    """The ends of a scale that holds all known values, with a margin on both sides."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    margin = share * (high - low) or 0.01
    return [low - margin, high + margin]


def ceil_nice(value: float) -> float:
    """The smallest of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is at least `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(
        round(step * power, 12)
        for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
        if step * power >= value * (1 - 1e-9)
    )
