"""Object_Localization items from a miniature of LVIS v1, laid out as the original is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from messages import raises
from training_factory import (
    GREEN,
    RED,
    built,
    difference,
    files_of,
    near,
    photo,
    save,
    shown,
    turned,
)

from transferscope.builders.build import build
from transferscope.errors import DataError

TASK = "Object_Localization"
PROMPT = (
    "A bounding box is an annotated rectangle surrounding an object. The edges of bounding boxes "
    "should touch the outermost pixels of the object that is being labeled. Given the two bounding "
    "boxes on the image, labeled by A and B, which bounding box more accurately localizes and "
    "encloses the {}? Select from the following options.\n(A) Box A\n(B) Box B"
)
SIZE = (320, 240)
BOX = [60.5, 40.25, 150.0, 120.0]
"""Left, top, width, height: 23 % of the image."""


def image(number: int, folder: str = "train2017", **changes: Any) -> dict[str, Any]:
    return {
        "id": number, "width": SIZE[0], "height": SIZE[1], "license": 1,
        "coco_url": f"http://images.cocodataset.org/{folder}/{number:012d}.jpg",
        "flickr_url": f"http://farm.staticflickr.com/{number}.jpg",
        "date_captured": "2013-11-14 11:18:45",
        "neg_category_ids": [3], "not_exhaustive_category_ids": [],
    } | changes  # fmt: skip


def annotation(number: int, of: Any, category: int = 1, **changes: Any) -> dict[str, Any]:
    left, top, wide, high = BOX
    outline = [left, top, left + wide, top, left + wide, top + high, left, top + high]
    return {
        "id": number, "image_id": of, "category_id": category, "bbox": list(BOX),
        "area": 0.8 * wide * high, "segmentation": [outline],
    } | changes  # fmt: skip


def category(number: int, name: str) -> dict[str, Any]:
    return {
        "id": number, "name": name, "synset": f"{name}.n.01", "synonyms": [name], "def": "a thing",
        "frequency": "c", "image_count": 8, "instance_count": 8,
    }  # fmt: skip


CATEGORIES = [
    category(1, "flower_arrangement"),
    category(2, "bat_(animal)"),
    category(3, "jalapeño"),
]


def write(root: Path, **content: Any) -> None:
    whole = {"info": {}, "licenses": [], "categories": CATEGORIES} | content
    (root / "lvis_v1_train.json").write_text(json.dumps(whole), encoding="utf-8")


@pytest.fixture
def lvis(tmp_path: Path) -> Path:
    """Eight images with one object each, the last of COCO's validation images."""
    root = tmp_path / "LVIS"
    images = [image(number) for number in range(7)] + [image(7, "val2017")]
    for one in images:
        folder, name = one["coco_url"].split("/")[-2:]
        save(photo(one["id"], SIZE), root / folder / name)
    write(root, images=images, annotations=[annotation(100 + n, n) for n in range(8)])
    return root


def content(root: Path) -> dict[str, Any]:
    return json.loads((root / "lvis_v1_train.json").read_text(encoding="utf-8"))


def add(root: Path, images: list[dict[str, Any]], annotations: list[Any]) -> None:
    whole = content(root)
    whole["images"] += images
    whole["annotations"] += annotations
    write(root, **whole)


def framed(pixels: np.ndarray, box: list[float], color: tuple[int, int, int]) -> bool:
    """Whether a box's outermost pixels have a color, in the middle of its right and lower edge."""
    left, top, right, bottom = (round(value) for value in box)
    across, down = (left + right) // 2, (top + bottom) // 2
    on = near(pixels[bottom - 1, across], color) and near(pixels[down, right - 1], color)
    return on and (right + 1 >= SIZE[0] or not near(pixels[down, right + 1], color))


def cells(box: list[float]) -> set[tuple[int, int]]:
    """The pixels that a box covers: another way to its overlap with another."""
    left, top, right, bottom = (round(value) for value in box)
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


def test_the_annotated_box_has_the_letter_of_the_answer(lvis: Path, tmp_path: Path) -> None:
    done, rows = built(TASK, lvis, tmp_path / "out", 8)
    assert done.answers == {"A": 4, "B": 4}
    both = 0
    for row in rows:
        assert row["prompt"] == PROMPT.format("flower arrangement")
        assert row["choices"] == ["Box A", "Box B"]
        origin = row["origin"]
        # bbox is left, top, width, height
        assert origin["box"] == [60.5, 40.25, 210.5, 160.25]
        assert origin["annotation"] == 100 + int(origin["file"].split("/")[1].split(".")[0])
        (pixels,) = shown(tmp_path / "out", TASK, row)
        assert pixels.shape == (240, 320, 3)  # as COCO has it
        red, green = origin["box"], origin["worse"]
        if row["answer"] == "B":
            red, green = green, red
        assert framed(pixels, red, RED)
        # Drawn later, the red box may hide an edge of the green one.
        if all(abs(one - other) > 3 for one, other in zip(red[2:], green[2:], strict=True)):
            assert framed(pixels, green, GREEN)
            both += 1
    assert both >= 4


