"""A chart in print size: as wide as one column of a paper or both, and without its title.

A chart's lengths are pixels of the page, where most text is 11 high. In print a pixel is 8/11 of a
point, so that this text is 8 pt, and plots stretch until the chart is as wide as the column.
Square plots and plots with a step for each cell keep their size. A chart of these alone is scaled
within `SCALES`, or centered. Panels that do not fit beside each other are broken into rows. A
panel that holds very much gets smaller type, down to `LEAST`, and then a wider sheet.
"""

import json
import re
from functools import lru_cache
from typing import Literal

from transferscope.plots.composition import VERSION, below, beside
from transferscope.plots.vegalite import Spec

COLUMN, PAGE = 85.0, 175.0
"""Width of one column and of both, in mm."""
DPI = 300
POINTS = 72 / 25.4
"""Points in a mm."""
BEST = 8 / 11
"""Points in a pixel, where plots can stretch."""
SCALES = (0.65, 0.75)
"""Least and most points in a pixel, where they cannot."""
LEAST = 6.5 / 11
"""Points in a pixel of the largest figures: their names are 6.5 pt."""
MARGIN = 2
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
"""Fonts of equal widths, so that the text fits wherever the file is opened."""
STRETCH = (0.47, 2.5)
"""How much narrower or wider a plot may become."""

_SIZE = re.compile(r'(<svg\b[^>]*?) width="([\d.]+)(?:pt)?" height="([\d.]+)(?:pt)?"')


def printed(spec: Spec, unit: Literal["", "pt"] = "pt") -> str:
    """The chart as SVG in print size, in points; `unit` follows its width and height."""
    bare = {key: each for key, each in spec.items() if key != "title"}
    bare |= {"padding": MARGIN, "config": {**spec["config"], "font": FONT}}
    abreast, (chart, points) = _abreast(bare), _fitted(bare)
    while _width(_svg(chart)) * SCALES[0] > points and abreast > 1:
        abreast = (abreast + 1) // 2
        chart, points = _fitted(_broken(bare, abreast))
    natural = _width(_svg(chart))
    points = max(points, natural * LEAST)
    if (spare := points / SCALES[1] - natural) > 0:
        side = MARGIN + spare / 2
        chart |= {"padding": {"top": MARGIN, "bottom": MARGIN, "left": side, "right": side}}
    image = _svg(chart)
    found = _size(image)
    # The chart's lengths stay as they are, by its viewBox.
    height = float(found[3]) * points / float(found[2])
    size = f' width="{points:.2f}{unit}" height="{height:.2f}{unit}"'
    return image[: found.start()] + found[1] + size + image[found.end() :]


def wide(image: bytes) -> float | None:
    """The width of a printed SVG in mm, where it is wider than both columns."""
    width = _width(image.decode()) / POINTS
    return width if width > PAGE + 0.1 else None


def _fitted(spec: Spec) -> tuple[Spec, float]:
    """The chart for one column where it may be so narrow, else for both; the width in points."""
    natural, elastic = _width(_svg(spec)), _elastic(spec)
    if elastic:
        factors = {w: 1 + (w * POINTS / BEST - natural) / elastic for w in (COLUMN, PAGE)}
        width = COLUMN if factors[COLUMN] >= STRETCH[0] else PAGE
        factor = min(max(factors[width], STRETCH[0]), STRETCH[1])
        return _stretched(spec, factor), width * POINTS
    return dict(spec), (COLUMN if natural * SCALES[0] <= COLUMN * POINTS else PAGE) * POINTS


def _may_stretch(spec: Spec) -> bool:
    return isinstance(spec.get("width"), int | float) and spec["width"] != spec.get("height")


def _elastic(spec: Spec) -> float:
    """Pixels of a chart's width that belong to plots which may stretch."""
    if "hconcat" in spec:
        return sum(map(_elastic, spec["hconcat"]))
    if "vconcat" in spec:
        return max(map(_elastic, spec["vconcat"]))
    return spec["width"] if _may_stretch(spec) else 0


def _stretched(spec: Spec, factor: float) -> Spec:
    """The chart with its plots narrower or wider."""
    answer = dict(spec)
    for key in spec.keys() & {"hconcat", "vconcat"}:
        answer[key] = [_stretched(each, factor) for each in spec[key]]
    if _may_stretch(spec):
        answer["width"] = spec["width"] * factor
    return answer


def _abreast(spec: Spec) -> int:
    """The largest number of panels beside each other."""
    inner = [_abreast(each) for key in ("hconcat", "vconcat") for each in spec.get(key, [])]
    return max([len(spec.get("hconcat", [])), 1, *inner])


def _broken(spec: Spec, abreast: int) -> Spec:
    """The chart with rows of at most `abreast` panels."""
    answer = dict(spec)
    if "vconcat" in spec:
        answer["vconcat"] = [_broken(each, abreast) for each in spec["vconcat"]]
    if len(panels := spec.get("hconcat", [])) > abreast:
        del answer["hconcat"]
        kept = {key: each for key, each in answer.items() if key in ("spacing", "resolve")}
        rows = [panels[at : at + abreast] for at in range(0, len(panels), abreast)]
        answer |= below(*(beside(*row, **kept) for row in rows))
    return answer


def _svg(spec: Spec) -> str:
    return _drawn(json.dumps(spec))


@lru_cache(maxsize=8)
def _drawn(spec: str) -> str:
    """A specification as SVG, kept for the other formats."""
    import vl_convert

    return vl_convert.vegalite_to_svg(spec, vl_version=VERSION)


def _size(image: str) -> re.Match[str]:
    found = _SIZE.search(image)
    assert found is not None  # vl-convert writes it so
    return found


def _width(image: str) -> float:
    return float(_size(image)[2])
