"""Visual_Similarity from NIGHTS (DreamSim): which of two images people find closer to a third.

    data.csv                     id, right_vote, votes, ref_path, left_path, right_path, split, ...
    ref/XXX/YYY.png              the reference
    distort/XXX/YYY_0.png, _1    the two that were compared with it

A `right_vote` of 1 means that the right image is closer. (dreamsim repository of ssundaram21,
`dataset/README.md` and `dataset/dataset.py`.) As there, only triplets on which at least six people
agreed are used, and only those whose `split` is `train`; the benchmark drew on the test split.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from transferscope.builders.prompts import VISUAL_SIMILARITY
from transferscope.builders.record import Candidate, Made, Skip
from transferscope.builders.source_files import find, open_source, table_of, within

PLACES = {"id": 0, "right_vote": 2, "ref_path": 4, "left_path": 5, "right_path": 6}
"""Where the data set's own loader reads what it does not read by name."""

FEWEST_VOTES = 6


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each triplet of the training split."""
    path = find(root, "data.csv")
    find(root, "ref")
    find(root, "distort")
    for line in table_of(path, *PLACES, "votes", "split", places=PLACES):
        if isinstance(line, Skip):
            yield line
            continue
        where, row = line
        if row["split"] != "train":
            continue
        names = [row[name] for name in ("ref_path", "left_path", "right_path")]
        try:
            votes, right = float(row["votes"]), float(row["right_vote"])
        except ValueError:
            votes, right = 0.0, math.nan
        if not row["id"] or not all(names) or right not in (0, 1):
            yield Skip("a damaged annotation", where)
        elif not votes >= FEWEST_VOTES:
            yield Skip("people did not agree", where)
        else:
            reference, left, other = names
            order = (reference, other, left) if right else (reference, left, other)
            yield Candidate(row["id"], reference, (0, 1), order)


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The closer image comes second or third, according to the answer."""
    reference, closer, farther = candidate.facts
    order = [closer, farther] if answer == 0 else [farther, closer]
    images = tuple(open_source(within(root, name)) for name in (reference, *order))
    return Made(
        VISUAL_SIMILARITY,
        images=images,
        origin={
            "dataset": "NIGHTS",
            "id": candidate.key,
            "reference": reference,
            "closer": closer,
            "farther": farther,
        },
    )
