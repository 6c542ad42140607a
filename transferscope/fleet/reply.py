"""Read the chosen option in a reply, or say that it cannot be read.

A reply that names two options, none, or one that the item does not have is unreadable; nothing is
guessed.
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


def is_settled(reply: str) -> bool:
    """Whether nothing that may still come changes what is read."""
    return re.match(r"\W*\([A-J]\)", reply.strip()) is not None


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
