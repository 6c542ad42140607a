"""Which items a source fixed and which it broke, and in how many seeds.

An accuracy that stays the same may hide as many items fixed as broken. An item that flips in one
seed of four is noise; look at the few that flip in most seeds. One seed cannot show which is which.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from transferscope.tasks.number import Number

LISTED = 5
"""Items named for each cell and direction."""


@dataclass(frozen=True)
class Flips:
    """Items that finetuning on one source changed in one target."""

    fixed: Number
    """Items that the base had wrong and the adapter right, mean over seeds."""
    broken: Number
    """Items that the base had right and the adapter wrong, mean over seeds."""
    items: Number
    """Items that both answered, mean over seeds."""
    seeds: int
    """Seeds compared."""
    often_fixed: int
    """Items fixed in more than half of the seeds."""
    often_broken: int
    most_fixed: dict[str, int]
    """{item: seeds that fixed it}: the first few of them, most seeds first."""
    most_broken: dict[str, int]


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
    ways = {"fixed": (base == 0) & (tuned == 1), "broken": (base == 1) & (tuned == 0)}
    known = (base >= 0) & (tuned >= 0)
    names, target_of = one["item"].values, one["item_target"].values
    found: dict[str, dict[str, Flips]] = {}
    for target in one["target"].values.tolist():
        here = np.flatnonzero(target_of == target)
        items = names[here].tolist()
        for i, source in enumerate(one["source"].values.tolist()):
            both = known[:, i, here]
            seeds = both.any(axis=1)
            if not seeds.any():
                continue
            counts: dict[str, Any] = {}
            for way, changed in ways.items():
                times = changed[seeds][:, i, here].sum(axis=0)
                often = np.argsort(-times, kind="stable")[: (2 * times > seeds.sum()).sum()]
                counts[way] = float(times.sum() / seeds.sum())
                counts[f"often_{way}"] = len(often)
                counts[f"most_{way}"] = {items[k]: int(times[k]) for k in often[:LISTED]}
            items_known = float(both[seeds].sum(axis=1).mean())
            cell = Flips(items=items_known, seeds=int(seeds.sum()), **counts)
            found.setdefault(source, {})[target] = cell
    return found
