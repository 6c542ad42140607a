"""The known table formats: which one a file is, and its rows as a checked long table.

    predictions     source, target, item, and score or correct: the way in for anyone's results
    accuracy        source, target, and accuracy, or correct and total; or wide, with a column for
                    each target
    published PGF   seed, ft_task, task, perfection_gap_factor

An empty source is the base. Model, seed and step are optional; other columns are ignored. An empty
number, or `nan`, is not measured. Names are untrusted and kept exactly as given.

A `DataError` names the file, the row and the column.
"""

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
from transferscope.readers.files import Kind, ReadInput
from transferscope.readers.plain import (
    accuracies,
    is_wide,
    numbers,
    refuse_value,
    regular,
    unpivoted,
)
from transferscope.readers.spelling import LONGEST_NAME, name_problem
from transferscope.store.parquet import without_repeated_scores

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
_DISTINCTIVE: dict[Kind, set[str]] = {
    "predictions": {"item"},
    "pgf table": {"ft_task", "perfection_gap_factor"},
    "accuracy table": {"source", "target", "accuracy", "total"},
}
"""Columns that only this format has, tried in this order."""
_VALUE = "perfection_gap_factor"
_MOST_ITEMS = 1_000_000
"""Items of a target: where only counts are known, its items are made up one by one."""
_AGREE = 0.0005  # accuracies beside counts may be rounded to three decimals
_ANSWERS = ("choice", "answer", "correct", "unreadable", "read_by", "score", "group")


def read_table(raw: ReadInput, model: str | None) -> ReadInput:
    """The rows of one file; refuses columns that fit no format, and invalid rows.

    Args:
        model: a name for the table's single model; None keeps the table's own `model` column, or
            else takes the file's name without its ending.
    """
    frame, name = raw.rows, raw.file
    named, notes, kind = model or name.rsplit(".", 1)[0], list[str](), _kind(raw)
    if is_wide(frame.columns):
        frame, notes = unpivoted(frame, name)
    if kind == "pgf table":
        rows, more = _pgf_rows(frame, name, named)
    elif kind == "predictions":
        rows, more = _prediction_rows(regular(frame, name, named), name), []
    else:
        rows, more = _accuracy_rows(regular(frame, name, named), name)
    return raw._replace(rows=rename_model(rows, model, name), notes=[*notes, *more])


def rename_model(rows: pl.DataFrame, model: str | None, name: str) -> pl.DataFrame:
    """The rows under one model name, if one is given; a table of several models cannot have one."""
    if model is None:
        return rows
    models = rows["model"].unique(maintain_order=True).to_list()
    if len(models) > 1:
        raise DataError(
            f"{name}: holds {len(models)} models ({models[0]!r}, {models[1]!r}, ...), so it cannot "
            f"be named {model!r}; give it without a name"
        )
    return rows.with_columns(model=pl.lit(model))


def _kind(raw: ReadInput) -> Kind:
    found = raw.rows.drop("row").columns
    if is_wide(found):
        return "accuracy table"
    listed = some([column[:40] for column in found], most=12)
    described = {kind: f"{kind}: {', '.join(FORMATS[kind])}{_VALUES[kind]}" for kind in FORMATS}
    for kind, distinctive in _DISTINCTIVE.items():
        if not distinctive.intersection(found):
            continue
        wanted = list(FORMATS[kind])
        if kind == "accuracy table" and "accuracy" not in found:
            counts = {"correct", "total"} & set(found)
            wanted += ["correct", "total"] if counts else ["accuracy"]
        elif kind == "predictions" and "correct" not in found:
            wanted.append("score")
        missing = [column for column in wanted if column not in found]
        if not missing:
            return kind
        if kind == "accuracy table" and "score" in found:  # it has neither items nor accuracies
            kind, missing = "predictions", ["item"]
        elif len(missing) == len(wanted):
            continue
        raise DataError(
            f"{raw.file}: missing column {missing[0]!r}; found {listed}; expected of this format, "
            f"{described[kind]} (docs/harnesses.md shows examples)"
        )
    raise DataError(
        f"{raw.file}: found columns {listed}; known formats are {'; '.join(described.values())}; "
        f"wide accuracy table: source, and a column for each target (docs/harnesses.md shows "
        f"examples)"
    )


