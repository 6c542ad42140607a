"""docs/gallery.md shows every figure of the paper, and its numbers are the published tables'."""

import csv
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def text() -> str:
    return (DOCS / "gallery.md").read_text(encoding="utf-8")


def test_each_figure_of_the_paper_has_its_place_and_each_picture_is_shown(text: str):
    assert re.findall(r"^## Figure (\d+)$", text, re.MULTILINE) == [str(n) for n in range(1, 11)]
    shown = re.findall(r"\]\(gallery/([^)]+)\)", text)
    pictures = {path.name: path for path in (DOCS / "gallery").iterdir()}
    assert sorted(shown) == sorted(pictures)
    numbers = {int(name.split("-")[0]) for name in shown}
    assert numbers >= {1, 2, 3, 5, 6, 7, 9, 10}  # 4 is the lower half of 3
    assert sum(path.stat().st_size for path in pictures.values()) < 1_500_000
    for path in pictures.values():
        width = re.search(r'width="([\d.]+)pt"', path.read_text(encoding="utf-8"))
        assert width is not None
        assert round(float(width[1]) / 72 * 25.4, 1) in (85, 175)


def test_the_heatmaps_extremes_are_those_of_the_published_table(text: str, published: Path):
    seeds = defaultdict(list)
    with (published / "qwen2.5-vl-32b.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            seeds[row["ft_task"], row["task"]].append(float(row["perfection_gap_factor"]))
    means = {pair: np.mean(values) for pair, values in seeds.items()}
    for word, pick in (("Largest", max), ("Smallest", min)):
        source, target = pick(means, key=lambda pair: means[pair])
        value = f"{means[source, target]:.2f}".replace("-", "−")
        names = f"{source} on {target}".replace("_", " ")
        assert f"{word}: {names}, {value}." in text


def test_a_study_of_video_targets_has_the_papers_figure_7(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import make_gallery  # pyright: ignore[reportMissingImports]

    from transferscope.plots.gallery import counterparts, gallery

    study = make_gallery.video()
    assert counterparts(gallery(study))[7] == ["heatmap-3B", "heatmap-7B", "heatmaps"]
    spec = next(each.spec for each in gallery(study) if each.stem == "heatmaps")
    cells = [row for rows in spec["datasets"].values() for row in rows if "onto" in row]
    assert {row["target"] for row in cells} == {"OAO", "OC", "ORD", "RP", "ORDir"}
    assert len(cells) == 2 * 13 * 5
