"""The effects of controls, and each source's effect beyond a placebo's.

Finetuning also teaches the format of an answer and a taste for some letters. A placebo source
(`study.controls`) teaches only that, so an effect that it has too is no transfer of perception.
The adjusted effect of a source is

    adjusted[source, target, seed] = mu[source, target, seed] - mu[placebo, target, seed]

Both are measured against the same base and in the same items; where one has fewer than half of
the items (`matrix.pairing`), the adjusted effect is not known. The bootstrap draws them together,
so what they share cancels in the interval as it does in the difference. The placebo's noise does
not: it is one more measurement, and the same for a whole column.

In:   the matrix with controls, the model's `ModelEffects`.
Out:  a `Placebo` record for each control, and `Adjusted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from transferscope.analysis.graph import seed_mean
from transferscope.analysis.model_effects import ModelEffects
from transferscope.analysis.parts import Adjusted, Decomposition, Estimate, Part, Placebo
from transferscope.analysis.settings import Settings
from transferscope.matrix import control_runs
from transferscope.matrix.measure import known_mean
from transferscope.matrix.pairing import left_out
from transferscope.matrix.task_effects import VarianceShares, variance_shares
from transferscope.stats import ItemTable, ModelData, resamples
from transferscope.stats.seeds import over_seeds, spread_of
from transferscope.study.controls import PLACEBOS
from transferscope.tasks.number import Interval
from transferscope.tasks.untrusted import shown

if TYPE_CHECKING:
    import xarray as xr


class ControlEffects(NamedTuple):
    """The controls of one model."""

    controls: dict[str, Placebo]
    adjusted: Adjusted | None


class _ControlRuns(NamedTuple):
    """Effects of one model's controls."""

    names: list[str]
    effects: Float[np.ndarray, "seed control target"]
    left_out: Bool[np.ndarray, "seed control target"]
    """Cells without a part in averages."""
    placebo: int | None
    """Which of them is subtracted."""

    @property
    def averaged(self) -> np.ndarray:
        return np.where(self.left_out, np.nan, self.effects)


class _Drawn(NamedTuple):
    """Bootstrap draws of the controls' effects, the draw last."""

    targets: np.ndarray
    """Seed-mean effects, (control, target, draw), each by itself (`stats.Draws.alone`)."""
    mean: np.ndarray
    """Their means over targets, (control, draw)."""
    adjusted: np.ndarray
    """Seed-mean differences, (source, target, draw)."""
    alone: np.ndarray
    """The same, each by itself."""
    adjusted_mean: np.ndarray
    """(draw,)"""


def control_effects(matrix: xr.Dataset, one: ModelEffects, settings: Settings) -> ControlEffects:
    """The controls of one model, and its effects beyond those of the placebo.

    The placebo is `format-only` where the model has it, else `shuffled`; `reordered` is the noise
    of an evaluation, shown and not subtracted.
    """
    measured = _measured(matrix, one, settings)
    if measured is None:
        return ControlEffects({}, None)
    drawn = None if one.draws is None else _draw(matrix, one, measured, settings)
    found = {
        name: Placebo(
            targets={
                target: _estimate(one, measured.effects[:, i, j], drawn and drawn.targets[i, j])
                for j, target in enumerate(one.data.targets)
            },
            mean=_estimate(
                one, known_mean(measured.averaged[:, i], axis=-1), drawn and drawn.mean[i]
            ),
        )
        for i, name in enumerate(measured.names)
    }
    return ControlEffects(found, _adjusted(one, measured, drawn))


def _measured(matrix: xr.Dataset, one: ModelEffects, settings: Settings) -> _ControlRuns | None:
    if "control_accuracy" not in matrix:
        return None
    mu = control_runs.effects(matrix, settings.measure).sel(model=one.model, seed=one.seeds)
    mu = mu.isel(control=np.flatnonzero(mu.notnull().any(["seed", "target"]).values))
    names = mu["control"].values.tolist()
    if not names:
        return None
    order = ("seed", "control", "target")
    out = left_out(matrix, "control_total").sel(model=one.model, seed=one.seeds, control=names)
    return _ControlRuns(
        names,
        effects=mu.transpose(*order).values,
        left_out=out.transpose(*order).values,
        placebo=next((names.index(name) for name in PLACEBOS if name in names), None),
    )


