"""What a study of a given size can detect."""

import numpy as np
from scipy.special import ndtri

from transferscope.errors import DataError
from transferscope.matrix.measure import check_fraction
from transferscope.stats.effects import BORROWED, POWER, SEED_CORRELATION, Effect
from transferscope.stats.simulate import ITEM_CORRELATION


def power(
    items: int,
    seeds: int,
    base_accuracy: float,
    *,
    level: float = POWER,
    alpha: float = 0.05,
    item_correlation: float = ITEM_CORRELATION,
    seed_correlation: float = SEED_CORRELATION,
    sources: int = 1,
) -> float:
    """The smallest gain of one cell that a study detects, as PGF at ceiling 1.

    "Detects" means that the interval of the change leaves out 0. Times `1 - base_accuracy` it is
    the change of accuracy.

    Args:
        items: items of the target.
        seeds: finetuning seeds; with 1, only this one adapter's effect can be detected.
        base_accuracy: accuracy of the untuned model, a fraction.
        level: probability of detection.
        alpha: two-sided level of the test.
        item_correlation: see `simulate.SimulatedModel`.
        seed_correlation: the same.
        sources: how many effects on this target are measured: how far seeds differ in one is
            estimated from the others too.

    Returns:
        A PGF in (0, 1]; NaN where even closing the whole gap would go unseen.

    Raises:
        DataError: no items, no seeds, no source, or a base accuracy without a gap above it.
    """
    check_fraction("base_accuracy", base_accuracy)
    if items < 1 or seeds < 1 or sources < 1 or base_accuracy == 1:
        raise DataError(
            "power needs at least one item, one seed, one source and a base accuracy below 1, not "
            f"items={items}, seeds={seeds}, sources={sources}, base_accuracy={base_accuracy:g}"
        )
    within = max(seed_correlation, item_correlation)
    change = np.linspace(0, 1, 2001)[1:] * (1 - base_accuracy)
    base, tuned = (p * (1 - p) / items for p in (base_accuracy, base_accuracy + change))
    shared = item_correlation * np.sqrt(base * tuned)
    of_items = base + tuned * (within + (1 - within) / seeds) - 2 * shared
    own = seeds - 1
    effect = Effect(
        change,
        of_items + (1 + change**2) / items**2,  # the half items
        max(items - 1, 1),
        tuned * (1 - within) / seeds * (own > 0),
        own + min(BORROWED, (sources - 1) * own) or np.inf,
    )
    seen = change >= effect.reach(alpha) + ndtri(level) * np.sqrt(of_items)
    return float(change[seen][0] / (1 - base_accuracy)) if seen.any() else np.nan
