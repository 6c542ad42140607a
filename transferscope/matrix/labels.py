"""What is known of tasks by their names: short labels, level, granularity; and what is not known.

In:   names of sources and targets, as they were given. A source may be a checkpoint of a finetune,
      `Jigsaw @ 500`: it has the level and granularity of `Jigsaw`.
Out:  the matrix's coordinates, and sentences for its notes.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from transferscope.predictions import some
from transferscope.suites import KNOWN_TASKS
from transferscope.tasks.checkpoints import checkpoint

_LONGEST = 40  # letters of an unknown name that are compared


def task_labels(sources: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """Coordinates `level`, `granularity`, `abbreviation` of targets, `source_...` of sources.

    No two tasks share an abbreviation. What is not known is "".
    """
    short = _abbreviations(list(dict.fromkeys([*targets, *map(_task, sources)])))
    steps = {name: checkpoint(name).step for name in sources}
    labels = {"": [short[name] for name in targets]}
    labels["source_"] = [
        short[_task(name)] + ("" if steps[name] is None else f" {steps[name]}") for name in sources
    ]
    coordinates: dict[str, Any] = {}
    for dim, prefix, names in (("target", "", targets), ("source", "source_", sources)):
        known = [KNOWN_TASKS.get(_task(name) if prefix else name) for name in names]
        for field in ("level", "granularity"):
            values = [(getattr(task, field) if task else None) or "" for task in known]
            coordinates[prefix + field] = (dim, np.array(values, dtype=str))
        coordinates[f"{prefix}abbreviation"] = (dim, np.array(labels[prefix]))
    return coordinates


def unknown_tasks(sources: Sequence[str], targets: Sequence[str]) -> list[str]:
    """A note that names the tasks in no known suite, with what they may be misspellings of."""
    tasks = dict.fromkeys([*targets, *map(_task, sources)])
    unknown = [task for task in tasks if task not in KNOWN_TASKS]
    if not unknown:
        return []
    names = f"{some(unknown)}{_near(unknown)}"
    return [f"in no known suite, hence without level and granularity: {names}"]


def _task(source: str) -> str:
    return checkpoint(source).task


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


def _near(unknown: Sequence[str]) -> str:
    """Known tasks of which unknown names are misspellings: one or two letters apart."""
    plain = {_letters(name): name for name in KNOWN_TASKS}
    hints = []
    for name in unknown[:50]:  # names are untrusted and the comparison is slow
        letters = _letters(name)[:_LONGEST]
        apart, near = min((_edits(letters, known), known) for known in plain)
        if apart <= min(2, len(near) // 4):
            hints.append(f"for {name!r} did you mean {plain[near]!r}?")
    return f"; {'; '.join(hints[:5])}" if hints else ""


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _edits(one: str, two: str) -> int:
    """Letters to insert, delete or replace in one text to make it the other (Levenshtein)."""
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        last, row = row, [i]
        for j, b in enumerate(two, 1):
            row.append(min(row[-1] + 1, last[j] + 1, last[j - 1] + (a != b)))
    return row[-1]
