"""Parquet tables of predictions, read within bounds, as a folder may come from anybody.

In:   bytes, or a results folder.
Out:  rows, or a `DataError` that names the file.
"""

import io
import os

import polars as pl

from transferscope.errors import DataError
from transferscope.predictions import check_predictions, shown
from transferscope.store import control_files, prediction_files

FEW_ROWS = 1_000_000
"""So many rows are always allowed, however few bytes hold them."""
ROWS_PER_BYTE = 8


def read_parquet(data: bytes, name: str) -> pl.DataFrame:
    """A Parquet table. Columns of lists, which no format uses, are null: a few bytes may stand for
    a list of any length.

    Raises:
        DataError: it cannot be read, or has too many rows for its size.
    """
    try:
        schema = pl.read_parquet_schema(io.BytesIO(data))
        flat = [column for column, kind in schema.items() if not kind.is_nested()]
        most = max(FEW_ROWS, ROWS_PER_BYTE * len(data))
        frame = pl.read_parquet(io.BytesIO(data), columns=flat, n_rows=most + 1)
        if frame.height > most:
            rows = int(pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect().item())
            raise DataError(
                f"{name}: {rows:,} rows in {len(data):,} bytes, at most {most:,} are allowed"
            )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        raise DataError(f"{name}: not a readable Parquet file; was it cut short?") from None
    nested = {column: kind for column, kind in schema.items() if kind.is_nested()}
    return frame.with_columns(pl.lit(None, kind).alias(column) for column, kind in nested.items())


def all_answers(folder: str | os.PathLike[str]) -> pl.DataFrame:
    """Every answer in a results folder: of the base, of sources, mixtures and controls.

    Raises:
        DataError: a table is damaged, or holds what no predictions table does.
    """
    files = [*prediction_files(folder), *control_files(folder)]
    parts = [read_parquet(path.read_bytes(), shown(path.name)) for path in files]
    rows = check_predictions(pl.concat(parts, how="diagonal"), shown(str(folder)))
    return without_repeated_scores(rows)


def without_repeated_scores(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows without scores that only repeat `correct`: such answers are counts, not marks."""
    if "score" not in rows.columns:
        return rows
    repeats = pl.col("score") == pl.col("correct").cast(pl.Float64)
    return rows.with_columns(score=pl.when(~repeats).then(pl.col("score")))
