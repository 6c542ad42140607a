"""The effect that a study is said to detect is detected as often as that."""

import numpy as np
import pytest
from messages import raises

from transferscope.errors import DataError
from transferscope.stats import paired_effects, simulate
from transferscope.stats.power import power


def share_seen(seeds: int, items: int, base: float, effect: float, sources: int) -> float:
    """In how many simulated cells the interval leaves out 0."""
    targets = 1200 // sources
    world = simulate.SimulatedModel(
        tuple(map(str, range(targets))),
        np.full(targets, base),
        np.full((sources, targets), effect),
        np.full(targets, items),
    )
    seen = []
    for answers in simulate.simulate_answers(world, seeds, 100 * seeds + items):
        found = paired_effects(answers.base.astype(float), answers.tuned.astype(float)).effect
        seen.append(found.interval()[0] > 0)
    return float(np.mean(seen))


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("seeds", "sources", "items", "base"),
    [
        *((1, 1, 130, 0.5), (2, 12, 130, 0.5), (4, 12, 130, 0.5), (4, 1, 130, 0.5)),
        *((2, 12, 60, 0.3), (2, 12, 500, 0.8)),
    ],
)
def test_power_is_reached_at_the_effect_it_names(seeds, sources, items, base):
    effect = power(items, seeds, base, sources=sources)
    assert share_seen(seeds, items, base, effect, sources) == pytest.approx(0.8, abs=0.06)


def test_power_improves_with_items_and_seeds():
    assert power(400, 4, 0.5) < power(100, 4, 0.5)
    assert power(100, 10, 0.5) < power(100, 3, 0.5)
    assert power(100, 2, 0.5, sources=13) < power(100, 2, 0.5)
    assert np.isnan(power(10, 4, 0.9))
    assert 0 < power(150, 4, 0.0) < 0.2


@pytest.mark.parametrize("wrong", [(0, 4, 0.5), (100, 0, 0.5), (100, 4, 1.0), (100, 4, 60.0)])
def test_power_refuses_a_study_that_cannot_be(wrong):
    with raises(DataError):
        power(*wrong)
