"""What is asked: a task and how it is classified.

A `Task` is one perception skill with its place in the paper's Table 2. It holds no questions; it is
what an analysis needs to know about a task to label and group it.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["low", "mid", "high"]
Granularity = Literal["pixel", "crop", "image"]

LEVELS: tuple[Level, ...] = ("low", "mid", "high")
GRANULARITIES: tuple[Granularity, ...] = ("pixel", "crop", "image")


@dataclass(frozen=True)
class Task:
    """One perception skill."""

    name: str
    """Name as the benchmark spells it, e.g. `Relative_Depth`."""

    abbreviation: str
    """Short label for figures, e.g. `RD`."""

    level: Level | None = None
    """Perceptual level (paper, Table 2); None where nobody has classified the task."""

    granularity: Granularity | None = None
    """Granularity (paper, Table 2); None where nobody has classified the task."""

    items: int | None = None
    """Number of questions in the evaluation split; None where unknown."""
