"""Any data set: small files in the schemas of ten public ones, and each way to write an item."""

import base64
import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import benchmark_factory as made
import numpy as np
import polars as pl
import pytest
from messages import raises

from transferscope.errors import DataError, StudyError
from transferscope.study.file import local_suite, parse_study, resolved, suite_of
from transferscope.study.items import StudyItems
from transferscope.suites import open_suite
from transferscope.suites.columns import in_text
from transferscope.suites.presets import PRESETS
from transferscope.suites.snapshot import Files, names_in
from transferscope.tasks import Item
from transferscope.tasks.open_answers import BoxAnswer, NumberAnswer, PointAnswer, TextAnswer

COLUMNS = {"images": "image", "choices": "choices"}
ROW = {"image": "a.png", "question": "Which?", "choices": ["left", "right"], "answer": "B"}


def png(seed: object) -> bytes:
    return made.encoded(made.noise(seed, (20, 10)))


def struct(seed: object) -> dict[str, object]:
    """An image as the Hub's Parquet files have it."""
    return {"bytes": png(seed), "path": f"{seed}.png"}


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(path, row_group_size=2)


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def data(folder: Path, *rows: dict[str, Any], **options: Any) -> Any:
    """A suite of a data set with these rows, and the image a.png."""
    jsonl(folder / "test.jsonl", list(rows))
    (folder / "a.png").write_bytes(png(0))
    return open_suite("hub", path=folder, columns=COLUMNS | options.pop("columns", {}), **options)


def only(suite: Any) -> Item:
    (item,) = suite.items(suite.tasks[0].name, "eval")
    return item


# Ten data sets: two rows each as their harnesses read them


def sat(folder: Path) -> None:
    kinds = {
        "train": ("other", "action_sequence", "action_consequence"),
        "test": ("ego_movement", "action_conseq"),
    }
    for split, names in kinds.items():
        rows = [
            {
                "images": [struct((split, n, k)) for k in range(n + 1)],
                "question": "Did the camera move left or right?",
                "answers": ["right", "left"],
                "question_type": name,
                "correct_answer": "right",
            }
            for n, name in enumerate(names)
        ]
        parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)


def cv_bench(folder: Path) -> None:
    for kind, task in (("2d", "Count"), ("3d", "Depth")):
        row = {
            "idx": len(kind + task),
            "type": kind.upper(),
            "task": task,
            "image": struct(task),
            "question": "How many cats are in the image?",
            "choices": ["3", "2", "1", "0"],
            "answer": "(B)",
            "prompt": "How many cats are in the image? Select from the following choices.\n"
            "(A) 3\n(B) 2\n(C) 1\n(D) 0",
        }
        parquet(folder / f"test_{kind}.parquet", [row])
        jsonl(folder / f"test_{kind}.jsonl", [{"idx": 1}])


def emb_spatial(folder: Path) -> None:
    row = {
        "question": "How are they arranged?",
        "answer_options": ["a", "b", "c", "d"],
        "answer": 1,
    }
    rows = [
        row | {"question_id": f"mp3d_{n}", "relation": relation, "image": struct(n)}
        for n, relation in enumerate(("close", "under"))
    ]
    parquet(folder / "data" / "test-00000-of-00001.parquet", rows)


def mmsi(folder: Path) -> None:
    question = "Where am I?\nOptions: A: Left, behind, B: Right, C: Front, D: Back"
    rows = [
        {"id": n, "images": [png(n), png(n + 2)], "question": question, "answer": "B"}
        | {"question_type": kind, "thought": "..."}
        for n, kind in enumerate(("Positional Relationship (Cam.–Obj.)", "MSR"))
    ]
    parquet(folder / "MMSI_Bench.parquet", rows)


def view_spatial(folder: Path) -> None:
    rows = [
        {
            "question_type": f"{who} perspective - Relative Direction",
            "image_path": [f"ViewSpatial-Bench/{place}/1.png"],
            "question": "Where is the cup?",
            "answer": "B. behind",
            "choices": "A. left\nB. behind\nC. front-right",
        }
        for who, place in (("Camera", "val2017"), ("Person", "scannetv2_val/scene0"))
    ]
    (folder / "ViewSpatial-Bench.json").write_text(json.dumps(rows))
    for name in ("val2017/1.png", "scannetv2_val/scene0/1.png"):
        with zipfile.ZipFile(folder / f"{name.split('/')[0]}.zip", "w") as archive:
            archive.writestr(name, png(name))


