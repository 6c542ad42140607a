"""Names of tasks and options, as harnesses write them, in BLINK's own words.

In:   a task's name in a harness (`blink_relative_depth`, `Relative Depth`), an item's id, a prompt.
Out:  BLINK's name where the task is BLINK's, else the name as it was; options as texts.
"""

import ast
import re
from collections.abc import Sequence
from typing import Any

from transferscope.suites.blink import BLINK, IQ_TEST
from transferscope.tasks import LETTERS

_SECOND = ("the second image", "the third image")
_POINTS = ("Point A", "Point B", "Point C", "Point D")
CHOICES: dict[str, tuple[str, ...]] = {
    "Art_Style": _SECOND,
    "Counting": ("",) * 4,
    "Forensic_Detection": (
        "the first image",
        "the second image",
        "the third image",
        "the fourth image",
    ),
    "Functional_Correspondence": _POINTS,
    "IQ_Test": ("",) * 4,
    "Jigsaw": _SECOND,
    "Multi-view_Reasoning": ("left", "right"),
    "Object_Localization": ("Box A", "Box B"),
    "Relative_Depth": ("A is closer", "B is closer"),
    "Relative_Reflectance": ("A is darker", "B is darker", "About the same"),
    "Semantic_Correspondence": _POINTS,
    "Spatial_Relation": ("yes", "no"),
    "Visual_Correspondence": _POINTS,
    "Visual_Similarity": _SECOND,
}
"""BLINK's options, the same for every item of a task; "" where their text is not."""
CORRECTED = ("Relative_Reflectance",)
"""BLINK's tasks whose right answers were corrected (September 2025); one gold file judges both."""
ANY = ("",) * len(LETTERS)
"""Options of an item of which nothing is known."""

_SIZES = {task.name: task.items for task in (*BLINK, IQ_TEST)}
_ITEM = re.compile(r"(?:val|test)_(.+)_\d+")
_OPTION = re.compile(r"^[ \t]*\(?([A-J])[).:][ \t]*(.*?)[ \t]*$", re.M)
_LONGEST = 20_000  # characters of an option list or a prompt's end that are looked at


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name).strip("_").lower()


_BLINK = {_plain(name): name for name in CHOICES}


def target_name(name: str) -> str:
    """BLINK's name of `blink_relative_depth`; the name itself where it is none of BLINK's.

    Other benchmarks have tasks of the same names, so a name counts where it begins with `blink`, or
    is spelled as BLINK spells it.
    """
    plain = _plain(name[:200])
    if plain.startswith("blink_"):
        return _BLINK.get(plain.removeprefix("blink_"), name.strip())
    return name.strip()


def blink_name(name: str) -> str | None:
    """BLINK's name of a category in BLINK's own files, however it is spelled; None for others."""
    return _BLINK.get(_plain(name[:200]))


def blink_size(target: str) -> int | None:
    """Items of a BLINK task's validation split; None for other tasks."""
    return _SIZES.get(target)


def target_of_item(item: str) -> str | None:
    """The task in BLINK's id, such as `val_Multi-view_Reasoning_133`; None where it names none."""
    found = _ITEM.fullmatch(item)
    return blink_name(found[1]) if found else None


def options_in(prompt: str) -> tuple[str, ...]:
    """The options at a prompt's end, `(A) left` or `A. left` a line; none where there are none."""
    run: list[str] = []
    for letter, text in _OPTION.findall(prompt[-_LONGEST:]):
        if letter == "A":
            run = []
        if letter == LETTERS[len(run) % len(LETTERS)]:
            run.append(text)
    return tuple(run)


def options_of(value: Any) -> tuple[str, ...]:
    """Options as a list, or as the text of a list; letters before them are left out."""
    if isinstance(value, dict):  # ARC and its like: {"text": [...], "label": [...]}
        value = value.get("text")
    if isinstance(value, str) and value.lstrip().startswith("[") and len(value) <= _LONGEST:
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return ()
    if not isinstance(value, list) or not 0 < len(value) <= len(LETTERS):
        return ()
    texts = [str(each) for each in value]
    lettered = [
        re.fullmatch(rf"\s*\(?{letter}[).:]\s*(.*)", text, re.S)
        for letter, text in zip(LETTERS, texts, strict=False)
    ]
    return tuple(
        (found[1] if found and all(lettered) else text).strip()
        for found, text in zip(lettered, texts, strict=True)
    )


def first_known(*found: Sequence[str]) -> tuple[str, ...]:
    """The first list of options that is not empty, else `ANY`."""
    return next((tuple(options) for options in found if options), ANY)
