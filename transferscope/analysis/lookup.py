"""Tasks and models of an analysis by the names that a person types.

An unknown name is a `DataError` with the nearest known one and all that are known.
"""

from transferscope.analysis import Analysis
from transferscope.errors import DataError
from transferscope.tasks.naming import task_of, unknown

POINTS = "points"
"""The measure `raw_gain` times 100: percentage points of accuracy."""


def task_named(analysis: Analysis, name: str) -> str:
    """The task of a name, an abbreviation, or a name spelled with spaces, ignoring case."""
    found = task_of(name, {task.name: task.abbreviation for task in analysis.tasks})
    if found is None:
        raise DataError(unknown("task", name, (task.name for task in analysis.tasks)))
    return found


def model_named(analysis: Analysis, name: str | None) -> str:
    """A model of the analysis; None is the last, hence largest."""
    if name is None:
        return list(analysis.models)[-1]
    if name not in analysis.models:
        raise DataError(unknown("model", name, analysis.models))
    return name
