"""One task at a time: how much it gives or takes, and its persona."""

import math
from itertools import product

from transferscope.analysis import Analysis, Quantity, Sign, TaskEffect
from transferscope.plots import composition as vl
from transferscope.plots import theme
from transferscope.plots.against_chance import Role
from transferscope.plots.against_chance import personas as named_personas
from transferscope.plots.labels import MEASURES, labels
from transferscope.plots.numbers import interval_columns, percent
from transferscope.selection.wording import listed

SIGNS: tuple[Sign, Sign] = ("positive", "negative")
PLAYED: dict[Quantity, tuple[Role, Role]] = {
    "transferability": ("donor", "pirate"),
    "malleability": ("sponge", "sieve"),
}
SIDE, ABREAST = 190, 3
"""Personas: pixels of a plane, and planes in a row."""
COLORS = {"–": theme.MUTED} | {
    role: color for pair in PLAYED.values() for role, color in zip(pair, theme.SIGNS, strict=True)
}


def task_effects(analysis: Analysis, model: str, title: str, quantity: Quantity) -> vl.Spec | None:
    """What each source gives or target takes: both parts with intervals, the model's averages."""
    names, record = labels(analysis).long, analysis.models[model]
    effects: dict[str, TaskEffect] = getattr(record, quantity)
    rows: list[vl.Spec] = [
        {"task": names[task], "sign": sign, "shade": sign, "value": estimate.mean}
        | interval_columns(estimate.ci)
        | {"breadth": percent(getattr(effect, f"breadth_{sign}"))}
        for sign in SIGNS
        for task, effect in effects.items()
        if math.isfinite((estimate := getattr(effect, sign)).mean)
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: (row["sign"] == "negative", -row["value"]))
    ends = (  # one scale for all models, so that their figures compare
        end
        for each in analysis.models.values()
        for effect in getattr(each, quantity).values()
        for estimate in (effect.positive, effect.negative)
        for end in (estimate.mean, *estimate.ci)
    )
    measure = MEASURES[analysis.settings.measure]
    x = vl.value_axis("value", f"{quantity}, {measure}", theme.padded([0.0, *ends]))
    y = vl.name_axis("task", (row["task"] for row in rows))
    kinds = {"average": record.average, "average without any transfer": record.noise_floor}
    lines = [
        {"line": name, "value": value}
        for name, profile in kinds.items()
        for sign in SIGNS
        if profile and math.isfinite(value := getattr(getattr(profile, quantity), sign))
    ]
    layers = [vl.zero_line(x=x)]
    if lines:
        scale = vl.part(domain=list(kinds), range=[[1, 0], [4, 3]])
        look = vl.part(color=theme.MUTED, tooltip=vl.tips("line", "value||+.3f"))
        dash = vl.field("line:N", scale=scale, legend=None)
        layers.append(vl.unit(lines, "rule", x=x, strokeDash=dash, **look))
    tooltip = vl.tips("task", "value|mean|+.3f", "interval", "breadth|share of effects")
    whole = "all" if analysis.settings.include_self else "the other"
    dashed = "; dashed: the same without any transfer" * (record.noise_floor is not None)
    return vl.finish(
        vl.layer(*layers, *vl.dots(rows, x, y, tooltip), width=235, height=21 * len(effects)),
        title,
        f"Mean helpful (blue) and harmful (orange) effect, over {whole} tasks.",
        f"Grey lines: the model’s averages{dashed}.",
    )


