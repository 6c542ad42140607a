"""What to train on: one source, guard rails, and the answer where there is nothing to choose."""

import csv
import math
import re
from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from analysis_factory import Shape, make
from messages import raises
from scipy.special import ndtr

from transferscope.analysis import Cell
from transferscope.analysis.parts import BeyondPlacebo, Estimate, Placebo
from transferscope.analysis.verdict import Verdict
from transferscope.errors import StudyError
from transferscope.selection import mixture, mixtures

TASKS = ("A", "B", "C", "D")
SEEDS = ("0", "1")


def cell(mean, half=0.1):
    """A cell with a symmetric 95 % interval of its change; `half` NaN for none."""
    ends, values = (mean - half, mean + half), dict.fromkeys(SEEDS, mean)
    return Cell(mean, 0.0, ends, 0.5, 0.5, values, mean, ends, *chances(mean, half))


def chances(mean, half):
    """What to expect of an effect that stands alone, and P(over a point) of gain and of loss."""
    if math.isnan(half):
        return (math.nan,) * 3
    sd = half / 1.959964
    return mean, float(ndtr((mean - 0.01) / sd)), float(ndtr((-0.01 - mean) / sd))


def study(rows, *, half=0.1, tasks=TASKS, **changes):
    """An analysis of one model with these means; {source: means in the order of `tasks`}."""
    made = make(Shape(models=("m",), names=tuple(tasks), seeds=len(SEEDS)))
    cells = {
        source: {
            t: m if isinstance(m, Cell) else cell(m, half) for t, m in zip(tasks, row, strict=True)
        }
        for source, row in rows.items()
    }
    one = replace(made.models["m"], seeds=list(SEEDS), pgf=cells, **changes)
    return replace(made, models={"m": one})


def placebo(rows, alone, *, half=0.1, tasks=TASKS):
    """Controls and adjusted effects of a placebo with these effects on the targets."""

    def estimate(mean):
        return Estimate(mean, (mean - half, mean + half), dict.fromkeys(SEEDS, mean))

    made = make(Shape(models=("m",), names=tuple(tasks), conduct=True)).models["m"]

    def gain(mean):
        plain = estimate(mean)
        known = (plain.mean, plain.ci, plain.seeds, mean, plain.ci)
        return BeyondPlacebo(*known, *chances(mean, half))

    beyond = {
        source: {t: gain(m - p) for t, m, p in zip(tasks, row, alone, strict=True)}
        for source, row in rows.items()
    }
    return {
        "controls": {
            "format-only": Placebo(
                dict(zip(tasks, map(estimate, alone), strict=True)), estimate(0.0)
            )
        },
        "adjusted": replace(made.adjusted, placebo="format-only", cells=beyond),
    }


def sources(found):
    return [choice.source for choice in found.choices]


def why(found, source):
    (reason,) = [left.why for left in found.left_out if left.source == source]
    return reason


# The paper's rule, against a loop over the published tables.


@pytest.mark.parametrize("size", ["3B", "32B"])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3])
def test_the_papers_rule_takes_what_a_loop_over_the_published_table_takes(
    published, published_analysis, size, threshold
):
    values = defaultdict(list)
    with (published / f"qwen2.5-vl-{size.lower()}.csv").open() as file:
        for row in csv.DictReader(file):
            values[row["ft_task"], row["task"]].append(float(row["perfection_gap_factor"]))
    targets = {target for _, target in values}
    assert len(targets) == 13
    for target in targets:
        means = {s: sum(v) / len(v) for (s, t), v in values.items() if t == target and s != t}
        wanted = {s for s, mean in means.items() if mean > threshold}
        found = mixture(published_analysis, target, model=size, rule="paper", threshold=threshold)
        assert set(sources(found)) == wanted
        assert {left.source for left in found.left_out} == set(means) - wanted
        if wanted:
            shares = [choice.share for choice in found.choices]
            assert shares == pytest.approx([1 / len(wanted)] * len(wanted))
        else:
            best = max(means, key=means.__getitem__)
            assert re.match(rf"Nothing does more than .*: the best.*{best}", found.verdict)


