"""Open forms of tasks: the items of a multiple-choice task, and an answer that agrees with it."""

import re
from pathlib import Path
from typing import Any

import benchmark_factory as made
import numpy as np
import pytest
from messages import raises

from tools.glimpse_bases.labels import LABELERS
from tools.glimpse_bases.tokenizer import missing
from transferscope.errors import StudyError
from transferscope.suites import KNOWN_TASKS
from transferscope.suites.blink import OPEN, Blink
from transferscope.suites.glimpse import Glimpse
from transferscope.suites.glimpse.canvas import SIZE
from transferscope.suites.glimpse.generators import GENERATORS
from transferscope.suites.glimpse.scene import World
from transferscope.tasks import Item, Task
from transferscope.tasks.open_answers import BoxAnswer, Extent

EXTENT = Extent(12, 12)
"""The largest coordinates that the embedded bases write."""
PIXELS = Extent(SIZE, SIZE)
POINTS = [task for task in OPEN if task.name.endswith("_Correspondence_open")]


def both(task: Task, difficulty: float = 0, count: int = 25) -> list[tuple[Item, Item]]:
    """Items as multiple choice and openly."""
    assert task.twin
    suite = Glimpse(difficulty)
    choice, opened = (suite.items(name, "train")[:count] for name in (task.twin, task.name))
    return list(zip(choice, opened, strict=True))


@pytest.mark.parametrize("task", OPEN, ids=lambda task: task.name)
def test_an_open_form_has_the_items_of_its_task(task: Task) -> None:
    for split in ("train", "eval"):
        assert len(Glimpse().items(task.name, split)) == len(Glimpse().items(task.twin, split))
    for choice, opened in both(task, count=5):
        assert opened.id.replace(task.name, task.twin) == choice.id
        assert len(opened.images) == len(choice.images)
        for one, other in zip(opened.images, choice.images, strict=True):
            assert np.array_equal(one.pixels(), other.pixels())
        assert (opened.choices, opened.answer, opened.hidden) == ((), -1, False)
        assert opened.origin == choice.origin


def test_no_open_form_is_a_default_source_or_target() -> None:
    for suite in (Glimpse(), Blink()):
        assert {task.name for task in OPEN} < {task.name for task in suite.tasks}
        assert not {task.name for task in OPEN} & {*suite.defaults, *suite.sources}
    assert KNOWN_TASKS["Counting_open"].twin == "Counting"


@pytest.mark.parametrize("task", OPEN, ids=lambda task: task.name)
def test_the_embedded_bases_have_all_words_of_question_and_reply(task: Task) -> None:
    texts = [t for _, o in both(task, count=60) for t in (o.prompt, o.truth.reply(EXTENT))]
    assert missing(texts) == []
    assert missing(["13"]) == ["13"]


@pytest.mark.parametrize("difficulty", [0, 1])
@pytest.mark.parametrize("task", OPEN, ids=lambda task: task.name)
def test_the_trained_reply_is_right(task: Task, difficulty: float) -> None:
    for _, opened in both(task, difficulty):
        written = re.sub(",", " ,", opened.truth.reply(EXTENT))  # as the tokenizer decodes it
        score = opened.truth.score(written, EXTENT)
        # Boxes of 26 pixels and more, whose edges are rounded by up to 4.7 of them.
        assert score == 1 if not isinstance(opened.truth, BoxAnswer) else score > 0.4


def test_the_number_is_the_right_choice() -> None:
    for choice, opened in both(KNOWN_TASKS["Counting_open"]):
        scores = [opened.truth.score(text, EXTENT) for text in choice.choices]
        assert scores == [float(n == choice.answer) for n in range(4)]


def test_the_letter_is_the_right_choice() -> None:
    for choice, opened in both(KNOWN_TASKS["Relative_Depth_open"]):
        letter, other = choice.choices[choice.answer][0], choice.choices[1 - choice.answer][0]
        for form in ("{}", "point {}", "Point {}.", "The answer is {}"):
            assert opened.truth.score(form.format(letter), EXTENT) == 1
            assert opened.truth.score(form.format(other), EXTENT) == 0
        assert opened.truth.score("point", EXTENT) == 0


@pytest.mark.parametrize("difficulty", [0, 1])
@pytest.mark.parametrize("task", POINTS, ids=lambda task: task.name)
def test_of_the_marked_points_only_the_right_one_is_right(task: Task, difficulty: float) -> None:
    import random

    for k in range(40):
        world: World = GENERATORS[task.twin](random.Random(f"test/{k}"), difficulty)
        # Where the marks are, as the labels for pretraining have it.
        labeled: Any = LABELERS[task.twin](world)[1]
        marks = {word[1:]: place for place, word in labeled if word[0] == "@"}
        scores = [world.truth.score("{}, {}".format(*marks[m]), PIXELS) for m in "ABCD"]
        assert scores == [float(n == world.answer) for n in range(4)]
        assert world.truth.image == 1


def test_the_box_encloses_the_object() -> None:
    for choice, opened in both(KNOWN_TASKS["Object_Localization_open"]):
        thing: Any = choice.origin["object"]
        x, y, r = (thing[name] for name in ("x", "y", "radius"))
        # Drawn up to a pixel off at each edge, around shapes of at least 11 pixels' radius.
        assert opened.truth.score(f"[{x - r}, {y - r}, {x + r}, {y + r}]", PIXELS) > 0.85
        assert thing["name"] in opened.question


# BLINK's own items


def test_blinks_open_form_of_depth_names_the_closer_point(tmp_path: Path) -> None:
    suite = Blink(made.blink(tmp_path / "blink"))
    choice, opened = (suite.items(t, "eval") for t in ("Relative_Depth", "Relative_Depth_open"))
    for one, other in zip(choice, opened, strict=True):
        assert other.id == one.id.replace("Relative_Depth", "Relative_Depth_open")
        assert other.truth.reply(EXTENT) == "AB"[one.answer]
        assert other.images == one.images
        assert other.prompt == made.DEPTH.split("\n")[0] + "\nAnswer with the letter of the point."


def test_blinks_open_form_of_counting_is_the_right_choices_number(tmp_path: Path) -> None:
    folder = made.blink(tmp_path / "blink")
    prompt = "How many ducks?\nSelect from the following choices.\n(A) 3\n(B) 0\n(C) 2\n(D) 1"
    row = made.blink_row("Relative_Depth", 1) | {
        "idx": "val_Counting_1",
        "question": "How many ducks?",
        "choices": ["3", "0", "2", "1"],
        "answer": "(C)",
        "prompt": prompt,
    }
    made.write_blink(folder, "Counting", [row])
    (item,) = Blink(folder).items("Counting_open", "eval")
    assert (str(item.truth), item.choices, item.answer) == ("2", (), -1)
    assert item.prompt == "How many ducks?\nAnswer with a number."


def test_hidden_answers_stay_hidden(tmp_path: Path) -> None:
    folder = made.blink(tmp_path / "blink")
    made.write_blink(
        folder, "Relative_Depth", [made.blink_row("Relative_Depth", 1, "test")], "test"
    )
    (item,) = Blink(folder, split="test").items("Relative_Depth_open", "eval")
    assert item.hidden


def test_an_open_form_without_coordinates_is_not_evaluated(tmp_path: Path) -> None:
    with raises(StudyError):
        Blink(made.blink(tmp_path / "blink")).items("Object_Localization_open", "eval")


def test_training_items_of_an_open_form_come_from_its_tasks_builder(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    with raises(StudyError):
        Blink(training=folder).items("Object_Localization_open", "train")
