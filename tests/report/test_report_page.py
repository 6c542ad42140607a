"""The page: one file, nothing from elsewhere, and no text that acts."""

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import altair as alt
import pytest
from analysis_factory import HOSTILE, Shape, make

from transferscope.analysis import Analysis, Personas
from transferscope.plots.composition import SCHEMA
from transferscope.plots.gallery import gallery
from transferscope.plots.labels import clean
from transferscope.report import page
from transferscope.report.html_page import TABS, page_figures
from transferscope.report.page_data import packed

VEGA = files("transferscope.report").joinpath("vega.js").read_text("utf-8")


class Reader(HTMLParser):
    """The elements of a page as a browser would see them."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.within = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.within = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    def handle_data(self, data: str) -> None:
        if self.within == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self.within != "style":
            self.text += data


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return make()


@pytest.fixture(scope="module")
def html(analysis: Analysis) -> str:
    return page(analysis)


@pytest.fixture(scope="module")
def hostile() -> Analysis:
    return make(Shape(models=tuple(HOSTILE[:3]), names=tuple(HOSTILE), log=True))


def test_the_same_analysis_gives_the_same_page(analysis: Analysis, html: str):
    assert page(analysis) == html
    assert page(make()) == html


def test_the_page_holds_every_figure_in_one_tab_with_a_caption(analysis: Analysis, html: str):
    found = Reader(html)
    boxes = [attrs["data-spec"] for _, attrs in found.tags if "data-spec" in attrs]
    blocks = {attrs["id"] for attrs, _ in found.scripts if "id" in attrs}
    figures = gallery(analysis)
    assert sorted(filter(None, boxes)) == sorted(f"figure-{n}" for n in range(len(figures)))
    assert {*boxes, "look", "study", "images"} == blocks
    for figure in figures:
        assert figure.kind.tab in TABS
        assert figure.spec["description"]
        assert figure.kind.tab == "matrix" or figure.kind.reading in found.text


def unpacked(columns: dict[str, list]) -> list[dict]:
    """Rows of `packed`, as the page's script makes them."""
    rows: dict[int, dict] = {}
    for name, (values, places, *divisor) in columns.items():
        for n, place in enumerate(range(len(values)) if places is None else places):
            if place >= 0:
                value, by = values[place], divisor[0] if divisor else 1
                whole = by == 1 or value is None
                rows.setdefault(n, {})[name] = value if whole else value / by
    return [rows[n] for n in sorted(rows)]


def test_packed_rows_are_the_rows():
    rows = [{"a": 0.5, "b": "x"}, {"a": math.nan, "b": "x", "c": True}, {"a": 2, "b": "y"}]
    assert unpacked(packed(rows, digits=4)) == [rows[0], rows[1] | {"a": None}, rows[2]]
    assert unpacked(packed([{"a": -1234.5678, "b": 0.0}], 4)) == [{"a": -1235, "b": 0}]


def test_the_charts_travel_unchanged(analysis: Analysis, html: str):
    blocks = {attrs.get("id"): text for attrs, text in Reader(html).scripts}
    for number, figure in enumerate(gallery(analysis)):
        left_out = {"config", "title"} if figure.kind.tab == "matrix" else {"config"}
        sent = json.loads(blocks[f"figure-{number}"])
        for name, columns in sent.pop("datasets").items():
            for row, true in zip(unpacked(columns), figure.spec["datasets"][name], strict=True):
                assert row == {
                    key: pytest.approx(each, abs=1e-3) if isinstance(each, float) else each
                    for key, each in true.items()
                }
        left_out.add("datasets")
        assert sent == {key: part for key, part in figure.spec.items() if key not in left_out}


