"""Carry out shards on the workers of a Ray cluster, or of a Ray started on this machine."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import exceptions as gone

from transferscope.engine import Engine, load_engine
from transferscope.execution import ray_cluster
from transferscope.execution.ray_cluster import WorkerResources, one_line
from transferscope.execution.run_state import RunState
from transferscope.execution.shard_worker import ShardWorker, TrainedGroup
from transferscope.execution.worker_pool import WorkerEnded, WorkerHandle, WorkerLost, WorkerPool
from transferscope.study.plan import Plan

POLL = 1.0
"""Seconds between two requests for the workers' progress."""
PATIENCE = 30.0
"""Seconds without a worker after which a note is shown."""
LOST = (gone.RayActorError, gone.ObjectLostError, gone.NodeDiedError, gone.WorkerCrashedError)
"""Errors that mean that a worker is gone."""


class RayWorker(ShardWorker):
    """A `ShardWorker` as a Ray actor, with so many threads for torch."""

    def __init__(self, plan: Plan, load: Callable[[], Engine], folder: Path, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
        if "OMP_WAIT_POLICY" not in os.environ:  # as in `cli.main`
            os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        super().__init__(plan, load, folder, self._keep_status)
        self._doing = ("", 0.0)

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


class RayHandle(WorkerHandle):
    """An actor, which Ray starts as soon as a node has the resources."""

    def __init__(self, name: str, size: WorkerResources, actor: Any) -> None:
        super().__init__(name, size)
        self.actor = actor
        self.pending: Any = None

    def call(self, method: str, *arguments: Any) -> None:
        self.pending = getattr(self.actor, method).remote(*arguments)

    def result(self) -> Any:
        try:
            return ray.get(self.pending)
        except gone.RayTaskError as error:
            if not isinstance(cause := error.cause, Exception):
                raise
            raise cause from error  # which has the worker's traceback
        except gone.OutOfMemoryError as error:
            raise WorkerEnded(one_line(error)) from error
        except LOST as error:
            raise WorkerLost(one_line(error)) from error

    def stop(self) -> None:
        with suppress(gone.RayError):
            ray.kill(self.actor)


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
        sizes = ray_cluster.resources_of(state.study)
        most = workers or ray_cluster.default_workers(sizes)
        if ours:
            ray_cluster.refuse_too_large(sizes)

        # The largest base first: its shards take longest, and would otherwise end the run alone.
        models = sorted(state.study.models, key=lambda model: -sizes[model].memory)
        attempts = [one for model in models for one in state.attempts(model)]
        state.report_progress(f"starting {most} of Ray's workers")
        place = _RayWorkers(state, load, most)
        WorkerPool(state, attempts, most, place.start, place.answered, sizes).work()


class _RayWorkers:
    """Starts workers, and requests their progress while their calls run."""

    def __init__(self, state: RunState, load: Callable[[], Engine], most: int) -> None:
        self._state, self._load, self._most = state, load, most
        self._polled = self._last_ready = time.monotonic()

    def start(self, number: int, size: WorkerResources) -> RayHandle:
        """See `WorkerPool`."""
        cpus, threads = ray_cluster.cpus_and_threads(size, self._most)
        remote: Any = ray.remote  # Ray's types lack concurrency groups
        options = {"num_cpus": cpus, "num_gpus": size.gpus, "memory": size.memory}
        made = remote(**options, concurrency_groups={"status": 1})(RayWorker)
        folder = self._state.store.folder.resolve()
        actor = made.remote(self._state.plan, self._load, folder, threads)
        return RayHandle(f"w{number}", size, actor)

    def answered(self, workers: Sequence[Any]) -> list[RayHandle]:
        """See `WorkerPool`."""
        pending = {worker.pending: worker for worker in workers}
        ready, _ = ray.wait([*pending], timeout=POLL)
        if time.monotonic() - self._polled >= POLL:
            self._polled = time.monotonic()
            self._report(workers)
        return [pending[ref] for ref in ready]

    def _report(self, workers: Sequence[Any]) -> None:
        """Report the workers' progress; note if there has been no worker for a while."""
        now, busy = time.monotonic(), [worker for worker in workers if worker.node]
        if busy:
            self._last_ready = now
        elif now - self._last_ready > PATIENCE:
            self._last_ready = float("inf")
            note = f"Ray has no resources yet for a worker with {workers[0].size}"
            self._state.report_progress("waiting", note=note)
        status = {
            one.actor.status.options(concurrency_group="status").remote(): one for one in busy
        }
        for ref in ray.wait([*status], num_returns=len(busy), timeout=POLL / 2)[0]:
            with suppress(gone.RayError):  # the pending result raises it too
                doing, part = ray.get(ref)
                if doing:
                    self._state.report_progress(doing, part, worker=status[ref].name)
