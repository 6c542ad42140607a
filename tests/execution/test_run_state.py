"""The state and the bench by themselves: what is tried after a failure, which base is at hand."""

import weakref
from types import SimpleNamespace

import pytest
from fake_engine import FakeEngine

from transferscope.engine.bases import load_study_base
from transferscope.engine.records import CacheLimits
from transferscope.execution.run_state import MAX_LOSSES, RunState
from transferscope.execution.shard_worker import ShardWorker
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
def state(tmp_path):
    study = parse_study(TEXT, "study.yaml")
    return RunState(plan_study(study), Store(tmp_path, ["s", "m"]), lambda event: None)


def test_a_models_attempts_are_its_own_runs_the_base_first(tmp_path):
    two = "models: {s: glimpse-s, m: glimpse-m}\ncontrols: [reordered]"
    study = parse_study(TEXT.replace("models: {s: glimpse-s}", two), "study.yaml")
    plan = plan_study(study)
    state = RunState(plan, Store(tmp_path, ["s", "m"]), lambda event: None)
    for model in ("s", "m"):
        shards = [attempt.shard for attempt in state.attempts(model)]
        assert {shard.model for shard in shards} == {model}
        own = [run for shard in shards for run in shard.runs]
        assert own[0].kind == "base"
        assert sorted(map(str, own)) == sorted(str(run) for run in plan.runs if run.model == model)


def test_what_runs_out_of_memory_is_halved_until_one_row_is_too_much(state):
    _, attempt = state.attempts("s")
    tried, todo = [], [attempt]
    while todo:
        one = todo.pop()
        tried.append((len(one.shard.runs), one.rows or 0))
        todo += state.retry(one, MemoryError("no room"))
        assert len(tried) < 99
    alone = [(1, 0), (1, 2), (1, 1)]  # of 5 rows; none at all is not tried
    assert sorted(tried) == sorted([(3, 0), (2, 0), *alone, *alone, *alone])
    assert sorted(name for failure in state.failed for name in failure.runs) == sorted(
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
def test_only_what_ran_out_of_memory_is_tried_again(state, error, tries):
    _, attempt = state.attempts("s")
    assert len(state.retry(attempt, error)) == tries
    assert len(state.failed) == (not tries)


def test_the_second_worker_that_goes_away_has_less_tried_and_the_last_ends_it(state):
    _, attempt = state.attempts("s")
    sizes = []
    for lost in range(1, MAX_LOSSES):
        attempt, *others = state.retry(attempt, RuntimeError("gone"), "w", worker_lost=True)
        sizes.append((len(attempt.shard.runs), attempt.rows, len(others)))
        assert attempt.lost == lost
    assert sizes == [(3, None, 0), (2, None, 1), (1, None, 1)]
    assert state.retry(attempt, RuntimeError("gone"), "w", worker_lost=True) == []
    (failure,) = state.failed
    assert failure.error == f"{MAX_LOSSES} workers went away over it, the last: gone"


def test_a_base_is_let_go_before_the_next_is_opened_and_opened_once(tmp_path, monkeypatch):
    """Two of them may not fit in memory."""
    study = parse_study(TEXT.replace("{s: glimpse-s}", f"{{s: {tmp_path}, m: {tmp_path}}}"), "s")
    (tmp_path / "weights").write_text("s")
    fake, alive = FakeEngine(), []

    plain = FakeEngine.load_base

    def load_base(*where, **how):
        assert not any(one() for one in alive)
        base = Known(**vars(plain(*where, **how)))
        alive.append(weakref.ref(base))
        return base

    monkeypatch.setattr(FakeEngine, "load_base", load_base)
    worker = ShardWorker(plan_study(study), fake.load, tmp_path, lambda doing, part: None)
    for model in ("s", "s", "m", "m"):
        worker.open(model)
        assert worker.base.name == model
    assert len(alive) == 2


def test_a_base_is_opened_as_its_study_says(tmp_path, monkeypatch):
    where = f"{{s: {{where: {tmp_path}, quantization: nf4, trust_remote_code: true, gpus: 2}}}}"
    text = TEXT.replace("{s: glimpse-s}", where)
    text = text.replace("{items: 6}", "{items: 6, max_pixels: 9999, precision: bfloat16}")
    text += f"budget: {{memory: 2, disk: 3, cache: {tmp_path / 'room'}}}\n"
    told = {}
    engine = FakeEngine()
    monkeypatch.setattr(engine, "load_base", lambda where, **how: told.update(how))
    load_study_base(parse_study(text, "study.yaml"), engine, "s", tmp_path)
    assert told == {
        "name": "s",
        "precision": "bfloat16",
        "quantization": "nf4",
        "gpus": 2,
        "trust_remote_code": True,
        "max_pixels": 9999,
        "cache_limits": CacheLimits(2 << 30, tmp_path / "room", 3 << 30),
        "thinking": False,
    }
