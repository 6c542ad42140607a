"""The predictions table: one row per run and item, between the engine and the analysis.

The engine writes it, everything after it is a pure function of it. Items are stored, not averages:
one item can move a cell by 0.06, and only pairing by item makes small effects visible.

In:   a polars frame from a run, a study folder or somebody's file.
Out:  the same rows with the columns and types of `COLUMNS`, or a `DataError`.

A row whose `source` is null is the base's answer. A base that was run once for all seeds leaves
`seed` null. Opens no file.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from transferscope.errors import DataError

COLUMNS: dict[str, Any] = {
    "model": pl.String,
    "seed": pl.String,  # null: a base run that serves all seeds of its model
    "source": pl.String,  # null: the base
    "target": pl.String,
    "item": pl.String,
    "reply": pl.String,  # what was generated; null where options were scored
    "choice": pl.Int64,  # index of the chosen option; null where the reply was unreadable
    "answer": pl.Int64,  # index of the right option
    "correct": pl.Boolean,  # an unreadable reply is not correct
    "unreadable": pl.Boolean,
    "read_by": pl.String,
    "margin": pl.Float64,  # log-probability of the best option minus that of the next
    "logprobs": pl.List(pl.Float64),  # of every option, in the item's order
    "score": pl.Float64,  # part of full marks in [0, 1]; null where `correct` is the whole mark
    "group": pl.String,  # of items about one image, video or scene; null: the item stands alone
}
REQUIRED = ("model", "seed", "source", "target", "item", "correct")
CELL = ("model", "seed", "source", "target")
MOST_UNREADABLE = 0.05
"""Share of unreadable replies, of base or run, up to which a cell has a verdict; above, bounds."""
LAST_OPTION = 25
"""The highest index of an option: options have letters from A to Z."""
BY_ROW = ("file", "row")
"""Columns a reader may add so that messages can name where a row came from."""

_TRUTH = {"1": True, "true": True, "1.0": True, "0": False, "false": False, "0.0": False}


def check_predictions(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The rows as a predictions table: known columns alone, in the order and types of `COLUMNS`.

    Columns beyond `REQUIRED` are optional; unknown columns are left out. Integer seeds and items
    become text, and 0 and 1 become truth values.

    Args:
        frame: the rows; columns of `BY_ROW` are kept and used in messages.
        name: what to call the table in a message, such as its file's name.

    Raises:
        DataError: a column is missing or of the wrong type, a value is null where it may not be, or
            two rows give the same model, seed, source, target and item, or one item two groups.
    """
    missing = [column for column in REQUIRED if column not in frame.columns]
    if missing:
        raise DataError(
            f"{name}: missing column {missing[0]!r}; a predictions table has the columns "
            f"{', '.join(REQUIRED)}"
        )
    kept = [column for column in COLUMNS if column in frame.columns]
    checked = frame.select(
        *(_as_type(frame, column, name) for column in kept),
        *(column for column in BY_ROW if column in frame.columns),
    )
    for column in ("model", "target", "item", "correct"):
        refuse(checked[column].is_null(), checked, name, f"{column} is empty")
    if "score" in kept:
        outside = ~checked["score"].is_between(0, 1).fill_null(True)  # NaN is outside
        refuse(outside, checked, name, "score must be in [0, 1]; divide percent by 100")
    seedless = checked["seed"].is_null() & checked["source"].is_not_null()
    refuse(seedless, checked, name, "seed is empty; only a base row (source null) may leave it so")
    if {"choice", "answer"} <= set(kept):
        wrong = (checked["choice"] == checked["answer"]) != checked["correct"]
        what = "correct must be 1 where choice and answer are the same, else 0"
        refuse(wrong.fill_null(False), checked, name, what)
    if "unreadable" in kept:
        both = (checked["unreadable"] & checked["correct"]).fill_null(False)
        refuse(both, checked, name, "unreadable and correct; an unreadable reply is not correct")
    check_unique(spread_base(checked), (*CELL, "item"), name)
    check_groups(checked, name)
    return checked


