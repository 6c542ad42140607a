"""Checkpoints of a finetune: told by name, ordered by step, never their own task's transfer."""

import io
import json
import math

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from scipy.stats import t

from transferscope.analysis import Analysis
from transferscope.analysis.analyze import analyze
from transferscope.analysis.json_file import from_json, to_json
from transferscope.analysis.settings import Settings
from transferscope.matrix import from_accuracy, from_predictions, task_effects
from transferscope.predictions import REQUIRED
from transferscope.report import figures, page
from transferscope.report.terminal import summary
from transferscope.selection import mixtures
from transferscope.tasks.checkpoints import Checkpoint, checkpoint

TARGETS = ("Counting", "Jigsaw", "Relative_Depth")
RIGHT = {
    None: (50, 50, 50),
    "Jigsaw @ 1000": (20, 90, 50),
    "Jigsaw @ 500": (48, 70, 50),
    "Jigsaw @ 2000": (20, 95, 55),
}
"""Right answers of 100 to each target; the sources stand out of order."""


def rows(right=RIGHT, items=100):
    return pl.DataFrame(
        [
            ("m", "0", source, target, f"{target}/{n}", n < count)
            for source, counts in right.items()
            for target, count in zip(TARGETS, counts, strict=True)
            for n in range(items)
        ],
        schema={**dict.fromkeys(REQUIRED, pl.String), "correct": pl.Boolean},
        orient="row",
    )


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(from_predictions(rows()), Settings())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Jigsaw @ 500", ("Jigsaw", 500)),
        ("my mix @ 0", ("my mix", 0)),
        ("a @ 1 @ 2", ("a @ 1", 2)),
        ("Jigsaw", ("Jigsaw", None)),
        ("Jigsaw @ last", ("Jigsaw @ last", None)),
        ("Jigsaw@500", ("Jigsaw@500", None)),
        (" @ 5", (" @ 5", None)),
        ("Jigsaw @ ٥", ("Jigsaw @ ٥", None)),
    ],
)
def test_a_sources_name_says_whether_it_is_a_checkpoint(source, expected):
    assert checkpoint(source) == expected
    assert Checkpoint(*expected).name == source


def test_courses_are_the_cells_in_the_order_of_their_steps(analysis):
    (found,) = analysis.trajectories
    assert (found.model, found.finetune, found.steps) == ("m", "Jigsaw", [500, 1000, 2000])
    assert found.sources == ["Jigsaw @ 500", "Jigsaw @ 1000", "Jigsaw @ 2000"]
    expected = {  # (tuned - base) / (1 - base), by hand from RIGHT
        "Counting": [-0.04, -0.6, -0.6],
        "Jigsaw": [0.4, 0.8, 0.9],
        "Relative_Depth": [0.0, 0.0, 0.1],
    }
    for target, effects in expected.items():
        assert found.targets[target].effects == pytest.approx(effects)
    assert found.targets["Counting"].change == pytest.approx(-0.56)
    assert found.targets["Jigsaw"].change == pytest.approx(0.5)


def test_a_harm_is_dated_to_the_first_step_whose_interval_leaves_0_out(analysis):
    course = analysis.trajectories[0].targets["Counting"]
    assert course.beyond == [0, -1, -1]
    assert (course.helped_from, course.harmed_from) == (None, 1000)
    assert course.change_ci[1] < 0
    assert course.change_beyond == -1


def test_a_few_items_that_flip_the_same_way_are_not_beyond_noise(analysis):
    course = analysis.trajectories[0].targets["Counting"]  # 48 right of the base's 50, none new
    assert course.ci[0][0] < 0 < course.ci[0][1]  # though every changed item says worse
    assert course.beyond[0] == 0
    still = analysis.trajectories[0].targets["Relative_Depth"]  # five new ones
    marks = np.repeat([1.0, 0.0], [5, 95])
    error = math.sqrt(marks.var(ddof=1) / 100 + (0.95**2 + 1.05**2) / 2 / 100**2)
    assert 2 * t.sf(0.05 / error, 99) < 0.05
    assert (still.helped_from, still.harmed_from) == (2000, None)


