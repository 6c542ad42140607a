"""Bad input: one clear line that names the file, the row, what was found and what was expected."""

import io
from functools import partial

import messages
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import raises
from tables import ACCURACY, BASE, COUNTS, PGF, PREDICTIONS, refused, written

from transferscope.errors import DataError
from transferscope.readers import read_results
from transferscope.readers.files import read_file
from transferscope.stats.simulate import example_study


@pytest.fixture
def write(tmp_path):
    """Write a table under the name `x.csv`, or another, and return its path."""
    return partial(written, tmp_path)


CHOICES = PREDICTIONS.replace("correct", "correct,choice,answer,unreadable")


# The file


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\n",
        PGF,
        PGF + "\n \n",
        '"seed","ft_task","task","perfection_gap_factor"\n',
        "\n" + PGF + "s,S,T,0\n",
        PGF.encode() + b"s,S,T,0\ns,\xe9,T,0\n",
        (PGF + "s,S,T,0\n").encode("utf-16"),
        PGF + "s,S\0,T,0\n",
        PGF + "s,S,T,0\ns,S,U\n",
        PGF + "s,S,T,0,\n",
        PGF + '"s","S","T,U",0\n"s","S,T",0\n',
        PGF + '"s","S\nS",T,0\ns,S,T\n',
        PGF + 's,"S,T,0\n',
        PGF.replace(",", "|") + "s|S|T|0\n",
        '{"item": 1}\n{"item"',
        '{"item": \n',
        '[{"item": 1}, 2]',
        "seed,task,ft_task,task\ns,T,S,T\n",
        "seed,task,,\ns,T,,\n",
        '"seed"," seed",task\ns,T,S\n',
        b"PAR1" + b"\0" * 50,
        b"\x89PNG\r\n\x1a\n\0\0",
        "# Head\n\n| a | b |\n|---|---|\n| 1, 2 | 3 |\n",
        "\n<!DOCTYPE html>\n<p>a, b</p>",
        bytes(range(128, 256)) + b"\1,\2\n",
        "Hello\n\nworld, all of it\n",
        '[a]\n"b"c\n',
    ],
)
def test_a_damaged_file_is_refused(write, content):
    with raises(DataError):
        read_results(write(content))


def test_a_parquet_file_that_unfolds_is_refused_and_its_lists_are_left_alone(tmp_path):
    path = tmp_path / "x.parquet"
    pl.DataFrame({"model": pl.repeat("m", 1_000_010, eager=True)}).write_parquet(path)
    size = f"{path.stat().st_size:,}"
    assert refused(path) == (
        f"x.parquet: 1,000,010 rows in {size} bytes; at most 1,000,000 are allowed"
    )
    lists = pl.DataFrame({"item": ["a", "b"], "logprobs": [[0.0] * 1000, [1.0]]})
    lists.write_parquet(path)
    frame = read_file(path).rows
    assert frame["item"].to_list() == ["a", "b"]
    assert frame["logprobs"].to_list() == [None, None]


def test_a_missing_file_is_refused(tmp_path):
    assert refused(tmp_path / "none.csv") == f"{tmp_path / 'none.csv'}: no such file or folder"


def test_no_input_at_all_is_refused():
    assert refused([]) == "no input; give at least one file or study folder"


@pytest.fixture(scope="module")
def parquet():
    """The bytes of a table in Parquet."""
    file = io.BytesIO()
    example_study(seeds=1)[0].head(2000).write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize("part", ["head", "tail", "middle", "magic"])
def test_a_broken_parquet_file_is_refused_without_the_librarys_own_words(write, parquet, part):
    data = parquet
    half = len(data) // 2
    broken = {
        "head": data[:half],
        "tail": b"PAR1" + data[half:],
        "middle": data[:40] + bytes(255 - b for b in data[40:400]) + data[400:],
        "magic": b"model,seed\n",
    }[part]
    assert refused(write(broken, "x.parquet")) == (
        "x.parquet: not a readable Parquet file; was it cut short?"
    )


# Columns


@pytest.mark.parametrize(
    "header",
    [
        "a,b",
        "seed,ft_task,task",
        "target,accuracy",
        "seed,source,target",
        "seed,source,target,correct",
        "seed,source,target,total",
        "seed,source,accuracy",
        "source,item,correct",
        "source,target,score",
        "model,seed,source,target,item",
    ],
)
def test_columns_that_fit_no_format_are_refused(write, header):
    row = ",".join("1" for _ in header.split(","))
    with raises(DataError):
        read_results(write(f"{header}\n{row}\n"))


