"""Files of one run put together, and which of a file's numbers are scores."""

import json
import os

import harness_logs as logs
import numpy as np
import pytest
from harness_logs import TASK, lmms_blink, lmms_results, mapping, two_runs, vlmevalkit
from hypothesis import given
from hypothesis import strategies as st
from messages import raises
from tables import Read, refused

import transferscope as ts
from transferscope.analysis.settings import Settings
from transferscope.errors import DataError
from transferscope.matrix.transfer_matrix import unknown_tasks
from transferscope.readers import read_results
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.merging import RunPath, missing_key
from transferscope.readers.harness.metrics import items_behind, unit_in
from transferscope.tasks.checkpoints import step_of

GOLD = "ABABABAB"
BASE = ("(A)", "(B)", "(B)", "(A)", "(A)", "(B)", "(B)", "(A)")  # 4 of 8 right
TUNED = ("(A)", "(B)", "(A)", "(B)", "(A)", "(B)", "(B)", "(A)")  # 6 of 8 right
NAME = "_samples_blink_multi_view_reasoning.jsonl"


def accuracy(found):
    return found.accuracy("Jigsaw", TASK)


def notes(found, words):
    return [note for note in found.notes if words in note]


def test_a_task_that_is_named_as_the_mean_is_refused(tmp_path):
    for name, replies in (("base", BASE), ("tuned", TUNED)):
        lmms_blink(tmp_path / name, replies, GOLD, task="mean", name="samples_mean.jsonl")
    with raises(DataError):
        ts.compare(tmp_path / "base", [tmp_path / "tuned"])


# Reruns and parts


@pytest.mark.parametrize("names", [("20260101_120000", "20260102_120000"), ("", "20260102_120000")])
def test_the_newer_of_two_runs_in_one_folder_counts(tmp_path, names):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    for time, replies in zip(names, (BASE, TUNED), strict=True):
        file = lmms_blink(tmp_path / "tuned", replies, GOLD, name=time + NAME)
        os.utime(file, (1, 1 if time == names[0] else 2))
    found = Read(two_runs(tmp_path))
    assert accuracy(found) == 6 / 8
    (note,) = notes(found, "newer")
    assert f"tuned/{names[1]}{NAME} counts" in note
    assert f"tuned/{names[0]}{NAME}, which is left out" in note


