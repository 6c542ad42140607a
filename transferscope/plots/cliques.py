"""The largest cliques: tasks that all help, or all harm, each other, beside what chance makes.

In:   an `Analysis`.
Out:  Vega-Lite specifications.
"""

import math
from collections.abc import Sequence

from transferscope.analysis import Analysis, Clique, CliqueNull, ModelAnalysis, Sign
from transferscope.plots.labels import (
    MEASURES,
    Labels,
    between,
    chance,
    counted,
    listed,
    percent,
    signed,
)
from transferscope.plots.networks import COLOURS, Arrow, network
from transferscope.plots.theme import MUTED, RULE, SOFT
from transferscope.plots.vegalite import (
    Spec,
    axis,
    below,
    beside,
    field,
    finish,
    heading,
    layer,
    mark,
    part,
    unit,
)


def clique(analysis: Analysis, model: str, sign: Sign, title: str, names: Labels) -> Spec | None:
    """The largest clique of one sign, beside the sizes that the null models give."""
    record = analysis.models[model]
    found: list[Clique] = getattr(record.cliques, sign)
    if not found:
        return None
    largest = max(found, key=lambda each: each.size)
    measure = MEASURES[analysis.settings.measure]
    members = [task.name for task in analysis.tasks if task.name in set(largest.tasks)]
    picture = network(_within(record, members), members, names, measure)
    same = sum(each.size == largest.size for each in found) - 1
    others = f"; {counted(same, 'other')} of this size" if same else ""
    nulls = [null for null in record.cliques.nulls if null.sign == sign and null.sizes]
    parts = [picture, *([_null_sizes(nulls, sign, 1 - analysis.settings.alpha)] if nulls else [])]
    spec = beside(*parts, spacing=36, center=True, title=heading(title, _facts(largest) + others))
    says = f"{title}: {listed(names.long[name] for name in members)}. {_facts(largest)}{others}."
    return finish(spec, says)


def _facts(largest: Clique) -> str:
    steady = "the sign holds in every seed" if largest.every_seed else "not in every seed alone"
    return f"{largest.size} tasks, mean {signed(largest.mean)}; {steady}"


def _within(model: ModelAnalysis, members: Sequence[str]) -> list[Arrow]:
    arrows = []
    for source in members:
        for target in members:
            cell = model.pgf.get(source, {}).get(target)
            if source != target and cell and math.isfinite(cell.mean):
                arrows.append(Arrow(source, target, cell.mean, between(cell.ci)))
    return arrows


def _null_sizes(nulls: list[CliqueNull], sign: Sign, share: float) -> Spec:
    """How often each size is the largest under a null model, with the size that was observed."""
    sizes = {int(size) for null in nulls for size in null.sizes} | {null.observed for null in nulls}
    order = [_size(size) for size in range(3, max(*sizes, 5) + 1)]
    order = ["none", *order] if 0 in sizes else order
    panels = [
        {**_null_panel(null, order, sign, null is nulls[-1]), "title": _null_title(null, share)}
        for null in nulls
    ]
    return below(*panels, spacing=18)


def _size(size: int) -> str:
    return str(size) if size else "none"


def _null_panel(null: CliqueNull, order: list[str], sign: Sign, last: bool) -> Spec:
    rows = [{"size": _size(int(size)), "share": share} for size, share in null.sizes.items()]
    x = field(
        "size:N",
        scale=part(domain=order, padding=0.15),
        axis=axis("size of the largest clique" if last else None, labelAngle=0),
    )
    y = field(
        "share:Q",
        axis=axis("share of draws", format=".0%", tickCount=3),
        scale=part(nice=True, zero=True),
    )
    tooltip = [field("size:N"), field("share:Q", format=".1%")]
    bars = unit(rows, mark("bar", color=RULE), x=x, y=y, tooltip=tooltip)
    seen = [{"size": _size(null.observed), "label": "observed"}]
    line = unit(seen, mark("rule", color=COLOURS[sign], strokeWidth=2.5), x=x)
    late = order.index(_size(null.observed)) > len(order) / 2
    text = mark(
        "text",
        align="right" if late else "left",
        dx=3 if late else -3,
        dy=-4,
        color=COLOURS[sign],
        fontWeight=600,
        baseline="bottom",
    )
    label = unit(seen, text, x=x, y={"value": 0}, text="label:N")
    return layer(bars, line, label, width=max(180, 26 * len(order)), height=64)


def _null_title(null: CliqueNull, share: float) -> Spec:
    return part(
        text=f"if there were {null_words(null.null)}",
        subtitle=f"p {chance(null.p_value)}; {percent(share)} of draws reach at most {null.upper}",
        fontSize=12,
        fontWeight="normal",
        color=SOFT,
        subtitleColor=MUTED,
        offset=20,
    )


def null_words(null: str) -> str:
    """What there would be under a null model, in words."""
    return "no transfer at all" if null == "no transfer" else "only easy and hard targets"
