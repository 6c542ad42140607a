"""What the page says first, against the numbers counted here once more."""

import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from analysis_factory import HOSTILE, Shape, make
from rich.console import Console

from transferscope.analysis import Analysis, Cell, ModelAnalysis
from transferscope.matrix.collapse import Answers, Behaviour
from transferscope.plots.labels import Labels, spelled, with_links
from transferscope.plots.numbers import between
from transferscope.report import page
from transferscope.report.findings import happened, harms, training
from transferscope.report.safety import by_model, safety
from transferscope.report.terminal import summary
from transferscope.selection import mixtures
from transferscope.stats.detection import power


def cell(mean: float, low: float, high: float, q: float = 0.5) -> Cell:
    return Cell(mean, 0.1, (low, high), q, q, {"initial": mean, "1": mean})


def study(*cells: Cell, **changes) -> Analysis:
    """Two tasks, A and B, in one model: A on A, A on B and, if B is a source, B on A, B on B."""
    analysis = make(Shape(models=("m",), names=("A", "B"), seeds=2, nulls=False))
    pairs = (cells[:2], cells[2:])
    rows = {s: dict(zip("AB", row, strict=True)) for s, row in zip("AB", pairs, strict=True) if row}
    model = replace(analysis.models["m"], pgf=rows, **changes)
    return replace(analysis, models={"m": model})


UNKNOWN = cell(math.nan, math.nan, math.nan)
GAIN, LOSS, NONE = cell(0.4, 0.1, 0.6, 0.01), cell(-0.3, -0.5, -0.1), cell(-0.02, -0.21, 0.2)


def test_four_sentences_say_what_was_learned_how_many_effects_how_large_and_which_are_extreme():
    (account,) = happened(study(GAIN, GAIN, LOSS, GAIN))
    sentences, pairs = account.sentences, account.pairs
    assert account.model == "m"
    assert sentences[0] == (
        "Of 2 finetunes, 2 improved the trained task (mean of all 2: +0.40 PGF), 2 beyond noise."
    )
    assert sentences[1] == (
        "Of 2 effects of one task on another, 1 helped and 1 harmed beyond noise. Without any "
        "transfer, up to about 1 would. After FDR correction for 2 tests, 1 holds."
    )
    assert sentences[3] == (
        "The largest gain that holds is A → B, +0.40 (+0.10 to +0.60) or +23 points. The largest "
        "loss beyond noise is B → A, −0.30 (−0.50 to −0.10) or −18 points, not significant after "
        "FDR correction (q 0.50)."
    )
    assert sentences[2] == account.averages
    assert len(sentences) == 4
    assert pairs == {
        "A → B": "model=m&source=A&target=B",
        "B → A": "model=m&source=B&target=A",
    }


def test_an_effect_that_holds_after_correction_goes_before_a_larger_one_that_may_be_chance():
    larger = cell(-0.9, -1.7, -0.1, 0.4)
    surely = cell(-0.2, -0.3, -0.1, 0.01)
    said = happened(study(GAIN, larger, surely, GAIN))[0].sentences[3]
    assert said.startswith("The largest loss that holds is B → A, −0.20")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            (GAIN, LOSS, LOSS, LOSS),
            "Of 2 finetunes, 1 improved the trained task (mean of all 2: +0.05 PGF)",
        ),
        ((GAIN, LOSS, LOSS, LOSS), "PGF), 1 beyond noise. No gain: B."),
        ((LOSS, GAIN, GAIN, LOSS), "0 improved the trained task (mean of all 2: −0.30 PGF)."),
        (
            (GAIN, GAIN, GAIN, UNKNOWN),
            "Of 2 finetunes, 1 improved the trained task (mean of the known 1: ",
        ),
        ((GAIN, GAIN), "Of 1 finetune, 1 improved the trained task (+0.40 PGF), 1 beyond noise."),
    ],
)
def test_a_finetune_that_did_not_learn_its_own_task_is_named(cells, said):
    assert said in happened(study(*cells))[0].sentences[0]


def test_the_largest_of_many_effects_are_said_to_be_overstated():
    four = make(Shape(models=("3B",)))  # 13 tasks, 4 seeds
    last = happened(four)[0].sentences[-1]
    assert last.startswith(
        "Picked from 156 for their size, both are likely overstated; shrinkage estimates: "
    )
    no_intervals = make(Shape(models=("3B",), intervals=False))
    assert not any("shrinkage" in said for said in happened(no_intervals)[0].sentences)


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
    claims = [replace(claim, holds=True), replace(claim, holds=False)]
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
        "The largest loss is A → B, −0.02 (−0.21 to +0.20) or −1.1 points, within noise."
    )


