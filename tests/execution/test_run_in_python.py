"""`ts.run`: the same study, analysis and files as those of the command."""

from dataclasses import replace

import pytest
from fake_engine import FakeEngine
from messages import raises

import transferscope as ts
from transferscope.analysis.json_file import from_json, to_json
from transferscope.execution import runner

STUDY = """
name: one
models: {s: base}
suite: glimpse
sources: [Counting, Jigsaw]
targets: [Counting, Jigsaw]
seeds: 2
recipe: {items: 6}
evaluation: {items: 4}
budget: {fleet: 1}
ceilings: 0.97
"""


@pytest.fixture
def engine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_text("s")

    def fresh():
        fake = FakeEngine()
        monkeypatch.setattr(runner, "load_engine", fake.load)
        return fake

    return fresh


def test_python_runs_a_study_as_the_command_does(engine, run, tmp_path):
    engine()
    assert run("run", "study.yaml", "--out", "a")[0] == 0
    engine()
    found = ts.run("study.yaml", out="b")
    by_command = from_json((tmp_path / "a" / "analysis.json").read_bytes())
    assert to_json(replace(found, inputs=[])) == to_json(replace(by_command, inputs=[]))
    assert (tmp_path / "b" / "analysis.json").read_bytes() == to_json(found)
    for folder in ("a", "b"):
        assert {"report.html", "exhibits.json"} <= {f.name for f in (tmp_path / folder).iterdir()}


def test_a_loaded_study_has_the_ceilings_of_its_run_and_keeps_its_examples(engine, tmp_path):
    engine()
    found = ts.run("study.yaml")
    page = (tmp_path / "one" / "report.html").read_bytes()
    ts.load("one").save("one")
    assert (tmp_path / "one" / "report.html").read_bytes() == page
    (tmp_path / "one" / "analysis.json").unlink()
    again = ts.load("one")
    assert isinstance(again, ts.Analysis)
    assert again.settings.ceiling == 0.97
    assert to_json(again) == to_json(found)


def test_analyze_takes_the_ceilings_of_the_study_unless_told_otherwise(engine, run, tmp_path):
    engine()
    found = ts.run("study.yaml", out="a")
    assert to_json(ts.analyze("a")) == to_json(found)
    for options, ceiling in (((), 0.97), (("--ceiling", "1"), 1.0)):
        assert run("analyze", "a", *options, "--out", "b")[0] == 0
        again = from_json((tmp_path / "b" / "analysis.json").read_bytes())
        assert again.settings.ceiling == ceiling
        assert (to_json(again) == to_json(found)) == (ceiling == 0.97)
    assert run("analyze", "a", "--ceiling", "0")[0] == 2  # not the study's own in its place


def test_a_study_that_fails_in_part_warns_and_one_without_results_is_an_error(engine):
    engine().fail = {"Jigsaw"}
    with pytest.warns(UserWarning, match="missing: s, Jigsaw, seed 0: out of memory"):
        assert list(ts.run("study.yaml", out="b").models) == ["s"]
    engine().fail = {"Jigsaw", "Counting"}
    with raises(ts.DataError):
        ts.run("study.yaml", out="c")
