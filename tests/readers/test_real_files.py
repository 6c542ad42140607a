"""Files of other people's evaluations, read from beside the checkout: what must come out of each.

Expected numbers are computed here from the files themselves, or stand in the benchmarks' papers.
"""

import csv
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from tables import Read, refused

from transferscope.suites.blink import BLINK, IQ_TEST

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
WRONG = REAL / "wrong"
FLAT = "qwen2.5_7b_150k_lora_blend_no_aug_1e3_new_v1_fix_checkpoint"

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real files in {REAL}")


def cells(found, name="accuracy"):
    """Values of the base (`base_..`) or of the first source, of the first model, by target."""
    source = None if name.startswith("base_") else found.names("source")[0]
    rows = found.cell(source).filter(model=found.names("model")[0])
    if "item" in rows.columns:
        right = pl.col("correct").cast(pl.Float64)
        mark = pl.coalesce("score", right) if "score" in rows.columns else right
        rows = rows.group_by("target", maintain_order=True).agg(
            accuracy=mark.mean(), correct=right.sum(), total=pl.len().cast(pl.Float64)
        )
    return dict(rows["target", name.removeprefix("base_")].rows())


def mapped(folder: Path, *runs: str, head: str = "model: m\n") -> Path:
    path = folder / "mapping.yaml"
    path.write_text(head + "runs:\n" + "".join(f"  - {{{run}}}\n" for run in runs))
    return path


# Mapping mistakes


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("forgot_step", [f"{FLAT}-100.json", f"{FLAT}-784.json", "`step` is missing: 100", "784"]),
        ("two_bases", ["QWEN.json", f"{FLAT}-100.json", "the base", "`source` is missing"]),
        ("whole_folder", ["QWEN.json", f"{FLAT}-100.json", "one path holds both", "`source`"]),
        ("lp", ["a/samples_arc", "b/samples_arc", "01-02T", "01-03T", "`source` is missing"]),
        ("gen_dup", ["20260103_000000_samples_mmstar.jsonl", "rows 2 and 10", "two runs in one"]),
        ("typo_key", ["run 2: unknown key 'steps'; did you mean 'step'?"]),
        ("truncated", ["trunc.json: truncated JSON, 9,000 characters; copy the file again"]),
        ("swapped_gold", ["val_answers.json is the same file as the gold"]),
        ("gold_missing_items", ["QWEN.json is the same file as the gold"]),
    ],
)
def test_a_mistake_in_a_mapping_is_refused_in_one_line_that_names_the_files(name, words):
    message = refused(WRONG / "mapping_mistakes" / f"{name}.yaml")
    for each in words:
        assert each in message


@pytest.mark.parametrize("name", ["glob", "step_text", "source_base"])
def test_a_glob_a_step_as_text_and_a_source_called_base_mean_what_they_say(name):
    found = Read(WRONG / "mapping_mistakes" / f"{name}.yaml")
    expected = Read(REAL / "checkpoints-blink-flat" / "mapping.yaml")
    assert found.names("source") == ["blend @ 100"]
    assert cells(found) == cells(expected)
    assert cells(found, "base_accuracy") == cells(expected, "base_accuracy")


@pytest.mark.parametrize("name", ["lp_rerun", "gen_rerun"])
def test_of_a_rerun_the_newer_file_counts_and_a_note_names_both(name):
    found = Read(WRONG / "mapping_mistakes" / f"{name}.yaml")
    folder = WRONG / "mapping_mistakes" / ("lp" if name == "lp_rerun" else "g") / "c"
    first, last = sorted(folder.iterdir())
    metric = "acc" if name == "lp_rerun" else "exact_match"
    marks = [json.loads(line)[metric] for line in last.read_text().splitlines()]
    assert cells(found) == {next(iter(cells(found))): pytest.approx(sum(marks) / len(marks))}
    (note,) = [note for note in found.notes if "newer" in note]
    assert f"{last.name} counts" in note
    assert f"{first.name}, which is left out" in note