def mind_cube(folder: Path) -> None:
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        for split in ("train", "tinybench"):
            rows = []
            for kind in ("among_group1_q0", "aroundnew_q1", "rotation_q2", "translation_q3"):
                image = f"other_all_image/{kind}/{split}.png"
                archive.writestr(f"data/{image}", png((kind, split)))
                question = "What is left of me? A. Lamp B. A tall plant C. Door"
                row = {"id": kind, "images": [image], "question": question, "gt_answer": "B"}
                rows.append(json.dumps(row))
            archive.writestr(f"data/raw/MindCube_{split}.jsonl", "\n".join(rows))


def omni_spatial(folder: Path) -> None:
    rows = []
    for kind in ("Manipulation", "Egocentric"):
        (folder / kind).mkdir()
        (folder / kind / "0.png").write_bytes(png(kind))
        rows.append(
            {"id": "0_0", "image_path": f"{kind}/0.png", "question": "How long?", "gt": "B"}
            | {"options": ["2.7s", "14.7s"], "sub_task_type": kind}
        )
    parquet(folder / "data" / "test-00000-of-00001.parquet", rows)


def spar(folder: Path) -> None:
    choice = "Where is it?\nA. above\nB. left, below\n\nPick the option."
    rows = [
        {"id": n, "image": [struct(n)], "question": question, "answer": answer, "task": task}
        for n, (question, answer, task) in enumerate(
            [
                (choice, "B", "obj_spatial_relation_oo"),
                ("How deep is it, in meters?", "1.7", "depth_prediction_oc"),
                ("How did I move?", "move_right:0.3", "view_change_infer"),
            ]
        )
    ]
    parquet(folder / "data" / "test-00000-of-00001.parquet", rows)


def mm_star(folder: Path) -> None:
    question = "<image 1> Which is right?\nOptions: A: a cat., B: a dog., C: both, D: none"
    rows = [
        {"index": n, "image": png(n), "question": question, "answer": "B", "category": category}
        for n, category in enumerate(("coarse perception", "science & technology"))
    ]
    parquet(folder / "mmstar.parquet", rows)


def mmvp(folder: Path) -> None:
    row = {"Question": "Are the wings open?", "Options": "(a) Open (b) Closed"}
    rows = [row | {"Index": n, "Correct Answer": "(b)", "image": struct(n)} for n in range(2)]
    parquet(folder / "data" / "train-00000-of-00001.parquet", rows)


