"""The matrix of a table: direct formulas, labels, ceilings, and what is noted."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import raises
from tables import accuracies, long

from transferscope.errors import DataError
from transferscope.matrix import apply_ceiling, from_accuracy, from_pgf, from_predictions
from transferscope.readers.counts import with_counts
from transferscope.suites import KNOWN_TASKS

# Accuracy tables


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_an_accuracy_table_gives_the_formula_of_every_cell(seed):
    rng = np.random.default_rng(seed)
    base, tuned = rng.random((2, 3)), rng.random((2, 4, 3))
    base[0, 0] = 1.0
    tuned[0, 1, 2] = np.nan
    dataset = from_accuracy(accuracies(base, tuned).sample(fraction=1, shuffle=True, seed=seed))
    ordered = dataset.sel(
        seed=["s0", "s1"],
        source=[f"task {i}" for i in range(4)],
        target=[f"task {j}" for j in range(3)],
    )
    np.testing.assert_array_equal(ordered["accuracy"].values[0], tuned)
    for s, i, j in np.ndindex(2, 4, 3):
        expected = np.nan
        if base[s, j] < 1:
            expected = (tuned[s, i, j] - base[s, j]) / (1 - base[s, j])
        assert ordered["pgf"].values[0, s, i, j] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert "m: of 24 cells, 1 is not measured" in dataset.attrs["notes"]
    # the base at 1 leaves its column of 4 sources without a PGF
    assert dataset.attrs["ceiling_notes"] == [
        "m: of 24 cells, 4 are undefined: the baseline is at or above the ceiling"
    ]


def test_one_base_serves_all_seeds_of_its_model_alone():
    once = long([[[0.5]]], "accuracy", sources=[None], targets=["t"])
    once = once.with_columns(seed=pl.lit(None, pl.String))
    other = long([[[0.2]], [[0.4]]], "accuracy", model="n", sources=[None], targets=["t"])
    tuned = [
        long([[[0.75]], [[1.0]]], "accuracy", model=m, sources=["a"], targets=["t"]) for m in "mn"
    ]
    found = from_accuracy(pl.concat([once, other, *tuned]))
    np.testing.assert_allclose(found["base_accuracy"].values[:, :, 0], [[0.5, 0.5], [0.2, 0.4]])
    np.testing.assert_allclose(found["pgf"].values[0, :, 0, 0], [0.5, 1.0])


def test_a_missing_base_leaves_its_cells_unknown_and_is_named():
    table = accuracies([[0.5, 0.5], [0.5, 0.5]], np.full((2, 3, 2), 0.6))
    missing = (pl.col("seed") == "s1") & (pl.col("target") == "task 1") & pl.col("source").is_null()
    found = from_accuracy(table.filter(~missing))
    assert found["pgf"].isnull().sum() == 3
    assert found["accuracy"].notnull().all()
    assert (
        "m: of 4 pairs of seed and target, 1 is without a base, hence without effects: 'task 1'"
        in (found.attrs["notes"])
    )


def test_a_seed_that_a_model_never_had_is_not_a_missing_measurement():
    two = accuracies([[0.5]] * 2, [[[0.6]]] * 2, seeds=["x", "y"], sources=["a"], targets=["t"])
    one = accuracies([[0.5]], [[[0.7]]], model="n", seeds=["z"], sources=["a"], targets=["t"])
    found = from_accuracy(pl.concat([two, one]))
    assert found["seed"].values.tolist() == ["x", "y", "z"]
    np.testing.assert_array_equal(
        found["pgf"].notnull().values[:, :, 0, 0], [[True, True, False], [False, False, True]]
    )
    text = " ".join(found.attrs["notes"])
    assert "not measured" not in text
    assert "n: a single seed" in text


def test_tasks_that_are_source_and_target_share_the_targets_order():
    table = accuracies(
        [[0.5, 0.5]], np.full((1, 2, 2), 0.6), sources=["b", "a"], targets=["a", "b"]
    )
    found = from_accuracy(table)
    assert found["source"].values.tolist() == found["target"].values.tolist() == ["a", "b"]
    wide = accuracies(
        [[0.5, 0.5]], np.full((1, 3, 2), 0.6), sources=["b", "a", "c"], targets=["a", "b"]
    )
    assert from_accuracy(wide)["source"].values.tolist() == ["b", "a", "c"]


def test_models_with_other_tasks_are_refused_by_name():
    one = accuracies([[0.5]], [[[0.6]]], sources=["a"], targets=["t"])
    two = accuracies([[0.5]], [[[0.6]]], model="n", sources=["a"], targets=["u"])
    with raises(DataError):
        from_accuracy(pl.concat([one, two]))


def test_a_mistaken_column_is_refused_before_it_fills_the_memory():
    names = [f"n{i}" for i in range(500)]
    table = pl.DataFrame(
        {"model": "m", "seed": names, "source": names, "target": names, "pgf": 0.1}
    )
    with raises(DataError):
        from_pgf(table)


# Labels


def test_known_tasks_carry_their_place_in_the_paper_and_unknown_ones_a_short_name():
    targets = ["Relative_Depth", "relative depth", "<script>", "My New Skill", "Object Lost", "??"]
    found = from_pgf(long(np.full((1, 1, 6), 0.5), "pgf", sources=["Jigsaw"], targets=targets))
    assert found["abbreviation"].values.tolist() == ["RD", "RD2", "SC", "MNS", "OL", "T"]
    assert found["level"].values.tolist() == ["low", "", "", "", "", ""]
    assert found["granularity"].values.tolist() == ["pixel", "", "", "", "", ""]
    assert found["source_level"].values.tolist() == ["mid"]
    assert found["source_granularity"].values.tolist() == ["crop"]
    assert found["source_abbreviation"].values.tolist() == ["JG"]
    note = next(n for n in found.attrs["notes"] if "no known suite" in n)
    assert note.startswith(
        "in no known suite, so level and granularity are unknown: 'relative depth', '<script>', "
    )
    assert "for 'relative depth' did you mean 'Relative_Depth'?" in note


@settings(max_examples=10)
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=30, unique=True))
def test_abbreviations_tell_all_tasks_apart(names):
    names = [name for name in names if "\0" not in name] or ["t"]
    table = long(np.zeros((1, len(names), 1)), "pgf", sources=names, targets=[*KNOWN_TASKS][:1])
    short = from_pgf(table)["source_abbreviation"].values.tolist()
    assert len(set(short)) == len(names)
    assert all(short)


def test_a_number_in_a_name_is_kept_in_its_abbreviation():
    names = ["Task 1", "Task 2", "Task 12", "task12", "Level_3_Tables", "Depth"]
    table = long(np.zeros((1, 6, 1)), "pgf", sources=names, targets=[*KNOWN_TASKS][:1])
    short = from_pgf(table)["source_abbreviation"].values.tolist()
    assert short == ["T1", "T2", "T12", "T12-2", "L3T", "DE"]


# Ceilings


@pytest.mark.parametrize("ceiling", [0.9, {"task 0": 0.9, "task 1": 1.0, "task 2": 0.55}])
def test_a_given_ceiling_takes_the_place_of_1(ceiling):
    rng = np.random.default_rng(0)
    base, tuned = rng.uniform(0.1, 0.5, (2, 3)), rng.uniform(0, 1, (2, 3, 3))
    found = apply_ceiling(from_accuracy(accuracies(base, tuned)), ceiling)
    bounds = np.array([0.9] * 3 if isinstance(ceiling, float) else list(ceiling.values()))
    expected = (tuned - base[:, None]) / (bounds - base[:, None])
    np.testing.assert_allclose(found["pgf"].values[0], expected, rtol=1e-12)
    np.testing.assert_array_equal(found["ceiling"].values, bounds)
    above = int((expected > 1).sum())
    are = "is" if above == 1 else "are"
    assert (
        f"m: of 18 cells, {above} {are} above the ceiling, with PGF over 1" in found.attrs["notes"]
    )


def test_table_1_task_c_holds_with_its_printed_ceiling():
    # The paper's Table 1: A and B as printed; C is -1.00 by eq. 3 and its printed ceiling of 99.
    table = accuracies(
        [[0.90, 0.40, 0.98]], [[[0.93, 0.50, 0.97]]], sources=["x"], targets=["A", "B", "C"]
    )
    found = apply_ceiling(from_accuracy(table), {"A": 0.95, "B": 0.95, "C": 0.99})
    np.testing.assert_allclose(found["pgf"].values.ravel(), [0.60, 0.10 / 0.55, -1.00])
    assert float(from_accuracy(table)["pgf"][0, 0, 0, 2]) == pytest.approx(-0.50)


def test_the_diagonal_as_ceiling_is_each_models_seed_mean():
    rng = np.random.default_rng(1)
    base, tuned = rng.uniform(0.1, 0.3, (3, 2)), rng.uniform(0.4, 1, (3, 2, 2))
    found = apply_ceiling(from_accuracy(accuracies(base, tuned)), "self")
    own = tuned[:, [0, 1], [0, 1]].mean(axis=0)
    assert found["ceiling"].dims == ("model", "target")
    np.testing.assert_allclose(found["ceiling"].values[0], own)
    expected = (tuned - base[:, None]) / (own - base[:, None])
    np.testing.assert_allclose(found["pgf"].values[0], expected)


def test_with_the_diagonal_as_ceiling_the_number_of_items_cancels():
    rng = np.random.default_rng(2)
    errors = rng.integers(40, 60, (3, 1, 2))
    changes = rng.integers(-20, 30, (3, 5, 2))
    sources = ["Jigsaw", "new", "a", "b", "c"]
    values = changes / errors
    blind = with_counts(from_pgf(long(values, "pgf", sources=sources, targets=["x", "new"])))
    known = long(1 - (errors - changes) / 777, "accuracy", sources=sources, targets=["x", "new"])
    bases = long(1 - errors / 777, "accuracy", sources=[None], targets=["x", "new"])
    seen = apply_ceiling(from_accuracy(pl.concat([bases, known])), "self")
    blind = apply_ceiling(blind, "self")
    np.testing.assert_allclose(blind["pgf"].values, seen["pgf"].values, rtol=1e-9)
    left = (errors - changes)[:, 1, 1].mean()
    direct = changes[:, :, 1] / (errors[:, :, 1] - left)
    np.testing.assert_allclose(blind["pgf"].values[0, :, :, 1], direct, rtol=1e-9)
    assert blind["ceiling"].isnull().all()  # known only with the items
    assert blind["pgf"].sel(target="x").isnull().all()  # no source of that name
    assert any("target's own source are missing: 'x'" in note for note in blind.attrs["notes"])


def test_a_baseline_that_equals_the_diagonal_is_no_gap_whatever_the_rounding():
    assert 0.1 + 0.2 > 0.3
    base = np.full((3, 2), 0.3)
    tuned = np.full((3, 2, 2), 0.1 + 0.2)
    found = apply_ceiling(from_accuracy(accuracies(base, tuned)), "self")
    assert found["pgf"].isnull().all()
    assert found.attrs["ceiling_notes"] == [
        "m: of 12 cells, 12 are undefined: the baseline is at or above the ceiling"
    ]


def test_a_pgf_table_without_accuracies_takes_no_other_ceiling():
    values = np.round(np.random.default_rng(3).uniform(-0.5, 0.9, (1, 4, 2)), 3)
    plain = with_counts(from_pgf(long(values, "pgf")))
    found = apply_ceiling(plain, {"task 0": 1.0, "task 1": 0.9})
    np.testing.assert_array_equal(found["pgf"].values[0, :, :, 0], values[:, :, 0])
    assert found["pgf"].sel(target="task 1").isnull().all()
    assert found.attrs["ceiling_notes"] == [
        "m: of 8 cells, 4 are unknown at this ceiling, because accuracies behind the PGF or the "
        "target's own source are missing: 'task 1'"
    ]


def test_another_ceiling_replaces_the_notes_of_the_last_one():
    table = accuracies([[0.5]], [[[0.6]]], sources=["a"], targets=["t"])
    plain = from_accuracy(table)
    low = apply_ceiling(plain, 0.4)
    assert len(low.attrs["notes"]) == len(plain.attrs["notes"]) + 1
    assert apply_ceiling(low, 1.0).attrs["notes"] == plain.attrs["notes"]
    assert plain.attrs["ceiling_notes"] == []


@pytest.mark.parametrize(
    "ceiling",
    [
        95,
        0.0,
        -1,
        math.nan,
        "own",
        {"task 0": 0.9},
        {"task 0": 90, "task 1": 1},
        {"task O": 0.9},
        {"else": 0.9},
    ],
)
def test_a_ceiling_that_is_none_is_refused(ceiling):
    dataset = from_accuracy(accuracies([[0.5, 0.5]], np.full((1, 2, 2), 0.6)))
    with raises(DataError):
        apply_ceiling(dataset, ceiling)


# Predictions


def answers(correct, source, *, seed: str | None = "s", target="t", items=None):
    items = items or [f"q{i}" for i in range(len(correct))]
    return pl.DataFrame(
        {"model": "m", "seed": seed, "source": source, "target": target, "item": items}
        | {"correct": [bool(c) for c in correct]},
        schema_overrides={"source": pl.String, "seed": pl.String},
    )


@settings(max_examples=5)
@given(st.integers(0, 10_000))
def test_predictions_give_their_counts_and_keep_every_item(seed):
    rng = np.random.default_rng(seed)
    sizes = {"a": 4, "b": 7}
    truth = {(s, i, t): rng.integers(0, 2, n) for s in "xy" for i in ("a", "b", None)
             for t, n in sizes.items()}  # fmt: skip
    rows = pl.concat(
        [
            answers(right, i, seed=s, target=t, items=[f"{t}{k}" for k in range(len(right))])
            for (s, i, t), right in truth.items()
        ]
    )
    found = from_predictions(rows.sample(fraction=1, shuffle=True, seed=seed)).isel(model=0)
    for (s, i, t), right in truth.items():
        cell = found.sel(seed=s, target=t)
        where = found["item_target"] == t
        if i is None:
            items = found["base_item_correct"].sel(seed=s)[where]
            counts = (cell["base_correct"], cell["base_total"], cell["base_accuracy"])
            assert float(cell["base_errors"]) == len(right) - right.sum()
        else:
            items = found["item_correct"].sel(seed=s, source=i)[where]
            cell = cell.sel(source=i)
            counts = (cell["correct"], cell["total"], cell["accuracy"])
        assert [float(c) for c in counts] == [right.sum(), len(right), right.mean()]
        order = [f"{t}{k}" for k in range(len(right))]
        np.testing.assert_array_equal(items.sel(item=order).values, right)
    assert found["item_correct"].dtype == found["base_item_correct"].dtype == np.int8


def test_items_that_two_targets_share_are_told_apart():
    rows = pl.concat([answers([1, 0], i, target=t) for i in (None, "t", "u") for t in ("t", "u")])
    found = from_predictions(rows)
    assert found["item"].values.tolist() == ["t/q0", "t/q1", "u/q0", "u/q1"]
    assert found["item_target"].values.tolist() == ["t", "t", "u", "u"]


def test_items_of_a_target_and_group_share_a_number_and_others_have_their_own():
    rows = pl.concat([answers([1] * 5, i, target=t) for i in (None, "t", "u") for t in ("t", "u")])
    assert from_predictions(rows)["item_group"].values.tolist() == list(range(10))
    groups = pl.col("item").replace_strict({"q1": "a", "q3": "a", "q4": "b"}, default=None)
    known = pl.col("source").is_not_null()  # as of a base from before there were groups
    found = from_predictions(rows.with_columns(group=pl.when(known).then(groups)))
    assert found["item_group"].values.tolist() == [0, 1, 2, 1, 3, 4, 5, 6, 5, 7]
    assert found["item_group"].dims == ("item",)
    named = pl.when(known).then(pl.lit("b")).otherwise(pl.lit("a"))
    with raises(DataError):
        from_predictions(rows.with_columns(group=named))


def test_one_base_run_without_a_seed_serves_every_seed_item_by_item():
    rows = [answers([1, 0, 1], None, seed=None)]
    rows += [answers([1, 1, 0], "t", seed=s) for s in ("x", "y")]
    found = from_predictions(pl.concat(rows)).isel(model=0)
    np.testing.assert_array_equal(found["base_item_correct"].values, [[1, 0, 1]] * 2)


def test_an_item_that_was_not_asked_is_marked_and_counted():
    rows = pl.concat([answers([1, 0, 1], None), answers([1, 0], "t")])
    found = from_predictions(rows)
    np.testing.assert_array_equal(found["item_correct"].values.ravel(), [1, 0, -1])
    assert float(found["total"].item()) == 2
    assert float(found["run_total"].item()) == 2
    assert (
        "m: in 1 of 1 cells, base and run did not answer the same items; effects are computed on "
        "the items that both answered: t (2 of 3)"
    ) in found.attrs["notes"]
