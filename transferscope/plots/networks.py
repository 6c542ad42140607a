"""Tasks on a circle with arrows between them: the transfer graph, and the largest cliques.

Blue, solid arrows help; orange, dashed arrows harm; the wider, the stronger. Each arrow is one SVG
path of our own, so each edge is one row of data.
"""

import cmath
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from transferscope.analysis import Analysis, Cell, Clique, CliqueNull, Sign
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots import composition as vl
from transferscope.plots import theme
from transferscope.plots.against_chance import clique_by_chance
from transferscope.plots.labels import MEASURES, counted, labels, row_label
from transferscope.plots.numbers import between, chance, plain, signed, worded
from transferscope.selection.wording import listed
from transferscope.tasks.checkpoints import same_task

NODE, DOT = 17.0, 5.0
"""Radius of a node that holds a label, and of one beside its label."""
LABEL = 20
"""Characters of a label outside a node, at most."""
INWARD = 0.2
"""How far arrows between dots bend to the center, in radii of the circle."""
MANY, MOST = 80, 1200
"""Arrows that are drawn before a reader asks for more, and that a chart holds."""
DRAWN = "ceil(keep / 100 * datum.of - 1e-9) >= datum.rank && (!sure || datum.clear)"
TOUCHED = "task === '' || datum.source === task || datum.target === task"
"""Whether an arrow is drawn, and whether it stands out, as Vega expressions."""
Cells = Sequence[tuple[str, str, Cell]]
"""Each with its source and target."""


class Circle(NamedTuple):
    """The places of the tasks, in pixels from the top left corner: to the right, and down as the
    imaginary part."""

    places: dict[str, complex]
    radius: float
    node: float
    """Radius of a node."""
    inside: bool
    """Whether labels fit in the nodes."""
    side: float
    """Width and height of the drawing."""


def graph(analysis: Analysis, model: str, title: str) -> vl.Spec | None:
    """The transfer graph of one model: of each sign the strongest effects; None without any.

    Its parameter `keep` is the share of each sign in percent, with a slider where it is drawn live;
    at the settings' share these are the edges of the analysis. `sure` leaves out what may be noise,
    and the arrows of `task` stand out.
    """
    names = labels(analysis)
    cells = [
        (source, target, cell)
        for source, row in analysis.models[model].pgf.items()
        for target, cell in row.items()
        if not same_task(source, target) and math.isfinite(cell.mean) and cell.mean
    ]
    if not cells:
        return None
    share = 100 * analysis.settings.graph_keep
    keep = min(share, 100 * MANY / len(cells)) if len(cells) * share > 200 * MANY else share
    spec = _network(analysis, cells, f"over{list(analysis.models).index(model)}")
    ends = vl.part(input="range", min=1, max=100, step=1, name="strongest % of each sign ")
    sure = vl.part(input="checkbox", name="beyond noise only ")
    spec["params"] = [
        vl.part(name="keep", value=round(keep), bind=ends),
        vl.part(name="sure", value=False, bind=sure),
        vl.part(name="task", value=""),
    ]
    source, target, strongest = max(cells, key=lambda each: abs(each[2].mean))
    return vl.finish(
        spec,
        title,
        f"the strongest {round(keep)}% of helpful (blue) and of harmful (orange, dashed) effects",
        f"arrows run from source to target; width: {MEASURES[analysis.settings.measure]}",
        description=f"{title}: {counted(len(cells), 'effect')} between "
        f"{counted(len(analysis.tasks), 'task')}. Strongest: {names.long[source]} on "
        f"{names.long[target]}, {_note(analysis, strongest)}.",
    )


def _note(analysis: Analysis, cell: Cell) -> str:
    clear = beyond_noise(cell, analysis.settings.alpha)
    return f"{worded(analysis, cell).text}; " + ("beyond noise" if clear else "may be noise")


