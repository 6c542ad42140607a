"""Multi-view_Reasoning items from a miniature of Wild6D, and the camera's way from known orbits."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from messages import raises
from orbit import FOCAL, SIZE, camera, seen
from PIL import Image
from scipy.ndimage import gaussian_filter
from training_factory import built, difference, files_of, photo, save, shown, turned

from transferscope.builders.build import build
from transferscope.builders.camera import WIDTH, turned_by_background, turned_by_poses, view_of
from transferscope.builders.multi_view_reasoning import LEAST
from transferscope.errors import DataError

TASK = "Multi-view_Reasoning"
PROMPT = (
    "The images are frames from a video. The video is shooting a static scene. The camera is "
    "either moving clockwise (left) or counter-clockwise (right) around the object. The first "
    "image is from the beginning of the video and the second image is from the end. Is the camera "
    "moving left or right when shooting the video? Select from the following options.\n(A) left\n"
    "(B) right"
)
K = [FOCAL, 0, 0, 0, FOCAL, 0, 75, 100, 1]
"""Column by column, as Record3D writes it."""

THERE = np.random.default_rng(0).normal(0, 0.01, 8)
SHAKE = np.concatenate((THERE, THERE[::-1]))
"""Metres by which the camera looks past the ball, in each frame of a clip; the same backwards."""


def metadata(sequence: Path, **changes: Any) -> None:
    sequence.mkdir(parents=True, exist_ok=True)
    fields = {"K": K, "w": SIZE[0], "h": SIZE[1], "fps": 30} | changes
    (sequence / "metadata").write_text(json.dumps(fields))


def film(sequence: Path, azimuths: Iterable[float], **changes: Any) -> None:
    """A clip without poses: frames and masks."""
    for number, azimuth in enumerate(azimuths):
        frame, mask = seen(float(azimuth), float(SHAKE[number % 16]))
        save(frame, sequence / "images" / f"{number}.jpg", quality=95)
        save(mask, sequence / "images" / f"{number}-mask.png")
        save(Image.new("I;16", SIZE, 900), sequence / "images" / f"{number}-depth.png")
    metadata(sequence, **changes)


def posed(sequence: Path, azimuths: Iterable[float], seed: int = 0, **changes: Any) -> None:
    """A clip with poses; its frames show something else."""
    poses = []
    for number, azimuth in enumerate(azimuths):
        save(photo(seed + number, (48, 64)), sequence / "images" / f"{number}.jpg")
        poses.append(camera(float(azimuth), aside=float(SHAKE[number % 16])).pose())
    metadata(sequence, **{"poses": poses} | changes)


RIGHT, LEFT = np.linspace(0, 60, 16), np.linspace(60, 0, 16)


@pytest.fixture
def wild6d(tmp_path: Path) -> Path:
    """Six clips with poses, half of them to each side; a test set that nobody may read."""
    root = tmp_path / "Wild6D"
    for number, category in enumerate(("bottle", "bowl", "mug")):
        posed(root / category / "0001" / "1", np.linspace(10, 50, 12), 100 * number)
        posed(root / category / "0001" / "2", np.linspace(50, 10, 12), 100 * number + 50)
    posed(root / "test_set" / "mug" / "0001" / "1", np.linspace(10, 50, 12))
    return root


def test_the_frames_run_the_way_that_the_answer_says(wild6d: Path, tmp_path: Path) -> None:
    done, rows = built(TASK, wild6d, tmp_path / "out", 6)
    assert done.answers == {"A": 3, "B": 3}
    for row in rows:
        assert row["prompt"] == PROMPT
        assert row["choices"] == ["left", "right"]
        origin = row["origin"]
        assert origin["known_from"] == "poses"
        first, second = (int(frame) for frame in origin["frames"])
        assert {first, second} == {0, 11}  # 11, though "9" comes after it among names
        clip = origin["sequence"][-1]
        # Azimuth grows to the right.
        azimuth = np.linspace(10, 50, 12) if clip == "1" else np.linspace(50, 10, 12)
        assert row["answer"] == ("B" if azimuth[second] > azimuth[first] else "A")
        assert origin["degrees"] == pytest.approx(azimuth[second] - azimuth[first], abs=5)
        assert origin["backwards"] is (first > second)
        seed = 100 * ("bottle", "bowl", "mug").index(origin["sequence"].split("/")[0])
        seed += 0 if clip == "1" else 50
        for pixels, frame in zip(shown(tmp_path / "out", TASK, row), (first, second), strict=True):
            assert difference(pixels, photo(seed + frame, (48, 64))) < 6


def test_the_test_set_is_never_read(wild6d: Path, tmp_path: Path) -> None:
    done, rows = built(TASK, wild6d, tmp_path / "out", 20)
    assert done.candidates == 6
    assert not any("test_set" in row["id"] for row in rows)


def test_without_poses_the_background_tells(tmp_path: Path) -> None:
    root = tmp_path / "Wild6D"
    film(root / "mug" / "1" / "1", RIGHT)
    film(root / "laptop" / "1" / "1", LEFT)
    _, rows = built(TASK, root, tmp_path / "out", 2)
    assert len(rows) == 2
    for row in rows:
        origin = row["origin"]
        assert origin["known_from"] == "background"
        azimuth = RIGHT if origin["sequence"].startswith("mug") else LEFT
        first, second = (int(frame) for frame in origin["frames"])
        assert row["answer"] == ("B" if azimuth[second] > azimuth[first] else "A")


def test_poses_that_the_frames_contradict_are_not_believed(tmp_path: Path) -> None:
    root = tmp_path / "Wild6D"
    for name, way in (("1", RIGHT), ("2", LEFT)):
        film(root / "mug" / name / "1", way, poses=[camera(float(a)).pose() for a in way])
    film(root / "mug" / "3" / "1", RIGHT, poses=[camera(float(a)).pose() for a in LEFT])
    done, rows = built(TASK, root, tmp_path / "out", 4)
    assert {row["origin"]["sequence"] for row in rows} == {"mug/1/1", "mug/2/1"}
    assert {row["origin"]["known_from"] for row in rows} == {"poses"}
    assert done.skipped["poses that the frames contradict"]["first"] == ["mug/3/1"]


def test_a_clip_ends_before_the_camera_has_gone_too_far(tmp_path: Path) -> None:
    root = tmp_path / "Wild6D"
    for number in range(2):
        posed(root / "mug" / "1" / str(number), np.linspace(0, 300, 31))
    _, rows = built(TASK, root, tmp_path / "out", 2)
    assert len(rows) == 2
    for row in rows:
        assert abs(row["origin"]["degrees"]) <= 120
        frames = sorted(int(frame) for frame in row["origin"]["frames"])
        assert frames in ([0, 11], [0, 12])  # 10 degrees a frame


def test_grey_palette_and_turned_frames_are_used(wild6d: Path, tmp_path: Path) -> None:
    images = wild6d / "bottle" / "0001" / "1" / "images"
    save(photo(7, (48, 64)).convert("L"), images / "0.jpg")
    save(photo(8, (48, 64)).convert("P"), images / "11.jpg", format="PNG")
    image, exif = turned(photo(9, (48, 64)))
    save(image, wild6d / "bottle" / "0001" / "2" / "images" / "0.jpg", exif=exif)
    done, rows = built(TASK, wild6d, tmp_path / "out", 6)
    assert done.made == 6
    (row,) = [row for row in rows if row["origin"]["sequence"] == "bottle/0001/2"]
    pixels = shown(tmp_path / "out", TASK, row)[row["origin"]["frames"].index("0")]
    assert difference(pixels, photo(9, (48, 64))) < 6


def test_what_cannot_be_an_item_is_counted_and_named(wild6d: Path, tmp_path: Path) -> None:
    more = wild6d / "camera" / "größe"
    posed(more / "still", np.linspace(0, 10, 12))
    posed(more / "to-and-fro", [0, 30, 60, 30, 0, 30])
    posed(more / "one-frame", [0])
    posed(more / "no-metadata", np.linspace(0, 60, 12))
    (more / "no-metadata" / "metadata").unlink()
    posed(more / "cut-metadata", np.linspace(0, 60, 12))
    (more / "cut-metadata" / "metadata").write_text('{"K": [')
    posed(more / "no-focal-length", np.linspace(0, 60, 12), K=[], poses=None)
    posed(more / "no-masks", np.linspace(0, 60, 12), poses=[[0] * 7])
    posed(more / "cut-frame", np.linspace(0, 60, 12))
    (more / "cut-frame" / "images" / "11.jpg").write_bytes(b"\xff\xd8")
    done, _ = built(TASK, wild6d, tmp_path / "out", 20)
    assert done.made == 6
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts == {
        "a camera that hardly moves round the object": 1,
        "a camera that moves to and fro": 1,
        "a clip of fewer than two frames": 1,
        "a clip without metadata": 1,
        "metadata that cannot be read": 1,
        "metadata without poses and without a focal length": 1,
        "a camera whose way cannot be followed": 1,
        "an image that cannot be decoded": 1,
    }
    assert done.skipped["a clip without metadata"]["first"] == ["camera/größe/no-metadata"]


def test_a_folder_laid_out_otherwise_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Wild6D" / "test_set").mkdir(parents=True)
    with raises(DataError):
        build(TASK, tmp_path / "Wild6D", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    wild6d: Path, tmp_path: Path
) -> None:
    for out in ("one", "two"):
        build(TASK, wild6d, tmp_path / out, items=4, seed=3)
    build(TASK, wild6d, tmp_path / "three", items=4, seed=4)
    one, two, three = (files_of(tmp_path / out) for out in ("one", "two", "three"))
    assert one == two
    assert one != three


@pytest.mark.parametrize("end", [25.0, 170.0, -90.0, 400.0])
def test_poses_give_back_the_orbits_angle(end: float) -> None:
    azimuths = np.linspace(0, end, 60)
    poses = np.array([camera(azimuth).pose() for azimuth in azimuths])
    assert turned_by_poses(poses) == pytest.approx(azimuths, abs=1e-6)


def test_an_orbit_somewhere_else_in_the_room_has_the_same_angle() -> None:
    poses = np.array([camera(azimuth).pose() for azimuth in np.linspace(0, 90, 20)])
    there = poses + np.array([0, 0, 0, 0, 3.0, -1.0, 7.0])
    assert turned_by_poses(there) == pytest.approx(turned_by_poses(poses), abs=1e-6)


def test_a_camera_that_looks_outwards_goes_round_nothing() -> None:
    poses = np.array([camera(azimuth).pose() for azimuth in np.linspace(0, 90, 20)])
    poses[:, 4] *= -1  # on the other side, with its back to the ball
    poses[:, 6] *= -1
    assert turned_by_poses(poses) is None
    poses[0, 0] = np.nan
    assert turned_by_poses(poses) is None


@pytest.mark.parametrize(("way", "height"), [(RIGHT, 0.3), (LEFT, 0.3), (RIGHT, 0.12)])
def test_the_background_gives_the_way_and_most_of_the_angle(way: np.ndarray, height: float) -> None:
    views = []
    for azimuth, aside in zip(way, SHAKE, strict=True):
        frame, mask = seen(float(azimuth), float(aside), height)
        views.append(view_of(frame, np.asarray(mask) > 0))
    found = turned_by_background(views, FOCAL * WIDTH / SIZE[0])
    assert found is not None
    assert 0.5 < found[-1] / (way[-1] - way[0]) < 1.05  # a near wall gives less than all


def test_a_background_that_changes_altogether_cannot_be_followed() -> None:
    mask = np.asarray(seen(0.0)[1]) > 0
    views = [view_of(photo(seed, SIZE), mask) for seed in range(6)]
    assert turned_by_background(views, FOCAL) is None


def test_a_frame_without_an_object_or_a_background_is_no_view() -> None:
    frame, mask = seen(0.0)
    assert view_of(frame, np.zeros_like(np.asarray(mask), dtype=bool)) is None
    assert view_of(frame, np.ones_like(np.asarray(mask), dtype=bool)) is None


@pytest.mark.slow
def test_noisy_shaking_clips_are_known_rightly_or_not_at_all() -> None:
    rng = np.random.default_rng(5)
    known = 0
    for room in range(24):
        end = rng.choice([-1, 1]) * rng.uniform(25, 75)
        height, contrast = rng.uniform(0.1, 0.7), rng.choice([0.15, 0.4, 1.0])
        views = []
        for azimuth in rng.uniform(0, 360) + np.linspace(0, end, 16) + rng.normal(0, 0.3, 16):
            frame, mask = seen(float(azimuth), float(rng.normal(0, 0.03)), float(height), room)
            pixels = gaussian_filter(np.asarray(frame, dtype=float), (0.7, 0.7, 0))
            pixels = 128 + (pixels - 128) * contrast + rng.normal(0, 6, pixels.shape)
            noisy = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            views.append(view_of(noisy, np.asarray(mask) > 0))
        found = turned_by_background(views, FOCAL * WIDTH / SIZE[0])
        if found is not None and abs(found[-1]) >= LEAST:
            known += 1
            assert found[-1] * end > 0, (room, end, height, contrast)
    assert known >= 12  # of most clips
