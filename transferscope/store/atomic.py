"""Files written whole or not at all, several of them together, by one process at a time.

A folder that is `locked` belongs to this process; files that are `staged` take their places all or
none, also through a crash, since the next `locked` finishes what was ready.
"""

import contextlib
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from transferscope.errors import DataError, StudyError
from transferscope.store import lock

LOCK = ".lock"

MOVING = threading.Lock()
"""Held while staged files take their places; who holds it sees all of them or none."""


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file whole or not at all: under a temporary name beside it, then renamed.

    Missing folders are made. A reader sees the old content or the new, never a part.

    Raises:
        DataError: the file cannot be written; nothing is left behind.
    """
    with whole(path) as file:
        file.write(data)
    return Path(path)


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """An open file that takes its place when the block ends, or goes when the block raises.

    Raises:
        DataError: as `write_whole`; also for a file that the block cannot read.
    """
    path = Path(path)
    temporary = path.parent / f".writing-{uuid.uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):  # gone already, unless writing failed
            temporary.unlink()


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The folder, made if need be, for this process alone; what a crash left is put right first.

    The lock goes with the process, however it ends.

    Raises:
        StudyError: another process has it.
        DataError: the folder cannot be made.
    """
    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DataError(f"{root}: cannot be written: {error.strerror}") from None
    try:
        if not lock.take(handle):
            owner = os.pread(handle, 20, 0).decode(errors="replace").strip()
            who = f" (process {owner})" if owner.isdigit() else ""
            raise StudyError(
                f"{root}: another run{who} works in this folder; wait for it, or give another --out"
            )
        os.truncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        _recover(root)
        yield root
    finally:
        os.close(handle)


def is_locked(folder: str | os.PathLike[str]) -> bool:
    """Whether a process works in the folder now; changes nothing there."""
    return lock.is_taken(Path(folder, LOCK))


@contextlib.contextmanager
def staged(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder whose files move into `folder`, by the same relative paths, all or none.

    They move when the block ends. A crash before leaves nothing; one after its rename is made good
    by the next `locked`. Nothing moves when the block raises.

    Raises:
        DataError: the files cannot be written.
    """
    root, mark = Path(folder), uuid.uuid4().hex
    stage, ready = root / f".staged-{mark}", root / f".ready-{mark}"
    try:
        stage.mkdir(parents=True)
        yield stage
        for path in stage.rglob("*"):
            _sync(path)
        os.rename(stage, ready)
        _sync(root)
        _move(ready, root)
    except OSError as error:
        where = error.filename or root
        raise DataError(f"{where}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _recover(root: Path) -> None:
    """Finish what was ready when a process died, and remove what was not."""
    for ready in sorted(root.glob(".ready-*")):
        _move(ready, root)
    for stage in root.glob(".staged-*"):
        shutil.rmtree(stage, ignore_errors=True)
    for temporary in (*root.glob(".writing-*"), *root.glob("*/.writing-*")):
        temporary.unlink(missing_ok=True)


def _move(ready: Path, root: Path) -> None:
    """Every file of a ready folder to its place; may be done again after a crash."""
    places = set()
    with MOVING:
        for path in sorted(ready.rglob("*")):
            if path.is_file():
                place = root / path.relative_to(ready)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, place)
                places.add(place.parent)
    for folder in places:
        _sync(folder)
    shutil.rmtree(ready)


def _sync(path: Path) -> None:
    """Onto the disk, so that a power loss cannot take it back."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder, where folders cannot be opened
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
