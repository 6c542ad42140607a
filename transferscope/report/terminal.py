"""The summary that the command prints: the first screen of the page, then what is behind it.

Returns `rich` renderables, which `cli` prints. Names are text, never markup.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from transferscope.analysis import Analysis
from transferscope.analysis.verdict import ranked
from transferscope.plots.curves import about, changes_over_steps
from transferscope.plots.labels import MEASURES, counted, labels, spelled
from transferscope.report.findings import by_model, overviews, safety
from transferscope.report.section_tables import section_tables, strategy_table
from transferscope.report.tables import PageTable, claim_rows, glance, joined, personas, undecided

STYLES = {"mixed": "yellow", "no": "red", "up": "blue", "down": "red"}
STEPS, UNMOVED = "Over steps and strengths", ("neither", "not tested")
"""A title, and what is counted alone where a task has two forms."""
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
    parts = list[RenderableType]()
    if checks := ranked(analysis.checks):
        marks = ("bold red" if line.startswith("void") else "yellow" for line in checks)
        lines = ((Text("!", mark), line) for mark, line in zip(marks, checks, strict=True))
        parts += [Text("Check these first", "bold"), tabulated(lines, gap=1), Text()]
    if analysis.settings.measure == "pgf":
        known = any(model.base_seeds for model in analysis.models.values())
        parts += [Text(POINTS * known + PGF, "dim"), Text()]
    parts += [*_overview(analysis), *_safety(analysis)]
    for title, lines in _sections(analysis):
        if found := list(lines):
            parts += [Text(), Text(title, "bold"), *map(indented, found)]
    return Group(*parts)


def indented(part: RenderableType) -> Padding:
    """A part two columns from the left."""
    return Padding(part, (0, 0, 0, 2), expand=False)


def tabulated(
    rows: Iterable[Sequence[str | Text]],
    heads: Sequence[str] = (),
    *,
    first: str = "",
    right: Container[int] = (),
    gap: int = 2,
) -> Table:
    """Rows of texts below their heads, if any.

    Args:
        first: style of the first column.
        right: columns that are flush right, and never folded.
    """
    table = Table.grid(padding=(0, gap, 0, 0))
    table.show_header, table.header_style = bool(heads), "dim"
    for row in rows:
        for n in range(len(table.columns), len(row)):
            table.add_column(heads[n] if heads else "", style=first * (n == 0))
            if n in right:
                table.columns[n].justify, table.columns[n].no_wrap = "right", True
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def bullets(lines: Iterable[str]) -> Table:
    """Each line with a bullet before it."""
    return tabulated((("•", line) for line in lines), gap=1)


def _overview(analysis: Analysis) -> list[RenderableType]:
    """The page's first screen: the counts, and the strongest gains and losses."""
    parts = list[RenderableType]()
    for each in overviews(analysis):
        parts.append(Text(each.model, style="bold"))
        counts = [(f"{t.number:,}", t.kind, f"of {t.of:,} {t.text}", t.small) for t in each.tiles]
        effects = [
            (one.value, kind, f"{one.source} → {one.target}", joined(one.interval, one.note))
            for kind, strongest in (("up", each.gains), ("down", each.losses))
            for one in strongest
        ]
        for rows in (counts, effects):
            lines = (
                (Text(number, STYLES.get(kind, "bold")), Text(text).append(more, "dim"))
                for number, kind, text, small in rows
                for more in [f"; {small}" * bool(small)]
            )
            parts.append(indented(tabulated(lines, right=(0,), gap=1)))
        parts.append(Text())
    return parts


def _safety(analysis: Analysis) -> Iterator[RenderableType]:
    """The finetunes of each verdict, the first of them with what is known."""
    yield Text("Which finetunes are safe", style="bold")
    models = labels(analysis).models.values()
    for line in by_model(analysis):
        yield indented(Text(line))
    for group in safety(analysis):
        yield indented(Text(group.title))
        rows = []
        for [source], *cells in group.rows[:NAMED]:
            lines = [f"{label}: {line.text}" for label, [line] in zip(models, cells, strict=True)]
            rows.append((source.text, "\n".join(lines if len(lines) > 1 else [cells[0][0].words])))
        if (more := len(group.rows) - NAMED) > 0:
            rows.append((Text(f"and {more} more", "dim"), ""))
        yield from [indented(indented(tabulated(rows)))] if rows else []


