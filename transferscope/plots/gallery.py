"""All figures of a report, in the order of the page, each with its caption.

To add a figure, write a function `(analysis, key, title) -> Spec | None` in a module of this
package, and add one entry to `FIGURES`. The page, the image files and the captions follow.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from transferscope.analysis import Analysis
from transferscope.plots.answer_bars import answer_shares
from transferscope.plots.categories import categories, category_effects, scale_trend
from transferscope.plots.curves import checkpoint_curves
from transferscope.plots.heatmaps import heatmap, heatmaps
from transferscope.plots.labels import MEASURES, accounts, clean, counted, labels, listed, seeds_of
from transferscope.plots.networks import clique, drawn_edges, graph
from transferscope.plots.numbers import percent
from transferscope.plots.print_layout import wide
from transferscope.plots.study_limits import decomposition, pgf_behavior, power
from transferscope.plots.task_figures import personas, task_effects
from transferscope.plots.training_strategies import strategies
from transferscope.plots.vegalite import Spec
from transferscope.store import safe_name

SECTIONS = {
    "selection": "What the choice of training data is worth",
    "effects": "Every effect",
    "checkpoints": "Over the checkpoints",
    "placebo": "What a placebo does",
    "answers": "How replies choose options",
    "flips": "Which items changed",
    "tasks": "Task by task",
    "cliques": "Cliques",
    "categories": "Groups of tasks",
    "scale": "Model size",
    "limits": "What the study can show",
}
"""{id: title} of the page's sections."""


class FigureKind(NamedTuple):
    """One kind of figure; its texts are templates, filled by `_words`."""

    section: str
    """A key of `SECTIONS`."""
    draw: Callable[[Analysis, Any, str], Spec | None]
    title: str
    reading: str
    """How to read it."""
    caption: str = "{intervals}"
    """What its intervals account for; empty where it has none."""
    per: str = "model"
    """One figure for each `model`, `category`, `trajectory`, or one for the `study`."""
    paper: tuple[int, ...] = ()
    """The paper's figures that it corresponds to."""


class ReportFigure(NamedTuple):
    """One chart and its caption."""

    stem: str
    """Name of its files, without ending; holds model names as they were given."""
    section: str
    reading: str
    caption: str
    spec: Spec
    paper: tuple[int, ...]


CLIQUE = (
    "The largest set of tasks in {model} that all {verb} each other, in both directions. It means "
    "something where it is larger than the bars: sizes that arise without any such bond. The "
    "paper’s test is weak evidence, because cliques of pure noise pass it too: their tasks are "
    "chosen for the sign that it tests."
)
CLIQUE_CAPTION = "The sign of each effect is that of its mean over {seeds}."

