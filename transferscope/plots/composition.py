"""Charts as Vega-Lite specifications: plain data that the page embeds and Altair reads.

Each figure is one function that returns a `Spec`. The page embeds it and image files are rendered
from it, both without Altair, which takes seconds to import; `chart` makes an Altair chart of it.

A chart's lengths are pixels of the page, where most text is 11 high. Its file is in print size: the
narrowest of one column of a paper and both in which this text has at least 6.5 pt, and at most
8 pt; a larger figure is wider. Files have no title.

Field names are ours alone. Names from input stand in data, domains and titles, where Vega-Lite
takes them literally.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from transferscope.plots import theme
from transferscope.plots.numbers import known

if TYPE_CHECKING:
    import altair

    Chart = altair.LayerChart | altair.HConcatChart | altair.VConcatChart

VERSION = "6.4"
"""Of Vega-Lite, in the page's `vega.js` and in image files."""
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
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
TYPES = {"N": "nominal", "Q": "quantitative"}
_FIELD = re.compile(r"[a-z]+:[NQ]")

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


def part(**options: Any) -> Spec:
    """A scale, an axis, a legend or a title: the named options as they are."""
    return options


def field(name: str, **options: Any) -> Spec:
    """A column of the data as a channel; `name` ends in `:N` for words, in `:Q` for numbers."""
    column, _, kind = name.partition(":")
    return {"field": column, "type": TYPES[kind], **options}


def value_axis(name: str, title: str | None, ends: Sequence[float], **axis: Any) -> Spec:
    """A column of numbers along an axis that ends at `ends`."""
    scale = part(domain=list(ends), nice=False, zero=False)
    return field(f"{name}:Q", scale=scale, axis=part(title=title, tickCount=5, **axis))


def name_axis(name: str, names: Iterable[str], title: str | None = None, **axis: Any) -> Spec:
    """A column of names along an axis, in the order given, each name once."""
    scale = part(domain=list(dict.fromkeys(names)), padding=0.15)
    return field(f"{name}:N", scale=scale, axis=part(title=title, labelOverlap=False, **axis))


def tips(*columns: str) -> list[Spec]:
    """Lines of a tooltip, each `column`, `column|title`, or for numbers `column|title|format`."""
    found = []
    for column in columns:
        name, title, form = [*column.split("|"), "", ""][:3]
        shown = {"title": title} if title else {}
        found.append(
            field(f"{name}:Q", format=form, **shown) if form else field(f"{name}:N", **shown)
        )
    return found


def by_sign(colors: Sequence[str] = theme.SIGNS, *, column: str = "sign") -> Spec:
    """A color channel for a column of `positive`, `negative`, `other`, or `noise` (hollow)."""
    words = ["positive", "negative", "other", "noise"]
    scale = part(domain=words, range=[*colors, theme.SOFT, theme.PAPER])
    return field(f"{column}:N", scale=scale, legend=None)


def mark(kind: str, /, **options: Any) -> Spec:
    """One kind of mark, without data.

    An option is a channel where it is a `field`, a column such as `"value:Q"`, or a dict with a
    value or a condition. Every other option is a constant property of the mark.
    """
    drawn, encoding = part(type=kind), {}
    for name, option in options.items():
        if name in ("x2", "y2"):  # without a type: Vega-Lite takes that of x or y
            encoding[name] = {"field": option.partition(":")[0]}
        elif isinstance(option, str) and _FIELD.fullmatch(option):
            encoding[name] = field(option)
        elif name == "tooltip" or (isinstance(option, dict) and {"field", "value"} & {*option}):
            encoding[name] = option
        else:
            drawn[name] = option
    return {"mark": drawn, "encoding": encoding}


def unit(rows: Rows, kind: str, /, **options: Any) -> Spec:
    """Rows drawn as one kind of mark; `options` as in `mark`."""
    return {"data": {"values": [dict(row) for row in rows]}, **mark(kind, **options)}


def zero_line(**channel: Spec) -> Spec:
    """A line at 0 across the plot; `channel` is `x` or `y` with a field."""
    ((_, axis),) = channel.items()
    return unit([{axis["field"]: 0}], "rule", color=theme.RULE, **channel)


def intervals(rows: Rows, **options: Any) -> list[Spec]:
    """Lines from `low` to `high`, of the rows that have both; no layer where none has."""
    known = [row for row in rows if math.isfinite(row["low"]) and math.isfinite(row["high"])]
    # An empty layer would still add its fields to the shared scales, as an empty domain.
    look = {"color": by_sign(), "strokeWidth": 1.8, **options}
    return [unit(known, "rule", **look)] if known else []


def dots(rows: Rows, x: Spec, y: Spec, tooltip: Sequence[Any]) -> list[Spec]:
    """A dot at each row's `value`, along x or y, with its interval from `low` to `high`.

    Color and fill follow the columns `sign` and `shade`, see `by_sign`.
    """
    if not rows:
        return []
    way, other = ("x", "y") if x["field"] == "value" else ("y", "x")
    at = {"x": x, "y": y}
    ends = {way: {**at[way], "field": "low"}, f"{way}2": "high:Q", other: at[other]}
    look = part(filled=True, size=58, opacity=1, strokeWidth=1.5, stroke=by_sign())
    fill = by_sign(column="shade")
    return [*intervals(rows, **ends), unit(rows, "point", fill=fill, tooltip=tooltip, **look, **at)]


