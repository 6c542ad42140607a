"""The page's tables: what happened at a glance, personas, claims, settings, inputs, tasks.

In:   an `Analysis`.
Out:  rows of text. Nothing here is escaped: the template does that.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from transferscope.analysis import Analysis, Claim, Clique, ModelAnalysis, Sign, Signed, TaskEffect
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix.collapse import says
from transferscope.plots.labels import (
    MEASURES,
    UNKNOWN,
    Labels,
    between,
    chance,
    clean,
    counted,
    labels,
    link,
    listed,
    model_labels,
    percent,
    same_task,
    signed,
)
from transferscope.plots.points import beside, items

TOP = 3


class Summary(NamedTuple):
    """The head of the page."""

    models: str
    facts: list[str]
    measure: str


class Line(NamedTuple):
    """One thing said: the main text and what stands small below it."""

    text: str
    small: str = ""
    link: str = ""
    """The address of the task or the pair that it names, in the explorer."""


class Fact(NamedTuple):
    """One row of the table `at a glance`: a question and each model's answer."""

    name: str
    help: str
    answers: list[list[Line]]


class Glance(NamedTuple):
    """The table `at a glance`."""

    models: list[str]
    facts: list[Fact]


def glance(analysis: Analysis) -> Glance:
    """Averages, strongest donors and pirates, and largest cliques, model by model."""
    names = labels(analysis)
    records = list(analysis.models.values())

    def row(name: str, help: str, answer: Callable[[ModelAnalysis], list[Line]]) -> Fact:
        return Fact(name, help, [answer(record) or [Line(UNKNOWN)] for record in records])

    facts = [
        row("Effects beyond noise", "one task on another", lambda m: _beyond(m, analysis)),
        row("Strongest effects", "one task on another", lambda m: _extremes(m, analysis, names)),
        row("Transferability", "average over sources", lambda m: _averages(m, "transferability")),
        row("Malleability", "average over targets", lambda m: _averages(m, "malleability")),
        row(
            "Strongest donors",
            "highest positive transferability",
            lambda m: _leaders(m.transferability, "positive", names),
        ),
        row(
            "Strongest pirates",
            "most negative transferability",
            lambda m: _leaders(m.transferability, "negative", names),
        ),
        row("Largest positive clique", "", lambda m: _clique(m, "positive", names)),
        row("Largest negative clique", "", lambda m: _clique(m, "negative", names)),
    ]
    if any(model.adjusted for model in records):
        facts.insert(2, row("Beyond the placebo", "average effect", _beyond_placebo))
    if any(model.behaviour for model in records):
        facts.insert(2, row("Collapsed answers", "no transfer", lambda m: _collapsed(m, names)))
    return Glance(list(model_labels(analysis).values()), facts)


def _beyond(model: ModelAnalysis, analysis: Analysis) -> list[Line]:
    cells = [
        cell
        for source, row in model.pgf.items()
        for target, cell in row.items()
        if not same_task(source, target) and math.isfinite(cell.mean)
    ]
    alpha = analysis.settings.alpha
    verdicts = [(cell, beyond_noise(cell, alpha)) for cell in cells]
    judged = [cell for cell, beyond in verdicts if beyond is not None]
    if not judged:
        return [Line(f"{counted(len(cells), 'effect')} measured", "no intervals")]
    clear = [cell for cell, beyond in verdicts if beyond]
    helped = sum(cell.mean > 0 for cell in clear)
    sure = sum(cell.q_value <= alpha for cell in clear)
    return [
        Line(f"{helped} helped, {len(clear) - helped} harmed", f"of {len(judged)}"),
        Line(
            f"{sure} after correction",
            f"for {counted(len(judged), 'test')} (q ≤ {alpha:g})",
        ),
    ]


def _beyond_placebo(model: ModelAnalysis) -> list[Line]:
    adjusted = model.adjusted
    if adjusted is None:
        return []
    control = model.controls[adjusted.placebo].mean
    placebo = f"{clean(adjusted.placebo)} itself: {signed(control.mean, 3)}"
    return [
        Line(signed(adjusted.mean.mean, 3), _interval(between(adjusted.mean.ci, 3))),
        Line("", "; ".join(part for part in (placebo, _interval(between(control.ci, 3))) if part)),
    ]


