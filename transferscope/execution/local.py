"""Carry out shards in this process, one after another, on its one device."""

from collections import deque
from collections.abc import Callable

from transferscope.engine import Engine, load_engine
from transferscope.execution.run_state import Attempt, RunState
from transferscope.execution.shard_worker import ShardWorker, shard_steps


def carry_out(state: RunState, load: Callable[[], Engine] = load_engine) -> None:
    """Do all work that the state lists; a shard that fails is recorded, and the next is tried.

    Raises:
        DataError: an external adapter or model is damaged, or of another base.
    """
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