SETS = {
    "array/SAT-v2": (sat, ["ego_movement", "action_conseq"], ("left", "right")),
    "nyu-visionx/CV-Bench": (cv_bench, ["Count", "Depth"], ("3", "2", "1", "0")),
    "FlagEval/EmbSpatial-Bench": (emb_spatial, ["close", "under"], ("a", "b", "c", "d")),
    "RunsenXu/MMSI-Bench": (
        *(mmsi, ["Positional_Relationship_Cam._Obj", "MSR"]),
        ("Left, behind", "Right", "Front", "Back"),
    ),
    "lidingm/ViewSpatial-Bench": (
        view_spatial,
        [f"{who}_perspective_-_Relative_Direction" for who in ("Camera", "Person")],
        ("left", "behind", "front-right"),
    ),
    "MLL-Lab/MindCube": (
        mind_cube,
        ["among", "around", "rotation"],
        ("Lamp", "A tall plant", "Door"),
    ),
    "pangyyyyy/OmniSpatial": (omni_spatial, ["Manipulation", "Egocentric"], ("2.7s", "14.7s")),
    "jasonzhango/SPAR-Bench": (
        *(spar, ["obj_spatial_relation_oo", "depth_prediction_oc"]),
        ("above", "left, below"),
    ),
    "Lin-Chen/MMStar": (
        *(mm_star, ["coarse_perception", "science_technology"]),
        ("a cat.", "a dog.", "both", "none"),
    ),
    "lmms-lab-eval/MMVP": (mmvp, ["MMVP"], ("Open", "Closed")),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_reads_its_data_set_from_a_local_copy(name: str, tmp_path: Path) -> None:
    make, tasks, choices = SETS[name]
    make(tmp_path)
    suite = open_suite("hub", hub=name, path=tmp_path)
    assert (suite.name, [task.name for task in suite.tasks]) == (name, tasks)
    first = suite.items(tasks[0], "eval")[0]
    assert (first.choices[first.answer], first.truth) == (choices[1], None)
    shuffled = name == "array/SAT-v2"  # its first choice is always right
    assert sorted(first.choices) == sorted(choices) if shuffled else first.choices == choices
    assert re.search(r"^[^(<:]+[?.]\n", first.prompt)
    assert f"\n({'AB'[first.answer]}) {choices[1]}" in first.prompt
    assert all(image.pixels().shape == (10, 20, 3) for image in first.images)
    trained = suite.sources
    others = {"array/SAT-v2": ("other", *tasks), "MLL-Lab/MindCube": tuple(tasks)}
    assert trained == others.get(name, ())
    assert all(len(suite.items(task, "train")) == 1 for task in trained)


def test_presets_read_what_differs_from_row_to_row(tmp_path: Path) -> None:
    for name in ("array/SAT-v2", "jasonzhango/SPAR-Bench", "RunsenXu/MMSI-Bench"):
        (tmp_path / name).mkdir(parents=True)
        SETS[name][0](tmp_path / name)
    suites = {
        name: open_suite("hub", hub=name, path=tmp_path / name)
        for name in SETS
        if (tmp_path / name).exists()
    }
    moved = suites["array/SAT-v2"].items("action_conseq", "eval")[0]
    assert [image.content() for image in moved.images] == [png(("test", 1, k)) for k in range(2)]
    depth = suites["jasonzhango/SPAR-Bench"].items("depth_prediction_oc", "eval")[0]
    assert (depth.truth, depth.prompt) == (NumberAnswer(1.7), "How deep is it, in meters?")
    where = suites["jasonzhango/SPAR-Bench"].items("obj_spatial_relation_oo", "eval")[0]
    assert where.question == "Where is it?\nPick the option."
    assert [len(i.images) for i in suites["RunsenXu/MMSI-Bench"].items("MSR", "eval")] == [2]
    assert suites["jasonzhango/SPAR-Bench"].notes == [
        "jasonzhango/SPAR-Bench, eval: rows of these tasks are left out: view_change_infer (1)"
    ]


def test_a_question_of_cv_bench_is_the_benchmarks_prompt(tmp_path: Path) -> None:
    cv_bench(tmp_path)
    suite = open_suite("hub", hub="nyu-visionx/CV-Bench", path=tmp_path)
    assert suite.items("Count", "eval")[0].prompt == (
        "How many cats are in the image? Select from the following choices.\n"
        "(A) 3\n(B) 2\n(C) 1\n(D) 0"
    )


# Each way to write an item


@pytest.mark.parametrize(
    "image",
    [
        "a.png",
        ["a.png"],
        {"path": "a.png"},
        base64.b64encode(png(0)).decode(),
        "data:image/png;base64," + base64.b64encode(png(0)).decode(),
        {"bytes": base64.b64encode(png(0)).decode(), "path": "elsewhere.png"},
    ],
)
def test_an_image_is_a_path_or_base64_also_in_lists(tmp_path: Path, image: object) -> None:
    item = only(data(tmp_path, ROW | {"image": image}))
    assert np.array_equal(item.images[0].pixels(), np.asarray(made.noise(0, (20, 10))))


@pytest.mark.parametrize("cell", [struct, png, lambda n: [struct(n)], lambda n: [png(n)]])
def test_encoded_images_of_parquet_are_read_in_parts(tmp_path: Path, cell, monkeypatch) -> None:
    monkeypatch.setattr("transferscope.suites.snapshot.ROWS", 3)
    rows = [ROW | {"image": cell(n)} for n in range(8)]
    parquet(tmp_path / "test.parquet", rows)
    items = open_suite("hub", path=tmp_path, columns=COLUMNS).items(tmp_path.name, "eval")
    assert [item.images[0].content() for item in items] == [png(n) for n in range(8)]
    assert [item.id for item in items[:2]] == ["eval-1", "eval-2"]


def test_several_columns_of_images_of_which_later_ones_may_be_empty(tmp_path: Path) -> None:
    rows = [ROW | {"image_1": struct(n), "image_2": struct(9) if n else None} for n in (1, 0)]
    parquet(tmp_path / "test.parquet", rows)
    columns = COLUMNS | {"images": ["image_1", "image_2"]}
    items = open_suite("hub", path=tmp_path, columns=columns).items(tmp_path.name, "eval")
    assert [[i.content() for i in item.images] for item in items] == [[png(1), png(9)], [png(0)]]


@pytest.mark.parametrize(
    "choices",
    [
        ["left", "right"],
        ["A. left", "B. right"],
        {"A": "left", "B": "right", "C": None},
        '["left", "right"]',
        "['left', 'right']",
        '{"A": "left", "B": "right"}',
        "A. left\nB. right",
        "A: left, B: right",
        "(a) left (b) right",
        "Options: A) left B) right",
        "Options: A: left, B: right, C: nan, D: nan",
        ["left", "right", float("nan")],
    ],
)
def test_choices_are_a_list_a_struct_or_text(tmp_path: Path, choices: object) -> None:
    item = only(data(tmp_path, ROW | {"choices": choices}))
    assert (item.choices, item.answer) == (("left", "right"), 1)
    assert item.prompt == "Which?\nSelect from the following choices.\n(A) left\n(B) right"


def test_choices_in_several_columns(tmp_path: Path) -> None:
    letters = {"A": "left", "B": "right", "C": None, "D": ""}
    assert only(data(tmp_path, ROW | letters, columns={"choices": [*"ABCD"]})).choices == (
        *("left", "right"),
    )
    with raises(DataError):  # B is missing, so the letters after it would be others
        only(data(tmp_path, ROW | letters | {"B": None, "C": "up"}, columns={"choices": [*"ABC"]}))


@pytest.mark.parametrize(
    ("text", "question", "choices"),
    [
        ("Which? (A) x (B) y", "Which?", ["x", "y"]),
        (
            "Is A. or B. right?\nA. yes\nB. no\nChoose.",
            "Is A. or B. right?\nChoose.",
            ["yes", "no"],
        ),
        ("Q\nChoices:\nA) x\nB) y\nC) z", "Q", ["x", "y", "z"]),
        ("Q Options: A: x, y, B: z, C: w", "Q", ["x, y", "z", "w"]),
        ("Q\nOptions: A: x, B: y; C: z; D: w", "Q", ["x", "y", "z", "w"]),
        ("Q\nA. x, \nB. y, \nC. z, w", "Q", ["x,", "y,", "z, w"]),
        ("Q\nOptions: A: f(a), (a) of g, B: f, (b), C: nan", "Q", ["f(a), (a) of g", "f, (b)"]),
        (
            "Of the points (A), (B), (C): which?\nOptions: A: (A), B: (B), C: (C)",
            "Of the points (A), (B), (C): which?",
            ["(A)", "(B)", "(C)"],
        ),
        ("Where is camera A. It moves", None, None),
        ("", None, None),
    ],
)
def test_options_in_a_question_are_found(text: str, question: str | None, choices) -> None:
    assert in_text(text) == (None if choices is None else (question, choices))


NUMBERS = {"choices": ["3", "2", "0"]}


@pytest.mark.parametrize(
    ("answer", "kind", "row", "index"),
    [
        ("B", "option", {}, 1),
        ("(b)", "letter", {}, 1),
        ("B. right", "letter", {}, 1),
        ("right", "option", {}, 1),
        ("Right", "choice", {}, 1),
        (1, "option", {}, 1),
        (1.0, "index", {}, 1),
        ("1", "index", {}, 1),
        (1, "index_from_1", {}, 0),
        ("2", "choice", NUMBERS, 1),
        ("2", "index", NUMBERS, 2),
        ("3", "option", NUMBERS, 0),
        ("B", "choice", {"choices": ["B", "A"]}, 0),
        ("B", "letter", {"choices": ["B", "A"]}, 1),
    ],
)
def test_an_option_is_named_by_letter_text_or_index(tmp_path: Path, answer, kind, row, index):
    assert only(data(tmp_path, ROW | row | {"answer": answer}, answer=kind)).answer == index


@pytest.mark.parametrize(
    ("answer", "kind", "row"),
    [
        ("2", "option", NUMBERS),  # the second choice by text, the third by index
        ("B", "option", {"choices": ["B", "A"]}),
        ("C", "option", {}),
        ("B. left", "letter", {}),
        (2, "index", {}),
        (0, "index_from_1", {}),
        (True, "index", {}),
        (None, "option", {}),
        ("same", "choice", {"choices": ["same", "same"]}),
    ],
)
def test_an_answer_that_names_no_option_or_two_is_refused(
    tmp_path: Path, answer, kind, row
) -> None:
    with raises(DataError):
        only(data(tmp_path, ROW | row | {"answer": answer}, answer=kind))


@pytest.mark.parametrize(
    ("answer", "options", "truth"),
    [
        (2, {"answer": "number"}, NumberAnswer(2.0)),
        ("1,200.5 m", {"answer": "number", "measure": "exact"}, NumberAnswer(1200.5, exact=True)),
        ("cat", {"answer": "text"}, TextAnswer(("cat",))),
        (
            ["cat", "cats"],
            {"answer": "text", "measure": "anls"},
            TextAnswer(("cat", "cats"), "anls"),
        ),
        ([{"answer": "cat"}], {"answer": "text", "measure": "vqa"}, TextAnswer(("cat",), "vqa")),
        ([0.25, 0.5], {"answer": "point"}, PointAnswer(0.25, 0.5)),
        ({"x": 5, "y": 5}, {"answer": "point", "coordinates": "pixels"}, PointAnswer(0.25, 0.5)),
        (
            "(250,500)",
            {"answer": "point", "coordinates": 1000, "radius": 0.2},
            PointAnswer(0.25, 0.5, 0.2),
        ),
        ("[[0, 5, 10, 10]]", {"answer": "box", "coordinates": "pixels"}, BoxAnswer(0, 0.5, 0.5, 1)),
    ],
)
def test_an_open_answer_of_each_kind(tmp_path: Path, answer, options, truth) -> None:
    row = {key: value for key, value in ROW.items() if key != "choices"} | {"answer": answer}
    jsonl(tmp_path / "test.jsonl", [row])
    (tmp_path / "a.png").write_bytes(png(0))
    item = only(open_suite("hub", path=tmp_path, columns={"images": "image"}, **options))
    assert (item.truth, item.choices, item.prompt, item.answer) == (truth, (), "Which?", -1)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("1 or 2", "number"),
        ("many", "number"),
        (True, "number"),
        ("nan", "number"),
        ([], "text"),
        ([0.1], "point"),
        ([0.1, 1.5], "point"),
        ([0.5, 0.1, 0.2, 0.4], "box"),
    ],
)
def test_an_open_answer_that_is_none_is_refused(tmp_path: Path, answer, kind) -> None:
    with raises(DataError):
        only(data(tmp_path, ROW | {"answer": answer, "choices": None}, answer=kind))


