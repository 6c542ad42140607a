"""`transferscope status`: how far a study is, read from its folder alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from messages import raises

from transferscope import store as results
from transferscope.errors import DataError
from transferscope.execution import runner
from transferscope.execution.run_state import Attempt
from transferscope.execution.runner import run_study
from transferscope.store import atomic, logged
from transferscope.store.progress import (
    judging_progress,
    measured_costs,
    progress_of,
    seconds_left,
)
from transferscope.study.file import parse_study
from transferscope.study.plan import Run, Shard

ROOT = Path(__file__).resolve().parents[2]
TEXT = """\
name: one
models: {s: BASE}
suite: glimpse
sources: [Counting, Relative_Reflectance]
targets: [Counting, Relative_Reflectance]
seeds: 2
recipe: {items: 6}
evaluation: {items: 4}
budget: {fleet: 1}
"""


@pytest.fixture
def text(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_text("s")
    return TEXT.replace("BASE", str(tmp_path / "base"))


@pytest.fixture
def carry_out(monkeypatch, text, tmp_path):
    """Carry out the study with a fake lab, whose `step` may be given."""

    def call(step=lambda: None, fail=()):
        fake = FakeEngine()
        fake.step, fake.fail = step, set(fail)
        monkeypatch.setattr(runner, "load_engine", fake.load)
        return run_study(parse_study(text, "t"), tmp_path / "out")

    return call


def test_a_running_study_says_what_it_does_while_its_folder_is_locked(carry_out, tmp_path):
    seen = []
    carry_out(lambda: seen.append(progress_of(tmp_path / "out")))
    assert {one.state for one in seen} == {"running"}
    assert [one.cells for one in seen] == sorted(one.cells for one in seen)
    assert seen[0].cells == 0
    assert [shard.doing for shard in seen[0].active] == ["s, base"]
    assert [shard.doing for shard in seen[-1].active] == ["s, Relative_Reflectance, seed 1"]
    assert seen[0].seconds_left is None
    assert seen[-1].seconds_left >= 0
    after = progress_of(tmp_path / "out")
    assert (after.state, after.cells, after.total_cells, after.active) == ("done", 10, 10, [])


def test_what_failed_is_named_until_it_is_tried_again(carry_out, tmp_path):
    carry_out(fail=["Counting"])
    found = progress_of(tmp_path / "out")
    assert (found.state, found.cells, found.total_cells) == ("failed in part", 6, 10)
    assert found.failed == [
        {"runs": [f"s, Counting, seed {seed}"], "error": "out of memory"} for seed in (0, 1)
    ]
    carry_out()
    found = progress_of(tmp_path / "out")
    assert (found.state, found.cells, found.failed) == ("done", 10, [])


def test_a_study_that_was_stopped_says_by_what(carry_out, run, tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(interrupted)
    found = progress_of(tmp_path / "out")
    assert (found.state, found.stopped_by, found.cells) == ("stopped", "KeyboardInterrupt", 0)
    _, text, _ = run("status", tmp_path / "out")
    assert "stopped by: Ctrl-C\nthe same command continues it" in text


def test_a_study_that_was_killed_is_not_running(text, tmp_path):
    (tmp_path / "study.yaml").write_text(text)
    script = [ROOT / "tests" / "fake_engine.py", tmp_path / "study.yaml", tmp_path / "out", "17"]
    done = subprocess.run([sys.executable, *script], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    found = progress_of(tmp_path / "out")
    assert (found.state, found.stopped_by, found.active) == ("stopped", "", [])
    assert 0 < found.cells < found.total_cells


def test_the_time_left_follows_from_the_pace_so_far(tmp_path):
    lines = [
        {"event": "begin", "time": "2026-01-01T00:00:00+00:00", "study": "x", "of": 9},
        {"event": "start", "time": "2026-01-01T00:00:00+00:00", "worker": "w1", "node": "n"},
        {
            **{"event": "progress", "time": "2026-01-01T00:01:00+00:00", "cells": 3, "of": 9},
            **{"work": 20, "total": 50, "doing": {"w1": "training"}},
        },
    ]
    (tmp_path / results.LOG).write_text("\n".join(map(json.dumps, lines)))
    with atomic.locked(tmp_path):
        found = progress_of(tmp_path)
    assert found.seconds_left == 90  # 60 s for 20 of 50
    assert [(one.worker, one.node, one.doing) for one in found.active] == [("w1", "n", "training")]
    assert progress_of(tmp_path).seconds_left is None  # nobody works on it any more


def test_too_little_says_nothing_of_the_time_left():
    """The first items are drawn and looked at: at their pace a demo of minutes would take hours."""
    assert seconds_left(60, 0, 0) is None
    assert seconds_left(60, 4.9, 100) is None
    assert seconds_left(60, 5, 100) == 60 * 19


def test_looking_does_not_keep_a_run_from_starting(tmp_path):
    with atomic.locked(tmp_path):
        assert atomic.is_locked(tmp_path)
    assert not atomic.is_locked(tmp_path)
    assert not atomic.is_locked(tmp_path / "nowhere")


def test_the_command_shows_it_to_people_and_scripts(carry_out, run, tmp_path):
    out = tmp_path / "out"
    carry_out(fail=["Counting"])
    code, text, _ = run("status", out)
    assert code == 0
    assert text.startswith("one: failed in part, 6 of 10 cells (60%)\n")
    assert "  s, Counting, seed 1  out of memory\n" in text
    found = json.loads(run("status", out, "--json")[1])
    assert (found["state"], found["cells"], len(found["failed"])) == ("failed in part", 6, 2)
    with atomic.locked(out):
        results.log(out, "begin", study="one", cells=0, of=10)
        results.log(out, "start", runs=["s, base", "x"], worker="w1", node="n[1]", cells=0, of=10)
        assert "\nnow:\n  w1 on n[1]  s, base and 1 more, since " in run("status", out)[1]


def test_a_folder_without_a_study_is_refused(run, tmp_path):
    with raises(DataError):
        progress_of(tmp_path)
    code, _, error = run("status", tmp_path / "nowhere")
    assert (code, error.count("\n")) == (2, 1)
    assert "no such folder" in error


def test_less_at_once_is_half_the_fleet_and_then_half_the_rows():
    runs = tuple(Run("s", "source", "Counting", seed) for seed in range(3))
    tried, sizes = [Attempt(Shard("s", runs))], []
    while tried:
        attempt = tried.pop(0)
        sizes.append((len(attempt.shard.runs), attempt.rows))
        tried += attempt.smaller(4)
    alone = [(1, None)] * 3
    assert sizes[:3] == [(3, None), (2, None), (1, None)]
    assert sorted(sizes, key=str) == sorted(
        [(3, None), (2, None), *alone, *[(1, 2)] * 3, *[(1, 1)] * 3], key=str
    )


def test_a_line_of_the_log_that_nests_too_deeply_is_passed_over(tmp_path):
    (tmp_path / "run.jsonl").write_text("[" * 100_000 + '\n{"event": "start"}\n')
    assert logged(tmp_path) == [{"event": "start"}]


def logs(folder: Path, *events: str, **more) -> Path:
    """A folder with a log of these events, each of the worker that its second word names."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for event in events:
        name, _, worker = event.partition(" ")
        lines.append({"event": name, "time": "soon", "worker": worker, "runs": [f"by {worker}"]})
        lines[-1] |= more.get(name, {})
    (folder / results.LOG).write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


