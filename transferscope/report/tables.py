"""Tables of the page, and what they are made of: averages and extremes, personas, claims, records.

The terminal's summary prints the same tables. Nothing here is escaped: the template does that.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from transferscope.analysis import Analysis, Claim, Clique, Interval, ModelAnalysis, Sign, Signed
from transferscope.analysis.accuracies import Effect
from transferscope.analysis.parts import Estimate
from transferscope.plots import against_chance
from transferscope.plots.labels import MEASURES, clean, counted, labels, link
from transferscope.plots.numbers import UNKNOWN, between, chance, percent, signed, worded
from transferscope.selection.wording import listed

TOP = 3
"""Tasks and cells that one cell of a table names."""


class Line(NamedTuple):
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


Row = Sequence[str | Line | list[Line]]
"""Cells: a text, a line, or several lines; the first cell names the row."""


class PageTable(NamedTuple):
    """A table of the page; `table` makes one."""

    kind: str
    """CSS classes."""
    title: str
    heads: list[str]
    rows: list[list[list[Line]]]
    """Cells of lines."""
    intro: str = ""
    """What must be known of these rows."""
    sure: int = 0
    """Rows, from the first, that hold after correction for the number of tests."""


def table(
    kind: str, title: str, heads: list[str], rows: Iterable[Row], intro: str = "", sure: int = 0
) -> PageTable:
    """A table of rows in any form."""

    def lines(cell: str | Line | list[Line]) -> list[Line]:
        cell = [Line(cell)] if isinstance(cell, str) else cell
        return cell if isinstance(cell, list) else [cell]

    return PageTable(kind, title, heads, [list(map(lines, row)) for row in rows], intro, sure)


def effect_line(analysis: Analysis, effect: Effect) -> Line:
    """A change of accuracy, with its interval and the analysis's measure as small text."""
    words = worded(analysis, effect)
    return Line(words.value, joined(words.interval, words.beside))


def estimate_line(estimate: Estimate, more: str = "") -> Line:
    """A mean with its interval and more small text."""
    return Line(signed(estimate.mean, 3), joined(ends(estimate.ci), more))


def ends(interval: Interval) -> str:
    """An interval, or nothing where it is unknown."""
    return between(interval, 3).replace(UNKNOWN, "")


def task_line(label: str, small: str = "") -> Line:
    """A task, with the address of what it gives and takes."""
    return Line(label, small, link(task=label))


def joined(*parts: str) -> str:
    """The non-empty parts with semicolons."""
    return "; ".join(filter(None, parts))


def glance(analysis: Analysis) -> PageTable:
    """Averages, strongest donors and pirates, and largest cliques, model by model."""
    columns = [_glance(analysis, model) for model in analysis.models.values()]
    known = {fact for column in columns for fact, lines in column.items() if lines is not None}
    rows = [
        [Line(*fact), *(column[fact] or [Line(UNKNOWN)] for column in columns)]
        for fact in columns[0]
        if fact in known
    ]
    return table("glance", "", ["", *labels(analysis).models.values()], rows)


def _glance(analysis: Analysis, model: ModelAnalysis) -> dict[tuple[str, str], list[Line] | None]:
    """{fact: its lines} of one model; None where a study is not of the kind that has it."""
    collapsed, placebo = None, None
    if model.behaviour:
        cells = [answers for row in model.behaviour.sources.values() for answers in row.values()]
        fallen = f"{sum(bool(each.collapsed) for each in cells)} of {counted(len(cells), 'cell')}"
        collapsed = [Line(fallen)] * model.behaviour.knows_letters
    if adjusted := model.adjusted:
        control = model.controls[adjusted.placebo].mean
        itself = f"{clean(adjusted.placebo)} itself: {signed(control.mean, 3)}"
        placebo = [estimate_line(adjusted.mean), Line("", joined(itself, ends(control.ci)))]
    give = "transferability"
    found = {
        ("Collapsed answers", "no transfer"): collapsed,
        ("Beyond the placebo", "average effect"): placebo,
        ("Transferability", "average over sources"): _averages(model, give),
        ("Malleability", "average over targets"): _averages(model, "malleability"),
        ("Strongest donors", f"highest positive {give}"): _leaders(analysis, model, "positive"),
        ("Strongest pirates", f"most negative {give}"): _leaders(analysis, model, "negative"),
    }
    for sign in ("positive", "negative") if against_chance.has_cliques(analysis) else ():
        found[f"Largest {sign} clique", ""] = _clique(analysis, model, sign)
    return found


def _averages(model: ModelAnalysis, quantity: str) -> list[Line]:
    average: Signed = getattr(model.average, quantity)
    floor: Signed | None = getattr(model.noise_floor, quantity) if model.noise_floor else None
    lines = []
    for sign in ("positive", "negative"):
        again, chances = ends(getattr(average.ci, sign)), ""
        if floor:
            usual = signed(getattr(floor, sign), 3)
            chances = f"without any transfer {usual}, {between(getattr(floor.ci, sign), 3)}"
        small = joined(f"in another such study {again}" * bool(again), chances)
        lines.append(Line(signed(getattr(average, sign), 3), small))
    return lines


