"""Bad input: one clear line that names the file, the row, what was found and what was expected."""

import io
from functools import partial

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import ACCURACY, BASE, COUNTS, PGF, PREDICTIONS, refused, written

from transferscope.errors import DataError
from transferscope.readers import read_results
from transferscope.readers.files import read_file
from transferscope.stats.simulate import example_predictions


@pytest.fixture
def write(tmp_path):
    """Write a table under the name `x.csv`, or another, and return its path."""
    return partial(written, tmp_path)


CHOICES = PREDICTIONS.replace("correct", "correct,choice,answer,unreadable")


# The file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.csv: the file is empty"),
        (b" \n\n", "x.csv: the file is empty"),
        (PGF, "x.csv: the file has a header but no rows"),
        (PGF + "\n \n", "x.csv: the file has a header but no rows"),
        (
            '"seed","ft_task","task","perfection_gap_factor"\n',
            "x.csv: the file has a header but no",
        ),
        ("\n" + PGF + "s,S,T,0\n", "x.csv: row 1 is blank; expected the header"),
        (PGF.encode() + b"s,S,T,0\ns,\xe9,T,0\n", "x.csv: row 3: not UTF-8 text; save the file as"),
        ((PGF + "s,S,T,0\n").encode("utf-16"), "x.csv: row 1: not UTF-8 text"),
        (PGF + "s,S\0,T,0\n", "x.csv: row 2: a NUL character"),
        (PGF + "s,S,T,0\ns,S,U\n", "x.csv: row 3: 3 fields, expected 4"),
        (PGF + "s,S,T,0,\n", "x.csv: row 2: 5 fields, expected 4"),
        (PGF + '"s","S","T,U",0\n"s","S,T",0\n', "x.csv: row 3: 3 fields, expected 4"),
        (PGF + '"s","S\nS",T,0\ns,S,T\n', "x.csv: row 4: 3 fields, expected 4"),
        (PGF + 's,"S,T,0\n', "x.csv: row 2: not readable as CSV: unexpected end of data"),
        (
            PGF.replace(",", "|") + "s|S|T|0\n",
            "x.csv: the header is 'seed|ft_task|task|perfection_",
        ),
        ('{"item": 1}\n{"item"', "x.csv: row 2 is no JSON object; was the file cut short?"),
        ('{"item": \n', "x.csv: the file is no JSON; expected a table"),
        ('[{"item": 1}, 2]', "x.csv: row 2 is no JSON object"),
        ("seed,task,ft_task,task\ns,T,S,T\n", "x.csv: duplicated column 'task'; keep one"),
        ("seed,task,,\ns,T,,\n", "x.csv: row 1: 2 columns have no name; expected the header"),
        ('"seed"," seed",task\ns,T,S\n', "x.csv: duplicated column 'seed'; keep one"),
        (b"PAR1" + b"\0" * 50, "x.csv: not a readable Parquet file; was it cut short?"),
        (b"\x89PNG\r\n\x1a\n\0\0", "x.csv: looks like a PNG picture; expected a table, CSV, JSON"),
        (
            "# Head\n\n| a | b |\n|---|---|\n| 1, 2 | 3 |\n",
            "x.csv: looks like Markdown; expected a",
        ),
        ("\n<!DOCTYPE html>\n<p>a, b</p>", "x.csv: looks like a web page; expected a table"),
        (bytes(range(128, 256)) + b"\1,\2\n", "x.csv: looks like binary data, not text; expected"),
        ("Hello\n\nworld, all of it\n", "x.csv: the first row, 'Hello', has a single column; exp"),
        ('[a]\n"b"c\n', "x.csv: the first row, '[a]', has a single column; expected a table"),
    ],
)
def test_a_damaged_file_is_refused(write, content, message):
    assert refused(write(content)).startswith(message)


def test_a_parquet_file_that_unfolds_is_refused_and_its_lists_are_left_alone(tmp_path):
    path = tmp_path / "x.parquet"
    pl.DataFrame({"model": pl.repeat("m", 1_000_010, eager=True)}).write_parquet(path)
    size = f"{path.stat().st_size:,}"
    assert refused(path) == (
        f"x.parquet: 1,000,010 rows in {size} bytes, at most 1,000,000 are allowed"
    )
    lists = pl.DataFrame({"item": ["a", "b"], "logprobs": [[0.0] * 1000, [1.0]]})
    lists.write_parquet(path)
    frame = read_file(path).frame
    assert frame["item"].to_list() == ["a", "b"]
    assert frame["logprobs"].to_list() == [None, None]


