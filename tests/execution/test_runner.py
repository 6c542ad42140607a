"""Carrying out a study: what is finished stays, what changed is redone, nothing else is."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from fake_engine import FakeEngine
from messages import raises
from threads import by_intel

from transferscope import cli
from transferscope import store as results
from transferscope.analysis.analyze import analyze
from transferscope.analysis.json_file import to_json
from transferscope.analysis.settings import Settings
from transferscope.errors import DataError, StudyError
from transferscope.execution import runner
from transferscope.execution.runner import run_study
from transferscope.execution.shard_worker import Stopwatch
from transferscope.readers import read_results
from transferscope.store import atomic
from transferscope.study.file import parse_study, read_study
from transferscope.study.plan import Plan, Run, plan_study

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ["Counting", "Relative_Reflectance", "Spatial_Relation"]
TEXT = """\
name: one
models: {s: BASE}
suite: glimpse
sources: [Counting, Relative_Reflectance, Spatial_Relation]
targets: [Counting, Relative_Reflectance, Spatial_Relation]
seeds: 2
recipe: {items: 6}
evaluation: {items: 4}
controls: [shuffled]
budget: {fleet: 3}
"""


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "weights").write_text("s")
    return folder


@pytest.fixture
def text(base):
    return TEXT.replace("BASE", str(base))


@pytest.fixture
def lab(monkeypatch):
    """A fresh fake lab for every call of `carry_out`."""
    return lambda: monkeypatch.setattr(runner, "load_engine", (fake := FakeEngine()).load) or fake


@pytest.fixture
def carry_out(lab, tmp_path):
    """Carry out a study; returns the lab and the events."""

    def call(text, *, out=tmp_path / "out", fail=()):
        fake, events = lab(), []
        fake.fail = set(fail)
        outcome = run_study(parse_study(text, "study.yaml"), out, on_event=events.append)
        return fake, events, outcome

    return call


def tables(folder: Path) -> list[Path]:
    """The tables of a folder's runs, placebos too."""
    return [*results.prediction_files(folder), *results.control_files(folder)]


def rows(folder: Path) -> pl.DataFrame:
    """All answers of a folder, placebos too."""
    whole = pl.concat(map(pl.read_parquet, tables(folder)))
    return whole.sort("model", "seed", "source", "target", "item")


def test_a_study_becomes_predictions_that_analyze_reads(carry_out, text, tmp_path):
    fake, events, outcome = carry_out(text)
    assert sorted(fake.trained) == sorted(
        (source, seed) for source in [*SOURCES, "shuffled"] for seed in (0, 1)
    )
    assert (outcome.cells, outcome.of, outcome.failed) == (27, 27, ())
    assert (events[-1].cells, events[-1].work) == (27, events[-1].total)
    matrix = read_results(tmp_path / "out")
    sizes = {"model": 1, "seed": 2, "source": 3, "target": 3, "item": 12}
    assert dict(matrix.sizes) == sizes | {"control": 1, "option": 4}
    assert matrix["target"].values.tolist() == SOURCES
    assert bool(matrix["accuracy"].notnull().all())


def test_placebos_are_kept_apart_from_the_sources(carry_out, text, tmp_path):
    fake, _, _ = carry_out(text)
    placebos = [job for job in fake.jobs if job.source == "shuffled"]
    assert len(placebos) == 2
    assert all(len(job.answers) == len(job.items) == 6 for job in placebos)
    assert all(job.answers is None for job in fake.jobs if job.source != "shuffled")
    controls = results.control_files(tmp_path / "out")
    assert [pl.read_parquet(path)["source"][0] for path in controls] == ["shuffled"] * 6
    assert "shuffled" not in read_results(tmp_path / "out")["source"].values


