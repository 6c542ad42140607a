"""The runs of one model, read from the matrix: effects, changes, and each target's statistics.

In:   one model's part of the matrix, its effects in the measure, the settings.
Out:  `Runs` of its sources and of its controls, and what reads the answers to a target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from transferscope.analysis.settings import Settings
from transferscope.matrix import control_runs
from transferscope.matrix.pairing import left_out
from transferscope.stats import TargetEffects, borrowed, counted_effects, paired_effects

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Runs:
    """Finetunes of one model, or its controls, on all targets."""

    names: list[str]
    effects: Float[np.ndarray, "seed source target"]
    """mu; NaN where not measured or undefined."""
    items: Float[np.ndarray, "seed source target"]
    """That base and run both answered; NaN where unknown."""
    changes: Float[np.ndarray, "seed source target"]
    """Of accuracy; of PGF where accuracies are unknown."""
    left_out: Bool[np.ndarray, "seed source target"]
    """Cells without a part in averages (`matrix.pairing`)."""
    by_target: tuple[TargetEffects, ...]
    counted: tuple[TargetEffects, ...]
    """The same of the cells that have a part in averages."""

    @property
    def averaged(self) -> Float[np.ndarray, "seed source target"]:
        """The effects that have a part in averages; NaN in place of the others."""
        return np.where(self.left_out, np.nan, self.effects)


class Marks(NamedTuple):
    """One target's answers, as the predictions have them."""

    base: Float[np.ndarray, "seed item"]
    tuned: Float[np.ndarray, "seed run item"]
    groups: Int[np.ndarray, " item"]


def _reader(part: xr.Dataset, tuned: np.ndarray | None) -> Callable[[int], Marks] | None:
    """What reads the answers to one target; None where items are not known."""
    if tuned is None or not (tuned >= 0).any():
        return None
    base, target_of = part["base_item_correct"].isel(model=0).values, part["item_target"].values
    names, groups = part["target"].values, part["item_group"].values

    def read(j: int) -> Marks:
        here = target_of == names[j]
        before, after = (np.where(m[..., here] < 0, np.nan, m[..., here]) for m in (base, tuned))
        return Marks(before, after, groups[here])

    return read


class _Arrays(NamedTuple):
    """The sources of one model and then its controls, (seed, run, target)."""

    names: list[str]
    sources: int
    """How many of them are sources."""
    mu: np.ndarray
    changes: np.ndarray
    base: np.ndarray
    total: np.ndarray
    base_total: Float[np.ndarray, "seed target"]
    few: Bool[np.ndarray, "seed run target"]
    """Cells without a part in averages."""
    lends: Bool[np.ndarray, "run target"]
    """Whether a run shows how far seeds differ in others: controls have a spread of their own."""
    read: Callable[[int], Marks] | None


def _arrays(part: xr.Dataset, mu: xr.DataArray, itself: np.ndarray, settings: Settings) -> _Arrays:
    effects_of = {"": mu}
    few = [left_out(part).isel(model=0).transpose("seed", "source", "target").values]
    names: list[str] = part["source"].values.tolist()
    sources = len(names)
    if "control_accuracy" in part:
        effects_of["control_"] = control_runs.effects(part, settings.measure).isel(model=0)
        of_controls = left_out(part, "control_total").isel(model=0)
        few.append(of_controls.transpose("seed", "control", "target").values)
        names += part["control"].values.tolist()

    def joined(name: str) -> np.ndarray:
        """A variable of sources and controls, (seed, run, target or item)."""
        parts = [part[prefix + name].isel(model=0) for prefix in effects_of]
        dims = [("seed", "control" if prefix else "source", ...) for prefix in effects_of]
        values = [p.transpose(*d).values for p, d in zip(parts, dims, strict=True)]
        return np.concatenate(values, axis=1)

    every = np.concatenate([m.transpose("seed", ..., "target") for m in effects_of.values()], 1)
    accuracy, base = joined("accuracy"), joined("paired_base_accuracy")
    lends = np.concatenate([~itself, np.zeros((len(names) - sources, itself.shape[1]), bool)])
    if not np.isfinite(accuracy).any():  # tables of PGF alone, in their own unit
        base = np.zeros(every.shape)
        accuracy = every
    return _Arrays(
        names,
        sources,
        every,
        accuracy - base,
        base,
        joined("total"),
        part["base_total"].isel(model=0).values,
        np.concatenate(few, axis=1),
        lends,
        _reader(part, joined("item_correct") if "item_correct" in part else None),
    )


def _on_target(of: _Arrays, j: int, counts: np.ndarray, correlation: float) -> TargetEffects:
    """The changes on one target of the runs that count, (seed, run)."""
    # Few items make a run's accuracy move more.
    others = of.lends[:, j] & ~(of.few[..., j] & counts).any(axis=0)
    if of.read is not None:
        marks = of.read(j)
        tuned = np.where(counts[..., None], marks.tuned, np.nan)
        return paired_effects(marks.base, tuned, groups=marks.groups, others=others)
    items = np.unique(np.append(of.total[..., j], of.base_total[..., j]))
    items = items[np.isfinite(items)]
    return counted_effects(
        of.base[..., j],
        of.base[..., j] + np.where(counts, of.changes[..., j], np.nan),
        float(items[0]) if len(items) == 1 else np.nan,
        correlation=correlation,
        others=others,
    )


def runs_of(
    part: xr.Dataset, mu: xr.DataArray, itself: np.ndarray, settings: Settings
) -> tuple[Runs, Runs, Callable[[int], Marks] | None]:
    """The sources of one model, its controls, and what reads their answers.

    Args:
        part: the matrix of the model, which stays a dimension, and of the seeds it has.
    """
    of = _arrays(part, mu, itself, settings)
    every, few = np.isfinite(of.changes), of.few

    def effects_where(counts: np.ndarray) -> list[TargetEffects]:
        tables = [
            _on_target(of, j, counts[..., j], settings.item_correlation)
            for j in range(counts.shape[-1])
        ]
        return borrowed(tables, of.sources)

    whole = effects_where(every)
    counts = every & ~few
    counted = effects_where(counts) if few.any() else whole

    def split(where: slice | np.ndarray) -> Runs:
        by_target = tuple(one.only(where) for one in whole)
        return Runs(
            np.array(of.names)[where].tolist(),
            of.mu[:, where],
            of.total[:, where],
            of.changes[:, where],
            few[:, where],
            by_target,
            by_target if counted is whole else tuple(one.only(where) for one in counted),
        )

    ran = np.flatnonzero(every.any(axis=(0, 2)))
    # A slice is a view: of hundreds of tasks the tables are a quarter of the memory.
    return split(slice(of.sources)), split(ran[ran >= of.sources]), of.read