FIGURES: dict[str, FigureKind] = {
    "selection": FigureKind(
        "selection",
        strategies,
        "{model}: what the choice of training data is worth",
        "Left: the accuracy on each target of {model} without training (the grey line) and after "
        "each training strategy; short strokes are single seeds. Right: the informed mixture minus "
        "each other strategy, in {measure}. To the right it is better; a hollow dot may be noise.",
        "{share} intervals cover {judges} that did not inform the choice, and the items of each "
        "target.",
        paper=(8,),
    ),
    "heatmap": FigureKind(
        "effects",
        heatmap,
        "{model}: what each source does to each target",
        "Each cell is the {measure} of one target (column) after finetuning {model} on one source "
        "(row). Blue helped, orange harmed; a hollow cell may be noise.",
        paper=(1,),
    ),
    "heatmap-adjusted": FigureKind(
        "effects",
        partial(heatmap, adjusted=True),
        "{model}: beyond the placebo",
        "Effects minus those of {placebo}, seed by seed: what a source does beyond teaching the "
        "format of an answer. The placebo’s noise is part of each interval, the same for a whole "
        "column.",
    ),
    "heatmaps": FigureKind(
        "effects",
        heatmaps,
        "What each source does to each target",
        "The {measure} of all models on one scale: sources down, targets across. Blue helped, "
        "orange harmed; a hollow cell may be noise.",
        per="study",
        paper=(2,),
    ),
    "graph": FigureKind(
        "effects",
        graph,
        "{model}: transfer graph",
        "An arrow is what one source does to one target.",
        "Edges are chosen by the size of their mean over {seeds}{unsure}.",
        paper=(1,),
    ),
    "checkpoints": FigureKind(
        "checkpoints",
        checkpoint_curves,
        "",
        "Each panel is one target: above the grey line the checkpoint is better than the base, "
        "below it worse. A hollow dot may be noise.",
        per="trajectory",
    ),
    "answers": FigureKind(
        "answers",
        answer_shares,
        "{model}: which options are chosen",
        "A bar like the one on top, the correct answers, uses each option as often as it is "
        "correct. A bar of one color is an adapter that gives one option to every item. Grey "
        "replies name no option.",
        "",
    ),
    "transferability": FigureKind(
        "tasks",
        partial(task_effects, quantity="transferability"),
        "{model}: what each source gives",
        "A source far to the right helps many tasks or helps much; one far to the left harms."
        "{floor}",
        "{intervals} Self-transfer is {whole}.",
    ),
    "malleability": FigureKind(
        "tasks",
        partial(task_effects, quantity="malleability"),
        "{model}: what each target takes",
        "A target far to the right is helped by many finetunes or much; one far to the left is "
        "harmed.{floor}",
        "{intervals} Self-transfer is {whole}.",
    ),
    "personas": FigureKind(
        "tasks",
        personas,
        "Personas",
        "A task is named where it is on the same side of the average in every model, in nearly all "
        "random draws of the effects’ noise. Donors and sponges are right of the vertical line, "
        "pirates and sieves below the horizontal one.",
        "The table of personas shows how certain each one is.",
        per="study",
    ),
    "clique-positive": FigureKind(
        "cliques",
        partial(clique, sign="positive"),
        "{model}: largest positive clique",
        CLIQUE.replace("{verb}", "help"),
        CLIQUE_CAPTION,
        paper=(6,),
    ),
    "clique-negative": FigureKind(
        "cliques",
        partial(clique, sign="negative"),
        "{model}: largest negative clique",
        CLIQUE.replace("{verb}", "harm"),
        CLIQUE_CAPTION,
        paper=(10,),
    ),
    "categories": FigureKind(
        "categories",
        categories,
        "{kind}",
        "Longer bars are groups of tasks that give (upper row) or take (lower row) more. Where "
        "diamond and bar end apart, the group’s effect on itself makes the difference.",
        per="category",
        paper=(3, 4),
    ),
    "category-effects": FigureKind(
        "categories",
        category_effects,
        "{kind}: from group to group",
        "Means over all pairs of tasks from one group to another: of the helpful effects (blue) "
        "and of the harmful ones (orange).",
        "{means}",
        per="category",
    ),
    "scale": FigureKind(
        "scale",
        scale_trend,
        "Transfer and model size",
        "Models from small to large; a step counts as a change only where its line is solid.",
        per="study",
        paper=(5,),
    ),
    "power": FigureKind(
        "limits",
        power,
        "{model}: the smallest detectable effect",
        "A change of accuracy inside its target’s grey band is missed in at least one such study "
        "in five; near 0 in almost all. Absence of evidence there is not evidence of absence.",
        "",
    ),
    "decomposition": FigureKind(
        "limits",
        decomposition,
        "How much is the task, how much the pair",
        "Bars: the part of the pattern that needs no pairs. Some targets are easy to move; some "
        "sources move all. The rest is specific to the pair. A bar means something where it ends "
        "beyond its dotted line: without any transfer targets explain much too, because a base’s "
        "luck is in all effects on its target.",
        per="study",
    ),
    "pgf-behavior": FigureKind(
        "limits",
        pgf_behavior,
        "How PGF behaves",
        "The same change in accuracy counts for more the nearer a target is to its ceiling. Gains "
        "end at 1; losses do not end at −1.",
        "",
        per="study",
        paper=(9,),
    ),
}
"""Every kind of figure, in the order of the page. The paper's Figure 7 is its Figure 2 for
targets of another suite."""


