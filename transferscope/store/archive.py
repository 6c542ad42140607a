"""A bundle: a study's results as one zip file, always the same bytes, and read with care.

    README.txt         what every file is
    cells.csv          one row per cell
    provenance.json    versions, hashes, machine time, and what is missing
    study.yaml, analysis.json, index.json, predictions/, controls/    as in a results folder
    run.jsonl          how each adapter learned

Unpacked it is a results folder without adapters and images. Anybody may have made a zip, so other
names, links, sizes beyond bounds and tables with another checksum than in the index are refused.
"""

import contextlib
import os
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

from transferscope import store as results
from transferscope.errors import DataError
from transferscope.store import atomic

README = "README.txt"
CELLS = "cells.csv"
PROVENANCE = "provenance.json"

MAX_BYTES = 8 << 30
"""Of all entries, unpacked."""
MAX_INFLATION = 100
"""Times the zip file's own size that its entries may have together; a real bundle has up to 10."""

_FILES = (
    *(README, CELLS, PROVENANCE),
    *(results.STUDY, results.ANALYSIS, results.INDEX, results.LOG),
)
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


def is_bundle(path: Path) -> bool:
    """Whether a path is to be read as a bundle, by its ending."""
    return path.suffix.lower() == ".zip"


def pack(path: str | os.PathLike[str], files: Mapping[str, bytes | Path]) -> None:
    """Write a bundle of these files, by name in it, whole or not at all.

    The same files give the same bytes, up to the version of zlib that compresses them.

    Raises:
        DataError: a file cannot be read, a bundle may not have it, or the zip cannot be written.
    """
    with atomic.whole(path) as out, zipfile.ZipFile(out, "w") as archive:
        for name, given in sorted(files.items()):
            if name not in _FILES and not results.is_table(name):
                problem = "must be a name of letters, digits, '_', '-' and '.'; rename it"
                raise DataError(f"{name!r}: {problem}")
            try:
                data = given if isinstance(given, bytes) else given.read_bytes()
            except OSError as error:
                raise DataError(f"{given}: cannot be read: {error.strerror}") from None
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # the same bytes at any time
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            how = zipfile.ZIP_STORED if name.endswith(".parquet") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, compress_type=how, compresslevel=9)


@contextlib.contextmanager
def unpacked(path: str | os.PathLike[str]) -> Generator[Path]:
    """A bundle's files in a temporary folder, or a `DataError` about the bundle or an entry."""
    path, name = Path(path), repr(Path(path).name)[1:-1]
    with tempfile.TemporaryDirectory(prefix="transferscope-") as place:
        folder, entry = Path(place), ""
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                most = min(MAX_BYTES, MAX_INFLATION * path.stat().st_size)
                if problem := _problem(entries, most):
                    raise DataError(f"{name}: {problem}")
                for entry in (one.filename for one in entries if not one.is_dir()):
                    archive.extract(entry, folder)  # which also compares the entry's CRC-32
        except DataError:
            raise
        except FileNotFoundError:
            raise DataError(f"{path}: no such file or folder") from None
        except _DAMAGED:
            problem = f"{entry!r}: damaged" if entry else "not a readable zip file"
            raise DataError(f"{name}: {problem}; was the file cut short or changed?") from None
        except OSError as error:
            raise DataError(f"{name}: cannot be unpacked: {error.strerror}") from None
        _check_tables(folder, name)
        yield folder


def _problem(entries: Iterable[zipfile.ZipInfo], max_bytes: int) -> str:
    """Why these entries must not be unpacked; empty where they may be."""
    seen: set[str] = set()
    total = 0
    for entry in entries:
        name, total = entry.filename, total + entry.file_size
        if re.fullmatch(rf"({results.PREDICTIONS}|{results.CONTROLS})/([\w.-]+/)*", name):
            continue  # a folder, which other programs list
        if name not in _FILES and not results.is_table(name):
            return f"{name[:80]!r}: not a file of a bundle; `transferscope export` writes bundles"
        if name in seen:
            return f"{name!r}: must be in it once"
        if stat.S_ISLNK(entry.external_attr >> 16):
            return f"{name!r}: must be a file, got a link"
        if entry.flag_bits & 1:
            return f"{name!r}: encrypted entries are not supported"
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"{name!r}: this compression is not supported; must be deflate"
        seen.add(name)
    if total > max_bytes:
        return f"unpacked it would have {total:,} bytes; at most {max_bytes:,} are allowed"
    return ""


def _check_tables(folder: Path, name: str) -> None:
    """Refuse tables that are not those of the index; a bundle without an index lists none."""
    try:
        index = results.read_index(folder)
    except DataError:
        raise DataError(f"{name}: {results.INDEX} is not a valid index") from None
    if index is None:
        return
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    for table in sorted(found ^ index["tables"].keys()):
        problem = "is missing" if table not in found else f"{results.INDEX} does not list it"
        raise DataError(f"{name}: {table!r}: {problem}")
    for table, entry in index["tables"].items():
        if results.checksum(folder / table) != entry["sha256"]:
            problem = f"the checksum differs from that in {results.INDEX}"
            raise DataError(f"{name}: {table!r}: {problem}; the file was changed or damaged")
