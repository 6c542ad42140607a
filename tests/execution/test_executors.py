"""An executor is one module and one entry: tried on a toy, which is this module."""

from fake_engine import FakeEngine

from transferscope.execution import EXECUTORS, local, open_executor
from transferscope.execution.runner import run_study
from transferscope.study.file import parse_study

STUDY = """\
name: toy
models: {s: BASE}
suite: glimpse
sources: [Counting]
targets: [Counting]
seeds: 1
recipe: {items: 4}
evaluation: {items: 4}
"""
asked = []


def carry_out(state, workers=None):
    """As the modules in `EXECUTORS` have it."""
    asked.append(workers)
    local.carry_out(state, FakeEngine().load)


def test_an_entry_makes_an_executor(monkeypatch, tmp_path):
    monkeypatch.setitem(EXECUTORS, "toy", __name__)
    (tmp_path / "weights").write_text("s")
    study = parse_study(STUDY.replace("BASE", str(tmp_path)), "study.yaml")
    executor = open_executor("toy", workers=3)
    outcome = run_study(study, tmp_path / "out", executor=executor)
    assert (outcome.cells, outcome.of, outcome.failed, asked) == (2, 2, (), [3])
