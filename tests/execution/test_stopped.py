"""A study that was stopped, or failed in part, is analyzed as far as it is."""

import json
from contextlib import suppress

import numpy as np
import polars as pl
import pytest
from fake_engine import FakeEngine
from messages import raises

import transferscope as ts
from transferscope import store
from transferscope.analysis.json_file import to_json
from transferscope.execution import runner
from transferscope.execution.runner import run_study
from transferscope.study.file import read_study

STUDY = """
name: two
models: {s: base-s, t: base-t}
suite: glimpse
sources: [Counting, Jigsaw]
targets: [Counting, Jigsaw, Relative_Depth]
seeds: 2
recipe: {items: 6}
evaluation: {items: 12, strengths: [0.5, 1.0]}
controls: [shuffled]
budget: {fleet: 1}
"""


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """Carry out the study until a worker does something, and stop; or let a source fail then."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    for name in "st":
        (tmp_path / f"base-{name}").mkdir()
        (tmp_path / f"base-{name}" / "weights").write_text(name)

    def call(out, until="never", fails=""):
        monkeypatch.setattr(runner, "load_engine", (fake := FakeEngine()).load)

        def on_event(event):
            if event.doing.startswith(until):
                fake.fail = {fails}
                if not fails:
                    raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            run_study(read_study("study.yaml"), out, on_event=on_event)

    return call


@pytest.mark.parametrize(
    ("until", "runs", "known"),
    [
        ("t: scoring the base", 0, None),
        ("t: the base finished", 0, None),
        ("t: 2 adapters, seed 0 finished", 1, [[1, 0], [0, 0]]),  # with that at another strength
        ("t: preparing the items for shuffled, seed 0", 2, [[1, 1], [0, 0]]),
        ("t: preparing the items for Jigsaw, seed 1", 4, [[1, 1], [1, 0]]),
    ],
)
def test_a_study_stopped_in_its_second_model_is_analyzed(begun, run, until, runs, known):
    begun("out", until)
    begun("whole")
    found, whole = ts.read_results("out"), ts.read_results("whole")
    state = "left out, as no finetune of it is scored"
    if known:
        state = "unfinished, so some effects are unknown or have fewer seeds"
    how = "finished, and `transferscope run` with the same study and folder does the others"
    assert found.attrs["notes"][0] == f"t: {state}; {runs} of 6 runs are {how}"
    assert not any("6 runs" in note for note in whole.attrs["notes"])
    analysis, last = ts.analyze("out"), ts.analyze("whole")
    assert list(analysis.models) == (["s", "t"] if known else ["s"])
    of_s = [json.loads(to_json(one))["models"]["s"] for one in (analysis, last)]
    assert of_s[0] == of_s[1]
    if known:
        here = np.array(known, bool)[..., None]
        left = whole["accuracy"].sel(model="t").where(here)
        np.testing.assert_array_equal(found["accuracy"].sel(model="t"), left)
        # Averages over other sources are not compared.
        lacks = [
            claim.evidence for claim in analysis.claims if "every source in t" in claim.evidence
        ]
        assert bool(lacks) == (not here.any(axis=0).all())
        beside = {one.finetune for one in analysis.trajectories if one.model == "t"}
        assert beside == {name for k, name in enumerate(("Counting", "Jigsaw")) if here[:, k].any()}
    assert run("analyze", "out", "--out", "out", "--figures")[0] == 0
    assert to_json(ts.load("out")) == to_json(analysis)
    assert run("export", "out", "--out", "out.zip")[0] == 0
    assert ts.read_results("out.zip").attrs["notes"][0].startswith("t: ")
    begun("out")  # the same command goes on
    assert to_json(ts.analyze("out")) == to_json(last).replace(b'"whole"', b'"out"')


def test_a_source_that_failed_in_one_model_is_unknown_there_alone(begun, run, monkeypatch):
    begun("out", "t: scoring the base", fails="Jigsaw")
    found = ts.read_results("out")
    known = found["accuracy"].notnull().all(("seed", "target")).transpose("model", "source")
    assert known.values.tolist() == [[True, True], [True, False]]
    assert "t: of 12 cells, 6 are not measured" in found.attrs["notes"]
    monkeypatch.setattr(runner, "load_engine", (fake := FakeEngine()).load)
    fake.fail = {"Jigsaw"}  # again, with the analysis at the end of the command
    code, out, error = run("run", "study.yaml", "--out", "out")
    assert code == 1
    assert "4 of 6 runs are finished" in " ".join(out.split())
    assert "not analyzed" not in error


@pytest.mark.parametrize("until", ["s: scoring the base", "s: training"])
def test_a_study_without_a_scored_finetune_states_how_far_it_is(begun, until):
    begun("out", until)
    with raises(ts.DataError):
        ts.load("out")


def test_tasks_of_models_in_several_inputs_must_be_the_same_still(begun):
    begun("out", "t: preparing the items for Jigsaw, seed 0")
    rows = pl.read_parquet(store.prediction_files("out")).filter(model="s")
    rows = rows.select("seed", "source", "target", "item", "correct")
    rows.write_csv("u.csv")
    rows.filter(pl.col("source").is_null() | (pl.col("source") != "Jigsaw")).write_csv("v.csv")
    matrix = ts.read_results(["out", ("u", "u.csv")])
    unknown = matrix["accuracy"].isnull().all(("seed", "target"))
    assert unknown.transpose("model", "source").values.tolist() == [[0, 0], [0, 1], [0, 0]]
    with raises(ts.DataError):
        ts.read_results(["out", ("v", "v.csv")])
