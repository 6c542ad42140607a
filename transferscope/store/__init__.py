"""The results folder of a study: the only package that knows the file names inside it.

    study.yaml                       the study as it was run, with every default
    adapters/MODEL/SOURCE/SEED/      LoRA weights in PEFT's format; run.json records the training
    adapters/MODEL/SOURCE/SEED-STEP/ the same before the last step
    predictions/MODEL/SOURCE/SEED/   one immutable Parquet file for each target
    predictions/MODEL/base/          the same of the base
    controls/MODEL/SOURCE/SEED/      the same of runs that are no source: placebos, mixtures, and
                                     sources before their last step or at another strength
    index.json                       which run has which files, their content keys and checksums
    digests.json                     digests of items that take long to compute
    features/                        vision features that did not fit in memory; may be deleted
    run.jsonl                        one line for each event; `progress` lists the events
    analysis.json                    the analysis, schema 1
    exhibits.json                    items that flipped, with small images; may be deleted
    report.html                      the page
    comparison.json                  runs compared with their base, written by `compare`
    figures/                         the charts as files, written by `figures`
    selection.json, judging/         the chosen mixtures, and the study folders that test them

`atomic` writes files whole and locks the folder, `cells` keeps finished cells and the index,
`progress` reads the log, `remote` copies the folder to an address, `archive` zips it.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from transferscope.errors import DataError
from transferscope.store.atomic import write_whole
from transferscope.tasks.untrusted import json_lines

STUDY = "study.yaml"
ADAPTERS = "adapters"
PREDICTIONS = "predictions"
CONTROLS = "controls"
INDEX = "index.json"
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

Folder = str | os.PathLike[str]
_LONGEST = 100  # characters of a file name; some file systems stop at 143
_CELL = re.compile(r"/.+/.+-[0-9a-f]{12}\.parquet$")
"""The end of a table's path that `cells` made."""


def is_table(name: str) -> bool:
    """Whether a relative path is one of a prediction table; such a path stays in the folder."""
    path = rf"({PREDICTIONS}|{CONTROLS})(/\w[\w.-]*){{1,4}}\.parquet"
    return re.fullmatch(path, name, re.ASCII) is not None


class RunFields(TypedDict):
    """A run as the index names it: the fields of `study.plan.Run`."""

    model: str
    kind: Literal[
        "base", "rerun", "source", "mixture", "control", "external", "snapshot", "strength"
    ]
    source: str | None
    seed: int | None


class IndexedRun(TypedDict):
    """A run of the study."""

    run: RunFields
    base: str
    """Hash of the base's weights."""
    training: str
    """Key of the adapter."""
    gold: dict[str, str]
    """Target to the hash of its right answers."""
    steps: NotRequired[int]
    """Of a snapshot: the steps of the finished adapter."""
    cells: dict[str, str]
    """Target to file."""
    versions: dict[str, str]
    """Of libraries."""
    notes: list[str]
    """What a reader must know of the items."""


class IndexedTable(TypedDict):
    """A table that was finished once."""

    target: str
    key: str
    sha256: str


class Index(TypedDict):
    """The content of `index.json`."""

    schema: Literal[1]
    runs: list[IndexedRun]
    """In the study's order."""
    tables: dict[str, IndexedTable]
    """By file; also those that the study no longer has."""
    adapters: dict[str, str]
    """Folder to key of every adapter that was ever finished."""


def read_index(folder: Folder) -> Index | None:
    """The folder's index, or None; a `DataError` where it is damaged or names files elsewhere."""
    from pydantic import TypeAdapter, ValidationError

    path = Path(folder, INDEX)
    if not path.exists():
        return None
    with contextlib.suppress(ValidationError):
        index = TypeAdapter(Index).validate_python(read_json(path), strict=True)
        files = {name for one in index["runs"] for name in one["cells"].values()}
        if files <= index["tables"].keys() and all(map(is_table, index["tables"])):
            return index
    problem = "not a valid index; restore it, or delete it to compute all cells again"
    raise DataError(f"{path}: {problem}")


def prediction_files(folder: Folder) -> list[Path]:
    """The folder's current prediction tables, in the study's order; by name without an index."""
    return [file for files in files_by_run(folder) for file in files]


def control_files(folder: Folder) -> list[Path]:
    """The same for placebos and mixtures."""
    return [file for files in files_by_run(folder, controls=True) for file in files]


