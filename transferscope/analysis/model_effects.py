"""One model's effects and what is known about their uncertainty.

Changes of accuracy come from item-level answers where they exist, else from counts, else from
averages (then only seeds say how certain they are). Tables of PGF alone are in their own unit.

In:   the matrix, a model's name, the settings.
Out:  `ModelEffects`: arrays, each target's `stats.TargetEffects`, and draws of the whole matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from transferscope.analysis import Basis, Items, Quantity, Sign
from transferscope.analysis.graph import seed_mean
from transferscope.analysis.settings import Settings
from transferscope.errors import StudyError
from transferscope.matrix.measure import MEASURES, NO_GAP, known_mean
from transferscope.matrix.pairing import most_items
from transferscope.matrix.task_effects import SignedParts, same_task, signed_parts
from transferscope.stats import (
    TargetEffects,
    borrowed,
    counted_effects,
    draws,
    paired_effects,
)

if TYPE_CHECKING:
    import xarray as xr

SIGNS: tuple[Sign, ...] = get_args(Sign)
AXES: dict[Quantity, int] = {"transferability": -1, "malleability": -2}
"""The axis of (.., source, target) over which each adds up effects."""
RUNS = {"": "source", "control_": "control"}
"""{prefix of the matrix's variables: dimension of the runs}"""
Record = TypeVar("Record")


def effects(matrix: xr.Dataset, name: str) -> xr.DataArray:
    """The effects of every cell in the named measure, dimensions (model, seed, source, target).

    Args:
        name: a key of `MEASURES`; all but `pgf` need accuracies.
    """
    if name == "pgf":
        return matrix["pgf"]
    if matrix["accuracy"].isnull().all():
        raise StudyError(f"{name} needs accuracies, and these results hold only PGF values")
    change = MEASURES[name].effect(
        matrix["paired_base_accuracy"], matrix["accuracy"], matrix["ceiling"]
    )
    return change.transpose(*matrix["pgf"].dims).assign_coords(matrix["pgf"].coords)


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
    """Of sources, then of controls."""
    groups: Int[np.ndarray, " item"]


@dataclass(frozen=True)
class ModelEffects:
    """One model's effects with what is known about their uncertainty."""

    model: str
    matrix: xr.Dataset
    """Of the model, and of the seeds it has."""
    seeds: list[str]
    targets: tuple[str, ...]
    itself: Bool[np.ndarray, "source target"]
    """True where source and target are the same task."""
    runs: Runs
    controls: Runs
    marks: Callable[[int], Marks] | None
    """Reads the answers to one target; None where items are not known."""
    ceiling: Float[np.ndarray, " target"]
    in_accuracy: bool
    """False where only PGF values are known."""
    items: Items
    basis: Basis
    settings: Settings

    @property
    def sources(self) -> list[str]:
        return self.runs.names

    @property
    def alpha(self) -> float:
        return self.settings.alpha

    @property
    def repeated(self) -> bool:
        """Whether some source has several seeds."""
        return self.basis in ("seeds", "seeds and items")

    @property
    def has_intervals(self) -> bool:
        return self.basis != "none" and self.settings.preset == "default"

    def denominator(self, one: TargetEffects, j: int) -> tuple[np.ndarray, float]:
        """What a change on target `j` is divided by, NaN where that is not above 0; its slope."""
        if not self.in_accuracy:
            return np.ones(len(one.change)), 0.0
        measure = MEASURES[self.settings.measure]
        value = measure.denominator(one.base, self.ceiling[j])
        return np.where(value > NO_GAP, value, np.nan), measure.slope

    def scaled(self, runs: Runs) -> list[TargetEffects]:
        """The effects that have a part in averages, in the measure."""
        return [one.scaled(*self.denominator(one, j)) for j, one in enumerate(runs.counted)]

    @cached_property
    def drawn(self) -> Float[np.ndarray, "source target draw"]:
        """Draws of the seed-mean effects that have a part in averages; NaN without intervals."""
        mean = seed_mean(self.runs.averaged).astype(np.float32)[..., None]
        if not self.has_intervals:
            return np.full_like(mean, np.nan)
        return mean + self.noise(self.scaled(self.runs))

    def noise(self, effects: Sequence[TargetEffects]) -> Float[np.ndarray, "source target draw"]:
        """Draws of the effects' errors; 0 where an effect is unknown."""
        number = draws.affordable(draws.DRAWS, self.itself.size)
        return draws.noise(
            effects, self.targets, seed=self.settings.seed, model=self.model, draws=number
        )

    @cached_property
    def null(self) -> Float[np.ndarray, "draw seed source target"] | None:
        """Effects without any transfer; None where luck over items is unknown for some target.

        NaN where an effect has no part in averages; so has one on itself, unless it is included.
        """
        known = np.isfinite(self.runs.averaged)
        if not self.settings.include_self:
            known &= ~self.itself
        unknown = [not one.influence.shape[1] for one in self.runs.counted]
        if not self.has_intervals or any(unknown) or not known.any():
            return None
        still = [
            one.scaled(self.denominator(one, j)[0], 0.0) for j, one in enumerate(self.runs.counted)
        ]
        number = draws.affordable(draws.NULL_DRAWS, self.runs.effects.size)
        drawn = draws.no_transfer(
            still, seeds=len(self.seeds), seed=self.settings.seed, draws=number
        )
        drawn[:, ~known] = np.nan
        return drawn

    def by_task(self, quantity: Quantity, *, include_self: bool) -> SignedParts:
        """Every task's transferability or malleability, (seed, task)."""
        values = self.runs.averaged
        if not include_self:
            values = np.where(self.itself, np.nan, values)
        return signed_parts(values, axis=AXES[quantity])

    @cached_property
    def _tasks(self) -> dict[tuple[Quantity, Sign, bool], np.ndarray]:
        found: dict[tuple[Quantity, Sign, bool], np.ndarray] = {}
        for include_self in (True, False):
            drawn = self.drawn
            if not include_self:
                drawn = np.where(self.itself[..., None], np.float32(np.nan), drawn)
            for quantity, axis in AXES.items():
                parts = signed_parts(drawn, axis=axis - 1)
                values = self.by_task(quantity, include_self=include_self)
                for sign, of_draws, of_seeds in zip(SIGNS, parts, values, strict=False):
                    # Noise makes sums of positive parts larger: the draws are moved back.
                    shift = known_mean(of_seeds) - of_draws.mean(axis=-1)
                    moved = of_draws + shift[..., None].astype(np.float32)
                    found[quantity, sign, include_self] = moved
        return found

    def of_tasks(
        self, quantity: Quantity, sign: Sign, *, include_self: bool
    ) -> Float[np.ndarray, "task draw"]:
        """Draws of every task's transferability or malleability; NaN without intervals."""
        return self._tasks[quantity, sign, include_self]

    def ends(
        self, drawn: np.ndarray, estimate: float, low: float = -np.inf, high: float = np.inf
    ) -> tuple[float, float]:
        """The interval of one number from its draws."""
        return pair(draws.intervals(drawn, np.asarray(estimate), self.alpha, low=low, high=high))

    def between(self, before: int, after: int, j: int) -> tuple[TargetEffects, float]:
        """The change of target `j` from one source to another on the items that both answered, and
        what a change is divided by there."""
        table = self.runs.by_target[j]
        apart = table.only([after]).beyond(table, before)
        if self.marks is None:
            return apart, float(self.denominator(table, j)[0][[before, after]].mean())
        base, tuned, groups = self.marks(j)
        found = paired_effects(tuned[:, before], tuned[:, [after]], groups=groups)
        both = np.isfinite(base) & np.isfinite(tuned[:, [before, after]]).all(axis=1)
        first = known_mean(known_mean(np.where(both, base, np.nan), axis=1))
        value = MEASURES[self.settings.measure].denominator(first, self.ceiling[j])
        found = replace(found, moved=apart.moved, base_moved=0.0, seeds_df=apart.seeds_df)
        return found, float(value) if value > NO_GAP else np.nan

    def read(self, name: str) -> np.ndarray:
        """A variable of the matrix, (seed, source, target); a dimension it lacks has size 1."""
        found, dims = self.matrix[name], ("seed", "source", "target")
        return found.expand_dims([d for d in dims if d not in found.dims]).transpose(*dims).values

    def by_seed(self, values: np.ndarray) -> dict[str, float]:
        """{seed: value}."""
        return dict(zip(self.seeds, values.tolist(), strict=True))

    def records(
        self, record: Callable[..., Record], per_seed: Mapping[str, np.ndarray], **columns: Any
    ) -> dict[str, dict[str, Record]]:
        """{source: {target: record}}, each of the values of its cell.

        Args:
            record: takes the columns' names.
            per_seed: {name: (seed, source, target)}, of which a record has {seed: value}.
            columns: (source, target), and (source, target, 2) for intervals.
        """
        columns = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in columns.items()}

        def row(i: int, j: int) -> Record:
            values = {name: column[i][j] for name, column in columns.items()}
            values |= {name: tuple(v) for name, v in values.items() if v and name.endswith("ci")}
            values |= {name: self.by_seed(each[:, i, j]) for name, each in per_seed.items()}
            return record(**values)

        return {
            source: {target: row(i, j) for j, target in enumerate(self.targets)}
            for i, source in enumerate(self.sources)
        }


