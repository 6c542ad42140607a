"""Names that cannot be what they say: one task or seed written in two ways, a base called a source.

Names are kept exactly as given, so two spellings would be two tasks: a finetune's effect on its own
task would count as transfer, and each half of a matrix would look as if the rest were not measured.

In:   an input's checked rows.
Out:  nothing, or a `DataError` that names the file, the row and both spellings.
"""

import re
import unicodedata

import polars as pl

from transferscope.errors import DataError

BASES = {"base", "baseline", "none", "null", "nan", "na", "n/a", "-", "--"}
"""How people write "no source", in small letters."""
MEANS = {"average", "avg", "mean", "overall"}
"""How people call a mean over the targets, in small letters."""


def check_spelling(rows: pl.DataFrame, name: str) -> None:
    """Refuse names that differ in spelling alone, and words that stand for no task.

    Args:
        rows: columns model, seed, source and target, and `row` where they are of one file.
        name: the file's name.

    Raises:
        DataError: two tasks (sources and targets together), models, or seeds of one model differ
            only in case, spaces, or marks between words; a source says that there is none; or a
            target is a mean of the others.
    """
    numbered = rows if "row" in rows.columns else rows.with_columns(row=pl.lit(None))
    for column, words, remedy in (
        ("source", BASES, "rows of the untuned model have an empty source"),
        ("target", MEANS, "a mean of the other targets is no target; leave such rows out"),
    ):
        found = rows[column].str.strip_chars().str.to_lowercase().is_in(words).fill_null(False)
        if found.any():
            said, row = numbered.filter(found).select(column, "row").row(0)
            raise DataError(f"{name}:{_at(row)} {column} is {said!r}; {remedy}")
    _check_alike(numbered, ["source", "target"], "task", name)
    _check_alike(numbered, ["model"], "model", name)
    for _, part in numbered.group_by("model", maintain_order=True):
        _check_alike(part, ["seed"], "seed", name)


def _check_alike(rows: pl.DataFrame, columns: list[str], what: str, file: str) -> None:
    seen: dict[str, tuple[str, int | None]] = {}
    for column in columns:
        named = rows.select(column, "row").drop_nulls(column)
        for name, row in named.unique(column, keep="first", maintain_order=True).iter_rows():
            before, place = seen.setdefault(_plain(name, number=what == "seed"), (name, row))
            if before != name:
                there = "" if place is None else f" (row {place})"
                raise DataError(
                    f"{file}:{_at(row)} {what} {name!a} and {before!a}{there} differ in spelling "
                    f"alone; write them alike"
                )


def _at(row: int | None) -> str:
    return "" if row is None else f" row {row}:"


def _plain(name: str, *, number: bool) -> str:
    """What two spellings of one name share."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(each for each in text if each.isprintable() or each.isspace())
    text = " ".join(re.sub(r"_|(?<=\w)-(?=\w)", " ", text).split())
    if number and (found := re.fullmatch(r"(?:seed ?)?0*(\d+)(?:\.0*)?", text)):
        return found[1]
    return text