def test_the_largest_model_is_read_where_none_is_named(published_analysis):
    found = mixture(published_analysis, "Counting")
    assert found.model == "32B"
    assert any("32B, the last of 3B, 32B" in note for note in found.notes)
    named = mixture(published_analysis, "Visual_Similarity", model="3B")
    assert mixtures(published_analysis, "3B")["Visual_Similarity"] == named


@pytest.mark.parametrize("size", ["3B", "32B"])
def test_what_two_published_seeds_choose_does_as_expected_in_the_others(published_matrix, size):
    """On the same items, so that their luck is not seen; benchmarks/coverage.py has new ones."""
    from transferscope.analysis.analyze import analyze

    matrix = published_matrix.sel(model=[size])
    change = (matrix["accuracy"] - matrix["paired_base_accuracy"]).sel(model=size)
    seeds = matrix["seed"].values.tolist()
    expected, gained, any_source = [], [], []
    for chosen in list(combinations(seeds, 2))[:3]:  # the other three are their rests
        rest = [seed for seed in seeds if seed not in chosen]
        for target, mix in mixtures(analyze(matrix.sel(seed=list(chosen)))).items():
            column = change.sel(seed=rest, target=target).mean("seed")
            for choice in mix.choices:
                expected.append(choice.expected)
                gained.append(column.sel(source=choice.source).item())
                any_source.append(column.drop_sel(source=target).mean().item())
    assert len(gained) >= 15
    assert np.mean(gained) >= np.mean(expected) - 0.01
    assert np.mean(gained) > np.mean(any_source) + 0.01
    assert np.mean(np.array(gained) > 0) > 0.9


def test_neither_form_of_the_target_is_a_source():
    tasks = ("Counting", "Counting_open", "Jigsaw")
    made = study(
        {"Counting": [0.3] * 3, "Counting_open": [0.4] * 3, "Jigsaw": [0.2] * 3}, tasks=tasks
    )
    for target in ("Counting", "Counting_open"):
        found = mixture(made, target)
        assert sources(found) == ["Jigsaw"]
        assert found.left_out == []
    assert sources(mixture(made, "Jigsaw")) == ["Counting_open"]


# Items.


def test_the_one_source_gets_the_budget_and_the_papers_rule_divides_it():
    made = study({"B": [0.3] * 4, "C": [0.2] * 4, "D": [0.2] * 4})
    (only,) = mixture(made, "A", items=100).choices
    assert (only.source, only.share, only.items) == ("B", 1.0, 100)
    items: list[Any] = [
        choice.items for choice in mixture(made, "A", rule="paper", items=100).choices
    ]
    assert sum(items) == 100
    assert max(items) - min(items) <= 1


def test_a_source_that_helps_is_left_out_for_a_better_one_and_a_mixture_is_untested():
    made = study({"B": [0.3] * 4, "C": [0.2] * 4})
    found = mixture(made, "A")
    assert sources(found) == ["B"]
    assert why(found, "C") == "+20.0 points; B is expected to do more"
    assert found.verdict == (
        "For A, train on B: +30.0 points expected, P(more than a point) > 0.99."
    )
    both = mixture(made, "A", rule="paper")
    assert sources(both) == ["B", "C"]
    assert any("untested" in note for note in both.notes)


# Guard rails.


def test_a_guard_rail_leaves_out_the_source_that_harms():
    rows = {"B": [0.4, 0.5, 0.1, -0.3], "C": [0.3, 0.0, 0.5, 0.0], "D": [-0.1, 0.1, 0.1, 0.5]}
    assert sources(mixture(study(rows), "A")) == ["B"]
    held = mixture(study(rows), "A", protect={"D": 0.1})
    assert sources(held) == ["C"]
    assert "loses more than 10 points on D" in why(held, "B")
    (guard,) = held.guards
    assert guard.probability <= guard.risk == 0.1
    # C's interval on D is 0 +- 0.1 at 95 %: it loses more than 0.1 with a probability of 2.5 %.
    assert guard.probability == pytest.approx(0.025)
    strict = mixture(study(rows), "A", protect={"D": 0.1}, risk=0.02)
    assert strict.choices == []
    assert strict.verdict == "Every source that helps A may harm D."