def with_marks(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with `mark`, the worth of each answer in [0, 1]: its score, else 1 where correct.

    `scored` is true where any answer to the target has a score: its marks are no counts.
    """
    right = pl.col("correct").cast(pl.Float64)
    if "score" not in frame.columns:
        return frame.with_columns(mark=right, scored=pl.lit(False))
    scored = pl.col("score").is_not_null().any().over("target")
    return frame.with_columns(mark=pl.coalesce("score", right), scored=scored)


def unread(frame: pl.DataFrame) -> pl.Expr:
    """Whether a reply could not be read, so that it may have been right.

    Not so where it has a score: an open question's reply without an answer is worth 0.
    """
    if "unreadable" not in frame.columns:
        return pl.lit(False)
    unreadable = pl.col("unreadable").fill_null(False)
    return unreadable & pl.col("score").is_null() if "score" in frame.columns else unreadable


def check_unique(frame: pl.DataFrame, keys: Sequence[str], name: str) -> None:
    """Refuse two rows with the same `keys`, naming both."""
    if frame.select(keys).n_unique() == frame.height:
        return
    numbered = frame.with_row_index("_index")
    first = pl.col("_index").first().over(list(keys))
    again = numbered.with_columns(first.alias("_first")).filter(pl.col("_first") < pl.col("_index"))
    index, before = again.select("_index", "_first").row(0)
    what = ", ".join(
        f"{key} {value!r}" for key, value in zip(keys, again.select(keys).row(0), strict=True)
    )
    raise DataError(
        f"{name}: {_place(frame, index)} repeats {_place(frame, before)}: {what} "
        f"{'is' if len(keys) == 1 else 'are'} given twice; keep one"
    )


def check_groups(frame: pl.DataFrame, name: str) -> None:
    """Refuse two rows that give one item different groups, naming both; null differs from none."""
    if "group" not in frame.columns:
        return
    known = frame.with_row_index("_index").drop_nulls("group")
    first = pl.col("_index", "group", "model").first().over("target", "item").name.prefix("_first")
    other = known.with_columns(first).filter(pl.col("group") != pl.col("_firstgroup"))
    for row in other.head(1).iter_rows(named=True):
        raise DataError(
            f"{name}: {_place(frame, row['_index'])} gives item {row['item']!r} of "
            f"{row['target']!r} the group {row['group']!r} (model {row['model']!r}), "
            f"{_place(frame, row['_first_index'])} the group {row['_firstgroup']!r} (model "
            f"{row['_firstmodel']!r}); an item is about the same image in every run: give it one "
            f"group, or rename the column"
        )


def spread_base(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows, with each base row that has no seed repeated for every seed of its model."""
    seedless = pl.col("source").is_null() & pl.col("seed").is_null()
    numbered = frame.with_row_index("_index")
    once = numbered.filter(seedless).drop("seed")
    if once.is_empty():
        return frame
    seeds = frame.drop_nulls("source").select("model", "seed").unique(maintain_order=True)
    repeated = once.join(seeds, on="model", how="left").select(numbered.columns)
    whole = pl.concat([numbered.filter(~seedless), repeated])
    return whole.sort("_index", maintain_order=True).drop("_index")


def refuse(bad: pl.Series, frame: pl.DataFrame, name: str, what: str) -> None:
    """Raise a `DataError` that names the first row where `bad` is true."""
    index = bad.arg_max() if bad.any() else None
    if index is not None:
        raise DataError(f"{name}: {_place(frame, index)}: {what}")


def some(names: Iterable[str], most: int = 5) -> str:
    """The first few names, quoted, and how many more follow."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def _place(frame: pl.DataFrame, index: int) -> str:
    """Where a row came from: the numbers a reader left, else its position from 1."""
    row = frame["row"][index] if "row" in frame.columns else index + 1
    return f"{frame['file'][index]!r} row {row}" if "file" in frame.columns else f"row {row}"


def _as_type(frame: pl.DataFrame, column: str, name: str) -> pl.Series:
    """One column in its type of `COLUMNS`; what cannot be converted is refused with its row."""
    values, wanted = frame[column], COLUMNS[column]
    if wanted == pl.Boolean:
        return _as_truth(values, frame, name)
    if wanted == pl.Int64:
        return _as_option(values, frame, name)
    if wanted == pl.String:
        return text_column(values, frame, name)
    try:
        return values.cast(wanted)
    except pl.exceptions.PolarsError:
        raise _wrong_type(values, name, str(wanted)) from None


def _wrong_type(values: pl.Series, name: str, wanted: str) -> DataError:
    return DataError(f"{name}: column {values.name!r} must hold {wanted}, got {values.dtype}")


def text_column(values: pl.Series, frame: pl.DataFrame, name: str) -> pl.Series:
    """A column of names as text: whole numbers are written out, anything else is refused."""
    if values.dtype.is_float():  # how pandas stores integers beside a missing one
        known = values.fill_nan(None)
        whole = known.is_null() | (known.is_finite() & (known == known.round(0)))
        refuse(~whole, frame, name, f"{values.name} is not a name or a whole number")
        return known.cast(pl.Int64).cast(pl.String)
    text = isinstance(values.dtype, pl.String | pl.Categorical | pl.Enum | pl.Null)
    if values.dtype.is_integer() or text:
        return values.cast(pl.String)
    raise _wrong_type(values, name, "text")


def _as_option(values: pl.Series, frame: pl.DataFrame, name: str) -> pl.Series:
    """An option's index; pandas writes whole numbers beside a missing one as 2.0."""
    text = values.dtype == pl.String
    if not (text or values.dtype.is_numeric() or values.dtype == pl.Null):
        raise _wrong_type(values, name, "Int64")
    given = values.str.strip_chars().replace("", None) if text else values
    numbers = given.cast(pl.Float64, strict=False)
    unread = numbers.is_null() & given.is_not_null()
    numbers = numbers.fill_nan(None)
    odd = (numbers != numbers.round(0)) | ~numbers.is_between(0, LAST_OPTION)
    wrong = unread | odd.fill_null(False)
    empty = "; leave it empty where the reply was unreadable" if values.name == "choice" else ""
    for found in values.filter(wrong).head(1):
        what = f"{values.name} must be an option's index from 0 to {LAST_OPTION}, got {found!r}"
        refuse(wrong, frame, name, what + empty)
    return numbers.cast(pl.Int64)


def _as_truth(values: pl.Series, frame: pl.DataFrame, name: str) -> pl.Series:
    if values.dtype == pl.Boolean:
        return values
    if values.dtype.is_nested() or values.dtype.is_temporal():
        raise _wrong_type(values, name, "true and false")
    text = values.cast(pl.String).str.strip_chars().str.to_lowercase()
    truth = text.replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
    unclear = truth.is_null() & text.is_not_null() & (text != "")
    for found in values.filter(unclear).head(1):
        refuse(unclear, frame, name, f"{values.name} must be 0 or 1, got {found!r}")
    return truth
