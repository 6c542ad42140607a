"""Results of other harnesses: found by content, read again, counted where they disagree."""

import json
import pickle
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import harness_logs as logs
import numpy as np
import polars as pl
import pytest
from harness_logs import (
    TASK,
    blink_outputs,
    lmms_blink,
    lmms_results,
    read_one,
    two_runs,
    vlmevalkit,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import raises
from tables import Read, refused

from transferscope.errors import DataError, MissingExtra
from transferscope.readers import read_results
from transferscope.readers.harness import HARNESSES, foreign_files, raw, terms
from transferscope.readers.harness.evaluations import read_evaluations
from transferscope.readers.harness.foreign_files import ForeignFile, load
from transferscope.readers.harness.judging import judge
from transferscope.readers.harness.samples import HarnessLog, HarnessSample, Options

GOLD = "ABABABAB"
BASE = ("(A)", "(B)", "(B)", "(A)", "(A)", "(B)", "(B)", "(A)")  # 4 of 8 right
TUNED = ("(A)", "(B)", "(A)", "(B)", "(A)", "(B)", "(B)", "(A)")  # 6 of 8 right


def said(found, words):
    """The one note that holds these words."""
    (note,) = [note for note in found.notes if words in note]
    return note


def one_run(path: Path):
    """What a single file is read as: the harness and its samples by target."""
    run = read_one(path)
    return run, {target: list(items.values()) for target, items in run.samples.items()}


# The same matrix from every harness


@pytest.mark.parametrize(
    "write",
    [
        lmms_blink,
        blink_outputs,
        vlmevalkit,
        lambda folder, r, g: vlmevalkit(folder, r, g, name="x.csv"),
        lambda folder, r, g: vlmevalkit(folder, r, g, name="x.json"),
        lambda folder, r, g: lmms_blink(folder, r, g, name="renamed.txt"),
        lambda folder, r, g: blink_outputs(folder / "deep" / "er", r, g, name="x"),
    ],
)
def test_every_harness_gives_the_same_rows(tmp_path, write):
    write(tmp_path / "base", BASE, GOLD)
    write(tmp_path / "tuned", TUNED, GOLD)
    found = Read(two_runs(tmp_path))
    assert [found.names(name) for name in ("model", "source", "target")] == [
        ["m"],
        ["Jigsaw"],
        [TASK],
    ]
    assert found.cell(None)["correct"].to_list() == [1, 1, 0, 0, 1, 1, 0, 0]
    assert found.cell("Jigsaw")["correct"].to_list() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert not any("differently" in note for note in found.notes)


def test_the_matrix_of_a_harness_has_the_items_of_base_and_run(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    found = read_results(two_runs(tmp_path))
    assert float(found["base_accuracy"].item()) == 4 / 8
    assert float(found["accuracy"].item()) == 6 / 8
    assert float(found["pgf"].item()) == 0.5  # (6/8 - 4/8) / (1 - 4/8)
    base = found["base_item_correct"].values.ravel()
    np.testing.assert_array_equal(base, [1, 1, 0, 0, 1, 1, 0, 0])


def test_what_was_read_is_recorded_run_by_run(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    entries = Read(("7B", two_runs(tmp_path, head=""))).one.entries
    assert [entry["file"] for entry in entries] == ["mapping.yaml", "base/", "tuned/"]
    assert [entry["kind"] for entry in entries] == ["mapping file", "lmms-eval", "lmms-eval"]
    assert {entry["model"] for entry in entries} == {"7B"}
    assert len({entry["sha256"] for entry in entries}) == 3


@pytest.mark.parametrize(
    ("write", "harness"),
    [
        (lmms_blink, "lmms-eval"),
        (blink_outputs, "BLINK's own evaluation"),
        (vlmevalkit, "VLMEvalKit"),
        (lambda folder, r, g: lmms_results(folder, {TASK: 0.5}), "lmms-eval"),
        (
            lambda folder, r, g: lmms_results(folder, {TASK: 0.5}, transformers_version="5"),
            "lm-evaluation-harness",
        ),
        (
            lambda folder, r, g: lmms_blink(folder, r, g, prompt_hash="0", metrics=["blink_acc"]),
            "lm-evaluation-harness",
        ),
        (
            lambda folder, r, g: logs.put(
                folder / "a.csv", f'"split","Overall","{TASK}"\n"none","0.5","0.5"\n'
            ),
            "VLMEvalKit",
        ),
        (
            lambda folder, r, g: logs.put(folder / "a.json", '{"val_Jigsaw_1": "(A)"}'),
            "BLINK's own evaluation",
        ),
    ],
)
def test_a_file_is_one_harness_s_alone_whatever_its_name(tmp_path, write, harness):
    file = write(tmp_path, BASE, GOLD)
    loaded = load(file.rename(tmp_path / "anything"))
    assert loaded is not None
    assert [name for name, each in HARNESSES.items() if each.recognize(loaded)] == [harness]


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', "[1, 2]", "a,b\n1,2\n", "# prose, with a comma\n", "", '{"val": 3}', "\0\1", "[]"],
)
def test_files_of_no_harness_are_passed_over(tmp_path, text):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    logs.put(tmp_path / "tuned" / "other.json", text)
    logs.put(tmp_path / "tuned" / "model.pkl", "\x80\x04 not opened \0")
    found = Read(two_runs(tmp_path))
    assert (found.accuracy(None), found.accuracy("Jigsaw")) == (4 / 8, 6 / 8)


def test_a_new_harness_is_a_module_and_an_entry_in_the_dict(tmp_path, monkeypatch):
    """The recipe in CONTRIBUTING, with a toy in place of a module."""

    class Toy:
        NAME = "Toy"

        def recognize(self, file: ForeignFile) -> bool:
            return {"toy", "mark"} <= file.first.keys()

        def read(self, file: ForeignFile, options: Options) -> HarnessLog:
            found = []
            for row, values in file.rows:
                if (score := raw.fraction(values.get("mark"))) is None:
                    raise file.refuse(row, f"mark must be in [0, 1], got {values.get('mark')!r}")
                found.append(HarnessSample("toys", str(values["toy"]), row, score=score))
            return HarnessLog(found)

    monkeypatch.setitem(HARNESSES, Toy.NAME, Toy())
    for run, marks in (("base", (0, 1)), ("tuned", (1, 1))):
        rows = [{"toy": n, "mark": mark} for n, mark in enumerate(marks)]
        logs.lines(tmp_path / run / "x.jsonl", rows)
    found = Read(two_runs(tmp_path))
    assert (found.accuracy(None), found.accuracy("Jigsaw")) == (0.5, 1.0)
    assert found.one.entries[1]["kind"] == "Toy"
    logs.lines(tmp_path / "tuned" / "x.jsonl", [{"toy": 0, "mark": 1}, {"toy": 1, "mark": 7}])
    with raises(DataError):
        read_results(two_runs(tmp_path))


# Replies read again


def test_disagreements_are_counted_by_run_and_target_with_an_example(tmp_path):
    replies = ["The answer is A", "(B)", "The answer is B", "Bad light, so (A)", *BASE[4:]]
    lmms_blink(tmp_path / "base", replies, GOLD)  # read as T, B, T, B
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    found = Read(two_runs(tmp_path))
    assert said(found, "differently") == (
        "base/: lmms-eval scored 2 of 8 replies differently from their text (1 wrong where the "
        "text is right, 1 right where it is not); the text counts. Multi-view_Reasoning 2 of 8. "
        "For example item val_Multi-view_Reasoning_1: 'The answer is A' is right, scored wrong, "
        "read as 'T'."
    )
    assert found.cell(None)["correct"].to_list() == [1, 1, 0, 0, 1, 1, 0, 0]


def test_where_we_find_no_option_the_harness_s_score_counts_and_is_noted(tmp_path):
    replies = ["no idea", "the near one", *BASE[2:]]
    vlmevalkit(tmp_path / "base", replies, GOLD, hits=[1, 0, 0, 0, 1, 1, 0, 0])
    vlmevalkit(tmp_path / "tuned", TUNED, GOLD, hits=[1, 1, 1, 1, 1, 1, 0, 0])
    found = Read(two_runs(tmp_path))
    assert found.accuracy(None) == 3 / 8
    assert said(found, "find no option") == (
        "base/: we find no option in 2 of 8 replies that VLMEvalKit could read; there the reading "
        "of VLMEvalKit counts"
    )


@pytest.mark.parametrize(
    ("reply", "log"),
    [
        ("", "Match Log: ."),
        ("no idea", "Match Log: Failed to predict, thus randomly generate one. . "),
    ],
)
def test_a_random_guess_of_the_harness_is_not_taken_for_an_answer(tmp_path, reply, log):
    file = vlmevalkit(tmp_path / "base", [reply, *BASE[1:]], GOLD, hits=[1] * 8)
    head, first, rest = file.read_text().split("\n", 2)
    logs.put(file, "\n".join([head, first.replace('"."', f'"{log}"'), rest]))
    vlmevalkit(tmp_path / "tuned", TUNED, GOLD, hits=[1, 1, 1, 1, 1, 1, 0, 0])
    assert Read(two_runs(tmp_path)).accuracy(None) == 3 / 8


REPLY = HarnessSample("T", "1", 1, "(A)", ("left", "right"), answer=0)


@pytest.mark.parametrize(
    ("sample", "choice", "correct", "read_by"),
    [
        (REPLY._replace(parsed="B", score=0.0), 0, True, "ours"),
        (REPLY._replace(reply="hm", parsed="(B)", score=0.0), 1, False, "harness"),
        (REPLY._replace(reply="hm", parsed="(A) left", score=1.0), 0, True, "harness"),
        (REPLY._replace(reply="hm", score=1.0), None, True, "harness"),
        (REPLY._replace(reply="hm", score=0.0), None, False, "harness"),
        (REPLY._replace(reply="hm", parsed="(Z)", score=0.0), None, False, None),
        (REPLY._replace(reply="Alike, I fear.", parsed="A", score=1.0), None, False, None),
        (REPLY._replace(reply="Alike, I fear.", parsed="(A)", score=1.0), 0, True, "harness"),
        (REPLY._replace(reply="...", parsed="(A)", score=1.0), None, False, None),
        (REPLY._replace(reply="hm"), None, False, None),
        (REPLY._replace(reply=None, parsed="(B)"), 1, False, "harness"),
        (REPLY._replace(logprobs=(-2.0, -1.0)), 1, False, None),
        (REPLY._replace(reply="5", choices=(), answer=None, score=0.5), None, False, "harness"),
    ],
)
def test_who_read_a_reply_is_known_and_only_what_nobody_read_is_unreadable(
    sample, choice, correct, read_by
):
    found = judge(sample)
    assert found is not None
    assert (found.choice, found.correct, found.read_by) == (choice, correct, read_by)
    reply = sample.reply is not None and sample.logprobs is None
    assert found.unreadable == (read_by is None and reply)


@pytest.mark.parametrize(
    ("sample", "choice", "correct", "read_by"),
    [
        (REPLY._replace(parsed="B", score=0.0), 1, False, "harness"),
        (REPLY._replace(parsed="B"), 1, False, "harness"),
        (REPLY._replace(reply="The answer is A", parsed="T", score=0.0), None, False, None),
        (REPLY, 0, True, "ours"),
    ],
)
def test_the_harness_s_reading_counts_first_where_it_is_asked_for(sample, choice, correct, read_by):
    found = judge(sample, "harness")
    assert found is not None
    assert (found.choice, found.correct, found.read_by) == (choice, correct, read_by)


def test_a_mapping_file_chooses_whose_reading_counts(tmp_path):
    replies = ["The answer is A", *BASE[1:]]
    lmms_blink(tmp_path / "base", replies, GOLD)
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    for head, right in (("", 4), ("replies: ours\n", 4), ("replies: harness\n", 3)):
        found = Read(two_runs(tmp_path, head=f"model: m\n{head}"))
        assert found.accuracy(None) == right / 8
    assert "counts in 7 of 8 replies" in said(found, "base/: the reading of lmms-eval")
    assert "1 wrong where the text is right, 0 right" in said(found, "the score counts")
    message = refused(two_runs(tmp_path, head="model: m\nreplies: theirs\n"))
    assert message.startswith("mapping.yaml: replies: input should be 'ours' or 'harness'")


def test_choice_answer_and_unreadable_reach_the_predictions(tmp_path):
    lmms_blink(tmp_path / "base", ["(A)", "B", "hm", "left", *BASE[4:]], GOLD)
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    rows = read_evaluations(two_runs(tmp_path), None).rows.filter(pl.col("source").is_null())
    assert rows["choice"].to_list()[:4] == [0, 1, None, 0]
    assert rows["answer"].to_list() == [0, 1] * 4
    assert rows["unreadable"].to_list()[:4] == [False, False, True, False]
    assert rows["read_by"].to_list()[:4] == ["ours", "ours", None, "ours"]
    assert rows["seed"].to_list() == [None] * 8


@pytest.mark.parametrize(
    "resps", [[["(A)"]], [["(A)", "(B)"]], ["(A)"], "(A)", [[["(A)"]]], [], None]
)
def test_replies_are_found_in_lists_of_lists(tmp_path, resps):
    row = json.loads(lmms_blink(tmp_path, ["(A)"], "A").read_text())
    run, found = one_run(logs.lines(tmp_path / "x.jsonl", [row | {"resps": resps}]))
    assert found[TASK][0].reply == "(A)"
    several = any("several replies, of which the first is read" in note for note in run.notes)
    assert several == (resps == [["(A)", "(B)"]])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, logs.OPTIONS),
        ({"input": ""}, logs.OPTIONS),  # BLINK's options are the same for every item
        ({"input": "A. up\nB. down\n"}, ("up", "down")),
        ({"input": "", "doc": {"choices": ["x", "y", "z"]}}, ("x", "y", "z")),
        ({"blink_acc": 1, "doc": {"idx": "val_Counting_3"}, "input": None}, ("",) * 4),
        ({"blink_acc": 1, "input": None}, terms.ANY),  # a task of which nothing is known
    ],
)
def test_options_come_from_the_record_the_prompt_or_what_is_known_of_blink(
    tmp_path, change, expected
):
    row = json.loads(lmms_blink(tmp_path, ["(A)"], "A").read_text())
    _, found = one_run(logs.lines(tmp_path / "samples_x.jsonl", [row | change]))
    ((sample,),) = found.values()
    assert sample.choices == expected


