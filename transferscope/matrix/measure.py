"""What finetuning on a source did to a target, and what that says about each task.

The central quantity is mu, the effect of one source on one target: by default the Perfection Gap
Factor (PGF), the part of the target's remaining gap that was closed. From it follow transferability
(of a source), malleability (of a target), their means over categories, and how much of the matrix
the tasks explain by themselves.

In:   accuracies, or mu as an `xarray.DataArray` with dimensions `source` and `target`; any further
      dimensions (model, seed, a bootstrap draw) are carried along.
Out:  `xarray.Dataset`s with the dimension that is left. Below the labels, plain numpy functions.

NaN means "not measured" or "undefined": such a cell is not considered, and never counts as 0.
Opens no file, draws nothing at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from transferscope.errors import DataError
from transferscope.tasks.checkpoints import checkpoint

if TYPE_CHECKING:
    import xarray as xr

Measure = Literal["pgf", "relative_gain", "raw_gain"]
Axis = Literal["level", "granularity"]
PERCENT_EPSILON = 1e-8
"""The paper's epsilon, 1e-6 on its percent scale, as a fraction."""


def check_fraction(name: str, accuracy: Any) -> None:
    """Refuse accuracies outside [0, 1]; NaN passes."""
    values = np.atleast_1d(np.asarray(accuracy, float))
    outside = values[(values < 0) | (values > 1)]
    if outside.size:
        remedy = "; divide percent by 100" if outside.max() > 1 else ""
        raise DataError(
            f"{name} must be fractions in [0, 1], but {outside.size} of {values.size} are outside, "
            f"the first {outside[0]:g}{remedy}"
        )


def pgf(base: Any, tuned: Any, ceiling: Any = 1.0, *, epsilon: float = 0.0) -> Any:
    """Part of each target's gap to its ceiling that finetuning closed.

        pgf = (tuned - base) / (ceiling - base + epsilon)

    1 closes the whole gap, 0 changes nothing, negative is harm. The range is lopsided: at most 1
    where no accuracy exceeds the ceiling, but as low as -(m - 1) on m items, so never clip it to
    [-1, 1].

    Args:
        base: accuracy of the untuned model, a fraction in [0, 1].
        tuned: accuracy after finetuning, a fraction in [0, 1].
        ceiling: best reachable accuracy of the target, a fraction in [0, 1].
        epsilon: added to the gap, as a fraction. The paper states 1e-6 on its percent scale
            (`PERCENT_EPSILON`); its published values contain none.

    The three broadcast against each other: numbers, numpy arrays or labelled xarray arrays.

    Returns:
        PGF, without unit. NaN where there is no gap (`base` at or above `ceiling`): PGF is then
        undefined, not 0 and not a million.

    Raises:
        DataError: a value lies outside [0, 1], as when percent is passed.

    Source:
        Sachdeva et al., "Understanding Task Transfer in Vision-Language Models", eq. 3.
    """
    for name, accuracy in (("base", base), ("tuned", tuned), ("ceiling", ceiling)):
        check_fraction(name, accuracy)
    gap = ceiling - base + epsilon
    return (tuned - base) / _or_nan(gap)


def relative_gain(base: Any, tuned: Any) -> Any:
    """Change relative to the baseline, `(tuned - base) / base`; NaN where the baseline is 0.

    Arguments and errors as in `pgf`.

    Source:
        The paper's alternative measure (section 3, note to definition 2).
    """
    check_fraction("base", base)
    check_fraction("tuned", tuned)
    return (tuned - base) / _or_nan(base + 0.0)


def raw_gain(base: Any, tuned: Any) -> Any:
    """Change in accuracy, `tuned - base`, as a fraction. Arguments and errors as in `pgf`."""
    check_fraction("base", base)
    check_fraction("tuned", tuned)
    return tuned - base


def _or_nan(denominator: Any) -> Any:
    """The denominator with NaN where it is not positive, labels kept."""
    return denominator + np.where(np.asarray(denominator) > 0, 0.0, np.nan)


class SignedParts(NamedTuple):
    """The positive and the negative side of a set of effects."""

    positive: np.ndarray
    """Eq. 1's positive part: mean positive effect, weighted by how many there are."""
    negative: np.ndarray
    breadth_positive: np.ndarray
    """Share of the considered effects that are above 0."""
    breadth_negative: np.ndarray


