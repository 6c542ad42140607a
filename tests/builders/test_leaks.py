"""Images of the evaluation split are recognized, however they were changed, and no others are."""

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw
from training_factory import built, photo, save

from transferscope.builders.build import LEAKED
from transferscope.builders.leaks import seen_in
from transferscope.builders.markers import boxed, circled
from transferscope.errors import DataError, StudyError
from transferscope.suites.similar_images import (
    KnownImages,
    KnownItems,
    exact_hash,
    image_hashes,
    perceptual_hash,
)
from transferscope.tasks import ArrayImage, Item

SIZE = (320, 240)
COUNT = 40


@cache
def scene(seed: int) -> Image.Image:
    """Things in front of a bright sky and dark ground: images of one layout are easily confused."""
    rng = np.random.default_rng(seed)
    image = photo(seed, SIZE).copy()
    draw = ImageDraw.Draw(image)
    horizon = rng.uniform(70, 170)
    draw.rectangle((0, 0, SIZE[0], horizon), fill=(200, 210, 230))
    draw.rectangle((0, horizon, *SIZE), fill=(70, 80, 40))
    for _ in range(8):
        x, y, wide, high = rng.uniform(0, 1, 4) * (*SIZE, 120, 120)
        color = tuple(rng.integers(0, 256, 3).tolist())
        draw.ellipse((x - wide, y - high, x + wide, y + high), fill=color)
    return image


