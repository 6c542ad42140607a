"""A table file, CSV, JSON lines or Parquet, as columns with the line of each row.

CSV columns are separated by commas, semicolons or tabs, whichever the header has.

In:   a path.
Out:  a `ReadInput`, whose columns are not yet checked.

Each error is one line that names the file and the row; no library's own message gets out.
"""

import csv
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from transferscope.analysis.parts import Training
from transferscope.analysis.verdict import Check
from transferscope.errors import DataError
from transferscope.matrix import Ceiling
from transferscope.readers.gold import gold_of
from transferscope.store.parquet import parquet_table
from transferscope.tasks.untrusted import json_lines, load_json, shown

Kind = Literal["pgf table", "accuracy table", "predictions"]
_TABLE = "expected a table, CSV, JSON lines or Parquet"
_LONGEST_HEADER = 200
"""Characters of an unknown header that a message shows."""
_LARGEST_MAPPING = 1 << 20
"""Bytes of a mapping file."""
_MOST_KEYS = 100
"""Different keys of the objects in JSON lines."""
_STARTS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"RIFF": "an image, a sound or a video",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP file or an Excel sheet",
    b"\x1f\x8b": "gzip data",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "XML",
    b"<svg": "an SVG image",
    b"#!": "a program",
}
"""First bytes of files that are not tables, in lower case."""
_CONTROL = bytes({*range(9), *range(14, 32)} - {0})
"""Characters that text does not contain."""
_RUNS = re.compile(rb"^(?:\xef\xbb\xbf)?runs[ \t]*:", re.M)


class ReadInput(NamedTuple):
    """One input: a file as it was found, whose rows `formats.read_table` checks."""

    rows: pl.DataFrame
    """Text in CSV and JSON, the file's types in Parquet; with `row`, the line in CSV, where the
    header is line 1, and in JSON lines, else rows from 1. Checked: model, seed, source, target, and
    those of its kind."""
    file: str
    """Its name without its folder."""
    sha256: str
    notes: Sequence[str] = ()
    """What was converted."""
    records: tuple[Mapping[str, Any], ...] = ()
    """The records that a study keeps beside its tables."""
    controls: pl.DataFrame | None = None
    """Rows of placebo runs, from a study folder."""
    states: pl.DataFrame | None = None
    """Rows of snapshots and strengths (`Jigsaw @ 40`, `Jigsaw x 0.5`), from a study folder, with
    the finished adapters among them."""
    parts: Sequence[dict[str, str]] = ()
    """Entries of `attrs["inputs"]`, if the input is more than one file."""
    checks: Sequence[Check] = ()
    """Why verdicts are void or doubtful."""
    study: bytes | None = None
    """The study file of a study folder."""
    trainings: Sequence[Training] = ()
    """How the adapters of a study folder learned."""
    bundled: bool = False
    """Whether it comes from a bundle, so that folders it names are those of another machine."""

    @property
    def kind(self) -> Kind:
        if "item" in self.rows.columns:
            return "predictions"
        return "pgf table" if "pgf" in self.rows.columns else "accuracy table"

    @property
    def models(self) -> list[str]:
        return self.rows["model"].unique(maintain_order=True).to_list()

    @property
    def gold(self) -> dict[str, str]:
        return gold_of(self.rows, self.records)

    @property
    def entries(self) -> list[dict[str, Any]]:
        names = ", ".join(self.models)
        whole = {
            "model": names,
            "file": self.file,
            "sha256": self.sha256,
            "kind": self.kind if not self.parts else "mapping file",
            "gold": self.gold,
        }
        renamed = {"model": names} if len(self.models) == 1 else {}
        return [whole, *(part | renamed for part in self.parts)]


def read_file(path: str | os.PathLike[str]) -> ReadInput:
    """Read a CSV, JSON lines or Parquet file; its first bytes decide which of them it is.

    Refuses a file without rows and any other file; the message states what it looks like.
    """
    path = Path(path)
    name, data = shown(path.name), read_bytes(path)
    if not data.strip():
        raise DataError(f"{name}: the file is empty")
    if kind := _looks_like(data, path.suffix.lower()):
        raise DataError(f"{name}: looks like {kind}; {_TABLE}")
    if data[:4] == b"PAR1" or path.suffix.lower() == ".parquet":
        frame = parquet_table(data, name)
        lines = np.arange(1, frame.height + 1)
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            why = "not UTF-8 text; save the file as UTF-8"
            raise DataError(f"{name}: row {line}: {why}") from None
        frame, lines = (_json if re.match(r"\s*(\{|\[\s*\{)", text) else _csv)(text, name)
    if frame.is_empty():
        raise DataError(f"{name}: the file has a header but no rows")
    rows = frame.drop("row", "file", strict=False).with_columns(pl.Series("row", lines))
    return ReadInput(rows, name, hashlib.sha256(data).hexdigest())


