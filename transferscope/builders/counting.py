"""Counting from TallyQA: how many there are of something.

    train.json                                      a list of questions
    VG_100K/, VG_100K_2/, train2014/, val2014/      the images, here or in images/

A question has `question`, `answer` (a number), `image` (`VG_100K_2/2410408.jpg`: folder and file),
`question_id` and `data_source`: `amt` and `imported_genome` are on Visual Genome; `imported_vqa`,
`tdiuc_templates` and `generate` on COCO 2014. (TallyQA repository of manoja328; public loaders.)

The choices follow the benchmark's rule, which every known item of it obeys: four numbers in a row,
from one below the right count, but from 0 at the lowest and 3 at the highest. They give most
answers away (1 to 4 always means 2), here as in the benchmark.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.builders.prompts import counting
from transferscope.builders.record import Candidate, Made, Skip
from transferscope.builders.source_files import find, json_of, located, open_source
from transferscope.errors import DataError
from transferscope.tasks.open_answers import NumberAnswer

SOURCE = "amt"
"""`data_source` of the complex questions that people wrote."""

HIGHEST = 6
"""Counts above are not in the benchmark."""

FOLDERS = ("", "images", "image", "data", "coco", "visual_genome")


def choices_for(count: int) -> list[int]:
    """The four numbers offered where the right one is `count`, 0 to 6, in order."""
    start = min(max(count - 1, 0), HIGHEST - 3)
    return list(range(start, start + 4))


def candidates(root: Path, seed: int) -> Iterator[Candidate | Skip]:
    """One for each complex question with a count of 0 to 6."""
    path = find(root, "train.json", "tallyqa/train.json")
    questions, tests = _questions(path), path.with_name("test.json")
    held_out = _questions(tests) if tests.is_file() else []
    tested = {str(one.get("image")) for one in held_out if isinstance(one, dict)}
    for number, one in enumerate(questions, 1):
        where = f"{path.name}, question {number}"
        try:
            image, question, answer = one["image"], one["question"].strip(), one["answer"]
            key = f"{one['question_id']}"
            usable = isinstance(image, str) and isinstance(answer, int) and answer >= 0
        except (KeyError, TypeError, AttributeError):
            usable, image, question, answer, key = False, "", "", 0, ""
        if not usable or not question or isinstance(answer, bool):
            yield Skip("an incomplete annotation", where)
        elif one.get("data_source") != SOURCE:
            yield Skip(f"a question whose data_source is not {SOURCE!r}", where)
        elif answer > HIGHEST:
            yield Skip("a count that the benchmark does not ask for", where)
        elif image in tested:
            yield Skip("an image of the data set's own tests", where)
        else:
            yield Candidate(key, image, (0, 1, 2, 3), (image, question, answer))


def _questions(path: Path) -> list[Any]:
    if isinstance(questions := json_of(path), list):
        return questions
    raise DataError(f"{path}: not a list of questions; is it TallyQA's {path.name}?")


def make(root: Path, candidate: Candidate, answer: int, rng: np.random.Generator) -> Made:
    """The image as it is, with its question; the right number at the answer's letter."""
    name, question, count = candidate.facts
    image = open_source(located(root, FOLDERS, name))
    others = [number for number in choices_for(count) if number != count]
    shuffled = [others[index] for index in rng.permutation(3)]
    choices = tuple(str(n) for n in (*shuffled[:answer], count, *shuffled[answer:]))
    return Made(
        counting(question, choices),
        images=(image,),
        truth=NumberAnswer(count, exact=True),
        origin={
            "dataset": "TallyQA",
            "file": name,
            "question_id": candidate.key,
            "count": count,
            "data_source": SOURCE,
        },
    )