def test_a_missing_file_is_refused(tmp_path):
    assert refused(tmp_path / "none.csv") == f"{tmp_path / 'none.csv'}: no such file or folder"


def test_no_input_at_all_is_refused():
    assert refused([]) == "no input; give at least one file or study folder"


@pytest.mark.parametrize("part", ["head", "tail", "middle", "magic"])
def test_a_broken_parquet_file_is_refused_without_the_librarys_own_words(write, part):
    path = write(b"", "x.parquet")
    example_predictions(seeds=1).head(2000).write_parquet(path)
    data = path.read_bytes()
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
    ("header", "message"),
    [
        (
            "a,b",
            "x.csv: found columns 'a', 'b'; known formats are predictions: source, target, item, "
            "and score (0 to 1) or correct; accuracy table: source, target, and accuracy, or "
            "correct and total; pgf table: seed, ft_task, task, perfection_gap_factor; wide accur",
        ),
        (
            "seed,ft_task,task",
            "x.csv: missing column 'perfection_gap_factor'; found 'seed', 'ft_task', 'task'; "
            "expected of this format, pgf table: seed, ft_task, task, perfection_gap_factor",
        ),
        (
            "target,accuracy",
            "x.csv: missing column 'source'; found 'target', 'accuracy'; expected of this format, "
            "accuracy table: source, target, and accuracy, or correct and total",
        ),
        ("seed,source,target", "x.csv: missing column 'accuracy'"),
        ("seed,source,target,correct", "x.csv: missing column 'total'"),
        ("seed,source,target,total", "x.csv: missing column 'correct'"),
        ("seed,source,accuracy", "x.csv: missing column 'target'"),
        ("source,item,correct", "x.csv: missing column 'target'"),
        ("source,target,score", "x.csv: missing column 'item'; found 'source', 'target', 'score'"),
        ("model,seed,source,target,item", "x.csv: missing column 'score'"),
    ],
)
def test_columns_that_fit_no_format_are_refused(write, header, message):
    row = ",".join("1" for _ in header.split(","))
    assert refused(write(f"{header}\n{row}\n")).startswith(message)


