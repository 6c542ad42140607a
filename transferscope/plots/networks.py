"""Tasks on a circle with arrows between them: the transfer graph.

Blue, solid arrows help; orange, dashed arrows harm; the wider, the stronger. An arrow is one path
of our own making, so each edge is one row of data.

In:   an `Analysis`.
Out:  Vega-Lite specifications.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from transferscope.analysis import Analysis, Edge, Sign
from transferscope.plots.labels import MEASURES, Labels, chance, counted, percent, signed
from transferscope.plots.theme import INK, NEGATIVE, PAPER, POSITIVE, SOFT
from transferscope.plots.vegalite import Spec, field, finish, heading, layer, mark, part, unit

COLOURS: dict[Sign, str] = {"positive": POSITIVE, "negative": NEGATIVE}
NODE = 17.0
DOT = 5.0
LABEL = 20
"""Letters of a label outside a node, at most."""
INWARD = 0.2
"""How far arrows between dots bend to the centre, in radii of the circle."""
MANY = 80
"""Up to so many arrows a transfer graph is drawn whole: that of 20 tasks, by the paper's rule."""
EACH = 30
"""Arrows of each sign that are drawn of a larger one."""


class Arrow(NamedTuple):
    """One directed edge to draw."""

    source: str
    target: str
    value: float
    note: str


class Circle(NamedTuple):
    """Where the tasks stand."""

    places: dict[str, tuple[float, float]]
    radius: float
    node: float
    """Radius of a node."""
    inside: bool
    """Whether labels fit in the nodes."""
    side: float
    """Width and height of the picture."""


def graph(analysis: Analysis, model: str, title: str, names: Labels) -> Spec | None:
    """The transfer graph of one model, or of one too large to follow the surest arrows.

    None where it has no edges.
    """
    whole = analysis.models[model].graph.edges
    if not whole:
        return None
    edges, sure = followed(whole, analysis.settings.alpha)
    measure = MEASURES[analysis.settings.measure]
    arrows = [
        Arrow(edge.source, edge.target, edge.pgf, f"q {chance(edge.q_value)}") for edge in edges
    ]
    tasks = [task.name for task in analysis.tasks]
    keep = percent(analysis.settings.graph_keep)
    spec = network(arrows, tasks, names, measure)
    spec["title"] = heading(
        title,
        f"the strongest {keep} of helpful (blue) and of harmful (orange, dashed) effects",
        _rule(whole, edges, sure),
        f"arrows run from source to target; width: size of the {measure}",
    )
    strongest = max(edges, key=lambda edge: abs(edge.pgf))
    return finish(
        spec,
        f"{title}: {counted(len(whole), 'arrow')} between {counted(len(tasks), 'task')}. "
        f"Strongest: {names.long[strongest.source]} on {names.long[strongest.target]}, "
        f"{signed(strongest.pgf)}.",
    )


def followed(edges: Sequence[Edge], alpha: float) -> tuple[list[Edge], bool]:
    """The arrows of a transfer graph that are drawn: all, or of very many those to be followed.

    Of each sign these are the strongest that hold after correction; the strongest where none does.

    Returns:
        The arrows, and whether each holds because it was chosen so.
    """
    if len(edges) <= MANY:
        return list(edges), False
    held = [edge for edge in edges if edge.q_value <= alpha]
    signs = [[e for e in held or edges if factor * e.pgf > 0] for factor in (1, -1)]
    strongest = [sorted(group, key=lambda e: -abs(e.pgf))[:EACH] for group in signs]
    return [edge for group in strongest for edge in group], bool(held)


def _rule(whole: Sequence[Edge], drawn: Sequence[Edge], sure: bool) -> str:
    """Which arrows are drawn, where not all are."""
    if len(drawn) == len(whole):
        return ""
    tested = any(math.isfinite(edge.q_value) for edge in whole)
    which = " that hold after correction" if sure else ", none of which holds after correction"
    said = f"drawn are {len(drawn)} of these {len(whole):,}: of each sign the strongest {EACH}"
    return said + which * (sure or tested)


def network(arrows: Sequence[Arrow], tasks: Sequence[str], names: Labels, measure: str) -> Spec:
    circle = _circle(tasks, names)
    edges = _edges(arrows, circle, names)
    place: Spec = {
        "x": field("x:Q", scale=part(domain=[0, circle.side], zero=False), axis=None),
        "y": field("y:Q", scale=part(domain=[circle.side, 0], zero=False), axis=None),
    }
    shown = {"condition": {"param": "over", "value": 0.85}, "value": 0.07}
    layers = []
    for sign in COLOURS:
        factor = 1 if sign == "positive" else -1
        group = [row for row in edges if factor * row["value"] > 0]
        if group:
            layers += _arrows(group, sign, shown, place, measure)
    layers += _nodes(tasks, names, circle, place)
    return layer(*layers, width=circle.side, height=circle.side)


def _circle(tasks: Sequence[str], names: Labels) -> Circle:
    count = len(tasks)
    inside = count <= 24 and all(len(names.short[name]) <= 4 for name in tasks)
    node = NODE if inside else DOT
    around = count * (2 * node + 38 if inside else 26)
    radius = max(78.0, min(330.0, around / (2 * math.pi)))
    label = 8 + 6.2 * min(LABEL, max(len(names.short[name]) for name in tasks))
    side = 2 * (radius + node + (6 if inside else label))
    places = {}
    for position, name in enumerate(tasks):
        angle = 2 * math.pi * position / count - math.pi / 2
        places[name] = (
            side / 2 + radius * math.cos(angle),
            side / 2 + radius * math.sin(angle),
        )
    return Circle(places, radius, node, inside, side)