# lm-evaluation-harness


def compared(doc_id, pairs, target, right):
    """A multiple-choice sample: texts for numbers, as the harness writes them."""
    return {
        "doc_id": doc_id,
        "doc": {"question": "?", "choices": ["red", "green", "blue"]},
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": " red"}},
        "resps": [[[str(p), "False"]] for p in pairs],
        "filtered_resps": [[str(p), "False"] for p in pairs],
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": "0",
        "prompt_hash": "0",
        "target_hash": "0",
        "acc": right,
        "acc_norm": 1 - right,
    }


def test_compared_options_choose_the_likeliest(tmp_path):
    rows = [
        compared(0, (-3, -1, -2), "1", 1.0),
        compared(1, (-1, -3, -2), "blue", 0.0),
        compared(2, (-3, -2, -1), "C", 1.0),
    ]
    for run in ("base", "tuned"):
        logs.lines(tmp_path / run / "samples_colours_2026-01-01T10-00-00.123456.jsonl", rows)
    found = Read(two_runs(tmp_path))
    assert found.names("target") == ["colours"]
    assert found.cell(None)["correct"].to_list() == [1, 0, 1]
    assert not any("differently" in note or "replies" in note for note in found.notes)


@pytest.mark.parametrize("known", [True, False])
def test_a_number_that_may_be_an_option_s_text_is_not_taken_for_its_index(tmp_path, known):
    """The log has "2" both for the third option and for an option that reads 2."""
    doc = {"question": "How many?"} | ({"choices": ["1", "2", "3"]} if known else {})
    right = (-9, -1, -8), "2", 1.0  # the second option, which reads 2
    wrong = (-9, -8, -1), "2", 0.0
    for run, rows in (("base", [right, wrong, wrong]), ("tuned", [right, right, wrong])):
        lines = [compared(n, *row) | {"doc": doc} for n, row in enumerate(rows)]
        logs.lines(tmp_path / run / "samples_count.jsonl", lines)
    found = Read(two_runs(tmp_path))
    assert found.cell(None)["correct"].to_list() == [1, 0, 0]
    assert found.cell("Jigsaw")["correct"].to_list() == [1, 1, 0]