def coded(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cropped(image: Image.Image, part: float) -> Image.Image:
    width, height = image.size
    x, y = round(part * width), round(part * height)
    return image.crop((x, y, width - x, height - y))


def marked(image: Image.Image) -> Image.Image:
    big = image.resize((1365, 1024))
    return circled(big, {"A": (300, 200), "B": (900, 300), "C": (600, 800), "D": (1200, 900)})


CHANGES = {
    "coded anew": lambda image: coded(image, 40),
    "half as large": lambda image: image.resize((160, 120)),
    "twice as large": lambda image: image.resize((640, 480), Image.Resampling.LANCZOS),
    "cropped by 1 % on every side": lambda image: cropped(image, 0.01),
    "cropped by 2 % on every side": lambda image: cropped(image, 0.02),
    "circled": marked,
    "boxed": lambda image: boxed(  # at COCO's size
        image.resize((640, 480)), {"A": (120, 120, 320, 320), "B": (180, 160, 400, 380)}
    ),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "resized, marked and coded": lambda image: coded(marked(image), 75),
}


@pytest.fixture(scope="module")
def seen() -> KnownImages:
    makes = (photo_of, scene)
    return KnownImages(image_hashes(f"{m.__name__} {n}", m(n)) for m in makes for n in range(COUNT))


def photo_of(seed: int) -> Image.Image:
    return photo(seed, SIZE)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("make", [photo_of, scene])
def test_a_changed_image_is_recognised(seen: KnownImages, make, change: str) -> None:
    for n in range(0, COUNT, 4):
        assert seen.match(CHANGES[change](make(n))) == f"{make.__name__} {n}"


def test_other_images_are_not_recognised(seen: KnownImages) -> None:
    others = [make(1000 + n) for make in (photo_of, scene) for n in range(100)]
    assert [seen.match(image) for image in others] == [None] * 200


@pytest.fixture(scope="module")
def pictures(real_items: Path) -> dict[str, Image.Image]:
    files = sorted(real_items.glob("*/*/*.jpg"))
    return {f"{path.parent.name} {path.stem}": Image.open(path).convert("RGB") for path in files}


def test_real_evaluation_pictures_are_recognised_and_others_are_not(
    pictures: dict[str, Image.Image],
) -> None:
    items = sorted({name.split()[0] for name in pictures})
    known = {name: image for name, image in pictures.items() if name.split()[0] in items[::3]}
    seen = KnownImages(image_hashes(name, image) for name, image in known.items())
    for name, image in known.items():
        small = image.resize((image.width // 2, image.height // 2))
        large = image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)
        copies = [coded(image, 50), coded(small, 75), coded(large, 90)]
        if "image2" not in name and "image3" not in name:  # pieces are 200 pixels wide
            copies += [coded(image, 30), cropped(image, 0.01)]
        assert [seen.match(copy) for copy in copies] == [name] * len(copies)
    others = [image for name, image in pictures.items() if name not in known]
    assert len(known) + len(others) == 200
    assert [seen.match(image) for image in others] == [None] * len(others)


def test_copies_of_real_pictures_are_told_from_the_same_with_other_markers(
    pictures: dict[str, Image.Image],
) -> None:
    taken = []
    for name, image in pictures.items():
        seen = KnownImages([image_hashes(name, image)])
        half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
        for copy in (coded(image, 20), coded(half, 75)):
            assert seen.copied(image_hashes("", copy)) == {name}
        if "Depth" in name:
            width, height = image.size
            moved = circled(image, {"A": (0.3 * width, 0.7 * height), "B": (0.8 * width, 60)})
            assert seen.match(moved) == name
            taken += seen.copied(image_hashes("", moved))
    assert len(taken) <= 2  # of 40: small changes of a dark picture


def test_items_that_show_the_same_pictures_and_offer_the_same_choices_repeat_each_other() -> None:
    def item(name: str, *seeds: int, choices: Sequence[str] = ("left", "right")) -> Item:
        images = tuple(ArrayImage(np.asarray(photo_of(seed))) for seed in seeds)
        return Item(name, "T", images, name, tuple(choices), 0, prompt=name)

    asked = [item("one", 1, 2), item("two", 3, 4), item("count", 5, choices="1234")]
    shown = KnownItems([*asked, item("text alone")])
    for learned, same in [
        (item("other words", 3, 4), "two"),
        (item("the other way round", 4, 3), "two"),
        (item("other order of choices", 5, choices="4213"), "count"),
        (item("one picture in common", 3, 5), None),
        (item("other choices", 5, choices="2345"), None),
        (item("another picture", 9, choices="1234"), None),
        (item("no picture"), None),
    ]:
        found = next(shown.repeats([item("harmless", 7, 8), learned]), None)
        assert (found and found[1].id) == same, learned.id
        assert not found or found[0] is learned
    white = ArrayImage(np.full((9, 9, 3), 255, np.uint8))
    plain = [Item(name, "T", (white,), name, ("a", "b"), 0, name) for name in ("one", "two")]
    assert not list(KnownItems(plain[1:]).repeats(plain[:1]))


def test_plain_images_are_recognised_by_their_pixels_alone() -> None:
    seen = KnownImages([image_hashes("white", Image.new("RGB", (20, 20), "white"))])
    assert seen.match(Image.new("RGB", (20, 20), "white")) == "white"
    assert seen.match(Image.new("RGB", (20, 21), "white")) is None
    assert seen.match(Image.new("RGB", (20, 20), "black")) is None


def test_hashes_are_what_they_say() -> None:
    one, other = photo_of(1), photo_of(1).copy()
    assert exact_hash(one) == exact_hash(other)
    other.putpixel((0, 0), (1, 2, 3))
    assert exact_hash(one) != exact_hash(other)
    distances = [
        int((perceptual_hash(photo_of(n)) != perceptual_hash(photo_of(n + 1))).sum())
        for n in range(60)
    ]
    assert 28 < np.mean(distances) < 36  # half of 63 bits


def test_nothing_is_like_nothing() -> None:
    assert KnownImages().match(photo_of(1)) is None


def parquet(path: Path, images: list[Image.Image], other: Image.Image | None = None) -> None:
    """A file as the benchmark's: a struct of bytes and path for each image column."""

    def cell(image: Image.Image | None) -> dict[str, object] | None:
        if image is None:
            return None
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        return {"bytes": file.getvalue(), "path": "image.jpg"}

    kind = pl.Struct({"bytes": pl.Binary, "path": pl.String})
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(
        {
            "idx": [f"val_X_{n}" for n in range(len(images))],
            "image_1": pl.Series([cell(image) for image in images], dtype=kind),
            "image_2": pl.Series([cell(other)] * len(images), dtype=kind),
            "image_3": pl.Series([None] * len(images), dtype=kind),
            "answer": ["(A)"] * len(images),
        }
    ).write_parquet(path)


def test_the_benchmarks_files_are_read_all_splits_and_columns(tmp_path: Path) -> None:
    parquet(tmp_path / "BLINK" / "Counting" / "val-00000-of-00001.parquet", [photo_of(1)])
    parquet(tmp_path / "BLINK" / "Jigsaw" / "test-00000-of-00001.parquet", [scene(2)], scene(3))
    seen = seen_in(tmp_path / "BLINK")
    assert len(seen.names) == 3
    assert seen.match(photo_of(1)) == "Counting/val-00000-of-00001.parquet, row 1, image_1"
    assert seen.match(scene(3)) == "Jigsaw/test-00000-of-00001.parquet, row 1, image_2"
    assert seen.match(scene(4)) is None


def test_a_suites_evaluation_items_are_read(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text("name: mine\ntasks: [{name: T}, {name: U}]\n")
    for split, number in (("train", 5), ("eval", 6)):
        save(photo_of(number), tmp_path / "T" / f"{number}.png")
        row = {"id": split, "images": [f"{number}.png"], "question": "?", "choices": ["a", "b"]}
        (tmp_path / "T" / f"{split}.jsonl").write_text(json.dumps(row | {"answer": "A"}))
    seen = seen_in(tmp_path)
    assert seen.match(photo_of(6)) == "eval, image 1"
    assert seen.match(photo_of(5)) is None


@pytest.mark.parametrize("case", ["none", "empty", "cut", "columns", "plain", "nothing", "image"])
def test_what_is_not_the_benchmark_is_refused(tmp_path: Path, case: str) -> None:
    root = tmp_path / "BLINK"
    path = root / "val.parquet"
    complaint = {
        "none": "no such folder",
        "empty": "holds no Parquet files and no suite.yaml",
        "cut": "not a readable Parquet file",
        "columns": "has no column image_1",
        "plain": "is not a struct with the field bytes",
        "nothing": "holds no images",
        "image": r"row 1, image_1: an image that cannot be decoded",
    }[case]
    if case != "none":
        root.mkdir()
    if case == "cut":
        path.write_bytes(b"PAR1")
    elif case == "columns":
        pl.DataFrame({"a": [1]}).write_parquet(path)
    elif case == "plain":
        pl.DataFrame({"image_1": ["x.jpg"]}).write_parquet(path)
    elif case == "nothing":
        parquet(path, [])
    elif case == "image":
        pl.DataFrame({"image_1": [{"bytes": b"no image", "path": ""}]}).write_parquet(path)
    with pytest.raises((DataError, StudyError), match=complaint):
        seen_in(root)


def diw(root: Path, images: list[Image.Image]) -> None:
    lines = []
    for n, image in enumerate(images):
        save(image, root / "DIW_train_val" / f"{n}.thumb", format="JPEG", quality=90)
        width, height = image.size
        relation = "<>"[n % 2]
        lines.append(f"./DIW_train_val/{n}.thumb\n61,61,161,221,{relation},{width},{height}\n")
    (root / "DIW_train_val.csv").write_text("".join(lines))


def test_items_whose_images_are_evaluated_are_left_out_and_named(tmp_path: Path) -> None:
    diw(tmp_path / "DIW", [scene(n) for n in range(6)])
    # The benchmark shows two of them with markers: one in another place, one resized as well.
    shown = [circled(scene(1), {"A": (200, 100), "B": (50, 180)}), marked(scene(4))]
    parquet(tmp_path / "BLINK" / "Relative_Depth" / "val.parquet", shown)
    against = seen_in(tmp_path / "BLINK")
    done, rows = built("Relative_Depth", tmp_path / "DIW", tmp_path / "out", 6, against=against)
    assert {row["origin"]["file"][-7] for row in rows} == set("0235")
    assert done.skipped[LEAKED]["count"] == 2
    assert "Relative_Depth/val.parquet, row" in done.skipped[LEAKED]["first"][0]
    assert done.against == 2
