"""Relative_Depth items from a miniature of DIW, laid out and written as the original is."""

from pathlib import Path

import numpy as np
import pytest
from messages import raises
from PIL import Image
from scipy import ndimage
from training_factory import (
    built,
    difference,
    files_of,
    label_side,
    photo,
    ring,
    save,
    shown,
    turned,
)

from transferscope.builders.build import build
from transferscope.builders.markers import circled
from transferscope.builders.source_files import open_source
from transferscope.errors import DataError

TASK = "Relative_Depth"
PROMPT = (
    "Two points are circled on the image, labeled by A and B beside each circle. Which point is "
    "closer to the camera?\nSelect from the following choices.\n(A) A is closer\n(B) B is closer"
)


def record(name: str, points: str, size: tuple[int, int] = (500, 375)) -> str:
    return f"./DIW_train_val/{name}.thumb\n{points},{size[0]},{size[1]}\n"


@pytest.fixture
def diw(tmp_path: Path) -> Path:
    """Eight good images, with all that the original has in store."""
    root = tmp_path / "DIW"
    images = root / "DIW_train_val"
    lines = []
    for number in range(8):
        save(photo(number), images / f"{number:040x}.thumb", format="JPEG")
        relation = "<" if number % 2 else ">"
        lines.append(record(f"{number:040x}", f"101,{61 + number},201,{301 + number},{relation}"))
    (root / "DIW_Annotations").mkdir()
    (root / "DIW_Annotations" / "DIW_train_val.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


def add(root: Path, text: str) -> None:
    with (root / "DIW_Annotations" / "DIW_train_val.csv").open("a", encoding="utf-8") as file:
        file.write("\n" + text)


def test_the_letter_of_the_closer_point_is_the_answer(diw: Path, tmp_path: Path) -> None:
    done, rows = built(TASK, diw, tmp_path / "out", 8)
    assert done.answers == {"A": 4, "B": 4}
    for row in rows:
        assert row["prompt"] == PROMPT
        assert row["choices"] == ["A is closer", "B is closer"]
        number = int(row["origin"]["file"].split("/")[1].removesuffix(".thumb"), 16)
        # `yA,xA,yB,xB`, from 1: `<` says that the first is closer.
        first, second = [61 + number, 101], [301 + number, 201]
        closer, farther = (first, second) if number % 2 else (second, first)
        assert (row["origin"]["near"], row["origin"]["far"]) == (closer, farther)
        assert row["answer"] == ("A" if number % 2 else "B")  # the annotation's first point is A


def test_points_are_circled_where_the_file_says_counted_from_one(diw: Path, tmp_path: Path) -> None:
    _, rows = built(TASK, diw, tmp_path / "out", 8)
    for row in rows:
        (pixels,) = shown(tmp_path / "out", TASK, row)
        assert pixels.shape == (375, 500, 3)
        for x, y in (row["origin"]["near"], row["origin"]["far"]):
            assert ring(pixels, (x - 1, y - 1))
            assert label_side(pixels, (x - 1, y - 1)) == "above"


def rings(pixels: np.ndarray) -> list[tuple[float, float]]:
    """Centres of what is red, hollow, and as large as the benchmark's circles."""
    red = (pixels[..., 0] > 170) & (pixels[..., 1:] < 90).all(axis=2)
    parts: np.ndarray = ndimage.label(red, np.ones((3, 3)))[0]  # pyright: ignore
    found = []
    for number, (down, across) in enumerate(ndimage.find_objects(parts), 1):
        high, wide = down.stop - down.start, across.stop - across.start
        own = parts[down, across] == number
        if 11 <= high <= 15 and 11 <= wide <= 15:
            hole = own[high // 2 - 1 : high // 2 + 2, wide // 2 - 1 : wide // 2 + 2]
            if not hole.any():
                found.append((across.start + (wide - 1) / 2, down.start + (high - 1) / 2))
    return found


def test_markers_are_drawn_as_the_benchmarks_are(
    real_items: Path, diw: Path, tmp_path: Path
) -> None:
    """One way of finding circles and labels finds real ones and ours alike."""
    files = sorted(real_items.glob("blink_depth/*/image.jpg"))
    real = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    _, rows = built(TASK, diw, tmp_path / "out", 8)
    ours = [shown(tmp_path / "out", TASK, row)[0] for row in rows]
    for images, fewest in ((real, 30), (ours, 14)):
        labels = [label_side(pixels, center) for pixels in images for center in rings(pixels)]
        assert len(labels) >= fewest
        assert labels.count("above") / len(labels) > 0.85


def test_the_right_letter_stands_at_the_closer_point(diw: Path, tmp_path: Path) -> None:
    _, rows = built(TASK, diw, tmp_path / "out", 8)
    for row in rows:
        source = open_source(diw / row["origin"]["file"])
        near, far = (tuple(value - 1 for value in row["origin"][side]) for side in ("near", "far"))
        other = "A" if row["answer"] == "B" else "B"
        right = circled(source, {row["answer"]: near, other: far})
        wrong = circled(source, {other: near, row["answer"]: far})
        (pixels,) = shown(tmp_path / "out", TASK, row)
        assert difference(pixels, right) < difference(pixels, wrong)


def test_grey_palette_large_and_turned_images_are_used(diw: Path, tmp_path: Path) -> None:
    images = diw / "DIW_train_val"
    save(photo(20).convert("L"), images / "grey.thumb", format="JPEG")
    save(photo(21).convert("P"), images / "palette.thumb", format="PNG")
    save(photo(22, (1000, 750)), images / "größer.thumb", format="JPEG")
    image, exif = turned(photo(23))
    save(image, images / "turned.thumb", format="JPEG", exif=exif)
    points = "101,61,201,301,<"
    add(diw, record("grey", "101,61,201,301,>") + record("palette", points))
    add(diw, record("turned", points))
    add(diw, record("größer", "201,121,401,601,>", (1000, 750)))
    done, rows = built(TASK, diw, tmp_path / "out", 12)
    assert done.made == 12
    (large,) = [row for row in rows if "größer" in row["id"]]
    (pixels,) = shown(tmp_path / "out", TASK, large)
    assert pixels.shape == (375, 500, 3)  # the benchmark's long side
    assert ring(pixels, (60, 100))
    assert ring(pixels, (300, 200))


def test_what_cannot_be_an_item_is_counted_and_named(diw: Path, tmp_path: Path) -> None:
    images = diw / "DIW_train_val"
    whole = (images / f"{0:040x}.thumb").read_bytes()
    (images / "cut.thumb").write_bytes(whole[: len(whole) // 2])
    (images / "text.thumb").write_text("no image")
    save(photo(30), images / "small.thumb", format="JPEG")
    points = "101,61,201,301,<"
    add(diw, record("cut", points) + record("text", points) + record("gone", points))
    add(diw, record("small", points, (400, 300)))
    add(diw, record("../../etc/passwd", points))
    add(diw, record(f"{1:040x}", points))  # a second time
    add(diw, record("equal", "101,61,201,301,=") + record("words", "a,b,c,d,<"))
    save(photo(31), images / "close.thumb", format="JPEG")
    add(diw, record("close", "101,61,105,64,<"))
    add(diw, "./DIW_train_val/lonely.thumb\n")
    done, _ = built(TASK, diw, tmp_path / "out", 20)
    assert done.made == 8
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts == {
        "an image that cannot be decoded": 2,
        "an image that is missing": 1,
        "an image whose size is not the annotation's": 1,
        "a file name that leads out of the data set": 1,
        "an annotation that is there twice": 1,
        "a damaged annotation": 2,
        "points too close to each other or to the border": 1,
        "an image without points": 1,
    }
    assert "gone.thumb" in done.skipped["an image that is missing"]["first"][0]


def test_the_tests_annotations_are_never_read(diw: Path, tmp_path: Path) -> None:
    (diw / "DIW_Annotations" / "DIW_train_val.csv").rename(diw / "DIW_Annotations" / "DIW_test.csv")
    with raises(DataError):
        build(TASK, diw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_usable_line_is_refused(diw: Path, tmp_path: Path) -> None:
    (diw / "DIW_Annotations" / "DIW_train_val.csv").write_text("a,b\n")
    with raises(DataError):
        build(TASK, diw, tmp_path / "out")


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    diw: Path, tmp_path: Path
) -> None:
    for out in ("one", "two"):
        build(TASK, diw, tmp_path / out, items=4, seed=3)
    build(TASK, diw, tmp_path / "three", items=4, seed=4)
    one, two, three = (files_of(tmp_path / out) for out in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_archives_that_unpack_into_a_folder_of_their_own_name_are_read(
    diw: Path, tmp_path: Path
) -> None:
    build(TASK, diw, tmp_path / "flat", items=8)
    for name in ("DIW_Annotations", "DIW_train_val"):
        (diw / name).rename(diw / "inner")
        (diw / name).mkdir()
        (diw / "inner").rename(diw / name / name)
    build(TASK, diw, tmp_path / "nested", items=8)
    assert files_of(tmp_path / "flat") == files_of(tmp_path / "nested")
