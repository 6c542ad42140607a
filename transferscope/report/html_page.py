"""The page: the matrix first, everything else in tabs and in the panel beside what is chosen.

Untrusted text (names of tasks, models and files; notes, which may quote them) is escaped by the
template. Charts and numbers travel as JSON in data blocks, in which nothing can end the block. A
security policy allows the page's two scripts by checksum and nothing else; Vega runs with its
expression interpreter, so not even `eval` is allowed.

`vega.js` is the output of `vl_convert.javascript_bundle(vl_version="6.4")`, kept with the package
because making it takes seconds.
"""

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from transferscope.analysis import Analysis
from transferscope.matrix.collapse import letter
from transferscope.matrix.examples import Exhibits
from transferscope.plots.composition import extent
from transferscope.plots.curves import about, changes_over_steps
from transferscope.plots.gallery import gallery
from transferscope.plots.heatmaps import in_points
from transferscope.plots.labels import MEASURES, accounts, counted, labels, link, spelled
from transferscope.plots.numbers import percent
from transferscope.plots.theme import CONFIG, DARK
from transferscope.plots.training_strategies import experiment_words
from transferscope.predictions import MOST_UNREADABLE
from transferscope.report import findings, tables
from transferscope.report.page_data import block, cell_data, example_cards, packed
from transferscope.report.section_tables import UNREADABLE, section_tables, strategy_table
from transferscope.report.template import asset, template

TABS = {
    "matrix": "Matrix",
    "steps": "Over steps and strengths",
    "accuracy": "Accuracy",
    "safety": "Safety",
    "train": "Train on",
    "graph": "Graph",
    "structure": "Structure",
    "items": "Items",
    "findings": "Published findings",
    "method": "Method",
}
"""{id: title}; those without content are left out."""
MAX_CHARACTERS = 3_900_000
"""Characters of scripts, data, images and figures together: the text takes less than 1 MB."""
Figures = list[dict[str, Any]]
"""Each a `ReportFigure` as the template draws it."""
CALLED = (
    *(about, accounts, changes_over_steps, counted, experiment_words),
    *(labels, letter, link, percent, spelled, strategy_table),
)
"""Functions that the template calls."""


def write(analysis: Analysis, exhibits: Exhibits | None = None) -> str:
    """The page of one analysis, with example items where there are any."""
    examples = example_cards(analysis, exhibits)
    scripts = {
        "vega": Markup(f"(function () {{\n{asset('vega.js')}\n}})();"),
        "page": Markup(asset("page.js")),
    }
    study = cell_data(analysis)
    for model in study["models"]:
        model["cells"] = packed(model["cells"], digits=5)
    data = {
        "look": block({"config": {**CONFIG, "background": "transparent"}, "dark": DARK}),
        "study": block(study),
        "images": block(examples["images"] if examples else []),
    }
    taken = sum(map(len, (*scripts.values(), *data.values())))
    figures, large = page_figures(analysis, MAX_CHARACTERS - taken)
    data |= {each["id"]: each["data"] for group in figures.values() for each in group}
    models, claims = labels(analysis).models, tables.claim_rows(analysis)
    sections = section_tables(analysis)
    filled = {
        "steps": analysis.trajectories,
        "graph": figures["graph"],
        "structure": "twins" in sections or any(t.source and t.target for t in analysis.tasks),
        "items": examples,
        "findings": claims,
    }
    # The folded parts of the tab on structure; personas have a sentence where no figure.
    groups = dict.fromkeys(figure["group"] for figure in figures["structure"])
    groups |= dict.fromkeys(["Personas"] * (len(models) > 1))
    return template("page.html.jinja").render(
        analysis=analysis,
        policy=_policy(scripts.values()),
        style=Markup(asset("page.css")),
        scripts=scripts,
        data=data,
        tabs={key: title for key, title in TABS.items() if filled.get(key, True)},
        models=models,
        measure=MEASURES[analysis.settings.measure],
        numbers=_numbers(analysis),
        figures=figures,
        large=large,
        groups=groups,
        sections=sections,
        examples=examples,
        claims=claims,
        unreadable={"listed": UNREADABLE, "most": MOST_UNREADABLE},
        findings=findings,
        tables=tables,
        **{each.__name__: each for each in CALLED},
    )


def _numbers(analysis: Analysis) -> dict[str, str]:
    """{what cells can show: its name}, the default first."""
    shown = {"points": "Points"} if in_points(analysis) else {}
    if not (shown and analysis.settings.measure == "raw_gain"):
        shown["effect"] = MEASURES[analysis.settings.measure]
    return shown | ({"accuracy": "Accuracy"} if in_points(analysis) else {})


def page_figures(analysis: Analysis, budget: int) -> tuple[dict[str, Figures], list[str]]:
    """{tab: figures}, and the stems of those that do not fit into `budget` characters."""
    models = labels(analysis).models
    found: dict[str, Figures] = {tab: [] for tab in TABS}
    left = []
    for number, figure in enumerate(gallery(analysis)):
        spec = {key: part for key, part in figure.spec.items() if key != "config"}
        if figure.kind.tab == "matrix":
            del spec["title"]  # the page has it
        rows = spec["datasets"].items()
        spec["datasets"] = {name: packed(each, digits=6) for name, each in rows}
        data = block(spec)
        if len(data) > budget:
            left.append(figure.stem)
            continue
        budget -= len(data)
        wide, high = extent(spec)
        more = {"id": f"figure-{number}", "model": models.get(figure.model, ""), "data": data}
        more |= {"size": (wide + 90, high + 100)}  # pixels that are kept free until it is drawn
        found[figure.kind.tab].append(figure._asdict() | figure.kind._asdict() | more)
    return found, left


def _policy(scripts: Iterable[str]) -> str:
    """The page's Content-Security-Policy; Vega sets inline styles on the elements it makes."""
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