def test_the_base_is_asked_again_in_another_order(carry_out, text, tmp_path):
    fake, _, outcome = carry_out(text.replace("[shuffled]", "[reordered]"))
    assert {source for source, _ in fake.trained} == set(SOURCES)
    assert (outcome.cells, outcome.of, outcome.adapters) == (27, 27, 6)
    whole = rows(tmp_path / "out")
    first = whole.filter(pl.col("source").is_null())
    again = whole.filter(source="reordered", seed="0")
    assert (again["seed"][0], again["source"][0]) == ("0", "reordered")
    assert again["item"].equals(first["item"])
    assert again["answer"].equals(first["answer"])
    # The fake base goes by the item's id and says the same letter: never the same option. Choices
    # of Relative_Reflectance always have the same letters, and keep them.
    same = first["choice"] == again["choice"]
    assert same.to_list() == (first["target"] == "Relative_Reflectance").to_list()


def test_in_a_circle_every_item_is_asked_once_for_each_choice(carry_out, text, tmp_path):
    circle = text.replace("items: 4}", "items: 4, choice_order: circular}")
    fake, _, _ = carry_out(circle)
    asked = {
        task: sum(task == its for one, its in fake.scored if one == "base") for task in SOURCES
    }
    assert asked == {"Counting": 16, "Relative_Reflectance": 4, "Spatial_Relation": 8}
    # A letter that does not depend on the order stands for every option once.
    counted = rows(tmp_path / "out").filter(pl.col("target") == "Counting")["logprobs"]
    assert float((counted.list.max() - counted.list.min()).max()) < 1e-9


def test_seeds_for_different_purposes_differ(carry_out, text):
    fake, _, _ = carry_out(text)
    seeds = [seed for job in fake.jobs for seed in job[3:6]]
    assert len(set(seeds)) == len(seeds)


def test_two_runs_of_one_study_are_equal(carry_out, text, tmp_path):
    carry_out(text)
    carry_out(text, out=tmp_path / "again")
    assert rows(tmp_path / "out").equals(rows(tmp_path / "again"))


def test_a_finished_study_is_not_touched(carry_out, text, tmp_path):
    carry_out(text)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    fake, events, outcome = carry_out(text)
    assert (fake.trained, fake.scored, outcome.cells, events[-1].total) == ([], [], 27, 0)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.parquet")}


@pytest.mark.parametrize("states", [False, True])
def test_a_study_killed_again_and_again_ends_as_one_that_never_was(
    carry_out, text, tmp_path, states
):
    if states:
        text = text.replace("evaluation: {items: 4}", STATES).replace("6}", "6, steps: 5}")
    carry_out(text)
    study, out, kills = tmp_path / "study.yaml", tmp_path / "killed", 0
    study.write_text(text)
    while True:
        steps = "61" if states else "17"  # more than the end of a shard takes
        command = [sys.executable, ROOT / "tests" / "fake_engine.py", study, out, steps]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        kills += 1
        assert kills < 20
    assert kills >= 3
    assert rows(out).equals(rows(tmp_path / "out"))
    assert not list(out.rglob(".writing-*"))
    for line in (out / results.LOG).read_text().splitlines():
        json.loads(line)


def test_a_stopped_fleet_keeps_what_it_trained(carry_out, lab, text, tmp_path):
    """Adapters are trained in pairs here: the second pair of a fleet of eight is stopped."""
    text, fake = text.replace("fleet: 3", "fleet: 8"), lab()

    def step():
        if len(fake.trained) == 3:
            raise KeyboardInterrupt

    fake.step = step
    with pytest.raises(KeyboardInterrupt):
        run_study(parse_study(text, "study.yaml"), tmp_path / "out")
    again, events, _ = carry_out(text)
    assert again.trained[0] == fake.trained[2]
    assert sorted([*fake.trained[:2], *again.trained]) == sorted(
        (source, seed) for source in [*SOURCES, "shuffled"] for seed in (0, 1)
    )
    assert events[-1].work == pytest.approx(events[-1].total)
    carry_out(text, out=tmp_path / "whole")
    assert rows(tmp_path / "out").equals(rows(tmp_path / "whole"))


STATES = "evaluation: {items: 4, at: [0.5, 1], strengths: [0.5, 2]}"


