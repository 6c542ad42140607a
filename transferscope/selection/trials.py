"""How each way to train for a target did, and how the informed mixture compares with the others.

Every adapter answers the same items, so two ways are compared item by item and seed by seed. Random
mixtures differ between seeds; a seed's value is their mean. All are changes of accuracy.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from transferscope.analysis.model_effects import effects, model_effects
from transferscope.analysis.parts import STRATEGIES, Arm, Estimate, Judgement, Strategy, Trial
from transferscope.analysis.settings import Settings
from transferscope.matrix.measure import known_mean
from transferscope.selection import Mixture
from transferscope.selection.arms import Contenders
from transferscope.selection.wording import experiment_verdict
from transferscope.stats import Effect, TargetEffects, over_targets, paired_effects

RIVALS: list[Strategy] = [name for name in STRATEGIES if name != "informed"]


class _Difference(NamedTuple):
    """Marks of one way minus those of another."""

    effects: TargetEffects
    by_seed: Float[np.ndarray, " seed"]

    def estimate(self, seeds: list[str], alpha: float, lowest: float = -1.0) -> Estimate:
        return _estimate(self.effects.effect, self.by_seed, seeds, alpha, lowest)


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
    gathered = model_effects(matrix, effects(matrix, settings.measure), model, settings)
    assert gathered.marks is not None, "the judged adapters have item-level answers"
    seeds, alpha = gathered.seeds, settings.alpha
    place = {name: k for k, name in enumerate(gathered.sources)}
    trials: dict[str, Trial] = {}
    apart: dict[Strategy, dict[str, _Difference]] = {name: {} for name in RIVALS}
    for target, competing in contests.items():
        base, tuned, groups = gathered.marks(gathered.targets.index(target))
        arms: dict[Strategy, Arm] = {}
        marks: dict[Strategy, np.ndarray] = {}
        for name in STRATEGIES:
            adapters = [place[one] for one in competing[name].mixtures if one in place]
            marks[name] = base if name == "base" else known_mean(tuned[:, adapters], 1)
            right = _difference(marks[name], np.zeros_like(base), groups)
            moved = Estimate(0.0, (0.0, 0.0), dict.fromkeys(seeds, 0.0))
            if name != "base":
                moved = _difference(marks[name], base, groups).estimate(seeds, alpha)
            accuracy = right.estimate(seeds, alpha, lowest=0.0)
            arms[name] = Arm(competing[name].mixtures, competing[name].why, accuracy, moved)
        differences: dict[Strategy, Estimate] = {}
        for name in RIVALS:
            # The same adapters differ in nothing.
            same = competing[name].mixtures == competing["informed"].mixtures
            rival = np.full(base.shape, np.nan) if same else marks[name]
            one = _difference(marks["informed"], rival, groups)
            differences[name] = one.estimate(seeds, alpha)
            if math.isfinite(differences[name].mean):
                apart[name][target] = one
        trials[target] = Trial(chosen[target].verdict, chosen[target].expected, arms, differences)
    means: dict[Strategy, Estimate] = {}
    compared: dict[Strategy, list[str]] = {}
    for name, found in apart.items():
        means[name], compared[name] = _over_targets([*found.values()], seeds, alpha), list(found)
    return Judgement(trials, means, compared, experiment_verdict(trials, means, compared, alpha))


def _difference(
    marks: Float[np.ndarray, "seed item"],
    others: Float[np.ndarray, "seed item"],
    groups: Int[np.ndarray, " item"],
) -> _Difference:
    """One way against another, on the items that both answered, paired by seed too."""
    apart = marks - others
    found = paired_effects(np.zeros((1, apart.shape[1])), apart[:, None], groups=groups)
    return _Difference(found, known_mean(apart, 1))


def _over_targets(found: list[_Difference], seeds: list[str], alpha: float) -> Estimate:
    """The mean over targets; NaN without any."""
    if not found:
        return Estimate(np.nan, (np.nan, np.nan), dict.fromkeys(seeds, np.nan))
    by_seed = np.stack([one.by_seed for one in found], axis=-1)
    effect = over_targets([one.effects for one in found], by_seed[:, None])
    return _estimate(effect, known_mean(by_seed, 1), seeds, alpha)


def _estimate(
    effect: Effect, by_seed: np.ndarray, seeds: list[str], alpha: float, lowest: float = -1.0
) -> Estimate:
    """The one change of `effect`, with its interval."""
    low, high = (float(np.maximum(end[0], lowest)) for end in effect.interval(alpha))
    values = dict(zip(seeds, by_seed.tolist(), strict=True))
    return Estimate(float(effect.change[0]), (low, high), values)
