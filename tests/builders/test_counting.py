"""Counting items from a miniature of TallyQA, laid out and written as the original is."""

import json
from pathlib import Path
from typing import Any

import pytest
from messages import raises
from training_factory import built, photo, save, shown

from transferscope.builders.build import build
from transferscope.builders.counting import choices_for
from transferscope.errors import DataError

TASK = "Counting"


def question(number: int, answer: Any, image: str, **changes: Any) -> dict[str, Any]:
    return {
        "answer": answer, "data_source": "amt", "image": image,
        "image_id": 90000000 + number, "question": f"How many ducks of kind {number}?",
        "question_id": 30000000 + number,
    } | changes  # fmt: skip


IMAGES = ("VG_100K_2/2410408.jpg", "VG_100K/7.jpg", "train2014/COCO_train2014_000000000009.jpg")


@pytest.fixture
def tallyqa(tmp_path: Path) -> Path:
    """One question of each count from 0 to 7, on three images of three kinds."""
    root = tmp_path / "TallyQA"
    save(photo(1, (320, 240)), root / IMAGES[0])
    save(photo(2, (320, 240)).convert("P"), root / "VG_100K" / "7.jpg", format="PNG")
    save(photo(3, (320, 240)).convert("L"), root / IMAGES[2])
    questions = [question(count, count, IMAGES[count % 3]) for count in range(8)]
    (root / "train.json").write_text(json.dumps(questions))
    return root


@pytest.mark.parametrize(
    ("count", "choices"),
    # Recovered from the benchmark's items: no exception is known.
    [(0, "0123"), (1, "0123"), (2, "1234"), (3, "2345"), (4, "3456"), (5, "3456"), (6, "3456")],
)
def test_choices_follow_the_benchmarks_rule(count: int, choices: str) -> None:
    assert choices_for(count) == [int(one) for one in choices]


def test_the_right_count_stands_at_the_answers_letter(tallyqa: Path, tmp_path: Path) -> None:
    done, rows = built(TASK, tallyqa, tmp_path / "out", 7)
    assert max(done.answers.values()) - min(done.answers.values()) == 1
    for row in rows:
        count = int(row["question"].split()[-1].rstrip("?"))
        assert row["choices"]["ABCD".index(row["answer"])] == str(count)
        assert sorted(map(int, row["choices"])) == choices_for(count)
        lines = [f"({letter}) {text}" for letter, text in zip("ABCD", row["choices"], strict=True)]
        lead = "Select from the following choices."
        assert row["prompt"] == "\n".join([row["question"], lead, *lines])
        assert shown(tmp_path / "out", TASK, row)[0].shape == (240, 320, 3)
    assert done.skipped["a count that the benchmark does not ask for"]["count"] == 1


def test_wrong_counts_stand_in_different_orders(tallyqa: Path, tmp_path: Path) -> None:
    _, rows = built(TASK, tallyqa, tmp_path / "out", 7)
    orders = set()
    for row in rows:
        wrong = [one for n, one in enumerate(row["choices"]) if "ABCD"[n] != row["answer"]]
        orders.add(tuple(sorted(wrong).index(one) for one in wrong))
    assert len(orders) >= 3


def test_every_image_is_used_before_any_is_used_twice(tallyqa: Path, tmp_path: Path) -> None:
    for seed in range(5):
        _, rows = built(TASK, tallyqa, tmp_path / f"out{seed}", 7, seed)
        assert len({row["origin"]["file"] for row in rows[:3]}) == 3


def test_images_of_the_tests_are_left_out(tallyqa: Path, tmp_path: Path) -> None:
    (tallyqa / "test.json").write_text(json.dumps([question(50, 1, IMAGES[0], issimple=True)]))
    done, rows = built(TASK, tallyqa, tmp_path / "out", 4)
    assert IMAGES[0] not in {row["origin"]["file"] for row in rows}
    assert done.skipped["an image of the data set's own tests"]["count"] == 3  # counts 0, 3, 6


def test_images_are_found_in_a_folder_of_their_own(tallyqa: Path, tmp_path: Path) -> None:
    (tallyqa / "images").mkdir()
    for folder in ("VG_100K", "VG_100K_2", "train2014"):
        (tallyqa / folder).rename(tallyqa / "images" / folder)
    assert build(TASK, tallyqa, tmp_path / "out", items=7).made == 7


def test_only_the_complex_questions_that_people_wrote_are_asked(
    tallyqa: Path, tmp_path: Path
) -> None:
    questions = json.loads((tallyqa / "train.json").read_text())
    others = ("imported_genome", "imported_vqa", "tdiuc_templates", "generate")
    simple = [question(70 + n, 2, IMAGES[0], data_source=one) for n, one in enumerate(others)]
    (tallyqa / "train.json").write_text(json.dumps([*questions, *simple]))
    done, rows = built(TASK, tallyqa, tmp_path / "out", 20)
    assert done.skipped["a question whose data_source is not 'amt'"]["count"] == 4
    assert {row["origin"]["data_source"] for row in rows} == {"amt"}


def test_odd_questions_are_counted(tallyqa: Path, tmp_path: Path) -> None:
    questions = json.loads((tallyqa / "train.json").read_text())
    odd = [
        question(60, "two", IMAGES[0]),
        question(61, -1, IMAGES[0]),
        question(62, True, IMAGES[0]),
        question(63, 2, IMAGES[0], question="  "),
        "How many?",
        {"answer": 1},
        question(64, 2, "/etc/passwd"),
        question(65, 2, "VG_100K/none.jpg"),
    ]
    (tallyqa / "train.json").write_text(json.dumps([*questions, *odd]))
    done, _ = built(TASK, tallyqa, tmp_path / "out", 20)
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts["an incomplete annotation"] == 6
    assert counts["a file name that leads out of the data set"] == 1
    assert counts["an image that is missing"] == 1


@pytest.mark.parametrize(("text", "complaint"), [("{}", "not a list"), ("[", "not JSON")])
def test_a_file_that_is_no_list_of_questions_is_refused(
    tallyqa: Path, tmp_path: Path, text: str, complaint: str
) -> None:
    (tallyqa / "train.json").write_text(text)
    with raises(DataError):
        build(TASK, tallyqa, tmp_path / "out")
