"""Mixtures: sources that are no task, kept out of the tasks' numbers."""

import json
from collections import Counter

import polars as pl
import pytest
from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from messages import raises

from transferscope.analysis.analyze import analyze
from transferscope.analysis.json_file import from_json, to_json
from transferscope.analysis.settings import Settings
from transferscope.errors import StudyError
from transferscope.execution import runner
from transferscope.execution.runner import run_study
from transferscope.readers import read_results
from transferscope.report import page
from transferscope.study import apportioned
from transferscope.study.file import parse_study, resolved
from transferscope.study.plan import Run, plan_study

TEXT = """\
name: one
models: {s: glimpse-s}
suite: glimpse
sources: [Counting, Relative_Reflectance, Spatial_Relation]
targets: [Counting, Relative_Reflectance, Spatial_Relation]
seeds: 2
recipe: {items: 10}
evaluation: {items: 6}
"""
MIXED = (
    "mixtures: {half and half: {Jigsaw: 0.5, Counting: 0.5}, most: {Jigsaw: 0.8, Counting: 0.2}}\n"
)
QUICK = Settings()


def made(text):
    return plan_study(parse_study(text, "study.yaml"))


@pytest.fixture
def carry_out(monkeypatch, tmp_path):
    """Carry out a study on a fake base; returns the lab."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_text("s")

    def call(text, out):
        fake = FakeEngine()
        monkeypatch.setattr(runner, "load_engine", fake.load)
        text = text.replace("glimpse-s", str(tmp_path / "base"))
        run_study(parse_study(text, "study.yaml"), tmp_path / out)
        return fake

    return call


# Items are divided by shares


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=13).map(lambda w: [x / sum(w) for x in w]),
    st.integers(1, 3000),
)
def test_items_are_all_given_out_and_each_share_gets_its_whole_part(shares, count):
    wanted = {str(k): share for k, share in enumerate(shares)}
    given_out = apportioned(wanted, count)
    assert sum(given_out.values()) == count
    assert all(abs(given_out[k] - share * count) < 1 for k, share in wanted.items())


@given(st.integers(1, 13), st.integers(1, 3000))
def test_equal_shares_differ_by_one_item_at_most_the_first_having_more(parts, count):
    each, more = divmod(count, parts)
    even = apportioned(dict.fromkeys(map(str, range(parts)), 1 / parts), count)
    assert list(even.values()) == [each + (k < more) for k in range(parts)]


# The study file


def test_shares_are_in_the_suites_order_and_sum_to_one():
    study = made(TEXT + "mixtures: {thirds: {Jigsaw: 0.33, Counting: 0.33, Art_Style: 0.33}}").study
    assert list(study.mixtures["thirds"]) == ["Art_Style", "Counting", "Jigsaw"]
    assert list(study.mixtures["thirds"].values()) == pytest.approx([1 / 3] * 3)
    assert parse_study(resolved(study).decode(), "again") == study


@pytest.mark.parametrize(
    "mixture",
    [
        "x: {Jigsaw: 0.5, Counting: 0.4}",
        "x: {Jigsaw: 50, Counting: 50}",
        "x: {}",
        "x: {Jigsaw: 1, Counting: -1}",
        "x: {Jigsav: 1}",
        "x: {Jigsaw: 0.99, Counting: 0.01}",
        "Jigsaw: {Counting: 1}",
        "art style: {Counting: 1}",
        "shuffled: {Counting: 1}",
        "x y: {Jigsaw: 1}, X_y: {Jigsaw: 1}",
    ],
)
def test_what_is_no_mixture_is_refused_in_one_line(mixture):
    with raises(StudyError):
        made(f"{TEXT}mixtures: {{{mixture}}}")


def test_a_study_without_sources_needs_a_mixture_and_has_nothing_to_make_a_placebo_of():
    alone = TEXT.replace("[Counting, Relative_Reflectance, Spatial_Relation]", "[]", 1)
    with raises(StudyError):
        made(alone)
    assert made(alone + MIXED).study.sources == ()
    with raises(StudyError):
        made(alone + MIXED + "controls: [reordered, shuffled]")


# The plan


def test_a_mixtures_items_are_its_tasks_by_its_shares():
    plan = made(TEXT + MIXED)
    assert plan.parts["most"] == {"Counting": 2, "Jigsaw": 8}
    items = plan.training_set(Run("s", "mixture", "most", 0)).items
    assert Counter(item.task for item in items) == {"Jigsaw": 8, "Counting": 2}
    assert plan.summary()["adapters to train"] == 2 * (3 + 2)


def test_a_mixture_is_part_of_its_own_keys_and_of_no_others():
    def keys(text, kind, name):
        return made(text).keys(Run("s", kind, name, 0), "b").training

    other = MIXED.replace("0.8", "0.7").replace("0.2", "0.3")
    assert keys(TEXT + MIXED, "mixture", "most") != keys(TEXT + other, "mixture", "most")
    same = "half and half"
    assert keys(TEXT + MIXED, "mixture", same) == keys(TEXT + other, "mixture", same)
    assert keys(TEXT, "source", "Counting") == keys(TEXT + MIXED, "source", "Counting")


# Results


def test_a_mixture_changes_no_number_of_the_tasks_and_has_its_own(carry_out, tmp_path):
    fake = carry_out(TEXT + MIXED + "budget: {fleet: 1}", "with")
    carry_out(TEXT + "budget: {fleet: 1}", "without")
    assert {("most", 0), ("half and half", 1)} < set(fake.trained)
    matrix = read_results(tmp_path / "with")
    assert matrix["control"].values.tolist() == ["half and half", "most"]
    found = analyze(matrix, QUICK)
    plain = analyze(read_results(tmp_path / "without"), QUICK)
    ours, theirs = (json.loads(to_json(each)) for each in (found, plain))
    for each in (ours, theirs):
        for field in ("behaviour", "controls"):
            each["models"]["s"].pop(field)
        each.pop("inputs")
        of_tasks = (
            one for one in each["trainings"] if one["source"] not in ("half and half", "most")
        )
        each["trainings"] = [*of_tasks]
    assert ours == theirs
    # A second computation of the mixture's effects, from the tables themselves.
    rows = pl.concat(pl.read_parquet(p) for p in (tmp_path / "with").rglob("*.parquet"))
    right = rows.with_columns(pl.col("correct").cast(pl.Float64))
    cells = right.group_by("source", "seed", "target").agg(pl.col("correct").mean())
    share = {tuple(key): value for *key, value in cells.rows()}
    for target in matrix["target"].values.tolist():
        base = share[None, None, target]
        effects = [(share["most", seed, target] - base) / (1 - base) for seed in ("0", "1")]
        record = found.models["s"].controls["most"].targets[target]
        assert record.mean == pytest.approx(sum(effects) / 2)
    assert to_json(from_json(to_json(found))) == to_json(found)
    assert r"half and half \u00b7 mixture" in page(found)


def test_mixtures_alone_are_the_sources_of_their_study(carry_out, tmp_path):
    alone = TEXT.replace("[Counting, Relative_Reflectance, Spatial_Relation]", "[]", 1)
    carry_out(alone + MIXED + "controls: [reordered]", "alone")
    matrix = read_results(tmp_path / "alone")
    assert matrix["source"].values.tolist() == ["half and half", "most"]
    assert matrix["control"].values.tolist() == ["reordered"]
    named = read_results({"9B": tmp_path / "alone"})
    assert named["source"].values.tolist() == ["half and half", "most"]
    assert named["model"].values.tolist() == ["9B"]
