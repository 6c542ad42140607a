"""Finished cells: one file per run and target, and an index that makes them count."""

import json
import os
from itertools import count
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import raises

from transferscope import store as results
from transferscope.errors import DataError
from transferscope.readers import read_results
from transferscope.store.cells import Store, as_table, open_store, read_store, table_name
from transferscope.store.parquet import all_answers
from transferscope.study.plan import Run
from transferscope.tasks import Item
from transferscope.tasks.open_answers import TextAnswer

RUN = Run("m", "source", "Counting", 0)
HASHES = {"base": "b", "training": "t", "gold": {}}
ANSWER = st.tuples(st.integers(0, 3), st.floats(0, 9), st.lists(st.floats(-9, 0), max_size=4))


def table(run: Run, target: str, answers) -> pl.DataFrame:
    items = [
        Item(f"{target}-{number}", target, (), "?", ("a", "b"), 1, "?", group=f"room {number // 2}")
        for number in range(len(answers))
    ]
    given = [SimpleNamespace(choice=c, margin=m, logprobs=logs) for c, m, logs in answers]
    return as_table(run, items, given)


def kept(folder, run=RUN, **targets: str) -> Store:
    """A folder with one answer for each target, under the keys given."""
    store = open_store(folder, ["m", "n"], {run}, lambda note: None)
    fresh = {target: table(run, target, [(1, 0.5, [-1.0])]) for target in targets}
    store.put_cells(run, targets, fresh, HASHES)
    store.save()
    return store


@settings(max_examples=20)
@given(
    st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4, unique=True).flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.lists(ANSWER, min_size=1, max_size=3) for name in names}
        )
    )
)
def test_the_files_of_a_run_are_the_table_of_the_run(tmp_path_factory, answers):
    """Rows, values and order: the files one after another are what the targets' tables are."""
    folder = tmp_path_factory.mktemp("study")
    store = open_store(folder, ["m"], {RUN}, lambda note: None)
    fresh = {target: table(RUN, target, rows) for target, rows in answers.items()}
    keys = dict(zip(answers, map(str, count()), strict=False))
    store.put_cells(RUN, keys, fresh, HASHES)
    store.save()
    files = results.prediction_files(folder)
    assert len(files) == len(answers)
    assert pl.concat(map(pl.read_parquet, files)).equals(pl.concat(fresh.values()))
    assert read_store(folder, ["m"]).keys(RUN) == keys


def test_tables_with_and_without_groups_may_stand_in_one_run(tmp_path):
    """A study that was resumed has cells from before there were groups."""
    base = Run("m", "base")
    store = open_store(tmp_path, ["m"], {RUN, base}, lambda note: None)
    three = [(1, 1.0, [])] * 3
    for run in (base, RUN):
        fresh = {"T": table(run, "T", three).drop("group"), "U": table(run, "U", three)}
        store.put_cells(run, {"T": f"{run.kind}-t", "U": f"{run.kind}-u"}, fresh, HASHES)
    store.save()
    groups = all_answers(tmp_path)["group"].to_list()
    assert groups == [None, None, None, "room 0", "room 0", "room 1"] * 2
    found = read_results(tmp_path)
    assert found["item_target"].values.tolist() == ["T"] * 3 + ["U"] * 3
    assert found["item_group"].values.tolist() == [0, 1, 2, 3, 3, 4]


def test_runs_stand_in_the_studys_order_with_the_base_first(tmp_path):
    runs = [Run("n", "source", "A", 1), Run("m", "source", "B", 0), Run("m", "base"), RUN]
    runs += [Run("m", "control", "shuffled", 0), Run("n", "base"), Run("n", "source", "A", 0)]
    store = open_store(tmp_path, ["n", "m"], set(runs), lambda note: None)
    for number, run in enumerate(runs):
        store.put_cells(run, {"T": str(number)}, {"T": table(run, "T", [(0, 1.0, [])])}, HASHES)
    store.save()
    names = [path.relative_to(tmp_path).parts[1:4] for path in results.prediction_files(tmp_path)]
    assert [(model, *rest[:2]) for model, *rest in names] == [
        ("n", "base", "T-5.parquet"), ("n", "A", "0"), ("n", "A", "1"),
        ("m", "base", "T-2.parquet"), ("m", "B", "0"), ("m", "Counting", "0"),
    ]  # fmt: skip
    assert [path.parts[-3] for path in results.control_files(tmp_path)] == ["shuffled"]


