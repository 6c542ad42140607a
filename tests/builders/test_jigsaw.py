"""Jigsaw items from a miniature of TARA, laid out and written as the original is."""

import json
from pathlib import Path

import numpy as np
import pytest
from messages import raises
from PIL import Image
from scipy.signal import correlate
from training_factory import built, difference, files_of, photo, save, shown, turned

from transferscope.builders.build import build
from transferscope.errors import DataError
from transferscope.suites.similar_images import KnownImages, image_hashes

TASK = "Jigsaw"
PROMPT = (
    "Given the first image with the lower right corner missing, can you tell which one of the "
    "second image or the third image is the missing part? Imagine which image would be more "
    "appropriate to place in the missing spot. You can also carefully observe and compare the "
    "edges of the images.\nSelect from the following choices.\n\n(A) the second image\n"
    "(B) the third image\n"
)
SIZE = (600, 400)


def url(name: str) -> str:
    return f"https://static01.nyt.com/images/2020/06/{name}/{name}-articleLarge.jpg"


def line(address: object) -> str:
    fields = {"image_url": address, "abstract": "Ein Bild aus Köln", "gold_time": "2020-6-1"}
    return json.dumps(fields, ensure_ascii=False) + "\n"


def write(root: Path, *lines: str) -> None:
    (root / "input").mkdir(exist_ok=True)
    (root / "input" / "train.jsonl").write_text("".join(lines), encoding="utf-8")


