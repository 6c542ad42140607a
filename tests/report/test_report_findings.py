"""What the page says first, against the numbers counted here once more."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from analysis_factory import HOSTILE, Shape, make, verdict
from rich.console import Console

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.matrix.collapse import Answers, Behaviour
from transferscope.plots.labels import Labels, labels, spelled
from transferscope.plots.numbers import between
from transferscope.report import page
from transferscope.report.findings import harms, overviews, training
from transferscope.report.tables import PageTable
from transferscope.report.terminal import summary
from transferscope.selection import mixtures


def cell(change: float, low: float, high: float, q: float = 0.5, **fields: float) -> Cell:
    """An effect of `change` of accuracy on a target of which half is a gap: twice that PGF."""
    p = math.nan if math.isnan(low) else 0.01 if low > 0 or high < 0 else 0.4
    mean = {"initial": 2 * change, "1": 2 * change}
    both = {"change": change, "change_ci": (low, high), **fields}
    return Cell(2 * change, 0.1, (2 * low, 2 * high), p, q, mean, **both)


def study(*cells: Cell, **changes) -> Analysis:
    """Two tasks, A and B, in one model: A on A, A on B and, if B is a source, B on A, B on B."""
    analysis = make(Shape(models=("m",), names=("A", "B"), seeds=2, nulls=False))
    pairs = (cells[:2], cells[2:])
    rows = {s: dict(zip("AB", row, strict=True)) for s, row in zip("AB", pairs, strict=True) if row}
    verdicts = {"verdicts": {s: verdict(s, row) for s, row in rows.items()}}
    model = replace(analysis.models["m"], pgf=rows, **(verdicts | changes))
    return replace(analysis, models={"m": model})


UNKNOWN = cell(math.nan, math.nan, math.nan)
GAIN, LOSS = cell(0.2, 0.05, 0.3, 0.01, expected=0.1), cell(-0.15, -0.25, -0.05)
NONE = cell(-0.01, -0.105, 0.1)


def test_four_counts_and_the_strongest_effects_are_the_first_screen():
    (seen,) = overviews(study(GAIN, GAIN, LOSS, GAIN))
    assert seen.model == "m"
    assert [(tile.number, tile.of, tile.text) for tile in seen.tiles] == [
        (2, 2, "learned their own task"),
        (1, 2, "effects help beyond noise"),
        (1, 2, "effects harm beyond noise"),
        (0, 2, "are not settled"),
    ]
    assert [tile.small for tile in seen.tiles] == [
        "+20 points on average, 2 beyond noise",
        "1 holds after correction for 2 tests",
        "0 hold after correction for 2 tests",
        "without any transfer, up to about 1 would be beyond noise",
    ]
    assert seen.gains == [
        (
            *("A", "B", "model=m&source=A&target=B", "+20 points", "+5 to +30"),
            *("expect +10 points", True, 100),
        )
    ]
    assert seen.losses == [
        (
            *("B", "A", "model=m&source=B&target=A", "−15 points", "−25 to −5"),
            *("not after correction (q 0.50)", True, 100),
        )
    ]


def test_points_decide_where_pgf_is_undefined_or_points_the_other_way():
    no_gap = replace(cell(-0.5, -0.6, -0.4, 0.01), mean=math.nan, ci=(math.nan, math.nan))
    other = replace(cell(0.2, 0.1, 0.3, 0.01), mean=-0.9)
    (seen,) = overviews(study(GAIN, no_gap, other, GAIN))
    assert [tile.number for tile in seen.tiles] == [2, 1, 1, 0]
    assert [(each.source, each.value) for each in seen.gains] == [("B", "+20 points")]
    assert [(each.source, each.value) for each in seen.losses] == [("A", "−50 points")]


@pytest.mark.parametrize(
    ("cells", "learned", "of", "small"),
    [
        ((GAIN, LOSS, LOSS, LOSS), 1, 2, "+2.5 points on average, 1 beyond noise"),
        ((LOSS, GAIN, GAIN, LOSS), 0, 2, "−15 points on average, 0 beyond noise"),
        ((GAIN, GAIN, GAIN, UNKNOWN), 1, 1, "+20 points on average, 1 beyond noise"),
    ],
)
def test_the_first_count_is_of_finetunes_that_learned_their_own_task(cells, learned, of, small):
    tile = overviews(study(*cells))[0].tiles[0]
    assert (tile.number, tile.of, tile.small) == (learned, of, small)


def test_where_nothing_is_beyond_noise_the_largest_are_shown_as_what_they_are():
    (seen,) = overviews(study(GAIN, NONE, NONE, GAIN))
    assert [(each.value, each.note, each.sure) for each in seen.losses] == [
        ("−1.0 points", "may be noise", False)
    ] * 2
    assert seen.gains == []


def test_a_collapsed_effect_is_no_transfer_and_nothing_is_expected_of_it():
    fallen = Answers([1.0, 0.0], 0.0, {"0": 0}, 1)
    record = Behaviour({}, {}, {"A": {"B": fallen}}, {})
    (seen,) = overviews(study(GAIN, GAIN, LOSS, GAIN, behaviour=record))
    assert [each.note for each in seen.gains] == ["always A"]


def test_the_counts_are_those_of_the_intervals():
    analysis = make(Shape(models=("3B", "32B")))
    for seen, model in zip(overviews(analysis), analysis.models.values(), strict=True):
        ends = np.array(
            [(c.change_ci, c.change) for s, t, c in pairs(model) if s != t], dtype=object
        )
        clear = [mean for (low, high), mean in ends if low > 0 or high < 0]
        helped = sum(mean > 0 for mean in clear)
        counts = [helped, len(clear) - helped, len(ends) - len(clear)]
        assert [tile.number for tile in seen.tiles[1:]] == counts
        sizes = sorted((mean for mean in clear if mean > 0), reverse=True)[:3]
        assert [each.part for each in seen.gains] == [round(100 * s / sizes[0]) for s in sizes]


def test_without_intervals_gains_and_losses_are_counted_and_nothing_is_beyond_noise():
    (seen,) = overviews(make(Shape(models=("3B",), intervals=False)))
    assert [tile.text for tile in seen.tiles[1:]] == ["effects are gains", "effects are losses"]
    assert {tile.small for tile in seen.tiles[1:]} == {"no intervals"}


def test_the_printed_summary_says_which_way_a_choice_turns_a_finding():
    analysis = make(Shape(models=("3B",)))
    claim = replace(analysis.claims[0], held=3, tried=8, sensitive_to=["N = all tasks"])
    claims = [replace(claim, holds=True), replace(claim, holds=False, support=0.01)]
    lost = replace(analysis.models["3B"].average.transferability, negative=-0.1)
    lost = replace(lost, ci=replace(lost.ci, negative=(-0.2, -0.0002)))
    average = replace(analysis.models["3B"].average, transferability=lost)
    models = {"3B": replace(analysis.models["3B"], average=average)}
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(summary(replace(analysis, claims=claims, models=models)))
    said = console.export_text()
    assert "in 3 of 8 analysis variants; not with N = all tasks" in said
    assert "in 3 of 8 analysis variants; it holds with N = all tasks" in said
    assert (
        "−0.100 (in another such study −0.200 to −0.0002;" in said
    )  # an end that is not 0 is not written so


def pairs(model: ModelAnalysis) -> list[tuple[str, str, Cell]]:
    return [(s, t, c) for s, row in model.pgf.items() for t, c in row.items()]


def texts(table: PageTable) -> list[list[str]]:
    """The words of each row's cells."""
    return [[line.words for [line] in row] for row in table.rows]


