"""Effects on the items that base and run both answered."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from transferscope.analysis.analyze import analyze
from transferscope.analysis.json_file import from_json, plain, to_json
from transferscope.analysis.settings import Settings
from transferscope.matrix import apply_ceiling, from_accuracy, from_predictions
from transferscope.matrix.control_runs import with_controls
from transferscope.matrix.pairing import left_out
from transferscope.plots.numbers import items
from transferscope.predictions import check_predictions
from transferscope.readers import read_results
from transferscope.report.bundle import cells as cells_csv
from transferscope.report.page_data import cell_data

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
TASKS = ("Counting", "Jigsaw", "Relative_Depth", "Art_Style")
ITEMS = 40
QUICK = Settings()


def real(name: str) -> Path:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"needs the real files in {path}")
    return path


def table(runs: Mapping[Any, Mapping[str, float]], *, model: str = "m") -> pl.DataFrame:
    """A predictions table of {(seed, source, target): {item: mark}}."""
    rows = [
        {"model": model, "seed": seed, "source": source, "target": target, "item": item}
        | {"correct": mark == 1, "score": None if mark in (0, 1) else mark}
        for (seed, source, target), marks in runs.items()
        for item, mark in marks.items()
    ]
    text = dict.fromkeys(("seed", "source"), pl.String) | {"score": pl.Float64}
    return check_predictions(pl.DataFrame(rows, schema_overrides=text), "table")


@cache
def study(seeds=("x", "y", "z")):
    """Every run of a study in which all answered all items."""
    rng = np.random.default_rng(3)
    right = {t: rng.random(ITEMS) for t in TASKS}
    return {
        (s, source, t): {
            f"q{k}": int(0.6 * right[t][k] + 0.4 * rng.random() > (0.5 if source is None else 0.44))
            for k in range(ITEMS)
        }
        for s in seeds
        for source in (None, *TASKS)
        for t in TASKS
    }


def first(marks, count):
    return dict(list(marks.items())[:count])


# The definition.

mark = st.sampled_from([0, 1, 0.25, 0.5])


@st.composite
def uneven(draw):
    """Runs of two seeds that answered any items, in any order; some runs are not there."""
    names = [f"q{k}" for k in range(8)]
    whole = st.booleans() if draw(st.booleans()) else mark
    runs = {}
    for seed, source, target in product("xy", (None, "a", "b"), ("a", "c")):
        answered = draw(st.permutations(names))[: draw(st.integers(0, 8))]
        if answered:
            runs[seed, source, target] = {item: int(draw(st.booleans())) for item in answered}
            if whole is mark and target == "c":
                runs[seed, source, target] = {item: draw(mark) for item in answered}
    return runs


@given(uneven())
def test_effects_are_those_of_the_oracle_on_the_items_that_both_answered(runs):
    for seed, target in product("xy", "ac"):  # every cell has a place in the matrix
        runs.setdefault((seed, "a", target), {"q0": 1})
        runs.setdefault((seed, "b", target), {"q1": 0})
    matrix = from_predictions(table(runs))
    found, out = matrix.isel(model=0), left_out(matrix).isel(model=0)
    for seed, source, target in product("xy", "ab", "ac"):
        base, tuned = (runs.get((seed, i, target)) for i in (None, source))
        cell = found.sel(seed=seed, source=source, target=target)
        assert tuned is not None
        assert float(cell["run_total"]) == len(tuned)
        if base is None:
            assert float(cell["accuracy"]) == pytest.approx(oracle.mean(tuned.values()))
            assert np.isnan(cell["pgf"])
            continue
        expected = oracle.paired(base, tuned)
        assert float(cell["total"]) == expected.items
        assert float(cell["accuracy"]) == pytest.approx(expected.tuned, nan_ok=True)
        assert float(cell["paired_base_accuracy"]) == pytest.approx(expected.base, nan_ok=True)
        effect = math.nan if expected.items == 0 else oracle.pgf(expected.base, expected.tuned)
        assert float(cell["pgf"]) == pytest.approx(effect, nan_ok=True)
        assert float(cell["base_accuracy"]) == pytest.approx(oracle.mean(base.values()))
        sizes = [len(marks) for (_, _, t), marks in runs.items() if t == target]
        counts = oracle.counts_in_averages(expected.items, sizes)
        assert counts != bool(out.sel(seed=seed, source=source, target=target))


def test_the_order_of_items_and_rows_changes_nothing():
    rows = table(
        study() | {("x", "Jigsaw", "Counting"): first(study()["x", "Jigsaw", "Counting"], 9)}
    )
    one, two = (from_predictions(r) for r in (rows, rows.sample(fraction=1, shuffle=True, seed=1)))
    two = two.sel(seed=one["seed"], source=one["source"], target=one["target"])
    for name in ("pgf", "total", "accuracy", "paired_base_accuracy"):
        np.testing.assert_array_equal(one[name].values, two[name].values)


def test_a_base_without_a_seed_is_paired_with_each_seed_on_its_items():
    base = {f"q{k}": int(k < 5) for k in range(10)}
    runs: dict[Any, dict[str, int]] = {(None, None, "t"): base}
    runs["x", "t", "t"] = {f"q{k}": 1 for k in range(6)}
    runs["y", "t", "t"] = {f"q{k}": 1 for k in range(4, 10)}
    found = from_predictions(table(runs)).isel(model=0, source=0, target=0)
    np.testing.assert_allclose(found["paired_base_accuracy"], [5 / 6, 1 / 6])
    np.testing.assert_allclose(found["pgf"], [1, 1])


def test_a_run_that_shares_no_item_with_the_base_has_no_effect_and_a_note_says_so():
    runs = {("x", None, t): {"q0": 1, "q1": 0} for t in "tu"}
    runs |= {("x", "t", "t"): {"other": 1}, ("x", "t", "u"): {"q0": 1, "q1": 1}}
    found = from_predictions(table(runs))
    assert np.isnan(found["pgf"].sel(target="t").item())
    assert found["pgf"].sel(target="u").item() == 1
    said = "m: in 1 of 2 cells, base and run share no item, so no effect is known: t"
    assert said in found.attrs["notes"]
    assert not any("not measured" in note for note in found.attrs["notes"])
    cell = analyze(found, QUICK).models["m"].pgf["t"]["t"]
    assert math.isnan(cell.mean)
    assert cell.n == 0


def test_accuracy_tables_of_different_sizes_keep_their_effects_with_a_note():
    rows = pl.DataFrame(
        {"model": "m", "seed": "x", "source": [None, "t"], "target": "t"}
        | {"correct": [40.0, 45.0], "total": [100.0, 90.0]},
        schema_overrides={"source": pl.String},
    )
    found = from_accuracy(rows)
    assert found["pgf"].item() == pytest.approx(oracle.pgf(0.4, 0.5))
    assert not left_out(found).any()
    said = (
        "m: in 1 of 1 cells, base and run have different numbers of items, so they may not have "
        "answered the same items, and part of the effect may come from that: t (90 of 100)"
    )
    assert said in found.attrs["notes"]
    few = from_accuracy(rows.with_columns(total=pl.Series([100.0, 49.0])))
    assert left_out(few).all()


def test_a_cell_that_was_not_measured_says_no_number_of_items():
    runs = {k: marks for k, marks in study().items() if k[1:] != ("Jigsaw", "Counting")}
    cell = analyze(from_predictions(table(runs)), QUICK).models["m"].pgf["Jigsaw"]["Counting"]
    assert cell.n is None
    assert not cell.left_out


def test_a_complete_study_has_no_note_on_items():
    notes = from_predictions(table(study())).attrs["notes"]
    assert not [note for note in notes if "items" in note]


# What is built on it.


def test_a_run_of_fewer_than_half_of_the_items_has_no_part_in_averages():
    """Everything but the cells is as if its row were not there."""
    runs = dict(study())
    for key in (("x", "Jigsaw", "Counting"), ("y", "Art_Style", "Jigsaw")):
        runs[key] = first(runs[key], ITEMS // 2 - 1)
    runs |= {
        (s, "Counting", "Art_Style"): first(runs[s, "Counting", "Art_Style"], 12) for s in "xyz"
    }
    partial = {k for k, marks in runs.items() if len(marks) < ITEMS}
    # The same sources and items exist in both; a run of the whole suite alone is gone.
    shown, gone = (
        analyze(from_predictions(table(r)), QUICK)
        for r in (runs, {k: marks for k, marks in runs.items() if k not in partial})
    )
    model, other = shown.models["m"], gone.models["m"]
    for name in ("transferability", "malleability", "average", "cliques", "graph", "categories"):
        close(plain(getattr(model, name)), plain(getattr(other, name)), name)
    for name in ("personas", "scale", "decomposition", "claims"):
        close(plain(getattr(shown, name)), plain(getattr(gone, name)), name)
    close(plain(model.noise_floor), plain(other.noise_floor), "noise floor")
    cell = model.pgf["Counting"]["Art_Style"]
    assert cell.n == 12
    assert cell.left_out == ["x", "y", "z"]
    assert math.isfinite(cell.mean)
    assert model.pgf["Jigsaw"]["Counting"].left_out == ["x"]
    assert model.pgf["Jigsaw"]["Counting"].n == pytest.approx((19 + 40 + 40) / 3)
    whole, rest = (each.pgf["Jigsaw"]["Jigsaw"] for each in (model, other))
    assert (whole.mean, whole.seeds, whole.n) == (rest.mean, rest.seeds, rest.n)
    assert whole.change_ci == pytest.approx(rest.change_ci, abs=0.02)  # who lends is another
    assert model.most_items["Art_Style"] == ITEMS
    said = (
        "m: in 5 of 48 cells, base and run share fewer than half of the target's items; these "
        "cells have no part in averages: Jigsaw → Counting, Art_Style → Jigsaw, "
        "Counting → Art_Style"
    )
    assert said in shown.notes
    again = from_json(to_json(shown)).models["m"].pgf["Counting"]["Art_Style"]
    assert (again.n, again.left_out) == (12, ["x", "y", "z"])


def close(one, two, where):
    """Two records alike to the rounding of the draws; q-values hang on the number of cells."""
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            if key not in ("q_value", "evidence"):
                close(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(two), where
        for k, pair in enumerate(zip(one, two, strict=True)):
            close(*pair, f"{where}[{k}]")
    elif isinstance(one, float):
        assert one == pytest.approx(two, rel=1e-3, abs=1e-4), where
    else:
        assert one == two, where


def test_an_interval_is_that_of_a_study_with_the_shared_items_alone():
    rng = np.random.default_rng(0)
    base = {f"q{k}": int(rng.random() < 0.6) for k in range(200)}
    tuned = {k: int(v if rng.random() < 0.8 else 1 - v) for k, v in base.items()}
    shared = {k: tuned[k] for k in list(tuned)[60:180]}
    names = list(shared)
    runs = {("s", None, "t"): base, ("s", "t", "t"): shared, ("s", "u", "t"): tuned}
    settings = Settings()
    cell = analyze(from_predictions(table(runs)), settings).models["m"].pgf["t"]["t"]
    alone = {("s", None, "t"): {k: base[k] for k in names}, ("s", "t", "t"): shared}
    other = analyze(from_predictions(table(alone)), settings).models["m"].pgf["t"]["t"]
    assert cell.n == other.n == 120
    assert (cell.mean, cell.p_value) == (other.mean, other.p_value)
    assert cell.ci == pytest.approx(other.ci)
    # A second computation: the paired differences and two half items, plainly.
    apart = np.array([shared[k] - base[k] for k in names])
    change = apart.mean()
    halves = ((1 - change) ** 2 + (1 + change) ** 2) / 2 / 120**2
    reach = t.isf(0.025, 119) * np.sqrt(apart.var(ddof=1) / 120 + halves)
    assert cell.change_ci == pytest.approx((change - reach, change + reach))


def test_a_run_without_answers_has_no_say_in_a_ceiling_of_its_own_accuracy():
    runs = {k: v for k, v in study().items() if k != ("y", "Jigsaw", "Jigsaw")}
    matrix = apply_ceiling(from_predictions(table(runs)), "self")
    own = [oracle.mean(runs[s, "Jigsaw", "Jigsaw"].values()) for s in "xz"]
    assert float(matrix["ceiling"].sel(target="Jigsaw").item()) == pytest.approx(np.mean(own))


def test_controls_are_paired_with_the_base_too():
    runs = study()
    rows = table(runs)
    few = {
        (s, "shuffled", t): first(runs[s, None, t], ITEMS if t != "Jigsaw" else 10)
        for s in "xyz"
        for t in TASKS
    }
    matrix = with_controls(from_predictions(rows), rows, table(few))
    analysis = analyze(matrix, QUICK)
    placebo = analysis.models["m"].controls["shuffled"]
    assert {target: each.mean for target, each in placebo.targets.items()} == dict.fromkeys(
        TASKS, 0
    )
    assert placebo.mean.mean == 0
    adjusted = analysis.models["m"].adjusted
    assert adjusted is not None
    assert math.isnan(adjusted.cells["Counting"]["Jigsaw"].mean)
    plainly = analysis.models["m"].pgf["Jigsaw"]["Counting"].mean
    assert adjusted.cells["Jigsaw"]["Counting"].mean == pytest.approx(plainly)


def test_the_cells_of_a_bundle_hold_the_shared_items_and_the_base_on_them():
    runs = dict(study())
    key = ("x", "Jigsaw", "Counting")
    runs[key] = first(runs[key], 30)
    row = cells_csv(from_predictions(table(runs))).filter(
        pl.col("seed") == "x", pl.col("source") == "Jigsaw", pl.col("target") == "Counting"
    )
    expected = oracle.paired(runs["x", None, "Counting"], runs[key])
    assert row["items"].item() == 30
    assert row["base"].item() == pytest.approx(expected.base)
    assert row["base_correct"].item() == round(30 * expected.base)
    pgf = (row["tuned"].item() - row["base"].item()) / (1 - row["base"].item())
    assert row["pgf"].item() == pytest.approx(pgf)


def test_a_change_between_checkpoints_is_computed_on_the_items_that_both_answered():
    rng = np.random.default_rng(2)
    base = {f"q{k}": int(rng.random() < 0.5) for k in range(120)}
    early = {k: int(v if rng.random() < 0.7 else 1 - v) for k, v in base.items()}
    late = {k: int(v if rng.random() < 0.7 else 1 - v) for k, v in early.items()}
    run = "Jigsaw @ {}".format

    def course(runs, measure="pgf"):
        rows = table({("s", source, "t"): marks for source, marks in runs.items()})
        chosen = replace(QUICK, measure=measure)
        return analyze(from_predictions(rows), chosen).trajectories[0].targets["t"]

    same = course({None: base, run(1): early, run(2): first(early, 80)})
    assert same.effects[0] != same.effects[1]
    assert (same.change, same.change_beyond) == (0, 0)
    assert same.change_ci[0] == pytest.approx(-same.change_ci[1])
    for measure in ("pgf", "raw_gain"):
        found = course({None: base, run(1): early, run(2): first(late, 80)}, measure)
        runs = {None: base, run(1): early, run(2): late}
        alone = course({k: first(marks, 80) for k, marks in runs.items()}, measure)
        assert found.change == pytest.approx(alone.change)
        width = np.diff(found.change_ci) / np.diff(alone.change_ci)
        assert width == pytest.approx(1, rel=0.2)  # the base is another part of the items


def test_the_page_has_each_seeds_change_of_accuracy_by_the_base_on_its_items():
    runs = dict(study())
    for seed in "xy":
        runs[seed, "Jigsaw", "Counting"] = first(runs[seed, "Jigsaw", "Counting"], 30)
    matrix = from_predictions(table(runs))
    found = {name: analyze(matrix, replace(QUICK, measure=name)) for name in ("pgf", "raw_gain")}
    page = cell_data(found["pgf"])
    source, target = (page["tasks"].index(name) for name in ("Jigsaw", "Counting"))
    places = (source, target)
    (row,) = (r for r in page["models"][0]["cells"] if (r["source"], r["target"]) == places)
    assert row["items"] == pytest.approx(100 / 3, rel=1e-3)
    cells = {name: one.models["m"].pgf["Jigsaw"]["Counting"] for name, one in found.items()}
    seeds = [row[f"seed{n}"] for n in range(3)]
    assert seeds == pytest.approx([cells["raw_gain"].seeds[seed] for seed in "xyz"], rel=1e-3)
    assert cells["pgf"].change == pytest.approx(cells["raw_gain"].mean)


# Real files.


def test_a_run_of_the_same_answers_on_the_first_items_changes_nothing():
    matrix = read_results(real("wrong/partial_run/mapping.yaml"))
    assert (matrix["pgf"].values == 0).all()
    (void, _) = matrix.attrs[
        "checks"
    ]  # the same answers: no verdict, and in the analysis no effect
    assert (void.severity, void.cells) == ("void", (("Jigsaw", None),))
    assert all(
        math.isnan(cell.mean)
        for cell in analyze(matrix, QUICK).models["same"].pgf["Jigsaw"].values()
    )
    matrix.attrs["checks"] = []
    for measure in ("pgf", "relative_gain"):
        analysis = analyze(matrix, replace(QUICK, measure=measure))
        cells = analysis.models["same"].pgf["Jigsaw"]
        assert {cell.mean for cell in cells.values()} == {0}
        assert {cell.n for cell in cells.values()} == {50}
        assert {cell.p_value for cell in cells.values()} == {1}
    assert math.isnan(analysis.models["same"].average.transferability.negative)


def test_checkpoints_are_compared_with_their_base_on_shared_items():
    folder = real("checkpoints-blink-flat")
    gold = json.loads((folder / "val_answers.json").read_text())
    read = {path.stem: json.loads(path.read_text()) for path in folder.glob("val_predictions/*")}
    base = read.pop("QWEN")
    analysis = analyze(read_results(folder / "mapping.yaml"), QUICK)
    model = analysis.models["qwen2.5-vl-7b"]
    for name, run in read.items():
        row = model.pgf[f"blend @ {name.rpartition('-')[2]}"]
        for target, cell in row.items():
            of = [i for i in gold if i.rpartition("_")[0] == f"val_{target}"]
            shared = [i for i in of if i in base and i in run]
            before, after = (sum(of[i] == gold[i] for i in shared) for of in (base, run))
            assert cell.n == len(shared)
            assert cell.mean == pytest.approx((after - before) / (len(shared) - before))
            assert cell.change == pytest.approx((after - before) / len(shared))
            most = max(sum(i in r for i in of) for r in (base, run))
            assert bool(cell.left_out) == (2 * len(shared) < most)
    depth = model.pgf["blend @ 100"]["Relative_Depth"]
    assert depth.mean == pytest.approx(0.25)  # 16 and 17 of 20: 5 points
    assert items(model, "Relative_Depth", depth) == " on 20 of 124 items"
    flips = model.flips["blend @ 100"]["Relative_Depth"]
    assert (flips.fixed, flips.broken, flips.items) == (2, 1, 20)
    assert "Relative_Depth" not in {p.task for p in analysis.personas.sponge}