def personas(analysis: Analysis, _: object, title: str) -> vl.Spec | None:
    """Each task against its model's average, as a source and as a target, model by model.

    None without a persona that chance does not explain.
    """
    named, names, panels = named_personas(analysis), labels(analysis), []
    if not any(named.values()):
        return None
    for quantity, played in PLAYED.items():
        kind, (good, bad) = "sources" if quantity == "transferability" else "targets", played
        roles = {role: {persona.task for persona in named[role]} for role in played}
        planes: dict[str, list[vl.Spec]] = {}
        for model, record in analysis.models.items():
            average, rows = getattr(record.average, quantity), planes.setdefault(model, [])
            for task, effect in getattr(record, quantity).items():
                role = " and ".join(role for role in played if task in roles[role]) or "–"
                row = {s: getattr(effect, s).mean - getattr(average, s) for s in SIGNS}
                row |= {"task": names.long[task], "short": names.short[task], "role": role}
                rows += [row] if all(math.isfinite(row[sign]) for sign in SIGNS) else []
        every = [row for rows in planes.values() for row in rows]
        if every:
            ends: dict[Sign, list[float]]
            ends = {s: theme.padded([0.0, *(row[s] for row in every)], 0.14) for s in SIGNS}
            for model, rows in planes.items():
                head = f"{names.models[model]}: {kind}", f"right: {good}s · below: {bad}s"
                panels.append(_plane(rows, quantity, ends) | {"title": vl.panel_title(*head)})
    found = (
        f"{role}s: {listed(names.long[persona.task] for persona in known) or 'none'}"
        for role, known in named.items()
    )
    lines = (
        "Distance from the model’s average: right is more helpful, below more harmful.",
        "Named in color: on that side in every model, in nearly all draws of the effects’ noise.",
    )
    spec = vl.in_rows(panels, min(ABREAST, len(analysis.models)), 24, 24)
    words = f"{title}. {'; '.join(found)}. {' '.join(lines)}"
    return vl.finish(spec, title, *lines, description=words)


def _plane(rows: list[vl.Spec], quantity: Quantity, ends: dict[Sign, list[float]]) -> vl.Spec:
    """One model's tasks as dots with their names, where there is space for them."""
    x, y = (vl.value_axis(sign, f"{sign} {quantity} − average", ends[sign]) for sign in SIGNS)
    tooltip = vl.tips("task", "positive||+.3f", "negative||+.3f", "role")
    layers = [vl.zero_line(x=x), vl.zero_line(y=y)]
    for role in sorted({row["role"] for row in rows}, key=lambda each: (each != "–", each)):
        group = [row for row in rows if row["role"] == role]
        look = vl.part(color=COLORS.get(role, theme.INK), size=36 if role == "–" else 64, opacity=1)
        layers.append(vl.unit(group, "circle", x=x, y=y, tooltip=tooltip, **look))
    for row, at in _labelled(rows, ends):  # offsets are constants of a mark
        bold = vl.part(fontWeight=600 if row["role"] != "–" else 400)
        look = vl.part(color=COLORS.get(row["role"], theme.INK), text="label:N", **at, **bold)
        layers.append(vl.unit([row], "text", x=x, y=y, **look))
    return vl.layer(*layers, width=SIDE, height=SIDE)


def _labelled(rows: list[vl.Spec], ends: dict[Sign, list[float]]) -> list[tuple[vl.Spec, vl.Spec]]:
    """Rows with a label and its place, off all dots and other labels; personas choose first.

    A task without space has no label: its dot answers the pointer, and the page has a table.
    """
    (left, right), (low, high) = ends["positive"], ends["negative"]
    across = [SIDE * (row["positive"] - left) / (right - left) for row in rows]
    down = [SIDE * (high - row["negative"]) / (high - low) for row in rows]
    # A label is at most 8 pixels from its dot, so it is nearest to that one.
    taken = [(x - 9, y - 9, x + 9, y + 9) for x, y in zip(across, down, strict=True)]
    sides = ("left", 0, 8, 0), ("right", 1, -8, 0), ("center", 0.5, 0, -12), ("center", 0.5, 0, 12)
    answer = []
    for n in sorted(range(len(rows)), key=lambda n: rows[n]["role"] == "–"):
        others, row = taken[:n] + taken[n + 1 :], rows[n]
        texts = [row["task"]] * (row["role"] != "–") + [row["short"]]
        for text, (align, share, dx, dy) in product(texts, sides):
            wide = 6.6 * len(text)
            x, y = across[n] + dx - share * wide, down[n] + dy
            free = not any(
                x < c and a < x + wide and y - 6 < d and b < y + 6 for a, b, c, d in others
            )
            if free and 0 < x < SIDE + 15 - wide and 0 < y < SIDE:
                answer.append((row | {"label": text}, vl.part(align=align, dx=dx, dy=dy)))
                taken.append((x, y - 6, x + wide, y + 6))
                break
    return answer
