"""What a harness's module found in a file."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class HarnessSample(NamedTuple):
    """One item as a harness logged it."""

    target: str
    item: str
    row: int
    """Position in the file, from 1."""
    reply: str | None = None
    """The raw reply; None if the file has only what the harness parsed."""
    choices: tuple[str, ...] = ()
    answer: int | None = None
    """Index of the right option; None if the item has no options."""
    parsed: str | None = None
    """What the harness read in the reply."""
    score: float | None = None
    """The harness's score in [0, 1]."""
    logprobs: tuple[float, ...] | None = None
    """One for each option, where options were compared and nothing was generated."""
    logged_answer: int | None = None
    """The file's answer, where a gold file replaced it in `answer`."""
    prompt: str | None = None
    """The question's text as the model got it, where the file keeps it."""
    group: str | None = None
    """The image, video or scene that the question is about, where the file names it."""


class HarnessScore(NamedTuple):
    """A harness's average on one target."""

    target: str
    accuracy: float
    total: int | None = None


class HarnessLog(NamedTuple):
    """The content of one file."""

    samples: Sequence[HarnessSample] = ()
    scores: Sequence[HarnessScore] = ()
    versions: Mapping[str, str] = MappingProxyType({})
    """Version of the harness's task, by target."""
    metrics: Mapping[str, str] = MappingProxyType({})
    """The harness's metric behind the scores, by target."""
    notes: tuple[str, ...] = ()
    """What a reader of the results must know; the run's name is put before each."""


class Gold(NamedTuple):
    """BLINK's right answers."""

    answers: Mapping[str, int] = MappingProxyType({})
    """By item; empty if no file is given."""
    name: str = ""
    sha256: str = ""


class Options(NamedTuple):
    """What the mapping file requests of a harness's module."""

    gold: Gold = Gold()
    metric: str | None = None
    """The metric to take in tasks that have it."""
