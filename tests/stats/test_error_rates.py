"""Studies in which nothing transfers: what is claimed of them, and how often."""

from dataclasses import replace

import numpy as np
import oracle
import polars as pl
import pytest
import scipy.stats

import transferscope as ts
from transferscope import stats
from transferscope.analysis.settings import Settings
from transferscope.analysis.verdict import beyond_noise
from transferscope.matrix import apply_ceiling, from_accuracy, from_predictions
from transferscope.stats import detection, significance, simulate

TASKS = tuple(f"task {i}" for i in range(8))


def nothing_transfers(seeds: int, seed: int) -> pl.DataFrame:
    """Adapters that change few answers, as many for the better as for the worse."""
    world = simulate.SimulatedModel(
        tasks=TASKS,
        base_accuracy=np.linspace(0.4, 0.8, len(TASKS)),
        pgf=np.zeros((len(TASKS), len(TASKS))),
        items=np.full(len(TASKS), 100),
        item_correlation=0.9,
        seed_correlation=0.95,
    )
    return simulate.predictions_of("m", world, seeds, seed)[0]


def test_the_q_value_is_that_of_the_larger_p_value():
    frame = nothing_transfers(1, 0)
    model = ts.analyze(from_predictions(frame), Settings(bootstrap=3000, null_draws=100)).models[
        "m"
    ]
    answers = {
        (source, target): rows["correct"].to_list()
        for (source, target), rows in frame.sort("item").group_by("source", "target")
    }
    cells = [(s, t) for s in TASKS for t in TASKS if s != t]
    larger = [
        max(model.pgf[s][t].p_value, oracle.mcnemar(answers[None, t], answers[s, t]))
        for s, t in cells
    ]
    expected = oracle.benjamini_hochberg(larger)
    assert [model.pgf[s][t].q_value for s, t in cells] == pytest.approx(expected)


def test_where_nothing_transfers_hardly_a_study_says_that_something_holds():
    said = []
    for study in range(10):
        matrix = from_predictions(nothing_transfers(1, 50 + study))
        model = ts.analyze(matrix, Settings(bootstrap=3000, null_draws=100)).models["m"]
        cells = [model.pgf[s][t] for s in TASKS for t in TASKS if s != t]
        said.append(any(c.q_value <= 0.05 and beyond_noise(c, 0.05) for c in cells))
    assert np.mean(said) <= 0.1  # by the draws' p-values alone, far more do