def _collapsed(model: ModelAnalysis, names: Labels) -> list[Line]:
    found = model.behaviour.sources if model.behaviour else {}
    if not any(answers.letters for row in found.values() for answers in row.values()):
        return []
    cells = [
        Line("", f"{names.long[source]} → {names.long[target]}: {says(answers)}")
        for source, row in found.items()
        for target, answers in row.items()
        if answers.collapsed
    ]
    more = [Line("", f"and {len(cells) - TOP} more")] if len(cells) > TOP else []
    total = sum(len(row) for row in found.values())
    return [Line(f"{len(cells)} of {counted(total, 'cell')}"), *cells[:TOP], *more]


def _extremes(model: ModelAnalysis, analysis: Analysis, names: Labels) -> list[Line]:
    cells = [
        (cell, source, target)
        for source, row in model.pgf.items()
        for target, cell in row.items()
        if not same_task(source, target) and math.isfinite(cell.mean)
    ]
    if not cells:
        return []
    found = model.behaviour.sources if model.behaviour else {}
    lines = []
    for end in (max, min):
        cell, source, target = end(cells, key=lambda each: each[0].mean)
        answers = found.get(source, {}).get(target)
        parts = [
            beside(analysis, model, target, cell),
            _interval(between(cell.ci)),
            items(model, target, cell).strip(),
            "collapsed" if answers and answers.collapsed else "",
        ]
        words = f"{signed(cell.mean)} {names.long[source]} → {names.long[target]}"
        pair = link(source=names.long[source], target=names.long[target])
        lines.append(Line(words, "; ".join(part for part in parts if part), pair))
    return lines


def _averages(model: ModelAnalysis, quantity: str) -> list[Line]:
    average: Signed = getattr(model.average, quantity)
    floor: Signed | None = getattr(model.noise_floor, quantity) if model.noise_floor else None
    lines = []
    for sign in ("positive", "negative"):
        again = _interval(between(getattr(average.ci, sign), 3))
        parts = [f"in another such study {again}" if again else ""]
        if floor is not None:
            parts.append(f"without any transfer {between(getattr(floor.ci, sign), 3)}")
        lines.append(
            Line(signed(getattr(average, sign), 3), "; ".join(part for part in parts if part))
        )
    return lines


def _interval(text: str) -> str:
    return "" if text == UNKNOWN else text


def _leaders(effects: dict[str, TaskEffect], sign: Sign, names: Labels) -> list[Line]:
    factor = 1 if sign == "positive" else -1
    values = {
        task: getattr(effect, sign).mean
        for task, effect in effects.items()
        if factor * getattr(effect, sign).mean > 0
    }
    best = sorted(values, key=lambda task: -factor * values[task])[:TOP]
    return [
        Line(
            f"{names.long[task]} {signed(values[task], 3)}",
            _interval(between(getattr(effects[task], sign).ci, 3)),
            link(task=names.long[task]),
        )
        for task in best
    ]


def _clique(model: ModelAnalysis, sign: Sign, names: Labels) -> list[Line]:
    found: list[Clique] = getattr(model.cliques, sign)
    nulls = [
        f"{'no transfer' if null.null == 'no transfer' else 'easy and hard targets'} alone: "
        f"{null.upper} or fewer, p {chance(null.p_value)}"
        for null in model.cliques.nulls
        if null.sign == sign
    ]
    if not found:
        return [Line("none", "; ".join(nulls))]
    largest = max(found, key=lambda each: each.size)
    same = sum(each.size == largest.size for each in found) - 1
    more = f" (and {counted(same, 'other')})" if same else ""
    tasks = listed(names.short[task] for task in largest.tasks)
    return [Line(f"{largest.size} tasks{more}", tasks), *(Line("", null) for null in nulls)]


class PersonaRow(NamedTuple):
    """A persona and what each model says."""

    role: str
    task: str
    models: list[Line]
    support: str


