"""The ledger and the bench by themselves: what is tried after a failure, which base is at hand."""

import weakref
from types import SimpleNamespace

import pytest
from fake_lab import FakeLab

from transferscope.engine.bases import open_base
from transferscope.execution.run_state import LOSSES, Ledger
from transferscope.execution.shard import Bench
from transferscope.store.cells import Store
from transferscope.study.file import parse_study
from transferscope.study.plan import plan_study

TEXT = """\
name: one
models: {s: glimpse-s}
suite: glimpse
sources: [Counting]
targets: [Counting]
seeds: 3
recipe: {items: 6}
evaluation: {items: 4, batch_size: 5}
"""


class Known(SimpleNamespace):
    """Of which one can see that it is gone."""


@pytest.fixture
def ledger(tmp_path):
    study = parse_study(TEXT, "study.yaml")
    return Ledger(plan_study(study), Store(tmp_path), lambda event: None)


def test_a_models_attempts_are_its_own_runs_the_base_first(tmp_path):
    two = "models: {s: glimpse-s, m: glimpse-m}\ncontrols: [reordered]"
    study = parse_study(TEXT.replace("models: {s: glimpse-s}", two), "study.yaml")
    plan = plan_study(study)
    ledger = Ledger(plan, Store(tmp_path), lambda event: None)
    for model in ("s", "m"):
        shards = [attempt.shard for attempt in ledger.attempts(model)]
        assert {shard.model for shard in shards} == {model}
        own = [run for shard in shards for run in shard.runs]
        assert own[0].kind == "base"
        assert sorted(map(str, own)) == sorted(str(run) for run in plan.runs if run.model == model)


def test_what_runs_out_of_memory_is_halved_until_one_row_is_too_much(ledger):
    _, attempt = ledger.attempts("s")
    tried, todo = [], [attempt]
    while todo:
        one = todo.pop()
        tried.append((len(one.shard.runs), one.rows or 0))
        todo += ledger.retry(one, MemoryError("no room"))
        assert len(tried) < 99
    alone = [(1, 0), (1, 2), (1, 1)]  # of 5 rows; none at all is not tried
    assert sorted(tried) == sorted([(3, 0), (2, 0), *alone, *alone, *alone])
    assert sorted(name for failure in ledger.failed for name in failure.runs) == sorted(
        map(str, attempt.shard.runs)
    )


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (MemoryError(), 2),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), 2),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2),
        (RuntimeError("the loss is not a number"), 0),
    ],
)
def test_only_what_ran_out_of_memory_is_tried_again(ledger, error, tries):
    _, attempt = ledger.attempts("s")
    assert len(ledger.retry(attempt, error)) == tries
    assert len(ledger.failed) == (not tries)


def test_the_second_worker_that_goes_away_has_less_tried_and_the_last_ends_it(ledger):
    _, attempt = ledger.attempts("s")
    sizes = []
    for lost in range(1, LOSSES):
        attempt, *others = ledger.lost(attempt, RuntimeError("gone"), "w")
        sizes.append((len(attempt.shard.runs), attempt.rows, len(others)))
        assert attempt.lost == lost
    assert sizes == [(3, None, 0), (2, None, 1), (1, None, 1)]
    assert ledger.lost(attempt, RuntimeError("gone"), "w") == []
    (failure,) = ledger.failed
    assert failure.error == f"{LOSSES} workers went away over it, the last: gone"


def test_a_base_is_let_go_before_the_next_is_opened_and_opened_once(tmp_path):
    """Two of them may not fit in memory."""
    study = parse_study(TEXT.replace("{s: glimpse-s}", f"{{s: {tmp_path}, m: {tmp_path}}}"), "s")
    (tmp_path / "weights").write_text("s")
    fake, alive = FakeLab(), []

    def load_base(*where, **how):
        assert not any(one() for one in alive)
        base = Known(**vars(fake.load_base(*where, **how)))
        alive.append(weakref.ref(base))
        return base

    lab = fake.lab()._replace(load_base=load_base)
    bench = Bench(plan_study(study), lab, tmp_path)
    for model in ("s", "s", "m", "m"):
        bench.open(model)
        assert bench.base.name == model
    assert len(alive) == 2


def test_a_base_is_opened_as_its_study_says(tmp_path):
    where = f"{{s: {{where: {tmp_path}, quantization: nf4, trust_remote_code: true, gpus: 2}}}}"
    text = TEXT.replace("{s: glimpse-s}", where)
    text = text.replace("{items: 6}", "{items: 6, max_pixels: 9999, precision: bfloat16}")
    text += f"budget: {{memory: 2, disk: 3, cache: {tmp_path / 'room'}}}\n"
    told = {}
    lab = FakeLab().lab()._replace(load_base=lambda where, **how: told.update(how))
    open_base(parse_study(text, "study.yaml"), lab, "s", tmp_path)
    assert told == {
        "name": "s",
        "precision": "bfloat16",
        "quantization": "nf4",
        "gpus": 2,
        "trust_remote_code": True,
        "max_pixels": 9999,
        "budget": (2 << 30, tmp_path / "room", 3 << 30),
        "thinking": False,
    }
