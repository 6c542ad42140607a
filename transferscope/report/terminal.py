"""The summary that the command prints: the first screen of the page, then what is behind it.

Returns `rich` renderables, which `cli` prints. Names are text, never markup.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from transferscope.analysis import Analysis, Interval
from transferscope.analysis.parts import STRATEGIES
from transferscope.analysis.verdict import Check, ranked
from transferscope.plots.against_chance import about_personas, personas
from transferscope.plots.curves import about, changes_over_steps
from transferscope.plots.labels import MEASURES, control_kind, counted, labels, spelled
from transferscope.plots.numbers import between, has_interval, percent, signed
from transferscope.plots.training_strategies import NAMES
from transferscope.report.overview import overviews
from transferscope.report.record_tables import claim_rows, undecided
from transferscope.report.safety import by_model, safety
from transferscope.report.section_tables import section_tables, steps_table, strategy_table
from transferscope.report.tables import glance

STYLES = {"mixed": "yellow", "no": "red", "up": "blue", "down": "red"}
ELSEWHERE = ("Transferability", "Malleability")
"""Rows of the page's table that the table of averages holds."""
NAMED = 5
"""Finetunes of one verdict that are listed."""

PGF = (
    "PGF is the part of a target's gap to its ceiling that finetuning closed. 1 closes all of it, "
    "0 changes nothing, negative is harm."
)
POINTS = "Points are percentage points of accuracy. "
PERSONAS = (
    "Donors help other tasks more than the average source, pirates harm them more. Sponges gain "
    "more from other tasks than the average target, sieves lose more. In brackets: the share of "
    "random draws with this persona."
)


def summary(analysis: Analysis) -> RenderableType:
    """The first screen; per model the averages, extremes and cliques; personas; claims; caveats."""
    measure = MEASURES[analysis.settings.measure]
    parts: list[RenderableType] = [*checked(analysis.checks), *_overview(analysis)]
    parts += [*_safety(analysis), Text()]
    parts.append(Text(f"The average source and the other tasks ({measure})", "bold"))
    parts.append(_averages(analysis))
    for column, name in enumerate(analysis.models, 1):
        parts += [*_heading(name), Padding(_model(analysis, column, name), (0, 0, 0, 2))]
    sources = {task.name for task in analysis.tasks if task.source}
    if rows := steps_table(analysis).rows:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for head in steps_table(analysis).heads:
            table.add_column(f"  {head}" if not table.columns else head)
        for row in rows:
            table.add_row(*(Text("  " * (cell is row[0]) + cell[0].text) for cell in row))
        parts += [*_heading("Over steps and strengths"), table]
    for each in analysis.trajectories:
        if not sources & {*each.sources}:
            continue  # a study's own, of which there are many: the page lists them
        lines = changes_over_steps(analysis, each)
        parts += _heading(about(analysis, each))
        parts += [Padding(Text(line), (0, 0, 0, 2)) for line in lines]
    parts += [*_twins(analysis), *_trials(analysis), *_personas(analysis), *_claims(analysis)]
    if analysis.notes:
        parts += [*_heading("Caveats"), bullets(analysis.notes)]
    return Group(*parts)


def _heading(text: str) -> list[RenderableType]:
    return [Text(), Text(text, style="bold")]


def bullets(lines: Iterable[str]) -> Table:
    """Each line with a bullet before it."""
    table = Table.grid(padding=(0, 1))
    for line in lines:
        table.add_row("  •", Text(line))
    return table


def checked(checks: Sequence[Check]) -> Iterator[RenderableType]:
    """The checks that void a verdict or put it in doubt, the worst first."""
    if checks:
        lines = Table.grid(padding=(0, 1))
        for line in ranked(checks):
            lines.add_row(
                Text("!", "bold red" if line.startswith("void") else "yellow"), Text(line)
            )
        yield from (Text("Check these first", style="bold"), lines, Text())


def _overview(analysis: Analysis) -> Iterator[RenderableType]:
    """The page's first screen: the counts, and the strongest gains and losses."""
    if analysis.settings.measure == "pgf":
        known = any(model.base_seeds for model in analysis.models.values())
        yield from (Text(POINTS * known + PGF, "dim"), Text())
    for each in overviews(analysis):
        yield Text(each.model, style="bold")
        counts = Table.grid(padding=(0, 1))
        counts.add_column(justify="right")
        for tile in each.tiles:
            text = Text(f"of {tile.of:,} {tile.text}").append(f"; {tile.small}", "dim")
            counts.add_row(Text(f"{tile.number:,}", STYLES.get(tile.kind, "bold")), text)
        effects = Table.grid(padding=(0, 1))
        effects.add_column(justify="right", no_wrap=True)
        for sign, strongest in (("up", each.gains), ("down", each.losses)):
            for one in strongest:
                more = "; ".join(filter(None, (one.interval, one.note)))
                text = Text(f"{one.source} → {one.target}").append(f"  {more}" * bool(more), "dim")
                effects.add_row(Text(one.value, STYLES[sign]), text)
        yield Padding(Group(counts, effects), (0, 0, 1, 2))


