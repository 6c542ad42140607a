"""All figures of a report, in the order of the page, each with a sentence on how to read it.

In:   an `Analysis`.
Out:  `Figure`s. One with nothing to show is left out.
"""

from collections.abc import Iterator
from typing import NamedTuple

from transferscope.analysis import Analysis, Sign
from transferscope.plots.answers import letters
from transferscope.plots.behavior import behaviour
from transferscope.plots.cliques import clique
from transferscope.plots.curves import about, courses
from transferscope.plots.effects import decomposition, power, task_effects
from transferscope.plots.groups import category_effects
from transferscope.plots.heatmaps import heatmap, heatmaps
from transferscope.plots.labels import (
    MEASURES,
    Labels,
    clean,
    counted,
    covers,
    labels,
    model_labels,
    percent,
)
from transferscope.plots.networks import followed, graph
from transferscope.plots.personas import personas
from transferscope.plots.strategies import strategies
from transferscope.plots.trends import categories, scale_trend
from transferscope.plots.vegalite import Spec

SECTIONS = {
    "selection": "What the choice of data is worth",
    "effects": "Every effect",
    "checkpoints": "Over the checkpoints",
    "placebo": "What a placebo does",
    "answers": "How answers are given",
    "flips": "Which items changed",
    "tasks": "Task by task",
    "cliques": "Cliques",
    "categories": "Groups of tasks",
    "scale": "Model size",
    "limits": "What the study can show",
}


class Figure(NamedTuple):
    """One chart and what stands below it."""

    stem: str
    """Name of its files, without ending; holds model names as they were given."""
    section: str
    """A key of `SECTIONS`."""
    reading: str
    """How to read it."""
    caption: str
    """What its intervals account for; empty where it has none."""
    spec: Spec


class _Subject(NamedTuple):
    """What the makers of figures share."""

    analysis: Analysis
    names: Labels
    models: dict[str, str]


_Draft = tuple[str, str, str, str, Spec | None]
"""The parts of a `Figure`; its chart is None where there is nothing to show."""


def gallery(analysis: Analysis) -> list[Figure]:
    """Every figure that has something to show."""
    subject = _Subject(analysis, labels(analysis), model_labels(analysis))
    makers = (
        *(_selection, _effects, _checkpoints, _answers),
        *(_tasks, _cliques, _categories, _scale, _limits),
    )
    return [
        Figure(stem, section, reading, caption, spec)
        for make in makers
        for stem, section, reading, caption, spec in make(subject)
        if spec is not None
    ]


def accounts(analysis: Analysis, models: dict[str, str]) -> str:
    """What the intervals of several models account for, said once where they agree."""
    said = {
        label: covers(analysis.models[name], analysis.settings) for name, label in models.items()
    }
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return " ".join(f"{label}: {words}" for label, words in said.items())


def _seeds(analysis: Analysis, model: str) -> str:
    return counted(len(analysis.models[model].seeds), "seed")


def _over(analysis: Analysis, models: dict[str, str]) -> str:
    """How many seeds means are over, said once where models agree."""
    said = {label: _seeds(analysis, model) for model, label in models.items()}
    if len(set(said.values())) == 1:
        return f"Means over {next(iter(said.values()))}."
    return " ".join(f"{label}: means over {words}." for label, words in said.items())


def _selection(subject: _Subject) -> Iterator[_Draft]:
    analysis, names, models = subject
    measure, experiment = MEASURES[analysis.settings.measure], analysis.experiment
    seeds = 0 if experiment is None else len(experiment.judged_by)
    share = percent(1 - analysis.settings.alpha)
    for model, label in models.items():
        yield (
            f"selection-{model}",
            "selection",
            f"Left: the accuracy on each target of {label} as it is (the grey line) and after each "
            "way to train for it; short strokes are single seeds. Right: the informed mixture "
            f"minus each other way, in {measure}: to the right it is better, and a hollow dot may "
            "well be noise.",
            f"{share} intervals cover {counted(seeds, 'seed')}, none of which informed the choice, "
            "and the items of each target.",
            strategies(analysis, model, f"{label}: what the choice of data is worth", names),
        )


def _effects(subject: _Subject) -> Iterator[_Draft]:
    analysis, names, models = subject
    measure = MEASURES[analysis.settings.measure]
    for model, label in models.items():
        yield (
            f"heatmap-{model}",
            "effects",
            f"Each cell is the {measure} of one target (column) after finetuning {label} on one "
            "source (row): blue helped, orange harmed, and a hollow cell may well be noise.",
            covers(analysis.models[model], analysis.settings),
            heatmap(analysis, model, f"{label}: what each source does to each target", names),
        )
        if (adjusted := analysis.models[model].adjusted) is not None:
            yield (
                f"heatmap-adjusted-{model}",
                "effects",
                f"What is left once what {clean(adjusted.placebo)} did to a target is taken off, "
                "seed by seed: what a source does beyond teaching the format of an answer. The "
                "placebo’s own noise is part of each interval, the same for a whole column.",
                covers(analysis.models[model], analysis.settings),
                heatmap(analysis, model, f"{label}: beyond the placebo", names, adjusted=True),
            )
    yield (
        "heatmaps",
        "effects",
        f"The {measure} of all models on one scale: sources down, targets across; blue helped, "
        "orange harmed, and a hollow cell may well be noise.",
        accounts(analysis, models),
        heatmaps(analysis, models, "What each source does to each target", names),
    )
    for model, label in models.items():
        _, sure = followed(analysis.models[model].graph.edges, analysis.settings.alpha)
        unsure = ", not by certainty: the heatmap shows which are hollow"
        yield (
            f"graph-{model}",
            "effects",
            "An arrow is what one source does to one target.",
            f"Edges are chosen by the size of their mean over {_seeds(analysis, model)}"
            f"{'' if sure else unsure}.",
            graph(analysis, model, f"{label}: transfer graph", names),
        )


