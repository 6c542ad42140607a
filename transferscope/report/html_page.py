"""The page: answers first, then the explorer, the tables, the figures, claims and settings.

Untrusted text (names of tasks, models and files; notes, which may quote them) is escaped by the
template. Charts travel as JSON in data blocks, in which nothing can end the block. A security
policy allows the page's three scripts by checksum and nothing else; Vega runs with its expression
interpreter, so not even `eval` is allowed.

`vega.js` is the output of `vl_convert.javascript_bundle(vl_version="6.4")`, kept with the package
because making it takes seconds.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from markupsafe import Markup

from transferscope.analysis import Analysis
from transferscope.analysis.parts import STRATEGIES
from transferscope.analysis.verdict import ranked
from transferscope.matrix.examples import Exhibits
from transferscope.plots.composition import extent
from transferscope.plots.curves import about, changes_over_steps
from transferscope.plots.gallery import SECTIONS, ReportFigure, gallery
from transferscope.plots.labels import (
    MEASURES,
    accounts,
    counted,
    labels,
    link,
    listed,
    spelled,
    with_links,
)
from transferscope.plots.theme import CONFIG, DARK
from transferscope.plots.training_strategies import NAMES, experiment_words, strategy_rows
from transferscope.plots.vegalite import Spec
from transferscope.report import explorer
from transferscope.report.example_cards import example_cards
from transferscope.report.findings import happened, harms, training
from transferscope.report.record_tables import claim_rows, record_tables, undecided
from transferscope.report.safety import by_model, safety
from transferscope.report.section_tables import section_tables
from transferscope.report.tables import PageTable, glance, personas
from transferscope.report.template import asset, template
from transferscope.tasks.checkpoints import checkpoint

LARGEST = 500_000
"""Characters of a figure on the page; one of very many tasks may be larger."""
MAX_CHARACTERS = 3_900_000
"""Characters of scripts, data, images and figures together: the text takes less than 1 MB."""
LOSSES = 150
"""Rows of the table of losses; the explorer has all."""


class Section(NamedTuple):
    """A heading, its figures, numbered through the page, and a table."""

    id: str
    title: str
    figures: list[tuple[int, ReportFigure]]
    table: PageTable | None


def write(analysis: Analysis, exhibits: Exhibits | None = None) -> str:
    """The page of one analysis, with example items where there are any."""
    scripts = {
        "explorer": Markup(explorer.script()),
        "vega": Markup(f"(function () {{\n{asset('vega.js')}\n}})();"),
        "page": Markup(asset("page.js")),
    }
    examples, names = example_cards(analysis, exhibits), labels(analysis)
    data = {
        "look": _data({"config": {**CONFIG, "background": "transparent"}, "dark": DARK}),
        "explorer-data": _data(explorer.data(analysis)),
        "images": _data(examples.images if examples else []),
    }
    taken = sum(map(len, (*scripts.values(), *data.values())))
    figures, large = on_page(gallery(analysis), MAX_CHARACTERS - taken)
    losses, checkpoints = harms(analysis), analysis.trajectories
    sections = _sections(figures, section_tables(analysis), checkpoints=bool(checkpoints))
    specs = {f"figure-{n}": _data(_bare(figure)) for n, figure in enumerate(figures, 1)}
    return template("page.html.jinja").render(
        policy=_policy(scripts.values()),
        style=Markup(asset("page.css") + "\n" + asset("explorer.css") + explorer.colors()),
        scripts=scripts,
        data=data | specs,
        sections=[section for section in sections if section.id != "selection"],
        trials=_trials(analysis, sections),
        strategies=[NAMES[name] for name in STRATEGIES],
        models=list(names.models.values()),
        measure=MEASURES[analysis.settings.measure],
        facts=_facts(analysis),
        accounts=accounts(analysis),
        glance=glance(analysis),
        checks=ranked(analysis.checks),
        happened=happened(analysis),
        points=any(model.base_seeds for model in analysis.models.values()),
        safety=safety(analysis),
        by_model=by_model(analysis),
        harms=losses[:LOSSES],
        unlisted=len(losses[LOSSES:]),
        training=training(analysis),
        checkpoints=[(about(analysis, t), changes_over_steps(analysis, t)) for t in checkpoints],
        examples=examples,
        large=large,
        link=link,
        with_links=with_links,
        task_links={label: link(task=label) for label in names.long.values()},
        extent=extent,
        personas=personas(analysis),
        claims=claim_rows(analysis),
        undecided=undecided(analysis),
        records=record_tables(analysis),
        notes=[spelled(note, names) for note in analysis.notes],
        version=analysis.version,
    )


def on_page(
    figures: list[ReportFigure], budget: int = MAX_CHARACTERS
) -> tuple[list[ReportFigure], list[str]]:
    """The figures of the page, and the stems of those that do not fit.

    The page leaves out figures that the explorer shows; all figures are image files beside it.

    Args:
        budget: characters of all figures together.
    """
    kept, left = [], []
    for figure in figures:
        if figure.section == "effects" or figure.stem == "personas":
            continue
        size = len(json.dumps(_bare(figure)))
        if size <= min(LARGEST, budget):
            kept.append(figure)
            budget -= size
        else:
            left.append(figure.stem)
    return kept, left


def _facts(analysis: Analysis) -> list[str]:
    """The numbers of models, tasks, checkpoints and seeds."""
    found = [checkpoint(task.name) for task in analysis.tasks if task.source]
    steps = sum(each.step is not None for each in found)
    seeds = sorted({len(model.seeds) for model in analysis.models.values()})
    return [
        counted(len(analysis.models), "model"),
        counted(len({each.task for each in found}), "source task"),
        *([counted(steps, "checkpoint")] if steps else []),
        counted(sum(task.target for task in analysis.tasks), "target task"),
        f"{listed(map(str, seeds))} seed{'' if seeds == [1] else 's'}",
    ]


def _trials(analysis: Analysis, sections: list[Section]) -> dict[str, Any] | None:
    """How the choice of training data was judged, each model's verdict and table, and figures."""
    if (experiment := analysis.experiment) is None:
        return None
    names = labels(analysis)
    return {
        "how": [spelled(line, names) for line in experiment_words(experiment)],
        "models": [
            (label, [spelled(s, names) for s in one.verdict], strategy_rows(analysis, model))
            for model, one in experiment.models.items()
            if (label := names.models.get(model)) is not None
        ],
        "charts": [pair for s in sections if s.id == "selection" for pair in s.figures],
    }


def _sections(
    figures: list[ReportFigure], tables: dict[str, PageTable], *, checkpoints: bool
) -> list[Section]:
    """The sections that have a figure, a table, or sentences on checkpoints."""
    numbered = list(enumerate(figures, 1))
    sections = []
    for key, title in SECTIONS.items():
        found = [(number, figure) for number, figure in numbered if figure.section == key]
        if found or key in tables or (key == "checkpoints" and checkpoints):
            sections.append(Section(key, title, found, tables.get(key)))
    return sections


def _bare(figure: ReportFigure) -> Spec:
    """A chart without its configuration, which the page holds once."""
    return {key: part for key, part in figure.spec.items() if key != "config"}


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
