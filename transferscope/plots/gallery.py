"""All figures of a study, in the order of the page, each with its caption.

To add a figure, write a function `(analysis, key, title) -> Spec | None` in a module of this
package, and add one entry to `FIGURES`. The page, the image files and the captions follow.
"""

import html
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from transferscope.analysis import Analysis
from transferscope.plots.answer_bars import answer_shares
from transferscope.plots.categories import categories, category_effects, scale_trend
from transferscope.plots.composition import Spec
from transferscope.plots.curves import checkpoint_curves
from transferscope.plots.heatmaps import heatmap, heatmaps
from transferscope.plots.labels import accounts, clean, labels
from transferscope.plots.networks import clique, graph
from transferscope.plots.study_limits import decomposition, pgf_behavior, power
from transferscope.plots.task_figures import PLAYED, SIGNS, personas, task_effects
from transferscope.plots.training_loss import training_loss
from transferscope.plots.training_strategies import strategies
from transferscope.selection.wording import listed
from transferscope.store import safe_name


class FigureKind(NamedTuple):
    """One kind of figure; its title, reading and caption may have the fields of `gallery`. The
    title of one `per` model follows the model's name."""

    tab: str
    """The part of the page that shows it."""
    draw: Callable[[Analysis, Any, str], Spec | None]
    title: str
    caption: str = "{intervals}"
    """What its intervals account for; empty where it has none."""
    reading: str = ""
    """How to read it, beyond the lines below its title."""
    per: str = "model"
    """One figure for each `model`, `category`, `trajectory`, or one for the `study`."""
    paper: tuple[int, ...] = ()
    """The paper's figures that it corresponds to."""
    group: str = ""
    """Heading of a folded part of the tab; empty where it is in full view."""


class ReportFigure(NamedTuple):
    """One chart and its caption."""

    name: str
    """Its key in `FIGURES`."""
    stem: str
    """Name of its files, without ending; holds model names as they were given."""
    model: str
    """Empty where it shows all models."""
    spec: Spec
    kind: FigureKind
    """With its texts filled in, and the paper's figures that it corresponds to here."""


CELLS = "Blue helped, orange harmed; a hollow cell may be noise."
GROUPS, PAIR = "Groups of tasks", "How much is the task, how much the pair"
SIZE, GIVE = "Transfer and model size", "What tasks give and take"
FIGURES: dict[str, FigureKind] = {
    "selection": FigureKind(
        "train",
        strategies,
        "what the choice of training data is worth",
        "Intervals cover the seeds that did not inform the choice, and the items of each target.",
        paper=(8,),
    ),
    "heatmap": FigureKind(
        "matrix",
        heatmap,
        "what each source does to each target",
        reading=f"Each cell is the change of a target after finetuning on a source. {CELLS}",
        paper=(1,),
    ),
    "heatmap-adjusted": FigureKind(
        "matrix",
        partial(heatmap, adjusted=True),
        "beyond the placebo",
        "{intervals} The placebo’s noise is part of each, the same for a whole column.",
        "Effects minus those of {placebo}: what a source does beyond teaching an answer’s format.",
    ),
    "heatmaps": FigureKind(
        "structure",
        heatmaps,
        "What each source does to each target",
        reading=f"The effects of all models on one scale. {CELLS}",
        per="study",
        paper=(2,),
        group="All models side by side",
    ),
    "graph": FigureKind(
        "graph",
        graph,
        "transfer graph",
        "Arrows are chosen by their mean over seeds; the heatmap shows which may be noise.",
        "An arrow is what one source does to one target.",
        paper=(1,),
    ),
    "checkpoints": FigureKind(
        "steps",
        checkpoint_curves,
        "",
        reading="Each panel is one target: above the grey line the checkpoint is better than the "
        "base, below it worse. A hollow dot may be noise.",
        per="trajectory",
    ),
    "answers": FigureKind("safety", answer_shares, "which options are chosen", ""),
    **{
        name: FigureKind("structure", partial(task_effects, quantity=name), title, group=GIVE)
        for name, title in zip(
            PLAYED, ("what each source gives", "what each target takes"), strict=True
        )
    },
    "personas": FigureKind("structure", personas, "Personas", "", per="study", group="Personas"),
    **{
        f"clique-{sign}": FigureKind(
            "structure",
            partial(clique, sign=sign),
            f"the largest set of tasks that {verb} each other",
            "The sign of each effect is that of its mean over seeds.",
            paper=(figure,),
            group="Cliques",
        )
        for sign, verb, figure in zip(SIGNS, ("help", "harm"), (6, 10), strict=True)
    },
    "categories": FigureKind(
        "structure", categories, "By {kind}", per="category", paper=(3, 4), group=GROUPS
    ),
    "category-effects": FigureKind(
        "structure",
        category_effects,
        "By {kind}: from group to group",
        per="category",
        group=GROUPS,
    ),
    "scale": FigureKind(
        "structure", scale_trend, SIZE, per="study", paper=(5,), group="Model size"
    ),
    "losses": FigureKind(
        "method",
        training_loss,
        "training loss",
        "",
        "Look for lines that fall and then level out. Where one never falls, little was learned, "
        "as a placebo may show; one that climbs needs a lower learning rate. An orange cross ends "
        "the line of an adapter that failed and was not kept. A low loss does not prove a good "
        "adapter: items can be learned by heart.",
    ),
    "power": FigureKind("method", power, "the smallest detectable effect", ""),
    "decomposition": FigureKind("structure", decomposition, PAIR, per="study", group=PAIR),
    "pgf-behavior": FigureKind(
        "method", pgf_behavior, "How PGF behaves", "", per="study", paper=(9,)
    ),
}
"""Every kind of figure, in the order of the page. The paper's Figure 7 is its Figure 2 for
targets of another suite."""