def test_of_several_unknown_metrics_none_is_taken_for_the_score(tmp_path):
    results = {"ocr": {"length,none": 0.3, "anls_x,none": 0.5}, "vqa": {"anls,none": 0.5}}
    value = {"results": results, "configs": {}, "versions": {}}
    run, _ = one_run(logs.put(tmp_path / "results.json", json.dumps(value)))
    assert {target: score.accuracy for target, score in run.scores.items()} == {"vqa": 0.5}
    assert run.notes == [
        "run: results.json: left out: 'ocr': no one accuracy among 'length', 'anls_x'; "
        "choose one with `metric: NAME`"
    ]


def test_of_several_filters_the_first_counts(tmp_path):
    row = {**compared(0, (), "72", 0), "filtered_resps": ["72"], "resps": [["it is 72"]]}
    row = {key: value for key, value in row.items() if key not in ("acc", "acc_norm")}
    rows = [
        row | {"filter": "strict-match", "exact_match": 0.0},
        row | {"filter": "flexible-extract", "exact_match": 1.0},
    ]
    run, found = one_run(logs.lines(tmp_path / "samples_gsm8k.jsonl", rows))
    assert [sample.score for sample in found["gsm8k"]] == [0.0]
    assert any("1 samples of another filter are left out" in note for note in run.notes)


