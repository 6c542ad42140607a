"""What execution passes to the engine and gets back. Needs no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from transferscope.tasks import Item
from transferscope.tasks.open_answers import Label

Precision = Literal["float32", "bfloat16"]
Quantization = Literal["nf4"]
Scoring = Literal["letters", "generate"]
Progress = Callable[[int, int], None]
"""Receives how much is done, and of how much."""


class TrainingJob(NamedTuple):
    """One adapter to train."""

    source: str
    seed: int
    items: Sequence[Item]
    """In the order of the first epoch."""
    init_seed: int
    order_seed: int
    dropout_seed: int
    answers: Sequence[Label] | None = None
    """A placebo's labels; None for the items' own answers."""

    @property
    def labels(self) -> Sequence[Label]:
        """The answer to train on for each item."""
        return [item.label for item in self.items] if self.answers is None else self.answers


class Prediction(NamedTuple):
    """One adapter's answer to one item."""

    choice: int | None
    """Index of the chosen option, the first of equals; None: the reply was unreadable, or a
    log-probability is NaN."""
    logprobs: tuple[float, ...]
    """Log-probability of each option's letter, in the item's order."""
    margin: float
    """Log-probability of the best option minus that of the second best; 0 is a tie."""
    score: float | None = None
    """Score of a reply to an open question in [0, 1]; None: it could not be read."""
    reply: str = ""
    """What was generated, up to the place where the answer was settled, without thinking."""


@dataclass(frozen=True)
class CacheLimits:
    """How much memory and disk vision features may take."""

    memory: int = 2 << 30
    """Bytes in memory."""
    folder: Path | None = None
    """Where features that do not fit in memory are kept; None: nowhere."""
    disk: int = 20 << 30
    """Bytes of files in the folder."""
