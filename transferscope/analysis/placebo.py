"""The effects of controls, and each source's effect beyond a placebo's.

Finetuning also teaches the format of an answer and a taste for some letters. A placebo source
(`study.controls`) teaches only that, so an effect that it has too is no transfer of perception.
The adjusted effect of a source is

    adjusted[source, target, seed] = mu[source, target, seed] - mu[placebo, target, seed]

Both are measured against the same base and in the same items; where one has fewer than half of
the items (`matrix.pairing`), the adjusted effect is not known. What they share cancels in the
interval as it does in the difference. The placebo's noise does not: it is one more measurement, and
the same for a whole column.

In:   the model's `ModelEffects`.
Out:  a `Placebo` record for each control, and `Adjusted`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from transferscope.analysis.graph import seed_mean
from transferscope.analysis.model_effects import ModelEffects, pair
from transferscope.analysis.parts import (
    PARTS,
    Adjusted,
    BeyondPlacebo,
    Decomposition,
    Estimate,
    Part,
    Placebo,
)
from transferscope.matrix.measure import known_mean
from transferscope.matrix.task_effects import variance_shares
from transferscope.stats import over_targets, stacked
from transferscope.stats.draws import intervals
from transferscope.stats.expectation import Expected, expectation
from transferscope.study.controls import PLACEBOS
from transferscope.tasks.number import Interval
from transferscope.tasks.untrusted import shown


class ControlEffects(NamedTuple):
    """The controls of one model."""

    controls: dict[str, Placebo]
    adjusted: Adjusted | None


def control_effects(one: ModelEffects) -> ControlEffects:
    """The controls of one model, and its effects beyond those of the placebo.

    The placebo is `format-only` where the model has it, else `shuffled`; `reordered` is the noise
    of an evaluation, shown and not subtracted.
    """
    runs = one.controls
    if not runs.names:
        return ControlEffects({}, None)
    means = over_targets(one.scaled(runs), runs.averaged)
    of_mean, far = known_mean(runs.averaged, -1), means.reach(one.alpha)[:, None] * [-1.0, 1.0]
    ratios = [t.ratio(*one.denominator(t, j), one.alpha) for j, t in enumerate(runs.by_target)]
    found = {
        name: Placebo(
            targets={
                target: _estimate(one, runs.effects[:, i, j], [end[i] for end in ratios[j]])
                for j, target in enumerate(one.targets)
            },
            mean=_estimate(one, of_mean[:, i], means.change[i] + far[i]),
        )
        for i, name in enumerate(runs.names)
    }
    return ControlEffects(found, _adjusted(one))


def _estimate(
    one: ModelEffects, by_seed: Float[np.ndarray, " seed"], ends: Sequence[float] | np.ndarray
) -> Estimate:
    mean = float(known_mean(by_seed))
    known = one.has_intervals and np.isfinite(mean)
    return Estimate(mean, pair(np.array(ends)) if known else (np.nan, np.nan), one.by_seed(by_seed))


def _adjusted(one: ModelEffects) -> Adjusted | None:
    runs = one.controls
    k = next((runs.names.index(name) for name in PLACEBOS if name in runs.names), None)
    if k is None:
        return None
    apart = one.runs.averaged - runs.averaged[:, k, None]
    mean = seed_mean(apart)
    known = np.isfinite(mean) & ~one.itself
    plain = seed_mean(one.runs.averaged)[known].var() if known.any() else 0.0
    ratio = float(mean[known].var() / plain) if plain > 0 else np.nan
    beyond = np.full((*mean.shape, 1), np.nan)
    if one.has_intervals:  # the errors of items and of the base are the same
        pairs = zip(one.scaled(one.runs), one.scaled(runs), strict=True)
        beyond = mean[..., None] + one.noise([run.beyond(placebo, k) for run, placebo in pairs])
    by_seed = known_mean(apart[:, ~one.itself], axis=-1)
    drawn = known_mean(beyond[~one.itself])
    return Adjusted(
        placebo=runs.names[k],
        cells=_cells(one, k, apart),
        mean=_estimate(one, by_seed, intervals(drawn, known_mean(by_seed), one.alpha)),
        decomposition=decomposition(one, mean, beyond),
        variance=ratio,
        variance_ci=_ratio_interval(one, ratio, known, beyond),
    )


def _cells(one: ModelEffects, k: int, apart: np.ndarray) -> dict[str, dict[str, BeyondPlacebo]]:
    """Every source's effect beyond that of control `k`, in the measure and in accuracy."""
    pairs = list(zip(one.runs.counted, one.controls.counted, strict=True))
    gains = [run.beyond(placebo, k) for run, placebo in pairs]
    scales = np.stack([one.denominator(run, j)[0] for j, (run, _) in enumerate(pairs)], axis=-1)
    effect, mean = stacked([gain.effect for gain in gains]), known_mean(apart)
    expected = Expected(*np.full((3, *mean.shape), np.nan))
    change = effect.change if one.in_accuracy else expected.mean
    if one.has_intervals and one.in_accuracy:
        expected = expectation(gains, one.itself)
    reach = effect.reach(one.alpha) if one.has_intervals else np.full(mean.shape, np.nan)
    ends = reach[..., None] * [-1.0, 1.0]
    return one.records(
        BeyondPlacebo,
        {"seeds": apart},
        mean=mean,
        ci=mean[..., None] + ends / scales[..., None],
        change=change,
        change_ci=change[..., None] + ends,
        expected=expected.mean,
        helps=expected.helps,
        harms=expected.harms,
    )


def _ratio_interval(
    one: ModelEffects, ratio: float, known: np.ndarray, beyond: np.ndarray
) -> Interval:
    """Interval of the off-diagonal variance of `beyond` draws over that of the plain effects'.

    That of its logarithm, transformed back, as a ratio of variances is lopsided.
    """
    if not (one.has_intervals and ratio > 0):
        return np.nan, np.nan
    drawn = np.log(beyond[known].var(axis=0) / one.drawn[known].var(axis=0))
    return pair(np.exp(intervals(drawn, np.asarray(np.log(ratio)), one.alpha)))


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
    drawn: np.ndarray,
    null: np.ndarray | None = None,
) -> Decomposition:
    """The shares of a seed-mean matrix's off-diagonal variance, with their intervals.

    Args:
        drawn: draws of the matrix, (source, target, draw).
        null: draws of each seed's matrix without transfer, (draw, seed, source, target).
    """
    known = np.isfinite(mean) & ~one.itself
    values = {n: float(share) for n, share in variance_shares(mean, known)._asdict().items()}
    parts = variance_shares(np.moveaxis(drawn, -1, 0), known)
    ci: dict[Part, Interval] = {
        part: one.ends(getattr(parts, part), values[part], low=0.0, high=1.0) for part in PARTS
    }
    by_chance: dict[Part, Interval] = {}
    if null is not None:
        parts = variance_shares(seed_mean(np.moveaxis(null, 1, 0)), known)
        level = [one.alpha / 2, 1 - one.alpha / 2]
        for part in PARTS:
            if np.isfinite(shares := getattr(parts, part)).any():
                by_chance[part] = pair(np.nanquantile(shares, level))
    return Decomposition(values["target"], values["source"], values["both"], ci, by_chance)
