"""`transferscope forecast`: what it writes and says, with a real base and with made-up ones."""

import json
import math
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from analysis_factory import Shape, make

from transferscope import forecast, results
from transferscope.analysis.serial import to_json
from transferscope.report.forecasts import by_chance

TASKS = ("Counting", "Object_Localization", "Relative_Depth", "Spatial_Relation")
STUDY = f"""
name: few
models: {{glimpse-s: glimpse-s}}
suite: glimpse
sources: [{", ".join(TASKS)}]
targets: [{", ".join(TASKS)}]
seeds: 2
recipe: {{items: 40, epochs: 1}}
evaluation: {{items: 6}}
"""


@pytest.fixture
def command(run, monkeypatch, tmp_path):
    """Run the command in a folder with `study.yaml`: exit code, output, errors."""
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return partial(run, "forecast")


def effects(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, 4, 4))


def put_analysis(folder, *models: str, names=TASKS, seed: int = 0) -> None:
    values = {name: effects(seed + k) for k, name in enumerate(models)}
    analysis = make(Shape(models=models, names=names, seeds=2), values)
    results.save(folder, to_json(analysis))


@pytest.fixture
def predicting(monkeypatch):
    """No base is loaded: the forecast is a matrix."""

    def use(values: np.ndarray) -> None:
        made = forecast.Forecast(
            predicted={
                source: dict(zip(TASKS, map(float, row), strict=True))
                for source, row in zip(TASKS, values, strict=True)
            },
            left_out={},
            items={f"train {name}": 6 for name in TASKS},
            base="0f",
            seconds=1.0,
            share=0.05,
        )
        monkeypatch.setattr(forecast, "forecast", lambda *_, **__: made)
        monkeypatch.setattr(forecast, "open_base", lambda *_: None)

    return use


def test_a_study_is_forecast_from_its_base_alone_and_twice_alike(command, tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY + "mixtures: {both: {Counting: 0.5, Jigsaw: 0.5}}")
    code, text, _ = command("study.yaml", "--items", 4)
    assert code == 0
    assert "forecast from 32 items" in text
    assert "Nothing to compare with yet" in text
    first = (tmp_path / "few" / "forecast.csv").read_bytes()
    table = pl.read_csv(first)
    assert table.columns == ["model", "source", "target", "predicted"]
    assert table.height == 16
    assert table["predicted"].is_finite().all()
    assert table["predicted"].n_unique() == 16
    record = json.loads((tmp_path / "few" / "forecast.json").read_text())
    found = record["models"]["glimpse-s"]
    # 4 sources and a mixture x 2 seeds x 40 items x 3, and 11 runs asked 24 questions
    assert found["share"] == pytest.approx(3 * 32 / (10 * 40 * 3 + 11 * 24))
    assert list(found["left_out"]) == ["both"]
    assert "left out: both: a mixture" in text
    assert record["comparison"] == {}
    assert command("study.yaml", "--items", 4, "--out", "again")[0] == 0
    assert (tmp_path / "again" / "forecast.csv").read_bytes() == first


def test_a_forecast_is_held_against_the_studys_own_analysis(command, predicting, tmp_path):
    put_analysis(tmp_path / "few", "glimpse-s", "glimpse-m")
    predicting(effects(0).mean(0))
    code, text, _ = command("study.yaml")
    assert code == 0
    for part in ("target mean", "glimpse-m", "two seeds with each other", "12 pairs"):
        assert part in text
    record = json.loads((tmp_path / "few" / "forecast.json").read_text())
    found = record["comparison"]["glimpse-s"]
    assert found["forecast"]["within"]["value"] == pytest.approx(1)
    assert found["baselines"]["target mean"]["within"]["value"] is None
    assert set(found["baselines"]) == {"target mean", "glimpse-m"}


def test_a_bad_forecast_is_called_one(command, predicting, tmp_path):
    put_analysis(tmp_path / "measured", "glimpse-s")
    predicting(-effects(0).mean(0))
    code, text, _ = command("study.yaml", "--against", tmp_path / "measured", "--out", "x")
    assert code == 0
    assert "orders them the wrong way round" in text


