"""A study whose true matrix is known: for null models, power, the demo, and tests of recovery.

Each item has a difficulty that all runs share, a part for every adapter, and a part for every run.
A run answers an item correctly when the sum falls below the threshold that gives the run its true
accuracy. Two correlations set how much is shared: between the base and an adapter
(`item_correlation`), and between two seeds of one adapter (`seed_correlation`).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl
import scipy.special
from jaxtyping import Bool, Float, Int, Int8

from transferscope.stats.effects import SEED_CORRELATION
from transferscope.suites.blink import BLINK

ITEM_CORRELATION = 0.5
"""Between the answers of two models to one item: an assumption. Miller, "Adding Error Bars to
Evals" (2024, arXiv 2411.00640), reports 0.3 to 0.7 between models; this is the middle."""


@dataclass(frozen=True)
class SimulatedModel:
    """What is true of one model in a simulated study."""

    tasks: tuple[str, ...]
    """Sources and targets alike."""
    base_accuracy: Float[np.ndarray, " target"]
    """True accuracy of the untuned model, fractions."""
    pgf: Float[np.ndarray, "source target"]
    """True effects, at ceiling 1."""
    items: Int[np.ndarray, " target"]
    """Questions for each target."""
    item_correlation: float = ITEM_CORRELATION
    seed_correlation: float = SEED_CORRELATION
    controls: dict[str, Float[np.ndarray, " target"]] = field(default_factory=dict)
    """True effects of placebo sources, at ceiling 1."""
    training: Float[np.ndarray, "source target"] | None = None
    """How far a run as a whole moves from its adapter's true accuracy, which is the mean over such
    runs: a standard deviation on the scale of the normal scores. None for not at all."""


class SimulatedAnswers(NamedTuple):
    """One target's answers: 1 correct, 0 wrong, -1 not answered."""

    base: Int8[np.ndarray, "seed item"]
    tuned: Int8[np.ndarray, "seed source item"]
    controls: Int8[np.ndarray, "seed control item"] = np.zeros((0, 0, 0), np.int8)


def latent(correlation: float) -> float:
    """Correlation of two normal scores whose halves agree with the given correlation."""
    return float(np.sin(np.pi / 2 * correlation))


def simulate_answers(world: SimulatedModel, seeds: int, seed: int) -> list[SimulatedAnswers]:
    """Every run's answers to every item, target by target.

    The base is run once and is the same for all seeds: what it got right by luck is shared by the
    whole column, as in a real study.
    """
    shared = latent(world.item_correlation)
    own = latent(world.seed_correlation) - shared
    if own < 0:
        raise ValueError("seed_correlation must be at least item_correlation")
    answers = []
    for j, count in enumerate(world.items):
        rng = np.random.default_rng([seed, j])
        difficulty = np.sqrt(shared) * rng.standard_normal(count)
        base = difficulty + np.sqrt(1 - shared) * rng.standard_normal(count)
        right = base < scipy.special.ndtri(world.base_accuracy[j])
        moved = None if world.training is None else world.training[:, j]
        of_controls = np.array([pgf[j] for pgf in world.controls.values()])
        accuracy, parts = world.base_accuracy[j], (seeds, own, 1 - shared - own)
        tuned = _answered(accuracy, world.pgf[:, j], difficulty, parts, moved, rng)
        controls = _answered(accuracy, of_controls, difficulty, parts, None, rng)
        once = np.broadcast_to(right, (seeds, count)).astype(np.int8)
        answers.append(SimulatedAnswers(once, tuned, controls))
    return answers


def _answered(
    base: float,
    pgf: Float[np.ndarray, " source"],
    difficulty: Float[np.ndarray, " item"],
    parts: tuple[int, float, float],
    moved: Float[np.ndarray, " source"] | None,
    rng: np.random.Generator,
) -> Int8[np.ndarray, "seed source item"]:
    """The answers of adapters with these effects.

    Args:
        parts: number of seeds; variance of an adapter's own part, and of a run's.
        moved: `SimulatedModel.training` of these adapters.
    """
    seeds, own, run = parts
    adapters = difficulty + np.sqrt(own) * rng.standard_normal((len(pgf), len(difficulty)))
    noise = rng.standard_normal((seeds, *adapters.shape))
    scores = adapters + np.sqrt(run) * noise
    threshold = scipy.special.ndtri(base + pgf * (1 - base))
    if moved is not None:
        moves = moved * rng.standard_normal((seeds, len(pgf)))
        threshold = threshold * np.sqrt(1 + moved**2) + moves
    return (scores < threshold[..., None]).astype(np.int8)