def test_the_cells_travel_as_the_analysis_has_them(analysis: Analysis, html: str):
    blocks = {attrs.get("id"): text for attrs, text in Reader(html).scripts}
    study = json.loads(blocks["study"])
    for model, sent in zip(analysis.models.values(), study["models"], strict=True):
        cells = {(row["source"], row["target"]): row for row in unpacked(sent["cells"])}
        names = [task.name for task in analysis.tasks]
        for (i, j), cell in cells.items():
            true = model.pgf[names[i]][names[j]]
            assert cell["effect"] == pytest.approx(true.mean, abs=1e-4)
            assert (cell["low"], cell["high"]) == pytest.approx(
                true.change_ci, abs=1e-4, nan_ok=True
            )
            assert cell["q"] == pytest.approx(true.q_value, abs=1e-4) or math.isnan(true.q_value)
        known = [c for row in model.pgf.values() for c in row.values() if math.isfinite(c.mean)]
        assert len(cells) == len(known)


def test_notes_claims_settings_and_checksums_are_on_the_page(analysis: Analysis, html: str):
    text = Reader(html).text
    for words in (
        *analysis.notes,
        *(claim.statement for claim in analysis.claims if claim.holds is not None),
        *(claim.evidence for claim in analysis.claims),
        "1 of 3 cannot be decided: needs a 7B model.",
        *(each.sha256 for each in analysis.inputs),
        "95% intervals cover seeds and items (4 seeds",
        "item correlation",
        "not sure (support 10%)",
        "3 of 24",
        "not measured",
    ):
        assert words in text


def test_the_page_asks_the_network_for_nothing(html: str):
    found = Reader(html)
    for tag, attrs in found.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "form"}
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")
        assert not [name for name in attrs if name.startswith("on")]
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    for attrs, text in found.scripts:
        if "id" in attrs:
            assert set(re.findall(r"https?://[^\"]*", text)) <= {SCHEMA}


def test_the_security_policy_allows_the_pages_own_scripts_and_no_others(html: str):
    found = Reader(html)
    policy = next(
        attrs["content"] or ""
        for _, attrs in found.tags
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    run = [text for attrs, text in found.scripts if attrs.get("type") != "application/json"]
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    assert sums == allowed
    assert len(run) == 2
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_hostile_names_show_as_text_everywhere(hostile: Analysis):
    html = page(hostile)
    html.encode()
    found = Reader(html)
    assert "<script>alert" not in html
    assert "img" not in {tag for tag, _ in found.tags}
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    assert len(found.scripts) == len(gallery(hostile)) + 5
    for name in HOSTILE:
        assert clean(name).replace("_", " ") in found.text


def test_hostile_text_in_notes_claims_and_file_names_shows_as_text(hostile: Analysis):
    bad = "</script><script>alert(1)</script>\u2028"
    changed = replace(
        hostile,
        notes=[bad],
        inputs=[replace(hostile.inputs[0], file=bad, model=bad)],
        claims=[replace(hostile.claims[0], statement=bad, evidence=bad, sensitive_to=[bad])],
    )
    html = page(changed)
    assert "<script>alert" not in html
    assert Reader(html).text.count("</script><script>alert(1)</script>") >= 5


def test_data_blocks_hold_no_character_that_html_knows(hostile: Analysis):
    for attrs, text in Reader(page(hostile)).scripts:
        if "id" in attrs:
            assert text.isascii()
            assert not set("<>&") & set(text)
            json.loads(text)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(models=("3B",), seeds=1),
        Shape(models=("3B",), intervals=False),
        Shape(models=("3B",), sources=(0, 5), targets=(5, 13), categories=False),
        Shape(models=("3B",), cliques=False, nulls=False, floor=False, empty_row=True),
        Shape(models=tuple("abcdefgh"), count=3),
    ],
    ids=["one seed", "preset paper", "rectangular", "almost nothing", "eight models"],
)
def test_the_page_is_written_for_every_shape_of_study(shape: Shape):
    text = Reader(page(make(shape))).text
    assert "nan" not in re.split(r"\W+", text)
    assert "None" not in text
    assert ("No intervals" in text) == (shape.seeds == 1 or not shape.intervals)


