"""The figures of an analysis as methods: `analysis.plot.heatmap()`.

In:   an `Analysis`.
Out:  Altair charts, which compose with `|` and `&`, and save themselves with `.save(file)`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from transferscope.analysis import Analysis
from transferscope.analysis.lookup import POINTS, model_named
from transferscope.errors import DataError
from transferscope.plots.composition import Spec, chart
from transferscope.plots.gallery import FIGURES, gallery
from transferscope.plots.heatmaps import Shown, heatmap, in_points
from transferscope.plots.labels import labels
from transferscope.tasks.naming import unknown

if TYPE_CHECKING:
    from transferscope.plots.composition import Chart


class Plots:
    """The figures of an analysis, one method for each entry of `plots.gallery.FIGURES`.

    A figure of one model takes `model`, by default the last, hence largest; one of groups of tasks
    takes `by`, such as `level`; one of checkpoints takes `finetune`, by default all of them.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def heatmap(self, model: str | None = None, measure: str | None = None) -> "Chart":
        """What each source does to each target of a model.

        Args:
            measure: `points`, `accuracy`, or the analysis's own measure, such as `pgf`. None:
                points where accuracies are known, else that measure.

        Raises:
            DataError: an unknown model or another measure, or nothing is known in it.
        """
        return chart(heatmap_spec(self._analysis, model, measure))

    def curves(self, finetune: str | None = None) -> "Chart":
        """The effects over the checkpoints of a finetune, by default of each one."""
        return _drawn(self._analysis, "checkpoints", finetune)

    def __getattr__(self, name: str) -> Callable[..., "Chart"]:
        figure = name.replace("_", "-")
        if figure not in FIGURES:
            known = [each for each in dir(self) if not each.startswith("_")]
            raise AttributeError(unknown("figure", name, known))
        argument, words = ARGUMENTS[FIGURES[figure].per]

        def drawn(*given: str | None, **named: str | None) -> "Chart":
            if named.keys() - {argument} or len(given) + len(named) > bool(argument):
                raise TypeError(f"{name}() takes {f'only `{argument}`' if argument else 'nothing'}")
            return _drawn(self._analysis, figure, *given, *named.values())

        drawn.__name__, drawn.__doc__ = name, f"{FIGURES[figure].reading}\n\n{words}"
        return drawn

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name.replace("-", "_") for name in FIGURES)]


ARGUMENTS = {
    "model": ("model", "Args: `model`, by default the last, hence largest."),
    "study": ("", "Without arguments."),
    "category": ("by", "Args: `by`, one way to group tasks, by default `level`."),
    "trajectory": ("finetune", "Args: `finetune`, by default all, one above the other."),
}
"""What the method of a figure takes, by what the figure is of, with its words."""


def heatmap_spec(analysis: Analysis, model: str | None = None, measure: str | None = None) -> Spec:
    """The heatmap of `Plots.heatmap` as a Vega-Lite specification."""
    shown: dict[str, Shown] = {}
    if in_points(analysis):
        shown |= {POINTS: "points", "raw_gain": "points", "accuracy": "accuracy"}
    shown.setdefault(analysis.settings.measure, "effect")
    measure = measure or next(iter(shown))
    if measure not in shown:
        raise DataError(unknown("measure of a heatmap", measure, shown))
    name = model_named(analysis, model)
    title = f"{labels(analysis).models[name]}: {FIGURES['heatmap'].title}"
    spec = heatmap(analysis, name, title, shown=shown[measure])
    if spec is None:
        raise DataError(f"heatmap of {name}: nothing to draw; nothing was measured")
    return spec


def _drawn(analysis: Analysis, figure: str, key: str | None = None) -> "Chart":
    """A figure of what `ARGUMENTS` names; of several finetunes one above the other."""
    per = FIGURES[figure].per
    if per == "trajectory":
        known = [each.finetune for each in analysis.trajectories]
        if key is not None and key not in known:
            raise DataError(unknown("finetune with checkpoints", key, known))
        suffixes = [t.stem for t in analysis.trajectories if key in (None, t.finetune)]
        if not suffixes:
            raise DataError("no source is a checkpoint, so there are no curves to draw")
    elif per == "category":
        known = [each for model in analysis.models.values() for each in model.categories]
        if (key := key or "level") not in known:
            raise DataError(unknown("way to group tasks", key, known))
        suffixes = [f"-{key}"]
    else:
        suffixes = [f"-{model_named(analysis, key)}" if per == "model" else ""]
    specs = {each.stem: each.spec for each in gallery(analysis, figure)}
    for stem in (figure + suffix for suffix in suffixes):
        if stem not in specs:
            raise DataError(f"{stem}: nothing to draw; this analysis lacks what it shows")
    charts = [chart(specs[figure + suffix]) for suffix in suffixes]
    if len(charts) == 1:
        return charts[0]
    import altair

    return altair.vconcat(*charts)