def test_snapshots_and_strengths_stand_beside_the_study_and_change_nothing(
    carry_out, text, tmp_path
):
    study, out = text.replace("items: 6}", "items: 6, steps: 5}"), tmp_path / "states"
    carry_out(study, out=tmp_path / "plain")
    fake, events, outcome = carry_out(study.replace("evaluation: {items: 4}", STATES), out=out)
    assert len(fake.trained) == 8
    assert (outcome.cells, outcome.failed) == (27 + 3 * 6 * 3, ())
    assert events[-1].work == pytest.approx(events[-1].total)
    found, plain = rows(out), rows(tmp_path / "plain")
    beside = pl.col("source").str.contains(" @ 2| x ")
    assert found.filter(~beside.fill_null(False)).equals(plain)
    assert set(found.filter(beside)["source"]) == {
        f"{source} {end}" for source in SOURCES for end in ("@ 2", "x 0.5", "x 2")
    }
    for path in (tmp_path / "plain" / "adapters").rglob("*.safetensors"):
        assert path.read_bytes() == (out / path.relative_to(tmp_path / "plain")).read_bytes()
    assert len(fake.scored) == (27 + 54) * 4  # the finished adapter, at strength 1, once
    ours, theirs = (analyze(read_results(at), Settings()) for at in (out, tmp_path / "plain"))
    assert [(one.finetune, one.axis, one.steps) for one in ours.trajectories] == [
        (source, axis, steps)
        for axis, steps in (("step", [2, 5]), ("strength", [0.5, 1.0, 2.0]))
        for source in SOURCES
    ]
    for one in ours.trajectories:  # each ends, or passes, at the cell of the finished adapter
        at = one.steps.index(5 if one.axis == "step" else 1.0)
        for target, course in one.targets.items():
            cell = theirs.models["s"].pgf[one.finetune][target]
            assert course.effects[at] == pytest.approx(cell.mean, nan_ok=True)
            assert course.points[at] == pytest.approx(cell.change)
    same = replace(ours, trajectories=[], inputs=theirs.inputs)
    assert to_json(same) == to_json(theirs)


def test_a_study_with_snapshots_resumes_and_trains_only_what_lacks_them(
    carry_out, lab, text, tmp_path
):
    study = text.replace("items: 6}", "items: 6, steps: 5}")
    carry_out(study)
    fake, _, outcome = carry_out(study.replace("evaluation: {items: 4}", STATES))
    assert len(fake.trained) == 6  # for their snapshots; placebos have none
    assert len(fake.scored) == 54 * 4
    assert outcome.cells == outcome.of
    fake, _, _ = carry_out(study.replace("evaluation: {items: 4}", STATES))
    assert (fake.trained, fake.scored) == ([], [])
    fake = lab()
    fake.diverge = {"Counting"}
    again = parse_study(study.replace("evaluation: {items: 4}", STATES), "study.yaml")
    outcome = run_study(again, tmp_path / "new")
    assert [len(one.runs) for one in outcome.failed] == [4, 4]
    assert outcome.of - outcome.cells == 2 * 4 * 3


@pytest.mark.parametrize("broken", ["score_fleet", "fields"])
def test_adapters_outlive_a_failed_scoring_or_measurement(carry_out, text, tmp_path, broken):
    owner = FakeEngine if broken == "score_fleet" else Stopwatch
    plain = getattr(owner, broken)

    def fails(*its, **how):
        if broken == "fields" or any(its[-2]):  # the base alone is scored
            raise RuntimeError("the GPU is gone")
        return plain(*its, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, broken, fails)
        assert carry_out(text)[2].failed
    assert len(list((tmp_path / "out").glob("adapters/*/*/*/run.json"))) == 8
    fake, _, outcome = carry_out(text)
    assert (fake.trained, outcome.cells, outcome.failed) == ([], 27, ())