def test_answers_without_options_keep_the_harness_s_score(tmp_path):
    for run, scores in (("base", (0, 1, 0, 0)), ("tuned", (1, 1, 0, 0))):
        rows = [
            {"doc_id": n, "target": "72", "filtered_resps": ["72"], "exact_match": score}
            for n, score in enumerate(scores)
        ]
        logs.lines(tmp_path / run / "samples_gsm8k.jsonl", rows)
    found = Read(two_runs(tmp_path))
    assert found.accuracy(None) == 1 / 4
    assert found.accuracy("Jigsaw") == 2 / 4


# VSI-Bench


def vsi(doc_id, kind, truth, reply, score, **more):
    """A line of lmms-eval's `vsibench`: the question's record under each metric."""
    key = "accuracy" if truth in "ABCD" else "MRA:.5:.95:.05"
    doc = {"id": 100 + doc_id, "question_type": kind, "ground_truth": truth, "options": None}
    doc |= {"prediction": reply, key: score, **more}
    return {
        "doc_id": doc_id,
        "target": truth,
        "filtered_resps": reply,
        "doc_hash": "0",
        "vsibench_overall": doc,
        "object_counting_mra": doc,
    }


def test_vsi_bench_keeps_part_marks_and_reads_letters_again(tmp_path):
    options = ["A. power strip", "B. tower"]
    rows = [
        vsi(0, "object_counting", "4", "5", 0.5),
        vsi(1, "object_counting", "4", "4", 1.0),
        vsi(2, "object_counting", "4", "many", 0.0),
        vsi(3, "object_rel_distance", "B", "(B)", 0.0, options=options),
        vsi(4, "object_rel_distance", "A", "power strip", 0.0, options=options),
    ]
    _, found = one_run(logs.lines(tmp_path / "x_samples_vsibench.jsonl", rows))
    assert [s.score for s in found["object_counting"]] == [0.5, 1.0, 0.0]
    assert {s.item for s in found["object_counting"]} == {"100", "101", "102"}
    for run in ("base", "tuned"):
        logs.lines(tmp_path / run / "x_samples_vsibench.jsonl", rows)
    read = read_evaluations(two_runs(tmp_path), None)
    rows = read.rows.filter(pl.col("source").is_null())
    assert rows["score"].to_list() == [0.5, None, None, None, None]
    assert rows["correct"].to_list() == [False, True, False, True, True]
    assert rows["unreadable"].to_list() == [False, False, True, False, False]
    assert any("object_rel_distance 2 of 2" in note for note in read.notes)


def old_log(folder, rows, *, limit=None, **more):
    """The one file of a task that lmms-eval wrote before 0.2.4, as VSI-Bench's evaluation does."""
    settings = {"model": "llava_onevision", "limit": limit}
    whole = {"args": settings, "model_configs": {"task": "vsibench"}, "logs": rows, "time": "1"}
    return logs.put(folder / "vsibench.json", json.dumps(whole | more, indent=4))


