"""Marks composed to figures, and figures as Altair charts."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transferscope.plots.theme import CONFIG
from transferscope.plots.vegalite import Spec

if TYPE_CHECKING:
    import altair

    Chart = altair.LayerChart | altair.HConcatChart | altair.VConcatChart

VERSION = "6.4"
"""Of Vega-Lite, in the page's `vega.js` and in image files."""


SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


def layer(*specs: Spec, **options: Any) -> Spec:
    """Charts on one plane, the first at the bottom."""
    return {"layer": list(specs), **options}


def beside(*specs: Spec, **options: Any) -> Spec:
    """Charts from left to right."""
    return {"hconcat": list(specs), **options}


def below(*specs: Spec, **options: Any) -> Spec:
    """Charts from top to bottom."""
    return {"vconcat": list(specs), **options}


def in_rows(
    panels: Sequence[Spec], abreast: int, across: float, down: float, **options: Any
) -> Spec:
    """Panels in rows of `abreast`, with gaps of `across` and `down` pixels."""
    rows = [panels[at : at + abreast] for at in range(0, len(panels), abreast)]
    return below(*(beside(*row, spacing=across) for row in rows), spacing=down, **options)


def heading(text: str, *lines: str) -> Spec:
    """A figure's title, with what a reader of the bare file must know below it."""
    return {"text": text, "subtitle": [line for line in lines if line], "frame": "bounds"}


def finish(spec: Spec, description: str) -> Spec:
    """A whole figure: the common look, the text for screen readers, equal data held once."""
    held: dict[str, str] = {}
    body = _gathered(spec, held)
    datasets = {name: json.loads(text) for text, name in held.items()}
    head = {"$schema": SCHEMA, "description": description, "config": CONFIG}
    return {**head, **body, "datasets": datasets}


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
    """A figure as an Altair chart, which composes with others and saves itself."""
    from altair.utils import schemapi

    with schemapi.debug_mode(False):  # the tests validate every figure
        return _altair({key: each for key, each in spec.items() if key != "$schema"})


def _altair(spec: Spec) -> Any:
    """Altair's objects down to each unit: its `from_dict` tries every class for every part."""
    import altair as alt

    kinds = {"layer": alt.LayerChart, "hconcat": alt.HConcatChart, "vconcat": alt.VConcatChart}
    for key, kind in kinds.items():
        if key in spec:
            inner: Spec = {key: [_altair(each) for each in spec[key]]}
            if "encoding" in spec:
                inner["encoding"] = alt.SharedEncoding(**spec["encoding"])
            return kind(**{**spec, **inner})
    options: Spec = {**spec, "encoding": alt.FacetedEncoding(**spec["encoding"])}
    params = []
    for each in options.pop("params", []):
        select = {key: value for key, value in each["select"].items() if key != "type"}
        params.append(alt.selection_point(name=each["name"], **select))
    drawn = alt.Chart(**options)
    return drawn.add_params(*params) if params else drawn
