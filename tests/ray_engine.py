"""An engine in which things go wrong, and what the tests of Ray's workers share.

Run as a script it carries out a study on a Ray of its own, slowly, so that it can be killed.
"""

import logging
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import fake_engine
from fake_engine import FakeEngine, digest

from transferscope import store as results
from transferscope.execution import local
from transferscope.execution.runner import run_study
from transferscope.study import Study
from transferscope.study.file import parse_study

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
RUNS = [
    f"{source} {seed}"
    for source in ("Counting", "Relative_Reflectance", "Spatial_Relation")
    for seed in (0, 1)
]
"""What is trained in it."""


class Faulty(FakeEngine):
    """An engine whose adapters do not depend on their fleet. It is copied into every worker.

    Args:
        marks: a folder that remembers, beyond a process, what was trained and who was killed.
        kill: {source: workers that are killed when training on it begins}
        kill_scoring: workers that are killed in scoring.
        room: most adapters, and most rows of each, that fit in memory.
        fail: sources whose training fails.
        diverge: sources whose adapters come out as no numbers.
        pause: seconds that training takes.
    """

    def __init__(
        self, marks, kill=(), kill_scoring=0, room=(99, 99), fail=(), diverge=(), pause=0.0
    ):
        super().__init__()
        self.marks, self.kill, self.kill_scoring = marks, dict(kill), kill_scoring
        self.room, self.fail, self.pause = room, set(fail), pause
        self.diverge = set(diverge)

    def die(self, what, times):
        """Kill this process as hard as can be, if so many have not been killed yet."""
        path = self.marks / what
        before = path.stat().st_size if path.exists() else 0
        if before < times:
            path.write_bytes(b"x" * (before + 1))
            os.kill(os.getpid(), signal.SIGKILL)

    def train_fleet(self, base, jobs, recipe, *, rows, progress, snapshots):
        sources = {job.source for job in jobs}
        progress(1, 2)
        time.sleep(self.pause)
        if self.fail & sources:
            raise RuntimeError("the loss is not a number\nand more")
        if len(jobs) > self.room[0] or (rows or 4) > self.room[1]:
            raise MemoryError("out of it")
        for index, job in enumerate(jobs):
            if job.source in self.kill:
                self.die(job.source, self.kill[job.source])
            with (self.marks / "trained").open("a") as file:
                file.write(f"{job.source} {job.seed}\n")
            yield {index: self.made(digest([item.id for item in job.items], job[3:6], recipe), job)}

    def score_fleet(self, base, adapters, items, **how):
        if adapters[0]:
            self.die("scoring", self.kill_scoring)
        return super().score_fleet(base, adapters, items, **how)

    @property
    def trained_runs(self):
        """`SOURCE SEED` of every adapter so far, by any process."""
        path = self.marks / "trained"
        return sorted(path.read_text().splitlines()) if path.exists() else []


def a_study(folder: Path, **changed: str) -> Study:
    """The study, its base in a folder of its own."""
    (folder / "base").mkdir(exist_ok=True)
    (folder / "base" / "weights").write_text("s")
    text = TEXT.replace("BASE", str(folder / "base"))
    for old, new in changed.items():
        text = text.replace(old, new)
    return parse_study(text, "study.yaml")


def tables(folder: Path) -> dict[str, bytes]:
    """All tables of a results folder, to the byte."""
    files = [*results.prediction_files(folder), *results.control_files(folder)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def by_this_process(study: Study, folder: Path) -> dict[str, bytes]:
    """The tables of the local executor."""
    (folder / "other").mkdir()
    executor = partial(local.carry_out, load=Faulty(folder / "other").load)
    run_study(study, folder / "local", executor=executor)
    return tables(folder / "local")


def copied_into_workers() -> None:
    """Have these modules, which no worker can import, sent to the workers."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(fake_engine)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}
SMALL = {"object_store_memory": 100 << 20, "include_dashboard": False}


def main(folder: Path) -> None:
    from transferscope.execution import ray as on_ray
    from transferscope.execution import ray_cluster

    copied_into_workers()
    ray_cluster.OBJECT_STORE = SMALL["object_store_memory"]
    engine = Faulty(folder / "marks", pause=0.5)
    executor = partial(on_ray.carry_out, workers=2, load=engine.load)
    study = a_study(folder, **{"fleet: 3": "fleet: 1"})
    run_study(study, folder / "out", executor=executor)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