def test_another_models_results_are_a_baseline(command, predicting, tmp_path):
    put_analysis(tmp_path / "few", "glimpse-s")
    put_analysis(tmp_path / "bigger", "glimpse-l", "glimpse-s")  # glimpse-l as glimpse-s in few
    predicting(-effects(0).mean(0))
    code, text, _ = command("study.yaml", "--other", tmp_path / "bigger")
    assert code == 0
    assert "Within targets, glimpse-l does better than the forecast." in text
    record = (tmp_path / "few" / "forecast.json").read_text()
    assert command("study.yaml", "--other", tmp_path / "bigger", "--json")[1].strip() == json.dumps(
        json.loads(record)
    )
    found = json.loads(record)["comparison"]["glimpse-s"]["baselines"]
    assert set(found) == {"target mean", "glimpse-s (--other)", "glimpse-l"}
    assert found["glimpse-l"]["within"]["value"] == pytest.approx(1)
    assert found["glimpse-s (--other)"]["within"]["value"] < 1


def test_sources_are_taken_from_training_items_and_targets_from_their_questions(
    command, tmp_path, monkeypatch
):
    def gradients(base, jobs, recipe, **_):
        # of a source (its place, 2), of a target (1, its place); which is which, its items say
        assert len({job.init_seed for job in jobs}) == 1
        found = []
        for job in jobs:
            (split,) = {item.id.split("_")[0] for item in job.items}
            place = 1.0 + TASKS.index(job.source)
            found.append(torch.tensor([place, 2.0] if split == "train" else [1.0, place]))
        return found

    monkeypatch.setattr(forecast, "start_gradients", gradients)
    assert command("study.yaml", "--items", 4)[0] == 0
    record = json.loads((tmp_path / "few" / "forecast.json").read_text())
    table = record["models"]["glimpse-s"]["predicted"]
    for i, source in enumerate(TASKS, 1):
        for j, target in enumerate(TASKS, 1):
            assert table[source][target] == pytest.approx((i + 2 * j) / math.hypot(i, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "no such study file"),
        (["study.yaml", "--against", "empty"], "no analysis.json in this folder"),
        (["study.yaml", "--other", "empty"], "no analysis.json in this folder"),
        (["study.yaml", "--against", "strange"], "has results of 3B; the study's models are gl"),
        (["study.yaml", "--against", "others"], "of the study's sources only Counting, Rel"),
        (["study.yaml", "--out", "study.yaml"], "a file is there"),
        (["none.yaml"], "nothing to forecast: the study has no sources"),
    ],
)
def test_what_is_wrong_is_one_line_before_any_work(
    command, tmp_path, monkeypatch, arguments, message
):
    (tmp_path / "empty").mkdir()
    none = STUDY.replace(", ".join(TASKS), "", 1) + "mixtures: {both: {Counting: 0.5, Jigsaw: 0.5}}"
    (tmp_path / "none.yaml").write_text(none)
    put_analysis(tmp_path / "strange", "3B")
    few = ("Counting", "b", "Relative_Depth", "d")
    put_analysis(tmp_path / "others", "glimpse-s", names=few)
    monkeypatch.setattr(forecast, "forecast", None)
    code, text, error = command(*arguments)
    assert (code, text) == (2, "")
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "few").exists()


def test_what_chance_reaches_is_the_critical_value_of_the_tables():
    # Critical values of a correlation, two-sided, 5 %: Fisher and Yates, table VII.
    for count, value in ((12, 0.576), (22, 0.423), (6, 0.811)):
        assert by_chance(count) == pytest.approx(value, abs=5e-4)
    assert math.isnan(by_chance(3))


def test_a_forecast_is_written_where_there_is_too_little_to_compare_it_with(
    command, predicting, tmp_path
):
    put_analysis(tmp_path / "few", "glimpse-s", names=TASKS[:3])
    predicting(effects(3)[0])
    code, _, error = command("study.yaml")
    assert (code, "not compared with few: too few tasks" in error) == (0, True)
    assert (tmp_path / "few" / "forecast.csv").is_file()
    assert command("study.yaml", "--against", "few")[0] == 2