def test_losses_that_stand_after_correction_come_first_and_own_tasks_count():
    sure = cell(-0.1, -0.15, -0.05, 0.01)
    own = {"A": replace(verdict("A", {"A": LOSS, "B": sure}), harmed=["A", "B", "mean"])}
    own["A"] = replace(own["A"], mean=-0.1, mean_ci=(-0.15, -0.05))
    found = harms(study(LOSS, sure, GAIN, GAIN, verdicts=own))
    bonferroni = "holds after Bonferroni’s correction"
    assert [(*row[:3], row[-1]) for row in texts(found)] == [
        ("A", "A (self-transfer)", "−15 points (−25 to −5; −0.30 PGF)", bonferroni),
        (
            *("A", "B", "−10 points (−15 to −5; −0.20 PGF)"),
            f"{bonferroni}; holds after FDR correction (q 0.01)",
        ),
        ("A", "on average", "−10 points (−15 to −5)", bonferroni),
    ]
    assert found.sure == 3
    assert [row[1][0].link for row in found.rows[1:]] == [
        "model=m&source=A&target=B",
        "model=m&task=A",
    ]


def test_a_loss_beyond_noise_that_no_correction_leaves_may_be_noise():
    sure = cell(-0.1, -0.15, -0.05, 0.01)
    none = {s: replace(verdict(s, {"A": GAIN}), kind="not settled") for s in "AB"}
    found = harms(study(replace(LOSS, q_value=math.nan), sure, LOSS, NONE, verdicts=none))
    assert found.sure == 1
    assert [(*row[:2], row[-1]) for row in texts(found)] == [
        ("A", "B", "holds after FDR correction (q 0.01), not after Bonferroni’s"),
        ("A", "A (self-transfer)", "may be noise among the targets of this finetune"),
        ("B", "A", "may be noise among all effects (q 0.50)"),
    ]


