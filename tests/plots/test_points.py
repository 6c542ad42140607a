"""Points of accuracy on the page, against the accuracies that the study began with."""

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
from transferscope.report.findings import happened, harms
from transferscope.report.safety import safety

QUICK = Settings(bootstrap=400, null_draws=100)
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
    return lambda **settings: ts.analyze(read_results([file]), replace(QUICK, **settings))


def number(text: str) -> float:
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("settings", [{}, {"measure": "relative_gain"}])
def test_points_are_the_change_in_accuracy_that_was_measured(study, analyzed, settings):
    base, tuned = study
    change = 100 * (tuned - base[:, None]).mean(0)
    analysis = analyzed(**settings)
    found = harms(analysis)
    assert len(found) > 3
    for row in found:
        i, j = (int(name.removeprefix("task ")) for name in row.pair)
        (said,) = CHANGE.findall(row.change)
        assert number(said) == pytest.approx(
            change[i, j], abs=0.51 if abs(change[i, j]) > 9 else 0.051
        )
        assert row.base == f"{100 * base[:, j].mean():.0f}%"
    (account,) = happened(analysis)
    for pair, said in re.findall(
        r"is (task . → task .), .*? or ([+−][\d.]+) points", account.sentences[3]
    ):
        i, j = (int(n) for n in re.findall(r"\d", pair))
        assert number(said) == pytest.approx(change[i, j], abs=0.51)
    assert account.sentences[3].count(" points") == 2
    assert f"{found[0].change}<small>from {found[0].base}" in page(analysis)


def test_open_losses_in_points_are_the_intervals_lower_ends(study, analyzed):
    base, _ = study
    analysis = analyzed()
    rows = analysis.models["m"].pgf
    fine = next(g for g in safety(analysis) if g.title.startswith("Safe"))
    for finetune in fine.finetunes:
        gap = 1 - base.mean(0)
        lows = [-rows[finetune.name][f"task {j}"].ci[0] * gap[j] for j in range(5)]
        (said,) = CHANGE.findall(finetune.models[0].text)
        assert number(said) == pytest.approx(100 * max(lows), abs=0.51)
        assert finetune.models[0].text.endswith(f"(task {int(np.argmax(lows))})")


def test_where_accuracies_are_not_known_there_are_no_points(analyzed):
    model = replace(make(Shape(models=("m",))).models["m"], base_seeds={}, base_accuracy={})
    alone = replace(make(Shape(models=("m",))), models={"m": model})
    for analysis in (alone, analyzed(measure="raw_gain")):  # raw gains are points already
        assert not CHANGE.search(page(analysis).split('id="explore"')[0])