def shares_and_personas(seeds: int, studies: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulated item by item: the targets' share of variance, and how many donors there are."""
    shares, donors = [], []
    for study in range(studies):
        world = simulate.SimulatedModel(
            tasks=TASKS,
            base_accuracy=np.linspace(0.4, 0.8, len(TASKS)),
            pgf=np.zeros((len(TASKS), len(TASKS))),
            items=np.full(len(TASKS), 100),
        )
        answers = simulate.simulate_answers(world, seeds, 900 + study)
        cube = {
            str(s): {
                i: {
                    j: oracle.pgf(a.base[s].mean(), a.tuned[s, k].mean())
                    for j, a in zip(TASKS, answers, strict=True)
                }
                for k, i in enumerate(TASKS)
            }
            for s in range(seeds)
        }
        shares.append(oracle.decompose(cube).target)
        donors.append(len(oracle.personas({"m": cube})["donor"]))
    return np.array(shares), np.array(donors)


def test_what_targets_explain_and_who_is_a_donor_without_transfer_is_said():
    frame = simulate.predictions_of(
        "m",
        simulate.SimulatedModel(
            tasks=TASKS,
            base_accuracy=np.linspace(0.4, 0.8, len(TASKS)),
            pgf=np.zeros((len(TASKS), len(TASKS))),
            items=np.full(len(TASKS), 100),
        ),
        2,
        3,
    )[0]
    analysis = ts.analyze(from_predictions(frame), Settings(bootstrap=100, null_draws=1000))
    shares, donors = shares_and_personas(2, 60)
    low, high = analysis.decomposition["m"].no_transfer["target"]
    assert 0.2 < low < 0.5 < high < 0.9  # far from 0: the baseline's luck is the target's own
    assert 0.85 <= np.mean((low <= shares) & (shares <= high)) <= 1
    assert analysis.personas_by_chance["donor"] == pytest.approx(donors.mean(), abs=0.5)


def counted(base_right: int, tuned_right: int, tasks: int = 4) -> pl.DataFrame:
    """One seed of adapters that get so many of 100 items right, on every target."""
    names = [f"t{k}" for k in range(tasks)]
    return pl.DataFrame(
        [
            ("m", "0", source, target, float(base_right if source is None else tuned_right), 100.0)
            for source in (None, *names)
            for target in names
        ],
        schema=["model", "seed", "source", "target", "correct", "total"],
        orient="row",
    )


def test_a_target_near_its_ceiling_is_named_and_still_has_a_noise_floor():
    quick = Settings(bootstrap=2000, null_draws=200)
    near = ts.analyze(from_accuracy(counted(98, 97)), quick)
    assert "m: the base errs on fewer than 10 items of t0 (2), t1 (2), t2 (2), t3 (2)." in " ".join(
        near.notes
    )
    assert near.models["m"].noise_floor is not None
    assert near.models["m"].noise_floor.transferability.positive > 0
    assert not any("noise floor" in note for note in near.notes)
    matrix = apply_ceiling(from_accuracy(counted(50, 60)), "self")
    own = ts.analyze(matrix, replace(quick, ceiling="self"))
    (note,) = [note for note in own.notes if "noise floor" in note]
    assert note.startswith("m: the ceiling is measured as the effects are, so neither a noise")
    far = ts.analyze(from_accuracy(counted(90, 89)), quick)
    assert not any("errs on fewer" in note for note in far.notes)


def test_draws_too_few_for_the_number_of_tests_are_said_to_be():
    few = ts.analyze(from_accuracy(counted(50, 90)), Settings(bootstrap=300, null_draws=100))
    (note,) = [note for note in few.notes if "no p-value below" in note]
    # 12 tests, none of which can have a p-value below 2/301: one alone would have q = .08.
    assert "so of 12 tests fewer than 2 cannot be" in note
    assert "--bootstrap 480" in note
    alone = oracle.benjamini_hochberg([2 / 301, *[0.9] * 11])[0]
    assert alone > 0.05 >= oracle.benjamini_hochberg([2 / 481, *[0.9] * 11])[0]
    second = (
        counted(50, 90).with_columns(seed=pl.lit("1")).filter(pl.col("source").ne_missing("t0"))
    )
    part = pl.concat([counted(50, 90), second])  # t0's cells, known of one seed, have no test
    fewer = ts.analyze(from_accuracy(part), Settings(bootstrap=300, null_draws=100))
    assert any("so of 9 tests fewer than 2 cannot be" in note for note in fewer.notes)
    enough = ts.analyze(from_accuracy(counted(50, 90)), Settings(bootstrap=480, null_draws=100))
    assert not any("no p-value below" in note for note in enough.notes)


def share_seen(
    seeds: int, items: int, base: float, effect: float, studies: int, sources: int
) -> float:
    """In how many simulated cells the effect is beyond noise, by `beyond_noise`."""
    names = tuple(map(str, range(studies)))
    world = simulate.SimulatedModel(
        names, np.full(studies, base), np.full((sources, studies), effect), np.full(studies, items)
    )
    answers = simulate.simulate_answers(world, seeds, 100 * seeds + items)
    tables = tuple(stats.ItemTable(a.base.astype(float), a.tuned.astype(float)) for a in answers)
    right, tuned = (
        np.stack([getattr(t, run).mean(-1) for t in tables], -1) for run in ("base", "tuned")
    )
    effects = (tuned - right[:, None]) / (1 - right[:, None])
    itself, ceiling = np.zeros((sources, studies), bool), np.ones(studies)
    data = stats.ModelData(effects, itself, tables, names, ceiling)
    draws = stats.bootstrap(data, draws=1000, seed=seeds, model="m").alone
    above = stats.intervals(draws, effects.mean(0), 0.05)[..., 0] > 0
    sure = np.stack([significance.changes(t).together <= 0.05 for t in tables], axis=-1)
    return float(np.mean(above & sure))


GRID = [(items, base) for items in (60, 130, 500) for base in (0.3, 0.5, 0.8)]


@pytest.mark.parametrize(
    "cells", [[(60, 0.8), (130, 0.5)], pytest.param(GRID, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("sources", [1, 12])
def test_power_is_reached_at_the_effect_it_names(seeds, sources, cells):
    # Two seeds of one source have a case of their own, in which more is told apart.
    studies = 40 if sources > 1 else 500 if seeds == 2 else 120
    seen = []
    for n, base in cells:
        effect = detection.power(n, seeds, base, exact=True, sources=sources)
        seen.append(share_seen(seeds, n, base, effect, studies, sources))
    # 3.5 Monte Carlo errors for each cell; 2.5 and two points for all together
    assert np.abs(np.array(seen) - 0.8).max() < 3.5 * np.sqrt(0.16 / studies)
    assert abs(np.mean(seen) - 0.8) < 0.02 + 2.5 * np.sqrt(0.16 / studies / len(cells))


@pytest.mark.parametrize("exact_too", [False, True])
@pytest.mark.parametrize("correlation", [0.2, 0.5])
@pytest.mark.parametrize(("items", "base"), [(60, 0.3), (60, 0.8), (130, 0.5), (500, 0.8)])
def test_power_of_one_seed_is_that_of_pairs_of_answers(items, base, correlation, exact_too):
    """Pairs of a bivariate normal distribution; a test of their mean, and the sign test."""
    effect = detection.power(items, 1, base, exact=exact_too, item_correlation=correlation)
    tuned, latent = base + effect * (1 - base), simulate.latent(correlation)
    scores = scipy.stats.multivariate_normal([0, 0], [[1, latent], [latent, 1]])
    both = scores.cdf(scipy.stats.norm.ppf([base, tuned]))
    chances = [tuned - both, base - both, 1 - tuned - base + 2 * both]
    fixed, broken, _ = np.random.default_rng(0).multinomial(items, chances, 40_000).T
    change = (fixed - broken) / items
    error = np.sqrt(((fixed + broken) / items - change**2) / items)
    seen = change > scipy.stats.norm.ppf(0.975) * error
    if exact_too:
        p_value = 2 * scipy.stats.binom.cdf(np.minimum(fixed, broken), fixed + broken, 0.5)
        seen &= p_value <= 0.05
    assert seen.mean() == pytest.approx(0.8, abs=0.015 if exact_too else 0.03)


def test_power_counts_the_exact_test():
    for seeds in (1, 10):
        assert detection.power(120, seeds, 0.5, exact=True) > detection.power(120, seeds, 0.5)
    # the base errs on 6 of 60 items: often on five or fewer, and five changes have p = 1/16
    assert np.isnan(detection.power(60, 10, 0.9, exact=True))
