"""Controls stand beside the matrix, and effects beyond a placebo are what they are called."""

import json
import math
import statistics
from dataclasses import replace

import numpy as np
import oracle
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import raises
from tables import refused

import transferscope as ts
from transferscope.analysis import placebo
from transferscope.analysis.json_file import from_json, to_json
from transferscope.analysis.model_effects import model_effects
from transferscope.analysis.parts import Adjusted, Decomposition, Estimate
from transferscope.analysis.placebo import control_effects
from transferscope.analysis.settings import Settings
from transferscope.errors import DataError
from transferscope.matrix import from_predictions
from transferscope.matrix.control_runs import effects, with_controls
from transferscope.matrix.task_effects import variance_shares
from transferscope.predictions import check_predictions
from transferscope.report.section_tables import remaining_variance
from transferscope.stats import simulate

QUICK = Settings()
TASKS = ("a", "b", "c", "d")
PLACEBO = "format-only"


def a_world(items: int = 60, placebo: float = 0.15, spread: float = 0.1) -> simulate.SimulatedModel:
    """Effects that are the placebo's plus something of each pair's own."""
    rng = np.random.default_rng(5)
    size = len(TASKS)
    column = placebo * np.array([1.0, -1.0, 0.5, 0.0])
    return simulate.SimulatedModel(
        tasks=TASKS,
        base_accuracy=rng.uniform(0.35, 0.65, size),
        pgf=column + spread * rng.standard_normal((size, size)),
        items=np.full(size, items),
        controls={PLACEBO: column, "reordered": np.zeros(size)},
    )


@pytest.fixture(scope="module")
def study():
    """Predictions and controls of a model with three seeds."""
    return simulate.predictions_of("m", a_world(), 3, 0)


def matrix_of(predictions, controls):
    return with_controls(from_predictions(predictions), predictions, controls)


def compared(matrix, chosen=QUICK, model="m"):
    return control_effects(model_effects(matrix, matrix["pgf"], model, chosen))


def folder(path, predictions, controls):
    for name, table in (("predictions", predictions), ("controls", controls)):
        (path / name).mkdir(parents=True)
        table.write_parquet(path / name / "one.parquet")
    return path


# What is read


def test_a_study_folders_controls_are_read_and_are_no_sources(study, tmp_path):
    predictions, controls = study
    matrix = ts.read_results(folder(tmp_path / "s", predictions, controls))
    assert matrix["source"].values.tolist() == list(TASKS)
    assert matrix["control"].values.tolist() == [PLACEBO, "reordered"]
    share = controls.filter(pl.col("source") == PLACEBO, pl.col("target") == "b")
    expected = share.group_by("seed", maintain_order=True).agg(pl.col("correct").mean())
    found = matrix["control_accuracy"].sel(control=PLACEBO, target="b").values[0]
    assert found == pytest.approx(expected["correct"].to_numpy())


def test_controls_change_no_number_of_the_sources(study):
    predictions, controls = study
    without = json.loads(to_json(ts.analyze(from_predictions(predictions), QUICK)))
    beside = json.loads(to_json(ts.analyze(matrix_of(predictions, controls), QUICK)))
    for model in (without["models"]["m"], beside["models"]["m"]):
        for field in ("controls", "adjusted"):
            assert bool(model.pop(field)) == (model is beside["models"]["m"])
        model["behaviour"].pop("controls")
    assert without == beside


def test_controls_follow_a_model_that_is_renamed(study, tmp_path):
    path = folder(tmp_path / "s", *study)
    matrix = ts.read_results({"9B": path})
    assert bool(matrix["control_accuracy"].sel(model="9B").notnull().all())
    other = ts.read_results({"9B": path, "n": folder(tmp_path / "t", *study)})
    assert bool(other["control_accuracy"].notnull().all())


def test_items_with_equal_names_in_two_targets_are_told_apart(study):
    numbered = [
        table.with_columns(item=pl.col("item").str.split("/").list.last()) for table in study
    ]
    one, two = matrix_of(*study), matrix_of(*numbered)
    assert two["item"].values[0] == "a/0"
    np.testing.assert_array_equal(one["control_item_correct"], two["control_item_correct"])


