"""The files of a data set: finding them, reading annotations, opening images.

Names in annotation files are other people's words: they lead nowhere outside the folder.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from PIL import Image

from transferscope.builders.record import Skip, Unusable
from transferscope.errors import DataError
from transferscope.tasks.untrusted import (
    MAX_PIXELS,
    ImageTooLarge,
    json_lines,
    load_json,
    open_image,
    read_text,
)


class Misplaced(DataError):
    """A data set's folder does not hold what is looked for."""


def find(root: Path, *names: str) -> Path:
    """The first of some files or folders (relative names, patterns allowed) that is there.

    Raises:
        Misplaced: none is; names what was looked for.
    """
    if not root.is_dir():
        raise Misplaced(f"{root}: no such folder; --root is the data set's own folder")
    for name in names:
        if found := sorted(root.glob(name)):
            return found[0]
    raise Misplaced(f"{root}: not laid out as expected: found no {' and no '.join(names)} in it")


def within(root: Path, name: str) -> Path:
    """The file that an annotation names, in its folder.

    Raises:
        Unusable: the name is absolute or climbs out of the folder.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name.strip() or "\0" in name or parts.is_absolute() or ".." in parts.parts:
        raise Unusable("a file name that leads out of the data set", repr(name[:80]))
    return root / parts


def json_of(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it cannot be read, or is not JSON.
    """
    try:
        return load_json(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}; was it cut short?") from None


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any]] | Skip]:
    """`(file:line, object)` for every line of a JSON Lines file; a damaged line is skipped.

    Raises:
        DataError: the file cannot be read.
    """
    for number, row in json_lines(read_text(path)):
        where = f"{path.name}:{number}"
        yield (where, row) if isinstance(row, dict) else Skip("a line that is not JSON", where)


def table_of(
    path: Path, *columns: str, places: Mapping[str, int] | None = None
) -> Iterator[tuple[str, dict[str, str]] | Skip]:
    """`(file:line, row)` for every line of a CSV file; a line of another length is skipped.

    Args:
        columns: what every row has at least.
        places: where a column stands, from 0, that the header does not name.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
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


def located(root: Path, folders: Iterable[str], *names: str) -> Path:
    """The place of a file that an annotation names: the first that exists, or the first of all.

    Raises:
        Unusable: a name is absolute or climbs out of the folder.
    """
    places = [within(root / folder, name) for folder in folders for name in names]
    return next((place for place in places if place.is_file()), places[0])


def open_source(path: Path | BinaryIO) -> Image.Image:
    """An image file as `untrusted.open_image` opens it.

    Raises:
        Unusable: the file is missing, damaged, of an unknown kind, or larger than `MAX_PIXELS`.
    """
    name = path.name if isinstance(path, Path) else "an image"
    try:
        return open_image(path)
    except FileNotFoundError:
        raise Unusable("an image that is missing", name) from None
    except ImageTooLarge:
        raise Unusable(f"an image of more than {MAX_PIXELS:,} pixels", name) from None
    except ValueError:
        raise Unusable("an image that cannot be decoded", name) from None
