"""Tables of the page: averages, extremes, cliques and personas, model by model.

Nothing here is escaped: the template does that.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from transferscope.analysis import Analysis, Clique, Interval, ModelAnalysis, Sign, Signed
from transferscope.analysis.accuracies import Effect
from transferscope.analysis.parts import Estimate
from transferscope.plots import against_chance
from transferscope.plots.against_chance import about_personas, clique_by_chance, has_cliques
from transferscope.plots.labels import clean, counted, labels, link
from transferscope.plots.numbers import (
    UNKNOWN,
    between,
    chance,
    has_interval,
    percent,
    signed,
    worded,
)
from transferscope.selection.wording import listed

TOP = 3
"""Tasks and cells that one cell of a table names."""


class CellLine(NamedTuple):
    """One line of a table's cell: the main text and the small text after it."""

    text: str
    small: str = ""
    link: str = ""
    """The address on the page of the task or the pair that it names."""

    @property
    def words(self) -> str:
        """Both texts as one."""
        both = self.text and self.small
        return f"{self.text} ({self.small})" if both else self.text or self.small


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
    sure: int = 0
    """Rows, from the first, that hold after correction for the number of tests."""


def glance(analysis: Analysis) -> PageTable:
    """Averages, strongest donors and pirates, and largest cliques, model by model."""
    models = analysis.models.values()
    facts: list[tuple[str, str, Callable[[Analysis, ModelAnalysis], list[CellLine]]]] = []
    if any(model.behaviour for model in models):
        facts.append(("Collapsed answers", "no transfer", _collapsed))
    if any(model.adjusted for model in models):
        facts.append(("Beyond the placebo", "average effect", _beyond_placebo))
    give, positive, negative = "transferability", {"sign": "positive"}, {"sign": "negative"}
    facts += [
        ("Transferability", "average over sources", partial(_averages, quantity=give)),
        ("Malleability", "average over targets", partial(_averages, quantity="malleability")),
        ("Strongest donors", f"highest positive {give}", partial(_leaders, **positive)),
        ("Strongest pirates", f"most negative {give}", partial(_leaders, **negative)),
    ]
    if has_cliques(analysis):
        facts.append(("Largest positive clique", "", partial(_clique, **positive)))
        facts.append(("Largest negative clique", "", partial(_clique, **negative)))
    rows = [
        [[CellLine(title, small)], *(read(analysis, m) or [CellLine(UNKNOWN)] for m in models)]
        for title, small, read in facts
    ]
    return PageTable("glance", "", "", ["", *labels(analysis).models.values()], rows)


def interval_text(interval: Interval, digits: int = 2) -> str:
    """An interval, or nothing where it is unknown."""
    return between(interval, digits) if has_interval(interval) else ""


def effect_line(analysis: Analysis, effect: Effect) -> CellLine:
    """A change of accuracy, with its interval and the analysis's measure as small text."""
    words = worded(analysis, effect)
    return CellLine(words.value, joined(words.interval, words.beside))


def estimate_line(estimate: Estimate, more: str = "") -> CellLine:
    """A mean with its interval and more small text."""
    return CellLine(signed(estimate.mean, 3), joined(interval_text(estimate.ci, 3), more))


def task_line(label: str, small: str = "") -> CellLine:
    """A task, with the address of what it gives and takes."""
    return CellLine(label, small, link(task=label))


def joined(*parts: str) -> str:
    """The non-empty parts with semicolons."""
    return "; ".join(part for part in parts if part)


def _collapsed(_: Analysis, model: ModelAnalysis) -> list[CellLine]:
    found = model.behaviour.sources if model.behaviour else {}
    cells = [answers for row in found.values() for answers in row.values()]
    if not any(answers.letters for answers in cells):
        return []
    fallen = sum(bool(answers.collapsed) for answers in cells)
    return [CellLine(f"{fallen} of {counted(len(cells), 'cell')}")]


def _beyond_placebo(_: Analysis, model: ModelAnalysis) -> list[CellLine]:
    if (adjusted := model.adjusted) is None:
        return []
    control = model.controls[adjusted.placebo].mean
    placebo = f"{clean(adjusted.placebo)} itself: {signed(control.mean, 3)}"
    small = joined(placebo, interval_text(control.ci, 3))
    return [estimate_line(adjusted.mean), CellLine("", small)]


def _averages(_: Analysis, model: ModelAnalysis, quantity: str) -> list[CellLine]:
    average: Signed = getattr(model.average, quantity)
    floor: Signed | None = getattr(model.noise_floor, quantity) if model.noise_floor else None
    lines = []
    for sign in ("positive", "negative"):
        again = interval_text(getattr(average.ci, sign), 3)
        chances = f"without any transfer {between(getattr(floor.ci, sign), 3)}" if floor else ""
        small = joined(f"in another such study {again}" if again else "", chances)
        lines.append(CellLine(signed(getattr(average, sign), 3), small))
    return lines


def _leaders(analysis: Analysis, model: ModelAnalysis, sign: Sign) -> list[CellLine]:
    names, factor = labels(analysis).long, 1 if sign == "positive" else -1
    found = [(names[t], getattr(each, sign)) for t, each in model.transferability.items()]
    found = [(task, effect) for task, effect in found if factor * effect.mean > 0]
    found.sort(key=lambda each: -factor * each[1].mean)
    return [
        CellLine(f"{t} {signed(e.mean, 3)}", interval_text(e.ci, 3), link(task=t))
        for t, e in found[:TOP]
    ]


def _clique(analysis: Analysis, model: ModelAnalysis, sign: Sign) -> list[CellLine]:
    if by_chance := clique_by_chance(model, sign):
        return [CellLine(by_chance)]
    found: list[Clique] = getattr(model.cliques, sign)
    nulls = [
        f"{'no transfer' if null.null == 'no transfer' else 'easy and hard targets'} alone: "
        f"{null.upper} or fewer, p {chance(null.p_value)}"
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
    """The personas that chance does not explain; the intro alone where there are none."""
    (names, _, models), rows = labels(analysis), []
    for role, members in against_chance.personas(analysis).items():
        for persona in members:
            task = names[persona.task]
            cells = [[task_line(task)], [CellLine(role)]]
            for model in analysis.models:
                line = CellLine(UNKNOWN)
                if (evidence := persona.models.get(model)) is not None:
                    distance = Estimate(evidence.value - evidence.average, evidence.ci, {})
                    p_value = chance(evidence.p_value)
                    line = estimate_line(distance, f"p {p_value}" * (p_value != UNKNOWN))
                cells.append([line])
            rows.append([*cells, [CellLine(percent(persona.support))]])
    heads = ["Task", "Persona", *models.values(), "Support"]
    intro = about_personas(analysis)
    if rows:
        intro += (
            " Listed are those. Donors help more than the average source, pirates harm more. "
            "Sponges gain more than the average target, sieves lose more. Numbers are distances "
            "from the model’s average. p is the paper’s test, of one task at a time and over seeds "
            "alone. Support is the share of random draws of all effects’ noise with this persona."
        )
    return PageTable("personas stack", "Personas", intro, heads, rows)