def clique(analysis: Analysis, model: str, title: str, sign: Sign) -> vl.Spec | None:
    """The effects in the largest set of tasks that all help or all harm each other, beside the
    sizes that its null models reach; None where both explain it.
    """
    record, names = analysis.models[model], labels(analysis)
    found: list[Clique] = getattr(record.cliques, sign)
    if not found or clique_by_chance(record, sign):
        return None
    largest = max(found, key=lambda each: each.size)
    members = [task.name for task in analysis.tasks if task.name in set(largest.tasks)]
    rows: list[vl.Spec] = [
        {"source": row_label(i, names), "target": names.short[j], "onto": names.long[j]}
        | {"value": cell.mean, "label": plain(cell.mean), "interval": between(cell.ci)}
        for i in members
        for j in members
        if i != j and (cell := record.pgf.get(i, {}).get(j)) and math.isfinite(cell.mean)
    ]
    if not rows:
        return None
    short = [names.short[name] for name in members]
    turn = 0 if max(map(len, short)) <= 3 else -90
    x = vl.name_axis("target", short, "target", orient="top", labelAngle=turn, labelLimit=110)
    y = vl.name_axis("source", (row_label(name, names) for name in members), "source")
    measure = MEASURES[analysis.settings.measure]
    tooltip = vl.tips("source", "onto|target", f"value|{measure}|+.3f", "interval")
    limit = theme.ceil_nice(max([0.01, *(abs(row["value"]) for row in rows)]))
    panels = [vl.table(rows, x, y, limit, tooltip)]
    panels[0] |= vl.part(width=36 * len(members), height=26 * len(members))
    if nulls := [null for null in record.cliques.nulls if null.sign == sign and null.sizes]:
        panels.append(vl.part(vconcat=list(map(_null_sizes, nulls)), spacing=20))
    facts = f"{largest.size} tasks, mean {signed(largest.mean)}; "
    facts += "the sign holds in every seed" if largest.every_seed else "not in every seed"
    if same := sum(each.size == largest.size for each in found) - 1:
        facts += f"; {counted(same, 'other')} of this size"
    lines = (
        f"{facts}. It means something where it is larger than the bars: sizes that",
        "arise without such bonds. The paper’s test is weak: cliques of noise pass it too.",
    )
    words = f"{title}: {listed(names.long[name] for name in members)}. {' '.join(lines)}"
    return vl.finish(vl.part(hconcat=panels, spacing=36), title, *lines, description=words)


def _null_sizes(null: CliqueNull) -> vl.Spec:
    """How often each size is the largest under a null model, with the observed size."""
    sizes = [*map(int, null.sizes), null.observed]
    order = ["none"] * (0 in sizes) + [str(size) for size in range(3, max(*sizes, 5) + 1)]
    rows = [{"size": s if int(s) else "none", "share": p} for s, p in null.sizes.items()]
    x = vl.name_axis("size", order, "size of the largest clique", labelAngle=0)
    y = vl.field("share:Q", axis=vl.part(title="share of draws", format=".0%", tickCount=3))
    seen = [{"size": str(null.observed) if null.observed else "none", "label": "observed"}]
    look = vl.part(x=x, color=theme.SIGNS[null.sign == "negative"])
    late = order.index(seen[0]["size"]) > len(order) / 2
    text = vl.part(align="right", dx=3) if late else vl.part(align="left", dx=-3)
    words = "no transfer at all" if null.null == "no transfer" else "only easy and hard targets"
    p = f"p {chance(null.p_value)}; up to {null.upper} is usual"
    return vl.layer(
        vl.unit(rows, "bar", color=theme.RULE, x=x, y=y, tooltip=vl.tips("size", "share||.1%")),
        vl.unit(seen, "rule", strokeWidth=2.5, **look),
        vl.unit(seen, "text", text="label:N", fontWeight=600, y={"value": -6}, **look, **text),
        width=max(160, 22 * len(order)),
        height=64,
        title=vl.panel_title(f"if there were {words}", p) | vl.part(offset=18),
    )


def _network(analysis: Analysis, cells: Cells, pointed: str) -> vl.Spec:
    """Arrows between tasks; `pointed` names the selection of the task under the pointer, which
    Altair composes only where it is another in each graph."""
    circle, names = _circle(analysis), labels(analysis)
    place: vl.Spec = {
        "x": vl.field("x:Q", scale=vl.part(domain=[0, circle.side], zero=False), axis=None),
        "y": vl.field("y:Q", scale=vl.part(domain=[circle.side, 0], zero=False), axis=None),
    }
    edges, measure = _edges(analysis, cells, circle), MEASURES[analysis.settings.measure]
    tooltip = vl.tips("source", "target", f"value|{measure}|+.3f", "note|evidence")
    stands_out = {"and": [{"param": pointed}, TOUCHED]}
    opacity = {"condition": {"test": stands_out, "value": 0.85}, "value": 0.07}
    look = vl.part(**place, opacity=opacity, tooltip=tooltip, color=vl.by_sign())
    dash = vl.part(domain=["positive", "negative"], range=[[1, 0], [5, 3]])
    path, head, width = (
        vl.field(name, scale=None, legend=None) for name in ("path:N", "head:N", "width:Q")
    )
    line = vl.part(shape=path, strokeWidth=width)
    line["strokeDash"] = vl.field("sign:N", scale=dash, legend=None)
    # A symbol of size 4 is drawn at scale 1, so the path's numbers are pixels.
    layers = [
        vl.unit(edges, "point", filled=False, size=4, **line, **look),
        vl.unit(edges, "point", filled=True, size=4, strokeWidth=0, shape=head, **look),
    ]
    layers = [each | {"transform": [{"filter": DRAWN}]} for each in layers]
    nodes = [
        {"source": names.long[name], "label": names.short[name], "x": at.real, "y": at.imag}
        for name, at in circle.places.items()
    ]
    # Arrows from the task under the pointer stand out; without a pointer, as in a file, all do.
    over = vl.part(type="point", fields=["source"], on="pointerover", clear="pointerout")
    size, inside = math.pi * circle.node**2, circle.inside
    disc = vl.part(filled=True, shape="circle", size=size, stroke=theme.INK, opacity=1)
    disc |= vl.part(fill=theme.PAPER if inside else theme.SOFT, strokeWidth=1.2 * inside)
    layers.append(
        vl.unit(nodes, "point", tooltip=vl.tips("source|task"), **disc, **place)
        | {"name": "nodes", "params": [{"name": pointed, "select": over}]}
    )
    if inside:
        text = vl.part(fontSize=11, fontWeight=600, color=theme.INK, text="label:N")
        layers.append(vl.unit(nodes, "text", **text, **place))
    else:
        layers += _outer_labels(nodes, circle, place)
    return vl.layer(*layers, width=circle.side, height=circle.side)


