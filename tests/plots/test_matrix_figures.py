"""Heatmaps and transfer graphs: what is drawn is what the analysis holds."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from analysis_factory import Shape, make

from transferscope.analysis import Analysis
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.composition import render
from transferscope.plots.gallery import gallery
from transferscope.plots.heatmaps import STRONG, bound, heatmap, heatmaps
from transferscope.plots.labels import labels
from transferscope.plots.networks import graph
from transferscope.plots.numbers import plain
from transferscope.plots.theme import DARK, DIVERGING, ON_STRONG, ON_WEAK

ONE = ("3B",)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return make(Shape(models=("3B", "32B"), conduct=True))


def rows(spec: Any) -> list[dict[str, Any]]:
    assert spec is not None
    return [row for data in spec["datasets"].values() for row in data]


def cells(spec: Any) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["source"], row["target"]): row for row in rows(spec)}


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_heatmap_holds_every_number_of_the_record(analysis: Analysis, adjusted: bool):
    names = labels(analysis).long
    for model, record in analysis.models.items():
        found = cells(heatmap(analysis, model, "", adjusted=adjusted))
        assert record.adjusted is not None
        for source, row in (record.adjusted.cells if adjusted else record.pgf).items():
            for target, cell in row.items():
                seen = found[names[source], names[target]]
                values = seen["points"], seen["effect"]
                assert values == pytest.approx((cell.change, cell.mean), abs=1e-5)
                assert seen["effect_text"] == plain(cell.mean)
                assert float(seen["points_text"].replace("−", "-")) == round(100 * cell.change)
                # Beyond the placebo too: an accuracy is that of the adapter.
                plainly = record.pgf[source][target]
                base = np.mean(list(record.base_seeds[target].values()))
                tuned = 100 * (base + plainly.change)
                assert float(seen["accuracy_text"]) == pytest.approx(tuned, abs=0.51)
                beyond = beyond_noise(cell, analysis.settings.alpha)
                assert seen["kind"] == ("clear" if beyond else "noise")


def test_controls_stand_below_the_sources_with_their_change_of_accuracy(analysis: Analysis):
    record = analysis.models["3B"]
    spec = heatmap(analysis, "3B", "")
    found = cells(spec)
    assert spec is not None
    assert spec["encoding"]["y"]["scale"]["domain"][-3:] == [
        " ",
        "format-only · placebo",
        "reordered · no finetune",
    ]
    for target, effect in record.controls["format-only"].targets.items():
        seen = found["format-only · placebo", labels(analysis).long[target]]
        assert seen["effect"] == pytest.approx(effect.mean, abs=1e-5)
        gaps = {seed: 1 - base for seed, base in record.base_seeds[target].items()}
        change = np.mean([value * gaps[seed] for seed, value in effect.seeds.items()])
        assert seen["points"] == pytest.approx(change, abs=1e-5)


def test_the_heatmaps_of_all_models_hold_the_cells_of_each(analysis: Analysis):
    spec = heatmaps(analysis, None, "")
    assert spec is not None
    (row,) = spec["vconcat"]
    for panel, model in zip(row["hconcat"], analysis.models, strict=True):
        alone = {key for key, seen in cells(heatmap(analysis, model, "")).items() if seen["i"] < 13}
        held = spec["datasets"][panel["data"]["name"]]
        assert {(each["source"], each["target"]) for each in held} == alone
        first = analysis.models[model].pgf["Jigsaw"]["Counting"]
        (seen,) = (e for e in held if (e["source"], e["target"]) == ("Jigsaw", "Counting"))
        assert seen["effect"] == pytest.approx(first.mean, abs=1e-5)
    assert heatmaps(make(Shape(models=ONE)), None, "") is None


def test_cells_without_any_interval_are_filled_and_untested_ones_among_tested_are_not():
    spec = heatmap(make(Shape(models=ONE, seeds=1)), "3B", "")
    assert {row["kind"] for row in rows(spec)} == {"clear"}
    assert "hollow" not in json.dumps(spec)
    made = make(Shape(models=ONE))
    model = made.models["3B"]
    nothing = replace(model.pgf["Jigsaw"]["Counting"], p_value=math.nan)
    pgf = model.pgf | {"Jigsaw": model.pgf["Jigsaw"] | {"Counting": nothing}}
    spec = heatmap(replace(made, models={"3B": replace(model, pgf=pgf)}), "3B", "")
    seen = cells(spec)["Jigsaw", "Counting"]
    assert (seen["kind"], seen["verdict"].split(" (")[0]) == ("noise", "not tested")


def test_cells_that_were_not_measured_are_hatched():
    spec = heatmap(make(Shape(models=ONE, empty_row=True)), "3B", "")
    assert sum(row["kind"] == "missing" for row in rows(spec)) == 13
    assert spec is not None
    assert "hatched: not measured" in json.dumps(spec["title"])
    assert b">undefined<" not in render(spec, "svg")


def test_where_no_accuracy_is_known_the_measure_is_shown():
    made = make(Shape(models=ONE))
    model = made.models["3B"]
    unknown = {"change": math.nan, "change_ci": (math.nan, math.nan)}
    pgf = {s: {t: replace(c, **unknown) for t, c in row.items()} for s, row in model.pgf.items()}
    model = replace(model, pgf=pgf, base_accuracy={}, base_seeds={})
    spec = heatmap(replace(made, models={"3B": model}), "3B", "")
    assert spec is not None
    assert {p["name"]: p["value"] for p in spec["params"]}["shown"] == "effect"
    assert all(row["points"] is None for row in rows(spec))


@pytest.mark.parametrize("times", [20, 1000])
def test_one_target_of_few_errors_does_not_bleach_the_others(times: float):
    values = np.random.default_rng(3).normal(0, 0.1, (4, 13, 13))
    values[:, :, 5] *= times
    made = make(Shape(models=ONE), {"3B": values})
    largest = np.abs(values.mean(0) * (1 - np.eye(13))).max(axis=0)
    assert np.sort(largest)[6] <= bound(made) <= 3 * np.sort(largest)[11]  # 12: the target
    values[:, :, 5] *= 10
    assert bound(made) == bound(make(Shape(models=ONE), {"3B": values}))


def brightness(color: str) -> float:
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_numbers_on_cells_have_enough_contrast_in_both_schemes():
    """At least 4.5 to 1 (WCAG, AA), on either side of where the ink changes."""
    stops = [-1, -STRONG, -STRONG / 2, 0, STRONG / 2, STRONG, 1]
    for schemed in (lambda color: color, DARK.__getitem__):
        for at, color in zip(stops, DIVERGING, strict=True):
            inks = {1: [ON_STRONG], STRONG: [ON_STRONG, ON_WEAK]}.get(abs(at), [ON_WEAK])
            for ink in inks:
                dark, light = sorted(brightness(schemed(each)) for each in (color, ink))
                assert (light + 0.05) / (dark + 0.05) >= 4.5


def drawn(spec: Any, keep: float) -> set[tuple[str, str]]:
    """The arrows that the chart's own filter keeps."""
    kept = (row for row in rows(spec) if "rank" in row)
    return {
        (row["source"], row["target"])
        for row in kept
        if math.ceil(keep / 100 * row["of"] - 1e-9) >= row["rank"]
    }


@pytest.mark.parametrize("count", [13, 20])
def test_a_graph_draws_the_edges_of_the_analysis(count: int):
    made = make(Shape(models=ONE, count=count))
    spec, names = graph(made, "3B", ""), labels(made).long
    edges = {(names[e.source], names[e.target]) for e in made.models["3B"].graph.edges}
    assert spec is not None
    keep = {p["name"]: p["value"] for p in spec["params"]}["keep"]
    assert drawn(spec, keep) == edges
    assert len(drawn(spec, 100)) == count * (count - 1)


def test_a_graph_of_many_tasks_begins_with_few_arrows():
    spec = graph(make(Shape(models=ONE, count=60)), "3B", "")
    assert spec is not None
    keep = {p["name"]: p["value"] for p in spec["params"]}["keep"]
    assert 40 <= len(drawn(spec, keep)) <= 120
    assert f"the strongest {keep}%" in json.dumps(spec["title"])


def test_the_page_and_a_file_show_the_same_figure(analysis: Analysis):
    (figure,) = (each for each in gallery(analysis) if each.stem == "heatmap-3B")
    assert figure.spec["layer"] == (heatmap(analysis, "3B", "") or {})["layer"]