def test_the_worse_box_is_the_right_one_shifted_and_cut_off_at_the_border(
    lvis: Path, tmp_path: Path
) -> None:
    # The published example: shifted by 0.20 of the width and 0.06 of the height, cut off at the
    # left border, intersection over union 0.73.
    box = [0.0, 40.0, 210.0, 120.0]
    write(lvis, images=content(lvis)["images"], annotations=[
        annotation(100 + n, n, bbox=box, area=0.8 * 210 * 120) for n in range(8)
    ])  # fmt: skip
    _, rows = built(TASK, lvis, tmp_path / "out", 8)
    worse = []
    cut = 0
    for row in rows:
        left, top, right, bottom = row["origin"]["worse"]
        assert 0 <= left < right <= SIZE[0]
        assert bottom - top == pytest.approx(120, abs=0.02)  # the image ends nowhere near
        cut += left == 0
        assert right - left == pytest.approx(right if left == 0 else 210, abs=0.02)
        one, other = cells(row["origin"]["box"]), cells(row["origin"]["worse"])
        assert 0.59 <= len(one & other) / len(one | other) <= 0.81
        worse.append((left, top, right, bottom))
    assert len(set(worse)) == len(worse)
    assert 0 < cut < 8


def test_names_keep_their_qualifier_and_small_hollow_or_doubtful_objects_are_not_asked_for(
    lvis: Path, tmp_path: Path
) -> None:
    images = [image(number) for number in range(10, 16)]
    images[3]["not_exhaustive_category_ids"] = [2]
    for one in images:
        save(photo(one["id"], SIZE), lvis / "train2017" / f"{one['id']:012d}.jpg")
    annotations = [
        annotation(110, 10, 2),
        annotation(111, 11, 3),
        annotation(112, 12, 2, bbox=[10, 10, 60, 60], area=3000),  # 4.7 % of the image
        annotation(113, 13, 2),  # there may be more of them
        annotation(114, 14, 2),
        annotation(115, 14, 2, bbox=[5, 5, 9, 9], area=60),  # a second one, far smaller
        annotation(116, 15, 2, area=0.5 * 150 * 120),  # half of its box
        annotation(117, 15, 3, bbox=[0, 0, 320, 200], area=60000),  # 83 %
    ]
    add(lvis, images, annotations)
    done, rows = built(TASK, lvis, tmp_path / "out", 20)
    assert done.candidates == 10
    names = {row["origin"]["annotation"]: row["origin"]["category"] for row in rows}
    assert {number for number in names if number >= 110} == {110, 111}
    assert (names[110], names[111]) == ("bat (animal)", "jalapeño")
    (row,) = [row for row in rows if row["origin"]["annotation"] == 110]
    assert row["prompt"] == PROMPT.format("bat (animal)")


def test_a_box_up_to_the_border_is_drawn_on_the_outermost_pixels(
    lvis: Path, tmp_path: Path
) -> None:
    border = [100.0, 100.0, 220.0, 140.0]  # to 320 and 240
    write(lvis, images=content(lvis)["images"], annotations=[
        annotation(100 + n, n, bbox=border, area=0.8 * 220 * 140) for n in range(8)
    ])  # fmt: skip
    _, rows = built(TASK, lvis, tmp_path / "out", 8)
    red = [row for row in rows if row["answer"] == "A"]
    assert len(red) == 4
    for row in red:
        (pixels,) = shown(tmp_path / "out", TASK, row)
        assert near(pixels[239, 200], RED)
        assert near(pixels[170, 319], RED)


def test_grey_palette_and_turned_images_are_used(lvis: Path, tmp_path: Path) -> None:
    save(photo(20, SIZE).convert("L"), lvis / "train2017" / f"{0:012d}.jpg")
    save(photo(21, SIZE).convert("P"), lvis / "train2017" / f"{1:012d}.jpg", format="PNG")
    picture, exif = turned(photo(2, SIZE))
    save(picture, lvis / "train2017" / f"{2:012d}.jpg", exif=exif)
    done, rows = built(TASK, lvis, tmp_path / "out", 8)
    assert done.made == 8
    (row,) = [row for row in rows if row["origin"]["annotation"] == 102]
    assert difference(shown(tmp_path / "out", TASK, row)[0], photo(2, SIZE)) < 12  # but for boxes


