"""Compare each run with its base on the items that both answered.

A run of the first 50 of 150 items, compared with the base on all 150, differs from it although no
answer changed. So an effect, its interval and its tests use the shared items alone. A run that
shares fewer than half of a target's items is shown, but has no part in averages: its few items
may be the easy ones.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
import xarray as xr
from jaxtyping import Float

from transferscope.predictions import CELL
from transferscope.tasks.untrusted import shown

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
    of_base = base.group_by(CELL, maintain_order=True).agg(
        accuracy=pl.col("mark").mean(),
        correct=pl.when(whole).then(pl.col("mark").sum()),
        total=pl.len().cast(pl.Float64),
    )
    of_tuned = tuned.group_by(CELL, maintain_order=True).agg(
        accuracy=mark.mean(),
        correct=pl.when(whole & pl.col("shared").any()).then(mark.sum()),
        total=pl.col("shared").sum().cast(pl.Float64),
        run_total=pl.len().cast(pl.Float64),
        paired_base_accuracy=before.mean(),
        paired_base_correct=pl.when(whole & (before.count() > 0)).then(before.sum()),
    )
    return pl.concat([of_base, of_tuned], how="diagonal")


def most_items(matrix: xr.Dataset) -> xr.DataArray:
    """Items of each target's largest run, base included, (model, target); NaN where unknown."""
    tuned, base = matrix["run_total"].max(["seed", "source"]), matrix["base_total"].max("seed")
    return xr.apply_ufunc(np.fmax, tuned, base)


def cell_items(matrix: xr.Dataset) -> xr.DataArray:
    """Items behind each effect; where only counts are known, the fewer of base and run.

    NaN where the run's number is unknown, as where it was not measured.
    """
    fewer = xr.apply_ufunc(np.fmin, matrix["total"], matrix["base_total"])
    return fewer.where(matrix["total"].notnull())


def left_out(matrix: xr.Dataset) -> xr.DataArray:
    """Which cells have no part in averages: fewer than half of the items of the largest run.

    Unknown numbers leave nothing out.
    """
    return (2 * cell_items(matrix) < most_items(matrix)).transpose(*matrix["total"].dims)


def averaged(mu: xr.DataArray) -> xr.DataArray:
    """The effects that have a part in averages, NaN elsewhere: those that `counted` marks, a
    coordinate of what `read_results` returns."""
    return mu.where(mu["counted"]) if "counted" in mu.coords else mu


def pairing_notes(
    matrix: xr.Dataset, cells: Float[np.ndarray, " model"], *, paired: bool
) -> Iterator[str]:
    """Notes on runs that did not answer all items.

    Args:
        cells: how many cells each model spans.
        paired: whether items are known, so that effects are on shared items.
    """
    order = ("model", "target", "source", "seed")
    total, run = (matrix[name].transpose(*order).values for name in ("total", "run_total"))
    base = matrix["base_total"].transpose("model", "target", "seed").values[:, :, None]
    few, most = left_out(matrix).transpose(*order).values, most_items(matrix).values
    sources, targets = ([shown(name) for name in matrix[d].values] for d in ("source", "target"))
    fewer = ((run != base) | (total != run)) & np.isfinite(run) & np.isfinite(base)
    none = total == 0

    def items(numbers: np.ndarray, where: np.ndarray, m: int) -> str:
        """The targets of these cells, each with its items: `Jigsaw (93 of 150)`."""
        named = []
        for j in np.flatnonzero(where.any(axis=(1, 2))):
            least, largest = numbers[j][where[j]].min(), numbers[j][where[j]].max()
            number = f"{least:.0f}" if least == largest else f"{least:.0f} to {largest:.0f}"
            named.append(f"{targets[j]} ({number} of {most[m, j]:.0f})")
        return _first(named)

    def names(where: np.ndarray, m: int) -> str:
        """The cells: a target alone where all its runs are among them, else source and target."""
        named = []
        for j in np.flatnonzero(where.any(axis=(1, 2))):
            whole = where[j][np.isfinite(run[m, j])].all()
            some = np.flatnonzero(where[j].any(axis=1))
            named += [targets[j]] if whole else [f"{sources[i]} → {targets[j]}" for i in some]
        return _first(named)

    for m, model in enumerate(map(shown, matrix["model"].values.tolist())):
        unequal, small = (fewer & ~none)[m], (few & ~none)[m]
        if paired:
            what = "did not answer the same items; effects are computed on the items that both "
            what += f"answered: {items(total[m], unequal, m)}"
        else:
            what = "have different numbers of items, so they may not have answered the same items, "
            what += "and part of the effect may come from that: "
            what += items(np.fmin(run, base)[m], fewer[m], m)
        halved = "share fewer than half of the target's items; these cells have no part in averages"
        for where, how in (
            (unequal, what),
            (none[m], f"share no item, so no effect is known: {names(none[m], m)}"),
            (small, f"{halved}: {names(small, m)}"),
        ):
            if count := int(where.sum()):
                yield f"{model}: in {count} of {int(cells[m])} cells, base and run {how}"


def _first(names: list[str]) -> str:
    more = [f"and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*names[:LISTED], *more])
