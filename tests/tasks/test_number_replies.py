"""Numbers in replies, and what they are worth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.tasks.number_replies import (
    mean_relative_accuracy,
    number_is_final,
    read_number,
)


@pytest.mark.parametrize(
    ("said", "truth", "mark"),
    [
        (4, 4, 1.0),
        (0, 4, 0.0),
        (100, 4, 0.0),
        # Relative error 0.25: met by theta = .50, .55, .60, .65, .70, .75, six of ten.
        (5, 4, 0.6),
        (3, 4, 0.6),
        (6, 4, 0.1),  # error 0.5, which only theta = .5 allows, by `<=`
        (0, 0, 1.0),
        (0.3, 0, 0.5),  # no relative error at 0: 0.3 as it is, thetas up to .70
        (-4, 4, 0.0),
    ],
)
def test_marks_are_those_of_the_formula(said: float, truth: float, mark: float) -> None:
    assert mean_relative_accuracy(said, truth) == pytest.approx(mark)


@given(said=st.integers(0, 400), truth=st.integers(1, 400))
def test_marks_are_those_of_the_benchmarks_code_to_the_last_bit(said: int, truth: int) -> None:
    thresholds = np.linspace(0.5, 0.95, int((0.95 - 0.5) / 0.05 + 2))  # 10, by rounding down
    assert len(thresholds) == 10
    theirs = (abs(said - truth) / truth <= 1 - thresholds).mean()
    assert mean_relative_accuracy(said, truth) == theirs


@given(truth=st.floats(0.1, 100), error=st.floats(0, 2))
def test_a_mark_is_a_tenth_of_the_thresholds_that_are_met(truth: float, error: float) -> None:
    mark = mean_relative_accuracy(truth * (1 + error), truth)
    met = sum(error <= 1 - (50 + 5 * k) / 100 for k in range(10)) / 10
    near = min(abs(error - (50 - 5 * k) / 100) for k in range(10)) < 1e-9
    assert near or mark == pytest.approx(met)
    assert 0 <= mark <= 1


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("3", 3),
        ("3.", 3),
        ("3.5", 3.5),
        (".5", 0.5),
        ("about 3.5 meters", 3.5),
        ("3,5", 3.5),
        ("1,200", 1200),
        ("12,345.6 cm", 12345.6),
        ("1,2,3", 1.2),
        ("2m", 2),
        ("There are 4 chairs and 2 tables.", 4),
        ("three", 3),
        ("Three chairs", 3),
        ("twenty-one", 21),
        ("Twenty one", 21),
        ("one hundred and five", 105),
        ("a hundred", 100),
        ("zero", 0),
        ("1/2", 0.5),
        ("-2", -2),
        ("minus 2", -2),
        ("Negative three", -3),
        ("5 minus 3", 5),
        ("0,125", 0.125),
        ("1⁄2", 0.5),
        ("1e2", 100),
        ("**7**", 7),
        ("(4)", 4),
        ("2-3", 2),
        ("<answer>6</answer>", 6),
    ],
)
def test_the_first_number_of_a_reply_is_read(reply: str, number: float) -> None:
    assert read_number(reply) == pytest.approx(number)


@pytest.mark.parametrize("reply", ["", "none", "None.", "I cannot tell", "someone", "the A", "³"])
def test_a_reply_without_a_number_is_unreadable(reply: str) -> None:
    assert read_number(reply) is None


@given(st.text(max_size=40))
def test_any_reply_is_a_finite_number_or_unreadable(reply: str) -> None:
    number = read_number(reply)
    assert number is None or not math.isnan(number)


@pytest.mark.parametrize(
    ("reply", "settled"),
    [
        ("3", False),
        ("3.", False),
        ("3 ", False),
        ("3 meters", True),
        ("3.5m", True),
        ("three chairs", False),
        ("about", False),
    ],
)
def test_a_reply_is_settled_once_the_number_cannot_grow(reply: str, settled: bool) -> None:
    assert number_is_final(reply) is settled


@given(head=st.text("0123456789.,/ em", max_size=8), tail=st.text("0123456789.,/ em", max_size=8))
def test_what_is_settled_stays_as_it_is_read(head: str, tail: str) -> None:
    if number_is_final(head):
        assert read_number(head + tail) == read_number(head)
