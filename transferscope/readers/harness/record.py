"""What a harness's file holds, in words of our own, before anything is judged.

In:   what a format's module found.
Out:  a `Log` of samples or of scores.
"""

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from transferscope.errors import DataError
from transferscope.predictions import shown
from transferscope.tasks import LETTERS

HIDDEN = "hidden"
"""BLINK's answer to every item of its test split."""
FAILED = "Failed to obtain answer"
"""VLMEvalKit's reply where the model could not be asked."""
_LETTER = re.compile(r"\s*\(?([A-J])[).:]*\s*")


class Sample(NamedTuple):
    """One item as a harness wrote it."""

    target: str
    item: str
    row: int
    """Where it stands in its file, from 1."""
    reply: str | None = None
    """The raw reply; None where the file has only what the harness made of it."""
    choices: tuple[str, ...] = ()
    answer: int | None = None
    """Index of the right option; None where the item has no options."""
    said: str | None = None
    """What the harness read in the reply."""
    score: float | None = None
    """What the harness gave for it, in [0, 1]."""
    logprobs: tuple[float, ...] | None = None
    """Of each option, where options were compared and nothing was generated."""
    own: int | None = None
    """Index of the right option by the file itself, where a gold file replaced it in `answer`."""
    prompt: str | None = None
    """The question's text as the model got it, where the file keeps it."""


class Score(NamedTuple):
    """A harness's own average on one target."""

    target: str
    accuracy: float
    total: int | None = None


class Log(NamedTuple):
    """What one file says."""

    samples: Sequence[Sample] = ()
    scores: Sequence[Score] = ()
    versions: Mapping[str, str] = MappingProxyType({})
    """Of the harness's tasks, by target."""
    metrics: Mapping[str, str] = MappingProxyType({})
    """The harness's metric behind scores, by target."""
    notes: tuple[str, ...] = ()
    """What a reader must know of it; the run's name is put before each."""


class Content(NamedTuple):
    """A file, taken apart but not understood."""

    name: str
    """File name without its folder."""
    sha256: str
    value: Any
    """A JSON object; None where the file is rows."""
    rows: list[tuple[int, dict[str, Any]]]
    """Rows with their numbers: JSON lines, a JSON list of objects, or a table. A JSON object is the
    single row of itself, as a file of JSON lines may have one."""
    broken: str = ""
    """What is wrong with the rest of it; empty for nothing."""
    folder: str = ""
    """Name of the folder that the file is in; HELM names its scenario there."""

    @property
    def first(self) -> dict[str, Any]:
        return self.rows[0][1] if self.rows else {}

    def refuse(self, row: int, what: str) -> DataError:
        """The error to raise where a row is not what it must be."""
        return DataError(f"{shown(self.name)}: row {row}: {what}")


def text_of(value: Any) -> str:
    """A cell as text: whole floats without their point, nothing for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def number_of(value: Any) -> float | None:
    """A cell as a finite number; None where it is none."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in ("true", "false"):
            return float(text.lower() == "true")
        try:
            value = float(text)
        except ValueError:
            return None
    if isinstance(value, int | float) and abs(value) < 1e300 and math.isfinite(value):
        return float(value)
    return None


def fraction_of(value: Any) -> float | None:
    """A cell as a number in [0, 1]; None where it is none."""
    number = number_of(value)
    return number if number is not None and 0 <= number <= 1 else None


def dict_of(value: Any) -> dict[str, Any]:
    """An object of a JSON file; an empty one where something else stands."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """A list of a JSON file; an empty one where something else stands."""
    return value if isinstance(value, list) else []


def letter_index(value: Any) -> int | None:
    """`B`, `(B)` or `B.` as 1; None where the cell is no option letter."""
    found = _LETTER.fullmatch(value) if isinstance(value, str) else None
    return LETTERS.index(found[1]) if found else None
