"""Visual_Correspondence items from a miniature of HPatches, laid out as the original is."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from messages import raises
from PIL import Image, ImageDraw
from training_factory import built, photo, ring, save, shown

from transferscope.builders.build import build
from transferscope.builders.record import Candidate, Skip
from transferscope.builders.visual_correspondence import APART, PER_PAIR, candidates, corners
from transferscope.errors import DataError

TASK = "Visual_Correspondence"
SIZE = (400, 320)
H_1_2 = np.array([[1.1, 0.05, -20.0], [-0.04, 1.05, 10.0], [1e-4, -5e-5, 1.0]])
H_1_3 = np.array([[0.9, -0.1, 35.0], [0.08, 0.95, -5.0], [0.0, 1e-4, 1.0]])


def scene(side: int = 40) -> Image.Image:
    """A photo with twelve squares, whose corners stand out."""
    image = photo(3, SIZE).copy()
    draw = ImageDraw.Draw(image)
    for column in range(4):
        for row in range(3):
            x, y = 50 + 85 * column, 50 + 85 * row
            draw.rectangle((x, y, x + side, y + side), fill=(60 + 30 * row, 180, 60 + 30 * column))
    return image


def warped(image: Image.Image, homography: np.ndarray) -> Image.Image:
    """What a camera sees that carries pixel centres by the homography."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # Pillow counts from pixel corners
    back = shift @ np.linalg.inv(homography) @ np.linalg.inv(shift)
    numbers = (back / back[2, 2]).ravel()[:8].tolist()
    return image.transform(SIZE, Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BILINEAR)


@pytest.fixture
def hpatches(tmp_path: Path) -> Path:
    return write_hpatches(tmp_path)


class Items(NamedTuple):
    """A build of the miniature."""

    made: int
    rows: list[dict[str, Any]]
    out: Path


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Items:
    folder = tmp_path_factory.mktemp("items")
    done, rows = built(TASK, write_hpatches(folder), folder / "out", 14)
    return Items(done.made, rows, folder / "out")