def test_what_of_a_control_has_no_place_is_left_out_and_said(study):
    predictions, controls = study
    odd = controls.with_columns(
        seed=pl.when(pl.col("seed") == "seed_2").then(pl.lit("seed_9")).otherwise("seed"),
    )
    matrix = matrix_of(predictions, pl.concat([odd, odd.with_columns(model=pl.lit("other"))]))
    assert "seed_9" not in matrix["seed"].values
    assert any(
        "have a model, seed or target that no source has" in n for n in matrix.attrs["notes"]
    )
    analysis = ts.analyze(matrix, QUICK)
    assert (
        "m: format-only was measured in 2 of 3 seeds; adjusted effects use those." in analysis.notes
    )
    assert "m: reordered was measured in 2 of 3 seeds." in analysis.notes


def test_items_that_only_a_control_was_asked_are_not_compared(study):
    predictions, controls = study
    more = controls.filter(pl.col("item") == "a/0").with_columns(item=pl.lit("a/extra"))
    matrix = matrix_of(predictions, pl.concat([controls, more]))
    assert "a/extra" not in matrix["item"].values
    assert matrix.sizes["item"] == from_predictions(predictions).sizes["item"]


def test_an_option_that_only_a_control_chose_has_its_place(study):
    predictions, controls = study
    odd = pl.when(pl.col("source") == PLACEBO).then(9).otherwise("choice")
    matrix = matrix_of(predictions, controls.with_columns(choice=odd, correct=pl.lit(False)))
    behaviour = ts.analyze(matrix, QUICK).models["m"].behaviour
    assert behaviour is not None
    assert behaviour.controls[PLACEBO]["a"].letters[9] == 1
    assert set(behaviour.controls[PLACEBO]["a"].collapsed.values()) == {9}
    assert sum(behaviour.sources["b"]["a"].letters) == pytest.approx(1, abs=1e-3)


def test_a_controls_name_is_its_own(study, tmp_path):
    predictions, controls = study
    taken = controls.with_columns(source=pl.lit("a"), item=pl.format("{}{}", "source", "item"))
    message = refused(folder(tmp_path / "s", predictions, taken))
    assert message == "controls: 'a' is the name of a source too; rename one"
    base = predictions.filter(pl.col("source").is_null())
    message = refused(folder(tmp_path / "t", predictions, pl.concat([controls, base])))
    assert "a table of controls with rows of the base" in message
    with raises(DataError):
        matrix_of(predictions, base)


# What is said


@st.composite
def counts(draw):
    """Correct answers of a base, two sources and a placebo in three seeds; some not measured."""
    items, seeds = draw(st.integers(4, 12)), ("0", "1", "2")
    runs = {}
    for source in (None, "a", "b", PLACEBO):
        for seed in seeds:
            for target in ("a", "b"):
                hole = source is not None and seed != "0" and draw(st.integers(0, 4)) == 0
                if not hole:
                    runs[seed, source, target] = draw(st.integers(0, items))
    return items, seeds, runs