@pytest.mark.parametrize(
    ("old", "new", "trained", "scored"),
    [
        ("name: one", "name: one\nceilings: 0.9", 0, 0),
        ("fleet: 3", "fleet: 2", 0, 0),
        ("{s: ", "{renamed: ", 0, 0),
        ("recipe: {items: 6}", "recipe: {items: 6, rank: 8}", 8, 8 * 12),
        ("recipe: {items: 6}", "recipe: {items: 6, max_pixels: 99}", 8, 9 * 12),
        ("evaluation: {items: 4}", "evaluation: {items: 5}", 0, 9 * 15),
        ("evaluation: {items: 4}", "evaluation: {items: 4, scoring: generate}", 0, 9 * 12),
        ("seeds: 2", "seeds: 3", 4, 4 * 12),
        ("seeds: 2", "seeds: [1]", 0, 0),
        ("controls: [shuffled]", "controls: [shuffled, format-only]", 2, 2 * 12),
        ("targets: [", "targets: [Relative_Depth, ", 0, 9 * 4),
        ("targets: [Counting, ", "targets: [", 0, 0),
    ],
)
def test_only_what_changed_is_done_again(carry_out, text, tmp_path, old, new, trained, scored):
    carry_out(text)
    fake, events, outcome = carry_out(text.replace(old, new))
    assert (len(fake.trained), len(fake.scored)) == (trained, scored)
    assert outcome.cells == outcome.of
    assert events[-1].work == pytest.approx(events[-1].total)
    carry_out(text.replace(old, new), out=tmp_path / "fresh")
    asked = ["model", "seed", "source", "target", "item", "answer"]
    assert rows(tmp_path / "out").select(asked).equals(rows(tmp_path / "fresh").select(asked))
    back, _, _ = carry_out(text)
    assert (len(back.scored), rows(tmp_path / "out").height) == (0, 9 * 12)


def test_going_back_to_an_earlier_study_finds_its_answers(carry_out, text, tmp_path):
    carry_out(text)
    before = rows(tmp_path / "out")
    carry_out(text.replace("items: 6", "items: 7"))
    assert not rows(tmp_path / "out").equals(before)
    fake, _, _ = carry_out(text)
    assert (fake.trained, fake.scored) == ([], [])
    assert rows(tmp_path / "out").equals(before)


def test_an_adapter_that_another_recipe_replaced_is_not_exported(command, run, lab, tmp_path):
    file = tmp_path / "study.yaml"
    text = file.read_text()
    words = ("export-adapter", "one", "s", "Counting", "0", "--out")
    for recipe in ("items: 6", "items: 6, rank: 8", "items: 6"):  # the last trains nothing
        lab()
        file.write_text(text.replace("items: 6", recipe))
        assert command("run")[0] == 0
    code, _, error = run(*words, "a")
    assert code == 2
    assert "is of another version of the study than its results" in error


def test_another_base_under_the_same_name_is_noticed(carry_out, text, base):
    carry_out(text)
    (base / "weights").write_text("other")
    assert len(carry_out(text)[0].trained) == 8


@pytest.mark.parametrize("new", ["items: 6, learning_rate: 1", "items: 6, rank: 8", "items: 6"])
def test_cells_of_an_earlier_recipe_or_base_do_not_stand_in_for_those_that_failed(
    carry_out, text, base, tmp_path, new
):
    carry_out(text)
    if new == "items: 6":
        (base / "weights").write_text("other")
    changed = text.replace("items: 6", new).replace("fleet: 3", "fleet: 1")
    _, _, outcome = carry_out(changed, fail=["Counting"])
    assert len(outcome.failed) == 2
    found = rows(tmp_path / "out")
    assert "Counting" not in found["source"].to_list()
    assert found.height == 3 * (1 + 2 * 2 + 2) * 4
    assert carry_out(changed)[0].trained == [("Counting", 0), ("Counting", 1)]


