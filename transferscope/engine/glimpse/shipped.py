"""Where the shipped bases are, and whether their files are intact.

A base is a folder as transformers writes it (weights in float16, configuration, tokenizer,
processor). `checksums.json` beside the folders holds the SHA-256 of every file.
"""

import json
from difflib import get_close_matches
from pathlib import Path

from transferscope.errors import DataError, StudyError
from transferscope.store import checksum

NAMES = ("glimpse-s", "glimpse-m", "glimpse-l")
"""The bases, smallest first."""

WEIGHTS = Path(__file__).with_name("weights")
CHECKSUMS = "checksums.json"


def folder(name: str, weights: Path = WEIGHTS) -> Path:
    """The folder of a shipped base, after every file was compared with its checksum.

    Raises:
        StudyError: there is no base of that name.
        DataError: a file is missing or differs.
    """
    if name not in NAMES:
        near = get_close_matches(name.lower(), NAMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(f"unknown base {name!r}; {hint}known: {', '.join(NAMES)}")
    sums = read_checksums(weights).get(name)
    if not sums:
        raise DataError(f"{weights / name}: not in {CHECKSUMS}; reinstall transferscope")
    for file, expected in sums.items():
        path = weights / name / file
        found = checksum(path) if path.is_file() else "no file"
        if found != expected:
            raise DataError(
                f"{path}: expected SHA-256 {expected[:12]}…, found {found[:12]}"
                f"{'…' if len(found) > 12 else ''}; reinstall transferscope"
            )
    return weights / name


def read_checksums(weights: Path) -> dict[str, dict[str, str]]:
    """For each base in a folder, the SHA-256 of each file; empty if there is no record."""
    path = weights / CHECKSUMS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