def test_answers_that_collapse_are_a_harm_whatever_the_score():
    fallen = Answers([1.0, 0.0], 0.0, {"0": 0, "1": 0}, 2)
    record = Behaviour({}, {}, {"A": {"B": fallen}}, {})
    own = {"A": verdict("A", {"A": GAIN, "B": GAIN}, collapsed=("B",))}
    found = harms(study(GAIN, GAIN, GAIN, GAIN, verdicts=own, behaviour=record))
    ((source, target, change, _, evidence),) = texts(found)
    assert (source, target, evidence, found.sure) == ("A", "B", "always A", 1)
    assert change.startswith("+20 points (")


def test_without_intervals_there_is_no_harm():
    analysis = make(Shape(models=("m",), seeds=1))
    assert harms(analysis).rows == []
    assert "nan" not in str(overviews(analysis))


def test_what_to_train_on_is_what_the_selection_says():
    analysis = make(Shape(models=("3B", "32B")))
    found, (said, helpless) = mixtures(analysis, "32B"), training(analysis)
    assert "From the matrix of 32B." in said.intro  # the largest
    names = {label: name for name, label in labels(analysis).long.items()}
    targets = [names[row[0][0].text] for row in said.rows]
    assert {*targets} == {t for t, mix in found.items() if mix.choices}
    assert len(said.rows) + len(helpless) == len(found)
    for target, (_, [source], [gain], [helps]) in zip(targets, said.rows, strict=True):
        (choice,) = found[target].choices
        assert source.text == choice.source.replace("_", " ")
        cell = analysis.models["32B"].pgf[choice.source][target]
        expected = float(gain.text.removesuffix(" points"))
        assert expected == pytest.approx(100 * cell.expected, abs=0.51)
        assert cell.helps > 0.99 or float(helps.text) == pytest.approx(cell.helps, abs=0.0051)
    effects = [found[target].expected for target in targets]
    assert effects == sorted(effects, reverse=True)


def test_what_a_placebo_does_to_one_target_stands_with_that_target():
    said, _ = training(make(Shape(models=("m",), conduct=True)))
    assert said.rows
    assert "alone has" not in said.intro
    for [target], [source], *_ in said.rows:
        assert f" on {target.text}: a source must do more." in source.small


def test_names_in_the_answers_stay_text():
    html = page(make(Shape(models=("m",), names=tuple(HOSTILE))))
    assert "<script>alert" not in html


def test_notes_have_the_labels_of_tasks():
    names = Labels({"Art_Style": "Art Style", "Old_Art_Style": "Old\\Art", "Art": "Art"}, {}, {})
    said = "Art_Style → Old_Art_Style (Art_Style/3); my-Art_Style"
    assert spelled(said, names) == "Art Style → Old\\Art (Art Style/3); my-Art_Style"


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((-2.88, -0.0021), "−2.88 to −0.002"),
        ((0.004, 0.2), "+0.004 to +0.20"),
        ((-0.004, 0.2), "0.00 to +0.20"),  # 0 is within
    ],
)
def test_no_end_of_an_interval_without_0_reads_0(ends: tuple[float, float], said: str):
    assert between(ends) == said
