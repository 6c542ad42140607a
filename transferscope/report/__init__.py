"""The report: every figure, and the page that holds them all.

Altair is imported when `figures` is called, vl-convert when a figure is rendered; the page needs
neither. Writes no file: `store` does.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from transferscope.analysis import Analysis
from transferscope.matrix.examples import Exhibits

if TYPE_CHECKING:
    from transferscope.plots.composition import Chart
    from transferscope.plots.vegalite import Spec

Format = Literal["svg", "png", "pdf"]

__all__ = ["Format", "captions", "figures", "page", "render"]


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


def captions(analysis: Analysis, images: Mapping[str, bytes] | None = None) -> str:
    """Captions of the figures, generated from the numbers, as Markdown.

    Args:
        images: the rendered SVG files by the stems of the figures; a caption names a width beyond
            a page.
    """
    from transferscope.plots.gallery import captions

    return captions(analysis, images)


def render(spec: "Spec", format: Format) -> bytes:
    """One figure in print size, as the bytes of an SVG, PNG (300 dpi) or PDF file, on white.

    It is 85 or 175 mm wide, one column or both, or wider where its names would be below 6.5 pt. It
    has no title, because the caption holds it.

    Raises:
        ValueError: the format is none of these.
    """
    import vl_convert

    from transferscope.plots.print_layout import DPI, printed

    if format not in get_args(Format):
        raise ValueError(f"format must be svg, png or pdf, got {format!r}")
    # vl-convert takes a length without a unit as points.
    image = printed(spec, "pt" if format == "svg" else "")
    if format == "svg":
        return image.encode()
    if format == "png":
        return vl_convert.svg_to_png(image, ppi=DPI)
    return vl_convert.svg_to_pdf(image)