def test_a_log_of_vsi_benchs_own_evaluation_is_read_as_its_samples_are(tmp_path):
    options = ["A. power strip", "B. tower"]
    rows = [
        vsi(0, "object_counting", "4", "5", 0.5),
        vsi(1, "object_rel_distance", "B", "(B)", 0.0, options=options),
    ]
    for row in rows:  # as it was: replies in lists, the record under one metric
        row["filtered_resps"], row["resps"] = [row["filtered_resps"]], [[row["filtered_resps"]]]
        row["prompt_hash"] = row["target_hash"] = "0"
        row["vsibench_score"] = row.pop("vsibench_overall")
        del row["object_counting_mra"]
    _, found = one_run(old_log(tmp_path / "old", rows, limit=2.0))
    _, expected = one_run(logs.lines(tmp_path / "new" / "samples_vsibench.jsonl", rows))
    assert found == expected
    assert [s.score for s in found["object_counting"]] == [0.5]
    assert [(s.reply, s.answer) for s in found["object_rel_distance"]] == [("(B)", 1)]
    old_log(tmp_path / "tuned", rows)
    averages = {"results": {"vsibench": {}}, "configs": {}, "config": {"limit": 2.0}}
    beside = old_log(tmp_path / "base", rows, limit=2.0).with_name("results.json")
    logs.put(beside, json.dumps(averages))
    assert said(Read(two_runs(tmp_path)), "limit") == (
        "base/: evaluated with limit 2.0, so not on all items"
    )
    with raises(DataError):
        one_run(old_log(tmp_path / "odd", [*rows, 3]))


def test_vlmevalkits_vsi_tables_have_part_marks(tmp_path):
    header = ("index", "question_type", "task_type", "prediction", "pred_extracted", "answer")
    header = (*header, "hit", "MRA:.5:.95:.05", "candidates")
    rows = [
        (7, "object_counting", "na", "about 5", "5", "4", "", "0.5", ""),
        (8, "route_planning", "mcq", "B.", "B", "B", "1", "", "['A. left', 'B. right']"),
    ]
    text = "\n".join("\t".join(map(str, row)) for row in (header, *rows))
    _, found = one_run(logs.put(tmp_path / "m_VSI-Bench_extract_matching.csv", text))
    assert found["object_counting"][0].score == 0.5
    (choice,) = found["route_planning"]
    assert (choice.choices, choice.answer, choice.score) == (("left", "right"), 1, 1.0)


# What several questions are about


def lmms(metric):
    return lambda folder, rows: logs.lines(
        folder / "samples_yes.jsonl",
        [
            {"doc_id": n, "target": "yes", "filtered_resps": ["Yes"], "doc_hash": "0"} | metric(one)
            for n, one in enumerate(rows)
        ],
    )


def scope(folder, rows):
    """EvalScope's reviews, whose metadata name the image."""
    return logs.lines(
        folder / "yes.jsonl",
        [
            {
                "index": n,
                "sample_score": {
                    "score": {"value": {"acc": 1.0}},
                    "sample_metadata": {"image_id": one},
                },
            }
            for n, one in enumerate(rows)
        ],
    )


def inspect(folder, rows):
    """A log of Inspect, whose metadata name the image."""
    samples = [
        {"id": n, "epoch": 1, "scores": {"match": {"value": "C"}}, "metadata": {"image_id": one}}
        for n, one in enumerate(rows)
    ]
    log = {"status": "success", "eval": {"task": "yes", "run_id": "r"}, "samples": samples}
    return logs.put(folder / "log.json", json.dumps(log))


def kit(column, name="m_MME.tsv", index=str):
    """A table of VLMEvalKit with that column."""

    def write(folder, rows):
        header = ("index", "question", "answer", "category", "prediction", column)
        lines = [(index(n), "q", "yes", "", "Yes", one or "") for n, one in enumerate(rows)]
        text = "\n".join("\t".join(map(str, row)) for row in (header, *lines))
        return logs.put(folder / name, text)

    return write


@pytest.mark.parametrize(
    ("write", "given", "expected"),
    [
        (
            lmms(lambda one: {"mme_perception_score": {"question_id": one, "category": "c"}}),
            ["0.jpg", "0.jpg", "1.jpg"],
            ["c/0.jpg", "c/0.jpg", "c/1.jpg"],
        ),
        (
            lmms(lambda one: {"vsibench_overall": {"dataset": "scannet", "scene_name": one}}),
            ["s1", "s2", None],
            ["scannet/s1", "scannet/s2", None],
        ),
        (lmms(lambda one: {"avg_accuracy": {"video_id": one}}), [7, "8", ""], ["7", "8", None]),
        (lmms(lambda one: {"doc": {"image_source": one}}), ["a", None, "a"], ["a", None, "a"]),
        (
            lmms(lambda one: {"aAcc": {"category": "VD", "set_id": "0", "figure_id": one}}),
            ["1", "1", "2"],
            ["VD/None/0/1", "VD/None/0/1", "VD/None/0/2"],
        ),
        (scope, ["a.jpg", "a.jpg", None], ["a.jpg", "a.jpg", None]),
        (inspect, ["a.jpg", "a.jpg", None], ["a.jpg", "a.jpg", None]),
        (lmms(lambda one: {"pope_accuracy": {"question_id": one}}), [0, 0, 1], [None] * 3),
        (kit("image_path"), ["OCR/0.jpg", "OCR/0.jpg", None], ["OCR/0.jpg", "OCR/0.jpg", None]),
        (
            kit("image_path"),
            ["/me/LMUData/images/MME/0.jpg", "['/me/images/B/1.jpg', '/me/images/B/2.jpg']"],
            ["MME/0.jpg", "['B/1.jpg', 'B/2.jpg']"],
        ),
        (kit("video", "m_Video-MME.tsv"), ["x", "x", "y"], ["x", "x", "y"]),
        (
            kit("l2-category", "m_HallusionBench.tsv", lambda n: f"h_b_VD_0_{n // 2}_{n % 2}"),
            ["map"] * 3,
            ["map/h/b/VD/0/0", "map/h/b/VD/0/0", "map/h/b/VD/0/1"],
        ),
        (kit("hint"), ["a", "a"], [None, None]),
    ],
)
def test_a_log_that_names_the_image_or_video_gives_groups(tmp_path, write, given, expected):
    for run in ("base", "tuned"):
        write(tmp_path / run, given)
    rows = read_evaluations(two_runs(tmp_path), None).rows
    assert rows["group"].to_list() == expected * 2


