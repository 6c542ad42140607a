"""The tests over seeds and the correction agree with `scipy.stats`."""

import warnings

import numpy as np
import pytest
import scipy.stats

from transferscope.stats.significance import benjamini_hochberg, signed_rank, unpaired_t

COUNTS = {"plain": [3, 12, 50], "ties": [12, 50], "zeros": [12, 50], "many": [60, 120], "one": [1]}


@pytest.mark.parametrize("kind", COUNTS)
def test_the_signed_rank_test_is_scipys(kind):
    rng = np.random.default_rng(0)
    for count in COUNTS[kind]:
        sample = rng.normal(0.3, 1, count)
        if kind == "ties":
            sample = np.round(sample, 1) + 0.05
        if kind == "zeros":
            sample = np.append(sample, 0.0)
        method = "exact" if kind in ("plain", "one") else "asymptotic"
        _, expected = scipy.stats.wilcoxon(sample, alternative="greater", method=method)
        assert signed_rank(np.append(sample, np.nan)) == pytest.approx(expected, rel=1e-9)


def test_values_without_a_sign_have_no_signed_rank_test():
    assert np.isnan(signed_rank(np.zeros(4)))
    assert np.isnan(signed_rank(np.full(3, np.nan)))


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("direction", [1, -1])
def test_the_test_over_seeds_is_scipys(pooled, sides, direction):
    rng = np.random.default_rng(0)
    values, average = rng.normal(size=(3, 4, 13)), rng.normal(0.2, 0.5, size=(3, 4, 1))
    values[0, 1, 2] = average[1, 0] = np.nan
    values[2, 1:, 5] = np.nan  # one seed left
    values[1, :, 6] = 0.5  # seeds that do not differ
    side = "two-sided" if sides == 2 else "greater" if direction > 0 else "less"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, expected = scipy.stats.ttest_ind(
            values,
            np.broadcast_to(average, values.shape),
            axis=1,
            equal_var=pooled,
            alternative=side,
            nan_policy="omit",
        )
    found = unpaired_t(values, average, direction, pooled=pooled, sides=sides)
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-9)


def test_a_test_of_one_seed_is_unknown():
    assert np.isnan(unpaired_t(np.ones((1, 1, 2)), np.zeros((1, 1, 1)), 1)).all()


def test_the_correction_is_scipys():
    rng = np.random.default_rng(0)
    p_values = rng.uniform(size=40) ** 3
    p_values[[3, 17]] = p_values[5]
    expected = scipy.stats.false_discovery_control(p_values)
    np.testing.assert_allclose(benjamini_hochberg(p_values), expected, rtol=1e-12)
    with_unknown = np.insert(p_values, 7, np.nan)
    np.testing.assert_allclose(np.delete(benjamini_hochberg(with_unknown), 7), expected, rtol=1e-12)
    assert benjamini_hochberg(np.full(2, np.nan)).tolist() == pytest.approx(
        [np.nan] * 2, nan_ok=True
    )
