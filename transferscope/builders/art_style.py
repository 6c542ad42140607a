"""Art_Style from WikiArt: which of two paintings has the style of a third.

    wikiart_csv/style_train.csv    `STYLE/ARTIST_TITLE.jpg,NUMBER`, without a header; style_val.csv
                                   is never read
    wikiart_csv/style_class.txt    `NUMBER STYLE`, one style a line
    wikiart/STYLE/*.jpg            the paintings; STYLE folders in the folder itself will do as well

These are the two archives as distributed, unpacked beside each other. The repository's folder
`Style` with the same files is read too.

(ArtGAN repository of cs-chan, `WikiArt Dataset`.) Names are taken as they are, garbled ones too.

An item is a reference, a painting of the same style and one of another. Ours: all three are of the
five styles that the question names (as often each, as far as they go), reference and match are by
different painters, a painting that is listed under two of the styles is not used, and no painting
is used twice. Which of WikiArt's paintings the benchmark shows is not known: build with
`--against`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from transferscope.builders.annotations import find, within
from transferscope.builders.prompts import LATTER, art_style
from transferscope.builders.record import Builder, Candidate, Made, Skip
from transferscope.builders.source_images import open_picture
from transferscope.errors import DataError
from transferscope.tasks.untrusted import read_text

STYLES = ("Realism", "Impressionism", "Expressionism", "Pop_Art", "Cubism")
"""Those that the question names, as the data set spells them."""

SHORT_SIDE = 1382
"""Pixels; the benchmark's paintings have it. Larger ones are brought to it."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each triple of paintings, put together at random."""
    numbers = _numbers(find(root, *(f"{folder}style_class.txt" for folder in _LISTS)))
    path = find(root, *(f"{folder}style_train.csv" for folder in _LISTS))
    _images_of(root)
    paintings: dict[str, list[str]] = {style: [] for style in STYLES}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        row = _ROW.fullmatch(line.strip())
        if row is None:
            yield Skip("a damaged annotation", f"{path.name}:{number}")
        elif style := numbers.get(int(row["number"])):
            paintings[style].append(row["name"])
    named = Counter(_title(name) for names in paintings.values() for name in set(names))
    for style, names in paintings.items():
        yield from (Skip("a painting of two styles", name) for name in names if _twice(name, named))
        paintings[style] = [name for name in dict.fromkeys(names) if not _twice(name, named)]
    yield from _triples(paintings, np.random.default_rng(seed))


_LISTS = ("wikiart_csv/", "Style/", "wikiart/wikiart_csv/", "wikiart/Style/", "")


def _images_of(root: Path) -> Path:
    """The folder that holds the styles' folders."""
    return find(root, f"wikiart/{STYLES[0]}", f"wikiart/wikiart/{STYLES[0]}", STYLES[0]).parent


_ROW = re.compile(r"(?P<name>.+),\s*(?P<number>[0-9]{1,4})")
_CLASS = re.compile(r"(?P<number>[0-9]{1,4})\s+(?P<style>\S+)")


def _numbers(path: Path) -> dict[int, str]:
    """The styles of the question by their numbers."""
    found = {}
    for line in read_text(path).split("\n"):
        row = _CLASS.fullmatch(line.strip())
        if row and row["style"] in STYLES:
            found[int(row["number"])] = row["style"]
    if missing := [style for style in STYLES if style not in found.values()]:
        raise DataError(
            f"{path}: has no line for {missing[0]}; expected a number and a style on each line"
        )
    return found


def _title(name: str) -> str:
    return PurePosixPath(name).name


def _painter(name: str) -> str:
    return _title(name).partition("_")[0]


def _twice(name: str, named: Counter[str]) -> bool:
    return named[_title(name)] > 1


def _triples(paintings: dict[str, list[str]], rng: np.random.Generator) -> Iterator[Candidate]:
    """Every style in turn gives a reference and its match; another gives the odd one."""
    left = {
        style: [names[i] for i in rng.permutation(len(names))] for style, names in paintings.items()
    }
    going = True
    while going:
        going = False
        for style in STYLES:
            pair = _pair(left[style])
            others = [other for other in STYLES if other != style and left[other]]
            if pair is None or not others:
                continue
            other = left[others[rng.integers(len(others))]].pop()
            yield Candidate(pair[0], style, (0, 1), (*pair, other))
            going = True


def _pair(names: list[str]) -> tuple[str, str] | None:
    """Two paintings by different painters, taken out of a list; None if it has none."""
    while len(names) > 1:
        first = names.pop()
        for place in range(len(names) - 1, -1, -1):
            if _painter(names[place]) != _painter(first):
                return first, names.pop(place)
    return None


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The painting of the reference's style comes second or third, according to the answer."""
    reference, match, odd = candidate.facts
    folder = _images_of(root)
    order = (match, odd) if answer == 0 else (odd, match)
    sources = tuple(open_picture(within(folder, name)) for name in (reference, *order))
    return Made(
        question="Which image shares the same style as the reference image?",
        prompt=art_style(),
        choices=LATTER,
        images=tuple(_smaller(image) for image in sources),
        sources=sources,
        origin={
            "dataset": "WikiArt",
            "style": candidate.group,
            "reference": reference,
            "match": match,
            "odd": odd,
        },
    )


def _smaller(image: Image.Image) -> Image.Image:
    """A painting whose shorter side is at most the benchmark's."""
    factor = SHORT_SIDE / min(image.size)
    if factor >= 1:
        return image
    width, height = (round(length * factor) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


BUILDER = Builder(
    "WikiArt",
    ("wikiart_csv/style_train.csv", "wikiart_csv/style_class.txt", "wikiart/*/*.jpg"),
    2,
    candidates,
    make,
)