@pytest.mark.parametrize(("named", "given"), [({"image_source": "a"}, False), ({}, True)])
def test_a_note_names_benchmarks_whose_items_share_images_unknown(tmp_path, named, given):
    for run in ("base", "tuned"):
        rows = [
            {"doc_id": n, "target": "yes", "filtered_resps": ["Yes"], "doc_hash": "0", "doc": named}
            for n in range(3)
        ]
        logs.lines(tmp_path / run / "samples_pope_adv.jsonl", rows)
    found = " ".join(read_results(two_runs(tmp_path)).attrs["notes"])
    assert ("'pope_adv': several items are about one image, which no file names" in found) == given


# Averages alone


def test_averages_become_accuracies_with_counts_where_they_are_whole(tmp_path):
    lmms_results(tmp_path / "base", {TASK: 0.5, "Relative_Depth": 0.123}, limit=100)
    lmms_results(tmp_path / "tuned", {TASK: 0.75, "Relative_Depth": 0.5})
    found = read_results(two_runs(tmp_path))
    assert sorted(found["target"].values.tolist()) == [TASK, "Relative_Depth"]  # no group `blink`
    assert float(found["pgf"].sel(target=TASK).item()) == 0.5
    assert float(found["base_errors"].sel(target=TASK).item()) == 50
    assert np.isnan(found["base_errors"].sel(target="Relative_Depth")).all()  # 12.3 of 100
    found = Read(two_runs(tmp_path))
    assert "averages alone" in said(found, "base/: averages")
    assert said(found, "limit") == "base/: evaluated with limit 100, so not on all items"


def test_samples_are_preferred_to_averages_of_the_same_task(tmp_path):
    for run, replies in (("base", BASE), ("tuned", TUNED)):
        lmms_blink(tmp_path / run, replies, GOLD)
        lmms_results(tmp_path / run, {TASK: 0.99, "Jigsaw": 0.5})
    found = Read(two_runs(tmp_path))
    assert found.accuracy(None) == 0.5
    assert "base/: averages without per-sample logs left out: 'Jigsaw'" in found.notes


def test_one_run_of_averages_makes_accuracies_of_all(tmp_path):
    lmms_results(tmp_path / "base", {TASK: 0.5}, items=8)
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    found = read_results(two_runs(tmp_path))
    assert float(found["pgf"].item()) == 0.5
    assert float(found["total"].item()) == float(found["base_total"].item()) == 8
    assert "item_correct" not in found


@pytest.mark.parametrize("old", [True, False])
def test_vsi_averages_are_read_by_question_type(tmp_path, old):
    new_style = {"vsibench_overall,none": 0.4, "object_counting_mra,none": 0.5}
    new_style["route_planning_accuracy,none"] = 0.25
    inner = {"overall": 40.0, "object_counting_MRA:.5:.95:.05": 50.0, "tabulated_keys": "x"}
    old_style = {"vsibench_score,none": inner | {"route_planning_accuracy": 25.0}}
    results = {"vsibench": old_style if old else new_style}
    for run in ("base", "tuned"):
        text = json.dumps({"results": results, "configs": {}})
        logs.put(tmp_path / run / "r.json", text)
    averages = dict(Read(two_runs(tmp_path)).cell("Jigsaw")["target", "accuracy"].rows())
    assert averages == {"object_counting": 0.5, "route_planning": 0.25}


# BLINK's flat files


def test_flat_predictions_are_judged_with_the_gold_file(tmp_path):
    ids = [f"val_{TASK}_{n}" for n in range(1, 9)]
    for run, replies in (("base", BASE), ("tuned", TUNED)):
        logs.put(tmp_path / run / "m.json", json.dumps(dict(zip(ids, replies, strict=True))))
    gold = {item: f"({right})" for item, right in zip(ids, GOLD, strict=True)}
    logs.put(tmp_path / "val_answers.json", json.dumps(gold))
    found = Read(two_runs(tmp_path, head="model: m\ngold: val_answers.json\n"))
    assert (found.accuracy(None), found.accuracy("Jigsaw")) == (4 / 8, 6 / 8)
    assert refused(two_runs(tmp_path)) == (
        "base/: m.json: 8 items without a known answer are left out; no item remains to judge. "
        "BLINK's prediction files need its file of right answers, as gold"
    )


def test_the_gold_file_replaces_labels_that_were_corrected_later(tmp_path):
    blink_outputs(tmp_path / "base", BASE, "B" + GOLD[1:])
    blink_outputs(tmp_path / "tuned", TUNED, GOLD)
    (check,) = Read(two_runs(tmp_path)).checks
    assert check.severity == "void"
    assert "1 of 8 items of Multi-view_Reasoning have another right answer" in check.message
    logs.put(tmp_path / "gold.json", json.dumps({f"val_{TASK}_1": "(A)"}))
    found = Read(two_runs(tmp_path, head="model: m\ngold: gold.json\n"))
    assert found.accuracy(None) == 0.5
    assert "1 items have another right answer in the gold file" in said(found, "gold file")


