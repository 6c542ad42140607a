"""A file of a harness, taken apart: JSON, JSON lines, a table with commas or tabs, xlsx, or the zip
archive of an Inspect log.

Which of them it is, its first bytes say. Pickles are never opened, as they can run code.

In:   a path.
Out:  a `Content`, or None where the file is none of these.
"""

import csv
import hashlib
import io
import json
import logging
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transferscope.errors import DataError, MissingExtra
from transferscope.predictions import shown
from transferscope.readers.harness.record import Content

LARGEST = 1 << 29
"""Bytes of a file that is read; what is larger is refused."""
MOST_FILES = 10_000
"""Files of a folder that are looked at."""
_HEAD = 4096
_HEADERS = ("header.json", "_journal/start.json")
"""Parts of an Inspect log with what it evaluated; the first is written at the end."""
_HEAVY = ("events", "transcript", "messages", "attachments", "store")
"""Parts of an Inspect sample that are large and hold no result."""
_DAMAGED = (
    *(ValueError, TypeError, RecursionError, RuntimeError, EOFError, OSError),
    *(zlib.error, zipfile.BadZipFile),
)


def load(path: Path) -> Content | None:
    """The content of one file; None for what is no data (pictures, weights, prose, pickles).

    Raises:
        DataError: the file is missing or too large, or an archive that cannot be read.
        MissingExtra: it is xlsx, and nothing that reads xlsx is installed.
    """
    content = _load(path)
    return None if content is None else content._replace(folder=path.resolve().parent.name)


def _load(path: Path) -> Content | None:
    name = path.name
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if not _is_data(head):
                return None
            data = head + file.read(LARGEST + 1 - len(head))
    except FileNotFoundError:
        raise DataError(f"{shown(str(path))}: no such file or folder") from None
    except OSError as error:
        raise DataError(f"{shown(str(path))}: cannot be read: {error.strerror}") from None
    if len(data) > LARGEST:
        raise DataError(f"{shown(name)}: over {LARGEST >> 20} MB; too large for a harness's file")
    sha256 = hashlib.sha256(data).hexdigest()
    if head.startswith(b"PK"):
        return _archive(data, name, sha256)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if text.lstrip()[:1] in ("{", "["):
        return _json(text, name, sha256)
    return _table(text, name, sha256)


