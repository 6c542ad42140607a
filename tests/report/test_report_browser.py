"""The page in a real browser, where there is one: driven as a reader drives it.

What the explorer shows is compared with the analysis it was made from, or with the numbers
computed from it here.
"""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from analysis_factory import HOSTILE, Shape, make
from page_reader import PHONE, Reader, written

from transferscope.analysis import Analysis
from transferscope.analysis.graph import strongest_edges
from transferscope.analysis.verdict import beyond_noise
from transferscope.plots.labels import labels

NAMES = (*HOSTILE[:5], "<img src=x onerror=\"document.title='owned'\">", *HOSTILE[5:])
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return make(Shape(conduct=True))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Pages of one model, by their number of tasks."""
    folder = tmp_path_factory.mktemp("counts")
    found = {}
    for count in (13, 60):
        made = written(folder, make(Shape(models=("3B",), count=count, conduct=True)))
        found[count] = made.rename(folder / f"{count}.html")
    return found


def effects(analysis: Analysis, model: str, *, adjusted: bool = False) -> np.ndarray:
    """(seed, source, target), as the analysis holds them."""
    record = analysis.models[model]
    rows = record.adjusted.cells if adjusted and record.adjusted else record.pgf
    cells = [[list(cell.seeds.values()) for cell in row.values()] for row in rows.values()]
    return np.moveaxis(np.array(cells), -1, 0)


def shows(reader: Reader, expected: np.ndarray) -> bool:
    seen = {place: value for place, (value, _) in reader.cells().items()}
    found = np.array([[seen[i, j] for j in range(13)] for i in range(13)], float)
    return bool(np.allclose(found, expected, rtol=2e-3, atol=1e-5))


def test_every_figure_is_drawn_and_hostile_names_stay_text(browser: Any, tmp_path: Path):
    analysis = make(Shape(models=("3B", HOSTILE[0]), names=NAMES, conduct=True))
    reader = Reader(browser, written(tmp_path, analysis), figures=True).open()
    reader.view.wait_for_selector("html[data-drawn=light]", state="attached", timeout=60_000)
    boxes = reader.each(".chart", "e.querySelector('svg.marks') !== null")
    assert boxes
    assert all(boxes)
    names = labels(analysis).long
    for name in analysis.models[HOSTILE[0]].pgf:
        reader.choose("task", names[name])
        assert reader.text("#explorer-detail h3") == names[name].replace("\u2028", "\n")
    assert reader.view.title() == "Task transfer in 3B and <script>alert(1)</script>"
    assert reader.each("img", "e.src") == []
    assert reader.wrong == []
    reader.context.close()


def test_the_heatmap_shows_the_analysis_and_hollow_is_within_noise(
    reader: Reader, analysis: Analysis
):
    for model in ("32B", "3B"):
        reader.choose("model", model)
        seen = reader.cells()
        rows = analysis.models[model].pgf
        for i, row in enumerate(rows.values()):
            for j, cell in enumerate(row.values()):
                value, hollow = seen[i, j]
                assert value == pytest.approx(cell.mean, rel=2e-3, abs=1e-5)
                assert hollow == (not beyond_noise(cell, 0.05))
    assert {hollow for _, hollow in seen.values()} == {True, False}


def test_seed_measure_and_placebo_change_what_is_shown(reader: Reader, analysis: Analysis):
    record, values = analysis.models["32B"], effects(analysis, "32B")
    reader.choose("seed", "2")
    assert shows(reader, values[2])
    reader.choose("measure", "raw gain")
    base = np.array([list(seeds.values()) for seeds in record.base_seeds.values()]).T
    assert shows(reader, values[2] * (1 - base[2]))
    reader.choose("seed", "mean of 4")
    assert shows(reader, (values * (1 - base)[:, None]).mean(0))
    reader.choose("measure", "relative gain")
    assert shows(reader, (values * ((1 - base) / base)[:, None]).mean(0))
    reader.choose("measure", "PGF")
    reader.choose("against", "the placebo (format-only)")
    assert shows(reader, effects(analysis, "32B", adjusted=True).mean(0))
    assert "beyond the placebo" in reader.text("#explorer-caption")


def test_the_order_of_rows_follows_its_control(reader: Reader, analysis: Analysis):
    def rows() -> list[str]:
        return reader.each("#explorer-heatmap .rows text", "e.textContent")

    names = labels(analysis).long
    given = rows()
    assert given == list(names.values())
    reader.choose("order", "by name")
    assert rows() == sorted(given, key=str.lower)
    reader.choose("order", "by level")
    levels = {names[t.name]: ("low", "mid", "high").index(t.level or "") for t in analysis.tasks}
    assert rows() == sorted(given, key=levels.__getitem__)
    reader.choose("order", "by cluster")
    assert sorted(rows()) == sorted(given) != rows()


def test_slider_sign_and_noise_choose_the_edges(reader: Reader, analysis: Analysis):
    values = effects(analysis, "32B")
    mean, itself = values.mean(0), np.eye(13, dtype=bool)
    assert reader.edges() == set(strongest_edges(mean, itself, 0.2))
    reader.view.fill("#explorer-keep", "50")
    half = set(strongest_edges(mean, itself, 0.5))
    assert reader.edges() == half
    reader.view.check("input[value=negative]")
    assert reader.edges() == {(i, j) for i, j in half if mean[i, j] < 0}
    assert set(reader.each("#explorer-plane .spot", "e.dataset.sign")) == {"negative"}
    reader.view.check("#explorer-sure")
    sure = [
        [bool(beyond_noise(cell, 0.05)) for cell in row.values()]
        for row in analysis.models["32B"].pgf.values()
    ]
    expected = {(i, j) for i, j in half if mean[i, j] < 0 and sure[i][j]}
    assert reader.edges() == expected != set()
    assert reader.text("#explorer-edges").startswith(f"{len(expected)} arrow")


def test_the_plane_shows_transferability_against_malleability(reader: Reader, analysis: Analysis):
    record = analysis.models["32B"]

    def expected(read: Any) -> list[list[Any]]:
        return [
            [task, sign, read(getattr(record.transferability[task], sign)),
             read(getattr(record.malleability[task], sign))]
            for task in record.pgf
            for sign in ("positive", "negative")
        ]  # fmt: skip

    def drawn() -> list[list[Any]]:
        read = "[+e.dataset.task, e.dataset.sign, +e.dataset.give, +e.dataset.take]"
        names = [task.name for task in analysis.tasks]
        return [[names[t], *rest] for t, *rest in reader.each("#explorer-plane .spot", read)]

    for seed, read in (("mean of 4", lambda e: e.mean), ("1", lambda e: e.seeds["1"])):
        reader.choose("seed", seed)
        for found, wanted in zip(drawn(), expected(read), strict=True):
            assert found[:2] == wanted[:2]
            assert found[2:] == pytest.approx(wanted[2:], rel=2e-3, abs=1e-4)


def test_a_task_chosen_anywhere_is_chosen_everywhere(reader: Reader):
    view, name = reader.view, "Jigsaw"

    def chosen() -> set[str]:
        task = view.input_value("#explorer-task")
        label = view.locator("#explorer-task option:checked").inner_text()
        pressed = reader.each("svg [aria-pressed=true][data-task]", "e.dataset.task")
        assert set(pressed) == {task}
        assert len(pressed) in (2, 3)  # a node, and a point of the plane for each sign in view
        assert set(reader.each("#explorer-heatmap .chosen", "e.dataset.task")) == {task}
        return {label, reader.text("#explorer-detail h3")}

    reader.choose("task", name)
    assert chosen() == {name}
    touching = reader.each(".edge.touching", "[e.dataset.i, e.dataset.j]")
    place = view.input_value("#explorer-task")
    assert touching
    assert all(place in pair for pair in touching)  # it gives or takes
    view.click("#explorer-graph .node[aria-label='Art Style'] circle")
    assert chosen() == {"Art Style"}
    view.click("#explorer-heatmap .rows text >> text=Counting")
    assert chosen() == {"Counting"}
    view.focus("#explorer-plane .spot[aria-label^='Relative Depth'] >> nth=0")
    view.keyboard.press("Enter")
    assert chosen() == {"Relative Depth"}
    view.check("input[value=positive]")
    view.click("#breaks th a.task >> nth=0")
    assert chosen() == {reader.text("#breaks th a.task >> nth=0")}
    assert view.is_checked("input[value=positive]")  # all else stays
    view.keyboard.press("Escape")
    assert view.input_value("#explorer-task") == "-1"
    assert reader.each("[aria-pressed=true]", "1") == []


def test_a_cell_chosen_shows_its_numbers(reader: Reader, analysis: Analysis):
    reader.view.click("#cell-0-2")
    names = labels(analysis).long
    (source, target) = [list(names)[k] for k in (0, 2)]
    cell = analysis.models["32B"].pgf[source][target]
    said = reader.text("#explorer-detail")
    assert f"{names[source]} → {names[target]}" in said
    low, high = (f"{end:+.2f}".replace("-", "−") for end in cell.ci)
    assert f"{low} to {high}" in said
    for seed, value in cell.seeds.items():
        assert f"seed {seed}: {value:+.2f}".replace("-", "−") in said
    base = analysis.models["32B"].base_seeds[target]
    change = 100 * np.mean([effect * (1 - base[seed]) for seed, effect in cell.seeds.items()])
    points = re.search(r"change in accuracy\s+(([+−])([\d.]+)) points", said)
    assert points is not None
    assert float(points[3]) == pytest.approx(abs(change), abs=0.51)
    assert points[2] == ("+" if change > 0 else "−")
    assert f" or {points[1]} points (" in reader.text("#explorer-readout")
    assert f"expected on new items and seeds {100 * cell.expected:+.1f}".replace("-", "−") in (
        " ".join(said.split())
    )
    assert reader.each("#explorer-graph .edge.touching", "1") == [1]
    reader.view.click("#explorer-detail button[data-model]")
    assert reader.view.locator("#explorer-model option:checked").inner_text() == "3B"
    assert "3B finetuned on the first" in reader.text("#explorer-detail")


def test_the_keyboard_moves_chooses_and_lets_go(reader: Reader, analysis: Analysis):
    view, names = reader.view, list(labels(analysis).long.values())
    view.focus("#explorer-heatmap")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        view.keyboard.press(key)
    assert view.get_attribute("#explorer-heatmap", "aria-activedescendant") == "cell-1-1"
    said = view.get_attribute("#cell-1-1", "aria-label")
    assert reader.text("#explorer-readout") == said
    view.keyboard.press("End")
    view.keyboard.press("Enter")
    assert view.get_attribute("#explorer-heatmap", "aria-activedescendant") == "cell-1-12"
    assert urlencode({"source": names[1], "target": names[12]}) in view.url
    assert view.evaluate("document.activeElement.id") == "explorer-heatmap"
    view.keyboard.press("Escape")
    assert "#" not in view.url


def test_a_view_can_be_linked(reader: Reader):
    reader.choose("model", "3B")
    reader.choose("seed", "1")
    reader.choose("measure", "raw gain")
    reader.choose("order", "by cluster")
    reader.view.fill("#explorer-keep", "35")
    reader.view.check("input[value=positive]")
    reader.view.click("#cell-4-3")
    url = reader.view.url
    before = reader.cells(), reader.edges(), reader.text("#explorer-detail")
    reader.open()
    reader.view.goto("about:blank")
    reader.view.goto(url)
    assert (reader.cells(), reader.edges(), reader.text("#explorer-detail")) == before
    assert reader.view.url == url
    reader.open(model="nobody's", seed="9", order="sideways", keep="1e9", task="None of these")
    assert reader.view.locator("#explorer-model option:checked").inner_text() == "32B"


def test_back_undoes_a_choice_and_leaves_the_page_only_before_the_first(reader: Reader):
    view = reader.view

    def chosen() -> tuple[str, str]:
        return view.locator("#explorer-task option:checked").inner_text(), view.url.split("#")[-1]

    view.click("nav a[href='#breaks']")
    start = chosen()
    assert start == ("none", "breaks")
    reader.choose("task", "Jigsaw")
    view.fill("#explorer-keep", "35")  # no step of its own
    jigsaw = chosen()
    view.click("#explorer-heatmap .rows text >> text=Counting")
    view.click("#cell-4-3")
    cell = chosen()
    view.go_back()
    assert chosen() == ("Counting", "keep=35&task=Counting")
    view.go_back()
    assert chosen() == jigsaw == ("Jigsaw", "keep=35&task=Jigsaw")
    assert set(reader.each("#explorer-heatmap .chosen", "e.textContent")) == {"Jigsaw", "JG"}
    view.go_back()
    assert chosen() == start
    assert reader.each("[aria-pressed=true]", "1") == []
    for _ in range(3):
        view.go_forward()
    assert chosen() == cell
    view.click("#breaks th a.task >> nth=0")
    view.go_back()
    assert chosen() == cell
    for _ in range(4):
        view.go_back()
    assert view.url == reader.file.as_uri()
    view.go_back()
    assert view.url == "about:blank"


@pytest.mark.parametrize("count", [13, 60])
def test_a_phone_in_the_dark_scrolls_down_only(browser: Any, pages: dict[int, Path], count: int):
    file = pages[count]
    assert file.stat().st_size < 5e6
    reader = Reader(browser, file, figures=True, viewport=PHONE, color_scheme="dark").open()
    reader.view.click("#cell-3-1")
    wide = "document.documentElement.scrollWidth"
    assert reader.view.evaluate(wide) == PHONE["width"]
    assert reader.view.evaluate(BACKGROUND) == "rgb(21, 24, 29)"
    assert len(reader.cells()) == count**2
    boxes = reader.each("#explore .panel", "e.getBoundingClientRect().right")
    assert max(boxes) <= PHONE["width"]
    reader.view.wait_for_selector("html[data-drawn=dark]", state="attached", timeout=60_000)
    assert reader.view.evaluate(wide) == PHONE["width"]
    assert reader.wrong == []
    reader.context.close()


def test_sixty_tasks_are_usable(browser: Any, pages: dict[int, Path]):
    reader = Reader(browser, pages[60]).open()
    assert 100 < len(reader.edges()) < 200  # not the 20 % with which few tasks begin
    reader.choose("task", "Synthetic Task 41")
    assert len(reader.each("#explorer-detail .bars button", "1")) == 120
    assert len(reader.each("#explorer-graph .node", "1")) == 60
    (side,) = set(reader.each("#cell-0-0", "e.parentElement.parentElement.clientWidth"))
    assert side <= 1300
    reader.view.fill("#explorer-keep", "5")
    assert 0 < len(reader.edges()) < 250
    assert reader.wrong == []
    reader.context.close()


def test_a_wide_heatmap_keeps_its_names_and_what_is_chosen_in_sight(
    browser: Any, pages: dict[int, Path]
):
    reader = Reader(browser, pages[60], viewport=PHONE).open(task="Synthetic Task 50")
    reader.view.wait_for_function(
        "getComputedStyle(document.querySelector('#explorer-heatmap')).getPropertyValue('--scrolled')"
    )
    (box,) = reader.each("#explore .heat .scroll", "[e.scrollLeft, e.getBoundingClientRect().left]")
    assert box[0] > 0
    for selector in (".rows text.chosen", "text.chosen[data-column]"):
        (left,) = reader.each(f"#explorer-heatmap {selector}", "e.getBoundingClientRect().left")
        assert box[1] - 1 <= left <= PHONE["width"]
    reader.view.focus("#explorer-heatmap")
    reader.view.keyboard.press("End")
    (right,) = reader.each("#cell-0-59", "e.getBoundingClientRect().right")
    assert right <= PHONE["width"]
    reader.context.close()


def test_tables_fit_on_a_sheet_of_paper(browser: Any, shared: Reader):
    reader = Reader(browser, shared.file).open()
    reader.view.set_viewport_size({"width": 680, "height": 960})  # A4 without margins of 15 mm
    reader.view.emulate_media(media="print")
    assert max(reader.each("table", "e.getBoundingClientRect().right")) <= 680
    reader.context.close()


def test_print_shows_every_model_in_light_colours_without_controls(browser: Any, shared: Reader):
    reader = Reader(browser, shared.file, color_scheme="dark").open()
    reader.view.emulate_media(media="print")
    reader.view.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert reader.each("#explorer-copies figcaption", "e.textContent") == ["3B"]
    assert len(reader.each("#explorer-copies .cell", "1")) == 169
    assert len(reader.each("#explorer-heatmap .cell", "1")) == 169
    assert not reader.view.is_visible("#explorer-model")
    assert reader.view.is_visible("#explorer-caption")
    assert reader.view.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    assert all(reader.each("details.more", "e.open"))
    drawn = reader.each(".chart", "e.querySelector('svg.marks') !== null")
    assert drawn
    assert all(drawn)  # those far from the screen too
    reader.view.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not any(reader.each("details.more", "e.open"))
    assert reader.each("#explorer-copies figcaption", "1") == []
    assert reader.wrong == []
    reader.context.close()


def test_a_study_of_sources_that_are_no_targets_can_be_explored(browser: Any, tmp_path: Path):
    shape = Shape(models=("3B",), seeds=1, sources=(0, 5), targets=(5, 13), categories=False)
    reader = Reader(browser, written(tmp_path, make(shape))).open()
    assert len(reader.cells()) == 40
    assert not any(hollow for _, hollow in reader.cells().values())
    assert "No task is both" in (reader.view.text_content("#explorer-plane") or "")
    reader.view.click("#cell-1-1")
    assert "noise unknown" in reader.text("#explorer-detail")
    assert reader.wrong == []
    reader.context.close()


def test_colours_are_told_apart_without_seeing_colour():
    """Filled help and harm differ in their sign; each shade of one side differs in lightness."""
    from transferscope.report.explorer import colors

    shades = dict(re.findall(r"--d(\d+):(#[0-9a-f]{6})", colors().split("@media")[0]))
    light = [
        sum(
            int(shades[str(n)][k : k + 2], 16) * w
            for k, w in ((1, 0.2126), (3, 0.7152), (5, 0.0722))
        )
        for n in range(13)
    ]
    assert light[:7] == sorted(light[:7])
    assert light[6:] == sorted(light[6:], reverse=True)
    assert json.dumps(shades).count("#") == 13