def test_prompt_id_and_group_may_have_columns_and_marks_of_images_go(tmp_path: Path) -> None:
    row = ROW | {
        "n": 7,
        "text": "Look: <image>\n?",
        "scene": "s1",
        "question": "<image>\nIn <image 1>?",
    }
    item = only(data(tmp_path, row, columns={"id": "n", "prompt": "text", "group": "scene"}))
    assert (item.id, item.prompt, item.group) == ("7", "Look: <image>\n?", "s1")
    assert only(data(tmp_path, row)).question == "In image 1?"
    shown = {"choices": ["<image 1>", "<image 2>"], "answer": "B"}
    assert only(data(tmp_path, ROW | shown)).choices == ("image 1", "image 2")


def test_choices_are_shuffled_where_one_letter_is_always_right(tmp_path: Path) -> None:
    rows = [ROW | {"choices": [f"{n}", "no", "yes"], "answer": "A"} for n in range(30)]
    given = data(tmp_path, *rows)
    first = given.items(tmp_path.name, "eval")
    assert given.notes == [
        f"{tmp_path}, eval: A is right in all 30 items of {tmp_path.name}, so that a letter "
        "suffices; set suite.shuffle"
    ]
    shuffled, again = (data(tmp_path, *rows, shuffle=True) for _ in range(2))
    items = shuffled.items(tmp_path.name, "eval")
    assert shuffled.notes == []
    assert {item.answer for item in items} == {0, 1, 2}
    assert [i.digest() for i in again.items(tmp_path.name, "eval")] == [i.digest() for i in items]
    for item, before in zip(items, first, strict=True):
        assert sorted(item.choices) == sorted(before.choices)
        assert item.choices[item.answer] == before.choices[before.answer]
        assert f"\n({'ABC'[item.answer]}) {before.choices[0]}" in item.prompt