def _is_data(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04") or (b"\0" not in head and bool(head.strip()))


def _json(text: str, name: str, sha256: str) -> Content:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _lines(text, name, sha256, error)
    if isinstance(value, dict):
        return Content(name, sha256, value, [(1, value)])
    rows = [(n, row) for n, row in enumerate(value, 1) if isinstance(row, dict)]
    odd = len(value) - len(rows)
    return Content(name, sha256, None, rows, f"{odd} entries are no objects" if odd else "")


def _lines(text: str, name: str, sha256: str, error: Exception) -> Content:
    """JSON lines up to the first that is none."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            broken = _cut(text, error) if not rows else f"row {number} is no JSON object"
            if rows and number == text.rstrip().count("\n") + 1:
                broken = f"row {number} is cut short; copy the file again"
            return Content(name, sha256, None, rows, broken)
        rows.append((number, row))
    return Content(name, sha256, None, rows)


def _cut(text: str, error: Exception) -> str:
    """What is wrong with text that begins like JSON."""
    if isinstance(error, json.JSONDecodeError):
        open_end = error.msg.startswith("Unterminated string")
        if open_end or error.pos >= len(text.rstrip()):
            return f"truncated JSON, {len(text):,} characters; copy the file again"
        return f"no JSON: {error}"
    return "JSON that is nested too deeply"


def _table(text: str, name: str, sha256: str) -> Content | None:
    header = text.partition("\n")[0]
    comma = "\t" if "\t" in header else ","
    if comma not in header and header.strip().strip('"') != "Overall":
        return None
    records = csv.reader(io.StringIO(text, newline=""), delimiter=comma)
    try:
        columns = [column.strip() for column in next(records)]
        if max(Counter(columns).values()) > 1:
            return Content(name, sha256, None, [], "a column stands there twice")
        rows: list[tuple[int, dict[str, Any]]] = []
        for number, record in enumerate((record for record in records if record), 1):
            if len(record) != len(columns):
                widths = f"{len(record)} fields, expected {len(columns)}"
                return Content(name, sha256, None, rows, f"row {number}: {widths}")
            rows.append((number, dict(zip(columns, record, strict=True))))
    except (csv.Error, StopIteration) as error:
        return Content(name, sha256, None, [], f"no table that can be read: {error}")
    return Content(name, sha256, None, rows)


def _archive(data: bytes, name: str, sha256: str) -> Content | None:
    """A workbook or an Inspect log; a zip archive that is neither is no data."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            if not names & {"xl/workbook.xml", *_HEADERS}:
                return None
            if sum(member.file_size for member in archive.infolist()) > LARGEST:
                raise DataError(f"{shown(name)}: unpacks to over {LARGEST >> 20} MB; refused")
            if "xl/workbook.xml" not in names:
                return _inspect(archive, name, sha256)
    except (zipfile.BadZipFile, NotImplementedError):
        if name.lower().endswith(".eval"):
            raise DataError(
                f"{shown(name)}: an Inspect log that is cut short; copy it again"
            ) from None
        return None
    return _xlsx(data, name, sha256)


def _inspect(archive: zipfile.ZipFile, name: str, sha256: str) -> Content:
    """The log as its JSON form has it; without its header, the log of a run that did not end."""
    names = archive.namelist()
    try:
        header = next(each for each in _HEADERS if each in names)
        log = {"status": "started", **json.loads(archive.read(header))}
        samples = sorted(each for each in names if each.startswith("samples/"))
        log["samples"] = [_without(json.loads(archive.read(each)), _HEAVY) for each in samples]
    except NotImplementedError:
        raise DataError(
            f"{shown(name)}: an Inspect log that is compressed with zstd; convert it by "
            f"`inspect log convert {shown(name)} --to json --output-dir json/`"
        ) from None
    except _DAMAGED as error:
        line = re.sub(r"\s+", " ", str(error))[:100]
        raise DataError(f"{shown(name)}: a damaged Inspect log: {line}") from None
    return Content(name, sha256, log, [(1, log)])


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    """An object without some of its keys."""
    return {k: v for k, v in value.items() if k not in keys} if isinstance(value, dict) else value


def _xlsx(data: bytes, name: str, sha256: str) -> Content | None:
    """The first sheet, or the one called ALL."""
    try:
        import fastexcel  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtra(
            f"{shown(name)}: xlsx needs the extra xlsx (pip install 'transferscope[xlsx]'); or let "
            f"VLMEvalKit write tables (PRED_FORMAT=tsv), or save the sheet as CSV"
        ) from None
    import polars as pl

    logging.getLogger("fastexcel").setLevel(logging.ERROR)  # it warns of empty columns
    try:
        sheets = pl.read_excel(io.BytesIO(data), sheet_id=0, raise_if_empty=False)
    except Exception as error:
        line = re.sub(r"\s+", " ", str(error))[:100]
        raise DataError(f"{shown(name)}: not a readable workbook: {line}") from None
    # VSI-Bench's workbooks have a sheet for each type beside the one of all.
    frame = sheets.get("ALL", next(iter(sheets.values()), None))
    if frame is None:
        return None
    return Content(name, sha256, None, list(enumerate(frame.iter_rows(named=True), 1)))


def files_in(path: Path) -> Iterator[Path]:
    """A file itself, or the files of a folder and the folders in it, in order; links left out.

    Raises:
        DataError: nothing is there, or more files than any harness writes.
    """
    if not path.is_dir():
        yield path
        return
    count = 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_symlink() or not file.is_file():
                continue
            count += 1
            if count > MOST_FILES:
                raise DataError(
                    f"{shown(str(path))}: over {MOST_FILES:,} files; name the folder that "
                    f"holds the harness's files"
                )
            yield file