def test_exactly_the_sources_that_draws_say_lose_too_much_are_left_out():
    tasks, half = ("A", "B", "C", "D", "E", "P"), 0.08
    on_protected = {"B": -0.06, "C": -0.04, "D": -0.03, "E": -0.02}
    rows = {s: [0.3, 0, 0, 0, 0, mean] for s, mean in on_protected.items()}
    made = study(rows, half=half, tasks=tasks)
    found = mixture(made, "A", protect={"P": 0.1}, risk=0.1, rule="paper")
    errors = np.random.default_rng(7).normal(0, half / 1.959964, (200_000, 4))
    loses = (np.array(list(on_protected.values())) + errors < -0.1).mean(axis=0)
    assert [s for s, p in zip(rows, loses, strict=True) if p > 0.1] == ["B"]
    assert set(sources(found)) == {"C", "D", "E"}
    assert float(why(found, "B").split()[-1]) == pytest.approx(loses[0], abs=0.01)
    # Of several: as sure as if all errors went the same way.
    (guard,) = found.guards
    assert guard.expected == pytest.approx(-0.03)
    together = (-0.03 + errors[:, 0] < -0.1).mean()
    assert guard.probability == pytest.approx(together, abs=0.003)


def test_a_source_that_was_not_measured_on_the_protected_task_is_left_out():
    rows = {"B": [0.3, 0.5, 0.1, math.nan], "C": [0.3, 0.0, 0.5, 0.0]}
    found = mixture(study(rows), "A", protect={"D": 0.2})
    assert sources(found) == ["C"]
    assert why(found, "B") == "no change on D is known, which is to be protected"


def test_a_protected_task_without_intervals_is_judged_by_its_mean():
    bare = [cell(0.3), cell(0.1), cell(0.1), cell(-0.06, math.nan)]
    kept = mixture(study({"B": bare}), "A", protect={"D": 0.06})
    assert sources(kept) == ["B"]
    assert mixture(study({"B": bare}), "A", protect={"D": 0.05}).choices == []


# What a placebo does is no help of a source.


def test_a_source_must_do_more_than_the_placebo():
    rows = {"B": [0.36, 0, 0, 0], "C": [0.22, 0, 0, 0]}
    found = mixture(study(rows, **placebo(rows, [0.2, 0, 0, 0])), "A")
    assert found.yardstick == "format-only"
    assert sources(found) == ["B"]
    assert "beyond format-only" in why(found, "C")
    assert found.expected == pytest.approx(0.16)


def test_a_placebo_that_harms_makes_no_helper_of_a_source_that_harms():
    rows = {"B": [-0.05, 0, 0, 0], "C": [0.2, 0, 0, 0]}
    found = mixture(study(rows, **placebo(rows, [-0.3, 0, 0, 0])), "A")
    assert found.yardstick is None
    assert sources(found) == ["C"]


# What is left out.


def test_what_is_left_out_ranks_from_the_most_helpful_and_says_why_in_short():
    rows = {"B": [-0.3, 0, 0, 0], "C": [0.02, 0, 0, 0], "D": [math.nan, 0, 0, 0]}
    left = mixture(study(rows), "A").left_out
    assert [(each.source, each.reason) for each in left] == [
        ("C", "not surely helping"),
        ("B", "does not help"),
        ("D", "not known"),
    ]
    assert left[0].expected == 0.02
    assert 0.5 < left[0].helps < 0.8
    assert math.isnan(left[2].helps)


# Nothing to choose from, in words.


def test_a_column_of_losses_is_answered_in_words():
    rows = {"B": [-0.3, 0, 0, 0], "C": [-0.1, 0, 0, 0]}
    found = mixture(study(rows), "A")
    assert found.choices == []
    assert math.isnan(found.expected)
    chance = float(ndtr(-0.11 / (0.1 / 1.959964)))
    assert found.verdict == (
        f"No source is likely to add a point to A: best guess C, \N{MINUS SIGN}10.0 points, "
        f"P(more than a point) {chance:.2f}."
    )
    assert {left.source for left in found.left_out} == {"B", "C"}
    paper = mixture(study(rows), "A", rule="paper")
    assert paper.verdict.startswith("Nothing does more than 0 for A: the best of 2 sources is C")


