"""How each way to train for a target did, and how the informed mixture compares with the others.

Every adapter answers the same items, so two ways are compared item by item and seed by seed: in
each draw of the bootstrap (`stats.resamples`) items weigh the same for all, and a difference has
its own spread over seeds. Random mixtures differ between seeds; a seed's value is their mean.

In:   the matrix of all that was judged, and which adapters belong to which way.
Out:  a `strategies.Judgement`.

Opens no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from transferscope.analysis.model_effects import effects, model_effects
from transferscope.analysis.parts import STRATEGIES, Arm, Estimate, Judgement, Strategy, Trial
from transferscope.analysis.settings import Settings
from transferscope.selection import Mixture
from transferscope.selection.arms import Ways
from transferscope.selection.trial_words import verdict
from transferscope.stats import ItemTable, ModelData, intervals, resamples
from transferscope.stats.seeds import over_seeds

if TYPE_CHECKING:
    import xarray as xr

ORDER: tuple[Strategy, ...] = tuple(STRATEGIES)
BASE, INFORMED = ORDER.index("base"), ORDER.index("informed")

Groups = list[list[list[int] | None]]
"""The adapters of each way for each target, [strategy][target]; None for the base."""


class _Measured(NamedTuple):
    """A quantity with its draws; the draw is the last axis."""

    values: Float[np.ndarray, "seed strategy target"]
    drawn: Float[np.ndarray, "strategy target draw"]
    """Means over seeds."""


class _Compared(NamedTuple):
    """Differences between the informed mixture and each other way."""

    each: _Measured
    means: Float[np.ndarray, "seed strategy"]
    drawn: Float[np.ndarray, "strategy draw"]


def judge(
    matrix: xr.Dataset,
    model: str,
    contests: Mapping[str, Ways],
    chosen: Mapping[str, Mixture],
    settings: Settings,
) -> Judgement:
    """How the ways to train for each target did on one model.

    Args:
        matrix: every adapter of every way as a source, with item-level answers.
        contests: {target: its ways}
        chosen: {target: what the matrix that informed said}
    """
    mu = effects(matrix, settings.measure)
    evidence = model_effects(matrix, mu, model, replace(settings, preset="paper"))  # draws nothing
    data, seeds = evidence.data, evidence.seeds
    groups = _groups(evidence.sources, data.targets, contests)
    compared, shown = _compared(data, groups, settings, model)
    accuracy = _accuracies(data, groups, settings, model)

    def estimate(values: np.ndarray, drawn: np.ndarray, **bounds: float) -> Estimate:
        known = np.isfinite(values)
        mean = float(values[known].mean()) if known.any() else np.nan
        low, high = intervals(drawn, np.asarray(mean), settings.alpha, **bounds).tolist()
        return Estimate(mean, (low, high), dict(zip(seeds, values.tolist(), strict=True)))

    def one(measured: _Measured, i: int, j: int, **bounds: float) -> Estimate:
        return estimate(measured.values[:, i, j], measured.drawn[i, j], **bounds)

    trials: dict[str, Trial] = {}
    for target, its in contests.items():
        j = data.targets.index(target)
        trials[target] = Trial(
            choice=chosen[target].verdict,
            expected=chosen[target].expected,
            arms={
                name: Arm(
                    its[name].mixtures,
                    its[name].why,
                    accuracy=one(accuracy, i, j, low=0.0, high=1.0),
                    effect=one(shown, i, j),
                )
                for i, name in enumerate(ORDER)
            },
            differences={name: one(compared.each, i, j) for name, i in _rivals()},
        )
    tried: dict[Strategy, list[str]] = {
        name: [t for t, trial in trials.items() if math.isfinite(trial.differences[name].mean)]
        for name, _ in _rivals()
    }
    means: dict[Strategy, Estimate] = {
        name: estimate(compared.means[:, i], compared.drawn[i]) for name, i in _rivals()
    }
    return Judgement(trials, means, tried, verdict(trials, means, tried, settings.alpha))


def _rivals() -> list[tuple[Strategy, int]]:
    return [(name, i) for i, name in enumerate(ORDER) if i != INFORMED]


def _groups(sources: list[str], targets: tuple[str, ...], contests: Mapping[str, Ways]) -> Groups:
    """Which of the sources belong together."""
    place = {name: k for k, name in enumerate(sources)}
    return [
        [
            None
            if name == "base"
            else [place[adapter] for adapter in contests[target][name].mixtures if adapter in place]
            for target in targets
        ]
        for name in ORDER
    ]


def _by_way(values: np.ndarray, groups: Groups) -> np.ndarray:
    """(seed, source, target, ...) as (seed, strategy, target, ...): means over a way's adapters.

    The base is 0, as an effect is.
    """
    seeds, _, targets, *draws = values.shape
    out = np.full((seeds, len(ORDER), targets, *draws), np.nan, values.dtype)
    for i, row in enumerate(groups):
        for j, adapters in enumerate(row):
            if adapters is None:
                out[:, i, j] = 0
                continue
            out[:, i, j] = _mean(values[:, adapters, j], 1)
    return out


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over what is known; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    return np.where(known, values, 0).sum(axis=axis) / np.where(count > 0, count, np.nan)


def _against(values: np.ndarray, groups: Groups) -> np.ndarray:
    """The informed mixture's value minus each way's; NaN where the two are the same adapters."""
    apart = values[:, [INFORMED]] - values
    for i, row in enumerate(groups):
        for j, adapters in enumerate(row):
            if adapters == groups[INFORMED][j]:
                apart[:, i, j] = np.nan
    return apart


def _compared(
    data: ModelData, groups: Groups, settings: Settings, model: str
) -> tuple[_Compared, _Measured]:
    """Differences from the informed mixture, and the effects themselves."""
    shape, draws = (len(ORDER), len(data.targets)), settings.bootstrap
    effect, apart = np.empty((2, *shape, draws), np.float32)
    means = np.empty((len(ORDER), draws), np.float32)
    for now, noise, drawn in resamples(data, draws=draws, seed=settings.seed, model=model):
        values = _by_way(drawn, groups)
        against = _against(values, groups)
        effect[..., now] = over_seeds(values, noise)
        apart[..., now] = over_seeds(against, noise)
        means[:, now] = over_seeds(_mean(against, 2), noise)
    values = _by_way(data.effects, groups)
    against = _against(values, groups)
    each = _Measured(against, apart)
    return _Compared(each, _mean(against, 2), means), _Measured(values, effect)


def _accuracies(data: ModelData, groups: Groups, settings: Settings, model: str) -> _Measured:
    """Accuracies in the same draws: what is gained over a base that knows nothing."""
    tables = [_beside_nothing(table) for table in data.items]
    exact = np.stack([_mean(table.tuned, -1) for table in tables], axis=-1)
    blank = ModelData(
        effects=exact,
        itself=np.zeros(exact.shape[1:], bool),
        items=tuple(tables),
        targets=data.targets,
        ceiling=np.ones(len(data.targets)),
        measure="raw_gain",
    )
    shifted: Groups = [
        [[0] if its is None else [k + 1 for k in its] for its in row] for row in groups
    ]
    out = np.empty((len(ORDER), len(data.targets), settings.bootstrap), np.float32)
    for now, noise, drawn in resamples(
        blank, draws=settings.bootstrap, seed=settings.seed, model=model
    ):
        out[..., now] = over_seeds(_by_way(drawn, shifted), noise)
    return _Measured(_by_way(exact, shifted), out)


def _beside_nothing(table: ItemTable | None) -> ItemTable:
    """The answers with the base as the first source, beside a base that has nothing right."""
    assert table is not None, "what was judged has item-level answers"
    base = np.asarray(table.base, float)
    return ItemTable(np.zeros_like(base), np.concatenate([base[:, None], table.tuned], axis=1))
