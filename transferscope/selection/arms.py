"""Which adapters compete for a target, and the study that trains them.

    direct     the target's own data
    informed   the mixture that was chosen from the matrix
    random     the informed mixture's shares, dealt to sources that are drawn at random
    all        every source but the target, in equal shares

All learn from equally many items. Each judging seed draws random mixtures of its own, so that an
interval over seeds covers which were drawn. A set of sources is drawn once for a seed, and never
the informed one.

In:   a study with a `selection`, and the shares that were chosen for each target.
Out:  a `Way` for each strategy, and a `Study` of all of them.

Opens no file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from transferscope.analysis.parts import Strategy
from transferscope.study import Selection, Study
from transferscope.study.plan import derived_seed

Shares = Mapping[str, float]
Ways = dict[Strategy, "Way"]


@dataclass(frozen=True)
class Way:
    """One way to train for a target."""

    mixtures: dict[str, dict[str, float]]
    """{adapter: {task: share}}; empty where there is nothing to train."""
    why: str = ""
    """Why there is nothing, or what else it coincides with."""
    seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of adapters that are not trained with every seed."""


def experiment_of(study: Study) -> Selection:
    """The experiment that a study is."""
    assert study.selection is not None, f"{study.name} is no experiment"
    return study.selection


def others(study: Study, target: str) -> list[str]:
    """The sources that a mixture for the target may have."""
    return [name for name in study.sources or () if name != target]


def ways(study: Study, target: str, chosen: Shares, *, taught: bool = True) -> Ways:
    """What competes for a target.

    Args:
        chosen: the informed mixture's shares; empty where nothing is known to help.
        taught: whether the target has training data of its own.
    """
    rest = others(study, target)
    every = {name: 1 / len(rest) for name in rest}
    alike = len(chosen) == len(rest) and all(math.isclose(chosen[n], every[n]) for n in rest)
    informed = Way({f"informed for {target}": dict(chosen)})
    whole = Way({f"all for {target}": every})
    if not chosen:
        informed = Way({}, "nothing is known to help")
    if alike:
        whole = Way(informed.mixtures, "the same as the informed mixture")
    own = Way({target: {target: 1.0}})
    if not taught:
        own = Way({}, "it has none")
    return {
        "base": Way({}),
        "direct": own,
        "informed": informed,
        "random": _random(study, target, chosen),
        "all": whole,
    }


def _random(study: Study, target: str, chosen: Shares) -> Way:
    """Mixtures of as many sources in the same shares, drawn anew for each seed that judges."""
    selection, rest = experiment_of(study), others(study, target)
    if not chosen:
        return Way({}, "there is no size to match")
    number = min(selection.draws, math.comb(len(rest), len(chosen)) - 1)
    if not number:
        return Way({}, f"the informed one takes all {len(rest)} sources")
    mixtures: dict[str, dict[str, float]] = {}
    seeds: dict[str, tuple[int, ...]] = {}
    for seed in selection.seeds:
        for k, shares in enumerate(_dealt(chosen, rest, number, seed, target), 1):
            mixtures[f"random {seed}.{k} for {target}"] = shares
            seeds[f"random {seed}.{k} for {target}"] = (seed,)
    return Way(mixtures, seeds=seeds)


def _dealt(
    chosen: Shares, rest: Sequence[str], number: int, seed: int, target: str
) -> list[dict[str, float]]:
    """The chosen shares, dealt to so many random sets of sources, none of them the chosen one."""
    rng = np.random.default_rng(derived_seed(seed, "random mixtures", target))
    seen = {frozenset(chosen)}
    found: list[dict[str, float]] = []
    while len(found) < number:
        order: list[int] = rng.permutation(len(rest)).tolist()
        drawn = [rest[k] for k in order[: len(chosen)]]
        if frozenset(drawn) not in seen:
            seen.add(frozenset(drawn))
            dealt = dict(zip(drawn, chosen.values(), strict=True))
            found.append({name: dealt[name] for name in rest if name in dealt})
    return found


def unknown(study: Study, target: str, *, taught: bool = True) -> Ways:
    """As many adapters on as many items as `ways` has at most, before anything is chosen."""
    rest = others(study, target)
    every, selection = {name: 1 / len(rest) for name in rest}, experiment_of(study)
    names = {
        f"random {seed}.{k + 1} for {target}": (seed,)
        for seed in selection.seeds
        for k in range(selection.draws)
    }
    known = ways(study, target, {rest[0]: 1.0}, taught=taught)
    return {
        **known,
        "informed": Way({f"informed for {target}": every}),
        "random": Way(dict.fromkeys(names, every), seeds=names),
    }


def judging_study(study: Study, model: str, target: str, its: Ways) -> Study:
    """The study that trains all that competes for a target, on one model, with the judging seeds,
    and asks it the target's questions."""
    selection, asked, ceilings = experiment_of(study), study.evaluation, study.ceilings
    trained = [way for name, way in its.items() if name != "direct"]
    if selection.items is not None:
        after = asked.after + (asked.items or 0)
        asked = asked.model_copy(update={"items": selection.items, "after": after})
    return study.model_copy(
        update={
            "models": {model: study.models[model].model_copy(update={"adapters": {}})},
            "sources": tuple(its["direct"].mixtures),
            "targets": (target,),
            "seeds": selection.seeds,
            "evaluation": asked,
            "ceilings": {target: ceilings[target]} if isinstance(ceilings, dict) else ceilings,
            "mixtures": {name: shares for way in trained for name, shares in way.mixtures.items()},
            "mixture_seeds": {name: seeds for way in trained for name, seeds in way.seeds.items()},
            "selection": None,
            "controls": (),
        }
    )