def test_a_target_that_nobody_measured_is_answered_in_words():
    found = mixture(study({"B": [math.nan, 0, 0, 0], "A": [0.5, 0, 0, 0]}), "A")
    assert found.verdict == "No answer for A: no effect on A is known."
    assert any("1 of 1 sources" in note for note in found.notes)


def test_missing_cells_are_named_and_counted():
    found = mixture(study({"B": [math.nan, 0, 0, 0], "C": [0.3, 0, 0, 0]}), "A")
    assert sources(found) == ["C"]
    assert why(found, "B") == "no effect on A is known"
    assert any("1 of 2 sources" in note for note in found.notes)


def test_without_intervals_the_default_rule_says_that_it_cannot_tell():
    bare = study({"B": [0.3, 0, 0, 0]}, half=math.nan)
    found = mixture(bare, "A")
    assert found.choices == []
    assert found.verdict == "No answer for A: no interval of its change of accuracy is known."
    paper = mixture(bare, "A", rule="paper")
    assert sources(paper) == ["B"]
    assert math.isnan(paper.choices[0].helps)


def test_the_target_is_no_source_of_its_own_and_any_checkpoint_may_be_the_best():
    rows = {"A @ 100": [0.9] * 4, "B @ 50": [0.5] * 4, "B @ 100": [0.3] * 4}
    found = mixture(study(rows), "A")
    assert sources(found) == ["B @ 50"]
    assert [left.source for left in found.left_out] == ["B @ 100"]


def test_collapsed_answers_are_no_help():
    made = make(Shape(models=("m",), names=TASKS, conduct=True))
    fallen = made.models["m"].behaviour.sources["A"]["D"]
    for count, taken in ((2, []), (1, ["A"])):
        answers = replace(fallen, collapsed=dict.fromkeys(SEEDS[:count], 0), seeds=2)
        behaviour = replace(made.models["m"].behaviour, sources={"A": {"D": answers}})
        found = mixture(study({"A": [0, 0, 0, 0.5]}, behaviour=behaviour), "D")
        assert sources(found) == taken


# Refusals.


@pytest.mark.parametrize(
    "arguments",
    [
        {"target": "Countin"},
        {"model": "33B"},
        {"protect": {"Jigsw": 0.1}},
        {"protect": {"Counting": 0.1}},
        {"protect": {"Jigsaw": -0.1}},
        {"rule": "papr"},
        {"threshold": 2},
        {"rule": "paper", "threshold": math.inf},
        {"risk": 0},
        {"items": 0},
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments):
    with raises(StudyError):
        mixture(make(), **({"target": "Counting"} | arguments))


def test_names_are_said_on_one_line():
    names = ("A", "B\n\x1b[31m", "C", "D")
    found = mixture(study({"B\n\x1b[31m": [0.3, 0, 0, 0]}, tasks=names), "A")
    assert sources(found) == ["B\n\x1b[31m"]
    assert found.verdict.isprintable()
    assert all(note.isprintable() for note in found.notes)


def test_a_source_that_collapses_on_a_protected_task_is_left_out_at_any_score():
    collapsed = Verdict("harms", [], ["D"], 0.0, "D", None, 0.0, (0.0, 0.0), [])
    rows = {"B": [0.4, 0, 0, 0.2], "C": [0.3, 0, 0, 0.2]}
    found = mixture(study(rows, verdicts={"B": collapsed}), "A", protect={"D": 0.1})
    assert sources(found) == ["C"]
    assert why(found, "B") == "gives one answer to nearly every item of D"


def test_a_target_that_the_base_solves_has_known_losses_and_no_source():
    undefined = replace(cell(-0.2), mean=math.nan)  # without a gap there is no PGF
    found = mixture(study({"B": [undefined, 0, 0, 0]}), "A")
    assert [left.reason for left in found.left_out] == ["does not help"]
    assert not any("no known effect" in note for note in found.notes)
    paper = mixture(study({"B": [undefined, 0, 0, 0]}), "A", rule="paper")
    assert (paper.choices, why(paper, "B")[:20]) == ([], "its PGF is undefined")