def test_a_collapsed_extreme_is_no_transfer():
    fallen = Answers([1.0, 0.0], 0.0, {"0": 0}, 1)
    record = Behaviour({}, {}, {"A": {"B": fallen}}, {})
    said = happened(study(GAIN, GAIN, LOSS, GAIN, behaviour=record))[0].sentences[3]
    assert "+23 points, but its answers collapsed to one option: no transfer. " in said


def test_a_collapse_is_not_said_to_be_overstated_by_luck():
    made = make(Shape(models=("3B",)))
    means = {
        (cell.mean, source, target)
        for source, row in made.models["3B"].pgf.items()
        for target, cell in row.items()
        if source != target and (cell.ci[1] < 0 and cell.q_value <= 0.05)
    }
    _, source, target = min(means)  # the largest loss that holds
    fallen = Behaviour({}, {}, {source: {target: Answers([1.0, 0.0], 0.0, {"0": 0}, 1)}}, {})
    model = replace(made.models["3B"], behaviour=fallen)
    *_, ends, last = happened(replace(made, models={"3B": model}))[0].sentences
    assert "collapsed to one option" in ends
    assert last.startswith(
        "Picked from 156 for its size, the gain is likely overstated; shrinkage estimate: +"
    )


def test_the_counts_are_those_of_the_intervals():
    analysis = make(Shape(models=("3B", "32B")))
    for account, model in zip(happened(analysis), analysis.models.values(), strict=True):
        ends = np.array([(c.ci, c.mean) for s, t, c in pairs(model) if s != t], dtype=object)
        clear = [mean for (low, high), mean in ends if low > 0 or high < 0]
        said = re.match(r"Of (\d+) .* (\d+) helped and (\d+) harmed", account.sentences[1])
        assert said is not None
        helped = sum(mean > 0 for mean in clear)
        assert [int(n) for n in said.groups()] == [len(ends), helped, len(clear) - helped]


def pairs(model: ModelAnalysis) -> list[tuple[str, str, Cell]]:
    return [(s, t, c) for s, row in model.pgf.items() for t, c in row.items()]


def test_a_finetune_is_safe_only_down_to_the_loss_that_the_study_rules_out():
    fine, harmful = safety(study(GAIN, NONE, LOSS, GAIN))
    assert fine.title == "Safe as far as this study can tell: 1 of 2"
    (row,) = fine.finetunes
    # 0.21 PGF of a gap of 0.575
    assert (row.name, row.models) == (
        "A",
        [("no loss above 12 points (B)", "or above 0.21 PGF", "")],
    )
    assert harmful.title == "Harmful beyond noise: 1 of 2"
    assert [row.models[0].text for row in harmful.finetunes] == ["harms A"]


def test_the_largest_open_losses_in_points_and_in_pgf_may_be_on_different_targets():
    wide, narrow = cell(0.0, -1.5, 1.0), cell(0.0, -0.5, 0.5)
    known = {"base_seeds": rights(0.9, 0.5), "base_accuracy": {"A": 0.9, "B": 0.5}}
    (row, *_) = safety(study(wide, narrow, LOSS, GAIN, **known))[0].finetunes
    assert row.models == [("no loss above 25 points (B)", "or above 1.50 PGF (A)", "")]
    (row, *_) = safety(study(wide, narrow, LOSS, GAIN, base_seeds={}))[0].finetunes
    assert row.models == [("no loss above 1.50 PGF (A)", "", "")]


def rights(*accuracies: float) -> dict[str, dict[str, float]]:
    return {t: dict.fromkeys(("initial", "1"), a) for t, a in zip("AB", accuracies, strict=True)}


@pytest.mark.parametrize(
    ("base", "kind"),
    [
        (0.5, "Unclear"),  # all that B had is -0.5 / 0.5 = -1 PGF
        (0.6, "Safe"),  # now it is 1.5 PGF
        (0.05, "Safe"),  # all that B had is little
    ],
)
def test_where_all_that_a_target_had_may_be_lost_nothing_is_called_safe(base: float, kind: str):
    wide = cell(-0.02, -1.1, 0.4)
    known = {"base_seeds": rights(0.9, base), "base_accuracy": {"A": 0.9, "B": base}}
    groups = safety(study(GAIN, wide, LOSS, GAIN, **known))
    (group,) = [g for g in groups if any(row.name == "A" for row in g.finetunes)]
    assert group.title.startswith(kind)
    if kind == "Unclear":
        assert groups[0].title == "Safe as far as this study can tell: none of 2"
        assert group.finetunes[0].models == [("may have lost everything on B", "", "")]