def signed_parts(
    effects: Float[np.ndarray, "..."], *, axis: int = -1, considered: int | None = None
) -> SignedParts:
    """Eq. 1 and 2 along one axis: magnitude and breadth of each sign.

        positive = (1 - exp(-p / N)) / p * (sum of the p positive effects)

    and the same for negative ones; 0 where there is none. `N` is `considered`, or else the number
    of known effects. NaN where no effect is known.
    """
    known = np.isfinite(effects).sum(axis=axis, dtype=effects.dtype)
    total = np.where(known > 0, known if considered is None else considered, np.nan)
    parts = []
    for side, chosen in ((np.fmax, effects > 0), (np.fmin, effects < 0)):
        count = chosen.sum(axis=axis, dtype=effects.dtype)
        mean = side(effects, 0).sum(axis=axis) / np.maximum(count, 1)
        parts.append((mean * -np.expm1(-count / total), count / total))
    (positive, breadth_positive), (negative, breadth_negative) = parts
    return SignedParts(positive, negative, breadth_positive, breadth_negative)


def itself(sources: Sequence[str], targets: Sequence[str]) -> Bool[np.ndarray, "source target"]:
    """Where source and target are the same task; checkpoints are of the task they finetune on."""
    tasks = np.array([checkpoint(source).task for source in sources])
    return tasks[:, None] == np.array(targets)


def without_self(mu: xr.DataArray) -> xr.DataArray:
    """mu with NaN where source and target are the same task."""
    mu = mu.transpose(..., "source", "target", transpose_coords=False)
    same = itself(mu["source"].values.tolist(), mu["target"].values.tolist())
    return mu.copy(deep=False, data=np.where(same, np.nan, mu.values))


def _signed(mu: xr.DataArray, over: str, include_self: bool, considered: int | None) -> xr.Dataset:
    # Put together by hand: `xr.apply_ufunc` takes several times as long, dozens of times a study.
    effects = (mu if include_self else without_self(mu)).variable.transpose(..., over)
    parts = signed_parts(effects.values.astype(float), considered=considered)
    kept = mu.coords.to_dataset().drop_dims(over)
    return kept.assign({name: (effects.dims[:-1], v) for name, v in parts._asdict().items()})


def transferability(
    mu: xr.DataArray, *, include_self: bool = False, considered: int | None = None
) -> xr.Dataset:
    """What finetuning on each source does to the other tasks, positive and negative apart.

    Args:
        mu: effects, dimensions (..., source, target), in any measure.
        include_self: whether a source's effect on itself counts. The published personas come out
            only without it.
        considered: `N` of eq. 1; by default the number of known effects of that source.

    Returns:
        `positive`, `negative` (in mu's unit), `breadth_positive`, `breadth_negative` (shares),
        dimensions (..., source). Per seed: average over seeds afterwards, never before, or sign
        changes are hidden. NaN where a source has no known effect.

    Source:
        Eq. 1.
    """
    return _signed(mu, "target", include_self, considered)


def malleability(
    mu: xr.DataArray, *, include_self: bool = False, considered: int | None = None
) -> xr.Dataset:
    """How each target responds to finetuning on the other tasks; see `transferability`.

    Returns:
        The same variables, dimensions (..., target).

    Source:
        Eq. 2.
    """
    return _signed(mu, "source", include_self, considered)


def averages(mu: xr.DataArray, *, include_self: bool = False) -> xr.Dataset:
    """Transferability and malleability, mean over tasks: the scale trend when models are sizes.

    Returns:
        `transferability_positive`, `transferability_negative`, `malleability_positive`,
        `malleability_negative`, dimensions (..., without source and target).

    Source:
        Figure 5.
    """
    import xarray as xr

    given = transferability(mu, include_self=include_self)
    taken = malleability(mu, include_self=include_self)
    return xr.Dataset(
        {f"transferability_{sign}": given[sign].mean("source") for sign in ("positive", "negative")}
        | {f"malleability_{sign}": taken[sign].mean("target") for sign in ("positive", "negative")}
    )


def category_trends(
    mu: xr.DataArray, by: Axis = "level", *, include_self: bool = True
) -> xr.Dataset:
    """Mean transferability and malleability of each category's tasks.

    Self-transfer counts by default, which is what the paper's Figures 3 and 4 show. Tasks without
    a category are left out.

    Returns:
        `transferability_positive`, `transferability_negative`, `malleability_positive`,
        `malleability_negative`, dimensions (..., category).
    """
    import xarray as xr

    given = transferability(mu, include_self=include_self)
    taken = malleability(mu, include_self=include_self)
    labels = np.concatenate([mu[f"source_{by}"].values, mu[by].values])
    categories = np.unique(labels[labels != ""])
    trends = {}
    for sign in ("positive", "negative"):
        for name, values, dim, of in (
            ("transferability", given[sign], "source", mu[f"source_{by}"].values),
            ("malleability", taken[sign], "target", mu[by].values),
        ):
            values = values.transpose(..., dim)
            effects, member = values.values[..., None], (of[:, None] == categories)
            known = np.isfinite(effects) & member
            count = known.sum(axis=-2)
            total = np.where(known, effects, 0.0).sum(axis=-2)
            means = total / np.where(count > 0, count, np.nan)
            trends[f"{name}_{sign}"] = ((*values.dims[:-1], "category"), means)
    kept = {dim: mu[dim] for dim in mu.dims if dim not in ("source", "target")}
    return xr.Dataset(trends, coords={**kept, "category": categories})


