"""The known table formats: which one a file is, and its rows as a checked long table.

    published PGF   seed, ft_task, task, perfection_gap_factor
    accuracy        seed, source, target, and accuracy, or correct and total; an empty source is
                    the base, and a base without seed serves all seeds
    predictions     model, seed, source, target, item, correct

The first two may have a `model` column; other columns are ignored. An empty number, or `nan`, is
not measured. Names are untrusted and kept exactly as given.

In:   a `files.Raw`.
Out:  a `Table` for `matrix`, or a `DataError` that names the file, the row and the column.
"""

from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from transferscope.errors import DataError
from transferscope.predictions import (
    CELL,
    check_predictions,
    check_unique,
    refuse,
    some,
    spread_base,
    text_column,
)
from transferscope.readers.files import Raw

Kind = Literal["pgf table", "accuracy table", "predictions"]

FORMATS: dict[Kind, tuple[str, ...]] = {
    "pgf table": ("seed", "ft_task", "task", "perfection_gap_factor"),
    "accuracy table": ("seed", "source", "target"),
    "predictions": ("model", "seed", "source", "target", "item", "correct"),
}
_TELLING: dict[Kind, set[str]] = {
    "predictions": {"item"},
    "pgf table": {"ft_task", "perfection_gap_factor"},
    "accuracy table": {"source", "target", "accuracy", "total"},
}
"""Columns that only this format has, tried in this order."""
_VALUE = "perfection_gap_factor"
_LONGEST_NAME = 200
_MOST_ITEMS = 1_000_000  # of a target: its items are made up, one by one, where counts are all
_AGREE = 0.0005  # accuracies beside counts may be rounded to three decimals
_ANSWERS = ("choice", "answer", "correct", "unreadable", "read_by", "score")
_MEASURES = ("accuracy", "correct", "total")


class Table(NamedTuple):
    """One input's rows, checked."""

    kind: Kind
    rows: pl.DataFrame
    """Columns model, seed, source, target, those of its kind, and `row`, the line in the file."""


def read_table(raw: Raw, model: str | None) -> Table:
    """The rows of one file.

    Args:
        raw: the file.
        model: a name for the table's single model; None keeps the table's own `model` column, or
            takes the file's name without its ending where there is none.

    Raises:
        DataError: the columns fit no format, or a row is not what it must be.
    """
    kind = _kind(raw)
    frame = raw.frame.select(pl.all().exclude("row", "file"))
    frame = frame.with_columns(pl.Series("row", raw.lines))
    if kind == "predictions":
        names = [text_column(frame[column], frame, raw.name) for column in (*CELL, "item")]
        given = [column for column in _ANSWERS if column in frame.columns]
        rows = _blanks_to_null(frame.select(*names, *given, "row"))
        _check_names(rows, (*CELL, "item"), raw.name)
        rows = check_predictions(rows, raw.name)
    else:
        if kind == "pgf table":
            frame = frame.select(pl.all().exclude("source", "target", "pgf")).rename(
                {"ft_task": "source", "task": "target", "perfection_gap_factor": "pgf"}
            )
        if "model" not in frame.columns:
            frame = frame.with_columns(model=pl.lit(model or raw.name.rsplit(".", 1)[0]))
        rows = (_pgf_rows if kind == "pgf table" else _accuracy_rows)(frame, raw.name)
    return Table(kind, rename_model(rows, model, raw.name))


def rename_model(rows: pl.DataFrame, model: str | None, name: str) -> pl.DataFrame:
    """The rows under one model name, if one is given; a table of several models has no one name."""
    if model is None:
        return rows
    models = rows["model"].unique(maintain_order=True).to_list()
    if len(models) > 1:
        raise DataError(
            f"{name}: holds {len(models)} models ({models[0]!r}, {models[1]!r}, ...), so it cannot "
            f"be named {model!r}; give it without a name"
        )
    return rows.with_columns(model=pl.lit(model))


def check_name(value: str, what: str) -> None:
    """Refuse a name that cannot be shown or told apart."""
    if problem := _name_problem(value):
        raise DataError(f"{what} {problem}")


def _kind(raw: Raw) -> Kind:
    found = raw.frame.columns
    for kind, telling in _TELLING.items():
        if not telling.intersection(found):
            continue
        wanted = list(FORMATS[kind])
        if kind == "accuracy table" and "accuracy" not in found:
            wanted += ["correct", "total"] if {"correct", "total"} & set(found) else ["accuracy"]
        missing = [column for column in wanted if column not in found]
        if not missing:
            return kind
        if len(missing) < len(wanted):
            columns = ", ".join(FORMATS[kind])
            if kind == "accuracy table":
                columns += ", and accuracy, or correct and total"
            raise DataError(
                f"{raw.name}: missing column {missing[0]!r}; found {_listed(found)}; expected of "
                f"this format, {kind}: {columns}"
            )
    known = "; ".join(f"{kind}: {', '.join(columns)}" for kind, columns in FORMATS.items())
    known = known.replace("source, target;", "source, target, and accuracy, or correct and total;")
    raise DataError(f"{raw.name}: found columns {_listed(found)}; known formats are {known}")


