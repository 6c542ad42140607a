"""Which adapters compete for a target, the study that trains them, and how they compare.

    direct     the target's own data
    informed   the mixture that was chosen from the matrix
    random     the informed mixture's shares, dealt to sources that are drawn at random
    all        every source but the target, in equal shares

All are trained on equally many items and answer the same items, so two ways are compared item by
item and seed by seed. Each judging seed draws random mixtures anew, so that an interval over seeds
covers which were drawn; a seed's value is their mean. All are changes of accuracy.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from transferscope.analysis.model_effects import effects, model_effects
from transferscope.analysis.parts import STRATEGIES, Arm, Estimate, Judgement, Strategy, Trial
from transferscope.analysis.settings import Settings
from transferscope.matrix.measure import known_mean
from transferscope.selection import Mixture
from transferscope.selection.wording import experiment_verdict
from transferscope.stats import Effect, TargetEffects, over_targets, paired_effects
from transferscope.study import Selection, Study
from transferscope.study.plan import derived_seed
from transferscope.suites import multiple_choice

RIVALS: list[Strategy] = [name for name in STRATEGIES if name != "informed"]
Contenders = dict[Strategy, "Contender"]


@dataclass(frozen=True)
class Contender:
    """One way to train for one target."""

    mixtures: dict[str, dict[str, float]]
    """{adapter: {task: share}}; empty if nothing is trained."""
    why: str = ""
    """Why nothing is trained, or which other contender this one equals."""
    seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of adapters that are not trained with every seed."""


def experiment_of(study: Study) -> Selection:
    """The experiment that a study is."""
    assert study.selection is not None, f"{study.name} is no experiment"
    return study.selection


def contenders(
    study: Study, target: str, chosen: Mapping[str, float], *, has_training_data: bool = True
) -> Contenders:
    """What competes for a target.

    Args:
        chosen: the informed mixture's shares; empty if nothing is known to help.
        has_training_data: whether the target has training data.
    """
    every = _equal_shares(study, target)
    informed = Contender({f"informed for {target}": dict(chosen)})
    whole = Contender({f"all for {target}": every})
    if not chosen:
        informed = Contender({}, "nothing is known to help")
    elif len(chosen) == len(every) and all(math.isclose(chosen[n], every[n]) for n in every):
        whole = Contender(informed.mixtures, "the same as the informed mixture")
    own = Contender({target: {target: 1.0}})
    return {
        "base": Contender({}),
        "direct": own if has_training_data else Contender({}, "the target has no training data"),
        "informed": informed,
        "random": _random(experiment_of(study), target, chosen, list(every)),
        "all": whole,
    }


def _equal_shares(study: Study, target: str) -> dict[str, float]:
    own = multiple_choice(target)
    rest = [name for name in study.sources or () if multiple_choice(name) != own]
    return {name: 1 / len(rest) for name in rest}


def _random(
    selection: Selection, target: str, chosen: Mapping[str, float], rest: Sequence[str]
) -> Contender:
    """Mixtures of as many sources in the same shares, drawn anew for each judging seed.

    A set of sources is drawn once per seed, and never the informed one.
    """
    if not chosen:
        return Contender({}, "there is no informed mixture to match")
    number = min(selection.draws, math.comb(len(rest), len(chosen)) - 1)
    if not number:
        return Contender({}, f"the informed mixture takes all {len(rest)} sources")
    mixtures: dict[str, dict[str, float]] = {}
    seeds: dict[str, tuple[int, ...]] = {}
    for seed in selection.seeds:
        rng = np.random.default_rng(derived_seed(seed, "random mixtures", target))
        drawn = {frozenset(chosen)}
        while len(drawn) <= number:
            names = [rest[int(k)] for k in rng.permutation(len(rest))[: len(chosen)]]
            if frozenset(names) in drawn:
                continue
            name = f"random {seed}.{len(drawn)} for {target}"
            drawn.add(frozenset(names))
            shares = dict(zip(names, chosen.values(), strict=True))
            mixtures[name] = {source: shares[source] for source in rest if source in shares}
            seeds[name] = (seed,)
    return Contender(mixtures, seeds=seeds)


def most_contenders(study: Study, target: str, *, has_training_data: bool = True) -> Contenders:
    """The most adapters and items that `contenders` may have, before anything is chosen."""
    every, selection = _equal_shares(study, target), experiment_of(study)
    names = {
        f"random {seed}.{k + 1} for {target}": (seed,)
        for seed in selection.seeds
        for k in range(selection.draws)
    }
    found = contenders(study, target, {next(iter(every)): 1.0}, has_training_data=has_training_data)
    found["informed"] = Contender({f"informed for {target}": every})
    found["random"] = Contender(dict.fromkeys(names, every), seeds=names)
    return found


def judging_study(study: Study, model: str, target: str, competing: Contenders) -> Study:
    """The study that trains all contenders for a target with the judging seeds, on one model, and
    evaluates them on the target."""
    selection, evaluation, ceilings = experiment_of(study), study.evaluation, study.ceilings
    mixed = [contender for name, contender in competing.items() if name != "direct"]
    if selection.items is not None:
        after = evaluation.after + (evaluation.items or 0)
        evaluation = evaluation.model_copy(update={"items": selection.items, "after": after})
    return study.model_copy(
        update={
            "models": {model: study.models[model].model_copy(update={"adapters": {}})},
            "sources": tuple(competing["direct"].mixtures),
            "targets": (target,),
            "seeds": selection.seeds,
            "evaluation": evaluation,
            "ceilings": {target: ceilings[target]} if isinstance(ceilings, dict) else ceilings,
            "mixtures": {name: shares for one in mixed for name, shares in one.mixtures.items()},
            "mixture_seeds": {name: seeds for one in mixed for name, seeds in one.seeds.items()},
            "selection": None,
            "controls": (),
        }
    )


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
        compared[name] = list(found)
        means[name] = Estimate(np.nan, (np.nan, np.nan), dict.fromkeys(seeds, np.nan))
        if found:
            by_seed = np.stack([one.by_seed for one in found.values()], axis=-1)
            effect = over_targets([one.effects for one in found.values()], by_seed[:, None])
            means[name] = _estimate(effect, known_mean(by_seed, 1), seeds, alpha)
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


def _estimate(
    effect: Effect, by_seed: np.ndarray, seeds: list[str], alpha: float, lowest: float = -1.0
) -> Estimate:
    """The one change of `effect`, with its interval."""
    low, high = (float(np.maximum(end[0], lowest)) for end in effect.interval(alpha))
    values = dict(zip(seeds, by_seed.tolist(), strict=True))
    return Estimate(float(effect.change[0]), (low, high), values)
