"""Charts as Vega-Lite, the grammar that Altair and the page's own script both read.

Each chart is written once, as plain data: the page embeds it as it is, and `chart` makes it an
Altair chart for files and notebooks. Building the same charts from Altair's objects took seconds
for two models, as each layer and each panel copies all that is in it.

Field names are ours alone; names from input stand in data, domains and titles, where Vega-Lite
takes them literally.

In:   rows of plain data.
Out:  specifications as plain data, and Altair charts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transferscope.plots.theme import CONFIG

if TYPE_CHECKING:
    import altair

    Chart = altair.LayerChart | altair.HConcatChart | altair.VConcatChart

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
TYPES = {"N": "nominal", "Q": "quantitative"}
SECOND = {"x2", "y2"}

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


def part(**options: Any) -> Spec:
    """A scale, a legend, a title: named options as they are."""
    return options


def axis(title: str | None = None, **options: Any) -> Spec:
    """An axis with a title, or with none."""
    return {"title": title, **options}


def field(name: str, **options: Any) -> Spec:
    """A column of the data as a channel; `name` ends in `:N` for words and in `:Q` for numbers."""
    column, _, kind = name.partition(":")
    return {"field": column, "type": TYPES[kind], **options}


def mark(kind: str, **options: Any) -> Spec:
    """How rows are drawn."""
    return {"type": kind, **options}


def unit(rows: Rows, drawn: Spec, options: Spec | None = None, /, **channels: Any) -> Spec:
    """Rows drawn as one kind of mark; a channel is a `field`, a column's name, or a constant."""
    return {
        "data": {"values": [dict(row) for row in rows]},
        "mark": drawn,
        "encoding": {name: _channel(name, each) for name, each in channels.items()},
        **(options or {}),
    }


def _channel(name: str, channel: Any) -> Any:
    if name in SECOND:
        return {"field": channel.partition(":")[0]}
    if isinstance(channel, str):
        return field(channel)
    if isinstance(channel, list):
        return [field(each) if isinstance(each, str) else each for each in channel]
    return channel


def layer(*specs: Spec, **options: Any) -> Spec:
    """Charts on one plane, the first at the bottom."""
    return {"layer": list(specs), **options}


def beside(*specs: Spec, **options: Any) -> Spec:
    """Charts from left to right."""
    return {"hconcat": list(specs), **options}


def below(*specs: Spec, **options: Any) -> Spec:
    """Charts from top to bottom."""
    return {"vconcat": list(specs), **options}


def heading(text: str, *lines: str) -> Spec:
    """A figure's title, with what a reader of the bare file must know below it."""
    return {"text": text, "subtitle": [line for line in lines if line], "frame": "bounds"}


def finish(spec: Spec, description: str) -> Spec:
    """A whole figure: the common look, the text that screen readers say, equal data held once."""
    held: dict[str, str] = {}
    body = _gathered(spec, held)
    datasets = {name: json.loads(text) for text, name in held.items()}
    return {
        "$schema": SCHEMA,
        "description": description,
        "config": CONFIG,
        **body,
        "datasets": datasets,
    }


def _gathered(spec: Spec, held: dict[str, str]) -> Spec:
    """`spec` with its rows moved into `held`, as JSON -> name."""
    answer = dict(spec)
    if "data" in spec:
        text = json.dumps(spec["data"]["values"], allow_nan=False)
        answer["data"] = {"name": held.setdefault(text, f"data-{len(held) + 1}")}
    for key in ("layer", "hconcat", "vconcat"):
        if key in spec:
            answer[key] = [_gathered(each, held) for each in spec[key]]
    return answer


def extent(spec: Spec) -> tuple[int, int]:
    """About how wide and high a figure is in pixels, without what stands around its plot areas."""
    for key in ("hconcat", "vconcat"):
        if key in spec:
            sizes = [extent(each) for each in spec[key]]
            wide, high = zip(*sizes, strict=True)
            gap = 60 * (len(sizes) - 1)
            if key == "hconcat":
                return sum(wide) + gap, max(high)
            return max(wide), sum(high) + gap
    if "width" not in spec and "layer" in spec:
        return extent(spec["layer"][0])
    size = [spec.get(key) for key in ("width", "height")]
    return (
        round(size[0]) if isinstance(size[0], int | float) else 300,
        round(size[1]) if isinstance(size[1], int | float) else 300,
    )


def chart(spec: Spec) -> "Chart":
    """A figure as an Altair chart."""
    with _quietly():
        return _altair({key: each for key, each in spec.items() if key != "$schema"})


def _altair(spec: Spec) -> Any:
    """Altair's objects down to each unit: `from_dict` tries classes for every leaf, in 0.5 s."""
    import altair as alt

    kinds = {"layer": alt.LayerChart, "hconcat": alt.HConcatChart, "vconcat": alt.VConcatChart}
    for key, kind in kinds.items():
        if key in spec:
            inner: Spec = {key: [_altair(each) for each in spec[key]]}
            if "encoding" in spec:
                inner["encoding"] = alt.SharedEncoding(**spec["encoding"])
            return kind(**{**spec, **inner})
    options = {**spec, "encoding": alt.FacetedEncoding(**spec["encoding"])}
    params = [
        alt.selection_point(name=each["name"], **_without(each["select"], "type"))
        for each in options.pop("params", [])
    ]
    drawn = alt.Chart(**options)
    return drawn.add_params(*params) if params else drawn


def _without(options: Spec, name: str) -> Spec:
    return {key: value for key, value in options.items() if key != name}


def specification(chart: "Chart") -> Spec:
    """An Altair chart as Vega-Lite, whatever theme or data transformer Altair is set to."""
    with _quietly():
        return chart.to_dict(validate=False)


@contextmanager
def _quietly() -> Iterator[None]:
    """Altair without checks of each part, which the tests do, and without the caller's theme.

    What was set before is set again afterwards.
    """
    import altair as alt
    from altair.utils import schemapi

    with (
        schemapi.debug_mode(False),
        alt.theme.enable("none"),
        alt.data_transformers.enable("default"),
    ):
        yield
