"""Relative_Depth from Depth in the Wild (DIW): which of two points is closer.

    DIW_Annotations/DIW_train_val.csv     or DIW_train.csv; the tests' DIW_test.csv is never read
    DIW_train_val/HASH.thumb              JPEG content

Either may lie in a folder of the same name once more, as unpacking the archives may leave it.

The annotation file is a run of records of two lines: the image, `./DIW_train_val/HASH.thumb`, and
`yA,xA,yB,xB,R,width,height`: rows before columns, counted from 1, R being `>` where A is farther
and `<` where B is. (relative_depth repository of princeton-vl, `DataLoader_DIW.lua`.)

Point A of the annotation is A in the item, as in the benchmark: of points at mirrored places on one
row, A is always the left one there.

The benchmark drew on the test split, whose images are not in this one.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from transferscope.builders.annotations import find, first_there, within
from transferscope.builders.markers import circled, legible
from transferscope.builders.prompts import relative_depth
from transferscope.builders.record import Builder, Candidate, Made, Skip, Unusable
from transferscope.builders.source_images import at_most, open_picture, scaled
from transferscope.tasks.untrusted import read_text

ANNOTATIONS = ("DIW_train_val.csv", "DIW_train.csv")
LONG_SIDE = 500
"""Pixels; the benchmark's images have it, and so have nearly all of the data set."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each image that has a pair of points."""
    path = find(root, *(f"{folder}{name}" for name in ANNOTATIONS for folder in _FOLDERS))
    lines = [
        (number, line.strip())
        for number, line in enumerate(read_text(path).split("\n"), 1)
        if line.strip()
    ]
    image = None
    for number, line in lines:
        if line.count(",") < 5:
            if image is not None:
                yield Skip("an image without points", f"{path.name}:{number}")
            image = line
        elif image is None:
            yield Skip("points without an image", f"{path.name}:{number}")
        else:
            yield _candidate(image, line, f"{path.name}:{number}")
            image = None
    if image is not None:
        yield Skip("an image without points", f"{path.name}:{lines[-1][0]}")


_FOLDERS = ("DIW_Annotations/", "DIW_Annotations/DIW_Annotations/", "")


def _candidate(image: str, line: str, where: str) -> Candidate | Skip:
    fields = [field.strip().strip('"') for field in line.split(",")]
    if len(fields) != 7 or fields[4] not in ("<", ">"):
        return Skip("a damaged annotation", where)
    try:
        y_a, x_a, y_b, x_b, width, height = (round(float(fields[i])) for i in (0, 1, 2, 3, 5, 6))
    except (ValueError, OverflowError):
        return Skip("a damaged annotation", where)
    name = image.removeprefix("./")
    answer = 0 if fields[4] == "<" else 1
    return Candidate(name, name, (answer,), ((x_a, y_a), (x_b, y_b), (width, height)))


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """Points A and B are the annotation's."""
    *ends, size = candidate.facts
    places = [within(root / folder, candidate.key) for folder in ("", "DIW_train_val")]
    source = open_picture(first_there(places))
    if source.size != size:
        raise Unusable("an image whose size is not the annotation's", candidate.key)
    image, factor = at_most(source, LONG_SIDE)
    points = {
        letter: scaled((x - 1, y - 1), factor) for letter, (x, y) in zip("AB", ends, strict=True)
    }
    if not legible(points, image.size):
        raise Unusable("points too close to each other or to the border", candidate.key)
    return Made(
        question="Which point is closer to the camera?",
        prompt=relative_depth(),
        choices=("A is closer", "B is closer"),
        images=(circled(image, points),),
        sources=(source,),
        origin={
            "dataset": "DIW",
            "file": candidate.key,
            "near": list(ends[answer]),
            "far": list(ends[1 - answer]),
        },
    )


BUILDER = Builder(
    "Depth in the Wild (DIW)",
    ("DIW_Annotations/DIW_train_val.csv", "DIW_train_val/*.thumb"),
    2,
    candidates,
    make,
)
