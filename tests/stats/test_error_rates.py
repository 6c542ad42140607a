"""Studies in which nothing transfers: what is claimed of them, and how often."""

import numpy as np
import oracle
import polars as pl
import pytest

import transferscope as ts
from transferscope.matrix import from_accuracy, from_predictions
from transferscope.stats import simulate

TASKS = tuple(f"task {i}" for i in range(8))


def nothing_transfers(model: str, seed: int) -> pl.DataFrame:
    """Adapters that change few answers, as many for the better as for the worse."""
    world = simulate.SimulatedModel(
        tasks=TASKS,
        base_accuracy=np.linspace(0.4, 0.8, len(TASKS)),
        pgf=np.zeros((len(TASKS), len(TASKS))),
        items=np.full(len(TASKS), 100),
        item_correlation=0.9,
        seed_correlation=0.95,
    )
    return simulate.predictions_of(model, world, 1, seed)[0]


@pytest.mark.simulation
def test_where_nothing_transfers_hardly_a_study_says_that_something_holds():
    holds, harmful = [], []
    studies = pl.concat([nothing_transfers(f"m{study}", 50 + study) for study in range(10)])
    for model in ts.analyze(from_predictions(studies)).models.values():
        cells = [model.pgf[s][t] for s in TASKS for t in TASKS if s != t]
        holds.append(any(c.q_value <= 0.05 for c in cells))
        harmful += [verdict.kind == "harms" for verdict in model.verdicts.values()]
        p_values = [cell.p_value for cell in cells]
        q_values = [cell.q_value for cell in cells]
        assert q_values == pytest.approx(oracle.benjamini_hochberg(p_values))
    assert np.mean(holds) <= 0.1
    assert np.mean(harmful) <= 0.05


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


@pytest.mark.simulation
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
    analysis = ts.analyze(from_predictions(frame))
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
    near = ts.analyze(from_accuracy(counted(98, 97)))
    assert "m: the base errs on fewer than 10 items of t0 (2), t1 (2), t2 (2), t3 (2)." in " ".join(
        near.notes
    )
    assert near.models["m"].noise_floor is not None
    assert near.models["m"].noise_floor.transferability.positive > 0
    assert not any("noise floor" in note for note in near.notes)
    far = ts.analyze(from_accuracy(counted(90, 89)))
    assert not any("errs on fewer" in note for note in far.notes)
