"""Charts as Vega-Lite specifications: plain data that the page embeds and Altair reads.

Each figure is one function that returns a `Spec`. The page embeds it and image files are rendered
from it, both without Altair, which takes seconds to import; `chart` makes an Altair chart of it.

Field names are ours alone. Names from input stand in data, domains and titles, where Vega-Lite
takes them literally.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from transferscope.plots.theme import NEGATIVE, POSITIVE, RULE

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


def by_sign(colors: tuple[str, str] = (POSITIVE, NEGATIVE)) -> Spec:
    """A color channel for the column `sign`, which holds `positive` or `negative`."""
    scale = part(domain=["positive", "negative"], range=list(colors))
    return field("sign:N", scale=scale, legend=None)


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
    return [unit(known, "rule", **options)] if known else []
