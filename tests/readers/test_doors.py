"""Ways in: the predictions table, plain accuracy tables, and logs of further harnesses."""

import json
import zipfile
from pathlib import Path
from typing import Any

import hypothesis
import messages
import numpy as np
import polars as pl
import pytest
from harness_logs import lines, put, read_one, two_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import raises
from tables import Read, refused, written

from transferscope.errors import DataError
from transferscope.readers import read_results
from transferscope.readers.harness import inspect_ai
from transferscope.readers.harness.foreign_files import load
from transferscope.readers.harness.samples import Options

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
OTHERS = REAL / "other-harnesses"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real files in {REAL}")

ROWS = [
    {"source": "", "target": "Jigsaw", "item": 1, "score": 1},
    {"source": "", "target": "Jigsaw", "item": 2, "score": 0},
    {"source": "Counting", "target": "Jigsaw", "item": 1, "score": 1},
    {"source": "Counting", "target": "Jigsaw", "item": 2, "score": True},
]


# The predictions table


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "semicolons", "tabs", "parquet"])
def test_source_target_item_and_score_are_enough_in_every_form(form, tmp_path):
    frame = pl.DataFrame([row | {"score": float(row["score"])} for row in ROWS])
    path = tmp_path / f"mine.{form}"
    if form == "jsonl":
        lines(path, ROWS)
    elif form == "json":
        put(path, json.dumps(ROWS, indent=1))
    elif form == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator={"semicolons": ";", "tabs": "\t"}.get(form, ","))
    found = Read(path)
    assert found.names("model") == ["mine"]
    assert found.names("seed") == ["0"]
    assert found.accuracy(None, "Jigsaw") == 0.5
    assert found.accuracy("Counting", "Jigsaw") == 1.0
    assert found.rows["score"].is_null().all()  # whole marks are counts


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_table_may_name_what_items_share(form, tmp_path):
    rows = [{"item": n, "group": group} for n, group in enumerate((7, 7, None, None, 8))]
    rows = [{"source": s, "target": "T", "score": 1.0, **row} for s in ("", "S") for row in rows]
    path, frame = tmp_path / f"mine.{form}", pl.DataFrame(rows)
    if form == "jsonl":
        lines(path, rows)
    elif form == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    assert Read(path).rows["group"].to_list() == ["7", "7", None, None, "8"] * 2
    if form == "jsonl":
        assert read_results(path)["item_group"].values.tolist() == [0, 0, 1, 2, 3]


def test_a_step_beside_a_source_makes_a_checkpoint(tmp_path):
    rows = [row | {"step": 500 if row["source"] else None} for row in ROWS]
    rows += [row | {"step": 1000.0, "score": 0} for row in ROWS if row["source"]]
    found = Read(lines(tmp_path / "x.jsonl", rows))
    assert found.names("source") == ["Counting @ 500", "Counting @ 1000"]
    assert found.accuracy("Counting @ 1000", "Jigsaw") == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"step": "late"},
        {"step": 5, "source": "Counting @ 9"},
        {"step": 5, "source": None},
        {"score": 50},
        {"score": "yes"},
    ],
)
def test_a_row_with_too_much_or_too_little_is_refused(change, tmp_path):
    rows = [ROWS[0], ROWS[1], ROWS[2] | change, ROWS[3]]
    messages.check(refused(lines(tmp_path / "x.jsonl", rows)))


@pytest.mark.parametrize("base", ["", "base", "Base ", None, "none", "baseline"])
def test_a_source_called_base_is_the_base(base, tmp_path):
    rows = [row | {"source": row["source"] or base} for row in ROWS]
    assert Read(lines(tmp_path / "x.jsonl", rows)).accuracy(None, "Jigsaw") == 0.5


