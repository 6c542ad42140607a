"""Tables for tests: made of plain arrays, written as text, and refused."""

import itertools

import numpy as np
import polars as pl
import pytest

from transferscope.errors import DataError
from transferscope.readers import read_results

PGF = "seed,ft_task,task,perfection_gap_factor\n"
ACCURACY = "seed,source,target,accuracy\n"
COUNTS = "seed,source,target,correct,total\n"
PREDICTIONS = "model,seed,source,target,item,correct\n"
BASE = ",,T,0.5\n"


def long(values, column, *, model="m", seeds=None, sources=None, targets=None):
    """A long table of an array (seed, source, target)."""
    n_seeds, n_sources, n_targets = np.shape(values)
    seeds = seeds or [f"s{i}" for i in range(n_seeds)]
    sources = sources or [f"task {i}" for i in range(n_sources)]
    targets = targets or [f"task {i}" for i in range(n_targets)]
    cells = list(itertools.product(seeds, sources, targets))
    return pl.DataFrame(
        {
            "model": [model] * len(cells),
            "seed": [cell[0] for cell in cells],
            "source": [cell[1] for cell in cells],
            "target": [cell[2] for cell in cells],
            column: np.asarray(values, float).ravel(),
        },
        schema_overrides={"source": pl.String},
    )


def accuracies(base, tuned, **names):
    """An accuracy table of base (seed, target) and tuned (seed, source, target)."""
    bases = long(np.asarray(base, float)[:, None], "accuracy", **{**names, "sources": [None]})
    return pl.concat([bases, long(tuned, "accuracy", **names)])


def refused(inputs, **options):
    """The message with which an input is refused: one line."""
    with pytest.raises(DataError) as caught:
        read_results(inputs, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


def written(folder, text, name="x.csv"):
    """The path of a file with that text or those bytes."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
