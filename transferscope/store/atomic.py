"""Files and folders written whole or not at all, in a folder that one process at a time writes."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from transferscope.errors import DataError, StudyError

LOCK = ".lock"
_TEMPORARY = ".writing-"


def write_whole(path: str | os.PathLike[str], data: bytes, *, sync: bool = False) -> Path:
    """Write a file whole or not at all: under a temporary name beside it, then renamed.

    Missing folders are made. A reader sees the old content or the new, never a part. `sync` waits
    until the data is on the disk, so that a power loss cannot take it back.

    Raises:
        DataError: the file cannot be written; nothing is left behind.
    """
    with whole(path, sync=sync) as file:
        file.write(data)
    return Path(path)


@contextlib.contextmanager
def whole(path: str | os.PathLike[str], *, sync: bool = False) -> Generator[BinaryIO]:
    """An open file that takes its place when the block ends and is removed when the block raises.

    Options and errors as for `write_whole`; a `DataError` also where the block cannot read a file.
    """
    with _replacing(Path(path)) as temporary, temporary.open("xb") as file:
        yield file
        if sync:
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def whole_folder(path: Path) -> Generator[Path]:
    """A name under which the block makes a folder; it replaces `path` when the block ends.

    A crash between the two steps of replacing leaves no folder, never a mixture of old and new.
    Errors as for `write_whole`.
    """
    with _replacing(path) as temporary:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        if path.exists():
            shutil.rmtree(path)


@contextlib.contextmanager
def _replacing(path: Path) -> Generator[Path]:
    """A new name beside `path`, renamed to it when the block ends; removed when it raises."""
    temporary = path.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    finally:  # renamed already, unless writing failed
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str]) -> Generator[Path]:
    """The folder, made if missing, for this process alone; half-written files are removed first.

    The operating system releases the lock when the process ends, however it ends.

    Raises:
        StudyError: another process holds the lock.
        DataError: the folder cannot be made.
    """
    root = Path(folder)
    lock = FileLock(root / LOCK, timeout=0.3)  # `is_locked` holds it for a moment
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        problem = "another run uses this folder; wait for it to end, or give another --out"
        raise StudyError(f"{root}: {problem}") from None
    except OSError as error:
        raise DataError(f"{root}: cannot be written: {error.strerror}") from None
    try:
        for half in list(root.rglob(f"{_TEMPORARY}*")):
            shutil.rmtree(half, ignore_errors=True)
            with contextlib.suppress(OSError):
                half.unlink()
        yield root
    finally:
        lock.release()


def is_locked(folder: str | os.PathLike[str]) -> bool:
    """Whether a process holds the folder's lock; creates nothing there."""
    path = Path(folder, LOCK)
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that may only be read
        return False
