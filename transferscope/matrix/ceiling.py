"""Measure PGF against another ceiling, the best accuracy that a target can have.

In:   the matrix as read, with PGF at ceiling 1, accuracies or base errors; the ceiling.
Out:  the matrix with PGF at that ceiling and notes on the cells that lose their PGF.
"""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from transferscope.errors import DataError
from transferscope.matrix.measure import NO_GAP, pgf
from transferscope.matrix.pairing import left_out
from transferscope.predictions import CELL, some
from transferscope.tasks.untrusted import shown

Ceiling = float | Mapping[str, float] | Literal["self"]


def apply_ceiling(dataset: xr.Dataset, ceiling: Ceiling) -> xr.Dataset:
    """The matrix with PGF measured against another ceiling. Give it the matrix as read.

    With `self`, a target's ceiling is its diagonal's accuracy, mean over seeds, for each model.
    That needs only the base's errors g and the changes d, for the number of items cancels:

        pgf[i, j, seed] = d[i, j, seed] / (g[j, seed] - mean over seeds of (g - d)[j, j])

    Args:
        ceiling: a fraction in (0, 1], one for each target, or `self`.

    Returns:
        A new dataset. PGF is NaN where the baseline is at or above the ceiling, where `self` finds
        no source for a target, and where PGF at ceiling 1 is all that is known; notes count them.

    Raises:
        DataError: a ceiling is not a fraction, or the table lacks a target or names an unknown one.
    """
    targets = dataset["target"].values.tolist()
    known = dataset["base_accuracy"].notnull().any("seed")
    if isinstance(ceiling, str) and ceiling == "self":
        base, tuned = _with_stand_ins(dataset, known)
        bounds = _diagonal(tuned.where(~left_out(dataset))).mean("seed")
        stated = bounds.where(known)
    else:
        base, tuned = dataset["paired_base_accuracy"], dataset["accuracy"]
        bounds = xr.DataArray(_given(ceiling, targets), {"target": dataset["target"]}, ["target"])
        stated = bounds
    gap = bounds - base
    fresh = pgf(base, tuned, bounds.where(gap > NO_GAP))
    kept = dataset["pgf"].where((bounds == 1) & (dataset["ceiling"] == 1))
    effects = kept.fillna(fresh).transpose(*CELL)
    undefined = (tuned.notnull() & (gap <= NO_GAP)).transpose(*CELL)
    lost = (effects.isnull() & dataset["pgf"].notnull() & ~undefined).transpose(*CELL)
    fixed = dataset.drop_vars("ceiling").assign(pgf=effects, ceiling=stated)
    ceiling_notes = _ceiling_notes(fixed, undefined.values, lost.values)
    notes = [n for n in dataset.attrs["notes"] if n not in dataset.attrs["ceiling_notes"]]
    return fixed.assign_attrs(
        dataset.attrs,
        notes=[*notes, *ceiling_notes],
        ceiling_notes=ceiling_notes,
        ceiling=dict(ceiling) if isinstance(ceiling, Mapping) else ceiling,
    )


def _with_stand_ins(dataset: xr.Dataset, known: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Base and tuned accuracies, with made-up items where only the base's errors are known.

    Any number of items gives the same PGF against the diagonal; this is the smallest possible.
    """
    errors, changes = dataset["base_errors"], dataset["pgf"] * dataset["base_errors"]
    changes = changes.where(dataset["ceiling"] == 1)
    items = (errors - changes).max(["seed", "source"])
    items = np.maximum(items, errors.max("seed"))
    base = dataset["paired_base_accuracy"].where(known, 1 - errors / items)
    tuned = dataset["accuracy"].where(known, (1 - (errors - changes) / items).clip(0, 1))
    return base, tuned.transpose(*CELL)


def _diagonal(accuracy: xr.DataArray) -> xr.DataArray:
    """The accuracy of each target's own source, (model, seed, target); NaN where it has none."""
    sources = {name: i for i, name in enumerate(accuracy["source"].values.tolist())}
    index = np.array([sources.get(name, -1) for name in accuracy["target"].values.tolist()])
    picked = accuracy.values[:, :, index, np.arange(len(index))]
    return accuracy.isel(source=0, drop=True).copy(data=np.where(index >= 0, picked, np.nan))


def _given(ceiling: Any, targets: list[str]) -> Float[np.ndarray, " target"]:
    """The ceiling of every target."""

    def fraction(value: Any, what: str) -> float:
        number = value if isinstance(value, int | float | np.number) else math.nan
        if not 0 < number <= 1:
            remedy = "; divide percent by 100" if number > 1 else ""
            kinds = "a fraction in (0, 1], a table of them, or 'self'"
            raise DataError(f"{what} must be {kinds}, got {value!r}{remedy}")
        return float(number)

    if not isinstance(ceiling, Mapping):
        return np.full(len(targets), fraction(ceiling, "the ceiling"))
    for name in ceiling:
        if name not in targets:
            near = get_close_matches(str(name), targets, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"ceiling for unknown target {name!r}; {hint}known: {some(targets)}")
    if missing := [name for name in targets if name not in ceiling]:
        raise DataError(f"no ceiling for target {some(missing)}; give one for every target")
    return np.array([fraction(ceiling[name], f"the ceiling of {name!r}") for name in targets])


def _ceiling_notes(
    dataset: xr.Dataset, undefined: Bool[np.ndarray, "..."], lost: Bool[np.ndarray, "..."]
) -> list[str]:
    """Notes on the cells that this ceiling leaves without a PGF, or above 1."""
    notes, targets = [], dataset["target"].values
    above = (dataset["pgf"] > 1 + NO_GAP).values
    measured = (dataset["pgf"].notnull() | dataset["accuracy"].notnull()).transpose(*CELL).values
    seeds = measured.any(axis=(2, 3)).sum(axis=1).tolist()
    sizes = [count * math.prod(undefined.shape[2:]) for count in seeds]
    for m, model in enumerate(map(shown, dataset["model"].values.tolist())):
        if count := int(undefined[m].sum()):
            why = "undefined: the baseline is at or above the ceiling"
            notes.append(f"{model}: {number_of(sizes[m], 'cell', count)} {why}")
        if count := int(lost[m].sum()):
            names = some(targets[lost[m].any(axis=(0, 1))].tolist())
            notes.append(
                f"{model}: {number_of(sizes[m], 'cell', count)} unknown at this ceiling, because "
                f"accuracies behind the PGF or the target's own source are missing: {names}"
            )
        if count := int(above[m].sum()):
            where = "above the ceiling, with PGF over 1"
            notes.append(f"{model}: {number_of(sizes[m], 'cell', count)} {where}")
    return notes


def number_of(size: int, what: str, count: int) -> str:
    """`of 13 cells, 2 are`."""
    return f"of {size} {what}s, {count} {'is' if count == 1 else 'are'}"
