"""Skill or format: what moved in both forms of a task, from predictions made for the purpose."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from analysis_factory import make
from rich.console import Console

import transferscope as ts
from transferscope.matrix import from_predictions
from transferscope.report.html_page import write
from transferscope.report.section_tables import section_tables
from transferscope.report.terminal import summary

ITEMS = 200
FORMS = ("Counting", "Counting_open")
MOVES = {
    "Jigsaw": (40, 50, "both"),
    "Art_Style": (-30, -40, "both"),
    "Relative_Depth": (40, 0, "choice only"),
    "Visual_Similarity": (0, -50, "open only"),
    "Spatial_Relation": (0, 0, "neither"),
    "Counting": (40, -60, "opposite"),
}
"""{source: items of either form that become right, or wrong, and what moved}"""


@pytest.fixture(scope="module")
def study() -> ts.Analysis:
    rows = []
    for seed in range(2):
        for source in (None, *MOVES):
            for form, target in enumerate(FORMS):
                right = np.arange(ITEMS) < ITEMS // 2
                if source:
                    change: Any = MOVES[source][form]
                    middle = sorted((ITEMS // 2, ITEMS // 2 + change))
                    right[slice(*middle)] = change > 0
                rows += [
                    {"model": "m", "seed": str(seed), "source": source, "target": target}
                    | {"item": f"{target} {n}", "correct": bool(one)}
                    for n, one in enumerate(right)
                ]
    table = pl.DataFrame(rows, schema_overrides={"source": pl.String})
    return ts.analyze(from_predictions(table))


def test_what_moved_in_both_forms_and_what_in_one(study: ts.Analysis) -> None:
    found = study.twins()
    assert found.height == len(MOVES)
    for row in found.iter_rows(named=True):
        choice, opened, moved = MOVES[row["source"]]
        assert (row["choice"], row["open"], row["moved"]) == (*FORMS, moved)
        assert row["choice_points"] == pytest.approx(100 * choice / ITEMS)
        assert row["open_points"] == pytest.approx(100 * opened / ITEMS)
        assert row["open_low"] <= row["open_points"] <= row["open_high"]


def test_a_change_that_does_not_survive_correction_has_not_moved(study: ts.Analysis) -> None:
    model = study.models["m"]
    row = model.pgf["Jigsaw"]
    row = row | {"Counting": replace(row["Counting"], q_value=0.06)}
    weaker = replace(study, models={"m": replace(model, pgf=model.pgf | {"Jigsaw": row})})
    assert weaker.twins().filter(source="Jigsaw")["moved"].to_list() == ["open only"]
    assert row["Counting"].p_value < 0.05


def test_the_page_has_the_table_only_where_a_task_has_both_forms(study: ts.Analysis) -> None:
    rows = section_tables(study)["twins"].rows
    assert [row[-1][0].text for row in rows] == [
        *("both", "both", "opposite", "choice only", "open only", "neither")
    ]
    assert "Skill or format" in write(study)
    plain = make()
    assert "Skill or format" not in write(plain)
    assert plain.twins().is_empty()
    assert plain.twins().columns == study.twins().columns


def test_the_summary_names_what_moved_and_counts_the_rest(study: ts.Analysis) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(summary(study))
    text = console.export_text().partition("Skill or format")[2]
    assert [word for word in text.split() if word in ("both", "opposite")] == ["both"] * 2 + [
        "opposite"
    ]
    assert "neither: 1 pair\n" in text
