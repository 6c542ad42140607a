"""Forensic_Detection from real and generated photographs of your own: which of four is real.

    manifest.csv      path, label, group and, if you like, generator
    ...               the images, at `path`, relative to the folder

The benchmark's images were collected by hand, real ones by searching the web, and no training set
was published; so this format is ours. `label` is `real` or `generated`; `group` is the same for all
images of one subject, for instance a real photograph (COCO's, say) and those that were generated
from its caption. An item is one real photograph and three generated ones of its group, so a group
needs three. Images in one and the same group may all be combined with each other.

The benchmark's images are 512 pixels wide and high: the middle square is cut out and brought to
that size (ours), and images whose shorter side is under `FEWEST_PIXELS` are not used. Mind that a
model learns every difference between the two kinds: bring both from similar sizes and file formats.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from transferscope.builders.annotations import find, table_of, within
from transferscope.builders.prompts import forensic_detection
from transferscope.builders.record import Builder, Candidate, Made, Skip, Unusable
from transferscope.builders.source_images import open_picture

SIDE = 512
"""Width and height of the benchmark's images, in pixels."""

FEWEST_PIXELS = 256
"""Of the shorter side: smaller images would have to be blown up to more than twice their size."""

GENERATED = 3
"""Generated images in an item."""

LABELS = ("real", "generated")


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each real image that has enough generated ones in its group."""
    path = find(root, "manifest.csv")
    lines = list(table_of(path, "path", "label", "group"))
    yield from (line for line in lines if isinstance(line, Skip))
    rows = [line for line in lines if not isinstance(line, Skip)]
    named = Counter(row["path"] for _, row in rows)
    real: list[tuple[str, dict[str, str]]] = []
    generated: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for where, row in rows:
        if not row["path"] or not row["group"] or row["label"] not in LABELS:
            yield Skip("a damaged annotation", where)
        elif named[row["path"]] > 1:
            yield Skip("an image that is listed more than once", where)
        elif row["label"] == "real":
            real.append((where, row))
        else:
            generated[row["group"]].append((row["path"], row.get("generator", "")))
    for where, row in real:
        others = tuple(generated[row["group"]])
        if len(others) < GENERATED:
            yield Skip("a real image with fewer than three generated ones", where)
        else:
            yield Candidate(row["path"], row["group"], (0, 1, 2, 3), (row["group"], others))


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The real image stands at the answer's place among three generated ones."""
    group, others = candidate.facts
    chosen = [others[index] for index in rng.permutation(len(others))[:GENERATED]]
    names = [name for name, _ in chosen]
    names.insert(answer, candidate.key)
    sources = tuple(open_picture(within(root, name)) for name in names)
    return Made(
        question="Which image is most likely to be a real photograph?",
        prompt=forensic_detection(),
        choices=("the first image", "the second image", "the third image", "the fourth image"),
        images=tuple(_square(image, name) for image, name in zip(sources, names, strict=True)),
        sources=sources,
        origin={
            "dataset": "manifest",
            "group": group,
            "real": candidate.key,
            "generated": [name for name, _ in chosen],
            "generators": [generator for _, generator in chosen],
        },
    )


def _square(image: Image.Image, name: str) -> Image.Image:
    """The middle of an image, at the benchmark's size."""
    if min(image.size) < FEWEST_PIXELS:
        raise Unusable("an image that is too small", name)
    return ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.LANCZOS)


BUILDER = Builder(
    "real and generated photographs of your own", ("manifest.csv",), 4, candidates, make
)
