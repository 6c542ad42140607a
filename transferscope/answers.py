"""Read the chosen option in a reply, or say that it cannot be read.

A reply that names two options, none, or one that the item does not have is unreadable; nothing is
guessed. Replies of our own models and those in other people's logs are read by the same rules.

In:   a reply, the item's choices.
Out:  an option's index, or None.
"""

import re
from collections.abc import Sequence

from transferscope.suite import LETTERS

_FIRST = re.compile(r"\W*(?:\(([A-J])\)|([A-J])(?=\W*$|[.,:;)\n*]))")
_NAMED = re.compile(r"\b(?:answer|choice|option)(?:\s+is)?\W{0,4}\(?([A-J])\b(?!\s+[a-z])", re.I)
_ANY = re.compile(r"\(([A-J])\)")


def read_reply(reply: str, choices: Sequence[str]) -> int | None:
    """The index of the option that a reply chooses; None where it is unreadable.

    Understood, in this order: a letter at the beginning (`(B)`, `B`, `B. the cup`), a letter that
    is called the answer (`the answer is (B)`), one letter in parentheses anywhere, a choice's text.
    """
    text = reply.strip()
    first = _FIRST.match(text)
    named = {letter.upper() for letter in _NAMED.findall(text)}
    anywhere = set(_ANY.findall(text))
    found = {first[1] or first[2]} if first else named or anywhere
    if found:
        index = LETTERS.index(found.pop()) if len(found) == 1 else len(choices)
        return index if index < len(choices) else None
    plain = _words(text)
    same = [index for index, choice in enumerate(choices) if _words(choice) == plain]
    return same[0] if len(same) == 1 else None


def read_long_reply(reply: str, choices: Sequence[str]) -> int | None:
    """As `read_reply`, for a reply that may think aloud before it answers.

    What stands between `<think>` tags is no answer, what stands between `<answer>` tags is all of
    it. A last line that names the answer decides, or any last line where the whole cannot be read.
    """
    text = reply.rpartition("</think>")[2].partition("<think>")[0]
    if "<answer>" in text:
        text = text.rpartition("<answer>")[2].partition("</answer>")[0]
    *before, last = text.strip().split("\n")
    if before and len({letter.upper() for letter in _NAMED.findall(last)}) == 1:
        return read_reply(last, choices)
    found = read_reply(text, choices)
    return read_reply(last, choices) if found is None else found


def is_settled(reply: str) -> bool:
    """Whether nothing that may still come changes what is read."""
    return re.match(r"\W*\([A-J]\)", reply.strip()) is not None


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
