"""Where the runs of a mapping lie: paths that exist, and globs.

In:   the runs of a mapping and the folder that their paths start at.
Out:  the same runs with one or more existing paths each.
"""

import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from transferscope.errors import DataError
from transferscope.predictions import shown, some
from transferscope.readers.harness.mapping import Run
from transferscope.tasks.checkpoints import step_of

MOST_MATCHES = 1_000
"""Files and folders that one glob may match."""


class Part(NamedTuple):
    """One path of a run."""

    path: Path
    name: str
    """As the mapping names it."""
    entry: int = 0
    """Number of the mapping's entry that it comes from: the matches of one glob share it."""


def expanded(runs: Sequence[Run], folder: Path) -> Iterator[tuple[Run, list[Part], list[str]]]:
    """The runs with their paths, one run for each checkpoint that a glob matches, and notes.

    Raises:
        DataError: nothing matches a path; the message names the nearest one that exists.
    """
    for entry, run in enumerate(runs):
        if not glob.has_magic(run.path) or (folder / run.path).exists():
            if not (folder / run.path).exists():
                raise DataError(f"{folder / run.path}: no such file or folder{_near(run, folder)}")
            yield run, [Part(folder / run.path, run.path, entry)], []
            continue
        found = glob.iglob(run.path, root_dir=folder, recursive=True)
        names = sorted(itertools.islice(found, MOST_MATCHES + 1), key=_by_number)
        if not names:
            raise DataError(f"{shown(run.path)}: matches no file or folder{_near(run, folder)}")
        if len(names) > MOST_MATCHES:
            raise DataError(f"{shown(run.path)}: matches over {MOST_MATCHES:,} files; narrow it")
        notes = [f"{shown(run.path)}: matches {len(names)}: {some(names, 10)}"]
        steps = {name: step_of(name) for name in names}
        if run.source is None or run.step is not None or set(steps.values()) == {None}:
            steps = dict.fromkeys(names, run.step)
        elif odd := [name for name in names if steps[name] is None]:
            notes.append(f"{some(odd)}: left out, as no step stands in the name; list it by itself")
            steps = {name: step for name, step in steps.items() if step is not None}
        for step in dict.fromkeys(steps.values()):
            parts = [Part(folder / name, name, entry) for name in steps if steps[name] == step]
            yield run.model_copy(update={"step": step}), parts, notes
            notes = []


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts `checkpoint-90` before `checkpoint-500`."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _near(run: Run, folder: Path) -> str:
    """`; the nearest is 'logs/base'`, of what stands in the deepest folder that exists."""
    fixed = Path(run.path)
    while glob.has_magic(str(fixed)) or not (folder / fixed).is_dir():
        if fixed == fixed.parent:
            return ""
        fixed = fixed.parent
    with os.scandir(folder / fixed) as entries:
        few = itertools.islice(entries, 10_000)
        names = [os.path.normpath(fixed / entry.name) for entry in few]
    near = get_close_matches(os.path.normpath(run.path), names, n=1, cutoff=0.8)
    return f"; the nearest is {near[0]!r}" if near else ""
