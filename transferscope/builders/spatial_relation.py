"""Spatial_Relation from Visual Spatial Reasoning (VSR): whether a caption's relation holds.

    data/splits/random/train.jsonl   also splits/random/, random/ or the file alone (the Hub's copy)
    data/splits/random/test.jsonl    beside it
    data/images/*.jpg                or trainval2017/, or train2017/ and val2017/ (COCO 2017); these
                                     also in the folder itself, in images/ or in coco/

A line has `image`, `caption` ("The cat is left of the dog."), `relation` ("left of") and `label`, 1
where the caption is true. (visual-spatial-reasoning repository of cambridgeltl.) The benchmark's
items are from the test file, which shares images with the training file: no caption is used whose
image is in it, in a `dev.jsonl`, or in the test file of the other split, `zeroshot`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.builders.prompts import spatial_relation
from transferscope.builders.record import Candidate, Made, Skip
from transferscope.builders.source_files import find, located, open_source, rows_of

FOLDERS = tuple(
    f"{above}{name}"
    for above in ("data/", "", "images/", "coco/", "coco/images/")
    for name in ("images", "trainval2017", "train2017", "val2017", "")
)

VERBS = {
    "contains": "Does {subject} contain {object}?",
    "consists of": "Does {subject} consist of {object}?",
    "has as a part": "Does {subject} have {object} as a part?",
}
"""Questions about relations that do not go with "is", as the benchmark words them."""


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each caption of the training split."""
    names = ("data/splits/random/", "splits/random/", "random/", "")
    path = find(root, *(f"{name}train.jsonl" for name in names))
    tests = find(root, (path.parent / "test.jsonl").relative_to(root).as_posix())
    splits = tests.parent.parent
    files = {tests, *splits.glob("*/test.jsonl"), *splits.glob("*/dev.jsonl")}
    rows = [row for file in sorted(files) for row in rows_of(file) if not isinstance(row, Skip)]
    tested = {str(row.get("image")) for _, row in rows}
    for found in rows_of(path):
        if isinstance(found, Skip):
            yield found
            continue
        where, row = found
        image: object = row.get("image")
        label: object = row.get("label")
        question = question_of(row.get("caption"), row.get("relation"))
        if not isinstance(image, str) or isinstance(label, bool) or label not in (0, 1):
            yield Skip("an incomplete annotation", where)
        elif question is None:
            yield Skip("a caption without its relation", where)
        elif image in tested:
            yield Skip("an image of the data set's own tests", where)
        else:
            facts = (image, question, row)
            yield Candidate(f"{image}/{question}", image, (1 - label,), facts)


def question_of(caption: Any, relation: Any) -> str | None:
    """A caption as a question; None where the relation does not stand in it.

    The relation is looked for between spaces and after "is": `on` also stands in `person`.
    """
    if not isinstance(caption, str) or not isinstance(relation, str) or not relation:
        return None
    verb = relation in VERBS
    middle = f" {relation} " if verb else f" is {relation} "
    subject, found, thing = caption.strip().rstrip(".").strip().partition(middle)
    if not found or not subject or not thing.strip():
        return None
    subject = subject.strip()
    subject, thing = subject[0].lower() + subject[1:], thing.strip()
    if verb:
        return VERBS[relation].format(subject=subject, object=thing)
    return f"Is {subject} {relation} {thing}?"


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The image as it is, with its question."""
    name, question, row = candidate.facts
    image = open_source(located(root, FOLDERS, name))
    return Made(
        spatial_relation(question),
        images=(image,),
        origin={
            "dataset": "VSR",
            "file": name,
            "caption": row["caption"],
            "relation": row["relation"],
        },
    )
