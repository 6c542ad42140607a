"""What voids a verdict is found before any effect: on real files and on files made to mislead."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from harness_logs import OPTIONS, PROMPT, blink_outputs, lines, lmms_blink, put

import transferscope as ts
from transferscope.analysis.compared_runs import RunName, compare_runs
from transferscope.analysis.settings import Settings
from transferscope.analysis.verdict import MOST_LINES, Check, ranked
from transferscope.matrix import from_predictions
from transferscope.predictions import check_predictions
from transferscope.readers.checks import check_rows, check_runs
from transferscope.readers.files import read_file
from transferscope.readers.formats import read_table
from transferscope.readers.harness.evaluations import read_evaluations

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files beside the checkout")


def checks(mapping: Path) -> list[Check]:
    return check_runs(read_evaluations(mapping, None))


def void(found: list[Check]) -> set[str]:
    return {source for check in found if check.severity == "void" for source, _ in check.cells}


def mapping(folder: Path, *runs: str) -> Path:
    text = "model: m\nruns:\n" + "".join(f"  - {{{run}}}\n" for run in runs)
    return put(folder / "mapping.yaml", text)


def letters(seed: int, count: int = 60) -> list[str]:
    return np.random.default_rng(seed).choice(list("AB"), count).tolist()


@real
def test_one_run_under_two_names_and_a_checkpoint_that_is_the_base_void_all_of_same_run():
    found = checks(REAL / "wrong/same_run/mapping.yaml")
    assert void(found) == {"Jigsaw @ 500", "Jigsaw @ 1000", "Counting"}
    assert "the base's answer to all 1,901 items. Was the adapter loaded?" in ranked(found)[0]


@real
def test_the_same_answers_on_the_first_items_alone_are_the_base_again():
    found = checks(REAL / "wrong/partial_run/mapping.yaml")
    assert void(found) == {"Jigsaw"}
    assert any("Art_Style 50 of 117" in check.message for check in found)


@real
def test_gold_of_another_order_of_options_is_not_taken_for_its_own(tmp_path):
    """GPT4V's concatenated images had their own order of options in two of eight tasks."""
    folder = REAL / "blink-raw"
    path = mapping(
        tmp_path,
        f"path: {folder}/saved_outputs/GPT4V",
        f"path: {folder}/saved_outputs/GPT4V_concatenated, source: concatenated",
    )
    other = {cell for check in checks(path) if check.severity == "void" for cell in check.cells}
    assert {target for _, target in other if target} == {"Art_Style", "Visual_Similarity"}


@real
@pytest.mark.parametrize("name", ["checkpoints-blink-flat", "vlmevalkit-xlsx", "vsi-averages"])
def test_real_runs_that_differ_are_not_void(name):
    assert not void(checks(REAL / name / "mapping.yaml"))


def test_labels_that_blink_corrected_are_judged_by_one_gold_file(tmp_path):
    task = "Relative_Reflectance"
    old, new = ["A"] * 30 + ["B"] * 30, ["A"] * 10 + ["B"] * 50
    blink_outputs(tmp_path / "base", letters(1), old, task=task)
    blink_outputs(tmp_path / "ft", letters(2), new, task=task)
    path = mapping(tmp_path, "path: base", "path: ft, source: Jigsaw")
    assert void(checks(path)) == {"Jigsaw"}
    gold = {f"val_{task}_{n}": f"({right})" for n, right in enumerate(new, 1)}
    put(tmp_path / "gold.json", json.dumps(gold))
    put(path, "gold: gold.json\n" + path.read_text())
    assert not void(checks(path))


def test_an_adapter_that_changed_nothing_is_never_safe(tmp_path):
    gold = letters(0)
    for name in ("base", "ft"):
        lmms_blink(tmp_path / name, letters(1), gold)
    lmms_blink(tmp_path / "other", letters(2), gold)
    path = mapping(
        tmp_path, "path: base", "path: ft, source: Jigsaw", "path: other, source: Counting"
    )
    analysis = ts.analyze(ts.read_results(path))
    assert [check.severity for check in analysis.checks] == ["void"]
    cells = analysis.models["m"].pgf
    assert np.isnan(cells["Jigsaw"]["Multi-view_Reasoning"].mean)
    assert not np.isnan(cells["Counting"]["Multi-view_Reasoning"].mean)


