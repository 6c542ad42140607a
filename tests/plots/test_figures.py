"""The report's figures: valid, drawn from the record's own numbers, and whole for any shape."""

import json
import math
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import vl_convert
from analysis_factory import HOSTILE, SIGNS, Shape, make

from transferscope.analysis import Analysis
from transferscope.plots.composition import Spec, finish, layer, table, unit
from transferscope.plots.gallery import (
    FIGURES,
    FigureKind,
    caption,
    gallery,
)
from transferscope.plots.heatmaps import bound
from transferscope.plots.labels import Labels, clean, labels
from transferscope.plots.numbers import plain, signed
from transferscope.plots.theme import (
    DARK,
    DIVERGING,
    INK,
    MUTED,
    NEGATIVE,
    ON_STRONG,
    ON_WEAK,
    PAPER,
    SOFT,
    stops,
)
from transferscope.report import figures, page, render

INKS = ["False", "True"]
Specs = dict[str, dict[str, Any]]
ONE = ("3B",)
SHAPES = {
    "one model": Shape(models=ONE),
    "one seed": Shape(models=ONE, seeds=1),
    "forty tasks": Shape(models=ONE, count=40),
    "three tasks": Shape(models=ONE, count=3),
    "rectangular": Shape(models=ONE, sources=(0, 5), targets=(3, 13)),
    "no task in common": Shape(models=ONE, sources=(0, 5), targets=(5, 13)),
    "no categories": Shape(models=ONE, categories=False),
    "no cliques": Shape(models=ONE, cliques=False),
    "no null models": Shape(models=ONE, nulls=False),
    "no noise floor": Shape(models=ONE, floor=False),
    "preset paper": Shape(models=ONE, intervals=False),
    "a source without values": Shape(models=ONE, empty_row=True),
    "hostile names": Shape(models=(HOSTILE[0],), names=tuple(HOSTILE), conduct=True, log=True),
    "answers and controls": Shape(models=ONE, conduct=True),
    "answers of one seed": Shape(models=ONE, conduct=True, seeds=1),
}


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return make()


def rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for name in spec["datasets"] for row in spec["datasets"][name]]


