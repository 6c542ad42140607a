"""Letters, collapse and flips: as the oracle has them, and never more than the results say."""

import math

import numpy as np
import oracle
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import refused, written

import transferscope as ts
from transferscope.analysis.settings import Settings
from transferscope.matrix import from_predictions
from transferscope.matrix.collapse import (
    Answers,
    Behaviour,
    behavior,
    behavior_notes,
    collapsed_letter,
    describe_answers,
)
from transferscope.matrix.flips import LISTED, flips
from transferscope.predictions import check_predictions

QUICK = Settings()
NAN = math.nan


def table(runs, answers, **columns):
    """Predictions of `runs`, {(seed, source): choices}, on one target with these answers."""
    rows = [
        {
            "model": "m",
            "seed": seed,
            "source": source,
            "target": "T",
            "item": f"q{k}",
            "choice": choice,
            "answer": answer,
            "correct": choice == answer,
            "unreadable": choice is None,
        }
        for (seed, source), choices in runs.items()
        for k, (choice, answer) in enumerate(zip(choices, answers, strict=True))
    ]
    frame = pl.DataFrame(rows, schema_overrides={"choice": pl.Int64, "source": pl.String})
    return check_predictions(frame.with_columns(**columns), "runs")


def described(frame):
    found = behavior(from_predictions(frame).sel(model="m"))
    assert found is not None
    return found


@st.composite
def runs(draw):
    """A base and adapters of two sources in up to three seeds, some of one letter throughout."""
    items, options = draw(st.integers(1, 30)), draw(st.integers(2, 10))
    letter = st.integers(0, options - 1)
    answers = draw(st.lists(letter, min_size=items, max_size=items))
    found = {}
    for seed in range(draw(st.integers(1, 3))):
        for source in (None, "S", "T"):
            likely = st.one_of(st.just(draw(letter)), st.none() | letter)
            if draw(st.booleans()):
                likely = st.none() | letter
            found[str(seed), source] = draw(st.lists(likely, min_size=items, max_size=items))
    return found, answers


@given(study=runs())
def test_shares_collapse_and_flips_agree_with_the_oracle(study):
    found, answers = study
    matrix = from_predictions(table(found, answers)).sel(model="m")
    seeds = sorted({seed for seed, _ in found})
    check_behavior(behavior(matrix), found, answers, seeds)
    check_flips(flips(matrix), found, answers, seeds)


def check_behavior(record, found, answers, seeds):
    for source, cell in (
        (None, record.base["T"]),
        *((name, record.sources[name]["T"]) for name in ("S", "T")),
    ):
        choices = [found[seed, source] for seed in seeds]
        pooled = [choice for each in choices for choice in each]
        expected = oracle.letter_shares(pooled, len(record.right["T"]))
        assert cell.letters == pytest.approx(expected, abs=1e-4)
        assert cell.unreadable == pytest.approx(pooled.count(None) / len(pooled), abs=1e-4)
        fallen = {seed: oracle.collapsed(found[seed, source], answers) for seed in seeds}
        assert cell.collapsed == {s: letter for s, letter in fallen.items() if letter is not None}
        assert cell.seeds == len(seeds)
    expected = oracle.letter_shares(list(answers), len(record.right["T"]))
    assert record.right["T"] == pytest.approx(expected, abs=1e-4)


def check_flips(cells, found, answers, seeds):
    def right(source):
        pairs = [zip(found[s, source], answers, strict=True) for s in seeds]
        return [{f"q{k}": c == a for k, (c, a) in enumerate(one)} for one in pairs]

    for source in ("S", "T"):
        expected = oracle.flips(right(None), right(source))
        cell = cells[source]["T"]
        assert (cell.fixed, cell.broken) == pytest.approx((expected.fixed, expected.broken))
        assert cell.items == len(answers)
        for often, most, listed in (
            (cell.often_fixed, cell.most_fixed, expected.often_fixed),
            (cell.often_broken, cell.most_broken, expected.often_broken),
        ):
            assert often == len(listed)
            assert len(most) == min(LISTED, often)
            assert most.items() <= listed.items()
            assert list(most.values()) == sorted(listed.values(), reverse=True)[:LISTED]


