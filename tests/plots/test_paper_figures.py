"""The figures' files: fit for a two-column paper, whatever the study's shape."""

import re
import struct
from functools import cache
from xml.etree import ElementTree

import pytest
from analysis_factory import HOSTILE, Shape, make

from transferscope.plots.composition import render
from transferscope.plots.gallery import caption, captions, gallery
from transferscope.store import safe_name

MM = 72 / 25.4
WIDTHS = (85 * MM, 175 * MM)
SHAPES = {
    "one model": Shape(models=("3B",), conduct=True),
    "three models": Shape(models=("3B", "7B", "32B"), conduct=True),
    "six models": Shape(models=tuple("abcdef")),
    "other targets": Shape(models=("3B",), sources=(0, 8), targets=(8, 13)),
}


class Sheet:
    """A printed figure, in points."""

    def __init__(self, picture: str) -> None:
        root = ElementTree.fromstring(picture)
        box = [float(each) for each in root.attrib["viewBox"].split()]
        self.width, self.height = (
            float(root.attrib[side].removesuffix("pt")) for side in ("width", "height")
        )
        self.scales = (self.width / box[2], self.height / box[3])
        sizes = re.findall(r'font-size="([\d.]+)px"', picture)
        self.type = {float(size) * self.scales[0] for size in sizes}
        self.texts = [each.text or "" for each in root.iter() if each.tag.endswith("text")]


figures = cache(lambda shape: gallery(make(shape)))


@cache
def sheets(shape: Shape) -> dict[str, Sheet]:
    """All figures of one model; of three those that show them together, of more those in panels."""
    alone = re.compile(f"-({'|'.join(shape.models)})$")
    parts = ("categor", "personas", "scale", "decomposition") if len(shape.models) > 3 else ("",)
    return {
        figure.stem: Sheet(render(figure.spec, "svg").decode())
        for figure in figures(shape)
        if len(shape.models) == 1
        or (figure.stem.startswith(parts) and not alone.search(figure.stem))
    }


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_figure_is_as_wide_as_one_column_or_both_with_type_of_7_to_9_points(shape: Shape):
    for stem, sheet in sheets(shape).items():
        assert min(abs(sheet.width - each) for each in WIDTHS) < 0.01, stem
        assert sheet.scales[0] == pytest.approx(sheet.scales[1], rel=1e-3), stem
        assert min(sheet.type) >= 6.5, stem
        assert max(sheet.type) <= 9.01, stem


@pytest.mark.parametrize("count", [40, pytest.param(60, marks=pytest.mark.slow)])
def test_what_does_not_fit_in_both_columns_is_wider_and_its_names_stay_legible(count: int):
    analysis = make(Shape(models=("3B",), count=count, conduct=True, cliques=False))
    found = {f.stem: f.spec for f in gallery(analysis) if f.stem == "answers-3B"}
    for spec in found.values():
        sheet = Sheet(render(spec, "svg").decode())
        assert sheet.width > 175 * MM
        assert 11 * sheet.scales[0] == pytest.approx(6.5, abs=0.01)  # the names of all tasks
        assert sheet.scales[0] == pytest.approx(sheet.scales[1], rel=1e-3)


def test_what_is_narrow_takes_one_column_and_what_is_wide_takes_both():
    found = {stem: round(each.width / MM) for stem, each in sheets(SHAPES["one model"]).items()}
    for stem in ("categories-level", "transferability-3B"):
        assert found[stem] == 85, stem
    assert found["heatmap-3B"] == 175


def test_more_panels_than_fit_beside_each_other_stand_in_rows():
    heights = [
        sheets(SHAPES[name])["categories-level"].height for name in ("three models", "six models")
    ]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.1)


def test_what_the_caption_says_does_not_stand_in_the_figure_again():
    shape = SHAPES["one model"]
    for figure in figures(shape):
        texts = sheets(shape)[figure.stem].texts
        title = figure.spec["title"]
        assert not {title["text"], *title["subtitle"]} & set(texts), figure.stem


