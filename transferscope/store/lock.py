"""A lock on an open file, which goes with the process that has it, however it ends."""

import os
import time
from pathlib import Path


def take(handle: int) -> bool:
    """Whether the open file is now ours."""
    try:
        import fcntl
    except ImportError:  # Windows; there the study engine is not tested
        return True
    for wait in (0.1, 0.0):  # `is_taken` has it for a moment
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(wait)
        else:
            return True
    return False


def is_taken(path: Path) -> bool:
    """Whether another process has the file now, or another handle of this one."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):  # Windows, or nobody ever did
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False