def write_hpatches(folder: Path) -> Path:
    """One sequence of views (three images), one of lights (two), and what must be passed over."""
    root = folder / "hpatches-sequences-release"
    views, lights = root / "v_wall", root / "i_contruction"
    for k, matrix in ((1, np.eye(3)), (2, H_1_2), (3, H_1_3)):
        save(warped(scene(), matrix), views / f"{k}.ppm")
        if k > 1:
            lines = [" ".join(f"{value:.8g}" for value in row) for row in matrix]
            (views / f"H_1_{k}").write_text("\n".join(lines) + "\n")
    save(scene(), lights / "1.ppm")
    darker = scene().point(lambda value: value // 2 + 20)  # pyright: ignore[reportOperatorIssue]
    save(darker, lights / "2.ppm")
    (lights / "H_1_2").write_text("1 0 0\n0 1 0\n0 0 1\n")
    (root / "i_empty").mkdir()
    (root / "license.txt").write_text("MIT")
    return root


def carried(matrix: np.ndarray, point: list[float]) -> np.ndarray:
    x, y, z = matrix @ [*point, 1]
    return np.array([x / z, y / z])


def test_the_answer_is_where_the_homography_carries_the_reference(items: Items) -> None:
    assert items.made == len(items.rows)
    pairs = set()
    for row in items.rows:
        first, second = row["origin"]["files"]
        i, j = int(first[-5]), int(second[-5])
        sequence = first.split("/")[0]
        known = {1: np.eye(3), 2: H_1_2, 3: H_1_3}
        matrix = np.eye(3)
        if sequence == "v_wall":  # from i back to 1, then to j
            matrix = known[j] @ np.linalg.inv(known[i])
        pairs.add((sequence, i, j))
        at = (carried(matrix, row["origin"]["reference"]) + 0.5) * 1024 / 320 - 0.5
        right = row["origin"]["points"][row["answer"]]
        assert right == pytest.approx(at, abs=1)
    assert {("v_wall", 1, 2), ("v_wall", 2, 3), ("i_contruction", 1, 2)} <= pairs


def test_wrong_points_are_corners_too_and_not_near_the_right_one(items: Items) -> None:
    squares = [
        (x, y)
        for column in range(4)
        for row in range(3)
        for x in (50 + 85 * column, 90 + 85 * column)
        for y in (50 + 85 * row, 90 + 85 * row)
    ]
    on_squares = []
    for row in items.rows:
        points = row["origin"]["points"]
        right = np.array(points[row["answer"]])
        for letter, at in points.items():
            if letter != row["answer"]:
                assert np.hypot(*(np.array(at) - right)) >= APART
            if "i_" in row["id"]:
                place = (np.array(at) + 0.5) * 320 / 1024 - 0.5
                on_squares.append(min(np.hypot(*(place - square)) for square in squares) < 5)
    assert np.mean(on_squares) > 0.9


def test_corners_close_to_the_right_one_are_not_offered(tmp_path: Path) -> None:
    root = tmp_path / "hpatches"
    for k in (1, 2):  # corners of these squares are 15 pixels apart, 48 at the benchmark's height
        save(scene(15), root / "i_tiles" / f"{k}.ppm")
    (root / "i_tiles" / "H_1_2").write_text("1 0 0\n0 1 0\n0 0 1\n")
    _, rows = built(TASK, root, tmp_path / "out", 8)
    assert len(rows) == 8
    for row in rows:
        points = {letter: np.array(at) for letter, at in row["origin"]["points"].items()}
        right = points.pop(row["answer"])
        assert min(np.hypot(*(at - right)) for at in points.values()) >= APART


def test_reference_and_choices_are_circled(items: Items) -> None:
    assert {row["answer"] for row in items.rows} == set("ABCD")
    for row in items.rows[:4]:
        assert len(row["prompt"]) == 403  # published statistics of the benchmark
        first, second = shown(items.out, TASK, row)
        assert first.shape == second.shape == (1024, 1280, 3)
        reference = [(value + 0.5) * 1024 / 320 - 0.5 for value in row["origin"]["reference"]]
        assert ring(first, reference)
        assert all(ring(second, at) for at in row["origin"]["points"].values())


def test_no_pair_asks_for_a_point_twice(items: Items) -> None:
    asked = [(*row["origin"]["files"], *row["origin"]["reference"]) for row in items.rows]
    assert len(asked) == len(set(asked)) > 4


def test_every_pair_of_a_sequence_is_offered_and_odd_folders_are_named(hpatches: Path) -> None:
    found = list(candidates(hpatches, 0))
    keys = [one.key for one in found if isinstance(one, Candidate)]
    assert len(keys) == PER_PAIR * (3 + 1)
    (skipped,) = [one for one in found if isinstance(one, Skip)]
    assert skipped.where == "i_empty"


def test_a_damaged_homography_is_counted(hpatches: Path, tmp_path: Path) -> None:
    (hpatches / "v_wall" / "H_1_2").write_text("1 0 0\n0 1 0\n")
    (hpatches / "v_wall" / "H_1_3").write_text("0 " * 9)
    done, _ = built(TASK, hpatches, tmp_path / "out", 30)
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    # Pairs 1-2 and 2-3 need H_1_2 (2-3 reads H_1_3 first); 1-3 needs H_1_3.
    assert counts["a homography that is not nine numbers"] == PER_PAIR
    assert counts["a homography that cannot be inverted"] == 2 * PER_PAIR


def test_a_plain_wall_has_too_few_points(tmp_path: Path) -> None:
    root = tmp_path / "hpatches"
    for k in (1, 2):
        save(Image.new("RGB", SIZE, (90, 120, 90)), root / "v_plain" / f"{k}.ppm")
    (root / "v_plain" / "H_1_2").write_text("1 0 0 0 1 0 0 0 1")
    with raises(DataError):
        build(TASK, root, tmp_path / "out", items=4)


def test_corners_lie_where_squares_meet() -> None:
    image = Image.new("RGB", (900, 600), (40, 40, 40))
    ImageDraw.Draw(image).rectangle((300, 200, 599, 399), fill=(220, 220, 220))
    found = corners(image)
    assert len(found) == 4
    for corner in ((300, 200), (599, 200), (300, 399), (599, 399)):
        assert np.abs(found - corner).max(axis=1).min() < 4
