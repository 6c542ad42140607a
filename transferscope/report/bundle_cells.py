"""The cells of a study as one long table, for a bundle.

In:   a matrix, or where there is none an analysis.
Out:  a polars frame with `COLUMNS`, one row per cell.

Opens no file.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import xarray as xr

from transferscope.analysis import Analysis, ModelAnalysis
from transferscope.matrix import measure
from transferscope.matrix.controls import effects
from transferscope.study.controls import PLACEBOS, REORDERED

COLUMNS: dict[str, Any] = {
    "model": pl.String,
    "seed": pl.String,
    "kind": pl.String,
    "source": pl.String,
    "target": pl.String,
    "items": pl.Int64,
    "base_correct": pl.Int64,
    "tuned_correct": pl.Int64,
    "base": pl.Float64,
    "tuned": pl.Float64,
    "ceiling": pl.Float64,
    "pgf": pl.Float64,
}
"""`readme` says what each of them is."""


def cells(matrix: xr.Dataset) -> pl.DataFrame:
    """The cells of a matrix: of each model first its sources, then what stands beside them.

    A cell that was not measured is a row with nothing in it; a seed that a model never had is none.
    """
    parts = [_rows(matrix, "source", matrix["pgf"])]
    if "control" in matrix.dims:
        parts.append(_rows(matrix, "control", effects(matrix, "pgf")))
    rank = {name: place for place, name in enumerate(matrix["model"].values.tolist())}
    place = pl.col("model").replace_strict(rank, return_dtype=pl.Int64)
    return pl.concat(parts).sort(place, maintain_order=True)


def _rows(matrix: xr.Dataset, dim: str, pgf: xr.DataArray) -> pl.DataFrame:
    """All cells of sources, or of controls."""
    dims, prefix = ("model", "seed", dim, "target"), "" if dim == "source" else "control_"
    numbers = {
        "items": matrix[f"{prefix}total"],
        "base_correct": matrix[f"{prefix}paired_base_correct"],
        "tuned_correct": matrix[f"{prefix}correct"],
        "base": matrix[f"{prefix}paired_base_accuracy"],
        "tuned": matrix[f"{prefix}accuracy"],
        "ceiling": matrix["ceiling"],
        "pgf": pgf,
    }
    sizes = {name: matrix.sizes[name] for name in dims}
    columns: dict[str, Any] = {}
    for name, values in numbers.items():
        spread = values.expand_dims({d: n for d, n in sizes.items() if d not in values.dims})
        columns[name] = spread.transpose(*dims).values.ravel()
    labels = np.meshgrid(*(matrix[d].values.astype(object) for d in dims), indexing="ij")
    for name, values in zip(("model", "seed", "source", "target"), labels, strict=True):
        columns[name] = values.ravel().tolist()
    columns["kind"] = [_kind(dim, name) for name in columns["source"]]
    frame = pl.DataFrame(columns).with_columns(pl.col(pl.Float64).fill_nan(None))
    measured = pl.any_horizontal(pl.col("tuned", "pgf").is_not_null()).any()
    owner = ["model", "seed"] if dim == "source" else ["model", "seed", "source"]
    return frame.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items()).filter(
        measured.over(owner)
    )


def _kind(dim: str, name: str) -> str:
    if dim == "source":
        return "source"
    return "control" if name in (*PLACEBOS, REORDERED) else "mixture"


def cells_told(analysis: Analysis) -> pl.DataFrame:
    """The cells as an analysis tells of them; it does not tell counts, nor the ceiling `self`."""
    rows = [
        row for name, model in analysis.models.items() for row in _rows_told(name, model, analysis)
    ]
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _rows_told(name: str, model: ModelAnalysis, analysis: Analysis) -> Iterator[tuple[Any, ...]]:
    told = [
        ("source", source, target, cell.seeds)
        for source, its in model.pgf.items()
        for target, cell in its.items()
    ]
    told += [
        (_kind("control", control), control, target, estimate.seeds)
        for control, its in model.controls.items()
        for target, estimate in its.targets.items()
    ]
    for kind, source, target, seeds in told:
        ceiling = _ceiling(analysis, target)
        for seed in model.seeds:
            effect = seeds.get(seed, np.nan)
            base = model.base_seeds.get(target, {}).get(seed, np.nan)
            tuned, pgf = _undone(analysis.settings.measure, base, effect, ceiling)
            yield (name, seed, kind, source, target, None, None, None, base, tuned, ceiling, pgf)


def _ceiling(analysis: Analysis, target: str) -> float:
    ceiling = analysis.settings.ceiling
    if isinstance(ceiling, dict):
        return ceiling.get(target, np.nan)
    return np.nan if isinstance(ceiling, str) else float(ceiling)


def _undone(name: str, base: float, effect: float, ceiling: float) -> tuple[float, float]:
    """The accuracy whose effect on that base this is, and its PGF; NaN where not known."""
    gain = {"pgf": effect * (ceiling - base), "relative_gain": effect * base, "raw_gain": effect}
    tuned = round(base + gain[name], 12)
    if name == "pgf":
        return tuned, effect
    gap = ceiling if ceiling > base else np.nan
    return tuned, float(measure.pgf(*map(np.float64, (base, tuned, gap))))
