"""What `import transferscope as ts` offers a person: load, print, tables, figures, files."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import pytest
from analysis_factory import HOSTILE, Shape, make
from messages import raises

import transferscope as ts
from transferscope.analysis import json_file
from transferscope.matrix import from_predictions
from transferscope.plots.gallery import FIGURES
from transferscope.report.comparison_forms import page
from transferscope.report.page_data import cell_data
from transferscope.stats.simulate import example_study

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
CELL = ["source", "target"]


@pytest.fixture(scope="module")
def tables(published):
    return {name: published / f"qwen2.5-vl-{name.lower()}.csv" for name in ("3B", "32B")}


@pytest.fixture(scope="module")
def matrix(published_matrix):
    return published_matrix


@pytest.fixture(scope="module")
def study(published_analysis):
    return published_analysis


@pytest.fixture(scope="module")
def small():
    return make(Shape(conduct=True))


@pytest.fixture(scope="module")
def hostile():
    return make(Shape(models=("<b>7B</b>\x1b[31m",), names=tuple(HOSTILE)))


@pytest.fixture(scope="module")
def compared():
    folder = REAL / "checkpoints-blink-flat"
    if not folder.is_dir():
        pytest.skip(f"needs the real files in {folder}")
    return ts.compare(folder / "mapping.yaml")


# Tables


def test_effects_in_pgf_are_those_of_the_published_tables(study, tables):
    for model, file in tables.items():
        names = {"ft_task": "source", "task": "target", "perfection_gap_factor": "pgf"}
        mean = pl.read_csv(file).rename(names).group_by(CELL).agg(pl.col("pgf").mean())
        found = study.effects("pgf").filter(model=model).join(mean, CELL, validate="1:1")
        assert found.height == 169
        assert found["effect"].to_list() == pytest.approx(found["pgf"].to_list(), abs=1e-12)
        assert set(found["seeds"]) == {4}


def test_accuracies_are_counts_of_right_answers(study, matrix):
    found = study.accuracy()
    assert found.columns[:3] == ["model", "source", "target"]
    counts = matrix[["correct", "total", "base_correct", "base_total"]].sel(model="32B")
    for row in found.filter(model="32B").sample(40, seed=1).iter_rows(named=True):
        cell = counts.sel(source=row["source"], target=row["target"])
        tuned = float((cell["correct"] / cell["total"]).mean())
        base = float((cell["base_correct"] / cell["base_total"]).mean())
        assert row["n"] == float(cell["total"].mean())
        assert row["base"] == pytest.approx(base, abs=1e-12)
        assert row["tuned"] == pytest.approx(tuned, abs=1e-12)
        assert row["points"] == pytest.approx(100 * (tuned - base), abs=1e-10)
        assert row["low"] <= row["points"] <= row["high"]


def test_one_number_has_one_value_in_every_table(study):
    points, accuracy = study.effects(), study.accuracy()
    for column, other in (("effect", "points"), ("low", "low"), ("high", "high"), ("q", "q")):
        assert points[column].equals(accuracy[other].alias(column))
    gain = study.effects("raw_gain")
    assert (100 * gain["effect"]).to_list() == points["effect"].to_list()
    assert (100 * gain["expected"]).equals(points["expected"])
    arrays = study.to_xarray()
    assert arrays["effect"].dims == ("model", "source", "target")
    for row in points.sample(30, seed=2).iter_rows(named=True):
        at = arrays.sel({name: row[name] for name in ("model", *CELL)})
        for name in ("effect", "low", "high", "q"):
            assert at[name].item() == row[name] or (row[name] is None and np.isnan(at[name]))


@pytest.mark.parametrize("measure", ["pgf", "relative_gain", "raw_gain"])
def test_an_effect_in_another_measure_is_that_of_an_analysis_in_it(study, matrix, measure):
    by_hand = ts.analyze(matrix.sel(model=["3B"]), ts.Settings(measure=measure, preset="paper"))
    for other in (study, ts.analyze(matrix.sel(model=["3B"]), ts.Settings("raw_gain"))):
        found = other.effects(measure).filter(model="3B")
        expected = by_hand.effects(measure)["effect"].to_list()
        assert found["effect"].to_list() == pytest.approx(expected, abs=1e-12)
    assert study.effects("relative_gain")["low"].null_count() == 338  # not in the record


def test_results_without_a_log_have_no_losses(study, tmp_path):
    assert study.losses().is_empty()
    assert study.losses().columns == ["model", "source", "seed", "step", "loss", "gradient_norm"]
    logged = make(Shape(models=("3B",), count=3, log=True))
    logged.save(tmp_path)
    loaded, one = ts.load(tmp_path), logged.trainings[0]
    assert isinstance(loaded, ts.Analysis)
    found = loaded.losses()
    assert set(found["source"]) == {task.name for task in logged.tasks}
    first = found.filter(source=one.source, seed=one.seed)
    assert first.select("step", "loss", "gradient_norm").to_dict(as_series=False) == {
        "step": one.step, "loss": one.loss, "gradient_norm": one.gradient_norm
    }  # fmt: skip
    assert "9" not in set(found["seed"])  # that one failed


def test_what_is_unknown_is_null_in_tables(study):
    own = study.effects().filter(pl.col("source") == pl.col("target"))
    assert own["q"].null_count() == own.height  # FDR is corrected over the other cells
    assert own["q"].is_nan().sum() == 0
    without = make(Shape(intervals=False))
    assert without.effects("pgf")["verdict"].null_count() == without.effects("pgf").height


# Printing


def test_an_analysis_prints_in_about_ten_lines(study):
    text = repr(study)
    lines = text.splitlines()
    assert len(text) < 1_500
    assert 6 <= len(lines) <= 12
    assert lines[0] == "Analysis: 2 models, 13 sources, 13 targets, 4 seeds"
    effects = study.effects().filter(pl.col("source") != pl.col("target"))
    for model in ("3B", "32B"):
        (line,) = [each for each in lines if each.startswith(f"{model}: own")]
        count = dict(effects.filter(model=model)["verdict"].value_counts().iter_rows())
        helped, harmed, rest = map(int, re.findall(r"\d+", line.partition("other tasks")[2]))
        assert (helped, harmed, rest) == (count["helped"], count["harmed"], count["not settled"])
        assert helped + harmed + rest == 13 * 12
        own = study.accuracy().filter(pl.col("source") == pl.col("target"), model=model)
        assert f"learned: {(own['points'] > 0).sum()} of 13" in line
    best = effects.filter(pl.col("model") == "32B", pl.col("verdict") == "helped").sort("effect")
    top = best.row(-1, named=True)
    assert f"{top['source']} → {top['target']}".replace("_", " ") in text
    assert f"+{top['effect']:.0f} points" in text


def test_a_notebook_shows_the_heatmap_and_the_lines(study):
    shown = study._repr_html_()
    assert 'src="data:image/svg+xml;base64,' in shown
    assert "own task learned" in shown
    assert len(shown) < 400_000


def test_names_can_do_no_harm_where_an_analysis_is_printed(hostile):
    assert not re.search(r"[\x00-\x09\x0b-\x1f\ud800\u2028]", repr(hostile))
    shown = hostile._repr_html_()
    assert "<b>7B" not in shown
    assert "<script" not in shown
    assert len(re.findall("<img", shown)) == 1
    shown.encode()


def test_a_comparison_prints_its_verdict_and_a_line_for_each_run(compared):
    text = repr(compared)
    assert text.splitlines()[1] == compared.decision.headline
    assert "blend @ 784: mean 64.0 %" in text
    assert len(text) < 1_200
    shown = compared._repr_html_()
    assert "<td>52.7 −20.4▼</td>" in shown
    assert "<td>Visual Similarity (135)</td>" in shown


def test_a_comparison_has_a_tidy_table_with_the_mean(compared):
    found = compared.accuracy().filter(run="blend @ 100")
    jigsaw = found.filter(target="Jigsaw").row(0, named=True)
    assert (jigsaw["base"], jigsaw["tuned"]) == pytest.approx((68 / 93, 49 / 93))
    assert jigsaw["points"] == pytest.approx(100 * (49 - 68) / 93)
    assert jigsaw["verdict"] == "worse"
    assert found.filter(target="mean").height == 1
    assert found.filter(state="few items")["verdict"].to_list() == [None]


def test_accuracies_are_of_the_seeds_that_ran_in_tables_figures_and_on_the_page():
    """The base is at 50 % in one seed and at 70 % in another, which alone ran the adapter: 80 %."""
    rows = [
        ("m", seed, source, "B", str(item), item < count)
        for seed, source, count in (("0", None, 50), ("1", None, 70), ("1", "A", 80))
        for item in range(100)
    ]
    rows += [("m", "0", "C", "B", str(item), item < 60) for item in range(100)]
    names = ["model", "seed", "source", "target", "item", "correct"]
    table = pl.DataFrame(rows, names, orient="row", infer_schema_length=None)
    found = ts.analyze(from_predictions(table))
    row = found.accuracy().filter(source="A", target="B").row(0, named=True)
    assert (row["base"], row["tuned"], row["points"]) == pytest.approx((0.7, 0.8, 10))
    (shown,) = (r for r in drawn_rows(found) if r["source"] == "A" and r["target"] == "B")
    assert (shown["accuracy"], shown["on"]) == ("70% → 80%", "100 items, 1 seed")
    page = cell_data(found)
    bases = {page["tasks"][cell["source"]]: cell["base"] for cell in page["models"][0]["cells"]}
    assert bases == pytest.approx({"A": 0.7, "C": 0.5})


def drawn_rows(found):
    return [r for rows in found.plot.heatmap().to_dict()["datasets"].values() for r in rows]


# Figures


def test_every_figure_is_a_method_and_a_new_one_appears_by_itself(study, monkeypatch):
    kind = FIGURES["power"]
    monkeypatch.setitem(FIGURES, "a-new-one", kind)
    assert {name.replace("-", "_") for name in FIGURES} <= set(dir(study.plot))
    drawn = study.plot.a_new_one("3B").to_dict()
    assert drawn["title"] == study.plot.power("3B").to_dict()["title"]
    assert kind.reading in study.plot.a_new_one.__doc__


@pytest.mark.parametrize("name", ["heatmaps", "personas", "scale", "decomposition", "graph"])
def test_a_figure_is_valid_and_looks_as_on_the_page(study, name):
    drawn = getattr(study.plot, name)()
    spec = drawn.to_dict()  # which Altair validates
    assert spec["config"]["axis"]["labelColor"]
    assert "datasets" in spec


def test_figures_compose_keep_their_look_and_their_data(study, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = (study.plot.graph("3B") | study.plot.graph("32B")) & study.plot.heatmap("3B")
        spec = both.to_dict()
        alone = [study.plot.graph(name).to_dict() for name in ("3B", "32B")]
    assert spec["config"]["axis"] == alone[0]["config"]["axis"]
    assert alone[0]["datasets"].keys() | alone[1]["datasets"].keys() <= spec["datasets"].keys()
    assert "config" not in spec["vconcat"][0]["hconcat"][0]
    assert isinstance(alt.hconcat(study.plot.scale(), study.plot.heatmap()), alt.HConcatChart)
    wide = study.plot.heatmap().configure_axis(labelFontSize=19).to_dict()["config"]["axis"]
    assert wide["labelFontSize"] == 19
    assert wide["labelColor"] == spec["config"]["axis"]["labelColor"]
    both.save(tmp_path / "both.svg")
    assert (tmp_path / "both.svg").read_text().count("<svg") == 1


def test_a_heatmap_shows_the_measure_that_was_named(study):
    pair = {"source": "Jigsaw", "target": "Visual_Similarity", "model": "3B"}
    for measure, name in (("pgf", "effect"), ("raw_gain", "points")):
        spec = study.plot.heatmap("3B", measure).to_dict()
        rows = [row for data in spec["datasets"].values() for row in data]
        (row,) = (r for r in rows if (r.get("brief"), r.get("column")) == ("JG", "VS"))
        (shown,) = (param["value"] for param in spec["params"] if param["name"] == "shown")
        assert shown == name
        effect = study.effects(measure).filter(**pair)["effect"].item()
        assert row[name] == pytest.approx(effect, abs=1e-5)
    with raises(ts.DataError):
        study.plot.heatmap("3B", "relative_gain")


def test_curves_are_drawn_for_checkpoints(tmp_path):
    file = tmp_path / "checkpoints.csv"
    rows = [
        ("m", source, target, str(item), int(item % 10 < share))
        for source, shares in ((None, (4, 6)), ("Jigsaw @ 10", (6, 5)), ("Jigsaw @ 20", (8, 3)))
        for target, share in zip(("Jigsaw", "Counting"), shares, strict=True)
        for item in range(60)
    ]
    columns = ("model", "source", "target", "item", "correct")
    pl.DataFrame(rows, columns, orient="row", infer_schema_length=None).write_csv(file)
    drawn = ts.analyze(file).plot.curves("Jigsaw").to_dict()
    steps = {row["step"] for data in drawn["datasets"].values() for row in data if "step" in row}
    assert {10, 20} <= steps


# Names


@pytest.mark.parametrize("name", ["Relative_Depth", "relative depth", "RD", "Relative-Depth"])
def test_a_task_is_named_in_any_usual_spelling(study, name):
    assert study.select(name).target == "Relative_Depth"


CALLS = {
    "target": lambda a: a.select("Jigsow"),
    "protected": lambda a: a.select("Jigsaw", protect={"Countin": 0.05}),
    "model": lambda a: a.select("Jigsaw", model="3b"),
    "model of a figure": lambda a: a.plot.heatmap("33B"),
    "groups": lambda a: a.plot.categories("levle"),
    "finetune": lambda a: a.plot.curves("Jigsaw"),
    "measure": lambda a: a.effects("point"),
    "measure of arrays": lambda a: a.to_xarray("accuracy"),
}


@pytest.mark.parametrize("what", CALLS)
def test_an_unknown_name_is_answered_with_the_nearest(study, what):
    with raises(ts.DataError):
        CALLS[what](study)


def test_points_are_refused_where_only_pgf_is_known(tmp_path):
    file = tmp_path / "pgf.csv"
    pgf = [("A", "A", 0.61234), ("A", "B", -0.1777), ("B", "A", 0.23456), ("B", "B", 0.4321)]
    table = pl.DataFrame(pgf, ["ft_task", "task", "perfection_gap_factor"], orient="row")
    table.with_columns(seed=pl.lit("0")).write_csv(file)
    found = ts.analyze({"m": file})
    assert found.effects("points")["effect"].to_list() == [None] * 4
    assert found.effects("pgf")["effect"].to_list() == [row[-1] for row in pgf]
    assert "A → B −0.18 PGF" in repr(found)
    assert found.plot.heatmap().to_dict()["datasets"]
    with raises(ts.DataError):
        found.plot.heatmap(measure="points")


def test_an_unknown_figure_is_no_attribute(study):
    with pytest.raises(AttributeError, match="'heetmap'; did you mean 'heatmap'"):
        _ = study.plot.heetmap
    assert not hasattr(study.plot, "_repr_mimebundle_")
    assert not hasattr(study.plot, "_ipython_display_")


# Files


def test_an_analysis_is_saved_and_loaded(small, tmp_path):
    whole = json_file.from_json(json_file.to_json(small))
    whole.save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"analysis.json", "report.html"}
    for place in ("out", "out/analysis.json"):
        loaded = ts.load(tmp_path / place)
        assert json_file.to_json(loaded) == json_file.to_json(whole)
    assert repr(loaded) == repr(small)


def test_a_comparison_is_saved_and_loaded_whole(compared, tmp_path):
    compared.save(tmp_path)
    loaded: Any = ts.load(tmp_path)
    assert loaded.to_dict() == compared.to_dict()
    pages = [re.sub(r"clip\d+", "clip", page(each)) for each in (loaded, compared)]  # a counter
    assert pages[0] == pages[1]
    assert repr(loaded) == repr(compared)
    assert loaded.accuracy().equals(compared.accuracy())


@pytest.mark.parametrize("damage", ["cells", "runs", "json", "verdict"])
def test_a_damaged_comparison_is_refused(compared, tmp_path, damage):
    compared.save(tmp_path)
    file = tmp_path / "comparison.json"
    read = json.loads(file.read_text())
    if damage == "cells":
        del read["cells"][0]["variance"]
    elif damage == "runs":
        read["runs"][0]["verdict"] = "fine"
    elif damage == "verdict":
        read["cells"][0]["accuracy"] = "high"
    file.write_text(json.dumps(read)[: 50 if damage == "json" else None])
    with raises(ts.DataError):
        ts.load(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "empty", "table.csv"])
def test_what_is_no_results_folder_is_refused_with_the_remedy(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("a,b\n")
    with raises(ts.DataError):
        ts.load(tmp_path / name)


def test_a_folder_of_predictions_is_analyzed_with_the_ceilings_of_its_study(tmp_path):
    predictions, _ = example_study()
    folder = tmp_path / "study"
    (folder / "predictions").mkdir(parents=True)
    tasks = predictions["target"].unique(maintain_order=True)[:3].to_list()
    few = pl.col("target").is_in(tasks) & pl.col("source").is_in(tasks).fill_null(True)
    predictions.filter(few, model="small").write_parquet(folder / "predictions" / "all.parquet")
    plain = ts.load(folder)
    text = json_file.to_json(ts.analyze(ts.read_results(folder)))
    assert json_file.to_json(plain) == text == json_file.to_json(ts.analyze(folder))
    study = "name: s\nmodels: {m: base}\nsuite: glimpse\nceilings: 0.9\n"
    (folder / "study.yaml").write_text(study)
    again: Any = ts.load(folder)
    assert again.settings.ceiling == 0.9
