"""The page of a comparison in a real browser, where there is one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from axe import violations
from page_reader import DESKTOP, PHONE, Reader

import transferscope as ts
from transferscope.analysis.comparison import Comparison
from transferscope.report.comparison_forms import page

FLAT = Path(__file__).resolve().parents[3] / "shared" / "real" / "checkpoints-blink-flat"
OPEN_ALL = "document.querySelectorAll('details').forEach(e => e.open = true)"


def flat(_: Path) -> Comparison:
    if not FLAT.is_dir():
        pytest.skip("the real files are not there")
    return ts.compare(FLAT / "mapping.yaml")


def twenty(folder: Path) -> Comparison:
    """Seven checkpoints on 20 tasks with long and hostile names, some of them harmed: more rows
    than are shown unfolded, and more columns than fit beside the curves."""
    rng = np.random.default_rng(0)
    rows = []
    for task in range(20):
        base = rng.random(80) < 0.6
        name = f"A_rather_long_name_of_a_task_{task}<script>"
        for step in (None, *range(100, 800, 100)):
            lost = rng.random(80) < (step or 0) / 2000 * (task % 5 == 0)
            source = step and f"sft @ {step}"
            rows += [("m", source, name, str(n), int(x)) for n, x in enumerate(base & ~lost)]
    columns = ["model", "source", "target", "item", "correct"]
    pl.DataFrame(rows, columns, orient="row", infer_schema_length=None).write_csv(folder / "x.csv")
    return ts.compare(folder / "x.csv", protect=["all:5"])


@pytest.fixture(scope="module", params=[flat, twenty])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make: Callable[[Path], Comparison] = request.param
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(page(make(folder)), "utf-8")
    return folder / "report.html"


@pytest.mark.parametrize(
    ("size", "scheme"),
    [(DESKTOP, "light"), (PHONE, "dark"), ({"width": 650, "height": 450}, "light")],
    ids=["desktop", "phone", "zoomed"],
)
def test_the_page_fits_every_width_and_axe_finds_nothing(
    browser: Any, file: Path, size: Any, scheme: str
):
    reader = Reader(browser, file, viewport=size, color_scheme=scheme).open()
    for state in ("folded", "open"):
        wide = reader.view.evaluate("document.documentElement.scrollWidth")
        assert wide <= size["width"], state
        assert violations(reader.view) == []
        reader.view.evaluate(OPEN_ALL)
    assert reader.wrong == []
    reader.context.close()


def test_verdict_table_and_curve_are_on_the_first_screen(browser: Any, tmp_path: Path):
    (tmp_path / "report.html").write_text(page(flat(tmp_path)), "utf-8")
    reader = Reader(browser, tmp_path / "report.html").open()
    bottom = "e.getBoundingClientRect().bottom"
    for seen in ("h1", ".caveats", ".cells", "figure svg"):
        (low,) = reader.each(seen, bottom)
        assert low <= DESKTOP["height"], seen
    assert reader.view.evaluate("document.documentElement.scrollHeight") < 3 * DESKTOP["height"]
    reader.context.close()


def test_the_curve_takes_the_colors_of_the_dark_scheme(browser: Any, tmp_path: Path):
    (tmp_path / "report.html").write_text(page(flat(tmp_path)), "utf-8")
    seen = {}
    for scheme in ("light", "dark"):
        reader = Reader(browser, tmp_path / "report.html", color_scheme=scheme).open()
        read = "[getComputedStyle(e).fill, getComputedStyle(document.body).backgroundColor]"
        (seen[scheme],) = reader.each("figure svg > rect", read)
        reader.context.close()
    assert seen["light"][0] == seen["light"][1] != seen["dark"][0] == seen["dark"][1]
