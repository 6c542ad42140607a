"""Scores that are no accuracies: the same matrix, intervals and notes, computed a second way."""

import itertools
import json

import numpy as np
import polars as pl
import pytest
from messages import raises
from scipy.stats import t

from transferscope.analysis.analyze import analyze
from transferscope.analysis.model_effects import model_effects
from transferscope.analysis.settings import Settings
from transferscope.errors import DataError
from transferscope.matrix import apply_ceiling, from_predictions
from transferscope.predictions import check_predictions
from transferscope.readers import read_results
from transferscope.tasks import gold_hash

SEEDS, SOURCES, ITEMS = ("0", "1", "2"), ("Jigsaw", "Counting"), 30
NUMBERS, LETTERS = "object_counting", "object_rel_distance"
QUICK = Settings()


def made(seed: int = 0) -> pl.DataFrame:
    """Predictions on one target with scores in tenths and one that is right or wrong."""
    draw = np.random.default_rng(seed)
    rows = []
    runs = [(None, None), *itertools.product(SEEDS, SOURCES)]
    for (run, source), target, item in itertools.product(runs, (NUMBERS, LETTERS), range(ITEMS)):
        score = int(draw.integers(0, 11)) / 10 if target == NUMBERS else None
        right = bool(draw.random() < 0.4) if score is None else score == 1
        answer = None if target == NUMBERS else item % 4
        rows.append(("m", run, source, target, f"{target}-{item}", right, score, answer))
    names = ("model", "seed", "source", "target", "item", "correct", "score", "answer")
    types = [*[pl.String] * 5, pl.Boolean, pl.Float64, pl.Int64]
    return pl.DataFrame(rows, dict(zip(names, types, strict=True)), orient="row")


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return made()


def mean_mark(rows: pl.DataFrame, target: str, source: str | None, seed: str | None) -> float:
    """The mean score of a run, in a loop."""
    marks = []
    for row in rows.iter_rows(named=True):
        if (row["target"], row["source"], row["seed"]) == (target, source, seed):
            marks.append(float(row["correct"]) if row["score"] is None else row["score"])
    assert len(marks) == ITEMS
    return sum(marks) / ITEMS


@pytest.mark.parametrize("ceiling", [1.0, 0.8, 0.3, "self"])
def test_pgf_of_scores_is_that_of_the_definition_at_every_ceiling(rows, ceiling) -> None:
    if ceiling == "self":  # the target's own source
        rows = rows.with_columns(pl.col("source").replace("Jigsaw", NUMBERS))
    sources = (NUMBERS if ceiling == "self" else "Jigsaw", "Counting")
    found = apply_ceiling(from_predictions(check_predictions(rows, "t")), ceiling)
    for target, source, seed in itertools.product((NUMBERS, LETTERS), sources, SEEDS):
        base = mean_mark(rows, target, None, None)
        tuned = mean_mark(rows, target, source, seed)
        if ceiling == "self":
            owned = [mean_mark(rows, target, target, s) for s in SEEDS] if target in sources else []
            best = sum(owned) / len(owned) if owned else float("nan")
        else:
            best = ceiling
        expected = (tuned - base) / (best - base) if best > base else float("nan")
        cell = found.sel(model="m", target=target, source=source, seed=seed)
        assert float(cell["accuracy"]) == pytest.approx(tuned)
        assert float(cell["base_accuracy"]) == pytest.approx(base)
        assert float(cell["pgf"]) == pytest.approx(expected, nan_ok=True)
    if ceiling == 0.3:  # below both baselines
        assert found["pgf"].isnull().all()
        assert any("at or above the ceiling" in note for note in found.attrs["notes"])


def test_counts_are_known_where_answers_are_right_or_wrong_and_nowhere_else(rows) -> None:
    found = from_predictions(check_predictions(rows, "t"))
    numbers, letters = found.sel(target=NUMBERS), found.sel(target=LETTERS)
    assert numbers["correct"].isnull().all()
    assert numbers["base_errors"].isnull().all()
    assert (numbers["total"] == ITEMS).all()
    assert float(letters["base_correct"][0, 0]) == ITEMS * mean_mark(rows, LETTERS, None, None)
    assert (letters["correct"] % 1 == 0).all()
    items = found["base_item_correct"].isel(model=0, seed=0)
    base = rows.filter(pl.col("source").is_null() & (pl.col("target") == NUMBERS))
    assert np.allclose(items[found["item_target"].values == NUMBERS], base["score"].to_numpy())


