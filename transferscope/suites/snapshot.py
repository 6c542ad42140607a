"""The files of a data set, in a folder or on the Hub, loose or in zip archives.

Files have names relative to the data set, with slashes: `data/test-00000-of-00003.parquet`,
`images.zip/images/1.jpg`. Only the names that it has are read, so that no path leaves it.

In:   tables (Parquet, JSON lines, a JSON list) and images.
Out:  rows without their encoded images, and the bytes of images when they are needed.
"""

import base64
import glob
import io
import os
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from transferscope.errors import DataError, StudyError
from transferscope.tasks.images import EncodedImage
from transferscope.tasks.untrusted import (
    image_problem,
    json_lines,
    load_json,
    read_parquet,
    read_text,
    shown,
)

TABLES = (".parquet", ".jsonl", ".json")
"""Formats of tables; the first that a split has is read."""
MAX_BYTES = 1 << 30
"""Bytes of a file in an archive."""
ROWS = 32
"""Rows of a Parquet file whose encoded images are read together."""


class TableRow(NamedTuple):
    """A row of a table."""

    place: int
    """From 0."""
    where: str
    """Names it in messages."""
    values: dict[str, Any]
    """By column, without those of encoded images."""
    problem: str = ""
    """Why it has no values."""


class Table(NamedTuple):
    """A table of a data set."""

    name: str
    rows: list[TableRow]
    encoded: tuple[str, ...]
    """The columns of encoded images."""


class Problem(ValueError):
    """What is wrong with a row: the column, what was expected, and what was found."""

    def __init__(self, column: str, expected: object, found: object) -> None:
        super().__init__(f"{column}: expected {expected}, found {str(found)[:80]!r}")