def units(spec: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [each for key in ("layer", "hconcat", "vconcat") for each in spec.get(key, [])]
    return [unit for each in inner for unit in units(each)] if inner else [spec]


def by_stem(analysis: Analysis) -> Specs:
    return {figure.stem: figure.spec for figure in gallery(analysis)}


@pytest.fixture(scope="module")
def specs(analysis: Analysis) -> Specs:
    """That analysis's figures."""
    return by_stem(analysis)


@pytest.fixture(scope="module")
def charts(analysis: Analysis) -> Specs:
    """The same as charts, each held against Vega-Lite's schema, which takes long."""
    return {stem: each.to_dict() for stem, each in figures(analysis).items()}


def test_every_figure_of_the_report_is_there_and_valid_vega_lite(analysis: Analysis, charts: Specs):
    per_model = ("heatmap", "graph", "transferability", "malleability", "power")
    cliques = ("clique-positive", "clique-negative")
    expected = {f"{kind}-{m}" for kind in (*per_model, *cliques) for m in analysis.models}
    expected |= {f"categor{end}-{axis}" for end in ("ies", "y-effects") for axis in LEVELS}
    expected |= {"heatmaps", "personas", "scale", "decomposition", "pgf-behavior"}
    assert set(charts) == expected
    whole = make(Shape(conduct=True, log=True))
    both, more = figures(whole), ("heatmap-adjusted", "answers", "losses")
    expected = {f"{kind}-{m}" for kind in more for m in whole.models}
    assert set(both) - set(charts) == expected
    for stem in expected:
        both[stem].to_dict()


LEVELS = ("level", "granularity")


def test_a_figure_on_the_page_and_in_a_file_is_the_same_chart(specs: Specs, charts: Specs):
    for stem, spec in specs.items():
        drawn = charts[stem]
        for key in ("description", "title", "config"):
            assert drawn.get(key) == spec.get(key)
        held = ({json.dumps(each) for each in one["datasets"].values()} for one in (drawn, spec))
        assert next(held) == next(held)
        assert [unit["mark"] for unit in units(drawn)] == [unit["mark"] for unit in units(spec)]


def test_charts_compose_with_their_data_and_look(analysis: Analysis, charts: Specs):
    drawn = figures(analysis)
    both = (drawn["power-3B"] | drawn["scale"]).to_dict()
    assert both["config"] == charts["scale"]["config"]
    held = [json.dumps(each) for each in both["datasets"].values()]
    for stem in ("power-3B", "scale"):
        assert {json.dumps(each) for each in charts[stem]["datasets"].values()} <= set(held)


def test_every_figure_renders_with_marks(specs: Specs):
    one_models = {stem: spec for stem, spec in specs.items() if not stem.endswith("-32B")}
    for stem, spec in one_models.items():  # another model's are drawn by the same code
        picture = ElementTree.fromstring(render(spec, "svg"))
        drawn = [e for e in picture.iter() if e.tag.endswith(("path", "text", "line", "rect"))]
        assert len(drawn) > 20, stem


def test_one_figure_renders_in_every_format(specs: Specs):
    scale = specs["scale"]
    assert render(scale, "svg").startswith(b"<svg")
    assert render(scale, "pdf").startswith(b"%PDF")
    assert render(scale, "png").startswith(b"\x89PNG")


def test_an_unknown_format_is_refused_by_name(specs: Specs):
    with pytest.raises(ValueError, match="svg, pdf or png, got 'gif'"):
        render(specs["scale"], "gif")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_of_study_gives_figures_that_compile(shape: Shape):
    drawn = gallery(make(shape))
    assert drawn
    for figure in drawn:
        vl_convert.vegalite_to_vega(figure.spec, vl_version="6.4")
        held = [unit["data"]["name"] for unit in units(figure.spec) if "data" in unit]
        assert set(held) <= set(figure.spec["datasets"])
        assert all(figure.spec["datasets"].values()), f"{figure.stem} draws an empty layer"


@pytest.mark.parametrize(
    ("shape", "absent"),
    [
        (Shape(models=ONE), "scale"),
        (Shape(models=ONE, categories=False), "categories"),
        (Shape(models=ONE, categories=False), "category-effects"),
        (Shape(models=ONE, cliques=False), "clique"),
    ],
)
def test_a_figure_with_nothing_to_show_is_left_out(shape: Shape, absent: str):
    assert not [stem for stem in by_stem(make(shape)) if stem.startswith(absent)]


@pytest.mark.parametrize("floor", [True, False])
def test_lines_of_no_transfer_are_spoken_of_where_they_are_drawn(floor):
    figures = {each.stem: each for each in gallery(make(Shape(models=ONE, floor=floor)))}
    for quantity in ("transferability", "malleability"):
        figure = figures[f"{quantity}-3B"]
        drawn = any(
            row.get("line", "").endswith("without any transfer") for row in rows(figure.spec)
        )
        assert drawn == floor == ("dashed:" in json.dumps(figure.spec["title"]))


def test_a_study_without_any_value_has_only_the_figure_of_the_measure():
    values = {"3B": np.full((4, 13, 13), math.nan)}
    with np.errstate(all="ignore"):
        empty = make(Shape(models=ONE, floor=False, nulls=False), values)
    empty = replace(empty, power=[], decomposition={})
    assert bound(empty) > 0
    nothing = [stem for stem in by_stem(empty) if not stem.startswith("categor")]
    assert {"heatmap-3B", "graph-3B", "personas", "scale"}.isdisjoint(nothing)
    assert "pgf-behavior" in nothing


def test_the_behaviour_of_pgf_is_shown_only_for_pgf(analysis: Analysis):
    settings = replace(analysis.settings, measure="raw_gain")
    assert "pgf-behavior" not in by_stem(replace(analysis, settings=settings))


def test_the_behaviour_of_pgf_follows_the_formula(specs: Specs):
    curves = [row for row in rows(specs["pgf-behavior"]) if "base" in row]
    points = [row for row in curves if "pgf" in row and "label" not in row]
    assert max(row["pgf"] for row in points) == pytest.approx(1)
    assert min(row["pgf"] for row in points) == pytest.approx(-2)
    gains = {round(row["pgf"] * (1 - row["base"]), 6) for row in points}
    assert gains == {0.05, 0.1, 0.2, 0.4, -0.05, -0.1, -0.2, -0.4}


def test_numbers_on_cells_have_enough_contrast_in_both_schemes():
    for schemed in (lambda color: color, DARK.__getitem__):
        cells = dict(zip(stops(3), map(schemed, DIVERGING), strict=True))
        for value, cell in cells.items():
            ink = ON_STRONG if abs(value) > 2 else ON_WEAK
            assert contrast(cell, schemed(ink)) >= 4.5, value
        for value in (-2, 2):  # where the ink changes, so that it is legible on either side
            assert min(contrast(cells[value], schemed(ink)) for ink in (ON_WEAK, ON_STRONG)) >= 4.5
            drawn = table([{"value": value * by} for by in (0.999, 1.001)], {}, {}, 3, [])
            assert [row["strong"] for row in drawn["layer"][0]["data"]["values"]] == INKS


def test_an_interval_of_explained_variance_that_begins_at_zero_is_drawn(analysis: Analysis):
    shares = analysis.decomposition["3B"]
    shares = replace(shares, ci=shares.ci | {"target": (0.0, 0.4)})
    spec = by_stem(replace(analysis, decomposition={"3B": shares}))["decomposition"]
    (bars,) = (u for u in units(spec) if u["encoding"].get("x2", {}).get("field") == "high")
    drawn = {
        row["part"]: (row["low"], row["high"]) for row in spec["datasets"][bars["data"]["name"]]
    }
    assert drawn["which target"] == (0.0, 0.4)


def test_task_figures_hold_the_means_and_intervals_of_the_record(analysis: Analysis, specs: Specs):
    names = labels(analysis)
    for quantity in ("transferability", "malleability"):
        shown = {
            (row["task"], row["sign"]): (row["value"], row["low"], row["high"])
            for row in rows(specs[f"{quantity}-32B"])
            if "breadth" in row
        }
        assert shown == {
            (names.long[task], sign): (getattr(effect, sign).mean, *getattr(effect, sign).ci)
            for task, effect in getattr(analysis.models["32B"], quantity).items()
            for sign in SIGNS
        }


@pytest.mark.parametrize("reach", [(-0.11, 0.2), (-2.1, 0.1), (-0.45, 0.13), (0.0, 0.02)])
def test_the_axis_of_a_task_figure_labels_zero(analysis: Analysis, reach: tuple[float, float]):
    model = analysis.models["3B"]
    effects = {
        task: replace(effect, positive=replace(effect.positive, mean=value, ci=reach, seeds={}))
        for (task, effect), value in zip(model.malleability.items(), reach, strict=False)
    }
    changed = replace(analysis, models={"3B": replace(model, malleability=effects)})
    spec = FIGURES["malleability"].draw(changed, "3B", "title")
    assert spec is not None
    picture = ElementTree.fromstring(render(spec, "svg"))
    assert any(re.fullmatch(r"0(\.0+)?", each.text or "") for each in picture.iter())


def test_a_label_among_personas_stands_nearest_to_its_own_dot():
    made = make(Shape(models=("3B", "32B"), count=40))
    named = [replace(made.personas.donor[0], task=task.name) for task in made.tasks]
    model = made.models["3B"]
    effects = {
        # A dense crowd, as one task is far away.
        task: replace(effect, positive=replace(effect.positive, mean=0.02 * n if n else 2.0))
        for n, (task, effect) in enumerate(model.transferability.items())
    }
    made = replace(
        made,
        models=made.models | {"3B": replace(model, transferability=effects)},
        personas=replace(made.personas, donor=named),
    )
    spec = by_stem(made)["personas"]
    plane = spec["vconcat"][0]["hconcat"][0]
    dots = [u for u in units(plane) if u["mark"]["type"] == "circle"]
    places = [spot(row, u, plane) for u in dots for row in spec["datasets"][u["data"]["name"]]]
    texts = [u for u in units(plane) if u["mark"]["type"] == "text"]
    assert len(texts) > 8
    for drawn in texts:
        (row,) = spec["datasets"][drawn["data"]["name"]]
        own, says = spot(row, drawn, plane), drawn["mark"]
        wide = len(row["label"]) * says.get("fontSize", 11) / 2
        left = own[0] + says["dx"] - {"left": 0, "center": wide / 2, "right": wide}[says["align"]]
        x, y = np.array([own, *places]).T
        across = np.maximum(left - x, x - left - wide).clip(0)
        away = np.hypot(across, (abs(y - own[1] - says["dy"]) - 5).clip(0))
        assert away[0] == away.min(), row["label"]


def spot(row: dict[str, Any], drawn: dict[str, Any], plane: dict[str, Any]) -> tuple[float, float]:
    """Where a row of a plane stands, in pixels from the top left."""
    (left, right), (low, high) = (drawn["encoding"][way]["scale"]["domain"] for way in "xy")
    side = plane["width"]
    across = (row["positive"] - left) / (right - left)
    return side * across, side * (high - row["negative"]) / (high - low)


def test_a_model_is_hollow_where_the_step_to_it_may_be_no_change(specs: Specs):
    models = {
        (row["model"], row["sign"]): row["shade"] for row in rows(specs["scale"]) if "shade" in row
    }
    # The factory's steps are (0.01, 0.05) for the positive and (-0.02, 0.01) for the negative part.
    assert models == {
        ("3B", "positive"): "positive",
        ("32B", "positive"): "positive",
        ("3B", "negative"): "negative",
        ("32B", "negative"): "noise",
    }


def test_the_scale_figure_holds_the_averages_of_the_record(analysis: Analysis, specs: Specs):
    trend = analysis.scale.transferability
    values = {row["value"] for row in rows(specs["scale"]) if row.get("sign") == "positive"}
    assert values >= set(trend.positive)
    assert {row["low"] for row in rows(specs["scale"]) if "low" in row} >= {
        low for low, _ in trend.ci["positive"]
    }


def test_groups_whose_order_rests_on_self_transfer_are_marked(analysis: Analysis, specs: Specs):
    marked = {
        p["title"]["text"] for row in specs["categories-level"]["vconcat"] for p in row["hconcat"]
    }
    assert {text for text in marked if "†" in text} == {
        f"{model}: transferability †" for model in analysis.models
    }


def test_category_figures_hold_the_means_of_the_record(analysis: Analysis, specs: Specs):
    model = analysis.models["32B"]
    groups = {
        name: replace(
            each, without_self=replace(each.without_self, transferability=each.malleability)
        )
        for name, each in model.categories["level"].items()
    }
    changed = replace(model, categories={"level": groups})
    spec = FIGURES["categories"].draw(
        replace(analysis, models=analysis.models | {"32B": changed}), "level", "title"
    )
    assert spec is not None
    panel = spec["vconcat"][0]["hconcat"][1]
    drawn = spec["datasets"][units(panel)[0]["data"]["name"]]
    assert {(r["category"], r["sign"]): (r["value"], r["without"]) for r in drawn} == {
        (f"{name} ({len(each.tasks)})", sign): (
            getattr(each.transferability, sign),
            getattr(each.malleability, sign),
        )
        for name, each in groups.items()
        for sign in SIGNS
    }
    axis = analysis.models["32B"].category_axes["level"]
    cells = {(r["source"], r["target"], r["value"]) for r in rows(specs["category-effects-level"])}
    assert cells >= {
        (source, target, getattr(effect, sign))
        for source, row in axis.effects.items()
        for target, effect in row.items()
        for sign in SIGNS
    }


def test_the_clique_figure_holds_the_effects_between_its_tasks(analysis: Analysis, specs: Specs):
    names, record = labels(analysis).long, analysis.models["3B"]
    tasks = max(record.cliques.positive, key=lambda each: each.size).tasks
    drawn = {
        (row["source"].split(" · ")[0], row["onto"]): row["value"]
        for row in rows(specs["clique-positive-3B"])
        if "onto" in row
    }
    assert drawn == {
        (names[i], names[j]): record.pgf[i][j].mean for i in tasks for j in tasks if i != j
    }


def test_the_clique_figure_shows_the_observed_size_in_each_null_model(specs: Specs):
    spec = specs["clique-positive-3B"]
    marks = [row for row in rows(spec) if row.get("label") == "observed"]
    assert [row["size"] for row in marks] == ["6"]  # the same data under both nulls, held once
    assert sum(unit["mark"]["type"] == "bar" for unit in units(spec)) == 2


def test_names_are_data_and_never_fields_or_expressions():
    hostile = make(Shape(models=tuple(HOSTILE[:2]), names=tuple(HOSTILE), log=True))
    for figure in gallery(hostile):
        for drawn in units(figure.spec):
            channels = [each for each in drawn["encoding"].values() if isinstance(each, dict)]
            fields = {each["field"] for each in channels if "field" in each}
            assert all(re.fullmatch("[a-z]+", field) for field in fields)
        assert '"url"' not in json.dumps(figure.spec)


def test_hostile_names_are_text_in_svg():
    hostile = make(Shape(models=(HOSTILE[0],), names=tuple(HOSTILE), log=True))
    specs = by_stem(hostile)
    for kind in ("heatmap", "graph", "transferability", "losses"):
        picture = render(specs[f"{kind}-{HOSTILE[0]}"], "svg").decode()
        texts = [e.text or "" for e in ElementTree.fromstring(picture).iter()]
        assert any("<script>alert(1)" in text for text in texts)
        assert "<script" not in picture
        assert "<img" not in picture


def test_labels_are_unique_and_printable():
    names = ("a_b", "a b", "a_b ", "\x00", "\x01", "x\ud800", "", "")
    shape = Shape(models=ONE, names=names[:6])
    found: Labels = labels(make(shape))
    assert len(set(found.long.values())) == 6
    assert len(set(found.short.values())) == 6
    for label in [*found.long.values(), *found.short.values()]:
        label.encode()
        assert clean(label) == label
    assert (
        clean("a\u202eb\u2067c אב") == "a\ufffdb\ufffdc אב"
    )  # direction, as in names that reverse
    twins = make(Shape(models=("m\x00", "m\x01")))
    assert len(set(labels(twins).models.values())) == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.123, "+0.12"), (-0.3, "−0.30"), (-0.001, "0.00"), (0.0, "0.00"), (math.nan, "–")],
)
def test_effects_have_two_decimals_and_a_real_minus_sign(value: float, shown: str):
    assert signed(value) == shown
    assert plain(value) == shown.lstrip("+")


