"""Art_Style items from a miniature of WikiArt, laid out and written as the original is."""

from pathlib import Path

import pytest
from messages import raises
from training_factory import built, difference, files_of, photo, save, shown, turned

from transferscope.builders.art_style import candidates
from transferscope.builders.build import build
from transferscope.builders.record import Candidate
from transferscope.errors import DataError

TASK = "Art_Style"
PROMPT = (
    "Some most common art painting styles include Realism, Impressionism, Expressionism, Pop Art, "
    "and Cubism. Given the following images of art paintings, use the first image as the reference "
    "image, and determine which one of the second or the third image shares the same style as the "
    "reference image?\nSelect from the following choices.\n(A) the second image\n"
    "(B) the third image\n"
)
# The data set's numbers of some of its 27 styles; those the question names are five.
CLASSES = {
    0: "Abstract_Expressionism", 2: "Analytical_Cubism", 3: "Art_Nouveau", 7: "Cubism",
    9: "Expressionism", 12: "Impressionism", 16: "New_Realism", 19: "Pop_Art", 21: "Realism",
}  # fmt: skip
NAMED = (7, 9, 12, 19, 21)
PAINTERS = ("anna-ancher", "grã©goire-michonze", "pablo-picasso")  # garbled, as the original is


def name_of(style: int, number: int) -> str:
    return f"{CLASSES[style]}/{PAINTERS[number % 3]}_picture-{style}-{number}.jpg"


def seed_of(name: str) -> int:
    style, number = name.removesuffix(".jpg").split("-")[-2:]
    return 100 * int(style) + int(number)


def write(root: Path, rows: list[str]) -> None:
    content = "".join(f"{row}\r\n" for row in rows)
    (root / "wikiart_csv" / "style_train.csv").write_bytes(content.encode())


@pytest.fixture
def wikiart(tmp_path: Path) -> Path:
    """Six paintings of each of the five styles, and of two that must not be taken for them."""
    root = tmp_path / "WikiArt"
    (root / "wikiart_csv").mkdir(parents=True)
    lines = "".join(f"{number} {style}\r\n" for number, style in CLASSES.items())
    (root / "wikiart_csv" / "style_class.txt").write_bytes(lines.encode())
    rows = []
    for style in (*NAMED, 2, 16):
        for number in range(6):
            save(photo(100 * style + number, (80, 60)), root / "wikiart" / name_of(style, number))
            rows.append(f"{name_of(style, number)},{style}")
    write(root, rows)
    return root


def listed(root: Path) -> list[str]:
    return (root / "wikiart_csv" / "style_train.csv").read_text(encoding="utf-8").split("\n")[:-1]


def style_of(name: str) -> str:
    return name.split("/")[0]


def painter_of(name: str) -> str:
    return name.split("/")[1].split("_")[0]


def test_the_painting_of_the_references_style_stands_where_the_answer_says(
    wikiart: Path, tmp_path: Path
) -> None:
    done, rows = built(TASK, wikiart, tmp_path / "out", 8)
    assert done.answers == {"A": 4, "B": 4}
    for row in rows:
        assert row["prompt"] == PROMPT
        origin = row["origin"]
        assert style_of(origin["reference"]) == style_of(origin["match"]) == origin["style"]
        assert style_of(origin["odd"]) != origin["style"]
        order = [origin["match"], origin["odd"]]
        if row["answer"] == "B":
            order.reverse()
        pictures = shown(tmp_path / "out", TASK, row)
        for pixels, name in zip(pictures, [origin["reference"], *order], strict=True):
            assert difference(pixels, photo(seed_of(name), (80, 60))) < 3


def test_only_the_five_styles_are_used_and_no_painting_twice(wikiart: Path) -> None:
    found = [one for one in candidates(wikiart, 0) if isinstance(one, Candidate)]
    assert len(found) >= 8  # of 30 paintings, at most ten triples
    used = [name for one in found for name in one.facts]
    assert len(set(used)) == len(used)
    assert {style_of(name) for name in used} <= {CLASSES[style] for style in NAMED}
    assert len({one.group for one in found[:5]}) == 5  # every style in turn
    for one in found:
        assert painter_of(one.facts[0]) != painter_of(one.facts[1])
        assert one.answers == (0, 1)


def test_another_seed_puts_other_paintings_together(wikiart: Path) -> None:
    triples = [[str(one) for one in candidates(wikiart, seed)] for seed in (1, 1, 2)]
    assert triples[0] == triples[1]
    assert triples[0] != triples[2]


