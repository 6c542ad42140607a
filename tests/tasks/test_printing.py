"""Items and lists of them: one line in a terminal, images and prompt in a notebook."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from messages import raises
from PIL import Image

from transferscope.errors import StudyError
from transferscope.suites import open_suite
from transferscope.suites.blink import Blink
from transferscope.tasks import ArrayImage, Item, ItemList
from transferscope.tasks.open_answers import NumberAnswer


class Counted:
    """An image that counts how often it is decoded."""

    def __init__(self) -> None:
        self.decoded = 0

    def pixels(self) -> np.ndarray:
        self.decoded += 1
        return np.full((900, 600, 3), 128, np.uint8)

    def content(self) -> None:
        return None


def made(images: int = 1, **changed: object) -> Item:
    item = Item(
        id="eval_Counting_1",
        task="Counting",
        images=tuple(Counted() for _ in range(images)),
        question="How many?",
        choices=("one", "two"),
        answer=1,
        prompt="How many?\n(A) one\n(B) two",
    )
    return replace(item, **changed)


def decoded(item: Item) -> list[int]:
    return [image.decoded for image in item.images if isinstance(image, Counted)]


def pictures(shown: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', shown)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_an_item_is_one_line():
    assert repr(made()) == "Item('eval_Counting_1', Counting, 1 image, answer '(B) two')"
    assert repr(made(answer=-1)).endswith("answer 'hidden')")
    number = made(2, choices=(), answer=-1, truth=NumberAnswer(3.5))
    assert repr(number).endswith("2 images, answer '3.5')")
    assert "\n" not in repr(made(id="a\nb", choices=("x", "y\n\x1b[31m")))


def test_a_notebook_shows_an_items_images_small_and_at_most_six_of_them():
    item = made(8)
    shown = item._repr_html_()
    assert [image.size for image in pictures(shown)] == [(213, 320)] * 6
    assert decoded(item) == [1] * 6 + [0] * 2
    assert "2 more images" in shown
    assert "(A) one\n(B) two" in shown


def test_an_items_text_is_no_markup():
    shown = made(
        id="<b>1", prompt="<script>alert(1)</script>", choices=("<i>", "<u>")
    )._repr_html_()
    assert not re.search(r"<(script|i|u|b)>(?!eval|&lt;)", shown)


def test_a_list_of_items_is_one_line_and_reads_no_more_images_than_it_shows():
    items = ItemList([made(2, id=f"eval_{k}") for k in range(5)], "Counting", "eval")
    assert repr(items) == "5 eval items of Counting: eval_0, eval_1, eval_2, ..."
    assert [sum(decoded(item)) for item in items] == [0] * 5
    shown = items._repr_html_()
    assert len(pictures(shown)) == 6
    assert [sum(decoded(item)) for item in items] == [2, 2, 2, 0, 0]
    assert items == list(items)


def test_a_suite_that_draws_its_items_draws_none_to_print_them(monkeypatch):
    items = open_suite("glimpse").items("Jigsaw", "eval")
    first = [item.id for item in items[:3]]
    monkeypatch.setattr(type(items), "__getitem__", None)
    assert repr(items) == f"1,000 eval items of Jigsaw: {', '.join(first)}, ..."


def test_an_embedded_item_shows_its_pixels():
    item = open_suite("glimpse").items("Jigsaw", "eval")[0]
    shown = pictures(item._repr_html_())
    for image, drawn in zip(item.images, shown, strict=True):
        assert isinstance(image, ArrayImage)
        assert (np.asarray(drawn) == image.pixels()).all()


@pytest.mark.parametrize("name", ["Relative_Depth", "relative depth", "RD", "rd"])
def test_a_suites_task_is_named_in_any_usual_spelling(name):
    assert open_suite("glimpse").items(name, "eval")[0].task == "Relative_Depth"


@pytest.mark.parametrize("name", ["Jigsow", "Multi view", "eval"])
def test_an_unknown_task_is_answered_with_the_nearest(name):
    with raises(StudyError):
        open_suite("glimpse").items(name, "eval")


def test_an_abbreviation_of_two_tasks_names_neither():
    suite = Blink()
    suite.tasks = tuple(replace(task, abbreviation="X") for task in suite.tasks)
    with pytest.raises(StudyError, match="unknown task 'X'"):
        suite.check("X", "eval")