def test_one_glob_over_checkpoints_is_one_run_for_each(tmp_path):
    shutil.copytree(REAL / "checkpoints-blink-flat", tmp_path, dirs_exist_ok=True)
    base, glob = "path: val_predictions/QWEN.json", 'path: "val_predictions/*_checkpoint-*.json"'
    head = "model: m\ngold: val_answers.json\n"
    found = Read(mapped(tmp_path, base, f"{glob}, source: blend", head=head))
    expected = Read(REAL / "checkpoints-blink-flat" / "mapping.yaml")
    assert found.names("source") == ["blend @ 100", "blend @ 784"]
    assert found.rows["choice", "correct"].equals(expected.rows["choice", "correct"])
    (note,) = [note for note in found.notes if "matches 2" in note]
    assert f"{FLAT}-784.json" in note
    wrong = glob.replace("_checkpoint-*", "_checkpoint-101*")
    message = refused(mapped(tmp_path, base, f"{wrong}, source: blend", head=head))
    assert message.startswith("val_predictions/*_checkpoint-101*.json: matches no file or folder")


def test_a_copy_of_the_gold_is_no_model_whatever_its_bytes(tmp_path):
    shutil.copytree(REAL / "checkpoints-blink-flat", tmp_path, dirs_exist_ok=True)
    gold = json.loads((tmp_path / "val_answers.json").read_text())
    (tmp_path / "copy.json").write_text(json.dumps(gold))
    runs = ("path: copy.json", f"path: val_predictions/{FLAT}-100.json, source: blend")
    message = refused(mapped(tmp_path, *runs, head="model: m\ngold: val_answers.json\n"))
    assert f"copy.json: all {len(gold)} answers equal the gold, val_answers.json" in message


# What a number is


def test_blinks_accuracies_of_vlmevalkit_are_exact_counts():
    found = Read(REAL / "vlmevalkit" / "mapping.yaml")
    for run, name in (("", "base_"), ("-HICO", "")):
        model = f"Qwen2-VL-2B-Instruct{run}"
        file = REAL / "vlmevalkit" / "all" / model / f"{model}_BLINK_acc.csv"
        (row,) = csv.DictReader(file.read_text().splitlines())
        right, total = cells(found, f"{name}correct"), cells(found, f"{name}total")
        for task in (*BLINK, IQ_TEST):
            assert total[task.name] == task.items
            assert right[task.name] / task.items == pytest.approx(float(row[task.name]), abs=1e-12)
            assert right[task.name] == round(right[task.name])


def test_benchmarks_of_vlmevalkit_stay_apart_and_none_is_fatal():
    found = Read(REAL / "vlmevalkit" / "mapping.yaml")
    base, tuned = cells(found, "base_accuracy"), cells(found)
    assert base["Object_Localization"] == pytest.approx(0.5327868852459017)
    assert base["MMBench_DEV_EN/object_localization"] == pytest.approx(0.5432098765432098)
    assert base["POPE"] == pytest.approx(0.8886666666666667)  # the accuracy, not 0.880, the F1
    assert base["HallusionBench"] == pytest.approx(0.6109358569926393)
    assert tuned["RealWorldQA"] == pytest.approx(0.6235294117647059)
    assert tuned["MMStar/math"] == pytest.approx(0.428)
    assert "MMBench_DEV_EN/AR" not in base
    notes = " ".join(found.notes)
    for named in ("MME_score.csv: row 1: sums of points", "'AR', 'CP'", "'fAcc', 'qAcc'"):
        assert named in notes


def test_categories_of_three_benchmarks_are_three_targets():
    found = Read(WRONG / "vlmeval_merge" / "mapping.yaml")
    totals = cells(found, "base_total")
    assert totals == {
        "Object_Localization": 122,
        "Spatial_Relation": 143,
        "MMBench_DEV_EN/object_localization": 81,
        "MMBench_DEV_EN/ocr": 50,
        "SEEDBench_IMG/Spatial Relation": 300,
    }