def table(rows: Rows, x: Spec, y: Spec, limit: float, tooltip: Sequence[Any]) -> Spec:
    """A cell for each row, colored by `value` on a scale that ends at +-limit, with its `label`."""
    rows = [{**row, "strong": str(abs(row["value"]) > limit * 2 / 3)} for row in rows]
    colors = part(domain=theme.stops(limit), range=list(theme.DIVERGING), interpolate="lab")
    fill = field("value:Q", scale=colors, legend=None)
    inks = part(domain=["True", "False"], range=[theme.ON_STRONG, theme.ON_WEAK])
    ink = field("strong:N", scale=inks, legend=None)
    cells = unit(rows, "rect", cornerRadius=2, fill=fill, tooltip=tooltip)
    return layer(cells, unit(rows, "text", color=ink, text="label:N"), encoding={"x": x, "y": y})


def layer(*specs: Spec, **options: Any) -> Spec:
    """Charts on one plane, the first at the bottom."""
    return {"layer": list(specs), **options}


def in_rows(panels: Sequence[Spec], abreast: int, across: float, down: float) -> Spec:
    """Panels in rows of `abreast`, with gaps of `across` and `down` pixels."""
    rows = [panels[at : at + abreast] for at in range(0, len(panels), abreast)]
    return part(vconcat=[part(hconcat=row, spacing=across) for row in rows], spacing=down)


def panel_title(text: str, *lines: str) -> Spec:
    """The title of one panel of a figure."""
    return part(text=text, subtitle=list(lines), fontSize=12, color=theme.SOFT, offset=6)


def finish(spec: Spec, title: str, *lines: str, description: str = "") -> Spec:
    """A whole figure: its title, with what a reader of the bare file must know below it, the common
    look, and equal data held once, with null for what is unknown.

    Args:
        description: the text for screen readers; without one it is the title and `lines`.
    """
    held: dict[str, str] = {}
    body, shown = _gathered(spec, held), [line for line in lines if line]
    head = {"$schema": SCHEMA, "description": description or " ".join([f"{title}.", *shown])}
    head |= {"config": theme.CONFIG, "title": part(text=title, subtitle=shown, frame="bounds")}
    return {**head, **body, "datasets": {name: json.loads(text) for text, name in held.items()}}


def _gathered(spec: Spec, held: dict[str, str]) -> Spec:
    """`spec` with its rows moved into `held`, as JSON -> name."""
    answer = dict(spec)
    if "data" in spec:
        rows = spec["data"]["values"]
        rows = [{key: known(each) for key, each in row.items()} for row in rows]
        text = json.dumps(rows, allow_nan=False)
        answer["data"] = {"name": held.setdefault(text, f"data-{len(held) + 1}")}
    for key in spec.keys() & {"layer", "hconcat", "vconcat"}:
        answer[key] = [_gathered(each, held) for each in spec[key]]
    return answer


def extent(spec: Spec) -> tuple[int, int]:
    """Approximate width and height of a figure's plot areas, in pixels."""
    for key in ("hconcat", "vconcat"):
        if key in spec:
            wide, high = zip(*map(extent, spec[key]), strict=True)
            gap = 60 * (len(wide) - 1)
            across = key == "hconcat"
            return (sum(wide) + gap, max(high)) if across else (max(wide), sum(high) + gap)
    if "width" not in spec and "layer" in spec:
        return extent(spec["layer"][0])
    sides = (spec.get("width"), spec.get("height"))
    wide, high = (round(side) if isinstance(side, int | float) else 300 for side in sides)
    return wide, high


def chart(spec: Spec) -> "Chart":
    """A figure as an Altair chart, which composes with others and saves itself.

    Its look is the Altair theme `transferscope`, which this enables: Altair refuses to compose
    charts that hold a `config`.
    """
    import altair as alt
    from altair.utils import schemapi

    look = alt.theme.ThemeConfig(config=cast(Any, theme.CONFIG))
    alt.theme.register("transferscope", enable=True)(lambda: look)
    kept = {key: each for key, each in spec.items() if key not in ("$schema", "config", "datasets")}
    with schemapi.debug_mode(False):  # the tests validate every figure
        return _altair(kept, spec["datasets"])


def _altair(spec: Spec, data: Mapping[str, list[Spec]]) -> Any:
    """Altair's objects down to each unit: its `from_dict` takes many times as long."""
    import altair as alt

    kinds = {"layer": alt.LayerChart, "hconcat": alt.HConcatChart, "vconcat": alt.VConcatChart}
    key, made = next((key for key in kinds if key in spec), ""), dict(spec)
    if key:
        made[key] = [_altair(each, data) for each in spec[key]]
    if "encoding" in spec:
        kind = alt.SharedEncoding if key else alt.FacetedEncoding
        made["encoding"] = kind(**spec["encoding"])
    if "data" in spec:
        made["data"] = alt.InlineData(values=data[spec["data"]["name"]])
    params = [alt.param(**each) for each in made.pop("params", [])]
    drawn = kinds.get(key, alt.Chart)(**made)
    return drawn.add_params(*params) if params else drawn


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
