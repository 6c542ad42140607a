"""Art_Style from WikiArt: which of two paintings has the style of a third.

    wikiart_csv/style_train.csv    `STYLE/ARTIST_TITLE.jpg,NUMBER`, without a header; style_val.csv
                                   is never read
    wikiart_csv/style_class.txt    `NUMBER STYLE`, one style a line
    wikiart/STYLE/*.jpg            the paintings; STYLE folders in the folder itself will do as well

(ArtGAN repository of cs-chan, `WikiArt Dataset`.) Names are taken as they are, garbled ones too.
No painting is used twice, nor one that is listed under two of the styles.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from transferscope.builders.markers import resized
from transferscope.builders.prompts import ART_STYLE
from transferscope.builders.record import Candidate, Made, Skip
from transferscope.builders.source_files import find, open_source, within
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
        yield from (Skip("a painting of two styles", n) for n in names if named[_title(n)] > 1)
        paintings[style] = [n for n in dict.fromkeys(names) if named[_title(n)] == 1]
    rng = np.random.default_rng(seed)
    left = {
        style: [names[i] for i in rng.permutation(len(names))] for style, names in paintings.items()
    }
    going = True
    while going:  # every style in turn gives a reference and its match; another gives the odd one
        going = False
        for style in STYLES:
            pair = _pair(left[style])
            others = [other for other in STYLES if other != style and left[other]]
            if pair and others:
                odd = left[others[rng.integers(len(others))]].pop()
                yield Candidate(pair[0], style, (0, 1), (*pair, odd))
                going = True


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


def _pair(names: list[str]) -> tuple[str, str] | None:
    """Two paintings by different painters, taken out of a list; None if it has none."""
    while len(names) > 1:
        first = names.pop()
        for place in range(len(names) - 1, -1, -1):
            one, other = (_title(name).partition("_")[0] for name in (first, names[place]))
            if one != other:
                return first, names.pop(place)
    return None


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The painting of the reference's style comes second or third, according to the answer."""
    reference, match, odd = candidate.facts
    folder = _images_of(root)
    order = (match, odd) if answer == 0 else (odd, match)
    sources = tuple(open_source(within(folder, name)) for name in (reference, *order))
    return Made(
        ART_STYLE,
        images=tuple(resized(one, min(1, SHORT_SIDE / min(one.size))) for one in sources),
        sources=sources,
        origin={
            "dataset": "WikiArt",
            "style": candidate.group,
            "reference": reference,
            "match": match,
            "odd": odd,
        },
    )
