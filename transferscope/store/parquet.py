"""Parquet tables of predictions, read within bounds, as a folder may come from anybody."""

import os

import polars as pl

from transferscope.errors import DataError
from transferscope.predictions import check_predictions
from transferscope.store import control_files, prediction_files
from transferscope.tasks.untrusted import read_parquet, shown


def parquet_table(data: bytes, name: str) -> pl.DataFrame:
    """A Parquet table from bytes, or a `DataError`; columns of lists, in no format, are empty."""
    try:
        return read_parquet(data, flat=True)
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None


def all_answers(folder: str | os.PathLike[str]) -> pl.DataFrame:
    """Every answer in a results folder, of all runs; a `DataError` where a table is damaged."""
    files = [*prediction_files(folder), *control_files(folder)]
    parts = [parquet_table(path.read_bytes(), shown(path.name)) for path in files]
    rows = check_predictions(pl.concat(parts, how="diagonal"), shown(str(folder)))
    return without_repeated_scores(rows)


def without_repeated_scores(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows without scores that only repeat `correct`: such answers are counts, not marks."""
    if "score" not in rows.columns:
        return rows
    repeats = pl.col("score") == pl.col("correct").cast(pl.Float64)
    return rows.with_columns(score=pl.when(~repeats).then(pl.col("score")))
