"""`suites check`: every row read, each problem with its place, and what the items are like."""

import json
import math
from pathlib import Path

import benchmark_factory as made
import pytest

ROW = {"question": "Which?", "choices": ["left", "right"], "answer": "A"}


def rows(folder: Path, split: str, *changes: dict[str, object]) -> None:
    """A split of the folder suite `mine`, an image of its own for each row."""
    (folder / "T").mkdir(parents=True, exist_ok=True)
    (folder / "suite.yaml").write_text("name: mine\ntasks: [{name: T}]\n")
    lines = []
    for number, change in enumerate(changes):
        (folder / "T" / f"{split}{number}.png").write_bytes(
            made.encoded(made.noise((split, number)))
        )
        row = {"id": f"{number}", "images": [f"{split}{number}.png"]} | ROW | change
        lines.append(json.dumps(row))
    (folder / "T" / f"{split}.jsonl").write_text("\n".join(lines))


def test_a_suite_without_problems_is_counted_and_the_code_is_0(run, tmp_path: Path) -> None:
    rows(tmp_path, "train", {}, {"answer": "B"})
    rows(tmp_path, "eval", {}, {"answer": "B"}, {"choices": ["1", "2", "3"], "answer": "C"})
    code, text, _ = run("suites", "check", tmp_path, "--json")
    record = json.loads(text)
    assert (code, record["wrong"], record["suite"]) == (0, [], "mine")
    assert [(one["split"], one["items"]) for one in record["splits"]] == [("eval", 3), ("train", 2)]
    assert record["splits"][0]["options"] == {"2": 2, "3": 1}
    assert record["splits"][0]["right"] == {"A": 1, "B": 1, "C": 1}
    code, text, _ = run("suites", "check", tmp_path)
    assert (code, "A 1 B 1 C 1" in text) == (0, True)


def test_every_problem_is_named_with_file_row_and_column_and_the_code_is_1(run, tmp_path: Path):
    same = {"images": ["eval0.png"]}
    rows(
        tmp_path,
        "eval",
        {},
        {"answer": "C"},
        same,
        {"id": "0"},
        {"images": []},
        {"question": 3},
        {"choices": ["1", "1"]},
    )
    copied = {"images": ["eval0.png"], "question": "In other words?"}
    rows(tmp_path, "train", {}, copied)
    code, text, _ = run("suites", "check", tmp_path, "--json")
    record = json.loads(text)
    path = tmp_path / "T" / "eval.jsonl"
    assert code == 1
    assert record["wrong"] == [
        f"{path}:2: answer 'C', but there are 2 choices",
        "T, eval: item '2' repeats '0'",
        f"{path}:4: id '0' is also in line 1",
        f"{path}:5: images: List should have at least 1 item after validation, not 0; found '[]'",
        f"{path}:6: question: Input should be a valid string; found '3'",
        "T, eval: item '6' offers '1' more than once",
        "training item '1' of T is evaluation item '0' of T: the same images, with the same "
        "question or choices",
    ]
    assert [(one["items"], one["wrong"]) for one in record["splits"]] == [(3, 6), (2, 0)]
    code, text, _ = run("suites", "check", tmp_path)
    assert code == 1
    assert all(problem in text for problem in record["wrong"])


def test_a_training_item_with_an_open_answer_is_compared_by_its_question(run, tmp_path: Path):
    free = {"choices": None, "answer": {"number": 2}, "images": ["eval0.png"]}
    rows(tmp_path, "eval", free)
    rows(tmp_path, "train", free, free | {"question": "Another?"})
    code, text, _ = run("suites", "check", tmp_path, "--json")
    (wrong,) = json.loads(text)["wrong"]
    assert (code, wrong[:39]) == (1, "training item '0' of T is evaluation it")


def test_letters_that_give_answers_away_have_a_small_p(run, tmp_path: Path) -> None:
    rows(tmp_path, "eval", *({"answer": "B" if n < 2 else "A"} for n in range(40)))
    _, text, _ = run("suites", "check", tmp_path, "--json")
    # With two letters, chi squared is the square of (2 - 20) / sqrt(40 / 4).
    expected = math.erfc(18 / math.sqrt(10) / math.sqrt(2))
    assert json.loads(text)["splits"][0]["uneven"] == pytest.approx(expected, rel=1e-6)


def test_a_data_set_is_checked_with_options_and_a_study_by_its_file(run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.png").write_bytes(made.encoded(made.noise(0)))
    good, bad = ROW | {"image": "a.png"}, ROW | {"image": "b\x1b[2J.png"}
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, (good, bad))))
    columns = "columns={images: image, choices: choices}"
    code, text, _ = run("suites", "check", "hub", "-s", f"path={folder}", "-s", columns)
    assert code == 1
    assert "test.jsonl:2: image: expected an image's file or base64, found 'b" in text
    assert "\x1b" not in text
    study = f"name: s\nmodels: {{s: glimpse-s}}\nsuite: {{hub: a/b, path: {folder}, {columns}}}\n"
    (tmp_path / "study.yaml").write_text(study.replace("columns=", "columns: "))
    code, text, _ = run("suites", "check", tmp_path / "study.yaml", "--json")
    assert (code, json.loads(text)["suite"]) == (1, "a/b")
    assert run("suites", "check", tmp_path / "study.yaml", "-s", "path=x")[0] == 2


def test_tasks_of_one_split_only_are_named_by_check_and_plan(run, tmp_path: Path) -> None:
    folder, study = tmp_path / "set", tmp_path / "study.yaml"
    folder.mkdir()

    def written(train: list[str], test: list[str]) -> list[str]:
        """What `suites check` and `plan` say of splits with these tasks."""
        for split, kinds in (("train", train), ("test", test)):
            for kind in kinds:
                (folder / f"{kind}-{split}.png").write_bytes(
                    made.encoded(made.noise((split, kind)))
                )
            lines = [ROW | {"image": f"{kind}-{split}.png", "kind": kind} for kind in kinds]
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        columns = "{images: image, choices: choices, task: kind}"
        study.write_text(
            "name: s\nmodels: {s: glimpse-s}\n"
            f"suite: {{hub: a/b, path: {folder}, train: train, columns: {columns}}}\n"
        )
        shown = [run("suites", "check", study), run("plan", study, "--no-calibration")]
        assert [code for code, _, _ in shown] == [0, 0]
        return [error for _, _, error in shown]

    said = "a/b: tasks in the train split only: old, older; in the eval split only: new; suite."
    for error in written(["both", "old", "older"], ["new", "both"]):
        assert said in error
    for error in written(["both"], ["both", "new"]):
        assert "a/b: tasks in the eval split only: new\n" in error
    assert "split only" not in "".join(written(["both"], ["both"]))
