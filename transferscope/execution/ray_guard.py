"""Ends a Ray that was started here, however the process that started it ends.

If that process is killed, some of Ray's processes may outlive it: agents of a killed raylet wait
for it forever. The guard is a separate process. It waits until its starter is gone, gives Ray some
seconds, and kills those of Ray's processes that still run.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

GRACE = 5.0
"""Seconds for Ray to end by itself."""


def start_guard() -> "subprocess.Popen[bytes]":
    """Start a guard for this process's children; it acts when its standard input is closed."""
    import psutil  # installed with Ray

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
    ours = []
    for one in known:
        pid, _, began = one.partition("@")
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if process.create_time() == float(began):  # else the pid belongs to a new process
                ours.append(process)
    for process in psutil.wait_procs(ours, timeout=GRACE)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
