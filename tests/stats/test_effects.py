"""Changes of accuracy: each number by a second computation, its interval and its p-value."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t

from transferscope.stats import counted_effects, over_targets, paired_effects
from transferscope.stats.effects import UNKNOWN, Effect, TargetEffects


def marks(fixed: int, broken: int, same: int) -> tuple[np.ndarray, np.ndarray]:
    """Base and run of so many items, one seed; of those that stay the same, half are right."""
    kept = np.arange(same) % 2
    base = np.concatenate([np.zeros(fixed), np.ones(broken), kept])
    tuned = np.concatenate([np.ones(fixed), np.zeros(broken), kept])
    return base[None], tuned[None, None]


def only(found: TargetEffects) -> Effect:
    """The change of the only source, as numbers."""
    effect = found.effect
    return Effect(*(float(value[0]) for value in vars(effect).values()))


def halves(change: float, items: float) -> float:
    """Variance that half an item that changes by 1 and half an item that changes by -1 add."""
    return ((1 - change) ** 2 + (1 + change) ** 2) / 2 / items**2


def answers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.random(shape) < 0.6).astype(float)


# One seed


def test_the_interval_is_that_of_the_paired_differences_and_two_half_items():
    fixed, broken, n = 7, 26, 93
    found = only(paired_effects(*marks(fixed, broken, n - fixed - broken)))
    change = (fixed - broken) / n
    differences = np.array([1.0] * fixed + [-1.0] * broken + [0.0] * (n - fixed - broken))
    error = math.sqrt(differences.var(ddof=1) / n + halves(change, n))
    reach = t.isf(0.025, n - 1) * error
    assert found.interval() == pytest.approx((change - reach, change + reach))
    assert found.lower() == pytest.approx(change - t.isf(0.05, n - 1) * error)
    assert found.upper(0.01) == pytest.approx(change + t.isf(0.01, n - 1) * error)
    assert found.p == pytest.approx(2 * t.sf(abs(change) / error, n - 1))


def test_equal_answers_are_no_change_and_still_leave_a_loss_open():
    found = only(paired_effects(*marks(0, 0, 50)))
    assert (found.change, found.p) == (0, pytest.approx(1))
    assert found.lower() < 0 < found.upper()


def test_no_interval_leaves_what_a_change_can_be():
    found = only(paired_effects(*marks(2, 0, 0)))  # two of two fixed
    assert found.interval() == (-1, 1)
    assert (found.lower(), found.upper()) == (-1, 1)


def test_items_that_base_or_run_did_not_answer_do_not_count():
    base, tuned = marks(4, 2, 30)
    unknown, right = np.full(20, np.nan), np.ones(20)
    longer = np.hstack([base, [unknown], [right]]), np.dstack([tuned, [[right]], [[unknown]]])
    whole, part = only(paired_effects(base, tuned)), only(paired_effects(*longer))
    assert vars(part) == pytest.approx(vars(whole))
    nothing = only(paired_effects(np.full((1, 5), np.nan), np.ones((1, 1, 5))))
    assert np.isnan([nothing.change, nothing.p, *nothing.interval(), UNKNOWN.p]).all()


def test_the_order_of_items_does_not_matter():
    rng = np.random.default_rng(0)
    base, tuned, groups = answers(rng, 2, 40), answers(rng, 2, 3, 40), rng.integers(0, 15, 40)
    order = rng.permutation(40)
    one = paired_effects(base, tuned, groups=groups).effect
    two = paired_effects(base[:, order], tuned[..., order], groups=groups[order]).effect
    for name, value in vars(one).items():
        assert getattr(two, name) == pytest.approx(value), name


# Groups of items


def test_copies_of_items_in_their_group_change_the_half_items_alone():
    rng = np.random.default_rng(1)
    base, tuned = answers(rng, 1, 50), answers(rng, 1, 1, 50)
    one = only(paired_effects(base, tuned))
    four = only(
        paired_effects(base.repeat(4, -1), tuned.repeat(4, -1), groups=np.arange(50).repeat(4))
    )
    assert (four.change, four.df) == (pytest.approx(one.change), one.df)
    assert four.variance - halves(four.change, 200) == pytest.approx(
        one.variance - halves(one.change, 50)
    )


def test_a_group_counts_as_one_item_with_the_sum_of_its_differences():
    rng = np.random.default_rng(2)
    base, tuned, groups = answers(rng, 1, 60), answers(rng, 1, 1, 60), rng.integers(0, 9, 60)
    found = only(paired_effects(base, tuned, groups=groups))
    difference = (tuned[0, 0] - base[0]) - found.change
    sums = np.bincount(groups, difference)
    assert found.variance == pytest.approx(
        9 / 8 * (sums**2).sum() / 60**2 + halves(found.change, 60)
    )
    assert found.df == 8


# Several seeds


def test_seeds_add_the_variance_of_their_runs_and_borrow_from_other_sources():
    rng = np.random.default_rng(3)
    base, tuned = answers(rng, 1, 80), answers(rng, 3, 4, 80)
    found = paired_effects(base, tuned).effect
    spread = tuned.mean(axis=-1).var(axis=0, ddof=1)
    for k in range(4):
        # 2 degrees of freedom of its own, and 4 from the mean over all.
        expected = (4 * spread.mean() + 2 * spread[k]) / 6 / 3
        assert (found.seeds[k], found.seeds_df[k]) == (pytest.approx(expected), 6)
        difference = (tuned[:, k] - base).mean(axis=0)
        variance = difference.var(ddof=1) / 80 + halves(difference.mean(), 80)
        assert found.variance[k] == pytest.approx(variance)
    items, seeds = t.isf(0.025, 79) ** 2 * found.variance, t.isf(0.025, 6) ** 2 * found.seeds
    assert found.reach(0.05) == pytest.approx(np.sqrt(items + seeds))
    alone = only(paired_effects(base, tuned[:, :1]))
    assert (alone.seeds, alone.seeds_df) == (pytest.approx(spread[0] / 3), 2)


def test_a_source_that_lends_nothing_borrows_and_one_seed_borrows_all():
    rng = np.random.default_rng(4)
    base, tuned = answers(rng, 1, 80), answers(rng, 2, 3, 80)
    tuned[1, 2] = np.nan  # one seed
    found = paired_effects(base, tuned, others=np.array([True, False, True])).effect
    spread = tuned[:, :2].mean(axis=-1).var(axis=0, ddof=1)
    assert found.seeds_df.tolist() == [1, 2, 1]
    expected = [spread[0] / 2, (spread[0] + spread[1]) / 2 / 2, spread[0]]
    assert found.seeds == pytest.approx(expected)


def test_a_base_of_each_seed_adds_its_variance_to_all_sources():
    rng = np.random.default_rng(5)
    base, tuned = answers(rng, 2, 80), answers(rng, 2, 1, 80)
    one = only(paired_effects(base, tuned))
    spread = base.mean(axis=-1).var(ddof=1) + tuned[:, 0].mean(axis=-1).var(ddof=1)
    assert one.seeds == pytest.approx(spread / 2)
    assert one.change == pytest.approx((tuned[:, 0] - base).mean())


def test_the_same_answers_under_two_seeds_are_no_more_items():
    base, tuned = marks(9, 3, 60)
    one, two = only(paired_effects(base, tuned)), only(paired_effects(base, tuned.repeat(2, 0)))
    assert (two.change, two.variance) == pytest.approx((one.change, one.variance))
    assert two.interval() == pytest.approx(one.interval())


def test_p_is_the_level_at_which_the_interval_reaches_zero():
    effect = Effect(np.array([0.08, -0.08]), 0.001, 60.0, np.array([0.0, 0.0004]), 3.0)
    assert effect.reach(effect.p) == pytest.approx([0.08, 0.08])
    assert effect.p[0] == pytest.approx(2 * t.sf(0.08 / math.sqrt(0.001), 60))
    assert Effect(0.9, 1e-6).p <= 1e-15


# Counts, and means over targets


def test_counts_give_the_interval_of_agresti_and_caffo_and_half_items():
    found = only(counted_effects(np.array([[0.6]]), np.array([[0.7]]), 120.0, correlation=0.0))
    one, two = 73 / 122, 85 / 122  # 72 and 84 of 120 right, and one right and one wrong more
    variance = (one * (1 - one) + two * (1 - two)) / 122 + halves(0.1, 120)
    assert found.change == pytest.approx(0.1)
    assert found.reach(0.05) == pytest.approx(norm.isf(0.025) * math.sqrt(variance))
    tied = only(counted_effects(np.array([[0.6]]), np.array([[0.7]]), 120.0, correlation=0.5))
    assert tied.variance < found.variance
    unknown = only(counted_effects(np.array([[0.6]]), np.array([[0.7]]), math.nan, correlation=0.0))
    assert math.isnan(unknown.p)


def test_a_mean_over_targets_adds_variances_over_items_and_has_the_spread_of_seeds_means():
    rng = np.random.default_rng(6)
    tables = [(answers(rng, 1, n), answers(rng, 2, 1, n)) for n in (40, 90)]
    effects = [paired_effects(*table) for table in tables]
    by_seed = np.stack([(tuned - base[:, None]).mean(-1) for base, tuned in tables], axis=-1)
    found = over_targets(effects, by_seed)
    each = [only(effect) for effect in effects]
    assert found.change == pytest.approx([np.mean([one.change for one in each])])
    assert found.variance == pytest.approx([sum(one.variance for one in each) / 4])
    df = sum(e.variance for e in each) ** 2 / sum(e.variance**2 / e.df for e in each)
    assert found.df == pytest.approx([df])
    spread = by_seed[:, 0].mean(axis=-1).var(ddof=1)
    assert (found.seeds[0], found.seeds_df[0]) == (pytest.approx(spread / 2), 1)


@pytest.mark.simulation
def test_the_items_that_would_do_settle_it_four_times_in_five():
    rng, margin = np.random.default_rng(3), 0.05

    def noise(items: int) -> Effect:
        """A run of which a fifth of the answers are drawn anew."""
        base, again = (rng.random((2, items)) < 0.5).astype(float)
        tuned = np.where(rng.random(items) < 0.2, again, base)
        return only(paired_effects(base[None], tuned[None, None]))

    items = math.ceil(400 * noise(400).times_needed(margin))
    settled = [noise(items).lower() > -margin for _ in range(300)]
    assert 0.72 <= np.mean(settled) <= 0.88
    assert noise(400).times_needed(0.0) == math.inf
    assert Effect(0.0, 0.001, 99.0, seeds=0.01, seeds_df=2.0).times_needed(margin) == math.inf


# Coverage


def simulated(
    rng: np.random.Generator, base: float, shape: tuple[int, ...], group: int = 1, gain: Any = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Base and runs (seed, source, item): 30 % of the answers are drawn anew, in whole groups.

    Args:
        gain: the true change.
    """
    first = rng.random(shape[-1] // group) < base
    anew = rng.random((*shape[:-1], len(first))) < base + np.asarray(gain)[..., None] / 0.3
    tuned = np.where(rng.random(anew.shape) < 0.3, anew, first)
    return first.repeat(group)[None].astype(float), tuned.repeat(group, -1).astype(float)


@pytest.mark.simulation
@pytest.mark.parametrize("truth", [0.0, 0.1])
@pytest.mark.parametrize(("seeds", "group"), [(1, 1), (2, 1), (1, 4)])
def test_intervals_cover_the_true_change(seeds, group, truth):
    """With two seeds, each run moves by itself: one standard deviation is 2 points."""
    rng, covered = np.random.default_rng([seeds, group]), []
    for _ in range(300):
        gain = truth + 0.02 * rng.standard_normal((seeds, 3)) * (seeds > 1)
        base, tuned = simulated(rng, 0.6, (seeds, 3, 120), group, gain)
        low, high = paired_effects(base, tuned, groups=np.arange(120) // group).effect.interval()
        covered.append((low <= truth) & (truth <= high))
    # Two seeds are few: what differs between them is luck over items, too, and counts twice.
    assert 0.92 <= np.mean(covered) <= (0.985 if seeds == 1 else 1)


@pytest.mark.simulation
def test_taken_alone_items_that_share_an_image_cover_too_little():
    rng, covered = np.random.default_rng(8), []
    for _ in range(200):
        low, high = paired_effects(*simulated(rng, 0.6, (1, 3, 120), 4)).effect.interval()
        covered.append((low <= 0) & (high >= 0))
    assert np.mean(covered) < 0.8


@pytest.mark.simulation
@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_near_the_ceiling_at_most_5_percent_of_runs_without_effect_are_beyond_noise(seeds):
    rng, beyond = np.random.default_rng(seeds), []
    for _ in range(300):
        effect = paired_effects(*simulated(rng, 0.95, (seeds, 4, 100))).effect
        beyond.append(np.abs(effect.change) >= effect.reach(0.05))
    assert np.mean(beyond) <= 0.055