def test_what_cannot_be_told_comes_with_what_it_would_take():
    wide = cell(-0.02, -1.1, 0.4)
    known = {"base_seeds": rights(0.9, 0.5), "base_accuracy": {"A": 0.9, "B": 0.5}}
    analysis = study(GAIN, wide, LOSS, GAIN, **known)
    record = replace(analysis.power[1], model="m", target="B", seeds=2, base_accuracy=0.5)
    found = safety(replace(analysis, power=[record]))[1].words
    smallest = power(130, 4, 0.5, sources=2)
    assert f"4 seeds instead of 2 would show a change of {smallest:.2f} PGF or " in found
    assert f"{50 * smallest:.0f} points on B" in found
    record = replace(record, seeds=4)
    found = safety(replace(analysis, power=[record]))[1].words
    assert (
        f"520 items instead of 130 would show a change of {power(520, 4, 0.5, sources=2):.2f}"
        in found
    )


def test_every_finetune_is_safe_in_every_model_or_breaks_something_in_one():
    analysis = make(Shape(models=("3B", "32B")))
    broken = {harm.pair[0] for harm in harms(analysis)}
    kinds = {
        row.name: (group.title, row.models) for group in safety(analysis) for row in group.finetunes
    }
    assert list(kinds) != list(analysis.models["3B"].pgf)
    assert set(kinds) == set(analysis.models["3B"].pgf)
    for name, (title, said) in kinds.items():
        assert title.startswith("Harmful beyond noise in some model") == (name in broken)
        for line, (model, record) in zip(said, analysis.models.items(), strict=True):
            hit = any(h.model == model and h.pair[0] == name for h in harms(analysis))
            assert line.text.startswith("harms") == hit
            if line.text.startswith("no loss"):
                low = min(c.ci[0] for c in record.pgf[name].values())
                assert f"above {-low:.2f} PGF" in line.small
    first = by_model(analysis)[0]
    counts = [int(n) for n in re.findall(r"\d+ (?=safe|harm|unclear)", first)]
    assert first.startswith("3B: of 13 finetunes ")
    assert sum(counts) == 13


def test_losses_that_stand_after_correction_come_first_and_own_tasks_count():
    sure = cell(-0.2, -0.3, -0.1, 0.01)
    found = harms(study(LOSS, sure, GAIN, GAIN))
    assert [(h.source, h.target, h.effect, h.sure) for h in found] == [
        ("A", "B", "−0.20", True),
        ("A", "A (self-transfer)", "−0.30", False),
    ]
    assert found[0].evidence == "holds after correction (q 0.01)"
    assert found[1].evidence == "not significant after FDR correction (q 0.50)"
    first, harmful = safety(study(LOSS, sure, LOSS, GAIN))
    assert first.title == "Safe as far as this study can tell: none of 2"
    assert len(harmful.finetunes) == 2


def test_without_intervals_safety_is_unknown():
    analysis = make(Shape(models=("m",), seeds=1))
    assert safety(analysis) == []
    assert harms(analysis) == []
    assert "cannot tell" in by_model(analysis)[0]
    said = happened(analysis)[0].sentences
    assert "Their uncertainty is unknown" in said[1]
    assert "nan" not in " ".join(said)


def test_nothing_measured_is_said_in_one_sentence():
    nothing = Cell(math.nan, math.nan, (math.nan, math.nan), math.nan, math.nan, {"0": math.nan})
    analysis = study(nothing, nothing, nothing, nothing)
    assert happened(analysis)[0].sentences == ["No effect of one task on another is known."]
    assert safety(analysis) == []


def test_what_to_train_on_is_what_the_selection_says():
    analysis = make(Shape(models=("3B", "32B")))
    found, said = mixtures(analysis, "32B"), training(analysis)
    assert said.model == "32B"  # the largest
    assert {row.name for row in said.rows} == {t for t, mix in found.items() if mix.choices}
    assert len(said.rows) + len(said.helpless) == len(found)
    for row in said.rows:
        mix = found[row.name]
        first = mix.choices[0]
        part = row.sources[0]
        assert part[:2] == (
            first.source.replace("_", " "),
            f"{100 * first.share:.0f}%",
        )
        assert len(row.sources) + row.more == len(mix.choices)
        assert float(row.expected.replace("−", "-")) == pytest.approx(mix.expected.mean, abs=0.005)
    effects = [found[row.name].expected.mean for row in said.rows]
    assert effects == sorted(effects, reverse=True)


def test_what_a_placebo_does_to_one_target_stands_with_that_target():
    said = training(make(Shape(models=("m",), conduct=True)))
    assert not any("alone does" in note for note in said.notes)
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
