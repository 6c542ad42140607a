"""Carry out shards on the workers of a Ray cluster, or of a Ray started on this machine.

A worker holds one base at a time and works on one shard at a time. It takes arguments by value and
returns results, so it need not see the results folder. If a worker is lost, the shard that it
worked on starts again on another.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import exceptions as gone

from transferscope import store as results
from transferscope.engine import Engine, load_engine
from transferscope.errors import StudyError
from transferscope.execution import ray_cluster
from transferscope.execution.ray_cluster import WorkerResources, one_line
from transferscope.execution.run_state import Attempt, RunState, WorkItem
from transferscope.execution.shard_worker import (
    ScoredFleet,
    ShardWorker,
    Steps,
    TrainedGroup,
    shard_steps,
    without_items,
)
from transferscope.store.cells import versions
from transferscope.study.plan import Plan, Run

POLL = 1.0
"""Seconds between two requests for the workers' progress."""
PATIENCE = 30.0
"""Seconds without a worker after which a note is shown."""
MAX_FAILED_STARTS = 3
"""Workers in a row that may die while they start."""
LOST = (gone.RayActorError, gone.ObjectLostError, gone.NodeDiedError, gone.WorkerCrashedError)
"""Errors that mean that a worker is gone."""
Files = dict[str, bytes]
"""An adapter's files by name."""


