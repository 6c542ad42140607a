"""How a predicted matrix is held against a measured one: in loops, and on matrices made up."""

import math
from itertools import chain, combinations

import numpy as np
import pytest
import xarray as xr
from analysis_factory import Shape, make
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from transferscope.errors import DataError
from transferscope.stats.agreement import TARGET_MEAN, compare, measured_effects, reached

TASKS = [f"task {k}" for k in range(7)]
QUICK = {"draws": 200}


def matrix(values, sources=TASKS, targets=TASKS) -> xr.DataArray:
    coordinates = {"source": sources, "target": targets}
    if np.ndim(values) == 3:
        coordinates = {"seed": [str(k) for k in range(len(values))]} | coordinates
    return xr.DataArray(values, coordinates, dims=list(coordinates))


def effects(seed: int, seeds: int = 3) -> np.ndarray:
    """Rounded, so that some are equal."""
    return np.random.default_rng(seed).normal(size=(seeds, 7, 7)).round(1)


def pairs(predicted, measured, column: int):
    """Of a target the predictions and the measured means, self left out."""
    others = [i for i in range(7) if i != column]
    means = [float(np.mean([one[i][column] for one in measured])) for i in others]
    return [predicted[i][column] for i in others], means


def test_correlations_are_scipys_in_loops():
    predicted, measured = effects(1)[0], effects(2)
    found = compare(matrix(predicted), matrix(measured), {}, **QUICK)
    columns = [pairs(predicted, measured, j) for j in range(7)]
    for task, (ours, theirs) in zip(TASKS, columns, strict=True):
        assert found.forecast.targets[task] == pytest.approx(spearmanr(ours, theirs).statistic)
    ours, theirs = (list(chain(*its)) for its in zip(*columns, strict=True))
    assert found.forecast.overall.value == pytest.approx(spearmanr(ours, theirs).statistic)
    assert found.cells == 42
    assert set(found.sources.values()) == {6}
    between = []
    for a, b in combinations(measured, 2):
        one, two = ([v for j in range(7) for v in pairs(its, [its], j)[0]] for its in (a, b))
        between.append(spearmanr(one, two).statistic)
    assert found.between_seeds["overall"].value == pytest.approx(np.mean(between))


def test_seeds_that_say_the_same_agree_wholly():
    one = effects(14)[:1]
    found = compare(matrix(one[0]), matrix(np.concatenate([one, one])), {}, **QUICK)
    for its in found.between_seeds.values():
        assert (its.value, *its.ci) == pytest.approx((1, 1, 1))
    alone = compare(matrix(one[0]), matrix(one), {}, **QUICK)
    assert all(math.isnan(its.value) for its in alone.between_seeds.values())


def test_within_targets_without_ties_it_is_the_mean_over_targets():
    draw = np.random.default_rng(3)
    predicted, measured = draw.normal(size=(7, 7)), draw.normal(size=(2, 7, 7))
    found = compare(matrix(predicted), matrix(measured), {}, **QUICK)
    mean = np.mean([spearmanr(*pairs(predicted, measured, j)).statistic for j in range(7)])
    assert found.forecast.within.value == pytest.approx(mean)


def test_the_target_mean_leaves_the_cell_itself_out():
    measured = np.random.default_rng(4).normal(size=(3, 7, 7))
    measured[0, 4:, 0] = math.nan  # of one target half of the sources are known
    found = compare(matrix(effects(5)[0]), matrix(measured), {}, **QUICK).baselines[TARGET_MEAN]
    ours, theirs = [], []
    for j in range(7):
        means = [mean for mean in pairs(measured[0], measured, j)[1] if not math.isnan(mean)]
        for k, own in enumerate(means):
            ours.append(float(np.mean([*means[:k], *means[k + 1 :]])))
            theirs.append(own)
    assert found.overall.value == pytest.approx(spearmanr(ours, theirs).statistic)
    assert math.isnan(found.within.value)
    assert math.isnan(found.ahead_within.value)


