"""The figures of an analysis as methods: `analysis.plot.heatmap()`.

In:   an `Analysis`.
Out:  Altair charts, which compose with `|` and `&`, and save themselves with `.save(file)`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
        return _checkpoint_figure(self._analysis, "checkpoints", finetune)

    def __getattr__(self, name: str) -> Callable[..., "Chart"]:
        figure = name.replace("_", "-")
        if figure not in FIGURES:
            known = [each for each in dir(self) if not each.startswith("_")]
            raise AttributeError(unknown("figure", name, known))
        draw = _DRAW[FIGURES[figure].per]

        def drawn(*key: Any, **named: Any) -> "Chart":
            return draw(self._analysis, figure, *key, **named)

        drawn.__name__ = name
        drawn.__doc__ = f"{FIGURES[figure].reading}\n\n{draw.__doc__}"
        return drawn

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name.replace("-", "_") for name in FIGURES)]


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
    title = FIGURES["heatmap"].title.format(model=labels(analysis).models[name])
    spec = heatmap(analysis, name, title, shown=shown[measure])
    if spec is None:
        raise DataError(f"heatmap of {name}: nothing to draw; nothing was measured")
    return spec


def _model_figure(analysis: Analysis, figure: str, model: str | None = None) -> "Chart":
    """Args: `model`, by default the last, hence largest."""
    return _chart(analysis, figure, f"-{model_named(analysis, model)}")


def _study_figure(analysis: Analysis, figure: str) -> "Chart":
    """Without arguments."""
    return _chart(analysis, figure, "")


def _category_figure(analysis: Analysis, figure: str, by: str = "level") -> "Chart":
    """Args: `by`, one way to group tasks, by default `level`."""
    known = [each for model in analysis.models.values() for each in model.categories]
    if by not in known:
        raise DataError(unknown("way to group tasks", by, known))
    return _chart(analysis, figure, f"-{by}")


def _checkpoint_figure(analysis: Analysis, figure: str, finetune: str | None = None) -> "Chart":
    """Args: `finetune`, by default all of them, one above the other."""
    import altair

    known = [each.finetune for each in analysis.trajectories]
    if finetune is not None and finetune not in known:
        raise DataError(unknown("finetune with checkpoints", finetune, known))
    found = [t for t in analysis.trajectories if finetune in (None, t.finetune)]
    charts = [_chart(analysis, figure, t.stem) for t in found]
    if not charts:
        raise DataError("no source is a checkpoint, so there are no curves to draw")
    return charts[0] if len(charts) == 1 else altair.vconcat(*charts)


_DRAW: dict[str, Callable[..., "Chart"]] = {
    "model": _model_figure,
    "study": _study_figure,
    "category": _category_figure,
    "trajectory": _checkpoint_figure,
}


def _chart(analysis: Analysis, figure: str, suffix: str) -> "Chart":
    for each in gallery(analysis, figure):
        if each.stem == figure + suffix:
            return chart(each.spec)
    raise DataError(f"{figure}{suffix}: nothing to draw; this analysis lacks what it shows")
