"""Carry out shards in this process, one after another, on its one device."""

from collections import deque
from collections.abc import Callable

from transferscope.engine import Engine, load_engine
from transferscope.execution.run_state import Attempt, RunState
from transferscope.execution.shard_worker import ShardWorker, shard_steps


def carry_out(state: RunState, load: Callable[[], Engine] = load_engine) -> None:
    """Do all work that the state asks for; a shard that fails is recorded, and the next is tried.

    Args:
        load: makes the engine.

    Raises:
        DataError: an external adapter or model is damaged, or of another base.
    """
    folder, report = state.store.folder, state.report_progress
    worker = ShardWorker(state.plan, load, folder, report)
    worker.check()
    hashes: dict[str, tuple[str, str]] = {}
    for model in state.study.models:
        # Outside of the `try`: a base that cannot be loaded ends the run.
        hashes[model] = worker.open(model), ""
        waiting: deque[Attempt] = deque(state.attempts(model))
        while waiting:
            attempt = waiting.popleft()
            state.start_shard(attempt)
            try:
                steps, result = shard_steps(state, worker, attempt, hashes), None
                while True:
                    result = steps.send(result)
            except StopIteration:
                continue
            except (RuntimeError, MemoryError) as error:
                waiting.extendleft(reversed(state.retry(attempt, error)))