def _edges(arrows: Sequence[Arrow], circle: Circle, names: Labels) -> list[Spec]:
    largest = max((abs(arrow.value) for arrow in arrows), default=1.0) or 1.0
    crowd = 1.0 if len(arrows) <= 40 else max(0.4, 40 / len(arrows))
    crowd = crowd if circle.inside else min(crowd, 0.7)
    rows = []
    for arrow in sorted(arrows, key=lambda each: abs(each.value)):
        width = (0.7 + 3.1 * abs(arrow.value) / largest) * crowd
        path, head = _paths(circle, arrow, width)
        rows.append(
            {
                "source": names.long[arrow.source],
                "target": names.long[arrow.target],
                "value": arrow.value,
                "note": arrow.note,
                "width": round(width, 2),
                "path": path,
                "head": head,
                "x": 0,
                "y": 0,
            }
        )
    return rows


def _paths(circle: Circle, arrow: Arrow, width: float) -> tuple[str, str]:
    """The bent line of an arrow and its head, as SVG paths in pixels from the top left corner.

    Each arrow bends to its own left, so an edge and the one back never lie on each other; between
    many tasks it bends inward as well, off those that stand between its ends.
    """
    (x0, y0), (x1, y1) = circle.places[arrow.source], circle.places[arrow.target]
    length = math.hypot(x1 - x0, y1 - y0)
    bend = 0.12
    middle = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
    if not circle.inside:
        middle = _toward(middle, (circle.side / 2, circle.side / 2), INWARD * circle.radius)
    start = _toward((x0, y0), middle, circle.node + 1)
    tip = _toward((x1, y1), middle, circle.node + 2)
    size = min(4.5 + 1.9 * width, length / 3)
    neck = _toward(tip, middle, size * 0.8)
    back = _toward(tip, middle, size)
    across = ((tip[1] - back[1]) * 0.42, (back[0] - tip[0]) * 0.42)
    left = (back[0] + across[0], back[1] + across[1])
    right = (back[0] - across[0], back[1] - across[1])
    return (
        f"M{_at(start)}Q{_at(middle)} {_at(neck)}",
        f"M{_at(tip)}L{_at(left)}L{_at(neck)}L{_at(right)}Z",
    )


def _toward(
    start: tuple[float, float], end: tuple[float, float], distance: float
) -> tuple[float, float]:
    length = math.hypot(end[0] - start[0], end[1] - start[1]) or 1.0
    share = distance / length
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _at(point: tuple[float, float]) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _arrows(rows: list[Spec], sign: Sign, shown: Any, place: Spec, measure: str) -> list[Spec]:
    # A symbol of size 4 is drawn at scale 1, so the path's numbers are pixels.
    evidence: Spec = {
        **place,
        "opacity": shown,
        "tooltip": [
            "source:N",
            "target:N",
            field("value:Q", title=measure, format="+.3f"),
            field("note:N", title="evidence"),
        ],
    }
    dash = [5, 3] if sign == "negative" else [1, 0]
    return [
        unit(
            rows,
            mark("point", filled=False, size=4, color=COLOURS[sign], strokeDash=dash),
            shape=field("path:N", scale=None, legend=None),
            strokeWidth=field("width:Q", scale=None, legend=None),
            **evidence,
        ),
        unit(
            rows,
            mark("point", filled=True, size=4, color=COLOURS[sign], strokeWidth=0),
            shape=field("head:N", scale=None, legend=None),
            **evidence,
        ),
    ]


def _nodes(tasks: Sequence[str], names: Labels, circle: Circle, place: Spec) -> list[Spec]:
    rows = [
        {
            "source": names.long[name],
            "label": names.short[name],
            "x": circle.places[name][0],
            "y": circle.places[name][1],
        }
        for name in tasks
    ]
    # Arrows from the task under the pointer stand out; with no pointer, as in a file, all do.
    over = part(
        name="over",
        select=part(type="point", fields=["source"], on="pointerover", clear="pointerout"),
    )
    disc = unit(
        rows,
        mark(
            "point",
            filled=True,
            shape="circle",
            size=math.pi * circle.node**2,
            fill=PAPER if circle.inside else SOFT,
            stroke=INK,
            strokeWidth=1.2 if circle.inside else 0,
            opacity=1,
        ),
        part(name="nodes", params=[over]),
        tooltip=[field("source:N", title="task")],
        **place,
    )
    if circle.inside:
        text = mark("text", fontSize=11, fontWeight=600, color=INK)
        return [disc, unit(rows, text, text="label:N", **place)]
    return [disc, *_outer_labels(rows, circle, place)]


def _outer_labels(rows: list[Spec], circle: Circle, place: Spec) -> list[Spec]:
    """Labels that point outward, so that many fit around the circle."""
    centre = circle.side / 2
    stretch = (circle.radius + circle.node + 4) / circle.radius
    layers = []
    for align in ("left", "right"):
        group = []
        for row in rows:
            x, y = row["x"] - centre, row["y"] - centre
            turn = math.degrees(math.atan2(y, x))
            if (align == "left") == (x >= -1e-6):
                turn = turn if align == "left" else turn + 180
                moved = {"x": centre + x * stretch, "y": centre + y * stretch, "turn": turn}
                group.append({"label": row["label"], **moved})
        if group:
            text = mark("text", align=align, limit=6.6 * LABEL)
            turn = field("turn:Q", scale=None)
            layers.append(unit(group, text, text="label:N", angle=turn, **place))
    return layers