def _sections(analysis: Analysis) -> Iterator[tuple[str, Iterable[RenderableType]]]:
    """What follows the first screen: title and lines; without lines nothing is shown."""
    found, names = section_tables(analysis), labels(analysis)
    facts, measure = glance(analysis).rows, MEASURES[analysis.settings.measure]
    for column, (name, model) in enumerate(analysis.models.items(), 1):
        lines = (
            (row[0][0].text.lower(), "\n".join(line.words for line in row[column])) for row in facts
        )
        seeds = counted(len(model.seeds), "seed")
        yield f"{name}: averages and extremes ({measure}, {seeds})", [tabulated(lines, first="dim")]
    if twins := found.get("twins"):
        others = Counter(row[-1][0].text for row in twins.rows if row[-1][0].text in UNMOVED)
        moved = [row for row in twins.rows if row[-1][0].text not in UNMOVED]
        counts = (f"{word}: {counted(number, 'pair')}" for word, number in others.items())
        rest = [Text("; ".join(counts), "dim")] if others else []
        yield twins.title, [*_drawn(twins._replace(rows=moved)), *rest]
    for key, title in (("steps", STEPS), ("placebo", "Controls"), ("effects", "Mixtures")):
        yield title, _drawn(found[key]) if key in found else []
    sources = {task.name for task in analysis.tasks if task.source}
    for each in analysis.trajectories:
        if sources & {*each.sources}:  # of a study's own there are many: the page lists them
            yield about(analysis, each), map(Text, changes_over_steps(analysis, each))
    for model, one in analysis.experiment.models.items() if analysis.experiment else ():
        table = strategy_table(analysis, model)
        rows = ([cell[0].text for cell in (row[0], *row[2:])] for row in table.rows)
        verdict = bullets(spelled(line, names) for line in one.verdict)
        title = f"What the choice of training data is worth: accuracy of {model}"
        yield title, [tabulated(rows, [table.heads[0], *table.heads[2:]]), verdict]
    table = personas(analysis)
    named = [(f"{role.text}:", f"{t.text} ({s.text})") for [t], [role], *_, [s] in table.rows]
    shown = [Text(PERSONAS, "dim"), tabulated(named)] if named else []
    yield "Personas, in every model", [Text(table.intro), *shown] if table.intro else []
    yield "The paper's findings", _claims(analysis)
    yield "Caveats", [bullets(analysis.notes)] if analysis.notes else []


def _drawn(table: PageTable) -> list[RenderableType]:
    """A table of the page, with the small text of a cell below it."""
    rows = [
        ["\n".join(text for line in cell for text in line[:2] if text) for cell in row]
        for row in table.rows
    ]
    return [tabulated(rows, table.heads)] if rows else []


def _claims(analysis: Analysis) -> Iterator[RenderableType]:
    """The number of findings that hold, and a line for each other one that can be decided."""
    if not (found := claim_rows(analysis)):
        return
    firm = sum(kind == "yes" for kind, *_ in found)
    count = f"{firm} of {len(analysis.claims)}, in every analysis variant"
    rows = [(Text("hold", "green"), Text(count))]
    for kind, verdict, claim in found:
        detail = f": in {claim.held} of {claim.tried} analysis variants"
        if claim.sensitive_to:
            turned = "it holds" if kind == "no" else "not"
            detail += f"; {turned} with {'; '.join(claim.sensitive_to)}"
        if kind != "yes":
            text = Text(claim.statement).append(detail, "dim")
            rows.append((Text(verdict, STYLES[kind]), text))
    yield tabulated(rows)
    if words := undecided(analysis):
        yield Text(words, "dim")
