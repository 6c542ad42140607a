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
import json
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from transferscope.analysis import Analysis
from transferscope.matrix.examples import Exhibits
from transferscope.plots.composition import extent
from transferscope.plots.curves import about, changes_over_steps
from transferscope.plots.gallery import gallery
from transferscope.plots.heatmaps import in_points
from transferscope.plots.labels import MEASURES, accounts, clean, counted, labels, link, spelled
from transferscope.plots.numbers import percent
from transferscope.plots.theme import CONFIG, DARK
from transferscope.plots.training_strategies import experiment_words
from transferscope.report.cell_data import cell_data
from transferscope.report.example_cards import example_cards
from transferscope.report.findings import harms, training
from transferscope.report.overview import caveats, overviews
from transferscope.report.record_tables import claim_rows, record_tables, undecided
from transferscope.report.safety import by_model, safety
from transferscope.report.section_tables import section_tables, strategy_table
from transferscope.report.tables import glance, personas
from transferscope.report.template import asset, template
from transferscope.selection.wording import listed
from transferscope.tasks.checkpoints import checkpoint

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
LOSSES = 150
"""Rows of the table of losses; the table of accuracies has all."""


def write(analysis: Analysis, exhibits: Exhibits | None = None) -> str:
    """The page of one analysis, with example items where there are any."""
    examples = example_cards(analysis, exhibits)
    scripts = {
        "vega": Markup(f"(function () {{\n{asset('vega.js')}\n}})();"),
        "page": Markup(asset("page.js")),
    }
    data = {
        "look": _data({"config": {**CONFIG, "background": "transparent"}, "dark": DARK}),
        "study": _data(cell_data(analysis)),
        "images": _data(examples["images"] if examples else []),
    }
    taken = sum(map(len, (*scripts.values(), *data.values())))
    figures, large = page_figures(analysis, MAX_CHARACTERS - taken)
    data |= {each["id"]: _data(each["spec"]) for group in figures.values() for each in group}
    claims, tables = claim_rows(analysis), section_tables(analysis)
    filled = {
        "steps": analysis.trajectories,
        "graph": figures["graph"],
        "structure": "twins" in tables or any(t.source and t.target for t in analysis.tasks),
        "items": examples,
        "findings": claims,
    }
    return template("page.html.jinja").render(
        policy=_policy(scripts.values()),
        style=Markup(asset("page.css")),
        scripts=scripts,
        data=data,
        tabs={key: title for key, title in TABS.items() if filled.get(key, True)},
        models=list(labels(analysis).models.values()),
        measure=MEASURES[analysis.settings.measure],
        facts=_facts(analysis),
        figures=figures,
        groups=_groups(analysis, figures["structure"]),
        glance=glance(analysis),
        personas=personas(analysis),
        tables=tables,
        examples=examples,
        claims=claims,
        percent=percent,
        undecided=undecided(analysis),
        accounts=accounts(analysis),
        records=record_tables(analysis),
        large=large,
        link=link,
        version=analysis.version,
        **_first_screen(analysis),
        **_advice(analysis),
    )


def _first_screen(analysis: Analysis) -> dict[str, Any]:
    """What stands around the heatmap, and the course over checkpoints."""
    models = labels(analysis).models
    verdicts = [v for model in analysis.models.values() for v in model.verdicts.values()]
    records = [model.behaviour for model in analysis.models.values() if model.behaviour]
    rows = [row for each in records for row in (each.sources | each.controls).values()]
    return {
        "numbers": _numbers(analysis),
        "overviews": overviews(analysis),
        "caveats": caveats(analysis),
        "placebos": [
            (label, clean(adjusted.placebo))
            for name, label in models.items()
            if (adjusted := analysis.models[name].adjusted)
        ],
        "untested": any(verdict.untested for verdict in verdicts),
        "collapsed": any(answers.collapsed for row in rows for answers in row.values()),
        "trajectories": [
            (models[each.model], about(analysis, each), changes_over_steps(analysis, each))
            for each in analysis.trajectories
        ],
    }


def _advice(analysis: Analysis) -> dict[str, Any]:
    """Which finetunes are safe, what they break, and what to train on."""
    advice, helpless = training(analysis)
    return {
        "by_model": by_model(analysis),
        "safety": safety(analysis),
        "harms": harms(analysis, LOSSES),
        "training": advice,
        "helpless": helpless,
        "trials": _trials(analysis),
    }


def _groups(analysis: Analysis, figures: Figures) -> list[str]:
    """The folded parts of the tab on structure; personas have a sentence where no figure."""
    found = list(dict.fromkeys(figure["group"] for figure in figures))
    if len(analysis.models) > 1 and "Personas" not in found:
        found.append("Personas")
    return found


def _numbers(analysis: Analysis) -> dict[str, str]:
    """{what cells can show: its name}, the default first."""
    measure = MEASURES[analysis.settings.measure]
    if not in_points(analysis):
        return {"effect": measure}
    if analysis.settings.measure == "raw_gain":
        return {"points": "Points", "accuracy": "Accuracy"}
    return {"points": "Points", "effect": measure, "accuracy": "Accuracy"}


def page_figures(analysis: Analysis, budget: int) -> tuple[dict[str, Figures], list[str]]:
    """{tab: figures}, and the stems of those that do not fit into `budget` characters."""
    models = labels(analysis).models
    found: dict[str, Figures] = {tab: [] for tab in TABS}
    left = []
    for number, figure in enumerate(gallery(analysis)):
        spec = {key: part for key, part in figure.spec.items() if key != "config"}
        tab = figure.tab
        if tab == "matrix":
            del spec["title"]  # the page has it
        if (size := len(json.dumps(spec))) > budget:
            left.append(figure.stem)
            continue
        budget -= size
        wide, high = extent(spec)
        more = {
            "id": f"figure-{number}",
            "model": models.get(figure.model, ""),
            "title": figure.spec["title"]["text"],
            "size": (wide + 90, high + 100),  # pixels that are kept free until it is drawn
            "spec": spec,
        }
        found[tab].append(figure._asdict() | more)
    return found, left


def _facts(analysis: Analysis) -> list[str]:
    """The numbers of tasks, checkpoints and seeds."""
    found = [checkpoint(task.name) for task in analysis.tasks if task.source]
    steps = sum(each.step is not None for each in found)
    seeds = sorted({len(model.seeds) for model in analysis.models.values()})
    return [
        counted(len({each.task for each in found}), "source"),
        *([counted(steps, "checkpoint")] if steps else []),
        counted(sum(task.target for task in analysis.tasks), "target"),
        f"{listed(map(str, seeds))} seed{'' if seeds == [1] else 's'}",
    ]


def _trials(analysis: Analysis) -> dict[str, Any] | None:
    """How the choice of training data was judged, and each model's verdict and table."""
    if (experiment := analysis.experiment) is None:
        return None
    names = labels(analysis)
    return {
        "how": [spelled(line, names) for line in experiment_words(experiment)],
        "models": [
            (label, [spelled(s, names) for s in one.verdict], strategy_table(analysis, model))
            for model, one in experiment.models.items()
            if (label := names.models.get(model)) is not None
        ],
    }


def _data(value: Any) -> Markup:
    """JSON that is safe inside a script element: ASCII, without characters that HTML knows."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _policy(scripts: Iterable[str]) -> str:
    """The page's Content-Security-Policy; Vega sets inline styles on the elements it makes."""
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
