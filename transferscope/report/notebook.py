"""How an analysis and a comparison print: about ten lines, and in a notebook a figure or table.

Names are untrusted: control characters are replaced, and HTML is escaped. The figure is an SVG in
an `<img>`, where it can neither run a script nor load anything.
"""

import base64
import json
from collections.abc import Iterator

from markupsafe import Markup, escape

from transferscope.analysis import Analysis
from transferscope.analysis.comparison import ComparedCell, Comparison
from transferscope.analysis.headline import headline
from transferscope.analysis.verdict import ranked
from transferscope.errors import DataError
from transferscope.plots.accessor import heatmap_spec
from transferscope.plots.composition import VERSION
from transferscope.plots.labels import MEASURES, Labels, clean, counted, labels, spelled
from transferscope.plots.numbers import points, signed
from transferscope.report import comparison_words as words
from transferscope.selection.decision import changes

MODELS = 2
"""Models that are printed in full, the largest ones."""
LONGEST = 160
"""Characters of a caveat."""
RUNS = 8
"""Runs of a comparison that are printed."""
TASKS = 12
"""Tasks with a column of their own in a notebook."""


def analysis_lines(analysis: Analysis) -> list[str]:
    """What was analyzed, what happened in each model, the first caveat, and what to call next."""
    names, models = labels(analysis), list(analysis.models)
    sources = sum(each.source for each in analysis.tasks)
    targets = sum(each.target for each in analysis.tasks)
    seeds = sorted({len(model.seeds) for model in analysis.models.values()})
    many = f"{counted(len(models), 'model')}, {counted(sources, 'source')}, "
    many += f"{counted(targets, 'target')}, {' or '.join(map(str, seeds))} seed"
    lines = [f"Analysis: {many}{'' if seeds == [1] else 's'}"]
    for name in models[-MODELS:]:
        lines += _model(analysis, name, names)
    if more := len(models) - MODELS:
        lines += [f"and {counted(more, 'smaller model')}"] if more > 0 else []
    caveats = [*ranked(analysis.checks), *(spelled(note, names) for note in analysis.notes)]
    if caveats:
        first = clean(caveats[0])
        first = first if len(first) <= LONGEST else f"{first[: LONGEST - 2].rstrip()} …"
        many = f" ({len(caveats) - 1} more in .checks and .notes)" if len(caveats) > 1 else ""
        lines.append(f"Caveat: {first}{many}")
    lines.append("Next: .accuracy() .effects() .to_xarray() .plot.heatmap() .select(task) .save()")
    return lines


def _model(analysis: Analysis, name: str, names: Labels) -> Iterator[str]:
    found = headline(analysis, name)
    learned = f"own task learned: {found.learned} of {found.own} ({found.surely} beyond noise); "
    learned *= found.own > 0
    of = f"helped {found.helped}, harmed {found.harmed}, not settled {found.not_settled}"
    yield f"{names.models[name]}: {learned}other tasks: {of}"
    for title, some in (("gains", found.gains), ("losses", found.losses)):
        effects = [
            f"{names.long[source]} → {names.long[target]} "
            + (points(cell.change) or f"{signed(cell.mean)} {MEASURES[analysis.settings.measure]}")
            for source, target, cell in some
        ]
        if effects:
            yield f"  strongest {title}: {', '.join(effects)}"


def analysis_html(analysis: Analysis) -> str:
    """The heatmap of the largest model, and the lines."""
    try:
        image = heatmap_spec(analysis)
    except DataError as error:
        figure = Markup("<p>{}</p>").format(str(error))
    else:
        import vl_convert

        svg = vl_convert.vegalite_to_svg(json.dumps(image), vl_version=VERSION)
        data = base64.b64encode(svg.encode()).decode()
        figure = Markup('<img alt="{}" style="max-width:100%" src="data:image/svg+xml;base64,{}">')
        figure = figure.format(image.get("description", "heatmap"), data)
    lines = Markup("<br>").join(escape(line) for line in analysis_lines(analysis)[:-1])
    return str(Markup("<div>{}</div><p>{}</p>").format(figure, lines))


def comparison_lines(comparison: Comparison) -> list[str]:
    """The verdict, a line for each run, and what to call next."""
    targets = counted(len(comparison.targets), "task")
    lines = [f"Comparison: {counted(len(comparison.runs), 'run')} with their base, {targets}"]
    lines.append(comparison.decision.headline)
    for run in comparison.runs[:RUNS]:
        parts = [_accuracy(run.mean)] if run.mean else []
        parts.append(run.verdict)
        for word, sign in (("worse on", -1), ("better on", 1)):
            parts += [f"{word} {changes(moved)}"] if (moved := run.moved(sign)) else []
        lines.append(f"  {run.name}: {'; '.join(parts)}")
    if (more := len(comparison.runs) - RUNS) > 0:
        lines.append(f"  and {counted(more, 'more run')}")
    lines += [f"Caveat: {each}" for each in ranked(comparison.checks)[:1]]
    return [clean(line) for line in [*lines, "Next: .accuracy() .table() .save()"]]


def _accuracy(cell: ComparedCell) -> str:
    return f"mean {100 * cell.tuned:.1f} % ({points(cell.change)})"


def comparison_html(comparison: Comparison) -> str:
    """The verdict and a table: a row for each run, a column for each task that moved most."""
    every = words.targets(comparison)
    kept = words.most_moved(comparison, every, TASKS)
    found = words.grid(comparison, kept)
    rows = [["", *(label.title for label in found.across)]]
    for label, row in zip(found.down, found.cells, strict=True):
        rows.append([label.title, *(f"{each.accuracy} {each.change}".strip() for each in row)])
    table = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<td>{}</td>").format(clean(cell)) for cell in row)
        )
        for row in rows
    )
    left = len(every) - len(kept)
    key = words.legend(comparison)
    key += f" {counted(left, 'task')} that moved less: .accuracy()" * bool(left)
    page = Markup("<p><b>{}</b></p><table>{}</table><p>{}</p>")
    return str(page.format(clean(comparison.decision.headline), table, clean(key)))