def test_what_was_written_counts_when_the_index_is_saved(tmp_path):
    kept(tmp_path, T="one")
    store = read_store(tmp_path, ["m"])
    store.put_cells(RUN, {"T": "two"}, {"T": table(RUN, "T", [(2, 1.0, [])])}, HASHES)
    assert read_store(tmp_path, ["m"]).keys(RUN) == {"T": "one"}  # as after a crash
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    store.save()
    assert read_store(tmp_path, ["m"]).keys(RUN) == {"T": "two"}


def test_a_finished_file_is_never_written_again(tmp_path):
    store = kept(tmp_path, T="one", U="two")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    fresh = {"V": table(RUN, "V", [(0, 1.0, [])])}
    store.put_cells(RUN, {"V": "three", "U": "two", "T": "one"}, fresh, HASHES)
    store.save()
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    targets = [pl.read_parquet(path)["target"][0] for path in results.prediction_files(tmp_path)]
    assert targets == ["V", "U", "T"]


def test_a_cell_of_another_run_is_copied_under_the_runs_own_names(tmp_path):
    kept(tmp_path, T="same")
    other = Run("n", "source", "Jigsaw", 1)
    store = open_store(tmp_path, ["m", "n"], {other}, lambda note: None)
    assert store.missing({"T": "same", "U": "other"}) == ("U",)
    store.put_cells(other, {"T": "same"}, {}, HASHES)
    store.save()
    (file,) = results.prediction_files(tmp_path)  # the first run is not planned any more
    assert pl.read_parquet(file).select("model", "seed", "source").row(0) == ("n", "1", "Jigsaw")


def test_a_damaged_table_is_named_and_is_missing(tmp_path):
    kept(tmp_path, T="one", U="two")
    file = results.prediction_files(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:-1])
    notes: list[str] = []
    store = open_store(tmp_path, ["m"], {RUN}, notes.append)
    assert notes == [
        "predictions/m/Counting/0/T-one.parquet is damaged, its checksum differs; "
        "it is computed again"
    ]
    assert store.missing({"T": "one", "U": "two"}) == ("T",)
    assert [line["file"] for line in results.logged(tmp_path)] == [
        file.relative_to(tmp_path).as_posix()
    ]


def test_adapters_of_a_shard_count_all_or_none(tmp_path):
    runs = [RUN, Run("m", "source", "Counting", 1)]
    records = {run: {"key": f"k{run.seed}"} for run in runs}
    store = open_store(tmp_path, ["m"], set(runs), lambda note: None)

    def write(run, folder):
        folder.mkdir()
        (folder / "weights").write_text(str(run.seed))
        if run.seed == fails:
            raise RuntimeError("the worker is gone")

    fails = 1
    with pytest.raises(RuntimeError):
        store.put_adapters(records, write)
    assert not any(store.has_adapter(run, f"k{run.seed}") for run in runs)
    assert not list(tmp_path.rglob(".writing-*"))
    fails = None
    store.put_adapters(records, write)
    for known in (store, read_store(tmp_path, ["m"])):
        assert all(known.has_adapter(run, f"k{run.seed}") for run in runs)
        assert not known.has_adapter(RUN, "k1")
    (tmp_path / "adapters" / "m" / "Counting" / "0" / "weights").write_text("changed")
    assert [store.has_adapter(run, f"k{run.seed}") for run in runs] == [False, True]


def test_without_their_index_a_studys_tables_are_refused(tmp_path):
    """Tables of an earlier recipe lie among the current ones, and would count too."""
    kept(tmp_path, T="0123456789ab", U="aaaaaaaaaaaa")
    kept(tmp_path, T="ba9876543210")  # the recipe changed, and U is no target now
    assert len(results.prediction_files(tmp_path)) == 1
    (tmp_path / results.INDEX).unlink()
    with raises(DataError):
        results.prediction_files(tmp_path)


def test_tables_of_another_origin_need_no_index(tmp_path):
    for name in ("run.parquet", "m/seed-0/Jigsaw.parquet"):
        path = tmp_path / results.PREDICTIONS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert len(results.prediction_files(tmp_path)) == 2


