"""On the authors' own results, some seeds foretell the others as often as their intervals say."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import t

from transferscope.stats import counted_effects


@pytest.mark.simulation
@pytest.mark.parametrize("model", ["3B", "32B"])
@pytest.mark.parametrize("seeds", [2, 3])
def test_other_seeds_lie_within_what_some_seeds_say(published_matrix, model, seeds):
    matrix = published_matrix.sel(model=model)
    order = ("seed", "source", "target")
    tuned, base = (
        matrix[name].transpose(*order).values for name in ("accuracy", "paired_base_accuracy")
    )
    others = matrix["source"].values[:, None] != matrix["target"].values
    within = []
    for chosen in combinations(range(4), seeds):
        some = list(chosen)
        rest = [k for k in range(4) if k not in chosen]
        for j in range(tuned.shape[-1]):
            one = counted_effects(
                base[some, :, j], tuned[some, :, j], 100.0, correlation=0.5, others=others[:, j]
            )
            # The items are the same ones, so that only seeds part the two means.
            variance = (one.moved + one.base_moved) * (1 / seeds + 1 / len(rest))
            reach = t.isf(0.025, one.seeds_df) * np.sqrt(variance)
            apart = one.change - (tuned - base)[rest][..., j].mean(axis=0)
            within.append((np.abs(apart) <= reach + 1e-12)[others[:, j]])
    assert 0.93 <= np.mean(within) <= 0.98


def test_an_analysis_seed_changes_no_interval_of_counts(published_matrix):
    """Of results that have counts only, each interval has a formula."""
    import transferscope as ts
    from transferscope.analysis.settings import Settings

    matrix = published_matrix.sel(model=["3B"])
    one, two = (
        next(iter(ts.analyze(matrix, Settings(seed=seed)).models.values())).pgf for seed in (0, 1)
    )
    for source, row in one.items():
        assert [c.ci for c in row.values()] == [c.ci for c in two[source].values()]
