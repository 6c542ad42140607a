"""Annotation files that are tables: CSV with a header."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from transferscope.builders.layout import text_of
from transferscope.builders.record import Skip
from transferscope.errors import DataError


def table_of(
    path: Path, *columns: str, places: Mapping[str, int] | None = None
) -> Iterator[tuple[str, dict[str, str]] | Skip]:
    """`(file:line, row)` for every line of a CSV file; a line of another length is skipped.

    Args:
        path: the file.
        columns: what every row has at least.
        places: where a column stands, from 0, that the header does not name.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    reader = csv.reader(io.StringIO(text_of(path), newline=""))
    try:
        header = [name.strip() for name in next(reader, [])]
        for name, place in (places or {}).items():
            if name not in header and place < len(header):
                header[place] = name
        if missing := [name for name in columns if name not in header]:
            raise DataError(
                f"{path}: has no column {missing[0]!r}; found {', '.join(header) or 'nothing'}"
            )
        for values in reader:
            where = f"{path.name}:{reader.line_num}"
            if len(values) == len(header):
                yield where, dict(zip(header, (value.strip() for value in values), strict=True))
            elif values:
                yield Skip("a line of another length than the header", where)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV: {error}") from None