def pair(ends: np.ndarray) -> tuple[float, float]:
    """An interval as plain numbers."""
    return float(ends[0]), float(ends[1])


def model_effects(
    matrix: xr.Dataset, mu: xr.DataArray, model: str, settings: Settings
) -> ModelEffects:
    """The effects of one model.

    Args:
        matrix: the whole matrix, for its counts and item-level answers.
        mu: effects in the chosen measure, dimensions (model, seed, source, target).
    """
    values = mu.sel(model=model).transpose("seed", "source", "target").values
    # A base that leaves no gap has no effect in any seed, which were run nevertheless.
    ran = matrix["accuracy"].sel(model=model).notnull().any(("source", "target")).values
    measured = ran | np.isfinite(values).any(axis=(1, 2))
    # A slice is a view: of hundreds of tasks a copy is a quarter of the memory.
    lacks_some = measured.any() and not measured.all()
    present = np.flatnonzero(measured) if lacks_some else slice(None)
    part = matrix.sel(model=model).isel(seed=present)
    targets = tuple(part["target"].values.tolist())
    itself = same_task(part["source"].values.tolist(), targets)
    runs, controls, marks = _runs(part, values[present], itself, settings)
    items: Items = "none"
    if any(one.influence.shape[1] > 0 for one in runs.by_target):
        items = "predictions" if marks else "counts"
    # Of sources that each have a seed of their own, how far seeds differ is unknown.
    repeated = bool((np.isfinite(runs.changes).sum(axis=0) > 1).any())
    basis: Basis = "none"
    if items != "none":
        basis = "seeds and items" if repeated else "items"
    elif repeated:
        basis = "seeds"
    return ModelEffects(
        model=model,
        matrix=part,
        seeds=part["seed"].values.tolist(),
        targets=targets,
        itself=itself,
        runs=runs,
        controls=controls,
        marks=marks,
        ceiling=part["ceiling"].values,
        in_accuracy=bool(ran.any()),
        items=items,
        basis=basis,
        settings=settings,
    )