def example_world(scale: float, seed: int) -> SimulatedModel:
    """A made-up model of BLINK's 13 tasks with a structure to find again.

    Low-level tasks give and take most, effects grow with `scale`, Jigsaw harms, Counting is harmed,
    and every finetune helps itself. A placebo has most of what targets take from all.
    """
    rng = np.random.default_rng(seed)
    tasks = [task for task in BLINK if task.items]
    low = np.array([task.level == "low" for task in tasks])
    names = [task.name for task in tasks]
    give = np.where(low, 0.10, 0.03) * scale
    take = np.where(low, 0.12, 0.0) * scale
    effects = give[:, None] + take + 0.05 * rng.standard_normal((len(tasks), len(tasks)))
    effects[names.index("Jigsaw")] -= 0.15
    effects[:, names.index("Counting")] -= 0.15
    np.fill_diagonal(effects, 0.45)
    placebo = 0.7 * take
    placebo[names.index("Counting")] -= 0.15
    return SimulatedModel(
        tasks=tuple(names),
        base_accuracy=np.clip(0.45 + 0.1 * scale + 0.1 * rng.standard_normal(len(tasks)), 0.2, 0.9),
        pgf=np.clip(effects, -0.4, 0.9),
        items=np.array([task.items for task in tasks]),
        controls={"format-only": placebo, "reordered": np.zeros(len(tasks))},
    )


COLLAPSED = ("Jigsaw", "Multi-view_Reasoning")
"""Source and target of the example's adapters that answer (A) to everything: in the smallest model,
and in two seeds of the next."""


def example_study(seeds: int = 4, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Predictions and controls of the demo: three made-up sizes of one model."""
    parts = []
    for index, (model, scale) in enumerate({"small": 0.5, "medium": 1.0, "large": 1.6}.items()):
        world = example_world(scale, seed)
        fallen = (seeds, 2, 0)[index]
        parts.append(predictions_of(model, world, seeds, seed + 1000 * (index + 1), fallen))
    predictions, controls = zip(*parts, strict=True)
    return pl.concat(predictions), pl.concat(controls)


def predictions_of(
    model: str, world: SimulatedModel, seeds: int, seed: int, fallen: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The predictions tables of a simulated model and of its controls, with the options chosen.

    Args:
        fallen: seeds whose adapters of `COLLAPSED` answer (A) to everything.
    """
    frames: tuple[list[pl.DataFrame], list[pl.DataFrame]] = ([], [])
    rng = np.random.default_rng([seed, 1])
    for j, answers in enumerate(simulate_answers(world, seeds, seed)):
        target, items = world.tasks[j], answers.base.shape[1]
        # Which of 2 to 4 options is right in each item, the same for all models.
        options = np.random.default_rng(list(target.encode()))
        right = options.integers(2 + len(target) % 3, size=items)
        runs = [(0, None, answers.base)]
        runs += [(0, source, answers.tuned[:, i]) for i, source in enumerate(world.tasks)]
        runs += [(1, name, answers.controls[:, i]) for i, name in enumerate(world.controls)]
        for control, source, correct in runs:
            always = (np.arange(seeds) < fallen) & ((source, target) == COLLAPSED)
            chosen = _choices(correct, right, always, 0.01 if source else 0.04, rng)
            columns = {
                "model": model,
                "seed": [f"seed_{s}" for s in range(seeds) for _ in range(items)],
                "source": pl.repeat(source, seeds * items, dtype=pl.String, eager=True),
                "target": target,
                "item": [f"{target}/{k}" for k in range(items)] * seeds,
                "choice": chosen.ravel(),
                "answer": np.tile(right, seeds),
            }
            rows = pl.DataFrame(columns).with_columns(
                pl.when(pl.col("choice") >= 0).then("choice"),
                correct=pl.col("choice") == pl.col("answer"),
                unreadable=pl.col("choice") < 0,
            )
            frames[control].append(rows)
    return pl.concat(frames[0]), pl.concat(frames[1]) if frames[1] else frames[0][0].clear()


def _choices(
    correct: Int8[np.ndarray, "seed item"],
    right: Int[np.ndarray, " item"],
    always: Bool[np.ndarray, " seed"],
    unreadable: float,
    rng: np.random.Generator,
) -> Int[np.ndarray, "seed item"]:
    """The options chosen: the right one where correct, else another; -1 where unreadable.

    Args:
        always: seeds that answer (A) to everything instead.
        unreadable: share of the wrong replies that name no option.
    """
    others = right.max() + 1 if right.max() else 2
    wrong = (right + 1 + rng.integers(others - 1, size=correct.shape)) % others
    wrong = np.where(rng.random(correct.shape) < unreadable, -1, wrong)
    return np.where(always[:, None], 0, np.where(correct == 1, right, wrong))