def test_the_same_choice_in_other_words_is_another_answer(tmp_path):
    gold, replies = letters(0), letters(1)
    lmms_blink(tmp_path / "base", replies, gold)
    lmms_blink(tmp_path / "ft", [f"The answer is {reply}." for reply in replies], gold)
    assert not void(checks(mapping(tmp_path, "path: base", "path: ft, source: Jigsaw")))


def test_another_prompt_voids_the_target(tmp_path):
    gold = letters(0)
    lmms_blink(tmp_path / "base", letters(1), gold)
    lmms_blink(tmp_path / "ft", letters(2), gold, input="Think step by step.\n" + PROMPT)
    found = checks(mapping(tmp_path, "path: base", "path: ft, source: Jigsaw"))
    assert void(found) == {"Jigsaw"}
    assert "another prompt than the base on 60 of 60 items" in found[0].message
    assert "'Think step" in found[0].message


def test_blanks_alone_are_no_other_prompt(tmp_path):
    gold = letters(0)
    lmms_blink(tmp_path / "base", letters(1), gold)
    lmms_blink(tmp_path / "ft", letters(2), gold, input=PROMPT.replace("\n", "\n\n") + "\n")
    assert not checks(mapping(tmp_path, "path: base", "path: ft, source: Jigsaw"))


