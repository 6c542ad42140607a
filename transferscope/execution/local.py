"""Carry out shards in this process, one after another, on its one device."""

from collections import deque

from transferscope.engine import Lab
from transferscope.engine.bases import check_brought
from transferscope.execution.run_state import RunState
from transferscope.execution.shard import Bench
from transferscope.store.cells import adapter_folder
from transferscope.study.plan import Shard


def carry_out(state: RunState, lab: Lab) -> None:
    """All that the state asks for; what fails in a shard is noted, and the next is tried.

    Raises:
        DataError: what the study brings is damaged, or of another base.
    """
    study, folder = state.study, state.store.folder
    check_brought(study, lab, folder)
    bench = Bench(study, state.plan, state.stock, lab, folder)
    for model in study.models:
        state.report_progress(f"{model}: loading")
        bench.open(model)
        waiting = deque(state.attempts(model))
        while waiting:
            attempt = waiting.popleft()
            state.start_shard(attempt)
            try:
                _shard(state, bench, attempt.shard, attempt.rows)
            except (RuntimeError, MemoryError) as error:
                waiting.extendleft(reversed(state.retry(attempt, error)))


def _shard(state: RunState, bench: Bench, shard: Shard, rows: int | None) -> None:
    """Train and score what of a shard is missing, and put every run's table in place."""
    todo = state.work_items(bench.base.weights_hash, shard)
    missing = [one for one in todo if one.missing]
    lacking = [one for one in missing if one.train]
    fresh, adapters = {}, {}
    if lacking:
        trained = bench.train(lacking, state.report_progress, rows)
        runs = [one.run for one in lacking]
        adapters = dict(zip(runs, trained.adapters, strict=True))
        state.log_work("train", runs, trained.took)
        fine = state.drop_diverged(lacking, trained.curves)
        state.keep_adapters(
            [lacking[index] for index in fine],
            [trained.records[index] for index in fine],
            lambda index, place: bench.lab.save_adapter(trained.adapters[fine[index]], place),
        )
        failed = set(runs) - {runs[index] for index in fine}
        todo = [one for one in todo if one.run not in failed]
        missing = [one for one in missing if one.run not in failed]
    if missing:
        for one in missing:
            if one.run not in adapters:
                where = state.store.folder / adapter_folder(one.run)
                adapters[one.run] = bench.read(one.run, where)
        scored = bench.score(
            missing, [adapters[one.run] for one in missing], state.report_progress, rows
        )
        fresh = scored.fresh
        for runs, took in scored.took:
            state.log_work("score", runs, took)
    state.keep_predictions(todo, fresh)
    state.finish_shard(shard)
