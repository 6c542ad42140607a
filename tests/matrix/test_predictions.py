"""The predictions table: its types, its required columns, and what is refused."""

import polars as pl
import pytest
from messages import raises

from transferscope.errors import DataError
from transferscope.predictions import COLUMNS, REQUIRED, check_predictions, some
from transferscope.stats.simulate import example_predictions


@pytest.fixture(scope="module")
def study():
    return example_predictions(seeds=1)


def test_predictions_take_their_types_and_order_and_lose_unknown_columns():
    frame = pl.DataFrame(
        {
            "correct": [1, 0],
            "item": [7, 8],
            "target": pl.Series(["T", "T"], dtype=pl.Categorical),
            "source": [None, "S"],
            "seed": [0, 0],
            "model": ["m", "m"],
            "margin": [1, None],
            "logprobs": [[-1, -2], None],
            "whim": [1, 2],
        }
    )
    checked = check_predictions(frame, "run")
    assert checked.columns == [column for column in COLUMNS if column in frame.columns]
    assert all(checked.schema[column] == COLUMNS[column] for column in checked.columns)
    assert checked["correct"].to_list() == [True, False]
    assert checked["item"].to_list() == ["7", "8"]


@pytest.mark.parametrize(
    "said",
    [
        (True, False),
        (1, 0),
        (1.0, 0.0),
        ("1", "0"),
        ("1.0", "0.0"),
        (" True", "FALSE "),
        ("TRUE", "false"),
    ],
)
def test_right_and_wrong_may_be_written_in_any_usual_way(study, said):
    two = study.head(2).with_columns(correct=pl.Series(said)).drop("choice", "answer", "unreadable")
    assert check_predictions(two, "run")["correct"].to_list() == [True, False]


@pytest.mark.parametrize("column", REQUIRED)
def test_predictions_need_every_required_column(study, column):
    with raises(DataError):
        check_predictions(study.drop(column), "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correct": pl.lit(2)}, "row 1: correct is 2, expected 0 or 1"),
        ({"correct": pl.lit(0.5)}, "row 1: correct is 0.5, expected 0 or 1"),
        ({"correct": pl.lit(None, pl.Boolean)}, "row 1: correct is empty"),
        ({"correct": pl.lit("")}, "row 1: correct is empty"),
        ({"correct": pl.date(2026, 1, 1)}, "column 'correct' holds Date, expected true and false"),
        ({"correct": pl.concat_list("correct")}, "column 'correct' holds List(Boolean)"),
        ({"model": pl.lit(None, pl.String)}, "row 1: model is empty"),
        ({"seed": pl.lit(1.5)}, "row 1: seed is not a name or a whole number"),
        ({"item": pl.lit("q")}, "row 2 repeats row 1: model 'small', seed 'seed_0', source None"),
        ({"margin": pl.lit("wide")}, "column 'margin' holds String, expected Float64"),
    ],
)
def test_predictions_that_are_none_are_refused(study, change, message):
    with raises(DataError):
        check_predictions(study.head(2).with_columns(**change), "run")


def test_of_many_names_the_first_are_told_and_how_many_more_there_are():
    assert some("abcde") == "'a', 'b', 'c', 'd', 'e'"
    assert some("abcdefg") == "'a', 'b', 'c', 'd', 'e' and 2 more"
