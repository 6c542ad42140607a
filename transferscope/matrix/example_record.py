"""What there is to look at: items that finetuning fixed or broke, with their pictures.

Not part of the analysis, which holds numbers alone: `exhibits.json` lies beside `analysis.json` and
may be left out or deleted. `curate` fills it. Counts are those of all items that flipped; shown are
a few of each cell, those that flipped in most seeds first.

In:   an `Exhibits`, or bytes from anywhere: they are checked, and nothing in them may be large.
Out:  the other.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from transferscope.errors import DataError
from transferscope.tasks import LETTERS

MOST_BYTES = 4_000_000
"""Bytes of `exhibits.json`, so that a page that holds all of it stays below 5 MB."""
LONGEST = 2000
"""Characters of a question; more are cut off."""
LONGEST_NAME = 500
"""Characters of a name or a choice."""
PICTURES = 4
"""Pictures of an item: of a video its first frame, of other items the first few."""

_Name = Annotated[str, Field(max_length=LONGEST_NAME)]
_Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]
_Option = Annotated[int, Field(strict=True, ge=0, lt=len(LETTERS))]
_WebP = Annotated[
    str, Field(pattern=r"^UklGR[A-Za-z0-9+/]{6}XRUJQ[A-Za-z0-9+/]+={0,2}$", max_length=2**17)
]


@dataclass(frozen=True)
class Shown:
    """An item as it was asked; its text and pictures are empty where they could not be had."""

    target: _Name
    item: _Name
    question: Annotated[str, Field(max_length=LONGEST)] = ""
    """Without the choices."""
    choices: Annotated[list[_Name], Field(max_length=len(LETTERS))] = field(default_factory=list)
    """In the item's own order, without letters."""
    answer: _Option | None = None
    """Index of the right choice; None where unknown, or where the answer is a number."""
    truth: float | None = None
    """The right number, where the answer is one."""
    images: _Count = 0
    """How many pictures the model saw; of a video, its frames. 0 where they could not be had."""
    pictures: Annotated[list[_WebP], Field(max_length=PICTURES)] = field(default_factory=list)
    """Small copies of the first ones, WebP in base64."""


@dataclass(frozen=True)
class Flip:
    """An item that changed in more than half of a cell's seeds."""

    item: _Count
    """Its place in `Exhibits.items`."""
    seeds: list[_Name]
    """The seeds in which it changed."""
    base: dict[_Name, _Option | None]
    """{seed: index of the base's choice}, of all seeds compared; None where its reply was
    unreadable. Empty where choices are not known, as where the answer is a number."""
    tuned: dict[_Name, _Option | None]
    """The same of the adapters."""
    others: _Count
    """Other sources of the model that change it in the same way in more than half of their
    seeds: where these are many, it says little about this one."""
    controls: list[_Name]
    """Controls that do so too: their flips are no transfer."""


@dataclass(frozen=True)
class Flipped:
    """What one source changed in one target."""

    seeds: _Count
    """Seeds compared."""
    fixed: list[_Count]
    """Items that the base had wrong and the adapter right, in exactly 1, 2, ... seeds."""
    broken: list[_Count]
    """Items that the base had right and the adapter wrong, in exactly 1, 2, ... seeds."""
    most_fixed: list[Flip]
    """The first few of those fixed in more than half of the seeds, most seeds first."""
    most_broken: list[Flip]


@dataclass(frozen=True)
class Exhibits:
    """The items to look at."""

    items: list[Shown]
    models: dict[_Name, dict[_Name, dict[_Name, Flipped]]]
    """{model: {source: {target: what changed}}}"""
    notes: Annotated[list[Annotated[str, Field(max_length=LONGEST)]], Field(max_length=100)]
    """What is not shown, and why."""
    schema: Literal[1] = 1


def to_json(exhibits: Exhibits) -> bytes:
    """The exhibits as the bytes of `exhibits.json`: ASCII, keys in reading order."""
    return json.dumps(asdict(exhibits), separators=(",", ":")).encode() + b"\n"


def from_json(data: bytes, name: str = "the exhibits") -> Exhibits:
    """The exhibits that `to_json` wrote.

    Raises:
        DataError: the bytes are too many or no exhibits of schema 1; the message names the field.
    """
    if len(data) > MOST_BYTES:
        raise DataError(f"{name}: has {len(data):,} bytes, at most {MOST_BYTES:,} are allowed")
    try:
        found = TypeAdapter(Exhibits).validate_json(data)
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"]) or "the file"
        raise DataError(f"{name}: {where}: {first['msg']}; expected exhibits, schema 1") from None
    for where, flip in _flips(found):
        if flip.item >= len(found.items):
            raise DataError(f"{name}: {where} is of item {flip.item} of {len(found.items)}")
    return found


def _flips(exhibits: Exhibits) -> Iterator[tuple[str, Flip]]:
    return (
        (f"a flip of {source!r} and {target!r}", flip)
        for sources in exhibits.models.values()
        for source, targets in sources.items()
        for target, cell in targets.items()
        for flip in (*cell.most_fixed, *cell.most_broken)
    )
