"""Open files of other evaluation harnesses, and read single values out of them.

The formats are JSON, JSON lines, CSV, TSV, xlsx and Inspect's zip archives; the first bytes decide.
Sizes and numbers of files are limited here. Pickles are never opened, because they can run code.
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
from typing import Any, NamedTuple

from transferscope.errors import DataError, MissingExtra
from transferscope.readers.files import read_bytes
from transferscope.tasks.untrusted import json_lines, load_json, shown

LARGEST = 1 << 29
"""Most bytes of a file, packed or unpacked."""
MOST_FILES = 10_000
"""Most files in a folder."""
_INSPECT_HEADERS = ("header.json", "_journal/start.json")
"""Parts of an Inspect archive that name the task; the first is written when the run ends."""
_INSPECT_HEAVY = ("events", "transcript", "messages", "attachments", "store")
"""Large keys of an Inspect sample that hold no result."""
_DAMAGED = (
    *(ValueError, TypeError, RecursionError, RuntimeError, EOFError, OSError),
    *(zlib.error, zipfile.BadZipFile),
)
_RESULTS = (".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".eval", ".pkl", ".parquet")
_CHECKPOINT = re.compile(
    r"((.*_)?config|tokenizer|special_tokens_map|added_tokens|vocab|chat_template|trainer_state"
    r"|training_args|(train|all)_results|.*\.index)\.json"
)
"""Files that every checkpoint's folder holds."""


class ForeignFile(NamedTuple):
    """A parsed file, not yet interpreted."""

    value: Any
    """The JSON object; None if the file is rows."""
    rows: list[tuple[int, dict[str, Any]]]
    """Numbered rows: JSON lines, a JSON list of objects, or a table. A JSON object is its single
    row, because a file of JSON lines may have only one."""
    broken: str = ""
    """Why the rest of the file could not be parsed; empty if all of it was."""
    name: str = ""
    """File name without folder."""
    sha256: str = ""
    folder: str = ""
    """Name of the containing folder, where HELM names its scenario."""

    @property
    def first(self) -> dict[str, Any]:
        return self.rows[0][1] if self.rows else {}

    def refuse(self, row: int, what: str) -> DataError:
        """The error to raise for a row."""
        return DataError(f"{shown(self.name)}: row {row}: {what}")


def load(path: Path) -> ForeignFile | None:
    """Parse one file; None for images, weights, prose and pickles.

    Raises:
        DataError: the file is missing, too large, or a damaged archive.
        MissingExtra: the file is xlsx, and the package that reads xlsx is not installed.
    """
    name, start = path.name, read_bytes(path, 4096)
    packed = start.startswith(b"PK\x03\x04")
    if not packed and (b"\0" in start or not start.strip()):
        return None
    data = read_bytes(path, LARGEST + 1)
    if len(data) > LARGEST:
        raise DataError(f"{shown(name)}: must be at most {LARGEST >> 20} MB; the file is larger")
    if (parsed := _archive(data, shown(name)) if packed else _text(data)) is None:
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    return parsed._replace(name=name, sha256=sha256, folder=path.resolve().parent.name)


def _text(data: bytes) -> ForeignFile | None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if text.lstrip()[:1] not in ("{", "["):
        return _table(text)
    try:
        value = load_json(text)
    except ValueError as error:
        return _json_lines(text, error)
    if isinstance(value, dict):
        return ForeignFile(value, [(1, value)])
    rows = [(n, row) for n, row in enumerate(value, 1) if isinstance(row, dict)]
    odd = len(value) - len(rows)
    return ForeignFile(None, rows, f"{odd} entries are not JSON objects" if odd else "")


def _json_lines(text: str, error: ValueError) -> ForeignFile:
    """JSON lines up to the first that is not an object; `error`: why the text is not one value."""
    rows: list[tuple[int, dict[str, Any]]] = []
    filled, broken = text.rstrip(), ""
    for number, row in json_lines(text):
        if isinstance(row, dict):
            rows.append((number, row))
            continue
        if rows and number == filled.count("\n") + 1:
            broken = f"row {number} is cut short; copy the file again"
        elif rows:
            broken = f"row {number} is not a JSON object"
        elif not isinstance(error, json.JSONDecodeError):
            broken = "JSON is nested too deeply"
        elif error.msg.startswith("Unterminated string") or error.pos >= len(filled):
            broken = f"truncated JSON, {len(text):,} characters; copy the file again"
        else:
            broken = f"not JSON: {error}"
        break
    return ForeignFile(None, rows, broken)


