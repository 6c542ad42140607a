"""Carry out shards on this machine: in this process, or with small bases in one process per core.

On a CPU, processes of one thread train and score small bases up to twice as fast as one process
with a thread per core, whose threads wait for one another after every operation. Adapters and
tables are the same to the last byte.
"""

import math
import os
import socket
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain, groupby
from multiprocessing.connection import Connection, wait
from shutil import which
from typing import Any

from transferscope.engine import Engine, load_engine
from transferscope.engine.bases import local_weights
from transferscope.execution.run_state import Attempt, RunState
from transferscope.execution.shard_worker import ShardWorker
from transferscope.execution.worker_pool import WorkerHandle, WorkerLost, WorkerPool, shard_steps
from transferscope.study import cost
from transferscope.study.plan import Plan, Shard

LEAST_WORK = 10_000
"""Evaluations of an item below which processes would not pay: each takes seconds to start."""
SMALL = 256 << 20
"""Bytes of a base's weights up to which its products are too small for several threads."""
PROCESS = 2 << 30
"""Bytes that a process takes beside the weights, with activations and vision features."""
PARTS = 4
"""Parts of the work for each process, so that all of them end at about the same time."""


def carry_out(
    state: RunState, load: Callable[[], Engine] = load_engine, workers: int | None = None
) -> None:
    """Do all work that the state lists; a shard that fails is recorded, and the next is tried.

    Args:
        workers: processes; 1 is this one. None: one per core where that is faster.

    Raises:
        DataError: an external adapter or model is damaged, or of another base.
    """
    if (workers := workers or default_workers(state.plan)) > 1:
        return _in_processes(state, load, workers)
    worker = ShardWorker(state.plan, load, state.store.folder, state.report_progress)
    worker.check()
    for model in state.study.models:
        # Outside of the `try`: a base that cannot be loaded ends the run.
        state.hashes[model] = worker.open(model), ""
        waiting: deque[Attempt] = deque(state.attempts(model))
        while waiting:
            attempt = waiting.popleft()
            try:
                steps, result = shard_steps(state, worker, attempt), None
                while True:
                    result = steps.send(result)
            except StopIteration:
                continue
            except (RuntimeError, MemoryError) as error:
                waiting.extendleft(reversed(state.retry(attempt, error)))


def default_workers(plan: Plan) -> int:
    """One per core if no GPU is there, bases are small and there is enough work; else 1."""
    work = sum(plan.training_work(run) + plan.eval_count for run in plan.runs)
    if work < LEAST_WORK or which("nvidia-smi") or os.name == "nt":
        return 1
    weights = max(local_weights(plan.study, name) or math.inf for name in plan.study.models)
    if weights > SMALL:
        return 1
    threads = os.environ.get("OMP_NUM_THREADS", "")
    cores = int(threads) if threads.isdigit() else cost.cores()
    return max(1, min(cores, int((cost.free_memory() or PROCESS) // (PROCESS + weights))))


def _in_processes(state: RunState, load: Callable[[], Engine], workers: int) -> None:
    size = -(-len(state.plan.runs) // (PARTS * workers))
    attempts = chain(*(state.attempts(model) for model in state.study.models))
    parts = chain(*(_parts(attempt, size) for attempt in attempts))

    def start(number: int, _: object) -> _Process:
        return _Process(f"p{number}", state, load)

    WorkerPool(state, parts, workers, start, _answered).work()


def _answered(processes: Sequence[Any]) -> list[WorkerHandle]:
    pipes = {process.pipe: process for process in processes}
    return [pipes[pipe] for pipe in wait([*pipes]) if pipes[pipe].receive()]


def _parts(attempt: Attempt, size: int) -> list[Attempt]:
    """A shard in parts of `size` adapters, each with its snapshots and strengths."""
    model, runs = attempt.shard
    whole = [tuple(states) for _, states in groupby(runs, lambda run: run.finished)]
    starts = range(0, len(whole), size)
    return [Attempt(Shard(model, (*chain(*whole[start : start + size]),))) for start in starts]


class _Process(WorkerHandle):
    """A process of one thread."""

    def __init__(self, name: str, state: RunState, load: Callable[[], Engine]) -> None:
        super().__init__(name)
        self._state = state
        self._answer: tuple[str, Any] = "", None
        ours, theirs = socket.socketpair()
        # Not `multiprocessing`, which would run a user's script once more in each process.
        code = f"from {__name__} import serve; serve({theirs.fileno()})"
        paths = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                env=os.environ | paths,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # else an interrupt would reach it too
            )
        self.pipe = Connection(ours.detach())
        self._send((state.plan, load, state.store.folder))

    def _send(self, message: tuple[Any, ...]) -> None:
        with suppress(OSError):  # it is gone, which `receive` reports
            self.pipe.send(message)

    def call(self, method: str, *arguments: Any) -> None:
        self._send((method, arguments))

    def receive(self) -> bool:
        """Receive progress, which is reported, or the call's result; whether it was the result."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError) as error:
            why = f"process {self.name} ended with {self.stop()}: {error}"
            self._answer = "error", WorkerLost(why)
            return True
        if kind == "progress":
            self._state.report_progress(*value, worker=self.name)
            return False
        self._answer = kind, value
        return True

    def result(self) -> Any:
        while not self._answer[0]:
            self.receive()
        (kind, value), self._answer = self._answer, ("", None)
        if kind == "error":
            raise value
        return value

    def stop(self) -> int:
        """End the process; its exit code."""
        self.pipe.close()
        self._process.kill()
        return self._process.wait()


def serve(descriptor: int) -> None:
    """In another process: answer what comes over a socket, until the first process is gone."""
    pipe = Connection(descriptor)
    plan, load, folder = pipe.recv()
    worker = ShardWorker(plan, load, folder, lambda *now: pipe.send(("progress", now)))
    with suppress(EOFError, OSError):
        while True:
            method, arguments = pipe.recv()
            try:
                answer = "result", getattr(worker, method)(*arguments)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = "error", error
            pipe.send(answer)
