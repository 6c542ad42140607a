"""Draws of a whole matrix vary as its effects do, and null models hold nothing but luck."""

import numpy as np
import pytest

from transferscope.analysis import graph, persona
from transferscope.matrix.task_effects import signed_parts
from transferscope.stats import TargetEffects, draws, paired_effects, simulate

TASKS, SEEDS = 6, 4
NAMES = tuple(f"task {k}" for k in range(TASKS))
ITSELF = np.eye(TASKS, dtype=bool)


def a_world(spread: float, **options: float) -> simulate.SimulatedModel:
    rng = np.random.default_rng(7)
    return simulate.SimulatedModel(
        tasks=NAMES,
        base_accuracy=rng.uniform(0.35, 0.75, TASKS),
        pgf=spread * rng.standard_normal((TASKS, TASKS)),
        items=np.full(TASKS, 120),
        **options,  # pyright: ignore[reportArgumentType]
    )


def a_study(world: simulate.SimulatedModel, seeds: int, seed: int) -> list[TargetEffects]:
    """The effects of one simulated study, in PGF."""
    return effects_of(simulate.simulate_answers(world, seeds, seed))


def effects_of(study: list[simulate.SimulatedAnswers]) -> list[TargetEffects]:
    found = []
    for j, answers in enumerate(study):
        one = paired_effects(
            answers.base.astype(float), answers.tuned.astype(float), others=~ITSELF[:, j]
        )
        found.append(one.scaled(1 - one.base, -1.0))
    return found


def matrix(effects: list[TargetEffects]) -> np.ndarray:
    return np.stack([one.change for one in effects], axis=-1)


def drawn(effects: list[TargetEffects], names=NAMES, *, seed=0, model="m", number=4_000):
    return draws.noise(effects, names, seed=seed, model=model, draws=number)


def test_noise_has_the_variance_and_the_shared_base_of_the_effects():
    effects = a_study(a_world(0.1), SEEDS, 0)
    noise = drawn(effects, number=40_000)
    one = effects[2]
    seeds = one.moved / SEEDS * one.seeds_df / (one.seeds_df - 2)  # Student's t is wider
    expected = one.influence @ one.influence.T + np.diag(seeds)
    assert np.cov(noise[:, 2]) == pytest.approx(expected, abs=4e-4)
    apart = np.corrcoef(noise[0, 2], noise[0, 3])[0, 1]  # another target has other items
    assert abs(apart) < 0.02


def test_noise_depends_on_names_and_seed_and_not_on_the_order_of_tasks():
    effects = a_study(a_world(0.1), SEEDS, 0)
    order = np.random.default_rng(0).permutation(TASKS)
    turned = drawn([effects[j] for j in order], tuple(NAMES[j] for j in order), number=200)
    np.random.seed(1)  # noqa: NPY002  the global state must not matter
    here = drawn(effects, number=200)
    assert np.array_equal(here[:, order], turned)
    assert not np.array_equal(here, drawn(effects, seed=1, number=200))


def test_items_move_all_models_alike():
    effects = a_study(a_world(0.1), 1, 0)  # one seed: items alone
    one, other = drawn(effects, number=500), drawn(effects, model="n", number=500)
    assert np.array_equal(one, other)


@pytest.mark.simulation
def test_intervals_cover_the_averages_of_another_such_study():
    world, ends, estimates = a_world(0.1), [], []
    for study in range(100):
        effects = a_study(world, SEEDS, 500 + study)
        mean = matrix(effects)
        cells = np.where(ITSELF[..., None], np.nan, mean[..., None] + drawn(effects, number=400))
        values = [
            parts.positive.mean(axis=0)
            for parts in (
                signed_parts(np.where(ITSELF, np.nan, mean), axis=1),
                signed_parts(cells, axis=1),
            )
        ]
        ends.append(draws.intervals(values[1], np.asarray(values[0]), 0.05))
        estimates.append(values[0])
    truth = np.mean(estimates)
    low, high = np.array(ends).T
    assert 0.9 <= np.mean((low <= truth) & (truth <= high)) <= 1


@pytest.mark.simulation
def test_without_transfer_averages_and_cliques_are_those_of_simulated_studies():
    # Apart from a half, where a base left out would look the same as one that is shared.
    world = a_world(0.0, item_correlation=0.2)
    studies, null = [], []
    for study in range(200):
        simulated = simulate.simulate_answers(world, SEEDS, 6000 + study)
        accuracy = [(one.base[0].mean(), one.tuned.mean((0, 2))) for one in simulated]
        studies.append(np.stack([(tuned - base) / (1 - base) for base, tuned in accuracy], -1))
        if study < 10:
            effects = effects_of(simulated)
            assert matrix(effects) == pytest.approx(studies[-1])
            null.append(draws.no_transfer(effects, seeds=SEEDS, seed=study, draws=100))
    means, by_luck = np.array(studies), np.concatenate(null).mean(axis=1)
    positive, expected = (
        signed_parts(np.where(ITSELF, np.nan, each), axis=2).positive.mean()
        for each in (by_luck, means)
    )
    assert positive == pytest.approx(expected, rel=0.12)
    largest, sizes = (graph.largest_cliques(each, "positive") for each in (by_luck, means))
    assert np.mean(largest) == pytest.approx(np.mean(sizes), abs=0.25)


def test_a_column_shift_keeps_every_targets_values_and_the_diagonal():
    mean = np.random.default_rng(0).standard_normal((TASKS, TASKS))
    shuffled = draws.column_shift(mean, ITSELF, 20, 0)
    for one in shuffled:
        assert np.array_equal(np.diag(one), np.diag(mean))
        assert np.array_equal(np.sort(one, axis=0), np.sort(mean, axis=0))
    assert len({one.tobytes() for one in shuffled}) > 15


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


def test_an_interval_has_the_draws_quantiles_around_the_estimate_and_its_bounds():
    spread = np.linspace(-1, 1, 4001)
    ends = draws.intervals(7 + spread, np.asarray(0.2), 0.05)
    assert ends == pytest.approx([0.2 - 0.95, 0.2 + 0.95], abs=1e-9)
    assert draws.intervals(spread, np.asarray(0.2), 0.05, low=0.0)[0] == 0
