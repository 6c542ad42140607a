"""Standard output in which a name from a file cannot control the terminal."""

from typing import Any, TextIO

from transferscope.tasks.untrusted import for_terminal


class Screen:
    """A text file, as `sys.stdout`, that gets safe text only (`untrusted.for_terminal`)."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(for_terminal(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
