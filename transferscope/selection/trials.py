"""How each way to train for a target did, and how the informed mixture compares with the others.

Every adapter answers the same items, so two ways are compared item by item and seed by seed: in
each draw of the bootstrap (`stats.resamples`) items weigh the same for all, and a difference has
a separate spread over seeds. Random mixtures differ between seeds; a seed's value is their mean.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from transferscope.analysis.model_effects import effects, model_effects
from transferscope.analysis.parts import STRATEGIES, Arm, Estimate, Judgement, Strategy, Trial
from transferscope.analysis.settings import Settings
from transferscope.selection import Mixture
from transferscope.selection.arms import Contenders
from transferscope.selection.wording import experiment_verdict
from transferscope.stats import ItemTable, ModelData, intervals, resamples
from transferscope.stats.seeds import over_seeds

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

    def of_rivals(self, seeds: list[str], alpha: float, *at: int) -> dict[Strategy, Estimate]:
        return {name: self.estimate(seeds, alpha, i, *at) for name, i in RIVALS.items()}


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
    groups: Groups = [[None] * len(data.targets)]  # the base
    for name in ORDER[1:]:
        trained = [contests[target][name].mixtures for target in data.targets]
        groups.append([[place[one] for one in mixed if one in place] for mixed in trained])
    effect, difference, mean = _drawn(data, settings, model, lambda one: _compared(one, groups))
    accuracy = _accuracies(data, groups, settings, model)
    trials: dict[str, Trial] = {}
    for target, competing in contests.items():
        j = data.targets.index(target)
        arms: dict[Strategy, Arm] = {}
        for i, name in enumerate(ORDER):
            right = accuracy.estimate(seeds, alpha, i, j, low=0.0, high=1.0)
            moved = effect.estimate(seeds, alpha, i, j)
            arms[name] = Arm(competing[name].mixtures, competing[name].why, right, moved)
        apart = difference.of_rivals(seeds, alpha, j)
        trials[target] = Trial(chosen[target].verdict, chosen[target].expected, arms, apart)
    compared: dict[Strategy, list[str]] = {
        name: [t for t, trial in trials.items() if math.isfinite(trial.differences[name].mean)]
        for name in RIVALS
    }
    means = mean.of_rivals(seeds, alpha)
    return Judgement(trials, means, compared, experiment_verdict(trials, means, compared, alpha))


def _drawn(
    data: ModelData, settings: Settings, model: str, parts: Callable[[np.ndarray], list[np.ndarray]]
) -> list[_SeedDraws]:
    """What `parts` makes of the effects, (seed, source, target, ...), and of each draw of them."""
    exact = parts(data.effects)
    found = [np.empty((*each.shape[1:], settings.bootstrap), np.float32) for each in exact]
    chunks = resamples(data, draws=settings.bootstrap, seed=settings.seed, model=model)
    for now, noise, drawn in chunks:
        for draws, values in zip(found, parts(drawn), strict=True):
            draws[..., now] = over_seeds(values, noise)
    return [_SeedDraws(*both) for both in zip(exact, found, strict=True)]


def _compared(mu: np.ndarray, groups: Groups) -> list[np.ndarray]:
    """Each strategy's effect, the informed mixture's minus it, and that averaged over targets."""
    values = _by_strategy(mu, groups)
    against = values[:, [INFORMED]] - values
    for i, row in enumerate(groups):
        for j, adapters in enumerate(row):
            if adapters == groups[INFORMED][j]:  # the same adapters differ in nothing
                against[:, i, j] = np.nan
    return [values, against, _mean(against, 2)]


def _accuracies(data: ModelData, groups: Groups, settings: Settings, model: str) -> _SeedDraws:
    """Accuracies in the same draws: the gain over a base that has nothing right."""
    tables = []
    for table in data.items:
        assert table is not None, "the judged adapters have item-level answers"
        base = np.asarray(table.base, float)
        every = np.concatenate([base[:, None], table.tuned], axis=1)  # the base is the first source
        tables.append(ItemTable(np.zeros_like(base), every))
    exact = np.stack([_mean(table.tuned, -1) for table in tables], axis=-1)
    nowhere, ceiling = np.zeros(exact.shape[1:], bool), np.ones(len(data.targets))
    blank = ModelData(exact, nowhere, tuple(tables), data.targets, ceiling, "raw_gain")
    shifted: Groups = [[[0] if g is None else [k + 1 for k in g] for g in row] for row in groups]
    return _drawn(blank, settings, model, lambda drawn: [_by_strategy(drawn, shifted)])[0]


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


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over known values; NaN if none is known."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    return np.where(known, values, 0).sum(axis=axis) / np.where(count > 0, count, np.nan)
