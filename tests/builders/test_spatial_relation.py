"""Spatial_Relation items from a miniature of VSR, laid out and written as the original is."""

import json
from pathlib import Path
from typing import Any

import pytest
from messages import raises
from training_factory import built, difference, photo, save, shown, turned

from transferscope.builders.build import build
from transferscope.builders.spatial_relation import question_of
from transferscope.errors import DataError

TASK = "Spatial_Relation"


def row(image: int, caption: str, relation: str, label: int, **changes: Any) -> dict[str, Any]:
    return {
        "image": f"{image:012d}.jpg",
        "image_link": f"http://images.cocodataset.org/train2017/{image:012d}.jpg",
        "caption": caption, "label": label, "relation": relation, "annotator_id": 31,
        "vote_true_validator_id": "[2, 6]", "vote_false_validator_id": "[]",
        "reference_frame": None,
    } | changes  # fmt: skip


ROWS = [
    row(1, "The person is on the horse.", "on", 1),
    row(2, "The cat is left of the dog.", "left of", 0),
    row(3, "The train contains the laptop.", "contains", 1, reference_frame=1.0),
    row(4, "The pizza is at the edge of the dining table.", "at the edge of", 0),
]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(one) for one in rows) + "\n", encoding="utf-8")


@pytest.fixture
def vsr(tmp_path: Path) -> Path:
    root = tmp_path / "visual-spatial-reasoning"
    write(root / "data" / "splits" / "random" / "train.jsonl", ROWS)
    tests = [row(9, "The cat is on the dog.", "on", 1)]
    write(root / "data" / "splits" / "random" / "test.jsonl", tests)
    for number in range(1, 5):
        save(photo(number, (320, 240)), root / "data" / "images" / f"{number:012d}.jpg")
    return root


def test_captions_become_the_benchmarks_questions(vsr: Path, tmp_path: Path) -> None:
    done, rows = built(TASK, vsr, tmp_path / "out", 4)
    assert done.answers == {"A": 2, "B": 2}
    asked = {one["question"]: one["answer"] for one in rows}
    assert asked == {
        "Is the person on the horse?": "A",  # label 1: yes
        "Is the cat left of the dog?": "B",
        "Does the train contain the laptop?": "A",
        "Is the pizza at the edge of the dining table?": "B",
    }
    for one in rows:
        assert one["choices"] == ["yes", "no"]
        assert one["prompt"] == (
            f"{one['question']}\nSelect from the following choices.\n(A) yes\n(B) no"
        )


def test_images_are_shown_as_they_are(vsr: Path, tmp_path: Path) -> None:
    image, exif = turned(photo(4, (320, 240)))
    save(image, vsr / "data" / "images" / f"{4:012d}.jpg", exif=exif, quality=95)
    _, rows = built(TASK, vsr, tmp_path / "out", 4)
    for one in rows:
        (pixels,) = shown(tmp_path / "out", TASK, one)
        number = int(one["origin"]["file"].removesuffix(".jpg"))
        assert pixels.shape == (240, 320, 3)
        assert difference(pixels, photo(number, (320, 240))) < 4


@pytest.mark.parametrize(
    ("caption", "relation", "question"),
    [
        ("The cat is behind the dog.", "behind", "Is the cat behind the dog?"),
        ("The person is on the bench", "on", "Is the person on the bench?"),
        ("The horse is far away from the person.", "far away from", "Is the horse far away from "
         "the person?"),
        ("The pizza consists of the apple.", "consists of", "Does the pizza consist of the apple?"),
        ("The bus has as a part the bench.", "has as a part", "Does the bus have the bench as a "
         "part?"),
        ("The cat beside the dog.", "beside", None),
        ("The cat is behind.", "behind", None),
        (None, "behind", None),
    ],
)  # fmt: skip
def test_the_relation_is_found_between_is_and_the_object(caption, relation, question) -> None:
    assert question_of(caption, relation) == question


def test_images_of_both_splits_tests_are_left_out(vsr: Path, tmp_path: Path) -> None:
    splits = vsr / "data" / "splits"
    write(splits / "zeroshot" / "test.jsonl", [row(3, "The train is on the bus.", "on", 0)])
    write(splits / "random" / "dev.jsonl", [row(4, "The cup is on the table.", "on", 1)])
    done, rows = built(TASK, vsr, tmp_path / "out", 4)
    assert {one["origin"]["file"] for one in rows} == {f"{1:012d}.jpg", f"{2:012d}.jpg"}
    assert done.skipped["an image of the data set's own tests"]["count"] == 2


@pytest.mark.parametrize(
    "folder",
    ["images", "trainval2017", "train2017", "val2017", "data/trainval2017", "coco/train2017"],
)
def test_images_are_found_where_people_keep_them(vsr: Path, tmp_path: Path, folder: str) -> None:
    (vsr / folder).parent.mkdir(exist_ok=True)
    (vsr / "data" / "images").rename(vsr / folder)
    assert build(TASK, vsr, tmp_path / "out", items=4).made == 4


def test_the_hubs_copy_is_read_beside_cocos_images(vsr: Path, tmp_path: Path) -> None:
    root = tmp_path / "vsr_random"
    (vsr / "data" / "splits" / "random").rename(root)
    write(root / "test.jsonl", [row(3, "The train is on the bus.", "on", 0)])
    (vsr / "data" / "images").rename(root / "train2017")
    done, rows = built(TASK, root, tmp_path / "out", 4)
    assert {one["origin"]["file"] for one in rows} == {f"{n:012d}.jpg" for n in (1, 2, 4)}
    assert done.skipped["an image of the data set's own tests"]["count"] == 1


def test_without_the_test_file_that_the_benchmark_drew_on_nothing_is_built(
    vsr: Path, tmp_path: Path
) -> None:
    (vsr / "data" / "splits" / "random" / "test.jsonl").unlink()
    with raises(DataError):
        build(TASK, vsr, tmp_path / "out", items=4)


def test_odd_lines_are_counted(vsr: Path, tmp_path: Path) -> None:
    path = vsr / "data" / "splits" / "random" / "train.jsonl"
    odd = [
        row(1, "The cat is near the dog.", "near", 2),
        row(1, "The cat near the dog.", "near", 1),
        row(1, ROWS[0]["caption"], "on", 1),
        {"caption": "The cat is near the dog.", "relation": "near", "label": 1},
    ]
    write(path, [*ROWS, *odd])
    with path.open("a") as file:
        file.write('{"image": \n')
    done, _ = built(TASK, vsr, tmp_path / "out", 4)
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts == {
        "an incomplete annotation": 2,
        "a caption without its relation": 1,
        "an annotation that is there twice": 1,
        "a line that is not JSON": 1,
    }


def test_one_answer_alone_makes_no_balanced_set(vsr: Path, tmp_path: Path) -> None:
    write(vsr / "data" / "splits" / "random" / "train.jsonl", [ROWS[0], ROWS[2]])
    with raises(DataError):
        build(TASK, vsr, tmp_path / "out", items=4)


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    with raises(DataError):
        build(TASK, tmp_path, tmp_path / "out")
