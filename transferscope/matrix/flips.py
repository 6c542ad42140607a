"""Which items a source fixed and which it broke, and in how many seeds.

An accuracy that stays the same may hide as many items fixed as broken. An item that flips in one
seed of four is noise; look at the few that flip in most seeds. One seed cannot show which is which.
"""

from dataclasses import dataclass

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
    parts = (base == 0) & (tuned == 1), (base == 1) & (tuned == 0), (base >= 0) & (tuned >= 0)
    names, target_of = one["item"].values, one["item_target"].values
    found: dict[str, dict[str, Flips]] = {}
    for target in one["target"].values.tolist():
        here = np.flatnonzero(target_of == target)
        items = names[here].tolist()
        for i, source in enumerate(one["source"].values.tolist()):
            seeds = parts[2][:, i, here].any(axis=1)
            if not seeds.any():
                continue
            fixed, broken, both = (part[seeds][:, i, here] for part in parts)
            often: list[dict[str, int]] = []
            for times in (fixed.sum(axis=0), broken.sum(axis=0)):
                order = np.argsort(-times, kind="stable")[: (2 * times > len(both)).sum()]
                often.append({items[k]: int(times[k]) for k in order})
            found.setdefault(source, {})[target] = Flips(
                fixed=float(fixed.sum(axis=1).mean()),
                broken=float(broken.sum(axis=1).mean()),
                items=float(both.sum(axis=1).mean()),
                seeds=len(both),
                often_fixed=len(often[0]),
                often_broken=len(often[1]),
                most_fixed=dict(list(often[0].items())[:LISTED]),
                most_broken=dict(list(often[1].items())[:LISTED]),
            )
    return found
