"""How each way to train for a target did, and how the informed mixture compares with the others.

Every adapter answers the same items, so two ways are compared item by item and seed by seed: in
each draw of the bootstrap (`stats.resamples`) items weigh the same for all, and a difference has
a spread over seeds of its own. Random mixtures differ between seeds; a seed's value is their mean.

In:   the matrix of all that was judged, and which adapters belong to which strategy.
Out:  an `experiment_record.Judgement`.

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
from transferscope.selection.arms import Contenders
from transferscope.selection.wording import experiment_verdict
from transferscope.stats import ItemTable, ModelData, intervals, resamples
from transferscope.stats.seeds import over_seeds

if TYPE_CHECKING:
    import xarray as xr

ORDER: tuple[Strategy, ...] = tuple(STRATEGIES)
INFORMED = ORDER.index("informed")
RIVALS: dict[Strategy, int] = {name: i for i, name in enumerate(ORDER) if i != INFORMED}

Groups = list[list[list[int] | None]]
"""The adapters of each strategy for each target, [strategy][target]; None for the base."""


class _SeedDraws(NamedTuple):
    """A quantity by seed, and the draws of its mean over seeds."""

    values: Float[np.ndarray, "seed *shape"]
    draws: Float[np.ndarray, "*shape draw"]

    def estimate(self, seeds: list[str], alpha: float, *at: int, **bounds: float) -> Estimate:
        """Mean and interval at one place of `shape`."""
        values, draws = self.values[:, *at], self.draws[at]
        known = np.isfinite(values)
        mean = float(values[known].mean()) if known.any() else np.nan
        low, high = intervals(draws, np.asarray(mean), alpha, **bounds).tolist()
        return Estimate(mean, (low, high), dict(zip(seeds, values.tolist(), strict=True)))


def judge(
    matrix: xr.Dataset,
    model: str,
    contests: Mapping[str, Contenders],
    chosen: Mapping[str, Mixture],
    settings: Settings,
) -> Judgement:
    """How the ways to train for each target did on one model.

    Args:
        matrix: every adapter of every strategy as a source, with item-level answers.
        contests: {target: its contenders}
        chosen: {target: the mixture that the matrix chose}
    """
    mu = effects(matrix, settings.measure)
    gathered = model_effects(matrix, mu, model, replace(settings, preset="paper"))  # draws nothing
    data, seeds, alpha = gathered.data, gathered.seeds, settings.alpha
    place = {name: k for k, name in enumerate(gathered.sources)}
    groups: Groups = [
        [
            None
            if name == "base"
            else [place[adapter] for adapter in contests[target][name].mixtures if adapter in place]
            for target in data.targets
        ]
        for name in ORDER
    ]
    effect, difference, mean = _compared(data, groups, settings, model)
    accuracy = _accuracies(data, groups, settings, model)
    trials: dict[str, Trial] = {}
    for target, competing in contests.items():
        j = data.targets.index(target)
        trials[target] = Trial(
            choice=chosen[target].verdict,
            expected=chosen[target].expected,
            arms={
                name: Arm(
                    competing[name].mixtures,
                    competing[name].why,
                    accuracy=accuracy.estimate(seeds, alpha, i, j, low=0.0, high=1.0),
                    effect=effect.estimate(seeds, alpha, i, j),
                )
                for i, name in enumerate(ORDER)
            },
            differences={n: difference.estimate(seeds, alpha, i, j) for n, i in RIVALS.items()},
        )
    compared: dict[Strategy, list[str]] = {
        name: [t for t, trial in trials.items() if math.isfinite(trial.differences[name].mean)]
        for name in RIVALS
    }
    means: dict[Strategy, Estimate] = {
        name: mean.estimate(seeds, alpha, i) for name, i in RIVALS.items()
    }
    return Judgement(trials, means, compared, experiment_verdict(trials, means, compared, alpha))


def _compared(
    data: ModelData, groups: Groups, settings: Settings, model: str
) -> tuple[_SeedDraws, _SeedDraws, _SeedDraws]:
    """Effects, their differences from the informed mixture, and those averaged over targets."""
    shape, draws = (len(ORDER), len(data.targets)), settings.bootstrap
    effect, apart = np.empty((2, *shape, draws), np.float32)
    means = np.empty((len(ORDER), draws), np.float32)
    for now, noise, drawn in resamples(data, draws=draws, seed=settings.seed, model=model):
        values = _by_strategy(drawn, groups)
        against = _informed_minus(values, groups)
        effect[..., now] = over_seeds(values, noise)
        apart[..., now] = over_seeds(against, noise)
        means[:, now] = over_seeds(_mean(against, 2), noise)
    values = _by_strategy(data.effects, groups)
    against = _informed_minus(values, groups)
    return (
        _SeedDraws(values, effect),
        _SeedDraws(against, apart),
        _SeedDraws(_mean(against, 2), means),
    )


def _accuracies(data: ModelData, groups: Groups, settings: Settings, model: str) -> _SeedDraws:
    """Accuracies in the same draws: the gain over a base that has nothing right."""
    tables = []
    for table in data.items:
        assert table is not None, "the judged adapters have item-level answers"
        base = np.asarray(table.base, float)
        # The base is the first source.
        every = np.concatenate([base[:, None], table.tuned], axis=1)
        tables.append(ItemTable(np.zeros_like(base), every))
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
        [[0] if adapters is None else [k + 1 for k in adapters] for adapters in row]
        for row in groups
    ]
    out = np.empty((len(ORDER), len(data.targets), settings.bootstrap), np.float32)
    for now, noise, drawn in resamples(
        blank, draws=settings.bootstrap, seed=settings.seed, model=model
    ):
        out[..., now] = over_seeds(_by_strategy(drawn, shifted), noise)
    return _SeedDraws(_by_strategy(exact, shifted), out)


def _by_strategy(values: np.ndarray, groups: Groups) -> np.ndarray:
    """(seed, source, target, ...) as (seed, strategy, target, ...): means over adapters.

    The base is 0, as an effect is.
    """
    seeds, _, targets, *draws = values.shape
    out = np.zeros((seeds, len(ORDER), targets, *draws), values.dtype)
    for i, row in enumerate(groups):
        for j, adapters in enumerate(row):
            if adapters is not None:
                out[:, i, j] = _mean(values[:, adapters, j], 1)
    return out


def _informed_minus(values: np.ndarray, groups: Groups) -> np.ndarray:
    """The informed mixture's value minus each strategy's; NaN if they are the same adapters."""
    apart = values[:, [INFORMED]] - values
    for i, row in enumerate(groups):
        for j, adapters in enumerate(row):
            if adapters == groups[INFORMED][j]:
                apart[:, i, j] = np.nan
    return apart


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over known values; NaN if none is known."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    return np.where(known, values, 0).sum(axis=axis) / np.where(count > 0, count, np.nan)