@pytest.mark.parametrize("change", [{"kind": "other"}, {"seed": "0"}, {"model": None}])
def test_an_index_with_an_invalid_run_is_refused(tmp_path, change):
    kept(tmp_path, T="one")
    path = tmp_path / results.INDEX
    index = json.loads(path.read_text())
    index["runs"][0]["run"] |= change
    path.write_text(json.dumps(index))
    with raises(DataError):
        read_store(tmp_path, ["m"])


@pytest.mark.parametrize(
    "index",
    [
        "{",
        "[]",
        json.dumps({"runs": 3, "tables": {}}),
    ],
    ids=["cut short", "a list", "a number"],
)
def test_a_damaged_index_is_refused(tmp_path, index):
    (tmp_path / results.INDEX).write_text(index)
    with raises(DataError):
        results.prediction_files(tmp_path)


@pytest.mark.parametrize("place", ["../../x.parquet", "predictions/../x.parquet", "/x.parquet"])
def test_an_index_that_leads_out_of_the_folder_is_refused(tmp_path, place):
    kept(tmp_path, T="one")
    path = tmp_path / results.INDEX
    text = path.read_text()
    (inside,) = json.loads(text)["tables"]
    path.write_text(text.replace(inside, place))
    with raises(DataError):
        results.prediction_files(tmp_path)


def test_long_and_strange_names_do_not_share_a_table():
    names = ["m" * 120 + "a", "m" * 120 + "b", "a/b", "a_b", "../x", ".x", ""]
    files = [table_name(Run(name, "source", "S", 0), "T", "k" * 64) for name in names]
    files += [table_name(Run("m", "source", "S", 0), name, "k" * 64) for name in names]
    assert len(set(files)) == len(files)
    assert all(map(results.is_table, files))
    assert max(len(part) for file in files for part in file.split("/")) <= 100


def test_a_full_disk_leaves_the_old_index(tmp_path, monkeypatch):
    store = kept(tmp_path, T="one")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with raises(DataError):
        store.put_cells(RUN, {"T": "two"}, {"T": table(RUN, "T", [(2, 1.0, [])])}, HASHES)
    monkeypatch.undo()
    assert read_store(tmp_path, ["m"]).keys(RUN) == {"T": "one"}


def answered(folder, base, run) -> bool:
    """Whether a run's answers, log-probabilities or replies, are taken for its base's."""
    whose = {Run("m", "base"): base, RUN: run}
    store = open_store(folder, ["m"], set(whose), lambda note: None)
    for one, targets in whose.items():
        fresh = {}
        for target, answers in targets.items():
            items = [
                Item(f"{n}", target, (), "?", ("a", "b"), 0, "?", truth=None if logs else TRUTH)
                for n, (logs, _) in enumerate(answers)
            ]
            given = [
                SimpleNamespace(choice=0, margin=0.0, logprobs=logs, score=1.0, reply=reply)
                for logs, reply in answers
            ]
            fresh[target] = as_table(one, items, given)
        store.put_cells(one, {name: f"{one}{name}" for name in targets}, fresh, HASHES)
    return store.same_answers(RUN, Run("m", "base"))


NAN = float("nan")
TRUTH = TextAnswer(("cat",))
LETTERS = {"a": [([-0.1, -2.0], ""), ([-3.0], "")], "b": [([-0.5], "")]}
FEW, MANY = ({"c": [((), "cat")] * number} for number in (99, 100))


@pytest.mark.parametrize(
    ("base", "run", "same"),
    [
        (LETTERS, LETTERS, True),
        (LETTERS, LETTERS | {"b": [([-0.500009], "")]}, True),
        (LETTERS, LETTERS | {"b": [([-0.500011], "")]}, False),
        (LETTERS, LETTERS | {"b": [([NAN], "")]}, False),
        (LETTERS, LETTERS | {"b": [([-0.5], "(A)")]}, False),
        (LETTERS | FEW, LETTERS | FEW, True),
        (LETTERS | FEW, LETTERS | {"c": [*FEW["c"][1:], ((), "dog")]}, False),
        (FEW, FEW, False),
        (MANY, MANY, True),
        (MANY, {"c": [*FEW["c"], ((), "dog")]}, False),
        ({"b": [([NAN], "")]}, {"b": [([NAN], "")]}, False),
    ],
)
def test_answers_are_the_same_where_that_is_no_chance(tmp_path, base, run, same):
    assert answered(tmp_path, base, run) == same
