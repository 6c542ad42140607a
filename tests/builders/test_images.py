"""Markers, prompts and images as the benchmark has them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from messages import raises
from PIL import Image
from training_factory import BLACK, GREEN, RED, WHITE, difference, near, photo, ring, save, turned

from transferscope.builders import markers, prompts, source_files
from transferscope.builders.markers import (
    boxed,
    circled,
    legible,
    place,
    resized,
    scaled,
    to_height,
)
from transferscope.builders.record import Skip, Unusable
from transferscope.builders.source_files import find, open_source, rows_of, within
from transferscope.errors import DataError
from transferscope.tasks import untrusted

# Lengths of the benchmark's prompts, from its published statistics.
LENGTHS = [
    (prompts.ART_STYLE, 373),
    (prompts.FORENSIC_DETECTION, 296),
    (prompts.functional_correspondence("Mix"), 929),
    (prompts.functional_correspondence("Pull out a nail"), 941),
    (prompts.JIGSAW, 363),
    (prompts.MULTI_VIEW_REASONING, 369),
    (prompts.object_localization("cat"), 347),
    (prompts.RELATIVE_DEPTH, 179),
    (prompts.RELATIVE_REFLECTANCE, 316),
    (prompts.SEMANTIC_CORRESPONDENCE, 768),
    (prompts.VISUAL_CORRESPONDENCE, 403),
    (prompts.VISUAL_SIMILARITY, 234),
]


@pytest.mark.parametrize(("wording", "length"), LENGTHS)
def test_prompts_are_as_long_as_the_benchmarks(wording: prompts.Wording, length: int) -> None:
    assert len(wording.prompt) == length


def test_prompts_are_the_real_ones_to_the_character(real_items: Path) -> None:
    folders = sorted(real_items.glob("*/*"))
    for folder in folders:
        asked = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        prompt = asked["query"].rpartition("'> ")[2]
        expected = {
            "blink_depth": prompts.RELATIVE_DEPTH,
            "blink_jigsaw": prompts.JIGSAW,
            "blink_spatial": prompts.spatial_relation(prompt.partition("\n")[0]),
        }[folder.parent.name]
        assert prompt == expected.prompt
    assert len(folders) == 120


def test_counting_and_localization_ask_as_items_that_others_published() -> None:
    # Three of the benchmark's items in haoningwu3639/SpatialScore.
    assert prompts.counting("How many toilets have lids?", ("4", "1", "3", "2")).prompt == (
        "How many toilets have lids?\nSelect from the following choices.\n"
        "(A) 4\n(B) 1\n(C) 3\n(D) 2"
    )
    for thing in ("train (railroad vehicle)", "polo shirt"):
        assert prompts.object_localization(thing).prompt.endswith(
            "Given the two bounding boxes on the image, labeled by A and B, which bounding box "
            f"more accurately localizes and encloses the {thing}? Select from the following "
            "options.\n(A) Box A\n(B) Box B"
        )


def test_prompts_of_questions_end_in_their_lettered_choices() -> None:
    # Shortest and longest of the benchmark's: 86 to 133 and 72 to 102 characters.
    counting = prompts.counting("How many blue floats are there?", ("1", "2", "3", "4")).prompt
    assert counting.endswith("choices.\n(A) 1\n(B) 2\n(C) 3\n(D) 4")
    assert 86 <= len(counting) <= 133
    relation = prompts.spatial_relation("Is the cat left of the dog?").prompt
    assert relation.endswith("?\nSelect from the following choices.\n(A) yes\n(B) no")
    assert 72 <= len(relation) <= 102


@pytest.mark.parametrize(
    ("height", "outer"), [(1024, (25, 29)), (375, (11, 13)), (240, (11, 13)), (2048, (48, 56))]
)
def test_circles_are_as_large_as_the_benchmarks(height: int, outer: tuple[int, int]) -> None:
    # Published examples: 25 to 29 pixels on 1024, about 13 on images of 500 x 375.
    size = (height * 4 // 3, height)
    ((left, _, right, _), _, _) = place({"A": (height / 2, height / 2)}, size)[0]
    assert outer[0] <= right - left + 1 <= outer[1]


def test_points_are_ringed_and_labelled_in_white_on_black() -> None:
    image = photo(1, (1400, 1024))
    pixels = np.asarray(circled(image, {"REF": (700, 500), "A": (300, 40)}))
    assert ring(pixels, (700, 500))
    assert ring(pixels, (300, 40))
    for marker in place({"REF": (700, 500), "A": (300, 40)}, image.size):
        left, top, right, bottom = (int(value) for value in marker.label)
        tab = pixels[top : bottom + 1, left : right + 1]
        assert near(tab[0, 0], BLACK, 0)
        assert near(tab[-1, -1], BLACK, 0)
        assert (tab.min(axis=2) > 200).any()
        # Letters are four fifths as high as the circle, and keep within their tab.
        bright = (tab.max(axis=2) > 100).any(axis=1).nonzero()[0]
        assert 18 <= bright[-1] - bright[0] + 1 <= 23
        assert (left + right) / 2 == pytest.approx(700 if marker.text == "REF" else 300, abs=1)
    outside = np.ones(pixels.shape[:2], dtype=bool)
    for marker in place({"REF": (700, 500), "A": (300, 40)}, image.size):
        for left, top, right, bottom in (marker.circle, marker.label):
            outside[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = False
    assert (pixels[outside] == np.asarray(image)[outside]).all()


@pytest.mark.parametrize(
    ("height", "above", "below", "label"),
    [
        (375, 24, 23, (14, 15)),  # 187 of 225 labels of the benchmark's Relative_Depth; six below
        (1024, 45, 44, (25, 25)),  # published correspondences: 0.84 of the circle's width between
    ],
)
def test_labels_stand_as_far_away_as_the_benchmarks(
    height: int, above: float, below: float, label: tuple[int, int]
) -> None:
    size = (height * 4 // 3, height)
    upper, lower = place({"A": (height / 2, height / 2), "B": (height / 2, 15)}, size)
    for marker, away in ((upper, -above), (lower, below)):
        left, top, right, bottom = marker.label
        center = (marker.circle[1] + marker.circle[3]) / 2
        assert (top + bottom) / 2 - center == pytest.approx(away, abs=1)
        assert right - left + 1 == pytest.approx(label[0], abs=1)
        assert bottom - top + 1 == pytest.approx(label[1], abs=1)


def test_labels_stand_above_and_near_the_top_below_and_never_outside() -> None:
    size = (1400, 1024)
    for point in ((700, 500), (700, 20), (3, 500), (1397, 500), (2, 2), (1398, 1022)):
        (marker,) = place({"REF": point}, size)
        left, top, right, bottom = marker.label
        assert left >= 0
        assert top >= 0
        assert right <= size[0] - 1
        assert bottom <= size[1] - 1
        if point[1] > 50:
            assert bottom < marker.circle[1]
        else:
            assert top > marker.circle[3]


def test_points_are_legible_unless_markers_meet_or_leave_the_image() -> None:
    size = (1400, 1024)
    assert legible({"A": (500, 500), "B": (560, 500)}, size)
    assert not legible({"A": (500, 500), "B": (520, 500)}, size)  # circles meet
    assert not legible({"A": (500, 500), "B": (500, 455)}, size)  # B lies under A's label
    assert not legible({"A": (500, 500), "B": (500, 545)}, size)  # and A under B's
    assert legible({"A": (500, 500), "B": (500, 590)}, size)
    assert not legible({"A": (5, 500)}, size)
    assert not legible({"A": (500, 1020)}, size)


def test_the_first_box_is_red_and_the_second_green_with_letters_in_tabs() -> None:
    image = photo(2, (640, 480))
    boxes = {"A": (50, 60, 300, 400), "B": (100.4, 90.6, 500, 420)}
    pixels = np.asarray(boxed(image, boxes))
    assert near(pixels[400, 200], RED, 0)
    assert near(pixels[200, 50], RED, 0)
    assert near(pixels[420, 300], GREEN, 0)
    assert near(pixels[300, 500], GREEN, 0)
    for (x, y), color, ink in (((50, 60), RED, WHITE), ((101, 91), GREEN, BLACK)):
        # In the published example a tab is 22 x 31 pixels, on an image of COCO's size.
        tab = pixels[y : y + 31, x : x + 22].reshape(-1, 3)
        assert np.mean([near(pixel, color, 10) for pixel in tab]) > 0.4
        assert any(near(pixel, ink, 60) for pixel in tab)
    inside = np.asarray(image)[150:350, 120:280]
    assert (pixels[150:350, 120:280] == inside).all()  # boxes are hollow


def test_a_boxs_tab_stays_in_the_image() -> None:
    image = photo(2, (640, 480))
    pixels = np.asarray(boxed(image, {"A": (-4, -3, 100, 100), "B": (632, 472, 639, 479)}))
    assert pixels.shape == (480, 640, 3)
    assert near(pixels[1, 1], RED, 0)
    assert np.mean([near(one, GREEN, 10) for one in pixels[448:479, 618:639].reshape(-1, 3)]) > 0.3


def test_where_tabs_meet_the_firsts_is_on_top() -> None:
    # As in the published example, whose boxes both begin at the left border, 19 pixels apart.
    boxes = {"A": (0, 0, 407, 345), "B": (0, 19, 326, 368)}
    pixels = np.asarray(boxed(photo(2, (640, 427)), boxes))
    assert near(pixels[29, 1], RED, 0)
    assert near(pixels[48, 5], GREEN, 0)
    assert near(pixels[200, 1], RED, 0)


def stored(tmp_path: Path, image: Image.Image, name: str, **options: object) -> Image.Image:
    save(image, tmp_path / name, **options)
    return open_source(tmp_path / name)


def test_images_of_every_mode_become_rgb(tmp_path: Path) -> None:
    image = photo(1, (60, 40))
    for mode, name in (("L", "a.png"), ("1", "c.png"), ("CMYK", "d.jpg"), ("LA", "e.png"),
                       ("RGBA", "f.png"), ("CMYK", "g.tif"), ("YCbCr", "h.jpg")):  # fmt: skip
        opened = stored(tmp_path, image.convert(mode), name)
        assert opened.mode == "RGB"
        if mode not in ("1", "L", "LA"):
            assert difference(np.asarray(opened), image) < 8, mode
    palette = stored(tmp_path, image.quantize(256), "b.png")
    assert palette.mode == "RGB"
    assert difference(np.asarray(palette), image) < 8


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (200, 30, 30, 0))
    clear.putpixel((1, 1), (200, 30, 30, 255))
    opened = stored(tmp_path, clear, "clear.png")
    assert opened.getpixel((0, 0)) == WHITE
    assert opened.getpixel((1, 1)) == (200, 30, 30)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 200, 10])
    opened = stored(tmp_path, palette, "palette.png", transparency=1)
    assert opened.getpixel((2, 2)) == WHITE


def test_sixteen_bits_of_grey_keep_their_scale(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(3, 0)
    opened = stored(tmp_path, Image.fromarray(ramp), "deep.png")
    assert np.abs(np.asarray(opened)[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_images_are_turned_upright(tmp_path: Path) -> None:
    image, exif = turned(photo(1, (60, 40)))
    opened = stored(tmp_path, image, "turned.jpg", exif=exif, quality=95)
    assert opened.size == (60, 40)
    assert np.abs(np.asarray(opened, float) - np.asarray(photo(1, (60, 40)), float)).mean() < 4


def test_damaged_missing_and_huge_images_are_unusable(tmp_path: Path, monkeypatch) -> None:
    file = io.BytesIO()
    photo(1, (200, 200)).save(file, "PNG")
    whole = file.getvalue()
    for number, data in enumerate((b"", b"GIF89a", whole[:100], whole[:-4000], b"\0" * 500)):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        with pytest.raises(Unusable, match="an image that cannot be decoded"):
            open_source(path)
    with pytest.raises(Unusable, match="an image that is missing"):
        open_source(tmp_path / "none.png")
    for module in (markers, source_files, untrusted):
        monkeypatch.setattr(module, "MAX_PIXELS", 39_999)
    (tmp_path / "large.png").write_bytes(whole)
    with pytest.raises(Unusable, match="an image of more than 39,999 pixels"):
        open_source(tmp_path / "large.png")
    with pytest.raises(Unusable, match="an image of more than 39,999 pixels"):
        to_height(photo(1, (60, 40)), 200)


def test_points_move_with_their_image() -> None:
    image = Image.new("RGB", (90, 60), BLACK)
    image.paste(WHITE, (30, 20, 33, 23))  # center of the middle one: (31, 21)
    for moved, factor in (to_height(image, 240), to_height(image, 20), (resized(image, 0.5), 0.5)):
        x, y = scaled((31, 21), factor)
        rows, columns = (np.asarray(moved)[..., 0] > 100).nonzero()
        assert columns.mean() == pytest.approx(x, abs=0.6)
        assert rows.mean() == pytest.approx(y, abs=0.6)
    assert resized(image, 1) is image


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a/../../x", "", "a\0b", "..\\x.jpg"])
def test_file_names_lead_nowhere_outside_the_data_set(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unusable, match="leads out of the data set"):
        within(tmp_path, name)


def test_ordinary_file_names_are_found(tmp_path: Path) -> None:
    assert within(tmp_path, "./größe/a b.jpg") == tmp_path / "größe" / "a b.jpg"


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with raises(DataError):
        find(tmp_path / "none", "a.csv")


def test_damaged_lines_are_skipped_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes('\ufeff{"a": 1}\r\n\r\n[1]\n{"a"\n{"b": "\u2028"}\n'.encode())
    found = list(rows_of(path))
    assert found == [
        ("lines.jsonl:1", {"a": 1}),
        Skip("a line that is not JSON", "lines.jsonl:3"),
        Skip("a line that is not JSON", "lines.jsonl:4"),
        ("lines.jsonl:5", {"b": "\u2028"}),
    ]
    path.write_bytes(b"\xff")
    with raises(DataError):
        list(rows_of(path))
