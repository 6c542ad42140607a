"""A forecast as the command prints it: what it says, and how well it did where that is known.

In:   forecasts, and their comparisons with what was measured.
Out:  `rich` renderables; `cli` prints them. Names are text, never markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from scipy.special import stdtrit

from transferscope.report.words import between, clean, from_zero, has_interval, signed

if TYPE_CHECKING:
    from transferscope.forecast import Forecast
    from transferscope.stats.agreement import Baseline, Comparison, Correlation


def summary(
    forecasts: Mapping[str, Forecast], comparisons: Mapping[str, Comparison]
) -> RenderableType:
    """Each model's forecast, and its comparison where there is one."""
    parts: list[RenderableType] = []
    for name, one in forecasts.items():
        compared = comparisons.get(name)
        parts += [Text(), Text(clean(name), style="bold"), Text(spent(one), style="dim"), Text()]
        parts.append(_indented(_targets(one, compared)))
        parts += [Text(f"  left out: {clean(task)}: {why}") for task, why in one.left_out.items()]
        if compared is not None:
            parts += [Text(), _indented(_predictors(compared)), Text()]
            parts += [_indented(Text(line)) for line in sentences(compared)]
    return Group(*parts)


def _indented(part: RenderableType) -> Padding:
    return Padding(part, (0, 0, 0, 2), expand=False)


def spent(one: Forecast) -> str:
    """What a forecast took."""
    return (
        f"forecast from {sum(one.items.values()):,} items in {one.seconds:,.0f} s, "
        f"{one.share:.1%} of the work of the study on this model"
    )


def _targets(one: Forecast, compared: Comparison | None) -> Table:
    """A line for each target: what should help, what should harm, and how right the order was."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("target")
    table.add_column("gains most from")
    table.add_column("least from")
    others = []
    if compared is not None:
        others = [name for name, its in compared.baselines.items() if _orders(its)]
        table.add_column("rank corr.", justify="right")
        for name in others:
            table.add_column(Text(clean(name)), justify="right")
    for target in next(iter(one.predicted.values())):
        row = {source: its[target] for source, its in one.predicted.items() if source != target}
        order = sorted(row, key=lambda source: -row[source])
        cells = [_words(name) for name in (target, *order[:1], *order[1:][-1:])]
        cells += [""] * (3 - len(cells))
        if compared is not None:
            found = [compared.forecast, *(compared.baselines[name] for name in others)]
            cells += [signed(its.targets.get(target, math.nan)) for its in found]
        table.add_row(*map(Text, cells))
    return table


def _words(task: str) -> str:
    """A task's name as one that a narrow column can break."""
    return clean(task).replace("_", " ")


def _orders(baseline: Baseline) -> bool:
    """Whether a baseline says anything within targets."""
    return math.isfinite(baseline.within.value)


def _predictors(compared: Comparison) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("rank correlation with what was measured")
    table.add_column("within targets")
    table.add_column("over all cells")
    table.add_row(
        "this forecast", *map(_said, (compared.forecast.within, compared.forecast.overall))
    )
    for name, its in compared.baselines.items():
        table.add_row(Text(clean(name)), _said(its.within), _said(its.overall))
        table.add_row(
            Text("  forecast minus it", "dim"),
            Text(_said(its.ahead_within), "dim"),
            Text(_said(its.ahead_overall), "dim"),
        )
    seeds, best = compared.between_seeds, compared.best
    table.add_row("two seeds with each other", _said(seeds["within"]), _said(seeds["overall"]))
    table.add_row("best to expect", signed(best["within"]), signed(best["overall"]))
    return table


def _said(its: Correlation) -> str:
    text = signed(its.value)
    return f"{text} [{between(its.ci)}]" if has_interval(its.ci) else text


def sentences(compared: Comparison) -> Iterator[str]:
    """What the numbers mean, good or bad."""
    least = min((count for count in compared.sources.values() if count), default=0)
    said, chance = f"{compared.cells} pairs of different tasks.", by_chance(least)
    if math.isfinite(chance):
        said += (
            f" One target alone has {least} sources, with which chance reaches {signed(-chance)} "
            f"to {signed(chance)} (95 %)."
        )
    yield said
    within, overall = compared.forecast.within, compared.forecast.overall
    yield f"Which source to train on: {_verdict(within)}"
    yield f"Which cells change most: {_verdict(overall)}"
    for name, its in compared.baselines.items():
        if from_zero(its.ahead_overall.ci) and its.ahead_overall.value < 0:
            yield f"Over all cells, {clean(name)} does better than the forecast."
        if from_zero(its.ahead_within.ci) and its.ahead_within.value < 0:
            yield f"Within targets, {clean(name)} does better than the forecast."


def _verdict(its: Correlation) -> str:
    if not math.isfinite(its.value):
        return "cannot be told, as nothing varies."
    if from_zero(its.ci) is None:
        return f"{signed(its.value)}, without an interval."
    if not from_zero(its.ci):
        return "the forecast cannot be told from guessing; its interval has 0 in it."
    if its.value < 0:
        return "the forecast orders them the wrong way round."
    size = "weakly" if its.value < 0.3 else "moderately" if its.value < 0.6 else "well"
    return f"the forecast orders them {size}, beyond chance."


def by_chance(count: int, alpha: float = 0.05) -> float:
    """Rank correlation of `count` unrelated pairs that is passed with probability `alpha`.

        t / sqrt(n - 2 + t^2)

    with Student's t at n - 2 degrees of freedom, which is close from about 6 pairs on.
    """
    if count < 4:
        return math.nan
    t = float(stdtrit(count - 2, 1 - alpha / 2))
    return t / math.sqrt(count - 2 + t**2)
