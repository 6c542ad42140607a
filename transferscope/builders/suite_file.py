"""`OUT/suite.yaml`: what makes the folder of built items a suite.

Its version is made of the builds in it, so it changes whenever an item does.
"""

import hashlib
from pathlib import Path

import yaml

from transferscope.errors import StudyError
from transferscope.store import read_json
from transferscope.store.atomic import write_whole
from transferscope.suites.blink import BLINK
from transferscope.tasks.untrusted import load_yaml

NAME = "blink-training"


def check_heading(out: Path) -> None:
    """Refuse a folder that is somebody else's suite, before anything is written to it.

    Raises:
        StudyError: it is, or it is no folder.
    """
    if out.exists() and not out.is_dir():
        raise StudyError(f"--out {out}: a file is there, expected a folder or a new name")
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


def write_heading(out: Path) -> None:
    """Name the tasks that have been built into the folder.

    Raises:
        DataError: the file cannot be written.
    """
    built = {task: read_json(out / task.name / "build.json").get("sha256") for task in BLINK}
    version = hashlib.sha256(repr([sha256 for sha256 in built.values() if sha256]).encode())
    tasks = [
        {
            "name": task.name,
            "abbreviation": task.abbreviation,
            "level": task.level,
            "granularity": task.granularity,
        }
        for task, sha256 in built.items()
        if sha256
    ]
    heading = {"name": NAME, "version": version.hexdigest()[:12], "tasks": tasks}
    write_whole(out / "suite.yaml", yaml.safe_dump(heading, sort_keys=False).encode())
