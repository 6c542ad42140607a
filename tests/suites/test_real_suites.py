"""Studies on BLINK and VSI-Bench: from their published files to a report, on a tiny model."""

import json
import re
import shutil
from pathlib import Path

import benchmark_factory as made
import numpy as np
import polars as pl
import pytest
from fake_engine import FakeEngine
from messages import raises
from PIL import Image

from transferscope import store as results
from transferscope.analysis.json_file import from_json
from transferscope.errors import DataError, StudyError
from transferscope.execution import runner
from transferscope.execution.runner import run_study
from transferscope.readers import read_results
from transferscope.study.file import parse_study, read_study, resolved, suite_of
from transferscope.tasks import gold

TASKS = list(made.TASKS)
TEXT = """\
name: real
models: {tiny: tiny}
suite: {name: blink, path: blink, training: data}
sources: [Jigsaw, Relative_Depth, Relative_Reflectance]
targets: [Jigsaw, Relative_Depth, Relative_Reflectance]
seeds: 2
recipe: {rank: 2, alpha: 4, epochs: 1, batch_size: 4, items: 4, learning_rate: 1.0e-2}
"""
VIDEO = TEXT.replace("name: blink, path: blink", "name: vsi-bench, path: vsi, frames: 2").replace(
    f"targets: [{', '.join(TASKS)}]", "targets: [object_counting, object_rel_distance]"
)
ROWS = [
    made.vsi_row(0, "object_counting"),
    made.vsi_row(1, "object_counting", ground_truth="2.5"),
    made.vsi_row(2, "object_rel_distance"),
    made.vsi_row(3, "object_rel_distance", ground_truth="A", scene_name="scene", dataset="scannet"),
    made.vsi_row(4, "object_counting", scene_name="gone"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both benchmarks, training items, a base and two studies."""
    folder = tmp_path_factory.mktemp("files")
    made.blink(folder / "blink")
    made.training(folder / "data")
    made.vsi(folder / "vsi", ROWS)
    (folder / "vsi" / "arkitscenes" / "gone.mp4").unlink()
    (folder / "tiny").mkdir()
    (folder / "tiny" / "weights").write_text("s")
    (folder / "blink.yaml").write_text(TEXT)
    (folder / "vsi.yaml").write_text(VIDEO)
    return folder


@pytest.fixture
def place(files: Path, tmp_path: Path) -> Path:
    return shutil.copytree(files, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def carry_out(place: Path, monkeypatch):
    """Carry out a study with a lab that trains nothing; returns it and the notes that were told."""

    def call(name: str = "blink", **suite: object):
        fake, told = FakeEngine(), []
        monkeypatch.setattr(runner, "load_engine", fake.load)
        study = read_study(place / f"{name}.yaml")
        study = study.model_copy(update={"suite": study.suite.model_copy(update=suite)})
        run_study(study, place / name / "out", on_event=lambda event: told.append(event.note))
        return fake, [note for note in told if note]

    return call


def table(place: Path, name: str) -> pl.DataFrame:
    files = results.prediction_files(place / name / "out")
    return pl.concat([pl.read_parquet(path) for path in files])


# The study file


def test_a_study_names_a_benchmark_its_copy_and_its_training_folder(place: Path) -> None:
    study = read_study(place / "blink.yaml")
    assert study.suite.options["path"] == str(place / "blink")
    assert study.suite.options["training"] == str(place / "data")
    again = parse_study(resolved(study).decode(), "again.yaml", place)
    assert again == study
    suite = suite_of(study)
    assert len(suite.items("Jigsaw", "eval")) == len(suite.items("Jigsaw", "train")) == 4


def test_the_papers_tasks_are_the_default(place: Path) -> None:
    text = re.sub("(sources|targets):.*\n", "", TEXT)
    study = parse_study(text, "study.yaml", place)
    assert len(study.sources) == len(study.targets) == 13
    asked = parse_study(text + "targets: [IQ_Test]\n", "s", place).targets
    assert study.targets is not None
    assert asked is not None
    assert "IQ_Test" not in study.targets
    assert "IQ_Test" in asked
    text = re.sub("(sources|targets):.*\n", "", VIDEO)
    study = parse_study(text, "study.yaml", place)
    assert len(study.sources) == 13
    assert study.targets == (
        *("obj_appearance_order", "object_counting", "object_rel_distance", "route_planning"),
        "object_rel_direction",
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("path: blink", "pth: blink"),
        ("path: blink", "path: blonk"),
        ("training: data", "training: dat"),
        ("path: blink", "frames: 3"),
        ("path: blink", "strict: true"),
        ("path: blink", "split: train"),
        ("path: blink", "split: test"),
        ("name: blink", "name: blnk"),
        ("targets: [J", "targets: [Object_Counting, J"),
        ("{name: blink, path: blink, training: data}", "{name: glimpse, path: blink}"),
    ],
)
def test_a_wrong_suite_is_one_line_with_the_remedy(place: Path, old: str, new: str) -> None:
    with raises(StudyError):
        parse_study(TEXT.replace(old, new), "study.yaml", place)


def test_a_suite_may_be_named_alone() -> None:
    text = "name: one\nmodels: {tiny: org/tiny}\nsuite: blink\nseeds: 1\n"
    assert parse_study(text, "study.yaml").suite.options["path"] is None


def test_brought_adapters_need_no_training_items(place: Path, carry_out) -> None:
    folder = place / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_text("mine")
    text = TEXT.replace(", training: data", "").replace("seeds: 2", "seeds: 1")
    text = re.sub("sources:.*", "sources: [Jigsaw]", text)
    (place / "blink.yaml").write_text(text + "adapters: {Jigsaw: {0: adapter}}\n")
    fake, _ = carry_out()
    assert fake.trained == []
    assert {adapter for adapter, _ in fake.scored} == {"base", "mine"}


# What a study keeps


def test_notes_are_told_kept_and_read_again(place: Path, carry_out) -> None:
    _, told = carry_out("vsi")
    left_out = [note for note in told if "left out" in note]
    assert left_out == [
        "VSI-Bench object_counting: 1 of 3 items are left out because their videos cannot be read: "
        "4 (no video arkitscenes/gone.mp4)"
    ]
    assert set(told) <= set(read_results(place / "vsi" / "out").attrs["notes"])


def test_strict_refuses_what_is_left_out_else(place: Path, carry_out) -> None:
    with raises(DataError):
        carry_out("vsi", strict=True)


def test_numbers_have_scores_and_choices_do_not(place: Path, carry_out) -> None:
    carry_out("vsi")
    rows = table(place, "vsi")
    numbers = rows.filter(pl.col("target") == "object_counting")
    assert numbers["score"].null_count() == 0
    assert numbers["choice"].null_count() == numbers["answer"].null_count() == numbers.height
    assert (numbers["correct"] == (numbers["score"] == 1)).all()
    assert (numbers.filter("unreadable")["score"] == 0).all()
    choices = rows.filter(pl.col("target") == "object_rel_distance")
    assert choices["score"].null_count() == choices.height
    assert choices["answer"].to_list() == [2, 0] * (choices.height // 2)
    found = read_results(place / "vsi" / "out")
    mean = numbers.filter(pl.col("source").is_null())["score"].mean()
    assert found["base_accuracy"].sel(target="object_counting").values == pytest.approx(mean)
    assert found["correct"].sel(target="object_counting").isnull().all()
    assert found["correct"].sel(target="object_rel_distance").notnull().all()
    assert (found["total"] == 2).all()


def test_other_right_answers_are_other_cells_and_another_hash(place: Path, carry_out) -> None:
    carry_out()
    before = {entry["file"]: entry["gold"] for entry in inputs(place)}["out"]
    items = suite_of(read_study(place / "blink.yaml")).items("Relative_Reflectance", "eval")
    assert before["Relative_Reflectance"] == gold(items)
    fake, _ = carry_out()
    assert fake.scored == fake.trained == []
    relabelled = [made.blink_row("Relative_Reflectance", n, answer="(A)") for n in range(1, 5)]
    made.write_blink(place / "blink", "Relative_Reflectance", relabelled)
    fake, _ = carry_out()
    assert fake.trained == []
    assert {target for _, target in fake.scored} == {"Relative_Reflectance"}
    after = inputs(place)[0]["gold"]
    assert before["Jigsaw"] == after["Jigsaw"]
    assert before["Relative_Reflectance"] != after["Relative_Reflectance"]


def test_a_changed_number_is_another_cell(place: Path, carry_out) -> None:
    carry_out("vsi")
    made.vsi(place / "vsi", [{**ROWS[0], "ground_truth": "5"}, *ROWS[1:4], ROWS[4]])
    (place / "vsi" / "arkitscenes" / "gone.mp4").unlink()
    fake, _ = carry_out("vsi")
    assert {target for _, target in fake.scored} == {"object_counting"}


def inputs(place: Path) -> list[dict]:
    return read_results(place / "blink" / "out").attrs["inputs"]


# No training on what is evaluated


def plant(place: Path, name: str, image: Image.Image, **changes: object) -> None:
    """Put an evaluation picture among the training items, as a new file."""
    image.save(place / "data" / "Relative_Depth" / "images" / name)
    file = place / "data" / "Relative_Depth" / "train.jsonl"
    row = {
        "id": "planted",
        "images": [f"images/{name}"],
        "question": made.TASKS["Relative_Depth"][1],
    }
    row |= {"choices": made.CHOICES["Relative_Depth"], "answer": "A", **changes}
    file.write_text("\n".join([*file.read_text().splitlines()[:3], json.dumps(row)]))


def test_training_on_an_evaluation_item_is_refused_before_a_base_is_loaded(place, carry_out):
    plant(place, "copy.bmp", made.noise(("Relative_Depth", "val", 3, 1)))
    with raises(StudyError):
        carry_out()
    assert not (place / "blink" / "out" / results.PREDICTIONS).exists()


@pytest.mark.parametrize("question", ["Which one of the two is nearer?", "Which point is redder?"])
def test_an_evaluation_picture_is_found_whatever_is_asked_about_it(place, carry_out, question):
    # The hub's `question` column words five tasks otherwise than their prompts do.
    image = made.noise(("Relative_Depth", "val", 3, 1))
    image = image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)
    plant(place, "copy.jpg", image, question=question)
    with raises(StudyError):
        carry_out()


@pytest.mark.parametrize(
    ("image", "changes"),
    [
        (made.noise("another"), {}),
        (
            made.noise(("Relative_Depth", "val", 3, 1)),
            {"question": "Which point is redder?", "choices": ["A is redder", "B is redder"]},
        ),
    ],
)
def test_another_picture_or_other_choices_make_another_item(place, carry_out, image, changes):
    plant(place, "other.png", image, **changes)
    fake, _ = carry_out()
    assert ("Relative_Depth", 0) in fake.trained


# From files to a report


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A tiny random Qwen2.5-VL on disk."""
    pytest.importorskip("torch")
    from engine_factory import family_base
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    base = family_base("qwen2_5_vl")
    base.model.save_pretrained(folder)
    base.processor.save_pretrained(folder)
    return folder


@pytest.fixture
def command(run, place: Path, tiny: Path, monkeypatch):
    """Run a command in the folder, with the tiny model."""
    for name in ("blink.yaml", "vsi.yaml"):
        text = (place / name).read_text().replace("tiny: tiny", f"tiny: {tiny}")
        (place / name).write_text(text)
    monkeypatch.chdir(place)

    return run


def test_blinks_files_become_a_matrix_and_a_report(place: Path, command) -> None:
    code, text, error = command("run", "blink.yaml", "--out", "out")
    assert code == 0, error
    assert "BLINK Jigsaw, val: 4 items" in " ".join(text.split())
    analysis = from_json((place / "out" / results.ANALYSIS).read_bytes(), "out")
    model = analysis.models["tiny"]
    assert list(model.pgf) == TASKS
    assert set(analysis.inputs[0].gold) == set(TASKS)
    rows = pl.concat([pl.read_parquet(f) for f in results.prediction_files(place / "out")])
    assert rows.height == 7 * 12
    for source, target in [("Jigsaw", "Relative_Depth"), ("Relative_Reflectance", "Jigsaw")]:
        values = [pgf(rows, source, target, seed) for seed in ("0", "1")]
        cell = model.pgf[source][target]
        assert [*cell.seeds.values()] == pytest.approx(values, nan_ok=True)
    page = (place / "out" / results.REPORT).read_text(encoding="utf-8")
    assert analysis.inputs[0].gold["Jigsaw"] in page
    assert command("run", "blink.yaml", "--out", "out")[0] == 0


def pgf(rows: pl.DataFrame, source: str, target: str, seed: str) -> float:
    """PGF from the rows, by its definition."""

    def accuracy(part: pl.DataFrame) -> float:
        marks = [
            row["score"] if row["score"] is not None else float(row["correct"])
            for row in part.filter(pl.col("target") == target).iter_rows(named=True)
        ]
        return sum(marks) / len(marks)

    base = accuracy(rows.filter(pl.col("source").is_null()))
    tuned = accuracy(rows.filter((pl.col("source") == source) & (pl.col("seed") == seed)))
    return (tuned - base) / (1 - base) if base < 1 else float("nan")


def test_vsi_benchs_files_become_a_matrix_and_a_report(place: Path, command, monkeypatch) -> None:
    from transferscope.engine import score

    say = iter(np.random.default_rng(0).integers(1, 8, 1000).tolist())
    monkeypatch.setattr(
        score, "replies", lambda base, path, rows, *how: [f"about {next(say)}" for _ in rows]
    )
    code, _, error = command("run", "vsi.yaml", "--strict", "--out", "out")
    assert code == 2
    assert "item 4: no video arkitscenes/gone.mp4" in error
    code, text, error = command("run", "vsi.yaml", "--out", "out")
    assert code == 0, error
    assert "1 of 3 items are left out" in " ".join(text.split())
    analysis = from_json((place / "out" / results.ANALYSIS).read_bytes(), "out")
    model = analysis.models["tiny"]
    rows = pl.concat([pl.read_parquet(f) for f in results.prediction_files(place / "out")])
    assert rows.filter(pl.col("target") == "object_counting")["score"].n_unique() > 2
    for target in ("object_counting", "object_rel_distance"):
        values = [pgf(rows, "Jigsaw", target, seed) for seed in ("0", "1")]
        cell = model.pgf["Jigsaw"][target]
        assert [*cell.seeds.values()] == pytest.approx(values, nan_ok=True)
    marked = model.pgf["Jigsaw"]["object_counting"].mcnemar
    assert marked is not None
    assert all(np.isnan(value) for value in marked.values())
    assert set(analysis.inputs[0].gold) == {"object_counting", "object_rel_distance"}


def test_sheets_show_both_benchmarks(place: Path, command) -> None:
    code, text, error = command(
        *("suites", "show", "blink", "-s", "path=blink", "--task", "Jigsaw", "--out", "a.png")
    )
    assert (code, text) == (0, "4 items in a.png\n")
    assert "the benchmark has 150" in error
    arguments = ("-s", "path=vsi", "-s", "frames=6", "--task", "object_counting", "--out", "b.png")
    code, text, _ = command("suites", "show", "vsi-bench", *arguments)
    assert (code, text) == (0, "2 items in b.png\n")
    for name in ("a.png", "b.png"):
        with Image.open(place / name) as sheet:
            assert sheet.format == "PNG"
    made.write_blink(place / "blink", "Jigsaw", [made.blink_row("Jigsaw", 1, "test")], split="test")
    arguments = ("-s", "path=blink", "-s", "split=test", "--task", "Jigsaw", "--out", "c.png")
    assert command("suites", "show", "blink", *arguments)[:2] == (0, "1 items in c.png\n")
    arguments = ("-s", "training=data", "--task", "Jigsaw", "--split", "train", "--out", "d.png")
    assert command("suites", "show", "blink", *arguments)[:2] == (0, "4 items in d.png\n")


def test_a_plan_says_what_it_leaves_out(command) -> None:
    code, text, error = command("plan", "vsi.yaml", "--json")
    assert code == 0
    assert json.loads(text)["cells"] == 7 * 2
    assert "1 of 3 items are left out" in error