def test_pictures_have_300_dots_to_the_inch_and_pdf_the_same_size_with_its_fonts():
    shown = figures(SHAPES["one model"])
    (chart,) = (each.spec for each in shown if each.stem == "decomposition")
    image = render(chart, "png")
    assert int.from_bytes(image[16:20]) == pytest.approx(85 / 25.4 * 300, abs=1)
    at = image.index(b"pHYs") + 4
    assert struct.unpack(">IIB", image[at : at + 9]) == (11811, 11811, 1)
    document = render(chart, "pdf")
    box = re.search(rb"/MediaBox ?\[([\d. ]+)\]", document)
    assert box is not None
    assert float(box[1].split()[2]) == pytest.approx(85 * MM, abs=0.01)
    assert b"/ToUnicode" in document
    assert b"/FontFile2" in document
    assert render(chart, "svg").startswith(b"<svg")


def counterparts(shape: Shape) -> dict[int, list[str]]:
    """{number of the paper's figure: stems of ours}"""
    return {n: [each.stem for each in figures(shape) if n in each.kind.paper] for n in range(1, 11)}


def test_every_figure_of_the_paper_that_an_analysis_can_show_has_its_counterpart():
    image = counterparts(SHAPES["three models"])
    assert [number for number, stems in image.items() if not stems] == [7, 8]
    assert image[1] == [f"{kind}-{m}" for kind in ("heatmap", "graph") for m in ("3B", "7B", "32B")]
    assert image[2] == ["heatmaps"]
    video = counterparts(Shape(models=("3B", "7B"), sources=(0, 8), targets=(8, 13)))
    assert video[7] == ["heatmap-3B", "heatmap-7B", "heatmaps"]
    assert not video[2]


def test_a_caption_says_what_is_shown_how_sure_it_is_and_over_how_many_seeds():
    analysis = make(Shape(models=("3B", "7B")))
    drawn = {figure.stem: caption(figure) for figure in gallery(analysis)}
    cells = [c for row in analysis.models["3B"].pgf.values() for c in row.values()]
    sure = sum(not cell.ci[0] <= 0 <= cell.ci[1] for cell in cells)
    assert f"169 measured, {sure} drawn" in drawn["heatmap-3B"]
    largest = 100 * max(cell.change for cell in cells)
    assert f", +{largest:.0f} points. Smallest" in drawn["heatmap-3B"]
    for stem, text in drawn.items():
        without = ("power", "personas", "pgf", "clique", "graph")
        assert "(4 seeds" in text or stem.startswith(without), stem


def test_captions_name_the_files_and_show_names_as_they_are():
    shape = Shape(models=(HOSTILE[0], HOSTILE[5], "a b", "a_b"), names=tuple(HOSTILE), seeds=2)
    text = captions(figures(shape))
    taken: set[str] = set()
    for figure in figures(shape):
        taken.add(safe_name(f"{figure.stem}.svg", taken))
    headings = re.findall("^## (.+)$", text.replace("\\", ""), re.MULTILINE)
    assert {f"{each}.svg" for each in headings} == taken
    assert "<" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_names_stay_text_in_print():
    hostile = make(Shape(models=(HOSTILE[0],), names=tuple(HOSTILE)))
    picture = render(next(f.spec for f in gallery(hostile)), "svg").decode()
    assert any("<script>alert(1)" in text for text in Sheet(picture).texts)
    assert "<script" not in picture
    assert "<img" not in picture


def test_type_is_set_in_a_face_whose_widths_are_the_same_everywhere():
    picture = render(figures(SHAPES["one model"])[-1].spec, "svg").decode()
    families = set(re.findall('font-family="([^"]+)"', picture))
    assert families == {"Helvetica, Arial, 'Liberation Sans', sans-serif"}
