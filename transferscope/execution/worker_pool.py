"""The order of work on a shard, and many workers: who works on what, what is tried again.

A worker of the pool holds one base at a time and works on one shard at a time. It takes arguments
by value and returns results, so it need not see the results folder. If a worker is lost, the shard
that it worked on starts again on another. `local` starts processes, and `ray` Ray's actors.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from transferscope.errors import DataError, StudyError
from transferscope.execution.run_state import Attempt, RunState, WorkItem, describe
from transferscope.execution.shard_worker import (
    ScoredFleet,
    ShardWorker,
    TrainedGroup,
    public_versions,
    read_files,
    write_files,
)
from transferscope.store.cells import adapter_folder
from transferscope.study.plan import Run

Steps = Generator[Any, Any, None]
"""Work on a shard: yields what a worker's call returns, and is sent the result of the call."""
MAX_FAILED_STARTS = 3
"""Workers in a row that may die while they start."""


class WorkerLost(Exception):
    """A worker is gone, and what it worked on with it."""


class WorkerEnded(WorkerLost, MemoryError):
    """A worker was ended to save the machine's memory."""


class WorkerHandle(ABC):
    """A `ShardWorker` elsewhere as this process knows it, for `shard_steps`: one call at a time."""

    def __init__(self, name: str, size: Hashable = None) -> None:
        """`size` is what it has of the machine's resources, where workers differ."""
        self.name, self.size = name, size
        self.node = self.model = ""  # until it is ready, and has a base
        self.attempt: Attempt | None = None
        self.steps: Steps | None = None
        """None: it has nothing to do."""

    @abstractmethod
    def call(self, method: str, *arguments: Any) -> None:
        """Begin a call."""

    @abstractmethod
    def result(self) -> Any:
        """Wait for the call's result; raises what the call raised, or `WorkerLost`."""

    @abstractmethod
    def stop(self) -> object:
        """End the worker at once."""

    def open(self, model: str) -> None:
        self.model = model
        self.call("open", model)

    def digests(self, runs: Sequence[Run], known: Mapping[str, str]) -> None:
        self.call("digests", runs, known)

    def train(self, todo: Sequence[WorkItem], rows: int | None) -> None:
        self.call("train", _without_items(todo), rows)

    def next_trained(self) -> None:
        self.call("next_trained")

    def score(
        self, todo: Sequence[WorkItem], folders: Mapping[Run, Path], rows: int | None
    ) -> None:
        files = {run: read_files(folder) for run, folder in folders.items()}
        self.call("score_files", _without_items(todo), files, rows)

    def save_adapter(self, run: Run, folder: Path) -> None:
        self.call("files", run)
        write_files(folder, self.result())


