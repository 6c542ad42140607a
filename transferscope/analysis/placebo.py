"""What a placebo does, and what is left of each effect beyond it.

Finetuning also teaches the format of an answer and a taste for some letters. A placebo source
(`controls`) teaches only that, so an effect that it has too is no transfer of perception. The
adjusted effect of a source is

    adjusted[source, target, seed] = mu[source, target, seed] - mu[placebo, target, seed]

Both are measured against the same base and in the same items; where one has fewer than half of
the items (`matrix.pairing`), the adjusted effect is not known. The bootstrap draws them together,
so what they share cancels in the interval as it does in the difference. The placebo's own noise
does not: it is one more measurement, and the same for a whole column.

In:   the matrix with controls, the model's `Evidence`.
Out:  `conduct.Placebo` for each control, and `conduct.Adjusted`.

Opens no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from transferscope.analysis import graph
from transferscope.analysis.bootstrap import Evidence
from transferscope.analysis.settings import Settings
from transferscope.matrix import controls
from transferscope.matrix.behavior_record import Adjusted, Placebo
from transferscope.matrix.estimate import Decomposition, Estimate, Interval
from transferscope.matrix.measure import VarianceShares, variance_shares
from transferscope.matrix.pairing import left_out
from transferscope.predictions import shown
from transferscope.stats import ItemTable, ModelData, resamples
from transferscope.stats.seeds import over_seeds, spread_of
from transferscope.study.controls import PLACEBOS

if TYPE_CHECKING:
    import xarray as xr


class Comparison(NamedTuple):
    """What the controls of one model say."""

    controls: dict[str, Placebo]
    adjusted: Adjusted | None


class _Measured(NamedTuple):
    """Effects of one model's controls."""

    names: list[str]
    effects: Float[np.ndarray, "seed control target"]
    left_out: Bool[np.ndarray, "seed control target"]
    """Cells without a part in averages."""
    placebo: int | None
    """Which of them is subtracted."""


class _Drawn(NamedTuple):
    """Bootstrap draws of what is said of controls, each with the draw last."""

    targets: np.ndarray
    """Seed-mean effects, (control, target, draw), each looked at alone (`stats.Draws.alone`)."""
    mean: np.ndarray
    """Their means over targets, (control, draw)."""
    adjusted: np.ndarray
    """Seed-mean differences, (source, target, draw)."""
    alone: np.ndarray
    """The same, each looked at alone."""
    adjusted_mean: np.ndarray
    """(draw,)"""


def compare(matrix: xr.Dataset, evidence: Evidence, settings: Settings) -> Comparison:
    """The controls of one model, and its effects beyond those of the placebo.

    The placebo is `format-only` where the model has it, else `shuffled`; `reordered` is the noise
    of an evaluation, shown and not subtracted.
    """
    measured = _measured(matrix, evidence, settings)
    if measured is None:
        return Comparison({}, None)
    drawn = _draw(matrix, evidence, measured, settings)
    effects = measured.effects
    found = {
        name: Placebo(
            targets={
                target: _estimate(
                    evidence, effects[:, i, j], None if drawn is None else drawn.targets[i, j]
                )
                for j, target in enumerate(evidence.data.targets)
            },
            mean=_estimate(
                evidence,
                _mean(np.where(measured.left_out, np.nan, effects)[:, i], axis=-1),
                None if drawn is None else drawn.mean[i],
            ),
        )
        for i, name in enumerate(measured.names)
    }
    return Comparison(found, _adjusted(evidence, measured, drawn))


def _measured(matrix: xr.Dataset, evidence: Evidence, settings: Settings) -> _Measured | None:
    if "control_accuracy" not in matrix:
        return None
    mu = controls.effects(matrix, settings.measure).sel(model=evidence.model, seed=evidence.seeds)
    mu = mu.isel(control=np.flatnonzero(mu.notnull().any(["seed", "target"]).values))
    names = mu["control"].values.tolist()
    if not names:
        return None
    placebo = next((names.index(n) for n in PLACEBOS if n in names), None)
    order = ("seed", "control", "target")
    out = left_out(matrix, "control_total").sel(model=evidence.model, seed=evidence.seeds)
    out = out.sel(control=names).transpose(*order).values
    return _Measured(names, mu.transpose(*order).values, out, placebo)


