"""What the page says first, against the numbers counted here once more."""

import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from analysis_factory import HOSTILE, Shape, make, verdict
from rich.console import Console

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.matrix.collapse import Answers, Behaviour
from transferscope.plots.labels import Labels, spelled, with_links
from transferscope.plots.numbers import between
from transferscope.report import page
from transferscope.report.findings import happened, harms, training
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


def test_four_sentences_say_what_was_learned_how_many_effects_how_large_and_which_are_extreme():
    (account,) = happened(study(GAIN, GAIN, LOSS, GAIN))
    sentences, pairs = account.sentences, account.pairs
    assert account.model == "m"
    assert sentences[0] == (
        "Of 2 finetunes, 2 improved the trained task (mean of all 2: +20 points, +0.40 PGF), "
        "2 beyond noise."
    )
    assert sentences[1] == (
        "Of 2 effects of one task on another, 1 helped and 1 harmed beyond noise. Without any "
        "transfer, up to about 1 would. After FDR correction for 2 tests, 1 holds."
    )
    assert sentences[3] == (
        "The largest gain that holds is A → B, +20 points (+5 to +30), +0.40 PGF; on new items "
        "and with new seeds expect +10 points. The largest loss beyond noise is B → A, −15 points "
        "(−25 to −5), −0.30 PGF, not significant after FDR correction (q 0.50)."
    )
    assert sentences[2] == account.averages
    assert len(sentences) == 4
    assert pairs == {
        "A → B": "model=m&source=A&target=B",
        "B → A": "model=m&source=B&target=A",
    }


def test_an_effect_that_holds_after_correction_goes_before_a_larger_one_that_may_be_chance():
    larger = cell(-0.45, -0.85, -0.05, 0.4)
    surely = cell(-0.1, -0.15, -0.05, 0.01)
    said = happened(study(GAIN, larger, surely, GAIN))[0].sentences[3]
    assert "The largest loss that holds is B → A, −10 points" in said


def test_points_decide_where_pgf_is_undefined_or_points_the_other_way():
    no_gap = replace(cell(-0.5, -0.6, -0.4, 0.01), mean=math.nan, ci=(math.nan, math.nan))
    other = replace(cell(0.2, 0.1, 0.3, 0.01), mean=-0.9)
    said = happened(study(GAIN, no_gap, other, GAIN))[0].sentences
    assert "1 helped and 1 harmed beyond noise" in said[1]
    assert "The largest gain that holds is B → A, +20 points" in said[3]
    assert said[3].endswith("The largest loss that holds is A → B, −50 points (−60 to −40).")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            (GAIN, LOSS, LOSS, LOSS),
            "Of 2 finetunes, 1 improved the trained task (mean of all 2: +2.5 points, +0.05 PGF)",
        ),
        ((GAIN, LOSS, LOSS, LOSS), "PGF), 1 beyond noise. No gain: B."),
        (
            (LOSS, GAIN, GAIN, LOSS),
            "0 improved the trained task (mean of all 2: −15 points, −0.30 PGF).",
        ),
        (
            (GAIN, GAIN, GAIN, UNKNOWN),
            "Of 2 finetunes, 1 improved the trained task (mean of the known 1: ",
        ),
        (
            (GAIN, GAIN),
            "Of 1 finetune, 1 improved the trained task (+20 points, +0.40 PGF), 1 beyond noise.",
        ),
    ],
)
def test_a_finetune_that_did_not_learn_its_own_task_is_named(cells, said):
    assert said in happened(study(*cells))[0].sentences[0]


def test_the_extremes_come_with_what_to_expect_of_them():
    analysis = make(Shape(models=("3B",)))
    model, last = analysis.models["3B"], happened(analysis)[0].sentences[-1]
    ends = re.findall(r" is (.+?) → (.+?), .*? expect (\S+) points", last)
    assert len(ends) == 2
    for source, target, points in ends:
        cell = model.pgf[source.replace(" ", "_")][target.replace(" ", "_")]
        assert float(points.replace("−", "-")) == pytest.approx(100 * cell.expected, abs=0.51)
    no_intervals = make(Shape(models=("3B",), intervals=False))
    assert "expect" not in happened(no_intervals)[0].sentences[-1]


