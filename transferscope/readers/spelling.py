"""Names of tasks, models and seeds: refuse those that mislead a reader.

Names are kept exactly as given, so two spellings would be two tasks: a finetune's effect on its own
task would count as transfer, and each half of a matrix would look as if the rest were not measured.

In:   an input's checked rows.
Out:  nothing, or a `DataError` that names the file, the row and both spellings.
"""

import re
import unicodedata

import polars as pl

from transferscope.errors import DataError
from transferscope.tasks.naming import BASES, MEANS

LONGEST_NAME = 200


def name_problem(value: str) -> str | None:
    """Why a name cannot be shown or is ambiguous; None if it can."""
    if not value.strip():
        return "is empty"
    if len(value) > LONGEST_NAME:
        return f"{value[:20]!r}... has {len(value)} characters, at most {LONGEST_NAME} are allowed"
    return f"{value!r} holds a NUL character" if "\0" in value else None


def check_name(value: str, what: str) -> None:
    """Refuse a name that cannot be shown or is ambiguous."""
    if problem := name_problem(value):
        raise DataError(f"{what} {problem}")


def check_spelling(rows: pl.DataFrame, name: str) -> None:
    """Refuse names in two spellings, words for "no source" as a source, and means as a target.

    Spellings differ only in case, spaces, or marks between words: of tasks (sources and targets
    together), of models, or of the seeds of one model.

    Args:
        rows: columns model, seed, source and target, and `row` if they are of one file.
    """
    numbered = rows if "row" in rows.columns else rows.with_columns(row=pl.lit(None))
    for column, words, remedy in (
        ("source", BASES, "rows of the untuned model have an empty source"),
        ("target", MEANS, "a mean of the other targets is no target; leave such rows out"),
    ):
        found = rows[column].str.strip_chars().str.to_lowercase().is_in(words).fill_null(False)
        if found.any():
            value, row = numbered.filter(found).select(column, "row").row(0)
            place = "" if row is None else f" row {row}:"
            raise DataError(f"{name}:{place} {column} is {value!r}; {remedy}")
    _check_alike(numbered, ["source", "target"], "task", name)
    _check_alike(numbered, ["model"], "model", name)
    for _, part in numbered.group_by("model", maintain_order=True):
        _check_alike(part, ["seed"], "seed", name)


def _check_alike(rows: pl.DataFrame, columns: list[str], what: str, file: str) -> None:
    seen: dict[str, tuple[str, int | None]] = {}
    for column in columns:
        named = rows.select(column, "row").drop_nulls(column)
        for name, row in named.unique(column, keep="first", maintain_order=True).iter_rows():
            text = unicodedata.normalize("NFKC", name).casefold()
            text = "".join(each for each in text if each.isprintable() or each.isspace())
            key = " ".join(re.sub(r"_|(?<=\w)-(?=\w)", " ", text).split())
            if what == "seed" and (number := re.fullmatch(r"(?:seed ?)?0*(\d+)(?:\.0*)?", key)):
                key = number[1]
            before, first_row = seen.setdefault(key, (name, row))
            if before != name:
                here = "" if row is None else f" row {row}:"
                there = "" if first_row is None else f" (row {first_row})"
                raise DataError(
                    f"{file}:{here} {what} {name!a} and {before!a}{there} differ in spelling "
                    f"alone; write them alike"
                )