@pytest.mark.parametrize("options", range(2, 11))
def test_an_adapter_that_always_answers_a_has_collapsed_whatever_the_number_of_options(options):
    right = [k % options for k in range(10 * options)]
    record = described(table({("0", None): right, ("0", "S"): [0] * len(right)}, right))
    cell = record.sources["S"]["T"]
    assert cell.collapsed == {"0": 0}
    assert describe_answers(cell) == "always A"
    assert not record.base["T"].collapsed  # every answer right, whatever their letters


def test_right_answers_of_nearly_one_letter_excuse_an_adapter_that_gives_it():
    right = [0] * 117 + [1] * 13
    sees = [0] * 117 + [0] * 7 + [1] * 6  # 95 % A, where 90 % is A
    always = [0] * 130
    record = described(table({("0", None): right, ("0", "S"): sees, ("0", "U"): always}, right))
    assert not record.sources["S"]["T"].collapsed
    assert record.sources["U"]["T"].collapsed == {"0": 0}


@pytest.mark.parametrize(("right", "fallen"), [(5, {"0": 0}), (6, {})])
def test_ten_letters_alike_are_beyond_chance_where_half_are_right_and_not_where_more(right, fallen):
    # (5 + 1) / (10 + 2) = 1/2, and ten heads come up once in 1024; (7/12)**10 is 1 in 219
    answers = [0] * right + [1] * (10 - right)
    record = described(table({("0", None): answers, ("0", "S"): [0] * 10}, answers))
    assert record.sources["S"]["T"].collapsed == fallen


def test_five_items_show_no_collapse():
    record = described(table({("0", None): [0] * 5, ("0", "S"): [1] * 5}, [0, 1, 0, 1, 0]))
    assert not record.sources["S"]["T"].collapsed


@given(st.lists(st.integers(0, 40), min_size=2, max_size=10), st.data())
def test_the_names_of_letters_do_not_matter_to_collapse(counts, data):
    right = data.draw(st.permutations(counts))
    order = data.draw(st.permutations(range(len(counts))))
    given_, hits = np.array(counts, float), np.array(right, float)
    one, two = collapsed_letter(given_, hits), collapsed_letter(given_[order], hits[order])
    assert np.isnan(one) == np.isnan(two) == (given_.sum() == 0)
    if one >= 0:
        assert order[int(two)] == one
    else:
        assert np.isnan(one) or two == -1


def test_an_unreadable_reply_is_wrong_and_counted_and_no_letter():
    right = [0, 1] * 10
    replies = [None] * 5 + right[5:]
    matrix = from_predictions(table({("0", None): right, ("0", "S"): replies}, right))
    cell = described(table({("0", None): right, ("0", "S"): replies}, right)).sources["S"]["T"]
    assert float(matrix["accuracy"].sel(source="S").item()) == 15 / 20
    assert cell.unreadable == 0.25
    assert sum(cell.letters) == pytest.approx(1)


def test_a_free_answer_is_neither_a_letter_nor_unreadable():
    right = [0, 1] * 10
    frame = table({("0", None): right, ("0", "S"): right}, right)
    free = pl.col("item").is_in([f"q{k}" for k in range(10)])
    frame = frame.with_columns(choice=pl.when(~free).then("choice"), unreadable=pl.lit(False))
    assert described(frame).sources["S"]["T"].unreadable == 0


RIGHT = [0, 1] * 10
NEARLY = [1, *RIGHT[1:]]
"""A base with one error: there is a gap to close."""


@pytest.mark.parametrize("lost", [["choice", "answer", "unreadable"], ["choice", "answer"]])
def test_results_without_choices_say_so_and_go_on(lost):
    frame = table({("0", None): NEARLY, ("0", "S"): [0] * 20}, RIGHT).drop(lost)
    matrix = from_predictions(frame)
    assert any("m: no choices in the results" in note for note in matrix.attrs["notes"])
    analysis = ts.analyze(matrix, QUICK)
    record = analysis.models["m"].behaviour
    if "unreadable" in lost:
        assert record is None
    else:
        assert record is not None
        assert record.sources["S"]["T"] == Answers([], 0.0, {}, 1)
    assert analysis.models["m"].flips["S"]["T"].broken == 10