def test_an_item_that_was_not_asked_stays_so_beside_scores(rows) -> None:
    gone = (pl.col("item") == f"{NUMBERS}-0") & (pl.col("seed") == "1")
    found = from_predictions(check_predictions(rows.filter(~gone.fill_null(False)), "t"))
    own = found["item_correct"].isel(model=0).sel(item=f"{NUMBERS}-0")
    assert (own.sel(seed="1") == -1).all()
    assert (own.sel(seed="0") >= 0).all()
    one = model_effects(found, found["pgf"], "m", QUICK)
    assert one.marks is not None
    assert np.isnan(one.marks(0).tuned[1, :, 0]).all()
    assert one.drawn is not None
    assert np.isfinite(one.drawn).all()


def test_without_scores_nothing_changes(rows) -> None:
    plain = rows.filter(pl.col("target") == LETTERS)
    with_column = from_predictions(check_predictions(plain, "t"))
    without = from_predictions(check_predictions(plain.drop("score"), "t"))
    assert with_column.identical(without)
    assert without["item_correct"].dtype == np.int8


def test_scores_of_0_and_1_give_the_numbers_of_right_and_wrong(rows) -> None:
    plain = rows.filter(pl.col("target") == LETTERS)
    scored = plain.with_columns(score=pl.col("correct").cast(pl.Float64))
    one, other = (
        analyze(from_predictions(check_predictions(t, "t")), QUICK) for t in (plain, scored)
    )
    for source in SOURCES:
        a, b = (x.models["m"].pgf[source][LETTERS] for x in (one, other))
        assert b.mean == pytest.approx(a.mean)
        assert b.ci == pytest.approx(a.ci, abs=1e-6)
        assert b.mcnemar == a.mcnemar
    assert other.power == one.power


def test_mcnemars_test_is_left_out_where_answers_have_scores(rows) -> None:
    model = analyze(from_predictions(check_predictions(rows, "t")), QUICK).models["m"]
    for source in SOURCES:
        scored, plain = model.pgf[source][NUMBERS].mcnemar, model.pgf[source][LETTERS].mcnemar
        assert scored is not None
        assert plain is not None
        assert np.isnan([*scored.values()]).all()
        assert np.isfinite([*plain.values()]).all()
    assert set(model.base_errors[NUMBERS].values()) == {None}
    assert model.base_errors[LETTERS]["0"] == round(ITEMS * (1 - model.base_accuracy[LETTERS]))


def test_intervals_of_scores_are_those_of_paired_differences(rows) -> None:
    """One seed, so that the interval is that of items alone, and of two half items."""
    rows = rows.filter(pl.col("seed").is_null() | (pl.col("seed") == "0"))
    matrix = from_predictions(check_predictions(rows, "t"))
    cell = analyze(matrix, Settings()).models["m"].pgf["Jigsaw"][NUMBERS]
    part = rows.filter(pl.col("target") == NUMBERS)
    base = part.filter(pl.col("source").is_null())["score"].to_numpy()
    tuned = part.filter(pl.col("source") == "Jigsaw")["score"].to_numpy()
    apart = tuned - base
    halves = ((1 - apart.mean()) ** 2 + (1 + apart.mean()) ** 2) / 2 / ITEMS**2
    reach = t.isf(0.025, ITEMS - 1) * np.sqrt(apart.var(ddof=1) / ITEMS + halves)
    assert cell.change_ci == pytest.approx((apart.mean() - reach, apart.mean() + reach))


@pytest.mark.parametrize("score", [1.5, -0.1, 60.0, float("nan")])
def test_a_score_outside_0_to_1_is_refused_with_its_row(rows, score: float) -> None:
    bad = pl.when(pl.int_range(pl.len()) == 4).then(score).otherwise(pl.col("score"))
    with raises(DataError):
        check_predictions(rows.with_columns(score=bad), "t")


def test_scores_come_from_csv_too(rows, tmp_path) -> None:
    rows.write_csv(tmp_path / "t.csv")
    found = read_results(tmp_path / "t.csv")
    expected = from_predictions(check_predictions(rows, "t"))
    np.testing.assert_allclose(found["pgf"], expected["pgf"])


# Right answers


