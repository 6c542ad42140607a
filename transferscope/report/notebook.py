"""How an analysis and a comparison print: about ten lines, and in a notebook a figure or table.

Names are untrusted: control characters are replaced, and HTML is escaped. The figure is an SVG in
an `<img>`, where it can neither run a script nor load anything.
"""

import base64
import json

from markupsafe import Markup, escape

from transferscope.analysis import Analysis
from transferscope.analysis.comparison import Comparison
from transferscope.analysis.headline import headline
from transferscope.analysis.verdict import ranked
from transferscope.errors import DataError
from transferscope.plots.accessor import heatmap_spec
from transferscope.plots.composition import VERSION
from transferscope.plots.labels import clean, counted, labels
from transferscope.plots.numbers import points, worded
from transferscope.report import comparison_words as words
from transferscope.report.findings import caveats, facts
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
    lines = [f"Analysis: {', '.join([counted(len(models), 'model'), *facts(analysis)])}"]
    for name in models[-MODELS:]:
        found = headline(analysis, name)
        learned = (
            f"own task learned: {found.learned} of {found.own} ({found.surely} beyond noise); "
        )
        of = f"helped {found.helped}, harmed {found.harmed}, not settled {found.not_settled}"
        lines.append(f"{names.models[name]}: {learned * (found.own > 0)}other tasks: {of}")
        for title, some in (("gains", found.gains), ("losses", found.losses)):
            effects = [
                f"{names.long[source]} → {names.long[target]} {worded(analysis, cell).value}"
                for source, target, cell in some
            ]
            lines += [f"  strongest {title}: {', '.join(effects)}"] if effects else []
    if more := len(models) - MODELS:
        lines += [f"and {counted(more, 'smaller model')}"] if more > 0 else []
    if found := caveats(analysis)[:-1]:  # the last is what intervals cover
        first = clean(found[0])
        first = first if len(first) <= LONGEST else f"{first[: LONGEST - 2].rstrip()} …"
        many = f" ({len(found) - 1} more in .checks and .notes)" * (len(found) > 1)
        lines.append(f"Caveat: {first}{many}")
    lines.append("Next: .accuracy() .effects() .to_xarray() .plot.heatmap() .select(task) .save()")
    return lines


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
        parts = [run.verdict]
        if mean := run.mean:
            parts.insert(0, f"mean {100 * mean.tuned:.1f} % ({points(mean.change)})")
        for word, sign in (("worse on", -1), ("better on", 1)):
            parts += [f"{word} {changes(moved)}"] if (moved := run.moved(sign)) else []
        lines.append(f"  {run.name}: {'; '.join(parts)}")
    if (more := len(comparison.runs) - RUNS) > 0:
        lines.append(f"  and {counted(more, 'more run')}")
    lines += [f"Caveat: {each}" for each in ranked(comparison.checks)[:1]]
    return [clean(line) for line in [*lines, "Next: .accuracy() .table() .save()"]]


def comparison_html(comparison: Comparison) -> str:
    """The verdict and a table: a row for each run, a column for each task that moved most."""
    every = words.targets(comparison)
    kept = words.most_moved(comparison, every, TASKS)
    rows = (
        Markup("<td>{}</td>" * len(row)).format(*(clean(each.words) for each in row))
        for row in words.grid(comparison, kept)
    )
    table = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in rows)
    left = len(every) - len(kept)
    key = words.legend(comparison)
    key += f" {counted(left, 'task')} that moved less: .accuracy()" * bool(left)
    page = Markup("<p><b>{}</b></p><table>{}</table><p>{}</p>")
    return str(page.format(clean(comparison.decision.headline), table, clean(key)))