def test_the_averages_stand_beside_what_no_transfer_would_give():
    analysis = make(Shape(models=("3B",)))
    average = analysis.models["3B"].average.transferability
    said = happened(analysis)[0].sentences[2]
    assert f"helped by +{average.positive:.3f} PGF" in said
    assert f"harmed by −{-average.negative:.3f} PGF" in said
    floor = analysis.models["3B"].noise_floor
    assert floor is not None
    low, high = floor.transferability.ci.positive
    assert f"; without any transfer +{low:.3f} to +{high:.3f})" in said
    low, high = average.ci.positive
    assert f"(in another such study +{low:.3f} to +{high:.3f}; " in said
    with_placebo = make(Shape(models=("3B",), conduct=True))
    adjusted = with_placebo.models["3B"].adjusted
    assert adjusted is not None
    assert f"beyond it is −{-adjusted.mean.mean:.3f} (" in happened(with_placebo)[0].sentences[2]


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
    assert "−0.100 [−0.200, −0.0002]" in said  # an end that is not 0 is not written so


def test_an_extreme_that_noise_explains_says_so():
    last = happened(study(GAIN, NONE, NONE, GAIN))[0].sentences[3]
    assert last == (
        "The largest loss is A → B, −1.0 points (−10.5 to +10.0), −0.02 PGF, within noise."
    )


def test_a_collapsed_extreme_is_no_transfer_and_nothing_is_expected_of_it():
    fallen = Answers([1.0, 0.0], 0.0, {"0": 0}, 1)
    record = Behaviour({}, {}, {"A": {"B": fallen}}, {})
    said = happened(study(GAIN, GAIN, LOSS, GAIN, behaviour=record))[0].sentences[3]
    assert "+0.40 PGF, but its answers collapsed to one option: no transfer. " in said
    assert "expect" not in said


def test_the_counts_are_those_of_the_intervals():
    analysis = make(Shape(models=("3B", "32B")))
    for account, model in zip(happened(analysis), analysis.models.values(), strict=True):
        ends = np.array(
            [(c.change_ci, c.change) for s, t, c in pairs(model) if s != t], dtype=object
        )
        clear = [mean for (low, high), mean in ends if low > 0 or high < 0]
        said = re.match(r"Of (\d+) .* (\d+) helped and (\d+) harmed", account.sentences[1])
        assert said is not None
        helped = sum(mean > 0 for mean in clear)
        assert [int(n) for n in said.groups()] == [len(ends), helped, len(clear) - helped]


def pairs(model: ModelAnalysis) -> list[tuple[str, str, Cell]]:
    return [(s, t, c) for s, row in model.pgf.items() for t, c in row.items()]


def test_losses_that_stand_after_correction_come_first_and_own_tasks_count():
    sure = cell(-0.1, -0.15, -0.05, 0.01)
    own = {"A": replace(verdict("A", {"A": LOSS, "B": sure}), harmed=["A", "B", "mean"])}
    own["A"] = replace(own["A"], mean=-0.1, mean_ci=(-0.15, -0.05))
    found = harms(study(LOSS, sure, GAIN, GAIN, verdicts=own))
    assert [(h.source, h.target, h.change, h.interval, h.beside, h.sure) for h in found] == [
        ("A", "A (self-transfer)", "−15 points", "−25 to −5", "−0.30 PGF", True),
        ("A", "B", "−10 points", "−15 to −5", "−0.20 PGF", True),
        ("A", "on average", "−10 points", "−15 to −5", "", True),
    ]
    bonferroni = "holds after Bonferroni’s correction"
    assert [h.evidence for h in found] == [
        bonferroni,
        f"{bonferroni}; holds after FDR correction (q 0.01)",
        bonferroni,
    ]


