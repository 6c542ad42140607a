"""How far seeds differ, told by a target's other cells: intervals narrower, and as often right."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from transferscope import stats
from transferscope.matrix.task_effects import signed_parts
from transferscope.readers import read_results
from transferscope.stats.seeds import (
    Spread,
    above_mean,
    over_seeds,
    seed_noise,
    spread_of,
    spread_of_tasks,
)

OFF = ~np.eye(13, dtype=bool)


def simulated(seeds: int, worth: float, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Effects whose variances over seeds are inverse chi-square, each target with a scale."""
    rng = np.random.default_rng(seed)
    variances = worth / rng.chisquare(worth, shape) * np.linspace(0.05, 0.5, shape[1]) ** 2
    return rng.standard_normal(shape) + np.sqrt(variances) * rng.standard_normal((seeds, *shape))


def test_the_error_is_that_of_all_degrees_of_freedom_together():
    effects = np.random.default_rng(1).standard_normal((3, 2, 2)) * 0.1
    told = Spread(np.array([[0.04, 0.09], [0.01, np.nan]]), np.full((2, 2), 5), np.full((2, 2), 40))
    draws = over_seeds(effects[..., None], seed_noise(3, 60_000, [1]), told)
    low, high = np.moveaxis(np.quantile(draws, [0.025, 0.975], axis=-1), 0, 0)
    variance = (5 * told.variance + 2 * effects.var(axis=0, ddof=1)) / 7
    exact = scipy.stats.t.interval(0.95, 7, effects.mean(0), np.sqrt(variance / 3))
    known = np.isfinite(variance)
    assert np.abs(((high - low) / (exact[1] - exact[0]))[known] - 1).max() < 0.03
    # where nothing tells, Student's t of the cell's own seeds
    alone = scipy.stats.sem(effects[:, 1, 1]) * scipy.stats.t.ppf(0.975, 2)
    assert (high - low)[1, 1] == pytest.approx(2 * alone, rel=0.04)


def test_degrees_of_freedom_are_never_more_than_all_seeds_of_the_target_have():
    effects = np.random.default_rng(1).standard_normal((2, 3, 1)) * 0.1
    told = Spread(np.full((3, 1), 0.04), np.full((3, 1), 50), np.full((3, 1), 3))
    draws = over_seeds(effects[..., None], seed_noise(2, 60_000, [1]), told)
    width = np.diff(np.quantile(draws, [0.025, 0.975], axis=-1), axis=0)[0]
    variance = (50 * told.variance + effects.var(axis=0, ddof=1)) / 51
    assert width == pytest.approx(2 * scipy.stats.t.ppf(0.975, 3) * np.sqrt(variance / 2), rel=0.03)


def test_a_draw_knows_nothing_of_which_seeds_are_defined_in_others():
    rng = np.random.default_rng(1)
    values, noise = rng.standard_normal((3, 2, 2, 40)), seed_noise(3, 40, [1])
    values[rng.random(values.shape) < 0.4] = np.nan
    for told in (None, spread_of(rng.standard_normal((3, 2, 2)), np.zeros((2, 2), int))):
        together = over_seeds(values, noise, told)
        for k in range(40):
            one = over_seeds(
                values[..., [k]], type(noise)(*(part[..., [k]] for part in noise)), told
            )
            np.testing.assert_allclose(together[..., [k]], one, rtol=1e-5, atol=1e-6)
    nothing = ~np.isfinite(values).any(axis=0)
    assert nothing.any()
    assert np.isnan(together[nothing]).all()
    assert np.isfinite(together[~nothing]).all()


def test_where_nothing_tells_it_is_as_if_nobody_asked():
    values, noise = np.random.default_rng(1).standard_normal((4, 1, 1, 30)), seed_noise(4, 30, [1])
    for told in (
        Spread(*(np.array([[x]]) for x in (np.nan, 5, 0))),
        Spread(*(np.array([[x]]) for x in (0.1, 5, 3))),
    ):  # no more than its own three
        assert over_seeds(values, noise, told) == pytest.approx(over_seeds(values, noise), rel=1e-6)


