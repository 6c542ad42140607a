"""Intervals cover what they claim; tests, corrections and null models are what they say."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from messages import raises

from transferscope import stats
from transferscope.analysis import graph, persona
from transferscope.errors import DataError
from transferscope.matrix.measure import MEASURES
from transferscope.matrix.task_effects import signed_parts
from transferscope.stats import detection, nulls, significance, simulate
from transferscope.stats import seeds as over

TASKS = 6
SEEDS = 4
ITSELF = np.eye(TASKS, dtype=bool)


def a_world(spread: float, *, items: int = 120, mean: float = 0.0) -> simulate.SimulatedModel:
    rng = np.random.default_rng(7)
    return simulate.SimulatedModel(
        tasks=tuple(f"task {i}" for i in range(TASKS)),
        base_accuracy=rng.uniform(0.35, 0.75, TASKS),
        pgf=mean + spread * rng.standard_normal((TASKS, TASKS)),
        items=np.full(TASKS, items),
    )


def a_study(world: simulate.SimulatedModel, seeds: int, seed: int, known: str) -> stats.ModelData:
    """One simulated study as the bootstrap sees it, with items, counts alone, or neither."""
    answers = simulate.simulate_answers(world, seeds, seed)
    base = np.stack([a.base.mean(-1) for a in answers], axis=-1)
    tuned = np.stack([a.tuned.mean(-1) for a in answers], axis=-1)
    if known == "counts":
        answers = [
            simulate.plausible_answers(
                a.base.sum(-1, dtype=int),
                a.tuned.sum(-1, dtype=int),
                a.base.shape[1],
                item_correlation=world.item_correlation,
                seeds=([seed, j], [seed, j, 1]),
            )
            for j, a in enumerate(answers)
        ]
    tables = [stats.ItemTable(a.base.astype(float), a.tuned.astype(float)) for a in answers]
    return stats.ModelData(
        effects=(tuned - base[:, None]) / (1 - base[:, None]),
        itself=ITSELF,
        items=(None,) * TASKS if known == "nothing" else tuple(tables),
        targets=world.tasks,
        ceiling=np.ones(TASKS),
    )


def averages(effects: np.ndarray) -> np.ndarray:
    """Positive and negative transferability, mean over seeds and sources, self left out."""
    parts = signed_parts(np.where(ITSELF, np.nan, effects), axis=2)
    return np.array([parts.positive.mean(), parts.negative.mean()])


@pytest.mark.parametrize("known", ["items", "counts"])
@pytest.mark.parametrize(
    "seeds", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, SEEDS))]
)
def test_intervals_cover_the_simulated_true_matrix(known, seeds):
    world, covered, drawn, real = a_world(0.1), [], [], []
    for study in range(80):
        data = a_study(world, seeds, 100 + study, known)
        estimate = data.effects.mean(axis=0)
        draws = stats.bootstrap(data, draws=400, seed=study, model="m")
        low, high = np.moveaxis(stats.intervals(draws.alone, estimate, 0.05), -1, 0)
        covered.append((low <= world.pgf) & (world.pgf <= high))
        drawn.append(draws.alone.std(axis=-1))
        real.append(estimate - world.pgf)
    assert 0.93 <= np.mean(covered) <= 0.99
    # and they are not wide for nothing: the draws spread about as the estimates do
    assert 0.9 < np.mean(drawn) / np.std(real) < 1.4


def test_intervals_cover_the_average_transferability_of_a_study_of_this_size():
    world, ends, estimates = a_world(0.1), [], []
    for study in range(120):
        data = a_study(world, SEEDS, 500 + study, "items")
        estimate = averages(data.effects)
        tasks = stats.bootstrap(data, draws=400, seed=study, model="m").tasks
        drawn = [tasks["transferability", sign, False] for sign in ("positive", "negative")]
        means = np.stack([values.mean(axis=0) for values in drawn])
        ends.append(stats.intervals(means, estimate, 0.05))
        estimates.append(estimate)
    truth = np.mean(estimates, axis=0)
    low, high = np.moveaxis(np.array(ends), -1, 0)
    assert 0.9 <= np.mean((low <= truth) & (truth <= high)) <= 0.995


@pytest.mark.parametrize("seeds", [2, pytest.param(SEEDS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("moves", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_intervals_cover_what_is_said_of_each_task_and_of_two_seeds_the_mean(seeds, moves):
    world, studies = replace(a_world(0.1), training=np.full((TASKS, TASKS), moves)), []
    for number in range(80):
        data = a_study(world, seeds, 300 + number, "items")
        draws = stats.bootstrap(data, draws=400, seed=number, model="m")
        for key, values in over.averages(data.effects, ITSELF).items():
            estimate = values.mean(axis=0)
            ends = stats.intervals(draws.tasks_alone[key], estimate, 0.05)
            own = stats.intervals(draws.tasks[key], estimate, 0.05)
            above = stats.intervals(draws.ahead[key], estimate - estimate.mean(), 0.05)
            mean = stats.intervals(
                draws.tasks_alone[key].mean(axis=0), np.asarray(estimate.mean()), 0.05
            )
            studies.append((key, estimate, ends, own, above, mean))
    everywhere = []
    for key in {key for key, *_ in studies}:
        parts = [parts for of, *parts in studies if of == key]
        estimate, ends, own, above, means = map(np.array, zip(*parts, strict=True))
        truth, whole = estimate.mean(axis=0), estimate.mean()
        for its, true in ((ends, truth), (above, truth - whole)):
            everywhere.append(np.mean((its[..., 0] <= true) & (true <= its[..., 1])))
            assert everywhere[-1] >= 0.92
        assert np.median(np.diff(ends) / np.diff(own)) < {2: 0.75, SEEDS: 1}[seeds]
        if seeds == 2:
            assert np.mean((means[:, 0] <= whole) & (whole <= means[:, 1])) >= 0.93
    assert 0.94 <= np.mean(everywhere) <= 0.985


def test_without_items_intervals_promise_too_little_about_other_items():
    # Why item-level results matter: seeds alone do not see the shared baseline's luck.
    world, covered = a_world(0.1), []
    for study in range(40):
        data = a_study(world, SEEDS, 900 + study, "nothing")
        draws = stats.bootstrap(data, draws=400, seed=study, model="m").cells
        low, high = np.moveaxis(stats.intervals(draws, data.effects.mean(0), 0.05), -1, 0)
        covered.append((low <= world.pgf) & (world.pgf <= high))
    assert np.mean(covered) < 0.8


@pytest.mark.parametrize("seeds", [2, 4, 10])
def test_seeds_alone_give_the_t_interval(seeds):
    effects = np.random.default_rng(1).standard_normal((seeds, 2, 3)) * 0.1
    data = stats.ModelData(effects, np.zeros((2, 3), bool), (None,) * 3, ("a", "b", "c"))
    draws = stats.bootstrap(data, draws=60_000, seed=0, model="m").cells
    interval = stats.intervals(draws, effects.mean(0), 0.05)
    error = effects.std(axis=0, ddof=1) / np.sqrt(seeds)
    exact = scipy.stats.t.interval(0.95, seeds - 1, loc=effects.mean(0), scale=error)
    # Both ends: with two seeds the draws have no mean by which they could be placed.
    off = np.moveaxis(interval, -1, 0) - exact
    assert np.abs(off / (exact[1] - exact[0])).max() < 0.03
    p_values = stats.sign_p_values(draws, effects.mean(0))
    t_test: Any = scipy.stats.ttest_1samp(effects, 0)
    assert np.allclose(p_values, t_test.pvalue, atol=0.02)


def test_a_seed_that_was_not_measured_is_left_out_of_the_interval():
    effects = np.random.default_rng(1).standard_normal((4, 1, 2)) * 0.1
    effects[3, 0, 0] = np.nan
    data = stats.ModelData(effects, np.zeros((1, 2), bool), (None,) * 2, ("a", "b"))
    draws = stats.bootstrap(data, draws=60_000, seed=0, model="m").cells
    mean = np.nanmean(effects, axis=0)
    three = effects[:3, 0, 0]
    exact = scipy.stats.t.interval(0.95, 2, loc=mean[0, 0], scale=scipy.stats.sem(three))
    interval = stats.intervals(draws, mean, 0.05)[0, 0]
    assert np.allclose(np.diff(interval) / np.diff(exact), 1, atol=0.06)


def test_items_alone_give_the_variance_of_weights_that_sum_to_one():
    rng = np.random.default_rng(2)
    base, tuned = rng.random((1, 150)) < 0.5, rng.random((1, 1, 150)) < 0.6
    effects = (tuned.mean(-1) - base.mean(-1)[:, None])[..., None]
    table = stats.ItemTable(base.astype(float), tuned.astype(float))
    data = stats.ModelData(
        effects, np.zeros((1, 1), bool), (table,), ("a",), np.ones(1), measure="raw_gain"
    )
    draws = stats.bootstrap(data, draws=20_000, seed=0, model="m").cells[0, 0]
    # Dirichlet weights: one for each item, a half for each of two more that changed either way.
    changes = np.append(tuned[0, 0].astype(float) - base[0], [1, -1])
    share = np.append(np.ones(150), [0.5, 0.5]) / 151
    assert draws.mean() == pytest.approx(share @ changes, abs=0.002)
    variance = (share @ changes**2 - (share @ changes) ** 2) / 152
    assert draws.std() == pytest.approx(np.sqrt(variance), rel=0.03)


def test_base_and_adapter_share_their_items_but_no_change_is_not_for_certain():
    answers = (np.random.default_rng(3).random((4, 90)) < 0.6).astype(float)
    table = stats.ItemTable(answers, answers[:, None].copy())
    data = stats.ModelData(
        np.zeros((4, 1, 1)),
        np.zeros((1, 1), bool),
        (table,),
        ("a",),
        np.ones(1),
        measure="raw_gain",
    )
    draws = stats.bootstrap(data, draws=20_000, seed=0, model="m").cells
    # of 90 items none changed: the difference of two half items' Dirichlet weights
    assert draws.std() == pytest.approx(1 / np.sqrt(91 * 92), rel=0.03)
    scored = stats.ItemTable(answers * 0.9, answers[:, None] * 0.9)  # scores have no whole answer
    data = stats.ModelData(data.effects, data.itself, (scored,), ("a",), np.ones(1))
    assert np.all(stats.bootstrap(data, draws=500, seed=0, model="m").cells == 0)


def test_draws_that_are_undefined_count_for_neither_side_and_only_few_may_be():
    draws = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    whole = stats.sign_p_values(draws, np.array([1.5, 1.5]))
    draws[0, :160], draws[1, :400] = np.nan, np.nan
    few, many = stats.sign_p_values(draws, np.array([1.5, 1.5]))
    assert few == pytest.approx(stats.sign_p_values(draws[0, 160:], np.asarray(1.5)), abs=0)
    assert few == pytest.approx(whole[0], rel=0.15)
    assert np.isnan(many)
    assert np.isnan(stats.intervals(draws, np.array([1.5, 1.5]), 0.05)).all(axis=-1).tolist() == [
        False,
        True,
    ]


def test_an_item_that_a_run_was_not_asked_has_no_part_in_its_effect():
    base, tuned = np.ones((1, 400)), np.ones((1, 2, 400))
    base[:, 100:] = 0  # 25 %
    tuned[:, :, 300:] = 0  # 75 %, and of the first half all
    tuned[:, 1, 200:] = np.nan
    data = stats.ModelData(
        np.array([[[0.5, 0.1], [0.5, 0.2]]]),
        np.zeros((2, 2), bool),
        (stats.ItemTable(base, tuned), None),  # of the second target nothing more is known
        ("a", "b"),
        np.ones(2),
        "raw_gain",
    )
    draws = stats.bootstrap(data, draws=2_000, seed=0, model="m").cells
    # on the first 200 items the base is right in 50 %
    assert draws[:, 0].mean(axis=-1) == pytest.approx([0.5, 0.5], abs=0.01)
    # as far as whole items differ: the first changes 200 of 400, the second 100 of 200
    assert draws[0, 0].std() == pytest.approx(np.sqrt(0.5 * 0.5 / 400), rel=0.1)
    assert draws[1, 0].std() == pytest.approx(np.sqrt(0.5 * 0.5 / 200), rel=0.1)
    assert np.array_equal(draws[:, 1], np.broadcast_to(np.float32([[0.1], [0.2]]), (2, 2_000)))


def test_a_ceiling_of_its_own_accuracy_makes_an_effect_on_itself_1_in_every_draw():
    data = replace(a_study(a_world(0.1, mean=0.7), 1, 0, "items"), ceiling=None)
    (some,) = stats.resamples(data, draws=50, seed=0, model="m")
    assert some.effects[0][ITSELF] == pytest.approx(1, abs=1e-4)
    assert some.effects[0][~ITSELF].std() > 0.01


def test_without_a_gap_there_is_no_effect_and_without_a_draw_no_mean():
    base, tuned = np.float32([0.2, 0.1, 0.05]), np.float32([0.1, 0.1, 0.1])
    found = MEASURES["pgf"].from_errors(base, tuned, 0.1)
    np.testing.assert_allclose(found, [1, np.nan, np.nan])
    assert np.isnan(stats.draw_mean(np.full((1, 9), np.nan))).all()
    some = np.array([[np.nan] * 9, [1.0] * 8 + [np.nan]])
    np.testing.assert_array_equal(stats.draw_mean(some), [np.nan, 1])


def test_a_baseline_near_the_ceiling_stays_below_it_in_every_draw():
    base, tuned = np.ones((4, 40)), np.ones((4, 1, 40))
    base[:, 0] = 0
    tuned[:, :, :2] = 0
    data = stats.ModelData(
        np.full((4, 1, 1), -1.0),
        np.zeros((1, 1), bool),
        (stats.ItemTable(base, tuned),),
        ("a",),
        np.ones(1),
    )
    draws = stats.bootstrap(data, draws=2_000, seed=0, model="m").cells
    assert np.isfinite(draws).all()
    assert draws.max() <= 1


def test_the_bootstrap_hangs_on_its_seed_and_on_nothing_else():
    data = a_study(a_world(0.1), SEEDS, 0, "items")

    def cells(seed: int) -> np.ndarray:
        return stats.bootstrap(data, draws=200, seed=seed, model="m").cells

    first = cells(5)
    np.random.seed(1)  # noqa: NPY002  the global state must not matter
    assert np.array_equal(first, cells(5), equal_nan=True)
    assert not np.array_equal(first, cells(6), equal_nan=True)


def test_a_models_draws_do_not_depend_on_the_order_of_its_tasks():
    data = a_study(a_world(0.1), SEEDS, 0, "items")
    order = np.random.default_rng(0).permutation(TASKS)
    turned = stats.ModelData(
        data.effects[:, order][:, :, order],
        ITSELF,
        tuple(stats.ItemTable(data.items[j].base, data.items[j].tuned[:, order]) for j in order),
        tuple(data.targets[j] for j in order),
        np.ones(TASKS),
    )
    one = stats.bootstrap(data, draws=200, seed=0, model="m").cells
    two = stats.bootstrap(turned, draws=200, seed=0, model="m").cells
    assert np.allclose(one[order][:, order], two, atol=1e-5)


def test_cliques_by_chance_are_counted_as_draws_and_the_study_itself():
    means = np.full((4, 3, 3), -0.1)
    means[0] = means[1] = 0.1  # cliques of three; in the third draw a mere pair
    means[2, 0, 1] = means[2, 1, 0] = 0.1
    found = graph.clique_null("no transfer", "positive", 3, means, 0.05)
    assert (found.p_value, found.mean, found.upper) == (3 / 5, 1.5, 3)
    assert found.sizes == {"0": 0.5, "3": 0.5}
    assert graph.clique_null("no transfer", "positive", 4, means, 0.05).p_value == 1 / 5


def test_who_plays_a_role_by_chance_is_counted_task_by_task():
    one = np.array([[0.51, 0.52, 0.53, 0.0], [0.5, 0.5, 0.5, 0.0]])[None, None]
    donor, sponge = persona.TRAITS["donor"], persona.TRAITS["sponge"]
    assert persona.by_chance([one], donor) == 1  # the first source lies above the mean of both
    assert persona.by_chance([one], sponge) == 3  # all targets but the last
    assert persona.by_chance([one, 0.6 - one], sponge) == 0  # in no model the same
    half = np.concatenate([one, 0.6 - one])  # in half of the draws
    assert persona.by_chance([one, half], sponge) == 1.5


def test_power_is_known_where_the_base_gets_nothing_right():
    assert 0 < detection.power(150, 4, 0.0) == detection.power(150, 4, 1 / 300) < 0.2
    assert np.isnan(detection.power(3, 2, 0.0, exact=True))  # three changes: p is 1/4 at best
    effect = detection.power(150, 1, 0.0, exact=True)  # of six changes it is 1/32, of five 1/16
    assert scipy.stats.binom.sf(5, 150, effect) == pytest.approx(0.8, abs=0.01)


def test_power_improves_with_items_and_seeds():
    assert detection.power(400, 4, 0.5) < detection.power(100, 4, 0.5)
    assert detection.power(100, 10, 0.5) < detection.power(100, 3, 0.5)
    assert np.isnan(detection.power(10, 4, 0.9))


@pytest.mark.parametrize("wrong", [(0, 4, 0.5), (100, 0, 0.5), (100, 4, 1.0), (100, 4, 60.0)])
def test_power_refuses_a_study_that_cannot_be(wrong):
    with raises(DataError):
        detection.power(*wrong)


def test_the_null_model_without_transfer_agrees_with_simulated_items():
    # The null draws counts from a normal approximation; the simulation answers item by item.
    # Apart from a half, where a base left out would look the same as one that is shared.
    world = replace(a_world(0.0), item_correlation=0.2)
    simulated, sizes = [], []
    for study in range(300):
        effects = a_study(world, SEEDS, 6000 + study, "nothing").effects
        simulated.append(averages(effects))
        sizes.append(graph.largest_cliques(effects.mean(0)[None], "positive")[0])
    null = nulls.no_transfer_effects(
        world.base_accuracy,
        world.items,
        (300, SEEDS, TASKS),
        correlations=(world.item_correlation, world.seed_correlation),
        measure="pgf",
        ceiling=np.ones(TASKS),
        seed=0,
    )
    drawn = np.array([averages(effects) for effects in null])
    assert np.allclose(drawn.mean(0), np.mean(simulated, axis=0), rtol=0.12)
    largest = graph.largest_cliques(null.mean(axis=1), "positive")
    assert np.mean(largest) == pytest.approx(np.mean(sizes), abs=0.25)


def test_a_column_shift_keeps_every_targets_values_and_the_diagonal():
    mean = np.random.default_rng(0).standard_normal((TASKS, TASKS))
    for shuffled in nulls.column_shift_effects(mean, ITSELF, 20, 0):
        assert np.array_equal(np.diag(shuffled), np.diag(mean))
        assert np.array_equal(np.sort(shuffled, axis=0), np.sort(mean, axis=0))
    draws = nulls.column_shift_effects(mean, ITSELF, 20, 0)
    assert len({draw.tobytes() for draw in draws}) > 15


def test_values_that_are_all_zero_or_unknown_have_no_signed_rank():
    assert np.isnan(significance.signed_rank(np.zeros(6)))
    sample = np.array([1.0, 2.0, -0.5, np.nan])
    expected: Any = scipy.stats.wilcoxon(sample[:3], alternative="greater")
    assert significance.signed_rank(sample) == expected.pvalue


def test_a_t_test_uses_the_known_seeds():
    values = np.array([[[0.2], [0.5], [0.3], [np.nan]]])
    average = np.array([[[0.0], [0.1], [0.2], [0.4]]])
    expected: Any = scipy.stats.ttest_ind([0.2, 0.5, 0.3], average[0, :, 0], alternative="greater")
    assert significance.unpaired_t(values, average, 1)[0, 0] == pytest.approx(expected.pvalue)
    assert np.isnan(significance.unpaired_t(values[:, :1], average[:, :1], 1)).all()


def test_seed_correlation_is_recovered():
    world = a_world(0.1)
    world = replace(world, items=np.array([100, 200, 400, 1_000, 3_000, 5_000]))
    studies = [simulate.simulate_answers(world, 2, 300 + k) for k in range(12)]
    cells = [np.stack([a.tuned.mean(-1) for a in answers], axis=-1) for answers in studies]
    accuracy = np.concatenate(cells, axis=1)
    found = nulls.seed_correlation(accuracy, world.items)
    assert found == pytest.approx(world.seed_correlation, abs=0.06)
    assert np.isnan(nulls.seed_correlation(accuracy[:1], world.items))
