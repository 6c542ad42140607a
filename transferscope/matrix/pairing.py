"""Compare each run with its base on the items that both answered.

A run of the first 50 of 150 items, compared with the base on all 150, differs from it although no
answer changed. So an effect, its interval and its tests use the shared items alone. A run that
shares fewer than half of a target's items is shown, but has no part in averages: its few items
may be the easy ones.

In:   a predictions table with `mark` and `scored`; the matrix.
Out:  counts of each run; which cells have no part in averages; notes.

Opens no file, draws nothing at random.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import xarray as xr
from jaxtyping import Bool, Float

from transferscope.predictions import CELL, shown

LISTED = 5
"""Targets or cells that a note names."""
_ITEM = ["model", "seed", "target", "item"]


def counts(rows: pl.DataFrame) -> pl.DataFrame:
    """Accuracies and counts of every run, those of sources on the items that the base answered too.

    Args:
        rows: a checked predictions table with `mark` and `scored`, every base row with a seed.

    Returns:
        For each cell `accuracy`, `correct` and `total`; `run_total`, all items that the run
        answered; `paired_base_accuracy` and `paired_base_correct`, the base on the same items.
        `correct` is null where answers have scores. A run without a base keeps all its items.
    """
    base = rows.filter(pl.col("source").is_null())
    marks = base.select(*_ITEM, base_mark="mark")
    bases = base.select(_ITEM[:3]).unique().with_columns(has_base=pl.lit(True))
    tuned = (
        rows.drop_nulls("source")
        .join(marks, on=_ITEM, how="left", maintain_order="left")
        .join(bases, on=_ITEM[:3], how="left", maintain_order="left")
        .with_columns(shared=pl.col("base_mark").is_not_null() | pl.col("has_base").is_null())
    )
    whole = ~pl.col("scored").any()
    mark, before = (pl.col(name).filter(pl.col("shared")) for name in ("mark", "base_mark"))
    return pl.concat(
        [
            base.group_by(CELL, maintain_order=True).agg(
                pl.col("mark").mean().alias("accuracy"),
                pl.when(whole).then(pl.col("mark").sum()).alias("correct"),
                pl.len().cast(pl.Float64).alias("total"),
            ),
            tuned.group_by(CELL, maintain_order=True).agg(
                mark.mean().alias("accuracy"),
                pl.when(whole & pl.col("shared").any()).then(mark.sum()).alias("correct"),
                pl.col("shared").sum().cast(pl.Float64).alias("total"),
                pl.len().cast(pl.Float64).alias("run_total"),
                before.mean().alias("paired_base_accuracy"),
                pl.when(whole & (before.count() > 0))
                .then(before.sum())
                .alias("paired_base_correct"),
            ),
        ],
        how="diagonal",
    )


def most_items(matrix: xr.Dataset) -> xr.DataArray:
    """Items of each target's largest run, base included, (model, target); NaN where unknown."""
    tuned, base = matrix["run_total"].max(["seed", "source"]), matrix["base_total"].max("seed")
    return xr.apply_ufunc(np.fmax, tuned, base)


def cell_items(matrix: xr.Dataset, total: str = "total") -> xr.DataArray:
    """Items that each effect is of; where only counts are known, the fewer of base and run.

    NaN where the run's number is unknown, as where it was not measured.
    """
    fewer = xr.apply_ufunc(np.fmin, matrix[total], matrix["base_total"])
    return fewer.where(matrix[total].notnull())


def left_out(matrix: xr.Dataset, total: str = "total") -> xr.DataArray:
    """Which cells have no part in averages: fewer than half of the items of the largest run.

    Unknown numbers leave nothing out.

    Args:
        total: the variable with the cells' items; `control_total` for those of controls.
    """
    items = cell_items(matrix, total)
    return (2 * items < most_items(matrix)).transpose(*matrix[total].dims)


def notes(matrix: xr.Dataset, cells: Float[np.ndarray, " model"], *, paired: bool) -> Iterator[str]:
    """What a reader must know of runs that did not answer all items.

    Args:
        cells: how many cells each model spans.
        paired: whether items are known, so that effects are on shared items.
    """
    order = ("model", "target", "source", "seed")
    total, run = (matrix[name].transpose(*order).values for name in ("total", "run_total"))
    base = matrix["base_total"].transpose("model", "target", "seed").values[:, :, None]
    out = left_out(matrix).transpose(*order).values
    most = most_items(matrix).values
    names = [matrix[d].values.tolist() for d in ("source", "target")]
    fewer = (run != base) | (total != run)
    fewer &= np.isfinite(run) & np.isfinite(base)
    for m, model in enumerate(map(shown, matrix["model"].values.tolist())):
        size, of = int(cells[m]), lambda where, m=m: int(where[m].sum())
        none = total == 0
        if some := of(fewer & ~none):
            head = f"{model}: in {some} of {size} cells, base and run "
            if paired:
                told = _items(total[m], (fewer & ~none)[m], most[m], names[1])
                yield (
                    f"{head}did not answer the same items; effects are computed on the items that "
                    f"both answered: {told}"
                )
            else:
                told = _items(np.fmin(run, base)[m], fewer[m], most[m], names[1])
                yield (
                    f"{head}have different numbers of items, so they may not have answered the "
                    f"same items, and part of the effect may come from that: {told}"
                )
        if none[m].any():
            where = ", ".join(_cells(none[m], np.isfinite(run[m]), names))
            yield (
                f"{model}: in {of(none)} of {size} cells, base and run share no item, so there is "
                f"no effect: {where}"
            )
        if some := of(out & ~none):
            where = ", ".join(_cells((out & ~none)[m], np.isfinite(run[m]), names))
            yield (
                f"{model}: in {some} of {size} cells, base and run share fewer than half of the "
                f"target's items; these cells have no part in averages: {where}"
            )


def _items(
    items: Float[np.ndarray, "target source seed"],
    where: Bool[np.ndarray, "target source seed"],
    most: Float[np.ndarray, " target"],
    targets: list[str],
) -> str:
    """The targets concerned, each with its items: `Jigsaw (93 of 150)`."""
    told = []
    for j in np.flatnonzero(where.any(axis=(1, 2))):
        least, largest = items[j][where[j]].min(), items[j][where[j]].max()
        number = f"{least:.0f}" if least == largest else f"{least:.0f} to {largest:.0f}"
        told.append(f"{shown(targets[j])} ({number} of {most[j]:.0f})")
    return ", ".join(_first(told))


def _cells(
    where: Bool[np.ndarray, "target source seed"],
    run: Bool[np.ndarray, "target source seed"],
    names: list[list[str]],
) -> list[str]:
    """The cells concerned: a target alone where all its runs are, else source and target."""
    sources, targets = names
    told = []
    for j in np.flatnonzero(where.any(axis=(1, 2))):
        if where[j][run[j]].all():
            told.append(shown(targets[j]))
        else:
            told += [
                f"{shown(sources[i])} → {shown(targets[j])}"
                for i in np.flatnonzero(where[j].any(axis=1))
            ]
    return _first(told)


def _first(told: list[str]) -> list[str]:
    more = len(told) - LISTED
    return [*told[:LISTED], f"and {more} more"] if more > 0 else told
