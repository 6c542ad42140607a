"""The report: every figure, and the page that holds them all.

Altair is imported when `figures` is called, vl-convert when a figure is rendered; the page needs
neither. Writes no file: `store` does.
"""

from typing import TYPE_CHECKING

from transferscope.analysis import Analysis
from transferscope.matrix.examples import Exhibits
from transferscope.plots.composition import Format, render

if TYPE_CHECKING:
    from transferscope.plots.composition import Chart

__all__ = ["Format", "figures", "page", "render"]


def page(analysis: Analysis, exhibits: Exhibits | None = None) -> str:
    """The whole report as one HTML page that opens offline and makes no network request.

    The same analysis gives the same page, to the byte. Write it as UTF-8: the page's security
    policy holds checksums of its scripts.

    Args:
        exhibits: example items, which are no part of the analysis.
    """
    from transferscope.report.html_page import write

    return write(analysis, exhibits)


def figures(analysis: Analysis) -> "dict[str, Chart]":
    """{file stem: Altair chart}, such as `heatmap-3B`, in the page's order.

    Stems hold model names as they were given, which may not be safe file names.
    """
    from transferscope.plots.composition import chart
    from transferscope.plots.gallery import gallery

    return {figure.stem: chart(figure.spec) for figure in gallery(analysis)}
