"""One task at a time: how much it gives or takes, and its persona."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from transferscope.analysis import Analysis, Sign, TaskEffect
from transferscope.plots.against_chance import Role
from transferscope.plots.against_chance import personas as named_personas
from transferscope.plots.color_scale import padded
from transferscope.plots.composition import below, finish, heading, in_rows, layer
from transferscope.plots.labels import MEASURES, counted, labels, listed
from transferscope.plots.numbers import interval_columns, known, percent, signed
from transferscope.plots.theme import INK, MUTED, NEGATIVE, POSITIVE, SOFT
from transferscope.plots.vegalite import Spec, by_sign, field, intervals, part, unit, zero_line

Quantity = Literal["transferability", "malleability"]
SIGNS: tuple[Sign, Sign] = ("positive", "negative")
ROLES: dict[Quantity, tuple[Role, Role]] = {
    "transferability": ("donor", "pirate"),
    "malleability": ("sponge", "sieve"),
}
SIDE, MAX_WIDTH, GAP, ABREAST = 290.0, 650.0, 24, 3
"""Personas: the largest plane, the width of a row of planes, their gap, and planes in a row."""
CROWD = 20
"""With more tasks all labels among the personas are abbreviations."""


def task_effects(analysis: Analysis, model: str, title: str, quantity: Quantity) -> Spec | None:
    """What each source gives or target takes: both parts with intervals, the model's averages."""
    names = labels(analysis).long
    effects: dict[str, TaskEffect] = getattr(analysis.models[model], quantity)
    rows = [row for task, effect in effects.items() for row in _parts(names[task], effect)]
    if not rows:
        return None
    order = sorted(effects, key=lambda task: -(known(effects[task].positive.mean) or -1e9))
    domain = [names[task] for task in order]
    y = field("task:N", scale=part(domain=domain), axis=part(title=None, labelOverlap=False))
    reach = _range(analysis, quantity)
    axis = part(title=f"{quantity}, {MEASURES[analysis.settings.measure]}", values=_ticks(*reach))
    x = field("value:Q", scale=part(domain=reach), axis=axis)
    share = field("breadth:N", title="share of effects of this sign")
    mean = field("value:Q", title="mean", format="+.3f")
    tooltip = ["task:N", "sign:N", mean, "interval:N", share]
    seeds = [
        {"task": row["task"], "sign": row["sign"], "value": value}
        for row in rows
        if len(row["seeds"]) > 1
        for value in row["seeds"]
    ]
    plain = [{key: each for key, each in row.items() if key != "seeds"} for row in rows]
    layers = [zero_line(x="value:Q"), *_average_lines(analysis, model, quantity)]
    if seeds:
        stroke = part(shape="stroke", angle=90, size=130, opacity=0.5, strokeWidth=1.2)
        layers.append(unit(seeds, "point", x=x, y=y, color=by_sign(), **stroke))
    bars = intervals(plain, strokeWidth=1.8, color=by_sign(), x="low:Q", x2="high:Q", y=y)
    dots = unit(plain, "circle", size=62, opacity=1, color=by_sign(), x=x, y=y, tooltip=tooltip)
    layers += [*bars, dots]
    measured = {row["task"] for row in rows}
    words = {"label": "not measured", "value": 0}
    if missing := [{"task": task, **words} for task in domain if task not in measured]:
        look = part(align="left", dx=6, color=MUTED, text="label:N")
        layers.append(unit(missing, "text", x=x, y=y, **look))
    key = ["dot: mean", *(["line: interval"] if bars else [])]
    key += ["short strokes: single seeds"] if seeds else []
    role = "on the other tasks" if quantity == "transferability" else "from the other tasks"
    head = heading(title, f"effect {role}; helpful in blue, harmful in orange", " · ".join(key))
    spec = layer(*layers, width=330, height=25 * len(domain), title=head)
    highest = f"highest positive {domain[0]}, {signed(effects[order[0]].positive.mean)}"
    return finish(spec, f"{title}: {counted(len(domain), 'task')}; {highest}.")


def _parts(task: str, effect: TaskEffect) -> list[Spec]:
    return [
        {"task": task, "sign": sign, "value": estimate.mean, **interval_columns(estimate.ci)}
        | {"breadth": percent(getattr(effect, f"breadth_{sign}"))}
        | {"seeds": [value for value in estimate.seeds.values() if math.isfinite(value)]}
        for sign in SIGNS
        if math.isfinite((estimate := getattr(effect, sign)).mean)
    ]


def _range(analysis: Analysis, quantity: Quantity) -> list[float]:
    """One scale for all models, so that their figures compare."""
    values = [0.0]
    for model in analysis.models.values():
        for effect in getattr(model, quantity).values():
            for estimate in (effect.positive, effect.negative):
                values += [estimate.mean, *estimate.ci, *estimate.seeds.values()]
    return padded(values)


