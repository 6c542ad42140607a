"""Reading other people's results: the three formats, alone and mixed."""

import hashlib
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import raises
from tables import ACCURACY, BASE, COUNTS, PGF, Read, refused, written

from transferscope.errors import DataError
from transferscope.readers import read_results
from transferscope.stats.simulate import example_study


@pytest.fixture
def write(tmp_path):
    """Write a table under the name `x.csv`, or another, and return its path."""
    return partial(written, tmp_path)


# What is read


def test_a_pgf_table_is_read_as_given(write):
    found = read_results(write(PGF + "a,S,T,0.25\na,S,U,\nb,S,T,-2\nb,S,U,nan\n"))
    assert found["pgf"].dims == ("model", "seed", "source", "target")
    assert found["model"].values.tolist() == ["x"]  # the file's name
    np.testing.assert_array_equal(found["pgf"].values[0, :, 0], [[0.25, np.nan], [-2, np.nan]])
    assert "x: of 4 cells, 2 are not measured" in found.attrs["notes"]


@pytest.mark.parametrize(
    "text",
    [
        ACCURACY + "s,,T,0.5\ns,S,T,0.75\n",
        ACCURACY + BASE + "s,S,T,0.75\n",  # a base for all seeds
        COUNTS + "s,,T,6,12\ns,S,T,9,12\n",
        COUNTS + "s,,T,6.0,12\ns,S,T, 9 ,1.2e1\n",
        "seed,source,target,accuracy,correct,total\ns,,T,0.5,6,12\ns,S,T,0.75,,\n",
        "seed,source,target,accuracy,correct,total\ns,,T,.50,6,12\ns,S,T,,9,12\n",
        "\ufeff" + ACCURACY + BASE + "s,S,T,0.75\n",  # as spreadsheets save it
        (ACCURACY + BASE + "s,S,T,0.75\n").replace("\n", "\r\n"),
        (ACCURACY + BASE + "s,S,T,0.75\n").replace("\n", "\r"),
        ACCURACY + "\n" + BASE + "  \n\ns,S,T,0.75",  # blank lines, no last line break
        ' seed , source,target,"accuracy"\n"","","T","0.5"\n\n"s","S","T","0.75"\n',
        "target,note,source,accuracy,seed\nT,x,,0.5,\nT,y,S,0.75,s\n",
    ],
)
def test_an_accuracy_table_is_read_however_it_is_written(write, text):
    found = read_results({"m": write(text)})
    assert found["seed"].values.tolist() == ["s"]
    assert float(found["base_accuracy"].item()) == 0.5
    assert float(found["accuracy"].item()) == 0.75
    assert float(found["pgf"].item()) == 0.5
    if text.startswith(COUNTS):
        assert float(found["base_errors"].item()) == 6
        assert float(found["total"].item()) == 12


def test_names_are_kept_exactly_as_given(write):
    names = [
        "<script>alert(1)</script>",
        " spaced ",
        "a,b",
        'say "hi"',
        "two\nlines",
        "\u540d\u524d",
    ]
    rows = pl.DataFrame(
        {"seed": "s", "source": [None, *names], "target": " T ", "accuracy": 0.5, "model": "<b>"}
    )
    found = Read(write(rows.write_csv()))
    assert [found.names(name) for name in ("source", "model", "target")] == [
        names,
        ["<b>"],
        [" T "],
    ]


@pytest.mark.parametrize("kind", ["csv", "quoted", "parquet"])
@settings(max_examples=5)
@given(seed=st.integers(0, 10_000))
def test_a_table_gives_the_same_rows_in_every_file_format(kind, seed, tmp_path_factory):
    rng = np.random.default_rng(seed)
    cells = [(s, i, t) for s in (0, 1) for i in (None, "a", "b") for t in ("a", "b")]
    table = pl.DataFrame(
        {
            "seed": [c[0] for c in cells],
            "source": [c[1] for c in cells],
            "target": [c[2] for c in cells],
            "accuracy": rng.random(len(cells)) * 0.98,
        }
    )
    path = tmp_path_factory.getbasetemp() / "m"
    if kind == "parquet":
        table.write_parquet(path)  # told by its first bytes, not by its name
    else:
        table.write_csv(path, quote_style="always" if kind == "quoted" else "necessary")
    rows = Read(path).rows["seed", "source", "target", "accuracy"]
    assert rows.equals(table.with_columns(pl.col("seed").cast(pl.String)))


def test_seeds_that_became_floats_beside_a_missing_one_are_read_as_integers(tmp_path):
    pl.DataFrame(
        {"seed": [None, 0.0, 1.0], "source": [None, "S", "S"], "target": "T", "accuracy": 0.5}
    ).write_parquet(tmp_path / "m.parquet")
    assert Read(tmp_path / "m.parquet").names("seed") == ["0", "1"]


def test_models_come_in_the_order_of_the_arguments(write):
    text = ACCURACY + BASE + "s,S,T,0.75\n"
    one, two = write(text, "one.csv"), write(text, "two.csv")
    assert read_results([two, one])["model"].values.tolist() == ["two", "one"]
    assert read_results({"9B": one, "3B": two})["model"].values.tolist() == ["9B", "3B"]
    assert read_results([("3B", two), str(one)])["model"].values.tolist() == ["3B", "one"]


def test_a_table_of_several_models_keeps_their_order(write):
    text = "model," + ACCURACY + "big,s,,T,0.5\nsmall,,,T,0.4\nsmall,s,S,T,0.7\nbig,s,S,T,0.75\n"
    assert read_results(write(text))["model"].values.tolist() == ["big", "small"]