def test_items_that_share_an_image_have_a_group(tmp_path: Path) -> None:
    items = data(tmp_path, ROW, ROW | {"question": "And?"}).items(tmp_path.name, "eval")
    assert [item.group for item in items] == ["images of eval-1"] * 2


# Splits and tasks


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        (["data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet"], "test", 2),
        (["test.jsonl", "test.parquet", "SAT_test.parquet", "contest.parquet"], "test", 2),
        (["default/test/0000.parquet", "default/train/0000.parquet"], "test", 1),
        (["full/test-0.jsonl", "tiny/test-0.jsonl"], "tiny/test", 1),
        (["data/validation-00000-of-00001-62423835.parquet"], "validation", 1),
        (["a/x_2d.json", "a/x_3d.json"], "a/*_3d.json", 1),
    ],
)
def test_a_split_is_found_by_its_name_or_a_pattern(names, wanted, found, tmp_path: Path) -> None:
    assert len(Files("set", names, lambda patterns: tmp_path).tables(wanted)) == found


def test_a_split_of_two_configurations_or_of_no_file_is_refused(tmp_path: Path) -> None:
    with raises(StudyError):
        Files("set", ["full/test.jsonl", "tiny/test.jsonl"], lambda _: tmp_path).tables("test")
    for names in (["full/train.jsonl"], []):
        with raises(DataError):
            Files("set", names, lambda _: tmp_path).tables("test")


