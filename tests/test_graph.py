"""The signed-rank test of small cliques, which goes its own way for speed."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from transferscope import graph


@given(st.lists(st.integers(-3, 6).filter(bool), min_size=2, max_size=8, unique_by=abs))
def test_small_samples_without_ties_get_scipys_exact_p_value(values):
    sample = np.array(values, float)
    expected = scipy.stats.wilcoxon(sample, alternative="greater", method="exact").pvalue
    assert graph._wilcoxon([sample])[0] == pytest.approx(expected)


def test_small_samples_with_ties_get_scipys_default_p_value():
    sample = np.array([1.0, 1.0, 2.0, -1.0, 3.0, 0.0, 2.0])
    expected = scipy.stats.wilcoxon(sample, alternative="greater").pvalue
    assert graph._wilcoxon([sample])[0] == pytest.approx(expected)


def test_no_change_at_all_has_no_p_value():
    assert np.isnan(graph._wilcoxon([np.zeros(6)])[0])
