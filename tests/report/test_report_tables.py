"""What adapters do besides transferring, as the page, the figures and the summary show it."""

import re
from dataclasses import replace
from io import StringIO

import pytest
from analysis_factory import HOSTILE, Shape, make, verdict
from rich.console import Console
from test_report_page import Reader

from transferscope.analysis import Analysis, Personas
from transferscope.plots.against_chance import personas
from transferscope.plots.answer_bars import CORRECT
from transferscope.plots.gallery import gallery
from transferscope.report import page
from transferscope.report.findings import harms
from transferscope.report.page_data import cell_data
from transferscope.report.section_tables import remaining_variance, section_tables
from transferscope.report.terminal import summary


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return make(Shape(conduct=True))


@pytest.fixture(scope="module")
def text(analysis: Analysis) -> str:
    return Reader(page(analysis)).text


def rows(analysis: Analysis, stem: str) -> list[dict]:
    (spec,) = (figure.spec for figure in gallery(analysis) if figure.stem == stem)
    return [row for data in spec["datasets"].values() for row in data]


def test_the_bars_of_the_answers_are_the_shares(analysis: Analysis):
    bars = [row for row in rows(analysis, "answers-3B") if "letter" in row]
    assert {bar["row"] for bar in bars} >= {CORRECT, "base", "format-only · placebo"}
    for row in ("base", CORRECT):
        own = [bar for bar in bars if bar["row"] == row and bar["cell"] == 0]
        lengths = {bar["letter"]: (bar["to"] - bar["from"]) / 0.9 for bar in own}
        expected = {"A": 0.4 * 0.95, "B": 0.3 * 0.95, "C": 0.3 * 0.95, "unreadable": 0.05}
        if row == CORRECT:
            expected = dict.fromkeys("ABC", 1 / 3)
        assert lengths == pytest.approx(expected, abs=1e-3)


def test_a_collapsed_cell_is_framed_among_the_answers(analysis: Analysis):
    framed = [row for row in rows(analysis, "answers-3B") if "letter" not in row and "to" in row]
    assert len(framed) == 1


def test_the_page_lists_collapsed_cells_and_controls(text: str):
    for words in (
        "Art Style → Visual Similarity",
        "always A in 1 of 4 seeds",
        "20% unreadable",
        "placebo, subtracted",
        "evaluation noise, not subtracted",
        "45% → 45%",
        "Collapsed answers",
        "1 of 169 cells",
        "Beyond the placebo",
    ):
        assert words in text


def test_hostile_names_are_text_in_every_table():
    hostile = make(Shape(models=(HOSTILE[0],), names=tuple(HOSTILE), conduct=True))
    odd = "</td><script>alert(3)</script>"
    flips = {
        source: {target: replace(cell, most_fixed={odd: 4}) for target, cell in row.items()}
        for source, row in hostile.models[HOSTILE[0]].flips.items()
    }
    model = hostile.models[HOSTILE[0]]
    controls = {odd: model.controls["format-only"]}
    behaviour = model.behaviour
    assert behaviour is not None
    model = replace(
        model,
        flips=flips,
        controls=model.controls | controls,
        behaviour=replace(behaviour, controls={odd: behaviour.base}),
    )
    html = page(replace(hostile, models={HOSTILE[0]: model}))
    body = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert "<script" not in body
    assert odd in Reader(html).text
    blocks = ["look", "vega", "page", "study", "images"]
    charts = len(gallery(hostile))
    assert [tag for tag, _ in Reader(html).tags].count("script") == charts + len(blocks)


def printed(analysis: Analysis) -> str:
    out = StringIO()
    Console(file=out, width=400).print(summary(analysis))
    return out.getvalue()


def test_the_summary_has_a_line_for_collapse_and_one_for_each_control(analysis: Analysis):
    text = printed(analysis)
    assert "1 of 169 cells" in text
    assert re.search(r"format-only +\+0\.\d+ ", text)
    assert "placebo, subtracted" in text
    assert "45% → 45%" in text
    assert re.search(r"reordered +[+−]0\.\d+ ", text)


def test_variance_is_reduced_beyond_the_placebo_only_where_its_interval_shows_it(
    analysis: Analysis,
):
    adjusted = analysis.models["3B"].adjusted
    assert adjusted is not None
    wide = replace(adjusted, variance=0.8, variance_ci=(0.4, 1.1))
    assert remaining_variance(wide).text == "no clear reduction"
    assert remaining_variance(replace(wide, variance_ci=(0.2, 0.9))).text == "80%"


def test_nothing_is_said_where_nothing_is_known():
    bare = make(Shape(models=("3B",)))
    assert not re.search("placebo|collapsed", printed(bare))
    text = Reader(page(bare)).text.replace("No placebo was run", "")  # said of what to train on
    for words in ("placebo", "Collapsed"):
        assert words not in text
    assert not [f.stem for f in gallery(bare) if "adjusted" in f.stem or "answers" in f.stem]


