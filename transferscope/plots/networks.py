"""Tasks on a circle with arrows between them: the transfer graph, and the largest cliques.

Blue, solid arrows help; orange, dashed arrows harm; the wider, the stronger. Each arrow is one SVG
path of our own, so each edge is one row of data.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from transferscope.analysis import Analysis, Clique, CliqueNull, Edge, Sign
from transferscope.plots.against_chance import clique_by_chance
from transferscope.plots.composition import below, beside, finish, heading, layer
from transferscope.plots.labels import MEASURES, counted, labels, listed
from transferscope.plots.numbers import between, chance, percent, signed
from transferscope.plots.theme import INK, MUTED, NEGATIVE, PAPER, POSITIVE, RULE, SOFT
from transferscope.plots.vegalite import Spec, by_sign, field, part, unit

NODE, DOT = 17.0, 5.0
"""Radius of a node that holds a label, and of one beside its label."""
LABEL = 20
"""Characters of a label outside a node, at most."""
INWARD = 0.2
"""How far arrows between dots bend to the center, in radii of the circle."""
MANY, EACH = 80, 30
"""A graph of more than `MANY` arrows (20 tasks by the paper's rule) shows `EACH` of each sign."""
Point = tuple[float, float]


class Arrow(NamedTuple):
    """One directed edge to draw."""

    source: str
    target: str
    value: float
    note: str


class Circle(NamedTuple):
    """The places of the tasks, in pixels from the top left corner."""

    places: dict[str, Point]
    radius: float
    node: float
    """Radius of a node."""
    inside: bool
    """Whether labels fit in the nodes."""
    side: float
    """Width and height of the drawing."""


def graph(analysis: Analysis, model: str, title: str) -> Spec | None:
    """The transfer graph of one model; None where it has no edges."""
    whole, names = analysis.models[model].graph.edges, labels(analysis)
    if not whole:
        return None
    edges, significant = drawn_edges(whole, analysis.settings.alpha)
    measure = MEASURES[analysis.settings.measure]
    arrows = [Arrow(e.source, e.target, e.pgf, f"q {chance(e.q_value)}") for e in edges]
    rule = ""
    if len(edges) < len(whole):
        rule = f"drawn are {len(edges)} of these {len(whole):,}: of each sign the strongest {EACH}"
        if significant:
            rule += " that hold after correction"
        elif any(math.isfinite(edge.q_value) for edge in whole):
            rule += ", none of which holds after correction"
    spec = _network(analysis, arrows, [task.name for task in analysis.tasks])
    spec["title"] = heading(
        title,
        f"the strongest {percent(analysis.settings.graph_keep)} of helpful (blue) and of harmful "
        "(orange, dashed) effects",
        rule,
        f"arrows run from source to target; width: size of the {measure}",
    )
    strongest = max(edges, key=lambda edge: abs(edge.pgf))
    return finish(
        spec,
        f"{title}: {counted(len(whole), 'arrow')} between {counted(len(analysis.tasks), 'task')}. "
        f"Strongest: {names.long[strongest.source]} on {names.long[strongest.target]}, "
        f"{signed(strongest.pgf)}.",
    )


def drawn_edges(edges: Sequence[Edge], alpha: float) -> tuple[list[Edge], bool]:
    """The edges of a transfer graph to draw: all, or the strongest of each sign of very many.

    Of very many those that hold after correction are drawn, or any where none holds.

    Returns:
        The edges, and whether they were chosen because they hold.
    """
    if len(edges) <= MANY:
        return list(edges), False
    held = [edge for edge in edges if edge.q_value <= alpha]
    signs = [[e for e in held or edges if factor * e.pgf > 0] for factor in (1, -1)]
    strongest = [sorted(group, key=lambda e: -abs(e.pgf))[:EACH] for group in signs]
    return [edge for group in strongest for edge in group], bool(held)


def clique(analysis: Analysis, model: str, title: str, sign: Sign) -> Spec | None:
    """The largest set of tasks that all help or all harm each other, beside its null models.

    None where both null models explain it.
    """
    record, names = analysis.models[model], labels(analysis)
    found: list[Clique] = getattr(record.cliques, sign)
    if not found or clique_by_chance(record, sign):
        return None
    largest = max(found, key=lambda each: each.size)
    members = [task.name for task in analysis.tasks if task.name in set(largest.tasks)]
    arrows = [
        Arrow(source, target, cell.mean, between(cell.ci))
        for source in members
        for target in members
        if source != target
        and (cell := record.pgf.get(source, {}).get(target))
        and math.isfinite(cell.mean)
    ]
    parts = [_network(analysis, arrows, members)]
    nulls = [null for null in record.cliques.nulls if null.sign == sign and null.sizes]
    if nulls:
        parts.append(_null_sizes(nulls, 1 - analysis.settings.alpha))
    seeds = "the sign holds in every seed" if largest.every_seed else "not in every seed"
    facts = f"{largest.size} tasks, mean {signed(largest.mean)}; {seeds}"
    if same := sum(each.size == largest.size for each in found) - 1:
        facts += f"; {counted(same, 'other')} of this size"
    spec = beside(*parts, spacing=36, center=True, title=heading(title, facts))
    return finish(spec, f"{title}: {listed(names.long[name] for name in members)}. {facts}.")


def _null_sizes(nulls: list[CliqueNull], share: float) -> Spec:
    """How often each size is the largest under each null model, with the observed size."""
    sizes = {int(size) for null in nulls for size in null.sizes} | {null.observed for null in nulls}
    order = [str(size) for size in range(3, max(*sizes, 5) + 1)]
    order = ["none", *order] if 0 in sizes else order
    panels = []
    for null in nulls:
        rows = [{"size": s if int(s) else "none", "share": p} for s, p in null.sizes.items()]
        size_title = "size of the largest clique" if null is nulls[-1] else None
        scale, size_axis = part(domain=order, padding=0.15), part(title=size_title, labelAngle=0)
        x = field("size:N", scale=scale, axis=size_axis)
        share_axis = part(title="share of draws", format=".0%", tickCount=3)
        y = field("share:Q", axis=share_axis, scale=part(nice=True, zero=True))
        tooltip = ["size:N", field("share:Q", format=".1%")]
        observed = str(null.observed) if null.observed else "none"
        seen = [{"size": observed, "label": "observed"}]
        color = POSITIVE if null.sign == "positive" else NEGATIVE
        late = order.index(observed) > len(order) / 2
        side = part(align="right", dx=3) if late else part(align="left", dx=-3)
        text = part(dy=-4, color=color, fontWeight=600, baseline="bottom", **side)
        panel = layer(
            unit(rows, "bar", color=RULE, x=x, y=y, tooltip=tooltip),
            unit(seen, "rule", color=color, strokeWidth=2.5, x=x),
            unit(seen, "text", x=x, y={"value": 0}, text="label:N", **text),
            width=max(180, 26 * len(order)),
            height=64,
        )
        reach = f"{percent(share)} of draws reach at most {null.upper}"
        panel["title"] = part(
            text=f"if there were {null_words(null.null)}",
            subtitle=f"p {chance(null.p_value)}; {reach}",
            **part(fontSize=12, fontWeight="normal", color=SOFT, subtitleColor=MUTED, offset=20),
        )
        panels.append(panel)
    return below(*panels, spacing=18)


def null_words(null: str) -> str:
    """A null model in words, after `if there were` or `with`."""
    return "no transfer at all" if null == "no transfer" else "only easy and hard targets"


def _network(analysis: Analysis, arrows: Sequence[Arrow], tasks: Sequence[str]) -> Spec:
    circle, names = _circle(analysis, tasks), labels(analysis)
    place: Spec = {
        "x": field("x:Q", scale=part(domain=[0, circle.side], zero=False), axis=None),
        "y": field("y:Q", scale=part(domain=[circle.side, 0], zero=False), axis=None),
    }
    layers = []
    if edges := _edges(analysis, arrows, circle):
        measure = MEASURES[analysis.settings.measure]
        value = field("value:Q", title=measure, format="+.3f")
        tooltip = ["source:N", "target:N", value, field("note:N", title="evidence")]
        opacity = {"condition": {"param": "over", "value": 0.85}, "value": 0.07}
        look = part(**place, opacity=opacity, tooltip=tooltip, color=by_sign())
        dash = part(domain=["positive", "negative"], range=[[1, 0], [5, 3]])
        path, head, width = (
            field(name, scale=None, legend=None) for name in ("path:N", "head:N", "width:Q")
        )
        line = part(shape=path, strokeWidth=width)
        line["strokeDash"] = field("sign:N", scale=dash, legend=None)
        # A symbol of size 4 is drawn at scale 1, so the path's numbers are pixels.
        layers = [
            unit(edges, "point", filled=False, size=4, **line, **look),
            unit(edges, "point", filled=True, size=4, strokeWidth=0, shape=head, **look),
        ]
    nodes = [
        {"source": names.long[name], "label": names.short[name], "x": x, "y": y}
        for name, (x, y) in circle.places.items()
    ]
    # Arrows from the task under the pointer stand out; without a pointer, as in a file, all do.
    over = part(type="point", fields=["source"], on="pointerover", clear="pointerout")
    fill = part(fill=PAPER, strokeWidth=1.2) if circle.inside else part(fill=SOFT, strokeWidth=0)
    disc = part(filled=True, shape="circle", size=math.pi * circle.node**2, stroke=INK, opacity=1)
    tooltip = [field("source:N", title="task")]
    layers.append(
        unit(nodes, "point", tooltip=tooltip, **disc, **fill, **place)
        | {"name": "nodes", "params": [{"name": "over", "select": over}]}
    )
    if circle.inside:
        text = part(fontSize=11, fontWeight=600, color=INK, text="label:N")
        layers.append(unit(nodes, "text", **text, **place))
    else:
        layers += _outer_labels(nodes, circle, place)
    return layer(*layers, width=circle.side, height=circle.side)


def _circle(analysis: Analysis, tasks: Sequence[str]) -> Circle:
    count, short = len(tasks), labels(analysis).short
    longest = max(len(short[name]) for name in tasks)
    inside = count <= 24 and longest <= 4
    node = NODE if inside else DOT
    around = count * (2 * node + 38 if inside else 26)
    radius = max(78.0, min(330.0, around / (2 * math.pi)))
    side = 2 * (radius + node + (6 if inside else 8 + 6.2 * min(LABEL, longest)))
    angles = [2 * math.pi * position / count - math.pi / 2 for position in range(count)]
    middle = side / 2
    points = [(middle + radius * math.cos(a), middle + radius * math.sin(a)) for a in angles]
    places = dict(zip(tasks, points, strict=True))
    return Circle(places, radius, node, inside, side)


def _edges(analysis: Analysis, arrows: Sequence[Arrow], circle: Circle) -> list[Spec]:
    names = labels(analysis).long
    largest = max((abs(arrow.value) for arrow in arrows), default=1.0) or 1.0
    crowd = 1.0 if len(arrows) <= 40 else max(0.4, 40 / len(arrows))
    crowd = crowd if circle.inside else min(crowd, 0.7)
    rows = []
    for arrow in sorted((a for a in arrows if a.value), key=lambda each: abs(each.value)):
        width = (0.7 + 3.1 * abs(arrow.value) / largest) * crowd
        path, head = _paths(circle, arrow, width)
        row: Spec = {"source": names[arrow.source], "target": names[arrow.target]}
        row |= {"value": arrow.value, "note": arrow.note, "width": round(width, 2)}
        row["sign"] = "positive" if arrow.value > 0 else "negative"
        rows.append(row | {"path": path, "head": head, "x": 0, "y": 0})
    return rows


def _paths(circle: Circle, arrow: Arrow, width: float) -> tuple[str, str]:
    """The bent line of an arrow and its head, as SVG paths.

    Each arrow bends to its own left, so an edge and its reverse never overlap. Between many tasks
    it bends inward as well, off the tasks that stand between its ends.
    """
    (x0, y0), (x1, y1) = circle.places[arrow.source], circle.places[arrow.target]
    length, bend = math.hypot(x1 - x0, y1 - y0), 0.12
    middle = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
    if not circle.inside:
        middle = _toward(middle, (circle.side / 2, circle.side / 2), INWARD * circle.radius)
    start = _toward((x0, y0), middle, circle.node + 1)
    tip = _toward((x1, y1), middle, circle.node + 2)
    size = min(4.5 + 1.9 * width, length / 3)
    neck, back = _toward(tip, middle, size * 0.8), _toward(tip, middle, size)
    dx, dy = (tip[1] - back[1]) * 0.42, (back[0] - tip[0]) * 0.42
    left, right = (back[0] + dx, back[1] + dy), (back[0] - dx, back[1] - dy)
    s, m, n, t, a, b = (f"{x:.1f},{y:.1f}" for x, y in (start, middle, neck, tip, left, right))
    return f"M{s}Q{m} {n}", f"M{t}L{a}L{n}L{b}Z"


def _toward(start: Point, end: Point, distance: float) -> Point:
    length = math.hypot(end[0] - start[0], end[1] - start[1]) or 1.0
    share = distance / length
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _outer_labels(rows: list[Spec], circle: Circle, place: Spec) -> list[Spec]:
    """Labels that point outward, so that many fit around the circle."""
    center, stretch = circle.side / 2, (circle.radius + circle.node + 4) / circle.radius
    groups: dict[str, list[Spec]] = {"left": [], "right": []}
    for row in rows:
        x, y = row["x"] - center, row["y"] - center
        turn = math.degrees(math.atan2(y, x))
        align, turn = ("left", turn) if x >= -1e-6 else ("right", turn + 180)
        moved = {"x": center + x * stretch, "y": center + y * stretch, "turn": turn}
        groups[align].append({"label": row["label"], **moved})
    turn = field("turn:Q", scale=None)
    look = part(limit=6.6 * LABEL, text="label:N", angle=turn, **place)
    return [unit(group, "text", align=a, **look) for a, group in groups.items() if group]