def _listed(columns: list[str]) -> str:
    return some([column[:40] for column in columns], most=12)


def _pgf_rows(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    rows = _names(frame, name)
    for column in ("seed", "source"):
        refuse(rows[column].is_null(), rows, name, f"{_given_as(column)} is empty")
    values = _numbers(frame, "pgf", name, _VALUE)
    rows = rows.with_columns(values)
    _refuse_value(values > 1 + 1e-9, frame, name, "pgf", "a PGF is at most 1", _VALUE)
    check_unique(rows, CELL, name)
    return rows


def _given_as(column: str) -> str:
    return "ft_task" if column == "source" else column


def _accuracy_rows(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    rows = _names(frame, name)
    seedless = rows["seed"].is_null() & rows["source"].is_not_null()
    refuse(seedless, rows, name, "seed is empty; only a base row (empty source) may leave it empty")
    given = {c: _numbers(frame, c, name) for c in _MEASURES if c in frame.columns}
    if "accuracy" in given:
        accuracy = given["accuracy"]
        expected = "expected a fraction in [0, 1]"
        above, below = accuracy > 1, accuracy < 0
        _refuse_value(above, frame, name, "accuracy", f"{expected}; divide percent by 100")
        _refuse_value(below, frame, name, "accuracy", expected)
    if "correct" in given and "total" in given:
        _check_counts(given, frame, name)
    else:  # one count without the other says nothing
        given = {"accuracy": given["accuracy"]}
    rows = rows.with_columns(given.values())
    check_unique(spread_base(rows), CELL, name)
    return rows


def _check_counts(given: dict[str, pl.Series], frame: pl.DataFrame, name: str) -> None:
    correct, total = given["correct"], given["total"]
    for column, values in (("correct", correct), ("total", total)):
        _refuse_value(values < 0, frame, name, column, "expected 0 or more")
        fractional = values != values.round(0)
        _refuse_value(fractional, frame, name, column, "expected a whole number")
    _refuse_value(total == 0, frame, name, "total", "expected at least 1")
    _refuse_value(total > _MOST_ITEMS, frame, name, "total", f"expected at most {_MOST_ITEMS:,}")
    half = correct.is_null() != total.is_null()
    refuse(half, frame, name, "one of correct and total is empty; give both or neither")
    _refuse_value(correct > total, frame, name, "correct", "more than total")
    if "accuracy" in given:
        apart = (given["accuracy"] - correct / total).abs() > _AGREE + 1e-9
        _refuse_value(apart, frame, name, "accuracy", "which is not correct / total")


def _names(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The cell columns as checked text, and the row numbers."""
    rows = frame.select(*(text_column(frame[c], frame, name) for c in CELL), frame["row"])
    rows = _blanks_to_null(rows)
    _check_names(rows, CELL, name)
    for column in ("model", "target"):
        shown = "task" if column == "target" and "pgf" in frame.columns else column
        refuse(rows[column].is_null(), rows, name, f"{shown} is empty")
    return rows


def _blanks_to_null(frame: pl.DataFrame) -> pl.DataFrame:
    text = pl.col(pl.String)
    return frame.with_columns(pl.when(text.str.strip_chars() != "").then(text))


def _check_names(rows: pl.DataFrame, columns: tuple[str, ...], name: str) -> None:
    for column in columns:
        values = rows[column]
        odd = (values.str.len_chars() > _LONGEST_NAME) | values.str.contains("\0", literal=True)
        if odd.any():
            value = rows.filter(odd)[column][0]
            refuse(odd, rows, name, f"{column} {_name_problem(value)}")


def _name_problem(value: str) -> str | None:
    if not value.strip():
        return "is empty"
    if len(value) > _LONGEST_NAME:
        return f"{value[:20]!r}... has {len(value)} characters, at most {_LONGEST_NAME} are allowed"
    return f"{value!r} holds a NUL character" if "\0" in value else None


def _numbers(frame: pl.DataFrame, column: str, name: str, shown: str | None = None) -> pl.Series:
    """A column as finite floats, null where not measured."""
    values, shown = frame[column], shown or column
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        numbers = text.cast(pl.Float64, strict=False)
        unread = numbers.is_null() & (text != "").fill_null(False)
        _refuse_value(
            unread, frame, name, column, "expected a number, or nothing where not measured", shown
        )
    elif values.dtype.is_numeric() or values.dtype == pl.Null:
        numbers = values.cast(pl.Float64)
    else:
        raise DataError(f"{name}: column {shown!r} holds {values.dtype}, expected numbers")
    _refuse_value(numbers.is_infinite(), frame, name, column, "expected a finite number", shown)
    return numbers.fill_nan(None).alias(column)


def _refuse_value(
    bad: pl.Series, frame: pl.DataFrame, name: str, column: str, expected: str, shown: str = ""
) -> None:
    """Refuse the first bad number of a column, showing what stands there."""
    index = int(np.argmax(bad.fill_null(False).to_numpy())) if bad.any() else 0
    found = frame[column][index] if bad.any() else None
    found = found.strip()[:40] if isinstance(found, str) else found
    refuse(bad, frame, name, f"{shown or column} is {found!r}, {expected}")
