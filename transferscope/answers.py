"""Read the answer in a reply, or say that it cannot be read; mark an answer that is a number.

A reply that names two options, none, or one that the item does not have is unreadable; nothing is
guessed. Replies of our own models and those in other people's logs are read by the same rules.

In:   a reply and the item's choices; a number and the true one.
Out:  an option's index, or None; a mark in [0, 1].
"""

import re
from collections.abc import Sequence

import numpy as np

from transferscope.suite import LETTERS

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Confidence thresholds; spaced by `linspace`, as the benchmark's code does, so that numbers on a
threshold fall on the same side."""

_FIRST = re.compile(r"\W*([A-J])(?=\W*$|[.,:;)\n*])")
_NAMED = re.compile(r"\b(?:answer|choice|option)(?:\s+is)?\W{0,4}\(?([A-J])\b(?!\s+[a-z])", re.I)
_ANY = re.compile(r"\(([A-J])\)")


def read_reply(reply: str, choices: Sequence[str]) -> int | None:
    """The index of the option that a reply chooses; None where it is unreadable.

    Understood, in this order: a letter at the beginning (`(B)`, `B`, `B. the cup`), a letter that
    is called the answer (`the answer is (B)`), one letter in parentheses anywhere, a choice's text,
    a small letter that stands alone (`b`, `(b)`).
    """
    text = reply.strip()
    first = _FIRST.match(text)
    named = {letter.upper() for letter in _NAMED.findall(text)}
    anywhere = set(_ANY.findall(text))
    found = {first[1]} if first else named or anywhere
    if found:
        index = LETTERS.index(found.pop()) if len(found) == 1 else len(choices)
        return index if index < len(choices) else None
    plain = _words(text)
    same = [index for index, choice in enumerate(choices) if _words(choice) == plain]
    if not same and plain.upper() in tuple(LETTERS[: len(choices)]):
        return LETTERS.index(plain.upper())
    return same[0] if len(same) == 1 else None


def read_long_reply(reply: str, choices: Sequence[str]) -> int | None:
    """As `read_reply`, for a reply that may think aloud before it answers.

    What stands between `<think>` tags is no answer, what stands between `<answer>` tags is all of
    it. A last line that names the answer decides, or any last line where the whole cannot be read.
    """
    text = reply.rpartition("</think>")[2].partition("<think>")[0]
    text = text.rpartition("<answer>")[2].partition("</answer>")[0]
    *before, last = text.strip().split("\n")
    if before and len({letter.upper() for letter in _NAMED.findall(last)}) == 1:
        return read_reply(last, choices)
    found = read_reply(text, choices)
    return read_reply(last, choices) if found is None else found


def is_settled(reply: str) -> bool:
    """Whether nothing that may still come changes what is read."""
    return re.match(r"\W*\([A-J]\)", reply.strip()) is not None


def mean_relative_accuracy(said: float, truth: float) -> float:
    """Mark of a number in [0, 1]: the share of thresholds theta that it meets.

        mean over theta in {.50, .55, ..., .95} of  1[ |said - truth| / truth <= 1 - theta ]

    1 within 5 % of the truth, 0 where it is more than half of it away. Where the truth is 0, the
    error is taken as it is, for there is no relative one.

    Source:
        Yang et al., "Thinking in Space", eq. 1, with `<=`, as in the benchmark's code, where the
        paper prints `<`.
    """
    error = abs(said - truth) / (abs(truth) or 1)
    return float((error <= 1 - THRESHOLDS).mean())


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
