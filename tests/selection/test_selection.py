"""What to train on: both rules, guard rails, and the answer where there is nothing to choose."""

import csv
import math
import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from analysis_factory import Shape, make
from messages import raises

from transferscope.analysis import Cell
from transferscope.analysis.parts import Estimate, Placebo
from transferscope.errors import StudyError
from transferscope.selection import THRESHOLDS, mixture, mixtures

TASKS = ("A", "B", "C", "D")
SEEDS = ("0", "1")


def cell(mean, half=0.1):
    """A cell with a symmetric 95 % interval; `half` NaN for none."""
    return Cell(mean, 0.0, (mean - half, mean + half), 0.5, 0.5, dict.fromkeys(SEEDS, mean))


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
    beyond = {
        source: {t: estimate(m - p) for t, m, p in zip(tasks, row, alone, strict=True)}
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


@pytest.fixture(scope="module")
def published_analysis(published):
    from transferscope.analysis.analyze import analyze
    from transferscope.analysis.settings import Settings
    from transferscope.readers import read_results

    files = {size: published / f"qwen2.5-vl-{size}.csv" for size in ("3b", "32b")}
    return files, analyze(read_results(files), Settings(bootstrap=2000))


@pytest.mark.parametrize("size", ["3b", "32b"])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3])
def test_the_papers_rule_takes_what_a_loop_over_the_published_table_takes(
    published_analysis, size, threshold
):
    files, analysis = published_analysis
    values = defaultdict(list)
    with files[size].open() as file:
        for row in csv.DictReader(file):
            values[row["ft_task"], row["task"]].append(float(row["perfection_gap_factor"]))
    targets = {target for _, target in values}
    assert len(targets) == 13
    for target in targets:
        means = {s: sum(v) / len(v) for (s, t), v in values.items() if t == target and s != t}
        wanted = {s for s, mean in means.items() if mean > threshold}
        found = mixture(analysis, target, model=size, rule="paper", threshold=threshold)
        assert set(sources(found)) == wanted
        assert {left.source for left in found.left_out} == set(means) - wanted
        if wanted:
            shares = [choice.share for choice in found.choices]
            assert shares == pytest.approx([1 / len(wanted)] * len(wanted))
            assert found.expected.mean == pytest.approx(sum(means[s] for s in wanted) / len(wanted))
        else:
            best = max(means, key=means.__getitem__)
            assert re.match(rf"Nothing (helps|does more).*: the best.*{best}", found.verdict)


def test_the_largest_model_is_read_where_none_is_named(published_analysis):
    _, analysis = published_analysis
    found = mixture(analysis, "Counting")
    assert found.model == "32b"
    assert any("32b, the last of 3b, 32b" in note for note in found.notes)
    named = mixture(analysis, "Visual_Similarity", model="3b")
    assert named.choices
    assert mixtures(analysis, "3b")["Visual_Similarity"] == named


