"""P(helps) means what it says, whatever the sizes of true effects are."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr
from test_selection import cell, placebo, study

from transferscope.selection import mixture
from transferscope.selection.evidence import FEWEST, Normal, normal, normal_with_test, prior

CELLS = 156


def half_spread(rng, size):
    return np.where(rng.random(size) < 0.1, 0.3, 0.01) * rng.standard_normal(size)


TRUTHS = {
    "small": lambda rng, n: 0.05 * rng.standard_normal(n),
    "middling": lambda rng, n: 0.15 * rng.standard_normal(n),
    "few large": half_spread,
    "mostly harm": lambda rng, n: -0.1 + 0.1 * rng.standard_normal(n),
    "heavy tails": lambda rng, n: 0.08 * rng.standard_t(3, n),
}


def measured(truth, seed, size=CELLS):
    """True effects, and what noise of known width makes of them."""
    rng = np.random.default_rng(seed)
    true = TRUTHS[truth](rng, size)
    sds = rng.uniform(0.05, 0.12, size)
    means = true + sds * rng.standard_normal(size)
    return true, [Normal(float(m), float(s)) for m, s in zip(means, sds, strict=True)]


@pytest.mark.parametrize("truth", TRUTHS)
def test_of_sources_that_help_with_a_probability_of_nine_tenths_nine_tenths_help(truth):
    right, said, plainly = [], [], []
    for seed in range(40):
        true, effects = measured(truth, seed)
        found = prior(effects)
        assert found is not None
        assert found.weights.sum() == pytest.approx(1)
        helps = np.array([found.above(effect) for effect in effects])
        flat = np.array([effect.above(0) for effect in effects])
        right.append(true[helps >= 0.9] > 0)
        said.append(helps[helps >= 0.9])
        plainly.append(true[flat >= 0.9] > 0)
    share = np.concatenate(right).mean()
    assert share >= 0.87
    assert share == pytest.approx(np.concatenate(said).mean(), abs=0.08)
    if truth in ("small", "few large", "mostly harm"):  # where all effects are as likely: too sure
        assert np.concatenate(plainly).mean() < 0.85


def test_it_is_bayes_rule_where_the_true_effects_are_known():
    # Of normal effects around 0 the posterior is normal, in closed form; many, so that how wide
    # they are is known.
    effects = measured("middling", 3, 5000)[1]
    found = prior(effects)
    assert found is not None
    for effect in effects:
        shrink = 0.15**2 / (0.15**2 + effect.sd**2)
        known = ndtr(effect.mean * shrink / (effect.sd * math.sqrt(shrink)))
        assert found.above(effect) == pytest.approx(known, abs=0.06)


def test_nothing_is_believed_where_nothing_has_an_effect():
    rng = np.random.default_rng(0)
    passing = []
    for _ in range(20):
        effects = [Normal(float(0.1 * x), 0.1) for x in rng.standard_normal(CELLS)]
        found = prior(effects)
        assert found is not None
        passing.append(np.mean([found.above(effect) >= 0.9 for effect in effects]))
    assert np.mean(passing) < 0.005  # a tenth would pass if all effects were as likely


@pytest.mark.slow
def test_nor_where_a_shared_baseline_moves_whole_targets():
    rng = np.random.default_rng(0)
    said = []
    for _ in range(200):
        luck = (rng.standard_normal((12, 13)) + rng.standard_normal(13)) * math.sqrt(0.5)
        effects = [Normal(float(0.1 * x), 0.1) for x in luck.ravel()]
        found = prior(effects)
        assert found is not None
        said.append(any(found.above(effect) >= 0.9 for effect in effects))
    assert np.mean(said) < 0.1  # by the likelihood alone, in more


def test_few_effects_and_no_intervals_suggest_no_prior():
    assert prior([Normal(0.1, 0.1)] * (FEWEST - 1)) is None
    assert prior([Normal(0.1, math.nan)] * CELLS) is None
    assert prior([Normal(0.0, 0.1)] * FEWEST) is not None


def test_effects_and_what_is_beyond_a_placebo_are_weighed_by_their_like():
    tasks = tuple("ABCDEFGH")
    rows = {s: [0.06] + [0.0] * 7 for s in tasks[1:]}
    beyond = placebo(rows, [0.01] + [0.0] * 7, half=0.05, tasks=tasks)
    for gain, changes in ((0.06, {}), (0.05, beyond)):
        found = mixture(study(rows, tasks=tasks, half=0.05, **changes), "A")
        assert all(left.helps < ndtr(gain / (0.05 / 1.96)) for left in found.left_out)
        assert any("weighs each effect" in note for note in found.notes) == bool(found.choices)


@pytest.mark.parametrize("step", ["", " @ 500"])
def test_what_tasks_do_to_themselves_says_nothing_of_what_others_do(step):
    tasks = tuple("ABCDEFG")

    def helps(itself):
        rows = {
            s + step: [itself if s == t else 0.02 * ((3 * i + j) % 5) for j, t in enumerate(tasks)]
            for i, s in enumerate(tasks)
        }
        found = mixture(study(rows, tasks=tasks, half=0.05), "A")
        return {one.source: one.helps for one in (*found.choices, *found.left_out)}

    assert len(helps(0.0)) == 6
    assert helps(0.0) == helps(0.9)


def test_a_few_changed_items_help_no_surer_than_the_exact_test_says():
    sure = replace(cell(0.3, 0.1), exact_p=0.25)
    assert normal(sure, 0.05).above(0) > 0.999
    assert normal_with_test(sure, 0.05).above(0) == pytest.approx(1 - 0.25 / 2)
    assert normal_with_test(replace(sure, exact_p=1.0), 0.05).above(0) == pytest.approx(
        0.5, abs=0.001
    )
    assert normal_with_test(replace(sure, exact_p=None), 0.05) == normal(sure, 0.05)
    assert normal_with_test(replace(cell(0.05, 0.1), exact_p=1e-9), 0.05) == normal(
        cell(0.05, 0.1), 0.05
    )


@pytest.mark.parametrize("truth", ["small", "middling", "few large"])
def test_the_largest_effect_is_overstated_and_its_expectation_much_less(truth):
    said, expected, really, found = [], [], [], None
    for seed in range(60):
        true, effects = measured(truth, 500 + seed)
        k = int(np.argmax([effect.mean for effect in effects]))
        found = prior(effects)
        assert found is not None
        said.append(effects[k].mean)
        expected.append(found.mean(effects[k]))
        really.append(true[k])
    assert np.mean(said) > np.mean(really) + 0.02
    over = np.mean(said) - np.mean(really)
    assert abs(np.mean(expected) - np.mean(really)) < 0.4 * over
    assert math.isnan(found.mean(Normal(0.1, math.nan)))
    assert found.mean(Normal(0.1, 0.0)) == 0.1
