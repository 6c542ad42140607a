"""Tables as people write them, made regular: wide ones, percent, decimal commas, errors after ±.

Only what has one meaning is read; anything else is refused, with the change that makes it readable.
Conversions are noted.

In:   a frame of columns as they stand in the file, with `row`, the line of each row.
Out:  the same rows with model, seed, source, target and plain numbers.
"""

import polars as pl

from transferscope.errors import DataError
from transferscope.predictions import refuse, some, text_column
from transferscope.tasks.checkpoints import Checkpoint, checkpoint
from transferscope.tasks.naming import BASES, MEANS

DEFAULT_SEED = "0"
"""The seed of finetunes in a table without seeds."""
_KEYS = ("model", "seed", "source", "step", "row")
_LONG = {"target", "task", "item", "accuracy", "correct", "total", "score", "ft_task"}
"""Columns that a wide table does not have."""
_SETTINGS = {
    *("lr", "learning_rate", "learning rate", "rank", "epoch", "epochs", "steps", "checkpoint"),
    *("n", "items", "samples", "count", "size", "params", "loss", "time", "seconds", "metric"),
}
"""Columns of a wide table that describe a run and are not targets, in lower case."""
_LEAST_PERCENT = 10
"""A column of percent reaches at least this; below, it may be marks out of 5 or 10."""
_ERROR = r"\s*(?:±|\+/-|\+-|\\pm)\s*\d+(?:[.,]\d+)?\s*%?$"


def is_wide(columns: list[str]) -> bool:
    """Whether a table has one row for each source and one column for each target."""
    return "source" in columns and not _LONG & set(columns) and bool(set(columns) - set(_KEYS))


def unpivoted(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, list[str]]:
    """A wide table as a long one with a column accuracy, and notes.

    Refuses a column that describes the run, and a target without numbers.
    """
    columns = [column for column in frame.columns if column not in _KEYS]
    for column in columns:
        if column.strip().lower() in _SETTINGS or not column:
            raise DataError(
                f"{name}: column {column!r} is not a target, but without a column 'target' "
                f"every column is read as one; remove it"
            )
        if frame[column].dtype.is_nested() or frame[column].dtype.is_temporal():
            raise DataError(f"{name}: column {column!r} holds {frame[column].dtype}, not numbers")
        numbers(frame.with_columns(_without_percent(frame[column])), column, name)
    means = [column for column in columns if column.strip().lower() in MEANS]
    targets = [column for column in columns if column not in means]
    if not targets:
        raise DataError(f"{name}: must have a column for each target, got none")
    keys = [column for column in frame.columns if column in _KEYS]
    if any(frame[column].dtype == pl.String for column in targets):
        frame = frame.with_columns(pl.col(targets).cast(pl.String))
    long = frame.unpivot(targets, index=keys, variable_name="target", value_name="accuracy")
    long = long.sort("row", maintain_order=True)
    notes = [f"{name}: read as a wide table, with the targets {some(targets, most=20)}"]
    notes += [f"{name}: column {column!r} is a mean and is left out" for column in means]
    return long, notes


def regular(frame: pl.DataFrame, name: str, model: str) -> pl.DataFrame:
    """The rows with the columns model, seed, source and target as text; refuses what is no name.

    A source such as `base` becomes null, a step beside a source a checkpoint (`Jigsaw @ 500`), a
    missing model `model`, and missing seeds `DEFAULT_SEED`, except for the base.
    """
    for column, default in (("model", model), ("seed", None)):
        if column not in frame.columns:
            frame = frame.with_columns(pl.lit(default, pl.String).alias(column))
    texts = [text_column(frame[c], frame, name) for c in ("model", "seed", "source", "target")]
    frame = frame.with_columns(texts)
    source = pl.col("source").str.strip_chars()
    base = (source == "") | source.str.to_lowercase().is_in(BASES)
    seed = pl.when(pl.col("seed").str.strip_chars() != "").then(pl.col("seed"))
    frame = frame.with_columns(source=pl.when(~base).then(pl.col("source")), seed=seed)
    if "step" in frame.columns:
        frame = _with_steps(frame, name)
    seedless = pl.col("seed").is_null().all().over("model") & pl.col("source").is_not_null()
    default = pl.when(seedless).then(pl.lit(DEFAULT_SEED))
    return frame.with_columns(seed=pl.coalesce("seed", default))


