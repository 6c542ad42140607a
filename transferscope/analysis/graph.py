"""The transfer graph, and cliques of tasks that all help (or all harm) each other.

Both read the sign and the size of the seed-mean effect; self-transfer never counts.

In:   mu as an `xarray.DataArray` with dimensions (model, seed, source, target).
Out:  one `networkx.DiGraph`, or one list of cliques, for each model.

A clique can arise by luck: under either null model of `stats` there are some. `clique_null` shows
how large.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from transferscope.analysis import Clique, CliqueNull, Null, Sign
from transferscope.errors import StudyError
from transferscope.matrix.measure import known_mean
from transferscope.matrix.pairing import averaged
from transferscope.matrix.task_effects import same_task
from transferscope.stats.significance import benjamini_hochberg, signed_rank

if TYPE_CHECKING:
    import networkx as nx
    import xarray as xr

NO_EFFECT = 1e-12
"""Seed means closer to 0 are 0: opposite effects of two seeds leave rounding errors behind."""
SMALLEST_CLIQUE = 3
MOST_CLIQUES = 100
"""Maximal cliques listed for one model and sign, the largest of 20 times as many that are
found; dense graphs of many tasks have far more."""


def seed_mean(effects: Float[np.ndarray, "seed *cell"]) -> Float[np.ndarray, "*cell"]:
    """Mean over the known seeds, rounding errors around 0 removed; NaN where none is known."""
    mean = known_mean(effects)
    return np.where(np.abs(mean) < NO_EFFECT, 0.0, mean)


def strongest_edges(
    mean: Float[np.ndarray, "source target"], itself: Bool[np.ndarray, "source target"], keep: float
) -> list[tuple[int, int]]:
    """Of the effects of each sign, the strongest share `keep`, rounded up; ties all kept.

    Returns:
        (source, target) indices, strongest first, the positive edges before the negative ones.

    Source:
        Section 4, "top 20 % of strongest positive and negative PGF edges".
    """
    edges = []
    for sign in (1, -1):
        strength = np.where(itself | ~np.isfinite(mean), 0.0, sign * mean)
        values = np.sort(strength[strength > 0])[::-1]
        count = int(np.ceil(keep * len(values) - 1e-9))
        if count:
            chosen = np.argwhere(strength >= values[count - 1] - NO_EFFECT)
            edges += sorted(chosen.tolist(), key=lambda edge: -strength[tuple(edge)])
    return [(i, j) for i, j in edges]


def transfer_graph(mu: xr.DataArray, *, keep: float = 0.2) -> "dict[str, nx.DiGraph[str]]":
    """The strongest effects of each sign, as a directed graph for each model.

    Args:
        mu: effects, dimensions (model, seed, source, target).
        keep: share of the edges of each sign to keep, in (0, 1].

    Returns:
        {model: graph}; nodes are all tasks, an edge's `pgf` is the seed-mean effect.

    Raises:
        StudyError: `keep` is outside (0, 1].

    Source:
        Figure 1.
    """
    import networkx as nx

    if not 0 < keep <= 1:
        raise StudyError(f"keep, the share of edges to keep, must be in (0, 1], got {keep:g}")
    sources, targets = mu["source"].values.tolist(), mu["target"].values.tolist()
    same = same_task(sources, targets)
    graphs = {}
    for model, effects in _by_model(mu).items():
        mean = seed_mean(effects)
        graph = nx.DiGraph()
        graph.add_nodes_from(dict.fromkeys([*sources, *targets]))
        for i, j in strongest_edges(mean, same, keep):
            graph.add_edge(sources[i], targets[j], pgf=float(mean[i, j]))
        graphs[model] = graph
    return graphs


def _by_model(mu: xr.DataArray) -> dict[str, np.ndarray]:
    """{model: effects that have a part in averages, (seed, source, target)}"""
    values = averaged(mu).transpose("model", "seed", "source", "target").values
    return dict(zip(mu["model"].values.tolist(), values, strict=True))


def cliques(mu: xr.DataArray, *, sign: Sign = "positive") -> dict[str, list[Clique]]:
    """Maximal sets of at least three tasks in which every ordered pair has the given sign.

    Signs are those of the seed mean; a pair that was not measured breaks a clique, and only tasks
    that are both source and target can be in one. At most `MOST_CLIQUES` are listed.

    Args:
        mu: effects, dimensions (model, seed, source, target).

    Returns:
        {model: cliques}, largest first, then by mean effect. `p_value` is the paper's one-sided
        Wilcoxon signed-rank test over all (ordered pair x seed) values, which treats them as
        independent although they share baselines and were selected for their sign: see
        `clique_null`. `ci` is NaN; `analyze` fills it.

    Source:
        Definition 3 and section 5.1.
    """
    sources, targets = mu["source"].values.tolist(), mu["target"].values.tolist()
    shared = [task for task in sources if task in set(targets)]
    square = mu.sel(source=shared, target=shared)
    return {model: cliques_of(one, shared, sign) for model, one in _by_model(square).items()}


def cliques_of(
    effects: Float[np.ndarray, "seed task task"], tasks: list[str], sign: Sign
) -> list[Clique]:
    """The cliques of one model; see `cliques`."""
    import networkx as nx

    direction = 1 if sign == "positive" else -1
    mean = seed_mean(effects)
    found = nx.find_cliques(nx.from_numpy_array(_mutual(direction * mean)))
    large = (sorted(clique) for clique in found if len(clique) >= SMALLEST_CLIQUE)
    seen = islice(large, 20 * MOST_CLIQUES)
    members = sorted(seen, key=lambda clique: (-len(clique), clique))[:MOST_CLIQUES]
    pairs = [
        tuple(np.array([(i, j) for i in clique for j in clique if i != j]).T) for clique in members
    ]
    p_values = np.array([signed_rank(direction * effects[:, *pair]) for pair in pairs])
    q_values = benjamini_hochberg(p_values)
    agree = (direction * effects > 0) | ~np.isfinite(effects)
    records = [
        Clique(
            tasks=[str(tasks[i]) for i in clique],
            size=len(clique),
            mean=float(mean[pair].mean()),
            ci=(np.nan, np.nan),
            p_value=float(p_value),
            q_value=float(q_value),
            every_seed=bool(agree[:, *pair].all()),
        )
        for clique, pair, p_value, q_value in zip(members, pairs, p_values, q_values, strict=True)
    ]
    return sorted(records, key=lambda c: (-c.size, -abs(c.mean), c.tasks))


def _mutual(mean: np.ndarray) -> np.ndarray:
    """Pairs of tasks that both act on each other with an effect above 0."""
    with np.errstate(invalid="ignore"):
        up = mean > NO_EFFECT
    mutual = up & np.swapaxes(up, -1, -2)
    mutual[..., np.arange(mean.shape[-1]), np.arange(mean.shape[-1])] = False
    return mutual


def largest_cliques(
    means: Float[np.ndarray, "draw task task"], sign: Sign
) -> Int[np.ndarray, " draw"]:
    """Number of tasks in the largest clique of each draw; 1 where no pair of tasks agrees."""
    mutual = _mutual(means if sign == "positive" else -means)
    packed = np.packbits(mutual, axis=-1, bitorder="little")
    return np.array(
        [_largest([int.from_bytes(row.tobytes(), "little") for row in rows]) for rows in packed]
    )


def _largest(neighbors: list[int], limit: int = 5_000) -> int:
    """Branch and bound over bit sets: bit j of `neighbors[i]` is set where j is a neighbor of i.

    For thousands of null draws: thirty times faster than listing all maximal cliques with networkx
    at 13 tasks. After `limit` steps the largest clique found so far stands, which only dense graphs
    of many tasks reach.
    """
    best, waiting = 0, [(0, (1 << len(neighbors)) - 1)]
    for _ in range(limit):
        if not waiting:
            break
        size, candidates = waiting.pop()
        while candidates and size + candidates.bit_count() > best:
            lowest = candidates & -candidates
            candidates ^= lowest
            common = candidates & neighbors[lowest.bit_length() - 1]
            best = max(best, size + 1)
            if size + 1 + common.bit_count() > best:
                waiting.append((size, candidates))
                size, candidates = size + 1, common
    return best


def clique_null(
    null: Null,
    sign: Sign,
    observed: int,
    means: Float[np.ndarray, "draw task task"],
    alpha: float,
) -> CliqueNull:
    """How large the largest clique is in a null model's seed means, against the observed size.

    Sizes below three count as 0: no clique.
    """
    sizes = largest_cliques(means, sign)
    sizes = np.where(sizes < SMALLEST_CLIQUE, 0, sizes)
    values, counts = np.unique(sizes, return_counts=True)
    return CliqueNull(
        null=null,
        sign=sign,
        observed=observed,
        mean=float(sizes.mean()),
        upper=int(np.quantile(sizes, 1 - alpha, method="higher")),
        p_value=float((np.sum(sizes >= observed) + 1) / (len(sizes) + 1)),
        sizes={str(v): float(c / len(sizes)) for v, c in zip(values, counts, strict=True)},
    )