@pytest.mark.parametrize(
    ("holds", "held", "support", "verdict"),
    [
        (True, 24, 0.95, "holds"),
        (True, 24, math.nan, "holds"),  # it rests on a test
        (True, 24, 0.62, "not sure (support 62%)"),
        (True, 20, 0.99, "depends"),
        (False, 20, 0.04, "does not hold"),
        (False, 20, math.nan, "does not hold"),
        (False, 20, 0.4, "not sure (support 40%)"),
    ],
)
def test_a_claim_holds_only_where_no_defensible_choice_and_no_noise_turns_it(
    analysis: Analysis, holds: bool, held: int, support: float, verdict: str
):
    claim = replace(analysis.claims[0], holds=holds, held=held, tried=24, support=support)
    html = page(replace(analysis, claims=[claim]))
    assert re.findall(r'<td><b class="(?:yes|no|mixed)">([^<]*)<', html) == [verdict]


def test_claims_are_shown_where_some_can_be_decided(analysis: Analysis):
    silent = replace(analysis.claims[0], holds=None)
    assert 'id="findings"' not in page(replace(analysis, claims=[silent]))


def test_a_study_without_personas_says_so(analysis: Analysis):
    text = Reader(page(replace(analysis, personas=Personas([], [], [], []), claims=[]))).text
    assert "No task has the same persona in every model" in text
    assert "Published findings" not in text


def test_the_losses_of_every_adapter_are_on_the_page():
    analysis = make(Shape(models=("3B",), count=3, seeds=2, log=True))
    found = Reader(page(analysis))
    (spec,) = (json.loads(t) for a, t in found.scripts if "id" in a and "training loss" in t)
    lines = [each for row in spec["vconcat"] for panel in row["hconcat"] for each in panel["layer"]
             if each["mark"]["type"] == "line"]  # fmt: skip
    rows = [unpacked(spec["datasets"][line["data"]["name"]]) for line in lines]
    assert sum(len({row["seed"] for row in each}) for each in rows) == 3 * 2 + 1
    assert sum(map(len, rows)) == 6 * 51 + 8
    assert "training loss" not in page(replace(analysis, trainings=[]))


@pytest.mark.slow
def test_three_models_of_sixty_tasks_stay_under_five_megabytes():
    analysis = make(Shape(models=("3B", "7B", "32B"), count=60, conduct=True))
    assert len(page(analysis).encode()) < 5e6


def test_figures_take_no_more_than_their_room():
    everything, none_left = page_figures(analysis := make(), 10**9)
    sizes = [len(each["data"]) for group in everything.values() for each in group]
    kept, left = page_figures(analysis, sum(sizes) // 2)
    taken = [len(each["data"]) for group in kept.values() for each in group]
    assert none_left == []
    assert 0 < sum(taken) <= sum(sizes) // 2
    assert len(taken) + len(left) == len(sizes)


def test_the_page_needs_neither_altair_nor_vl_convert():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from analysis_factory import make;"
        "from transferscope.report import page; page(make());"
        "print(sorted({'altair', 'vl_convert'} & set(sys.modules)))"
    )
    here = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code, here], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_bundled_vega_lite_is_the_one_that_the_charts_declare():
    said = re.match(r"/\* Vega [\d.]+, Vega-Lite (\d+)\.(\d+\.\d+),", VEGA)
    assert said is not None
    major = said[1]
    # The version that the bundle itself reports, so that the comment can't be wrong.
    assert f'"{major}.{said[2]}"' in VEGA
    assert SCHEMA.endswith(f"/v{major}.json")
    assert alt.SCHEMA_VERSION.startswith(f"v{major}.")


def test_the_bundle_can_stand_inside_a_script_element():
    assert "</script" not in VEGA.lower()
    assert "<!--" not in VEGA
    assert "\r" not in VEGA


def test_the_licence_notices_of_the_bundle_are_kept():
    notices = files("transferscope.report").joinpath("VEGA-LICENSE.txt").read_text("utf-8")
    for words in ("University of Washington Interactive Data Lab", "Mike Bostock", "vega-embed"):
        assert words in notices