def _checkpoints(subject: _Subject) -> Iterator[_Draft]:
    analysis, names, models = subject
    for each in analysis.trajectories:
        yield (
            f"checkpoints-{each.model}-{each.finetune}",
            "checkpoints",
            "Each panel is one target: above the grey line the checkpoint is better than the base, "
            "below it worse, and a hollow dot may well be noise.",
            covers(analysis.models[each.model], analysis.settings),
            courses(analysis, each, about(each, models), names),
        )


def _answers(subject: _Subject) -> Iterator[_Draft]:
    analysis, names, models = subject
    for model, label in models.items():
        yield (
            f"answers-{model}",
            "answers",
            "A bar that looks like the one on top, the right answers, uses the letters as they are "
            "right. A bar of one colour is an adapter that gives one letter whatever it is shown; "
            "grey replies name no option at all.",
            "",
            letters(analysis, model, f"{label}: which letters are given", names),
        )


def _tasks(subject: _Subject) -> Iterator[_Draft]:
    analysis, names, models = subject
    whole = "included" if analysis.settings.include_self else "left out"
    for model, label in models.items():
        caption = f"{covers(analysis.models[model], analysis.settings)} Self-transfer is {whole}."
        floor = analysis.models[model].noise_floor is not None
        yield (
            f"transferability-{model}",
            "tasks",
            "A source far to the right helps many tasks or helps much; one far to the left harms."
            + " Inside the dashed lines it does no more than noise would." * floor,
            caption,
            task_effects(
                analysis, model, "transferability", f"{label}: what each source gives", names
            ),
        )
        yield (
            f"malleability-{model}",
            "tasks",
            "A target far to the right is helped by many finetunes or much; one far to the left is "
            "harmed." + " Inside the dashed lines it moves no more than noise would." * floor,
            caption,
            task_effects(
                analysis, model, "malleability", f"{label}: what each target takes", names
            ),
        )
    yield (
        "personas",
        "tasks",
        "A task is named where it lies on the same side of the average in every model: donors and "
        "sponges right of the vertical line, pirates and sieves below the horizontal one.",
        "How sure each persona is stands in the table of personas.",
        personas(analysis, models, "Personas", names),
    )


def _cliques(subject: _Subject) -> Iterator[_Draft]:
    analysis, names, models = subject
    for model, label in models.items():
        verbs: dict[Sign, str] = {"positive": "help", "negative": "harm"}
        for sign, verb in verbs.items():
            yield (
                f"clique-{sign}-{model}",
                "cliques",
                f"The largest set of tasks in {label} that all {verb} each other, in both "
                "directions. It means something where it is larger than the bars, the sizes that "
                "arise without any such bond. The paper’s test says little: cliques of pure noise "
                "pass it too, as their tasks are chosen for the sign that it tests.",
                f"The sign of each effect is that of its mean over {_seeds(analysis, model)}.",
                clique(analysis, model, sign, f"{label}: largest {sign} clique", names),
            )


def _categories(subject: _Subject) -> Iterator[_Draft]:
    analysis, _, models = subject
    caption = accounts(analysis, models)
    titles = {"level": "By perceptual level", "granularity": "By granularity"}
    kinds = dict.fromkeys(kind for model in models for kind in analysis.models[model].categories)
    for kind in kinds:
        title = titles.get(kind, f"By {clean(kind)}")
        yield (
            f"categories-{kind}",
            "categories",
            "Longer bars are groups of tasks that give (upper row) or take (lower row) more. Where "
            "diamond and bar end apart, the group’s effect on itself makes the difference.",
            caption,
            categories(analysis, kind, models, title),
        )
        yield (
            f"category-effects-{kind}",
            "categories",
            "Mean of the helpful effects (blue) and mean of the harmful ones (orange) over all "
            "pairs of tasks from one group to another.",
            _over(analysis, models),
            category_effects(analysis, kind, models, f"{title}: from group to group"),
        )


def _scale(subject: _Subject) -> Iterator[_Draft]:
    analysis, _, models = subject
    yield (
        "scale",
        "scale",
        "Models from small to large; a step counts as a change only where its line is solid.",
        accounts(analysis, models),
        scale_trend(analysis, models, "Transfer and model size"),
    )


def _limits(subject: _Subject) -> Iterator[_Draft]:
    analysis, names, models = subject
    for model, label in models.items():
        yield (
            f"power-{model}",
            "limits",
            "An effect inside its target’s grey band goes unseen in at least one such study in "
            "five; near 0 in almost all. Absence of evidence there is not evidence of absence.",
            "",
            power(analysis, model, f"{label}: the smallest effect that could be seen", names),
        )
    yield (
        "decomposition",
        "limits",
        "Bars say how much of the pattern needs no pairs at all: it follows from which target is "
        "easy to move, or which source moves all. What both leave is specific to the pair. A bar "
        "says something where it ends beyond its dotted line: without any transfer targets explain "
        "much, too, as the luck of a baseline is in all effects on its target.",
        accounts(analysis, models),
        decomposition(analysis, models, "How much is the task, how much the pair"),
    )
    yield (
        "pgf-behaviour",
        "limits",
        "The same change in accuracy counts for more the nearer a target is to its ceiling; gains "
        "end at 1, losses do not end at −1.",
        "",
        behaviour(analysis, models, "How PGF behaves", names),
    )
