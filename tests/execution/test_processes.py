"""The local executor's processes: the files of one process, after kills and failures too."""

from functools import partial

import pytest
from ray_engine import RUNS, Faulty, a_study, by_this_process, tables

from transferscope.execution import local
from transferscope.execution.runner import run_study
from transferscope.store import DIGESTS, read_json
from transferscope.study.file import parse_study
from transferscope.study.items import StudyItems
from transferscope.study.plan import Plan, plan_study

REAL = """\
name: two
models: {glimpse-s: glimpse-s}
suite: glimpse
sources: [Counting, Spatial_Relation]
targets: [Counting, Spatial_Relation]
seeds: 1
recipe: {items: 40, epochs: 1}
evaluation: {items: 12}
"""


def in_two(study, folder, load):
    """What became of a study in two processes, and what was reported."""
    events = []
    executor = partial(local.carry_out, load=load, workers=2)
    outcome = run_study(study, folder / "out", executor=executor, on_event=events.append)
    return outcome, events


def engine(folder, **faults):
    (folder / "marks").mkdir()
    return Faulty(folder / "marks", **faults)


def test_two_processes_make_the_tables_of_one_and_are_replaced_when_killed(tmp_path):
    study, faulty = a_study(tmp_path), engine(tmp_path, kill={"Counting": 1}, kill_scoring=1)
    outcome, events = in_two(study, tmp_path, faulty.load)
    assert (outcome.cells, outcome.of, outcome.failed) == (14, 14, ())
    assert set(faulty.trained_runs) == set(RUNS)
    assert sum("the worker went away" in event.note for event in events) == 2
    assert {"p1", "p2"} <= {event.worker for event in events}
    assert tables(tmp_path / "out") == by_this_process(study, tmp_path)


def test_only_the_processes_draw_items(tmp_path, monkeypatch):
    study, faulty = a_study(tmp_path), engine(tmp_path)
    one_process = by_this_process(study, tmp_path)
    with monkeypatch.context() as patch:
        for owner, draws in ((StudyItems, "eval_items"), (Plan, "training_set")):
            patch.setattr(owner, draws, None)  # here, not in a process that is started
        in_two(study, tmp_path, faulty.load)
    assert tables(tmp_path / "out") == one_process
    kept = [read_json(tmp_path / name / DIGESTS) for name in ("out", "local")]
    assert kept[0] == kept[1] != {}


def test_a_finished_study_is_finished_at_once(tmp_path):
    study, faulty = a_study(tmp_path, **{"fleet: 3": "fleet: 1"}), engine(tmp_path)
    for _ in range(2):
        outcome, _ = in_two(study, tmp_path, faulty.load)
        assert (outcome.cells, outcome.of, outcome.failed) == (14, 14, ())
    assert faulty.trained_runs == RUNS


def test_what_fails_in_a_process_is_recorded_and_others_go_on(tmp_path):
    faulty = engine(tmp_path, fail=["Counting"])
    outcome, _ = in_two(a_study(tmp_path), tmp_path, faulty.load)
    (one, two) = outcome.failed
    assert {one.error, two.error} == {"the loss is not a number"}
    assert (outcome.cells, outcome.of) == (10, 14)
    assert "Traceback" in (tmp_path / "out" / "run.jsonl").read_text()


def test_a_base_that_cannot_be_loaded_ends_the_run(tmp_path):
    study = a_study(tmp_path)
    with pytest.raises(TypeError, match="no engine") as raised:
        in_two(study, tmp_path, no_engine)
    assert "serve" in raised.value.__notes__[0]


def no_engine():
    raise TypeError("no engine")


@pytest.mark.parametrize(
    ("changes", "threads", "found"),
    [
        ({}, "", 3),
        ({}, "2", 2),
        ({"items: 4000": "items: 40"}, "", 1),
        ({"{where: glimpse-s}": "{where: some/base}"}, "", 1),
        ({"recipe: {": "recipe: {precision: float32, "}, "", 3),
    ],
)
def test_there_is_a_process_per_core_where_it_pays(changes, threads, found, monkeypatch):
    text = REAL.replace("items: 40", "items: 4000").replace(": glimpse-s}", ": {where: glimpse-s}}")
    for old, new in changes.items():
        text = text.replace(old, new)
    plan = plan_study(parse_study(text, "study.yaml"))
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(local, "which", lambda _: None)
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda _: range(3), raising=False)
    monkeypatch.setattr(local.cost, "free_memory", lambda: 100 << 30)
    assert local.default_workers(plan) == found
    monkeypatch.setattr(local, "which", lambda _: "/usr/bin/nvidia-smi")
    assert local.default_workers(plan) == 1


@pytest.mark.slow
def test_a_real_base_gives_the_same_bytes_in_one_process_and_in_two(tmp_path):
    study, found = parse_study(REAL, "study.yaml"), []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        run_study(study, out, executor=partial(local.carry_out, workers=workers))
        adapters = {
            path.parent.parent.name: path.read_bytes() for path in out.rglob("*.safetensors")
        }
        found.append((adapters, tables(out)))
    assert len(found[0][0]) == 2
    assert found[0] == found[1]
