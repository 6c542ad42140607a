"""The page in a real browser, where there is one: driven as a reader drives it.

What is shown is compared with the analysis it was made from.
"""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from analysis_factory import HOSTILE, Shape, make
from axe import violations
from page_reader import DESKTOP, PHONE, Reader, written

from transferscope.analysis import Analysis, ModelAnalysis
from transferscope.analysis.headline import TaskPair
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.labels import labels
from transferscope.plots.numbers import points
from transferscope.plots.theme import DIVERGING

NAMES = (*HOSTILE[:5], "<img src=x onerror=\"document.title='owned'\">", *HOSTILE[5:])
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
WIDE = "document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return make(Shape(conduct=True))


@pytest.fixture
def large(browser: Any, tmp_path: Path) -> Reader:
    file = written(tmp_path, make(Shape(models=("3B",), count=60, conduct=True)))
    return Reader(browser, file)


def size(model: ModelAnalysis, source: str, target: str) -> float:
    return TaskPair(source, target, model.pgf[source][target]).size


def names(analysis: Analysis) -> list[str]:
    return list(labels(analysis).long.values())


def test_every_figure_is_drawn_and_hostile_names_stay_text(browser: Any, tmp_path: Path):
    analysis = make(Shape(models=("3B", HOSTILE[0]), names=NAMES, conduct=True))
    reader = Reader(browser, written(tmp_path, analysis), figures=True).open()
    reader.view.wait_for_selector("html[data-drawn=light]", state="attached", timeout=60_000)
    boxes = reader.each(".chart", "e.querySelector('svg.marks') !== null")
    assert boxes
    assert all(boxes)
    for name in names(analysis):
        reader.open(task=name)
        assert reader.text("#detail h2") == name.replace("\u2028", "\n")
        assert reader.each("#detail .bars a", "1")
    assert reader.view.title() == "Task transfer in 3B and <script>alert(1)</script>"
    assert reader.each("img", "e.src") == []
    assert reader.wrong == []
    reader.context.close()


def test_the_heatmap_shows_the_analysis_and_hollow_may_be_noise(reader: Reader, analysis: Analysis):
    reader.open(shown="effect").drawn()
    model, order = list(analysis.models.values())[-1], [task.name for task in analysis.tasks]
    cells = reader.cells()
    for i, source in enumerate(order):
        for j, target in enumerate(order):
            cell, seen = model.pgf[source][target], cells[i, j]
            assert seen["value"] == pytest.approx(cell.mean, abs=1e-5)
            assert (seen["kind"] == "noise") == (not beyond_noise(cell, analysis.settings.alpha))
            assert seen["label"].replace("−", "-") == f"{cell.mean:.2f}".replace("-0.00", "0.00")


def test_numbers_and_models_are_switched_and_stand_in_the_address(
    reader: Reader, analysis: Analysis
):
    reader.open().drawn()
    reader.view.click("button[value=effect]")
    reader.view.click("button[value='3B']")
    reader.drawn()
    assert "shown=effect" in reader.view.url
    assert reader.each("button[aria-pressed=true]", "e.value") == ["3B", "effect"]
    first = analysis.models["3B"].pgf[analysis.tasks[0].name][analysis.tasks[1].name]
    assert reader.cells()[0, 1]["value"] == pytest.approx(first.mean, abs=1e-5)
    reader.view.go_back()
    assert reader.each("#models [aria-pressed=true]", "e.value") == [list(analysis.models)[-1]]


def test_a_cell_chosen_shows_its_numbers_seeds_and_items(reader: Reader, analysis: Analysis):
    reader.open(shown="effect").drawn()
    reader.click_cell(2, 3)
    source, target = analysis.tasks[2].name, analysis.tasks[3].name
    long, model = labels(analysis).long, list(analysis.models.values())[-1]
    text = reader.text("#detail")
    assert text.startswith(f"×\n{long[source]} → {long[target]}")
    for other in analysis.models.values():
        assert (points(other.pgf[source][target].change)) in text
    flips = model.flips[source][target]
    assert f"{round(flips.fixed, 1):g} fixed" in text
    assert f"{round(flips.broken, 1):g} broken" in text
    assert reader.view.is_visible("#detail .close")
    reader.view.click("#detail .close")
    assert not reader.view.is_visible("#detail")