def _draw(
    matrix: xr.Dataset, evidence: Evidence, measured: _Measured, settings: Settings
) -> _Drawn | None:
    """The controls in the bootstrap of `evidence`: the same weights of items and seeds."""
    if evidence.draws is None:
        return None
    data, number = evidence.data, settings.bootstrap
    sources, targets = data.itself.shape
    drawn = _Drawn(
        targets=np.empty((len(measured.names), targets, number), np.float32),
        mean=np.empty((len(measured.names), number), np.float32),
        adjusted=np.empty((sources, targets, number), np.float32),
        alone=np.empty((sources, targets, number), np.float32),
        adjusted_mean=np.empty(number, np.float32),
    )
    whole = _beside(data, matrix, evidence, measured)
    learned = spread_of(whole.averaged, _kinds(data.itself, len(measured.names)))
    of_controls = learned.rows(slice(sources, None))
    by_parts = evidence.alone("means")
    for now, noise, effects in resamples(
        whole, draws=number, seed=settings.seed, model=evidence.model
    ):
        drawn.targets[..., now] = over_seeds(effects[:, sources:], noise, of_controls)
        kept = whole.kept(effects)
        own, beside = kept[:, :sources], kept[:, sources:]
        drawn.mean[:, now] = (
            _mean(over_seeds(beside, noise, of_controls), axis=1)
            if by_parts
            else over_seeds(_mean(beside, axis=2), noise)
        )
        if measured.placebo is not None:
            apart = own - beside[:, measured.placebo, None]
            drawn.adjusted[..., now] = over_seeds(apart, noise)
            of_placebo = of_controls.rows(slice(measured.placebo, measured.placebo + 1))
            of_both = learned.rows(slice(sources)).beyond(of_placebo)
            alone = over_seeds(apart, noise, of_both)
            drawn.alone[..., now] = alone
            drawn.adjusted_mean[now] = (
                _mean(alone[~data.itself], axis=0)
                if by_parts
                else over_seeds(_mean(apart[:, ~data.itself], axis=1), noise)
            )
    return drawn


def _kinds(itself: np.ndarray, controls: int) -> np.ndarray:
    """What cells' seeds are told by (`stats.seeds.spread`), the controls' last."""
    of_controls = np.broadcast_to(2 + np.arange(controls)[:, None], (controls, itself.shape[1]))
    return np.concatenate([itself.astype(int), of_controls])