def _with_steps(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    text = text_column(frame["step"], frame, name).str.strip_chars()
    steps = text.str.extract(r"^(\d{1,15})(?:\.0+)?$").cast(pl.Int64)
    unread = steps.is_null() & (text != "").fill_null(False)
    refuse(unread, frame, name, "step must be a whole number")
    alone = frame["source"].is_null() & steps.is_not_null() & (steps != 0)
    refuse(alone, frame, name, "a step without a source; name the task finetuned on")
    given = list(zip(frame["source"], steps, strict=True))
    twice = [
        step is not None and checkpoint(source or "").step is not None for source, step in given
    ]
    again = pl.Series(twice, dtype=pl.Boolean)
    refuse(again, frame, name, "both the source and the column step name a step; keep one")
    sources = [None if source is None else Checkpoint(source, step).name for source, step in given]
    return frame.with_columns(pl.Series("source", sources, pl.String)).drop("step")


def numbers(frame: pl.DataFrame, column: str, name: str) -> tuple[pl.Series, list[str]]:
    """A column as finite floats, null where not measured, and notes; refuses anything else.

    A comma is a decimal mark where the column has no point. An error after ± is dropped.
    """
    values, notes = frame[column], list[str]()
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        bare = text.str.replace(_ERROR, "")
        if (bare != text).any():
            notes.append(f"{name}: {column}: errors after ± are left out")
        if not bare.str.contains(".", literal=True).any():
            # 1,234 alone may be over a thousand; 0,863 or 51,2 in the column shows that it is not.
            thousands = bare.str.contains(r"^[+-]?[1-9]\d*,\d{3}$").fill_null(False)
            clear = bare.str.contains(",", literal=True).fill_null(False) & ~thousands
            if not clear.any():
                mark = "write it with a point, or without a mark for thousands"
                refuse_value(thousands, frame, name, column, mark)
            bare = bare.str.replace(r"^([+-]?\d+),(\d+)$", "$1.$2")
        floats = bare.cast(pl.Float64, strict=False)
        unread = floats.is_null() & (text != "").fill_null(False)
        expected = "expected a number, or nothing where not measured"
        refuse_value(unread, frame, name, column, expected)
    elif values.dtype == pl.Boolean or values.dtype.is_numeric() or values.dtype == pl.Null:
        floats = values.cast(pl.Float64)
    else:
        raise DataError(f"{name}: column {column!r} holds {values.dtype}, expected numbers")
    refuse_value(floats.is_infinite(), frame, name, column, "expected a finite number")
    return floats.fill_nan(None).alias(column), notes


def accuracies(frame: pl.DataFrame, name: str) -> tuple[pl.Series, list[str]]:
    """The column accuracy as fractions in [0, 1], and notes; refuses what may be either unit.

    It is percent if every value has the sign, or if the column as a whole can be nothing else: no
    value above 100, some above 10, none between 0 and 1.
    """
    values, bare = frame["accuracy"], _without_percent(frame["accuracy"])
    signed = bare.ne_missing(values)
    if signs := bool(signed.any()):
        filled = (bare.str.strip_chars() != "").fill_null(False)
        expected = "but other values have the sign %; give it to every value or to none"
        refuse_value(filled & ~signed, frame, name, "accuracy", expected)
    found, notes = numbers(frame.with_columns(accuracy=bare), "accuracy", name)
    low = "expected 0 to 1. A correlation such as MCC is not an accuracy; leave that target out"
    refuse_value(found < 0, frame, name, "accuracy", low)
    most = max(found.drop_nulls().to_list(), default=0.0)
    if signs or most > 1:
        expected = "expected a fraction in [0, 1], or percent up to 100"
        refuse_value(found > 100, frame, name, "accuracy", expected)
        if not signs:
            remedy = "write all as fractions (0.863), or give every value the sign % (86.3%)"
            highest = frame["accuracy"][found.arg_max() or 0]
            mixed = f"beside {highest!r}, so fractions and percent are mixed; {remedy}"
            refuse_value((found > 0) & (found <= 1), frame, name, "accuracy", mixed)
            unclear = f"neither a fraction nor clearly percent; {remedy}"
            if most <= _LEAST_PERCENT:
                refuse_value(found > 1, frame, name, "accuracy", unclear)
        notes.append(f"{name}: accuracies are percent and were divided by 100")
        found = found / 100
    return found, notes


def _without_percent(values: pl.Series) -> pl.Series:
    """A text column without % signs after a value or its error; other columns unchanged."""
    if values.dtype != pl.String:
        return values
    bare = values.str.replace(r"\s*%\s*$", "")
    return bare.str.replace(r"\s*%(\s*(?:±|\+/-|\+-|\\pm))", "$1")


def refuse_value(
    bad: pl.Series, frame: pl.DataFrame, name: str, column: str, expected: str
) -> None:
    """Refuse the first bad number of a column, with its row and value."""
    for found in frame[column].filter(bad).head(1):
        found = found.strip()[:40] if isinstance(found, str) else found
        refuse(bad, frame, name, f"{column} is {found!r}, {expected}")