def test_every_colour_has_a_dark_counterpart(analysis: Analysis):
    for figure in (*gallery(analysis), *gallery(make(Shape(models=ONE, log=True)), "losses")):
        parts = {key: part for key, part in figure.spec.items() if key != "datasets"}
        used = set(re.findall(r'"(#[0-9a-fA-F]{3,8})"', json.dumps(parts)))
        assert used <= set(DARK)


@pytest.mark.parametrize("ink", [INK, SOFT, MUTED])
def test_text_has_enough_contrast_in_both_schemes(ink: str):
    assert contrast(ink, PAPER) >= 4.5
    assert contrast(DARK[ink], DARK[PAPER]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Contrast ratio by WCAG 2."""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_new_figure_is_one_function_and_one_entry(analysis: Analysis, monkeypatch):
    """The recipe of `gallery`, followed with a toy."""

    def toy(analysis: Analysis, model: str, title: str) -> Spec | None:
        bases = analysis.models[model].base_accuracy
        bars = [{"task": task, "base": value} for task, value in bases.items()]
        spec = layer(unit(bars, "bar", x="base:Q", y="task:N"))
        return finish(spec, title, "Bars are accuracies.", f"There are {len(bars)}.")

    kind = FigureKind("method", toy, "bases", "No intervals.", "Of {model}.")
    monkeypatch.setitem(FIGURES, "toy", kind)
    (made, _) = (figure for figure in gallery(analysis) if figure.stem.startswith("toy"))
    assert caption(made) == (
        "**3B: bases**. Bars are accuracies. There are 13. Of 3B. No intervals."
    )
    assert made.kind.reading in page(analysis)
    assert render(made.spec, "svg").startswith(b"<svg")


def test_every_adapter_is_a_line_and_a_failed_one_ends_in_a_cross():
    analysis = make(Shape(models=ONE, count=3, seeds=2, conduct=True, log=True))
    slow = replace(analysis.trainings[0], source="new", loss=[0.0] + [2.0] * 50)
    unknown = replace(slow, source="none", loss=[math.nan] * 51, failed="diverged: at once")
    spec = by_stem(replace(analysis, trainings=[*analysis.trainings, slow, unknown]))["losses-3B"]
    panels = [panel for row in spec["vconcat"] for panel in row["hconcat"]]
    names = [panel["title"]["text"] for panel in panels]
    placebo = "format-only · placebo"
    assert names == ["Synthetic Task 2", "none", *(f"Synthetic Task {n}" for n in (0, 1)),
                     placebo, "new"]  # fmt: skip
    held, lines, crosses = spec["datasets"], {}, {}
    for panel in panels:
        for drawn in panel["layer"]:
            found = lines if drawn["mark"]["type"] == "line" else crosses
            for row in held[drawn["data"]["name"]]:
                key = panel["title"]["text"], row["seed"], drawn["mark"]["color"]
                found.setdefault(key, []).append((row["step"], row["loss"]))
    seeds = analysis.models["3B"].seeds
    runs = {(name, seed, SOFT) for name in (*names[2:5], names[0]) for seed in seeds}
    failed = names[0], "9", NEGATIVE
    assert lines.keys() == runs | {failed, ("new", seeds[0], SOFT)}
    first = analysis.trainings[0]
    assert lines[names[2], seeds[0], SOFT] == [
        (step, pytest.approx(max(loss, 0.01), rel=5e-4))
        for step, loss in zip(first.step, first.loss, strict=True)
    ]
    assert lines[failed] == [(2 * n + 1, 2**n) for n in range(8)]
    assert crosses == {failed: [(15, 128)], ("none", seeds[0], NEGATIVE): [(1, 128)]}
    assert spec["title"]["subtitle"][1:] == [
        "Failed and not kept (×): Synthetic Task 2 (seed 9, diverged) and "
        "none (seed initial, diverged)",
        "No lower at the end than at the start: new (seed initial)",
    ]


def test_the_smallest_detectable_change_is_in_points_and_has_pgf_beside_it(analysis: Analysis):
    spec = by_stem(analysis)["power-3B"]
    bands = {row["target"]: row for row in rows(spec) if "items" in row}
    for record in (each for each in analysis.power if each.model == "3B"):
        band = bands[record.target.replace("_", " ")]
        assert (band["low"], band["high"]) == (-100 * record.smallest, 100 * record.smallest)
        assert band["beside"] == f"{record.smallest_pgf:.2f} PGF"
    cell = analysis.models["3B"].pgf["Jigsaw"]["Counting"]
    names = ("Jigsaw", "Counting")
    (dot,) = (r for r in rows(spec) if (r.get("source"), r.get("target")) == names)
    assert dot["value"] == 100 * cell.change
