"""What the effects say about each task: transferability, malleability, categories, variance.

In:   mu as an `xarray.DataArray` with dimensions `source` and `target`; further dimensions (model,
      seed, a bootstrap draw) are carried along.
Out:  an `xarray.Dataset` with the remaining dimensions. Below the labels, plain numpy functions.

NaN means "not measured" or "undefined": such a cell is not considered, and never counts as 0.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from transferscope.matrix.measure import known_mean
from transferscope.matrix.pairing import averaged
from transferscope.tasks.checkpoints import task_of

Axis = Literal["level", "granularity"]
SIGNS = ("positive", "negative")


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

    and the same for negative ones; 0 where no effect has the sign. `N` is `considered`, or else the
    number of known effects. NaN where no effect is known.
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


def same_task(sources: Sequence[str], targets: Sequence[str]) -> Bool[np.ndarray, "source target"]:
    """Where source and target are the same task; a checkpoint's task is its finetune's."""
    tasks = np.array([task_of(source) for source in sources])
    return tasks[:, None] == np.array(targets)


def without_self(mu: xr.DataArray) -> xr.DataArray:
    """mu with NaN where source and target are the same task."""
    mu = mu.transpose(..., "source", "target", transpose_coords=False)
    same = same_task(mu["source"].values.tolist(), mu["target"].values.tolist())
    return mu.copy(deep=False, data=np.where(same, np.nan, mu.values))


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
    return _over("target", mu, include_self, considered)


def malleability(
    mu: xr.DataArray, *, include_self: bool = False, considered: int | None = None
) -> xr.Dataset:
    """How each target responds to finetuning on the other tasks; see `transferability`.

    Returns:
        The same variables, dimensions (..., target).

    Source:
        Eq. 2.
    """
    return _over("source", mu, include_self, considered)


def _over(dim: str, mu: xr.DataArray, include_self: bool, considered: int | None) -> xr.Dataset:
    mu = averaged(mu)
    # Put together by hand: `xr.apply_ufunc` takes several times as long, dozens of times a study.
    effects = (mu if include_self else without_self(mu)).variable.transpose(..., dim)
    parts = signed_parts(effects.values.astype(float), considered=considered)
    kept = mu.coords.to_dataset().drop_dims(dim).coords
    return xr.Dataset({k: (effects.dims[:-1], v) for k, v in parts._asdict().items()}, kept)


def averages(mu: xr.DataArray, *, include_self: bool = False) -> xr.Dataset:
    """Transferability and malleability, mean over tasks: the scale trend when models are sizes.

    Returns:
        `transferability_positive`, `transferability_negative`, `malleability_positive`,
        `malleability_negative`, dimensions (..., without source and target).

    Source:
        Figure 5.
    """
    given = transferability(mu, include_self=include_self)
    taken = malleability(mu, include_self=include_self)
    return xr.Dataset(
        {f"transferability_{sign}": given[sign].mean("source") for sign in SIGNS}
        | {f"malleability_{sign}": taken[sign].mean("target") for sign in SIGNS}
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
    given = transferability(mu, include_self=include_self)
    taken = malleability(mu, include_self=include_self)
    of_sources, of_targets = mu[f"source_{by}"].values, mu[by].values
    labels = np.concatenate([of_sources, of_targets])
    categories = np.unique(labels[labels != ""])
    trends = {}
    for sign in SIGNS:
        for name, part, dim, of in (
            ("transferability", given[sign], "source", of_sources),
            ("malleability", taken[sign], "target", of_targets),
        ):
            part = part.variable.transpose(..., dim)
            members = np.where(of[:, None] == categories, part.values[..., None], np.nan)
            trends[f"{name}_{sign}"] = ((*part.dims[:-1], "category"), known_mean(members, -2))
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
    mu = averaged(mu).transpose(..., "source", "target", transpose_coords=False)
    effects = (mu if include_self else without_self(mu)).values
    (giving, rows), (taking, columns) = (
        (kinds := np.unique(labels[labels != ""]), (labels[:, None] == kinds).astype(float))
        for labels in (mu[f"source_{by}"].values, mu[by].values)
    )
    pairs = rows.T @ np.isfinite(effects) @ columns
    pairs = np.where(pairs > 0, pairs, np.nan)
    positive, negative = np.where(effects > 0, effects, 0), np.where(effects < 0, effects, 0)
    dims = (*mu.dims[:-2], "source_category", "target_category")
    means = {
        sign: (dims, rows.T @ side @ columns / pairs)
        for sign, side in zip(SIGNS, (positive, negative), strict=True)
    }
    kept = {dim: mu[dim] for dim in mu.dims[:-2]}
    return xr.Dataset(means, {**kept, "source_category": giving, "target_category": taking})


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
    rows, columns = known.sum(axis=1), known.sum(axis=0)
    values = np.where(known, effects, np.float64(0))
    mean = values.sum(axis=(-2, -1), keepdims=True) / max(int(known.sum()), 1)
    centered = np.where(known, values - mean, 0.0)
    total, squares = (np.einsum("...ij,...ij", each, each) for each in (centered, values))
    # Rounding errors alone are no variance.
    total = np.where(total > 1e-20 * np.maximum(squares, 1e-300), total, np.nan)
    of_sources, of_targets = centered.sum(axis=-1), centered.sum(axis=-2)
    sums = np.concatenate([of_sources, of_targets], axis=-1)
    # The normal equations of the fit.
    gram = np.block([[np.diag(rows), known], [known.T, np.diag(columns)]]).astype(float)
    both = (sums @ np.linalg.pinv(gram, hermitian=True) * sums).sum(axis=-1)
    return VarianceShares(
        target=(of_targets**2 / np.maximum(columns, 1)).sum(axis=-1) / total,
        source=(of_sources**2 / np.maximum(rows, 1)).sum(axis=-1) / total,
        both=np.minimum(both / total, 1.0),
    )


def decompose(mu: xr.DataArray) -> xr.Dataset:
    """Share of the off-diagonal variance that targets, sources, or both explain additively.

    Of the seed mean, self-transfer left out. `1 - both` is interaction: what depends on the pair
    (and on noise). A high `target` share means that some targets move with any source.

    Returns:
        `target`, `source`, `both`, dimensions (...,) without seed, source and target.
    """
    mu = averaged(mu)
    mean = without_self(mu.mean("seed") if "seed" in mu.dims else mu)
    parts = xr.apply_ufunc(
        lambda effects: tuple(map(np.asarray, variance_shares(effects, np.isfinite(effects)))),
        mean,
        input_core_dims=[["source", "target"]],
        output_core_dims=[[]] * len(VarianceShares._fields),
        vectorize=True,
    )
    return xr.Dataset(dict(zip(VarianceShares._fields, parts, strict=True)))