def read_bytes(path: Path, most: int = -1) -> bytes:
    """At most the first so many bytes of a file, by default all; refuses what cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except FileNotFoundError:
        raise DataError(f"{shown(str(path))}: no such file or folder") from None
    except OSError as error:
        raise DataError(f"{shown(str(path))}: cannot be read: {error.strerror}") from None


def is_mapping(path: Path) -> bool:
    """Whether a file is a mapping file: short text with `runs:` at the beginning of a line."""
    try:
        start = read_bytes(path, _LARGEST_MAPPING + 1)
    except DataError:
        return False
    return len(start) <= _LARGEST_MAPPING and b"\0" not in start and _RUNS.search(start) is not None


def joined(files: Sequence[ReadInput], whole: Any) -> ReadInput:
    """Files of the same columns as one; the hash `whole` takes in their names and hashes."""
    for one in files:
        whole.update(f"{one.file} {one.sha256}\n".encode())
    if len(files) == 1:
        return files[0]
    name = f"{files[0].file} to {files[-1].file}"
    frames = [one.rows for one in files]
    try:
        if len({frozenset(frame.columns) - {"group"} for frame in frames}) > 1:
            raise pl.exceptions.SchemaError
        # Cells that a study finished before there were groups stand beside later ones.
        return ReadInput(pl.concat(frames, how="diagonal"), name, "")
    except pl.exceptions.PolarsError:
        raise DataError(f"{name}: the tables of a run must have the same columns") from None


def _looks_like(data: bytes, suffix: str) -> str:
    """The kind of a file that is not a table; empty for one that may be a table."""
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


def _json(text: str, name: str) -> tuple[pl.DataFrame, np.ndarray]:
    """Objects, one a line or in one list, as columns of text; nested values become null."""
    try:
        whole = load_json(text)
    except ValueError:
        whole = None
    if isinstance(whole, dict):
        raise DataError(
            f"{name}: one JSON object; expected a table: an object on each line, with source, "
            f"target, item and score (docs/harnesses.md)"
        )
    rows = list(enumerate(whole, 1) if isinstance(whole, list) else json_lines(text))
    columns: dict[str, None] = {}
    for place, (number, row) in enumerate(rows):
        if isinstance(row, ValueError):
            where = f"row {place + 1}" if place else "the file"
            cut = "is not a JSON object; was the file cut short?"
            raise DataError(f"{name}: {where} {cut if place else f'is not JSON; {_TABLE}'}")
        if not isinstance(row, dict):
            raise DataError(f"{name}: row {number} is not a JSON object")
        columns |= dict.fromkeys(row)
        if len(columns) > _MOST_KEYS:
            raise DataError(f"{name}: row {number}: over {_MOST_KEYS} different keys; {_TABLE}")
    cells = {column: [_as_text(row.get(column)) for _, row in rows] for column in columns}
    try:
        frame = pl.DataFrame(cells, schema=dict.fromkeys(columns, pl.String))
    except UnicodeEncodeError:
        raise DataError(f"{name}: holds half a surrogate pair, which is no character") from None
    return frame, np.array([number for number, _ in rows])


def _as_text(value: Any) -> str | None:
    """A JSON value as text; a whole float, as pandas writes an integer, without its point."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) and value == value else None


def _csv(text: str, name: str) -> tuple[pl.DataFrame, np.ndarray]:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{name}: row {line}: a NUL character; expected CSV text or Parquet")
    first = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    comma = max(",;\t", key=first.count)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    try:
        header = [column.strip() for column in next(records)]
    except (csv.Error, StopIteration):
        raise DataError(f"{name}: row 1: not a readable header; {_TABLE}") from None
    if not header:
        raise DataError(f"{name}: row 1 is blank; expected the header")
    again = next((column for column, count in Counter(header).items() if count > 1), None)
    if again == "":
        blank = header.count("")
        raise DataError(f"{name}: row 1: {blank} columns have no name; expected the header")
    if again:
        raise DataError(f"{name}: duplicated column {again!r}; keep one")
    not_a_table = ""  # a better reason than any wrong row
    if len(header) == 1:
        column = header[0][:_LONGEST_HEADER]
        if "|" in header[0]:
            raise DataError(f"{name}: the header is {column!r}; separate the columns with commas")
        not_a_table = f"the first row, {column!r}, has a single column; {_TABLE}"
    rows, lines, start = [], [], records.line_num + 1
    try:
        for record in records:
            if len(record) > 1 or "".join(record).strip():  # not a blank line
                rows.append(record)
                lines.append(start)
            start = records.line_num + 1
    except csv.Error as error:
        wrong = f"row {start}: not readable as CSV: {error}"
        raise DataError(f"{name}: {not_a_table or wrong}") from None
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            wrong = f"row {line}: {len(row)} fields, expected {len(header)}"
            if len(row) > len(header):
                wrong += "; where numbers have decimal commas, separate the columns with semicolons"
            raise DataError(f"{name}: {not_a_table or wrong}")
    return pl.DataFrame(rows, dict.fromkeys(header, pl.String), orient="row"), np.array(lines)


def read_ceiling(text: str) -> Ceiling:
    """The ceiling that an option names: a number, `self`, or the path of a table.

    The table has a `ceiling` for each `target`; no target is there twice.
    """
    if text == "self":
        return "self"
    with suppress(ValueError):
        return float(text)
    if not Path(text).exists():
        raise DataError(
            f"ceiling {shown(text)!r} is not a number, not 'self', and no such file exists"
        )
    one = read_file(text)
    for column in ("target", "ceiling"):
        if column not in one.rows.columns:
            found = ", ".join(map(repr, one.rows.drop("row").columns))
            raise DataError(
                f"{one.file}: no column {column!r}; expected target, ceiling; found {found}"
            )
    ceilings: dict[str, float] = {}
    for line, target, value in one.rows.select("row", "target", "ceiling").rows():
        if target in ceilings:
            raise DataError(f"{one.file}: row {line}: target {target!r} has a ceiling already")
        try:
            ceilings[str(target)] = float(value)
        except (TypeError, ValueError):
            raise DataError(
                f"{one.file}: row {line}: ceiling is {value!r}, expected a fraction in (0, 1]"
            ) from None
    return ceilings
