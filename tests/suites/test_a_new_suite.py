"""CONTRIBUTING's recipe for a suite, followed on a toy: a module, and an entry in `SUITES`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest
from messages import raises
from pydantic import Field

from transferscope.errors import StudyError
from transferscope.study.file import parse_study, resolved, suite_of
from transferscope.study.items import StudyItems
from transferscope.suites import SUITES, open_suite
from transferscope.tasks import ArrayImage, Item, Split, Suite, Task, with_choices

STUDY = "name: toy\nmodels: {s: glimpse-s}\nsuite: {name: shades, steps: 3}\n"


@dataclass(eq=False)
class Shades(Suite):
    """Which half of an image is brighter."""

    name = "shades"
    tasks = (Task("Brighter_Half", "BH", "low", "pixel", 8), Task("Darker_Half", "DH"))
    version = "1"  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    steps: Annotated[int, Field(ge=1, le=100)] = 10
    """Difference in brightness between the halves."""

    @property
    def defaults(self) -> tuple[str, ...]:
        return ("Brighter_Half",)

    def items(self, task: str, split: Split) -> Sequence[Item]:
        self.check(task, split)
        self.note("the halves are plain")
        choices = ("the left half", "the right half")
        made = []
        for k in range(8):
            pixels = np.full((8, 8, 3), 100 + k, np.uint8)
            pixels[:, 4 * (k % 2) :][:, :4] += self.steps
            text = with_choices("Which half is brighter?", choices)
            answer = k % 2
            item = (f"{split}-{k}", task, (ArrayImage(pixels),), text, choices, answer, text)
            made.append(Item(*item))
        return made


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    monkeypatch.setitem(SUITES, "shades", Shades)


def test_a_study_uses_a_new_suite_by_its_name_with_its_options_and_defaults() -> None:
    study = parse_study(STUDY, "study.yaml")
    assert study.targets == study.sources == ("Brighter_Half",)
    assert b"suite:\n  name: shades\n  steps: 3\n" in resolved(study)
    suite = suite_of(study)
    assert suite.items("Brighter_Half", "eval")[1].images[0].pixels().max() == 104
    assert suite.notes == ["the halves are plain"]
    assert not StudyItems(study).stable


def test_a_new_suites_options_are_checked() -> None:
    for text in ("steps: 0", "step: 3", "difficulty: 0.5"):
        with raises(StudyError):
            parse_study(STUDY.replace("steps: 3", text), "study.yaml")
    with raises(StudyError):
        open_suite("shade")
