"""Shards on Ray's workers: the same answers as in this process, whatever dies on the way."""

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from messages import raises

ray = pytest.importorskip("ray", reason="needs the extra ray")

from ray_engine import (  # noqa: E402
    QUIET,
    RUNS,
    SMALL,
    TEXT,
    Faulty,
    a_study,
    by_this_process,
    copied_into_workers,
    tables,
)
from threads import by_intel  # noqa: E402

from transferscope import store as results  # noqa: E402
from transferscope.cli import studies  # noqa: E402
from transferscope.errors import DataError, StudyError  # noqa: E402
from transferscope.execution import ray as on_ray  # noqa: E402
from transferscope.execution import ray_cluster  # noqa: E402
from transferscope.execution.run_state import MAX_LOSSES  # noqa: E402
from transferscope.execution.runner import run_study  # noqa: E402
from transferscope.store.progress import progress_of  # noqa: E402
from transferscope.study.file import parse_study  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this machine."""
    copied_into_workers()
    ray.init("local", num_cpus=2, **SMALL, **QUIET)
    yield
    ray.shutdown()


@pytest.fixture
def study(tmp_path):
    (tmp_path / "marks").mkdir()
    return a_study(tmp_path)


@pytest.fixture
def lab(tmp_path):
    return partial(Faulty, tmp_path / "marks")


@pytest.fixture
def carry_out(cluster, study, tmp_path):
    """Carry out the study on Ray; returns the outcome, the log and the events.

    Each worker is a process that imports much, so there is one unless two are what is tested.
    """

    def call(lab, on_event=lambda event: None, study=study, workers=1):
        events = []
        run_study_on_ray = partial(on_ray.carry_out, workers=workers, load=lab.load)
        outcome = run_study(
            study,
            tmp_path / "out",
            on_event=lambda event: (events.append(event), on_event(event)),
            executor=run_study_on_ray,
        )
        return outcome, results.logged(tmp_path / "out"), events

    return call


def of(log, event):
    return [line for line in log if line["event"] == event]


def test_a_diverged_adapter_fails_alone_on_a_worker_too(carry_out, lab):
    outcome, log, _ = carry_out(lab(diverge=["Counting"]))
    assert sorted(map(str, outcome.failed)) == [
        f"s, Counting, seed {seed}: diverged: made up" for seed in (0, 1)
    ]
    assert (outcome.cells, outcome.of, outcome.adapters) == (10, 14, 4)
    assert len(of(log, "curve")) == 6
    outcome, _, _ = carry_out(lab())
    assert (outcome.cells, outcome.failed) == (14, ())
    assert lab().trained_runs == sorted([*RUNS, "Counting 0", "Counting 1"])


def test_two_workers_answer_as_this_process_does(carry_out, study, lab, tmp_path):
    seen = []
    outcome, log, events = carry_out(
        lab(pause=1.2),
        lambda event: seen.append(progress_of(tmp_path / "out")),
        a_study(tmp_path, **{"fleet: 3": "fleet: 1"}),
        workers=2,
    )
    assert (outcome.cells, outcome.of, outcome.failed) == (14, 14, ())
    assert tables(tmp_path / "out") == by_this_process(study, tmp_path)
    assert lab().trained_runs == RUNS
    for event in ("start", "train", "score", "finished"):
        assert {line["worker"] for line in of(log, event)} == {"w1", "w2"}
    assert events[-1].work == events[-1].total
    # Half of an adapter's training is 27; all that is ever finished is even.
    assert any(event.work % 2 == 1 for event in events)
    busy = max(seen, key=lambda one: len(one.active))
    assert {shard.worker for shard in busy.active} == {"w1", "w2"}
    assert all(shard.node for shard in busy.active)
    assert progress_of(tmp_path / "out").state == "done"


def test_the_largest_base_is_taken_first(carry_out, lab, tmp_path, monkeypatch):
    asked = {
        "small": ray_cluster.WorkerResources(0, 1 << 20),
        "large": ray_cluster.WorkerResources(0, 1 << 21),
    }
    monkeypatch.setattr(ray_cluster, "resources_of", lambda study: asked)
    two = a_study(tmp_path, **{"{s: ": f"{{small: {tmp_path / 'base'}, large: "})
    _, log, _ = carry_out(lab(), study=two, workers=2)
    begun = [line["model"] for line in of(log, "start")]
    assert begun == sorted(begun)
    assert set(begun) == {"small", "large"}


def test_a_shard_whose_worker_is_killed_begins_again_on_another(carry_out, study, lab, tmp_path):
    outcome, log, events = carry_out(lab(kill={"Counting": 1}), workers=2)
    assert outcome.failed == ()
    assert tables(tmp_path / "out") == by_this_process(study, tmp_path)
    (lost,) = of(log, "lost")
    (done,) = [line for line in of(log, "finished") if line["runs"] == lost["runs"]]
    assert done["worker"] != lost["worker"]
    assert any(event.note.endswith("the worker went away; once more") for event in events)
    assert progress_of(tmp_path / "out").retries == 1


def test_what_was_trained_before_a_worker_is_killed_stays_trained(carry_out, study, lab, tmp_path):
    outcome, log, _ = carry_out(lab(kill_scoring=1))
    assert (outcome.failed, len(of(log, "lost"))) == ((), 1)
    assert lab().trained_runs == RUNS
    assert tables(tmp_path / "out") == by_this_process(study, tmp_path)


def test_out_of_memory_is_tried_with_fewer_adapters_and_then_fewer_rows(
    carry_out, study, lab, tmp_path
):
    outcome, log, _ = carry_out(lab(room=(1, 2)))
    assert outcome.failed == ()
    tried = [(len(line["runs"]), line["how"]) for line in of(log, "again")]
    assert set(tried) == {
        (3, "once more, 2 at a time"),
        (2, "once more, 1 at a time"),
        (1, "once more, 2 rows at a time"),
    }
    assert lab().trained_runs == RUNS
    assert tables(tmp_path / "out") == by_this_process(study, tmp_path)


def test_what_fails_for_good_is_told_and_the_rest_goes_on(
    cluster, lab, tmp_path, monkeypatch, capsys
):
    (tmp_path / "marks").mkdir()
    study = a_study(tmp_path, **{"fleet: 3": "fleet: 1", "seeds: 2": "seeds: 1"})
    faulty = lab(fail={"Counting"}, kill={"Spatial_Relation": MAX_LOSSES})
    monkeypatch.setattr(sys, "argv", ["transferscope", "run", "study.yaml", "--executor", "ray"])
    executor = partial(on_ray.carry_out, workers=2, load=faulty.load)
    with pytest.raises(SystemExit) as stopped:
        studies.carry_out(
            study, str(tmp_path / "out"), studies.Show(False, False, as_json=True), executor
        )
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert "cells are missing; what failed:\n" in told
    assert "  s, Counting, seed 0          the loss is not a number\n" in told
    assert f"{MAX_LOSSES} workers went away over it, the last: The actor died unexpectedly" in told
    assert told.endswith("nothing else: transferscope run study.yaml --executor ray\n")
    log = results.logged(tmp_path / "out")
    (trace,) = [line["traceback"] for line in of(log, "failed") if "number" in line["error"]]
    assert "train_fleet" in trace  # the worker's, not only this process's
    found, whole = tables(tmp_path / "out"), by_this_process(study, tmp_path)
    assert all(whole[name] == data for name, data in found.items())
    assert len(found) == len(whole) - 2 * len(study.targets)  # a file for each target


def test_an_adapter_of_another_base_stops_the_study_before_any_work(
    carry_out, study, lab, tmp_path
):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_text("wrong")
    text = f"adapters: {{Counting: {{1: {folder}}}}}\nname: one"
    with raises(DataError):
        carry_out(lab(), study=a_study(tmp_path, **{"name: one": text}))
    assert lab().trained_runs == []
    assert progress_of(tmp_path / "out").stopped_by.endswith("of another base")


def test_a_whole_model_that_is_damaged_fails_its_shard_and_the_others_go_on(
    carry_out, lab, tmp_path
):
    folder = tmp_path / "merged"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("damaged")
    text = f"adapters: {{Counting: {{1: {folder}}}}}\nname: one"
    outcome, log, _ = carry_out(lab(), study=a_study(tmp_path, **{"name: one": text}))
    assert [str(its) for its in outcome.failed] == [
        f"s, Counting, seed 1: {folder}: cannot be loaded as a vision-language model: incomplete"
    ]
    assert (outcome.cells, outcome.of) == (12, 14)
    assert lab().trained_runs == [run for run in RUNS if run != "Counting 1"]
    (trace,) = [line["traceback"] for line in of(log, "failed")]
    assert "load_checkpoint" in trace  # the worker's


def test_a_worker_that_ray_ended_to_save_memory_is_tried_again_with_less(
    carry_out, study, lab, tmp_path, monkeypatch
):
    """Its worker dies, of which Ray then says that memory had run out."""

    def get(ref, *, get=ray.get, **how):
        try:
            return get(ref, **how)
        except ray.exceptions.ActorDiedError as error:
            raise ray.exceptions.OutOfMemoryError("Task was killed due to low memory") from error

    monkeypatch.setattr(ray, "get", get)
    outcome, log, events = carry_out(lab(kill={"Counting": 1}))
    assert (outcome.failed, of(log, "lost")) == ((), [])
    (again,) = of(log, "again")
    assert (len(again["runs"]), again["how"]) == (3, "once more, 2 at a time")
    assert any("out of memory; once more" in event.note for event in events)
    assert lab().trained_runs == RUNS
    assert tables(tmp_path / "out") == by_this_process(study, tmp_path)


def test_a_worker_asks_for_its_models_share_and_weights(cluster, tmp_path, monkeypatch):
    text = {"{s: ": "{m: {where: glimpse-m, gpus: 0.5}, s: "}
    asked = ray_cluster.resources_of(a_study(tmp_path, **text))
    assert list(asked) == ["m", "s"]
    assert asked["m"].gpus == 0  # there are none
    # glimpse-m's weights are float16 on disk and float32 in a worker; s has no configuration.
    embedded = ROOT / "transferscope" / "engine" / "glimpse" / "weights" / "glimpse-m"
    stored = (embedded / "model.safetensors").stat().st_size
    assert asked["m"].memory - asked["s"].memory == pytest.approx(2 * stored, rel=0.05)
    monkeypatch.setattr(ray_cluster, "total", lambda what: {"GPU": 4.0, "memory": 1 << 20}[what])
    asked = ray_cluster.resources_of(a_study(tmp_path, **text))
    assert (asked["m"].gpus, asked["s"].gpus, ray_cluster.default_workers(asked)) == (0.5, 1, 4)
    with raises(StudyError):
        ray_cluster.refuse_too_large(asked)


REAL = """\
name: real
models: {s: glimpse-s, m: glimpse-m}
suite: glimpse
sources: [Counting, Spatial_Relation]
targets: [Counting, Spatial_Relation]
seeds: 2
recipe: {items: 8, epochs: 2, batch_size: 4, learning_rate: 1e-2, rank: 4, precision: float32}
evaluation: {items: 6}
controls: [format-only, reordered]
budget: {fleet: 2}
"""


@pytest.mark.slow
def test_the_real_lab_gives_the_same_on_two_workers_to_the_last_byte(cluster, tmp_path):
    study, executor = parse_study(REAL, "study.yaml"), partial(on_ray.carry_out, workers=2)
    run_study(study, tmp_path / "out", executor=executor)
    (tmp_path / "study.yaml").write_text(REAL)
    command = [sys.executable, "-m", "transferscope", "run", "study.yaml", "--out", "local"]
    threads = "3" if by_intel() else "1"  # each of two workers on two CPUs has one
    env = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
    env.pop("MKL_CBWR", None)
    subprocess.run(command, cwd=tmp_path, env=env, check=True)
    assert tables(tmp_path / "out") == tables(tmp_path / "local")


def test_an_address_where_nobody_listens_is_refused_at_once(study, lab, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    executor = partial(on_ray.carry_out, load=lab().load)
    with pytest.raises(StudyError, match=rf"--executor ray: RAY_ADDRESS 127.0.0.1:{port}: "):
        run_study(study, tmp_path / "out", executor=executor)


WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from transferscope.cli import main
sys.argv = ["transferscope", "run", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (["--executor", "ray"], "install the extra: pip install 'transferscope[ray]'"),
    ],
)
def test_workers_that_cannot_be_had_are_one_line(how, said, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "study.yaml").write_text(TEXT.replace("BASE", str(tmp_path / "base")))
    script = [sys.executable, "-c", WITHOUT_RAY, tmp_path / "study.yaml"]
    command = [*script, "--out", tmp_path / "out", *how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
