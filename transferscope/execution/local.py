"""Carry out shards in this process, one after another, on its one device."""

from collections import deque

from transferscope.engine import Lab
from transferscope.engine.bases import check_brought
from transferscope.execution.run_state import Ledger
from transferscope.execution.shard import Bench
from transferscope.store.cells import adapter_folder
from transferscope.study.plan import Shard


def carry_out(ledger: Ledger, lab: Lab) -> None:
    """All that the ledger asks for; what fails in a shard is noted, and the next is tried.

    Raises:
        DataError: what the study brings is damaged, or of another base.
    """
    study, folder = ledger.study, ledger.store.folder
    check_brought(study, lab, folder)
    bench = Bench(ledger.plan, lab, folder)
    for model in study.models:
        ledger.say(f"{model}: loading")
        bench.open(model)
        waiting = deque(ledger.attempts(model))
        while waiting:
            attempt = waiting.popleft()
            ledger.begin(attempt)
            try:
                _shard(ledger, bench, attempt.shard, attempt.rows)
            except (RuntimeError, MemoryError) as error:
                waiting.extendleft(reversed(ledger.retry(attempt, error)))


def _shard(ledger: Ledger, bench: Bench, shard: Shard, rows: int | None) -> None:
    """Train and score what of a shard is missing, and put every run's table in place."""
    todo = ledger.examine(bench.base.weights_hash, shard)
    missing = [one for one in todo if one.missing]
    lacking = [one for one in missing if one.train]
    fresh, adapters = {}, {}
    if lacking:
        trained = bench.train(lacking, ledger.say, rows)
        runs = [one.run for one in lacking]
        adapters = dict(zip(runs, trained.adapters, strict=True))
        ledger.measured("train", runs, trained.took)
        fine = ledger.settle(lacking, trained.curves)
        ledger.keep_adapters(
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
                where = ledger.store.folder / adapter_folder(one.run)
                adapters[one.run] = bench.read(one.run, where)
        scored = bench.score(missing, [adapters[one.run] for one in missing], ledger.say, rows)
        fresh = scored.fresh
        for runs, took in scored.took:
            ledger.measured("score", runs, took)
    ledger.keep_answers(todo, fresh)
    ledger.finish(shard)
