"""Forensic_Detection from real and generated photographs of your own: which of four is real.

    manifest.csv      path, label, group and, if you like, generator
    ...               the images, at `path`, relative to the folder

No training set was published, so this format is ours. `label` is `real` or `generated`; `group` is
the same for all images of one subject, which may all be combined with each other.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from transferscope.builders.prompts import FORENSIC_DETECTION
from transferscope.builders.record import Candidate, Made, Skip, Unusable
from transferscope.builders.source_files import find, open_source, table_of, within

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
    rows: list[tuple[str, dict[str, str]]] = []
    real: list[tuple[str, dict[str, str]]] = []
    for line in table_of(path, "path", "label", "group"):
        if isinstance(line, Skip):
            yield line
        else:
            rows.append(line)
    named = Counter(row["path"] for _, row in rows)
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
    sources = tuple(open_source(within(root, name)) for name in names)
    return Made(
        FORENSIC_DETECTION,
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
