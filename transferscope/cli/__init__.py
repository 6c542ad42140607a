"""The command line: parse, call, print.

The only package that prints or exits. Exit code 0: done; 1: the work failed; 2: the command or an
input was wrong, with one line on standard error, and nothing was written; 3: the gate of
`compare` cannot tell.
"""

import gc
import os
import sys
from contextlib import redirect_stdout
from errno import ENAMETOOLONG
from typing import Any, TextIO, cast

from transferscope.cli import (
    building,
    comparing,
    exporting,
    results,
    selecting,
    status,
    studies,
    suites,
)
from transferscope.cli.app import app
from transferscope.errors import TransferscopeError
from transferscope.store import FIGURES
from transferscope.tasks.untrusted import for_terminal

__all__ = ["command", "main"]
_COMMANDS = (comparing, results, exporting, selecting, studies, status, suites, building)
"""What imports them brings their commands in."""
ORDER = (
    *("compare", "demo", "run", "plan", "status", "analyze", "report"),
    *(FIGURES, "select", "export", "export_adapter", "build", "tasks"),
)
"""Of the commands in `--help`: what one needs first comes first."""
app.registered_commands.sort(key=lambda one: ORDER.index(getattr(one.callback, "__name__", "")))


class Screen:
    """Standard output in which a name from a file cannot control the terminal."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(for_terminal(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def command() -> None:
    """`main` in a separate process, as the installed command runs it."""
    # Next to nothing made here becomes garbage: looking for it as often as usual, and once more at
    # the end, would take a quarter of a second.
    gc.set_threshold(100_000)
    try:
        main()
    finally:
        gc.freeze()


def main() -> None:
    """Run the command; our own errors become one line and exit code 2."""
    # The analysis multiplies many small matrices, for which BLAS threads cost more than they give.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Torch's threads wait for one another thousands of times a second, each first in a loop. Where
    # another process is at work too, a long loop takes the core from whom it waits for.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        with redirect_stdout(cast(TextIO, Screen(sys.stdout))):
            app()
    except (TransferscopeError, OSError) as error:
        message = " ".join(str(error).split("\n"))
        if isinstance(error, OSError):
            if error.errno != ENAMETOOLONG:
                raise
            message = f"{str(error.filename)[:100]}...: {error.strerror}"
        # Names come from files: no escape sequence of one reaches the terminal.
        plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        print(f"transferscope: {plain}", file=sys.stderr)
        raise SystemExit(2) from None
