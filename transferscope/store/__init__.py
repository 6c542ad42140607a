"""The results folder of a study: the only module that knows the file names inside it.

    study.yaml                    the study as run
    adapters/MODEL/SOURCE/SEED/   LoRA weights in PEFT's format, and the record of their run
    predictions/*.parquet         one predictions table per run, each with its record (.json)
    controls/*.parquet            the same of runs that are no source: placebos and mixtures
    aside/                        tables that the study as it is now does not ask for
    digests.json                  digests of items that take long to make
    features/                     vision features that did not fit in memory; may be deleted
    run.jsonl                     what happened when
    analysis.json                 the analysis, schema 1
    exhibits.json                 items that flipped, with small pictures; may be deleted
    report.html                   the page
    comparison.json               runs beside their base, from `compare`, with a page of its own
    figures/                      the page's charts as files
    selection.json, judging/      what the matrix said to train on, and study folders that judge it

In:   a folder's path, and bytes that somebody else decided on.
Out:  the same bytes on disk, each file written whole or not at all. Files that belong together are
      `staged`: after a crash there are all of them or none.

It decides nothing about content.

With it: `lock`, `atomic` (files whole or not at all). Upon it: `bundle` (the folder as a zip),
`store` (finished cells), `standing` (how far a study is), `mirror` and `away` (kept at an address).
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transferscope.errors import DataError
from transferscope.store.atomic import write_whole

STUDY = "study.yaml"
ADAPTERS = "adapters"
PREDICTIONS = "predictions"
CONTROLS = "controls"
ASIDE = "aside"
DIGESTS = "digests.json"
LOG = "run.jsonl"
RUN = "run.json"
ANALYSIS = "analysis.json"
COMPARISON = "comparison.json"
EXHIBITS = "exhibits.json"
REPORT = "report.html"
FIGURES = "figures"
FEATURES = "features"
SELECTION, JUDGING = "selection.json", "judging"

_LONGEST = 100  # characters of a file name; some file systems stop at 143


def prediction_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The folder's prediction tables, by name; empty where there are none."""
    return _parquets(Path(folder, PREDICTIONS))


def control_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The folder's tables of placebos and mixtures, by name; empty where there are none."""
    return _parquets(Path(folder, CONTROLS))


def _parquets(folder: Path) -> list[Path]:
    tables = folder.glob("*.parquet")
    return sorted(path for path in tables if path.is_file() and not path.name.startswith("."))


def read_beside(folder: str | os.PathLike[str], name: str, most: int = 1 << 20) -> bytes | None:
    """The first `most + 1` bytes of `STUDY` or `EXHIBITS`; None where the folder has none.

    Raises:
        DataError: it cannot be read.
    """
    path = Path(folder, name)
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


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
    exhibits_json: bytes | None = None,
) -> list[Path]:
    """Write an analysis, its page and its figures into the folder, which is made if need be.

    `analysis.json` is written last: where it is new, so is everything beside it. Figures of an
    earlier analysis with other names stay; its exhibits go where there are no new ones.

    Args:
        figures: file name (made safe here) to content.

    Returns:
        The paths written, `analysis.json` first.

    Raises:
        DataError: the folder or a file in it cannot be written.
    """
    root, written = Path(folder), []
    if exhibits_json is None:
        with contextlib.suppress(OSError):  # there was none
            (root / EXHIBITS).unlink()
    else:
        written.append(write_whole(root / EXHIBITS, exhibits_json))
    taken: set[str] = set()
    for name, data in (figures or {}).items():
        taken.add(safe := safe_name(name, taken))
        written.append(write_whole(root / FIGURES / safe, data))
    if report_html is not None:
        written.insert(0, write_whole(root / REPORT, report_html.encode()))
    return [write_whole(root / ANALYSIS, analysis_json), *written]


def save_comparison(
    folder: str | os.PathLike[str], comparison_json: bytes, report_html: str
) -> list[Path]:
    """Write a comparison and its page into the folder, which is made if need be.

    Returns:
        The paths written, `comparison.json` first.

    Raises:
        DataError: the folder or a file in it cannot be written.
    """
    page = write_whole(Path(folder, REPORT), report_html.encode())
    return [write_whole(Path(folder, COMPARISON), comparison_json), page]


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


def cache_folder() -> Path:
    """Where things of this user are kept that can be had again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "transferscope")


def table_path(*parts: str, beside: bool = False) -> Path:
    """Where a run's predictions lie in the folder, e.g. of rank, model, seed and source.

    Tables are read in the order of their names.
    """
    name = ".".join(safe_name(part) for part in parts)
    if len(name) > _LONGEST - 20:  # what would be cut off tells runs apart
        name = f"{name[: _LONGEST - 35]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return Path(CONTROLS if beside else PREDICTIONS, f"{name}.parquet")


def aside_path(table: Path, key: str) -> Path:
    """Where a table that is no longer asked for lies in the folder."""
    return Path(ASIDE, f"{table.stem}-{key[:12]}.parquet")


def adapter_path(model: str, source: str, seed: int) -> Path:
    """Where an adapter lies in the folder."""
    return Path(ADAPTERS, safe_name(model), safe_name(source), str(seed))


def judging_folder(folder: str | os.PathLike[str], model: str, target: str) -> Path:
    """Where lies what judges the choice for a model and a target."""
    return Path(folder, JUDGING, safe_name(model), safe_name(target))


def tables(folder: str | os.PathLike[str]) -> list[Path]:
    """All prediction tables of runs, placebos and those set aside, relative to the folder."""
    root = Path(folder)
    found = (path for room in (PREDICTIONS, CONTROLS, ASIDE) for path in root.glob(f"{room}/*"))
    return sorted(path.relative_to(root) for path in found if path.suffix == ".parquet")


def record_of(path: Path) -> Path:
    """Where the record of a table or an adapter's folder lies."""
    return path.with_suffix(".json") if path.suffix == ".parquet" else path / RUN


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is none, or none that can be read."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def as_json(value: Mapping[str, Any]) -> bytes:
    """A record as the bytes of its file."""
    return json.dumps(value, indent=1).encode() + b"\n"


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, its record aside, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): checksum(path) for path in files if path.name != RUN
    }


def checksum(path: Path) -> str:
    """SHA-256 of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def log(folder: str | os.PathLike[str], event: str, **what: object) -> None:
    """Append a line to the folder's log.

    Raises:
        DataError: it cannot be written.
    """
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **what}
    path = Path(folder, LOG)
    try:
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:  # a line that a crash cut short stays alone
                file.seek(end - 1)
                file.write(b"" if file.read(1) == b"\n" else b"\n")
            file.write(json.dumps(line).encode() + b"\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


def logged(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of the folder's log; one that a crash cut short is passed over."""
    try:
        lines = Path(folder, LOG).read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