def test_the_summary_begins_with_what_happened_and_folds_what_it_cannot_tell(analysis: Analysis):
    text = printed(analysis)
    assert text.index("0 changes nothing") < text.index("of 156 effects help")
    assert text.index("→") < text.index("averages and extremes")
    silent = replace(analysis.claims[0], holds=None, evidence="needs a model named 9B")
    text = printed(replace(analysis, claims=[analysis.claims[0], *[silent] * 4]))
    assert "4 of 5 cannot be decided: needs a model named 9B." in text
    assert "The paper" not in printed(replace(analysis, claims=[silent]))


def collapsing(analysis: Analysis) -> Analysis:
    """The cell that collapses in one seed of four, collapsing in all: a harm."""
    model = analysis.models["3B"]
    record, row = model.behaviour, model.pgf["Art_Style"]
    assert record is not None
    seeds = dict.fromkeys(model.seeds, 0)
    fallen = replace(record.sources["Art_Style"]["Visual_Similarity"], collapsed=seeds)
    sources = record.sources | {
        "Art_Style": record.sources["Art_Style"] | {"Visual_Similarity": fallen}
    }
    harm = verdict("Art_Style", row, collapsed=("Visual_Similarity",))
    verdicts = model.verdicts | {"Art_Style": harm}
    model = replace(model, behaviour=replace(record, sources=sources), verdicts=verdicts)
    return replace(analysis, models=analysis.models | {"3B": model})


def test_collapsed_answers_are_listed_once(analysis: Analysis):
    assert "Art Style → Visual Similarity" in str(section_tables(analysis)["answers"])
    again = collapsing(replace(analysis, models={"3B": analysis.models["3B"]}))
    (row,) = [row for row in section_tables(again)["answers"].rows if "Art Style → V" in str(row)]
    assert row[1] == [("20% unreadable", "", "")]  # for which alone it is listed
    losses = harms(again)
    pairs = [[row[0][0].text, row[1][0].text] for row in losses.rows]
    place = pairs.index(["Art Style", "Visual Similarity"])
    assert losses.rows[place][-1][0].text.split(";")[0] == "always A"
    assert place < losses.sure


def test_only_personas_that_noise_does_not_turn_are_named(analysis: Analysis):
    named = Reader(page(analysis)).text
    task = analysis.personas.donor[0].task.replace("_", " ")
    assert re.search(rf"{task}\s+donor", named)
    roles = ("donor", "pirate", "sponge", "sieve")
    weak = {r: [replace(p, support=0.94) for p in getattr(analysis.personas, r)] for r in roles}
    count = sum(map(len, weak.values()))
    by_chance = dict.fromkeys(roles, count / 8)  # half as many in all
    changed = replace(analysis, personas=Personas(**weak), personas_by_chance=by_chance)
    line = (
        f"By the paper’s rule {count} personas would be named; without any transfer about "
        f"{count / 2:.1f} would be; none hold in 95% of random draws."
    )
    assert line.replace("none hold ", "none holds ") in " ".join(Reader(page(changed)).text.split())
    assert not any(cell_data(changed)["roles"])
    assert "personas" not in [figure.stem for figure in gallery(changed)]
    assert f"{count} personas would be named" in printed(changed)


def test_no_persona_is_named_where_chance_would_name_as_many(analysis: Analysis):
    count = sum(len(getattr(analysis.personas, r)) for r in ("donor", "pirate", "sponge", "sieve"))
    changed = replace(analysis, personas_by_chance={"donor": float(count)})
    assert not any(personas(changed).values())
    assert any(personas(replace(changed, personas_by_chance={"donor": count - 0.5})).values())


def test_one_model_has_no_personas():
    text = printed(make(Shape(models=("3B",))))
    assert "ersonas" not in text


def test_a_clique_that_both_null_models_explain_is_one_line(analysis: Analysis):
    nulls = [replace(null, observed=5, upper=5) for null in analysis.models["3B"].cliques.nulls]
    for each, shown in ((nulls, False), ([replace(nulls[0], upper=4), *nulls[1:]], True)):
        model = analysis.models["3B"]
        model = replace(model, cliques=replace(model.cliques, nulls=each))
        changed = replace(analysis, models={"3B": model})
        stems = [figure.stem for figure in gallery(changed)]
        assert ("clique-positive-3B" in stems) is shown
        assert ("5 tasks, within the chance range (up to 5)" in printed(changed)) is True
        assert "clique-negative-3B" not in stems


def test_fewer_than_three_tasks_that_are_source_and_target_have_no_cliques():
    small = make(Shape(models=("3B",), sources=(0, 2)))
    assert "clique" not in printed(small)
