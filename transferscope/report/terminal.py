"""The summary that the command prints: what happened in words, then the numbers behind it.

Returns `rich` renderables, which `cli` prints. Names are text, never markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from transferscope.analysis import Analysis, Claim, Interval, ModelAnalysis, Sign
from transferscope.analysis.check import Check, ranked
from transferscope.analysis.strategies import STRATEGIES
from transferscope.matrix.behavior_record import says
from transferscope.plots.curves import about, changes_over_steps
from transferscope.plots.text import (
    MEASURES,
    between,
    chance,
    control_kind,
    has_interval,
    labels,
    percent,
    signed,
    spelled,
)
from transferscope.plots.training_strategies import NAMES, strategy_rows
from transferscope.report.findings import happened
from transferscope.report.tables import ROLES, TOP, personas_by_chance

VERDICTS = {
    True: ("depends", "yellow"),
    False: ("does not hold", "red"),
    None: ("cannot tell", "dim"),
}
NULLS = {"no transfer": "with no transfer", "column shift": "with easy and hard targets alone"}
FEW = 3
"""Up to this many findings that cannot be told are listed one by one."""

PGF = (
    "PGF is the part of a target's gap to its ceiling that finetuning closed. 1 closes all of it, "
    "0 changes nothing, negative is harm."
)
POINTS = " Points are percentage points of accuracy."
PERSONAS = (
    "Donors help other tasks more than the average source, pirates harm them more. Sponges gain "
    "more from other tasks than the average target, sieves lose more."
)
SUPPORT = " In brackets: the share of resamples with this persona."


def summary(analysis: Analysis) -> RenderableType:
    """What happened; per model the averages, extremes and cliques; personas; claims; caveats."""
    measure = MEASURES[analysis.settings.measure]
    parts: list[RenderableType] = [*checked(analysis.checks), *_happened(analysis)]
    parts += [Text(f"The average source and the other tasks ({measure})", "bold")]
    parts += [_averages(analysis)]
    for name in analysis.models:
        parts += [*_heading(name), Padding(_model(analysis, name), (0, 0, 0, 2))]
    for each in analysis.trajectories:
        lines = changes_over_steps(analysis, each)
        parts += _heading(about(analysis, each))
        parts += [Padding(Text(line), (0, 0, 0, 2)) for line in lines]
    parts += _trials(analysis)
    parts += [*_heading("Personas, in every model"), *_personas(analysis)]
    parts += [*_heading("The paper's findings"), _claims(analysis.claims)]
    if analysis.notes:
        parts += [*_heading("Caveats"), _bullets(analysis.notes)]
    return Group(*parts)


def _heading(text: str) -> list[RenderableType]:
    return [Text(), Text(text, style="bold")]


def _bullets(lines: Iterable[str]) -> Table:
    table = Table.grid(padding=(0, 1))
    for line in lines:
        table.add_row("  •", Text(line))
    return table


def checked(checks: Sequence[Check]) -> Iterator[RenderableType]:
    """The checks that void a verdict or put it in doubt, the worst first."""
    lines = Table.grid(padding=(0, 1))
    for line in ranked(checks):
        style = "bold red" if line.startswith("void") else "yellow"
        lines.add_row(Text("!", style), Text(line))
    if checks:
        yield from (Text("Check these first", style="bold"), lines, Text())


def _happened(analysis: Analysis) -> Iterator[RenderableType]:
    """The first sentences of the page, without the averages, which have a table here."""
    if analysis.settings.measure == "pgf":
        known = any(model.base_seeds for model in analysis.models.values())
        yield from (Text(PGF + POINTS * known, "dim"), Text())
    for account in happened(analysis):
        said = [sentence for sentence in account.sentences if sentence != account.averages]
        yield Text(account.model, style="bold")
        yield Padding(Text(" ".join(said)), (0, 0, 1, 2))


def _with_interval(value: float, ci: Interval) -> str:
    if not has_interval(ci):
        return signed(value, 3)
    low, high = (end.removeprefix("+") for end in between(ci, 3).split(" to "))
    return f"{signed(value, 3)} [{low}, {high}]"


def _averages(analysis: Analysis) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold")
    table.add_column("seeds", justify="right")
    for head in ("help", "harm", "by chance"):
        table.add_column(head)
    for name, model in analysis.models.items():
        average, floor = model.average.transferability, "–"
        if model.noise_floor:
            null = model.noise_floor.transferability
            floor = f"{signed(null.positive, 3)} {signed(null.negative, 3)}"
        help_, harm = (
            _with_interval(getattr(average, sign), getattr(average.ci, sign))
            for sign in get_args(Sign)
        )
        table.add_row(Text(name), str(len(model.seeds)), help_, harm, floor)
    return table


def _model(analysis: Analysis, name: str) -> Table:
    model = analysis.models[name]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    signs: tuple[Sign, ...] = get_args(Sign)
    for label, sign in zip(("strongest donors", "strongest pirates"), signs, strict=True):
        values = {task: getattr(e, sign).mean for task, e in model.transferability.items()}
        known = {task: value for task, value in values.items() if value and math.isfinite(value)}
        order = sorted(known, key=lambda task, v=known: -abs(v[task]))[:TOP]
        leaders = [f"{task} {signed(known[task], 3)}" for task in order]
        table.add_row(label, Text(", ".join(leaders) or "none"))
    for sign in signs:
        table.add_row(f"largest {sign} clique", Text(_clique(analysis, model, sign)))
    found = model.behaviour.sources if model.behaviour else {}
    cells = [
        f"{source} → {target} ({says(answers)})"
        for source, row in found.items()
        for target, answers in row.items()
        if answers.collapsed
    ]
    if cells:
        more = f" and {len(cells) - TOP} more" if len(cells) > TOP else ""
        total = sum(map(len, found.values()))
        text = f"{len(cells)} of {total} cells: {', '.join(cells[:TOP])}{more}"
        table.add_row("collapsed answers", Text(text))
    for control, placebo in model.controls.items():
        text = f"mean effect {_with_interval(placebo.mean.mean, placebo.mean.ci)}"
        if (adjusted := model.adjusted) is not None and adjusted.placebo == control:
            before, after = analysis.decomposition[name].target, adjusted.decomposition.target
            mean = _with_interval(adjusted.mean.mean, adjusted.mean.ci)
            text += (
                f"; off-diagonal after adjustment {mean}, explained by the target: "
                f"{percent(before)} before, {percent(after)} after"
            )
        table.add_row(Text(f"{control_kind(control)} ({control})"), Text(text))
    return table


def _clique(analysis: Analysis, model: ModelAnalysis, sign: Sign) -> str:
    found = getattr(model.cliques, sign)
    if not found:
        return "none of three tasks or more"
    short = {task.name: task.abbreviation for task in analysis.tasks}
    first = found[0]
    ties = sum(clique.size == first.size for clique in found) - 1
    text = f"{first.size} tasks ({' '.join(short[name] for name in first.tasks)})"
    text += f" and {ties} more of that size" if ties else ""
    nulls = [
        f"up to {null.upper} {NULLS[null.null]} (p {chance(null.p_value)})"
        for null in model.cliques.nulls
        if null.sign == sign
    ]
    return text + (f"; by chance: {', '.join(nulls)}" if nulls else "")


def _trials(analysis: Analysis) -> list[RenderableType]:
    """The experiment on the choice of training data, where there is one."""
    if (experiment := analysis.experiment) is None:
        return []
    names, parts = labels(analysis), _heading("What the choice of training data is worth")
    for model, one in experiment.models.items():
        if len(experiment.models) > 1:
            parts.append(Text(f"  {model}"))
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("  accuracy on")
        for name in STRATEGIES:
            table.add_column(NAMES[name].removesuffix(" mixture").removesuffix(" mixtures"))
        for row in strategy_rows(analysis, model):
            table.add_row(Text(f"  {row.target}"), *(Text(cell) for cell, _ in row.cells))
        parts += [table, _bullets(spelled(line, names) for line in one.verdict)]
    return parts


def _personas(analysis: Analysis) -> Iterator[RenderableType]:
    found = {role: getattr(analysis.personas, role) for role in ROLES}
    resampled = any(math.isfinite(each.support) for members in found.values() for each in members)
    yield Padding(Text(PERSONAS + SUPPORT * resampled, "dim"), (0, 0, 0, 2))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for role, members in found.items():
        supports = [f" ({percent(p.support)})" * math.isfinite(p.support) for p in members]
        texts = [f"{p.task}{support}" for p, support in zip(members, supports, strict=True)]
        table.add_row(f"  {role}s", Text(", ".join(texts) or "none"))
    if said := personas_by_chance(analysis):
        table.add_row("", Text(said, "dim"))
    yield table


def _claims(claims: list[Claim]) -> Table:
    """The number of findings that hold, and a line for each other one."""
    table = Table.grid(padding=(0, 2))
    firm = [claim for claim in claims if claim.holds and claim.held == claim.tried]
    held = f"{len(firm)} of {len(claims)}, in every analysis variant"
    table.add_row(Text("  hold", "green"), Text(held))
    untold = [claim for claim in claims if claim.holds is None]
    folded = untold if len(untold) > FEW else []
    for claim in claims:
        if claim in firm or claim in folded:
            continue
        word, style = VERDICTS[claim.holds]
        detail = claim.evidence
        if claim.holds is not None:
            detail = f"in {claim.held} of {claim.tried} analysis variants"
        if claim.sensitive_to:
            turned = "not" if claim.holds else "it holds"
            detail += f"; {turned} with {', '.join(claim.sensitive_to)}"
        row = Text(claim.statement).append(f": {detail}", "dim")
        table.add_row(Text(f"  {word}", style=style), row)
    if folded:
        word, style = VERDICTS[None]
        said = f"{len(folded)} of {len(claims)}, without the models, sizes, tasks or seeds needed"
        table.add_row(Text(f"  {word}", style), Text(said))
    return table
