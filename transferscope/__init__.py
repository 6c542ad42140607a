"""See what finetuning a vision-language model on one task does to all the others.

    import transferscope as ts
    ts.compare("logs/base", ["logs/checkpoint-*"])
    a = ts.load("demo/")  # or ts.run("study.yaml"), ts.analyze({"3B": "a.csv", "32B": "b.csv"})
    a.accuracy(), a.effects("points"), a.to_xarray(), a.plot.heatmap(), a.select("Jigsaw")
    matrix = ts.read_results("demo/")
    ts.transferability(matrix.pgf)

Every public name is loaded when first used, so that importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transferscope.analysis import Analysis as Analysis
    from transferscope.analysis.comparison import Comparison as Comparison
    from transferscope.analysis.graph import cliques as cliques
    from transferscope.analysis.graph import transfer_graph as transfer_graph
    from transferscope.analysis.persona import personas as personas
    from transferscope.analysis.settings import Settings as Settings
    from transferscope.api import analyze as analyze
    from transferscope.api import load as load
    from transferscope.api import run as run
    from transferscope.errors import DataError as DataError
    from transferscope.errors import MissingExtra as MissingExtra
    from transferscope.errors import StudyError as StudyError
    from transferscope.errors import TransferscopeError as TransferscopeError
    from transferscope.matrix import apply_ceiling as apply_ceiling
    from transferscope.matrix.measure import pgf as pgf
    from transferscope.matrix.measure import raw_gain as raw_gain
    from transferscope.matrix.measure import relative_gain as relative_gain
    from transferscope.matrix.task_effects import averages as averages
    from transferscope.matrix.task_effects import category_effects as category_effects
    from transferscope.matrix.task_effects import category_trends as category_trends
    from transferscope.matrix.task_effects import decompose as decompose
    from transferscope.matrix.task_effects import malleability as malleability
    from transferscope.matrix.task_effects import transferability as transferability
    from transferscope.readers import read_results as read_results
    from transferscope.readers.compare import compare as compare
    from transferscope.stats import benjamini_hochberg as benjamini_hochberg
    from transferscope.stats import mcnemar as mcnemar
    from transferscope.stats.power import power as power
    from transferscope.suites import open_suite as open_suite

_HOME = {
    "analysis": ("Analysis",),
    "analysis.comparison": ("Comparison",),
    "api": ("analyze", "load", "run"),
    "errors": ("DataError", "MissingExtra", "StudyError", "TransferscopeError"),
    "analysis.graph": ("cliques", "transfer_graph"),
    "matrix": ("apply_ceiling",),
    "matrix.measure": ("pgf", "raw_gain", "relative_gain"),
    "matrix.task_effects": (
        "averages",
        "category_effects",
        "category_trends",
        "decompose",
        "malleability",
        "transferability",
    ),
    "analysis.persona": ("personas",),
    "readers": ("read_results",),
    "readers.compare": ("compare",),
    "analysis.settings": ("Settings",),
    "stats": ("benjamini_hochberg", "mcnemar"),
    "stats.power": ("power",),
    "suites": ("open_suite",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
