"""Forensic_Detection items from a small folder with a manifest."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from messages import raises
from PIL import Image
from training_factory import built, difference, files_of, photo, save, shown, turned

from transferscope.builders.build import Built, build
from transferscope.errors import DataError

TASK = "Forensic_Detection"
PROMPT = (
    "You are a judge in a photography competition, and now you are given the four images. Please "
    "examine the details and tell which one of them is most likely to be a real photograph.\n"
    "Select from the following choices.\n(A) the first image\n(B) the second image\n"
    "(C) the third image\n(D) the fourth image\n"
)
SIZE = (300, 260)


def write(root: Path, rows: list[list[str]]) -> None:
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "group", "generator"], *rows])


def rows_of_group(group: int) -> list[list[str]]:
    real = [[f"real/{group}.jpg", "real", f"größe {group}", ""]]
    return real + [
        [f"made/{group}-{number}.png", "generated", f"größe {group}", f"model {number}"]
        for number in range(4)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return photographs(tmp_path / "photographs")


def photographs(root: Path) -> Path:
    """Eight groups of one real photograph and four generated ones."""
    for group in range(8):
        for place, (name, *_) in enumerate(rows_of_group(group)):
            save(photo(10 * group + place, SIZE), root / name)
    write(root, [row for group in range(8) for row in rows_of_group(group)])
    return root


class Items(NamedTuple):
    """A build of all groups."""

    done: Built
    rows: list[dict[str, Any]]
    out: Path


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Items:
    root = photographs(tmp_path_factory.mktemp("items"))
    return Items(*built(TASK, root, root / "out", 8), root / "out")


def middle(seed: int) -> Image.Image:
    """The middle square of a photograph of the fixture, by hand."""
    return photo(seed, SIZE).crop((20, 0, 280, 260)).resize((512, 512), Image.Resampling.LANCZOS)


def test_the_real_photograph_stands_where_the_answer_says(items: Items) -> None:
    done, rows, out = items
    assert done.answers == {"A": 2, "B": 2, "C": 2, "D": 2}
    for row in rows:
        assert row["prompt"] == PROMPT
        pictures = shown(out, TASK, row)
        assert [pixels.shape for pixels in pictures] == [(512, 512, 3)] * 4
        origin = row["origin"]
        group = int(Path(origin["real"]).stem)
        assert origin["group"] == f"größe {group}"
        names = list(origin["generated"])
        names.insert("ABCD".index(row["answer"]), origin["real"])
        for pixels, name in zip(pictures, names, strict=True):
            place = 0 if name.startswith("real") else int(Path(name).stem.split("-")[1]) + 1
            assert difference(pixels, middle(10 * group + place)) < 4


def test_three_different_generated_images_of_the_same_group_are_shown(items: Items) -> None:
    left_out = set()
    for row in items.rows:
        origin = row["origin"]
        group = int(Path(origin["real"]).stem)
        numbers = [int(Path(name).stem.split("-")[1]) for name in origin["generated"]]
        assert all(name.startswith(f"made/{group}-") for name in origin["generated"])
        assert len(set(numbers)) == 3
        assert origin["generators"] == [f"model {number}" for number in numbers]
        left_out |= {0, 1, 2, 3} - set(numbers)
    assert len(left_out) > 1  # drawn at random


def test_grey_palette_and_turned_images_are_used(folder: Path, tmp_path: Path) -> None:
    save(photo(90, SIZE).convert("L"), folder / "real/0.jpg")
    save(photo(91, SIZE).convert("P"), folder / "made/0-0.png")
    image, exif = turned(photo(10, SIZE))
    save(image, folder / "real/1.jpg", exif=exif)
    done, rows = built(TASK, folder, tmp_path / "out", 8)
    assert done.made == 8
    (row,) = [row for row in rows if row["origin"]["real"] == "real/1.jpg"]
    pixels = shown(tmp_path / "out", TASK, row)["ABCD".index(row["answer"])]
    assert difference(pixels, middle(10)) < 4


def test_what_cannot_be_an_item_is_counted_and_named(folder: Path, tmp_path: Path) -> None:
    rows = [row for group in range(8) for row in rows_of_group(group)]
    save(photo(80, (300, 200)), folder / "real/small.jpg")
    rows.append(["real/small.jpg", "real", "größe 0", ""])
    rows.append(["real/gone.jpg", "real", "größe 1", ""])
    rows.append(["real/lonely.jpg", "real", "nobody", ""])
    rows.append(["real/odd.jpg", "Foto", "größe 0", ""])
    rows.append(["", "real", "größe 0", ""])
    rows += [["both.jpg", label, "größe 2", ""] for label in ("real", "generated")]
    rows.append(["real/short.jpg", "real"])
    write(folder, rows)
    done, _ = built(TASK, folder, tmp_path / "out", 20)
    assert done.made == 8
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts == {
        "a damaged annotation": 2,
        "an image that is listed more than once": 2,
        "an image that is too small": 1,
        "an image that is missing": 1,
        "a line of another length than the header": 1,
        "a real image with fewer than three generated ones": 1,
    }


def test_a_manifest_that_is_missing_or_lacks_a_column_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "manifest.csv").write_text("path,label\n", encoding="utf-8")
    with raises(DataError):
        build(TASK, folder, tmp_path / "out")
    (folder / "manifest.csv").unlink()
    with raises(DataError):
        build(TASK, folder, tmp_path / "out")


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    folder: Path, tmp_path: Path
) -> None:
    for out in ("one", "two"):
        build(TASK, folder, tmp_path / out, items=4, seed=3)
    build(TASK, folder, tmp_path / "three", items=4, seed=4)
    one, two, three = (files_of(tmp_path / out) for out in ("one", "two", "three"))
    assert one == two
    assert one != three
