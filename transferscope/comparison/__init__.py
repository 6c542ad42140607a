"""Runs beside their base: what improved, what broke, and which checkpoint to ship.

In:   files or folders of evaluations, as `transferscope compare` is given them.
Out:  a `Comparison`.

Changes are points of accuracy on the items that base and run both answered. There are no donors,
cliques or personas of one finetune: for a matrix of many, see `transferscope.analyze`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from transferscope.comparison import inputs
from transferscope.comparison.cells import runs_of
from transferscope.comparison.gate import gate, limits_of
from transferscope.comparison.record import Comparison
from transferscope.comparison.words import decide
from transferscope.errors import DataError
from transferscope.readers.checks import check_runs
from transferscope.readers.harness.evaluations import Evaluated

__all__ = ["Comparison", "compare", "of_rows"]

PathLike = str | os.PathLike[str]


def compare(
    base: PathLike,
    runs: Sequence[PathLike] | Mapping[str, PathLike] = (),
    *,
    gold: PathLike | None = None,
    metric: str | None = None,
    protect: Sequence[str] = (),
    gain: Sequence[str] = (),
) -> Comparison:
    """Compare runs with their base.

    Args:
        base: a file or folder that an evaluation harness wrote for the base; without runs, a table,
            study folder or mapping file that holds base and runs.
        runs: the same for each run: paths, globs, `NAME=PATH`, or paths by name.
        gold: BLINK's file of right answers, for its flat prediction files.
        metric: the harness's metric to take, such as `acc_norm`, in tasks that have it.
        protect: `TASK:POINTS`, the most that a task may lose; `all` is every task.
        gain: `TASK:POINTS`, the least that a task must gain.

    Raises:
        DataError: a file is not what it must be, or a condition names no task.
    """
    texts = [f"{n}={os.fspath(p)}" for n, p in runs.items()] if isinstance(runs, Mapping) else runs
    read = inputs.read(
        os.fspath(base),
        [os.fspath(each) for each in texts],
        None if gold is None else os.fspath(gold),
        metric,
    )
    return of_rows(read, protect=protect, gain=gain)


def of_rows(
    read: inputs.Read, *, protect: Sequence[str] = (), gain: Sequence[str] = ()
) -> Comparison:
    """The comparison of what was read."""
    evaluated = inputs.checked(read.evaluated, "the runs")
    names = {source: named.name for source, named in read.names.items()}
    checks = [
        replace(each, message=_renamed(each.message, names, evaluated))
        for each in check_runs(evaluated)
    ]
    runs, shared, base_accuracy = runs_of(evaluated, read.names, checks)
    targets = [t for t in base_accuracy if any(t in run.cells for run in runs)]
    if not targets:
        raise DataError("no task is evaluated in both the base and a run")
    limits = limits_of(protect, gain, targets)
    conditions = gate(runs, limits, targets)
    notes = [_renamed(note, names, evaluated) for note in [*read.notes, *evaluated.notes]]
    return Comparison(
        base=read.base,
        runs=tuple(runs),
        targets=tuple(targets),
        shared=tuple(shared),
        base_accuracy=base_accuracy,
        checks=tuple(checks),
        decision=decide(runs, checks, conditions),
        gate=tuple(conditions),
        notes=tuple(dict.fromkeys(notes)),
        inputs=tuple(evaluated.inputs),
    )


def _renamed(text: str, names: Mapping[str, str], evaluated: Evaluated) -> str:
    """A reader's sentence with the names of runs in place of their files' paths."""
    labels = {
        log.label: "base" if key.source is None else names[key.source]
        for key, log in evaluated.logs.items()
        if key.source is None or key.source in names
    }
    swapped = labels | {source: name for source, name in names.items() if source != name}
    for label in sorted(swapped, key=len, reverse=True):
        whole = rf"(?<![\w./-]){re.escape(label)}(?![\w/-]|\.\w)"  # no part of another name
        text = re.sub(whole, lambda _, name=swapped[label]: name, text)
    return text
