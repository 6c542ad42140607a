"""The page of a comparison: verdict, table and curve first, then what broke and improved.

One HTML page without scripts, which opens offline. The template escapes text from files. Curves
are drawn here: a page with `vega.js` would be 0.9 MB and need scripts, instead of a second or two.

In:   a `Comparison`.
Out:  HTML.
"""

import json
import re
from collections.abc import Iterator
from importlib.metadata import version

from markupsafe import Markup

from transferscope.analysis.comparison import ALPHA, MEAN, Comparison
from transferscope.analysis.verdict import ranked
from transferscope.plots.composition import VERSION
from transferscope.plots.curves import compared_curves
from transferscope.plots.theme import DARK
from transferscope.report import comparison_words as words
from transferscope.report.template import asset, template

COLUMNS = 5
"""A table with more columns is wide: the curves stand below it, not beside it."""
ROWS = {False: 12, True: 8}
"""Tasks that are rows and not folded away; True: of a wide table."""
PANELS = {False: (12, 3), True: (6, 6)}
"""Targets drawn at most, and beside each other."""


def page(comparison: Comparison) -> str:
    """The whole page."""
    every = words.targets(comparison)
    by_task = len(comparison.runs) <= len(every)
    wide = min(len(comparison.runs) + 1, len(every)) > COLUMNS
    kept = words.most_moved(comparison, every, ROWS[wide]) if by_task else every
    parts = [kept, [target for target in every if target not in kept]]
    tables = [words.grid(comparison, part) for part in parts if part]
    curves = list(_curves(comparison, every, *PANELS[wide]))
    return template("comparison.html.jinja").render(
        version=version("transferscope"),
        style=Markup(asset("page.css") + asset("comparison.css") + _dark(curves)),
        comparison=comparison,
        words=words,
        checks=ranked(comparison.checks, len(comparison.checks)),
        tables=[table.turned() for table in tables] if by_task else tables,
        curves=curves,
        wide=wide,
        kinds={cell.kind for run in comparison.runs for cell in run.cells.values()},
        alpha=f"{100 * ALPHA:g} %",
    )


def _curves(
    comparison: Comparison, targets: list[str], most: int, columns: int
) -> Iterator[tuple[str, Markup]]:
    """For each finetune with several steps, what its chart shows, and the chart as SVG."""
    import vl_convert

    shown = words.most_moved(comparison, targets, most)
    shown.sort(key=lambda target: target != MEAN)
    for finetune in dict.fromkeys(run.finetune for run in comparison.runs):
        runs = [run for run in comparison.runs if run.finetune == finetune]
        if spec := compared_curves(runs, shown, columns):
            svg = vl_convert.vegalite_to_svg(json.dumps(spec), vl_version=VERSION)
            # HTML needs no namespaces; the description stands for the drawing.
            head = '<svg aria-hidden="true" class'
            yield spec["description"], Markup(re.sub("<svg .*?class", head, svg, count=1))


def _dark(curves: list[tuple[str, Markup]]) -> str:
    """Rules that give the drawings the colors of the dark scheme."""
    drawn = "".join(svg for _, svg in curves)
    rules = (
        f'[{name}="{light}"] {{ {name}: {dark}; }}'
        for light, dark in DARK.items()
        if light in drawn
        for name in ("fill", "stroke")
    )
    return f"@media screen and (prefers-color-scheme: dark) {{ {' '.join(rules)} }}"