def test_seeds_that_are_missing_tell_nothing():
    values = np.array([[1.0, 7.0], [3.0, np.nan], [np.nan, np.nan]])
    found = spread_of_tasks(values)
    assert found.variance == pytest.approx(2)  # of 1 and 3, for all tasks
    assert found.most.tolist() == [1, 1]


def test_a_difference_has_the_variance_of_both_and_the_fewer_degrees():
    told = Spread(np.array([[0.04], [0.09]]), np.array([[5], [2]]), np.array([[40], [9]]))
    both = told.rows(slice(1)).beyond(told.rows(slice(1, 2)))
    assert (both.variance.item(), both.degrees.item(), both.most.item()) == (0.13, 2, 9)


@pytest.mark.parametrize("worth", [4, 16])
def test_what_cells_are_like_is_found_again(worth):
    half = simulated(4, worth, (2000, 6))
    effects = np.concatenate([half, -half], axis=1)  # cells that seeds do not move together
    found = spread_of(effects, np.zeros((4000, 6), int))
    assert found.degrees[0, 0] == pytest.approx(worth / 2, rel=0.3)  # half, as it says
    assert found.variance[0] == pytest.approx(np.linspace(0.05, 0.5, 6) ** 2, rel=0.1)
    assert (found.most == 4000 * 3).all()


