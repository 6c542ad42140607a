"""Points of accuracy on the page, against the accuracies that the study began with."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analysis_factory import Shape, make
from tables import accuracies

import transferscope as ts
from transferscope.analysis import Settings
from transferscope.readers import read_results
from transferscope.report import page
from transferscope.report.findings import harms, overviews, safety

CHANGE = re.compile(r"([+−]?[\d.]+) points")


@pytest.fixture(scope="module")
def study() -> tuple[np.ndarray, np.ndarray]:
    """Accuracies of 4 seeds, 5 sources and 5 targets, before and after; bases differ by seed."""
    random = np.random.default_rng(3)
    base = random.uniform(0.3, 0.7, 5) + random.normal(0, 0.02, (4, 5))
    effect = random.normal(0, 0.12, (5, 5)) + random.normal(0, 0.02, (4, 5, 5))
    return base, np.clip(base[:, None] + effect, 0, 0.94)


@pytest.fixture
def analyzed(study, tmp_path: Path):
    """An analysis of the study's accuracy table, under any settings."""
    file = tmp_path / "m.csv"
    accuracies(*study).write_csv(file)
    return lambda **settings: ts.analyze(read_results([file]), Settings(**settings))


def number(text: str) -> float:
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("settings", [{}, {"measure": "relative_gain"}])
def test_points_are_the_change_in_accuracy_that_was_measured(study, analyzed, settings):
    base, tuned = study
    change = 100 * (tuned - base[:, None]).mean(0)
    analysis = analyzed(**settings)
    found = harms(analysis).rows
    assert len(found) > 3
    for [source], [target], [lost], [start], _ in found:
        (said,) = CHANGE.findall(lost.text)
        i = int(source.text.removeprefix("task "))
        if target.text == "on average":
            assert number(said) == pytest.approx(np.delete(change[i], i).mean(), abs=0.51)
            continue
        j = int(target.text.removesuffix(" (self-transfer)").removeprefix("task "))
        assert number(said) == pytest.approx(
            change[i, j], abs=0.51 if abs(change[i, j]) > 9 else 0.051
        )
        assert start.text == f"{100 * base[:, j].mean():.0f}%"
    (first,) = overviews(analysis)
    for pair in (*first.gains, *first.losses):
        i, j = (int(name[-1]) for name in (pair.source, pair.target))
        assert number(pair.value.removesuffix(" points")) == pytest.approx(change[i, j], abs=0.51)
    assert first.gains
    assert first.losses
    assert found[0][2][0].text in page(analysis)


def test_open_losses_are_the_lower_ends_of_one_sided_intervals(study, analyzed):
    """A two-sided interval of twice the level ends where the one-sided one does."""
    rows = analyzed(alpha=0.1).models["m"].pgf
    found = [row for group in safety(analyzed()) for row in group.rows if "loss" in row[1][0].text]
    assert found
    for [source], [loss] in found:
        lows = [-rows[source.text][f"task {j}"].change_ci[0] for j in range(5)]
        (said,) = CHANGE.findall(loss.text)
        assert number(said) == pytest.approx(100 * max(lows), abs=0.51)
        assert loss.text.endswith(f"(task {int(np.argmax(lows))})")


def test_where_accuracies_are_not_known_pgf_is_all_there_is():
    made = make(Shape(models=("m",))).models["m"]
    unknown = {"change": math.nan, "change_ci": (math.nan, math.nan), "expected": math.nan}
    rows = {
        source: {target: replace(cell, **unknown) for target, cell in row.items()}
        for source, row in made.pgf.items()
    }
    model = replace(made, base_seeds={}, base_accuracy={}, pgf=rows, verdicts={})
    analysis = replace(make(Shape(models=("m",))), models={"m": model})
    text = page(analysis).split('id="train"')[0]
    assert not CHANGE.search(text.replace("a loss above 5 points", ""))
    assert re.search(r"Helps most.*?→ .*?[+][\d.]+ PGF", re.sub("<.*?>", " ", text), re.DOTALL)


def test_raw_gains_are_points_and_have_nothing_beside_them(analyzed):
    ((_, _, [change], *_), *_) = harms(analyzed(measure="raw_gain")).rows
    assert "raw gain" not in change.small
    assert change.text.endswith(" points")