def _table(text: str) -> ForeignFile | None:
    header = text.partition("\n")[0]
    comma = "\t" if "\t" in header else ","
    if comma not in header and header.strip().strip('"') != "Overall":
        return None
    records = csv.reader(io.StringIO(text, newline=""), delimiter=comma)
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        columns = [column.strip() for column in next(records)]
        if max(Counter(columns).values()) > 1:
            return ForeignFile(None, [], "the header repeats a column")
        for number, record in enumerate(filter(None, records), 1):
            if len(record) != len(columns):
                widths = f"{len(record)} fields, expected {len(columns)}"
                return ForeignFile(None, rows, f"row {number}: {widths}")
            rows.append((number, dict(zip(columns, record, strict=True))))
    except (csv.Error, StopIteration) as error:
        return ForeignFile(None, [], f"not a readable table: {error}")
    return ForeignFile(None, rows)


def _archive(data: bytes, name: str) -> ForeignFile | None:
    """A workbook or an Inspect log; None for any other zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            if not names & {"xl/workbook.xml", *_INSPECT_HEADERS}:
                return None
            if sum(member.file_size for member in archive.infolist()) > LARGEST:
                most = f"must unpack to at most {LARGEST >> 20} MB"
                raise DataError(f"{name}: {most}; it is larger")
            return _xlsx(data, name) if "xl/workbook.xml" in names else _inspect(archive, name)
    except (zipfile.BadZipFile, NotImplementedError):
        if not name.lower().endswith(".eval"):
            return None
        raise DataError(f"{name}: this Inspect log is cut short; copy it again") from None


def _inspect(archive: zipfile.ZipFile, name: str) -> ForeignFile:
    """The log in its JSON form; without its header, the log of an unfinished run."""
    names = archive.namelist()
    try:
        header = next(each for each in _INSPECT_HEADERS if each in names)
        log: dict[str, Any] = {"status": "started", **json.loads(archive.read(header))}
        log["samples"] = samples = []
        for each in sorted(each for each in names if each.startswith("samples/")):
            sample = json.loads(archive.read(each))
            if isinstance(sample, dict):
                sample = {k: v for k, v in sample.items() if k not in _INSPECT_HEAVY}
            samples.append(sample)
    except NotImplementedError:
        raise DataError(
            f"{name}: this Inspect log is compressed with zstd; convert it by "
            f"`inspect log convert {name} --to json --output-dir json/`"
        ) from None
    except _DAMAGED as error:
        raise DataError(f"{name}: this Inspect log is damaged: {_line(error)}") from None
    return ForeignFile(log, [(1, log)])


def _xlsx(data: bytes, name: str) -> ForeignFile | None:
    """The first sheet, or the one called ALL."""
    try:
        import fastexcel  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtra(
            f"{name}: xlsx needs the extra xlsx (pip install 'transferscope[xlsx]'); or let "
            f"VLMEvalKit write tables (PRED_FORMAT=tsv), or save the sheet as CSV"
        ) from None
    import polars as pl

    logging.getLogger("fastexcel").setLevel(logging.ERROR)  # it warns of empty columns
    try:
        sheets = pl.read_excel(io.BytesIO(data), sheet_id=0, raise_if_empty=False)
    except Exception as error:
        raise DataError(f"{name}: not a readable workbook: {_line(error)}") from None
    # VSI-Bench's workbooks have one sheet for each question type beside the sheet of all.
    frame = sheets.get("ALL", next(iter(sheets.values()), None))
    if frame is None:
        return None
    return ForeignFile(None, list(enumerate(frame.iter_rows(named=True), 1)))


def _line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:100]


def files_in(path: Path) -> Iterator[Path]:
    """The file itself, or all files below a folder, in order; links are left out."""
    if not path.is_dir():
        yield path
        return
    count = 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        for file in (Path(folder, name) for name in sorted(names)):
            if file.is_symlink() or not file.is_file():
                continue
            count += 1
            if count > MOST_FILES:
                raise DataError(
                    f"{shown(str(path))}: must hold at most {MOST_FILES:,} files; name the folder "
                    f"that holds the harness's files"
                )
            yield file


def described(path: Path, file: ForeignFile | None) -> str | None:
    """What a file is that no harness recognizes; None if a note would not help."""
    ending = path.suffix.lower()
    if file is None and ending == ".pkl":
        return "a pickle, which is never opened; let the harness write tables or JSON"
    if file is None and ending == ".eval":
        return "an Inspect log"
    silent = ending not in _RESULTS or _CHECKPOINT.fullmatch(path.name)
    return None if silent else "not a file of a known harness"