def files_by_run(folder: Folder, *, controls: bool = False) -> list[list[Path]]:
    """The current tables of each run in the study's order; without an index, each file alone.

    Raises:
        DataError: the index is damaged, or missing beside the tables of a study.
    """
    root, part = Path(folder), CONTROLS if controls else PREDICTIONS
    if index := read_index(root):
        runs = [[root / name for name in one["cells"].values()] for one in index["runs"]]
        return [files for files in runs if files and files[0].is_relative_to(root / part)]
    found = sorted(path for path in (root / part).rglob("*.parquet") if path.is_file())
    if any(_CELL.search(path.relative_to(root).as_posix()) for path in found):
        # Tables of earlier recipes are among them; only the index lists the current ones.
        problem = f"has a study's {part}/ but not its {INDEX}, which lists the current tables"
        raise DataError(f"{root}: {problem}; copy it here too")
    return [[path] for path in found if not path.name.startswith(".")]


def run_records(folder: Folder) -> list[IndexedRun]:
    """The index's record of each run in the study's order; empty without an index."""
    return index["runs"] if (index := read_index(folder)) else []


def read_beside(folder: Folder, name: str, most: int | None = 1 << 20) -> bytes | None:
    """The first `most + 1` bytes of a file in the folder, None without it, or a `DataError`."""
    path = Path(folder, name)
    try:
        with path.open("rb") as file:
            return file.read(-1 if most is None else most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def read_analysis(folder: Folder) -> bytes:
    """The bytes of the folder's `analysis.json`, or a `DataError` where it cannot be read."""
    if (data := read_beside(folder, ANALYSIS, None)) is None:
        problem = f"no {ANALYSIS} in this folder; `transferscope analyze` writes one"
        raise DataError(f"{folder}: {problem}")
    return data


def save(
    folder: Folder,
    analysis_json: bytes,
    report_html: str | None = None,
    exhibits_json: bytes | None = None,
) -> list[Path]:
    """Write an analysis and its page into the folder, made if missing.

    `analysis.json` is written last: where it is new, so is everything beside it. The exhibits of
    an earlier analysis are removed where there are no new ones.

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
    if report_html is not None:
        written.insert(0, write_whole(root / REPORT, report_html.encode()))
    return [write_whole(root / ANALYSIS, analysis_json), *written]


def figures_folder(folder: Folder) -> Path:
    """The place of the figures in a results folder."""
    return Path(folder, FIGURES)


def save_figures(folder: Folder, files: Mapping[str, bytes]) -> list[Path]:
    """Write the figures' files, by name, into a folder of their own; other files there stay.

    Returns:
        The paths written.

    Raises:
        DataError: a file cannot be written.
    """
    taken: set[str] = set()
    written = []
    for name, data in files.items():
        taken.add(safe := safe_name(name, taken))
        written.append(write_whole(Path(folder, safe), data))
    return written


def save_comparison(folder: Folder, comparison_json: bytes, report_html: str) -> list[Path]:
    """Write a comparison and its page; arguments, paths and errors as for `save`."""
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
    tails = itertools.chain((dot + suffix,), (f"-{n}{dot}{suffix}" for n in itertools.count(2)))
    names = (stem[: _LONGEST - len(tail)] + tail for tail in tails)
    return next(name for name in names if name.lower() not in used)


def unique_name(name: str) -> str:
    """A safe file name that differs for different names: a changed one ends with a hash."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:60]
    if safe == name and name[:1] not in ("", ".", "-"):
        return safe
    return f"{safe.lstrip('.-') or '_'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def cache_folder() -> Path:
    """The user's folder for files that can be fetched or computed again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "transferscope")


def adapter_path(model: str, source: str, seed: int) -> Path:
    """The place of an adapter in the folder."""
    return Path(ADAPTERS, safe_name(model), safe_name(source), str(seed))


def judging_folder(folder: Folder, model: str, target: str) -> Path:
    """The study folder that tests the mixture chosen for a model and a target."""
    return Path(folder, JUDGING, safe_name(model), safe_name(target))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is no file or none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        value = json.loads(path.read_bytes())
        return value if isinstance(value, dict) else {}
    return {}


def as_json(value: Mapping[str, Any]) -> bytes:
    """A record as the bytes of its file."""
    return json.dumps(value, indent=1).encode() + b"\n"


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but its `run.json`, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RUN)
    return {path.relative_to(folder).as_posix(): checksum(path) for path in files}


def checksum(path: Path) -> str:
    """SHA-256 of a file; empty where it cannot be read."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return ""


def log(folder: Folder, event: str, **fields: object) -> None:
    """Append a line to the folder's log, or raise a `DataError`; what JSON lacks, as its text."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
    path = Path(folder, LOG)
    try:
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:  # a line that a crash cut short must not swallow this one
                file.seek(end - 1)
                file.write(b"" if file.read(1) == b"\n" else b"\n")
            file.write(json.dumps(line, default=str).encode() + b"\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


def logged(folder: Folder) -> list[dict[str, Any]]:
    """The lines of the folder's log; a line that a crash cut short is skipped."""
    with contextlib.suppress(OSError):
        text = Path(folder, LOG).read_text(encoding="utf-8", errors="replace")
        return [value for _, value in json_lines(text) if isinstance(value, dict)]
    return []
