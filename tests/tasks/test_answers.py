"""Replies as answers: what people's models write, and the option that a person reads in it."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.tasks import LETTERS
from transferscope.tasks.answers import is_final, read_reply

REAL = Path("../shared/real/replies.json")
CHOICES = ("the cup", "the box", "the ball")
SIDES = ("left", "right")
IMAGES = ("the second image", "the third image")
POINTS = ("Point A", "Point B", "Point C", "Point D")
DEPTH = ("A is closer", "B is closer")
COLORS = ("red", "blue", "green", "yellow")
NUMBERS = ("2", "3", "4", "5")
YES_NO = ("yes", "no")
UNKNOWN = ("", "", "", "")


def test_real_replies_are_read_as_they_are_meant_and_none_is_guessed():
    if not REAL.exists():
        pytest.skip("no real replies here")
    replies = json.loads(REAL.read_text())
    meant = [None if r["answer"] is None else LETTERS.index(r["answer"]) for r in replies]
    read = [read_reply(r["reply"], r["choices"]) for r in replies]
    assert len(replies) == 61
    assert sum(a == b for a, b in zip(read, meant, strict=True)) >= 0.95 * len(replies)
    assert [a for a, b in zip(read, meant, strict=True) if b is None and a is not None] == []


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
        ("b", 1),
        (" (c). ", 2),
        ("The answer is a box", 1),
        ("A box stands closer", 1),
        ("It is (A) or (B)", None),
        ("(A) or (B)", None),
        ("(D)", None),
        ("E", None),
        ("", None),
        ("\n", None),
        ("neither", None),
        ("d", None),
        ("ab", None),
        ("b c", None),
        ("(A) the box", 0),  # as every harness reads it
    ],
)
def test_a_short_reply_is_read_or_names_no_option(reply, expected):
    assert read_reply(reply, CHOICES) == expected


def test_a_choices_text_counts_before_a_small_letter():
    assert read_reply("b", ["c", "a", "b"]) == 2
    assert read_reply("b", ["b", "a", "b"]) is None


def test_the_text_of_an_option_counts_before_a_letter_in_it():
    assert read_reply("Point A", ["Point B", "Point A"]) == 1
    assert read_reply("The answer is Point A.", ["Point B", "Point A"]) == 1
    assert read_reply("A", ["Point B", "Point A"]) == 0


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<think>Not (A), I think (C).</think>\n(B)", 1),
        ("Surely (A) or (C).</think> (B)", 1),  # some templates open the tag in the prompt
        ("<think>Perhaps (A)", None),  # cut short before the answer
        ("<think>The answer is A", None),
        ("<think>So <answer>A</answer> or maybe", None),
        ("<think>So it is the box. <answer>B</answer>", 1),  # never closed, but finished
        ("◁think▷A or B?◁/think▷\\boxed{B}", 1),
        (
            "<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>B",
            1,
        ),
        ("<thinking>a cup?</thinking>\nthe box", 1),
        ("<REASONING> A is far. </REASONING>\n<CONCLUSION> B </CONCLUSION>", 1),
        ("First (A) looks near, then (C).\n\nAnswer: (B)", 1),
        ("First (A) looks near, then (C).\n(B)\n\n", 1),
        ("(A) is small.\nThe answer is (B)", 1),
        ("B\nbecause (A) is farther", 1),
        ("Comparing (A) and (B).\nBoth (A) and (B) fit.", None),
        ("<answer> B </answer>", 1),
        ("<ANSWER>b</ANSWER>", 1),
        ("<answer>A</answer> No: <answer>B</answer>", 1),
        ("B</answer>, not (A)", 1),  # some prompts end with the opening tag
        ("It may be (A) or (C). <answer>(B)</answer>", 1),
    ],
)
def test_a_reply_that_thinks_aloud_is_read_where_it_answers(reply, expected):
    assert read_reply(reply, CHOICES) == expected


@pytest.mark.parametrize(
    ("reply", "choices", "expected"),
    [
        ("B<|im_end|>", SIDES, 1),
        ("<|im_start|>assistant\nB<|im_end|>", SIDES, 1),
        ("A<end_of_turn>", SIDES, 0),
        ("<pad><pad>C", POINTS, 2),
        ("[/INST] (B) right</s>", SIDES, 1),
        ("USER: <image>\nIs it left? ASSISTANT: No", YES_NO, 1),
        ("(A) left\nUSER: And the next?\nASSISTANT: (B) right", SIDES, 0),
        ("### Response:\nB", SIDES, 1),
        ("<|begin_of_box|>C<|end_of_box|>", POINTS, 2),
        ("$$\\boxed{\\mathrm{D}}$$", POINTS, 3),
        ("\\(\\boxed{B}\\)", SIDES, 1),
        ("\\boxed{3}", NUMBERS, 1),
        ("\\boxed{(C) \\text{ green}}", COLORS, 2),
        ("**Answer: C. green**", COLORS, 2),
        ("<C>", POINTS, 2),
        ('{"answer": "C"}', POINTS, 2),
        ('```json\n{"reasoning": "Point A is far", "answer": "B"}\n```', POINTS, 1),
        ("{'final_answer': 'yes'}", YES_NO, 0),
        ("B\\n\\nThe cup is on the right", UNKNOWN, 1),
        ("Ｂ", SIDES, 1),
        ("答案：【B】", SIDES, 1),
        ("因此，正确选项是B。", SIDES, 1),
        ("选择A。", SIDES, 0),
        ("故选C", POINTS, 2),
        ("正解はBです。", SIDES, 1),
        ("정답은 A입니다.", SIDES, 0),
        ("La respuesta correcta es la B.", SIDES, 1),
        ("La réponse est (A).", SIDES, 0),
        ("A resposta correta é a opção B.", SIDES, 1),
        ("La risposta corretta è C.", POINTS, 2),
        ("Правильный ответ: B", SIDES, 1),
        ("Đáp án: D", POINTS, 3),
        ("Die richtige Antwort ist (C).", POINTS, 2),
    ],
)
def test_tokens_markup_and_languages_do_not_hide_an_answer(reply, choices, expected):
    assert read_reply(reply, choices) == expected


@pytest.mark.parametrize(
    ("reply", "choices", "expected"),
    [
        ("The answer is B because A is farther.", UNKNOWN, 1),
        ("The correct answer is:\n\n**B. right**", SIDES, 1),
        ("Point A is closer to the camera.", DEPTH, 0),
        ("Point B appears to be closer to the camera than point A.", DEPTH, 1),
        ("The camera is moving left", SIDES, 0),
        ("Yes, there is no obstacle in front.", YES_NO, 0),
        ("no, the dog is behind the car", YES_NO, 1),
        ("The third image is more similar to the reference.", IMAGES, 1),
        ("There are 4 people in the image.", NUMBERS, 2),
        ("The point that matches REF is Point C, not Point B.", POINTS, 2),
        ("It can't be A. It must be B.", SIDES, 1),
        ("Not A but B", SIDES, 1),
        ("B rather than A", SIDES, 1),
        ("Option A is wrong because it moved. Option B is correct.", SIDES, 1),
        ("The answer is A. Wait, actually, the answer is B.", SIDES, 1),
        ("(A) left\n(B) right\n\nThe camera turns.\n\nAnswer: (A)", SIDES, 0),
        ("A. red\nB. blue\nC. green\nD. yellow\n\nCorrect: C", COLORS, 2),
        (
            "(A) The second image has bold colors.\n\n(B) The third image is calm.\n\n"
            "Therefore, the second image shares the style.",
            IMAGES,
            0,
        ),
        (
            "Box B encloses it more accurately. Box A, on the other hand, is too large.",
            ("Box A", "Box B"),
            1,
        ),
        ("Answer: D\n\nExplanation: the correct gear is the box.", ("", "", "the box", ""), 3),
        ("ANSWER: A\n\nExplanation: the sun is a source.", UNKNOWN, 0),
        ("I considered (A), but it is incorrect. Final answer: D.", UNKNOWN, 3),
    ],
)
def test_the_last_statement_of_a_sentence_or_a_text_counts(reply, choices, expected):
    assert read_reply(reply, choices) == expected


@pytest.mark.parametrize(
    ("reply", "choices"),
    [
        ("A, B, C, and D are the four options", POINTS),
        ("A person walks", SIDES),
        ("A man and a woman are talking.", UNKNOWN),
        ("I, as an AI, cannot answer", ("",) * 10),
        ("I cannot determine the answer from the image.", SIDES),
        ("It could be No or Yes.", YES_NO),
        ("There is no car in the picture.", YES_NO),
        ("The camera moves from left to right.", SIDES),
        ("I need to choose between A and B.", SIDES),
        ("The answer is not A.", POINTS),
        ("None of the choices A, B, C, or D are correct.", POINTS),
        ("(A) left\n(B) right", SIDES),
        ("A: left, B: right", SIDES),
        ("The answer is (A) the second image or (B) the third image.", UNKNOWN),
        ("The answer is E.", POINTS),
        ("\\boxed{}", POINTS),
        ("AB", SIDES),
        ("A and C", POINTS),
        ("1.5", ("0.5 m", "1.5 m", "15")),
        ("-5 or 5.5", NUMBERS),
        ("So the answer is (A). So the answer is (B). So the answer is (C).", POINTS),
        (
            "I cannot tell which one it is. The third image is blurry.",
            IMAGES,
        ),
    ],
)
def test_a_reply_that_names_none_or_several_has_no_option(reply, choices):
    assert read_reply(reply, choices) is None


@given(st.text(max_size=200), st.lists(st.text(max_size=10), min_size=1, max_size=10))
def test_any_reply_is_an_option_of_the_item_or_none(reply, choices):
    found = read_reply(reply, choices)
    assert found is None or 0 <= found < len(choices)


@given(st.integers(0, 3), st.sampled_from(["{}", "({})", "{}.", "**{}**", "Answer: {}", "选{}"]))
def test_a_letter_is_read_the_same_in_every_plain_form(index, form):
    assert read_reply(form.format(LETTERS[index]), UNKNOWN) == index


def test_long_and_hostile_replies_are_read_in_no_time():
    pieces = [
        "A ",
        "(A)\n",
        "answer ",
        "is A ",
        ": ",
        ", ",
        "left or ",
        "\n",
        "<think>",
        "= a ",
        "<(",
    ]
    start = time.process_time()
    for piece in pieces:
        read_reply(piece * 50_000, SIDES)
    assert time.process_time() - start < 5


def test_a_reply_is_settled_by_a_letter_in_parentheses_at_its_beginning():
    assert is_final(" (A) and")
    assert not is_final("A")
    assert not is_final("It is (A)")
