"""The wording of errors, kept in one file so that prose can be edited without touching a test.

`raises(DataError)` is `pytest.raises`, and compares the message with the test's line in
`messages.txt`. After a change of wording, `pytest --update-messages` writes the lines of the
tests that ran; review the difference as prose. File, row and remedy belong in every message.
"""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

FILE = Path(__file__).with_name("messages.txt")
ROOT = Path(__file__).resolve().parents[1]
TEMPORARY = re.compile(
    rf"(?:/private)?{re.escape(tempfile.gettempdir())}/pytest-of-[^/]+/pytest-\d+(?:/popen-gw\d+)?/[^/\s:]+"
)

update = False
"""Whether messages are written instead of compared; set by `--update-messages`."""
_uses: Counter[str] = Counter()


@contextmanager
def raises(error: type[Exception]) -> Generator[pytest.ExceptionInfo]:
    """Expect this class of error, with the message that `messages.txt` has for this test."""
    with pytest.raises(error) as caught:
        yield caught
    check(str(caught.value))


def check(message: str) -> None:
    """Compare a message with the one kept for this test, or keep it where `update` is set."""
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
    _uses[test] += 1
    key = test if _uses[test] == 1 else f"{test} ({_uses[test]})"
    message = TEMPORARY.sub("<tmp>", message).replace(str(ROOT), "<root>")
    message = message.replace("\n", "\\n")
    if update:
        with FileLock(f"{FILE}.lock"):  # several workers of pytest-xdist may write
            kept = read() | {key: message}
            text = "".join(f"{name}\t{kept[name]}\n" for name in sorted(kept))
            FILE.write_text(text, encoding="utf-8")
    kept = read()
    assert kept.get(key) == message, f"{key}: run pytest --update-messages and review {FILE.name}"


def read() -> dict[str, str]:
    """The messages by test."""
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    return dict(line.split("\t", 1) for line in lines)
