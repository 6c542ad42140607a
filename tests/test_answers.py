"""Replies as answers: ours and those in other people's logs."""

import pytest

from transferscope.answers import is_settled, read_long_reply, read_reply

CHOICES = ("the cup", "the box", "the ball")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("(B)", 1),
        (" (B) the box", 1),
        ("B", 1),
        ("B.", 1),
        ("B: the box", 1),
        ("**B**", 1),
        ("The answer is (C).", 2),
        ("Answer: c", 2),
        ("I think that (A) fits", 0),
        ("the box", 1),
        ("The box.", 1),
        ("A box stands closer", None),
        ("(A) or (B)", 0),
        ("It is (A) or (B)", None),
        ("(D)", None),
        ("E", None),
        ("", None),
        ("neither", None),
        ("the answer is a box", None),
        ("b", 1),
        (" (c). ", 2),
        ("d", None),
        ("ab", None),
        ("b c", None),
    ],
)
def test_a_reply_is_read_or_said_to_be_unreadable(reply, expected):
    assert read_reply(reply, CHOICES) == expected


def test_a_choices_text_counts_before_a_small_letter():
    assert read_reply("b", ["c", "a", "b"]) == 2
    assert read_reply("b", ["b", "a", "b"]) is None


def test_a_reply_is_settled_by_a_letter_in_parentheses_at_its_beginning():
    assert is_settled(" (A) and")
    assert not is_settled("A")
    assert not is_settled("It is (A)")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("(B)", 1),
        ("<think>Not (A), I think (C).</think>\n(B)", 1),
        ("Surely (A) or (C).</think> (B)", 1),  # some templates open the tag in the prompt
        ("<think>Perhaps (A)", None),  # cut short before the answer
        ("First (A) looks near, then (C).\n\nAnswer: (B)", 1),
        ("First (A) looks near, then (C).\n(B)\n\n", 1),
        ("(A) is small.\nThe answer is (B)", 1),
        ("B\nbecause (A) is farther", 1),
        ("Comparing (A) and (B).\nBoth (A) and (B) fit.", None),
        ("<answer> B </answer>", 1),
        ("B</answer>, not (A)", 1),  # some prompts end with the opening tag
        ("It may be (A) or (C). <answer>(B)</answer>", 1),
        ("", None),
        ("\n", None),
    ],
)
def test_a_reply_that_thinks_aloud_is_read_where_it_answers(reply, expected):
    assert read_long_reply(reply, CHOICES) == expected