def test_partial_marks_are_kept_and_whole_marks_are_counts(tmp_path):
    rows = [row | {"target": "Size", "score": 0.25} for row in ROWS]
    found = read_results(lines(tmp_path / "x.jsonl", [*ROWS, *rows]))
    right = found["correct"].isel(model=0, seed=0).sel(source="Counting")
    partial = found["accuracy"].isel(model=0, seed=0).sel(source="Counting", target="Size")
    assert float(partial) == 0.25
    assert float(right.sel(target="Jigsaw")) == 2
    assert np.isnan(float(right.sel(target="Size")))


# Plain accuracy tables


@needs_real
@pytest.mark.parametrize("name", ["german", "noseed", "percent", "percent2", "pm"])
def test_one_table_written_in_five_ways_gives_the_same_numbers(name):
    found = Read(REAL / "wrong" / "tables" / f"{name}.csv")
    assert found.accuracy("SST2", "IMDB") == pytest.approx(0.863)
    assert found.accuracy("IMDB", "SST2") == pytest.approx(0.88)
    assert found.accuracy(None, "SST2") == pytest.approx(0.512)
    notes = " ".join(found.notes)
    assert ("are percent and were divided by 100" in notes) == name.startswith("percent")
    assert ("errors after ± are left out" in notes) == (name == "pm")


@needs_real
def test_a_wide_table_has_a_target_in_each_column_and_says_which():
    found = Read(REAL / "wrong" / "tables" / "wide.csv")
    assert found.names("target") == ["SST2", "IMDB", "MNLI"]
    assert found.accuracy("MNLI", "IMDB") == 0.70
    assert found.accuracy(None, "MNLI") == 0.33
    assert "wide.csv: read as a wide table, with the targets 'SST2', 'IMDB', 'MNLI'" in " ".join(
        found.notes
    )


@needs_real
def test_a_correlation_below_zero_is_refused_and_what_is_left_reads(tmp_path):
    path = REAL / "wrong" / "tables" / "mcc.csv"
    messages.check(refused(path))
    rows = [row for row in path.read_text().splitlines() if row.split(",")[2] != "CoLA"]
    assert Read(written(tmp_path, "\n".join(rows))).accuracy(None, "SST2") == 0.512


LONG = "source,target,accuracy\n"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.512, 86.3), "row 2: accuracy is '0.512', beside '86.3', so fractions and percent are"),
        ((51.2, 0.9), "row 3: accuracy is '0.9', beside '51.2', so fractions and percent are"),
        ((0.4, 1.2), "row 2: accuracy is '0.4', beside '1.2', so fractions and percent are"),
        ((3.1, 4.5), "row 2: accuracy is '3.1', neither a fraction nor clearly percent"),
        ((86.3, 101), "row 3: accuracy is '101', expected a fraction in [0, 1], or percent up to"),
        (("86.3%", "88"), "row 3: accuracy is '88', but other values have the sign %"),
        (("0.86 (0.01)", 0.88), "row 2: accuracy is '0.86 (0.01)', expected a number"),
        (("0.5 ± 0.1 ± 0.1", 0.88), "row 2: accuracy is '0.5 ± 0.1 ± 0.1', expected a number"),
        (('"0,5"', "0.88"), "row 2: accuracy is '0,5', expected a number"),
        (("0,5", "0,88"), "row 2: 4 fields, expected 3; where numbers have decimal commas, separ"),
        ((-3.0, 86.3), "row 2: accuracy is '-3.0', expected 0 to 1"),
        (('"1,567"', "86"), "row 2: accuracy is '1,567', write it with a point, or without a mark"),
    ],
)
def test_a_column_that_may_mean_two_things_is_refused(values, message, tmp_path):
    base, tuned = values
    found = refused(written(tmp_path, f"{LONG},T,{base}\nS,T,{tuned}\n"))
    assert found.startswith(f"x.csv: {message}"), found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.4, 1), (0.4, 1.0)),
        ((0, 12), (0.0, 0.12)),
        (("0.4%", "0.9%"), (0.004, 0.009)),
        (("51.2 +/- 1.3", "86.3±0.4"), (0.512, 0.863)),
        (('"51,2"', '"86,3"'), (0.512, 0.863)),
        (('"51,2 ± 0,4 %"', '"86,3 ± 1,0 %"'), (0.512, 0.863)),
        (("51.2% ± 0.4%", "86.3 % +- 1%"), (0.512, 0.863)),
        (('"51,25"', '"86,375"'), (0.5125, 0.86375)),
    ],
)
def test_a_column_that_means_one_thing_is_read(values, expected, tmp_path):
    base, tuned = values
    found = Read(written(tmp_path, f"{LONG},T,{base}\nS,T,{tuned}\n"))
    assert found.accuracy(None, "T") == pytest.approx(expected[0])
    assert found.accuracy("S", "T") == pytest.approx(expected[1])


