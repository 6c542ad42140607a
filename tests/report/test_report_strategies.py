"""The experiment of Figure 8 as a reader sees it: figure, page, terminal."""

import math
import re
from dataclasses import replace
from io import StringIO

import pytest
from analysis_factory import HOSTILE, Shape, make
from rich.console import Console

from transferscope.analysis import Analysis
from transferscope.analysis.parts import (
    STRATEGIES,
    Arm,
    Estimate,
    Experiment,
    Judgement,
    Strategy,
    Trial,
)
from transferscope.plots.gallery import gallery
from transferscope.report import figures, page
from transferscope.report.terminal import summary
from transferscope.selection.wording import experiment_verdict

NAN = math.nan
LEVELS = [Estimate(0.4 + 0.1 * k, (0.35 + 0.1 * k, 0.45 + 0.1 * k), {"4": 0.4}) for k in range(5)]
NONE = Estimate(NAN, (NAN, NAN), {"4": NAN, "5": NAN})


def estimate(mean: float, reach: float) -> Estimate:
    ends = (mean - reach, mean + reach)
    return Estimate(mean, ends, {"4": mean - reach / 3, "5": mean + reach / 3})


def trial(names: list[str], apart: dict[Strategy, float], *, empty: bool = False) -> Trial:
    """Differences with an interval of 0.1 to each side; without an informed mixture where empty."""
    arms: dict[Strategy, Arm] = {
        name: Arm({f"{name} for it": {names[1]: 0.75, names[2]: 0.25}}, "", value, value)
        for name, value in zip(STRATEGIES, LEVELS, strict=True)
    }
    differences: dict[Strategy, Estimate] = {
        name: estimate(apart[name], 0.1) for name in STRATEGIES if name in apart
    }
    if empty:
        arms["informed"] = Arm({}, "nothing is known to help", NONE, NONE)
        arms["random"] = Arm({}, "there is no size to match", NONE, NONE)
        differences = dict.fromkeys(differences, NONE)
    return Trial("said", 0.2, arms, differences)


def tried(shape: Shape) -> Analysis:
    """Three targets: better, not to be told apart, and without a choice."""
    analysis = make(shape)
    names = [task.name for task in analysis.tasks]
    better: dict[Strategy, float] = {"base": 0.3, "direct": -0.4, "random": 0.2, "all": 0.05}
    trials = {
        names[0]: trial(names, better),
        names[3]: trial(names, dict.fromkeys(better, 0.02)),
        names[4]: trial(names, better, empty=True),
    }
    compared: dict[Strategy, list[str]] = {name: [names[0], names[3]] for name in better}
    means: dict[Strategy, Estimate] = {
        name: estimate(value / 2 + 0.01, 0.08) for name, value in better.items()
    }
    words = experiment_verdict(trials, means, compared, 0.05)
    one = Judgement(trials, means, compared, words)
    asked = dict.fromkeys(trials, 200)
    found = Experiment(
        "default", None, 160, 2, ["0"], ["4", "5"], asked, True, {shape.models[0]: one}, ["A note."]
    )
    return replace(analysis, experiment=found)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return tried(Shape(models=("7B",)))


def test_the_verdict_counts_what_can_be_told_apart(analysis: Analysis):
    assert analysis.experiment is not None
    said = analysis.experiment.models["7B"].verdict
    assert said[0] == (
        "The informed mixture is better than random mixtures of the same size on 1 of 2 "
        "targets (Art_Style) and not distinguishable on 1 (Functional_Correspondence); "
        "over the 2 by +11.0 points (+3.0 to +19.0)."
    )
    assert "not distinguishable from all sources on 2 of 2 targets; over" in said[1]
    assert said[1].endswith(", which may be noise.")
    assert "worse than the target's own data on 1 of 2 targets (Art_Style)" in said[2]
    assert said[-1].startswith("For Jigsaw the matrix names nothing")


def test_the_figure_holds_the_records_numbers(analysis: Analysis):
    chart = figures(analysis)["selection-7B"]
    chart.to_dict()
    spec = next(f.spec for f in gallery(analysis) if f.stem == "selection-7B")
    rows = [row for data in spec["datasets"].values() for row in data]
    shown = {round(row["value"], 6) for row in rows if "interval" in row and "trained" in row}
    assert shown == {40.0, 50.0, 60.0, 70.0, 80.0}
    apart = [row for row in rows if "sure" in row]
    sure = {row["way"]: row["sure"] for row in apart if round(row["value"]) in (30, -40, 20, 5)}
    assert sure == {
        "base": True,
        "target’s data": True,
        "random mixtures": True,
        "all sources": False,
    }
    missing = {row["label"] for row in rows if "label" in row}
    assert missing == {"nothing is known to help", "there is no size to match", "–"}


def test_the_page_has_it_beside_what_to_train_on(analysis: Analysis):
    text = page(analysis)
    section = text[text.index('id="train"') : text.index('id="graph"')]
    assert "What the choice of training data is worth" in section
    assert "on 1 of 2 targets (Art Style)" in section
    assert "+20.0 points expected, +60.0 reached" in section
    assert "A note." in section
    assert "with a probability of at least 0.8" in section
    assert 'data-spec="figure-0"' in section
    assert "What the choice of training data is worth" not in page(make(Shape(models=("7B",))))


def test_names_with_markup_stay_text():
    hostile = tried(Shape(models=(HOSTILE[0],), names=tuple(HOSTILE)))
    text = page(hostile)
    section = text[text.index('id="train"') : text.index('id="graph"')]
    assert "<script" not in section
    assert "<img" not in section
    next(f for f in gallery(hostile) if f.kind.tab == "train")


@pytest.mark.parametrize("width", [80, 100])
def test_the_terminal_says_it_in_a_table_and_in_words(analysis: Analysis, width: int):
    console = Console(width=width, record=True, file=StringIO())
    console.print(summary(analysis))
    text = console.export_text()
    rows = text[text.index("What the choice of training data is worth") :].splitlines()
    (row,) = [row for row in rows if row.startswith("  Art Style")]
    assert row.split()[2:] == ["40%", "50%", "60%", "70%", "80%"]
    assert re.search(r"• +The informed mixture is better than random", text)
    assert max(map(len, rows)) <= width


def test_it_is_the_counterpart_of_the_papers_figure_8(analysis: Analysis):
    assert [each.stem for each in gallery(analysis) if 8 in each.kind.paper] == ["selection-7B"]
    assert not [e for e in gallery(replace(analysis, experiment=None)) if 8 in e.kind.paper]