def test_choices_without_right_answers_show_letters_and_call_nothing_collapsed():
    right = [0, 1] * 10
    frame = table({("0", None): right, ("0", "S"): [0] * 20}, right).drop("answer")
    matrix = from_predictions(frame)
    assert any("m: no right answers beside the choices" in n for n in matrix.attrs["notes"])
    cell = described(frame).sources["S"]["T"]
    assert (cell.letters, cell.collapsed) == ([1.0, 0.0], {})


def test_a_model_without_choices_stands_beside_one_that_has_them(tmp_path):
    frame = table({("0", None): NEARLY, ("0", "S"): [0] * 20}, RIGHT)
    frame.write_parquet(tmp_path / "a.parquet")
    bare = frame.drop("choice", "answer", "unreadable").with_columns(model=pl.lit("n"))
    bare.write_parquet(tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text("seed,source,target,accuracy\n0,,T,0.5\n0,S,T,0.6\n")
    matrix = ts.read_results([tmp_path / f for f in ("a.parquet", "b.parquet", "c.csv")])
    analysis = ts.analyze(matrix, QUICK)
    known = {name: model.behaviour is not None for name, model in analysis.models.items()}
    assert known == {"m": True, "n": False, "c": False}
    assert any("n: no choices" in note for note in analysis.notes)


def test_a_base_without_errors_leaves_no_effect_but_what_adapters_answer():
    frame = table({("0", None): RIGHT, ("0", "S"): [0] * 20}, RIGHT)
    model = ts.analyze(from_predictions(frame), QUICK).models["m"]
    assert math.isnan(model.pgf["S"]["T"].mean)
    assert model.behaviour is not None
    assert model.behaviour.sources["S"]["T"].collapsed == {"0": 0}
    assert model.flips["S"]["T"].broken == 10


def test_notes_name_every_collapsed_cell():
    runs = {(s, None): NEARLY for s in "01"} | {("0", "S"): [1] * 20, ("1", "S"): RIGHT}
    analysis = ts.analyze(from_predictions(table(runs, RIGHT)), QUICK)
    told = [note for note in analysis.notes if "collapsed" in note]
    assert told == [
        "m: of 1 cells, 1 holds collapsed answers, one letter to nearly every item, whose effect "
        "is no transfer: S → T (always B in 1 of 2 seeds)."
    ]


def test_notes_speak_of_a_collapsed_base_of_controls_and_of_unreadable_replies():
    fallen, fine = Answers([1.0], 0.0, {"0": 0}, 1), Answers([0.5, 0.5], 0.25, {}, 1)
    record = Behaviour({"T": [0.5, 0.5]}, {"T": fallen}, {"S\n": {"T": fine}}, {"p": {"T": fallen}})
    said = behavior_notes("m", record)
    assert len(said) == 3
    assert "the base itself gives one letter to nearly every item of T (always A)" in said[0]
    assert "of the controls, 1 holds collapsed answers" in said[1]
    assert said[1].endswith("p → T (always A).")
    assert "most in S\\n → T (25%)" in said[2]
    assert behavior_notes("m", None) == []


CHOICES = "model,seed,source,target,item,correct,choice,answer,unreadable\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("m,0,S,T,q,1,A,0,0", "x.csv: row 3: choice must be an option's index from 0 to 25, got"),
        ("m,0,S,T,q,1,-1,0,0", "got '-1'; leave it empty where the reply was unreadable"),
        ("m,0,S,T,q,1,1,1.5,0", "answer must be an option's index from 0 to 25, got '1.5'"),
        ("m,0,S,T,q,1,1,26,0", "answer must be an option's index from 0 to 25, got '26'"),
        ("m,0,S,T,q,1,1,1,maybe", "unreadable must be 0 or 1, got 'maybe'"),
    ],
)
def test_what_is_no_option_is_refused(tmp_path, row, message):
    text = CHOICES + "m,0,,T,q,1,0,0,0\n" + row + "\n"
    assert message in refused(written(tmp_path, text))


def test_indices_that_pandas_wrote_as_floats_are_read(tmp_path):
    text = CHOICES + "m,0,,T,q,1,0.0,0,false\nm,0,S,T,q,0,,0.0,true\n"
    record = behavior(ts.read_results(written(tmp_path, text)).sel(model="m"))
    assert record is not None
    assert record.sources["S"]["T"].unreadable == 1
    assert record.base["T"].letters == [1.0]