STYLES = {
    "percent": lambda value: f"{100 * value:.10g}",
    "sign": lambda value: f"{100 * value:.10g} %",
    "comma": lambda value: f'"{100 * value:.10g}"'.replace(".", ","),
    "error": lambda value: f"{100 * value:.10g} ± 1.5",
    "fraction": lambda value: f"{value:.12g}",
    "fraction with comma": lambda value: f'"{value:.12g}"'.replace(".", ","),
}


@settings(max_examples=50, deadline=None)
@given(
    style=st.sampled_from(list(STYLES)),
    digits=st.integers(0, 4),
    values=st.lists(st.floats(0, 1), min_size=2, max_size=6),
    wide=st.booleans(),
)
def test_however_accuracies_are_written_they_are_read_as_they_are_or_refused(
    style, digits, values, wide, tmp_path_factory
):
    values = [round(value, digits + 2) for value in values]
    hypothesis.assume(style in ("sign", "fraction", "fraction with comma") or max(values) > 0.1)
    cells = [STYLES[style](value) for value in values]
    if wide:
        header = ",".join(f"T{n}" for n in range(len(values)))
        text = f"source,{header}\n,{','.join(cells)}\nS,{','.join(cells)}\n"
    else:
        text = LONG + "".join(f"{s},T{n},{c}\n" for s in ("", "S") for n, c in enumerate(cells))
    try:
        found = Read(written(tmp_path_factory.getbasetemp() / "any", text))
    except DataError:
        return
    for n, value in enumerate(values):
        assert found.accuracy("S", f"T{n}") == pytest.approx(value, abs=1e-9)
        assert found.accuracy(None, f"T{n}") == pytest.approx(value, abs=1e-9)


def test_a_wide_table_in_percent_with_german_decimals_errors_and_a_mean_is_read(tmp_path):
    text = "source;A;B;Average\nbase;50,5 ± 1,0;20,0;35,25\nA;60,5 ± 0,5;;60,5\n"
    found = Read(written(tmp_path, text))
    assert found.names("target") == ["A", "B"]
    assert found.accuracy("A", "A") == pytest.approx(0.605)
    assert found.accuracy("A", "B") is None
    assert found.accuracy(None, "A") == pytest.approx(0.505)
    assert "x.csv: column 'Average' is a mean and is left out" in found.notes


@pytest.mark.parametrize("column", ["lr", "Epochs", "n", "loss", ""])
def test_a_column_of_settings_is_no_target_of_a_wide_table(column, tmp_path):
    messages.check(refused(written(tmp_path, f"source,A,{column}\n,0.5,0.1\nA,0.6,0.1\n")))


def test_counts_with_a_mark_for_thousands_are_refused(tmp_path):
    message = refused(written(tmp_path, "source;target;correct;total\n;T;1.000;2.000\n"))
    assert message == "x.csv: row 2: correct is '1.000', write it without a mark, such as 1234"


# Inspect


