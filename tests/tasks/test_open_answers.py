"""Answers that are no option: what is written as a reply, and what a reply is worth."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.tasks.open_answers import (
    BoxAnswer,
    Extent,
    NumberAnswer,
    PointAnswer,
    TextAnswer,
)

EXTENT = Extent(640, 480)
FRACTION = st.floats(0, 1)


@pytest.mark.parametrize("largest", [(1000, 1000), (112, 84), (12, 12), (640, 480, True)])
@given(x=FRACTION, y=FRACTION)
def test_a_point_is_right_as_it_is_written(largest: tuple[int, int], x: float, y: float) -> None:
    extent = Extent(*largest)
    point = PointAnswer(x, y, radius=0.06)
    assert point.score(point.reply(extent), extent) == 1


@given(
    a=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9)),
    b=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9)),
)
def test_a_box_scores_the_share_of_pixels_that_both_have(a: tuple, b: tuple) -> None:
    boxes = [(x, y, x + width, y + height) for x, y, width, height in (a, b)]
    grid = np.zeros((2, 20, 20), dtype=bool)
    for cells, (left, top, right, bottom) in zip(grid, boxes, strict=True):
        cells[top:bottom, left:right] = True
    right = BoxAnswer(*(side / 20 for side in boxes[0]))
    reply = "[{}, {}, {}, {}]".format(*boxes[1])
    both, either = grid.all(0).sum(), grid.any(0).sum()
    assert right.score(reply, Extent(20, 20)) == pytest.approx(both / either)


@pytest.mark.parametrize(
    "reply",
    [
        "320, 120",
        "[320, 120]",
        "(320, 120)",
        "The point is at (320,120).",
        '```json\n[{"point_2d": [320, 120], "label": "the cup"}]\n```',
        "<think>Maybe (1, 2).</think>(320, 120)",
        "<point>320 120</point>",
    ],
)
def test_a_point_is_read_as_models_write_it(reply: str) -> None:
    assert PointAnswer(0.5, 0.25, radius=0.001).score(reply, EXTENT) == 1


@pytest.mark.parametrize(
    "reply",
    [
        '[{"bbox_2d": [64, 48, 320, 240], "label": "the cup"}]',
        "<|box_start|>(64,48),(320,240)<|box_end|>",
        "64, 48, 320, 240",
        "<box>64 48 320 240</box>",
    ],
)
def test_a_box_is_read_as_models_write_it(reply: str) -> None:
    assert BoxAnswer(0.1, 0.1, 0.5, 0.5).score(reply, EXTENT) == pytest.approx(1)


def test_gemmas_places_begin_with_y() -> None:
    """A reply of Gemma 4 in "Welcome Gemma 4": a button that is wider than it is high."""
    gemma = Extent(1000, 1000, y_first=True)
    button = BoxAnswer(left=0.075, top=0.171, right=0.308, bottom=0.245)
    reply = '[\n  {"box_2d": [171, 75, 245, 308], "label": "view recipe element"}\n]'
    assert button.score(reply, gemma) == pytest.approx(1)
    assert button.score("(171, 75), (245, 308)", gemma) == pytest.approx(1)
    assert button.reply(gemma) == "171, 75, 245, 308"
    assert PointAnswer(0.2, 0.7, radius=0.001).score("[700, 200]", gemma) == 1
    assert PointAnswer(0.2, 0.7).reply(Extent(640, 480, y_first=True)) == "336, 128"


@pytest.mark.parametrize(
    "reply",
    [
        "(x1, y1, x2, y2) = (64, 48, 320, 240)",
        '{"x1": 64, "y1": 48, "x2": 320, "y2": 240}',
        "64-48-320-240",
    ],
)
def test_the_number_of_a_name_is_no_coordinate(reply: str) -> None:
    assert BoxAnswer(0.1, 0.1, 0.5, 0.5).score(reply, EXTENT) == pytest.approx(1)


@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15))
def test_an_exact_number_is_right_as_it_is_written(value: float) -> None:
    answer = NumberAnswer(float(value), exact=True)
    assert answer.score(answer.reply(EXTENT), EXTENT) == 1


@pytest.mark.parametrize(
    ("form", "reply", "score"),
    [("+", "-", 0), ("+", "+", 1), ("?", "!", 0), ("ネコ", "ネコ。", 1), ("cat", "«cat»!", 1)],
)
def test_a_mark_is_an_answer_only_where_it_is_all_of_it(form: str, reply: str, score: int) -> None:
    assert TextAnswer((form,)).score(reply, EXTENT) == score


@pytest.mark.parametrize("reply", ["", "I cannot tell", "the left one", "12", "[1, 2, 3]"])
def test_a_reply_without_a_place_is_unreadable(reply: str) -> None:
    assert PointAnswer(0.5, 0.5).score(reply, EXTENT) is None
    assert BoxAnswer(0, 0, 1, 1).score(reply, EXTENT) is None


def test_a_polygon_holds_the_points_inside_it() -> None:
    # An L, whose missing corner is the upper right.
    corner = PointAnswer(0.2, 0.8, polygon=((0, 0), (0.5, 0), (0.5, 0.5), (1, 0.5), (1, 1), (0, 1)))
    for x, y in combinations(range(5, 100, 10), 2):
        for place in ((x, y), (y, x)):
            inside = place[0] < 50 or place[1] > 50
            assert corner.score("{}, {}".format(*place), Extent(100, 100)) == inside


def test_vqas_soft_accuracy_leaves_each_person_out_once() -> None:
    people = ("red",) * 3 + ("dark red",) * 6 + ("brown",)
    color = TextAnswer(people, "vqa")
    # Of the ten sets of nine, three have two that say red, and seven have three.
    assert color.score("Red.", EXTENT) == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert color.score("dark red", EXTENT) == 1
    assert color.score("a brown", EXTENT) == pytest.approx(9 * (1 / 3) / 10)
    assert color.score("blue", EXTENT) == 0
    assert color.reply(EXTENT) == "dark red"


@pytest.mark.parametrize(
    ("reply", "worth"),
    [
        ("Coca Cola", 1.0),
        ("coca  cola", 1.0),
        ("coca cole", 1 - 1 / 9),
        ("pepsi", 0.0),
        ("coca", 0.0),  # 5 of 9 characters lack: the distance is over a half
    ],
)
def test_anls_is_one_less_the_normalized_distance(reply: str, worth: float) -> None:
    assert TextAnswer(("Coca Cola", "Coke"), "anls").score(reply, EXTENT) == pytest.approx(worth)


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("Cat", True),
        ("the cat.", True),
        ("Answer: cat", True),
        ("<think>a dog?</think> cat", True),
        ("**cat**", True),
        ("cats", False),
        ("a cat and a dog", False),
    ],
)
def test_an_exact_text_is_the_whole_reply(reply: str, right: bool) -> None:
    assert TextAnswer(("cat", "kitten")).score(reply, EXTENT) == right
    assert TextAnswer(("cat",)).score("", EXTENT) is None


def test_numbers_are_exact_or_within_a_relative_error() -> None:
    assert NumberAnswer(4).score("There are five.", EXTENT) == pytest.approx(0.6)
    assert NumberAnswer(4, exact=True).score("There are five.", EXTENT) == 0
    assert NumberAnswer(4, exact=True).score("4", EXTENT) == 1
    assert NumberAnswer(4).score("many", EXTENT) is None
    assert [NumberAnswer(n).reply(EXTENT) for n in (4.0, 3.25, 1200)] == ["4", "3.25", "1200"]
    assert math.isclose(float(NumberAnswer(0.1 + 0.2).reply(EXTENT)), 0.3)


@pytest.mark.parametrize(
    "answer", [PointAnswer(1, 1), BoxAnswer(0, 0, 1, 1), NumberAnswer(12345.5)]
)
def test_a_reply_ends_before_its_limit_though_each_character_is_a_token(answer: Any) -> None:
    assert len(answer.reply(Extent(9999, 9999))) < answer.longest
    json = f'[{{"bbox_2d": [{answer.reply(Extent(9999, 9999))}], "label": "it"}}]'
    assert len(json) <= 64


@given(st.text(max_size=60))
def test_any_reply_is_unreadable_or_worth_zero_to_one(reply: str) -> None:
    for answer in (
        NumberAnswer(3),
        TextAnswer(("a", "b", "b"), "vqa"),
        TextAnswer(("ab",), "anls"),
        PointAnswer(0.5, 0.5),
        BoxAnswer(0.1, 0.1, 0.5, 0.5),
    ):
        worth = answer.score(reply, EXTENT)
        assert worth is None or 0 <= worth <= 1