def _beside(
    data: ModelData, matrix: xr.Dataset, evidence: Evidence, measured: _Measured
) -> ModelData:
    """The model's data with its controls as further sources."""
    one = matrix.sel(model=evidence.model, seed=evidence.seeds, control=measured.names)
    answers = one["control_item_correct"].transpose("seed", "control", "item").values
    answers = np.where(answers < 0, np.nan, answers)
    tables = tuple(
        table
        and ItemTable(
            table.base,
            np.concatenate([table.tuned, answers[..., one["item_target"].values == name]], axis=1),
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


def _adjusted(evidence: Evidence, measured: _Measured, drawn: _Drawn | None) -> Adjusted | None:
    if measured.placebo is None:
        return None
    data = evidence.data
    placebo = np.where(measured.left_out, np.nan, measured.effects)[:, measured.placebo, None]
    apart = data.averaged - placebo
    mean = graph.seed_mean(apart)
    known = np.isfinite(mean) & ~data.itself
    plain = graph.seed_mean(data.averaged)[known].var() if known.any() else 0.0
    return Adjusted(
        placebo=measured.names[measured.placebo],
        cells={
            source: {
                target: _estimate(
                    evidence, apart[:, i, j], None if drawn is None else drawn.alone[i, j]
                )
                for j, target in enumerate(data.targets)
            }
            for i, source in enumerate(evidence.sources)
        },
        mean=_estimate(
            evidence,
            _mean(apart[:, ~data.itself], axis=-1),
            None if drawn is None else drawn.adjusted_mean,
        ),
        decomposition=decomposition(
            evidence, mean, None if drawn is None else drawn.adjusted, variance_shares(mean, known)
        ),
        variance=(ratio := float(mean[known].var() / plain) if plain > 0 else np.nan),
        variance_ci=_ratio_interval(evidence, ratio, None if drawn is None else drawn.adjusted),
    )


def _ratio_interval(evidence: Evidence, ratio: float, adjusted: np.ndarray | None) -> Interval:
    """Interval of the off-diagonal variance of `adjusted` draws over that of the plain effects'.

    Taken of its logarithm, as a ratio of variances is lopsided.
    """
    if adjusted is None or evidence.draws is None or not ratio > 0:
        return np.nan, np.nan
    others = ~evidence.data.itself
    pair = adjusted[others], evidence.draws.averaged[others]
    undefined = np.isnan(pair[0] + pair[1])
    beyond, plain = (_variance(np.where(undefined, np.float32(np.nan), draws)) for draws in pair)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw without variance is undefined
        drawn = np.log(beyond / plain)
    ends = np.exp(evidence.interval(drawn, np.asarray(np.log(ratio))))
    return float(ends[0]), float(ends[1])


def notes(model: str, compared: Mapping[str, Placebo], adjusted: Adjusted | None) -> list[str]:
    """What a reader must know of one model's controls."""
    said, model = [], shown(model)
    for name, control in compared.items():
        seeds = control.mean.seeds.values()
        if missing := sum(not np.isfinite(value) for value in seeds):
            used = "; adjusted effects use those" if adjusted and adjusted.placebo == name else ""
            said.append(
                f"{model}: {shown(name)} was measured in {len(seeds) - missing} of {len(seeds)} "
                f"seeds{used}."
            )
    if adjusted and adjusted.placebo != PLACEBOS[0]:
        said.append(
            f"{model}: adjusted effects are those beyond {adjusted.placebo}, as "
            f"{PLACEBOS[0]} was not run."
        )
    return said


def decomposition(
    evidence: Evidence,
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
    ci: dict[str, Interval] = dict.fromkeys(values, (np.nan, np.nan))
    if drawn is not None:
        known = np.isfinite(mean) & ~evidence.data.itself
        # A cell that is undefined in a draw stays as it was measured.
        drawn = np.where(np.isfinite(drawn), drawn, np.nan_to_num(mean)[..., None])
        parts = variance_shares(np.moveaxis(drawn, -1, 0), known)
        for name, value in values.items():
            ends = evidence.interval(getattr(parts, name), np.asarray(value), low=0.0, high=1.0)
            ci[name] = float(ends[0]), float(ends[1])
    return Decomposition(**values, ci=ci)  # pyright: ignore[reportArgumentType]


def _variance(values: np.ndarray) -> np.ndarray:
    """Of the known values along the first axis; NaN where there is none."""
    return _mean((values - _mean(values, axis=0)) ** 2, axis=0)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of the known values; NaN where there is none."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    return np.asarray(total / np.where(count > 0, count, np.nan), values.dtype)


def _estimate(
    evidence: Evidence, by_seed: Float[np.ndarray, " seed"], drawn: np.ndarray | None
) -> Estimate:
    """A mean over seeds; a single one of several says nothing of the others: no interval."""
    mean = _mean(by_seed, axis=0)
    ends = evidence.interval(drawn, mean)
    if np.isfinite(by_seed).sum() == 1 and len(evidence.seeds) > 1:
        ends = np.full(2, np.nan)
    seeds = dict(zip(evidence.seeds, by_seed.tolist(), strict=True))
    return Estimate(float(mean), (float(ends[0]), float(ends[1])), seeds)
