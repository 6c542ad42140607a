"""What `plan` says of an experiment's second stage: what judges the choice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transferscope.cli.costs import Costs, Wanted
    from transferscope.study import Study


class Stage(NamedTuple):
    """All studies that judge, taken together."""

    summary: dict[str, int]
    total: dict[str, Any]
    """As `Costs.total`; empty where no model's shapes are known."""
    chosen: bool
    """Whether the mixtures are known; otherwise this is the most that it can be."""


def second(study: Study, out: Path, wanted: Wanted, first: Costs) -> Stage:
    """What there is to do once the matrix is known, and what it costs.

    Args:
        first: costs of the first stage, whose calibration serves here too.
    """
    from transferscope.cli.costs import costs
    from transferscope.execution.runner import standing
    from transferscope.selection.experiment import recorded, second_stage
    from transferscope.study.items import stock_of
    from transferscope.study.plan import plan_study

    summary: Counter[str] = Counter()
    totals: list[dict[str, Any]] = []
    for folder, one in second_stage(study, out):
        stock = stock_of(one)
        made = plan_study(one, stock)
        done = standing(one, made, stock, folder).cells
        summary.update(made.summary() | {"cells finished": done})
        found = costs(one, made, stock, wanted, first.speeds)
        totals += [found.total()] if found.models else []
    return Stage(dict(summary), _sum(totals), recorded(study, out) is not None)


def _sum(totals: list[dict[str, Any]]) -> dict[str, Any]:
    """Added up, the peak of memory aside; what one of them lacks is None."""
    whole: dict[str, Any] = {}
    for key in totals[0] if totals else ():
        values = [one[key] for one in totals]
        gather = max if key == "peak_memory_bytes" else sum
        whole[key] = None if None in values else gather(values)
    return whole


def numbers(summary: Mapping[str, int]) -> Iterator[str]:
    """What there is to do, a line each; nothing of what there is none of."""
    for what, number in summary.items():
        if number:
            said = what if number > 1 else re.sub(r"s\b", "", what, count=1)
            yield f"{number:>12,} {said}"


def told(stage: Stage, first: Costs) -> Iterator[str]:
    """The second stage in words."""
    from transferscope.cli.costs import amount, count, duration

    most = "" if stage.chosen else ", at most, as the mixtures are not known before"
    yield ""
    yield f"then, to judge what the matrix chooses{most}:"
    yield from numbers(stage.summary)
    if not stage.total:
        return
    parts = [f"{count(stage.total['flops'])} FLOPs"]
    parts.append(f"peak memory {amount(stage.total['peak_memory_bytes'])}")
    both = (first.total()["seconds"], stage.total["seconds"])
    if None not in both:
        parts.append(f"time {duration(both[1])}, with the first stage {duration(sum(both))}")
    yield f"  {', '.join(parts)}"
