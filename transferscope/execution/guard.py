"""The end of a Ray that was started here, however the process that started it ends.

Where that process is killed, some of Ray's own may outlive it: the agents of a raylet that was
killed too wait for its word forever. A process of its own waits until there is nobody left to wait
for, gives Ray some seconds, and kills what is left of those that it was told about.
"""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE = 5.0
"""Seconds that Ray has to end by itself."""


def guarded() -> "subprocess.Popen[bytes]":
    """Start the guard of all processes that this one has started by now.

    It begins to act when its standard input is closed, which the end of this process does too.
    """
    import psutil  # which Ray brings

    ours = [f"{one.pid}@{one.create_time()}" for one in psutil.Process().children(recursive=True)]
    command = [sys.executable, __file__, str(Path(psutil.__file__).parent.parent), *ours]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
    )


def main(psutil_from: str, *known: str) -> None:
    sys.path.append(psutil_from)
    import psutil

    sys.stdin.buffer.read()
    until = time.monotonic() + GRACE
    for one in known:
        pid, _, began = one.partition("@")
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if process.create_time() != float(began):
                continue
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except psutil.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
