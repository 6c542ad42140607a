"""Files of a build: `suite.yaml`, a task's items and record, and the journal that lets it resume.

    OUT/suite.yaml              the tasks built so far; the version changes whenever an item does
    OUT/TASK/train.jsonl        one item a line, as `suites/folder.py` reads it
    OUT/TASK/images/HASH.jpg    named by their pixels, quality 95
    OUT/TASK_open/train.jsonl   the same items with open answers, where the task has an open form
    OUT/TASK/build.json         what was made, and what was left out and why
    OUT/TASK/.building.jsonl    the outcome of each candidate while a build goes on

The journal has one JSON object a line: first the settings that decide the outcome, then `{"key",
"row"}` for an item made and `{"key", "reason", "where"}` for a candidate left out. A last line that
a crash cut short is ignored, and so is all of it under other settings.
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from PIL.Image import Image

from transferscope.errors import DataError, StudyError
from transferscope.store import as_json, read_json
from transferscope.store.atomic import write_whole
from transferscope.suites.blink import BLINK, OPEN
from transferscope.suites.similar_images import exact_hash
from transferscope.tasks.untrusted import load_yaml

NAME = "blink-training"
JOURNAL = ".building.jsonl"


@dataclass
class Built:
    """Result of a build: the content of its `build.json`."""

    task: str
    dataset: str
    root: str
    """Name of the data set's folder, without the folders above it."""
    seed: int
    wanted: int
    made: int
    answers: dict[str, int]
    """Items by the letter of their right answer."""
    candidates: int
    """Number of candidates in the annotations."""
    tried: int
    """Number of candidates tried."""
    skipped: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By reason: `count`, and the `first` few."""
    against: int | None = None
    """Evaluation images that the items were compared with; None if with none."""
    version: int = 0
    settings: str = ""
    """Changes with everything that decides the outcome."""
    sha256: str = ""
    """Of `train.jsonl`."""


def check_out(out: Path) -> None:
    """Refuse a folder that is another suite, before anything is written to it.

    Raises:
        StudyError: it is another suite, or no folder.
    """
    if out.exists() and not out.is_dir():
        raise StudyError(f"--out {out}: must be a folder or a new name, got a file")
    path = out / "suite.yaml"
    if not path.exists():
        return
    try:
        heading = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        heading = None
    name = heading.get("name") if isinstance(heading, dict) else None
    if name != NAME:
        raise StudyError(
            f"{path}: belongs to another suite ({name!r}, not {NAME!r}); give another --out"
        )


def finished(folder: Path, settings: str) -> Built | None:
    """The record of a complete build with the same settings; None if any file of it is missing."""
    record = read_json(folder / "build.json")
    if record.get("settings") != settings or record.get("made") != record.get("wanted"):
        return None
    try:
        data = (folder / "train.jsonl").read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != record.get("sha256"):
        return None
    names = {name for line in data.splitlines() for name in json.loads(line)["images"]}
    return Built(**record) if all((folder / name).is_file() for name in names) else None


@contextlib.contextmanager
def journal(
    path: Path, settings: Mapping[str, object]
) -> Generator[tuple[dict[str, dict[str, Any]], Callable[[Mapping[str, object]], None]]]:
    """Entries of an earlier build with these settings, by key, and a function that adds one.

    Raises:
        DataError: the file cannot be written.
    """
    known: dict[str, dict[str, Any]] = {}
    whole = 0
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or (number == 0 and entry.get("settings") != settings):
            break
        if number:
            known[entry["key"]] = entry
        whole += len(line)

    def add(entry: Mapping[str, object]) -> None:
        file.write(json.dumps(entry).encode() + b"\n")
        file.flush()  # a crash loses at most the line being written

    try:
        with path.open("r+b" if whole else "wb") as file:
            file.truncate(whole)
            file.seek(whole)
            if not whole:
                add({"settings": settings})
            yield known, add
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


def write_image(image: Image, folder: Path) -> str:
    """Write an image unless the folder has it; returns the name of its file."""
    name = f"images/{exact_hash(image)[:24]}.jpg"
    if not (folder / name).is_file():
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=95, subsampling=0)
        write_whole(folder / name, jpeg.getvalue())
    return name


def write_build(folder: Path, rows: list[dict[str, Any]], record: Built) -> None:
    """Write the items, those of the open form, then their record; remove images that no item shows
    any more."""
    if any(opened := [row.pop("open") for row in rows]):
        name = f"{folder.name}_open"
        twins = [
            {
                **{key: row[key] for key in ("question", "origin")},
                "id": row["id"].replace(folder.name, name, 1),
                "images": [f"../{folder.name}/{image}" for image in row["images"]],
                **one,
            }
            for row, one in zip(rows, opened, strict=True)
        ]
        write_whole(folder.with_name(name) / "train.jsonl", _as_lines(twins))
    lines = _as_lines(rows)
    record.sha256 = hashlib.sha256(lines).hexdigest()
    write_whole(folder / "train.jsonl", lines)
    write_whole(folder / "build.json", as_json(asdict(record)))
    shown = {name for row in rows for name in row["images"]}
    for path in (folder / "images").iterdir():
        ours = path.suffix == ".jpg" and len(path.stem) == 24
        if ours and f"images/{path.name}" not in shown:
            path.unlink()


def _as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_suite(out: Path) -> None:
    """Write `suite.yaml`, which names the tasks built into the folder.

    Raises:
        DataError: the file cannot be written.
    """
    built = {task: read_json(out / task.name / "build.json").get("sha256") for task in BLINK}
    version = hashlib.sha256(repr([sha256 for sha256 in built.values() if sha256]).encode())
    fields = ("name", "abbreviation", "level", "granularity")
    made = [task for task, sha in built.items() if sha]
    made += [task for task in OPEN if (out / task.name / "train.jsonl").is_file()]
    tasks = [{key: getattr(task, key) for key in fields} for task in made]
    heading = {"name": NAME, "version": version.hexdigest()[:12], "tasks": tasks}
    write_whole(out / "suite.yaml", yaml.safe_dump(heading, sort_keys=False).encode())
