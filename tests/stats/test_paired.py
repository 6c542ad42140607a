"""A change of accuracy: its interval covers, its p-value is honest, its plan of items holds."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t

from transferscope.analysis.compared_runs import harmed
from transferscope.analysis.comparison import ComparedCell
from transferscope.stats.paired import UNKNOWN, Effect, mean_effect, paired, unpaired, with_seeds


def answers(fixed: int, broken: int, same: int) -> tuple[np.ndarray, np.ndarray]:
    """Base and run of so many items, one seed; of those that stay the same, half are right."""
    kept = np.arange(same) % 2
    base = np.concatenate([np.zeros(fixed), np.ones(broken), kept])
    tuned = np.concatenate([np.ones(fixed), np.zeros(broken), kept])
    return base[None], tuned[None]


def test_the_interval_is_that_of_the_paired_differences_and_two_half_items():
    fixed, broken, n = 7, 26, 93
    found = paired(*answers(fixed, broken, n - fixed - broken))
    assert (found.items, found.fixed, found.broken) == (n, fixed, broken)
    change = (fixed - broken) / n
    differences = np.array([1.0] * fixed + [-1.0] * broken + [0.0] * (n - fixed - broken))
    half = ((1 - change) ** 2 + (1 + change) ** 2) / 2 / n**2
    reach = t.isf(0.025, n - 1) * math.sqrt(differences.var(ddof=1) / n + half)
    assert found.effect.interval == pytest.approx((change - reach, change + reach))
    assert found.effect.p == pytest.approx(binomtest(fixed, fixed + broken).pvalue)  # the larger


def test_equal_answers_are_no_change_and_still_leave_a_loss_open():
    found = paired(*answers(0, 0, 50)).effect
    assert (found.change, found.p) == (0.0, 1.0)
    assert found.lower() < 0 < found.upper()


def test_items_that_one_of_both_did_not_answer_do_not_count():
    base, tuned = answers(4, 2, 30)
    more = np.full((1, 20), np.nan), np.ones((1, 20))
    whole = paired(np.hstack([base, more[0]]), np.hstack([tuned, more[1]]))
    assert whole.effect.interval == pytest.approx(paired(base, tuned).effect.interval)
    assert (whole.items, whole.fixed, whole.broken) == (36, 4, 2)
    nothing = paired(np.full((1, 5), np.nan), np.ones((1, 5)))
    assert nothing.items == 0
    assert math.isnan(nothing.effect.change)


def test_the_same_answers_under_two_seeds_are_no_more_items():
    base, tuned = answers(9, 3, 60)
    one, two = paired(base, tuned), paired(base, np.vstack([tuned, tuned]))
    assert two.effect.change == pytest.approx(one.effect.change)
    assert two.effect.variance == pytest.approx(one.effect.variance)
    assert two.spread == 0


def test_seeds_that_differ_widen_the_interval():
    effect = Effect(0.1, 0.001, 99.0)
    alone = with_seeds(effect, 2, 0.02, [])
    assert (alone.seeds, alone.seeds_df) == (0.01, 1)
    borrowed = with_seeds(effect, 2, 0.02, [0.0, 0.0, 0.0, 0.0])
    assert (borrowed.seeds, borrowed.seeds_df) == (pytest.approx(0.02 / 5 / 2), 5)
    assert effect.reach(0.05) < borrowed.reach(0.05) < alone.reach(0.05)
    assert with_seeds(effect, 1, math.nan, [0.1]) == effect


def test_p_is_the_level_at_which_the_interval_reaches_zero():
    for effect in (Effect(0.08, 0.001, 60.0), Effect(0.08, 0.001, 60.0, 0.0004, 3.0)):
        low, high = effect.change - effect.reach(effect.p), effect.change + effect.reach(effect.p)
        assert low == pytest.approx(0, abs=1e-9)
        assert high == pytest.approx(0.16)


def test_counts_give_the_interval_of_agresti_and_caffo():
    found = unpaired((60.0, 75.0), (100, 120))
    p, q = 61 / 102, 76 / 122
    reach = norm.isf(0.025) * math.sqrt(p * (1 - p) / 102 + q * (1 - q) / 122)
    assert found.change == pytest.approx(75 / 120 - 0.6)
    assert found.reach(0.05) == pytest.approx(reach)


def test_a_mean_adds_the_variances_and_is_unknown_where_one_is():
    found = mean_effect([Effect(0.1, 0.004, 50.0), Effect(-0.02, 0.002, 80.0)])
    assert (found.change, found.variance) == (pytest.approx(0.04), pytest.approx(0.006 / 4))
    assert 50 < found.df < 130
    assert math.isnan(mean_effect([Effect(0.1, 0.004, 50.0), Effect(0.2)]).variance)
    assert math.isnan(mean_effect([]).change)
    assert math.isnan(UNKNOWN.p)


def simulated(rng, items: int, tasks: int, effect: float = 0.0):
    """Base and run of one finetune: accuracies of .2 to .9, of which 1 to 60 % change."""
    for base in rng.uniform(0.2, 0.9, tasks):
        new = rng.uniform(0.01, 0.6)
        first = (rng.random(items) < base).astype(float)
        again = (rng.random(items) < np.clip(base + effect / new, 0, 1)).astype(float)
        yield first[None], np.where(rng.random(items) < new, again, first)[None]


def called_harmful(effects: list[Effect]) -> bool:
    cells = [
        ComparedCell(str(n), "paired", "tested", 99, 99, 0.5, 0.5, e) for n, e in enumerate(effects)
    ]
    return bool(harmed(cells))


@pytest.mark.parametrize("items", [30, 120])
def test_a_run_without_effect_is_seldom_called_harmful_and_intervals_cover(items):
    rng, runs, tasks = np.random.default_rng(0), 200, 6
    harms = covered = 0
    for _ in range(runs):
        found = [paired(*each).effect for each in simulated(rng, items, tasks)]
        harms += called_harmful(found)
        covered += sum(low <= 0 <= high for low, high in (e.interval for e in found))
    assert harms / runs <= 0.065  # 5 %, and a standard error of 1.5
    assert 0.94 <= covered / runs / tasks <= 0.99


def test_with_several_seeds_a_run_without_effect_is_seldom_called_harmful():
    """Runs move by chance, each seed by itself: one standard deviation is 2 points."""
    rng, runs, tasks, seeds, items = np.random.default_rng(1), 100, 6, 3, 120
    harms = covered = 0
    for _ in range(runs):
        cells = []
        for base in rng.uniform(0.3, 0.8, tasks):
            first = (rng.random(items) < base).astype(float)
            moved = np.clip(base + rng.normal(0, 0.02, (seeds, 1)) / 0.4, 0, 1)
            again = (rng.random((seeds, items)) < moved).astype(float)
            cells.append(
                paired(first[None], np.where(rng.random((seeds, items)) < 0.4, again, first))
            )
        spreads = [cell.spread for cell in cells]
        found = [
            with_seeds(cell.effect, seeds, cell.spread, spreads[:n] + spreads[n + 1 :])
            for n, cell in enumerate(cells)
        ]
        harms += called_harmful(found)
        covered += sum(low <= 0 <= high for low, high in (e.interval for e in found))
    assert harms / runs <= 0.07
    assert covered / runs / tasks >= 0.94


def test_a_true_effect_is_covered_too():
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(400):
        new, base, effect = 0.3, 0.5, 0.1
        first = (rng.random(120) < base).astype(float)
        again = (rng.random(120) < base + effect / new).astype(float)
        tuned = np.where(rng.random(120) < new, again, first)
        low, high = paired(first[None], tuned[None]).effect.interval
        covered.append(low <= effect <= high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_the_items_that_would_do_settle_it_four_times_in_five():
    rng, margin, new = np.random.default_rng(3), 0.05, 0.2
    pilot = paired(*(each[None] for each in noise(rng, 400, new))).effect
    items = math.ceil(400 * (pilot.times_needed(margin) or math.nan))
    settled = [
        paired(*(each[None] for each in noise(rng, items, new))).effect.lower() > -margin
        for _ in range(400)
    ]
    assert 0.72 <= np.mean(settled) <= 0.88
    assert pilot.times_needed(0.0) is None
    assert Effect(0.0, 0.001, 99.0, seeds=0.01, seeds_df=2.0).times_needed(margin) is None


def noise(rng, items: int, new: float) -> tuple[np.ndarray, np.ndarray]:
    first, again = (rng.random((2, items)) < 0.5).astype(float)
    return first, np.where(rng.random(items) < new, again, first)


def test_no_interval_leaves_what_a_change_can_be():
    found = paired(*answers(2, 0, 0)).effect  # two of two fixed
    assert found.interval == (-1, 1)
    assert (found.lower(), found.upper()) == (-1, 1)