def _runs(
    part: xr.Dataset, mu: np.ndarray, itself: np.ndarray, settings: Settings
) -> tuple[Runs, Runs, Callable[[int], Marks] | None]:
    """The sources of one model, its controls, and what reads their answers.

    Args:
        part: the model's matrix, of the seeds it has; mu: its sources' effects.
    """
    names = np.concatenate([part[dim].values for dim in RUNS.values() if dim in part.coords])
    variables = ("accuracy", "paired_base_accuracy", "total")
    accuracy, base, total = (_joined(part, name) for name in variables)
    sources = len(itself)
    of_controls = base[:, sources:], accuracy[:, sources:], part["ceiling"].values
    mu = np.concatenate([mu, MEASURES[settings.measure].effect(*of_controls)], axis=1)
    if not np.isfinite(accuracy).any():  # tables of PGF alone, in their own unit
        accuracy, base = mu, np.zeros(mu.shape)
    changes = accuracy - base
    every = np.isfinite(changes)
    base_total = part["base_total"].transpose("seed", "target").values[:, None]
    few = (
        2 * np.where(np.isnan(total), np.nan, np.fmin(total, base_total)) < most_items(part).values
    )
    # Whether a run shows how far seeds differ in others: controls have a spread of their own.
    lends = np.concatenate([~itself, np.zeros((len(names) - sources, itself.shape[1]), bool)])
    read = _reader(part, _joined(part, "item_correct")) if "item_correct" in part else None

    def on_target(j: int, counts: np.ndarray) -> TargetEffects:
        # Few items make a run's accuracy move more.
        others = lends[:, j] & ~(few[..., j] & counts).any(axis=0)
        if read is not None:
            marks = read(j)
            tuned = np.where(counts[..., None], marks.tuned, np.nan)
            return paired_effects(marks.base, tuned, groups=marks.groups, others=others)
        numbers = np.unique(np.append(total[..., j], base_total[..., j]))
        numbers = numbers[np.isfinite(numbers)]
        return counted_effects(
            base[..., j],
            base[..., j] + np.where(counts, changes[..., j], np.nan),
            float(numbers[0]) if len(numbers) == 1 else np.nan,
            correlation=settings.item_correlation,
            others=others,
        )

    def effects_where(counts: np.ndarray) -> list[TargetEffects]:
        return borrowed([on_target(j, counts[..., j]) for j in range(counts.shape[-1])], sources)

    whole = effects_where(every)
    counted = effects_where(every & ~few) if few.any() else whole

    def split(where: slice | np.ndarray) -> Runs:
        every_cell = tuple(one.only(where) for one in whole)
        some = every_cell if counted is whole else tuple(one.only(where) for one in counted)
        arrays = mu[:, where], total[:, where], changes[:, where], few[:, where]
        return Runs(names[where].tolist(), *arrays, every_cell, some)

    ran = np.flatnonzero(every.any(axis=(0, 2)))
    return split(slice(sources)), split(ran[ran >= sources]), read


def _joined(part: xr.Dataset, name: str) -> np.ndarray:
    """A variable of sources and then of controls, (seed, run, target or item)."""
    dims = {prefix + name: dim for prefix, dim in RUNS.items() if prefix + name in part}
    parts = [part[each].transpose("seed", dim, ...).values for each, dim in dims.items()]
    return np.concatenate(parts, axis=1)


def _reader(part: xr.Dataset, tuned: np.ndarray) -> Callable[[int], Marks] | None:
    """What reads the answers to one target; None where items are not known."""
    base, target_of = part["base_item_correct"].values, part["item_target"].values
    names, groups = part["target"].values, part["item_group"].values

    def read(j: int) -> Marks:
        here = target_of == names[j]
        before, after = (np.where(m[..., here] < 0, np.nan, m[..., here]) for m in (base, tuned))
        return Marks(before, after, groups[here])

    return read if (tuned >= 0).any() else None
