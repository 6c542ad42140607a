"""How PGF behaves: the same change in accuracy, from every starting point (the paper's Figure 9).

In:   an `Analysis`, for its ceiling and its baselines; the curves are the formula's.
Out:  a Vega-Lite specification.
"""

import math

from transferscope.analysis import Analysis
from transferscope.plots.labels import Labels, clean, percent, signed
from transferscope.plots.theme import MUTED, NEGATIVE, POSITIVE, RULE, SOFT
from transferscope.plots.vegalite import (
    Spec,
    axis,
    below,
    field,
    finish,
    heading,
    layer,
    mark,
    part,
    unit,
)

CHANGES = (0.05, 0.10, 0.20, 0.40)
LOWEST = -2.0
"""Where the picture of PGF ends below; PGF itself goes on to -(m - 1)."""


def behaviour(
    analysis: Analysis, model_names: dict[str, str], title: str, names: Labels
) -> Spec | None:
    """PGF as a function of the baseline for fixed changes, over the study's own baselines."""
    if analysis.settings.measure != "pgf":
        return None
    ceiling = analysis.settings.ceiling if isinstance(analysis.settings.ceiling, float) else 1.0
    x = field(
        "base:Q",
        scale=part(domain=[0, 1], nice=False),
        axis=axis("accuracy before finetuning", format=".0%", tickCount=6, offset=27),
    )
    layers = [unit([{"pgf": 0}], mark("rule", color=RULE), y="pgf:Q")]
    for change in CHANGES:
        layers += _curve(change, ceiling, POSITIVE, x)
        layers += _curve(-change, ceiling, NEGATIVE, x)
    upper = layer(*layers, width=560, height=270)
    lower = _baselines(analysis, model_names, names)
    parts = [upper] if lower is None else [upper, lower]
    spec = below(
        *parts,
        spacing=16,
        title=heading(
            title,
            "each line: the same change in accuracy, in points, at every starting point "
            f"(ceiling {percent(ceiling)})",
        ),
    )
    says = (
        f"{title}: lines for gains and losses of 5, 10, 20 and 40 points, over the accuracies at "
        "which this study’s targets start."
    )
    return finish(spec, says)


def _curve(change: float, ceiling: float, colour: str, x: Spec) -> list[Spec]:
    start = max(0.0, -change)
    end = ceiling - change if change > 0 else ceiling + change / abs(LOWEST)
    steps = 80
    rows = [
        {"base": base, "pgf": change / (ceiling - base)}
        for n in range(steps + 1)
        if (base := start + (end - start) * n / steps) < ceiling
    ]
    y = field(
        "pgf:Q",
        scale=part(domain=[LOWEST, 1], nice=False),
        axis=axis("PGF", tickCount=6),
    )
    width = 0.8 + 4 * abs(change)
    line = mark("line", color=colour, strokeWidth=width, clip=True)
    # Ends lie close to each other: those of losses are named on two lines.
    last, second = abs(change) == min(CHANGES), CHANGES.index(abs(change)) % 2 == 0
    end = {**rows[-1], "label": signed(100 * change, 0)}
    text = mark(
        "text",
        align="left" if last else "center",
        dx=(-1 if change > 0 else -4) if last else 0,
        dy=-9 if change > 0 else 22 if second else 10,
        color=colour,
        fontWeight=600,
    )
    return [unit(rows, line, x=x, y=y), unit([end], text, x=x, y=y, text="label:N")]


def _baselines(analysis: Analysis, model_names: dict[str, str], names: Labels) -> Spec | None:
    rows = [
        {"model": label, "base": accuracy, "target": names.long.get(target, clean(target))}
        for name, label in model_names.items()
        for target, accuracy in analysis.models[name].base_accuracy.items()
        if math.isfinite(accuracy)
    ]
    if not rows:
        return None
    order = list(dict.fromkeys(row["model"] for row in rows))
    return unit(
        rows,
        mark("tick", color=MUTED, thickness=2, height=12),
        part(
            width=560,
            height=20 * len(order),
            title=part(
                text="where this study’s targets start",
                fontSize=12,
                fontWeight="normal",
                color=SOFT,
                offset=4,
            ),
        ),
        x=field("base:Q", scale=part(domain=[0, 1], nice=False), axis=None),
        y=field("model:N", scale=part(domain=order), axis=axis()),
        tooltip=[
            "model:N",
            "target:N",
            field("base:Q", title="base accuracy", format=".0%"),
        ],
    )