class RayWorker(ShardWorker):
    """A `ShardWorker` in a separate process; one Ray actor, with so many threads for torch.

    `load` makes the engine in this process; the results folder is used if this machine has it.
    """

    def __init__(self, plan: Plan, load: Callable[[], Engine], folder: Path, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
        if "OMP_WAIT_POLICY" not in os.environ:  # as in `cli.main`
            os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        features = folder if folder.is_dir() else results.cache_folder()
        super().__init__(plan, load, features, self._keep_status)
        self._doing = ("", 0.0)

    def hello(self) -> tuple[str, dict[str, str]]:
        """Report readiness, with the hostname and the versions of libraries."""
        return socket.gethostname(), _public_versions()

    def status(self) -> tuple[str, float]:
        """What is being done, and how much of it is done; called while other calls run."""
        return self._doing

    def _keep_status(self, doing: str, part: float) -> None:
        self._doing = (doing, part)

    def next_trained(self) -> TrainedGroup | dict[str, Any]:
        """See `ShardWorker`."""
        trained = super().next_trained()
        self._doing = ("", 0.0)
        return trained

    def files(self, run: Run) -> Files:
        """The files of an adapter that was trained last."""
        with TemporaryDirectory() as place:
            self.save_adapter(run, folder := Path(place, "adapter"))
            return _read(folder)

    def score_files(
        self, todo: Sequence[WorkItem], files: Mapping[Run, Files], rows: int | None
    ) -> ScoredFleet:
        """As `score`; adapters that were not trained last come as files."""
        with TemporaryDirectory() as place:
            folders = {run: Path(place, str(index)) for index, run in enumerate(files)}
            for run, folder in folders.items():
                _write(folder, files[run])
            return self.score(todo, folders, rows)


@dataclass(eq=False)
class RayHandle:
    """A worker as this process knows it, for `shard_steps`: calls return Ray's references."""

    name: str
    resources: WorkerResources
    actor: Any
    node: str = ""
    """Empty until the worker is ready."""
    model: str = ""
    """The model whose base it has."""
    attempt: Attempt | None = None
    steps: Steps | None = None
    """None: it has nothing to do, or is not ready."""

    @property
    def idle(self) -> bool:
        return bool(self.node) and self.steps is None

    def open(self, model: str) -> Any:
        self.model = model
        return self.actor.open.remote(model)

    def train(self, todo: Sequence[WorkItem], rows: int | None) -> Any:
        return self.actor.train.remote(without_items(todo), rows)

    def next_trained(self) -> Any:
        return self.actor.next_trained.remote()

    def score(self, todo: Sequence[WorkItem], folders: Mapping[Run, Path], rows: int | None) -> Any:
        files = {run: _read(folder) for run, folder in folders.items()}
        return self.actor.score_files.remote(without_items(todo), files, rows)

    def save_adapter(self, run: Run, folder: Path) -> None:
        _write(folder, ray.get(self.actor.files.remote(run)))


def carry_out(
    state: RunState, workers: int | None = None, load: Callable[[], Engine] = load_engine
) -> None:
    """Do all work that the state lists; a shard that fails is recorded, and others continue.

    Uses the Ray that is connected, else the one that `RAY_ADDRESS` names, else one started on this
    machine and stopped at the end. `workers` is by default one per GPU, or one without a GPU.

    Raises:
        DataError: an external adapter or model is damaged, or of another base.
        StudyError: no worker can be started.
    """
    with ray_cluster.connected(workers) as ours:
        pool = _WorkerPool(state, workers, load)
        if ours:
            ray_cluster.refuse_too_large(pool.resources)
        try:
            pool.work()
        finally:
            for worker in list(pool.workers):
                pool.stop(worker)


class _WorkerPool:
    """The workers, and the shards that wait for one."""

    def __init__(self, state: RunState, workers: int | None, load: Callable[[], Engine]) -> None:
        self.state, self._load = state, load
        self._names = (f"w{number}" for number in count(1))
        self.resources = ray_cluster.resources_of(state.study)
        self.most = workers or ray_cluster.default_workers(self.resources)
        self.workers: list[RayHandle] = []
        self._refs: dict[Any, RayHandle] = {}
        # The largest base first: its shards take longest, and would otherwise end the run alone.
        models = sorted(state.study.models, key=lambda model: -self.resources[model].memory)
        self._waiting = deque(one for model in models for one in state.attempts(model))
        self._checked = not any(model.adapters for model in state.study.models.values())
        self._failed_starts = 0
        self._last_ready = time.monotonic()

    def work(self) -> None:
        """Return when all shards are finished or given up."""
        self.state.report_progress(f"starting {self.most} of Ray's workers")
        polled = time.monotonic()
        while self._waiting or any(worker.steps for worker in self.workers):
            self._hire()
            self._assign()
            ready, _ = ray.wait(list(self._refs), timeout=POLL)
            for ref in ready:
                worker = self._refs.pop(ref)
                if worker in self.workers:
                    (self._on_result if worker.node else self._on_ready)(worker, ref)
            if time.monotonic() - polled >= POLL:
                polled = time.monotonic()
                self._poll()

    def stop(self, worker: RayHandle) -> None:
        self.workers.remove(worker)
        with suppress(gone.RayError):
            ray.kill(worker.actor)

    def _hire(self) -> None:
        """Start workers for waiting shards, up to the limit; stop idle ones of the wrong size."""
        for size in dict.fromkeys(self.resources[one.shard.model] for one in self._waiting):
            for _ in range(-self._spare(size)):
                spare = [w for w in self.workers if w.idle and self._spare(w.resources) > 0]
                if len(self.workers) >= self.most and spare:
                    self.stop(spare[0])
                if len(self.workers) >= self.most:
                    break
                self.workers.append(RayHandle(next(self._names), size, actor := self._start(size)))
                self._refs[actor.hello.remote()] = self.workers[-1]

    def _spare(self, size: WorkerResources) -> int:
        """Number of workers of a size without work, beyond the shards that wait for one."""
        free = sum(worker.resources == size and worker.steps is None for worker in self.workers)
        return free - sum(self.resources[one.shard.model] == size for one in self._waiting)

    def _start(self, size: WorkerResources) -> Any:
        """An actor, which Ray starts as soon as a node has the resources."""
        cpus, threads = ray_cluster.cpus_and_threads(size, self.most)
        remote: Any = ray.remote  # Ray's types lack concurrency groups
        options = {"num_cpus": cpus, "num_gpus": size.gpus, "memory": size.memory}
        made = remote(**options, concurrency_groups={"status": 1})(RayWorker)
        folder = self.state.store.folder.resolve()
        return made.remote(self.state.plan, self._load, folder, threads)

    def _on_ready(self, worker: RayHandle, ref: Any) -> None:
        try:
            node, theirs = ray.get(ref)
        except gone.RayError as error:
            return self._on_death(worker, error)
        ours = _public_versions()
        if other := [name for name in ours if ours[name] != theirs[name]]:
            here, there = (", ".join(f"{n} {one[n]}" for n in other) for one in (ours, theirs))
            raise StudyError(f"{node} must have {here} as here, got {there}")
        self._failed_starts, worker.node, self._last_ready = 0, node, time.monotonic()
        self.state.report_progress("")

    def _on_death(self, worker: RayHandle, error: Exception) -> None:
        """A worker without a shard died; after several in a row, the run ends."""
        self.stop(worker)
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            problem = f"no worker can be started: {one_line(error)}"
            raise StudyError(f"--executor ray: {problem}") from None

    def _assign(self) -> None:
        """Give idle workers a shard, first one of the base that they have."""
        for worker in [one for one in self.workers if one.idle]:
            if not self._checked:  # external adapters are checked once, before any shard
                if not any(other.steps for other in self.workers):
                    worker.attempt, worker.steps = None, self._check(worker)
                    self._continue(worker, None)
                continue
            fit = [o for o in self._waiting if self.resources[o.shard.model] == worker.resources]
            own = [one for one in fit if one.shard.model == worker.model]
            if attempt := next(iter(own or fit), None):
                self._waiting.remove(attempt)
                worker.attempt = attempt
                worker.steps = shard_steps(self.state, worker, attempt)
                self._continue(worker, None)

    def _check(self, worker: RayHandle) -> Steps:
        self.state.report_progress("checking external adapters", worker=worker.name)
        yield worker.actor.check.remote()
        self._checked = True

    def _continue(self, worker: RayHandle, result: Any) -> None:
        assert worker.steps is not None
        try:
            self._refs[worker.steps.send(result)] = worker
        except StopIteration:
            worker.attempt, worker.steps = None, None
            self.state.report_progress("", worker=worker.name)

    def _on_result(self, worker: RayHandle, ref: Any) -> None:
        try:
            self._continue(worker, ray.get(ref))
        except gone.RayTaskError as error:
            cause = error.cause
            if worker.attempt is None or not isinstance(cause, RuntimeError | MemoryError):
                raise (cause if isinstance(cause, Exception) else error) from None
            cause.__cause__ = error  # which has the worker's traceback
            if not self._retry(worker, cause):
                self.stop(worker)  # a GPU's error persists in its process
        except (*LOST, gone.OutOfMemoryError) as error:
            if worker.attempt is None:
                return self._on_death(worker, error)
            # Ray's OutOfMemoryError: Ray ended the worker to save the machine.
            full = isinstance(error, gone.OutOfMemoryError)
            self._retry(worker, error, worker_lost=not full)
            self.stop(worker)

    def _retry(self, worker: RayHandle, error: Exception, *, worker_lost: bool = False) -> bool:
        """Queue what to try in place of a worker's shard; returns whether there is anything."""
        attempt, worker.attempt, worker.steps = worker.attempt, None, None
        assert attempt is not None
        more = self.state.retry(attempt, error, worker.name, worker_lost=worker_lost)
        self._waiting.extendleft(reversed(more))
        self.state.report_progress("", worker=worker.name)
        return bool(more)

    def _poll(self) -> None:
        """Report the workers' progress; note if there has been no worker for a while."""
        now = time.monotonic()
        if any(worker.node for worker in self.workers):
            self._last_ready = now
        elif now - self._last_ready > PATIENCE:
            self._last_ready = float("inf")
            sizes = [worker.resources for worker in self.workers] or [*self.resources.values()]
            note = f"Ray has no resources yet for a worker with {sizes[0]}"
            self.state.report_progress("waiting", note=note)
        busy = [worker for worker in self.workers if worker.steps]
        requested = {w.actor.status.options(concurrency_group="status").remote(): w for w in busy}
        for ref in ray.wait([*requested], num_returns=len(busy), timeout=POLL / 2)[0]:
            with suppress(gone.RayError):  # the pending result raises it too
                doing, part = ray.get(ref)
                if doing:
                    self.state.report_progress(doing, part, worker=requested[ref].name)


def _public_versions() -> dict[str, str]:
    """Versions without build tags: `2.13.0+cpu` is 2.13.0."""
    return {name: version.partition("+")[0] for name, version in versions().items()}


def _write(folder: Path, files: Files) -> None:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _read(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