def _with_interval(value: float, ci: Interval) -> str:
    ends = ", ".join(end.removeprefix("+") for end in between(ci, 3).split(" to "))
    return f"{signed(value, 3)} [{ends}]" if has_interval(ci) else signed(value, 3)


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
        gain = _with_interval(average.positive, average.ci.positive)
        harm = _with_interval(average.negative, average.ci.negative)
        table.add_row(Text(name), str(len(model.seeds)), gain, harm, floor)
    return table


def _model(analysis: Analysis, column: int, name: str) -> Table:
    """One model's donors, pirates, cliques and collapsed cells as on the page, and its controls."""
    model = analysis.models[name]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for row in glance(analysis).rows:
        if (fact := row[0][0].text) not in ELSEWHERE:
            table.add_row(fact.lower(), Text("; ".join(line.words for line in row[column])))
    for control, placebo in model.controls.items():
        text = f"mean effect {_with_interval(placebo.mean.mean, placebo.mean.ci)}"
        table.add_row(Text(f"{control_kind(control)} ({control})"), Text(text))
    if (adjusted := model.adjusted) is not None:
        before, after = analysis.decomposition[name].target, adjusted.decomposition.target
        shares = f"{percent(before)} of the variance, {percent(after)} beyond the placebo"
        table.add_row("explained by the target", shares)
    return table


def _twins(analysis: Analysis) -> Iterator[RenderableType]:
    """What moved in both forms of a task and what in one, where a study has both."""
    if (found := section_tables(analysis).get("twins")) is None:
        return
    yield from _heading(found.title)
    table = Table(box=None, padding=(0, 1, 0, 0))
    for head in found.heads:
        table.add_column(head, header_style="dim")
    others = Counter[str]()
    for row in found.rows:
        if (moved := row[-1][0].text) in ("neither", "not tested"):
            others[moved] += 1
            continue
        lines = ([line.text, line.small] for [line] in row)
        table.add_row(*(Text("\n".join(filter(None, parts))) for parts in lines))
    rest = Text(
        "; ".join(f"{moved}: {counted(number, 'pair')}" for moved, number in others.items()), "dim"
    )
    yield Padding(Group(*[table] * bool(table.rows), *[rest] * bool(others)), (0, 0, 0, 2))


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
        for [target], _, *cells in strategy_table(analysis, model).rows:
            table.add_row(Text(f"  {target.text}"), *(Text(line.text) for [line] in cells))
        parts += [table, bullets(spelled(line, names) for line in one.verdict)]
    return parts


def _safety(analysis: Analysis) -> Iterator[RenderableType]:
    """The finetunes of each verdict, the first of them with what is known."""
    yield Text("Which finetunes are safe", style="bold")
    for line in by_model(analysis):
        yield Padding(Text(line), (0, 0, 0, 2))
    models = labels(analysis).models.values()
    for group in safety(analysis):
        table = Table.grid(padding=(0, 2))
        for [source], *cells in group.rows[:NAMED]:
            lines = [f"{label}: {line.text}" for label, [line] in zip(models, cells, strict=True)]
            lines = lines if len(lines) > 1 else [cells[0][0].words]
            table.add_row(Text(f"    {source.text}"), Text("\n".join(lines)))
        if (more := len(group.rows) - NAMED) > 0:
            table.add_row(Text(f"    and {more} more", "dim"), "")
        yield Padding(Text(group.title), (0, 0, 0, 2))
        yield from [table] if group.rows else []


def _personas(analysis: Analysis) -> Iterator[RenderableType]:
    """The personas that chance does not explain, or one line; nothing of a single model."""
    if not (about := about_personas(analysis)):
        return
    found, names = personas(analysis), labels(analysis).long
    yield from _heading("Personas, in every model")
    yield Padding(Text(about), (0, 0, 0, 2))
    if any(found.values()):
        yield Padding(Text(PERSONAS, "dim"), (0, 0, 0, 2))
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        for role, members in found.items():
            texts = [f"{names[p.task]} ({percent(p.support)})" for p in members]
            table.add_row(f"  {role}s", Text(", ".join(texts) or "none"))
        yield table


def _claims(analysis: Analysis) -> Iterator[RenderableType]:
    """The number of findings that hold, and a line for each other one that can be decided."""
    if not (rows := claim_rows(analysis)):
        return
    yield from _heading("The paper's findings")
    table = Table.grid(padding=(0, 2))
    firm = sum(kind == "yes" for kind, *_ in rows)
    count = f"{firm} of {len(analysis.claims)}, in every analysis variant"
    table.add_row(Text("  hold", "green"), Text(count))
    for kind, verdict, claim in rows:
        if kind == "yes":
            continue
        detail = f"in {claim.held} of {claim.tried} analysis variants"
        if claim.sensitive_to:
            turned = "it holds" if kind == "no" else "not"
            detail += f"; {turned} with {'; '.join(claim.sensitive_to)}"
        text = Text(claim.statement).append(f": {detail}", "dim")
        table.add_row(Text(f"  {verdict}", STYLES[kind]), text)
    yield table
    if text := undecided(analysis):
        yield Padding(Text(text, "dim"), (0, 0, 0, 2))
