"""Visual_Similarity items from a miniature of NIGHTS, laid out and written as the original is."""

import csv
from pathlib import Path

import pytest
from messages import raises
from training_factory import built, difference, files_of, photo, save, shown, turned

from transferscope.builders.build import build
from transferscope.errors import DataError

TASK = "Visual_Similarity"
PROMPT = (
    "Given three similar but different images, take the first image as reference. Can you tell "
    "which one of the latter two images is most similar to the first one?\nSelect from the "
    "following choices.\n(A) the second image\n(B) the third image"
)
HEADER = (
    *("id", "left_vote", "right_vote", "votes", "ref_path", "left_path", "right_path"),
    *("prompt", "is_imagenet", "split"),
)
SIZE = (96, 96)


def names(number: int) -> list[str]:
    place = f"000/{number:03d}"
    return [f"ref/{place}.png", f"distort/{place}_0.png", f"distort/{place}_1.png"]


def line(number: int, right: str = "0", votes: str = "8", split: str = "train") -> list[str]:
    left = {"0": "1", "1": "0"}.get(right, right)
    prompt = "An image of a café, with an umbrella"  # a comma: quoted in the file
    return [str(number), left, right, votes, *names(number), prompt, "False", split]


def write(root: Path, lines: list[list[str]], header: tuple[str, ...] = HEADER) -> None:
    with (root / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """Eight good triplets; people saw the right image closer in the even ones."""
    root = tmp_path / "nights"
    for number in range(8):
        for place, name in enumerate(names(number)):
            save(photo(3 * number + place, SIZE), root / name)
    write(root, [line(number, "0" if number % 2 else "1") for number in range(8)])
    return root


def test_the_image_that_people_chose_stands_where_the_answer_says(
    nights: Path, tmp_path: Path
) -> None:
    done, rows = built(TASK, nights, tmp_path / "out", 8)
    assert done.answers == {"A": 4, "B": 4}
    for row in rows:
        assert row["prompt"] == PROMPT
        assert row["choices"] == ["the second image", "the third image"]
        number = int(row["origin"]["id"])
        closer = 3 * number + (1 if number % 2 else 2)
        farther = 3 * number + (2 if number % 2 else 1)
        order = (closer, farther) if row["answer"] == "A" else (farther, closer)
        pictures = shown(tmp_path / "out", TASK, row)
        assert len(pictures) == 3
        for pixels, seed in zip(pictures, (3 * number, *order), strict=True):
            assert difference(pixels, photo(seed, SIZE)) < 3


def test_only_unanimous_training_triplets_are_used(nights: Path, tmp_path: Path) -> None:
    lines = [line(number) for number in range(8)]
    lines[0] = line(0, votes="5")
    lines[1] = line(1, split="test")
    lines[2] = line(2, split="val")
    lines[3] = line(3, votes="6")
    write(nights, lines)
    done, rows = built(TASK, nights, tmp_path / "out", 8)
    assert {row["origin"]["id"] for row in rows} == {"3", "4", "5", "6", "7"}
    assert done.skipped["people did not agree"]["count"] == 1


def test_columns_of_other_names_are_found_by_their_place(nights: Path, tmp_path: Path) -> None:
    done, one = built(TASK, nights, tmp_path / "one", 8)
    header = ("nr", "l", "r", "votes", "a", "b", "c", "prompt", "is_imagenet", "split")
    write(nights, [line(number, "0" if number % 2 else "1") for number in range(8)], header)
    _, two = built(TASK, nights, tmp_path / "two", 8)
    assert one == two
    assert done.made == 8


def test_grey_palette_transparent_and_turned_images_are_used(nights: Path, tmp_path: Path) -> None:
    save(photo(40, SIZE).convert("L"), nights / names(0)[0])
    save(photo(41, SIZE).convert("P"), nights / names(0)[1])
    save(photo(42, SIZE).convert("RGBA"), nights / names(0)[2])
    image, exif = turned(photo(43, (96, 64)))
    save(image, nights / names(1)[0], exif=exif)
    done, rows = built(TASK, nights, tmp_path / "out", 8)
    assert done.made == 8
    (row,) = [row for row in rows if row["origin"]["id"] == "1"]
    assert difference(shown(tmp_path / "out", TASK, row)[0], photo(43, (96, 64))) < 3


def test_what_cannot_be_an_item_is_counted_and_named(nights: Path, tmp_path: Path) -> None:
    lines = [line(number, "0" if number % 2 else "1") for number in range(8)]
    (nights / names(6)[1]).unlink()
    (nights / names(7)[2]).write_bytes((nights / names(7)[2]).read_bytes()[:200])
    lines[5][4] = "../secret.png"
    lines += [line(8, right="0.5"), line(9, votes="many"), ["10", "1"], lines[0]]
    lines.append(["", *line(11)[1:]])
    write(nights, lines)
    done, rows = built(TASK, nights, tmp_path / "out", 20)
    assert {row["origin"]["id"] for row in rows} == {"0", "1", "2", "3", "4"}
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts == {
        "a damaged annotation": 3,
        "a line of another length than the header": 1,
        "a file name that leads out of the data set": 1,
        "an annotation that is there twice": 1,
        "an image that cannot be decoded": 1,
        "an image that is missing": 1,
    }


def test_a_folder_laid_out_otherwise_is_refused(nights: Path, tmp_path: Path) -> None:
    write(nights, [], ("id", "votes"))
    with raises(DataError):
        build(TASK, nights, tmp_path / "out")
    (nights / "data.csv").unlink()
    with raises(DataError):
        build(TASK, nights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    nights: Path, tmp_path: Path
) -> None:
    for out in ("one", "two"):
        build(TASK, nights, tmp_path / out, items=4, seed=3)
    build(TASK, nights, tmp_path / "three", items=4, seed=4)
    one, two, three = (files_of(tmp_path / out) for out in ("one", "two", "three"))
    assert one == two
    assert one != three
