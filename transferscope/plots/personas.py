"""Personas: each task's place against its model's average, as a source and as a target.

In:   an `Analysis`.
Out:  a Vega-Lite specification.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from transferscope.analysis import Analysis, TaskEffect
from transferscope.plots.effects import Quantity
from transferscope.plots.labels import Labels, listed
from transferscope.plots.theme import INK, MUTED, NEGATIVE, POSITIVE, RULE, SOFT
from transferscope.plots.vegalite import (
    Spec,
    axis,
    below,
    beside,
    field,
    finish,
    heading,
    layer,
    mark,
    part,
    unit,
)

ROLES: dict[Quantity, tuple[str, str]] = {
    "transferability": ("donor", "pirate"),
    "malleability": ("sponge", "sieve"),
}
SIDE = 290.0
"""Of a plane in pixels, at most."""
ROOM = 650.0
"""For the planes of a row, so that a page of paper holds them."""
GAP = 24
ABREAST = 3
CROWD = 20
"""From more tasks on, all labels are abbreviations."""


class Plane(NamedTuple):
    """What the planes of one row share."""

    quantity: Quantity
    positive: tuple[float, float]
    """Where its scale begins and ends."""
    negative: tuple[float, float]
    side: float


class Box(NamedTuple):
    """A rectangle in pixels that a label or a dot takes."""

    left: float
    top: float
    right: float
    bottom: float


def personas(
    analysis: Analysis, model_names: dict[str, str], title: str, names: Labels
) -> Spec | None:
    """One plane for sources and one for targets, for each model; named personas stand out."""
    rows = [
        panels
        for quantity in ROLES
        if (panels := _row(analysis, quantity, model_names, names)) is not None
    ]
    if not rows:
        return None
    spec = below(
        *rows,
        spacing=26,
        title=heading(
            title,
            "right of 0: more helpful than its model’s average; below 0: more harmful",
            "named in colour: on that side in every model of the study",
        ),
    )
    said = [
        f"{role}s: {listed(names.long[each.task] for each in found) or 'none'}"
        for role in ("donor", "pirate", "sponge", "sieve")
        for found in [getattr(analysis.personas, role)]
    ]
    return finish(spec, f"{title}. {'; '.join(said)}.")


def _row(
    analysis: Analysis, quantity: Quantity, model_names: dict[str, str], names: Labels
) -> Spec | None:
    found = {
        label: rows
        for model, label in model_names.items()
        if (rows := _points(analysis, model, quantity, names))
    }
    if not found:
        return None
    every = [row for rows in found.values() for row in rows]
    positive, negative = (_reach([row[way] for row in every]) for way in ("positive", "negative"))
    side = min(SIDE, (ROOM + GAP) / min(len(found), ABREAST) - GAP)
    plane = Plane(quantity, positive, negative, side)
    panels = [
        _panel(rows, label, plane, first=number % ABREAST == 0)
        for number, (label, rows) in enumerate(found.items())
    ]
    rows = [panels[at : at + ABREAST] for at in range(0, len(panels), ABREAST)]
    return below(*(beside(*row, spacing=GAP) for row in rows), spacing=GAP)


def _reach(values: Sequence[float]) -> tuple[float, float]:
    low, high = min([*values, 0.0]), max([*values, 0.0])
    margin = 0.14 * (high - low) or 0.01
    return low - margin, high + margin


def _points(analysis: Analysis, model: str, quantity: Quantity, names: Labels) -> list[Spec]:
    record = analysis.models[model]
    effects: dict[str, TaskEffect] = getattr(record, quantity)
    average = getattr(record.average, quantity)
    good, bad = (
        {each.task for each in getattr(analysis.personas, role)} for role in ROLES[quantity]
    )
    rows = []
    for task, effect in effects.items():
        positive = effect.positive.mean - average.positive
        negative = effect.negative.mean - average.negative
        if not (math.isfinite(positive) and math.isfinite(negative)):
            continue
        roles = [r for r, who in zip(ROLES[quantity], (good, bad), strict=True) if task in who]
        rows.append(
            {
                "task": names.long[task],
                "label": names.long[task] if roles else names.short[task],
                "short": names.short[task],
                "positive": positive,
                "negative": negative,
                "role": " and ".join(roles) or "–",
                "kind": "".join(roles) and ("both" if len(roles) == 2 else roles[0]),
            }
        )
    return rows


def _panel(rows: list[Spec], model: str, plane: Plane, *, first: bool) -> Spec:
    quantity, side = plane.quantity, plane.side
    good, bad = ROLES[quantity]
    ticks = 5 if side > 200 else 3
    x = field(
        "positive:Q",
        scale=part(domain=list(plane.positive), nice=False, zero=False),
        axis=axis(f"positive {quantity} − average", tickCount=ticks),
    )
    y = field(
        "negative:Q",
        scale=part(domain=list(plane.negative), nice=False, zero=False),
        axis=axis(f"negative {quantity} − average" if first else None, tickCount=5, labels=first),
    )
    layers: list[Spec] = [
        unit([{"positive": 0}], mark("rule", color=RULE), x=x),
        unit([{"negative": 0}], mark("rule", color=RULE), y=y),
    ]
    tooltip = [
        field("task:N"),
        field("positive:Q", format="+.3f"),
        field("negative:Q", format="+.3f"),
        field("role:N"),
    ]
    placed = _place(rows, plane)
    for kind, colour in (("", MUTED), (good, POSITIVE), (bad, NEGATIVE), ("both", INK)):
        group = [row for row in placed if row["kind"] == kind]
        if not group:
            continue
        dot = mark("circle", size=64 if kind else 40, color=colour, opacity=1)
        layers.append(unit(group, dot, x=x, y=y, tooltip=tooltip))
        for row in (row for row in group if row["label"]):
            text = mark(
                "text",
                align=row["align"],
                dx=row["dx"],
                dy=row["dy"],
                color=colour,
                fontSize=11 if kind else 10,
                fontWeight=600 if kind else "normal",
            )
            layers.append(unit([row], text, x=x, y=y, text="label:N"))
    head = part(
        text=f"{model}: {'sources' if quantity == 'transferability' else 'targets'}",
        subtitle=f"right: {good}s · below: {bad}s",
        fontSize=12,
        color=SOFT,
        offset=6,
    )
    return layer(*layers, width=side, height=side, title=head)


def _place(rows: list[Spec], plane: Plane) -> list[Spec]:
    """Where each label goes, so that labels avoid dots and each other; named tasks choose first.

    Without room a task has no label: its dot still answers the pointer, and the page's table has
    all personas.
    """

    def pixel(row: Spec) -> tuple[float, float]:
        (left, right), (low, high) = plane.positive, plane.negative
        return (
            plane.side * (row["positive"] - left) / (right - left),
            plane.side * (high - row["negative"]) / (high - low),
        )

    dots = list(map(pixel, rows))
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    answer = []
    for row in sorted(rows, key=lambda each: each["kind"] == ""):
        texts = dict.fromkeys((row["short"] if len(rows) > CROWD else row["label"], row["short"]))
        own = pixel(row)
        best = min(
            (
                (_cost(box, taken, plane.side), _astray(box, own, dots), text, align, dx, dy, box)
                for text in texts
                for align, dx, dy, box in _ways(*own, len(text), bool(row["kind"]))
            ),
            # A full name may touch a little before the abbreviation takes its place.
            key=lambda way: way[0] + 30 * way[1] + 15 * (way[2] != next(iter(texts))),
        )
        cost, astray, label, align, dx, dy, box = best
        if cost > 40 or (astray and len(rows) > CROWD):
            label = ""
        else:
            taken.append(box)
        answer.append({**row, "label": label, "align": align, "dx": dx, "dy": dy})
    return answer


def _astray(box: Box, own: tuple[float, float], dots: Iterable[tuple[float, float]]) -> bool:
    """Whether a label stands as near to another dot as to its own."""

    def away(dot: tuple[float, float]) -> float:
        x, y = dot
        across = max(box.left - x, 0.0, x - box.right)
        return math.hypot(across, max(box.top - y, 0.0, y - box.bottom))

    return any(away(dot) < away(own) + 3 for dot in dots if dot != own)


def _ways(x: float, y: float, letters: int, bold: bool) -> Iterable[tuple[str, float, float, Box]]:
    """Places for a label around a dot at (x, y): alignment, offsets and the box it takes."""
    width = letters * (7.1 if bold else 6.3)
    for dx, dy in ((8, 0), (6, -10), (6, 10), (8, -19), (8, 19)):
        yield "left", dx, dy, Box(x + dx - 1, y + dy - 6, x + dx + width, y + dy + 6)
        yield "right", -dx, dy, Box(x - dx - width, y + dy - 6, x - dx + 1, y + dy + 6)
    for dy in (-12, 12):
        yield "center", 0, dy, Box(x - width / 2, y + dy - 6, x + width / 2, y + dy + 6)


def _cost(box: Box, taken: list[Box], side: float) -> float:
    """Pixels of `box` that lie on others or outside the plane."""
    shared = sum(
        max(0.0, min(box.right, other.right) - max(box.left, other.left))
        * max(0.0, min(box.bottom, other.bottom) - max(box.top, other.top))
        for other in taken
    )
    outside = max(0.0, -box.left) + max(0.0, box.right - side - 20)
    outside += max(0.0, -box.top) + max(0.0, box.bottom - side)
    return shared + 20 * outside
