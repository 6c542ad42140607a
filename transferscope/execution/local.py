"""Carry out shards on this machine: in this process, or with small bases in one process per core.

On a CPU, processes of one thread train and score small bases up to twice as fast as one process
with a thread per core, whose threads wait for one another after every operation. Adapters and
tables are the same to the last byte.
"""

import os
import socket
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, count, groupby
from multiprocessing.connection import Connection, wait
from pathlib import Path
from shutil import which
from typing import Any, cast

from transferscope.engine import Engine, load_engine
from transferscope.engine.glimpse.shipped import folder as embedded_folder
from transferscope.errors import DataError, StudyError
from transferscope.execution.run_state import Attempt, RunState, WorkItem
from transferscope.execution.shard_worker import ShardWorker, Steps, shard_steps, without_items
from transferscope.study import cost
from transferscope.study.plan import Run, Shard
from transferscope.study.shapes import read_shapes

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
    if (workers := workers or default_workers(state)) > 1:
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


def default_workers(state: RunState) -> int:
    """One per core if no GPU is there, bases are small and there is enough work; else 1."""
    plan, weights = state.plan, 0
    work = sum(plan.training_work(run) + plan.eval_count for run in plan.runs)
    if work < LEAST_WORK or which("nvidia-smi") or os.name == "nt":
        return 1
    for name, model in plan.study.models.items():
        try:
            shapes = read_shapes(
                Path(model.where) if Path(model.where).is_dir() else embedded_folder(model.where)
            )
        except (DataError, StudyError):  # on the Hub
            return 1
        precision = plan.study.recipe_of(name).precision
        weights = max(weights, cost.weights_bytes(shapes, precision, model.quantization))
    if weights > SMALL:
        return 1
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        cores = int(threads)
    return max(1, min(cores, (cost.free_memory() or PROCESS) // (PROCESS + weights)))


def _in_processes(state: RunState, load: Callable[[], Engine], workers: int) -> None:
    waiting = deque(
        part
        for model in state.study.models
        for attempt in state.attempts(model)
        for part in _parts(attempt, -(-len(state.plan.runs) // (PARTS * workers)))
    )
    names = (f"p{number}" for number in count(1))
    processes: list[_Process] = []
    try:
        processes.append(_Process(next(names), state, load))
        processes[0].check()
        while waiting or any(one.attempt for one in processes):
            while len(processes) < min(workers, len(processes) + len(waiting)):
                processes.append(_Process(next(names), state, load))
            for one in processes:
                if waiting and not one.attempt:
                    one.begin(waiting.popleft())
            busy = {one.pipe: (one, one.attempt) for one in processes if one.attempt}
            for pipe in wait([*busy]):
                one, attempt = busy[cast(Connection, pipe)]
                try:
                    one.advance()
                except (RuntimeError, MemoryError) as error:
                    one.attempt = None
                    waiting.extendleft(reversed(state.retry(attempt, error, one.name)))
                except (EOFError, OSError) as error:
                    processes.remove(one)
                    lost = RuntimeError(f"process {one.name} ended with {one.stop()}: {error}")
                    more = state.retry(attempt, lost, one.name, worker_lost=True)
                    waiting.extendleft(reversed(more))
    finally:
        for one in processes:
            one.stop()


def _parts(attempt: Attempt, size: int) -> list[Attempt]:
    """A shard in parts of `size` adapters, each with its snapshots and strengths."""
    model, runs = attempt.shard
    whole = [tuple(states) for _, states in groupby(runs, lambda run: run.finished)]
    starts = range(0, len(whole), size)
    return [Attempt(Shard(model, (*chain(*whole[start : start + size]),))) for start in starts]


class _Process:
    """A `ShardWorker` in another process, with one thread; answers come one by one."""

    node = ""

    def __init__(self, name: str, state: RunState, load: Callable[[], Engine]) -> None:
        self.name, self._state = name, state
        self.attempt: Attempt | None = None
        """What it works on."""
        self._steps: Steps | None = None
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
        self.pipe.send((state.plan, load, state.store.folder))

    def begin(self, attempt: Attempt) -> None:
        """Start a shard."""
        self.attempt, self._steps = attempt, shard_steps(self._state, self, attempt)
        self._continue(None)

    def advance(self) -> None:
        """Receive what came: progress, a result, or an error, which is raised."""
        answers = self._received()
        if answers:
            self._continue(answers[0])

    def _continue(self, result: Any) -> None:
        assert self._steps is not None
        try:
            self._steps.send(result)
        except StopIteration:
            self.attempt = self._steps = None
            self._state.report_progress("", worker=self.name)

    def _received(self) -> list[Any]:
        kind, value = self.pipe.recv()
        if kind == "error":
            raise value
        if kind == "progress":
            self._state.report_progress(*value, worker=self.name)
            return []
        return [value]

    def stop(self) -> int:
        """End the process; its exit code."""
        self.pipe.close()
        self._process.kill()
        return self._process.wait()

    def _call(self, method: str, *arguments: Any) -> None:
        self.pipe.send((method, arguments))

    def _answer(self, method: str, *arguments: Any) -> None:
        self._call(method, *arguments)
        while not self._received():
            pass

    def check(self) -> None:
        self._answer("check")

    def open(self, model: str) -> None:
        self._call("open", model)

    def train(self, todo: Sequence[WorkItem], rows: int | None) -> None:
        self._call("train", without_items(todo), rows)

    def next_trained(self) -> None:
        self._call("next_trained")

    def score(
        self, todo: Sequence[WorkItem], folders: Mapping[Run, Path], rows: int | None
    ) -> None:
        self._call("score", without_items(todo), folders, rows)

    def save_adapter(self, run: Run, folder: Path) -> None:
        self._answer("save_adapter", run, folder.resolve())


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