def _leaders(analysis: Analysis, model: ModelAnalysis, sign: Sign) -> list[Line]:
    names, factor = labels(analysis).long, 1 if sign == "positive" else -1
    found = [(names[t], getattr(each, sign)) for t, each in model.transferability.items()]
    found = [(task, effect) for task, effect in found if factor * effect.mean > 0]
    found.sort(key=lambda each: -factor * each[1].mean)
    return [Line(f"{t} {signed(e.mean, 3)}", ends(e.ci), link(task=t)) for t, e in found[:TOP]]


def _clique(analysis: Analysis, model: ModelAnalysis, sign: Sign) -> list[Line]:
    if by_chance := against_chance.clique_by_chance(model, sign):
        return [Line(by_chance)]
    found: list[Clique] = getattr(model.cliques, sign)
    nulls = [
        f"{'no transfer' if null.null == 'no transfer' else 'easy and hard targets'} alone: "
        f"{null.upper} or fewer, p {chance(null.p_value)}"
        for null in model.cliques.nulls
        if null.sign == sign
    ]
    if not found:
        return [Line("none", joined(*nulls))]
    largest = max(found, key=lambda each: each.size)
    same = sum(each.size == largest.size for each in found) - 1
    more = f" (and {counted(same, 'other')})" * bool(same)
    tasks = listed(labels(analysis).short[task] for task in largest.tasks)
    return [Line(f"{largest.size} tasks{more}", tasks), *(Line("", null) for null in nulls)]


def personas(analysis: Analysis) -> PageTable:
    """The personas that chance does not explain; the intro alone where there are none."""
    (names, _, models), rows = labels(analysis), []
    for role, members in against_chance.personas(analysis).items():
        for persona in members:
            row: list[str | Line] = [task_line(names[persona.task]), role]
            for model in analysis.models:
                line = Line(UNKNOWN)
                if (evidence := persona.models.get(model)) is not None:
                    distance = Estimate(evidence.value - evidence.average, evidence.ci, {})
                    p_value = chance(evidence.p_value)
                    line = estimate_line(distance, f"p {p_value}" * (p_value != UNKNOWN))
                row.append(line)
            rows.append([*row, percent(persona.support)])
    heads = ["Task", "Persona", *models.values(), "Support"]
    intro = against_chance.about_personas(analysis)
    return table("personas stack", "Personas", heads, rows, intro)


def claim_rows(analysis: Analysis) -> list[tuple[str, str, Claim]]:
    """The published findings that can be decided here: `yes`, `mixed` or `no`, the verdict in
    words, and the finding.

    A finding of known support holds at `SUPPORT` or more, and does not hold where its reverse has
    that support.
    """
    rows = []
    for claim in analysis.claims:
        if claim.holds is None:
            continue
        kind, verdict = ("yes", "holds") if claim.holds else ("no", "does not hold")
        if (claim.support if claim.holds else 1 - claim.support) < against_chance.SUPPORT:
            kind, verdict = "mixed", f"not sure (support {percent(claim.support)})"
        elif claim.holds and claim.held < claim.tried:
            kind, verdict = "mixed", "depends"
        rows.append((kind, verdict, claim))
    return rows


def undecided(analysis: Analysis) -> str:
    """How many published findings cannot be decided here, and why; empty where all can."""
    gaps = [claim.evidence for claim in analysis.claims if claim.holds is None]
    reasons = "; ".join(dict.fromkeys(gaps))
    return f"{len(gaps)} of {len(analysis.claims)} cannot be decided: {reasons}." if gaps else ""


def record_tables(analysis: Analysis) -> list[PageTable]:
    """Tasks, settings, inputs and answer hashes."""
    names, models = labels(analysis), analysis.models.values()
    tasks: list[Row] = []
    for task in analysis.tasks:
        use = " and ".join(["source"] * task.source + ["target"] * task.target)
        bases = (percent(model.base_accuracy.get(task.name, math.nan)) for model in models)
        kinds = task.level or UNKNOWN, task.granularity or UNKNOWN
        row = task_line(names.long[task.name]), names.short[task.name], *kinds, use, *bases
        tasks.append(row)
    settings: list[Row] = []
    for name, value in vars(analysis.settings).items():
        text = MEASURES.get(value, value) if isinstance(value, str) else str(value)
        if isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, int):
            text = f"{value:,}"
        elif isinstance(value, dict):
            text = "; ".join(f"{clean(str(key))} {each:g}" for key, each in value.items())
        settings.append((name.replace("_", " "), text))
    for name, label in names.models.items():
        gaps = analysis.models[name].gaps
        missing = f"of which {gaps.missing:,} not measured and {gaps.undefined:,} undefined"
        words = f"{gaps.cells:,}, {missing} (base at or above the ceiling)"
        settings.append((f"cells of {label}", words))
    inputs = [(each.model, each.file, each.kind, each.sha256) for each in analysis.inputs]
    gold = [
        (names.long.get(target, clean(target)), each.file, value)
        for each in analysis.inputs
        for target, value in each.gold.items()
    ]
    heads = ["Task", "Short", "Level", "Granularity", "Used as"]
    heads += [f"Base accuracy, {label}" for label in names.models.values()]
    hashes = (
        "Results with different correct answers do not compare; equal answers have equal hashes."
    )
    found = [
        table("", "Tasks", heads, tasks),
        table("pairs", "Settings", [], settings),
        table("hashes", "Inputs", ["Model", "File", "Kind", "SHA-256"], inputs),
        table("hashes", "Correct answers", ["Task", "File", "SHA-256"], gold, hashes),
    ]
    return [each for each in found if each.rows]