def test_test_items_with_hidden_answers_are_left_out_and_counted(tmp_path):
    blink_outputs(tmp_path / "base", BASE, GOLD, test=("(A)",))
    blink_outputs(tmp_path / "tuned", TUNED, GOLD)
    found = Read(two_runs(tmp_path))
    assert said(found, "left out").endswith("whose right answer BLINK keeps hidden are left out")


# Runs that do not fit together


def test_a_table_before_and_after_scoring_is_one_table(tmp_path):
    for run, replies in (("base", BASE), ("tuned", TUNED)):
        vlmevalkit(tmp_path / run, replies, GOLD)
        hits = [r.strip("()") == g for r, g in zip(replies, GOLD, strict=True)]
        vlmevalkit(
            tmp_path / run, replies, GOLD, name="m_BLINK_exact_matching_result.csv", hits=hits
        )
    assert Read(two_runs(tmp_path)).cell(None).height == 8


def test_runs_without_a_shared_item_have_no_effect_and_no_verdict(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    vlmevalkit(tmp_path / "tuned", TUNED, GOLD)
    found = read_results(two_runs(tmp_path))
    assert found["pgf"].isnull().all()
    messages = [check.message for check in found.attrs["checks"] if check.severity == "void"]
    assert "share no item of Multi-view_Reasoning (such as '0' and 'val_Multi" in messages[0]


def test_different_harnesses_and_versions_are_noted(tmp_path):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    blink_outputs(tmp_path / "tuned", TUNED, GOLD)
    (check,) = Read(two_runs(tmp_path)).checks
    assert "evaluated by BLINK's own evaluation and by lmms-eval, whose prompts" in check.message
    lmms_results(tmp_path / "base", {TASK: 0.5})
    (tmp_path / "tuned" / "Multi-view Reasoning.json").unlink()
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    lmms_results(tmp_path / "tuned", {TASK: 0.5}, version="1.0")
    (check,) = Read(two_runs(tmp_path)).checks
    assert check.message.startswith(f"{TASK} was evaluated in different versions")


def test_items_that_the_model_did_not_answer_are_left_out(tmp_path):
    failed = ["Failed to obtain answer via API.", *BASE[1:]]
    vlmevalkit(tmp_path / "base", failed, GOLD)
    vlmevalkit(tmp_path / "tuned", TUNED, GOLD)
    found = Read(two_runs(tmp_path))
    assert found.cell(None).height == 7
    assert "1 items that the model did not answer" in said(found, "base/: m_BLINK.tsv: 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"doc_id": 0, "target": "(A)", "resps": "A"}\n{"doc',
            "tuned/: x.jsonl: row 2 is cut short; copy the file again",
        ),
        (
            '{"doc_id": 0, "target": "(A)", "resps": "A"}\n[1]\n{}\n',
            "x.jsonl: row 2 is not a JSON object",
        ),
        ('{"doc_id": 0, "target": "(A)", "resps": "A"}\n', "x.jsonl: row 1: must name the task"),
        (
            '{"doc_id": 0, "target": "(A)", "resps": "A", "blink_acc": {"id": "val_Jigsaw_1"}}\n'
            '{"target": "(A)"}\n',
            "x.jsonl: row 2: must have doc_id and target",
        ),
        ("index,answer,prediction\n,A,A\n", "x.jsonl: row 1: index is empty"),
        ("index,answer,prediction\n1,A\n", "x.jsonl: row 1: 2 fields, expected 3"),
        ("index,answer,prediction\n1,A,A\n2,B\n", "row 2: 2 fields, expected 3"),
        ('{"val": [{"idx": "17", "answer": "(A)"}]}', "idx must be val_TASK_NUMBER, got '17'"),
        ("hello", "tuned/: 'x.jsonl' (not a file of a known harness)"),
        ("split,Overall,x\na,1,1\nb,1,1\n", "several splits, none called val"),
        ("[" * 100_000, "x.jsonl: JSON is nested too deeply"),
    ],
)
def test_a_damaged_log_is_refused_in_one_line_that_names_run_file_and_row(tmp_path, text, message):
    lmms_blink(tmp_path / "base", BASE, GOLD)
    logs.put(tmp_path / "tuned" / "x.jsonl", text)
    assert message in refused(two_runs(tmp_path))


def test_names_of_tasks_are_blinks_where_they_are_blinks():
    for theirs in ("blink_multi_view_reasoning", "Blink Multi-view Reasoning", TASK):
        assert terms.target_name(theirs) == TASK
    for other in (
        "object_localization",
        "Spatial Relation",
        "counting",
    ):  # also of other benchmarks
        assert terms.target_name(other) == other
    assert terms.target_name("mmlu_anatomy") == "mmlu_anatomy"
    assert terms.target_of_item("val_Functional_Correspondence_12") == "Functional_Correspondence"
    assert terms.target_of_item("12") is None


# Workbooks


def workbook(path: Path, replies):
    rows = [
        (n, "Which way?", *logs.OPTIONS, right, TASK, reply)
        for n, (reply, right) in enumerate(zip(replies, GOLD, strict=True))
    ]
    return logs.xlsx(path, {"Sheet1": [logs.VLM_COLUMNS, *rows]})