def test_what_is_missing_is_left_out_and_counted():
    predicted, measured = effects(6)[0], effects(7)
    measured[1, 2, 0] = math.nan  # one seed suffices
    predicted[[0, 2, 3, 4, 5], 1] = math.nan  # too few sources are left
    found = compare(matrix(predicted), matrix(measured), {}, **QUICK)
    assert found.cells == 42 - 1 - 6
    assert (found.sources[TASKS[0]], found.sources[TASKS[1]]) == (5, 0)
    assert math.isnan(found.forecast.targets[TASKS[1]])
    ours, theirs = pairs(predicted, measured, 0)
    kept = [k for k in range(6) if k != 1]
    expected = spearmanr([ours[k] for k in kept], [theirs[k] for k in kept]).statistic
    assert found.forecast.targets[TASKS[0]] == pytest.approx(expected)
    other = effects(1)[0]
    other[:4, 6] = math.nan  # with this baseline target 6 shares two sources
    other = compare(matrix(predicted), matrix(measured), {"b": matrix(other)}, **QUICK)
    assert other.baselines["b"].cells == found.cells - 6
    assert math.isnan(other.baselines["b"].targets[TASKS[6]])


@settings(max_examples=10)
@given(order=st.permutations(range(7)), scale=st.floats(0.1, 10))
def test_neither_names_nor_scale_nor_an_order_of_tasks_matter(order, scale):
    predicted, measured = effects(8)[0], effects(9)
    first = compare(matrix(predicted), matrix(measured), {}, draws=2)
    names = [TASKS[k] for k in order]
    again = compare(
        matrix(scale * predicted[order][:, order], names, names), matrix(measured), {}, draws=2
    )
    assert again.forecast.within.value == pytest.approx(first.forecast.within.value)
    assert again.forecast.overall.value == pytest.approx(first.forecast.overall.value)


def test_a_forecast_of_the_truth_is_ahead_of_one_that_is_not():
    measured = effects(10)
    truth, other = matrix(measured.mean(0)), matrix(effects(11)[0])
    found = compare(truth, matrix(measured), {"other": other}, **QUICK)
    assert found.forecast.within.value == pytest.approx(1)
    ahead = found.baselines["other"].ahead_within
    assert ahead.ci[0] > 0
    assert ahead.value == pytest.approx(1 - found.baselines["other"].within.value)


def test_intervals_are_the_seeds_and_leave_unrelated_matrices_at_0():
    related = [compare(matrix(effects(k)[0]), matrix(effects(100 + k)), {}, **QUICK)
               for k in range(40)]  # fmt: skip
    for part in ("within", "overall"):
        intervals = [getattr(its.forecast, part).ci for its in related]
        assert np.mean([low <= 0 <= high for low, high in intervals]) > 0.85
    half = [compare(matrix(effects(k)[0]), matrix(effects(100 + k)), {}, alpha=0.5, draws=50)
            for k in range(40)]  # fmt: skip
    inside = [low <= 0 <= high for low, high in (its.forecast.within.ci for its in half)]
    assert np.mean(inside) == pytest.approx(0.5, abs=0.2)
    again = compare(matrix(effects(0)[0]), matrix(effects(100)), {}, **QUICK)
    other = compare(matrix(effects(0)[0]), matrix(effects(100)), {}, **QUICK, seed=1)
    assert again == related[0]
    assert other.forecast.within.ci != again.forecast.within.ci
    assert other.forecast.within.value == again.forecast.within.value


def test_the_best_to_expect_is_what_the_truth_reaches():
    draw, size, seeds = np.random.default_rng(12), 60, 4
    truth = draw.normal(size=(size, size))
    measured = truth + draw.normal(size=(seeds, size, size))
    names = [f"t{k}" for k in range(size)]
    found = compare(matrix(truth, names, names), matrix(measured, names, names), {}, draws=2)
    assert found.best["overall"] == pytest.approx(found.forecast.overall.value, abs=0.02)
    assert found.best["within"] == pytest.approx(found.forecast.within.value, abs=0.02)
    assert reached(1.0, 3) == 1
    assert all(math.isnan(reached(none, 3)) for none in (0.0, -0.1))


def test_an_analysis_gives_its_effects_seed_by_seed():
    values = effects(13)
    analysis = make(Shape(models=("m",), names=tuple(TASKS), seeds=3), {"m": values})
    found = measured_effects(analysis.models["m"])
    assert found.sel(source=TASKS, target=TASKS).values == pytest.approx(values)


def test_nothing_in_common_is_one_line():
    names = [f"other {k}" for k in range(7)]
    with pytest.raises(DataError, match="no target has 3 other tasks as sources"):
        compare(matrix(effects(0)[0], names, names), matrix(effects(1)), {})