def gallery(analysis: Analysis) -> list[ReportFigure]:
    """Every figure that has something to show."""
    models = list(analysis.models)
    each = {
        "study": {"": None},
        "model": {f"-{model}": model for model in models},
        "category": {f"-{k}": k for m in models for k in analysis.models[m].categories},
        "trajectory": {f"-{t.model}-{t.finetune}": t for t in analysis.trajectories},
    }
    foreign = not any(task.source and task.target for task in analysis.tasks)
    figures = []
    for name, kind in FIGURES.items():
        for suffix, key in each[kind.per].items():
            words = _words(analysis, kind.per, key)
            spec = kind.draw(analysis, key, kind.title.format(**words))
            if spec is not None:
                texts = kind.reading.format(**words), kind.caption.format(**words)
                paper = (7,) if foreign and name in ("heatmap", "heatmaps") else kind.paper
                figures.append(ReportFigure(name + suffix, kind.section, *texts, spec, paper))
    return figures


def _words(analysis: Analysis, per: str, key: Any) -> dict[str, str]:
    """The values of the templates' fields."""
    settings, experiment = analysis.settings, analysis.experiment
    model = key if per == "model" else key.model if per == "trajectory" else None
    seeds = counted(0 if experiment is None else len(experiment.judged_by), "seed")
    words = {
        "measure": MEASURES[settings.measure],
        "share": percent(1 - settings.alpha),
        "judges": seeds,
        "intervals": accounts(analysis),
        "means": seeds_of(analysis),
        "whole": "included" if settings.include_self else "left out",
    }
    if per == "category":
        titles = {"level": "By perceptual level", "granularity": "By granularity"}
        words["kind"] = titles.get(key, f"By {clean(key)}")
    if model is not None:
        record = analysis.models[model]
        _, held = drawn_edges(record.graph.edges, settings.alpha)
        words |= {
            "model": labels(analysis).models[model],
            "intervals": accounts(analysis, model),
            "seeds": counted(len(record.seeds), "seed"),
            "placebo": clean(record.adjusted.placebo) if record.adjusted else "",
            "floor": " Effects inside the dashed lines may be noise." * bool(record.noise_floor),
            "unsure": "" if held else ", not by certainty: the heatmap shows which are hollow",
        }
    return words


OPENING = """# Captions

Each figure is there as SVG, PNG (300 dpi) and PDF, 85 or 175 mm wide: one column or both. A wider
one has a note: its names would be below 6.5 pt otherwise.
"""


def captions(analysis: Analysis, images: Mapping[str, bytes] | None = None) -> str:
    """A caption for each figure, below the name of its files, as Markdown.

    Args:
        images: the printed SVG files by the figures' stems; a caption names a width beyond a page.
    """
    taken: set[str] = set()
    parts = [OPENING]
    for figure in gallery(analysis):
        taken.add(file := safe_name(f"{figure.stem}.svg", taken))
        text = caption(figure)
        if figure.paper:
            word = "Figure" if len(figure.paper) == 1 else "Figures"
            text += f" As {word} {listed(map(str, figure.paper))} of Sachdeva et al. (CVPR 2026)."
        image = (images or {}).get(figure.stem)
        if image and (mm := wide(image)):
            text += f" {mm:.0f} mm wide, for a landscape page or a poster: its names are 6.5 pt."
        parts.append(f"## {escaped(file.removesuffix('.svg'))}\n\n{text}\n")
    return "\n".join(parts)


def caption(figure: ReportFigure) -> str:
    """What the figure shows, how to read it, its key, and what its intervals account for."""
    title, lines = figure.spec["title"]["text"], figure.spec["title"]["subtitle"]
    description = figure.spec["description"].removeprefix(title).lstrip(":. ")
    key = [line.replace(" · ", "; ") for line in lines if line.rstrip(".") not in description]
    sentences = [_sentence(each) for each in (description, figure.reading, *key, figure.caption)]
    return f"**{escaped(title)}.** {escaped(' '.join(filter(None, sentences)))}"


def counterparts(figures: Sequence[ReportFigure]) -> dict[int, list[str]]:
    """{number of the paper's figure: stems of ours}, for all ten."""
    return {n: [each.stem for each in figures if n in each.paper] for n in range(1, 11)}


def escaped(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", html.escape(clean(text), quote=False))


def _sentence(text: str) -> str:
    """The text with a full stop; with a capital where it begins with a word and not a name."""
    plain = re.match("[a-z]+[ :;]", text) is not None
    stop = "." * (text[-1:] not in ("", "."))
    return (text.capitalize()[:1] if plain else text[:1]) + text[1:] + stop
