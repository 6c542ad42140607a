"""What became of each candidate, on disk while a build goes on, so that it can be stopped.

One JSON object a line: first the settings that decide the outcome, then `{"key", "row"}` for an
item made and `{"key", "reason", "where"}` for a candidate left out. A last line that a crash cut
short is forgotten, and so is all of it when the settings are others.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from transferscope.errors import DataError


@contextlib.contextmanager
def journal(
    path: Path, settings: Mapping[str, object]
) -> Iterator[tuple[dict[str, dict[str, Any]], "Journal"]]:
    """What was already done under these settings, by key, and a journal to go on with.

    Raises:
        DataError: the file cannot be written.
    """
    known, whole = _read(path, settings)
    try:
        file = path.open("r+b" if whole else "wb")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    with file:
        file.truncate(whole)
        file.seek(whole)
        opened = Journal(path, file)
        if not whole:
            opened.add({"settings": settings})
        yield known, opened


class Journal:
    """An open journal."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file

    def add(self, entry: Mapping[str, object]) -> None:
        """Append one line, at once.

        Raises:
            DataError: it cannot be written.
        """
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}") from None


def _read(path: Path, settings: Mapping[str, object]) -> tuple[dict[str, dict[str, Any]], int]:
    """Entries by key, and how many bytes of the file are whole lines."""
    known: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return known, 0
    whole = 0
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            break
        if number == 0 and entry.get("settings") != settings:
            break
        if number:
            known[entry["key"]] = entry
        whole += len(line)
    return known, whole