@settings(max_examples=12, deadline=None)
@given(study=counts())
def test_adjusted_effects_agree_with_the_oracle(study):
    items, seeds, runs = study
    rows = pl.DataFrame(
        [
            ("m", seed, source, target, f"{target}{k}", k < right)
            for (seed, source, target), right in runs.items()
            for k in range(items)
        ],
        schema=["model", "seed", "source", "target", "item", "correct"],
        orient="row",
    )
    placebo = (pl.col("source") == PLACEBO).fill_null(False)
    matrix = matrix_of(rows.filter(~placebo), rows.filter(placebo))
    found = compared(matrix)

    def pgf(seed, source, target):
        if (seed, source, target) not in runs:
            return math.nan
        return oracle.pgf(runs[seed, None, target] / items, runs[seed, source, target] / items)

    cube = {s: {i: {j: pgf(s, i, j) for j in "ab"} for i in "ab"} for s in seeds}
    base = {s: {j: pgf(s, PLACEBO, j) for j in "ab"} for s in seeds}
    expected = oracle.adjusted(cube, base)
    known = [s for s in seeds if any((s, i, j) in runs for i in "ab" for j in "ab")]
    if not oracle.finite(base[s][j] for s in known for j in "ab"):
        assert found.adjusted is None
        return
    assert found.adjusted is not None
    for i in "ab":
        for j in "ab":
            cell = found.adjusted.cells[i][j]
            for s in known:
                assert cell.seeds[s] == pytest.approx(expected[s][i][j], abs=1e-12, nan_ok=True)
            mean = oracle.mean(expected[s][i][j] for s in known)
            assert cell.mean == pytest.approx(mean, abs=1e-12, nan_ok=True)
    apart = [oracle.mean(expected[s][i][j] for i, j in ("ab", "ba")) for s in known]
    assert found.adjusted.mean.mean == pytest.approx(oracle.mean(apart), abs=1e-12, nan_ok=True)
    for j in "ab":
        cell = found.controls[PLACEBO].targets[j]
        assert cell.mean == pytest.approx(oracle.mean(base[s][j] for s in known), nan_ok=True)