def inspect_log(samples, *, scores=None, status="success", **task):
    return {
        "version": 2,
        "status": status,
        "eval": {"task": "pack/quiz", "run_id": "r", "config": {}, **task},
        "results": {"scores": scores or []},
        "samples": samples,
    }


def asked(item, right, reply, value, *, epoch=1, scorer="choice", choices=("one", "two")):
    return {
        "id": item,
        "epoch": epoch,
        "input": "Which?",
        "choices": list(choices),
        "target": right,
        "output": {"choices": [{"message": {"content": reply}}]},
        "scores": {scorer: {"value": value, "answer": reply[-1:]}},
    }


@needs_real
@pytest.mark.parametrize("name", ["data_arc_qwen", "data_arc_sonnet", "data_pubmedqa_gpt4o_mini"])
def test_inspect_s_samples_have_the_accuracy_that_its_log_prints(name):
    content = load(OTHERS / "tests" / "data" / "inspect" / f"{name}.json")
    assert content is not None
    log: Any = inspect_ai.read(content, Options())
    printed = content.value["results"]["scores"][0]["metrics"]["accuracy"]["value"]
    assert np.mean([sample.score for sample in log.samples]) == pytest.approx(printed)
    for sample in log.samples:  # its choice scorer marks the letter that it read
        assert (sample.parsed == "ABCD"[sample.answer]) == bool(sample.score)
        assert len(sample.choices) >= 3


@needs_real
def test_both_forms_of_one_inspect_log_give_the_same_sample():
    folder = OTHERS / "tests" / "log" / "test_eval_log"
    one, two = (read_one(folder / f"log_formats.{end}") for end in ("eval", "json"))
    assert list(one.samples) == ["popularity"]
    (left,), (right,) = one.samples["popularity"].values(), two.samples["popularity"].values()
    assert left == right
    assert left.score == 0.0  # its value is I
    assert left.reply == "No"


def test_of_several_epochs_the_first_is_read_and_failed_samples_are_left_out(tmp_path):
    samples = [
        asked("a", "A", "A", "C"),
        asked("a", "A", "B", "I", epoch=2),
        asked("b", "B", "A", "I"),
        asked("c", "B", "", "I") | {"error": {"message": "timeout"}},
    ]
    put(tmp_path / "x.json", json.dumps(inspect_log(samples, status="error")))
    run = read_one(tmp_path / "x.json")
    assert {item: sample.score for item, sample in run.samples["quiz"].items()} == {
        "a": 1.0,
        "b": 0.0,
    }
    assert [note.partition(": x.json: ")[2] for note in run.notes] == [
        "1 samples of later epochs are left out; the first epoch is read",
        "1 samples ended in an error and are left out",
        "status is error, so items may be missing",
    ]


def test_a_log_that_was_never_scored_names_the_step_that_helps(tmp_path):
    sample = asked("a", "x", "y", None, choices=())
    put(tmp_path / "base" / "x.json", json.dumps(inspect_log([sample])))
    put(tmp_path / "tuned" / "x.json", json.dumps(inspect_log([sample])))
    assert "no sample has a usable score" in refused(two_runs(tmp_path))
    del sample["scores"]
    put(tmp_path / "base" / "x.json", json.dumps(inspect_log([sample])))
    assert "run `inspect score` on it" in refused(two_runs(tmp_path))


def test_an_inspect_log_without_samples_has_its_averages(tmp_path):
    scores = [{"name": "match", "metrics": {"accuracy": {"value": 0.75}}}]
    put(tmp_path / "x.json", json.dumps(inspect_log([], scores=scores)))
    assert read_one(tmp_path / "x.json").scores["quiz"].accuracy == 0.75


def test_an_inspect_archive_of_a_run_that_was_stopped_is_read(tmp_path):
    log = inspect_log([])
    with zipfile.ZipFile(tmp_path / "x.eval", "w") as archive:
        archive.writestr("_journal/start.json", json.dumps({"eval": log["eval"]}))
        archive.writestr("samples/a_epoch_1.json", json.dumps(asked("a", "A", "A", "C")))
    run = read_one(tmp_path / "x.eval")
    assert run.samples["quiz"]["a"].score == 1.0
    assert any("status is started, so items may be missing" in note for note in run.notes)