def test_a_damaged_table_is_named_and_made_again_without_training(carry_out, text, tmp_path):
    carry_out(text)
    before, out = rows(tmp_path / "out"), tmp_path / "out"
    table = results.prediction_files(out)[3]  # the base has one for each of three targets
    table.write_bytes(table.read_bytes()[:-9])
    fake, events, _ = carry_out(text)
    assert any(f"{table.name} is damaged" in event.note for event in events)
    assert (fake.trained, len(fake.scored), len(fake.loaded)) == ([], 4, 1)
    assert rows(out).equals(before)


def test_a_damaged_adapter_is_trained_again_when_it_is_needed(carry_out, text, tmp_path):
    carry_out(text)
    (weights,) = (tmp_path / "out").glob("adapters/s/Counting/0/*.safetensors")
    weights.write_text("wrong")
    assert carry_out(text)[0].trained == []
    fake, _, _ = carry_out(text.replace("items: 4", "items: 5"))
    assert fake.trained == [("Counting", 0)]


def test_a_fleet_that_fails_is_reported_and_the_others_go_on(carry_out, text, tmp_path):
    text = text.replace("fleet: 3", "fleet: 1")
    _, events, outcome = carry_out(text, fail=["Counting"])
    assert tuple(map(str, outcome.failed)) == (
        "s, Counting, seed 0: out of memory",
        "s, Counting, seed 1: out of memory",
    )
    assert (outcome.cells, outcome.adapters) == (21, 4)
    assert any(event.note.startswith("failed: s, Counting") for event in events)
    log = (tmp_path / "out" / results.LOG).read_text()
    assert "Traceback" in log
    fake, _, outcome = carry_out(text)
    assert fake.trained == [("Counting", 0), ("Counting", 1)]
    assert outcome.failed == ()


def test_scoring_that_runs_out_of_memory_is_tried_with_fewer_rows(text, tmp_path, monkeypatch):
    fake = FakeEngine()

    def score_fleet(*its, batch_size, **how):
        if batch_size > 2:
            raise MemoryError
        return plain(*its, batch_size=batch_size, **how)

    plain = fake.score_fleet
    monkeypatch.setattr(fake, "score_fleet", score_fleet)
    monkeypatch.setattr(runner, "load_engine", fake.load)
    outcome = run_study(parse_study(text, "study.yaml"), tmp_path / "out")
    assert (outcome.failed, outcome.cells) == ((), 27)


def test_a_model_is_trained_at_its_own_learning_rate(text, base, tmp_path, monkeypatch):
    fake, seen = FakeEngine(), set()

    def train_fleet(its, jobs, recipe, **how):
        seen.add((its.name, recipe.learning_rate))
        return plain(its, jobs, recipe, **how)

    plain = fake.train_fleet
    monkeypatch.setattr(fake, "train_fleet", train_fleet)
    monkeypatch.setattr(runner, "load_engine", fake.load)
    text = text.replace(
        f"{{s: {base}}}", f"{{s: {base}, m: {{where: {base}, learning_rate: 0.5}}}}"
    )
    study = parse_study(text, "study.yaml")
    run_study(study, tmp_path / "out")
    assert seen == {("s", study.recipe.learning_rate), ("m", 0.5)}


def test_a_second_process_says_so_and_stops(carry_out, text, tmp_path):
    out = tmp_path / "out"
    with atomic.locked(out), raises(StudyError):
        carry_out(text)
    carry_out(text)


def test_another_studys_folder_is_refused(carry_out, text):
    carry_out(text)
    with raises(StudyError):
        carry_out(text.replace("name: one", "name: two"))


@pytest.mark.parametrize("where", ["./nowhere", "glimpse-x"])
def test_a_model_that_is_nowhere_is_refused_before_anything_is_written(carry_out, tmp_path, where):
    with raises(StudyError):
        carry_out(TEXT.replace("BASE", where))
    assert not (tmp_path / "out").exists()


def peft(folder: Path, weights: str) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_text(weights)
    return folder