def test_inputs_say_by_which_right_answers_they_were_judged(rows, tmp_path) -> None:
    rows.write_parquet(tmp_path / "t.parquet")
    found = read_results(tmp_path / "t.parquet")
    right = gold_hash(LETTERS, [(f"{LETTERS}-{n}", n % 4) for n in range(ITEMS)])
    assert found.attrs["inputs"][0]["gold"] == {LETTERS: right}
    assert analyze(found, QUICK).inputs[0].gold == {LETTERS: right}


def relabelled(rows: pl.DataFrame, changed: int) -> pl.DataFrame:
    """The rows with other right answers of a few items."""
    names = [f"{LETTERS}-{n}" for n in range(changed)]
    other = (pl.col("answer") + 1) % 4
    return rows.with_columns(
        answer=pl.when(pl.col("item").is_in(names)).then(other).otherwise(pl.col("answer"))
    )


def test_inputs_with_other_labels_are_told_apart(rows, tmp_path) -> None:
    other = relabelled(rows, 7).with_columns(model=pl.lit("other"))
    rows.write_parquet(tmp_path / "old.parquet")
    other.write_parquet(tmp_path / "new.parquet")
    notes = read_results([tmp_path / "old.parquet", tmp_path / "new.parquet"]).attrs["notes"]
    (note,) = [note for note in notes if "right answers" in note]
    assert note.startswith(f"{LETTERS}: 7 of its items have different right answers in different")
    rows.with_columns(model=pl.lit("other")).write_parquet(tmp_path / "new.parquet")
    notes = read_results([tmp_path / "old.parquet", tmp_path / "new.parquet"]).attrs["notes"]
    assert not any("right answers" in note for note in notes)


def test_one_input_that_mixes_labels_is_told(rows, tmp_path) -> None:
    base = rows.filter(pl.col("source").is_null())
    mixed = pl.concat([relabelled(base, 3), rows.drop_nulls("source")])
    mixed.write_parquet(tmp_path / "t.parquet")
    found = read_results(tmp_path / "t.parquet")
    assert any(n.startswith(f"{LETTERS}: 3 of its items") for n in found.attrs["notes"])
    assert "right answers" in " ".join(analyze(found, QUICK).notes)


def test_fewer_items_with_the_same_labels_are_no_other_labels(rows, tmp_path) -> None:
    fewer = rows.filter(pl.col("item") != f"{LETTERS}-3").with_columns(model=pl.lit("other"))
    rows.write_parquet(tmp_path / "all.parquet")
    fewer.write_parquet(tmp_path / "fewer.parquet")
    found = read_results([tmp_path / "all.parquet", tmp_path / "fewer.parquet"])
    one, other = (entry["gold"][LETTERS] for entry in found.attrs["inputs"])
    assert one != other
    assert not any("right answers" in note for note in found.attrs["notes"])


def study(folder, rows: pl.DataFrame, model: str, gold: object, notes: object = ()) -> None:
    """A study folder with a table and an index that names it."""
    name = "predictions/t.parquet"
    (folder / "predictions").mkdir(parents=True)
    rows.with_columns(model=pl.lit(model)).write_parquet(folder / name)
    run = {
        "run": {"model": model, "kind": "base", "source": None, "seed": None},
        "base": "",
        "training": "",
        "gold": gold,
        "cells": {"all": name},
        "versions": {},
        "notes": notes,
    }
    table = {"target": "all", "key": "", "sha256": ""}
    index = {"schema": 1, "runs": [run], "tables": {name: table}, "adapters": {}}
    (folder / "index.json").write_text(json.dumps(index))


def test_records_tell_where_rows_cannot(rows, tmp_path) -> None:
    study(tmp_path / "a", rows, "a", {NUMBERS: "1" * 64}, ["one note", "<b>another"])
    study(tmp_path / "b", rows, "b", {NUMBERS: "2" * 64}, ["one note"])
    found = read_results([tmp_path / "a", tmp_path / "b"])
    assert found.attrs["inputs"][0]["gold"][NUMBERS] == "1" * 64
    notes = found.attrs["notes"]
    assert notes.count("one note") == notes.count("<b>another") == 1
    said = f"{NUMBERS}: the results of 'a', 'b' were judged by different right answers, or on diff"
    assert any(note.startswith(said) for note in notes)


@pytest.mark.parametrize(("gold", "notes"), [(3, []), ({"x": 1}, []), ({}, "x")])
def test_an_index_with_wrong_types_is_refused(rows, tmp_path, gold, notes) -> None:
    study(tmp_path / "a", rows, "a", gold, notes)
    with raises(DataError):
        read_results(tmp_path / "a")