def test_bias_shares_and_perplexities_are_named_and_no_accuracy():
    found = Read(REAL / "lm-eval-0.3" / "mapping.yaml")
    targets = found.names("target")
    assert not [target for target in targets if "crows_pairs" in target]
    (note,) = [n for n in found.notes if "step133000" in n and "left out" in n]
    assert note.count("crows_pairs") == 22
    assert "no one accuracy among" in note
    assert "'pct_stereotype'" in note
    sizes = {  # of the test splits, as MMLU, PIQA, ARC, WinoGrande and SciQ are published
        "hendrycksTest-marketing": 234,
        "hendrycksTest-professional_law": 1534,
        "piqa": 1838,
        "arc_easy": 2376,
        "arc_challenge": 1172,
        "winogrande": 1267,
        "sciq": 1000,
        "lambada_openai": 5153,
    }
    totals = cells(found, "base_total")
    assert {task: totals[task] for task in sizes} == sizes
    assert all(total > 0 for total in totals.values())


def test_of_a_metric_of_which_less_is_better_worse_is_worse(tmp_path):
    shutil.copytree(WRONG / "lower_better", tmp_path, dirs_exist_ok=True)
    found = Read(WRONG / "lower_better" / "mapping.yaml")
    assert found.names("target") == ["arc_easy"]
    assert any("'wikitext'" in n and "'bits_per_byte'" in n for n in found.notes)
    runs = ("path: base", "path: ft, source: chat")
    found = Read(mapped(tmp_path, *runs, head="model: m\nmetric: bits_per_byte\n"))
    assert cells(found, "base_accuracy")["wikitext"] == pytest.approx(1 - 0.6)
    assert cells(found)["wikitext"] == pytest.approx(1 - 0.8)
    assert any("1 - bits_per_byte" in note for note in found.notes)
    message = refused(mapped(tmp_path, *runs, head="model: m\nmetric: word_perplexity\n"))
    assert "word_perplexity must be a fraction in [0, 1], got 9.06307" in message
    message = refused(mapped(tmp_path, *runs, head="model: m\nmetric: bits_per_bite\n"))
    assert message == "base: no score for the metric 'bits_per_bite'"


def test_averages_of_vsi_bench_in_fractions_are_no_percent():
    found = Read(REAL / "vsi-averages" / "mapping.yaml")
    file = json.loads((REAL / "vsi-averages" / "base" / "results_vsibench.json").read_text())
    base = cells(found, "base_accuracy")
    assert base["obj_appearance_order"] == file["obj_appearance_order_accuracy"]
    assert round(base["obj_appearance_order"], 3) == 0.576
    assert base["object_counting"] == file["object_counting_MRA:.5:.95:.05"]


def test_yes_and_no_are_options():
    found = Read(WRONG / "pope" / "mapping.yaml")
    (file,) = (WRONG / "pope" / "b").iterdir()
    marks = [json.loads(line)["pope_accuracy"]["score"] for line in file.read_text().splitlines()]
    assert cells(found) == {"pope": pytest.approx(sum(marks) / len(marks))}
    assert any("several items are about one image" in note for note in found.notes)


# Stray files


def test_stray_files_are_passed_over_and_named(tmp_path):
    shutil.copytree(REAL / "vlmevalkit", tmp_path, dirs_exist_ok=True)
    tuned = tmp_path / "all" / "Qwen2-VL-2B-Instruct-HICO"
    shutil.copy(WRONG / "mapping_mistakes" / "trunc.json", tuned)
    (tuned / "trainer_state.json").write_text('{"log_history": [], "global_step": 5}')
    (tuned / "mine.csv").write_text("a,b\n1,2\n")
    found = Read(tmp_path / "mapping.yaml")
    expected = Read(REAL / "vlmevalkit" / "mapping.yaml")
    assert cells(found) == pytest.approx(cells(expected), nan_ok=True)
    notes = [note for note in found.notes if "passed over" in note and "HICO:" in note]
    assert any("trunc.json: truncated JSON" in note for note in notes)
    assert any("'mine.csv' (not a file of a known harness)" in note for note in notes)
    assert not any("trainer_state" in note for note in notes)