def test_an_adapter_from_elsewhere_is_scored_and_not_trained(carry_out, text, tmp_path):
    folder = peft(tmp_path / "mine", "mine")
    text += f"adapters: {{Counting: {{1: {folder}}}}}\n"
    fake, _, outcome = carry_out(text)
    assert ("Counting", 1) not in fake.trained
    assert len(fake.trained) == 7
    assert outcome.cells == 27
    assert carry_out(text)[0].scored == []
    (folder / "adapter_model.safetensors").write_text("changed")
    assert len(carry_out(text)[0].scored) == 12


def test_a_whole_model_from_elsewhere_is_scored_in_place_of_its_base(carry_out, text, tmp_path):
    folder = tmp_path / "merged"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("merged")
    text += f"adapters: {{Counting: {{1: {folder}}}}}\n"
    fake, _, outcome = carry_out(text)
    assert len(fake.trained) == 7
    assert outcome.cells == 27
    assert sum(who == "base" for who, _ in fake.scored) == 2 * 12  # the base's items, and its own
    found = rows(tmp_path / "out")
    its, base = (
        found.filter(which).drop("source", "seed")
        for which in (
            (pl.col("source") == "Counting") & (pl.col("seed") == "1"),
            pl.col("source").is_null(),
        )
    )
    assert its.height == base.height
    assert not its.equals(base)
    assert carry_out(text)[0].scored == []
    (folder / "model.safetensors").write_text("changed")
    assert len(carry_out(text)[0].scored) == 12


def test_a_whole_model_that_is_damaged_fails_its_shard_and_the_others_go_on(command, lab, tmp_path):
    folder = tmp_path / "merged"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("damaged")
    with (tmp_path / "study.yaml").open("a") as study:
        study.write(f"adapters: {{Counting: {{1: {folder}}}}}\n")
    lab()
    code, _, error = command("run")
    assert code == 1
    assert (
        f"3 of 27 cells are missing; what failed:\n  s, Counting, seed 1  {folder}: cannot" in error
    )
    (folder / "model.safetensors").write_text("mended")
    fake = lab()
    assert command("run")[0] == 0
    assert (fake.trained, len(fake.scored)) == ([], 12)


def test_an_adapter_of_the_wrong_base_is_refused_before_any_work(carry_out, lab, text, tmp_path):
    text += f"adapters: {{Counting: {{1: {peft(tmp_path / 'mine', 'wrong')}}}}}\n"
    fake = lab()
    with raises(DataError):
        run_study(parse_study(text, "study.yaml"), tmp_path / "out")
    assert (fake.trained, fake.scored) == ([], [])


def test_models_stand_in_the_studys_order(carry_out, text, tmp_path):
    other = tmp_path / "second"
    other.mkdir()
    (other / "weights").write_text("t")
    carry_out(text.replace("{s: ", f"{{z: {other}, a: "))
    assert read_results(tmp_path / "out")["model"].values.tolist() == ["z", "a"]


def test_unreadable_replies_are_kept_as_such(carry_out, text, tmp_path):
    carry_out(text.replace("items: 4", "items: 20, scoring: generate"))
    answers = rows(tmp_path / "out")
    assert answers["unreadable"].sum() > 0
    assert answers["unreadable"].equals(answers["choice"].is_null())
    assert not answers.filter("unreadable")["correct"].any()


def test_nothing_of_a_fleet_stays_when_the_disk_is_full(carry_out, text, tmp_path, monkeypatch):
    sync, left = os.fsync, iter(range(5))  # the index, three cells of the base, the index

    def full(handle):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with raises(DataError):
        carry_out(text)
    assert [path.parent.name for path in tables(tmp_path / "out")] == ["base"] * 3
    assert results.read_index(tmp_path / "out")["adapters"] == {}
    assert not list((tmp_path / "out").rglob(".writing-*"))


def test_a_log_line_after_one_that_was_cut_short_stands_alone(tmp_path):
    (tmp_path / results.LOG).write_text('{"time": "2')
    results.log(tmp_path, "begin", cells=1)
    assert json.loads((tmp_path / results.LOG).read_text().splitlines()[1])["cells"] == 1


