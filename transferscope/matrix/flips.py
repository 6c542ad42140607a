"""Which items a source fixed and which it broke, and in how many of its seeds.

An accuracy that stays the same may hide as many items fixed as broken. An item that flips in one
seed of four is noise; the few that flip in most seeds are where to look. With one seed nothing
tells the two apart.

In:   the matrix of one model, with item-level answers.
Out:  the record `conduct.Flips` of each cell.

Opens no file, draws nothing at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from transferscope.matrix.behavior_record import Flips

if TYPE_CHECKING:
    import xarray as xr

LISTED = 5
"""Items named for each cell and direction."""


def flips(one: xr.Dataset) -> dict[str, dict[str, Flips]]:
    """The items that changed, {source: {target: flips}}; empty where items are not known.

    Args:
        one: the matrix of one model. Only what is plainly right (1) or plainly
            wrong (0) before and after can flip.
    """
    if "item_correct" not in one:
        return {}
    base = one["base_item_correct"].transpose("seed", "item").values[:, None]
    tuned = one["item_correct"].transpose("seed", "source", "item").values
    both = (base >= 0) & (tuned >= 0)
    fixed, broken = (base == 0) & (tuned == 1), (base == 1) & (tuned == 0)
    names, asked_of = one["item"].values, one["item_target"].values
    found: dict[str, dict[str, Flips]] = {}
    for target in one["target"].values.tolist():
        own = np.flatnonzero(asked_of == target)
        for i, source in enumerate(one["source"].values.tolist()):
            seeds = both[:, i, own].any(axis=1)
            if seeds.any():
                up, down, asked = (p[seeds][:, i, own] for p in (fixed, broken, both))
                cell = _flips(up, down, asked, names[own].tolist())
                found.setdefault(source, {})[target] = cell
    return found


def _flips(
    fixed: Bool[np.ndarray, "seed item"],
    broken: Bool[np.ndarray, "seed item"],
    both: Bool[np.ndarray, "seed item"],
    names: list[str],
) -> Flips:
    """One cell's flips, in the seeds that have any answers."""
    often = [_often(part.sum(axis=0), len(both)) for part in (fixed, broken)]
    counts = [{names[k]: int(times[k]) for k in order[:LISTED]} for order, times in often]
    return Flips(
        fixed=float(fixed.sum(axis=1).mean()),
        broken=float(broken.sum(axis=1).mean()),
        items=float(both.sum(axis=1).mean()),
        seeds=len(both),
        often_fixed=len(often[0][0]),
        often_broken=len(often[1][0]),
        most_fixed=counts[0],
        most_broken=counts[1],
    )


def _often(
    times: Int[np.ndarray, " item"], seeds: int
) -> tuple[Int[np.ndarray, " flipped"], Int[np.ndarray, " item"]]:
    """Items that flipped in more than half of the seeds, most seeds first, and all counts."""
    order = np.argsort(-times, kind="stable")
    return order[2 * times[order] > seeds], times
