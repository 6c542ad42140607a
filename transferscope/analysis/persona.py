"""The role a task plays in every model: donor, pirate, sponge or sieve.

A donor's positive transferability lies above its model's average in *every* model of the study, a
pirate's negative transferability is more negative than average in every model; a sponge and a sieve
are the same for malleability.

In:   mu as an `xarray.DataArray` with dimensions (model, seed, source, target).
Out:  `analysis.Personas`, with the paper's test for each task and model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import scipy.special
from jaxtyping import Float

from transferscope.analysis import Persona, PersonaEvidence, Personas, Sign, graph
from transferscope.matrix import measure

if TYPE_CHECKING:
    import xarray as xr

Role = Literal["donor", "pirate", "sponge", "sieve"]
ROLES: tuple[Role, ...] = get_args(Role)


class Trait(NamedTuple):
    """What a role is judged by."""

    quantity: Literal["transferability", "malleability"]
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


def personas(mu: xr.DataArray, *, include_self: bool = False) -> Personas:
    """Tasks that play one role in every model.

    Args:
        mu: effects, dimensions (model, seed, source, target).
        include_self: whether self-transfer counts; the published personas come out only without.

    Returns:
        For each role its tasks, strongest first. `value` and `average` are means over seeds. The
        p-value is the paper's: a one-sided unpaired t-test with pooled variance of the task's
        per-seed values against the model's per-seed averages over tasks; NaN with one seed. A
        task without a value in some model has no persona. `ci` and `support` are NaN; `analyze`
        fills them from the bootstrap.

    Source:
        Section 5.2.
    """
    found: dict[Role, list[Persona]] = {}
    for role, trait in TRAITS.items():
        quantity = getattr(measure, trait.quantity)(mu, include_self=include_self)[trait.sign]
        found[role] = _members(quantity.transpose("model", "seed", ...), trait.direction)
    return Personas(**found)


def _members(values: xr.DataArray, direction: int) -> list[Persona]:
    task_dim = str(values.dims[-1])
    average = values.mean(task_dim)
    value_mean, average_mean = values.mean("seed"), average.mean("seed")
    above = (direction * (value_mean - average_mean) > 0).all("model").values
    p_values = unpaired_t(values.values, average.values[..., None], direction)
    members = []
    for index in np.flatnonzero(above):
        evidence = {
            model: PersonaEvidence(
                value=float(value_mean[m, index]),
                average=float(average_mean[m]),
                p_value=float(p_values[m, index]),
                ci=(np.nan, np.nan),
            )
            for m, model in enumerate(values["model"].values.tolist())
        }
        members.append(Persona(values[task_dim].values[index].item(), evidence, np.nan))
    return sorted(members, key=_distance, reverse=True)


def by_chance(nulls: Sequence[Float[np.ndarray, "draw seed source target"]], trait: Trait) -> float:
    """How many tasks would play a role in every model where nothing transfers.

    About half of the tasks lie above any model's average. Models are taken as independent.

    Args:
        nulls: each model's effects without transfer, NaN where they do not count.
    """
    chances = []
    for effects in nulls:
        axis = -1 if trait.quantity == "transferability" else -2
        parts = getattr(measure.signed_parts(effects, axis=axis), trait.sign)
        values = trait.direction * graph.seed_mean(np.moveaxis(parts, 1, 0))
        average = graph.seed_mean(np.moveaxis(values, 1, 0))
        chances.append((values > average[:, None]).mean(axis=0))
    return float(np.prod(chances, axis=0).sum())


def _distance(persona: Persona) -> float:
    return float(np.mean([abs(e.value - e.average) for e in persona.models.values()]))


def unpaired_t(
    values: np.ndarray, average: np.ndarray, direction: int, *, pooled: bool = True, sides: int = 1
) -> np.ndarray:
    """p-value that per-seed `values` (axis 1) lie beyond the per-seed `average`; NaN with one seed.

    Args:
        direction: 1 for above, -1 for below.
        pooled: Student's test with one variance, as in the paper; else Welch's.
        sides: 1 as in the paper, or 2.
    """
    one, other = _sample(values), _sample(average)
    with np.errstate(divide="ignore", invalid="ignore"):  # one seed, or no variation
        if pooled:
            degrees = one.number + other.number - 2
            variance = (one.squares + other.squares) / degrees
            error = variance / one.number + variance / other.number
        else:
            parts = [s.squares / (s.number - 1) / s.number for s in (one, other)]
            error = parts[0] + parts[1]
            below = parts[0] ** 2 / (one.number - 1) + parts[1] ** 2 / (other.number - 1)
            degrees = np.where(error > 0, error**2 / below, 1.0)
        t = direction * (one.mean - other.mean) / np.sqrt(error)
    return sides * scipy.special.stdtr(degrees, -t if sides == 1 else -np.abs(t))


class _Sample(NamedTuple):
    number: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    """Sum of squared deviations from the mean."""


def _sample(values: np.ndarray) -> _Sample:
    """What a t-test asks of the known values, along axis 1."""
    known = np.isfinite(values)
    number = known.sum(axis=1).astype(float)
    mean = np.where(known, values, 0).sum(axis=1) / np.where(number > 0, number, np.nan)
    squares = np.where(known, values - mean[:, None], 0) ** 2
    return _Sample(number, mean, squares.sum(axis=1))