class Files:
    """The files of a data set.

    Args:
        title: names the data set in messages; paths may begin with it.
        names: the names of all of its files.
        fetch: gets the files of such patterns; the folder that has them then.
    """

    def __init__(
        self, title: str, names: Iterable[str], fetch: Callable[[Sequence[str]], Path]
    ) -> None:
        self.title, self.names, self._fetch = title, set(names), fetch
        self._folder, self._here = Path(), set[str]()
        self._archives: dict[str, zipfile.ZipFile] = {}
        # Images stay encoded; rows are mostly used in their order.
        self._cells = lru_cache(maxsize=4)(self._cells)

    def get(self, names: Iterable[str]) -> None:
        """Have files here: downloads those of the Hub, and lists the members of archives."""
        if not (wanted := sorted({*names} - self._here)):
            return
        self._here |= {*wanted}
        if len(wanted) > 100:  # the Hub's client compares every file with every pattern
            parts = {(posixpath.dirname(n), posixpath.splitext(n)[1]) for n in wanted}
            patterns = [posixpath.join(glob.escape(at), f"*{kind}") for at, kind in sorted(parts)]
        else:
            patterns = [glob.escape(name) for name in wanted]
        self._folder = self._fetch(patterns)
        for name in wanted:
            if name.endswith(".zip"):
                try:
                    self._archives[name] = zipfile.ZipFile(self.path(name))
                except (OSError, zipfile.BadZipFile) as error:
                    raise DataError(f"{shown(name)}: not a readable zip archive: {error}") from None
                members = self._archives[name].namelist()
                self.names |= {f"{name}/{member}" for member in members if member[-1:] != "/"}

    def path(self, name: str) -> Path:
        """Where a file is that is not in an archive.

        Raises:
            DataError: it is a link out of the data set.
        """
        path, home = self._folder / name, self._folder.resolve()
        # The Hub's cache links each file of a snapshot to its store of blobs.
        inside = (home, home.parent.parent / "blobs")
        if not any(path.resolve().is_relative_to(folder) for folder in inside):
            raise DataError(f"{shown(name)}: a link out of the data set")
        return path

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            DataError: it cannot be read.
        """
        archive, _, member = name.partition(".zip/")
        try:
            if (opened := self._archives.get(f"{archive}.zip")) is None:
                return self.path(name).read_bytes()
            if (size := opened.getinfo(member).file_size) > MAX_BYTES:
                raise OSError(0, f"it has {size:,} bytes; at most {MAX_BYTES:,} are allowed")
            return opened.read(member)
        except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(f"{shown(name)}: cannot be read: {reason}") from None

    def tables(self, wanted: str) -> list[str]:
        """The names of a split's tables.

        Args:
            wanted: the split as the Hub names it, `test` or `CONFIG/test`; or a pattern of files.

        Raises:
            DataError: there are none.
            StudyError: there are those of several configurations.
        """
        if archive := re.match(r"(.+?\.zip)/", wanted):
            self.get({archive[1]} & self.names)
        tables = sorted(name for name in self.names if name.endswith(TABLES))
        if wanted.endswith(TABLES) or "*" in wanted:
            found = [name for name in tables if fnmatchcase(name, wanted)]
        else:
            split = re.escape(wanted)
            file = re.compile(rf"((?:.*[/_.-])?){split}(?:[-_.]\d[^/]*)?\.\w+|(.*/)?{split}/[^/]+")
            matches = [match for name in tables if (match := file.fullmatch(name))]
            found = [match[0] for match in matches]
            if len(of := sorted({posixpath.dirname(m[1] or m[2] or "") for m in matches})) > 1:
                these = " or ".join(f"{folder}/{wanted}".lstrip("/") for folder in of)
                raise StudyError(f"{self.title}: split {wanted!r} is ambiguous; name {these}")
        for kind in TABLES:
            if of_kind := [name for name in found if name.endswith(kind)]:
                self.get(name for name in of_kind if ".zip/" not in name)
                return of_kind
        few = ", ".join(map(shown, tables[:8])) + (", ..." if tables[8:] else "")
        raise DataError(f"{self.title}: no table of split {wanted!r}; it has {few or 'no table'}")

    def table(self, name: str, columns: Sequence[str], images: Sequence[str] = ()) -> Table:
        """A table's columns of these names, and of `images` those that it has.

        Image files are here then.

        Raises:
            DataError: it cannot be read, or lacks a column.
        """
        encoded: tuple[str, ...] = ()
        where = f"{self._folder / name}"
        if ".zip/" in name:
            rows = list(read_rows(self.read(name), where))
        elif not name.endswith(".parquet"):
            rows = list(read_rows(self.path(name), where))
        else:
            import polars as pl

            try:
                kinds = pl.read_parquet_schema(self.path(name))
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
                raise DataError(
                    f"{shown(where)}: not a readable Parquet file; was it cut short?"
                ) from None
            encoded = tuple(c for c in images if "Binary" in str(kinds.get(c)))
            texts = [column for column in columns if column not in encoded]
            rows = list(read_rows(self.path(name), where, texts))
        known = {*encoded, *(column for row in rows for column in row.values)}
        if known and (missing := [column for column in columns if column not in known]):
            there = ", ".join(map(shown, sorted(known)))
            raise DataError(f"{shown(where)}: no column {missing[0]!r} beside {there}")
        plain = [column for column in images if column not in encoded]
        values = (one for r in rows for column in plain for one in images_of(r.values.get(column)))
        self._get_images({one for one in values if isinstance(one, str)}, name)
        return Table(name, rows, encoded)

    def _get_images(self, paths: Iterable[str], table: str) -> None:
        """Have the images of these paths here, or the archives that may hold them."""
        found = {path: self.find(path, table) for path in paths}
        self.get(name for name in found.values() if name and ".zip/" not in name)
        if lost := {part for path, name in found.items() if not name for part in path.split("/")}:
            archives = {name for name in self.names if name.endswith(".zip")}
            self.get({a for a in archives if posixpath.basename(a)[:-4] in lost} or archives)

    def find(self, path: str, table: str) -> str | None:
        """The file of a path that stands in a table, relative to any folder around the table."""
        path = posixpath.normpath(path.replace("\\", "/"))
        if path.split("/")[0] == self.title.split("/")[-1]:
            path = path.partition("/")[2]
        around = [table]
        while around[-1]:
            around.append(posixpath.dirname(around[-1]))
        for folder in around[1:]:
            if (name := posixpath.join(folder, path)) in self.names:
                return name
        for archive in self._archives:
            first = posixpath.basename(archive)[:-4]
            for inside in (path, path.removeprefix(f"{first}/")):
                if (name := f"{archive}/{inside}") in self.names:
                    return name
        return None

    def images(self, row: TableRow, table: Table, columns: Sequence[str]) -> list[EncodedImage]:
        """A row's images, each header checked.

        Raises:
            Problem: there are none, or one is missing or no image.
        """
        found = []
        for column in columns:
            cell = self.cell(row, table, column)
            for place, one in enumerate(cell):
                where = f"{row.where}, {column}" + (f" {place + 1}" if len(cell) > 1 else "")
                if isinstance(one, bytes):
                    read = partial(self._image, row, table, column, place)
                elif name := self.find(one, table.name):
                    read, where = partial(self.read, name), f"{self._folder / name}"
                else:
                    read, text = partial(_decoded, one), one[:60]
                    if image_problem(io.BytesIO(read())):
                        raise Problem(column, "an image's file or base64", text)
                if problem := image_problem(io.BytesIO(read())):
                    raise Problem(column, "an image", f"one that {problem}")
                found.append(EncodedImage(read, where))
        if not found:
            raise Problem(columns[0], "an image", None)
        return found

    def _cells(self, name: str, column: str, part: int) -> list[list[bytes | str]]:
        """The images in a column of encoded images, of `ROWS` rows."""
        import polars as pl

        try:
            rows = pl.scan_parquet(self.path(name)).slice(part * ROWS, ROWS)
            return [list(images_of(cell)) for cell in rows.select(column).collect()[column]]
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            raise DataError(f"{shown(name)}: damaged in column {column!r}") from None

    def cell(self, row: TableRow, table: Table, column: str) -> Sequence[bytes | str]:
        """The images in a row's column: encoded, or their paths or base64."""
        if column not in table.encoded:
            return list(images_of(row.values.get(column)))
        return self._cells(table.name, column, row.place // ROWS)[row.place % ROWS]

    def _image(self, row: TableRow, table: Table, column: str, place: int) -> bytes:
        image = self.cell(row, table, column)[place]
        assert isinstance(image, bytes), "a path is read from a file"
        return image


def read_rows(
    source: Path | bytes, name: str, columns: Sequence[str] | None = None
) -> Iterator[TableRow]:
    """A table's rows.

    Args:
        name: names it in messages, and ends with the format.
        columns: those of a Parquet file that are read; None: all.

    Raises:
        DataError: the file cannot be read.
    """
    numbered: Any  # pairs of place and value
    try:
        if name.endswith(".parquet"):
            values = read_parquet(source, columns).iter_rows(named=True)
            numbered = ((f": row {number}", value) for number, value in enumerate(values, 1))
        else:
            text = source.decode("utf-8-sig") if isinstance(source, bytes) else read_text(source)
            if name.endswith(".jsonl"):
                numbered = ((f":{number}", value) for number, value in json_lines(text))
            else:
                whole = load_json(text)
                if isinstance(whole, dict):  # such as {"version": 1, "data": [..]}
                    whole = next((value for value in whole.values() if type(value) is list), None)
                if not isinstance(whole, list):
                    raise ValueError("expected a list of rows")
                numbered = ((f": row {number}", value) for number, value in enumerate(whole, 1))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{shown(name)}: {error}") from None
    for place, (at, value) in enumerate(numbered):
        where = f"{shown(name)}{at}"
        if isinstance(value, dict):
            yield TableRow(place, where, value)
        else:
            found = f"not JSON: {value}" if isinstance(value, ValueError) else "not keys and values"
            yield TableRow(place, where, {}, found)


def images_of(cell: Any) -> Iterator[bytes | str]:
    """The images in a cell: bytes, a path or base64, a struct of bytes and path, lists of these."""
    if isinstance(cell, bytes | str):
        yield from [cell] if cell else []
    elif isinstance(cell, dict):
        yield from images_of(cell.get("bytes") or cell.get("path"))
    elif cell is not None and hasattr(cell, "__iter__"):
        for each in cell:
            yield from images_of(each)


def names_in(folder: Path) -> list[str]:
    """The names of all files in a folder."""
    walked = os.walk(folder)
    return [(Path(at) / file).relative_to(folder).as_posix() for at, _, fs in walked for file in fs]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(re.sub(r"^data:[\w/+.-]+;base64,", "", text), validate=True)
    except ValueError:
        return b""
