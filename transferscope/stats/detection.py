"""What a study of a given size can detect."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float

from transferscope.errors import DataError
from transferscope.matrix.measure import check_fraction
from transferscope.stats import simulate

WORTH = 6
"""Degrees of freedom that a target's other cells are worth (`stats.seeds.Spread`): 4 and 7 in the
paper's published effects at 3B and 32B."""


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
    sources: int = 1,
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
        item_correlation, seed_correlation: see `simulate.SimulatedModel`.
        exact: whether the exact test over items must agree (`verdict.beyond_noise`).
        sources: how many effects on this target are measured: how far seeds differ in one is
            estimated from the others too (`stats.seeds.Spread`).

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
    base = base_accuracy or 0.5 / items
    correlations = (item_correlation, seed_correlation)
    own = seeds - 1
    degrees = (own, min(own + WORTH, sources * own))

    def seen(effect: float) -> bool:
        change = _change(base, base + effect * (1 - base), seeds, correlations)
        return _chance(change, items, seeds, degrees, alpha, exact=exact) >= level

    low, high = 0.0, 1.0
    if not seen(1 - 1e-9):
        return np.nan
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


class _Change(NamedTuple):
    """The change of one item: its mean answer over seeds after finetuning, less the base's."""

    sizes: Float[np.ndarray, " size"]
    chances: Float[np.ndarray, " size"]
    between: float
    """Variance of a seed's answer around the mean of all seeds that there could be."""


def _change(base: float, tuned: float, seeds: int, correlations: tuple[float, float]) -> _Change:
    """As in `simulate`, where answers to an easy item agree less than those to a medium one.

    Of an item, all seeds of an adapter share a score; given that, they and the base are
    independent.
    """
    to_base, to_seeds = map(simulate.latent, correlations)
    to_seeds = min(to_seeds, 1 - 1e-6)
    to_base = min(to_base, to_seeds)
    score = scipy.special.ndtri(_even(400))

    def right(accuracy: float, variance: float) -> np.ndarray:
        ahead = scipy.special.ndtri(accuracy) - np.sqrt(variance) * score
        return scipy.special.ndtr(ahead / np.sqrt(1 - variance))

    before = right(base, to_base**2 / to_seeds if to_seeds else 0.0)[:, None]
    after = right(tuned, to_seeds)
    number = np.arange(seeds + 1)
    some = scipy.special.binom(seeds, number) * after[:, None] ** number
    some *= (1 - after[:, None]) ** (seeds - number)
    return _Change(
        np.concatenate([number / seeds - 1, number / seeds]),
        np.concatenate([(before * some).mean(0), ((1 - before) * some).mean(0)]),
        float((after * (1 - after)).mean()),
    )


def _chance(
    change: _Change,
    items: int,
    seeds: int,
    degrees: tuple[int, int],
    alpha: float,
    *,
    exact: bool,
) -> float:
    """Probability that a change is seen.

    All in units of the changes' root mean square, as the exact test measures their sum: the more
    items change, the farther it must reach, so the ratio varies less than the sum does.
    """
    sizes, chances = change.sizes, change.chances
    mean, square = float(chances @ sizes), float(chances @ sizes**2)
    influence = sizes / np.sqrt(square) - mean * sizes**2 / (2 * square**1.5)
    spread = np.sqrt(chances @ influence**2 - (chances @ influence) ** 2)
    reach = _reach(change.between / seeds / (square - mean**2), degrees, alpha)
    reach = reach / np.sqrt(1 + reach**2 / items)  # its unit was the standard deviation
    most = 1.0
    if exact:  # a sum of whole answers steps over the level, by half a step on average
        step = 1 / (seeds * np.sqrt(items * square))
        reach = np.maximum(reach, scipy.special.ndtri(1 - alpha / 2) + step)
        fewest = np.ceil(1 - np.log2(alpha))  # changed items, or no p-value is so small
        most = scipy.special.bdtrc(fewest - 1, items, chances[sizes != 0].sum())
    seen = scipy.special.ndtr((np.sqrt(items / square) * mean - reach) / spread).mean()
    return float(min(seen, most))


def _reach(share: float, degrees: tuple[int, int], alpha: float) -> Float[np.ndarray, " case"]:
    """How far an interval reaches, in standard errors, equally likely cases of how seeds differ.

    It reaches as far as the sum of two errors: a normal one of the items (which holds what seeds
    add there), and one of Student's t, as wide as the seeds happen to differ. With two seeds of one
    source the second decides, and how far they differ is unknown.

    Args:
        share: of the estimate's variance, what seeds add.
        degrees: of freedom, of the cell alone and with the other cells.
    """
    own, known = degrees
    if own == 0:
        return np.atleast_1d(scipy.special.ndtri(1 - alpha / 2))
    differ = scipy.special.chdtri(own, _even(25))
    wide = np.sqrt((known + differ) / known)  # resampled items differ between seeds once more
    if known == 1:  # the tails of this t are so heavy that it is the mean width that counts
        far = np.sqrt(differ)
        wide = np.sqrt(2 / np.pi) * np.exp(-differ / 2) + far * (1 - 2 * scipy.special.ndtr(-far))
    return np.interp(np.sqrt(share) * wide, *_reaches(known, alpha))


@lru_cache
def _reaches(degrees: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Widths of the seeds' error, that of the items being 1, and how far the sum of both reaches.

    The effect for which the mean is within that with probability 1 - alpha, found by halving.
    """
    wide = np.linspace(0, 4, 81)
    students = wide[:, None] * scipy.special.stdtrit(degrees, _even(250))
    low, high = np.zeros(len(wide)), students.max(axis=1) + 9
    for _ in range(30):
        middle = (low + high) / 2
        outside = scipy.special.ndtr(middle[:, None] - students).mean(axis=1) < 1 - alpha / 2
        low, high = np.where(outside, middle, low), np.where(outside, high, middle)
    return wide, high


def _even(number: int) -> np.ndarray:
    """Probabilities in the middle of equal parts."""
    return (np.arange(number) + 0.5) / number
