"""What counts as beyond noise: the exact test over items, and the one rule that uses it."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from analysis_factory import Shape, make
from hypothesis import given
from hypothesis import strategies as st

from transferscope.analysis import Cell
from transferscope.analysis.parts import Estimate
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.heatmaps import heatmap
from transferscope.report.tables import glance
from transferscope.stats import ItemTable, mcnemar
from transferscope.stats.significance import changes, sign_flip, together

CELL = Cell(0.2, 0.1, (0.1, 0.3), 0.01, 0.02, {"0": 0.2})


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_the_exact_test_counts_all_ways_to_turn_the_changes_round(changed):
    sizes, total = np.abs(changed), abs(sum(changed))
    ways = np.array(list(product((-1, 1), repeat=len(changed)))) @ sizes
    assert sign_flip(np.array(changed)) == pytest.approx(np.mean(np.abs(ways) >= total))


@given(st.integers(0, 30), st.integers(0, 30))
def test_with_one_seed_the_exact_test_is_mcnemars(fixed, broken):
    before = np.array([[0.0] * fixed + [1.0] * broken + [1.0, 0.0]])
    after = np.array([[1.0] * fixed + [0.0] * broken + [1.0, 0.0]])
    assert together(before, after) == pytest.approx(mcnemar(before[0] == 1, after[0] == 1))


def test_seeds_that_agree_on_the_same_few_items_are_no_more_certain_than_one():
    before, after = np.ones((4, 50)), np.ones((4, 50))
    after[:, :3] = 0
    assert together(before, after) == pytest.approx(2 * 0.5**3)
    after[1, :3], after[1, 3:6] = 1, 0
    assert together(before, after) < 0.05  # six items now, all for the worse


def test_thousands_of_changed_items_are_no_trouble():
    assert sign_flip(np.tile([1, -1, 4, -4], 2500)) == pytest.approx(1)
    assert sign_flip(np.ones(5000, int)) < 1e-12


def test_only_items_that_both_answered_count_and_scores_are_left_out():
    before, after = np.array([[1.0, 1, np.nan]]), np.array([[0.0, np.nan, 0]])
    assert together(before, after) == 1  # one item changed, of one
    table = ItemTable(before, after[:, None])
    assert changes(table).together == pytest.approx(changes(table).by_seed[0])
    scored = ItemTable(np.array([[0.5, 1.0]]), np.array([[[0.0, 0.0], [1.0, 0.7]]]))
    assert np.isnan(changes(scored).together).all()
    assert np.isnan(together(np.full((1, 2), np.nan), np.zeros((1, 2))))


@pytest.mark.parametrize(
    ("changed", "beyond"),
    [
        ({}, True),
        ({"ci": (-0.1, 0.3)}, False),
        ({"ci": (0.0, 0.3)}, False),
        ({"ci": (math.nan, math.nan)}, None),
        ({"exact_p": 0.05}, True),
        ({"exact_p": 0.06}, False),
        ({"exact_p": math.nan}, True),
        ({"exact_p": 0.01, "ci": (-0.1, 0.3)}, False),
    ],
)
def test_an_effect_is_beyond_noise_where_interval_and_exact_test_agree(changed, beyond):
    assert beyond_noise(replace(CELL, **changed), 0.05) is beyond


def test_an_estimate_is_judged_by_its_interval():
    assert beyond_noise(Estimate(0.2, (0.1, 0.3), {}), 0.05) is True
    assert beyond_noise(Estimate(0.2, (-0.1, 0.3), {}), 0.05) is False


def test_the_figure_and_the_table_follow_the_rule():
    analysis = make(Shape(models=("3B",)))
    record = analysis.models["3B"]
    few = {
        source: {target: replace(cell, exact_p=0.5) for target, cell in row.items()}
        for source, row in record.pgf.items()
    }
    changed = replace(analysis, models={"3B": replace(record, pgf=few)})
    spec = heatmap(changed, "3B", "")
    assert spec is not None
    assert "0 drawn as beyond noise" in spec["description"]
    assert glance(changed).rows[0][1][0].text == "0 helped, 0 harmed"
    assert glance(analysis).rows[0][1][0].text != "0 helped, 0 harmed"
