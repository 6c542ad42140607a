"""Functional_Correspondence items from miniatures of FunKPoint in the forms that are read."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from messages import raises
from training_factory import built, photo, ring, save, shown

from transferscope.builders.build import build
from transferscope.builders.functional_correspondence import candidates
from transferscope.builders.record import Candidate, Skip
from transferscope.errors import DataError

TASK = "Functional_Correspondence"
SIZE = (320, 256)
POINTS = [[0.2, 0.2], [0.8, 0.2], [0.2, 0.8], [0.8, 0.8], [0.5, 0.5]]
OBJECTS = {"pot/1.jpg": "pot", "hämmer/2.jpg": "hammer", "pot/3.jpg": "pot"}


def row(image: str, action: str = "Mash_Pound", **changes: Any) -> dict[str, Any]:
    return {"image": image, "action": action, "category": OBJECTS.get(image), "points": POINTS} | (
        changes
    )


def write(root: Path, *rows: dict[str, Any]) -> None:
    lines = [json.dumps(one) for one in rows]
    (root / "annotations.jsonl").write_text("\r\n".join(lines), encoding="utf-8")


@pytest.fixture
def funkpoint(tmp_path: Path) -> Path:
    """Three images of one action."""
    root = tmp_path / "FunKPoint"
    for number, name in enumerate(OBJECTS):
        save(photo(number, SIZE), root / name)
    write(root, *(row(name) for name in OBJECTS))
    return root


def test_the_answer_is_the_same_point_of_the_action(funkpoint: Path, tmp_path: Path) -> None:
    done, rows = built(TASK, funkpoint, tmp_path / "out", 4)
    assert done.answers == {"A": 1, "B": 1, "C": 1, "D": 1}
    for one in rows:
        k = one["origin"]["keypoint"] - 1
        expected = [[x * 1280 - 0.5, y * 1024 - 0.5] for x, y in POINTS]
        assert one["origin"]["reference"] == pytest.approx(expected[k], abs=0.1)
        points = one["origin"]["points"]
        assert points[one["answer"]] == pytest.approx(expected[k], abs=0.1)
        wrong = [points[letter] for letter in "ABCD" if letter != one["answer"]]
        assert all(at in [[round(v, 1) for v in point] for point in expected] for at in wrong)
        assert len({tuple(at) for at in points.values()}) == 4


def test_two_different_objects_are_compared(funkpoint: Path) -> None:
    found = [one for one in candidates(funkpoint, 0) if isinstance(one, Candidate)]
    assert len(found) == 4
    assert all(one.facts[0].category != one.facts[1].category for one in found)


def test_objects_of_one_kind_are_compared_where_there_are_no_others(funkpoint: Path) -> None:
    write(funkpoint, row("pot/1.jpg"), row("pot/3.jpg"))
    found = [one for one in candidates(funkpoint, 0) if isinstance(one, Candidate)]
    assert [one.key for one in found] == [
        "Mash/Pound/pot/1.jpg/pot/3.jpg",
        "Mash/Pound/pot/3.jpg/pot/1.jpg",
    ]


def test_images_of_other_actions_are_never_paired(funkpoint: Path) -> None:
    write(funkpoint, row("pot/1.jpg"), row("hämmer/2.jpg", "Pull_out_a_nail"))
    assert list(candidates(funkpoint, 0)) == []


def test_prompt_and_markers_are_the_benchmarks(funkpoint: Path, tmp_path: Path) -> None:
    write(funkpoint, *(row(name, "Pull_out_a_nail") for name in OBJECTS))
    _, rows = built(TASK, funkpoint, tmp_path / "out", 4)
    for one in rows:
        assert len(one["prompt"]) == 941  # published statistics of the benchmark
        assert 'for the action: "Pull out a nail". Which' in one["prompt"]
        first, second = shown(tmp_path / "out", TASK, one)
        assert first.shape == second.shape == (1024, 1280, 3)
        assert ring(first, one["origin"]["reference"])
        assert all(ring(second, at) for at in one["origin"]["points"].values())


def test_points_that_an_image_does_not_show_are_neither_asked_for_nor_offered(
    funkpoint: Path, tmp_path: Path
) -> None:
    hidden = [POINTS[0], POINTS[1], POINTS[2], POINTS[3], None]
    write(funkpoint, *(row(name, points=hidden) for name in OBJECTS))
    center = [0.5 * 1280 - 0.5, 0.5 * 1024 - 0.5]
    for seed in range(2):
        _, rows = built(TASK, funkpoint, tmp_path / f"out{seed}", 4, seed)
        assert len(rows) == 4
        for one in rows:
            assert one["origin"]["keypoint"] != 5
            assert center not in one["origin"]["points"].values()


@pytest.mark.parametrize("layout", ["annotations.csv", "Mix/references.csv"])
def test_tables_say_the_same(funkpoint: Path, tmp_path: Path, layout: str) -> None:
    write(funkpoint, *(row(name, "Mix") for name in OBJECTS))
    lines = list(candidates(funkpoint, 0))
    (funkpoint / "annotations.jsonl").unlink()
    path = funkpoint / layout
    path.parent.mkdir(exist_ok=True)
    names = [f"p{k}_{axis}" for k in range(1, 6) for axis in "xy"]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["action", "object_category", "dataset_image_path", *names])
        for name, category in OBJECTS.items():
            table.writerow(["Mix", category, name, *(v for point in POINTS for v in point)])
    assert list(candidates(funkpoint, 0)) == lines


def test_odd_annotations_are_counted(funkpoint: Path) -> None:
    write(
        funkpoint,
        row("pot/1.jpg", points=[[100, 200]] * 5),
        row("pot/1.jpg", action=None),
        row("pot/1.jpg", points=[[0.1]] * 5),
        {"image": "pot/1.jpg", "action": "Mix"},
    )
    found = list(candidates(funkpoint, 0))
    assert [one.reason for one in found if isinstance(one, Skip)] == [
        "points that are not parts of width and height",
        "an incomplete annotation",
        "an incomplete annotation",
        "an incomplete annotation",
    ]


def test_another_table_is_refused_with_the_columns_looked_for(
    funkpoint: Path, tmp_path: Path
) -> None:
    (funkpoint / "annotations.jsonl").unlink()
    (funkpoint / "annotations.csv").write_text("a,b\n1,2\n")
    with raises(DataError):
        build(TASK, funkpoint, tmp_path / "out")
