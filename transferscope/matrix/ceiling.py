"""Measure PGF against another ceiling, the best accuracy that a target can have."""

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
    targets = dataset["target"]
    known = dataset["base_accuracy"].notnull().any("seed")
    if isinstance(ceiling, str) and ceiling == "self":
        base, tuned = _with_stand_ins(dataset, known)
        own = tuned.where(~left_out(dataset)).reindex(source=targets.values).sel(source=targets)
        bounds = own.reset_coords(drop=True).mean("seed")
        stated = bounds.where(known)
    else:
        base, tuned = dataset["paired_base_accuracy"], dataset["accuracy"]
        fractions = _given(ceiling, targets.values.tolist())
        bounds = stated = xr.DataArray(fractions, {"target": targets}, ["target"])
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
    items = np.maximum((errors - changes).max(["seed", "source"]), errors.max("seed"))
    base = dataset["paired_base_accuracy"].where(known, 1 - errors / items)
    tuned = dataset["accuracy"].where(known, (1 - (errors - changes) / items).clip(0, 1))
    return base, tuned.transpose(*CELL)


def _given(ceiling: Any, targets: list[str]) -> Float[np.ndarray, " target"]:
    """The ceiling of every target."""
    several = isinstance(ceiling, Mapping)
    table: dict[str, Any] = dict(ceiling) if several else dict.fromkeys(targets, ceiling)
    for name in table:
        if name not in targets:
            near = get_close_matches(str(name), targets, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"ceiling for unknown target {name!r}; {hint}known: {some(targets)}")
    if missing := [name for name in targets if name not in table]:
        raise DataError(f"no ceiling for target {some(missing)}; give one for every target")
    for name in targets:
        value = table[name]
        number = value if isinstance(value, int | float | np.number) else math.nan
        if not 0 < number <= 1:
            what = f"the ceiling of {name!r}" if several else "the ceiling"
            kinds = "a fraction in (0, 1], a table of them, or 'self'"
            remedy = "; divide percent by 100" if number > 1 else ""
            raise DataError(f"{what} must be {kinds}, got {value!r}{remedy}")
    return np.array([table[name] for name in targets], float)


def _ceiling_notes(
    dataset: xr.Dataset, undefined: Bool[np.ndarray, "..."], lost: Bool[np.ndarray, "..."]
) -> list[str]:
    """Notes on the cells that this ceiling leaves without a PGF, or above 1."""
    notes, targets = [], dataset["target"].values
    above = (dataset["pgf"] > 1 + NO_GAP).values
    measured = (dataset["pgf"].notnull() | dataset["accuracy"].notnull()).transpose(*CELL).values
    sizes = measured.any(axis=(2, 3)).sum(axis=1) * math.prod(undefined.shape[2:])
    for m, model in enumerate(map(shown, dataset["model"].values.tolist())):
        names = some(targets[lost[m].any(axis=(0, 1))].tolist())
        for cells, what in (
            (undefined[m], "undefined: the baseline is at or above the ceiling"),
            (
                lost[m],
                "unknown at this ceiling, because accuracies behind the PGF or the target's own "
                f"source are missing: {names}",
            ),
            (above[m], "above the ceiling, with PGF over 1"),
        ):
            if count := int(cells.sum()):
                notes.append(f"{model}: {number_of(sizes[m], 'cell', count)} {what}")
    return notes


def number_of(size: int, what: str, count: int) -> str:
    """`of 13 cells, 2 are`."""
    return f"of {size} {what}s, {count} {'is' if count == 1 else 'are'}"
