"""How every chart looks, on paper and on a dark screen.

Charts are drawn once, in the light colors below. The page swaps them for those of `DARK` at run
time, so every color of a chart must stand in that table. Blue (positive) and orange (negative)
stay apart for every common kind of color blindness.
"""

from typing import Any

PAPER, INK, SOFT, MUTED = "#ffffff", "#1c2026", "#4b535e", "#6a7380"
RULE, GRID, SHADE = "#b4bac3", "#e6e8ec", "#f1f2f5"
POSITIVE, NEGATIVE = "#1c6bb0", "#c04a0c"
PALE = ("#a9cbea", "#f3bf9c")
"""Of positive and negative."""
ON_WEAK, ON_STRONG = "#000001", "#fffffe"
OPTIONS = (
    *("#3a4a8c", "#7cc4e8", "#2d8a57", "#dcc56a", "#c8606f"),
    *("#8a2a5e", "#46a597", "#9a9a3c", "#aa5aa6", "#8b5a3c"),
)
"""Colors of the answer options, A first. None of them means good or bad."""
DIVERGING = ("#8f3203", "#c15513", "#f2a66f", "#f6f6f4", "#8fbde6", "#2b79bf", "#0b437f")
"""From most harmful to most helpful. Two thirds of the way black and white text are equally
legible in both schemes, so `inked` needs no scheme."""

_OPTIONS = (
    *("#7f8fe0", "#3f88b0", "#52c487", "#a58f3a", "#ec8d9a"),
    *("#c2609a", "#7ad6c8", "#c9c966", "#d48fd0", "#bf8a6a"),
)
_DIVERGING = ("#ffb68a", "#b65f2c", "#854624", "#262b32", "#2c5b85", "#377ab5", "#a8d3fb")
DARK = {
    PAPER: "#15181d",
    INK: "#eceef1",
    SOFT: "#c3c9d1",
    MUTED: "#98a1ad",
    RULE: "#59626e",
    GRID: "#2b3038",
    SHADE: "#20242b",
    POSITIVE: "#6fb1ee",
    NEGATIVE: "#f2915a",
    PALE[0]: "#2f5a82",
    PALE[1]: "#7d4522",
    ON_WEAK: "#ffffff",
    ON_STRONG: "#000000",
    **dict(zip((*OPTIONS, *DIVERGING), (*_OPTIONS, *_DIVERGING), strict=True)),
}
"""{light color: dark color}, for every color that a chart may use."""

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"

_GUIDE = {
    "labelColor": SOFT,
    "titleColor": SOFT,
    "labelFontSize": 11,
    "titleFontSize": 11,
    "titleFontWeight": "normal",
}
"""The text of axes and legends."""
CONFIG: dict[str, Any] = {
    "background": PAPER,
    "font": FONT,
    "padding": 8,
    "view": {"stroke": None},
    "mark": {"aria": False},
    "text": {"color": INK, "fontSize": 11},
    "axis": {
        **_GUIDE,
        "titlePadding": 8,
        "labelPadding": 5,
        "gridColor": GRID,
        "domain": False,
        "ticks": False,
        "labelLimit": 190,
    },
    "title": {
        "anchor": "start",
        "frame": "group",
        "color": INK,
        "fontSize": 14,
        "fontWeight": 600,
        "subtitleColor": MUTED,
        "subtitleFontSize": 11,
        "subtitlePadding": 5,
        "offset": 12,
        "limit": 620,
    },
    "legend": {**_GUIDE, "symbolStrokeWidth": 1.5},
    "header": {"labelColor": INK, "titleColor": SOFT},
}
