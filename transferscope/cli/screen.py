"""Standard output without what a name from a file could do to a terminal.

Colours pass; every other escape sequence, control and change of direction becomes U+FFFD.
"""

import re
from typing import Any, TextIO

_HARM = re.compile(
    r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


class Screen:
    """A file for text, as `sys.stdout`, to which nothing harmful is written."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(_HARM.sub("\ufffd", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
