"""Relative_Reflectance items from a miniature of IIW, laid out and written as the original is."""

import json
from pathlib import Path
from typing import Any

import pytest
from messages import raises
from training_factory import WHITE, built, photo, ring, save, shown

from transferscope.builders.build import build
from transferscope.builders.record import Candidate
from transferscope.builders.relative_reflectance import PER_PHOTO, candidates
from transferscope.errors import DataError

TASK = "Relative_Reflectance"
PROMPT = (
    "Two points are annotated on the image, labeled by A and B. Consider the surface color of the "
    "points (the albedo of the surface, without the effect of shading). Which point has darker "
    "surface color, or the colors is about the same? Select from the following choices.\n"
    "(A) A is darker\n(B) B is darker\n(C) About the same"
)
SIZE = (256, 192)
PLACES = {11: (0.25, 0.5), 12: (0.75, 0.5), 13: (0.5, 0.25), 14: (0.5, 0.75), 15: (0.1, 0.1)}


def point(number: int, **changes: Any) -> dict[str, Any]:
    x, y = PLACES[number]
    return {
        "id": number, "x": x, "y": y, "sRGB": "8a7f70", "min_separation": 0.03, "opaque": True,
        "opaque_score": 1.2, "opaque_method": "CUBAM",
    } | changes  # fmt: skip


def comparison(number: int, ends: tuple[int, int], darker: str | None, **changes: Any) -> dict:
    return {
        "id": number, "point1": ends[0], "point2": ends[1], "darker": darker,
        "darker_score": 0.9, "darker_method": "C", "min_separation": 0.07,
    } | changes  # fmt: skip


def annotation(**changes: Any) -> dict[str, Any]:
    """A photo's JSON: one comparison of each kind, and five that must not be used."""
    points = [point(11), point(12), point(13), point(14), point(15, opaque=False)]
    compared = [
        comparison(1, (11, 12), "1"),
        comparison(2, (13, 14), "2"),
        comparison(3, (11, 14), "E"),
        comparison(4, (12, 13), None),
        comparison(5, (12, 15), "1"),
        comparison(6, (12, 14), "1", darker_score=None),
        comparison(7, (12, 14), "1", darker_score=0.0),
        comparison(8, (12, 14), "1", compare_what="S"),
    ]
    return {
        "photo": 1, "image_filename": "1.png", "aspect_ratio": 4 / 3, "attribution_name": "Zoë",
        "license": {"cc": True, "name": "by"}, "intrinsic_points": points,
        "intrinsic_comparisons": compared,
    } | changes  # fmt: skip


@pytest.fixture
def iiw(tmp_path: Path) -> Path:
    """Ten photos, of which two are held out."""
    data = tmp_path / "iiw-dataset" / "data"
    for number in range(95, 105):
        save(photo(number, SIZE), data / f"{number}.png")
        (data / f"{number}.json").write_text(json.dumps(annotation()), encoding="utf-8")
    return tmp_path / "iiw-dataset"


def test_darker_points_get_the_answers_letter(iiw: Path, tmp_path: Path) -> None:
    done, rows = built(TASK, iiw, tmp_path / "out", 9)
    assert done.answers == {"A": 3, "B": 3, "C": 3}
    for row in rows:
        assert row["prompt"] == PROMPT
        (pixels,) = shown(tmp_path / "out", TASK, row)
        assert pixels.shape == (1024, 1365, 3)
        number = int(row["origin"]["comparison"].split("/")[1])
        first, second = {1: (11, 12), 2: (13, 14), 3: (11, 14)}[number]
        # Comparison 1 says that its first point is darker, 2 its second, 3 neither.
        darker, other = (second, first) if number == 2 else (first, second)
        if row["answer"] != "C":
            assert number != 3
            lighter = "B" if row["answer"] == "A" else "A"
            for letter, end in ((row["answer"], darker), (lighter, other)):
                x, y = PLACES[end]
                assert row["origin"][letter] == pytest.approx([x * 1365, y * 1024], abs=1)
        else:
            assert number == 3


def test_both_points_are_circled_in_white(iiw: Path, tmp_path: Path) -> None:
    _, rows = built(TASK, iiw, tmp_path / "out", 3)
    for row in rows:
        (pixels,) = shown(tmp_path / "out", TASK, row)
        assert ring(pixels, row["origin"]["A"], WHITE)
        assert ring(pixels, row["origin"]["B"], WHITE)


def test_equal_points_are_lettered_either_way(iiw: Path, tmp_path: Path) -> None:
    firsts = set()
    for seed in range(3):
        _, rows = built(TASK, iiw, tmp_path / f"out{seed}", 3, seed)
        (same,) = [row for row in rows if row["answer"] == "C"]
        firsts.add(round(same["origin"]["A"][0] / 1365, 2))
    assert firsts == {PLACES[11][0], PLACES[14][0]}


def test_the_first_of_every_five_photos_is_held_out(iiw: Path) -> None:
    found = list(candidates(iiw, 0))
    used = {one.key.split("/")[0] for one in found if isinstance(one, Candidate)}
    # By number, 99 comes before 100: of 95 .. 104 the first and the sixth.
    assert used == {str(number) for number in range(95, 105)} - {"95", "100"}


def test_only_agreed_comparisons_of_opaque_points_are_used(iiw: Path) -> None:
    found = [one for one in candidates(iiw, 0) if isinstance(one, Candidate)]
    assert {one.key.split("/")[1] for one in found} == {"1", "2", "3"}


def test_no_photo_gives_more_than_a_few_comparisons_of_a_kind(iiw: Path) -> None:
    many = [comparison(100 + n, (11, 12), "1") for n in range(50)]
    content = annotation(intrinsic_comparisons=many)
    (iiw / "data" / "96.json").write_text(json.dumps(content))
    found = [one for one in candidates(iiw, 0) if isinstance(one, Candidate)]
    assert sum(one.key.startswith("96/") for one in found) == PER_PHOTO


def test_what_cannot_be_used_is_counted(iiw: Path, tmp_path: Path) -> None:
    data = iiw / "data"
    (data / "96.json").write_text(json.dumps({"photo": 96}))
    (data / "97.json").write_text(json.dumps(annotation(aspect_ratio=0.75)))
    (data / "98.png").unlink()
    save(photo(5, SIZE).convert("CMYK"), data / "99.png", format="TIFF")
    save(photo(6, SIZE).convert("LA"), data / "101.png")
    crossed = annotation(intrinsic_comparisons=[comparison(1, (11, 77), "1")])
    (data / "102.json").write_text(json.dumps(crossed))
    done, _ = built(TASK, iiw, tmp_path / "out", 12)
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts["an incomplete annotation"] == 2
    assert counts["an image whose shape is not the annotation's"] == 3
    assert counts["an image that is missing"] == 3
    assert counts["a photo that is held out"] == 2
    assert done.made == 12  # 99, 101, 103 and 104 have three comparisons each


def test_a_damaged_annotation_file_is_refused_by_name(iiw: Path, tmp_path: Path) -> None:
    (iiw / "data" / "96.json").write_text('{"photo": ')
    with raises(DataError):
        build(TASK, iiw, tmp_path / "out")
