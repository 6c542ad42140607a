"""A study whose true matrix is known: for null models, power, the demo, and tests of recovery.

Each item has a difficulty that all runs share, a part of its own for every adapter, and a part of
its own for every run. A run answers an item correctly when the sum falls below the threshold that
gives the run its true accuracy. Two correlations say how much is shared: between the base and an
adapter (`item_correlation`), and between two seeds of one adapter (`seed_correlation`).

In:   true accuracies and effects, numbers of items, a seed.
Out:  answers as 0 and 1, as arrays or as a predictions table.

Opens no file and measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float, Int, Int8

from transferscope.suites.blink import BLINK

if TYPE_CHECKING:
    import polars as pl

ITEM_CORRELATION = 0.5
"""Between the answers of two models to one item: an assumption. Miller, "Adding Error Bars to
Evals" (2024, arXiv 2411.00640), reports 0.3 to 0.7 between models; this is the middle."""
SEED_CORRELATION = 0.8
"""Between two seeds of one adapter: 0.80 at 3B and 0.75 at 32B in the paper's published counts."""


@dataclass(frozen=True)
class World:
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

    @property
    def tuned_accuracy(self) -> Float[np.ndarray, "source target"]:
        """True accuracy after finetuning."""
        return self.base_accuracy + self.pgf * (1 - self.base_accuracy)


class Answers(NamedTuple):
    """One target's answers: 1 correct, 0 wrong, -1 not asked."""

    base: Int8[np.ndarray, "seed item"]
    tuned: Int8[np.ndarray, "seed source item"]


def latent(correlation: float) -> float:
    """Correlation of two normal scores whose halves agree with the given correlation."""
    return float(np.sin(np.pi / 2 * correlation))


def simulate_answers(world: World, seeds: int, seed: int) -> list[Answers]:
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
        adapters = difficulty + np.sqrt(own) * rng.standard_normal((len(world.pgf), count))
        noise = rng.standard_normal((seeds, *adapters.shape))
        tuned = adapters + np.sqrt(1 - shared - own) * noise
        threshold = scipy.special.ndtri(world.tuned_accuracy[:, j])[:, None]
        right = base < scipy.special.ndtri(world.base_accuracy[j])
        answers.append(
            Answers(
                np.broadcast_to(right, (seeds, count)).astype(np.int8),
                (tuned < threshold).astype(np.int8),
            )
        )
    return answers


def plausible_answers(
    base_correct: Int[np.ndarray, " seed"],
    correct: Int[np.ndarray, "seed source"],
    items: int,
    *,
    item_correlation: float,
    seeds: tuple[list[int], list[int]],
) -> Answers:
    """One item table with exactly the given counts, for one target.

    Counts do not say which items a run got right. Here the runs share a difficulty of each item, so
    that two adapters (or an adapter and the base) agree as two models with `item_correlation` do;
    seeds of one adapter share all of it, since their differences already show in the counts.

    Args:
        seeds: of the items' difficulty, which other models share, and of the runs' own part.
    """
    shared = latent(item_correlation)
    difficulty = np.random.default_rng(seeds[0]).standard_normal(items)
    own = np.random.default_rng(seeds[1]).standard_normal((correct.shape[1] + 1, items))
    runs = np.sqrt(shared) * difficulty + np.sqrt(1 - shared) * own
    easiest_first = runs.argsort(axis=1).argsort(axis=1)
    return Answers(
        (easiest_first[-1] < base_correct[:, None]).astype(np.int8),
        (easiest_first[:-1] < correct[:, :, None]).astype(np.int8),
    )


def no_transfer_accuracies(
    base_accuracy: Float[np.ndarray, " target"],
    items: Int[np.ndarray, " target"],
    shape: tuple[int, int, int],
    correlations: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "draw target"], Float[np.ndarray, "draw seed source target"]]:
    """Base and tuned accuracies where finetuning does nothing: sampling noise and one shared base.

    Counts are drawn from the normal approximation to the simulated study and rounded.

    Args:
        shape: draws, seeds, sources.
        correlations: between two adapters, and between two seeds of one adapter.
    """
    draws, seeds, sources = shape
    between, within = correlations
    within = max(within, between)
    size = (draws, len(items))
    common = np.sqrt(between) * rng.standard_normal(size, dtype=np.float32)
    base = common + np.sqrt(1 - between) * rng.standard_normal(size, dtype=np.float32)
    adapter = rng.standard_normal((draws, 1, sources, len(items)), dtype=np.float32)
    run = rng.standard_normal((draws, seeds, sources, len(items)), dtype=np.float32)
    tuned = common[:, None, None] + np.sqrt(within - between) * adapter + np.sqrt(1 - within) * run
    spread = np.sqrt(base_accuracy * (1 - base_accuracy) * items)

    def accuracy(score: np.ndarray) -> np.ndarray:
        return np.clip(np.round(base_accuracy * items + spread * score), 0, items) / items

    return accuracy(base), accuracy(tuned)


def example_world(scale: float, seed: int) -> World:
    """A made-up model of BLINK's 13 tasks with a structure to find again.

    Low-level tasks give and take most, effects grow with `scale`, Jigsaw harms, Counting is harmed,
    and every finetune helps itself.
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
    return World(
        tasks=tuple(names),
        base_accuracy=np.clip(0.45 + 0.1 * scale + 0.1 * rng.standard_normal(len(tasks)), 0.2, 0.9),
        pgf=np.clip(effects, -0.4, 0.9),
        items=np.array([task.items for task in tasks]),
    )


def example_predictions(seeds: int = 4, seed: int = 0) -> pl.DataFrame:
    """The demo's study: three made-up sizes of one model, as a predictions table."""
    import polars as pl

    frames = []
    for index, (model, scale) in enumerate({"small": 0.5, "medium": 1.0, "large": 1.6}.items()):
        world = example_world(scale, seed)
        for j, answers in enumerate(simulate_answers(world, seeds, seed + 1000 * (index + 1))):
            runs = [(None, answers.base)]
            runs += [(source, answers.tuned[:, i]) for i, source in enumerate(world.tasks)]
            for source, correct in runs:
                frames.append(_prediction_rows(model, source, world.tasks[j], correct))
    return pl.concat(frames)


def _prediction_rows(
    model: str, source: str | None, target: str, correct: Int8[np.ndarray, "seed item"]
) -> pl.DataFrame:
    import polars as pl

    seeds, items = correct.shape
    return pl.DataFrame(
        {
            "seed": [f"seed_{s}" for s in range(seeds) for _ in range(items)],
            "item": [f"{target}/{k}" for k in range(items)] * seeds,
            "correct": correct.ravel() == 1,
        }
    ).select(
        pl.lit(model).alias("model"),
        "seed",
        pl.lit(source, dtype=pl.String).alias("source"),
        pl.lit(target).alias("target"),
        "item",
        "correct",
    )