def test_the_split_and_the_task_may_be_columns(tmp_path: Path) -> None:
    rows = [
        ROW | {"part": part, "kind": kind, "question": f"{part} {n}?"}
        for n, (part, kind) in enumerate(
            [("fit", "a/b"), ("val", "a/b"), ("val", "Öl c"), ("val", "other"), ("fit", "other")]
        )
    ]
    columns = {"split": "part", "task": "kind"}
    options = {"train": "fit", "eval": "val"}
    suite = data(tmp_path, *rows, columns=columns, **options)
    assert [task.name for task in suite.tasks] == ["a_b", "l_c", "other"]
    assert suite.sources == ("a_b", "other")
    assert [item.question for item in suite.items("a_b", "eval")] == ["val 1?"]
    assert [item.id for item in suite.items("other", "train")] == ["train-2"]
    chosen = data(tmp_path, *rows, columns=columns, select=["a/*", "o*"], **options)
    assert [task.name for task in chosen.tasks] == ["a_b", "other"]
    named = data(tmp_path, *rows, columns=columns, select={"X": "a*", "Y": "*"}, **options)
    assert [len(named.items(name, "eval")) for name in "XY"] == [1, 2]
    for more in (
        {"select": ["none"]},
        {"eval": "nothing"},
        {"columns": columns | {"task": "sort"}},
    ):
        with raises((DataError, StudyError)):
            data(tmp_path, *rows, **({"columns": columns} | options | more))


def test_tasks_whose_names_look_alike_are_not_merged(tmp_path: Path) -> None:
    rows = [ROW | {"kind": "near by"}, ROW | {"kind": "near-by", "question": "?"}]
    rows.append(ROW | {"kind": "Near by", "question": "??"})
    assert len(data(tmp_path, *rows[:2], columns={"task": "kind"}).tasks) == 2
    with raises(StudyError):
        data(tmp_path, *rows, columns={"task": "kind"})