def _circle(analysis: Analysis) -> Circle:
    short = labels(analysis).short
    count, longest = len(short), max(map(len, short.values()))
    inside = count <= 24 and longest <= 4
    node = NODE if inside else DOT
    around = count * (2 * node + 96 if inside else 26)
    radius = max(78.0, min(330.0, around / (2 * math.pi)))
    side = 2 * (radius + node + (6 if inside else 8 + 6.2 * min(LABEL, longest)))
    turns = (2 * math.pi * place / count - math.pi / 2 for place in range(count))
    points = (complex(side / 2, side / 2) + cmath.rect(radius, turn) for turn in turns)
    return Circle(dict(zip(short, points, strict=True)), radius, node, inside, side)


def _edges(analysis: Analysis, cells: Cells, circle: Circle) -> list[vl.Spec]:
    """The data of the strongest arrows, the weakest first."""
    names = labels(analysis).long
    signs = [sorted(abs(c.mean) for *_, c in cells if s * c.mean > 0) for s in (1, -1)]
    shown = sorted(cells, key=lambda each: -abs(each[2].mean))[:MOST]
    largest, crowd = abs(shown[0][2].mean), 40 / max(40, min(len(shown), MANY))
    crowd = crowd if circle.inside else min(crowd, 0.7)
    rows = []
    for source, target, cell in sorted(shown, key=lambda each: abs(each[2].mean)):
        width, sizes = (0.7 + 3.1 * abs(cell.mean) / largest) * crowd, signs[cell.mean < 0]
        path, head = _paths(circle, source, target, width)
        row: vl.Spec = {"source": names[source], "target": names[target], "value": cell.mean}
        row |= {"note": _note(analysis, cell), "width": round(width, 2), "of": len(sizes)}
        row |= {"sign": "positive" if cell.mean > 0 else "negative"}
        row |= {"rank": len(sizes) - bisect_right(sizes, abs(cell.mean)) + 1}  # ties are all kept
        row |= {"clear": bool(beyond_noise(cell, analysis.settings.alpha))}
        rows.append(row | {"path": path, "head": head, "x": 0, "y": 0})
    return rows


def _paths(circle: Circle, source: str, target: str, width: float) -> tuple[str, str]:
    """The bent line of an arrow and its head, as SVG paths.

    Each arrow bends to its own left, so an edge and its reverse never overlap. Between many tasks
    it bends inward as well, off the tasks that stand between its ends.
    """
    start, end = circle.places[source], circle.places[target]
    middle = (start + end) / 2 - 0.12j * (end - start)
    if not circle.inside:
        middle = _toward(middle, complex(circle.side, circle.side) / 2, INWARD * circle.radius)
    begin, tip = _toward(start, middle, circle.node + 1), _toward(end, middle, circle.node + 2)
    size = min(4.5 + 1.9 * width, abs(end - start) / 3)
    neck, back = _toward(tip, middle, size * 0.8), _toward(tip, middle, size)
    corner = -0.42j * (tip - back)
    points = (begin, middle, neck, tip, back + corner, back - corner)
    s, m, n, t, a, b = (f"{point.real:.1f},{point.imag:.1f}" for point in points)
    return f"M{s}Q{m} {n}", f"M{t}L{a}L{n}L{b}Z"


def _toward(start: complex, end: complex, distance: float) -> complex:
    return start + distance * (end - start) / (abs(end - start) or 1.0)


def _outer_labels(nodes: list[vl.Spec], circle: Circle, place: vl.Spec) -> list[vl.Spec]:
    """Labels that point outward, so that many fit around the circle."""
    center, stretch = circle.side / 2, (circle.radius + circle.node + 4) / circle.radius
    groups: dict[str, list[vl.Spec]] = {"left": [], "right": []}
    for node in nodes:
        x, y = node["x"] - center, node["y"] - center
        align, more = ("left", 0) if x >= -1e-6 else ("right", 180)
        turn = math.degrees(math.atan2(y, x)) + more
        moved = {"x": center + x * stretch, "y": center + y * stretch, "turn": turn}
        groups[align].append({"label": node["label"], **moved})
    turn = vl.field("turn:Q", scale=None)
    look = vl.part(limit=6.6 * LABEL, text="label:N", angle=turn, **place)
    return [vl.unit(group, "text", align=a, **look) for a, group in groups.items() if group]