def test_what_cannot_be_an_item_is_counted_and_named(lvis: Path, tmp_path: Path) -> None:
    images = [image(number) for number in (20, 21, 22, 23)]
    images[1]["coco_url"] = "http://images.cocodataset.org/../secret.jpg"
    images[3]["height"] = 0
    save(photo(22, (240, 320)), lvis / "train2017" / f"{22:012d}.jpg")
    bad = annotation(125, 0, 2)
    del bad["bbox"]
    annotations = [
        annotation(120, 20, 2),  # no such file
        annotation(121, 21, 2),
        annotation(122, 22, 2),  # lies on its side
        annotation(123, 23, 2),
        annotation(124, 99, 2),  # no such image
        bad,
        annotation(126, 1, 9),  # no such category
        annotation(127, 2, 2, bbox=[1, 2, "x", 4]),
        annotation(128, 3, 2, bbox=[1, 2, float("nan"), 4]),
        "no object",
        annotation(129, [4], 2),
        annotation(100, 5, 3),  # an id that is there already
    ]
    add(lvis, images, annotations)
    done, _ = built(TASK, lvis, tmp_path / "out", 20)
    assert done.made == 8
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts == {
        "a damaged annotation": 8,
        "an annotation that is there twice": 1,
        "an image that is missing": 1,
        "a file name that leads out of the data set": 1,
        "an image whose size is not the annotation's": 1,
    }
    assert "annotations[11]" in done.skipped["a damaged annotation"]["first"][0]


def test_the_validation_annotations_are_never_read(lvis: Path, tmp_path: Path) -> None:
    (lvis / "lvis_v1_train.json").rename(lvis / "lvis_v1_val.json")
    with raises(DataError):
        build(TASK, lvis, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": []', r"lvis_v1_train\.json: not JSON: .*; was it cut short\?"),
        ("[]", r"has no list 'images'; is it the LVIS v1 annotation file\?"),
        ('{"images": [], "annotations": {}}', r"has no list 'annotations'"),
        ('{"images": [], "annotations": [], "categories": []}', r"no annotation of LVIS v1 could"),
    ],
)
def test_a_damaged_annotation_file_is_refused(
    lvis: Path, tmp_path: Path, text: str, message: str
) -> None:
    (lvis / "lvis_v1_train.json").write_text(text)
    with pytest.raises(DataError, match=message):
        build(TASK, lvis, tmp_path / "out")


def test_a_folder_without_images_is_refused(lvis: Path, tmp_path: Path) -> None:
    (lvis / "train2017").rename(lvis / "pictures")
    with raises(DataError):
        build(TASK, lvis, tmp_path / "out")


@pytest.mark.parametrize(
    ("lists", "images"),
    [
        (".", "coco"),
        ("annotations", "images"),
        ("lvis", "coco"),  # as detectron2 has it: `datasets/lvis` beside `datasets/coco`
        ("lvis", "coco/images"),
    ],
)
def test_annotations_and_images_in_folders_of_their_own_are_found(
    lvis: Path, tmp_path: Path, lists: str, images: str
) -> None:
    _, one = built(TASK, lvis, tmp_path / "one", 8)
    for folder in (lists, images):
        (lvis / folder).mkdir(parents=True, exist_ok=True)
    (lvis / "lvis_v1_train.json").rename(lvis / lists / "lvis_v1_train.json")
    for folder in ("train2017", "val2017"):
        (lvis / folder).rename(lvis / images / folder)
    _, two = built(TASK, lvis, tmp_path / "two", 8)
    assert one == two


@pytest.mark.parametrize(
    ("name", "spoken"),
    [  # LVIS v1's names beside what the benchmark's prompts ask for
        ("train_(railroad_vehicle)", "train (railroad vehicle)"),
        ("polo_shirt", "polo shirt"),
        ("monitor_(computer_equipment) computer_monitor",
         "monitor (computer equipment) computer monitor"),
    ],
)  # fmt: skip
def test_a_name_is_lviss_with_spaces_for_underscores(
    lvis: Path, tmp_path: Path, name: str, spoken: str
) -> None:
    write(lvis, **content(lvis) | {"categories": [category(1, name)]})
    _, rows = built(TASK, lvis, tmp_path / "out", 8)
    assert {row["prompt"] for row in rows} == {PROMPT.format(spoken)}


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    lvis: Path, tmp_path: Path
) -> None:
    for out in ("one", "two"):
        build(TASK, lvis, tmp_path / out, items=4, seed=3)
    build(TASK, lvis, tmp_path / "three", items=4, seed=4)
    one, two, three = (files_of(tmp_path / out) for out in ("one", "two", "three"))
    assert one == two
    assert one != three