def test_many_images_are_downloaded_by_folder_and_format(tmp_path: Path) -> None:
    patterns = []
    names = [f"a[b]/{n}.png" for n in range(101)]
    Files("set", names, lambda wanted: patterns.extend(wanted) or tmp_path).get(names)
    assert patterns == ["a[[]b]/*.png"]


def test_without_a_training_split_the_folder_that_training_names_is_used(tmp_path: Path) -> None:
    folder = made.training(tmp_path / "training")
    suite = data(tmp_path, ROW, training=folder)
    assert suite.sources == ("Jigsaw", "Relative_Depth", "Relative_Reflectance")
    assert len(suite.items("Jigsaw", "train")) == 4
    assert data(tmp_path, ROW).sources == ()
    with raises(StudyError):
        data(tmp_path, ROW).items(tmp_path.name, "train")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": "."},
        {"hub": "nyu-visionx/CVBench", "path": "."},
        {"path": ".", "columns": {"image": "a"}},
        {"path": ".", "columns": {"images": "a"}, "answer": "words"},
        {"path": "nowhere", "columns": {"images": "a"}},
    ],
)
def test_what_is_no_data_set_is_refused(options: Any) -> None:
    with raises(StudyError):
        open_suite("hub", **options)


# Rows that are not what they must be


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "b.png"},
        {"image": None},
        {"image": "text.txt"},
        {"image": "../secret.png"},
        {"image": "/etc/passwd"},
        {"image": "out.png"},
        {"question": " "},
        {"choices": ["one"]},
        {"choices": "left or right"},
        {"choices": "[left"},
        {"choices": None},
        {"choices": "absent"},
        {"answer": "absent"},
        {"kind": None},
        {"kind": "!"},
        {"n": 1},
    ],
)
def test_a_wrong_row_is_named_with_its_column(tmp_path: Path, changes) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    (folder := tmp_path / "set").mkdir()
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "text.txt").write_text("no image")
    row = ROW | {"kind": "T", "n": 1}
    wrong = {key: value for key, value in (row | {"n": 2} | changes).items() if value != "absent"}
    suite = data(folder, row, wrong, columns={"task": "kind", "id": "n"})
    first, second = suite.checked("T", "eval")
    bad, item = (first, second) if isinstance(first, DataError) else (second, first)
    assert isinstance(item, Item)
    with raises(DataError):
        raise bad
    with pytest.raises(DataError):
        suite.items("T", "eval")


def test_damaged_tables_and_missing_columns_are_named(tmp_path: Path) -> None:
    def opened() -> Any:
        suite = open_suite("hub", path=tmp_path, columns=COLUMNS)
        return suite.items(tmp_path.name, "eval")

    for text in ("{", "[1]", '{"a": 1}', '[{"question": "?"}]'):
        (tmp_path / "test.json").write_text(text)
        with raises(DataError):
            opened()
    parquet(tmp_path / "test.parquet", [ROW | {"image": struct(n)} for n in range(90)])
    whole = (tmp_path / "test.parquet").read_bytes()
    (tmp_path / "test.parquet").write_bytes(whole[:500])
    with raises(DataError):
        opened()


def test_archives_are_read_within_bounds(tmp_path: Path, monkeypatch) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/1.png", png(1))
        archive.writestr("../2.png", png(2))
    row = ROW | {"image": "images/1.png"}
    assert only(data(tmp_path, row)).images[0].content() == png(1)
    assert only(data(tmp_path, ROW | {"image": "../2.png"})).images[0].content() == png(2)
    monkeypatch.setattr("transferscope.suites.snapshot.MAX_BYTES", 100)
    with raises(DataError):
        only(data(tmp_path, row))
    (tmp_path / "images.zip").write_bytes(b"no archive")
    with raises(DataError):
        only(data(tmp_path, row))


def test_a_list_in_json_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "test.json").write_text(json.dumps({"version": 1, "data": [ROW]}))
    assert only(open_suite("hub", path=tmp_path, columns=COLUMNS)).answer == 1


