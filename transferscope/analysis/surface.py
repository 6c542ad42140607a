"""What an analysis and a comparison can do in Python: tables, figures, files, and how they print.

The base classes of both records. Their methods import what they call when they are called: the
records stand above `plots`, `selection`, `report` and `store`, which all read them. No other module
may do so.
"""

# The methods' `self` is the record that inherits them.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    import xarray as xr

    from transferscope.analysis import Analysis
    from transferscope.analysis.comparison import Comparison
    from transferscope.plots.accessor import Plots
    from transferscope.readers import PathLike
    from transferscope.selection import Mixture


class AnalysisMethods:
    """The methods of an `Analysis`."""

    def accuracy(self: Analysis) -> pl.DataFrame:
        """The accuracy before and after finetuning, as a table.

        One row for each model, source and target: `n` items that both answered (mean over seeds),
        `base` and `tuned` as fractions, their difference in `points` (percentage points) with its
        interval `low` to `high`, and `q`, the p-value after FDR correction. Null is unknown.
        """
        from transferscope.analysis.tidy import accuracy

        return accuracy(self)

    def effects(self: Analysis, measure: str = "points") -> pl.DataFrame:
        """The effect of every source on every target, as a table.

        Args:
            measure: `points` (percentage points of accuracy) or a key of `matrix.measure.MEASURES`.

        Returns:
            One row for each model, source and target: `effect` with its interval `low` to `high`,
            `p`, `q` (after FDR correction), `expected` (the change to expect on new items, in
            accuracy alone), `n` items, `seeds`, and `verdict`: helped, harmed or not settled. Null
            is unknown, as are intervals in a measure that is neither of accuracy nor the
            analysis's.

        Raises:
            DataError: there is no such measure.
        """
        from transferscope.analysis.tidy import effects

        return effects(self, measure)

    def to_xarray(self: Analysis, measure: str = "points") -> xr.Dataset:
        """`effect`, `low`, `high`, `p`, `q` and `n` as arrays over (model, source, target).

        Arguments and errors as in `effects`.
        """
        from transferscope.analysis.tidy import to_xarray

        return to_xarray(self, measure)

    def twins(self: Analysis) -> pl.DataFrame:
        """What each source changed in both forms of a task, and what in one: skill or format.

        One row for each model, source and task that was evaluated as multiple choice (`choice`) and
        in its open form (`open`): both changes in percentage points with their intervals, and
        `moved`: both, choice only, open only, neither or opposite, after FDR correction. Null is
        unknown. Empty where no task was evaluated in both forms.
        """
        from transferscope.analysis.tidy import twins

        return twins(self)

    def losses(self: Analysis) -> pl.DataFrame:
        """How each adapter of a study learned, placebos included, as a table.

        One row for each model, source, seed and logged step, some 50 for each adapter: the `loss`
        of the step's batch before the step, in nats per token, and the `gradient_norm` before
        clipping. An adapter that was trained again has its last curve alone; one that failed has
        none here (`trainings` has it, and why). Empty where the results are not of a study's
        folder.
        """
        from transferscope.analysis.tidy import losses

        return losses(self)

    @property
    def plot(self: Analysis) -> Plots:
        """The figures: `analysis.plot.heatmap()`, and one method for each other figure."""
        from transferscope.plots.accessor import Plots

        return Plots(self)

    def select(self: Analysis, target: str, **options: Any) -> Mixture:
        """What to train on for a target without training data, as `transferscope select` finds it.

        Args:
            options: `model`, `rule`, `threshold`, `items`, `protect` ({task: fraction of accuracy})
                and `risk`; see `transferscope.selection.mixture`.

        Raises:
            DataError: an unknown task or model.
            StudyError: an option is out of its range.
        """
        from transferscope.analysis.lookup import model_named, task_named
        from transferscope.selection import mixture

        if options.get("model") is not None:
            options["model"] = model_named(self, options["model"])
        guarded = (options.pop("protect", None) or {}).items()
        options["protect"] = {task_named(self, task): loss for task, loss in guarded}
        return mixture(self, task_named(self, target), **options)

    def save(self: Analysis, folder: PathLike) -> None:
        """Write `analysis.json` and `report.html` into a folder.

        Example items that an equal analysis already has there stay on the page.

        Raises:
            DataError: the folder cannot be written.
        """
        from transferscope.api import save

        save(self, folder)

    def __repr__(self: Analysis) -> str:
        from transferscope.report.notebook import analysis_lines

        return "\n".join(analysis_lines(self))

    def _repr_html_(self: Analysis) -> str:
        from transferscope.report.notebook import analysis_html

        return analysis_html(self)


class ComparisonMethods:
    """The methods of a `Comparison`."""

    def accuracy(self: Comparison) -> pl.DataFrame:
        """The accuracy of base and runs on every target, as a table.

        One row for each run and target, and one for the run's mean over targets where there is one:
        `n` items that both answered, `base` and `tuned` as fractions, their difference in `points`
        (percentage points) with its interval `low` to `high`, `q` (after FDR correction), and
        `verdict`: better, worse or not settled. Null is unknown, and where `state` is not `tested`.
        """
        from transferscope.analysis.tidy import compared

        return compared(self)

    def save(self: Comparison, folder: PathLike) -> None:
        """Write `comparison.json` and `report.html` into a folder.

        Raises:
            DataError: the folder cannot be written.
        """
        from transferscope.api import save_comparison

        save_comparison(self, folder)

    def __repr__(self: Comparison) -> str:
        from transferscope.report.notebook import comparison_lines

        return "\n".join(comparison_lines(self))

    def _repr_html_(self: Comparison) -> str:
        from transferscope.report.notebook import comparison_html

        return comparison_html(self)
