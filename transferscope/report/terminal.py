"""The summary that the command prints: what happened in words, then the numbers behind it.

In:   an `Analysis`.
Out:  `rich` renderables; `cli` prints them. Names are text, never markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import get_args

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from transferscope.analysis import Analysis, Claim, Interval, ModelAnalysis, Sign, TaskEffect
from transferscope.analysis.check import Check, ranked
from transferscope.analysis.experiment_record import STRATEGIES
from transferscope.matrix.behavior_record import says
from transferscope.plots.curves import about, sentences
from transferscope.plots.labels import (
    between,
    chance,
    control_kind,
    labels,
    model_labels,
    signed,
    spelled,
)
from transferscope.plots.strategies import NAMES, lines
from transferscope.report.findings import happened
from transferscope.report.summary import personas_by_chance

SHOWN = 3
VERDICTS = {
    True: ("depends", "yellow"),
    False: ("does not hold", "red"),
    None: ("cannot tell", "dim"),
}
NULLS = {"no transfer": "with no transfer", "column shift": "with easy and hard targets alone"}
FEW = 3
"""So many findings of which the study cannot tell are listed."""


PGF = (
    "Effects are in PGF, the part of a target's remaining gap to its ceiling that finetuning "
    "closed: 1 is all of it, 0 none, negative is harm."
)
POINTS = " Points are percentage points of accuracy."
ROLES = ("donor", "pirate", "sponge", "sieve")
PERSONAS = (
    "Donors help other tasks more than the average source does, pirates harm them more; sponges "
    "gain more from other tasks than the average target does, sieves lose more."
)
SUPPORT = " In brackets: the share of resamples in which it is so."


def summary(analysis: Analysis) -> RenderableType:
    """What happened; per model the averages, strongest donors and pirates, largest cliques;
    personas; claims."""
    measure = analysis.settings.measure.replace("_", " ").replace("pgf", "PGF")
    head = Text(f"What the average source does to the other tasks ({measure})", "bold")
    parts: list[RenderableType] = [*checked(analysis.checks), *_happened(analysis)]
    parts += [head, _averages(analysis)]
    for name in analysis.models:
        parts += [Text(), Text(name, style="bold"), Padding(_model(analysis, name), (0, 0, 0, 2))]
    parts += _checkpoints(analysis)
    parts += _trials(analysis)
    parts += [Text(), Text("Personas, in every model", style="bold")]
    parts += [*_personas(analysis)]
    parts += [Text(), Text("The paper's findings", style="bold"), _claims(analysis.claims)]
    if analysis.notes:
        parts += [Text(), Text("Before you believe the numbers", style="bold")]
        notes = Table.grid(padding=(0, 1))
        for note in analysis.notes:
            notes.add_row("  •", Text(note))
        parts.append(notes)
    return Group(*parts)


def checked(checks: Sequence[Check]) -> Iterator[RenderableType]:
    """What voids a verdict or puts it in doubt, the worst first."""
    lines = Table.grid(padding=(0, 1))
    for line in ranked(checks):
        style = "bold red" if line.startswith("void") else "yellow"
        lines.add_row(Text("!", style), Text(line))
    if checks:
        yield Text("Check these first", style="bold")
        yield lines
        yield Text()


def _happened(analysis: Analysis) -> Iterator[RenderableType]:
    """The sentences with which the page begins, less the one on averages: a table has those."""
    if analysis.settings.measure == "pgf":
        known = any(model.base_seeds for model in analysis.models.values())
        yield Text(PGF + POINTS * known, "dim")
        yield Text()
    for account in happened(analysis):
        said = [sentence for sentence in account.sentences if sentence != account.averages]
        yield Text(account.model, style="bold")
        yield Padding(Text(" ".join(said)), (0, 0, 1, 2))


def _number(value: float) -> str:
    return signed(value, 3)


def _with_interval(value: float, ci: Interval) -> str:
    if math.isnan(ci[0]):
        return _number(value)
    low, high = (end.removeprefix("+") for end in between(ci, 3).split(" to "))
    return f"{_number(value)} [{low}, {high}]"


def _averages(analysis: Analysis) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold")
    table.add_column("seeds", justify="right")
    for head in ("help", "harm", "by chance"):
        table.add_column(head)
    for name, model in analysis.models.items():
        average, floor = model.average.transferability, model.noise_floor
        chance = "–"
        if floor:
            by_chance = floor.transferability
            chance = f"{_number(by_chance.positive)} {_number(by_chance.negative)}"
        table.add_row(
            Text(name),
            str(len(model.seeds)),
            _with_interval(average.positive, average.ci.positive),
            _with_interval(average.negative, average.ci.negative),
            chance,
        )
    return table


def _model(analysis: Analysis, name: str) -> Table:
    model = analysis.models[name]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    signs: tuple[Sign, ...] = get_args(Sign)
    for label, sign in zip(("strongest donors", "strongest pirates"), signs, strict=True):
        table.add_row(label, Text(", ".join(_strongest(model.transferability, sign))))
    for sign in signs:
        table.add_row(f"largest {sign} clique", Text(_clique(analysis, model, sign)))
    for label, text in (*_collapsed(model), *_placebos(analysis, name)):
        table.add_row(Text(label), Text(text))
    return table


def _checkpoints(analysis: Analysis) -> list[RenderableType]:
    """What changed over the checkpoints of each finetune that has any."""
    names, models = labels(analysis), model_labels(analysis)
    parts: list[RenderableType] = []
    for each in analysis.trajectories:
        parts += [Text(), Text(about(each, models), style="bold")]
        parts += [Padding(Text(line), (0, 0, 0, 2)) for line in sentences(analysis, each, names)]
    return parts


def _trials(analysis: Analysis) -> list[RenderableType]:
    """What the choice of training data is worth, where that was tried."""
    if (experiment := analysis.experiment) is None:
        return []
    names = labels(analysis)
    parts: list[RenderableType] = [Text(), Text("What the choice of data is worth", style="bold")]
    for model, one in experiment.models.items():
        if len(experiment.models) > 1:
            parts += [Text(f"  {model}")]
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("  accuracy on")
        for name in STRATEGIES:
            table.add_column(NAMES[name].removesuffix(" mixture").removesuffix(" mixtures"))
        for row in lines(analysis, model, names):
            table.add_row(Text(f"  {row.name}"), *(Text(cell) for cell, _ in row.cells))
        parts.append(table)
        said = Table.grid(padding=(0, 1))
        for line in one.verdict:
            said.add_row("  •", Text(spelled(line, names)))
        parts.append(said)
    return parts


def _collapsed(model: ModelAnalysis) -> Iterator[tuple[str, str]]:
    """The cells that are no transfer, where any are."""
    if model.behaviour is None:
        return
    found = model.behaviour.sources
    cells = [
        f"{source} → {target} ({says(answers)})"
        for source, row in found.items()
        for target, answers in row.items()
        if answers.collapsed
    ]
    if cells:
        total = sum(len(row) for row in found.values())
        more = f" and {len(cells) - SHOWN} more" if len(cells) > SHOWN else ""
        named = ", ".join(cells[:SHOWN])
        yield "collapsed answers", f"{len(cells)} of {total} cells: {named}{more}"


def _placebos(analysis: Analysis, name: str) -> Iterator[tuple[str, str]]:
    """What the controls did on average, and what is left of the sources beyond the placebo."""
    model = analysis.models[name]
    for control, found in model.controls.items():
        text = f"mean effect {_with_interval(found.mean.mean, found.mean.ci)}"
        if (adjusted := model.adjusted) is not None and adjusted.placebo == control:
            before, after = analysis.decomposition[name].target, adjusted.decomposition.target
            text += (
                f"; off-diagonal after adjustment "
                f"{_with_interval(adjusted.mean.mean, adjusted.mean.ci)}, explained by the target: "
                f"{_share(before)} before, {_share(after)} after"
            )
        yield f"{control_kind(control)} ({control})", text


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0%}"


def _strongest(effects: dict[str, TaskEffect], sign: Sign) -> list[str]:
    values = {name: getattr(effect, sign).mean for name, effect in effects.items()}
    known = {name: value for name, value in values.items() if value and not math.isnan(value)}
    order = sorted(known, key=lambda name: -abs(known[name]))
    return [f"{name} {_number(known[name])}" for name in order[:SHOWN]] or ["none"]


def _clique(analysis: Analysis, model: ModelAnalysis, sign: Sign) -> str:
    found = getattr(model.cliques, sign)
    if not found:
        return "none of three tasks or more"
    short = {task.name: task.abbreviation for task in analysis.tasks}
    first = found[0]
    ties = sum(clique.size == first.size for clique in found) - 1
    text = f"{first.size} tasks ({' '.join(short[name] for name in first.tasks)})"
    text += f" and {ties} more of that size" if ties else ""
    nulls = [n for n in model.cliques.nulls if n.sign == sign]
    if nulls:
        lucky = (f"up to {n.upper} {NULLS[n.null]} (p {chance(n.p_value)})" for n in nulls)
        text += "; by luck: " + ", ".join(lucky)
    return text


def _personas(analysis: Analysis) -> Iterator[RenderableType]:
    """What the parts are, and who plays them."""
    known = [each for role in ROLES for each in getattr(analysis.personas, role)]
    resampled = any(math.isfinite(each.support) for each in known)
    yield Padding(Text(PERSONAS + SUPPORT * resampled, "dim"), (0, 0, 0, 2))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for role in ROLES:
        members = getattr(analysis.personas, role)
        names = [
            persona.task + ("" if math.isnan(persona.support) else f" ({persona.support:.0%})")
            for persona in members
        ]
        table.add_row(f"  {role}s", Text(", ".join(names) or "none"))
    if said := personas_by_chance(analysis):
        table.add_row("", Text(said, "dim"))
    yield table


def _claims(claims: list[Claim]) -> Table:
    """How many findings hold, and a line for each that does not, or not under every choice."""
    table = Table.grid(padding=(0, 2))
    firm = [claim for claim in claims if claim.holds and claim.held == claim.tried]
    table.add_row(Text("  hold", "green"), Text(f"{len(firm)} of {len(claims)}, however analysed"))
    silent = [claim for claim in claims if claim.holds is None]
    folded = silent if len(silent) > FEW else []
    for claim in claims:
        if claim in firm or claim in folded:
            continue
        word, style = VERDICTS[claim.holds]
        detail = claim.evidence
        if claim.holds is not None:
            detail = f"in {claim.held} of {claim.tried} ways to analyse"
        if claim.sensitive_to:
            turned = "not" if claim.holds else "it holds"
            detail += f"; {turned} with {', '.join(claim.sensitive_to)}"
        row = Text(claim.statement).append(f": {detail}", "dim")
        table.add_row(Text(f"  {word}", style=style), row)
    if folded:
        said = f"{len(folded)} of {len(claims)}, which need models, sizes, tasks or seeds not here"
        table.add_row(Text(f"  {VERDICTS[None][0]}", VERDICTS[None][1]), Text(said))
    return table