def _draw(
    matrix: xr.Dataset, one: ModelEffects, measured: _ControlRuns, settings: Settings
) -> _Drawn:
    """The controls in the bootstrap of `one`: the same weights of items and seeds."""
    itself, number = one.data.itself, settings.bootstrap
    (sources, targets), count = itself.shape, len(measured.names)
    drawn = _Drawn(
        targets=np.empty((count, targets, number), np.float32),
        mean=np.empty((count, number), np.float32),
        adjusted=np.empty((sources, targets, number), np.float32),
        alone=np.empty((sources, targets, number), np.float32),
        adjusted_mean=np.empty(number, np.float32),
    )
    whole = _with_controls(matrix, one, measured)
    # Each control's cells vary as nothing else does: a kind for each.
    of_controls = np.broadcast_to(2 + np.arange(count)[:, None], (count, targets))
    spread = spread_of(whole.averaged, np.concatenate([itself.astype(int), of_controls]))
    control_spread = spread.rows(slice(sources, None))
    by_parts = one.alone("means")
    for now, noise, effects in resamples(whole, draws=number, seed=settings.seed, model=one.model):
        drawn.targets[..., now] = over_seeds(effects[:, sources:], noise, control_spread)
        kept = whole.kept(effects)
        own, beside = kept[:, :sources], kept[:, sources:]
        drawn.mean[:, now] = (
            known_mean(over_seeds(beside, noise, control_spread), axis=1)
            if by_parts
            else over_seeds(known_mean(beside, axis=2), noise)
        )
        if measured.placebo is not None:
            apart = own - beside[:, measured.placebo, None]
            drawn.adjusted[..., now] = over_seeds(apart, noise)
            of_placebo = control_spread.rows(slice(measured.placebo, measured.placebo + 1))
            of_both = spread.rows(slice(sources)).beyond(of_placebo)
            alone = over_seeds(apart, noise, of_both)
            drawn.alone[..., now] = alone
            drawn.adjusted_mean[now] = (
                known_mean(alone[~itself])
                if by_parts
                else over_seeds(known_mean(apart[:, ~itself], axis=1), noise)
            )
    return drawn


def _with_controls(matrix: xr.Dataset, one: ModelEffects, measured: _ControlRuns) -> ModelData:
    """The model's data with its controls as further sources."""
    data = one.data
    here = matrix.sel(model=one.model, seed=one.seeds, control=measured.names)
    answers = here["control_item_correct"].transpose("seed", "control", "item").values
    answers = np.where(answers < 0, np.nan, answers)
    tables = tuple(
        table
        and ItemTable(
            table.base,
            np.concatenate([table.tuned, answers[..., here["item_target"].values == name]], axis=1),
        )
        for name, table in zip(data.targets, data.items, strict=True)
    )
    out = np.zeros(data.effects.shape, bool) if data.left_out is None else data.left_out
    out = np.concatenate([out, measured.left_out], axis=1)
    return replace(
        data,
        effects=np.concatenate([data.effects, measured.effects], axis=1),
        left_out=out if out.any() else None,
        itself=np.pad(data.itself, ((0, len(measured.names)), (0, 0))),
        items=tables,
    )