def test_a_task_chosen_in_the_panel_has_what_it_gives_and_takes(reader: Reader, analysis: Analysis):
    long = names(analysis)
    reader.open(source=long[2], target=long[3]).drawn()
    reader.view.click(f"#detail h2 a >> text='{long[3]}'")
    assert reader.text("#detail h2") == long[3]
    gives, takes = (each.split("|") for each in reader.each("#detail .bars", BARS))
    model, order = list(analysis.models.values())[-1], [task.name for task in analysis.tasks]
    row = sorted(order, key=lambda t: -size(model, order[3], t))
    assert gives == [labels(analysis).long[t] for t in row if t != order[3]]
    column = sorted(order, key=lambda s: -size(model, s, order[3]))
    assert takes == [labels(analysis).long[s] for s in column if s != order[3]]


BARS = "[...e.querySelectorAll('a')].map(a => a.textContent).join('|')"


def test_escape_and_back_let_go_and_the_rest_of_the_view_stays(reader: Reader, analysis: Analysis):
    long = names(analysis)
    reader.open(tab="safety", source=long[0], target=long[1])
    assert reader.view.is_visible("#detail")
    reader.view.keyboard.press("Escape")
    assert not reader.view.is_visible("#detail")
    assert reader.view.is_visible("#safety")
    reader.view.go_back()
    assert reader.text("#detail h2") == f"{long[0]} → {long[1]}"


def test_arrow_keys_move_between_tabs_and_cells(reader: Reader, analysis: Analysis):
    reader.open().drawn()
    reader.view.focus("#tab-matrix")
    reader.view.keyboard.press("ArrowRight")
    assert reader.view.is_visible("#accuracy")
    reader.view.keyboard.press("ArrowLeft")
    reader.view.focus(".heat .scroll:not([hidden])")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        reader.view.keyboard.press(key)
    long = names(analysis)
    assert reader.text("#detail h2") == f"{long[1]} → {long[1]}"
    assert f"{long[1]} → {long[1]}: " in (reader.view.text_content("#readout") or "")


def test_the_table_of_accuracies_sorts_filters_and_saves(reader: Reader, analysis: Analysis):
    reader.open(tab="accuracy")
    model = list(analysis.models.values())[-1]
    reader.view.click("#all")
    shown = reader.each("#accuracies tbody tr", "e.lastChild.textContent")
    assert len(shown) == sum(map(len, model.pgf.values()))
    reader.view.click("#accuracies thead th:last-child button")
    values = [float(v.replace("−", "-")) for v in reader.each("#accuracies tbody tr", LAST)]
    assert values == sorted(values, reverse=True)
    long = names(analysis)
    reader.open(tab="accuracy", task=long[4])
    pairs = reader.each("#accuracies tbody tr", "[e.cells[0].textContent, e.cells[1].textContent]")
    assert len(pairs) == 2 * len(long) - 1
    assert all(long[4] in pair for pair in pairs)
    reader.open(tab="accuracy")
    with reader.view.expect_download() as saved:
        reader.view.click("#csv")
    rows = list(csv.DictReader(Path(saved.value.path()).read_text("utf-8").splitlines()))
    assert len(rows) == len(long) ** 2
    order = {label: name for name, label in labels(analysis).long.items()}
    for row in rows:
        cell = model.pgf[order[row["source"]]][order[row["target"]]]
        assert float(row["effect"]) == pytest.approx(cell.mean, abs=1e-5)


LAST = "e.lastChild.textContent"


def test_the_slider_of_the_graph_is_the_share_of_its_arrows(reader: Reader, analysis: Analysis):
    reader.open(tab="graph").drawn()
    model = list(analysis.models.values())[-1]
    assert graph_edges(reader) == len(model.graph.edges)
    slider = "[...document.querySelectorAll('#graph input[type=range]')].find(e => e.offsetParent)"
    reader.view.evaluate(f"{slider}.value = 100; {slider}.dispatchEvent(new Event('input'))")
    reader.view.wait_for_timeout(300)
    off = [c.mean for s, row in model.pgf.items() for t, c in row.items() if s != t]
    assert graph_edges(reader) == sum(math.isfinite(v) and v != 0 for v in off)


def graph_edges(reader: Reader) -> int:
    read = "[...e.querySelectorAll('path')].map(p => p.__data__ && p.__data__.datum)"
    keys = f"{read}.filter(d => d && d.rank).map(d => d.source + ' ' + d.target)"
    (found,) = reader.each("#graph .chart", f"e.offsetParent ? {keys} : null")[-1:]
    return len(set(found))