def test_a_loss_beyond_noise_that_no_correction_leaves_may_be_noise():
    sure = cell(-0.1, -0.15, -0.05, 0.01)
    none = {s: replace(verdict(s, {"A": GAIN}), kind="not settled") for s in "AB"}
    found = harms(study(replace(LOSS, q_value=math.nan), sure, LOSS, NONE, verdicts=none))
    assert [(h.pair, h.sure, h.evidence) for h in found] == [
        (("A", "B"), True, "holds after FDR correction (q 0.01), not after Bonferroni’s"),
        (("A", "A"), False, "may be noise among the targets of this finetune"),
        (("B", "A"), False, "may be noise among all effects (q 0.50)"),
    ]


def test_answers_that_collapse_are_a_harm_whatever_the_score():
    fallen = Answers([1.0, 0.0], 0.0, {"0": 0, "1": 0}, 2)
    record = Behaviour({}, {}, {"A": {"B": fallen}}, {})
    own = {"A": verdict("A", {"A": GAIN, "B": GAIN}, collapsed=("B",))}
    (row,) = harms(study(GAIN, GAIN, GAIN, GAIN, verdicts=own, behaviour=record))
    assert (row.pair, row.change, row.evidence, row.sure) == (
        ("A", "B"),
        "+20 points",
        "always A",
        True,
    )


def test_without_intervals_there_is_no_harm():
    analysis = make(Shape(models=("m",), seeds=1))
    assert harms(analysis) == []
    said = happened(analysis)[0].sentences
    assert "Their uncertainty is unknown" in said[1]
    assert "nan" not in " ".join(said)


def test_nothing_measured_is_said_in_one_sentence():
    analysis = study(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    assert happened(analysis)[0].sentences == ["No effect of one task on another is known."]


def test_what_to_train_on_is_what_the_selection_says():
    analysis = make(Shape(models=("3B", "32B")))
    found, said = mixtures(analysis, "32B"), training(analysis)
    assert said.model == "32B"  # the largest
    assert {row.name for row in said.rows} == {t for t, mix in found.items() if mix.choices}
    assert len(said.rows) + len(said.helpless) == len(found)
    for row in said.rows:
        (choice,) = found[row.name].choices
        assert row.source == choice.source.replace("_", " ")
        cell = analysis.models["32B"].pgf[choice.source][row.name]
        expected = float(row.expected.removesuffix(" points"))
        assert expected == pytest.approx(100 * cell.expected, abs=0.51)
        assert cell.helps > 0.99 or float(row.helps) == pytest.approx(cell.helps, abs=0.0051)
    effects = [found[row.name].expected for row in said.rows]
    assert effects == sorted(effects, reverse=True)


def test_what_a_placebo_does_to_one_target_stands_with_that_target():
    said = training(make(Shape(models=("m",), conduct=True)))
    assert said.rows
    assert not any("alone has" in note for note in said.notes)
    for row in said.rows:
        assert f" on {row.target}: a source must do more." in row.note


@pytest.mark.parametrize("count", [13, 60])
def test_the_answers_stand_on_the_page_before_everything_else(count: int):
    analysis = make(Shape(models=("3B",), count=count))
    html = page(analysis)
    heads = re.findall(r"<h2[^>]*>([^<]*)", html)
    assert heads[:4] == [
        "What happened",
        "Which finetunes are safe",
        "What each finetune breaks",
        "What to train on",
    ]
    text = re.sub(r"</?a[^>]*>", "", html)
    for sentence in happened(analysis)[0].sentences:
        assert sentence in text


def test_names_in_the_answers_stay_text():
    html = page(make(Shape(models=("m",), names=tuple(HOSTILE))))
    assert "<script>alert" not in html


def test_only_whole_names_become_links():
    assert with_links("Art is Artful; Art Style", {"Art": "a", "Art Style": "s"}) == [
        ("", ""),
        ("Art", "a"),
        (" is Artful; ", ""),
        ("Art Style", "s"),
        ("", ""),
    ]
    assert with_links("(x) → (y).", {"(x) → (y)": "p"})[1] == ("(x) → (y)", "p")


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
