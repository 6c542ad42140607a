"""A study that trains every weight: resumed, in two processes, exported, and brought to another."""

import json
import shutil
from functools import partial

import polars as pl
import pytest
from messages import raises
from ray_engine import tables

from transferscope import store as results
from transferscope.errors import StudyError
from transferscope.execution import local
from transferscope.execution.runner import run_study
from transferscope.study.file import parse_study
from transferscope.study.plan import plan_study

STUDY = """\
name: full
models: {s: glimpse-s}
suite: glimpse
sources: [Counting, Spatial_Relation]
targets: [Counting, Spatial_Relation]
seeds: 1
recipe: {method: full, items: 12, epochs: 2, batch_size: 4}
evaluation: {items: 8, at: [0.5]}
"""


def carried_out(text, out, workers=1):
    study = parse_study(text, "study.yaml")
    return run_study(study, out, executor=partial(local.carry_out, workers=workers))


def events(out, event):
    return [line for line in results.logged(out) if line["event"] == event]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    place = tmp_path_factory.mktemp("full") / "out"
    outcome = carried_out(STUDY, place)
    assert (outcome.cells, outcome.of, outcome.failed) == (10, 10, ())
    return place


def test_models_are_trained_one_at_a_time_and_kept_as_what_changed(out):
    assert [len(line["runs"]) for line in events(out, "train")] == [1, 1]
    assert {line["layers"] for line in events(out, "train")} == {"every weight"}
    kept = sorted(path.relative_to(out).as_posix() for path in out.glob("adapters/**/*.safe*"))
    assert kept == [
        f"adapters/s/{source}/{seed}/changed_weights.safetensors"
        for source in ("Counting", "Spatial_Relation")
        for seed in ("0-3", "0")
    ]


def test_a_model_that_is_kept_is_not_trained_again(out, tmp_path):
    again = shutil.copytree(out, tmp_path / "again")
    index = json.loads((again / results.INDEX).read_text())
    (again / results.INDEX).write_text(json.dumps(index | {"runs": [], "tables": {}}))
    carried_out(STUDY, again)
    assert len(events(again, "train")) == len(events(out, "train"))
    assert len(events(again, "score")) > len(events(out, "score"))
    assert tables(again) == tables(out)


@pytest.mark.slow
def test_two_processes_make_the_same_bytes(out, tmp_path):
    carried_out(STUDY, tmp_path / "two", workers=2)
    assert tables(tmp_path / "two") == tables(out)


@pytest.mark.slow  # it starts Ray
def test_workers_of_ray_make_the_same_bytes(out, run, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray")
    (tmp_path / "study.yaml").write_text(STUDY)
    words = ("run", tmp_path / "study.yaml", "--executor", "ray", "--workers", 2)
    code, _, error = run(*words, "--out", tmp_path / "out")
    assert code == 0, error
    assert {line["worker"] for line in events(tmp_path / "out", "train")} <= {"w1", "w2"}
    assert tables(tmp_path / "out") == tables(out)
    for kept in out.glob("adapters/**/*.safetensors"):
        assert (tmp_path / "out" / kept.relative_to(out)).read_bytes() == kept.read_bytes()


def test_an_exported_model_is_brought_to_a_study_and_answers_as_there(out, run, tmp_path):
    code, shown, _ = run("export-adapter", out, "s", "Counting", 0, "--out", tmp_path / "whole")
    assert (code, shown) == (0, f"{tmp_path / 'whole'}: a whole model for `from_pretrained`\n")
    text = STUDY.replace("method: full, ", "").replace(", at: [0.5]", "").replace("full", "brought")
    text = text.replace(", Spatial_Relation]\ntargets", "]\ntargets")
    carried_out(text + f"adapters: {{Counting: {{0: {tmp_path / 'whole'}}}}}\n", tmp_path / "out")
    assert events(tmp_path / "out", "train") == []
    found = []
    for folder in (tmp_path / "out", out):
        every = pl.read_parquet([*results.prediction_files(folder)], missing_columns="insert")
        found.append(every.filter(source="Counting").sort("target", "item"))
    brought, trained = found
    assert len(brought) == len(trained) == 16
    for one, other in zip(brought["logprobs"], trained["logprobs"], strict=True):
        assert one.to_list() == pytest.approx(other.to_list(), abs=1e-4)


def test_a_whole_model_has_no_strength(out, run, tmp_path):
    words = ("export-adapter", out, "s", "Counting", 0, "--strength", 0.5)
    code, _, error = run(*words, "--out", tmp_path / "whole")
    assert (code, error) == (
        2,
        "transferscope: --strength scales LoRA's alpha; Counting is a whole model\n",
    )


def test_the_plan_names_the_path_the_memory_and_the_size_on_disk(run, tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    words = ("plan", tmp_path / "study.yaml", "--out", tmp_path / "out", "--no-calibration")
    code, shown, error = run(*words)
    assert code == 0, error
    assert "\n           2 models to train\n" in shown
    assert "  s: 1 of 1 models at a time, whole batches, activations kept; fits\n" in shown
    record = json.loads(run(*words, "--json")[1])["models"]["s"]
    # Six float32 numbers for each weight: it, its gradient, two moments, and two in a step.
    assert record["adapters_bytes"] == 24 * record["parameters"]
    each, all_of_them = (f"{n * record['weights_bytes'] / 2**20:.3g} MiB" for n in (1, 4))
    assert (
        "Note: s: recipe.method: full: every weight is trained, one model at a time on the "
        "reference path, beside the base; slower than estimated here; weights, gradients and "
        f"AdamW's states take {record['adapters_bytes'] / 2**20:.3g} MiB, each of 4 models at most "
        f"{each} on disk, all of them {all_of_them}\n"
    ) in shown


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("method: full", "method: whole"),
        ("method: full", "method: full, rank: 8"),
        ("method: full", "method: full, peft: {use_dora: true}"),
        ("at: [0.5]", "strengths: [0.5]"),
        ("{s: glimpse-s}", "{s: {where: glimpse-s, quantization: nf4}}"),
    ],
)
def test_what_full_finetuning_has_no_place_for_is_refused(old, new):
    with raises(StudyError):
        parse_study(STUDY.replace(old, new), "study.yaml")


def test_only_what_changes_a_model_is_in_its_key():
    def keys(text):
        plan = plan_study(parse_study(text, "study.yaml"))
        return [plan.keys(run, "base").training for run in plan.runs if run.trained]

    lora, whole = keys(STUDY.replace("method: full, ", "")), keys(STUDY)
    assert keys(STUDY.replace("method: full", "method: lora")) == lora
    assert not {*lora} & {*whole}
    recipe = parse_study(STUDY, "study.yaml").recipe_of("s")
    assert recipe.learning_rate == 1.5e-4
    assert {"rank", "alpha", "dropout", "targets", "peft"}.isdisjoint(recipe.key_parts())