def persona_rows(analysis: Analysis) -> list[PersonaRow]:
    """The personas with their distance from the average, p-value and support."""
    names = labels(analysis)
    rows = []
    for role in ("donor", "pirate", "sponge", "sieve"):
        for persona in getattr(analysis.personas, role):
            cells = []
            for model in analysis.models:
                evidence = persona.models.get(model)
                if evidence is None:
                    cells.append(Line(UNKNOWN))
                    continue
                small = [_interval(between(evidence.ci, 3)), f"p {chance(evidence.p_value)}"]
                cells.append(
                    Line(
                        signed(evidence.value - evidence.average, 3),
                        "; ".join(part for part in small if part and not part.endswith(UNKNOWN)),
                    )
                )
            task = names.long[persona.task]
            rows.append(PersonaRow(role, task, cells, percent(persona.support)))
    return rows


def personas_by_chance(analysis: Analysis) -> str:
    """How many personas there would be without any transfer; empty where nothing tells."""
    found = analysis.personas_by_chance
    if not found or not all(map(math.isfinite, found.values())):
        return ""
    numbers = listed(f"{number:.1f} {role}s" for role, number in found.items())
    return f"Without any transfer about {numbers} would be named."


class ClaimRow(NamedTuple):
    """A published finding and whether it holds here."""

    verdict: str
    kind: str
    """`yes`, `mixed`, `no` or `unknown`."""
    statement: str
    source: str
    evidence: str
    support: str
    held: str
    sensitive: str


def claim_rows(analysis: Analysis) -> list[ClaimRow]:
    """The claims audit as text."""
    return [
        ClaimRow(
            *_verdict(claim),
            claim.statement,
            claim.source,
            claim.evidence,
            percent(claim.support),
            f"{claim.held} of {claim.tried}" if claim.tried else UNKNOWN,
            "; ".join(claim.sensitive_to) or UNKNOWN,
        )
        for claim in analysis.claims
    ]


def _verdict(claim: Claim) -> tuple[str, str]:
    if claim.holds is None:
        return "can’t tell", "unknown"
    if not claim.holds:
        return "does not hold", "no"
    return ("holds", "yes") if claim.held == claim.tried else ("depends", "mixed")


def setting_rows(analysis: Analysis) -> list[tuple[str, str]]:
    """Every setting and its value, then what was there to measure in each model."""
    settings = analysis.settings
    rows = [
        (field.name.replace("_", " "), _setting(getattr(settings, field.name)))
        for field in dataclasses.fields(settings)
    ]
    for name, label in model_labels(analysis).items():
        gaps = analysis.models[name].gaps
        rows.append(
            (
                f"cells of {label}",
                f"{gaps.cells:,}, of which {gaps.missing:,} not measured and {gaps.undefined:,} "
                "undefined (baseline at or above the ceiling)",
            )
        )
    return rows


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{clean(str(key))} {each:g}" for key, each in value.items())
    if value in MEASURES:
        return MEASURES[str(value)]
    return f"{value:,}" if isinstance(value, int) else str(value)


def input_rows(analysis: Analysis) -> list[tuple[str, str, str, str]]:
    """Model, file, kind and checksum of everything that was read."""
    return [(each.model, each.file, each.kind, each.sha256) for each in analysis.inputs]


def gold_rows(analysis: Analysis) -> list[tuple[str, str, str]]:
    """Task, file and hash of the right answers that results were judged by."""
    names = labels(analysis)
    return [
        (names.long.get(target, clean(target)), each.file, value)
        for each in analysis.inputs
        for target, value in each.gold.items()
    ]


class TaskRow(NamedTuple):
    """A task and how it is classified."""

    short: str
    long: str
    level: str
    granularity: str
    part: str
    base: list[str]


def task_rows(analysis: Analysis) -> list[TaskRow]:
    """The tasks with abbreviations and the models' accuracies before finetuning."""
    names = labels(analysis)
    return [
        TaskRow(
            names.short[task.name],
            names.long[task.name],
            task.level or UNKNOWN,
            task.granularity or UNKNOWN,
            _part(task.source, task.target),
            [
                percent(model.base_accuracy.get(task.name, math.nan))
                for model in analysis.models.values()
            ],
        )
        for task in analysis.tasks
    ]


def _part(source: bool, target: bool) -> str:
    return "source and target" if source and target else "source" if source else "target"
