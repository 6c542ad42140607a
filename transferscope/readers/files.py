"""A table file, CSV, JSON lines or Parquet, as untouched columns with the line of each row.

Columns of CSV are separated by commas, semicolons or tabs, as the header is.

In:   a path.
Out:  a `Raw`: columns of CSV and JSON are all text, Parquet columns have the file's types.

What is wrong with a file is one line that names it and the row; no library's own message gets out.
"""

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Int

from transferscope.errors import DataError
from transferscope.predictions import shown

_LONGEST_HEADER = 200  # characters shown of a header that is not understood
_LARGEST_MAPPING = 1 << 20  # bytes
_FEW_ROWS = 1_000_000  # which are no danger, however few bytes hold them
_ROWS_A_BYTE = 8
_TABLE = "expected a table, CSV, JSON lines or Parquet"
_MOST_KEYS = 100  # of the objects in JSON lines
_STARTS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "a picture, a sound or a video",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP file or an Excel sheet",
    b"\x1f\x8b": "gzip data",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "XML",
    b"<svg": "an SVG picture",
    b"#!": "a program",
}
"""How files begin that are no tables, in small letters where they are text."""
_CONTROL = bytes({*range(9), *range(14, 32)} - {0})
"""Characters that text does not hold."""
_RUNS = re.compile(rb"^(?:\xef\xbb\xbf)?runs[ \t]*:", re.M)


class Raw(NamedTuple):
    """A file as it was found."""

    name: str
    """File name without its folder."""
    sha256: str
    frame: pl.DataFrame
    lines: Int[np.ndarray, " row"]
    """Line of each row in a CSV file, where the header is line 1, and in JSON lines; in Parquet and
    in a JSON list, rows from 1."""


def read_file(path: str | os.PathLike[str]) -> Raw:
    """Read a CSV, JSON lines or Parquet file; which of them it is, the first bytes say.

    Raises:
        DataError: the file is missing, empty, has no rows, or is none of these; the message says
            what it looks like, where that is known.
    """
    path = Path(path)
    name = shown(path.name)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{shown(str(path))}: no such file or folder") from None
    except OSError as error:
        raise DataError(f"{shown(str(path))}: cannot be read: {error.strerror}") from None
    if not data.strip():
        raise DataError(f"{name}: the file is empty")
    if kind := _looks_like(data, path.suffix.lower()):
        raise DataError(f"{name}: looks like {kind}; {_TABLE}")
    if data[:4] == b"PAR1" or path.suffix.lower() == ".parquet":
        frame, lines = _parquet(data, name)
    elif re.match(rb"(\xef\xbb\xbf)?\s*(\{|\[\s*\{)", data):
        frame, lines = _json(data, name)
    else:
        frame, lines = _csv(data, name)
    if frame.is_empty():
        raise DataError(f"{name}: the file has a header but no rows")
    return Raw(name, hashlib.sha256(data).hexdigest(), frame, lines)


def joined(files: Sequence[Raw], whole: Any) -> Raw:
    """Files of the same columns as one; the hash `whole` takes in their names and hashes."""
    for one in files:
        whole.update(f"{one.name} {one.sha256}\n".encode())
    if len(files) == 1:
        return files[0]
    name = f"{files[0].name} to {files[-1].name}"
    try:
        frame = pl.concat(one.frame for one in files)
    except pl.exceptions.PolarsError:
        raise DataError(f"{name}: the tables of a run must have the same columns") from None
    return Raw(name, "", frame, np.concatenate([one.lines for one in files]))


def _looks_like(data: bytes, suffix: str) -> str:
    """What a file looks like that is no table; empty for what may be one."""
    begin = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, kind in _STARTS.items():
        if data.startswith(start) or begin[: len(start)].lower() == start:
            return kind
    first = begin.split(b"\n", 1)[0]
    if b"," not in first and (suffix in (".md", ".markdown") or re.match(rb"#{1,6} ", first)):
        return "Markdown"
    if data[:4] == b"PAR1" or begin[:2] in (b"\xff\xfe", b"\xfe\xff"):  # the latter: UTF-16
        return ""
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "binary data, not text" if any(each in _CONTROL for each in begin) else ""
    return ""


def _parquet(data: bytes, name: str) -> tuple[pl.DataFrame, np.ndarray]:
    """Columns of lists and the like, which no format has a use for, are there with nothing in them:
    a few bytes may stand for a list of any length."""
    try:
        schema = pl.read_parquet_schema(io.BytesIO(data))
        flat = [column for column, kind in schema.items() if not kind.is_nested()]
        most = max(_FEW_ROWS, _ROWS_A_BYTE * len(data))
        frame = pl.read_parquet(io.BytesIO(data), columns=flat, n_rows=most + 1)
        if frame.height > most:
            rows = int(pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect().item())
            raise DataError(
                f"{name}: {rows:,} rows in {len(data):,} bytes, at most {most:,} are allowed"
            )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        raise DataError(f"{name}: not a readable Parquet file; was it cut short?") from None
    nothing = [
        pl.lit(None, dtype=kind).alias(column)
        for column, kind in schema.items()
        if kind.is_nested()
    ]
    return frame.with_columns(nothing), np.arange(1, frame.height + 1)


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}: row {line}: not UTF-8 text; save the file as UTF-8") from None