def test_an_inspect_archive_that_unpacks_to_more_than_is_read_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(inspect_log([])))
        archive.writestr("samples/a_epoch_1.json", " " * 100_000)
    monkeypatch.setattr("transferscope.readers.harness.foreign_files.LARGEST", 50_000)
    with raises(DataError):
        load(tmp_path / "x.eval")


@pytest.mark.parametrize("damage", [b"{", b"[]", b"\xff", b'{"eval": '])
def test_a_damaged_inspect_archive_is_refused_in_one_line(damage, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.eval", "w") as archive:
        archive.writestr("header.json", damage)
    with raises(DataError):
        load(tmp_path / "x.eval")


def test_an_inspect_archive_in_zstd_names_the_command_that_converts_it(tmp_path):
    path = tmp_path / "x.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", "{}")
    data = bytearray(path.read_bytes())
    data[8] = 93  # the method in the header of the entry
    data[data.index(b"PK\x01\x02") + 10] = 93  # and in the directory
    path.write_bytes(data)
    assert refused(path) == (
        "x.eval: this Inspect log is compressed with zstd; convert it by `inspect log convert "
        "x.eval --to json --output-dir json/`"
    )
    path.write_bytes(data[:-10])
    assert refused(path) == "x.eval: this Inspect log is cut short; copy it again"


# HELM


@needs_real
def test_helm_s_items_of_the_test_split_have_the_accuracy_that_helm_prints():
    folder = next((OTHERS / "tests" / "data" / "helm").glob("mmlu-*"))
    run = read_one(folder)
    items: dict[str, Any] = run.samples["mmlu:subject=philosophy"]
    stats = json.loads((folder / "stats.json").read_text())
    plain = {"name": "exact_match", "split": "test"}
    (printed,) = (each["mean"] for each in stats if each["name"] == plain)
    assert len(items) == 9  # ten instances, one of them of the validation split
    assert np.mean([sample.score for sample in items.values()]) == pytest.approx(printed)
    assert run.scores["mmlu:subject=philosophy"].accuracy == printed
    for sample in items.values():  # HELM compares the letter
        right = sample.reply.strip() == "ABCD"[sample.answer]
        assert right == bool(sample.score)


@needs_real
def test_helm_s_files_in_a_folder_of_another_name_are_refused(tmp_path):
    folder = next((OTHERS / "tests" / "data" / "helm").glob("mmlu-*"))
    path = put(tmp_path / "base" / "stats.json", (folder / "stats.json").read_text())
    with raises(DataError):
        read_one(path)


# EvalScope


@needs_real
def test_evalscope_s_reports_are_read_as_counts_of_the_first_metric():
    run = read_one(OTHERS / "data_process" / "eval_result" / "reports" / "qwen-plus")
    report = json.loads(
        (OTHERS / "data_process/eval_result/reports/qwen-plus/math_500.json").read_text()
    )
    levels = [score for target, score in run.scores.items() if target.startswith("math_500_Level")]
    right = sum(round(score.accuracy * (score.total or 0)) for score in levels)
    assert round(right / sum(score.total or 0 for score in levels), 4) == report["score"]
    assert run.scores["ifeval"].accuracy == 57 / 64  # the report prints 0.8906
    assert any(
        "ifeval: of 4 metrics the first is read, mean_prompt_level_strict" in n for n in run.notes
    )


@needs_real
def test_evalscope_s_predictions_lead_to_its_reviews():
    path = OTHERS / "data_process" / "eval_result" / "predictions" / "qwen-plus"
    with raises(DataError):
        read_one(path)


