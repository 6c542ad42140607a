"""What a study of a given size can detect."""

import numpy as np
import scipy.special

from transferscope import simulate
from transferscope.errors import DataError
from transferscope.measure import check_fraction


def power(
    items: int,
    seeds: int,
    base_accuracy: float,
    *,
    level: float = 0.8,
    alpha: float = 0.05,
    item_correlation: float = simulate.ITEM_CORRELATION,
    seed_correlation: float = simulate.SEED_CORRELATION,
) -> float:
    """The smallest PGF of one cell that a study detects, at ceiling 1.

    "Detects" means that the bootstrap interval of the seed mean leaves out 0. It counts seeds and
    items both, and with few seeds pays for not knowing their spread.

    Args:
        items: questions of the target.
        seeds: finetuning seeds; with 1, only this one adapter's effect can be detected.
        base_accuracy: accuracy of the untuned model, a fraction; 0 counts as half an item, as it
            would have no spread at all.
        level: probability of detection.
        alpha: two-sided level of the test.
        item_correlation, seed_correlation: see `simulate.World`.

    Returns:
        A PGF in (0, 1]; NaN where even closing the whole gap would go unseen.

    Raises:
        DataError: no items, no seeds, or a base accuracy without a gap above it.
    """
    check_fraction("base_accuracy", base_accuracy)
    if items < 1 or seeds < 1 or base_accuracy == 1:
        raise DataError(
            "power needs at least one item, one seed and a base accuracy below 1, not "
            f"items={items}, seeds={seeds}, base_accuracy={base_accuracy:g}"
        )
    base, smallest, needed = base_accuracy or 0.5 / items, 0.0, 0.0
    for _ in range(100):  # the spread depends on the effect; the iteration contracts fast
        tuned = base + smallest * (1 - base)
        spread_base, spread_tuned = base * (1 - base) / items, tuned * (1 - tuned) / items
        shared = 2 * item_correlation * np.sqrt(spread_base * spread_tuned)
        by_seed = (1 - seed_correlation) * spread_tuned / seeds
        by_item = spread_base + seed_correlation * spread_tuned - shared + by_seed
        seen = by_item + (by_seed if seeds > 1 else 0)  # the interval counts seed noise twice
        if seen == 0:  # all wrong before, all right after: nothing is left to chance
            break
        degrees = seen**2 / (
            by_item**2 / max(items - 1, 1) + (by_seed**2 / (seeds - 1) if seeds > 1 else 0)
        )
        needed = scipy.special.stdtrit(degrees, 1 - alpha / 2) * np.sqrt(seen)
        needed += scipy.special.stdtrit(degrees, level) * np.sqrt(by_item)
        smallest = min(needed / (1 - base), 1.0)
    return float(smallest) if needed <= 1 - base else np.nan