def test_times_in_names_count_before_those_of_the_file_system(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    new = lmms_blink(tmp_path / "tuned", TUNED, GOLD, name="20260102_120000" + NAME)
    lmms_blink(tmp_path / "tuned", BASE, GOLD, name="20260101_120000" + NAME)
    os.utime(new, (1, 1))
    assert accuracy(Read(two_runs(tmp_path))) == 6 / 8


def test_a_rerun_of_vlmevalkit_lies_in_a_folder_with_another_time(tmp_path):
    vlmevalkit(tmp_path / "base", BASE, GOLD)
    vlmevalkit(tmp_path / "tuned" / "M" / "T20260101_Gf2", BASE, GOLD, name="M_BLINK.tsv")
    vlmevalkit(tmp_path / "tuned" / "M" / "T20260102_Ga1", TUNED, GOLD, name="M_BLINK.tsv")
    assert accuracy(Read(two_runs(tmp_path))) == 6 / 8


def test_a_rerun_that_was_cut_short_counts_and_the_note_has_both_sizes(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    lmms_blink(tmp_path / "tuned", BASE, GOLD, name="20260101_120000" + NAME)
    lmms_blink(tmp_path / "tuned", TUNED[2:5], GOLD[2:5], name="20260102_120000" + NAME)
    found = Read(two_runs(tmp_path))
    assert notes(found, "counts (3 items, 8 before), as it is newer")


def test_averages_of_a_rerun_are_those_of_the_newer(tmp_path):
    lmms_results(tmp_path / "base", {TASK: 0.5})
    lmms_results(tmp_path / "tuned", {TASK: 0.5})
    newer = lmms_results(tmp_path / "tuned" / "x", {TASK: 0.75}).read_text()
    (tmp_path / "tuned" / "x" / "20260101_120000_results.json").unlink()
    logs.put(tmp_path / "tuned" / "20260103_120000_results.json", newer)
    assert accuracy(Read(two_runs(tmp_path))) == 0.75


def test_averages_of_two_runs_are_refused_even_if_they_are_alike(tmp_path):
    lmms_results(tmp_path / "base", {TASK: 0.5})
    lmms_results(tmp_path / "ckpt-1", {TASK: 0.75})
    lmms_results(tmp_path / "ckpt-2", {TASK: 0.75})
    runs = ("path: base", "path: ckpt-1, source: Jigsaw", "path: ckpt-2, source: Jigsaw")
    assert refused(mapping(tmp_path, *runs)) == (
        "ckpt-1/20260101_120000_results.json and ckpt-2/20260101_120000_results.json both hold "
        f"'{TASK}' of one run; in the mapping, `step` is missing: 1 for one and 2 for the other"
    )


def test_two_checkpoints_with_the_same_replies_are_two_runs_nevertheless(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    lmms_blink(tmp_path / "tuned", TUNED, GOLD, name="ckpt-1.jsonl")
    lmms_blink(tmp_path / "tuned", TUNED, GOLD, name="ckpt-2.jsonl")
    assert "`step` is missing: 1 for one and 2 for the other" in refused(two_runs(tmp_path))


def test_halves_of_a_task_from_two_runs_are_not_put_together(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    rows = lmms_blink(tmp_path / "x", TUNED, GOLD).read_text().splitlines(keepends=True)
    logs.put(tmp_path / "seed0" / "a.jsonl", "".join(rows[:4]))
    logs.put(tmp_path / "seed1" / "a.jsonl", "".join(rows[4:]))
    runs = ("path: base", "path: seed0, source: Jigsaw", "path: seed1, source: Jigsaw")
    message = refused(mapping(tmp_path, *runs))
    assert message.endswith("in the mapping, `seed` is missing: 0 for one and 1 for the other")
    assert message.startswith("seed0/a.jsonl and seed1/a.jsonl both hold")


def test_rows_that_repeat_an_item_alike_count_once_and_are_noted(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    file = lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    file.write_text(file.read_text() * 2)
    found = Read(two_runs(tmp_path))
    assert found.cell("Jigsaw").height == 8
    assert notes(found, "8 rows repeat an item alike; each counts once")


@pytest.mark.parametrize(
    ("one", "two", "base", "key"),
    [
        ("out/checkpoint-100/x", "out/checkpoint-784/x", False, "step"),
        ("out/global_step100/x", "out/step_784/x", False, "step"),
        ("out/seed0/x", "out/seed_1/x", False, "seed"),
        ("out/chat/x", "out/code/x", False, "source"),
        ("out/checkpoint-100/x", "out/checkpoint-784/x", True, "source"),
        ("out/seed0/x", "out/seed1/x", True, "seed"),
    ],
)
def test_the_missing_key_is_what_differs_in_the_names(one, two, base, key):
    assert missing_key(one, two, base=base).startswith(f"`{key}` is missing")


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("checkpoint-500/x.json", 500),
        ("a/ckpt_90.json", 90),
        ("global_step1000", 1000),
        ("1.4b_step133000.json", 133000),
        ("checkpoint-1/checkpoint-2", 2),
        ("footstep-9", None),
        ("base", None),
    ],
)
def test_steps_are_read_from_names(path, step):
    assert step_of(path) == step


def test_times_do_not_tell_evaluations_apart_and_steps_do(tmp_path):
    def evaluation(name):
        return RunPath(tmp_path / name, name).evaluation

    same = (
        "r_2026-01-02T00-00-00.5.json",
        "r_2026-01-03T00-00-00.5.json",
        "20260101_120000_r.json",
    )
    assert len({evaluation(name) for name in same}) == 1
    assert evaluation("m_BLINK.tsv") == evaluation("m_BLINK_gpt-4-0125_result.tsv")
    assert evaluation("step1.json") != evaluation("step2.json")


# Globs


def test_a_glob_without_steps_is_one_run_of_parts(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    lmms_blink(tmp_path / "base", BASE, GOLD, task="Jigsaw")
    lmms_blink(tmp_path / "t1", TUNED, GOLD)
    lmms_blink(tmp_path / "t2", TUNED, GOLD, task="Jigsaw")
    found = Read(mapping(tmp_path, "path: base", 'path: "t?", source: Jigsaw'))
    assert found.names("source") == ["Jigsaw"]
    assert found.cell("Jigsaw")["target"].value_counts()["count"].to_list() == [8, 8]
    assert notes(found, "t?: matches 2: 't1', 't2'")


def test_checkpoints_of_a_glob_are_in_the_order_of_their_steps_and_odd_names_are_named(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    for step in ("90", "500", "x"):
        lmms_blink(tmp_path / "out" / f"checkpoint-{step}", TUNED, GOLD)
    found = Read(mapping(tmp_path, "path: base", 'path: "out/*", source: Jigsaw'))
    assert found.names("source") == ["Jigsaw @ 90", "Jigsaw @ 500"]
    assert notes(found, "'out/checkpoint-x': left out, as the name has no step")


def test_a_path_that_is_nearly_right_is_answered_with_the_right_one(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    lmms_blink(tmp_path / "logs" / "tuned", TUNED, GOLD)
    message = refused(mapping(tmp_path, "path: base", "path: logs/tunde, source: Jigsaw"))
    assert message.endswith("logs/tunde: no such file or folder; the nearest is 'logs/tuned'")


# Stray files


def test_a_broken_log_does_not_end_a_run_that_has_others(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    good = lmms_blink(tmp_path / "tuned", TUNED, GOLD, task="Jigsaw")
    good.write_text(good.read_text()[:-40])
    logs.put(tmp_path / "tuned" / "odd.csv", "index,answer,prediction\n,A,A\n")
    logs.put(tmp_path / "tuned" / "log.eval", "\0")
    found = Read(two_runs(tmp_path))
    assert accuracy(found) == 6 / 8
    assert len(notes(found, "tuned/: passed over: ")) == 3
    assert notes(found, f"{good.name}: row 8 is cut short; copy the file again")
    assert notes(found, "odd.csv: row 1: index is empty")


# Numbers


@given(st.integers(2, 20_000), st.data())
def test_the_number_of_items_follows_from_a_standard_error(items, data):
    share = data.draw(st.integers(1, items - 1)) / items
    marks = np.zeros(items)
    marks[: round(share * items)] = 1
    error = marks.std(ddof=1) / np.sqrt(items)
    if round(error, 8) != error:
        assert items_behind([(share, float(error))]) == items
    assert items_behind([(share, round(float(error), 4))]) is None  # may fit another by luck


def test_no_number_of_items_follows_from_all_right_or_none():
    assert items_behind([(0.0, 0.0), (1.0, 0.0)]) is None
    assert items_behind([(0.0, 0.0), (0.5, 0.5 / np.sqrt(99))]) == 100  # by another metric


def test_one_file_has_one_unit():
    file = ForeignFile(None, [], name="x.csv")
    assert unit_in(file, [0.576, 0.0, 1.0]) == 1
    assert unit_in(file, [57.6, 0.0, 100.0]) == 100
    for values in ([0.576, 57.6], [1471.1, 418.5], [-0.02, 0.5]):
        with raises(DataError):
            unit_in(file, values)


def results(folder, metrics, **more):
    value = {"results": {"t": metrics}, "configs": {}, "pretty_env_info": "", **more}
    return logs.put(folder / "results.json", json.dumps(value))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("POPE_score", "split,Overall,acc\nOverall,88.0,86.5\nrandom,89.0,90.0\n", {"POPE": 0.865}),
        ("MMStar_acc", "split,Overall,math\nnone,0.5,0.25\n", {"MMStar/math": 0.25}),
        ("MMMU_DEV_VAL_acc", "split,Overall\ndev,0.4\nvalidation,0.5\n", {"MMMU_DEV_VAL": 0.5}),
        ("ChartQA_TEST_acc", "test_human,Overall\n70.0,75.0\n", {"ChartQA_TEST/test_human": 0.7}),
        ("TextVQA_VAL_acc", '"Overall"\n"75.3"\n', {"TextVQA_VAL": 0.753}),
        (
            "MathVista_MINI_gpt-4_score",
            "Task&Skill,tot,hit\nOverall,1000,632\n",
            {"MathVista_MINI": 0.632},
        ),
        ("New_acc", "split,Overall,Counting\nnone,0.5,0.25\n", {"New/Counting": 0.25}),
    ],
)
def test_score_files_of_vlmevalkit_give_accuracies(tmp_path, name, text, expected):
    for run in ("base", "tuned"):
        logs.put(tmp_path / run / f"M_{name}.csv", text)
    found = Read(two_runs(tmp_path))
    values = found.cell("Jigsaw")["target", "accuracy"].rows()
    assert dict(values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "split,Overall,acc\nOverall,88.0,\nrandom,89.0,90.0\n",
            "acc of all items must be a number, got ''",
        ),
        ("split,Overall,math\nnone,50.0,0.25\n", "has 0.25 and 50: fractions or percent?"),
        ("perception,reasoning\n1471.1,418.6\n", "sums of points, not fractions"),
        ("Score (Strict),Score (Loose)\n45.33%,60%\n", "no column called Overall"),
    ],
)
def test_a_score_file_without_an_accuracy_is_named_with_the_reason(tmp_path, text, why):
    for run in ("base", "tuned"):
        lmms_blink(tmp_path / run, BASE, GOLD)
        logs.put(tmp_path / run / "M_MME_score.csv", text)
    found = Read(two_runs(tmp_path))
    assert found.names("target") == [TASK]
    assert notes(found, f"base/: passed over: M_MME_score.csv: row 1: {why}")


def test_two_metrics_are_not_compared_with_each_other(tmp_path):
    results(tmp_path / "base", {"acc,none": 0.5})
    results(tmp_path / "tuned", {"acc_norm,none": 0.7})
    assert refused(two_runs(tmp_path)) == (
        "tuned/: t has acc_norm, but acc in base/; choose one that both have with `metric:`"
    )


def test_a_metric_is_taken_by_name_for_the_file_or_for_a_run(tmp_path):
    for name, value in (("base", 0.5), ("tuned", 0.6)):
        results(tmp_path / name, {"acc,none": 0.1, "f1,none": value})
    by_file = Read(two_runs(tmp_path, head="model: m\nmetric: f1\n"))
    by_run = Read(
        mapping(tmp_path, "path: base, metric: f1", "path: tuned, source: Jigsaw, metric: f1")
    )
    for found in (by_file, by_run):
        assert found.accuracy("Jigsaw") == 0.6


def test_a_comparison_of_sentences_for_bias_is_no_accuracy(tmp_path):
    rows = [
        {
            "doc_id": n,
            "doc": {"sent_more": "x", "sent_less": "y"},
            "target": "0",
            "resps": [[["-1.0", "False"]], [["-2.0", "False"]]],
            "filtered_resps": [["-1.0", "False"], ["-2.0", "False"]],
            "doc_hash": "0",
            "likelihood_diff": 1.0,
            "pct_stereotype": 1.0,
        }
        for n in range(4)
    ]
    for name in ("base", "tuned"):
        logs.lines(tmp_path / name / "samples_crows_pairs.jsonl", rows)
        lmms_blink(tmp_path / name, BASE, GOLD)
    found = Read(two_runs(tmp_path))
    assert found.names("target") == [TASK]
    assert notes(found, "base/: samples_crows_pairs.jsonl: 'crows_pairs' left out: no one accuracy")


def test_a_name_that_only_sounds_like_a_task_is_no_misspelling():
    for name in ("chat-style", "blend", "SST2"):
        assert "did you mean" not in unknown_tasks([name], [])[0]
    for name in ("Jigsaws", "relative depht", "art style"):
        assert "did you mean" in unknown_tasks([name], [])[0]


def test_an_open_form_is_no_misspelling_of_the_task_with_choices():
    assert "did you mean" not in unknown_tasks(["Visual_Similarity_open"], [])[0]
    assert "mean 'Counting_open'?" in unknown_tasks(["counting open"], [])[0]


def test_a_target_without_a_number_of_items_has_no_interval_beside_one_that_has(tmp_path):
    text = ",,Counting,0.5,60,120\n,,x,0.5,,\n0,Jigsaw,Counting,0.55,66,120\n0,Jigsaw,x,0.6,,\n"
    table = logs.put(tmp_path / "t.csv", "seed,source,target,accuracy,correct,total\n" + text)
    analysis = ts.analyze(read_results(table), Settings())
    cells = analysis.models["t"].pgf["Jigsaw"]
    low, high = cells["Counting"].ci
    assert low < cells["Counting"].mean < high
    assert np.isnan(cells["x"].ci).all()
    assert np.isnan(cells["x"].p_value)
    assert cells["x"].mean == pytest.approx(0.2)