def moved_together(share: float, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Effects whose seeds move a target's cells together: that share of their variance."""
    rng = np.random.default_rng(seed)
    together = rng.standard_normal((shape[0], 1, shape[2]))
    return np.sqrt(share) * together + np.sqrt(1 - share) * rng.standard_normal(shape)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_cells_that_seeds_move_together_tell_less(share):
    effects = moved_together(share, (2, 12, 2000))
    found = spread_of(effects, np.zeros((12, 2000), int))
    assert found.most[0, 0] == pytest.approx(12 / (1 + 11 * share), rel=0.4)
    # of the other axis nothing is shared: a row of its own, as a placebo's, has all its degrees
    kinds = np.repeat([[0]] * 12 + [[2]], 2000, axis=1)
    placebo = spread_of(np.concatenate([effects, effects[:, :1]], axis=1), kinds)
    assert 1000 <= placebo.most[12, 0] <= 2000
    runs = spread_of(np.moveaxis(effects, 1, 2)[:, :13], np.repeat([[0]] * 12 + [[2]], 12, axis=1))
    assert runs.most[12, 0] == pytest.approx(12 / (1 + 11 * share), abs=2)


def test_tasks_that_a_seed_moves_together_tell_less():
    covered, without = [], []
    for study in range(300):
        averages = moved_together(0.8, (2, 13, 1), seed=study)[..., 0]
        told, noise = spread_of_tasks(averages), seed_noise(2, 1000, [study])
        for its, inside in ((told, covered), (told._replace(most=np.full(13, 13)), without)):
            draws = over_seeds(averages[..., None], noise, its)
            low, high = np.moveaxis(stats.intervals(draws, averages.mean(0), 0.05), -1, 0)
            inside.append((low <= 0) & (high >= 0))
    assert np.mean(covered) > 0.89
    assert np.mean(without) < 0.87


def test_two_seeds_intervals_hold_where_seeds_move_a_targets_cells_together():
    covered, without = [], []
    for study in range(40):
        effects = moved_together(0.4, (2, 12, 13), seed=study)
        told = spread_of(effects, np.zeros((12, 13), int))
        noise = seed_noise(2, 2000, [study])
        all_of_them = told._replace(most=np.full((12, 13), 12))
        for its, inside in ((told, covered), (all_of_them, without)):
            draws = over_seeds(effects[..., None], noise, its)
            low, high = np.moveaxis(stats.intervals(draws, effects.mean(0), 0.05), -1, 0)
            inside.append((low <= 0) & (high >= 0))
    assert 0.94 <= np.mean(covered) <= 0.99
    assert np.mean(without) < 0.93


def test_a_targets_scale_is_the_most_likely_one():
    effects = simulated(3, 8, (400, 1))
    found = spread_of(effects, np.zeros((400, 1), int)).variance[0, 0]
    ratios = effects.var(axis=0, ddof=1)[:, 0]

    def unlikely(log_scale: float, worth: float) -> float:
        scale = np.exp(log_scale)
        return -(scipy.stats.f.logpdf(ratios / scale, 2, worth) - np.log(scale)).sum()

    fits: list[Any] = [
        scipy.optimize.minimize_scalar(unlikely, args=(worth,)) for worth in (4, 6, 8, 12)
    ]
    best = [fit.x for fit in fits]
    assert min(np.abs(np.exp(best) / found - 1)) < 0.01


def test_tasks_averages_are_told_by_those_of_other_tasks():
    effects = simulated(3, 8, (400, 6))  # seed, other, task
    variances = np.linspace(0.05, 0.5, 6) ** 2
    of_targets = spread_of_tasks(effects.mean(axis=1), effects)
    of_cells = variances * 8 / (8 - 2)  # the mean of an inverse chi-square
    assert of_targets.variance == pytest.approx(of_cells / 400, rel=0.35)
    ratios = of_targets.variance / effects.var(axis=0, ddof=1).mean(axis=0)
    assert ratios == pytest.approx(ratios[0], rel=1e-9)  # targets differ as their cells do
    alike = spread_of_tasks(simulated(3, 8, (1, 2000))[:, 0] / np.linspace(0.05, 0.5, 2000))
    assert alike.variance == pytest.approx(np.ones(2000), rel=0.1)
    assert alike.degrees[0] == pytest.approx(8 / 2, rel=0.3)  # half, as it says
    assert np.all((alike.most >= 1000) & (alike.most <= 4000))


def test_a_task_whose_cells_never_differ_is_told_by_no_other():
    cells = simulated(2, 8, (5, 4))
    cells[:, :, 1] = 0.25
    found = spread_of_tasks(cells.mean(axis=1), cells)
    assert np.array_equal(np.isnan(found.variance), [False, True, False, False])
    assert np.all((found.most >= 1) & (found.most <= 3))
    draws = over_seeds(cells.mean(axis=1)[..., None], seed_noise(2, 500, [1]), found)
    assert np.all(draws[1] == 0.25)


def test_of_a_single_source_nothing_more_is_known():
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((3, 1, 5))
    data = stats.ModelData(effects, np.zeros((1, 5), bool), (None,) * 5, tuple("abcde"))
    draws = stats.bootstrap(data, draws=200, seed=0, model="m")
    assert np.array_equal(draws.alone, draws.cells)


def test_one_seed_no_spread_and_gaps_do_no_harm():
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((3, 4, 4)) * 0.1
    effects[:, :, 0] = 0.25  # a target on which all runs are alike
    effects[1:, 2, 1] = np.nan  # a cell with one seed
    effects[:, 3, 3] = np.nan  # one with none
    itself = np.eye(4, dtype=bool)
    data = stats.ModelData(effects, itself, (None,) * 4, tuple("abcd"))
    draws = stats.bootstrap(data, draws=500, seed=0, model="m").alone
    assert np.all(draws[:, 0] == 0.25)
    assert np.all(draws[2, 1] == np.float32(effects[0, 2, 1]))  # its own error is not known
    assert np.isnan(draws[3, 3]).all()
    assert np.isfinite(draws[~np.isnan(effects).all(axis=0)]).all()
    single = stats.ModelData(effects[:1], itself, (None,) * 4, tuple("abcd"))
    drawn = stats.bootstrap(single, draws=50, seed=0, model="m")
    assert np.array_equal(drawn.alone, drawn.cells, equal_nan=True)


@pytest.fixture(scope="module")
def effects_3b_and_32b(published):
    files = {"3B": "qwen2.5-vl-3b.csv", "32B": "qwen2.5-vl-32b.csv"}
    matrix = read_results({model: published / name for model, name in files.items()})
    return [
        matrix["pgf"].sel(model=model).transpose("seed", "source", "target").values
        for model in files
    ]


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_papers_own_other_seeds_are_foretold_as_often_as_promised(effects_3b_and_32b, seeds):
    # at 32B seeds move a target's cells together: each has a base of its own
    limits = {2: (0.4, 0.45), 3: (0.75, 0.75)}[seeds]
    for effects, limit in zip(effects_3b_and_32b, limits, strict=True):
        within, narrower = [], []
        for chosen in combinations(range(4), seeds):
            some, rest = effects[list(chosen)], np.delete(effects, chosen, axis=0)
            told, own = spread_of(some, (~OFF).astype(int)), some.var(axis=0, ddof=1)
            degrees = told.degrees + seeds - 1
            variance = (told.degrees * told.variance + (seeds - 1) * own) / degrees
            reach = scipy.stats.t.ppf(0.975, np.minimum(degrees, told.most))
            error = np.sqrt(variance * (1 / seeds + 1 / len(rest)))
            off = np.abs(some.mean(0) - rest.mean(0))
            within.append((off <= reach * error + 1e-12)[OFF].mean())
            alone = scipy.stats.t.ppf(0.975, seeds - 1) * np.sqrt(own)
            narrower.append(np.median((reach * np.sqrt(variance))[OFF]) / np.median(alone[OFF]))
        assert 0.93 <= np.mean(within) <= 0.97
        assert np.max(narrower) < limit


@pytest.mark.parametrize("of", [np.asarray, above_mean])
@pytest.mark.parametrize("seeds", [2, 3])
def test_averages_of_the_papers_own_other_seeds_are_foretold_too(effects_3b_and_32b, seeds, of):
    within, narrower = [], []
    for effects in effects_3b_and_32b:
        values = np.where(OFF, effects, np.nan)
        for chosen in combinations(range(4), seeds):
            cells = values[list(chosen)]
            for axis, of_cells in ((2, None), (1, cells)):
                for average in map(of, signed_parts(values, axis=axis)[:2]):
                    some, rest = average[list(chosen)], np.delete(average, chosen, axis=0)
                    told, own = spread_of_tasks(some, of_cells), some.var(axis=0, ddof=1)
                    degrees = told.degrees + seeds - 1
                    variance = (told.degrees * told.variance + (seeds - 1) * own) / degrees
                    reach = scipy.stats.t.ppf(0.975, np.minimum(degrees, told.most))
                    error = np.sqrt(variance * (1 / seeds + 1 / len(rest)))
                    within.append(np.abs(some.mean(0) - rest.mean(0)) <= reach * error)
                    alone = scipy.stats.t.ppf(0.975, seeds - 1) * np.sqrt(own)
                    narrower.append((reach * np.sqrt(variance)).mean() / alone.mean())
    assert 0.92 <= np.mean(within) <= 0.97
    assert np.max(narrower) < {2: 0.4, 3: 0.8}[seeds]


def test_two_seeds_intervals_hold_where_seeds_move_as_a_whole_and_cells_differ_in_it():
    covered, plain, width = [], [], []
    for study in range(30):
        effects = simulated(2, 6, (8, 8), seed=study)
        truth = np.random.default_rng(study)
        truth.chisquare(6, (8, 8))
        truth = truth.standard_normal((8, 8))
        data = stats.ModelData(effects, np.zeros((8, 8), bool), (None,) * 8, tuple("abcdefgh"))
        draws = stats.bootstrap(data, draws=2000, seed=study, model="m")
        for drawn, inside in ((draws.alone, covered), (draws.cells, plain)):
            low, high = np.moveaxis(stats.intervals(drawn, effects.mean(0), 0.05), -1, 0)
            inside.append((low <= truth) & (truth <= high))
            width.append(np.median(high - low))
    assert 0.93 <= np.mean(covered) <= 0.975
    assert 0.93 <= np.mean(plain) <= 0.97
    assert np.mean(width[::2]) < 0.35 * np.mean(width[1::2])
