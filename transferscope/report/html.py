"""The page: what happened, what to know before believing it, the figures, claims and settings.

Untrusted text (names of tasks, models and files; notes, which may quote them) is escaped by the
template. Charts travel as JSON in data blocks, in which nothing can end the block. A security
policy allows the page's own three scripts by checksum and nothing else; Vega runs with its
expression interpreter, so not even `eval` is allowed.

`vega.js` is the output of `vl_convert.javascript_bundle(vl_version="6.4")`, kept with the package
because making it takes seconds.

In:   an `Analysis`, and `Exhibits` where there are any.
Out:  HTML.
"""

import base64
import hashlib
import json
from typing import Any, NamedTuple

from markupsafe import Markup

from transferscope.analysis import Analysis
from transferscope.analysis.check import ranked
from transferscope.analysis.experiment_record import STRATEGIES
from transferscope.matrix.example_record import Exhibits
from transferscope.plots.curves import about, sentences
from transferscope.plots.gallery import SECTIONS, Figure, accounts, gallery
from transferscope.plots.labels import (
    MEASURES,
    counted,
    labels,
    link,
    listed,
    model_labels,
    spelled,
    with_links,
)
from transferscope.plots.strategies import NAMES, Line, how, lines
from transferscope.plots.theme import CONFIG, DARK
from transferscope.plots.vegalite import extent
from transferscope.report import explorer
from transferscope.report.advice import training
from transferscope.report.conduct import Table, tables
from transferscope.report.exhibits import gallery as shown_items
from transferscope.report.findings import happened, harms
from transferscope.report.safety import by_model, safety
from transferscope.report.summary import (
    Summary,
    claim_rows,
    glance,
    gold_rows,
    input_rows,
    persona_rows,
    personas_by_chance,
    setting_rows,
    task_rows,
)
from transferscope.report.template import asset, template
from transferscope.tasks.checkpoints import checkpoint

LARGEST = 500_000
"""Characters of a figure on the page; one of very many tasks may be larger."""
ROOM = 3_900_000
"""Characters of scripts, data, pictures and figures together: the text takes less than 1 MB."""
LOSSES = 150
"""Rows of the table of what breaks what; the explorer has all."""
STYLES = ("page.css", "explorer.css")


class _Section(NamedTuple):
    """A heading, its figures, numbered through the page, and a table."""

    id: str
    title: str
    figures: list[tuple[int, Figure]]
    table: Table | None


class _Trials(NamedTuple):
    """The experiment on the choice of training data."""

    how: list[str]
    models: list[tuple[str, list[str], list[Line]]]
    """Each model with its verdict and its table."""
    figures: list[tuple[int, Figure]]


def write(analysis: Analysis, exhibits: Exhibits | None = None) -> str:
    """The page of one analysis, with items to look at where there are any."""
    scripts = {
        "explorer": Markup(explorer.script()),
        "vega": Markup(_wrapped(asset("vega.js"))),
        "page": Markup(asset("page.js")),
    }
    items = shown_items(analysis, exhibits)
    data = {
        "look": _data({"config": {**CONFIG, "background": "transparent"}, "dark": DARK}),
        "explorer-data": _data(explorer.data(analysis)),
        "pictures": _data(items.pictures if items else []),
    }
    taken = sum(map(len, (*scripts.values(), *data.values())))
    drawn, large = on_page(gallery(analysis), ROOM - taken)
    losses = harms(analysis)
    sections = _sections(
        drawn, tables(analysis), also={"checkpoints"} if analysis.trajectories else set()
    )
    specs = {f"figure-{number}": _spec(figure) for number, figure in enumerate(drawn, 1)}
    return template("page.html.jinja").render(
        policy=_policy(scripts.values()),
        style=Markup("\n".join(map(asset, STYLES)) + explorer.colours()),
        scripts=scripts,
        data=data | {key: _data(spec) for key, spec in specs.items()},
        sections=[section for section in sections if section.id != "selection"],
        trials=_trials(analysis, sections),
        strategies=[NAMES[name] for name in STRATEGIES],
        summary=_summary(analysis),
        accounts=accounts(analysis, model_labels(analysis)),
        glance=glance(analysis),
        checks=ranked(analysis.checks),
        happened=happened(analysis),
        points=any(model.base_seeds for model in analysis.models.values()),
        safety=safety(analysis),
        by_model=by_model(analysis),
        harms=losses[:LOSSES],
        unlisted=len(losses[LOSSES:]),
        training=training(analysis),
        checkpoints=_checkpoints(analysis),
        exhibits=items,
        large=large,
        link=link,
        with_links=with_links,
        task_links={label: link(task=label) for label in labels(analysis).long.values()},
        extent=extent,
        personas=persona_rows(analysis),
        by_chance=personas_by_chance(analysis),
        claims=claim_rows(analysis),
        settings=setting_rows(analysis),
        inputs=input_rows(analysis),
        gold=gold_rows(analysis),
        tasks=task_rows(analysis),
        notes=[spelled(note, labels(analysis)) for note in analysis.notes],
        version=analysis.version,
    )


