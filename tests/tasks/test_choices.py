"""The same question with its choices in another order, and one answer out of several."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import raises

from transferscope.engine.score import from_logprobs
from transferscope.errors import StudyError
from transferscope.suites.blink import BLINK
from transferscope.suites.glimpse import Glimpse
from transferscope.tasks import LETTERS, Item, with_choices
from transferscope.tasks.choices import (
    DIRECT,
    combine_orders,
    derangement,
    fixed_choices,
    reordered,
    rotations,
    with_style,
)


def item(choices=("cat", "dog", "dogs"), answer=1, prompt=None) -> Item:
    text = with_choices("Which (A) animal?", choices) if prompt is None else prompt
    return Item("i", "T", (), "Which (A) animal?", choices, answer, text)


def test_reordering_moves_choices_and_answer_and_nothing_else():
    made = reordered(item(), (2, 0, 1))
    assert made.choices == ("dogs", "cat", "dog")
    assert made.choices[made.answer] == "dog"
    assert made.prompt == with_choices("Which (A) animal?", ("dogs", "cat", "dog"))
    assert made.id == "i"


@pytest.mark.parametrize("task", [task.name for task in BLINK])
def test_every_prompt_of_glimpse_can_be_put_in_every_order(task):
    for one in Glimpse().items(task, "eval")[:5]:
        for order in rotations(one):
            made = reordered(one, order)
            shown = re.findall(r"\(([A-D])\) (.+)", made.prompt)
            wanted = [one.choices[index] for index in order]
            assert shown[-len(order) :] == list(zip(LETTERS, wanted, strict=False))
            assert made.choices[made.answer] == one.choices[one.answer]


@given(st.permutations(range(4)))
def test_an_order_and_its_reverse_give_the_item_back(order):
    one = item(("a", "b", "c", "d"), 3)
    back = np.argsort(order).tolist()
    assert reordered(reordered(one, order), back).prompt == one.prompt


def test_a_prompt_that_hides_its_choices_is_refused():
    with raises(StudyError):
        reordered(item(prompt="cat, dog or dogs?"), (1, 2, 0))


def test_rotations_put_every_choice_at_every_letter_once():
    table = np.array(rotations(item()))
    assert table.tolist() == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    assert rotations(item((), 0)) == [()]


def test_tasks_of_which_a_letter_is_a_choices_name_are_known():
    suite = Glimpse()
    items = [item for task in suite.tasks for item in suite.items(task.name, "eval")[:20]]
    free = {"Counting", "Multi-view_Reasoning", "Spatial_Relation"}  # words in any order
    assert fixed_choices(items) == {task.name for task in suite.tasks} - free


@pytest.mark.parametrize("count", [2, 3, 4, 10])
def test_in_another_order_no_choice_keeps_its_letter(count):
    one = item(tuple("abcdefghij"[:count]), 0)
    orders = [derangement(one, seed) for seed in range(20)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert not any(order[k] == k for order in orders for k in range(count))
    assert len(set(orders)) > 1 or count == 2
    assert derangement(one, 3) == derangement(one, 3)


def test_a_model_that_knows_only_letters_is_undecided_in_a_circle():
    """Whoever always says (A) says each option equally often."""
    liking = (-0.1, -3.0, -4.0)
    orders = rotations(item())
    one = combine_orders([from_logprobs(liking)] * 3, orders, by_reply=False)
    assert one.logprobs == pytest.approx([sum(liking) / 3] * 3)
    assert one.margin == pytest.approx(0)


@given(st.lists(st.floats(-20, 0), min_size=3, max_size=3), st.lists(st.floats(-5, 0), min_size=3))
def test_in_a_circle_a_liking_for_letters_changes_no_answer(content, letters):
    """Option log-probabilities that are content + letter: the letters' part is the same for all."""
    orders = rotations(item())
    answers = [
        from_logprobs([content[option] + letters[place] for place, option in enumerate(order)])
        for order in orders
    ]
    one = combine_orders(answers, orders, by_reply=False)
    shift = np.mean(letters[:3])
    assert one.logprobs == pytest.approx([value + shift for value in content], abs=1e-9)


def test_replies_are_counted_and_what_none_can_read_is_unreadable():
    orders = rotations(item())
    dog = [from_logprobs([float(option == 1) for option in order]) for order in orders]
    assert combine_orders(dog, orders, by_reply=True).choice == 1
    unread = [one._replace(choice=None) for one in dog]
    assert combine_orders(unread, orders, by_reply=True).choice is None
    two = [unread[0], unread[1], dog[2]]
    assert combine_orders(two, orders, by_reply=True).choice == 1


def test_an_answer_in_the_given_order_stays_as_it_is():
    one = from_logprobs((-1.0, -0.5))
    assert combine_orders([one], [(0, 1)], by_reply=False) is one


def test_the_direct_style_adds_one_line():
    assert with_style(item(), "direct").prompt == item().prompt + "\n" + DIRECT
    assert with_style(item(), "benchmark").prompt == item().prompt
