"""The known table formats: which one a file is, and its rows as a checked long table.

    predictions     source, target, item, and score or correct: the way in for anyone's results
    accuracy        source, target, and accuracy, or correct and total; or wide, with a column for
                    each target
    published PGF   seed, ft_task, task, perfection_gap_factor

An empty source is the base. Model, seed and step may be given; other columns are ignored (`plain`).
An empty number, or `nan`, is not measured. Names are untrusted and kept exactly as given.

In:   a `files.Raw`.
Out:  a `Table` for `matrix`, or a `DataError` that names the file, the row and the column.
"""

from typing import Literal, NamedTuple

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
from transferscope.readers.plain import (
    accuracies,
    is_wide,
    numbers,
    refuse_value,
    regular,
    unpivoted,
)

Kind = Literal["pgf table", "accuracy table", "predictions"]

FORMATS: dict[Kind, tuple[str, ...]] = {
    "predictions": ("source", "target", "item"),
    "accuracy table": ("source", "target"),
    "pgf table": ("seed", "ft_task", "task", "perfection_gap_factor"),
}
"""Columns that each format must have, besides one of `_VALUES`."""
_VALUES: dict[Kind, str] = {
    "predictions": ", and score (0 to 1) or correct",
    "accuracy table": ", and accuracy, or correct and total",
    "pgf table": "",
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


class Table(NamedTuple):
    """One input's rows, checked."""

    kind: Kind
    rows: pl.DataFrame
    """Columns model, seed, source, target, those of its kind, and `row`, the line in the file."""
    notes: list[str]
    """What was read otherwise than it stands in the file."""


def read_table(raw: Raw, model: str | None) -> Table:
    """The rows of one file.

    Args:
        raw: the file.
        model: a name for the table's single model; None keeps the table's own `model` column, or
            takes the file's name without its ending where there is none.

    Raises:
        DataError: the columns fit no format, or a row is not what it must be.
    """
    frame = raw.frame.select(pl.all().exclude("row", "file"))
    frame = frame.with_columns(pl.Series("row", raw.lines))
    named, notes = model or raw.name.rsplit(".", 1)[0], list[str]()
    if is_wide(raw.frame.columns):
        kind = "accuracy table"
        frame, notes = unpivoted(frame, raw.name)
    else:
        kind = _kind(raw)
    if kind == "predictions":
        rows = _prediction_rows(regular(frame, raw.name, named), raw.name)
    elif kind == "accuracy table":
        rows, more = _accuracy_rows(regular(frame, raw.name, named), raw.name)
        notes += more
    else:
        frame = frame.select(pl.all().exclude("source", "target", "pgf")).rename(
            {"ft_task": "source", "task": "target", "perfection_gap_factor": "pgf"}
        )
        if "model" not in frame.columns:
            frame = frame.with_columns(model=pl.lit(named))
        rows, notes = _pgf_rows(frame, raw.name)
    return Table(kind, rename_model(rows, model, raw.name), notes)


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
        missing = [column for column in _wanted(kind, found) if column not in found]
        if not missing:
            return kind
        if kind == "accuracy table" and "score" in found:  # it has neither items nor accuracies
            _refuse_missing(raw, "predictions", "item")
        if len(missing) < len(_wanted(kind, found)):
            _refuse_missing(raw, kind, missing[0])
    known = "; ".join(map(_described, FORMATS))
    raise DataError(
        f"{raw.name}: found columns {_listed(found)}; known formats are {known}; wide accuracy "
        f"table: source, and a column for each target (docs/harnesses.md shows examples)"
    )


def _refuse_missing(raw: Raw, kind: Kind, missing: str) -> None:
    raise DataError(
        f"{raw.name}: missing column {missing!r}; found {_listed(raw.frame.columns)}; expected of "
        f"this format, {_described(kind)} (docs/harnesses.md shows examples)"
    )


def _wanted(kind: Kind, found: list[str]) -> list[str]:
    """The columns that a table of this kind must have, given those that it has."""
    wanted = list(FORMATS[kind])
    if kind == "accuracy table" and "accuracy" not in found:
        return wanted + (
            ["correct", "total"] if {"correct", "total"} & set(found) else ["accuracy"]
        )
    if kind == "predictions" and "correct" not in found:
        return [*wanted, "score"]
    return wanted


def _described(kind: Kind) -> str:
    return f"{kind}: {', '.join(FORMATS[kind])}{_VALUES[kind]}"


def _listed(columns: list[str]) -> str:
    return some([column[:40] for column in columns], most=12)


def _prediction_rows(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows of a predictions table; a score that only repeats `correct` is not kept."""
    if "score" in frame.columns:
        values = frame["score"]
        if values.dtype == pl.String:
            text = values.str.strip_chars().str.to_lowercase()
            frame = frame.with_columns(score=text.replace({"true": "1", "false": "0"}))
        score, _ = numbers(frame, "score", name)
        frame = frame.with_columns(score)
    if "correct" not in frame.columns:
        empty = "score is empty; leave out rows of items that were not evaluated"
        refuse(frame["score"].is_null(), frame, name, empty)
        frame = frame.with_columns(correct=pl.col("score") == 1)
    item = text_column(frame["item"], frame, name)
    given = [column for column in _ANSWERS if column in frame.columns]
    rows = _blanks_to_null(frame.select(*CELL, item, *given, "row"))
    _check_names(rows, (*CELL, "item"), name)
    rows = check_predictions(rows, name)
    if "score" in rows.columns:
        repeats = pl.col("score") == pl.col("correct").cast(pl.Float64)
        rows = rows.with_columns(score=pl.when(~repeats).then(pl.col("score")))
    return rows


def _pgf_rows(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, list[str]]:
    rows = _names(frame, name)
    for column in ("seed", "source"):
        refuse(rows[column].is_null(), rows, name, f"{_given_as(column)} is empty")
    values, notes = numbers(frame, "pgf", name, _VALUE)
    rows = rows.with_columns(values)
    refuse_value(values > 1 + 1e-9, frame, name, "pgf", "a PGF is at most 1", _VALUE)
    check_unique(rows, CELL, name)
    return rows, notes


def _given_as(column: str) -> str:
    return "ft_task" if column == "source" else column


def _accuracy_rows(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, list[str]]:
    rows, notes = _names(frame, name), list[str]()
    seedless = rows["seed"].is_null() & rows["source"].is_not_null()
    refuse(seedless, rows, name, "seed is empty; only a base row (empty source) may leave it empty")
    given: dict[str, pl.Series] = {}
    if "accuracy" in frame.columns:
        given["accuracy"], notes = accuracies(frame, name)
    if {"correct", "total"} <= set(frame.columns):
        given |= {column: _count(frame, column, name) for column in ("correct", "total")}
        _check_counts(given, frame, name)
    rows = rows.with_columns(given.values())
    check_unique(spread_base(rows), CELL, name)
    return rows, notes


def _count(frame: pl.DataFrame, column: str, name: str) -> pl.Series:
    """A column of counts; a mark before three digits may separate thousands and is refused."""
    values = frame[column]
    if values.dtype == pl.String:
        unclear = values.str.contains(r"\d[.,]\d{3}\s*$").fill_null(False)
        refuse_value(unclear, frame, name, column, "write it without a mark, such as 1234")
    return numbers(frame, column, name)[0]


def _check_counts(given: dict[str, pl.Series], frame: pl.DataFrame, name: str) -> None:
    correct, total = given["correct"], given["total"]
    for column, values in (("correct", correct), ("total", total)):
        refuse_value(values < 0, frame, name, column, "expected 0 or more")
        fractional = values != values.round(0)
        refuse_value(fractional, frame, name, column, "expected a whole number")
    refuse_value(total == 0, frame, name, "total", "expected at least 1")
    refuse_value(total > _MOST_ITEMS, frame, name, "total", f"expected at most {_MOST_ITEMS:,}")
    half = correct.is_null() != total.is_null()
    refuse(half, frame, name, "one of correct and total is empty; give both or neither")
    refuse_value(correct > total, frame, name, "correct", "more than total")
    if "accuracy" in given:
        apart = (given["accuracy"] - correct / total).abs() > _AGREE + 1e-9
        refuse_value(apart, frame, name, "accuracy", "which is not correct / total")


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
