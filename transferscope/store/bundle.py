"""A bundle: a study's results as one zip file, always the same bytes, and opened with care.

    README.txt                    what every file is
    SHA256SUMS                    of every other file, as `sha256sum -c` reads it
    cells.csv                     one row per cell
    provenance.json               versions, hashes, machine time, and what is not there
    study.yaml, analysis.json     as in a results folder, as are
    predictions/*, controls/*     tables (.parquet) with their records (.json)

Unpacked it is a results folder without adapters and pictures. Anybody may have made the zip that is
opened: a name that is none of these, a link, a size beyond bounds or a checksum that differs is
refused in one line that names the file and the entry.

In:   names and their bytes; or a path.
Out:  a zip file; or a folder for as long as it is wanted.

It decides nothing about content.
"""

import contextlib
import hashlib
import os
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from transferscope import store as results
from transferscope.errors import DataError
from transferscope.store import atomic

README = "README.txt"
SUMS = "SHA256SUMS"
CELLS = "cells.csv"
PROVENANCE = "provenance.json"

MOST_ENTRIES = 100_000
MOST_BYTES = 8 << 30
"""Of all entries, unpacked."""
MOST_INFLATED = 100
"""Times the zip file's own size that its entries may have together; a real bundle has up to 10."""
MOST_TEXT = 16 << 20
"""Bytes of an entry that is read as a whole: a record, the study, the checksums."""

_SINGLE = (README, SUMS, CELLS, PROVENANCE, results.STUDY, results.ANALYSIS)
_TABLE = re.compile(
    rf"({results.PREDICTIONS}|{results.CONTROLS})/\w[\w.-]{{0,120}}\.(parquet|json)", re.ASCII
)
_WRITTEN = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever it is written
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)
_CHUNK = 1 << 20


def is_bundle(path: Path) -> bool:
    """Whether a path is to be read as a bundle, by its ending."""
    return path.suffix.lower() == ".zip"


def fits(name: str) -> bool:
    """Whether a bundle may have an entry of that name."""
    return name in _SINGLE or _TABLE.fullmatch(name) is not None


def pack(path: str | os.PathLike[str], files: Mapping[str, bytes | Path]) -> Path:
    """Write a bundle of these files, and their checksums with them, whole or not at all.

    The same files give the same bytes, up to the version of zlib that compresses them.

    Args:
        files: by their names in the bundle; what is a path is read when its turn comes.

    Raises:
        DataError: a file cannot be read, a name is none of a bundle, or the zip cannot be written.
    """
    sums = {}
    with atomic.whole(path) as out, zipfile.ZipFile(out, "w") as archive:
        for name in sorted(files):
            if not fits(name):
                raise DataError(
                    f"{name!r}: a bundle's tables have names of letters, digits, '_', '-' and '.'; "
                    "rename it"
                )
            data = _bytes(files[name])
            sums[name] = hashlib.sha256(data).hexdigest()
            _add(archive, name, data)
        lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
        _add(archive, SUMS, lines.encode())
    return Path(path)


def _bytes(given: bytes | Path) -> bytes:
    if isinstance(given, bytes):
        return given
    try:
        return given.read_bytes()
    except OSError as error:
        raise DataError(f"{given}: cannot be read: {error.strerror}") from None


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _WRITTEN)
    entry.create_system = 3  # Unix, whatever wrote it
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    stored = name.endswith(".parquet")  # compressed already
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    archive.writestr(entry, data, compresslevel=9)


@contextlib.contextmanager
def unpacked(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A bundle's files in a folder that is there as long as the block runs.

    Raises:
        DataError: it is no bundle, or an entry is not what it must be.
    """
    path, name = Path(path), repr(Path(path).name)[1:-1]
    with tempfile.TemporaryDirectory(prefix="transferscope-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = _checked(archive, name, path.stat().st_size)
                sums = _sums(archive, entries, name)
                for entry in entries.values():
                    _unpack(archive, entry, Path(folder), name, sums)
        except DataError:
            raise
        except FileNotFoundError:
            raise DataError(f"{path}: no such file or folder") from None
        except _DAMAGED:
            raise DataError(f"{name}: not a zip file that can be read; was it cut short?") from None
        except OSError as error:
            raise DataError(f"{name}: cannot be unpacked: {error.strerror}") from None
        yield Path(folder)


def _checked(archive: zipfile.ZipFile, name: str, size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, all of them fit to be unpacked.

    Args:
        size: of the zip file, in bytes.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    if len(archive.infolist()) > MOST_ENTRIES:
        raise DataError(f"{name}: more than {MOST_ENTRIES:,} entries, so no bundle")
    for entry in archive.infolist():
        where = f"{name}: {entry.filename[:80]!r}"
        if entry.is_dir() and entry.filename in (f"{results.PREDICTIONS}/", f"{results.CONTROLS}/"):
            continue
        if not fits(entry.filename):
            raise DataError(f"{where}: no file of a bundle; `transferscope export` writes bundles")
        if entry.filename in found:
            raise DataError(f"{where}: is in it twice")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise DataError(f"{where}: a link, expected a file")
        if entry.flag_bits & 1:
            raise DataError(f"{where}: encrypted, which no bundle is")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{where}: compressed in a way that no bundle is; expected deflate")
        large = entry.filename in (CELLS, results.ANALYSIS) or entry.filename.endswith(".parquet")
        if not large and entry.file_size > MOST_TEXT:
            size_said = f"has {entry.file_size:,} bytes, at most {MOST_TEXT:,} are allowed"
            raise DataError(f"{where}: {size_said}")
        found[entry.filename] = entry
    total, most = sum(entry.file_size for entry in found.values()), MOST_INFLATED * size
    if total > min(MOST_BYTES, most):
        raise DataError(
            f"{name}: unpacked it would have {total:,} bytes, at most {min(MOST_BYTES, most):,} "
            "are allowed"
        )
    return found


def _sums(
    archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], name: str
) -> dict[str, str]:
    """The checksums by entry; they are of these entries and no others."""
    if SUMS not in entries:
        raise DataError(f"{name}: no {SUMS} in it, so no bundle; `transferscope export` writes one")
    sums = {}
    for number, line in enumerate(archive.read(SUMS).decode("ascii", "replace").splitlines(), 1):
        found = re.fullmatch(r"([0-9a-f]{64}) [ *](\S+)", line)
        if found is None:
            raise DataError(f"{name}: {SUMS} line {number}: expected a SHA-256 and a name")
        sums[found[2]] = found[1]
    for one in sorted(set(sums) | set(entries) - {SUMS}):
        if one not in entries:
            raise DataError(f"{name}: {one[:80]!r} is missing; {SUMS} lists it")
        if one not in sums:
            raise DataError(f"{name}: {one!r}: {SUMS} does not list it")
    return sums


def _unpack(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    folder: Path,
    name: str,
    sums: Mapping[str, str],
) -> None:
    """Write one entry into the folder; its name was checked."""
    place, digest = folder / entry.filename, hashlib.sha256()
    place.parent.mkdir(exist_ok=True)
    try:
        with archive.open(entry) as given, place.open("xb") as out:
            while data := given.read(_CHUNK):
                digest.update(data)
                out.write(data)
    except _DAMAGED:
        raise DataError(f"{name}: {entry.filename!r}: damaged, it cannot be unpacked") from None
    if entry.filename != SUMS and digest.hexdigest() != sums[entry.filename]:
        raise DataError(
            f"{name}: {entry.filename!r}: its checksum differs from that in {SUMS}; the file was "
            "changed or damaged"
        )
