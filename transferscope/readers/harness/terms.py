"""Options and names of tasks, which harnesses and benchmarks write in many ways, made alike."""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from transferscope.suites.blink import BLINK, IQ_TEST
from transferscope.tasks import LETTERS

HIDDEN = "hidden"
"""BLINK's answer to every item of the test split."""
YES_NO = ("yes", "no")
"""Options of an item whose right answer is one of them."""
_SECOND = ("the second image", "the third image")
_POINTS = ("Point A", "Point B", "Point C", "Point D")
CHOICES: dict[str, tuple[str, ...]] = {
    "Art_Style": _SECOND,
    "Counting": ("",) * 4,
    "Forensic_Detection": ("the first image", *_SECOND, "the fourth image"),
    "Functional_Correspondence": _POINTS,
    "IQ_Test": ("",) * 4,
    "Jigsaw": _SECOND,
    "Multi-view_Reasoning": ("left", "right"),
    "Object_Localization": ("Box A", "Box B"),
    "Relative_Depth": ("A is closer", "B is closer"),
    "Relative_Reflectance": ("A is darker", "B is darker", "About the same"),
    "Semantic_Correspondence": _POINTS,
    "Spatial_Relation": YES_NO,
    "Visual_Correspondence": _POINTS,
    "Visual_Similarity": _SECOND,
}
"""Options of BLINK's tasks, the same for every item; "" where their text differs by item."""
CORRECTED = ("Relative_Reflectance",)
"""BLINK's tasks whose right answers were corrected in September 2025."""
ANY = ("",) * len(LETTERS)
"""Options of an item if nothing is known of them."""

SIZES = {task.name: task.items for task in (*BLINK, IQ_TEST)}
"""Number of items of the validation split of BLINK's tasks."""
_ITEM = re.compile(r"(?:val|test)_(.+)_\d+")
_LETTER = re.compile(r"\s*\(?([A-J])[).:]*\s*")
_OPTION = re.compile(r"^[ \t]*\(?([A-J])[).:][ \t]*(.*?)[ \t]*$", re.M)
_SHOWN = ("image_path", "image_source", "image_id", "video", "video_id", "video_name")
"""Keys under which benchmarks name what a question is about, in this order."""
_FIGURE = ("category", "subcategory", "set_id", "figure_id")
"""What names a figure of HallusionBench, whose sets are numbered anew in each subcategory."""
_LOCAL = re.compile(r"(?:^|(?<=['\"]))/[^'\"]*?/images/")
"""The folder of one machine in which VLMEvalKit keeps images, once or before each of a list."""
_LONGEST = 20_000  # characters searched of an option list and of a prompt's end


def letter_index(value: Any) -> int | None:
    """`B`, `(B)` or `B.` as 1; None if the cell is not an option letter."""
    found = _LETTER.fullmatch(value) if isinstance(value, str) else None
    return LETTERS.index(found[1]) if found else None


def option_index(letter: Any, choices: Sequence[object]) -> int | None:
    """The index of an option letter; None if the choices have no such option."""
    index = letter_index(letter)
    return index if index is not None and index < len(choices) else None


def same_option(choices: Sequence[str], *texts: str) -> int | None:
    """The index of the only option with one of the texts; None if not exactly one has it."""
    wanted = {text.strip() for text in texts} - {""}
    same = [n for n, choice in enumerate(choices) if choice.strip() in wanted]
    return same[0] if len(same) == 1 else None


def options_in(prompt: str) -> tuple[str, ...]:
    """The options at the end of a prompt, one on each line, as `(A) left` or `A. left`."""
    run: list[str] = []
    for letter, text in _OPTION.findall(prompt[-_LONGEST:]):
        if letter == "A":
            run = []
        if letter == LETTERS[len(run) % len(LETTERS)]:
            run.append(text)
    return tuple(run)


def options_of(value: Any) -> tuple[str, ...]:
    """Options from a list, or from the text of a list, without the letters before them."""
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
    bare = [found[1] for found in lettered if found]
    return tuple(text.strip() for text in (bare if len(bare) == len(texts) else texts))


def first_known(*found: Sequence[str]) -> tuple[str, ...]:
    """The first list of options that is not empty, else `ANY`."""
    return next((tuple(options) for options in found if options), ANY)


def group_of(record: Mapping[str, Any]) -> str | None:
    """The image, video or scene that a question's record names; None if it names none."""
    if scene := record.get("scene_name"):  # VSI-Bench's, unique within a source of videos
        return f"{record.get('dataset')}/{scene}"
    if record.get("figure_id") is not None:
        return "/".join(str(record.get(name)) for name in _FIGURE)
    for name in _SHOWN:
        value = record.get(name)
        if isinstance(value, str | int) and (text := str(value).strip()):
            return _LOCAL.sub("", text)
    return None


# Task names


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name[:200]).strip("_").lower()


_BLINK = {_plain(name): name for name in CHOICES}


def target_name(name: str) -> str:
    """BLINK's name for `blink_relative_depth`; any other name as it is.

    Other benchmarks have tasks of the same names, so the name must begin with `blink`.
    """
    plain = _plain(name)
    task = _BLINK.get(plain.removeprefix("blink_")) if plain.startswith("blink_") else None
    return task or name.strip()


def blink_name(name: str) -> str | None:
    """BLINK's name for a category in BLINK's own files, in any spelling; None for other names."""
    return _BLINK.get(_plain(name))


def target_of_item(item: str) -> str | None:
    """The task in BLINK's item id, such as `val_Multi-view_Reasoning_133`; None for other ids."""
    found = _ITEM.fullmatch(item)
    return blink_name(found[1]) if found else None