def category_effects(
    mu: xr.DataArray, by: Axis = "level", *, include_self: bool = False
) -> xr.Dataset:
    """Mean positive and mean negative effect of each category on each, over all task pairs.

    A pair counts in both means: with its effect in the one of its sign, with 0 in the other.

    Returns:
        `positive` and `negative`, dimensions (..., source_category, target_category).

    Source:
        Section 4.1.
    """
    import xarray as xr

    mu = mu.transpose(..., "source", "target", transpose_coords=False)
    effects = (mu if include_self else without_self(mu)).values
    giving, rows = _membership(mu[f"source_{by}"].values)
    taking, columns = _membership(mu[by].values)
    pairs = rows.T @ np.isfinite(effects) @ columns
    pairs = np.where(pairs > 0, pairs, np.nan)
    sides = {
        "positive": np.where(effects > 0, effects, 0),
        "negative": np.where(effects < 0, effects, 0),
    }
    dims = (*mu.dims[:-2], "source_category", "target_category")
    means = {sign: (dims, rows.T @ side @ columns / pairs) for sign, side in sides.items()}
    kept = {dim: mu[dim] for dim in mu.dims[:-2]}
    return xr.Dataset(means, {**kept, "source_category": giving, "target_category": taking})


def _membership(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The categories among the labels, and a column of 0 and 1 for each."""
    categories = np.unique(labels[labels != ""])
    return categories, (labels[:, None] == categories).astype(float)


class VarianceShares(NamedTuple):
    """Share of variance explained by the parts of `mean + source + target + interaction`."""

    target: np.ndarray
    source: np.ndarray
    both: np.ndarray


def variance_shares(
    effects: Float[np.ndarray, "*batch source target"], known: Bool[np.ndarray, "source target"]
) -> VarianceShares:
    """How much of the variance of the `known` cells target means, source means, or both explain.

    `both` is the least-squares fit of `mean + source + target`, which is not the sum of the two
    where cells are missing (the diagonal always is). NaN where the cells do not vary.
    """
    source, target = np.nonzero(known)
    tasks = [source[:, None] == np.arange(len(known)), target[:, None] == np.arange(known.shape[1])]
    member = np.hstack(tasks).astype(float)
    values = np.moveaxis(effects, (-2, -1), (0, 1))[known].astype(float)  # (cell, *batch)
    centred = values - values.sum(0) / max(len(source), 1)
    total = (centred**2).sum(0)
    total = np.where(total > 1e-20 * np.maximum((values**2).sum(0), 1e-300), total, np.nan)
    sums = np.tensordot(member.T, centred, 1)  # of each source, then of each target
    both = (np.tensordot(np.linalg.pinv(member.T @ member, hermitian=True), sums, 1) * sums).sum(0)
    alone = (sums.T**2 / np.maximum(member.sum(axis=0), 1)).T
    return VarianceShares(
        target=alone[len(known) :].sum(0) / total,
        source=alone[: len(known)].sum(0) / total,
        both=np.minimum(both / total, 1.0),
    )


def decompose(mu: xr.DataArray) -> xr.Dataset:
    """Share of the off-diagonal variance that targets, sources, or both explain additively.

    Of the seed mean, self-transfer left out. `1 - both` is interaction: what depends on the pair
    (and on noise). A high `target` share says that some targets move whatever one trains on.

    Returns:
        `target`, `source`, `both`, dimensions (...,) without seed, source and target.
    """
    import xarray as xr

    mean = without_self(mu.mean("seed") if "seed" in mu.dims else mu)

    def shares(effects: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(s) for s in variance_shares(effects, np.isfinite(effects)))

    parts = xr.apply_ufunc(
        shares,
        mean,
        input_core_dims=[["source", "target"]],
        output_core_dims=[[]] * len(VarianceShares._fields),
        vectorize=True,
    )
    return xr.Dataset(dict(zip(VarianceShares._fields, parts, strict=True)))
