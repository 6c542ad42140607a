"""The signed-rank test of cliques, and the list of all maximal cliques."""

import networkx as nx
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from transferscope.analysis import graph


@given(st.lists(st.integers(-3, 60).filter(bool), min_size=2, max_size=20, unique_by=abs))
def test_samples_without_ties_get_scipys_exact_p_value(values):
    sample = np.array(values, float)
    expected = scipy.stats.wilcoxon(sample, alternative="greater", method="exact").pvalue
    assert graph._wilcoxon(sample) == pytest.approx(expected)


def test_small_samples_with_ties_get_scipys_default_p_value():
    sample = np.array([1.0, 1.0, 2.0, -1.0, 3.0, 0.0, 2.0])
    expected = scipy.stats.wilcoxon(sample, alternative="greater").pvalue
    assert graph._wilcoxon(sample) == pytest.approx(expected)


@pytest.mark.parametrize("size", [14, 50, 51, 300])
@pytest.mark.parametrize("decimals", [1, 9])
def test_larger_samples_get_scipys_default_p_value(size, decimals):
    sample = np.random.default_rng(size).normal(0.2, size=size).round(decimals)
    expected = scipy.stats.wilcoxon(sample, alternative="greater").pvalue
    assert graph._wilcoxon(np.append(sample, np.nan)) == pytest.approx(expected)


def test_no_change_at_all_has_no_p_value():
    assert np.isnan(graph._wilcoxon(np.zeros(6)))


@given(st.integers(0, 10_000), st.integers(1, 14), st.floats(0, 1))
def test_the_maximal_cliques_are_those_of_networkx(seed, size, density):
    upper = np.triu(np.random.default_rng(seed).random((size, size)) < density, 1)
    mutual = upper | upper.T
    (neighbours,) = graph._bit_sets(mutual[None])
    found = list(graph._maximal_cliques(neighbours, [], (1 << size) - 1, 0))
    expected = nx.find_cliques(nx.from_numpy_array(mutual))
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