def test_grey_palette_turned_and_large_paintings_are_used(wikiart: Path, tmp_path: Path) -> None:
    _, rows = built(TASK, wikiart, tmp_path / "before", 8)
    origin = rows[0]["origin"]
    folder = wikiart / "wikiart"
    save(photo(1, (80, 60)).convert("L"), folder / origin["reference"])
    save(photo(2, (80, 60)).convert("P"), folder / origin["match"], format="PNG")
    image, exif = turned(photo(3, (80, 60)))
    save(image, folder / origin["odd"], exif=exif)
    save(photo(4, (80, 60)).resize((1600, 1500)), folder / rows[1]["origin"]["reference"])
    done, rows = built(TASK, wikiart, tmp_path / "out", 8)
    assert done.made == 8
    odd = shown(tmp_path / "out", TASK, rows[0])["BA".index(rows[0]["answer"]) + 1]
    assert difference(odd, photo(3, (80, 60))) < 3
    large = shown(tmp_path / "out", TASK, rows[1])[0]
    assert large.shape == (1382, 1474, 3)  # the benchmark's shorter side; 1600 * 1382 / 1500


def test_what_cannot_be_an_item_is_counted_and_named(wikiart: Path, tmp_path: Path) -> None:
    rows = listed(wikiart)
    twice = name_of(7, 0).replace("Cubism/", "Realism/")
    rows += [f"{twice},21", "Realism/no-number.jpg", "Realism/odd.jpg,x", ""]
    write(wikiart, rows)
    done, made = built(TASK, wikiart, tmp_path / "out", 20)
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts["a damaged annotation"] == 2
    assert counts["a painting of two styles"] == 2
    used = {name for row in made for name in row["origin"].values()}
    assert name_of(7, 0) not in used
    assert twice not in used


def test_a_missing_painting_costs_one_item(wikiart: Path, tmp_path: Path) -> None:
    _, rows = built(TASK, wikiart, tmp_path / "before", 8)
    (wikiart / "wikiart" / rows[0]["origin"]["odd"]).unlink()
    (wikiart / "wikiart" / rows[1]["origin"]["match"]).write_text("no image")
    done, after = built(TASK, wikiart, tmp_path / "out", 20)
    counts = {reason: found["count"] for reason, found in done.skipped.items()}
    assert counts["an image that is missing"] == 1
    assert counts["an image that cannot be decoded"] == 1
    gone = {rows[0]["origin"]["reference"], rows[1]["origin"]["reference"]}
    assert not gone & {row["origin"]["reference"] for row in after}


def test_a_folder_laid_out_otherwise_is_refused(wikiart: Path, tmp_path: Path) -> None:
    (wikiart / "wikiart_csv" / "style_train.csv").rename(wikiart / "wikiart_csv" / "style_val.csv")
    with raises(DataError):
        build(TASK, wikiart, tmp_path / "out")
    (wikiart / "wikiart_csv" / "style_class.txt").write_text("7 Cubism\n21 Realism\n")
    with raises(DataError):
        build(TASK, wikiart, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lists", ["Style", ".", "wikiart/Style"])
def test_lists_are_found_where_people_keep_them(wikiart: Path, tmp_path: Path, lists: str) -> None:
    _, one = built(TASK, wikiart, tmp_path / "one", 4)
    (wikiart / lists).mkdir(exist_ok=True)
    for name in ("style_train.csv", "style_class.txt"):
        (wikiart / "wikiart_csv" / name).rename(wikiart / lists / name)
    _, two = built(TASK, wikiart, tmp_path / "two", 4)
    assert one == two


def test_paintings_beside_the_lists_are_found(wikiart: Path, tmp_path: Path) -> None:
    _, one = built(TASK, wikiart, tmp_path / "one", 4)
    for folder in (wikiart / "wikiart").iterdir():
        folder.rename(wikiart / folder.name)
    _, two = built(TASK, wikiart, tmp_path / "two", 4)
    assert one == two
    (wikiart / "Realism").rename(wikiart / "realist")
    with raises(DataError):
        build(TASK, wikiart, tmp_path / "three")


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    wikiart: Path, tmp_path: Path
) -> None:
    for out in ("one", "two"):
        build(TASK, wikiart, tmp_path / out, items=4, seed=3)
    build(TASK, wikiart, tmp_path / "three", items=4, seed=4)
    one, two, three = (files_of(tmp_path / out) for out in ("one", "two", "three"))
    assert one == two
    assert one != three
