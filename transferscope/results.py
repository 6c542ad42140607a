"""The results folder of a study: the only module that knows the file names inside it.

    study.yaml                    the study as run
    adapters/MODEL/SOURCE/SEED/   LoRA weights in PEFT's format
    predictions/*.parquet         one predictions table per run
    analysis.json                 the analysis, schema 1
    report.html                   the page
    figures/                      the page's charts as files

In:   a folder's path, and bytes that somebody else decided on.
Out:  the same bytes on disk, each file written whole or not at all.

It decides nothing about content.
"""

import contextlib
import os
import re
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path

from transferscope.errors import DataError

STUDY = "study.yaml"
ADAPTERS = "adapters"
PREDICTIONS = "predictions"
ANALYSIS = "analysis.json"
REPORT = "report.html"
FIGURES = "figures"

_LONGEST = 100  # characters of a file name; some file systems stop at 143


def prediction_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The folder's prediction tables, by name; empty where there are none."""
    tables = Path(folder, PREDICTIONS).glob("*.parquet")
    return sorted(path for path in tables if path.is_file() and not path.name.startswith("."))


def read_analysis(folder: str | os.PathLike[str]) -> bytes:
    """The bytes of the folder's `analysis.json`.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = Path(folder, ANALYSIS)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{folder}: no {ANALYSIS} in this folder; `transferscope analyze` writes one"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def save(
    folder: str | os.PathLike[str],
    analysis_json: bytes,
    report_html: str | None = None,
    figures: Mapping[str, bytes] | None = None,
) -> list[Path]:
    """Write an analysis, its page and its figures into the folder, which is made if need be.

    `analysis.json` is written last: where it is new, so is everything beside it. Figures of an
    earlier analysis with other names stay.

    Args:
        figures: file name (made safe here) to content.

    Returns:
        The paths written, `analysis.json` first.

    Raises:
        DataError: the folder or a file in it cannot be written.
    """
    root, written = Path(folder), []
    taken: set[str] = set()
    for name, data in (figures or {}).items():
        taken.add(safe := safe_name(name, taken))
        written.append(write_whole(root / FIGURES / safe, data))
    if report_html is not None:
        written.insert(0, write_whole(root / REPORT, report_html.encode()))
    return [write_whole(root / ANALYSIS, analysis_json), *written]


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file whole or not at all: under a temporary name beside it, then renamed.

    Missing folders are made. A reader sees the old content or the new, never a part.

    Raises:
        DataError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    temporary = path.parent / f".writing-{uuid.uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):  # gone already, unless writing failed
            temporary.unlink()
    return path


def safe_name(name: str, taken: Collection[str] = ()) -> str:
    """A file name made of letters, digits, `.`, `_` and `-` for any text, e.g. a user's model name.

    It never starts with a dot, has at most 100 characters, and differs from all of `taken`, also
    where upper and lower case are the same. A name that is safe already stays as it is.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "_"
    stem, dot, suffix = safe.rpartition(".")
    if not stem or len(suffix) > 8:
        stem, dot, suffix = safe, "", ""
    used = {other.lower() for other in taken}
    stem = stem[: _LONGEST - len(dot + suffix)]
    safe, number = f"{stem}{dot}{suffix}", 1
    while safe.lower() in used:
        number += 1
        tail = f"-{number}{dot}{suffix}"
        safe = stem[: _LONGEST - len(tail)] + tail
    return safe
