"""A chart as a paper prints it: as wide as one column of two, or as both, and without its title.

A chart's lengths are pixels of the page, where most text is 11 high. On paper a pixel is 8/11 of a
point, so that this text is 8 pt, and plots stretch or shrink until the whole is as wide as the
column. Square plots keep their size, as what is in them stands at fixed places, and so do plots
whose width is a step for each cell; a chart of these alone is printed smaller or larger, within
`SCALES`, or stands in the middle. Panels that do not fit beside each other are broken into rows.
Where one panel holds very much, its type is smaller, down to `LEAST`; from there on the sheet is
wider than both columns, for a page on its side or a poster. `wide` finds those.

In:   a Vega-Lite specification.
Out:  SVG, in points; the caption has what the title said.
"""

import json
import re
from functools import lru_cache
from typing import Literal, NamedTuple

from transferscope.plots.vegalite import VERSION, Spec

COLUMN, PAGE = 85.0, 175.0
"""Width of one column and of both, in mm."""
DPI = 300
POINTS = 72 / 25.4
"""Points in a mm."""
BEST = 8 / 11
"""Points in a pixel, where plots can stretch."""
SCALES = (0.65, 0.75)
"""The least and most points that a pixel of the page's chart becomes; most text is 11 high."""
LEAST = 6.5 / 11
"""Points in a pixel of the largest figures: names in them are 6.5 pt."""
MARGIN = 2
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
"""Of equal widths, so that the text fits wherever the file is opened."""
STRETCH = (0.47, 2.5)
"""How much narrower or wider a plot may become."""

_SIZE = re.compile(r'(<svg\b[^>]*?) width="([\d.]+)(?:pt)?" height="([\d.]+)(?:pt)?"')


class _Fitted(NamedTuple):
    """A chart made for a column."""

    spec: Spec
    natural: float
    """Its width in pixels."""
    points: float
    """The column's width."""

    @property
    def small(self) -> bool:
        """Whether its type is smaller than it should be."""
        return self.natural * SCALES[0] > self.points


def printed(spec: Spec, unit: Literal["", "pt"] = "pt") -> str:
    """The chart as SVG of its printed size in points; `unit` stands behind the numbers."""
    bare = {key: each for key, each in spec.items() if key != "title"}
    bare |= {"padding": MARGIN, "config": {**spec["config"], "font": FONT}}
    abreast, fitted = _abreast(bare), _fitted(bare)
    while fitted.small and abreast > 1:
        abreast = (abreast + 1) // 2
        fitted = _fitted(_broken(bare, abreast))
    fitted = fitted._replace(points=max(fitted.points, fitted.natural * LEAST))
    room = fitted.points / SCALES[1] - fitted.natural
    chart = _centred(fitted.spec, room) if room > 0 else fitted.spec
    return _sized(_svg(chart), fitted.points, unit)


def wide(picture: bytes) -> float | None:
    """How many mm a printed SVG is wide, where that is more than both columns; else None."""
    width = _width(picture.decode()) / POINTS
    return width if width > PAGE + 0.1 else None


def _centred(spec: Spec, room: float) -> Spec:
    sides = dict.fromkeys(("left", "right"), MARGIN + room / 2)
    return spec | {"padding": {"top": MARGIN, "bottom": MARGIN, **sides}}


def _fitted(spec: Spec) -> _Fitted:
    """The chart in one column where it may be so narrow, else in both."""
    natural, elastic = _width(_svg(spec)), _elastic(spec)
    points, factor = PAGE * POINTS, 1.0
    if elastic:
        factors = {each: 1 + (each * POINTS / BEST - natural) / elastic for each in (COLUMN, PAGE)}
        width = COLUMN if factors[COLUMN] >= STRETCH[0] else PAGE
        points, factor = width * POINTS, min(max(factors[width], STRETCH[0]), STRETCH[1])
    elif natural * SCALES[0] <= COLUMN * POINTS:
        points = COLUMN * POINTS
    spec = _stretched(spec, factor)
    return _Fitted(spec, _width(_svg(spec)), points)


def _elastic(spec: Spec) -> float:
    """How many pixels of a chart's width are those of plots that may become narrower or wider."""
    if "hconcat" in spec:
        return sum(map(_elastic, spec["hconcat"]))
    if "vconcat" in spec:
        return max(map(_elastic, spec["vconcat"]))
    return spec["width"] if _may_stretch(spec) else 0


def _may_stretch(spec: Spec) -> bool:
    return isinstance(spec.get("width"), int | float) and spec["width"] != spec.get("height")


def _stretched(spec: Spec, factor: float) -> Spec:
    """The chart with its plots narrower or wider; what is layered has the width of its plot."""
    answer = dict(spec)
    for key in ("hconcat", "vconcat"):
        if key in spec:
            answer[key] = [_stretched(each, factor) for each in spec[key]]
    if _may_stretch(spec):
        answer["width"] = spec["width"] * factor
    return answer


def _abreast(spec: Spec) -> int:
    """How many panels stand beside each other."""
    inner = [_abreast(each) for key in ("hconcat", "vconcat") for each in spec.get(key, [])]
    return max([len(spec.get("hconcat", [])), 1, *inner])


def _broken(spec: Spec, abreast: int) -> Spec:
    """The chart with its rows of panels broken into rows of so many."""
    answer = dict(spec)
    if "vconcat" in spec:
        answer["vconcat"] = [_broken(each, abreast) for each in spec["vconcat"]]
    if len(panels := spec.get("hconcat", [])) > abreast:
        del answer["hconcat"]
        kept = {key: each for key, each in answer.items() if key in ("spacing", "resolve")}
        rows = [panels[at : at + abreast] for at in range(0, len(panels), abreast)]
        answer["vconcat"] = [{"hconcat": row, **kept} for row in rows]
    return answer


def _svg(spec: Spec) -> str:
    return _drawn(json.dumps(spec))


@lru_cache(maxsize=8)
def _drawn(spec: str) -> str:
    """A specification as SVG; kept for the other formats, which begin with the same."""
    import vl_convert

    return vl_convert.vegalite_to_svg(spec, vl_version=VERSION)


def _width(picture: str) -> float:
    found = _SIZE.search(picture)
    assert found is not None  # vl-convert writes it so
    return float(found[2])


def _sized(picture: str, points: float, unit: str) -> str:
    """The picture so many points wide; its own lengths stay what they are, by its viewBox."""
    found = _SIZE.search(picture)
    assert found is not None
    height = float(found[3]) * points / float(found[2])
    size = f' width="{points:.2f}{unit}" height="{height:.2f}{unit}"'
    return picture[: found.start()] + found[1] + size + picture[found.end() :]
