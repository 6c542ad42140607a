"""Tables for tests: made of plain arrays, written as text, and refused."""

import itertools

import numpy as np
import polars as pl
import pytest

from transferscope.errors import DataError
from transferscope.readers import read_inputs, read_results

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


class Read:
    """One input as the readers leave it; making a matrix of it takes most of the time."""

    def __init__(self, path):
        (self.one,) = read_inputs([path])
        self.rows, self.notes, self.checks = self.one.rows, self.one.notes, self.one.checks

    def names(self, column):
        """The values of a column, each once."""
        return self.rows[column].drop_nulls().unique(maintain_order=True).to_list()

    def cell(self, source, target=None):
        """The rows of a source, None for the base, on a target; None for all."""
        rows = self.rows.filter(pl.col("source").eq_missing(source))
        return rows if target is None else rows.filter(target=target)

    def accuracy(self, source, target=None):
        """The one accuracy of a source's rows, or the mean of the marks of its items."""
        rows = self.cell(source, target)
        if "accuracy" in rows.columns:
            return rows["accuracy"].item()
        right = rows["correct"].cast(pl.Float64)
        return (rows["score"].fill_null(right) if "score" in rows.columns else right).mean()


def written(folder, text, name="x.csv"):
    """The path of a file with that text or those bytes."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
