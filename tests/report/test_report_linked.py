"""A task or a pair chosen in one place of the page is chosen in all of them."""

import base64
import io
from dataclasses import replace
from typing import Any

import pytest
from analysis_factory import Shape, make
from page_reader import Reader, written

from transferscope.analysis import Analysis, Clique
from transferscope.matrix.examples import Exhibits, Flip, Flipped, ShownItem
from transferscope.plots.labels import labels


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return make(Shape(conduct=True))


def rows(reader: Reader, table: str) -> list[tuple[str, bool]]:
    """The text of each row, and whether it is set off."""
    cells = "Array.from(e.cells, cell => cell.innerText || cell.textContent)"
    read = f"[{cells}.join('\\t'), e.classList.contains('chosen')]"
    return [(text, chosen) for text, chosen in reader.each(f"{table} tbody tr", read)]


def test_rows_about_a_chosen_task_are_set_off_in_every_table(reader: Reader):
    name = "Jigsaw"
    reader.choose("task", name)
    for table in (".breaks", ".train", ".personas", ".behavior"):
        found = rows(reader, table)
        assert found, table
        for text, chosen in found:
            assert chosen == (name in text), text
    reader.view.click("#explorer-clear")
    assert reader.each("tr.chosen, a.chosen", "e.innerText") == []


def test_a_chosen_pair_sets_off_its_own_row_and_no_other_of_its_tasks(reader: Reader):
    reader.view.click("#breaks td a.task >> nth=0")
    (row,) = [text for text, chosen in rows(reader, ".breaks") if chosen]
    source, target = row.split("\t")[:2]
    assert reader.text("#explorer-detail h3") == f"{source} → {target.split(' (self')[0]}"
    for text, chosen in rows(reader, ".personas"):
        assert chosen == (source in text or target.split(" (self")[0] in text)


def test_names_in_figures_are_set_off_and_choose(reader: Reader):
    view = reader.view
    reader.choose("task", "Relative Depth")
    figure = "#tasks figure >> nth=0"
    view.locator(figure).scroll_into_view_if_needed()
    view.wait_for_selector(f"{figure} >> svg.marks")
    chosen = f"{figure} >> text.chosen"
    assert view.locator(chosen).all_text_contents() == ["Relative Depth"]
    view.locator(f"{figure} >> text=Art Style").first.click()
    assert view.locator("#explorer-task option:checked").inner_text() == "Art Style"
    assert view.locator(chosen).all_text_contents() == ["Art Style"]
    groups = "#categories figure >> nth=0"
    view.locator(groups).scroll_into_view_if_needed()
    view.wait_for_selector(f"{groups} >> svg.marks")
    (level,) = {
        t.split(" (")[0] for t in view.locator(f"{groups} >> text.chosen").all_text_contents()
    }
    assert level == "mid"  # of Art Style, in the paper's table of tasks


def test_cliques_stand_beside_their_null_models_those_of_the_choice_first(
    browser: Any, tmp_path: Any
):
    analysis = make(Shape(models=("3B",)))
    model, names = analysis.models["3B"], [task.name for task in analysis.tasks]
    sizes = [5, 4, 4, 3, 3, 3, 3, 3]
    made = [
        Clique(names[k : k + size], size, 0.2, (0.1, 0.3), 0.01, 0.01, k % 2 == 0)
        for k, size in enumerate(sizes)
    ]
    cliques = replace(model.cliques, positive=made)
    analysis = replace(analysis, models={"3B": replace(model, cliques=cliques)})
    reader = Reader(browser, written(tmp_path, analysis)).open()
    short = labels(analysis).short

    def drawn() -> list[str]:
        read = "Array.from(e.querySelectorAll('button'), b => b.textContent).join(' ')"
        return reader.each("#explorer-cliques > div:first-child .cliques li", read)

    def said(clique: Clique) -> str:
        return " ".join(short[task] for task in clique.tasks)

    assert drawn() == [said(clique) for clique in made[:6]]
    assert "and 2 more" in reader.text("#explorer-cliques")
    last = labels(analysis).long[names[9]]
    reader.choose("task", last)
    its = [said(clique) for clique in made if names[9] in clique.tasks]
    assert drawn()[: len(its)] == its != []
    null = next(n for n in cliques.nulls if n.sign == "positive")
    words = reader.text("#explorer-cliques .nulls li >> nth=0")
    assert f"has {null.upper} or fewer in 95% of draws" in words
    assert f"(p {null.p_value:.2f})" in words
    reader.view.click("#explorer-cliques .cliques button >> nth=0")
    assert reader.view.locator("#explorer-task option:checked").inner_text() != last
    reader.view.check("input[value=negative]")
    assert len(reader.each("#explorer-cliques > div", "1")) == 1
    assert reader.wrong == []
    reader.context.close()


def test_a_group_of_buttons_is_one_stop_and_arrows_move_in_it(reader: Reader):
    view = reader.view
    for box, selector in (("#explorer-graph", ".node"), ("#explorer-plane", ".spot")):
        stops = reader.each(f"{box} {selector}", "e.tabIndex")
        assert sorted(stops) == [-1] * (len(stops) - 1) + [0]
        view.focus(f"{box} {selector}[tabindex='0']")
        view.keyboard.press("ArrowRight")
        view.keyboard.press("ArrowRight")
        place = "Array.from(document.querySelectorAll('{}')).indexOf(document.activeElement)"
        assert view.evaluate(place.format(f"{box} {selector}")) == 2
        view.keyboard.press("Enter")
        chosen = view.get_attribute(f"{box} {selector}:focus", "data-task")
        assert view.input_value("#explorer-task") == chosen
        view.keyboard.press("Escape")