# Values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PGF + "s,S,T,0.1\ns,S,U,x\n", "row 3: perfection_gap_factor is 'x', expected a number"),
        (PGF + 's,S,T,"0,1,0"\n', "row 2: perfection_gap_factor is '0,1,0', expected a number"),
        (PGF + "s,S,T,N/A\n", "row 2: perfection_gap_factor is 'N/A', expected a number, or"),
        (PGF + "s,S,T,inf\n", "row 2: perfection_gap_factor is 'inf', expected a finite number"),
        (PGF + "s,S,T,-1e999\n", "row 2: perfection_gap_factor is '-1e999', expected a finite"),
        (PGF + "s,S,T,1.2\n", "row 2: perfection_gap_factor is '1.2', a PGF is at most 1"),
        (PGF + "s,,T,0.1\n", "row 2: ft_task is empty"),
        (PGF + "s,S, ,0.1\n", "row 2: task is empty"),
        (PGF + ",S,T,0.1\n", "row 2: seed is empty"),
        (PGF + "s,S,T,1\ns,S,U,1\n\ns,S,T,0\n", "row 5 repeats row 2: model 'x', seed 's', source "
         "'S', target 'T' are given twice; keep one"),
        (PGF + f"s,{'n' * 201},T,0\n", "row 2: source 'nnnnnnnnnnnnnnnnnnnn'... has 201 char"),
        (ACCURACY + BASE + "s,S,T,61.5\n", "row 2: accuracy is '0.5', beside '61.5', so fractions "
         "and percent are mixed; write all as fractions (0.863), or give every value the sign %"),
        (ACCURACY + BASE + "s,S,T,-0.1\n", "row 3: accuracy is '-0.1', expected 0 to 1. A correl"),
        (ACCURACY + BASE + "s,S,T,1e999\n", "row 3: accuracy is '1e999', expected a finite number"),
        (ACCURACY + BASE + ",S,T,0.5\ns,S,T,1\n", "row 3: seed is empty; only a base row"),
        (ACCURACY + BASE + "s,S,,0.5\n", "row 3: target is empty"),
        (ACCURACY + BASE + "s,S,T,0\n,,T,0.5\n", "row 4 repeats row 2: model 'x', seed 's', source "
         "None, target 'T' are given twice"),
        (ACCURACY + BASE + "s,S,T,0\ns,,T,0.5\n", "row 4 repeats row 2: model 'x', seed 's'"),
        (ACCURACY + BASE, "only base rows; there is nothing to compare the base with"),
        (COUNTS + "s,S,T,12.5,20\n", "row 2: correct is '12.5', expected a whole number"),
        (COUNTS + "s,S,T,12,20.5\n", "row 2: total is '20.5', expected a whole number"),
        (COUNTS + "s,S,T,-1,20\n", "row 2: correct is '-1', expected 0 or more"),
        (COUNTS + "s,S,T,0,0\n", "row 2: total is '0', expected at least 1"),
        (COUNTS + "s,S,T,0,9e18\n", "row 2: total is '9e18', expected at most 1,000,000"),
        (COUNTS + "s,S,T,21,20\n", "row 2: correct is '21', more than total"),
        (COUNTS + "s,S,T,,20\n", "row 2: one of correct and total is empty; give both or neither"),
        ("seed,source,target,accuracy,correct,total\ns,S,T,0.5,6,12\ns,S,U,0.51,6,12\n",
         "row 3: accuracy is '0.51', which is not correct / total"),
        ("model," + ACCURACY + "a,,,T,0.5\n,s,S,T,0.5\n", "row 3: model is empty"),
        (PREDICTIONS + "m,s,,T,q,1\nm,s,S,T,q,yes\n", "row 3: correct must be 0 or 1, got 'yes'"),
        (PREDICTIONS + "m,s,,T,q,1\nm,s,S,T,q,\n", "row 3: correct is empty"),
        (PREDICTIONS + "m,s,,T,q,1\nm,s,S,T,,1\n", "row 3: item is empty"),
        (PREDICTIONS + "m,s,,T,q,1\nm,,S,T,q,1\n", "row 3: seed is empty; only a base row"),
        ("source,target,item,score\n,T,q,1\nS,T,q,\n", "row 3: score is empty; leave out rows"),
        ("source,target,item,score\n,T,q,1\nS,T,q,7\n", "row 3: score must be in [0, 1]"),
        (PREDICTIONS + "m,s,S,T,q,1\nm,s,S,T,q,0\n", "row 3 repeats row 2: model 'm', seed 's', "
         "source 'S', target 'T', item 'q' are given twice"),
        (PREDICTIONS + "m,,,T,q,1\nm,s,S,T,q,1\nm,s,,T,q,1\n", "row 4 repeats row 2"),
        (PREDICTIONS + "m,s,,T,q,1\n", "only base rows"),
        (PGF + "s,S,T,0\ns,Base,T,0\n", "row 3: source is 'Base'; rows of the untuned model have"),
        (PGF + "s,S,T,0\ns,S,Overall,0\n", "row 3: target is 'Overall'; a mean of the other tar"),
        (PGF + "s,S,T,0\ns,t,T,0\n", "row 2: task 'T' and 't' (row 3) differ in spelling alone"),
        (PGF + "s,S,T,0\ns,S ,U,0\n", "row 3: task 'S ' and 'S' (row 2) differ in spelling alone"),
        (PGF + "s,A-b,T,0\ns,A_B,T,0\n", "row 3: task 'A_B' and 'A-b' (row 2) differ in spelling"),
        (PGF + "1,S,T,0\nSeed_01,S,U,0\n", "row 3: seed 'Seed_01' and '1' (row 2) differ in spell"),
        ("model," + PGF + "m,1,S,T,0\nM,1,S,T,0\n", "row 3: model 'M' and 'm' (row 2) differ in"),
        (CHOICES + "m,s,,T,q,1,2,2,0\nm,s,S,T,q,1,0,2,0\n", "row 3: correct must be 1 where"),
        (CHOICES + "m,s,,T,q,1,2,2,0\nm,s,S,T,q,1,,2,1\n", "row 3: unreadable and correct"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_its_place_and_what_was_expected(write, text, message):
    found = refused(write(text))
    assert found.startswith(f"x.csv: {message}"), found


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
    expected = "numbers" if column == "accuracy" else "text"
    assert refused(tmp_path / "x.parquet") == (
        f"x.parquet: column {column!r} holds List(Int64), expected {expected}"
    )


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
    path = written(tmp_path_factory.mktemp("any"), header + "".join(parts))
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
    path = written(tmp_path_factory.mktemp("any"), bytes(data), "x.parquet")
    assert _outcome(path).isprintable()


def _outcome(path):
    """The message of a refusal; nothing where the file is read."""
    try:
        read_results(path)
    except DataError as error:
        return str(error)
    return ""