# Values


@pytest.mark.parametrize(
    "text",
    [
        PGF + "s,S,T,0.1\ns,S,U,x\n",
        PGF + 's,S,T,"0,1,0"\n',
        PGF + "s,S,T,N/A\n",
        PGF + "s,S,T,inf\n",
        PGF + "s,S,T,-1e999\n",
        PGF + "s,S,T,1.2\n",
        PGF + "s,,T,0.1\n",
        PGF + "s,S, ,0.1\n",
        PGF + ",S,T,0.1\n",
        PGF + "s,S,T,1\ns,S,U,1\n\ns,S,T,0\n",
        PGF + f"s,{'n' * 201},T,0\n",
        ACCURACY + BASE + "s,S,T,61.5\n",
        ACCURACY + BASE + "s,S,T,-0.1\n",
        ACCURACY + BASE + "s,S,T,1e999\n",
        ACCURACY + BASE + ",S,T,0.5\ns,S,T,1\n",
        ACCURACY + BASE + "s,S,,0.5\n",
        ACCURACY + BASE + "s,S,T,0\n,,T,0.5\n",
        ACCURACY + BASE + "s,S,T,0\ns,,T,0.5\n",
        ACCURACY + BASE,
        COUNTS + "s,S,T,12.5,20\n",
        COUNTS + "s,S,T,12,20.5\n",
        COUNTS + "s,S,T,-1,20\n",
        COUNTS + "s,S,T,0,0\n",
        COUNTS + "s,S,T,0,9e18\n",
        COUNTS + "s,S,T,21,20\n",
        COUNTS + "s,S,T,,20\n",
        "seed,source,target,accuracy,correct,total\ns,S,T,0.5,6,12\ns,S,U,0.51,6,12\n",
        "model," + ACCURACY + "a,,,T,0.5\n,s,S,T,0.5\n",
        PREDICTIONS + "m,s,,T,q,1\nm,s,S,T,q,yes\n",
        PREDICTIONS + "m,s,,T,q,1\nm,s,S,T,q,\n",
        PREDICTIONS + "m,s,,T,q,1\nm,s,S,T,,1\n",
        PREDICTIONS + "m,s,,T,q,1\nm,,S,T,q,1\n",
        "source,target,item,score\n,T,q,1\nS,T,q,\n",
        "source,target,item,score\n,T,q,1\nS,T,q,7\n",
        PREDICTIONS + "m,s,S,T,q,1\nm,s,S,T,q,0\n",
        PREDICTIONS + "m,,,T,q,1\nm,s,S,T,q,1\nm,s,,T,q,1\n",
        PREDICTIONS + "m,s,,T,q,1\n",
        PGF + "s,S,T,0\ns,Base,T,0\n",
        PGF + "s,S,T,0\ns,S,Overall,0\n",
        PGF + "s,S,T,0\ns,t,T,0\n",
        PGF + "s,S,T,0\ns,S ,U,0\n",
        PGF + "s,A-b,T,0\ns,A_B,T,0\n",
        PGF + "1,S,T,0\nSeed_01,S,U,0\n",
        "model," + PGF + "m,1,S,T,0\nM,1,S,T,0\n",
        CHOICES + "m,s,,T,q,1,2,2,0\nm,s,S,T,q,1,0,2,0\n",
        CHOICES + "m,s,,T,q,1,2,2,0\nm,s,S,T,q,1,,2,1\n",
    ],
)
def test_a_bad_row_is_refused_with_its_place_and_what_was_expected(write, text):
    with raises(DataError):
        read_results(write(text))


def test_names_that_say_different_things_are_not_taken_for_two_spellings(write):
    names = ["A+", "A-", "-A", "Point 1", "Point 11", "base model", "averages", "A B", "AB"]
    rows = [f"{seed},{name},T,0\n" for name in names for seed in ("1", "10", "seed", "1.5")]
    found = read_results(write(PGF + "".join(rows)))
    assert found["source"].values.tolist() == names
    assert found.sizes["seed"] == 4