def test_a_workbook_needs_a_package_and_says_how_to_do_without(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    workbook(tmp_path / "base" / "m_BLINK.xlsx", BASE)
    vlmevalkit(tmp_path / "tuned", TUNED, GOLD)
    with pytest.raises(MissingExtra) as caught:
        read_results(two_runs(tmp_path))
    assert str(caught.value) == (
        "m_BLINK.xlsx: xlsx needs the extra xlsx (pip install 'transferscope[xlsx]'); or let "
        "VLMEvalKit write tables (PRED_FORMAT=tsv), or save the sheet as CSV"
    )


def test_of_several_sheets_the_one_called_all_counts(tmp_path):
    pytest.importorskip("fastexcel")
    head = ("index", "question_type", "prediction", "answer", "MRA:.5:.95:.05")
    sheets = {"mcq": [("index",), (1,)], "ALL": [head, (3, "object_counting", "5", "4", 0.5)]}
    _, found = one_run(logs.xlsx(tmp_path / "x.xlsx", sheets))
    assert [(s.item, s.score) for s in found["object_counting"]] == [("3", 0.5)]


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_files, "LARGEST", 5_000)
    logs.xlsx(tmp_path / "base" / "x.xlsx", {"a": [("x" * 100_000,)]})
    vlmevalkit(tmp_path / "tuned", TUNED, GOLD)
    assert "x.xlsx: must unpack to at most" in refused(two_runs(tmp_path))


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_files, "LARGEST", 5_000)
    lmms_blink(tmp_path / "base", BASE * 10, GOLD * 10)
    vlmevalkit(tmp_path / "tuned", TUNED, GOLD)
    assert "must be at most 0 MB" in refused(two_runs(tmp_path))


def test_a_folder_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_files, "MOST_FILES", 2)
    for n in range(3):
        logs.put(tmp_path / "base" / f"{n}.txt", "x")
    lmms_blink(tmp_path / "tuned", TUNED, GOLD)
    assert "at most 2 files; name the folder that holds" in refused(two_runs(tmp_path))


def test_a_zip_archive_or_a_pickle_is_no_data(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        archive.writestr("notes.txt", "x")
    assert load(tmp_path / "x.xlsx") is None
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"index": {"hit": 1}}))
    assert load(tmp_path / "x.pkl") is None


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (logs.PROMPT, logs.OPTIONS),
        ("Is A. Turing here?\nA. yes\nB. no\nAnswer with the option's letter.", ("yes", "no")),
        ("(A) 1\n(B) 2\n\nNow this:\n(A) 3\n(B) 4\n(C) 5\n", ("3", "4", "5")),  # few-shot
        ("(A) 1\n(B) 2\nD. H. Lawrence wrote it.", ("1", "2")),
        ("How many?", ()),
    ],
)
def test_options_are_those_at_the_prompts_end(prompt, expected):
    assert terms.options_in(prompt) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["A. power strip", "B. tower"], ("power strip", "tower")),
        ("['A. power strip', 'B. tower']", ("power strip", "tower")),
        (["A dog", "B flat"], ("A dog", "B flat")),  # no letters before them
        ({"text": ["x", "y"], "label": ["1", "2"]}, ("x", "y")),
        ("[" * 5000, ()),
        ("__import__('os').system('x')", ()),
        ("['x'.__class__]", ()),
        ([], ()),
        (None, ()),
        (["x"] * 11, ()),
    ],
)
def test_options_are_read_from_lists_and_their_text(value, expected):
    assert terms.options_of(value) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
SHAPES = {
    "lmms": lambda folder: lmms_blink(folder, ["(A)"], "A"),
    "compared": lambda folder: logs.lines(folder / "x", [compared(0, (-3, -1), "1", 1.0)]),
    "vsi": lambda folder: logs.lines(folder / "x", [vsi(0, "object_counting", "4", "5", 0.5)]),
    "old": lambda folder: old_log(folder, [vsi(0, "object_counting", "4", "5", 0.5)]),
    "results": lambda folder: lmms_results(folder, {TASK: 0.5}),
    "vlmevalkit": lambda folder: vlmevalkit(folder, ["A"], "A", name="x.json", hits=[1]),
    "scores": lambda folder: logs.lines(
        folder / "x", [{"split": "none", "Overall": 0.5, TASK: 0.5}]
    ),
    "outputs": lambda folder: blink_outputs(folder, ["(A)"], "A"),
}


@cache
def written(shape: str) -> str:
    """The text of a file of this shape, made once."""
    with tempfile.TemporaryDirectory() as folder:
        return SHAPES[shape](Path(folder)).read_text()


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=60)
@given(data=st.data())
def test_a_file_with_strange_values_is_read_or_refused_in_one_line(shape, data, tmp_path_factory):
    value = json.loads(written(shape))
    value = inside = value[0] if isinstance(value, list) else value
    while True:  # some key at some depth gets some other value
        keys = sorted(inside)
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(inside[key], dict) and inside[key] and data.draw(st.booleans())
        if not deeper:
            break
        inside = inside[key]
    inside[key] = data.draw(JSON)
    folder = tmp_path_factory.getbasetemp() / "odd"
    file = logs.put(folder / "samples_x.json", json.dumps(value))
    message = ""
    try:
        _, found = one_run(file)
        assert all(judge(s) is None or judge(s) for samples in found.values() for s in samples)
    except DataError as error:
        message = str(error)
    assert "\n" not in message