def _adjusted(one: ModelEffects, measured: _ControlRuns, drawn: _Drawn | None) -> Adjusted | None:
    if measured.placebo is None:
        return None
    data = one.data
    apart = data.averaged - measured.averaged[:, measured.placebo, None]
    mean = seed_mean(apart)
    known = np.isfinite(mean) & ~data.itself
    plain = seed_mean(data.averaged)[known].var() if known.any() else 0.0
    ratio = float(mean[known].var() / plain) if plain > 0 else np.nan
    return Adjusted(
        placebo=measured.names[measured.placebo],
        cells={
            source: {
                target: _estimate(one, apart[:, i, j], drawn and drawn.alone[i, j])
                for j, target in enumerate(data.targets)
            }
            for i, source in enumerate(one.sources)
        },
        mean=_estimate(
            one, known_mean(apart[:, ~data.itself], axis=-1), drawn and drawn.adjusted_mean
        ),
        decomposition=decomposition(
            one, mean, drawn and drawn.adjusted, variance_shares(mean, known)
        ),
        variance=ratio,
        variance_ci=_ratio_interval(one, ratio, drawn and drawn.adjusted),
    )


def _ratio_interval(one: ModelEffects, ratio: float, adjusted: np.ndarray | None) -> Interval:
    """Interval of the off-diagonal variance of `adjusted` draws over that of the plain effects'.

    That of its logarithm, transformed back, as a ratio of variances is lopsided.
    """
    if adjusted is None or one.draws is None or not ratio > 0:
        return np.nan, np.nan
    others = ~one.data.itself
    beyond, plain = adjusted[others], one.draws.averaged[others]
    undefined = np.isnan(beyond + plain)

    def variance(draws: np.ndarray) -> np.ndarray:
        draws = np.where(undefined, np.float32(np.nan), draws)
        return known_mean((draws - known_mean(draws)) ** 2)

    with np.errstate(divide="ignore", invalid="ignore"):  # a draw without variance is undefined
        drawn = np.log(variance(beyond) / variance(plain))
    ends = np.exp(one.interval(drawn, np.asarray(np.log(ratio))))
    return float(ends[0]), float(ends[1])


def placebo_notes(
    model: str, controls: Mapping[str, Placebo], adjusted: Adjusted | None
) -> list[str]:
    """Notes on one model's controls."""
    notes, model = [], shown(model)
    for name, control in controls.items():
        seeds = control.mean.seeds.values()
        if missing := sum(not np.isfinite(value) for value in seeds):
            used = "; adjusted effects use those" if adjusted and adjusted.placebo == name else ""
            measured = f"{len(seeds) - missing} of {len(seeds)} seeds"
            notes.append(f"{model}: {shown(name)} was measured in {measured}{used}.")
    if adjusted and adjusted.placebo != PLACEBOS[0]:
        notes.append(
            f"{model}: adjusted effects are those beyond {adjusted.placebo}, as "
            f"{PLACEBOS[0]} was not run."
        )
    return notes


def decomposition(
    one: ModelEffects,
    mean: Float[np.ndarray, "source target"],
    drawn: np.ndarray | None,
    shares: VarianceShares,
) -> Decomposition:
    """The shares of a seed-mean matrix's off-diagonal variance, with their intervals.

    Args:
        drawn: draws of the matrix, (source, target, draw).
        shares: of `mean`.
    """
    values = {name: float(share) for name, share in shares._asdict().items()}
    ci: dict[Part, Interval] = dict.fromkeys(("target", "source", "both"), (np.nan, np.nan))
    if drawn is not None:
        known = np.isfinite(mean) & ~one.data.itself
        # A cell that is undefined in a draw stays as it was measured.
        drawn = np.where(np.isfinite(drawn), drawn, np.nan_to_num(mean)[..., None])
        parts = variance_shares(np.moveaxis(drawn, -1, 0), known)
        for part in ci:
            ci[part] = one.ends(getattr(parts, part), values[part], low=0.0, high=1.0)
    return Decomposition(values["target"], values["source"], values["both"], ci)


def _estimate(
    one: ModelEffects, by_seed: Float[np.ndarray, " seed"], drawn: np.ndarray | None
) -> Estimate:
    """A mean over seeds; with a single one of several the others are unknown: no interval."""
    mean = float(known_mean(by_seed))
    alone = np.isfinite(by_seed).sum() == 1 and len(one.seeds) > 1
    ci = (np.nan, np.nan) if alone else one.ends(drawn, mean)
    return Estimate(mean, ci, one.by_seed(by_seed))