def on_page(drawn: list[Figure], room: int = ROOM) -> tuple[list[Figure], list[str]]:
    """The figures that stand on the page, and the stems of those that it has no room for.

    What the explorer shows is not drawn twice; all figures lie beside the page as files.

    Args:
        room: characters of all figures together.
    """
    kept, left = [], []
    for figure in drawn:
        if figure.section == "effects" or figure.stem == "personas":
            continue
        size = len(json.dumps(_spec(figure)))
        if size <= min(LARGEST, room):
            kept.append(figure)
            room -= size
        else:
            left.append(figure.stem)
    return kept, left


def _summary(analysis: Analysis) -> Summary:
    models = list(model_labels(analysis).values())
    seeds = sorted({len(model.seeds) for model in analysis.models.values()})
    return Summary(
        models=listed(models),
        facts=[
            counted(len(models), "model"),
            *_sources(analysis),
            counted(sum(task.target for task in analysis.tasks), "target task"),
            f"{listed(map(str, seeds))} seed{'' if seeds == [1] else 's'}",
        ],
        measure=MEASURES[analysis.settings.measure],
    )


def _sources(analysis: Analysis) -> list[str]:
    """How many tasks were finetuned on, and how many checkpoints stand for them."""
    found = [checkpoint(task.name) for task in analysis.tasks if task.source]
    steps = sum(each.step is not None for each in found)
    tasks = counted(len({each.task for each in found}), "source task")
    return [tasks, counted(steps, "checkpoint")] if steps else [tasks]


def _checkpoints(analysis: Analysis) -> list[tuple[str, list[str]]]:
    """Each finetune with checkpoints, and what is said of it."""
    names, models = labels(analysis), model_labels(analysis)
    return [
        (about(each, models), sentences(analysis, each, names)) for each in analysis.trajectories
    ]


def _trials(analysis: Analysis, sections: list[_Section]) -> _Trials | None:
    """What the choice of training data is worth, where that was tried."""
    if (experiment := analysis.experiment) is None:
        return None
    names, models = labels(analysis), model_labels(analysis)
    return _Trials(
        how=[spelled(line, names) for line in how(experiment)],
        models=[
            (models[model], [spelled(s, names) for s in one.verdict], lines(analysis, model, names))
            for model, one in experiment.models.items()
            if model in models
        ],
        figures=[pair for each in sections if each.id == "selection" for pair in each.figures],
    )


def _sections(drawn: list[Figure], listed: dict[str, Table], *, also: set[str]) -> list[_Section]:
    """The sections that have a figure or a table, and those with something to say without one."""
    numbered = list(enumerate(drawn, 1))
    groups = [
        _Section(
            key,
            title,
            [(n, figure) for n, figure in numbered if figure.section == key],
            listed.get(key),
        )
        for key, title in SECTIONS.items()
    ]
    return [group for group in groups if group.figures or group.table or group.id in also]


def _spec(figure: Figure) -> dict[str, Any]:
    """A chart without its colours' configuration, which the page holds once."""
    return {key: part for key, part in figure.spec.items() if key != "config"}


def _data(value: Any) -> Markup:
    """JSON that is safe inside a script element: ASCII, and no character that HTML knows."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _policy(scripts: Any) -> str:
    """The page's Content-Security-Policy.

    Styles may stand inline, as Vega sets them on the elements that it makes.
    """
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _wrapped(script: str) -> str:
    return f"(function () {{\n{script}\n}})();"
