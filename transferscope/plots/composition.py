"""Charts as Vega-Lite specifications: plain data that the page embeds and Altair reads.

Each figure is one function that returns a `Spec`. The page embeds it and image files are rendered
from it, both without Altair, which takes seconds to import; `chart` makes an Altair chart of it.

Field names are ours alone. Names from input stand in data, domains and titles, where Vega-Lite
takes them literally.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from transferscope.plots.theme import (
    CONFIG,
    NEGATIVE,
    ON_STRONG,
    ON_WEAK,
    PAPER,
    POSITIVE,
    RULE,
    SOFT,
    diverging,
)

if TYPE_CHECKING:
    import altair

    Chart = altair.LayerChart | altair.HConcatChart | altair.VConcatChart

VERSION = "6.4"
"""Of Vega-Lite, in the page's `vega.js` and in image files."""
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
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


def by_sign(colors: tuple[str, str] = (POSITIVE, NEGATIVE), *, column: str = "sign") -> Spec:
    """A color channel for a column of `positive`, `negative`, `other`, or `noise` (hollow)."""
    words = ["positive", "negative", "other", "noise"]
    scale = part(domain=words, range=[*colors, SOFT, PAPER])
    return field(f"{column}:N", scale=scale, legend=None)


def unit(rows: Rows, mark: str, /, **options: Any) -> Spec:
    """Rows drawn as one kind of mark.

    An option is a channel where it is a `field`, a column such as `"value:Q"`, or a dict with a
    value or a condition. Every other option is a constant property of the mark.
    """
    drawn, encoding = part(type=mark), {}
    for name, option in options.items():
        if name in ("x2", "y2"):  # without a type: Vega-Lite takes that of x or y
            encoding[name] = {"field": option.partition(":")[0]}
        elif name == "tooltip":
            encoding[name] = [field(each) if isinstance(each, str) else each for each in option]
        elif isinstance(option, str) and _FIELD.fullmatch(option):
            encoding[name] = field(option)
        elif isinstance(option, dict) and not option.keys().isdisjoint({"field", "value"}):
            encoding[name] = option
        else:
            drawn[name] = option
    return {"data": {"values": [dict(row) for row in rows]}, "mark": drawn, "encoding": encoding}


def zero_line(**channel: Any) -> Spec:
    """A line at 0 across the plot; `channel` is `x` or `y` with a field."""
    ((name, option),) = channel.items()
    column = option["field"] if isinstance(option, dict) else option.partition(":")[0]
    return unit([{column: 0}], "rule", color=RULE, **{name: option})


def intervals(rows: Rows, **options: Any) -> list[Spec]:
    """Lines from `low` to `high`, of the rows that have both; no layer where none has."""
    known = [row for row in rows if None not in (row["low"], row["high"])]
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
    fill = field("value:Q", scale=diverging(limit), legend=None)
    inks = part(domain=["True", "False"], range=[ON_STRONG, ON_WEAK])
    ink = field("strong:N", scale=inks, legend=None)
    cells = unit(rows, "rect", cornerRadius=2, fill=fill, tooltip=tooltip)
    return layer(cells, unit(rows, "text", color=ink, text="label:N"), encoding={"x": x, "y": y})


def layer(*specs: Spec, **options: Any) -> Spec:
    """Charts on one plane, the first at the bottom."""
    return {"layer": list(specs), **options}


def in_rows(
    panels: Sequence[Spec], abreast: int, across: float, down: float, **options: Any
) -> Spec:
    """Panels in rows of `abreast`, with gaps of `across` and `down` pixels."""
    rows = [panels[at : at + abreast] for at in range(0, len(panels), abreast)]
    return part(
        vconcat=[part(hconcat=row, spacing=across) for row in rows], spacing=down, **options
    )


def panel_title(text: str, *lines: str) -> Spec:
    """The title of one panel of a figure."""
    return part(text=text, subtitle=list(lines), fontSize=12, color=SOFT, offset=6)


def heading(text: str, *lines: str) -> Spec:
    """A figure's title, with what a reader of the bare file must know below it."""
    return {"text": text, "subtitle": [line for line in lines if line], "frame": "bounds"}


def finish(spec: Spec, description: str = "") -> Spec:
    """A whole figure: the common look, the text for screen readers, equal data held once.

    Args:
        description: without one it is the figure's title and the lines below it.
    """
    held: dict[str, str] = {}
    body = _gathered(spec, held)
    datasets = {name: json.loads(text) for text, name in held.items()}
    title = spec["title"]
    description = description or " ".join([f"{title['text']}.", *title["subtitle"]])
    head = {"$schema": SCHEMA, "description": description, "config": CONFIG}
    return {**head, **body, "datasets": datasets}


def _gathered(spec: Spec, held: dict[str, str]) -> Spec:
    """`spec` with its rows moved into `held`, as JSON -> name."""
    answer = dict(spec)
    if "data" in spec:
        text = json.dumps(spec["data"]["values"], allow_nan=False)
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

    look = alt.theme.ThemeConfig(config=cast(Any, CONFIG))
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