@pytest.mark.slow
@pytest.mark.parametrize("size", ["3b", "32b"])
def test_what_three_published_seeds_choose_does_as_expected_in_the_fourth(
    published, tmp_path, size
):
    from transferscope.analysis.analyze import analyze
    from transferscope.analysis.settings import Settings
    from transferscope.readers import read_results

    with (published / f"qwen2.5-vl-{size}.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected, found, any_source = [], [], []
    for held_out in sorted({row["seed"] for row in rows}):
        others = [row for row in rows if row["seed"] != held_out]
        with (tmp_path / "three.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(others)
        read = read_results({size: tmp_path / "three.csv"})
        analysis = analyze(read, Settings(bootstrap=1000, null_draws=100))
        new = {
            (row["ft_task"], row["task"]): float(row["perfection_gap_factor"])
            for row in rows
            if row["seed"] == held_out
        }
        for target, mix in mixtures(analysis).items():
            if mix.choices:
                expected.append(mix.expected.mean)
                found.append(sum(c.share * new[c.source, target] for c in mix.choices))
                column = [value for (s, t), value in new.items() if s != t == target]
                any_source.append(np.mean(column))
    assert len(found) >= 10
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=0.03)
    assert np.mean(found) > np.mean(any_source) + 0.02
    assert min(found) > 0


# Items.


def test_the_choices_divide_the_budget():
    found = mixture(study({"B": [0.3] * 4, "C": [0.2] * 4, "D": [0.2] * 4}), "A", items=100)
    items: list[Any] = [choice.items for choice in found.choices]
    assert sum(items) == 100
    assert sum(choice.share for choice in found.choices) == pytest.approx(1)


# Guard rails.


def test_a_guard_rail_leaves_out_the_source_that_harms():
    rows = {"B": [0.3, 0.5, 0.1, -0.3], "C": [0.3, 0.0, 0.5, 0.0], "D": [-0.1, 0.1, 0.1, 0.5]}
    free = mixture(study(rows), "A")
    assert set(sources(free)) == {"B", "C"}
    held = mixture(study(rows), "A", protect={"D": 0.1})
    assert sources(held) == ["C"]
    assert "loses more than 0.1 on D" in why(held, "B")
    (guard,) = held.guards
    assert guard.probability <= guard.risk == 0.1
    # C's interval on D is 0 +- 0.1 at 95 %: it loses more than 0.1 with a probability of 2.5 %.
    assert guard.probability == pytest.approx(0.025)
    strict = mixture(study(rows), "A", protect={"D": 0.1}, risk=0.02)
    assert strict.choices == []
    assert strict.verdict == "Every source that helps A may harm D."


def test_exactly_the_source_that_draws_say_loses_too_much_is_left_out():
    tasks = ("A", "B", "C", "D", "E", "P")
    on_target, half = {"B": 0.4, "C": 0.3, "D": 0.3, "E": 0.2}, 0.08
    on_protected = {"B": -0.06, "C": -0.04, "D": -0.03, "E": -0.02}
    rows = {s: [on_target[s], 0, 0, 0, 0, on_protected[s]] for s in on_target}
    found = mixture(study(rows, half=half, tasks=tasks), "A", protect={"P": 0.1}, risk=0.1)
    random = np.random.default_rng(7)
    shared, own = (random.normal(0, half / 1.959964, (200_000, k)) for k in (1, 4))
    means = np.array(list(on_protected.values()))
    loses = ((means + own) < -0.1).mean(0)
    assert [s for s, p in zip(on_target, loses, strict=True) if p > 0.1] == ["B"]
    assert set(sources(found)) == {"C", "D", "E"}
    assert float(why(found, "B").split()[-1]) == pytest.approx(loses[0], abs=0.01)
    # The mixture: as sure as if all errors went the same way, hence surer than if none did.
    share = {c.source: c.share for c in found.choices}
    shares = np.array([share.get(s, 0.0) for s in on_target])
    (guard,) = found.guards
    assert guard.expected == pytest.approx(means @ shares)
    assert guard.probability == pytest.approx(((means + shared) @ shares < -0.1).mean(), abs=0.003)
    assert ((means + own) @ shares < -0.1).mean() <= guard.probability <= guard.risk


def test_a_mixture_keeps_the_risk_that_each_of_its_sources_keeps():
    random = np.random.default_rng(11)
    tasks = tuple("ABCDEFGHP")
    kept = 0
    for _ in range(50):
        rows = {
            s: [cell(0.3), *[0.0] * 7, cell(random.normal(0, 0.1), random.uniform(0.05, 0.3))]
            for s in tasks[1:8]
        }
        found = mixture(study(rows, tasks=tasks), "A", protect={"P": 0.1})
        (guard,) = found.guards
        if found.choices:
            kept += 1
            assert guard.probability <= guard.risk
    assert kept > 20


def test_a_source_that_was_not_measured_on_the_protected_task_is_left_out():
    rows = {"B": [0.3, 0.5, 0.1, math.nan], "C": [0.3, 0.0, 0.5, 0.0]}
    found = mixture(study(rows), "A", protect={"D": 0.2})
    assert sources(found) == ["C"]
    assert why(found, "B") == "no effect on D is known, which is to be protected"


def test_a_protected_task_without_intervals_is_judged_by_its_mean():
    bare = [cell(0.3), cell(0.1), cell(0.1), cell(-0.06, math.nan)]
    kept = mixture(study({"B": bare}), "A", protect={"D": 0.06})
    assert sources(kept) == ["B"]
    assert mixture(study({"B": bare}), "A", protect={"D": 0.05}).choices == []


# What a placebo does is no help of a source.


def test_a_source_must_do_more_than_the_placebo():
    rows = {"B": [0.30, 0, 0, 0], "C": [0.22, 0, 0, 0]}
    found = mixture(study(rows, **placebo(rows, [0.2, 0, 0, 0])), "A")
    assert found.yardstick == "format-only"
    assert sources(found) == ["B"]
    assert "beyond format-only" in why(found, "C")
    assert found.expected.mean > 0.2  # of the whole effect, as it would be measured


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
    assert 0.5 < left[0].helps < 0.9
    assert math.isnan(left[2].helps)


def test_what_is_left_out_ranks_by_what_its_rule_looks_at():
    rows = {"B": [cell(-0.05, 0.3), 0, 0, 0], "C": [cell(-0.02, 0.01), 0, 0, 0]}
    order = {
        rule: [each.source for each in mixture(study(rows), "A", rule=rule).left_out]
        for rule in ("default", "paper")
    }
    assert order == {"default": ["B", "C"], "paper": ["C", "B"]}  # may help; harms less


# Nothing to choose from, in words.


def test_a_column_of_losses_is_answered_in_words():
    rows = {"B": [-0.3, 0, 0, 0], "C": [-0.1, 0, 0, 0]}
    for rule in THRESHOLDS:
        found = mixture(study(rows), "A", rule=rule)
        assert found.choices == []
        assert math.isnan(found.expected.mean)
        assert found.verdict.startswith("Nothing helps A: the best of 2 sources is C")
        assert {left.source for left in found.left_out} == {"B", "C"}


def test_a_target_that_nobody_measured_is_answered_in_words():
    found = mixture(study({"B": [math.nan, 0, 0, 0], "A": [0.5, 0, 0, 0]}), "A")
    assert found.verdict == "No answer for A: no source's effect on it is known."
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
    assert "the rule `paper` needs none" in found.verdict
    paper = mixture(bare, "A", rule="paper")
    assert sources(paper) == ["B"]
    assert math.isnan(paper.choices[0].helps)


def test_ties_are_named_and_listed_by_name():
    found = mixture(study({"D": [0.3] * 4, "B": [0.3] * 4, "C": [0.4] * 4}), "A")
    assert sources(found) == ["C", "B", "D"]
    assert found.choices[1].share == found.choices[2].share
    assert any(note.startswith("B and D tie") for note in found.notes)
    many = mixture(study({name: [0.3] * 7 for name in "BCDEFG"}, tasks="ABCDEFG"), "A")
    ties = [note for note in many.notes if " tie: " in note]
    assert [note.split(" tie")[0] for note in ties] == ["B and C", "C and D"]
    assert ties[1].endswith("+0.30; 3 more pairs tie.")  # D and E, E and F, F and G


def test_the_target_is_no_source_of_its_own_and_of_a_finetune_the_longest_counts():
    rows = {"A @ 100": [0.9] * 4, "B @ 50": [0.5] * 4, "B @ 100": [0.3] * 4}
    found = mixture(study(rows), "A")
    assert sources(found) == ["B @ 100"]
    assert why(found, "B @ 50") == "B @ 100 is the same finetune, trained for longer"
    assert [left.source for left in found.left_out] == ["B @ 50"]
    assert found.choices[0].share == 1


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


# The default rule, against draws.


def test_the_default_rule_takes_what_draws_say_helps():
    random = np.random.default_rng(3)
    means = random.normal(0.05, 0.1, 8)
    halves = random.uniform(0.02, 0.3, 8)
    tasks = tuple(f"T{n}" for n in range(9))
    rows = {
        tasks[n + 1]: [cell(mean, half)] + [math.nan] * 8  # too few effects to suggest a prior
        for n, (mean, half) in enumerate(zip(means, halves, strict=True))
    }
    found = mixture(study(rows, tasks=tasks), "T0")
    drawn = random.normal(means, halves / 1.959964, (400_000, 8))
    helps = (drawn > 0).mean(0)
    taken = {tasks[n + 1] for n in range(8) if helps[n] >= 0.9}
    assert 0 < len(taken) < 8
    assert set(sources(found)) == taken
    for choice in found.choices:
        n = tasks.index(choice.source) - 1
        assert choice.helps == pytest.approx(helps[n], abs=0.003)
        assert choice.ci == pytest.approx(np.quantile(drawn[:, n], [0.025, 0.975]), abs=0.005)
    weights = {tasks[n + 1]: helps[n] * means[n] for n in range(8) if helps[n] >= 0.9}
    for choice in found.choices:
        share = weights[choice.source] / sum(weights.values())
        assert choice.share == pytest.approx(share, abs=0.003)
