"""Abbreviation, level and granularity of tasks, looked up by their names.

In:   names of sources and targets, as they were given. A source may be a checkpoint of a finetune,
      `Jigsaw @ 500`: it has the level and granularity of `Jigsaw`.
Out:  the matrix's coordinates, and a note on unknown names.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from transferscope.predictions import some
from transferscope.suites import KNOWN_TASKS
from transferscope.tasks.checkpoints import checkpoint


def task_labels(sources: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """Coordinates `level`, `granularity`, `abbreviation` of targets, `source_...` of sources.

    No two tasks share an abbreviation. What is not known is "".
    """
    runs = [checkpoint(name) for name in sources]
    short = _abbreviations(list(dict.fromkeys([*targets, *(run.task for run in runs)])))
    steps = ["" if run.step is None else f" {run.step}" for run in runs]
    coordinates: dict[str, Any] = {}
    for dim, prefix, names, ends in (
        ("target", "", targets, [""] * len(targets)),
        ("source", "source_", [run.task for run in runs], steps),
    ):
        known = [KNOWN_TASKS.get(name) for name in names]
        for field in ("level", "granularity"):
            values = [(getattr(task, field) if task else None) or "" for task in known]
            coordinates[prefix + field] = (dim, np.array(values, dtype=str))
        labels = [short[name] + end for name, end in zip(names, ends, strict=True)]
        coordinates[f"{prefix}abbreviation"] = (dim, np.array(labels))
    return coordinates


def _abbreviations(tasks: Sequence[str]) -> dict[str, str]:
    short = {task: KNOWN_TASKS[task].abbreviation for task in tasks if task in KNOWN_TASKS}
    for task in tasks:
        if task not in short:
            words = re.findall(r"\d+|[^\W\d_]+", task) or ["T"]
            first = [word[:4] if word.isdigit() else word[0] for word in words[:4]]
            start = words[0][:2] if len(words) == 1 else "".join(first)
            apart = "-" if start[-1].isdigit() else ""
            ends = ["", *(f"{apart}{n}" for n in range(2, len(tasks) + 2))]
            free = (start.upper() + end for end in ends)
            short[task] = next(name for name in free if name not in short.values())
    return short


def unknown_tasks(sources: Sequence[str], targets: Sequence[str]) -> list[str]:
    """A note that names the tasks in no known suite, with what they may be misspellings of."""
    tasks = dict.fromkeys([*targets, *(checkpoint(name).task for name in sources)])
    unknown = [task for task in tasks if task not in KNOWN_TASKS]
    if not unknown:
        return []

    def letters(name: str) -> str:
        return re.sub(r"[\W_]+", "", name).lower()[:40]

    plain = {letters(name): name for name in KNOWN_TASKS}
    hints = [
        f"for {name!r} did you mean {plain[near[0]]!r}?"
        for name in unknown[:50]  # names are untrusted and the comparison is slow
        if (near := get_close_matches(letters(name), plain, n=1, cutoff=0.85))
    ]
    near = f"; {'; '.join(hints[:5])}" if hints else ""
    return [f"in no known suite, so level and granularity are unknown: {some(unknown)}{near}"]
