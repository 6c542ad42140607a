"""How long the bootstrap of every derived quantity takes, beside the script one would write.

    python benchmarks/bootstrap.py            # a minute
    python benchmarks/bootstrap.py --large    # and 200 tasks x 20 seeds: some minutes

The script is numpy too, whole matrices at a time, one draw after the other: resample items and
seeds, recompute PGF, transferability and malleability. It makes the cells, transferability and
malleability; ours also makes the parts for categories, and both with and without self-transfer.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time

import numpy as np

from transferscope import stats
from transferscope.stats import simulate


def study(tasks: int, seeds: int, items: int, seed: int) -> stats.ModelData:
    """One simulated model with item-level answers."""
    rng = np.random.default_rng(seed)
    world = simulate.SimulatedModel(
        tasks=tuple(f"task {i}" for i in range(tasks)),
        base_accuracy=rng.uniform(0.3, 0.8, tasks),
        pgf=0.1 * rng.standard_normal((tasks, tasks)),
        items=np.full(tasks, items),
    )
    answers = simulate.simulate_answers(world, seeds, seed)
    tables = tuple(
        stats.ItemTable(a.base.astype(np.float32), a.tuned.astype(np.float32)) for a in answers
    )
    base = np.stack([a.base.mean(-1) for a in answers], axis=-1)[:, None]
    tuned = np.stack([a.tuned.mean(-1) for a in answers], axis=-1)
    effects = (tuned - base) / (1 - base)
    itself = np.eye(tasks, dtype=bool)
    return stats.ModelData(effects, itself, tables, world.tasks, np.ones(tasks))


def script(data: stats.ModelData, draws: int, seed: int) -> np.ndarray:
    """What a careful user writes: one draw after the other, each in whole matrices."""
    rng = np.random.default_rng(seed)
    seeds, sources, targets = data.effects.shape
    means = np.empty((draws, sources, targets))
    for draw in range(draws):
        chosen = rng.integers(0, seeds, seeds)
        effects = np.empty((seeds, sources, targets))
        for j, table in enumerate(data.items):
            items = rng.integers(0, table.base.shape[1], table.base.shape[1])
            base = table.base[chosen][:, items].mean(-1)[:, None]
            tuned = table.tuned[chosen][:, :, items].mean(-1)
            with np.errstate(divide="ignore", invalid="ignore"):
                effects[:, :, j] = (tuned - base) / (1 - base)
        means[draw] = effects.mean(0)
        apart = np.where(data.itself, np.nan, effects)
        for axis in (1, 2):
            for sign in (1, -1):
                part = np.where(sign * apart > 0, apart, 0)
                count = (part != 0).sum(axis)
                total = part.sum(axis) / np.maximum(count, 1) * -np.expm1(-count / (targets - 1))
                total.mean(0)
    return means


def timed(work: object, *args: object, **options: object) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work(*args, **options)  # type: ignore[operator]
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="also 200 tasks x 20 seeds")
    large = parser.parse_args().large
    models = [study(13, 4, 130, seed) for seed in range(3)]
    times = []
    for _ in range(3):
        ours = sum(timed(stats.bootstrap, m, draws=10_000, seed=0, model="m") for m in models)
        theirs = 50 * sum(timed(script, m, 200, 0) for m in models)  # 200 of 10,000 draws
        times.append((ours, theirs))
    ours, theirs = np.median(times, axis=0)
    print(f"3 models x 4 seeds x 13 x 13, 130 items, 10,000 draws: {ours:.2f} s")
    print(f"the script, from 200 draws: {theirs:.1f} s; ratio {theirs / ours:.0f}")
    if large:
        data = study(200, 20, 150, 0)
        for draws in (1_000, 10_000):
            spent = timed(stats.bootstrap, data, draws=draws, seed=0, model="m")
            print(f"1 model x 20 seeds x 200 x 200, 150 items, {draws:,} draws: {spent:.0f} s")


if __name__ == "__main__":
    main()