# From the Hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch):
    """A Hub with one data set; the patterns of files that were downloaded."""
    import huggingface_hub

    folder, commit = tmp_path / "hub", tmp_path / "cache" / ("0123456789" * 4)
    folder.mkdir()
    downloaded = []

    def info(self, repository, *, revision):
        files = [SimpleNamespace(rfilename=name) for name in names_in(folder)]
        return SimpleNamespace(sha=commit.name, siblings=files)

    def snapshot_download(repository, *, repo_type, revision, allow_patterns=None, **offline):
        assert revision == (None if offline else commit.name)
        for pattern in allow_patterns or ():
            for path in folder.glob(pattern):
                downloaded.append(path.relative_to(folder).as_posix())
                (commit / downloaded[-1]).parent.mkdir(parents=True, exist_ok=True)
                (commit / downloaded[-1]).write_bytes(path.read_bytes())
        return str(commit)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return folder, downloaded


def test_only_the_files_that_are_read_come_from_the_hub(hub) -> None:
    folder, downloaded = hub
    sat(folder)
    suite = open_suite("hub", hub="array/SAT-v2")
    assert suite.version == "0123456789" * 4
    assert downloaded == ["data/test-00000-of-00001.parquet"]
    suite.items("ego_movement", "eval")
    assert len(downloaded) == 1
    assert suite.sources == ("other", "ego_movement", "action_conseq")
    assert downloaded[1:] == ["data/train-00000-of-00001.parquet"]


def test_only_the_images_and_archives_that_rows_name_come_from_the_hub(hub) -> None:
    folder, downloaded = hub
    for name in ("a", "b", "unused"):
        (folder / f"{name}.png").write_bytes(png(name))
    rows = [ROW | {"image": "a.png"}, ROW | {"image": "c/1.png"}]
    jsonl(folder / "test.jsonl", rows)
    for name in ("c", "d"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr("1.png", png(name))
    suite = open_suite("hub", hub="someone/set", columns=COLUMNS)
    assert [i.images[0].content() for i in suite.items("set", "eval")] == [png("a"), png("c")]
    assert downloaded == ["test.jsonl", "a.png", "c.zip"]  # not b.png, d.zip


def test_without_a_connection_the_hubs_cache_is_used(hub, monkeypatch) -> None:
    import huggingface_hub

    folder, _ = hub
    cv_bench(folder)
    name = "nyu-visionx/CV-Bench"
    before = open_suite("hub", hub=name).items("Count", "eval")

    def offline(self, repository, *, revision):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", offline)
    assert open_suite("hub", hub=name).items("Count", "eval")[0].digest() == before[0].digest()
    monkeypatch.setattr("transferscope.suites.hub.cached", lambda *_: None)
    with raises(StudyError):
        open_suite("hub", hub=name)


# In a study

STUDY = """
name: s
models: {{s: glimpse-s}}
suite: {{hub: nyu-visionx/CV-Bench, path: {path}, train: test_3d.parquet, answer: option}}
"""


def test_a_study_file_names_a_data_set_and_what_differs_from_its_preset(tmp_path: Path) -> None:
    cv_bench(tmp_path / "set")
    study = parse_study(STUDY.format(path="set"), "s.yaml", tmp_path)
    assert (study.suite.name, study.targets, study.sources) == (
        "hub",
        ("Count", "Depth"),
        ("Depth",),
    )
    options = study.suite.options
    assert options["columns"]["images"] == "image"
    assert (options["answer"], options["eval"]) == ("option", "test_*.parquet")
    again = parse_study(resolved(study).decode(), "study.yaml")
    assert again == study
    one = suite_of(study).items("Count", "eval")[0]
    assert one.digest() == local_suite(resolved(study), "s").items("Count", "eval")[0].digest()
    with raises(StudyError):
        local_suite(resolved(study).replace(b"nyu", b"nyx"), "s", folders=False)


def test_a_study_refuses_training_items_that_it_evaluates(tmp_path: Path) -> None:
    cv_bench(tmp_path)
    items = StudyItems(parse_study(STUDY.format(path=tmp_path), "s.yaml"))
    with raises(StudyError):
        items.refuse_overlap(items.split("Depth", "train"))