class WorkerPool:
    """The workers, and the shards that wait for one."""

    def __init__(
        self,
        state: RunState,
        attempts: Iterable[Attempt],
        most: int,
        start: Callable[[int, Any], WorkerHandle],
        answered: Callable[[Sequence[WorkerHandle]], Sequence[WorkerHandle]],
        sizes: Mapping[str, Hashable] | None = None,
    ) -> None:
        """
        Args:
            most: workers at once.
            start: starts a worker, by its number and size.
            answered: waits a while and reports progress; returns those whose call has ended.
            sizes: of a worker for each model, where workers differ.
        """
        self.state, self.waiting, self.most = state, deque(attempts), most
        self._start, self._answered, self._sizes = start, answered, sizes or {}
        self.workers: list[WorkerHandle] = []
        self._numbers, self._failed_starts = count(1), 0
        self._checked = not any(model.adapters for model in state.study.models.values())

    def work(self) -> None:
        """Return when all shards are finished or given up; then no worker is left.

        Raises:
            DataError: an external adapter or model is damaged, or of another base.
            StudyError: no worker can be started.
        """
        try:
            while self.waiting or any(worker.attempt for worker in self.workers):
                self._hire()
                self._assign()
                if busy := [worker for worker in self.workers if worker.steps]:
                    for worker in self._answered(busy):
                        self._on_answer(worker)
        finally:
            for worker in [*self.workers]:
                self._stop(worker)

    def _hire(self) -> None:
        """Start workers for waiting shards, up to the limit; stop idle ones of the wrong size."""
        for size in dict.fromkeys(self._size(one) for one in self.waiting):
            for _ in range(-self._spare(size)):
                spare = [w for w in self.workers if not w.steps and self._spare(w.size) > 0]
                if len(self.workers) >= self.most and spare:
                    self._stop(spare[0])
                if len(self.workers) >= self.most:
                    break
                self.workers.append(worker := self._start(next(self._numbers), size))
                self._begin(worker, self._greet(worker))

    def _size(self, attempt: Attempt) -> Hashable:
        return self._sizes.get(attempt.shard.model)

    def _spare(self, size: Hashable) -> int:
        """Number of workers of a size without a shard, beyond the shards that wait for one."""
        free = sum(worker.size == size and worker.attempt is None for worker in self.workers)
        return free - sum(self._size(one) == size for one in self.waiting)

    def _assign(self) -> None:
        """Give idle workers a shard, first one of the base that they have."""
        for worker in [one for one in self.workers if not one.steps]:
            if not self._checked:  # external adapters are checked once, before any shard
                if not any(other.node and other.steps for other in self.workers):
                    self._begin(worker, self._check(worker))
                continue
            fit = [one for one in self.waiting if self._size(one) == worker.size]
            own = [one for one in fit if one.shard.model == worker.model]
            if attempt := next(iter(own or fit), None):
                self.waiting.remove(attempt)
                self._begin(worker, shard_steps(self.state, worker, attempt), attempt)

    def _greet(self, worker: WorkerHandle) -> Steps:
        """Wait until a worker is ready; refuse one with other libraries."""
        node, theirs = yield worker.call("hello")
        ours = public_versions()
        if other := [name for name in ours if ours[name] != theirs[name]]:
            here, there = (", ".join(f"{n} {one[n]}" for n in other) for one in (ours, theirs))
            raise StudyError(f"{node} must have {here} as here, got {there}")
        self._failed_starts, worker.node = 0, node
        self.state.report_progress("")

    def _check(self, worker: WorkerHandle) -> Steps:
        self.state.report_progress("checking external adapters", worker=worker.name)
        yield worker.call("check")
        self._checked = True

    def _begin(self, worker: WorkerHandle, steps: Steps, attempt: Attempt | None = None) -> None:
        worker.attempt, worker.steps = attempt, steps
        self._continue(worker, None)

    def _continue(self, worker: WorkerHandle, result: Any) -> None:
        assert worker.steps is not None
        try:
            worker.steps.send(result)
        except StopIteration:
            self._release(worker)

    def _release(self, worker: WorkerHandle) -> None:
        worker.attempt = worker.steps = None
        self.state.report_progress("", worker=worker.name)

    def _on_answer(self, worker: WorkerHandle) -> None:
        try:
            self._continue(worker, worker.result())
        except (WorkerLost, RuntimeError, MemoryError) as error:
            lost, more = isinstance(error, WorkerLost), list[Attempt]()
            if worker.attempt is not None:
                gone = lost and not isinstance(error, WorkerEnded)
                more = self.state.retry(worker.attempt, error, worker.name, worker_lost=gone)
                self.waiting.extendleft(reversed(more))
            elif not lost:
                raise
            else:
                self._failed_starts += 1
            self._release(worker)
            if lost or not more:  # a GPU's error persists in its process
                self._stop(worker)
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise StudyError(f"no worker can be started: {error}") from None

    def _stop(self, worker: WorkerHandle) -> None:
        self.workers.remove(worker)
        worker.stop()


def _without_items(todo: Sequence[WorkItem]) -> list[WorkItem]:
    """The work as it is sent to another process, which draws its training items anew."""
    return [one._replace(training_set=None) for one in todo]


def shard_steps(state: RunState, worker: ShardWorker | WorkerHandle, attempt: Attempt) -> Steps:
    """Train and score what a shard lacks, and put every run's table in place."""
    shard, rows, name = attempt.shard, attempt.rows, worker.name
    state.log("start", model=shard.model, runs=shard.runs, worker=name, node=worker.node)
    tag = {"worker": name} if name else {}

    def open_base() -> Steps:
        found = yield worker.open(shard.model)
        first, node = state.hashes.setdefault(shard.model, (found, worker.node))
        if found != first:
            problem = f"its files on {worker.node} differ from those on {node}"
            raise DataError(f"{shard.model}: {problem}")

    if shard.model not in state.hashes:
        yield from open_base()
    items = state.plan.items
    if name and items.stable:  # the worker needs the items next, this process only their digests
        items.digests |= yield worker.digests(shard.runs, items.digests)
    todo = state.work_items(shard, name)
    missing = [one for one in todo if one.missing]
    if missing:
        yield from open_base()
    if untrained := [one for one in missing if one.train]:
        yield worker.train(untrained, rows)
        diverged: set[Run] = set()
        while isinstance(trained := (yield worker.next_trained()), TrainedGroup):
            diverged |= state.keep_adapters(*trained, worker.save_adapter, name)
        runs = list(dict.fromkeys(one.run.finished for one in untrained))
        state.log_work("train", runs, trained | tag)
        todo = [one for one in todo if one.run.finished not in diverged]
        missing = [one for one in missing if one.run.finished not in diverged]
        if name:  # a worker elsewhere reports scoring only later
            state.report_progress(f"{shard.model}: scoring {describe(runs)}", worker=name)
    tables: dict[Run, dict[str, pl.DataFrame]] = {}
    if missing:
        kept = {one.run.adapter for one in missing if one.run.finished.trained and not one.train}
        folders = {run: state.store.folder / adapter_folder(run) for run in kept}
        scored: ScoredFleet = yield worker.score(missing, folders, rows)
        tables = scored.tables
        for runs, work in scored.work:
            state.log_work("score", runs, work | tag)
    state.finish_shard(shard, todo, tables, name)
