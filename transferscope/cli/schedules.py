"""What `plan --workers` says: how long several workers take, and what keeps them from less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transferscope.cli.costs import Costs
    from transferscope.study.plan import Plan
    from transferscope.study.schedule import Rates, Schedule

DISK = 1e9
"""Bytes a second at which a base is loaded where nobody has measured it; an assumption."""


class Shared(NamedTuple):
    """A study on several workers; `many` and `one` are None where there are no times."""

    workers: int
    shards: int
    """Bases among them."""
    fleet: int
    """Runs of the largest."""
    many: Schedule | None
    one: Schedule | None
    least: float
    """Seconds below which no schedule is."""
    gpu: bool

    def record(self) -> dict[str, Any] | None:
        """All numbers, their units in the names; None where there are no times."""
        if self.many is None or self.one is None:
            return None
        return {
            "workers": self.workers,
            "makespan_seconds": self.many.makespan,
            "utilisation": self.many.utilisation,
            "one_worker_seconds": self.one.makespan,
            "speedup": self.one.makespan / self.many.makespan,
            "least_seconds": self.least,
            "shards": self.shards,
            "longest_shard_seconds": self.many.longest,
            "bases_loaded": self.many.openings,
        }


def schedule(plan: Plan, costs: Costs, workers: int) -> Shared:
    """The study on so many workers."""
    from transferscope.study.schedule import jobs_of, least, openings_of, simulate

    shards = len(plan.bases) + len(plan.shards)
    fleet = max((len(shard.runs) for shard in plan.shards), default=1)
    rates = _rates(costs)
    if len(rates) < len({run.model for run in plan.runs}):
        return Shared(workers, shards, fleet, None, None, 0.0, costs.device.gpu)
    jobs, openings = jobs_of(plan, costs.prices, rates), openings_of(costs.prices, rates)
    many, one = (simulate(jobs, openings, number) for number in (workers, 1))
    return Shared(workers, shards, fleet, many, one, least(jobs, workers), costs.device.gpu)


def _rates(costs: Costs) -> dict[str, Rates]:
    """How fast a worker is: as the user says, else as it was measured."""
    from transferscope.study.schedule import Rates

    found = {}
    for name, its in costs.prices.items():
        if costs.tflops is not None:
            rate = costs.tflops * 1e12
            found[name] = Rates(rate, rate, rate, its.weights_bytes / DISK)
        elif name in costs.speeds:
            speeds = costs.speeds[name]
            looking = speeds.vision_flops_per_second or float("inf")
            rates = (speeds.train_flops_per_second, speeds.score_flops_per_second, looking)
            found[name] = Rates(*rates, speeds.load_seconds)
    return found


def told(shared: Shared) -> Iterator[str]:
    """The same in words."""
    from transferscope.cli.costs import duration

    workers = f"{shared.workers} worker{'s' if shared.workers > 1 else ''}"
    if shared.many is None or shared.one is None:
        yield f"{workers}: no schedule without times; --tflops tells how fast a worker is"
        return
    each = "a GPU each" if shared.gpu else "this machine's cores shared among them"
    many, one = shared.many, shared.one
    yield (
        f"{workers}, {each}: {duration(many.makespan)} until the last is done, "
        f"{many.utilisation:.0%} of their time busy"
    )
    yield (
        f"  one alone: {duration(one.makespan)}, {one.makespan / many.makespan:.3g} times as "
        f"long; {shared.shards} shards, the longest {duration(many.longest)}; bases loaded "
        f"{many.openings} times"
    )
    if shared.workers > shared.shards:
        yield f"  only {shared.shards} of them find work{_smaller(shared)}"
    elif many.utilisation < 0.8:
        yield f"  shards are few or uneven for so many{_smaller(shared)}"


def _smaller(shared: Shared) -> str:
    more = f"; a budget.fleet below {shared.fleet} makes more, smaller shards"
    return more if shared.fleet > 1 else ""
