"""The role a task plays in every model: donor, pirate, sponge or sieve.

A donor's positive transferability is above its model's average in *every* model of the study, a
pirate's negative transferability is more negative than average in every model; a sponge and a sieve
are the same for malleability.

In:   mu as an `xarray.DataArray` with dimensions (model, seed, source, target).
Out:  `analysis.Personas`, with the paper's test for each task and model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from transferscope.analysis import Persona, PersonaEvidence, Personas, Quantity, Sign
from transferscope.analysis.graph import seed_mean
from transferscope.matrix import task_effects
from transferscope.matrix.measure import known_mean
from transferscope.stats.significance import unpaired_t

if TYPE_CHECKING:
    import xarray as xr

    from transferscope.analysis.model_effects import ModelEffects

Role = Literal["donor", "pirate", "sponge", "sieve"]
ROLES: tuple[Role, ...] = get_args(Role)


class Trait(NamedTuple):
    """The quantity that a role is judged by."""

    quantity: Quantity
    sign: Sign

    @property
    def direction(self) -> int:
        """1 where more is more positive, -1 where more is more negative."""
        return 1 if self.sign == "positive" else -1


TRAITS: dict[Role, Trait] = {
    "donor": Trait("transferability", "positive"),
    "pirate": Trait("transferability", "negative"),
    "sponge": Trait("malleability", "positive"),
    "sieve": Trait("malleability", "negative"),
}


def personas(
    mu: xr.DataArray,
    *,
    include_self: bool = False,
    effects: Mapping[str, ModelEffects] | None = None,
) -> Personas:
    """Tasks that play one role in every model.

    Args:
        mu: effects, dimensions (model, seed, source, target).
        include_self: whether self-transfer counts; the published personas come out only without.
        effects: of each model, with draws of its effects; `analyze` has them.

    Returns:
        For each role its tasks, strongest first. `value` and `average` are means over seeds. The
        p-value is the paper's: a one-sided unpaired t-test with pooled variance of the task's
        per-seed values against the model's per-seed averages over tasks; NaN with one seed. A
        task without a value in some model has no persona. `ci` and `support` are NaN without draws.

    Source:
        Section 5.2.
    """
    found: dict[Role, list[Persona]] = {}
    models = mu["model"].values.tolist()
    known = {model: one for model, one in (effects or {}).items() if one.has_intervals}
    for role, trait in TRAITS.items():
        parts = getattr(task_effects, trait.quantity)(mu, include_self=include_self)
        values = parts[trait.sign].transpose("model", "seed", ...)
        tasks, average = values[values.dims[-1]].values.tolist(), values.mean(values.dims[-1])
        value_mean, average_mean = values.mean("seed").values, average.mean("seed").values
        above = trait.direction * (value_mean - average_mean[:, None]) > 0
        p_values = unpaired_t(values.values, average.values[..., None], trait.direction)
        drawn = [one.of_tasks(*trait, include_self=include_self) for one in known.values()]
        ahead = [each - known_mean(each) for each in drawn]
        members: list[Persona] = []
        for k in np.flatnonzero(above.all(axis=0)):
            evidence: dict[str, PersonaEvidence] = {}
            for m, model in enumerate(models):
                value, mean = float(value_mean[m, k]), float(average_mean[m])
                ci = np.nan, np.nan
                if len(known) == len(models):
                    ci = known[model].ends(ahead[m][k], value - mean)
                evidence[model] = PersonaEvidence(value, mean, float(p_values[m, k]), ci)
            support = np.nan
            if len(known) == len(models):
                support = float(np.all([trait.direction * a[k] > 0 for a in ahead], axis=0).mean())
            members.append(Persona(tasks[k], evidence, support))
        far = {m.task: [abs(e.value - e.average) for e in m.models.values()] for m in members}
        found[role] = sorted(members, key=lambda one: np.mean(far[one.task]), reverse=True)
    return Personas(**found)


def by_chance(nulls: Sequence[Float[np.ndarray, "draw seed source target"]], trait: Trait) -> float:
    """How many tasks would play a role in every model where nothing transfers.

    About half of the tasks lie above any model's average. Models are taken as independent.

    Args:
        nulls: each model's effects without transfer, NaN where they do not count.
    """
    chances = []
    for effects in nulls:
        axis = -1 if trait.quantity == "transferability" else -2
        parts = getattr(task_effects.signed_parts(effects, axis=axis), trait.sign)
        values = trait.direction * seed_mean(np.moveaxis(parts, 1, 0))
        average = seed_mean(np.moveaxis(values, 1, 0))
        chances.append((values > average[:, None]).mean(axis=0))
    return float(np.prod(chances, axis=0).sum())
