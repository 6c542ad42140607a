"""Tables of the page: averages, extremes, cliques and personas, model by model.

Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from transferscope.analysis import (
    Analysis,
    Clique,
    Interval,
    ModelAnalysis,
    Sign,
    Signed,
    TaskEffect,
)
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.collapse import describe_answers
from transferscope.plots.accuracy_points import beside, items
from transferscope.plots.labels import (
    UNKNOWN,
    between,
    chance,
    clean,
    counted,
    has_interval,
    labels,
    link,
    listed,
    model_labels,
    percent,
    same_task,
    signed,
)

TOP = 3
"""Tasks and cells that one cell of a table names."""
ROLES = ("donor", "pirate", "sponge", "sieve")


class CellLine(NamedTuple):
    """One line of a table's cell: the main text and the small text after it."""

    text: str
    small: str = ""
    link: str = ""
    """The address in the explorer of the task or the pair that it names."""

    @property
    def words(self) -> str:
        """Both texts as one."""
        return (
            f"{self.text} ({self.small})" if self.text and self.small else self.text or self.small
        )


Row = list[list[CellLine]]
"""Cells of lines; the first cell names the row."""


class PageTable(NamedTuple):
    """A table of the page with the paragraph above it."""

    kind: str
    """CSS classes."""
    title: str
    intro: str
    heads: list[str]
    rows: list[Row]


def glance(analysis: Analysis) -> PageTable:
    """Averages, strongest donors and pirates, and largest cliques, model by model."""
    collapsed = any(model.behaviour for model in analysis.models.values())
    adjusted = any(model.adjusted for model in analysis.models.values())
    facts: dict[tuple[str, str], Callable[[ModelAnalysis], list[CellLine]] | None] = {
        ("Effects beyond noise", "one task on another"): lambda m: _beyond(analysis, m),
        ("Strongest effects", "one task on another"): lambda m: _extremes(analysis, m),
        ("Collapsed answers", "no transfer"): (lambda m: _collapsed(analysis, m))
        if collapsed
        else None,
        ("Beyond the placebo", "average effect"): _beyond_placebo if adjusted else None,
        ("Transferability", "average over sources"): lambda m: _averages(m, "transferability"),
        ("Malleability", "average over targets"): lambda m: _averages(m, "malleability"),
        ("Strongest donors", "highest positive transferability"): lambda m: _leaders(
            analysis, m.transferability, "positive"
        ),
        ("Strongest pirates", "most negative transferability"): lambda m: _leaders(
            analysis, m.transferability, "negative"
        ),
        ("Largest positive clique", ""): lambda m: _clique(analysis, m, "positive"),
        ("Largest negative clique", ""): lambda m: _clique(analysis, m, "negative"),
    }
    rows = [
        [[CellLine(*name)], *(read(m) or [CellLine(UNKNOWN)] for m in analysis.models.values())]
        for name, read in facts.items()
        if read is not None
    ]
    return PageTable("glance", "", "", ["", *model_labels(analysis).values()], rows)


def interval_text(interval: Interval, digits: int = 2) -> str:
    """An interval, or nothing where it is unknown."""
    return between(interval, digits) if has_interval(interval) else ""


def joined(*parts: str) -> str:
    """The non-empty parts with semicolons."""
    return "; ".join(part for part in parts if part)


def _beyond(analysis: Analysis, model: ModelAnalysis) -> list[CellLine]:
    alpha = analysis.settings.alpha
    cells = [
        (cell, beyond_noise(cell, alpha))
        for source, row in model.pgf.items()
        for target, cell in row.items()
        if not same_task(source, target) and math.isfinite(cell.mean)
    ]
    tested = sum(beyond is not None for _, beyond in cells)
    if not tested:
        return [CellLine(f"{counted(len(cells), 'effect')} measured", "no intervals")]
    clear = [cell for cell, beyond in cells if beyond]
    helped = sum(cell.mean > 0 for cell in clear)
    held = sum(cell.q_value <= alpha for cell in clear)
    tests = f"for {counted(tested, 'test')} (q ≤ {alpha:g})"
    return [
        CellLine(f"{helped} helped, {len(clear) - helped} harmed", f"of {tested}"),
        CellLine(f"{held} after correction", tests),
    ]


def _extremes(analysis: Analysis, model: ModelAnalysis) -> list[CellLine]:
    names, lines = labels(analysis).long, []
    cells = [
        (cell.mean, source, target)
        for source, row in model.pgf.items()
        for target, cell in row.items()
        if not same_task(source, target) and math.isfinite(cell.mean)
    ]
    answers = model.behaviour.sources if model.behaviour else {}
    for pick in (max, min) if cells else ():
        _, source, target = pick(cells, key=lambda each: each[0])
        cell, found = model.pgf[source][target], answers.get(source, {}).get(target)
        small = joined(
            beside(analysis, model, target, cell),
            interval_text(cell.ci),
            items(model, target, cell).strip(),
            "collapsed" if found and found.collapsed else "",
        )
        pair = f"{signed(cell.mean)} {names[source]} → {names[target]}"
        lines.append(CellLine(pair, small, link(source=names[source], target=names[target])))
    return lines