def test_groups_of_the_base_count_and_other_images_are_named(tmp_path, monkeypatch):
    """So they do in a comparison; one run's file may lack the names of images."""
    for run, shift in (("base", 0), ("lacks", None), ("moved", 30)):
        rows = [
            {"doc_id": n, "target": "A", "resps": [["AB"[n % 3 % 2]]], "doc_hash": "0"}
            | ({} if shift is None else {"doc": {"image_id": (n + shift) // 2}})
            for n in range(60)
        ]
        lines(tmp_path / run / "samples_x.jsonl", rows)
    found = checks(
        mapping(tmp_path, "path: base", "path: lacks, source: a", "path: moved, source: b")
    )
    assert [check.message for check in found if "image" in check.message] == [
        "b: 60 of 60 items of x name another image or video than in the base's file (such as '0')"
    ]
    given = []

    def compared(rows, *others):
        given.append(rows)
        return compare_runs(rows, *others)

    monkeypatch.setattr("transferscope.readers.compare.compare_runs", compared)
    ts.compare(tmp_path / "base", [tmp_path / "lacks", tmp_path / "moved"])
    assert given[0]["group"].to_list() == [str(n // 2) for n in range(60)] * 3


def _samples(path: Path, swapped: bool, *, relabelled: bool = False) -> None:
    rows = []
    for n, right in enumerate(letters(0)):
        options = list(reversed(OPTIONS)) if swapped else list(OPTIONS)
        index = "AB".index(right)
        key = 1 - index if swapped and not relabelled else index
        rows.append(
            {
                "doc_id": n,
                "doc": {"choices": options},
                "target": "AB"[key],
                "resps": [["AB"[(n * 7 + swapped) % 3 % 2]]],
                "doc_hash": "0",
            }
        )
    lines(path / "samples_mmstar.jsonl", rows)


def test_options_in_another_order_are_named_and_their_right_texts_compared(tmp_path):
    _samples(tmp_path / "base", False)
    _samples(tmp_path / "moved", True)
    _samples(tmp_path / "relabelled", True, relabelled=True)
    found = checks(
        mapping(tmp_path, "path: base", "path: moved, source: a", "path: relabelled, source: b")
    )
    by_source = {check.cells[0][0]: check for check in found if "mmstar" in check.message}
    assert by_source["a"].severity == "caution"
    assert "options of 60 of 60 items" in by_source["a"].message
    assert by_source["b"].severity == "void"
    assert "60 of 60 items of mmstar have another right answer" in by_source["b"].message


def rows(**choices: list[int]) -> pl.DataFrame:
    """Predictions of runs named `source__seed`; every right answer is option 0."""
    table = [
        ("m", seed or None, None if source == "base" else source, "t", str(n), choice, choice == 0)
        for name, chosen in choices.items()
        for source, _, seed in [name.partition("__")]
        for n, choice in enumerate(chosen)
    ]
    names = ["model", "seed", "source", "target", "item", "choice", "correct"]
    return pl.DataFrame(table, names, orient="row", infer_schema_length=None)


def test_two_seeds_of_the_same_answers_are_one_seed():
    chosen = [n % 2 for n in range(30)]
    found = check_rows(rows(base=[0] * 30, a__0=chosen, a__1=chosen))
    assert [check.severity for check in found] == ["caution"]
    assert "they count as one seed" in found[0].message
    assert found[0].copied == "1"


def test_two_seeds_of_the_same_averages_are_one_seed():
    names, targets = ("base", "a", "b"), [f"t{k}" for k in range(5)]
    table = [
        ("m", seed, None if name == "base" else name, target, (n + 2 * k) / 50)
        for seed in "01"
        for n, name in enumerate(names)
        for k, target in enumerate(targets)
    ]
    columns = ["model", "seed", "source", "target", "accuracy"]
    frame = pl.DataFrame(table, columns, orient="row")
    moved = (pl.col("source") == "b") & (pl.col("seed") == "1") & (pl.col("target") == "t0")
    frame = frame.with_columns(accuracy=pl.col("accuracy") + pl.when(moved).then(0.1).otherwise(0))
    (check,) = check_rows(frame)
    assert (check.severity, check.cells, check.copied) == ("caution", (("a", None),), "1")
    assert "they count as one seed" in check.message
    assert check_rows(frame.filter(pl.col("target") != "t1")) == []  # four may agree by luck


def test_a_comparison_counts_copied_seeds_once():
    marks = np.random.default_rng(0).integers(0, 2, 60).tolist()
    frame = rows(base=[0] * 60, a__0=marks, a__1=marks).with_columns(
        seed=pl.col("seed").fill_null("0")
    )
    names = {"a": RunName("a", "a", None)}
    both, _, _ = compare_runs(frame, names, check_rows(frame))
    once, _, _ = compare_runs(frame.filter(pl.col("seed") == "0"), names, [])
    assert both[0].seeds == once[0].seeds == 1
    assert both[0].cells["t"].effect == once[0].cells["t"].effect


def test_an_answer_key_given_as_the_base_voids_every_run():
    found = check_rows(rows(base=[0] * 100, a__0=[n % 2 for n in range(100)]))
    assert void(found) == {"a"}
    assert "the base has all 100 items right. Is its file the answer key?" in found[0].message


def test_few_equal_answers_are_no_finding():
    assert not check_rows(rows(base=[0, 1] * 5, a__0=[0, 1] * 5))


def test_an_adapter_that_hardly_changes_anything_is_doubted():
    base = [n % 3 for n in range(600)]
    changed = [1 - base[0], *base[1:]]
    found = check_rows(rows(base=base, a__0=changed))
    assert [check.severity for check in found] == ["caution"]
    assert "changes only 1 of the base's 600 answers" in found[0].message


def test_log_probabilities_that_differ_show_that_the_adapter_was_loaded():
    table = rows(base=[0, 1] * 20, a__0=[0, 1] * 20)
    scores = [[-1.0, -2.0]] * 40 + [[-1.1, -2.1]] * 40
    assert not check_rows(table.with_columns(logprobs=pl.Series(scores)))


def test_margins_tell_a_weak_or_collapsed_finetune_from_a_copy(tmp_path):
    """As a study writes them: options that agree are no copies where the margins differ."""
    table = rows(base=[0, 1] * 20, a__0=[0, 1] * 20, b__0=[1] * 40, c__0=[1] * 40, d__0=[1] * 40)
    margins = [1.0] * 40 + [1.3] * 40 + [2.0] * 40 + [3.0] * 40
    for last, voided in ((2.5, set()), (3.001, {"c", "d"}), (1.999, {"b", "d"})):
        each = pl.Series("margin", margins + [last] * 40)
        path = tmp_path / "table.parquet"
        table.with_columns(each).write_parquet(path)
        assert void(check_rows(read_table(read_file(path), None).rows)) == voided
    unmoved = table.with_columns(margin=pl.lit(1.0))
    assert void(check_rows(unmoved)) == {"a", "b", "c", "d"}


def test_no_more_than_eight_lines_come_first_and_the_worst_lead():
    found = [Check("caution", f"c{n}") for n in range(9)] + [Check("void", "v")]
    shown = ranked(found)
    assert len(shown) == MOST_LINES
    assert shown[0] == "void: v"
    assert shown[-1] == "3 more; --json lists them all"


def test_late_checkpoints_of_one_finetune_may_agree():
    chosen = [n % 2 for n in range(30)]
    table = rows(base=[0] * 30, a__0=chosen, b__0=chosen)
    names = pl.col("source").replace({"a": "x @ 900", "b": "x @ 1000"})
    assert [check.severity for check in check_rows(table.with_columns(names))] == ["caution"]
    assert [check.severity for check in check_rows(table)] == ["void"]


@cache
def _cell(unreadable: int, measure: str = "raw_gain", of_base: int = 0):
    """100 items of which the base has 50 right and the run 40; the last ones are unreadable."""
    table = rows(base=[0] * 50 + [1] * 50, a__0=[1] * 10 + [0] * 40 + [1] * 50)
    place = pl.col("item").cast(pl.Int64)
    run = pl.when(pl.col("source").is_null()).then(of_base).otherwise(unreadable)
    unread = place >= 100 - run
    marked = table.with_columns(
        unreadable=unread, choice=pl.when(~unread).then("choice"), answer=pl.lit(0)
    )
    dataset = from_predictions(check_predictions(marked, "made"))
    analysis = ts.analyze(dataset, Settings(measure=measure))
    return analysis.models["m"].pgf["a"]["t"]


def test_unreadable_replies_widen_an_interval_by_what_they_may_have_been():
    """Twenty of 100 unreadable: at best all are right, 20 points more; at worst none is."""
    known, bounded = _cell(0), _cell(20)
    assert bounded.mean == known.mean == pytest.approx(-0.1)
    assert bounded.ci == pytest.approx((known.ci[0], known.ci[1] + 0.2))
    assert np.isnan(bounded.p_value)
    assert np.isnan(bounded.q_value)


def test_unreadable_replies_of_the_base_can_only_lower_an_effect():
    known, bounded = _cell(0, "pgf"), _cell(0, "pgf", of_base=10)
    assert bounded.ci[1] == pytest.approx(known.ci[1])
    lowest = (0.4 - 0.6) / (1 - 0.6)  # ten more of the base's 100 may be right
    assert bounded.ci[0] == pytest.approx(known.ci[0] + lowest - (0.4 - 0.5) / (1 - 0.5))


def test_no_accuracy_can_change_by_more_than_all_of_it():
    """Of the base and of the run no reply could be read: 0 to 1 of either may be right."""
    table = rows(base=[1] * 100, a__0=[1] * 100).with_columns(
        unreadable=True, choice=pl.lit(None, pl.Int64), answer=pl.lit(0)
    )
    analysis = ts.analyze(from_predictions(check_predictions(table, "made")))
    assert analysis.models["m"].pgf["a"]["t"].change_ci == (-1, 1)


def test_five_in_a_hundred_unreadable_leave_a_verdict():
    assert _cell(5).ci == pytest.approx(_cell(0).ci)
    assert not np.isnan(_cell(5).p_value)


def test_a_void_cell_stays_void_where_replies_are_unreadable_too(tmp_path):
    gold, replies = letters(0), letters(2)
    lmms_blink(tmp_path / "base", letters(1), gold)
    unread = ["I cannot tell."] * 10 + replies[10:]
    lmms_blink(tmp_path / "ft", unread, gold, input="Think step by step.\n" + PROMPT)
    (run,) = ts.compare(tmp_path / "base", [tmp_path / "ft"]).runs
    assert run.cells["Multi-view_Reasoning"].state == "void"
