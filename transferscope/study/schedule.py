"""How long a study takes on several workers: its shards, one after another, on whoever is free.

A worker takes a shard of the base that it holds while there are any, else the first that waits,
and loads that one's base. It looks at the questions' pictures once, and at a task's training
pictures as far as it has not seen them; where features do not stay, every shard looks again. So
the `ray` executor works; with one worker, so does this process. Nothing fails, and nothing is
finished already.

In:   what each run costs (`study_cost`), and how fast a worker is.
Out:  a `Schedule`: when everything is done, and how much of the workers' time was work.

Opens no file, measures nothing, knows no torch and no Ray.
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heapreplace
from typing import NamedTuple

from transferscope.study.cost_record import Prices
from transferscope.study.plan import Plan, Shard

START = 10.0
"""Seconds until a worker can load a base: a process with torch in it; an assumption."""


class Rates(NamedTuple):
    """How fast a worker is with one base."""

    training: float
    """FLOPs a second."""
    scoring: float
    looking: float
    load: float
    """Seconds to load the base."""


class Job(NamedTuple):
    """A shard on a worker that has its base and has seen no picture for it."""

    model: str
    seconds: float
    """Of all but pictures."""
    looks: Mapping[str, float] = {}
    """{task: part of its training pictures}"""


class Opening(NamedTuple):
    """What a worker does when it takes up a base, in seconds."""

    seconds: float
    """Start, load, draw the questions."""
    questions: float = 0.0
    """Look at the questions' pictures."""
    pools: Mapping[str, float] = {}
    """{task: to look at all of its training pictures}"""
    keeps: bool = True
    """Whether features stay; else each shard looks at all of its pictures."""


class Schedule(NamedTuple):
    """What came of it. Seconds."""

    makespan: float
    """When the last worker is done."""
    busy: tuple[float, ...]
    """Of each worker, openings included."""
    openings: int
    """How often a base was loaded."""
    longest: float
    """Of all shards."""

    @property
    def utilisation(self) -> float:
        """Share of the workers' time until the end in which they had something to do."""
        return sum(self.busy) / (len(self.busy) * self.makespan) if self.makespan else 1.0


class _Worker:
    """One worker and what it has seen."""

    def __init__(self) -> None:
        self.model, self.busy, self.openings = "", 0.0, 0
        self.unseen: dict[str, float] = {}
        """{task: part of its training pictures that nobody looked at yet, as expected}"""

    def carry_out(self, job: Job, opening: Opening) -> float:
        """The seconds that it takes."""
        seconds, new = job.seconds, job.model != self.model
        if new:
            self.model, self.unseen = job.model, {}
            self.openings += 1
            seconds += opening.seconds
        if new or not opening.keeps:
            seconds += opening.questions
        for task, part in job.looks.items():
            left = self.unseen.get(task, 1.0) if opening.keeps else 1.0
            seconds += left * part * opening.pools[task]
            self.unseen[task] = left * max(0.0, 1.0 - part)
        self.busy += seconds
        return seconds


def simulate(jobs: Iterable[Job], openings: Mapping[str, Opening], workers: int) -> Schedule:
    """The schedule of jobs that wait in this order.

    Args:
        openings: of each model.
    """
    crew = [_Worker() for _ in range(workers)]
    free = [(0.0, number) for number in range(workers)]
    heapify(free)
    waiting: dict[str, list[Job]] = {}
    for job in jobs:
        waiting.setdefault(job.model, []).append(job)
    queues = {model: iter(own) for model, own in waiting.items()}
    left = {model: len(own) for model, own in waiting.items()}
    end = longest = 0.0
    while left:
        now, number = free[0]
        worker = crew[number]
        model = worker.model if worker.model in left else next(iter(left))
        seconds = worker.carry_out(next(queues[model]), openings[model])
        left[model] -= 1
        if not left[model]:
            del left[model]
        longest, end = max(longest, seconds), max(end, now + seconds)
        heapreplace(free, (now + seconds, number))
    busy = tuple(worker.busy for worker in crew)
    return Schedule(end, busy, sum(worker.openings for worker in crew), longest)


def jobs_of(plan: Plan, prices: Mapping[str, Prices], rates: Mapping[str, Rates]) -> list[Job]:
    """A study's shards in the order in which workers take them: the largest base's first."""
    found = []
    for model in sorted(prices, key=lambda model: -prices[model].weights_bytes):
        bases = [Shard(model, (run,)) for run in plan.bases if run.model == model]
        shards = [shard for shard in plan.shards if shard.model == model]
        found += [_job(shard, prices[model], rates[model]) for shard in (*bases, *shards)]
    return found


def _job(shard: Shard, its: Prices, rate: Rates) -> Job:
    seconds = sum(
        its.training.get(run, 0.0) / rate.training + its.scoring[run] / rate.scoring
        + its.drawing[run]
        for run in shard.runs
    )  # fmt: skip
    unseen: dict[str, float] = {}
    again: dict[str, float] = {}
    for run in shard.runs:
        for task, part in its.looks.get(run, {}).items():
            unseen[task] = unseen.get(task, 1.0) * max(0.0, 1.0 - part)
            again[task] = again.get(task, 0.0) + part
    seen = {task: 1.0 - left for task, left in unseen.items()}
    return Job(shard.model, seconds, seen if its.keeps else again)


def openings_of(prices: Mapping[str, Prices], rates: Mapping[str, Rates]) -> dict[str, Opening]:
    """What taking up each base costs."""
    found = {}
    for model, its in prices.items():
        rate = rates[model]
        found[model] = Opening(
            START + rate.load + its.question_drawing,
            its.questions / rate.looking,
            {task: flops / rate.looking for task, flops in its.pools.items()},
            its.keeps,
        )
    return found


def least(jobs: Sequence[Job], workers: int) -> float:
    """Seconds below which no schedule is: an even share of all, and the longest shard."""
    seconds = [job.seconds for job in jobs]
    return max(max(seconds, default=0.0), sum(seconds) / workers)