def _ticks(low: float, high: float) -> list[float]:
    """At most four round values with 0 among them; an axis may drop 0 from more."""
    power = math.floor(math.log10(high - low)) - 1
    for step in (round(step * 10.0**power, 12) for step in (1, 2, 5, 10, 20, 50)):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < 4:
            return [round(step * each, 12) for each in range(first, last + 1)]
    raise AssertionError("no step is large enough")


def _average_lines(analysis: Analysis, model: str, quantity: Quantity) -> list[Spec]:
    """The model's averages, and what they would be without any transfer."""
    record = analysis.models[model]
    kinds = {"average of the model": getattr(record.average, quantity)}
    if record.noise_floor is not None:
        kinds["average if there were no transfer"] = getattr(record.noise_floor, quantity)
    rows = [
        {"line": name, "value": getattr(each, sign)}
        for name, each in kinds.items()
        for sign in SIGNS
        if math.isfinite(getattr(each, sign))
    ]
    if not rows:
        return []
    legend = part(title=None, orient="bottom", columns=1, symbolStrokeColor=MUTED, labelLimit=260)
    scale = part(domain=list(kinds), range=[[1, 0], [4, 3]][: len(kinds)])
    dash = field("line:N", scale=scale, legend=legend)
    tooltip = ["line:N", field("value:Q", format="+.3f")]
    look = part(color=MUTED, strokeWidth=1.1, strokeDash=dash)
    return [unit(rows, "rule", x="value:Q", tooltip=tooltip, **look)]


_Ends = dict[str, list[float]]
"""Ends of the horizontal scale (positive) and of the vertical one (negative)."""


class _Box(NamedTuple):
    """A rectangle in pixels that a label or a dot takes."""

    left: float
    top: float
    right: float
    bottom: float


def personas(analysis: Analysis, _: object, title: str) -> Spec | None:
    """Each task against its model's average, as a source and as a target, model by model.

    None without a persona that chance does not explain.
    """
    named = named_personas(analysis)
    members: dict[Role, set[str]] = {r: {p.task for p in known} for r, known in named.items()}
    if not any(members.values()):
        return None
    planes = [panels for quantity in ROLES if (panels := _planes(analysis, quantity, members))]
    if not planes:
        return None
    head = heading(
        title,
        "right of 0: more helpful than its model’s average; below 0: more harmful",
        "named in color: on that side in every model of the study",
    )
    names = labels(analysis).long
    found = {
        f"{role}s": listed(names[persona.task] for persona in named[role]) or "none"
        for roles in ROLES.values()
        for role in roles
    }
    words = "; ".join(f"{role}: {tasks}" for role, tasks in found.items())
    return finish(below(*planes, spacing=26, title=head), f"{title}. {words}.")


def _planes(
    analysis: Analysis, quantity: Quantity, members: Mapping[Role, set[str]]
) -> Spec | None:
    """One plane for each model; a point is a task's distance from the model's average."""
    names, found = labels(analysis), {}
    for model, label in names.models.items():
        record = analysis.models[model]
        average = getattr(record.average, quantity)
        rows = []
        for task, effect in getattr(record, quantity).items():
            positive = effect.positive.mean - average.positive
            negative = effect.negative.mean - average.negative
            if math.isfinite(positive) and math.isfinite(negative):
                roles = [role for role in ROLES[quantity] if task in members[role]]
                row: Spec = {"task": names.long[task], "short": names.short[task]}
                row |= {"positive": positive, "negative": negative}
                row["label"] = names.long[task] if roles else names.short[task]
                row["role"] = " and ".join(roles) or "–"
                row["kind"] = "both" if len(roles) == 2 else "".join(roles)
                rows.append(row)
        if rows:
            found[label] = rows
    if not found:
        return None
    every = [row for rows in found.values() for row in rows]
    ends = {sign: padded([0.0, *(row[sign] for row in every)], 0.14) for sign in SIGNS}
    side = min(SIDE, (MAX_WIDTH + GAP) / min(len(found), ABREAST) - GAP)
    panels = [
        _panel(rows, label, quantity, ends, side, first=number % ABREAST == 0)
        for number, (label, rows) in enumerate(found.items())
    ]
    return in_rows(panels, ABREAST, GAP, GAP)


