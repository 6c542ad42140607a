"""The simulated study has the accuracies and correlations that it states."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from transferscope.stats import simulate


def tuned_accuracy(world: simulate.SimulatedModel) -> np.ndarray:
    """True accuracies after finetuning, (source, target)."""
    return world.base_accuracy + world.pgf * (1 - world.base_accuracy)


def test_a_simulated_study_has_the_stated_accuracies_and_correlations():
    world = simulate.SimulatedModel(
        tasks=("a", "b"),
        base_accuracy=np.array([0.5, 0.5]),
        pgf=np.zeros((2, 2)),
        items=np.array([40_000, 40_000]),
        item_correlation=0.4,
        seed_correlation=0.7,
    )
    answers = simulate.simulate_answers(world, 3, 0)[0]
    assert answers.base.mean() == pytest.approx(0.5, abs=0.01)
    assert answers.tuned.mean() == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(answers.base[0], answers.base[2])  # the base is run once

    def correlation(one: np.ndarray, two: np.ndarray) -> float:
        return float(np.corrcoef(one, two)[0, 1])

    assert correlation(answers.base[0], answers.tuned[0, 0]) == pytest.approx(0.4, abs=0.02)
    assert correlation(answers.tuned[0, 0], answers.tuned[0, 1]) == pytest.approx(0.4, abs=0.02)
    assert correlation(answers.tuned[0, 1], answers.tuned[2, 1]) == pytest.approx(0.7, abs=0.02)


def test_a_true_effect_is_a_part_of_the_gap():
    world = simulate.SimulatedModel(("a",), np.array([0.6]), np.array([[0.25]]), np.array([50_000]))
    assert tuned_accuracy(world)[0, 0] == pytest.approx(0.6 + 0.25 * 0.4)
    answers = simulate.simulate_answers(world, 1, 0)[0]
    assert answers.tuned.mean() == pytest.approx(0.7, abs=0.01)


def test_two_seeds_cannot_agree_less_than_two_adapters():
    world = simulate.SimulatedModel(
        ("a",), np.array([0.5]), np.zeros((1, 1)), np.array([10]), 0.8, 0.5
    )
    with pytest.raises(ValueError, match="at least item_correlation"):
        simulate.simulate_answers(world, 2, 0)


def test_the_example_is_the_same_for_the_same_seed_alone():
    one, two = simulate.example_study(2, 0)[0], simulate.example_study(2, 0)[0]
    assert one.equals(two)
    assert not one.equals(simulate.example_study(2, 1)[0])


def test_runs_move_as_a_whole_around_their_adapters_true_accuracy():
    world = simulate.SimulatedModel(
        tasks=("a", "b"),
        base_accuracy=np.array([0.5, 0.7]),
        pgf=np.array([[0.4, 0.1], [0.0, -0.2]]),
        items=np.array([400, 400]),
        training=np.array([[0.5, 0.2], [0.0, 0.5]]),
    )
    answers = simulate.simulate_answers(world, 800, 3)
    accuracy = np.stack([one.tuned.mean(-1) for one in answers], axis=-1)  # seed, source, target
    # The items are shared.
    assert accuracy.mean(0) == pytest.approx(tuned_accuracy(world), abs=0.06)
    still = simulate.simulate_answers(replace(world, training=None), 800, 3)
    spread = np.stack([one.tuned.mean(-1) for one in still], axis=-1).std(0)
    moved = np.sqrt(accuracy.std(0) ** 2 - spread**2)
    # A threshold that moves by sd moves an accuracy by sd times the density there, nearly.
    density = scipy.stats.norm.pdf(scipy.stats.norm.ppf(tuned_accuracy(world)))
    assert moved[world.training > 0] == pytest.approx(
        (world.training * density)[world.training > 0], rel=0.2
    )
    assert accuracy.std(0)[1, 0] == pytest.approx(spread[1, 0], rel=0.15)
