"""How often intervals hold what they promise: simulated studies whose true effects are known.

    python benchmarks/coverage_of_intervals.py [--studies 60] [--only "few change"]

Prints what docs/uncertainty.md has and, last, the table of P(helps) in docs/selection.md. Each row
simulates whole studies (`stats.simulate`) and asks: how many 95 % intervals of cells hold
the truth, how wide they are beside those that each cell's own seeds would give, how many effects
look beyond noise, in how many studies something holds after correction, and how many intervals of
averages (all tasks' transferability and malleability, positive and negative) hold their mean over
such studies, and how wide those are beside what the average's own seeds would give.

`training` moves a run as a whole by so many standard deviations of the items' scores (0.1 is some 4
points of accuracy), differently for each cell: inverse chi-square with `alike` degrees of freedom.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

import transferscope as ts
from transferscope import stats
from transferscope.analysis.settings import Settings
from transferscope.matrix import from_predictions
from transferscope.selection.evidence import matrix_prior, normal_with_test
from transferscope.stats import significance, simulate
from transferscope.stats.seeds import averages

DRAWS = 4000
ALPHA = 0.05
BOUNDS = {"positive": (0.0, np.inf), "negative": (-np.inf, 0.0)}


class Row(NamedTuple):
    """A kind of study."""

    base: float = 0.5
    seeds: int = 2
    effects: float = 0.0
    """Standard deviation of true effects, PGF."""
    correlation: float = 0.5
    """Of the base's and an adapter's answers."""
    training: float = 0.0
    alike: float = 6
    tasks: int = 13
    items: int = 120


class Found(NamedTuple):
    """What one study says."""

    cells: float
    """Share of off-diagonal intervals that hold the truth."""
    own_seeds: float
    """The same of intervals told by each cell's own seeds."""
    width: float
    """Median ratio of the former's widths to the latter's."""
    largest: float
    """Whether the interval of the largest effect holds its truth."""
    beyond: float
    """Share of effects beyond noise."""
    holds: float
    """Whether one of them holds after correction."""
    averages_width: float
    """Median ratio of the widths of averages' intervals."""
    averages: np.ndarray
    """(average,), of every task."""
    ends: np.ndarray
    """Their intervals, (average, end)."""


TABLES = {
    "seeds": [
        Row(seeds=seeds, effects=effects) for seeds in (1, 2, 3, 4) for effects in (0.0, 0.1)
    ],
    "runs move": [
        Row(seeds=seeds, effects=0.1, training=training, alike=alike)
        for seeds in (2, 4)
        for training, alike in ((0.1, 6), (0.3, 6), (0.3, 3))
    ]
    + [Row(seeds=seeds, training=0.3, alike=3) for seeds in (2, 4)],
    "few change": [
        Row(base, seeds, effects, correlation, tasks=7, items=100)
        for correlation in (0.9, 0.5)
        for base in (0.9, 0.8)
        for seeds, effects in ((1, 0.0), (1, 0.1), (4, 0.0))
    ],
    "few sources": [
        Row(seeds=seeds, effects=0.1, training=0.3, tasks=tasks)
        for seeds in (2, 4)
        for tasks in (3, 5)
    ],
    "largest": [Row(seeds=4, effects=effects) for effects in (0.0, 0.1, 0.2)],
}


def a_world(row: Row) -> simulate.SimulatedModel:
    rng = np.random.default_rng(5)
    shape = (row.tasks, row.tasks)
    effects = row.effects * rng.standard_normal(shape)
    training = row.training * np.sqrt(row.alike / rng.chisquare(row.alike, shape))
    return simulate.SimulatedModel(
        tasks=tuple(f"task {k}" for k in range(row.tasks)),
        base_accuracy=np.full(row.tasks, row.base),
        pgf=np.clip(effects, 0.02 - row.base / (1 - row.base), 0.95),
        items=np.full(row.tasks, row.items),
        item_correlation=row.correlation,
        seed_correlation=max(simulate.SEED_CORRELATION, (1 + row.correlation) / 2),
        training=training if row.training else None,
    )


def a_study(row: Row, world: simulate.SimulatedModel, seed: int) -> Found:
    answers = simulate.simulate_answers(world, row.seeds, seed)
    tables = tuple(stats.ItemTable(a.base.astype(float), a.tuned.astype(float)) for a in answers)
    base = np.stack([t.base.mean(-1) for t in tables], axis=-1)
    tuned = np.stack([t.tuned.mean(-1) for t in tables], axis=-1)
    gap = np.where(base < 1, 1 - base, np.nan)[:, None]
    effects = (tuned - base[:, None]) / gap
    itself = np.eye(row.tasks, dtype=bool)
    data = stats.ModelData(effects, itself, tables, world.tasks, np.ones(row.tasks))
    draws = stats.bootstrap(data, draws=DRAWS, seed=seed, model="m")

    mean = effects.mean(axis=0)
    off = ~itself & np.isfinite(mean)
    ends = stats.intervals(draws.alone, mean, ALPHA, high=1.0)
    own = stats.intervals(draws.cells, mean, ALPHA, high=1.0)
    by_items = np.stack([significance.changes(table).together for table in tables], axis=-1)
    beyond = ((ends[..., 0] > 0) | (ends[..., 1] < 0)) & (by_items <= ALPHA)
    p_values = np.maximum(stats.sign_p_values(draws.alone, mean), by_items)
    holds = beyond[off] & (stats.benjamini_hochberg(p_values[off]) <= ALPHA)
    held = _inside(world.pgf, ends)
    means, ends_of_means, widths = [], [], []
    for key, values in averages(effects, itself).items():
        if key[2]:
            continue
        low, high = BOUNDS[key[1]]
        means.append(np.where(np.isfinite(values).any(axis=0), values.mean(axis=0), np.nan))
        told, alone = (
            stats.intervals(tasks[key], means[-1], ALPHA, low=low, high=high)
            for tasks in (draws.tasks_alone, draws.tasks)
        )
        ends_of_means.append(told)
        wide = np.diff(alone) > 0  # not where every study of this size has none
        widths.append(np.diff(told)[wide] / np.diff(alone)[wide])
    return Found(
        cells=held[off].mean(),
        own_seeds=_inside(world.pgf, own)[off].mean(),
        width=np.median((np.diff(ends) / np.diff(own))[off]),
        largest=held[off][np.argmax(np.abs(mean[off]))],
        beyond=beyond[off].mean(),
        holds=holds.any(),
        averages_width=np.median(np.concatenate(widths)),
        averages=np.concatenate(means),
        ends=np.concatenate(ends_of_means),
    )


