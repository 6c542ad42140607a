"""The notebooks run from top to bottom and show what their text promises."""

import ast
import json
from pathlib import Path
from typing import Any

import altair
import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def executed(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, list[str]]:
    """A notebook's names after its last cell, and what each code cell shows.

    As Jupyter does it: the cells share their names, and a cell shows its last expression.
    """
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    shown: list[str] = []
    for cell in cells(ROOT / "notebooks" / f"{name}.ipynb"):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        value = None if last is None else eval(ast.unparse(last), names)
        if isinstance(value, altair.TopLevelMixin):
            value.to_dict()  # which Altair validates
        html = getattr(value, "_repr_html_", None)
        shown.append(repr(value) if html is None else html())
    return names, shown


def cells(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_short_and_stored_without_outputs(file):
    code = [cell for cell in cells(file) if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert sum(len(cell["source"]) for cell in code) < 80
    ids = [cell["id"] for cell in cells(file)]
    assert len(set(ids)) == len(ids)


def test_my_checkpoints(tmp_path, monkeypatch):
    names, shown = executed("my-checkpoints", tmp_path, monkeypatch)
    found = names["found"]
    assert found.decision.ship == "Counting @ 500"
    assert "▼" in shown[1]
    table = found.accuracy().filter(run="Counting @ 1000", target="Jigsaw").row(0, named=True)
    assert table["verdict"] == "worse"
    rows = pl.read_csv(tmp_path / "results.csv").filter(target="Jigsaw")
    right = dict(rows.group_by("source").agg(pl.col("correct").sum()).rows())
    assert table["points"] == pytest.approx((right["Counting @ 1000"] - right[None]) / 2)
    outcomes = {(run, text): outcome for run, text, outcome in ast.literal_eval(shown[3])}
    assert outcomes["Counting @ 1000", "protect all:10"] == "fail"
    assert outcomes["Counting @ 500", "gain Counting:5"] == "pass"
    assert shown[-1] == repr(found.decision.headline)
    assert (tmp_path / "comparison" / "report.html").is_file()


@pytest.mark.slow
def test_ten_minutes_with_the_demo(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    names, shown = executed("ten-minutes-with-the-demo", tmp_path, monkeypatch)
    assert "300 eval items of Jigsaw" in shown[0]
    assert shown[0].count("<img") == 9
    analysis = names["analysis"]
    assert analysis.accuracy().height == 9
    own = names["own"].row(0, named=True)
    assert own["effect"] > 10  # learned in training: the base is near chance
    assert own["verdict"] == "helped"
    assert "own task learned" in shown[2]
    assert "data:image/svg+xml" in shown[2]
    assert "Jigsaw" in names["choice"].verdict
    assert repr(names["again"]) == repr(analysis)
    assert "<svg" in (tmp_path / "figure.svg").read_text()


@pytest.mark.slow
def test_my_own_data_set(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    names, shown = executed("my-own-data-set", tmp_path, monkeypatch)
    assert "192 train items of Side" in shown[1]
    assert shown[1].count("<img") == 3
    found = names["analysis"].accuracy()
    assert found.height == 4
    own = found.filter(found["source"] == found["target"])
    assert own["points"].min() > 5  # each adapter learned its task