def test_the_first_screen_needs_no_scrolling(reader: Reader):
    reader.open().drawn()
    assert DESKTOP == {"width": 1300, "height": 900}
    for part in (".tiles", ".bars", ".caveats", ".map svg"):
        bottoms = reader.each(part, "e.getBoundingClientRect().bottom")
        assert 0 < max(bottoms) <= DESKTOP["height"]
    assert len(reader.text("body").split()) < 1_500


def test_a_phone_in_the_dark_scrolls_down_only(browser: Any, shared: Reader):
    reader = Reader(browser, shared.file, viewport=PHONE, color_scheme="dark").open().drawn()
    assert reader.view.evaluate(BACKGROUND) == "rgb(21, 24, 29)"
    right = reader.each(".map svg", "e.getBoundingClientRect().right")
    assert max(right) <= PHONE["width"]
    for tab in reader.each("[role=tab]", "e.value"):
        reader.open(tab=tab)
        assert reader.view.evaluate(WIDE) == PHONE["width"]
    assert reader.wrong == []
    reader.context.close()


def test_sixty_tasks_are_usable(large: Reader):
    assert large.file.stat().st_size < 5e6
    reader = large.open().drawn()
    assert len(reader.cells()) >= 60 * 60
    reader.click_cell(30, 31)
    assert reader.view.is_visible("#detail")
    assert reader.view.evaluate(WIDE) == DESKTOP["width"]
    assert reader.wrong == []
    reader.context.close()


def test_everything_is_printed_in_light_colors(browser: Any, shared: Reader):
    reader = Reader(browser, shared.file, color_scheme="dark").open()
    reader.view.set_viewport_size({"width": 680, "height": 960})  # A4 without margins of 15 mm
    reader.view.emulate_media(media="print")
    reader.view.evaluate("dispatchEvent(new Event('beforeprint'))")
    reader.drawn()
    assert reader.view.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    assert all(reader.each(".panel", "e.offsetParent !== null"))
    assert all(reader.each("details", "e.open"))
    assert all(reader.each(".chart", "e.querySelector('svg.marks') !== null"))
    assert not reader.view.is_visible("#csv")
    assert max(reader.each("table", "e.getBoundingClientRect().right")) <= 680
    reader.view.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not all(reader.each("details", "e.open"))
    assert reader.wrong == []
    reader.context.close()


def test_a_study_of_sources_that_are_no_targets(browser: Any, tmp_path: Path):
    shape = Shape(models=("3B",), seeds=1, sources=(0, 5), targets=(5, 13), categories=False)
    reader = Reader(browser, written(tmp_path, make(shape))).open().drawn()
    assert len(reader.cells()) == 40
    reader.click_cell(1, 1)
    assert "no interval" in reader.text("#detail")
    assert "structure" not in reader.each("[role=tab]", "e.value")
    assert reader.wrong == []
    reader.context.close()


def test_colors_are_told_apart_without_seeing_color():
    """Each shade of one side differs in lightness."""
    weights = ((1, 0.2126), (3, 0.7152), (5, 0.0722))
    light = [sum(int(shade[k : k + 2], 16) * w for k, w in weights) for shade in DIVERGING]
    assert light[:4] == sorted(light[:4])
    assert light[3:] == sorted(light[3:], reverse=True)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A page with every part and few cells, as axe reads each element; and its tasks."""
    tasks = ("Art_Style", "Counting", "Jigsaw", "Relative_Depth", "Visual_Similarity")
    analysis = make(Shape(names=tasks, conduct=True))
    return written(tmp_path_factory.mktemp("few"), analysis), names(analysis)


@pytest.mark.parametrize(("scheme", "rules"), [("light", ()), ("dark", ("color-contrast",))])
def test_axe_finds_nothing_in_any_tab_or_panel(
    browser: Any, few: tuple[Path, list[str]], scheme: str, rules: tuple[str, ...]
):
    file, (first, second, *_) = few
    reader = Reader(browser, file, color_scheme=scheme).open().drawn()
    assert reader.each("#safety details, #structure .figures, #findings td", "1")
    views = [{"tab": tab} for tab in reader.each("[role=tab]", "e.value")]
    for view in [*views, {"task": first}, {"source": first, "target": second}]:
        reader.open(**view).drawn()
        assert violations(reader.view, *rules) == [], view
    reader.context.close()
