"""What a study costs on one of its models, as records: on which device, how fast, how much.

Made by `study_cost`; nothing is computed here.
"""

from dataclasses import dataclass
from typing import NamedTuple

from transferscope.study.plan import Run
from transferscope.study.sampling import Key


class Device(NamedTuple):
    """Where a study will run."""

    name: str
    gpu: bool
    memory: int | None
    """Bytes that are free; None where nobody says."""


class Speeds(NamedTuple):
    """What a calibration measured."""

    train_items_per_second: float
    train_flops_per_second: float
    score_items_per_second: float
    score_flops_per_second: float
    vision_flops_per_second: float | None
    """None where pictures are looked at within the forward."""
    lengths: dict[Key, list[int]]
    """Tokens of the sampled items; empty where they are not known."""
    load_seconds: float
    """To load the base."""


class Memory(NamedTuple):
    """What a model's part of a study holds at its peak, and what is done to make it fit."""

    weights_bytes: int
    features_bytes: int
    """Kept vision features, within their budget."""
    features_wanted_bytes: int
    """What keeping all of them would take."""
    adapters_bytes: int
    training_bytes: int
    """Activations of a training forward."""
    scoring_bytes: int
    """Activations of a scoring forward."""
    host_bytes: int
    """The process itself, and the pictures of embedded suites, in the computer's own memory."""
    peak_memory_bytes: int
    """On the device; on a CPU the process and its pictures too."""
    adapters_at_once: int
    batch_parts: int
    checkpointing: bool
    fits: bool | None
    """Whether it fits with all that can be done; None where the device's memory is not known."""


@dataclass(frozen=True)
class ModelCost:
    """One model's part of a study. Counts, FLOPs, bytes and seconds."""

    parameters: int
    train_items: int
    train_tokens: int
    train_flops: int
    score_items: int
    score_tokens: int
    score_flops: int
    pictures: int
    """Distinct ones."""
    pictures_looked_at: int
    """More than the distinct ones where their features do not stay in memory."""
    vision_flops: int
    flops: int
    memory: Memory
    drawing_seconds: float
    vision_seconds: float | None = None
    train_seconds: float | None = None
    score_seconds: float | None = None
    seconds: float | None = None
    seconds_left: float | None = None
    """Without what the results folder has already."""


class Prices(NamedTuple):
    """One model's part of a study, run by run. FLOPs, where nothing else is said."""

    training: dict[Run, float]
    """Of the runs that are trained."""
    scoring: dict[Run, float]
    drawing: dict[Run, float]
    """Seconds to draw or read a run's training items."""
    looks: dict[Run, dict[str, float]]
    """{run: {task: part of the task's training pictures that it looks at}}; above 1 where it looks
    at them in every epoch."""
    pools: dict[str, float]
    """{task: looking at all of its training pictures once}"""
    questions: float
    """Looking at the pictures of all questions once."""
    question_drawing: float
    """Seconds to draw or read the questions."""
    keeps: bool
    """Whether features stay, so that a picture is looked at once by each worker."""
    weights_bytes: int