@pytest.mark.parametrize("column", ["accuracy", "seed", "source"])
def test_a_parquet_column_of_the_wrong_type_is_refused(tmp_path, column):
    table = {"seed": ["s"], "source": ["S"], "target": ["T"], "accuracy": [0.5]}
    table[column] = [[1, 2]]
    pl.DataFrame(table).write_parquet(tmp_path / "x.parquet")
    messages.check(refused(tmp_path / "x.parquet"))


def test_rows_of_a_parquet_file_count_from_1(tmp_path):
    pl.DataFrame(
        {"seed": "s", "source": ["S", "R"], "target": "T", "accuracy": [61.5, 0.5]}
    ).write_parquet(tmp_path / "x.parquet")
    assert refused(tmp_path / "x.parquet").startswith(
        "x.parquet: row 2: accuracy is 0.5, beside 61.5, so fractions"
    )


def test_a_file_whose_name_breaks_the_line_is_shown_on_one(write):
    assert refused(write("a,b\n1,2\n", "x\ny.csv")).startswith(r"x\ny.csv: found columns 'a', 'b'")


def test_hostile_text_in_a_message_is_quoted(write):
    message = refused(write(PGF + 's,"S\n\x1b[31m",T,1\ns,"S\n\x1b[31m",T,0\n'))
    assert r"source 'S\n\x1b[31m'" in message
    assert message.startswith("x.csv: row 4 repeats row 2")


# Models


def test_one_name_for_several_models_is_refused(write):
    path = write("model," + ACCURACY + "a,,,T,0.5\nb,,,T,0.5\n")
    assert refused({"m": path}) == (
        "x.csv: holds 2 models ('a', 'b', ...), so it cannot be named 'm'; give it without a name"
    )


def test_one_model_in_two_inputs_is_refused(write, tmp_path):
    text = ACCURACY + BASE + "s,S,T,0.75\n"
    paths = [write(text, "m.csv"), write(text, "other/m.csv")]
    assert refused(paths) == (
        "model 'm' is in two inputs, m.csv and m.csv; give each its own name, as in NAME=PATH"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (" ", "the model name is empty"),
        ("n" * 300, "the model name 'nnnnnnnnnnnnnnnnnnnn'... has 300 characters, at most 200"),
        ("a\0", r"the model name 'a\x00' holds a NUL character"),
    ],
)
def test_a_name_that_is_none_is_refused(write, name, message):
    assert refused({name: write(ACCURACY + BASE)}).startswith(message)


def test_a_ceiling_in_percent_is_refused_with_the_remedy(write):
    path = write(ACCURACY + BASE + "s,S,T,0.75\n")
    assert "divide percent by 100" in refused(path, ceiling=95)
    assert float(read_results(path, ceiling=0.75)["pgf"].item()) == 1.0


# Anything


@settings(max_examples=60)
@given(
    header=st.sampled_from([PGF, ACCURACY, COUNTS, PREDICTIONS, "", "seed,source,target\n"]),
    parts=st.lists(
        st.sampled_from(
            [
                *"sSTq01,\n",
                "\r\n",
                '"',
                '""',
                " ",
                "0.5",
                "-3",
                "nan",
                "inf",
                "\ufeff",
                "\0",
                "\u2028",
            ]
        )
        | st.sampled_from(["s,S,T,0.5\n", "s,,T,0.5\n", "s,S,T,5,9\n", "m,s,S,T,q,1\n", "x" * 300]),
        max_size=14,
    ),
)
def test_any_text_is_read_or_refused_in_one_line(header, parts, tmp_path_factory):
    path = written(tmp_path_factory.getbasetemp() / "any", header + "".join(parts))
    assert _outcome(path).isprintable()


@settings(max_examples=20)
@given(flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6))
def test_any_damage_to_a_parquet_file_is_read_or_refused_in_one_line(flips, tmp_path_factory):
    table = pl.DataFrame(
        {"seed": "s", "source": [None, "S"], "target": "T", "accuracy": [0.5, 0.7]}
    )
    whole = io.BytesIO()
    table.write_parquet(whole)
    data = bytearray(whole.getvalue())
    for place, bits in flips:
        data[int(place * (len(data) - 1))] ^= bits
    path = written(tmp_path_factory.getbasetemp() / "any", bytes(data), "x.parquet")
    assert _outcome(path).isprintable()


def _outcome(path):
    """The message of a refusal; nothing where the file is read."""
    try:
        read_results(path)
    except DataError as error:
        return str(error)
    return ""