def _collapsed(analysis: Analysis, model: ModelAnalysis) -> list[CellLine]:
    found, names = model.behaviour.sources if model.behaviour else {}, labels(analysis).long
    if not any(answers.letters for row in found.values() for answers in row.values()):
        return []
    cells = [
        CellLine("", f"{names[source]} → {names[target]}: {describe_answers(answers)}")
        for source, row in found.items()
        for target, answers in row.items()
        if answers.collapsed
    ]
    more = [CellLine("", f"and {len(cells) - TOP} more")] if len(cells) > TOP else []
    total = counted(sum(map(len, found.values())), "cell")
    return [CellLine(f"{len(cells)} of {total}"), *cells[:TOP], *more]


def _beyond_placebo(model: ModelAnalysis) -> list[CellLine]:
    if (adjusted := model.adjusted) is None:
        return []
    control = model.controls[adjusted.placebo].mean
    placebo = f"{clean(adjusted.placebo)} itself: {signed(control.mean, 3)}"
    return [
        CellLine(signed(adjusted.mean.mean, 3), interval_text(adjusted.mean.ci, 3)),
        CellLine("", joined(placebo, interval_text(control.ci, 3))),
    ]


def _averages(model: ModelAnalysis, quantity: str) -> list[CellLine]:
    average: Signed = getattr(model.average, quantity)
    floor: Signed | None = getattr(model.noise_floor, quantity) if model.noise_floor else None
    lines = []
    for sign in ("positive", "negative"):
        again = interval_text(getattr(average.ci, sign), 3)
        parts = [f"in another such study {again}" if again else ""]
        if floor is not None:
            parts.append(f"without any transfer {between(getattr(floor.ci, sign), 3)}")
        lines.append(CellLine(signed(getattr(average, sign), 3), joined(*parts)))
    return lines


def _leaders(analysis: Analysis, effects: dict[str, TaskEffect], sign: Sign) -> list[CellLine]:
    names, factor = labels(analysis).long, 1 if sign == "positive" else -1
    parts = {task: getattr(effect, sign) for task, effect in effects.items()}
    order = sorted(
        (task for task, part in parts.items() if factor * part.mean > 0),
        key=lambda task: -factor * parts[task].mean,
    )
    return [
        CellLine(
            f"{names[task]} {signed(parts[task].mean, 3)}",
            interval_text(parts[task].ci, 3),
            link(task=names[task]),
        )
        for task in order[:TOP]
    ]


def _clique(analysis: Analysis, model: ModelAnalysis, sign: Sign) -> list[CellLine]:
    found: list[Clique] = getattr(model.cliques, sign)
    words = {"no transfer": "no transfer"}
    nulls = [
        f"{words.get(null.null, 'easy and hard targets')} alone: {null.upper} or fewer, "
        f"p {chance(null.p_value)}"
        for null in model.cliques.nulls
        if null.sign == sign
    ]
    if not found:
        return [CellLine("none", joined(*nulls))]
    largest = max(found, key=lambda each: each.size)
    same = sum(each.size == largest.size for each in found) - 1
    more = f" (and {counted(same, 'other')})" if same else ""
    tasks = listed(labels(analysis).short[task] for task in largest.tasks)
    return [CellLine(f"{largest.size} tasks{more}", tasks), *(CellLine("", null) for null in nulls)]


def personas(analysis: Analysis) -> PageTable:
    """The personas with their distance from the average, p-value and support."""
    names, rows = labels(analysis).long, []
    for role in ROLES:
        for persona in getattr(analysis.personas, role):
            task = names[persona.task]
            cells = [[CellLine(task, "", link(task=task))], [CellLine(role)]]
            for model in analysis.models:
                if (evidence := persona.models.get(model)) is None:
                    cells.append([CellLine(UNKNOWN)])
                    continue
                p_value = chance(evidence.p_value)
                known = f"p {p_value}" if p_value != UNKNOWN else ""
                distance = signed(evidence.value - evidence.average, 3)
                cells.append([CellLine(distance, joined(interval_text(evidence.ci, 3), known))])
            rows.append([*cells, [CellLine(percent(persona.support))]])
    heads = ["Task", "Persona", *model_labels(analysis).values(), "Support"]
    intro = (
        "Tasks with the same persona in every model of the study. Donors help more than the "
        "average source, pirates harm more. Sponges gain more than the average target, sieves lose "
        "more. Numbers are distances from the model’s average. p is the paper’s test, of one task "
        "at a time and over seeds alone. Support is the share of resamples with this persona. "
    )
    return PageTable(
        "personas stack", "Personas", intro + personas_by_chance(analysis), heads, rows
    )


def personas_by_chance(analysis: Analysis) -> str:
    """The number of personas without any transfer; empty where it is unknown."""
    found = analysis.personas_by_chance
    if not found or not all(map(math.isfinite, found.values())):
        return ""
    numbers = listed(f"{number:.1f} {role}s" for role, number in found.items())
    return f"Without any transfer about {numbers} would be named."