@pytest.fixture
def command(run, monkeypatch, text, tmp_path):
    """A command on the study; returns exit code, standard output, standard error."""
    (tmp_path / "study.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments):
        return run(name, "study.yaml", *arguments)

    return call


def test_the_plan_counts_what_there_is_to_do_and_what_is_done(command, carry_out, text, tmp_path):
    plan = json.loads(command("plan", "--json")[1])
    assert (plan["adapters to train"], plan["cells"], plan["cells finished"]) == (8, 27, 0)
    assert not (tmp_path / "one").exists()
    carry_out(text, out=tmp_path / "one")
    assert json.loads(command("plan", "--json")[1])["cells finished"] == 27
    assert "27 cells finished" in command("plan")[1]
    (tmp_path / "study.yaml").write_text(text.replace("items: 6", "items: 7"))
    assert "3 cells finished" in command("plan")[1]  # the base's


def test_what_is_left_to_do_is_counted_in_answers_and_training(
    carry_out, text, tmp_path, monkeypatch
):
    study = parse_study(text, "study.yaml")
    plan = plan_study(study)

    def left(out="out"):
        return runner.remaining_work(plan, tmp_path / out).shares["s"]

    assert left() == 1
    keys = Plan.keys
    looked: list[Run] = []
    monkeypatch.setattr(Plan, "keys", lambda *given: looked.append(given[1]) or keys(*given))
    carry_out(re.sub("sources: .*", "sources: [Counting]", text))
    looked.clear()
    assert left() < 1
    assert {run.source for run in looked} == {None, "Counting", "shuffled"}  # no other is drawn
    carry_out(text)
    assert left() == 0
    shutil.rmtree(tmp_path / "out" / results.adapter_path("s", "Spatial_Relation", 1))
    assert left() == 0  # nothing is to be asked of it
    other = parse_study(text.replace("items: 6", "items: 7"), "study.yaml")
    found = runner.remaining_work(plan_study(other), tmp_path / "out")
    assert found.cells == 3  # the base's answers; all is learned and asked anew
    again = 8 * (12 + 3 * other.recipe.passes_for(7))
    assert found.shares["s"] == pytest.approx(again / (12 + again))
    # Nine runs of 12 answers, eight of which learn from 6 items once; learning counts three times.
    index = results.read_index(tmp_path / "out")
    index["runs"] = [
        one
        for one in index["runs"]
        if (one["run"]["source"], one["run"]["seed"]) != ("Counting", 0)
    ]
    (tmp_path / "out" / results.INDEX).write_bytes(results.as_json(index))
    passes = study.recipe.passes_for(6)
    whole = 9 * 12 + 8 * 3 * passes
    assert left() == pytest.approx(12 / whole)  # its adapter lies there still
    shutil.rmtree(tmp_path / "out" / results.adapter_path("s", "Counting", 0))
    assert left() == pytest.approx((12 + 3 * passes) / whole)


def test_a_study_that_is_stopped_says_how_to_go_on_and_does(command, lab, monkeypatch):
    fake = lab()

    def interrupted():
        if len(fake.trained) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(fake, "step", interrupted)
    code, _, error = command("run")
    assert (code, error.splitlines()[-1]) == (
        1,
        "transferscope: stopped; the same command continues",
    )
    fake = lab()
    code, shown, _ = command("run")
    assert (code, len(fake.trained)) == (0, 5)
    assert "Open one/report.html" in shown


def test_a_study_that_failed_in_part_is_analysed_with_exit_code_1(command, lab, tmp_path):
    lab().fail = {"shuffled"}
    (tmp_path / "study.yaml").write_text((tmp_path / "study.yaml").read_text().replace("3}", "1}"))
    code, shown, error = command("run")
    assert code == 1
    assert "Open one/report.html" in shown
    assert (
        "6 of 27 cells are missing; what failed:\n  s, shuffled, seed 0  out of memory\n" in error
    )
    assert error.endswith("and nothing else: transferscope run study.yaml\n")
    lab().fail = {*SOURCES, "shuffled"}
    assert command("run", "--out", "none")[0] == 1
    assert not (tmp_path / "none" / "analysis.json").exists()


# The real lab, on an untrained base.


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    from tools.glimpse_bases.architecture import build
    from tools.glimpse_bases.export import save_base
    from tools.glimpse_bases.processor import processor

    folder = tmp_path_factory.mktemp("bases") / "glimpse-s"
    return save_base(build("s", seed=1).eval(), processor(), folder)


REAL = """\
name: real
models: {s: BASE}
suite: glimpse
sources: [Counting, Spatial_Relation]
targets: [Counting, Spatial_Relation, Relative_Depth]
seeds: 2
recipe: {items: 8, epochs: 2, batch_size: 4, learning_rate: 1e-2, rank: 4, precision: float32}
evaluation: {items: 6}
controls: [format-only]
budget: {fleet: 3}
"""


def test_the_real_lab_carries_out_a_study_the_same_way_twice(real, tmp_path, monkeypatch, capsys):
    study = tmp_path / "study.yaml"
    study.write_text(REAL.replace("BASE", str(real)))
    monkeypatch.setattr(sys, "argv", ["transferscope", "run", str(study)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    shown = capsys.readouterr()
    assert "[21 of 21 cells] done" in shown.err
    assert "Open real/report.html" in shown.out
    run_study(read_study(study), tmp_path / "again")
    assert rows(tmp_path / "again").equals(rows(tmp_path / "real"))
    answers = rows(tmp_path / "real")
    assert answers.height == (1 + 2 * 3) * 3 * 6
    assert answers["logprobs"].list.len().is_in([2, 4]).all()


WITH_THREADS = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from transferscope.execution.runner import run_study
from transferscope.execution.shard_worker import Stopwatch
from transferscope.study.file import read_study
for threads in (1, 3):
    torch.set_num_threads(threads)
    out = Path(sys.argv[1], str(threads))
    run_study(read_study(Path("study.yaml")), out)
"""


@pytest.mark.skipif(not by_intel(), reason="another library adds up in an order of its own")
def test_the_number_of_threads_changes_no_byte(real, tmp_path, monkeypatch):
    monkeypatch.delenv("MKL_CBWR", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = REAL.replace("BASE", str(real)).replace("seeds: 2", "seeds: 1")
    (tmp_path / "study.yaml").write_text(text.replace(", Relative_Depth]", "]"))
    command = [sys.executable, "-c", WITH_THREADS, "."]  # products here may have begun otherwise
    subprocess.run(command, cwd=tmp_path, check=True)
    one, three = (
        [path.read_bytes() for path in tables(tmp_path / threads)] for threads in ("1", "3")
    )
    assert len(one) == 4 * 2
    assert one == three


def test_a_whole_model_that_is_the_base_fails_and_one_of_another_base_stops_the_run(real, tmp_path):
    copy = shutil.copytree(real, tmp_path / "merged")
    text = REAL.replace("BASE", str(real)).replace("[format-only]", "[]")
    text = text.replace("seeds: 2", "seeds: 1") + f"adapters: {{Counting: {{0: {copy}}}}}\n"
    (failure,) = run_study(parse_study(text, "study.yaml"), tmp_path / "out").failed
    why = f"{copy}: changes no answer: all of its weights equal those of the base"
    assert failure.error.startswith(why)
    assert set(rows(tmp_path / "out")["source"]) == {None, "Spatial_Relation"}
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(config.replace('"hidden_size": 128', '"hidden_size": 160'))
    with raises(DataError):
        run_study(parse_study(text, "study.yaml"), tmp_path / "new")
    assert tables(tmp_path / "new") == []


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from transferscope.cli import main
sys.argv = ["transferscope", "run", *sys.argv[1:]]
main()
"""


def test_without_torch_one_line_names_the_extra(text, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, study, "--out", tmp_path / "out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'transferscope[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
