"""What a study of a given size can detect."""

from collections.abc import Callable

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
    exact: bool = False,
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
        exact: whether the exact test over items must agree (`stats.noise`). With one seed it asks
            for about two items more: sums of whole items step over its level.

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
    chances = (1 - alpha / 2, level)
    for _ in range(30):  # the spread depends on the effect; the iteration contracts fast
        tuned = base + smallest * (1 - base)
        spread_base, spread_tuned = base * (1 - base) / items, tuned * (1 - tuned) / items
        shared = 2 * item_correlation * np.sqrt(spread_base * spread_tuned)
        by_seed = (1 - seed_correlation) * spread_tuned / seeds
        by_item = max(spread_base + seed_correlation * spread_tuned - shared + by_seed, 0.0)
        if by_item + by_seed == 0:  # all wrong before, all right after: nothing left to chance
            break
        last, needed = needed, _needed(by_item, by_seed, seeds, items, chances)
        needed += 2 / items if exact and seeds == 1 else 0
        smallest = min(needed / (1 - base), 1.0)
        if abs(needed - last) < 1e-3 * needed:
            break
    return float(smallest) if needed <= 1 - base else np.nan


def _needed(
    by_item: float, by_seed: float, seeds: int, items: int, chances: tuple[float, float]
) -> float:
    """The true change at which an interval leaves out 0 as often as asked.

    An interval reaches as far as the sum of two errors: a normal one of the items (which holds what
    seeds add there), and one of Student's t, as wide as the seeds happen to differ. With two seeds
    it is the second that decides, and how far they differ is anybody's guess.

    Args:
        by_item, by_seed: variances of the estimate.
        chances: that the interval must hold, and of detection.
    """
    inside, level = chances
    sd = np.sqrt(by_item)
    known = sd * scipy.special.stdtrit(max(items - 1, 1), inside) / scipy.special.ndtri(inside)
    if seeds == 1:
        return float(known * scipy.special.ndtri(inside) + scipy.special.ndtri(level) * sd)
    students = scipy.special.stdtrit(seeds - 1, _even(250))
    # Resampled items differ between seeds once more.
    seen = np.sqrt(by_seed * (1 + scipy.special.chdtri(seeds - 1, _even(25)) / (seeds - 1)))
    reach = _root(
        lambda r: (
            scipy.special.ndtr((r[:, None] - seen[:, None] * students) / known).mean(1) - inside
        ),
        np.full(len(seen), seen.max() * students.max() + 9 * known),
    )
    found = _root(
        lambda d: scipy.special.ndtr((d[:, None] - reach) / sd).mean(1) - level,
        np.full(1, reach.max() + 9 * sd),
    )
    return float(found[0])


def _even(number: int) -> np.ndarray:
    """Probabilities in the middle of equal parts."""
    return (np.arange(number) + 0.5) / number


def _root(rising: Callable[[np.ndarray], np.ndarray], high: np.ndarray) -> np.ndarray:
    """Where rising functions are 0 between 0 and `high`, by halving."""
    low = np.zeros_like(high)
    for _ in range(30):
        middle = (low + high) / 2
        above = rising(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high