def _panel(
    rows: list[Spec], model: str, quantity: Quantity, ends: _Ends, side: float, *, first: bool
) -> Spec:
    good, bad = ROLES[quantity]
    x_axis = part(title=f"positive {quantity} − average", tickCount=5 if side > 200 else 3)
    x_scale = part(domain=ends["positive"], nice=False, zero=False)
    x = field("positive:Q", scale=x_scale, axis=x_axis)
    y_title = f"negative {quantity} − average" if first else None
    y_scale = part(domain=ends["negative"], nice=False, zero=False)
    y = field("negative:Q", scale=y_scale, axis=part(title=y_title, tickCount=5, labels=first))
    numbers = (field(f"{sign}:Q", format="+.3f") for sign in SIGNS)
    tooltip = ["task:N", *numbers, "role:N"]
    layers = [zero_line(x=x), zero_line(y=y)]
    placed = _placed(rows, ends, side)
    for kind, color in (("", MUTED), (good, POSITIVE), (bad, NEGATIVE), ("both", INK)):
        if group := [row for row in placed if row["kind"] == kind]:
            look = part(size=64 if kind else 40, color=color, opacity=1)
            layers.append(unit(group, "circle", x=x, y=y, tooltip=tooltip, **look))
        for row in (row for row in group if row["label"]):  # offsets are constants of a mark
            at = part(align=row["align"], dx=row["dx"], dy=row["dy"], color=color)
            face = part(fontSize=11, fontWeight=600) if kind else part(fontSize=10)
            layers.append(unit([row], "text", x=x, y=y, text="label:N", **at, **face))
    title = f"{model}: {'sources' if quantity == 'transferability' else 'targets'}"
    head = part(text=title, subtitle=f"right: {good}s · below: {bad}s")
    head |= part(fontSize=12, color=SOFT, offset=6)
    return layer(*layers, width=side, height=side, title=head)


def _placed(rows: list[Spec], ends: _Ends, side: float) -> list[Spec]:
    """Where each label goes, off dots and other labels; named tasks choose first.

    A task without space has no label: its dot answers the pointer, and the page has a table.
    """
    (left, right), (low, high) = ends["positive"], ends["negative"]
    across = [side * (row["positive"] - left) / (right - left) for row in rows]
    down = [side * (high - row["negative"]) / (high - low) for row in rows]
    dots = list(zip(across, down, strict=True))
    taken = [_Box(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    answer = []
    for row, own in sorted(zip(rows, dots, strict=True), key=lambda each: each[0]["kind"] == ""):
        texts = [row["short"] if len(rows) > CROWD else row["label"], row["short"]]
        best = min(
            (
                (_cost(box, taken, side), _astray(box, own, dots), text, align, dx, dy, box)
                for text in dict.fromkeys(texts)
                for align, dx, dy, box in _ways(*own, len(text), bool(row["kind"]))
            ),
            # A full name may touch a little before the abbreviation takes its place.
            key=lambda way: way[0] + 30 * way[1] + 15 * (way[2] != texts[0]),
        )
        cost, astray, label, align, dx, dy, box = best
        if cost > 40 or (astray and len(rows) > CROWD):
            label = ""
        else:
            taken.append(box)
        answer.append({**row, "label": label, "align": align, "dx": dx, "dy": dy})
    return answer


def _astray(box: _Box, own: tuple[float, float], dots: Sequence[tuple[float, float]]) -> bool:
    """Whether a label is as near to another dot as to its own."""

    def away(dot: tuple[float, float]) -> float:
        x, y = dot
        across = max(box.left - x, 0.0, x - box.right)
        return math.hypot(across, max(box.top - y, 0.0, y - box.bottom))

    return any(away(dot) < away(own) + 3 for dot in dots if dot != own)


def _ways(x: float, y: float, size: int, bold: bool) -> Iterable[tuple[str, float, float, _Box]]:
    """Places for a label of `size` characters around (x, y): alignment, offsets and box."""
    width = size * (7.1 if bold else 6.3)
    for dx, dy in ((8, 0), (6, -10), (6, 10), (8, -19), (8, 19)):
        yield "left", dx, dy, _Box(x + dx - 1, y + dy - 6, x + dx + width, y + dy + 6)
        yield "right", -dx, dy, _Box(x - dx - width, y + dy - 6, x - dx + 1, y + dy + 6)
    for dy in (-12, 12):
        yield "center", 0, dy, _Box(x - width / 2, y + dy - 6, x + width / 2, y + dy + 6)


def _cost(box: _Box, taken: list[_Box], side: float) -> float:
    """Pixels of `box` on other boxes or outside the plane."""
    shared = sum(
        max(0.0, min(box.right, other.right) - max(box.left, other.left))
        * max(0.0, min(box.bottom, other.bottom) - max(box.top, other.top))
        for other in taken
    )
    outside = max(0.0, -box.left) + max(0.0, box.right - side - 20)
    outside += max(0.0, -box.top) + max(0.0, box.bottom - side)
    return shared + 20 * outside