def test_what_was_read_is_recorded(write):
    text = (PGF + "s,S,T,0.25\n").encode()
    found = read_results({"3B": write(text, "t.csv")})
    assert found.attrs["inputs"] == [
        {
            "model": "3B",
            "file": "t.csv",
            "sha256": hashlib.sha256(text).hexdigest(),
            "kind": "pgf table",
            "gold": {},
        }
    ]


def test_published_tables_are_recorded_and_leave_nothing_to_note(published):
    found = read_results({"3B": published / "qwen2.5-vl-3b.csv"})
    assert dict(found.sizes) == {"model": 1, "seed": 4, "source": 13, "target": 13}
    assert found["source"].values.tolist() == found["target"].values.tolist()
    assert found["seed"].values.tolist() == ["initial", "seed_0", "seed_1", "seed_2"]
    assert found.attrs["notes"] == []


# Predictions and study folders


@pytest.fixture(scope="module")
def study():
    return example_study(seeds=2)[0]


def test_a_study_folder_gives_the_matrix_of_its_runs(study, tmp_path):
    small = study.filter(pl.col("model") == "small")
    folder = tmp_path / "study" / "predictions"
    folder.mkdir(parents=True)
    for n, run in enumerate(small.partition_by("seed", "source")):
        run.write_parquet(folder / f"{n:03}.parquet")
    whole = tmp_path / "whole.csv"
    small.write_csv(whole)
    one, two = read_results({"m": folder.parent}), read_results({"m": whole})
    one, two = (d.sel(source=d["target"].values) for d in (one, two))
    assert one.attrs.pop("inputs")[0]["file"] == "study"
    assert two.attrs.pop("inputs")[0]["kind"] == "predictions"
    assert one.identical(two)
    assert one["model"].values.tolist() == ["m"]
    direct = small.filter(pl.col("source").is_null(), target="Counting", seed="seed_1")["correct"]
    cell = one.sel(model="m", seed="seed_1", target="Counting")
    assert float(cell["base_accuracy"]) == pytest.approx(direct.mean())
    asked = cell["base_item_correct"].values[one["item_target"].values == "Counting"]
    np.testing.assert_array_equal(asked, direct.to_numpy())


def test_kinds_may_be_mixed_between_models(study, published, tmp_path):
    study.filter(pl.col("model") == "small").write_parquet(tmp_path / "p.parquet")
    table = published / "qwen2.5-vl-3b.csv"
    accuracy = tmp_path / "a.csv"
    alone = read_results(table)
    frame = alone["accuracy"].to_dataframe().reset_index().to_dict("list")
    base = alone["base_accuracy"].to_dataframe().reset_index().to_dict("list")
    columns = ["seed", "source", "target", "accuracy"]
    base["accuracy"], base["source"] = base["base_accuracy"], [None] * len(base["seed"])
    pl.concat(
        [pl.DataFrame({c: list(map(_plain, part[c])) for c in columns}) for part in (frame, base)],
        how="vertical_relaxed",
    ).write_csv(accuracy)
    items = tmp_path / "p.parquet"
    found = read_results({"pgf": table, "items": items, "acc": accuracy, "last": table})
    assert found["model"].values.tolist() == ["pgf", "items", "acc", "last"]
    four = found.sel(seed=["initial", "seed_0", "seed_1", "seed_2"])  # items: seed_0 and seed_1
    assert len(found["seed"]) == 4
    np.testing.assert_array_equal(four["pgf"].sel(model="pgf"), alone["pgf"].isel(model=0))
    np.testing.assert_allclose(four["pgf"].sel(model="acc"), alone["pgf"].isel(model=0), atol=1e-12)
    own = read_results(items).sel(source=four["source"].values, target=four["target"].values)
    np.testing.assert_array_equal(
        four["pgf"].sel(model="items", seed=own["seed"].values), own["pgf"].isel(model=0)
    )
    assert (found["item_correct"].sel(model=["pgf", "acc"]) == -1).all()
    assert (found["item_correct"].sel(model="items", seed="seed_0") >= 0).all()
    assert (found["item_correct"].sel(model="items", seed="initial") == -1).all()
    assert found["item_correct"].dtype == np.int8
    assert found["item_correct"].dims == ("model", "seed", "source", "item")
    assert not any("not measured" in note for note in found.attrs["notes"])


def _plain(value):
    return value if isinstance(value, str | None) else float(value)


def test_tasks_that_differ_between_kinds_are_refused_by_name(study, published, tmp_path):
    study.filter(pl.col("target") != "Jigsaw", model="small").write_parquet(tmp_path / "p.parquet")
    message = refused({"3B": published / "qwen2.5-vl-3b.csv", "p": tmp_path / "p.parquet"})
    assert "models '3B' and 'p' differ in their targets: only '3B' has 'Jigsaw'; keep" in message


def test_a_run_that_two_files_hold_is_refused_naming_both(study, tmp_path):
    folder = tmp_path / "study" / "predictions"
    folder.mkdir(parents=True)
    run = study.head(3)
    run.write_parquet(folder / "a.parquet")
    study.slice(2, 2).write_parquet(folder / "b.parquet")
    message = refused(tmp_path / "study")
    assert message.startswith("study: 'b.parquet' row 1 repeats 'a.parquet' row 3: model 'small'")


def test_a_folder_without_predictions_is_refused(tmp_path, write):
    write("", "study/predictions/notes.txt")
    with raises(DataError):
        read_results(tmp_path / "study")
    pl.DataFrame(
        {"seed": ["s"], "source": ["S"], "target": ["T"], "accuracy": [0.5]}
    ).write_parquet(tmp_path / "study" / "predictions" / "a.parquet")
    with raises(DataError):
        read_results(tmp_path / "study")