def test_two_checkpoints_with_the_same_answers_do_not_differ_but_might():
    same = {None: (50, 50, 50), "x @ 1": (40, 60, 50), "x @ 2": (40, 60, 50)}
    (found,) = analyze(from_predictions(rows(same)), Settings()).trajectories
    for course in found.targets.values():
        assert (course.change, course.change_beyond) == (0, 0)
        # Of 100 items none changed; the two half items leave a little open, over a gap of a half.
        reach = t.isf(0.025, 99) * math.sqrt(1 / 100**2) / 0.5
        assert course.change_ci == pytest.approx((-reach, reach))
    assert found.targets["Counting"].ci[0][0] < -0.2  # though each of them is uncertain


def test_a_checkpoints_own_task_is_left_out_of_its_transferability(analysis):
    matrix = from_predictions(rows())
    effects = matrix["pgf"].sel(source="Jigsaw @ 1000").values.ravel()
    apart = effects[[0, 2]]  # Counting and Relative_Depth: one negative, one 0, N = 2
    found = task_effects.transferability(matrix["pgf"]).sel(source="Jigsaw @ 1000")
    assert float(found["positive"].item()) == 0
    assert float(found["negative"].item()) == pytest.approx(apart[0] * (1 - np.exp(-1 / 2)))
    assert np.isnan(analysis.models["m"].pgf["Jigsaw @ 1000"]["Jigsaw"].q_value)
    edges = {(edge.source, edge.target) for edge in analysis.models["m"].graph.edges}
    assert not any(target == "Jigsaw" for _, target in edges)


def test_a_checkpoint_has_the_place_of_its_task_in_the_papers_table(analysis):
    task = next(task for task in analysis.tasks if task.name == "Jigsaw @ 500")
    assert (task.abbreviation, task.level, task.granularity) == ("JG 500", "mid", "crop")
    assert not any("in no known suite" in note for note in analysis.notes)


def test_summary_page_and_figures_tell_of_the_checkpoints(analysis):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(summary(analysis))
    text = console.export_text()
    assert "m finetuned on Jigsaw, steps 500 to 2,000" in text
    assert "Falling from the first checkpoint to the last: Counting −0.56" in text
    assert "First harm beyond noise: Counting at step 1,000." in text
    assert 'id="steps"' in page(analysis)
    assert "1 source · 3 checkpoints · 3 targets" in page(analysis)
    assert "checkpoints-m-Jigsaw" in figures(analysis)


def test_an_earlier_checkpoint_may_be_the_one_to_train():
    early = {None: (50, 50, 50), "x @ 1": (90, 50, 50), "x @ 2": (20, 50, 50)}
    analysis = analyze(from_predictions(rows(early)), Settings())
    (found,) = [mix for target, mix in mixtures(analysis).items() if target == "Counting"]
    assert [choice.source for choice in found.choices] == ["x @ 1"]
    assert "For Counting, train on x @ 1" in found.verdict
    assert "x @ 1" in page(analysis).partition('id="train"')[2]


def test_without_intervals_nothing_is_called_unharmed():
    table = (
        rows()
        .group_by("model", "seed", "source", "target", maintain_order=True)
        .agg(accuracy=pl.col("correct").mean())
    )
    found = analyze(from_accuracy(table), Settings())
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(summary(found))
    text = console.export_text()
    assert "No effect has an interval, so rises and falls may be noise." in text
    assert "harm beyond noise" not in text


def test_one_checkpoint_has_words_but_no_line():
    one = {None: (50, 50, 50), "x @ 1": (10, 60, 50)}
    alone = analyze(from_predictions(rows(one)), Settings())
    assert np.isnan(alone.trajectories[0].targets["Counting"].change)
    assert "checkpoints-m-x" not in figures(alone)
    assert "m finetuned on x, step 1" in page(alone)


def test_trajectories_survive_json_and_older_files_have_none(analysis):
    data = to_json(analysis)
    assert from_json(data).trajectories == analysis.trajectories
    older = json.loads(data)
    del older["trajectories"]
    assert from_json(json.dumps(older).encode()).trajectories == []


def test_a_study_without_checkpoints_has_no_trajectories():
    plain = {None: (50, 50, 50), "Jigsaw": (40, 60, 50)}
    found = analyze(from_predictions(rows(plain)), Settings())
    assert found.trajectories == []
    assert 'id="steps"' not in page(found)
