"""Figures as files in print size: as wide as one column of a paper or both, and without a title.

A chart's lengths are pixels of the page, where most text is 11 high. A file is the narrowest of
both widths in which this text has at least 6.5 pt, and at most 8 pt; a larger figure is wider.
"""

import json
import re
from functools import lru_cache
from typing import Literal, get_args

from transferscope.plots.composition import VERSION, Spec

Format = Literal["svg", "pdf", "png"]
WIDTHS = (85.0, 175.0)
"""One column of a paper, and both, in mm."""
DPI = 300
POINTS = 72 / 25.4
"""Points in a mm."""
LEAST, MOST = 6.5 / 11, 8 / 11
"""Points in a pixel."""
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
"""Fonts of equal widths, so that the text fits wherever the file is opened."""
_HEAD = re.compile(r'<svg\b([^>]*?) width="([\d.]+)" height="([\d.]+)" viewBox="[^"]*"([^>]*)>')


def render(spec: Spec, format: Format) -> bytes:
    """One figure as the bytes of an SVG, PDF or PNG (300 dpi) file, on white.

    Raises:
        ValueError: the format is none of these.
    """
    import vl_convert

    if format not in get_args(Format):
        raise ValueError(f"format must be svg, pdf or png, got {format!r}")
    if format == "svg":
        return _printed(spec, "pt").encode()
    image = _printed(spec, "")  # vl-convert takes a length without a unit as points
    return (
        vl_convert.svg_to_pdf(image) if format == "pdf" else vl_convert.svg_to_png(image, ppi=DPI)
    )


def _printed(spec: Spec, unit: str) -> str:
    bare = {key: each for key, each in spec.items() if key != "title"}
    image = _svg(json.dumps(bare | {"padding": 2, "config": {**spec["config"], "font": FONT}}))
    found = _HEAD.search(image)
    assert found is not None  # vl-convert writes it so
    natural, high = float(found[2]), float(found[3])
    fitting = (mm * POINTS for mm in WIDTHS if natural * LEAST <= mm * POINTS)
    points = next(fitting, natural * LEAST)
    wide = points / min(MOST, points / natural)
    left, height = (natural - wide) / 2, high * points / wide
    size = f'width="{points:.2f}{unit}" height="{height:.2f}{unit}"'
    head = f'<svg{found[1]} {size} viewBox="{left:.2f} 0 {wide:.2f} {high}"{found[4]}>'
    paper = f'<rect x="{left:.2f}" width="{wide:.2f}" height="{high}" fill="#ffffff"/>'
    return image[: found.start()] + head + paper + image[found.end() :]


@lru_cache(maxsize=1)
def _svg(spec: str) -> str:
    """A specification as SVG, kept for the other formats."""
    import vl_convert

    return vl_convert.vegalite_to_svg(spec, vl_version=VERSION)
