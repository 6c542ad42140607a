"""Snapshots and strengths of a real study: one training, one scoring, curves on the page."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import transferscope as ts
from transferscope.engine import load_engine
from transferscope.engine.bases import load_study_base
from transferscope.study.file import read_study
from transferscope.study.items import StudyItems

STUDY = """\
name: states
models: {s: glimpse-s}
suite: glimpse
sources: [Counting, Spatial_Relation]
targets: [Counting, Spatial_Relation]
seeds: 1
recipe: {items: 24, epochs: 2, batch_size: 4, rank: 4}
evaluation: {items: 12, at: [0.33], strengths: [0.5]}
controls: [shuffled]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("states")
    for name, text in (
        ("with", STUDY),
        ("without", STUDY.replace(", at: [0.33], strengths: [0.5]", "")),
    ):
        (place / f"{name}.yaml").write_text(text)
        ts.run(place / f"{name}.yaml", place / name)
    return place


def files(folder: Path, part: str) -> dict[str, bytes]:
    """The files below a part of a results folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in (folder / part).rglob("*.*")
    }


def test_finished_adapters_and_their_answers_are_the_same_to_the_last_byte(folder):
    for part in ("adapters", "predictions"):
        ours, plain = files(folder / "with", part), files(folder / "without", part)
        assert plain.keys() < ours.keys() if part == "adapters" else plain.keys() == ours.keys()
        assert {name: ours[name] for name in plain} == plain


def test_an_exported_adapter_answers_as_the_study_scored_it(folder, run, tmp_path):
    study, engine = read_study(folder / "with.yaml"), load_engine()
    base, items = load_study_base(study, engine, "s", tmp_path), StudyItems(study)
    targets = study.targets or ()
    asked = [item for target in targets for item in items.eval_items(target)]
    tables = pl.concat(map(pl.read_parquet, (folder / "with").glob("controls/**/*.parquet")))
    for source, more in (("Counting", ("--strength", 0.5)), ("Counting @ 4", ())):
        name = "Counting x 0.5" if more else source
        code, _, error = run(
            *("export-adapter", folder / "with", "s", source, 0, "--out", tmp_path / name, *more)
        )
        assert code == 0, error
        config = json.loads((tmp_path / name / "adapter_config.json").read_text())
        assert config["lora_alpha"] == (16 if more else 32)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        (found,) = engine.score_fleet(base, [engine.load_adapter(base, tmp_path / name)], asked)
        for target in targets:
            rows = tables.filter(source=name, target=target).sort("item")
            order = sorted((i.id, k) for k, i in enumerate(asked) if i.task == target)
            assert [list(found[k].logprobs) for _, k in order] == rows["logprobs"].to_list()


def test_an_adapter_at_an_address_is_exported_whole(run, tmp_path):
    here = tmp_path / "out" / "adapters" / "s" / "Counting" / "0"
    here.mkdir(parents=True)
    (here / "run.json").write_text('{"recipe": {}}')
    (here / "adapter_config.json").write_text('{"lora_alpha": 32}')
    (here / "adapter_model.safetensors").write_bytes(b"weights")
    words = ("export-adapter", (tmp_path / "out").as_uri(), "s", "Counting", 0)
    assert run(*words, "--out", tmp_path / "far")[0] == 0
    assert (tmp_path / "far" / "adapter_model.safetensors").read_bytes() == b"weights"


def of_peft(folder, recipe: dict[str, Any]) -> Path:
    """A results folder with an adapter that was trained with options of PEFT."""
    here = folder / "adapters" / "s" / "Counting" / "0"
    here.mkdir(parents=True)
    config = {"peft_type": "LORA", "lora_alpha": 32} | recipe
    (here / "adapter_config.json").write_text(json.dumps(config))
    (here / "run.json").write_text(json.dumps({"recipe": {"peft": recipe}}))
    return folder


def test_every_alpha_of_an_exported_adapter_is_scaled(run, tmp_path):
    folder = of_peft(tmp_path / "study", {"alpha_pattern": {"q_proj": 8, "layers.0.*": 3}})
    words = ("export-adapter", folder, "s", "Counting", 0, "--strength", 0.5)
    code, _, error = run(*words, "--out", tmp_path / "a")
    assert code == 0, error
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert (config["lora_alpha"], config["alpha_pattern"]) == (16, {"q_proj": 4, "layers.0.*": 1.5})


def test_an_adapter_that_alpha_does_not_scale_is_exported_as_it_is_alone(run, tmp_path):
    folder = of_peft(tmp_path / "study", {"init_lora_weights": "pissa"})
    words = ("export-adapter", folder, "s", "Counting", 0)
    code, _, error = run(*words, "--strength", 0.5, "--out", tmp_path / "a")
    assert (code, error) == (
        2,
        "transferscope: strength 0.5: must be 1 with init_lora_weights 'pissa', which changes the "
        "base's own weights\n",
    )
    assert not (tmp_path / "a").exists()
    assert run(*words, "--out", tmp_path / "a")[0] == 0


def test_what_cannot_be_exported_is_refused(folder, run, tmp_path):
    words = ("export-adapter", folder / "with", "s")
    code, _, error = run(*words, "Jigsaw", 0, "--out", tmp_path / "a")
    assert (code, error.count("\n")) == (2, 1)
    assert "no adapter of s, Jigsaw, seed 0" in error
    assert run(*words, "Counting", 0, "--out", tmp_path)[0] == 2
    assert not any(tmp_path.iterdir())


def test_losses_are_those_of_the_log_line_by_line(folder):
    lines = (folder / "with" / "run.jsonl").read_text().splitlines()
    logged = [line for line in map(json.loads, lines) if line["event"] == "curve"]
    rows = [
        (*line["runs"][0].replace(", seed ", ", ").split(", "), *point)
        for line in logged
        for point in zip(line["step"], line["loss"], line["gradient_norm"], strict=True)
    ]
    assert len(rows) == 3 * 12  # shuffled too; its snapshots and strengths are no trainings
    loaded = ts.load(folder / "with")
    assert isinstance(loaded, ts.Analysis)
    found = loaded.losses()
    assert found.columns == ["model", "source", "seed", "step", "loss", "gradient_norm"]
    assert sorted(found.rows()) == sorted(rows)
    assert ts.analyze(folder / "with").losses().equals(found)
    named = ts.analyze({"other": folder / "with"}).losses()
    assert named.equals(found.with_columns(model=pl.lit("other")))


def test_steps_and_strengths_are_curves_on_the_page_and_a_table_in_the_summary(folder, run):
    analysis = ts.load(folder / "with")
    assert isinstance(analysis, ts.Analysis)
    assert [(one.finetune, one.axis, one.steps) for one in analysis.trajectories] == [
        ("Counting", "step", [4, 12]),
        ("Spatial_Relation", "step", [4, 12]),
        ("Counting", "strength", [0.5, 1]),
        ("Spatial_Relation", "strength", [0.5, 1]),
    ]
    finished = {source: analysis.models["s"].pgf[source] for source in analysis.models["s"].pgf}
    for one in analysis.trajectories:
        ends = {target: course.effects[-1] for target, course in one.targets.items()}
        assert ends == {target: cell.mean for target, cell in finished[one.finetune].items()}
    page = (folder / "with" / "report.html").read_text()
    for words in ("steps 4 to 12", "strengths 0.5 to 1", "strength 0.5", "Lose over 10 points"):
        assert words in page
    assert "Lose over 10 points" not in (folder / "without" / "report.html").read_text()
    code, shown, _ = run("analyze", folder / "with", "--out", folder / "again")
    assert code == 0
    for row in ("step 4", "step 12", "strength 0.5", "strength 1"):
        assert f"  {row} " in shown