def test_every_control_can_be_reached_with_the_tab_key_in_few_steps(reader: Reader):
    view = reader.view
    view.focus("#explorer-model")
    reached = []
    for _ in range(40):
        view.keyboard.press("Tab")
        reached.append(
            view.evaluate("document.activeElement.id || document.activeElement.closest('[id]').id")
        )
    for stop in ("heatmap", "keep", "sure", "graph", "plane", "detail", "cliques"):
        assert f"explorer-{stop}" in reached


def test_groups_are_set_apart_where_the_order_is_theirs(reader: Reader, analysis: Analysis):
    assert reader.each("#explorer-heatmap .divide", "1") == []
    reader.choose("order", "by level")
    assert reader.each("#explorer-heatmap .group", "e.textContent") == ["low", "mid", "high"]
    assert len(reader.each("#explorer-heatmap .divide", "1")) == 4


def test_a_tasks_averages_are_those_of_the_analysis(reader: Reader, analysis: Analysis):
    reader.choose("task", "Counting")
    seen = reader.each("#explorer-detail tbody tr", "e.innerText.split('\\t')")
    for (label, *found), (name, model) in zip(seen, analysis.models.items(), strict=True):
        gives, takes = model.transferability["Counting"], model.malleability["Counting"]
        expected = [e.mean for effect in (gives, takes) for e in (effect.positive, effect.negative)]
        assert label == name
        assert [float(v.replace("−", "-")) for v in found] == pytest.approx(expected, abs=5e-4)


def test_a_chosen_task_has_its_strongest_arrows_both_ways_however_weak(
    reader: Reader, analysis: Analysis
):
    reader.view.fill("#explorer-keep", "1")
    few = reader.edges()
    for place, name in enumerate(task.name for task in analysis.tasks):
        reader.choose("task", labels(analysis).long[name])
        rows = analysis.models["32B"].pgf
        names = list(rows)
        gives = {(place, j): rows[name][t].mean for j, t in enumerate(names) if t != name}
        takes = {(i, place): rows[s][name].mean for i, s in enumerate(names) if s != name}
        own = {
            pair
            for side in (gives, takes)
            for sign in (1, -1)
            for pair in sorted(side, key=lambda p: -sign * side[p])[:4]
            if sign * side[pair] > 0
        }
        assert reader.edges() == few | own
    reader.view.check("input[value=positive]")
    values = analysis.models["32B"].pgf
    named = [task.name for task in analysis.tasks]
    assert all(values[named[i]][named[j]].mean > 0 for i, j in reader.edges())


def exhibits(model: str, sources: tuple[str, str], target: str) -> Exhibits:
    """Two items of one target: the first source fixes one and breaks one, the second fixes one."""
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (8, 8), "red").save(file, "WEBP")
    picture = base64.b64encode(file.getvalue()).decode()
    items = [
        ShownItem(target, name, f"<b>{name}</b>?", ["x", "y"], 1, None, 1, [picture])
        for name in ("one", "two")
    ]

    def flip(item: int, seeds: list[str], others: int) -> Flip:
        every = dict.fromkeys("0123", 0)
        return Flip(item, seeds, every, dict.fromkeys("0123", 1), others, [])

    both = Flipped(4, [0, 0, 1, 0], [0, 0, 0, 1], [flip(0, ["0", "1", "3"], 1)], [])
    both.most_broken.append(flip(1, ["0", "1", "2", "3"], 0))
    one = Flipped(4, [0, 0, 0, 1], [0, 0, 0, 0], [flip(0, ["0", "1", "2", "3"], 1)], [])
    return Exhibits(items, {model: {sources[0]: {target: both}, sources[1]: {target: one}}}, [])


def test_items_follow_the_chosen_pair_with_pictures_and_seeds(
    browser: Any, tmp_path: Any, analysis: Analysis
):
    names = [task.name for task in analysis.tasks]
    made = exhibits("32B", (names[0], names[1]), names[2])
    reader = Reader(browser, written(tmp_path, analysis, exhibits=made)).open()

    def peeks() -> list[str]:
        return [text.strip() for text in reader.each(".peeks li", "e.textContent")]

    reader.view.click("#cell-0-2")
    assert sorted(peeks()) == ["broken 4 of 4 seeds", "fixed 3 of 4 seeds"]
    assert len(reader.each(".card:not([hidden])", "1")) == 2
    reader.view.wait_for_function("document.querySelector('.card img').naturalWidth === 8")
    assert reader.text(".card p:nth-of-type(2) >> nth=0") == "<b>one</b>? one"
    reader.view.click("#cell-1-2")
    assert peeks() == ["fixed 4 of 4 seeds"]
    assert len(reader.each(".card:not([hidden])", "1")) == 1
    reader.view.click("#cell-3-2")
    assert peeks() == []
    address = reader.view.url
    reader.view.click("nav a[href='#items']")
    reader.view.wait_for_function(f"location.href === {address!r}")  # the view stays in it
    reader.choose("model", "3B")
    assert reader.each(".examples:not([hidden])", "1") == []
    assert reader.wrong == []
    reader.context.close()


def test_the_pair_of_the_first_sentences_is_chosen_by_a_click(reader: Reader):
    reader.view.click("#happened article:last-of-type a.task >> nth=0")
    words = reader.text("#happened article:last-of-type a.task >> nth=0")
    assert reader.text("#explorer-detail h3") == words
    assert reader.view.locator("#explorer-model option:checked").inner_text() == "32B"