def add(root: Path, *lines: str) -> None:
    with (root / "input" / "train.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(lines)


def place(root: Path, name: str) -> Path:
    """Where the data set's `eval.py` saves an image."""
    return root / "images" / f"images-2020-06-{name}-{name}-articleLarge.jpg"


@pytest.fixture
def tara(tmp_path: Path) -> Path:
    """Eight photographs of 600 x 400, the newspaper's usual size."""
    root = tmp_path / "nyt_preprocessed"
    for number in range(8):
        save(photo(number, SIZE), place(root, f"photo{number}"))
    write(root, *(line(url(f"photo{number}")) for number in range(8)))
    return root


def whole(seed: int) -> Image.Image:
    """A photograph as it is cut: 3 x 3 cells of 200 x 133."""
    return photo(seed, SIZE).crop((0, 0, 600, 399))


def cell(image: Image.Image, row: int, column: int) -> Image.Image:
    wide, high = image.width // 3, image.height // 3
    return image.crop((column * wide, row * high, (column + 1) * wide, (row + 1) * high))


def nearest(shown: Image.Image, piece: Image.Image) -> float:
    """Least root mean square difference of a piece from any part of an image of its size."""
    whole, part = (np.asarray(one.convert("L"), dtype=float) for one in (shown, piece))
    squares = correlate(whole**2, np.ones_like(part), "valid") - 2 * correlate(whole, part, "valid")
    return float(np.sqrt(max((squares + (part**2).sum()).min(), 0) / part.size))


def test_the_missing_cell_is_black_and_the_right_piece_fills_it(tara: Path, tmp_path: Path) -> None:
    done, rows = built(TASK, tara, tmp_path / "out", 8)
    assert done.answers == {"A": 4, "B": 4}
    for row in rows:
        assert row["prompt"] == PROMPT
        first, second, third = shown(tmp_path / "out", TASK, row)
        # The benchmark's sizes: 400 x 266 for photographs of 3:2, and pieces of half that.
        assert first.shape == (266, 400, 3)
        assert second.shape == third.shape == (133, 200, 3)
        assert first[135:, 202:].max() < 12
        seed = int(row["origin"]["file"].split("photo")[1][0])
        seen = first.copy()
        seen[133:, 200:] = second if row["answer"] == "A" else third
        assert difference(seen, whole(seed).crop((0, 0, 400, 266))) < 3


def test_the_wrong_piece_is_a_cell_that_the_first_image_does_not_show(
    tara: Path, tmp_path: Path
) -> None:
    places = set()
    for seed in range(3):
        _, rows = built(TASK, tara, tmp_path / f"out{seed}", 8, seed)
        for row in rows:
            places.add(tuple(row["origin"]["wrong_cell"]))
            number = int(row["origin"]["file"].split("photo")[1][0])
            first, *pieces = shown(tmp_path / f"out{seed}", TASK, row)
            wrong = pieces["BA".index(row["answer"])]
            assert difference(wrong, cell(whole(number), *row["origin"]["wrong_cell"])) < 3
            assert nearest(Image.fromarray(first), Image.fromarray(wrong)) > 4
    assert places == {(0, 2), (1, 2), (2, 0), (2, 1), (2, 2)}


def test_in_no_real_item_does_the_wrong_piece_occur_in_the_first_image(real_items: Path) -> None:
    folders = sorted((real_items / "blink_jigsaw").iterdir())
    for folder in folders:
        asked = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        first, *pieces = (Image.open(folder / f"image{n}.jpg").convert("RGB") for n in (1, 2, 3))
        right, wrong = pieces if asked["answer"] == "(A)" else reversed(pieces)
        wide, high = right.size
        assert wrong.size == right.size
        assert first.size == (2 * wide, 2 * high)
        corner = np.asarray(first)[high + 8 :, wide + 8 :]  # JPEG blurs the border
        assert corner.max() < 30
        filled = first.copy()
        filled.paste(right, (wide, high))
        assert nearest(filled, wrong) > 12
        assert nearest(filled, right) < 1
    assert len(folders) == 40


def test_a_light_line_at_its_edge_often_tells_the_real_wrong_piece(real_items: Path) -> None:
    """What docs/datasets.md says of the benchmark: a rule that looks at one line of pixels."""

    def line(piece: Image.Image) -> float:
        """How far the right or lower outermost line stands out from those inside it."""
        pixels = np.asarray(piece.convert("L"), dtype=float)
        edges = (pixels[:-4:-1], pixels.T[:-4:-1])
        return max(np.abs(one[0] - one[1]).mean() - np.abs(one[1] - one[2]).mean() for one in edges)

    told = []
    for folder in sorted((real_items / "blink_jigsaw").iterdir()):
        asked = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        lines = [line(Image.open(folder / f"image{n}.jpg")) for n in (2, 3)]
        if max(lines) >= 12:
            told.append("AB"[int(np.argmin(lines))] == asked["answer"][1])
    assert len(told) >= 28  # of 40
    assert all(told)


def test_a_real_photograph_is_cut_as_the_benchmark_cut_it(real_items: Path, tmp_path: Path) -> None:
    # The four cells that are known of each real photograph, and five that are made up.
    made = []
    for place, folder in enumerate(sorted((real_items / "blink_jigsaw").iterdir())[::3]):
        asked = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        first, *pieces = (Image.open(folder / f"image{n}.jpg").convert("RGB") for n in (1, 2, 3))
        right = pieces["AB".index(asked["answer"][1])]
        wide, high = right.size
        if wide != 200:
            continue
        whole = photo(place, (3 * wide, 3 * high)).copy()
        whole.paste(first, (0, 0))
        whole.paste(right, (wide, high))
        save(whole, tmp_path / "TARA" / "images" / f"{place}.jpg", quality=100, subsampling=0)
        made.append((line(f"{place}.jpg"), first, right))
    (tmp_path / "TARA" / "train.jsonl").write_text("".join(text for text, _, _ in made))
    _, rows = built(TASK, tmp_path / "TARA", tmp_path / "out", len(made))
    assert len(rows) == len(made) >= 12
    for row in rows:
        _, first, right = made[[text for text, _, _ in made].index(line(row["origin"]["file"][7:]))]
        ours, *pieces = shown(tmp_path / "out", TASK, row)
        assert ours.shape == np.shape(first)
        assert difference(ours, first) < 2
        assert KnownImages([image_hashes("real", first)]).match(Image.fromarray(ours)) == "real"
        assert difference(pieces["AB".index(row["answer"])], right) < 2


def test_images_of_the_other_script_are_found_too(tara: Path, tmp_path: Path) -> None:
    # download_images.py: slashes to underscores, .png, a folder for each split.
    name = url("other").replace("/", "_").removesuffix(".jpg") + ".png"
    assert name.startswith("https:__static01.nyt.com_images_2020_06_other_")
    save(photo(20, SIZE), tara / "train" / name)
    add(tara, line(url("other")))
    done, rows = built(TASK, tara, tmp_path / "out", 9)
    assert done.made == 9
    assert any(row["origin"]["file"] == f"train/{name}" for row in rows)


def test_grey_palette_turned_and_oddly_named_images_are_used(tara: Path, tmp_path: Path) -> None:
    save(photo(30, SIZE).convert("L"), place(tara, "photo0"))
    save(photo(31, SIZE).convert("P"), place(tara, "photo1"), format="PNG")
    image, exif = turned(photo(2, SIZE))
    save(image, place(tara, "photo2"), exif=exif)
    save(photo(33, SIZE), tara / "images" / "images-2020-Zürich.jpg")
    add(tara, line("https://static01.nyt.com/images/2020/Zürich"))
    done, rows = built(TASK, tara, tmp_path / "out", 9)
    assert done.made == 9
    (row,) = [row for row in rows if "photo2" in row["id"]]
    first = shown(tmp_path / "out", TASK, row)[0]
    assert difference(first[:130], whole(2).crop((0, 0, 400, 130))) < 3


def test_what_cannot_be_an_item_is_counted_and_named(tara: Path, tmp_path: Path) -> None:
    save(photo(40, (599, 399)), place(tara, "small"))
    save(photo(41, (700, 900)), place(tara, "upright"))
    save(photo(42, (1000, 300)), place(tara, "panorama"))
    save(Image.new("RGB", SIZE, (90, 90, 90)), place(tara, "plain"))
    place(tara, "text").write_text("no image")
    extra = ("small", "upright", "panorama", "plain", "text", "gone")
    add(tara, *(line(url(name)) for name in extra))
    add(tara, line(None), '{"abstract": "no address"}\n', line("x" * 300), "no json\n")
    add(tara, line(url("photo0")))
    done, _ = built(TASK, tara, tmp_path / "out", 20)
    assert done.made == 8
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts == {
        "an annotation without a usable image_url": 3,
        "a line that is not JSON": 1,
        "an annotation that is there twice": 1,
        "an image of other proportions than the benchmark's": 2,
        "an image that is too small": 1,
        "pieces that look alike": 1,
        "an image that cannot be decoded": 1,
        "an image that is missing": 1,
    }
    assert any("-gone-" in name for name in done.skipped["an image that is missing"]["first"])


def test_an_address_leads_nowhere_outside_the_folder(tara: Path, tmp_path: Path) -> None:
    # Slashes become dashes, so what is left to try is a bare name.
    save(photo(50, SIZE), tmp_path / "secret.jpg")
    add(tara, line("../../secret.jpg"), line(".."))
    done, rows = built(TASK, tara, tmp_path / "out", 20)
    assert done.made == 8
    assert done.skipped["an image that is missing"]["count"] == 2
    assert not any("secret" in row["id"] for row in rows)


def test_the_evaluation_annotations_are_never_read(tara: Path, tmp_path: Path) -> None:
    (tara / "input" / "train.jsonl").rename(tara / "input" / "gold_test.jsonl")
    with raises(DataError):
        build(TASK, tara, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images_is_refused(tara: Path, tmp_path: Path) -> None:
    (tara / "images").rename(tara / "pictures")
    with raises(DataError):
        build(TASK, tara, tmp_path / "out")


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    tara: Path, tmp_path: Path
) -> None:
    for out in ("one", "two"):
        build(TASK, tara, tmp_path / out, items=4, seed=3)
    build(TASK, tara, tmp_path / "three", items=4, seed=4)
    one, two, three = (files_of(tmp_path / out) for out in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_the_same_photograph_is_a_leak_and_another_is_none(tara: Path, tmp_path: Path) -> None:
    def cornerless(seed: int) -> Image.Image:
        image = whole(seed).crop((0, 0, 400, 266)).resize((360, 240))  # copies have other sizes
        image.paste((0, 0, 0), (180, 120, 360, 240))
        return image

    seeds = (2, 5, *range(100, 110))
    against = KnownImages(image_hashes(f"item {seed}", cornerless(seed)) for seed in seeds)
    done, rows = built(TASK, tara, tmp_path / "out", 8, against=against)
    kept = {int(row["origin"]["file"].split("photo")[1][0]) for row in rows}
    assert kept == {0, 1, 3, 4, 6, 7}
    leaked = done.skipped["an image that is in the evaluation split"]["first"]
    assert [name.rpartition("like ")[2] for name in sorted(leaked)] == ["item 2)", "item 5)"]


def test_a_wide_photograph_is_reduced_and_its_cells_are_whole_pixels(
    tara: Path, tmp_path: Path
) -> None:
    save(photo(60, (800, 461)), place(tara, "photo0"))  # 600 x 346
    _, rows = built(TASK, tara, tmp_path / "out", 8)
    (row,) = [row for row in rows if "photo0" in row["id"]]
    shapes = [np.shape(pixels)[:2] for pixels in shown(tmp_path / "out", TASK, row)]
    assert shapes == [(230, 400), (115, 200), (115, 200)]