def test_evalscope_s_reviews_of_both_versions_are_read(tmp_path):
    new = {
        "index": 3,
        "input": "Which?\nA) one\nB) two",
        "target": "B",
        "sample_score": {
            "score": {"value": {"acc": 1.0}, "prediction": "It is B.", "extracted_prediction": "B"}
        },
    }
    old = {
        "index": 3,
        "reviewed": True,
        "choices": [{"message": {"content": "x"}, "review": {"gold": "7", "result": False}}],
    }
    lines(tmp_path / "arc_ARC-Easy.jsonl", [new])
    lines(tmp_path / "gsm8k_main.jsonl", [old])
    run = read_one(tmp_path)
    sample = run.samples["arc_ARC-Easy"]["3"]
    assert (sample.reply, sample.choices, sample.answer) == ("It is B.", ("one", "two"), 1)
    assert (sample.parsed, sample.score) == ("B", 1.0)
    assert run.samples["gsm8k_main"]["3"].score == 0.0


def test_a_report_of_an_error_rate_is_left_out_by_name(tmp_path):
    subsets = [{"name": "clean", "score": 0.1, "num": 50}]
    metric = {"name": "mean_wer", "categories": [{"subsets": subsets}]}
    report = {"dataset_name": "speech", "model_name": "m", "metrics": [metric]}
    put(tmp_path / "speech.json", json.dumps(report))
    with raises(DataError):
        read_one(tmp_path)
    row = {"index": 1, "sample_score": {"score": {"value": {"wer": 0.1}, "prediction": "x"}}}
    lines(tmp_path / "speech.json", [row])
    sample = read_one(tmp_path).samples["speech"]["1"]
    assert sample.score is None


# OpenCompass


PROMPT = [{"role": "HUMAN", "prompt": "Which?\nA. one\nB. two\nAnswer:"}]


def test_opencompass_s_results_with_details_are_read_and_held_against_their_accuracy(tmp_path):
    details = {
        "type": "GEN",
        "0": {
            "prompt": PROMPT,
            "origin_prediction": "The answer is B",
            "predictions": "B",
            "references": "B",
            "correct": True,
        },
        "1": {"prompt": PROMPT, "origin_prediction": "A", "references": "B", "correct": [False]},
    }
    put(tmp_path / "ARC-c.json", json.dumps({"accuracy": 50.0, "details": details}))
    run = read_one(tmp_path)
    items = run.samples["ARC-c"]
    assert [sample.score for sample in items.values()] == [1.0, 0.0]
    assert [sample.answer for sample in items.values()] == [1, 1]
    assert run.notes == []
    put(tmp_path / "ARC-c.json", json.dumps({"accuracy": 0.0, "details": details}))
    (note,) = read_one(tmp_path).notes
    assert note.endswith("prints an accuracy of 0 %, but its items have 50 %, which counts")


def test_opencompass_s_predictions_are_read_where_the_right_answer_is_a_letter(tmp_path):
    row = {"origin_prompt": PROMPT, "prediction": "B"}
    put(tmp_path / "arc.json", json.dumps({"0": row | {"gold": "B"}}))
    assert read_one(tmp_path).samples["arc"]["0"].answer == 1
    put(tmp_path / "arc.json", json.dumps({"0": row | {"gold": "7 apples"}}))
    with raises(DataError):
        read_one(tmp_path)


def test_opencompass_s_summary_is_in_percent_and_other_metrics_are_named(tmp_path):
    head = "dataset,version,metric,mode,"
    text = f"{head}m\nmmlu,-,naive_average,gen,40.1\narc,1c2,accuracy,gen,65.62\n"
    put(tmp_path / "summary_1.csv", text + "sum,3f,rouge1,gen,31.5\nodd,3f,accuracy,gen,0.42\n")
    run = read_one(tmp_path)
    assert {target: score.accuracy for target, score in run.scores.items()} == {"arc": 0.6562}
    (note,) = run.notes
    assert note.endswith(
        "no accuracies in percent, so left out: sum (rouge1 31.5), odd (accuracy 0.42)"
    )
    put(tmp_path / "summary_1.csv", f"{head}m,n\narc,1c2,accuracy,gen,65.62,1.5\n")
    with raises(DataError):
        read_one(tmp_path)


