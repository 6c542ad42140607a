"""The predictions table: its types, its required columns, and what is refused."""

import polars as pl
import pytest
from messages import raises

from transferscope.errors import DataError
from transferscope.predictions import COLUMNS, REQUIRED, check_predictions
from transferscope.stats.simulate import example_study


@pytest.fixture(scope="module")
def study():
    return example_study(seeds=1)[0]


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


def test_an_item_has_one_group_in_all_rows_that_name_one(study):
    rows = study.filter(pl.col("item") == study["item"][0]).head(3)
    known = rows.with_columns(group=pl.Series(["room 1", None, "room 1"]))
    assert check_predictions(known, "run")["group"].to_list() == ["room 1", None, "room 1"]
    with raises(DataError):
        check_predictions(known.with_columns(group=pl.Series([None, "room 1", "room 2"])), "run")


@pytest.mark.parametrize("column", REQUIRED)
def test_predictions_need_every_required_column(study, column):
    with raises(DataError):
        check_predictions(study.drop(column), "run")


@pytest.mark.parametrize(
    "change",
    [
        {"correct": pl.lit(2)},
        {"correct": pl.lit(0.5)},
        {"correct": pl.lit(None, pl.Boolean)},
        {"correct": pl.lit("")},
        {"correct": pl.date(2026, 1, 1)},
        {"correct": pl.concat_list("correct")},
        {"model": pl.lit(None, pl.String)},
        {"seed": pl.lit(1.5)},
        {"item": pl.lit("q")},
        {"margin": pl.lit("wide")},
    ],
)
def test_predictions_that_are_none_are_refused(study, change):
    with raises(DataError):
        check_predictions(study.head(2).with_columns(**change), "run")