@pytest.mark.simulation
@pytest.mark.parametrize("seeds", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_intervals_of_adjusted_effects_cover_the_truth_of_a_simulated_study(seeds):
    world, covered, alone, wide = a_world(), [], [], []
    truth = world.pgf - world.controls[PLACEBO]
    # The studies are models of one matrix, which is made once.
    studies = [simulate.predictions_of(f"m{k}", world, seeds, 50 + k) for k in range(40)]
    matrix = matrix_of(*map(pl.concat, zip(*studies, strict=True)))
    for number in range(40):
        found = compared(matrix, replace(QUICK, seed=number), f"m{number}")
        assert found.adjusted is not None
        cells = [[found.adjusted.cells[i][j] for j in TASKS] for i in TASKS]
        ends = np.array([[cell.ci for cell in row] for row in cells])
        covered.append((ends[..., 0] <= truth) & (truth <= ends[..., 1]))
        low, high = found.controls[PLACEBO].mean.ci
        alone.append(low <= world.controls[PLACEBO].mean() <= high)
        wide.append(high - low)
    assert 0.93 <= np.mean(covered) <= 0.995
    assert np.mean(alone) >= 0.85
    assert np.max(wide) < 0.9  # two seeds of a mean may agree by luck, or be 12.7 errors wide


def test_a_source_that_answers_as_the_placebo_does_has_no_effect_beyond_it(study):
    predictions, controls = study
    placebo = controls.filter(pl.col("source") == PLACEBO)
    same = placebo.with_columns(source=pl.lit("a"))
    rest = predictions.filter((pl.col("source") != "a") | pl.col("source").is_null())
    found = compared(matrix_of(pl.concat([rest, same]), controls))
    assert found.adjusted is not None
    for cell in found.adjusted.cells["a"].values():
        assert cell.mean == 0
        # Other seeds of the two may differ, as those of the other cells do.
        assert cell.ci[0] < 0 < cell.ci[1]
        assert cell.ci[0] == pytest.approx(-cell.ci[1], rel=0.15)


def test_a_placebo_takes_the_targets_share_of_the_variance_with_it():
    world = a_world(items=1500, placebo=0.4, spread=0.02)
    analysis = ts.analyze(matrix_of(*simulate.predictions_of("m", world, 2, 0)), QUICK)
    adjusted = analysis.models["m"].adjusted
    assert adjusted is not None
    assert analysis.decomposition["m"].target > 0.9
    assert adjusted.variance < 0.1
    share = adjusted.decomposition
    assert share.ci["target"][0] <= share.target <= share.ci["target"][1]


def test_shuffled_stands_in_for_format_only_and_reordered_is_never_subtracted(study):
    predictions, controls = study
    renamed = controls.with_columns(pl.col("source").replace({PLACEBO: "shuffled"}))
    analysis = ts.analyze(matrix_of(predictions, renamed), QUICK)
    adjusted = analysis.models["m"].adjusted
    assert adjusted is not None
    assert adjusted.placebo == "shuffled"
    assert "m: adjusted effects are those beyond shuffled, as format-only was not run." in (
        analysis.notes
    )
    alone = controls.filter(pl.col("source") == "reordered")
    model = ts.analyze(matrix_of(predictions, alone), QUICK).models["m"]
    assert list(model.controls) == ["reordered"]
    assert model.adjusted is None


def test_what_a_control_was_not_asked_is_not_wrong(study):
    predictions, controls = study
    asked = (pl.col("source") != PLACEBO) | (pl.col("item") != "a/7")
    part = compared(matrix_of(predictions, controls.filter(asked))).controls[PLACEBO]
    rest = pl.col("item") != "a/7"
    without = compared(matrix_of(predictions.filter(rest), controls.filter(rest))).controls[PLACEBO]
    assert part.targets["a"].mean == pytest.approx(without.targets["a"].mean)
    assert part.targets["b"] == without.targets["b"]


def test_each_model_has_its_own_controls_and_the_first_placebo_is_subtracted(study):
    predictions, controls = study
    other = predictions.with_columns(model=pl.lit("n"))
    both = controls.with_columns(pl.col("source").replace({"reordered": "shuffled"}))
    models = ts.analyze(matrix_of(pl.concat([predictions, other]), both), QUICK).models
    assert models["n"].controls == {}
    assert models["n"].adjusted is None
    assert set(models["m"].controls) == {PLACEBO, "shuffled"}
    assert models["m"].adjusted.placebo == PLACEBO


def test_of_the_variance_beyond_the_placebo_a_second_computation_says_the_same(study):
    model = ts.analyze(matrix_of(*study), QUICK).models["m"]
    adjusted, pairs = model.adjusted, [(i, j) for i in TASKS for j in TASKS if i != j]
    beyond, plain = (
        statistics.pvariance(cells[i][j].mean for i, j in pairs)
        for cells in (adjusted.cells, model.pgf)
    )
    assert adjusted.variance == pytest.approx(beyond / plain)
    low, high = adjusted.variance_ci
    assert low < adjusted.variance < high
    cube = {
        s: {i: {j: adjusted.cells[i][j].seeds[s] for j in TASKS} for i in TASKS}
        for s in model.seeds
    }
    expected = oracle.decompose(cube)
    for share in ("target", "source", "both"):
        assert getattr(adjusted.decomposition, share) == pytest.approx(getattr(expected, share))


def test_shares_of_the_variance_are_of_known_effects_on_others_and_from_0_to_1(study):
    matrix, rng = matrix_of(*study), np.random.default_rng(0)
    evidence = model_effects(matrix, matrix["pgf"], "m", QUICK)
    itself = evidence.itself
    mean = np.add.outer(0.05 * rng.standard_normal(4), rng.standard_normal(4))
    shares = variance_shares(mean, ~itself)
    drawn = np.repeat(mean[..., None], 300, axis=2)
    drawn[itself] = rng.standard_normal((4, 300))
    found = placebo.decomposition(evidence, mean, drawn)
    for name, share in shares._asdict().items():
        assert found.ci[name] == pytest.approx((share, share), abs=1e-6)
    noisy = mean[..., None] + rng.standard_normal((4, 4, 300))
    found = placebo.decomposition(evidence, mean, noisy)
    assert found.both == pytest.approx(1)
    assert found.ci["both"][1] == found.ci["target"][1] == 1
    assert found.ci["source"][0] == 0


def test_without_a_difference_between_sources_no_share_of_it_is_left(study):
    predictions, controls = study
    base = predictions.filter(pl.col("source").is_null())
    same = [base.with_columns(source=pl.lit(name)) for name in TASKS]
    adjusted = compared(matrix_of(pl.concat([base, *same]), controls)).adjusted
    assert adjusted.mean.mean != 0
    assert math.isnan(adjusted.variance)
    assert np.isnan(adjusted.variance_ci).all()


def test_a_placebo_of_one_seed_borrows_how_far_seeds_differ(study):
    predictions, controls = study
    first = pl.col("seed") == "seed_0"
    whole, part = (compared(matrix_of(predictions, c)) for c in (controls, controls.filter(first)))
    for one, other in (
        (whole.adjusted.cells["a"]["b"], part.adjusted.cells["a"]["b"]),
        (whole.controls[PLACEBO].targets["a"], part.controls[PLACEBO].targets["a"]),
    ):
        assert np.isfinite(other.ci).all()
        assert np.diff(other.ci) > np.diff(one.ci)
    alone = compared(matrix_of(predictions.filter(first), controls.filter(first)))
    assert np.isfinite(alone.adjusted.mean.ci).all()


def test_effects_twice_as_far_apart_have_four_times_the_variance_for_certain(study):
    matrix = matrix_of(*study)
    evidence = model_effects(matrix, matrix["pgf"], "m", QUICK)
    assert evidence.drawn is not None
    twice = 2 * evidence.drawn
    twice[evidence.itself] = 9  # self-transfer has no part in it
    found = placebo._ratio_interval(evidence, 4.0, ~evidence.itself, twice)
    assert found == pytest.approx((4, 4), rel=1e-4)
    for ratio in (0.0, math.nan):
        none = placebo._ratio_interval(evidence, ratio, ~evidence.itself, twice)
        assert np.isnan(none).all()


@pytest.mark.parametrize("ceiling", [0.9, "self"])
def test_controls_are_measured_against_the_same_ceiling(study, ceiling):
    matrix = ts.apply_ceiling(matrix_of(*study), ceiling)
    tuned, base = matrix["control_accuracy"], matrix["base_accuracy"]
    gap = (matrix["ceiling"] - base).where(matrix["ceiling"] > base)
    expected = (tuned - base) / gap
    found = effects(matrix, "pgf")
    np.testing.assert_allclose(found, expected.transpose(*found.dims))
    record = compared(matrix).controls[PLACEBO].targets["a"]
    assert record.mean == pytest.approx(float(found.sel(control=PLACEBO, target="a").mean()))


def test_without_intervals_there_are_values_and_with_them_a_journey_through_json(study):
    paper = ts.analyze(matrix_of(*study), replace(QUICK, preset="paper"))
    adjusted = paper.models["m"].adjusted
    assert adjusted is not None
    assert math.isfinite(adjusted.mean.mean)
    assert math.isnan(adjusted.mean.ci[0])
    data = to_json(ts.analyze(matrix_of(*study), replace(QUICK, measure="raw_gain")))
    assert to_json(from_json(data)) == data


def test_variance_that_a_placebo_only_adds_is_not_said_to_be_less():
    estimate = Estimate(0.0, (-0.1, 0.1), {"0": 0.0})
    shares = Decomposition(0.5, 0.1, 0.6, {})
    adjusted = Adjusted("format-only", {}, estimate, shares, 27.8, (0.9, 144.0))
    assert remaining_variance(adjusted).text == "no clear reduction"
    assert remaining_variance(replace(adjusted, variance=0.4, variance_ci=(0.2, 0.7))).text == "40%"


def test_a_model_with_scores_beside_one_with_right_answers_keeps_its_controls_scores():
    """The first model's right or wrong (whole numbers) once cut the second's scores to 0."""
    names = ("model", "seed", "source", "target", "item", "correct", "score")
    rows = [
        (model, seed, source, "t", f"t-{k}", k % 2 == 0, None if model == "a" else k / 10)
        for model in ("a", "b")
        for seed, source in ((None, None), ("0", "s"), ("0", PLACEBO))
        for k in range(10)
    ]
    frame = check_predictions(pl.DataFrame(rows, names, orient="row"), "rows")
    others = frame.filter(pl.col("source").ne_missing(PLACEBO))
    found = matrix_of(others, frame.filter(source=PLACEBO))
    scores = found["control_item_correct"].sel(model="b", seed="0", control=PLACEBO).values
    assert scores.tolist() == pytest.approx([k / 10 for k in range(10)])
    right = found["control_item_correct"].sel(model="a", seed="0", control=PLACEBO).values
    assert right.tolist() == [k % 2 == 0 for k in range(10)]
