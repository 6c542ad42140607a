"""Shards on Ray's workers: the same answers as in this process, whatever dies on the way."""

import logging
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import fake_lab
import pytest
from fake_lab import FakeLab, digest

from transferscope import results
from transferscope.executors import local
from transferscope.runner import run_study
from transferscope.standing import standing
from transferscope.study_file import parse_study

pytest.importorskip("ray", reason="needs the extra ray")
ROOT = Path(__file__).resolve().parent.parent
TEXT = """\
name: one
models: {s: BASE}
suite: glimpse
sources: [Counting, Relative_Reflectance, Spatial_Relation]
targets: [Counting, Spatial_Relation]
seeds: 2
recipe: {items: 6}
evaluation: {items: 4, batch_size: 4}
budget: {fleet: 3}
"""


class Faulty(FakeLab):
    """A lab whose adapters do not depend on their fleet, and in which things go wrong.

    Args:
        marks: a folder that remembers, beyond a process, what went wrong already.
        kill: {source: how often} training on it kills the process.
        room: most adapters and rows that do not run out of memory.
        fail: sources whose training fails.
    """

    def __init__(self, marks, kill=(), room=(99, 99), fail=(), scoring=()):
        super().__init__()
        self.marks, self.kill, self.room, self.fail = marks, dict(kill), room, set(fail)
        self.scoring = dict(scoring)

    def die(self, name, times):
        path = self.marks / name
        before = len(path.read_bytes()) if path.exists() else 0
        if before < times:
            path.write_bytes(b"x" * (before + 1))
            os.kill(os.getpid(), signal.SIGKILL)

    def train_fleet(self, base, jobs, recipe, *, rows, progress):
        sources = {job.source for job in jobs}
        for source in self.kill.keys() & sources:
            self.die(f"train {source}", self.kill[source])
        if self.fail & sources:
            raise RuntimeError("the loss is not a number\nand more")
        if len(jobs) > self.room[0] or (rows or 4) > self.room[1]:
            raise MemoryError("no more")
        with (self.marks / "trained").open("a") as file:
            file.writelines(f"{job.source} {job.seed}\n" for job in jobs)
        return [digest([item.id for item in job.items], job[3:6], recipe) for job in jobs]

    def score_fleet(self, base, adapters, items, **how):
        for _ in adapters:
            self.die("score", self.scoring.get("times", 0) if adapters[0] else 0)
        return super().score_fleet(base, adapters, items, **how)


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this machine."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.cloudpickle.register_pickle_by_value(fake_lab)
    import test_ray

    ray.cloudpickle.register_pickle_by_value(test_ray)
    room = {"num_cpus": 2, "object_store_memory": 100 << 20, "include_dashboard": False}
    ray.init("local", **room, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture
def study(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_text("s")
    return parse_study(TEXT.replace("BASE", str(tmp_path / "base")), "study.yaml")


@pytest.fixture
def expected(study, tmp_path):
    """The tables of this process, by name."""
    (tmp_path / "marks").mkdir()
    lab = Faulty(tmp_path / "marks").lab()
    run_study(
        study,
        tmp_path / "local",
        tell=lambda event: None,
        executor=partial(local.carry_out, lab=lab),
    )
    (tmp_path / "marks" / "trained").unlink()
    return tables(tmp_path / "local")


def tables(folder: Path) -> dict[str, bytes]:
    return {str(path): (folder / path).read_bytes() for path in results.tables(folder)}


@pytest.fixture
def carry_out(cluster, study, expected, tmp_path):
    """Carry out the study on Ray; returns the outcome, the log and the events."""
    from transferscope.executors import ray as on_ray

    def call(workers=2, **faults):
        lab, events = Faulty(tmp_path / "marks", **faults), []
        executor = partial(on_ray.carry_out, workers=workers, load=lab.lab)
        outcome = run_study(study, tmp_path / "out", tell=events.append, executor=executor)
        return outcome, results.logged(tmp_path / "out"), events

    return call


def trained(tmp_path):
    return sorted((tmp_path / "marks" / "trained").read_text().splitlines())


EVERY = sorted(
    f"{source} {seed}"
    for source in ("Counting", "Relative_Reflectance", "Spatial_Relation")
    for seed in (0, 1)
)


def test_two_workers_answer_as_this_process_does(carry_out, expected, tmp_path):
    outcome, log, events = carry_out()
    assert (outcome.cells, outcome.of, outcome.failed) == (14, 14, ())
    assert tables(tmp_path / "out") == expected
    assert trained(tmp_path) == EVERY
    assert {line["worker"] for line in log if line["event"] == "start"} == {"w1", "w2"}
    assert {line["worker"] for line in log if line["event"] == "train"} == {"w1", "w2"}
    assert events[-1].work == events[-1].total
    assert standing(tmp_path / "out").state == "done"


def test_a_shard_whose_worker_is_killed_begins_again_on_another(carry_out, expected, tmp_path):
    outcome, log, events = carry_out(kill={"Counting": 1})
    assert outcome.failed == ()
    assert tables(tmp_path / "out") == expected
    (lost,) = [line for line in log if line["event"] == "lost"]
    (done,) = [line for line in log if line["event"] == "finished" and line["runs"] == lost["runs"]]
    assert done["worker"] != lost["worker"]
    assert any("its worker went away; once more" in event.note for event in events)
    assert standing(tmp_path / "out").again == 1


WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from transferscope.cli import main
sys.argv = ["transferscope", "run", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("code", "how", "said"),
    [
        (WITHOUT_RAY, ["--executor", "ray"], "install the extra: pip install 'transferscope[ray]'"),
        (WITHOUT_RAY, ["--workers", "2"], "--workers is for --executor ray"),
    ],
)
def test_a_worker_that_cannot_be_had_is_one_line(code, how, said, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "study.yaml").write_text(TEXT.replace("BASE", str(tmp_path / "base")))
    command = [sys.executable, "-c", code, tmp_path / "study.yaml", "--out", tmp_path / "out", *how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
