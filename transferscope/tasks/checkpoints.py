"""Names of checkpoints: a source called `Jigsaw @ 500` is a finetune on Jigsaw after 500 steps.

One called `Jigsaw x 0.5` is the finished adapter at half of its strength.
"""

import re
from typing import NamedTuple

STEP = re.compile(
    r"(?<![a-z])(?:checkpoint|ckpt|global[-_]?step|step|iter|iteration)[-_= ]?(?P<step>[0-9]{1,15})"
    r"(?![0-9])",
    re.I,
)
"""How trainers name a checkpoint's folder: `checkpoint-500`, `ckpt_500`, `global_step500`."""
SEED = re.compile(r"(?<![a-z])seed[-_= ]?(?P<seed>[0-9]+)", re.I)
"""How people name a run's seed: `seed3`, `seed_3`, `seed=3`."""


class Checkpoint(NamedTuple):
    """A source's name, read."""

    task: str
    """The task, or the mixture, that was finetuned on."""
    step: int | None
    """After how many steps; None where the name has no step."""

    @property
    def name(self) -> str:
        """The source's name: `Jigsaw @ 500`, or `Jigsaw`."""
        return self.task if self.step is None else f"{self.task} @ {self.step}"


def checkpoint(source: str) -> Checkpoint:
    """Reads a source's name."""
    found = re.fullmatch(r"(.*\S) @ ([0-9]{1,15})", source, re.S)
    return Checkpoint(found[1], int(found[2])) if found else Checkpoint(source, None)


class Strength(NamedTuple):
    """The name of an adapter whose alpha is scaled, read."""

    task: str
    factor: float

    @property
    def name(self) -> str:
        """The source's name: `Jigsaw x 0.5`."""
        return f"{self.task} x {self.factor:g}"


def strength(source: str) -> Strength | None:
    """Reads the name of an adapter at another strength; None for any other source."""
    found = re.fullmatch(r"(.*\S) x ([0-9]{1,3}(?:\.[0-9]{1,4})?)", source, re.S | re.A)
    return Strength(found[1], float(found[2])) if found else None


def task_of(source: str) -> str:
    """The task, or the mixture, that a source, a checkpoint or a scaled adapter was trained on."""
    scaled = strength(source)
    return scaled.task if scaled else checkpoint(source).task


def same_task(source: str, target: str) -> bool:
    """Whether an effect is self-transfer; a checkpoint's task is the one it finetunes on."""
    return task_of(source) == target


def step_of(path: str) -> int | None:
    """The training step that a path names, as in `run/checkpoint-500/eval`; the last one counts."""
    found = STEP.findall(path)
    return int(found[-1]) if found else None
