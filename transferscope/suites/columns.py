"""Choices and right answers as data sets write them.

A problem is a `ValueError` whose text is what was expected; the caller names the row, the column
and what was found.
"""

import math
import re
import string
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from transferscope.suites.folder import Open
from transferscope.tasks import LETTERS
from transferscope.tasks.open_answers import OpenAnswer
from transferscope.tasks.untrusted import load_yaml

OptionForm = Literal["option", "letter", "choice", "index", "index_from_1"]
OpenKind = Literal["number", "text", "point", "box"]
AnswerKind = OptionForm | OpenKind

_MARKS = [
    [mark.format(letter) for letter in alphabet[: len(LETTERS)]]
    for mark, alphabets in (
        ("({})", (string.ascii_uppercase, string.ascii_lowercase)),
        ("{}.", (string.ascii_uppercase,)),
        ("{}:", (string.ascii_uppercase,)),
        ("{})", (string.ascii_uppercase, string.ascii_lowercase)),
    )
    for alphabet in alphabets
]
"""How options are lettered in a text: (A), (a), A., A:, A), a)."""
_LEAD = re.compile(r"\s*(?:options|choices|select from the following choices)\s*[.:]?\s*$", re.I)
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?", re.I)


def _lettered(text: str) -> Iterator[list[re.Match[str]]]:
    """The marks of each run of letters in a text that may be its options, later ones first."""
    for marks in _MARKS:
        find = [rf"(?:^|(?<=[\s,;])){re.escape(mark)}\s*" for mark in marks]
        for first in reversed(list(re.finditer(find[0], text))):
            found = [first]
            while len(found) < len(marks) and (
                more := re.compile(find[len(found)]).search(text, found[-1].end())
            ):
                found.append(more)
            if len(found) > 1:
                yield found


def in_text(text: str) -> tuple[str, list[str]] | None:
    """A question without the lettered options that it ends with, and these; None without any."""
    runs = list(_lettered(text))
    # The points of a figure may be lettered too, and options may contain letters.
    led = (run for run in runs if _LEAD.search(text[: run[0].start()]))
    if not (found := next(led, runs[0] if runs else None)):
        return None
    ends = [mark.start() for mark in found[1:]] + [len(text)]
    own_lines = all(text[: mark.start()].endswith("\n") for mark in found[1:])
    if own_lines and (line_end := text.find("\n", found[-1].end())) >= 0:
        ends[-1] = line_end
    choices = [text[mark.end() : end].strip() for mark, end in zip(found, ends, strict=True)]
    if not own_lines and all(choice.endswith((",", ";")) for choice in choices[:-1]):
        choices = [choice.rstrip(",; ") for choice in choices]
    rest = text[ends[-1] :].strip()
    before = _LEAD.sub("", text[: found[0].start()]).rstrip()
    return "\n".join(filter(None, (before, rest))), _present(choices)


def _present(choices: list[str]) -> list[str]:
    """Choices without the missing ones at the end: empty, or as pandas writes them."""
    while choices and choices[-1] in ("", "nan"):
        choices.pop()
    return choices


def unlettered(choices: Sequence[str]) -> list[str]:
    """Choices without the letters before them, where all have theirs, in order."""
    for marks in _MARKS:
        pairs = list(zip(choices, marks, strict=False))
        if all(choice.lstrip().startswith(mark) for choice, mark in pairs):
            texts = [choice.lstrip().removeprefix(mark).strip() for choice, mark in pairs]
            return texts if all(texts) else list(choices)
    return list(choices)


def choices_of(value: Any) -> list[str]:
    """The choices in a cell: a list, a struct by letters, or a text with either or with options."""
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("[", "{"):
            return (in_text(value) or ("", []))[1]
        value = load_yaml(value)  # JSON, or as Python prints a list
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=lambda key: (len(key), key))]
    if not isinstance(value, list):
        return []
    return unlettered(_present(["" if one is None else f"{one}".strip() for one in value]))


def right_option(value: Any, choices: Sequence[str], kind: AnswerKind) -> int:
    """The index of the right choice, by its letter, its text or its index."""
    text, found = f"{value}".strip(), set[int]()
    free = kind not in ("letter", "choice", "index", "index_from_1")
    if free or kind == "choice":
        same = [n for n, choice in enumerate(choices) if choice == text]
        found |= set(same or [n for n, c in enumerate(choices) if c.casefold() == text.casefold()])
    if free or kind == "letter":
        match = re.fullmatch(r"\(?([A-Ja-j])(?:[.:)]+\s*(.*))?", text, re.S)
        place = LETTERS.index(match[1].upper()) if match else len(choices)
        if match and place < len(choices) and match[2] in (None, "", choices[place]):
            found.add(place)
    if (free or "index" in kind) and re.fullmatch(r"\d+(\.0)?", text):
        place = int(float(text)) - (kind == "index_from_1")
        found |= {place} & set(range(len(choices)))
    if len(found) > 1:
        raise ValueError("one choice, not several by letter, text and index; set suite.answer")
    if not found:
        wanted = "letter, text or index" if free else kind.replace("_", " ")
        raise ValueError(f"the {wanted} of one of {len(choices)} choices")
    return found.pop()


def open_answer(
    value: Any, kind: AnswerKind, options: dict[str, Any], sides: Sequence[float]
) -> OpenAnswer:
    """The open answer in a cell.

    Args:
        options: further fields of the answer (`folder.Open`).
        sides: what x and y of places are divided by.
    """
    given: Any = value
    if kind == "number":
        (given,) = _numbers(re.sub(r"(?<=\d),(?=\d{3})", "", f"{value}"), 1)
    elif kind == "text":
        several = value if isinstance(value, list) else [value]
        texts = [one.get("answer") if isinstance(one, dict) else one for one in several]
        given = [f"{text}".strip() for text in texts if text is not None]
    else:
        numbers = _numbers(value, 2 if kind == "point" else 4)
        given = [number / sides[place % 2] for place, number in enumerate(numbers)]
    try:
        return Open.model_validate({kind: given, **options}).answer()
    except ValidationError:
        what = {"point": "x and y within the image", "text": "one or several texts"}
        raise ValueError(what.get(kind, "left, top, right and bottom within the image")) from None


def _numbers(value: Any, count: int) -> list[float]:
    """So many numbers in a value: themselves, in a text, in lists or structs."""

    def within(part: Any) -> Iterator[float]:
        if isinstance(part, str):
            yield from map(float, _NUMBER.findall(part))
        elif isinstance(part, int | float) and not isinstance(part, bool):
            yield float(part)
        elif isinstance(part, dict | list):
            for each in part.values() if isinstance(part, dict) else part:
                yield from within(each)

    found = list(within(value))
    if len(found) != count or not all(map(math.isfinite, found)):
        raise ValueError("one number" if count == 1 else f"{count} numbers")
    return found
