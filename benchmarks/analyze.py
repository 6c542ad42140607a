"""How long `analyze` takes, and how much memory.

    python benchmarks/analyze.py           # three models x four seeds x 13 x 13, item by item
    python benchmarks/analyze.py --large   # 200 tasks x 20 seeds, from counts

Each is a fresh process: importing is part of what a user waits for. Reading the table is not.
"""

import argparse
import resource
import subprocess
import sys
import time


def small() -> None:
    from transferscope.matrix import from_predictions
    from transferscope.stats.simulate import example_study

    predictions, _ = example_study()
    timed(from_predictions(predictions))


def large() -> None:
    import numpy as np
    import polars as pl

    from transferscope.matrix import from_accuracy

    rng, tasks, seeds, items = np.random.default_rng(0), 200, 20, 150
    names = [f"task {k}" for k in range(tasks)]
    base = rng.binomial(items, 0.5, tasks)
    tuned = rng.binomial(items, 0.55, (seeds, tasks, tasks))
    grid = [np.repeat(np.arange(seeds), tasks * tasks), np.tile(np.repeat(names, tasks), seeds)]
    frames = [
        {
            "seed": np.repeat(np.arange(seeds), tasks),
            "source": None,
            "correct": np.tile(base, seeds),
        },
        {"seed": grid[0], "source": grid[1], "correct": tuned.ravel()},
    ]
    rows = []
    for frame in frames:
        count = len(frame["correct"])
        targets = {"target": np.tile(names, count // tasks), "model": "m", "total": float(items)}
        rows.append(pl.DataFrame(frame | targets))
    table = pl.concat(rows, how="vertical_relaxed").with_columns(
        pl.col("seed").cast(pl.String), pl.col("correct").cast(pl.Float64)
    )
    timed(from_accuracy(table))


def timed(matrix: object) -> None:
    start = time.perf_counter()
    import transferscope as ts

    ts.analyze(matrix)  # pyright: ignore[reportArgumentType]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"analyze: {seconds:.2f} s, peak memory of the process {peak:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        (large if given.large else small)()
        return
    for _ in range(1 if given.large else 3):
        more = ["--large"] if given.large else []
        subprocess.run([sys.executable, __file__, "--inside", *more], check=True)


if __name__ == "__main__":
    main()
