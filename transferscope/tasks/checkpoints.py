"""Checkpoints of one finetune: how a source's name tells of them, and what is said of them.

A source called `Jigsaw @ 500` is a finetune on Jigsaw after 500 steps.

In:   names of sources.
Out:  the records that are part of an `analysis.Analysis`; `trajectory` fills them.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from transferscope.tasks.number import Interval, Number

_CHECKPOINT = re.compile(r"(?P<task>.*\S) @ (?P<step>[0-9]{1,15})", re.S)
STEP = re.compile(
    r"(?<![a-z])(?:checkpoint|ckpt|global[-_]?step|step|iter|iteration)[-_= ]?(?P<step>[0-9]{1,15})"
    r"(?![0-9])",
    re.I,
)
"""How trainers name a checkpoint's folder: `checkpoint-500`, `ckpt_500`, `global_step500`."""


class Checkpoint(NamedTuple):
    """What a source's name says of it."""

    task: str
    """The task, or the mixture, that was finetuned on."""

    step: int | None
    """After how many steps; None where the name says nothing of steps."""

    @property
    def name(self) -> str:
        """The source's name: `Jigsaw @ 500`, or `Jigsaw`."""
        return self.task if self.step is None else f"{self.task} @ {self.step}"


def checkpoint(source: str) -> Checkpoint:
    """Reads a source's name: `Jigsaw @ 500` is a finetune on Jigsaw after 500 steps."""
    found = _CHECKPOINT.fullmatch(source)
    return Checkpoint(found["task"], int(found["step"])) if found else Checkpoint(source, None)


def step_of(path: str) -> int | None:
    """The training step that a path names, as in `run/checkpoint-500/eval`; the last one counts."""
    found = list(STEP.finditer(path))
    return int(found[-1]["step"]) if found else None


@dataclass(frozen=True)
class Course:
    """The effect of one finetune on one target, checkpoint by checkpoint."""

    effects: list[Number]
    """Mean over seeds at each step."""
    ci: list[Interval]
    beyond: list[int]
    """At each step the sign of an effect beyond noise (`noise.beyond_noise`), else 0."""
    change: Number
    """Effect at the last measured step minus that at the first; NaN with fewer than two."""
    change_ci: Interval
    change_beyond: int
    """As `beyond`, of the change."""
    helped_from: int | None
    """First step at which the effect is above 0 beyond noise."""
    harmed_from: int | None
    """First step at which it is below."""


@dataclass(frozen=True)
class Trajectory:
    """One finetune over its checkpoints: sources such as `Jigsaw @ 500`."""

    model: str
    finetune: str
    """The task, or the mixture, finetuned on."""
    steps: list[int]
    sources: list[str]
    """The source that each step is."""
    targets: dict[str, Course]
