"""The study file: what it may say, what it fills in, and one line for everything it may not."""

from pathlib import Path

import pytest
import yaml
from messages import raises

from transferscope.errors import StudyError
from transferscope.study import Recipe
from transferscope.study.file import DEMO, parse_study, read_study, resolved

ROOT = Path(__file__).resolve().parents[2]
BOMB = "&a0 [x]" + "".join(f", &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(20))
"""A kilobyte that unfolds to more values than there are atoms in a cell."""
LEAST = "name: one\nmodels: {s: glimpse-s}\nsuite: glimpse\n"


def study(text: str = ""):
    return parse_study(LEAST + text, "study.yaml")


def test_what_is_left_out_is_spelled_out():
    read = study()
    assert len(read.sources) == len(read.targets) == 13
    assert read.seeds == (0, 1)
    assert read.recipe == Recipe(learning_rate=1.5e-3, precision="float32")
    assert read.models["s"].where == "glimpse-s"


def test_a_count_of_seeds_is_that_many():
    assert study("seeds: 2").seeds == (0, 1)
    assert study("seeds: [5, 3]").seeds == (5, 3)


def test_a_model_may_have_its_own_learning_rate():
    text = LEAST.replace("{s: glimpse-s}", "{s: {where: glimpse-s, learning_rate: 4e-3}, m: x}")
    read = parse_study(text, "study.yaml")
    assert read.recipe_of("s").learning_rate == 4e-3
    chosen = {"learning_rate": 1e-4, "precision": "bfloat16"}
    assert vars(read.recipe_of("m")) == vars(read.recipe) | chosen


def test_tasks_stand_in_the_suites_order():
    assert study("sources: [Jigsaw, Art_Style]").sources == ("Art_Style", "Jigsaw")


def test_a_target_without_a_ceiling_has_1():
    read = study("targets: [Jigsaw, Counting]\nceilings: {Jigsaw: 0.9}")
    assert read.ceilings == {"Counting": 1.0, "Jigsaw": 0.9}


def test_a_resolved_study_reads_as_itself():
    read = study("seeds: 2\nrecipe: {items: 8}\nceilings: {Jigsaw: 0.9}\ncontrols: [shuffled]")
    assert parse_study(resolved(read).decode(), "again") == read


def test_paths_are_taken_from_the_files_folder(tmp_path, monkeypatch):
    (tmp_path / "studies" / "base").mkdir(parents=True)
    path = tmp_path / "studies" / "study.yaml"
    path.write_text(LEAST.replace("glimpse-s", "base"))
    monkeypatch.chdir(tmp_path)
    read = read_study(path)
    assert read.models["s"].where == str((tmp_path / "studies" / "base").resolve())


def test_an_adapter_is_trained_for_epochs_or_for_steps():
    by_epochs = study("recipe: {epochs: 2, batch_size: 4}").recipe
    assert (by_epochs.steps_for(10), by_epochs.passes_for(10)) == (6, 20)
    by_steps = study("recipe: {steps: 7, batch_size: 4}").recipe
    assert by_steps.epochs is None
    assert (by_steps.steps_for(10), by_steps.passes_for(10)) == (7, 24)  # 4 4 2, 4 4 2, 4
    assert study("").recipe.epochs == 3


def test_the_demos_study_is_all_tasks_and_two_seeds():
    read = parse_study(DEMO, "demo")
    assert (len(read.sources), len(read.targets), len(read.seeds)) == (13, 13, 2)


def test_the_embedded_study_reads():
    read = read_study(ROOT / "studies" / "glimpse.yaml")
    assert list(read.models) == ["glimpse-s", "glimpse-m", "glimpse-l"]


@pytest.mark.parametrize("size", ["3b", "7b", "32b"])
def test_the_papers_studies_read_where_their_training_items_are(size, tmp_path):
    text = (ROOT / "studies" / f"blink-qwen2.5-vl-{size}.yaml").read_text(encoding="utf-8")
    with raises(StudyError):
        parse_study(text, "study.yaml", tmp_path)
    (tmp_path / "blink-training").mkdir()
    read = parse_study(text, "study.yaml", tmp_path)
    assert (len(read.seeds), len(read.sources), len(read.targets)) == (4, 13, 13)


@pytest.mark.parametrize(
    "text",
    [
        "sedes: 2",
        "color: 2",
        "recipe: {ranks: 4}",
        "budget: {fleets: 4}",
        "evaluation: {scorer: x}",
        "recipe: {epochs: many}",
        "recipe: {epochs: yes}",
        "recipe: {epochs: 0}",
        "recipe: {learning_rate: .inf}",
        "recipe: {epochs: 1, steps: 9}",
        "evaluation: {choice_order: round}",
        "budget: {memory: 0}",
        "sources: [Jigsw]",
        "targets: [Jigsaw, Jigsaw]",
        "sources: []",
        "seeds: [1, 1]",
        "seeds: 0",
        "seeds: yes",
        "ceilings: 95",
        "ceilings: {Jigsaw: high}",
        "ceilings: {Jigsw: 0.9}",
        "controls: [shuffle]",
        "seeds: 2\nseeds: 3",
        "seeds: [",
        "recipe: \x01",
        "? [a]\n: b",
        "x: !!python/object/apply:os.getcwd []",
        "adapters: {Jigsw: {0: a}}",
        "adapters: {Jigsaw: {9: a}}",
        "adapters: {Jigsaw: {0: a}}",
        "sources: " + "[" * 5000,
        "sources: [" + BOMB + "]",
        "sources: &a [*a]",
        "ceilings: 2026-13-45",
        "recipe: {items: " + "9" * 30 + "}",
        "seeds: 1000000000",
        "seeds: [99999999999999999999]",
        "selection: {targets: [Jigsaw], seeds: 1000000000}",
        "budget: {cache: '~nobody-here/x'}",
        'adapters: {Jigsaw: {0: "a\\0b"}}',
        f"adapters: {{Jigsaw: {{0: {'x' * 5000}}}}}",
    ],
    ids=lambda text: text[:40],
)
def test_an_invalid_entry_is_one_line_that_names_it(text):
    with raises(StudyError) as caught:
        study(text)
    assert str(caught.value).startswith("study.yaml:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: one\n", ""),
        ("name: one", "name: ../one"),
        ("glimpse-s", "{wher: x}"),
        ("{s: glimpse-s}", "{}"),
        ("{s: glimpse-s}", "{a b: x, a_b: y}"),
        ("{s: glimpse-s}", "{a+b: x, a_b: y}"),
        ("suite: glimpse", "suite: glimps"),
        ("suite: glimpse", "suite: {name: glimpse, difficulty: 2}"),
        ("suite: glimpse", f"suite: {'x/' * 3000}"),
        (LEAST, "[]"),
        ("{s: glimpse-s}", "{a: x, b: y}\nadapters: {Jigsaw: {0: a}}"),
    ],
    ids=lambda text: text[:40],
)
def test_the_required_parts_are_checked_too(old, new):
    with raises(StudyError) as caught:
        parse_study(LEAST.replace(old, new), "study.yaml")
    assert str(caught.value).startswith("study.yaml:")


@pytest.mark.parametrize(("task", "field"), [("Mean", "targets"), ("none", "sources")])
def test_a_task_cannot_have_the_name_of_a_mean_or_of_the_base(tmp_path, task, field):
    """Results with such a name are refused, so training for them would be lost."""
    for name in (task, "Dogs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").touch()
    tasks = [{"name": task}, {"name": "Dogs"}]
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"name": "cats", "tasks": tasks}))
    text = LEAST.replace("suite: glimpse", f"suite: {tmp_path}")
    with raises(StudyError):
        parse_study(text, "study.yaml")
    others = f"{field}: [Dogs]\n"
    assert getattr(parse_study(text + others, "study.yaml"), field) == ("Dogs",)


def test_a_missing_file_is_named(tmp_path):
    with raises(StudyError):
        read_study(tmp_path / "none.yaml")


def test_the_examples_are_plain_yaml():
    for path in sorted((ROOT / "studies").glob("*.yaml")):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == path.stem
