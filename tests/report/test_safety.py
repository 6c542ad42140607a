"""Which finetunes are safe, on the page: cases written by hand, in points of accuracy."""

import math
from dataclasses import replace
from typing import Any

import pytest
from analysis_factory import Shape, make
from test_report_findings import GAIN, NONE, cell, study

from transferscope.analysis import Analysis
from transferscope.analysis.verdict import Verdict
from transferscope.report.findings import by_model, safety

NAN = math.nan
FINE = Verdict("safe", [], [], 0.032, "B", None, 0.1, (0.08, 0.12), [])


def with_verdict(**changes: Any) -> Analysis:
    """A safe finetune on A and another one, in which only the verdict is changed."""
    return study(GAIN, NONE, GAIN, GAIN, verdicts={"A": FINE, "B": replace(FINE, **changes)})


def groups(analysis: Analysis) -> dict[str, list[tuple[str, str]]]:
    """{title: (text, small text) of each finetune in the first model}"""
    return {g.title: [row[1][0][:2] for row in g.rows] for g in safety(analysis)}


def test_a_safe_finetune_stands_with_the_loss_that_is_not_ruled_out():
    assert groups(with_verdict()) == {
        "Safe: a loss above 5 points is ruled out on every task: 2 of 2": [
            ("no loss above 3.2 points (B)", "")
        ]
        * 2
    }


def test_the_tolerance_is_the_analysiss():
    analysis = with_verdict()
    analysis = replace(analysis, settings=replace(analysis.settings, tolerance=0.035))
    assert safety(analysis)[0].title.startswith("Safe: a loss above 3.5 points is ruled out")


def test_half_of_the_accuracy_lost_from_100_percent_is_harmful_though_pgf_is_undefined():
    lost = replace(cell(-0.5, -0.6, -0.4, 0.001), mean=NAN, ci=(NAN, NAN))
    harm = replace(FINE, kind="harms", harmed=["B", "mean"], mean=-0.5, loss=0.6)
    found = groups(study(GAIN, lost, GAIN, GAIN, verdicts={"A": harm, "B": FINE}))
    assert found["Harmful: 1 of 2"] == [("B −50 points and on average −50 points", "")]


def test_a_mean_loss_is_never_safe():
    harm = replace(FINE, kind="harms", harmed=["mean"], mean=-0.16, loss=0.04)
    found = groups(study(GAIN, NONE, GAIN, GAIN, verdicts={"A": harm}))
    assert found["Harmful: 1 of 1"] == [("on average −16 points", "")]
    assert found["Safe: a loss above 5 points is ruled out on every task: none of 1"] == []


def test_one_collapsed_target_is_harmful():
    found = groups(with_verdict(kind="harms", collapsed=["B"]))
    assert found["Harmful: 1 of 2"] == [("one answer for nearly every item of B", "")]


@pytest.mark.parametrize(
    ("changes", "share", "small"),
    [
        ({"loss": 0.12, "needed": 1400}, 0.2, "needs about 1,400 items"),
        ({"loss": 0.12, "needed": 1400}, 0.6, "another seed helps more than more items"),
        ({"loss": 0.12}, 0.2, "another seed helps more than more items"),
        ({"loss": 0.03, "untested": ["A"]}, 0.2, "no test on 1 task"),
    ],
)
def test_what_is_not_settled_stands_with_what_would_settle_it(changes, share, small):
    analysis = with_verdict(kind="not settled", **changes)
    model = replace(analysis.models["m"], seed_share={"A": 0.0, "B": share})
    found = groups(replace(analysis, models={"m": model}))
    loss = f"{100 * changes['loss']:.0f}" if changes["loss"] > 0.1 else "3.0"
    assert found["Not settled: 1 of 2"] == [(f"possible loss: {loss} points (B)", small)]


def test_a_loss_that_only_one_correction_leaves_stands_beside_what_is_not_settled():
    lost = cell(-0.1, -0.18, -0.02, 0.04)
    verdicts = {"A": replace(FINE, kind="not settled", loss=0.17, needed=500)}
    ((_, small),) = groups(study(GAIN, lost, GAIN, GAIN, verdicts=verdicts))["Not settled: 1 of 1"]
    assert small.startswith("a loss on B holds after FDR correction, not after Bonferroni’s; ")


def test_one_seed_is_told_to_run_a_second():
    analysis = with_verdict(kind="not settled", loss=0.12, needed=1400)
    model = replace(analysis.models["m"], seeds=["0"], seed_share={})
    (_, group) = safety(replace(analysis, models={"m": model}))
    assert group.intro.endswith(
        "m: run a second seed first. One seed does not show how far seeds differ."
    )
    assert "second seed" not in safety(analysis)[1].intro


def test_nothing_to_test_is_not_settled():
    nothing = Verdict("nothing to test", [], [], NAN, "", None, NAN, (NAN, NAN), ["A", "B"])
    found = groups(study(GAIN, NONE, GAIN, GAIN, verdicts={"A": nothing, "B": FINE}))
    assert found["Not settled: 1 of 2"] == [("nothing to test", "")]


def test_the_worst_verdict_of_any_model_decides():
    analysis = make(Shape(models=("3B", "32B"), names=("A", "B")))
    harm = replace(FINE, kind="harms", harmed=["mean"], mean=-0.1)
    models = {
        name: replace(model, verdicts={"A": FINE, "B": FINE if name == "3B" else harm})
        for name, model in analysis.models.items()
    }
    analysis = replace(analysis, models=models)
    assert [(g.title[:8], [row[0][0].text for row in g.rows]) for g in safety(analysis)] == [
        ("Safe: a ", ["A"]),
        ("Harmful:", ["B"]),
    ]
    assert by_model(analysis) == [
        "3B: of 2 finetunes 2 safe.",
        "32B: of 2 finetunes 1 safe and 1 harmful.",
    ]


def test_where_there_are_no_verdicts_it_cannot_tell():
    assert safety(make(Shape(models=("m",), seeds=1))) == []
    assert by_model(make(Shape(models=("m",), seeds=1))) == [
        "m: cannot tell, because its effects have no intervals."
    ]
    unknown = replace(GAIN, change=NAN, change_ci=(NAN, NAN))
    analysis = study(unknown, unknown, unknown, unknown, verdicts={})
    assert by_model(analysis) == ["m: cannot tell, because its accuracies are unknown."]
