"""Relative_Depth from Depth in the Wild (DIW): which of two points is closer.

    DIW_Annotations/DIW_train_val.csv     or DIW_train.csv; the tests' DIW_test.csv is never read
    DIW_train_val/HASH.thumb              JPEG content

The annotation file is a run of records of two lines: the image, `./DIW_train_val/HASH.thumb`, and
`yA,xA,yB,xB,R,width,height`: rows before columns, counted from 1, R being `>` where A is farther
and `<` where B is. (relative_depth repository of princeton-vl, `DataLoader_DIW.lua`.) Point A is A
in the item, as in the benchmark, which drew on the test split.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from transferscope.builders.markers import circled, legible, resized, scaled
from transferscope.builders.prompts import RELATIVE_DEPTH
from transferscope.builders.record import Candidate, Made, Skip, Unusable
from transferscope.builders.source_files import find, located, open_source
from transferscope.tasks.open_answers import letter_of_point
from transferscope.tasks.untrusted import read_text

ANNOTATIONS = ("DIW_train_val.csv", "DIW_train.csv")
_FOLDERS = ("DIW_Annotations/", "DIW_Annotations/DIW_Annotations/", "")

LONG_SIDE = 500
"""Pixels; the benchmark's images have it, and so have nearly all of the data set."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each image that has a pair of points."""
    path = find(root, *(f"{folder}{name}" for name in ANNOTATIONS for folder in _FOLDERS))
    image, last = None, ""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not (line := line.strip()):
            continue
        last = f"{path.name}:{number}"
        if line.count(",") < 5:
            if image is not None:
                yield Skip("an image without points", last)
            image = line
        elif image is None:
            yield Skip("points without an image", last)
        else:
            yield _candidate(image, line, last)
            image = None
    if image is not None:
        yield Skip("an image without points", last)


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
    source = open_source(located(root, ("", "DIW_train_val"), candidate.key))
    if source.size != size:
        raise Unusable("an image whose size is not the annotation's", candidate.key)
    factor = min(1, LONG_SIDE / max(source.size))
    image = resized(source, factor)
    points = {
        letter: scaled((x - 1, y - 1), factor) for letter, (x, y) in zip("AB", ends, strict=True)
    }
    if not legible(points, image.size):
        raise Unusable("points too close to each other or to the border", candidate.key)
    return Made(
        RELATIVE_DEPTH,
        images=(circled(image, points),),
        sources=(source,),
        truth=letter_of_point(answer),
        origin={
            "dataset": "DIW",
            "file": candidate.key,
            "near": list(ends[answer]),
            "far": list(ends[1 - answer]),
        },
    )
