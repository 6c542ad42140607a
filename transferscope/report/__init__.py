"""The report: every figure, and the page that holds them all.

In:   an `Analysis`; for the page, `Exhibits` too, where there are any.
Out:  a self-contained HTML page, Altair charts, and their bytes as SVG, PNG or PDF.

Altair is imported when `figures` is called, vl-convert when a chart is rendered; the page needs
neither. Writes no file: `results` does.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from transferscope.analysis import Analysis
from transferscope.matrix.examples import Exhibits

if TYPE_CHECKING:
    from transferscope.plots.vegalite import Chart

Format = Literal["svg", "png", "pdf"]

__all__ = ["Format", "captions", "figures", "page", "render"]


def page(analysis: Analysis, exhibits: Exhibits | None = None) -> str:
    """The whole report as one HTML page that opens offline and asks the network for nothing.

    The same analysis gives the same page, to the byte. Write it as UTF-8: the page's security
    policy holds checksums of its scripts.

    Args:
        exhibits: items to look at, which are no part of the analysis.
    """
    from transferscope.report.html import write

    return write(analysis, exhibits)


def figures(analysis: Analysis) -> "dict[str, Chart]":
    """The page's charts by readable file stems, such as `heatmap-3B`, in the page's order.

    Stems hold model names as they were given, which may be no safe file names.
    """
    from transferscope.plots.gallery import gallery
    from transferscope.plots.vegalite import chart

    return {figure.stem: chart(figure.spec) for figure in gallery(analysis)}


def captions(analysis: Analysis, pictures: Mapping[str, bytes] | None = None) -> str:
    """Captions of the figures, generated from the numbers, as Markdown.

    Args:
        pictures: the rendered SVG files by the stems of `figures`; where one is wider than a page,
            its caption says so.
    """
    from transferscope.plots.caption import captions

    return captions(analysis, pictures)


def render(chart: "Chart", format: Format) -> bytes:
    """One chart as a paper prints it, as the bytes of an SVG, PNG (300 dpi) or PDF file, on white.

    It is 85 or 175 mm wide, one column or both, or wider where its names would be below 6.5 pt; it
    has no title: that is the caption's part.

    Raises:
        ValueError: the format is none of these.
    """
    import vl_convert

    from transferscope.plots.paper import DPI, printed
    from transferscope.plots.vegalite import specification

    if format not in get_args(Format):
        raise ValueError(f"format must be svg, png or pdf, but is {format!r}")
    # vl-convert takes a length without a unit as points.
    picture = printed(specification(chart), "pt" if format == "svg" else "")
    if format == "svg":
        return picture.encode()
    if format == "png":
        return vl_convert.svg_to_png(picture, ppi=DPI)
    return vl_convert.svg_to_pdf(picture)