def _json(data: bytes, name: str) -> tuple[pl.DataFrame, np.ndarray]:
    """Objects, one a line or in one list, as columns of text; what is no text, number or truth
    value is left out."""
    text = _decoded(data, name)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict):
        raise DataError(
            f"{name}: one JSON object; expected a table: an object on each line, with source, "
            f"target, item and score (docs/harnesses.md)"
        )
    rows: list[tuple[int, Any]] = list(enumerate(whole, 1)) if isinstance(whole, list) else []
    lines = [] if rows else text.split("\n")
    try:
        for number, line in enumerate(lines, 1):
            if line.strip():
                rows.append((number, json.loads(line)))
    except (ValueError, RecursionError):
        where = f"row {len(rows) + 1}" if rows else "the file"
        what = "is no JSON object; was the file cut short?" if rows else f"is no JSON; {_TABLE}"
        raise DataError(f"{name}: {where} {what}") from None
    columns: dict[str, None] = {}
    for number, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{name}: row {number} is no JSON object")
        columns |= dict.fromkeys(row)
        if len(columns) > _MOST_KEYS:
            raise DataError(f"{name}: row {number}: over {_MOST_KEYS} different keys; {_TABLE}")
    cells = {column: [_cell(row.get(column)) for _, row in rows] for column in columns}
    try:
        frame = pl.DataFrame(cells, schema=dict.fromkeys(columns, pl.String))
    except UnicodeEncodeError:
        raise DataError(f"{name}: holds half a surrogate pair, which is no character") from None
    return frame, np.array([number for number, _ in rows])


def _cell(value: Any) -> str | None:
    """A JSON value as text; a whole float, as pandas writes an integer, without its point."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None if value != value else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else None


def _csv(data: bytes, name: str) -> tuple[pl.DataFrame, np.ndarray]:
    text = _decoded(data, name)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{name}: row {line}: a NUL character; expected CSV text or Parquet")
    if '"' not in text:  # so every line is a row
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    first = text.lstrip("\r\n").partition("\n")[0]
    comma = max(",;\t", key=first.count)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    try:
        header = [column.strip() for column in next(records)]
    except (csv.Error, StopIteration):
        raise DataError(f"{name}: row 1: no header that can be read; {_TABLE}") from None
    if not header:
        raise DataError(f"{name}: row 1 is blank; expected the header")
    _check_header(header, name)
    if '"' in text:
        return _quoted(records, header, name)
    return _plain(text.split("\n"), records.line_num, header, name, comma)


def _check_header(header: list[str], name: str) -> None:
    again = [column for column, count in Counter(header).items() if count > 1]
    if again and not again[0]:
        blank = header.count("")
        raise DataError(f"{name}: row 1: {blank} columns have no name; expected the header")
    if again:
        raise DataError(f"{name}: duplicated column {again[0]!r}; keep one")
    if len(header) == 1 and "|" in header[0]:
        shown = header[0][:_LONGEST_HEADER]
        raise DataError(f"{name}: the header is {shown!r}; separate the columns with commas")


def _plain(
    all_lines: list[str], first: int, header: list[str], name: str, comma: str
) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows of a file without quotes, where every line that is not blank is a row."""
    rows = pl.Series(all_lines[first:], dtype=pl.String)
    filled = rows.str.strip_chars() != ""
    lines = np.flatnonzero(filled.to_numpy()) + first + 1
    rows = rows.filter(filled)
    _check_widths((rows.str.count_matches(comma, literal=True) + 1).to_numpy(), lines, header, name)
    schema = dict.fromkeys(header, pl.String)
    if rows.is_empty():
        return pl.DataFrame(schema=schema), lines
    data = io.BytesIO(rows.str.join("\n")[0].encode())
    return pl.read_csv(
        data, has_header=False, schema=schema, quote_char=None, separator=comma
    ), lines


def _quoted(records: Any, header: list[str], name: str) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows of a file whose quoted fields may hold commas and line breaks."""
    rows, lines, start = [], [], records.line_num + 1
    try:
        for record in records:
            if record:
                rows.append(record)
                lines.append(start)
            start = records.line_num + 1
    except csv.Error as error:
        wrong = f"row {start}: not readable as CSV: {error}"
        raise DataError(f"{name}: {_no_table(header) or wrong}") from None
    _check_widths(np.array([len(row) for row in rows]), np.array(lines), header, name)
    schema = dict.fromkeys(header, pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row"), np.array(lines)


def _check_widths(widths: np.ndarray, lines: np.ndarray, header: list[str], name: str) -> None:
    wrong = np.flatnonzero(widths != len(header))
    if wrong.size:
        line, width = lines[wrong[0]], widths[wrong[0]]
        said = f"row {line}: {width} fields, expected {len(header)}"
        if width > len(header):
            said += "; where numbers have decimal commas, separate the columns with semicolons"
        raise DataError(f"{name}: {_no_table(header) or said}")


def _no_table(header: list[str]) -> str:
    """Why text is no table at all, whatever is wrong with its rows; empty where it may be one."""
    if len(header) > 1:
        return ""
    return f"the first row, {header[0][:_LONGEST_HEADER]!r}, has a single column; {_TABLE}"


def is_mapping(path: Path) -> bool:
    """Whether a file is a mapping file: short text with `runs:` at the beginning of a line."""
    try:
        with path.open("rb") as file:
            start = file.read(_LARGEST_MAPPING + 1)
    except OSError:
        return False
    return len(start) <= _LARGEST_MAPPING and b"\0" not in start and _RUNS.search(start) is not None
