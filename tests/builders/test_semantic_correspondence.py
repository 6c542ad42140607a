"""Semantic_Correspondence items from a miniature of SPair-71k, laid out as the original is."""

import json
from pathlib import Path
from typing import Any

import pytest
from messages import raises
from training_factory import built, near, photo, ring, save, shown

from transferscope.builders.build import build
from transferscope.errors import DataError

TASK = "Semantic_Correspondence"
SIZES = {"2007_000175": (500, 375), "2008_001119": (375, 500), "2009_000227": (480, 360)}
POINTS = [[60, 60], [300, 60], [60, 280], [300, 280], [180, 170]]


def pair(source: str, target: str, **changes: Any) -> dict[str, Any]:
    moved = [[x + 20, y + 10] for x, y in POINTS]
    return {
        "pair_id": 1, "src_imname": f"{source}.jpg", "trg_imname": f"{target}.jpg",
        "src_imsize": [*SIZES[source], 3], "trg_imsize": [*SIZES[target], 3],
        "src_bndbox": [40, 40, 340, 320], "trg_bndbox": [50, 50, 350, 330], "category": "sheep",
        "src_kps": POINTS, "trg_kps": moved, "kps_ids": ["0", "1", "4", "5", "12"], "mirror": 0,
        "viewpoint_variation": 1, "scale_variation": 0, "truncation": 0, "occlusion": 0,
    } | changes  # fmt: skip


def add(root: Path, number: int, content: dict[str, Any]) -> None:
    ends = "-".join(content[f"{side}_imname"].removesuffix(".jpg") for side in ("src", "trg"))
    path = root / "PairAnnotation" / "trn" / f"{number:06d}-{ends}:sheep.json"
    path.write_text(json.dumps(content))


@pytest.fixture
def spair(tmp_path: Path) -> Path:
    return write(tmp_path / "SPair-71k")


Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rows]:
    """All six pairs as items: the folder and its rows."""
    folder = tmp_path_factory.mktemp("items")
    return folder / "out", built(TASK, write(folder / "SPair-71k"), folder / "out", 6)[1]


def write(root: Path) -> Path:
    """Three images, every one paired with the two others: six pairs."""
    (root / "PairAnnotation" / "trn").mkdir(parents=True)
    for number, (name, size) in enumerate(SIZES.items()):
        save(photo(number, size), root / "JPEGImages" / "sheep" / f"{name}.jpg", quality=95)
    ends = [(one, other) for one in SIZES for other in SIZES if one != other]
    for number, (one, other) in enumerate(ends):
        add(root, number, pair(one, other))
    return root


def on_screen(at: list[float], size: tuple[int, int]) -> list[float]:
    """Where a point of the file is, a thousand and twenty-four pixels high."""
    return [(value + 0.5) * 1024 / size[1] - 0.5 for value in at]


def test_the_answer_is_the_same_keypoint_on_the_other_image(items: tuple[Path, Rows]) -> None:
    _, rows = items
    assert len(rows) == 6
    for row in rows:
        first, second = (Path(name).stem for name in row["origin"]["files"])
        k = ["0", "1", "4", "5", "12"].index(row["origin"]["keypoint"])
        reference = on_screen(POINTS[k], SIZES[first])
        moved = [on_screen([x + 20, y + 10], SIZES[second]) for x, y in POINTS]
        assert row["origin"]["reference"] == pytest.approx(reference, abs=0.1)
        points = row["origin"]["points"]
        assert points[row["answer"]] == pytest.approx(moved[k], abs=0.1)
        # The others are three other keypoints of the target.
        others = [points[letter] for letter in "ABCD" if letter != row["answer"]]
        which = [
            next(n for n, at in enumerate(moved) if at == pytest.approx(other, abs=0.1))
            for other in others
        ]
        assert len({k, *which}) == 4


def test_all_points_are_circled_in_red_at_the_benchmarks_height(items: tuple[Path, Rows]) -> None:
    out, rows = items
    for row in rows[:4]:
        first, second = shown(out, TASK, row)
        assert first.shape[0] == second.shape[0] == 1024
        assert ring(first, row["origin"]["reference"])
        assert all(ring(second, at) for at in row["origin"]["points"].values())
        reds = (second[..., 0] > 200) & (second[..., 1] < 80) & (second[..., 2] < 80)
        around = {tuple(round(v) for v in at) for at in row["origin"]["points"].values()}
        ys, xs = reds.nonzero()
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True):  # and nothing else is red
            assert any(abs(x - cx) <= 15 and abs(y - cy) <= 15 for cx, cy in around)


def test_prompt_and_choices_are_the_benchmarks(items: tuple[Path, Rows]) -> None:
    _, rows = items
    assert {row["answer"] for row in rows} == set("ABCD")
    for row in rows:
        assert len(row["prompt"]) == 768  # published statistics of the benchmark
        assert row["prompt"].startswith("Humans can find corresponding points for different obj")
        assert row["choices"] == ["Point A", "Point B", "Point C", "Point D"]
        assert row["question"] == "Which point is corresponding to the reference point?"


def test_images_are_found_beside_a_folder_of_the_data_set_too(spair: Path, tmp_path: Path) -> None:
    assert build(TASK, spair.parent, tmp_path / "out", items=4).made == 4


def test_grey_images_become_rgb(spair: Path, tmp_path: Path) -> None:
    for number, (name, size) in enumerate(SIZES.items()):
        grey = photo(number, size).convert("L")
        save(grey, spair / "JPEGImages" / "sheep" / f"{name}.jpg")
    _, rows = built(TASK, spair, tmp_path / "out", 4)
    first, _ = shown(tmp_path / "out", TASK, rows[0])
    x, y = (round(value) for value in rows[0]["origin"]["reference"])
    assert near(first[y, x + 10], (255, 0, 0))  # red on grey


def test_what_cannot_be_an_item_is_counted(spair: Path, tmp_path: Path) -> None:
    one, other, _ = SIZES
    add(spair, 50, pair(one, other, src_kps=POINTS[:3], trg_kps=POINTS[:3]))
    add(spair, 51, pair(one, other, src_kps=POINTS[:4]))
    add(spair, 52, pair(one, other, src_imsize=[100, 100, 3]))
    add(spair, 53, pair(one, other, trg_kps=[[100 + n, 100] for n in range(5)]))
    add(spair, 54, pair(one, other, category="../../sheep"))
    add(spair, 55, pair(one, other, src_kps=[["a", 1]] * 5))
    add(spair, 56, {k: v for k, v in pair(one, other).items() if k != "category"})
    (spair / "PairAnnotation" / "trn" / "000057-x-y:sheep.json").write_text("{")
    done, _ = built(TASK, spair, tmp_path / "out", 40)
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts == {
        "fewer than 4 points in common": 1,
        "an incomplete annotation": 4,
        "an image whose size is not the annotation's": 1,
        "points too close to each other or to the border": 1,
        "a file name that leads out of the data set": 1,
    }
    assert done.made == 6


def test_the_test_pairs_are_never_read(spair: Path, tmp_path: Path) -> None:
    (spair / "PairAnnotation" / "trn").rename(spair / "PairAnnotation" / "test")
    with raises(DataError):
        build(TASK, spair, tmp_path / "out")
