"""One model's effects and what is known about their uncertainty.

Changes of accuracy come from item-level answers where they exist, else from counts, else from
averages (then only seeds say how certain they are). Tables of PGF alone are in their own unit.

In:   the matrix, a model's name, the settings.
Out:  `ModelEffects`: arrays, each target's `stats.TargetEffects`, and draws of the whole matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, get_args

import numpy as np
from jaxtyping import Bool, Float

from transferscope.analysis import Basis, Items, Quantity, Sign
from transferscope.analysis.graph import seed_mean
from transferscope.analysis.model_runs import Marks, Runs, runs_of
from transferscope.analysis.settings import Settings
from transferscope.errors import StudyError
from transferscope.matrix.measure import MEASURES, NO_GAP, known_mean
from transferscope.matrix.task_effects import same_task, signed_parts
from transferscope.stats import TargetEffects, draws, paired_effects

if TYPE_CHECKING:
    import xarray as xr

SIGNS: tuple[Sign, ...] = get_args(Sign)


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
class ModelEffects:
    """One model's effects with what is known about their uncertainty."""

    model: str
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
    def drawn(self) -> Float[np.ndarray, "source target draw"] | None:
        """Draws of the seed-mean effects that have a part in averages; None without intervals."""
        if not self.has_intervals:
            return None
        mean = seed_mean(self.runs.averaged).astype(np.float32)
        return mean[..., None] + self.noise(self.scaled(self.runs))

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

    @cached_property
    def _tasks(self) -> dict[tuple[Quantity, Sign, bool], np.ndarray]:
        found: dict[tuple[Quantity, Sign, bool], np.ndarray] = {}
        assert self.drawn is not None
        measured, drawn = self.runs.averaged, self.drawn
        for include_self in (True, False):
            if not include_self:
                measured = np.where(self.itself, np.nan, measured)
                drawn = np.where(self.itself[..., None], np.float32(np.nan), drawn)
            axes: dict[Quantity, int] = {"transferability": 1, "malleability": 0}
            for quantity, axis in axes.items():
                # Noise makes sums of positive parts larger: the draws are moved back.
                parts, values = (
                    signed_parts(drawn, axis=axis),
                    signed_parts(measured, axis=axis + 1),
                )
                for sign, of_draws, of_seeds in zip(SIGNS, parts, values, strict=False):
                    shift = known_mean(of_seeds) - of_draws.mean(axis=-1)
                    moved = of_draws + shift[..., None].astype(np.float32)
                    found[quantity, sign, include_self] = moved
        return found

    def of_tasks(
        self, quantity: Quantity, sign: Sign, *, include_self: bool
    ) -> Float[np.ndarray, "task draw"] | None:
        """Draws of every task's transferability or malleability; None without intervals."""
        return None if self.drawn is None else self._tasks[quantity, sign, include_self]

    def ends(
        self,
        drawn: np.ndarray | None,
        estimate: float,
        low: float = -np.inf,
        high: float = np.inf,
    ) -> tuple[float, float]:
        """The interval of one number from its draws; NaN without any."""
        if drawn is None:
            return np.nan, np.nan
        return pair(draws.intervals(drawn, np.asarray(estimate), self.alpha, low=low, high=high))

    def items_of(self, j: int) -> int:
        """Items behind the changes of target `j`: the median over its sources."""
        return round(float(np.nanmedian(self.runs.items[..., j])))

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

    def by_seed(self, values: np.ndarray) -> dict[str, float]:
        """{seed: value}."""
        return dict(zip(self.seeds, values.tolist(), strict=True))


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
    known = np.isfinite(values).any(axis=(1, 2))
    # A base that leaves no gap has no effect in any seed, which were run nevertheless.
    ran = matrix["accuracy"].sel(model=model).notnull().any(("source", "target")).values
    measured = ran | known
    present = measured if measured.any() else np.ones_like(measured)
    part = matrix.sel(model=[model]).isel(seed=np.flatnonzero(present))
    sources, targets = mu["source"].values.tolist(), tuple(mu["target"].values.tolist())
    itself = same_task(sources, targets)
    runs, controls, marks = runs_of(part, mu.sel(model=model, seed=part["seed"]), itself, settings)
    with_items = [one.influence.shape[1] > 0 for one in runs.by_target]
    items: Items = "none"
    if any(with_items):
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
        seeds=part["seed"].values.tolist(),
        targets=targets,
        itself=itself,
        runs=runs,
        controls=controls,
        marks=marks,
        ceiling=part["ceiling"].isel(model=0, missing_dims="ignore").values,
        in_accuracy=bool(ran.any()),
        items=items,
        basis=basis,
        settings=settings,
    )