@pytest.mark.parametrize("end", ["finished", "failed", "again", "lost"])
def test_a_worker_has_a_shard_until_it_ends_however_it_does(tmp_path, end):
    folder = logs(tmp_path, "begin", "start w1", "start w2", f"{end} w1", f"{end} w1", "progress",
                  progress={"doing": {"w1": "late", "w2": "scoring"}})  # fmt: skip
    with atomic.locked(folder):
        found = progress_of(folder)
    assert [(shard.worker, shard.doing) for shard in found.active] == [("w2", "scoring")]
    assert found.retries == 2 * (end in ("again", "lost"))
    assert progress_of(folder).active == []


def test_a_log_with_nonsense_in_it_says_what_it_can(tmp_path):
    progress = {"doing": 3, "of": 9, "work": 9, "total": 9}
    events = "begin", "start w1", "progress w1"
    folder = logs(tmp_path, *events, start={"runs": []}, progress=progress)
    with atomic.locked(folder):
        found = progress_of(folder)
    assert (found.state, found.total_cells, found.seconds_left) == ("running", 9, None)
    assert [shard.doing for shard in found.active] == [""]
    found = progress_of(logs(tmp_path, "begin"))
    assert (found.state, found.cells, found.total_cells) == ("stopped", 0, 0)


def test_what_judges_a_choice_stands_where_its_own_log_says(tmp_path):
    for name, events in {"m/B": ["begin", "end"], "m/A": ["begin"], "n/A": ["start w"]}.items():
        logs(tmp_path / results.JUDGING / name, *events)
    for remote, state in ((True, "unfinished"), (False, "stopped")):
        found = judging_progress(tmp_path, remote=remote)
        assert [(name, one.state) for name, one in found.items()] == [
            ("m, A", state),
            ("m, B", "done"),
        ]


def test_what_training_and_scoring_took_is_added_up_by_model(tmp_path):
    folder = logs(tmp_path, "begin", "train w", "score w", "train w", "score w", "finished w",
                  train={"model": "m", "items": 3, "seconds": 1.5},
                  score={"model": "n", "items": 4, "seconds": None, "tokens": "many"},
                  finished={"model": "m", "items": 9})  # fmt: skip
    assert measured_costs(folder) == {
        "m": {"train_items": 6, "train_seconds": 3.0},
        "n": {"score_items": 8},
    }
    assert measured_costs(logs(tmp_path, "train w", train={"items": 3})) == {}
