"""How every chart looks, on paper and on a dark screen: colors, scales of colors, text.

Charts are drawn once, in the light colors below. The page swaps them for those of `DARK` at run
time, so every color of a chart must stand in that table. Blue (positive) and orange (negative)
stay apart for every common kind of color blindness.
"""

import math
from collections.abc import Iterable
from typing import Any

PAPER, INK, SOFT, MUTED = "#ffffff", "#1c2026", "#4b535e", "#6a7380"
RULE, GRID, SHADE = "#b4bac3", "#e6e8ec", "#f1f2f5"
POSITIVE, NEGATIVE = "#1c6bb0", "#c04a0c"
SIGNS, PALE = (POSITIVE, NEGATIVE), ("#a9cbea", "#f3bf9c")
"""Of positive and negative."""
ON_WEAK, ON_STRONG = "#000001", "#fffffe"
CHOSEN = "#c2188b"
"""Frames what a reader has chosen."""
OPTIONS = (
    *("#3a4a8c", "#7cc4e8", "#2d8a57", "#dcc56a", "#c8606f"),
    *("#8a2a5e", "#46a597", "#9a9a3c", "#aa5aa6", "#8b5a3c"),
)
"""Colors of the answer options, A first. None of them means good or bad."""
DIVERGING = ("#8f3203", "#c15513", "#f2a66f", "#f6f6f4", "#8fbde6", "#2b79bf", "#0b437f")
"""From most harmful to most helpful. Two thirds of the way black and white text are equally
legible in both schemes."""

_OPTIONS = (
    *("#7f8fe0", "#3f88b0", "#52c487", "#a58f3a", "#ec8d9a"),
    *("#c2609a", "#7ad6c8", "#c9c966", "#d48fd0", "#bf8a6a"),
)
_DIVERGING = ("#ffb68a", "#b65f2c", "#854624", "#262b32", "#2c5b85", "#377ab5", "#a8d3fb")
DARK = {
    **{PAPER: "#15181d", INK: "#eceef1", SOFT: "#c3c9d1", MUTED: "#98a1ad"},
    **{RULE: "#59626e", GRID: "#2b3038", SHADE: "#20242b"},
    **{POSITIVE: "#6fb1ee", NEGATIVE: "#f2915a", PALE[0]: "#2f5a82", PALE[1]: "#7d4522"},
    **{CHOSEN: "#ff7ac6", ON_WEAK: "#ffffff", ON_STRONG: "#000000"},
    **dict(zip((*OPTIONS, *DIVERGING), (*_OPTIONS, *_DIVERGING), strict=True)),
}
"""{light color: dark color}, for every color that a chart may use."""

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_TEXT = {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"}
_GUIDE = {"labelColor": SOFT, "titleColor": SOFT, **_TEXT}
_AXIS = {"titlePadding": 8, "labelPadding": 5, "gridColor": GRID, "domain": False, "ticks": False}
_TITLE = {"anchor": "start", "color": INK, "fontSize": 14, "fontWeight": 600, "offset": 12}
_SUBTITLE = {"subtitleColor": MUTED, "subtitleFontSize": 11, "subtitlePadding": 5}
CONFIG: dict[str, Any] = {
    "background": PAPER,
    "font": FONT,
    "padding": 8,
    "view": {"stroke": None},
    "mark": {"aria": False},
    "text": {"color": INK, "fontSize": 11},
    "axis": {**_GUIDE, **_AXIS, "labelLimit": 190},
    "title": {**_TITLE, **_SUBTITLE, "frame": "group", "limit": 620},
    "legend": {**_GUIDE, "symbolStrokeWidth": 1.5},
    "header": {"labelColor": INK, "titleColor": SOFT},
}


def stops(limit: float) -> list[float]:
    """The values of the colors of `DIVERGING` on a scale that ends at +-limit."""
    return [-limit, -limit * 2 / 3, -limit / 3, 0, limit / 3, limit * 2 / 3, limit]


def padded(values: Iterable[float], share: float = 0.04) -> list[float]:
    """The ends of a scale that holds all known values, with a margin on both sides."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    margin = share * (high - low) or 0.01
    return [low - margin, high + margin]


def ceil_nice(value: float) -> float:
    """The smallest of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is at least `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = (round(step * power, 12) for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10))
    return next(step for step in steps if step >= value * (1 - 1e-9))