def _prediction_rows(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows of a predictions table; a score that only repeats `correct` is not kept."""
    if "score" in frame.columns:
        if frame["score"].dtype == pl.String:
            text = pl.col("score").str.strip_chars().str.to_lowercase()
            frame = frame.with_columns(score=text.replace({"true": "1", "false": "0"}))
        frame = frame.with_columns(numbers(frame, "score", name)[0])
    if "correct" not in frame.columns:
        empty = "score is empty; leave out rows of items that were not evaluated"
        refuse(frame["score"].is_null(), frame, name, empty)
        frame = frame.with_columns(correct=pl.col("score") == 1)
    given = [column for column in _ANSWERS if column in frame.columns]
    if frame.schema.get("margin") == pl.Float64:  # as a study writes it
        given.append("margin")
    rows = frame.select(*CELL, text_column(frame["item"], frame, name), *given, "row")
    rows = _with_nulls(rows, (*CELL, "item"), name)
    return without_repeated_scores(check_predictions(rows, name))


def _pgf_rows(frame: pl.DataFrame, name: str, model: str) -> tuple[pl.DataFrame, list[str]]:
    frame = frame.select(pl.all().exclude("source", "target"))
    frame = frame.rename({"ft_task": "source", "task": "target"})
    if "model" not in frame.columns:
        frame = frame.with_columns(model=pl.lit(model))
    rows = _names(frame, name)
    for column, given in (("seed", "seed"), ("source", "ft_task")):
        refuse(rows[column].is_null(), rows, name, f"{given} is empty")
    values, notes = numbers(frame, _VALUE, name)
    refuse_value(values > 1 + 1e-9, frame, name, _VALUE, "a PGF is at most 1")
    check_unique(rows, CELL, name)
    return rows.with_columns(pgf=values), notes


def _accuracy_rows(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, list[str]]:
    rows, notes = _names(frame, name), list[str]()
    seedless = rows["seed"].is_null() & rows["source"].is_not_null()
    refuse(seedless, rows, name, "seed is empty; only a base row (empty source) may leave it empty")
    given: dict[str, pl.Series] = {}

    def refuse_where(bad: pl.Series, column: str, expected: str) -> None:
        refuse_value(bad, frame, name, column, expected)

    if "accuracy" in frame.columns:
        given["accuracy"], notes = accuracies(frame, name)
    if {"correct", "total"} <= set(frame.columns):
        for column in ("correct", "total"):
            if frame[column].dtype == pl.String:  # a mark before three digits may mean thousands
                unclear = frame[column].str.contains(r"\d[.,]\d{3}\s*$").fill_null(False)
                refuse_where(unclear, column, "write it without a mark, such as 1234")
            given[column] = numbers(frame, column, name)[0]
        correct, total = given["correct"], given["total"]
        for values in (correct, total):
            refuse_where(values < 0, values.name, "expected 0 or more")
            refuse_where(values != values.round(0), values.name, "expected a whole number")
        refuse_where(total == 0, "total", "expected at least 1")
        refuse_where(total > _MOST_ITEMS, "total", f"expected at most {_MOST_ITEMS:,}")
        half = correct.is_null() != total.is_null()
        refuse(half, frame, name, "one of correct and total is empty; give both or neither")
        refuse_where(correct > total, "correct", "more than total")
        if "accuracy" in given:
            apart = (given["accuracy"] - correct / total).abs() > _AGREE + 1e-9
            refuse_where(apart, "accuracy", "which is not correct / total")
    rows = rows.with_columns(given.values())
    check_unique(spread_base(rows), CELL, name)
    return rows, notes


def _names(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The cell columns as checked text, and the row numbers."""
    rows = frame.select(*(text_column(frame[c], frame, name) for c in CELL), "row")
    rows = _with_nulls(rows, CELL, name)
    for column, given in (("model", "model"), ("target", "task" if _VALUE in frame else "target")):
        refuse(rows[column].is_null(), rows, name, f"{given} is empty")
    return rows


def _with_nulls(rows: pl.DataFrame, names: tuple[str, ...], name: str) -> pl.DataFrame:
    """The rows with null for blank text, after a check of the columns of names."""
    text = pl.col(pl.String)
    rows = rows.with_columns(pl.when(text.str.strip_chars() != "").then(text))
    for column in names:
        values = rows[column]
        odd = (values.str.len_chars() > LONGEST_NAME) | values.str.contains("\0", literal=True)
        for value in values.filter(odd).head(1):
            refuse(odd, rows, name, f"{column} {name_problem(value)}")
    return rows