# Every Eval Ever


def eee(item, choices, right, reply, score, **more):
    return {
        "schema_version": "0.2.2",
        "evaluation_id": "e",
        "model_id": "m",
        "evaluation_name": "quiz",
        "sample_id": item,
        "interaction_type": "single_turn",
        "input": {"raw": "Which?", "reference": [right], "choices": choices},
        "output": {"raw": [reply]},
        "answer_attribution": [],
        "evaluation": {"score": score, "is_correct": bool(score)},
        **more,
    }


@needs_real
def test_every_eval_ever_s_samples_and_aggregate_are_read():
    folder = OTHERS / "tests" / "data" / "skill_reference_conversion"
    run = read_one(folder)
    (sample,) = run.samples["demo-source.demo_bench"].values()
    assert (sample.item, sample.score, sample.parsed) == ("demo_0001", 1.0, "4")
    assert run.scores["demo-source.demo_bench"].accuracy == 0.75


@needs_real
def test_a_helm_run_written_in_every_eval_ever_s_schema_reads_the_same(tmp_path):
    run = read_one(next((OTHERS / "tests" / "data" / "helm").glob("mmlu-*")))
    items: dict[str, Any] = run.samples["mmlu:subject=philosophy"]
    rows = [
        eee(
            item,
            sample.choices,
            sample.choices[sample.answer],
            sample.reply,
            sample.score,
        )
        for item, sample in items.items()
    ]
    again = read_one(lines(tmp_path / "u_samples.jsonl", rows)).samples["quiz"]
    for item, sample in items.items():
        for field in ("reply", "choices", "answer", "score"):
            assert getattr(again[item], field) == getattr(sample, field)


def test_of_several_metrics_of_one_evaluation_the_accuracy_is_read(tmp_path):
    rows = [
        eee("a", None, "x", "y", 0.3, evaluation_result_id="q.f1"),
        eee("a", None, "x", "y", 1.0, evaluation_result_id="q.accuracy"),
    ]
    run = read_one(lines(tmp_path / "u_samples.jsonl", rows))
    assert run.samples["quiz"]["a"].score == 1.0


def test_an_aggregate_of_which_less_is_better_is_left_out_by_name(tmp_path):
    def result(name, **metric):
        config = {"min_score": 0, "max_score": 1, "lower_is_better": False} | metric
        return {"evaluation_name": name, "metric_config": config, "score_details": {"score": 0.5}}

    results = [result("a"), result("b", max_score=100), result("c", lower_is_better=True)]
    value = {"schema_version": "0.3.0", "model_info": {}, "evaluation_results": results}
    run = read_one(put(tmp_path / "x.json", json.dumps(value)))
    assert {target: score.accuracy for target, score in run.scores.items()} == {
        "a": 0.5,
        "b": 0.005,
    }
    (note,) = run.notes
    assert note.endswith("of which more is better: c (accuracy)")


# Files that are one run alone


@needs_real
@pytest.mark.parametrize(
    ("path", "harness"),
    [
        ("tests/data/inspect/data_arc_qwen.json", "Inspect"),
        ("tests/log/test_eval_log/log_formats.eval", "Inspect"),
        ("data_process/eval_result/reports/qwen-plus/math_500.json", "EvalScope"),
        ("tests/data/98ea850e-7019-4728-a558-8b1819ec47c2.json", "Every Eval Ever"),
    ],
)
def test_a_lone_log_leads_to_the_comparison_with_its_base(path, harness):
    message = refused(OTHERS / path)
    assert f": a file of {harness}, which is one run alone; compare it with the base by " in message
    assert "`transferscope compare BASE RUN`" in message