def gallery(analysis: Analysis, only: str | None = None) -> list[ReportFigure]:
    """Every figure that has something to show, or those of one key of `FIGURES`."""
    models = labels(analysis).models
    each: dict[str, dict[str, Any]] = {
        "study": {"": None},
        "model": {f"-{model}": model for model in models},
        "category": {f"-{k}": k for m in models for k in analysis.models[m].categories},
        "trajectory": {t.stem: t for t in analysis.trajectories},
    }
    foreign = not any(task.source and task.target for task in analysis.tasks)
    figures = []
    for name, kind in FIGURES.items() if only is None else [(only, FIGURES[only])]:
        for suffix, key in each[kind.per].items():
            model = key if kind.per == "model" else getattr(key, "model", None)
            adjusted = analysis.models[model].adjusted if model in models else None
            words = {
                "model": models.get(model or "", ""),
                "kind": "perceptual level" if key == "level" else clean(str(key)),
                "intervals": accounts(analysis, model),
                "placebo": clean(adjusted.placebo) if adjusted else "",
            }
            texts = {f: getattr(kind, f).format(**words) for f in ("title", "reading", "caption")}
            texts["title"] = f"{words['model']}: " * (kind.per == "model") + texts["title"]
            if spec := kind.draw(analysis, key, texts["title"]):
                paper = (7,) if foreign and name in ("heatmap", "heatmaps") else kind.paper
                shown = kind._replace(**texts, paper=paper)
                figures.append(ReportFigure(name, name + suffix, model or "", spec, shown))
    return figures


def captions(figures: Sequence[ReportFigure]) -> str:
    """A caption for each figure, below the name of its files, as Markdown."""
    taken: set[str] = set()
    parts = ["# Captions\n"]
    for figure in figures:
        taken.add(file := safe_name(f"{figure.stem}.svg", taken))
        numbers, paper = figure.kind.paper, ""
        if numbers:
            word = f"Figure{'s' * (len(numbers) > 1)} {listed(map(str, numbers))}"
            paper = f" As {word} of Sachdeva et al. (CVPR 2026)."
        parts.append(f"## {escaped(file.removesuffix('.svg'))}\n\n{caption(figure)}{paper}\n")
    return "\n".join(parts)


def caption(figure: ReportFigure) -> str:
    """What the figure shows, how to read it, and what its intervals account for, as Markdown."""
    title, kind = figure.spec["title"]["text"], figure.kind
    rest = (figure.spec["description"].removeprefix(title), kind.reading, kind.caption)
    return f"**{escaped(title)}**{escaped(' '.join(filter(None, rest)))}"


def escaped(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", html.escape(clean(text), quote=False))