def _inside(truth: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return (ends[..., 0] <= truth) & (truth <= ends[..., 1])


def table(rows: list[Row], studies: int) -> None:
    columns = ("cells", "own seeds alone", "width", "largest", "beyond noise", "holds")
    columns = (*columns, "averages' width", "averages")
    print("| base | seeds | effects | correlating | runs move | " + " | ".join(columns) + " |")
    print("|---" * (5 + len(columns)) + "|")
    for row in rows:
        world = a_world(row)
        found = [a_study(row, world, seed) for seed in range(studies)]
        whole = np.nanmean([one.averages for one in found], axis=0)
        inside = [_inside(whole, one.ends)[np.isfinite(one.averages)] for one in found]
        moves = f"{row.training:g}, {row.alike:g}" if row.training else "no"
        size = "" if row.tasks == 13 else f", {row.tasks} tasks"
        values = [np.mean([getattr(one, name) for one in found]) for name in Found._fields[:7]]
        said = [f"{100 * value:.1f} %" for value in (*values, np.concatenate(inside).mean())]
        for ratio in (2, 6):
            said[ratio] = f"{values[ratio]:.2f}"
        kind = f"{row.base:g} | {row.seeds} | {row.effects:g} | {row.correlation:g} | {moves}{size}"
        print(f"| {kind} | " + " | ".join(said) + " |", flush=True)


Truth = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
TRUTHS: dict[str, Truth] = {
    "none": lambda _, shape: np.zeros(shape),
    "± 0.05": lambda rng, shape: 0.05 * rng.standard_normal(shape),
    "± 0.1": lambda rng, shape: 0.1 * rng.standard_normal(shape),
    "a tenth ± 0.3, else ± 0.01": lambda rng, shape: (
        np.where(rng.random(shape) < 0.1, 0.3, 0.01) * rng.standard_normal(shape)
    ),
    "heavy tails (Student's t, 3 degrees)": lambda rng, shape: 0.08 * rng.standard_t(3, shape),
    "0.1 ± 0.1": lambda rng, shape: 0.1 + 0.1 * rng.standard_normal(shape),
    "−0.1 ± 0.1": lambda rng, shape: -0.1 + 0.1 * rng.standard_normal(shape),
    "by target, ± 0.15, and by pair, ± 0.05": lambda rng, shape: (
        0.15 * rng.standard_normal(shape[1]) + 0.05 * rng.standard_normal(shape)
    ),
}


def helps(studies: int) -> None:
    """Of pairs that are said to help with a probability of 0.9, how many do."""
    print("| true effects | seeds | plain: pairs, truly | as it is: pairs, truly |")
    print("|---|---|---|---|")
    for name, truth in TRUTHS.items():
        for seeds in (1, 2, 4):
            pairs = [_believed(truth, seeds, seed) for seed in range(studies)]
            true, plain, with_prior = (np.concatenate(part) for part in zip(*pairs, strict=True))
            said = [_passing(true, believed) for believed in (plain, with_prior)]
            print(f"| {name} | {seeds} | {said[0]} | {said[1]} |", flush=True)


def _believed(truth: Truth, seeds: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each pair of a study: the true effect, and P(helps) without and with a prior."""
    world = a_world(Row(seeds=seeds))
    effects = np.clip(truth(np.random.default_rng([seed, 7]), world.pgf.shape), -0.9, 0.95)
    world = replace(world, pgf=effects)
    frame, _ = simulate.predictions_of("m", world, seeds, seed)
    settings = Settings(bootstrap=DRAWS, null_draws=100)
    model = ts.analyze(from_predictions(frame), settings).models["m"]
    likely = matrix_prior(model.pgf, ALPHA)
    assert likely is not None
    found = []
    for i, source in enumerate(world.tasks):
        for j, target in enumerate(world.tasks):
            if i != j:
                its = normal_with_test(model.pgf[source][target], ALPHA)
                found.append((effects[i, j], its.above(0), likely.above(its)))
    true, plain, with_prior = np.array(found).T
    return true, plain, with_prior


def _passing(true: np.ndarray, believed: np.ndarray) -> str:
    passing = believed >= 0.9
    if not passing.any():
        return "none"
    return f"{100 * passing.mean():.1f} %, {100 * (true[passing] > 0).mean():.0f} %"


def main(arguments: list[str] | None = None) -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=60, help="simulated studies for each row")
    parser.add_argument("--only", choices=[*TABLES, "helps"], help="one of the tables")
    asked = parser.parse_args(arguments)
    for name, rows in TABLES.items():
        if asked.only in (None, name):
            print(f"\n{name}\n")
            table(rows, asked.studies)
    if asked.only in (None, "helps"):
        print("\nhelps\n")
        helps(asked.studies)


if __name__ == "__main__":
    main()
