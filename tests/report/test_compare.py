"""`transferscope compare`: the verdict, the table and the gate, on real and on made files."""

import csv
import io
import json
import shutil
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from harness_logs import lmms_blink, mapping
from scipy.stats import t

import transferscope as ts
from transferscope.analysis.compared_runs import corrected
from transferscope.analysis.comparison import Comparison
from transferscope.plots.composition import chart
from transferscope.plots.curves import compared_curves
from transferscope.readers.compare import short_names
from transferscope.report.comparison_forms import page
from transferscope.selection.decision import interval
from transferscope.stats import Effect
from transferscope.tasks.checkpoints import step_of

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not there")
FLAT = REAL / "checkpoints-blink-flat"
PREDICTIONS = FLAT / "val_predictions"
BASE = PREDICTIONS / "QWEN.json"
CHECKPOINTS = str(PREDICTIONS / "*checkpoint-*.json")
GOLD = FLAT / "val_answers.json"


@pytest.fixture(scope="module")
def flat() -> Comparison:
    if not REAL.is_dir():
        pytest.skip("the real files are not there")
    return ts.compare(BASE, [CHECKPOINTS], gold=GOLD)


def table(path: Path, runs: Mapping[Any, dict[str, np.ndarray]], seed: str = "0") -> Path:
    """A predictions table: right or wrong by run (None: base) and task."""
    rows = [
        ("m", None if run is None else seed, run, task, str(n), int(right))
        for run, tasks in runs.items()
        for task, answers in tasks.items()
        for n, right in enumerate(answers)
    ]
    columns = ("model", "seed", "source", "target", "item", "correct")
    pl.DataFrame(rows, columns, orient="row", infer_schema_length=None).write_csv(path)
    return path


def flipped(right: int, items: int, fixed: int = 0, broken: int = 0) -> np.ndarray:
    """Answers of which the first `right` were right, after so many flips."""
    answers = np.arange(items) < right
    answers[:broken] = False
    answers[right : right + fixed] = True
    return answers


def one_run(path: Path, **changes: tuple[int, int]) -> Path:
    """A table of the base and `new`: 400 items a task, half of them right; fixed and broken."""
    base = {task: flipped(200, 400) for task in changes}
    tuned = {task: flipped(200, 400, *change) for task, change in changes.items()}
    return table(path, {None: base, "new": tuned})


# The real checkpoints


def test_effects_are_those_of_the_shared_items_of_the_real_files(flat):
    """Computed again from the JSON files, in a few lines."""
    gold = json.loads(GOLD.read_text())
    base = json.loads(BASE.read_text())
    for run in flat.runs:
        (file,) = PREDICTIONS.glob(f"*{run.name}.json")
        tuned = json.loads(file.read_text())
        for target, cell in run.cells.items():
            shared = [k for k in gold if target in k and k in base and k in tuned]
            before = [base[k] == gold[k] for k in shared]
            after = [tuned[k] == gold[k] for k in shared]
            pairs = list(zip(before, after, strict=True))
            assert cell.items == len(shared)
            assert cell.change == pytest.approx(np.mean(after) - np.mean(before))
            assert (cell.fixed, cell.broken) == (pairs.count((0, 1)), pairs.count((1, 0)))
            apart, n = np.subtract(after, before, dtype=float), len(shared)
            variance = apart.var(ddof=1) / n + (1 + apart.mean() ** 2) / n**2  # two half items
            expected = 2 * t.sf(abs(apart.mean()) / variance**0.5, n - 1)
            assert cell.effect.p == pytest.approx(expected, rel=1e-3)


def test_a_person_sees_at_once_which_real_checkpoint_to_ship(flat):
    headline = flat.decision.headline
    assert headline.startswith("Ship none: both runs are worse on Jigsaw beyond noise (−20.4 and")
    assert flat.decision.ship is None
    assert flat.decision.reasons[0].startswith("The least bad is checkpoint-100: mean −6.2 points")
    harm = next(reason for reason in flat.decision.reasons if "first seen" in reason)
    assert "Jigsaw −20.4 at checkpoint-100; Visual Similarity −8.9 at checkpoint-784" in harm
    depth = flat.run("checkpoint-100").cells["Relative_Depth"]
    assert (depth.items, depth.of, depth.state, depth.sign) == (20, 124, "few items", 0)
    assert (depth.fixed, depth.broken) == (2, 1)
    assert flat.shared == ("Counting", "Jigsaw", "Visual_Similarity")
    assert [(run.name, run.step) for run in flat.runs] == [
        ("checkpoint-100", 100),
        ("checkpoint-784", 784),
    ]


@real
def test_the_terminal_is_80_columns_wide_and_begins_with_the_verdict(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, text, _ = run("compare", BASE, CHECKPOINTS, "--gold", GOLD)
    lines = text.splitlines()
    assert code == 0
    assert lines[0].startswith("Ship none: ")
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("checkpoint-100"))
    assert row.split() == [
        *("checkpoint-100", "69.2", "+3.3", "52.7", "−20.4▼", "85.0", "(+5.0)"),
        *("82.2", "−1.5", "68.0", "−6.2▼"),
    ]


@real
def test_right_answers_that_lie_beside_the_files_are_named(run):
    code, _, error = run("compare", BASE, CHECKPOINTS)
    assert code == 2
    assert "--gold" in error
    assert error.strip().endswith("val_answers.json")


@real
def test_a_glob_that_finds_the_base_too_does_not_compare_it_with_itself():
    found = ts.compare(BASE, [str(PREDICTIONS / "*.json")], gold=GOLD)
    assert [run.step for run in found.runs] == [100, 784]
    assert any("is no run" in note for note in found.notes)


@real
def test_a_run_on_the_first_items_with_the_same_answers_has_no_effect_and_is_void():
    folder = REAL / "wrong" / "partial_run" / "r"
    gold = REAL / "blink-raw" / "val_answers.json"
    found = ts.compare(folder / "base.json", [folder / "ckpt_limit50.json"], gold=gold)
    (only,) = found.runs
    assert {cell.change for cell in only.cells.values()} == {0.0}
    assert only.verdict == "void"
    assert found.decision.ship is None
    assert "Was the adapter loaded?" in found.decision.headline


@real
def test_a_run_that_is_the_base_is_void_and_the_gate_cannot_tell(run):
    logs = REAL / "blink-raw" / "saved_outputs"
    same = f"tuned={logs / 'instructblip_7b'}"
    code, text, _ = run("compare", logs / "instructblip_7b", same, "--protect", "all:50")
    assert code == 3
    assert text.startswith("Cannot tell: tuned gives the base's answer to all")
    assert "safe" not in text


@real
def test_unreadable_replies_give_bounds_that_hold_whatever_they_meant():
    logs = REAL / "blink-raw" / "saved_outputs"
    found = ts.compare(logs / "instructblip_7b", [logs / "MiniGPT-4-v2"])
    cells = [cell for run in found.runs for cell in run.cells.values()]
    bounded = [cell for cell in cells if cell.state == "unreadable"]
    assert all(cell.bounds[0] <= cell.change <= cell.bounds[1] for cell in bounded)
    assert all(cell.sign == 0 for cell in bounded)


@real
def test_real_averages_give_no_verdict_where_their_items_are_unknown(tmp_path):
    folder = REAL / "vlmevalkit" / "all"
    for name in ("Qwen2-VL-2B-Instruct", "Qwen2-VL-2B-Instruct-HICO"):
        (tmp_path / name).mkdir()
        shutil.copy(folder / name / f"{name}_BLINK_acc.csv", tmp_path / name)
    found = ts.compare(
        tmp_path / "Qwen2-VL-2B-Instruct", {"HICO": tmp_path / "Qwen2-VL-2B-Instruct-HICO"}
    )
    (only,) = found.runs
    depth = only.cells["Relative_Depth"]
    assert depth.change == pytest.approx(0.6774193548387096 - 0.6935483870967742)
    for cell in only.cells.values():
        assert cell.kind in ("counts", "averages")
        if cell.kind == "averages":
            assert cell.sign == 0
            assert np.isnan(cell.effect.p)


@real
def test_the_steps_of_a_real_finetune_stand_in_order():
    folder = REAL / "lm-eval-0.3" / "evals" / "pythia-v1" / "pythia-1.4b-deduped"
    base = folder / "zero-shot" / "1.4b-deduped_step133000.json"
    found = ts.compare(base, [str(folder / "intervention" / "*.json")])
    assert [run.name for run in found.runs] == [f"step{n}000" for n in range(134, 144)]
    assert {run.finetune for run in found.runs} == {""}


# Verdicts of made runs


def test_a_clear_gain_without_a_loss_is_shipped(tmp_path):
    found = ts.compare(one_run(tmp_path / "x.csv", math=(60, 5), chat=(10, 10), code=(10, 9)))
    assert found.decision.ship == "new"
    assert found.decision.headline.startswith("Ship new: mean +4.7 points (")
    assert "math +13.8; nothing is worse beyond noise" in found.decision.headline
    assert found.runs[0].verdict == "no harm"


def test_the_best_mean_is_not_shipped_where_it_breaks_a_task(tmp_path):
    tasks = ("math", "chat")
    runs = {
        None: {task: flipped(200, 400) for task in tasks},
        "run-early": {"math": flipped(200, 400, 40, 4), "chat": flipped(200, 400, 5, 5)},
        "run-late": {"math": flipped(200, 400, 150, 4), "chat": flipped(200, 400, 5, 50)},
    }
    found = ts.compare(table(tmp_path / "x.csv", runs))
    assert found.decision.ship == "run-early"
    assert any(
        reason
        == "run-late has a higher mean (+12.6 points; math +36.5) but is worse on chat −11.2."
        for reason in found.decision.reasons
    )


def test_few_items_are_never_called_safe_and_what_may_be_hidden_is_named(tmp_path):
    tasks = ("math", "chat")
    base = {task: flipped(20, 40) for task in tasks}
    tuned = {task: flipped(20, 40, 2, 1) for task in tasks}
    found = ts.compare(table(tmp_path / "x.csv", {None: base, "new": tuned}))
    assert found.decision.ship is None
    assert found.decision.headline.startswith("Cannot tell: no change is beyond noise")
    assert found.runs[0].verdict == "not settled"
    (hidden,) = found.decision.reasons
    assert hidden.startswith("Not excluded at new: a loss of ")
    assert hidden.endswith("items would do.")


def test_a_run_that_changes_little_on_many_items_does_no_harm(tmp_path):
    found = ts.compare(one_run(tmp_path / "x.csv", math=(3, 4), chat=(4, 3)))
    assert found.runs[0].verdict == "no harm"
    assert "none loses more than" in found.decision.headline


def test_counts_are_compared_unpaired_and_averages_have_no_interval(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text(
        "seed,source,target,correct,total\n,,math,200,400\n,,chat,300,400\n"
        "0,new,math,280,400\n0,new,chat,301,400\n"
    )
    found = ts.compare(file)
    cell = found.runs[0].cells["math"]
    assert (cell.kind, cell.items, cell.sign) == ("counts", 400, 1)
    before, after = 201 / 402, 281 / 402  # Agresti and Caffo, and two half items
    variance = (before * (1 - before) + after * (1 - after)) / 402 + (1 + 0.2**2) / 400**2
    assert cell.effect.variance == pytest.approx(variance)
    assert found.decision.ship == "new"
    assert "independent groups" in page(found)
    file.write_text("seed,source,target,accuracy\n,,math,0.5\n0,new,math,0.9\n")
    bare = ts.compare(file)
    assert bare.runs[0].cells["math"].sign == 0
    assert bare.decision.headline.startswith("Cannot tell: the files hold averages")


def test_tasks_known_as_averages_alone_are_in_no_mean_beside_tested_ones(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text(
        "seed,source,target,accuracy,correct,total\n"
        + "".join(f",,{t},0.5,200,400\n0,new,{t},0.7,280,400\n" for t in ("math", "chat"))
        + ",,bare,0.5,,\n0,new,bare,0.1,,\n"
    )
    found = ts.compare(file)
    assert found.shared == ("math", "chat")
    mean = found.runs[0].mean
    assert mean is not None
    assert found.decision.headline == (
        f"Ship new: mean +20.0 points ({interval(mean)}), math +20.0 and chat +20.0; "
        "no tested task is worse beyond noise, 1 task is not tested."
    )
    assert "Not tested at new: bare, where any loss may be hidden." in found.decision.reasons


def test_seeds_of_one_step_are_averaged(tmp_path):
    rows = pl.concat(
        pl.read_csv(table(tmp_path / f"{seed}.csv", runs, seed), infer_schema=False)
        for seed, runs in (
            ("0", {None: {"math": flipped(200, 400)}, "sft @ 10": {"math": flipped(200, 400, 20)}}),
            ("1", {"sft @ 10": {"math": flipped(200, 400, 40)}}),
        )
    )
    rows.write_csv(tmp_path / "x.csv")
    (only,) = ts.compare(tmp_path / "x.csv").runs
    assert (only.seeds, only.step) == (2, 10)
    assert only.cells["math"].change == pytest.approx(0.075)
    # Two seeds, which differ by 5 points: their variance is 0.05 ** 2 / 2, and halved in the mean.
    assert only.cells["math"].effect.seeds == pytest.approx(0.05**2 / 4)


def test_seeds_in_paths_are_averaged_and_steps_kept_apart(tmp_path):
    letters = ["A", "B"] * 30
    lmms_blink(tmp_path / "base", letters, letters)
    for seed in (0, 1):
        for step in (500, 1000):
            answers = [*letters[1:], "A"]
            answers[seed] = "A"  # the seeds differ in an item
            lmms_blink(tmp_path / f"seed{seed}" / f"checkpoint-{step}", answers, letters)
    found = ts.compare(tmp_path / "base", [str(tmp_path / "seed*" / "checkpoint-*")])
    assert [(run.name, run.seeds) for run in found.runs] == [
        ("checkpoint-500", 2),
        ("checkpoint-1000", 2),
    ]


def test_runs_of_one_target_lend_each_other_how_far_seeds_differ(tmp_path):
    """Two seeds that differ by 5 points, two that do not, and a run of one seed."""
    runs = {
        "0": {None: (0, 0), "far": (20, 0), "near": (25, 5), "one": (30, 10)},
        "1": {"far": (40, 0), "near": (26, 6)},
    }
    tables = [
        table(
            tmp_path / f"{seed}.csv",
            {run: {"math": flipped(200, 400, *flips)} for run, flips in these.items()},
            seed,
        )
        for seed, these in runs.items()
    ]
    rows = pl.concat(pl.read_csv(file, infer_schema=False) for file in tables)
    rows.write_csv(tmp_path / "x.csv")
    found = ts.compare(tmp_path / "x.csv")
    far, near, one = (found.run(name).cells["math"].effect for name in ("far", "near", "one"))
    spread = 0.05**2 / 2  # of `far`, and half of it on average
    assert (far.seeds, far.seeds_df) == (pytest.approx((spread / 2 + spread) / 2 / 2), 2)
    assert (near.seeds, near.seeds_df) == (pytest.approx(spread / 2 / 2 / 2), 2)
    assert (one.seeds, one.seeds_df) == (pytest.approx(spread / 2), 2)
    assert [run.seeds for run in found.runs] == [2, 2, 1]


def test_a_void_run_lends_no_other_run_its_seeds(tmp_path):
    rows = []
    for seed, fixed in (("0", 20), ("1", 40)):
        runs = {"new": {"math": flipped(200, 400, fixed)}, "idle": {"math": flipped(200, 400)}}
        base = {None: {"math": flipped(200, 400)}} if seed == "0" else {}
        file = table(tmp_path / f"{seed}.csv", base | runs, seed)
        rows.append(pl.read_csv(file, infer_schema=False))
    pl.concat(rows).write_csv(tmp_path / "x.csv")
    found = ts.compare(tmp_path / "x.csv")
    assert found.run("idle").verdict == "void"
    assert found.run("new").cells["math"].effect.seeds == pytest.approx(0.05**2 / 4)
    assert np.isnan(found.run("idle").cells["math"].effect.p)


def test_items_that_share_an_image_count_as_one_group(tmp_path):
    """Each of 100 images has 4 items, which are right or wrong together: a quarter of the items."""
    one, four = tmp_path / "one.csv", tmp_path / "four.csv"
    table(one, {None: {"math": flipped(50, 100)}, "new": {"math": flipped(50, 100, 12, 2)}})
    rows = pl.read_csv(one, infer_schema=False)
    copies = [
        rows.with_columns(item=pl.format("{}.{}", "item", pl.lit(k)), group="item")
        for k in range(4)
    ]
    pl.concat(copies).write_csv(four)
    (alone,), (grouped,) = (ts.compare(file).runs for file in (one, four))
    before, after = alone.cells["math"], grouped.cells["math"]
    assert (after.items, after.effect.df) == (400, 99)
    halves = (1 + 0.1**2) * (1 / 100**2 - 1 / 400**2)  # of two half items
    assert after.effect.variance == pytest.approx(before.effect.variance - halves)
    # Items without a group stand alone, even where one is called as a group is.
    mixed = pl.concat(copies).with_columns(
        group=pl.when(pl.col("item").str.len_chars() < 4).then("group")
    )
    mixed.write_csv(tmp_path / "mixed.csv")
    (part,) = ts.compare(tmp_path / "mixed.csv").runs
    assert part.cells["math"].effect.df == 10 + 4 * 90 - 1  # the items 0 to 9 have groups


def test_a_loss_on_average_is_a_harm_though_no_task_shows_it(tmp_path):
    tasks = [f"t{n}" for n in range(12)]
    found = ts.compare(one_run(tmp_path / "x.csv", **dict.fromkeys(tasks, (20, 31))))
    (only,) = found.runs
    assert only.moved(-1) == []
    assert only.mean is not None
    assert only.mean.sign == -1
    assert only.verdict == "harms"
    assert found.decision.headline.startswith("Keep the base: mean −2.8 points (")


def choices(path: Path, runs: Mapping[Any, dict[str, list[int]]], seed: str = "0") -> Path:
    """A predictions table with options: of 100 items, A and B are right in turns."""
    rows = [
        ("m", None if run is None else seed, run, task, str(n), choice, n % 2, int(choice == n % 2))
        for run, tasks in runs.items()
        for task, options in tasks.items()
        for n, choice in enumerate(options)
    ]
    columns = ("model", "seed", "source", "target", "item", "choice", "answer", "correct")
    pl.DataFrame(rows, columns, orient="row", infer_schema_length=None).write_csv(path)
    return path


SEES = [n % 2 for n in range(80)] + [(n + 1) % 2 for n in range(20)]
"""80 of 100 right."""
GUESSES = [0, 0, 1, 1] * 25
"""50 of 100 right."""


def test_collapsed_answers_are_a_harm_whatever_the_score(tmp_path, run):
    always = [0] * 97 + [1] * 3
    runs = {
        None: {"math": GUESSES, "chat": SEES},
        "new": {"math": always, "chat": SEES[:90] + [n % 2 for n in range(10)]},
    }
    file = choices(tmp_path / "x.csv", runs)
    found = ts.compare(file, protect=["math:90"])
    (only,) = found.runs
    assert only.cells["math"].collapsed == "always A"
    assert only.cells["math"].sign == 0  # by its score nothing has changed
    assert only.cells["chat"].collapsed == ""
    assert only.verdict == "harms"
    assert found.decision.ship is None
    assert found.decision.headline == "Do not ship new: collapsed on math (always A)."
    assert [each.outcome for each in found.gate] == ["fail"]
    assert "answers collapsed (always A)" in found.gate[0].why
    words = " ".join(run("compare", file)[1].split())
    assert "25 fixed, 24 broken; always A)" in words
    assert "At new every other tested task gains (95 %)." in words


def test_collapsed_answers_are_no_gain_either(tmp_path):
    wrong = [(n + (n < 80)) % 2 for n in range(100)]  # 20 of 100 right
    file = choices(tmp_path / "x.csv", {None: {"math": wrong}, "new": {"math": [0] * 100}})
    (only,) = ts.compare(file).runs
    assert only.cells["math"].q < 0.001
    assert only.moved(1) == []
    assert only.moved(-1) == [only.cells["math"]]


def test_where_the_base_gives_one_answer_too_a_run_does_not_collapse(tmp_path):
    file = choices(tmp_path / "x.csv", {None: {"math": [0] * 100}, "new": {"math": [1] * 100}})
    (only,) = ts.compare(file).runs
    assert only.cells["math"].collapsed == ""


def test_a_run_has_collapsed_where_most_of_its_seeds_have(tmp_path):
    found = {}
    for fallen in (1, 2):
        tables = [
            choices(
                tmp_path / f"{seed}.csv",
                ({None: {"math": SEES}} if seed == "0" else {})
                | {"new": {"math": [0] * 100 if int(seed) < fallen else SEES[::-1]}},
                seed,
            )
            for seed in ("0", "1", "2")
        ]
        rows = pl.concat(pl.read_csv(file, infer_schema=False) for file in tables)
        rows.write_csv(tmp_path / "x.csv")
        found[fallen] = ts.compare(tmp_path / "x.csv").runs[0].cells["math"].collapsed
    assert found == {1: "", 2: "always A in 2 of 3 seeds"}


def test_many_clear_gains_do_not_turn_noise_into_losses():
    """60 tasks gain by 5 standard errors, 20 do not change: seldom is one of those called worse."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        changes = rng.normal(np.repeat([5.0, 0.0], [60, 20])) / 100
        q = corrected(changes, Effect(changes, 1e-4).p)
        wrong += bool(((q <= 0.05) & (changes < 0)).any())
    assert wrong / 300 <= 0.05


# The gate


@pytest.mark.parametrize(
    ("options", "code", "outcome"),
    [
        (["--protect", "chat:5"], 0, "pass"),
        (["--protect", "all:5"], 1, "fail"),
        (["--protect", "code:1"], 3, "cannot tell"),
        (["--gain", "math:5"], 0, "pass"),
        (["--gain", "math:40"], 1, "fail"),
        (["--gain", "math:13"], 3, "cannot tell"),
        (["--gain", "math:5", "--protect", "code:1"], 3, "cannot tell"),
        (["--gain", "mean:0"], 3, "cannot tell"),
    ],
)
def test_the_gate_s_exit_codes(tmp_path, run, options, code, outcome):
    file = one_run(tmp_path / "x.csv", math=(60, 5), chat=(4, 3), code=(20, 21), fact=(0, 50))
    found, text, _ = run("compare", file, *options, "--json")
    assert found == code
    data = json.loads(text)
    assert data["outcome"] == outcome
    if outcome == "cannot tell":
        unsure = [each["why"] for each in data["gate"] if each["outcome"] == outcome]
        assert all("item" in why for why in unsure)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("maths:5", "no task 'maths'; did you mean 'math'?"),
        ("math", "expected TASK:POINTS, such as math:2"),
        ("math:-3", "expected TASK:POINTS"),
        ("math:nan", "expected TASK:POINTS"),
    ],
)
def test_a_wrong_condition_ends_with_code_2(tmp_path, run, option, message):
    file = one_run(tmp_path / "x.csv", math=(1, 1), chat=(1, 2))
    code, text, error = run("compare", file, "--protect", option)
    assert (code, text) == (2, "")
    assert message in error


def test_every_run_must_pass_the_gate(tmp_path, run):
    runs = {
        None: {"math": flipped(200, 400)},
        "good": {"math": flipped(200, 400, 60, 2)},
        "bad": {"math": flipped(200, 400, 2, 60)},
    }
    file = table(tmp_path / "x.csv", runs)
    code, text, _ = run("compare", file, "--protect", "math:3")
    assert code == 1
    assert text.startswith("Ship good: ")


# What is printed and written


def test_markdown_is_one_table_for_a_pull_request(tmp_path, run):
    file = one_run(tmp_path / "x.csv", math=(60, 5), chat=(10, 12))
    _, text, _ = run("compare", file, "--markdown", "--gain", "math:5")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "|  | math (400) | chat (400) | mean (2 tasks) |"
    assert len({row.count("|") for row in rows}) == 1
    assert rows[3].startswith("| new | 63.7 +13.8▲ | 49.5 −0.5 |")
    assert text.startswith("**Ship new: ")
    assert "**Gate: pass**" in text


def test_markdown_escapes_what_names_would_do(tmp_path, run):
    file = one_run(tmp_path / "x.csv", **{"a|b<img src=x>": (1, 2)})
    _, text, _ = run("compare", file, "--markdown")
    assert "a\\|b\\<img src=x\\>" in text
    assert "<img" not in text.replace("\\<img", "")


def test_csv_and_json_hold_every_cell(tmp_path, run):
    file = one_run(tmp_path / "x.csv", math=(60, 5), chat=(10, 12))
    rows = list(csv.DictReader(io.StringIO(run("compare", file, "--csv")[1])))
    data = json.loads(run("compare", file, "--json")[1])
    assert [row["target"] for row in rows] == ["math", "chat", "mean"]
    assert float(rows[0]["change"]) == pytest.approx(55 / 400)
    assert [cell["change"] for cell in data["cells"]] == pytest.approx(
        [float(row["change"]) for row in rows]
    )
    assert data["ship"] == "new"
    code, _, error = run("compare", file, "--csv", "--json")
    assert code == 2
    assert "give one of them" in error


def test_the_page_is_one_file_without_scripts_and_with_the_verdict_on_top(tmp_path, run):
    evil = "<script>alert(1)</script>"
    runs = {
        None: {"math": flipped(200, 400), evil: flipped(100, 400)},
        "sft @ 10": {"math": flipped(200, 400, 60), evil: flipped(100, 400, 5, 5)},
        "sft @ 20": {"math": flipped(200, 400, 2, 60), evil: flipped(100, 400, 5, 5)},
    }
    out = tmp_path / "out"
    code, text, _ = run("compare", table(tmp_path / "x.csv", runs), "--out", out)
    assert code == 0
    html = (out / "report.html").read_text(encoding="utf-8")
    assert [each for each in ("<script", "http:", "https:") if each in html] == []
    assert "<h1>Ship sft @ 10: " in html
    (curves,) = html.partition("<svg")[2].split("<svg")
    drawn = curves.partition("</svg>")[0]
    assert page(ts.compare(tmp_path / "x.csv")) == html
    assert [drawn.count(f">{title}<") for title in ("mean", "math", escape(evil))] == [1, 1, 1]
    assert json.loads((out / "comparison.json").read_text())["verdict"] in " ".join(text.split())


def test_the_curve_over_steps_shows_each_change_and_whether_it_may_be_noise(flat):
    spec = compared_curves(flat.runs, ["mean", "Jigsaw", "Relative_Depth"])
    assert spec is not None
    rows = [row for each in spec["datasets"].values() for row in each if "verdict" in row]
    drawn = [(row["step"], round(row["effect"], 1), row["verdict"]) for row in rows]
    assert drawn == [
        *((100, -6.2, "worse"), (784, -10.2, "worse")),
        *((100, -20.4, "worse"), (784, -22.6, "worse")),
        *((100, 5.0, "not tested"), (784, -5.0, "not tested")),  # 2 fixed, 1 broken of 20
    ]
    assert "2 tasks not drawn" in str(spec["title"])
    assert len(chart(spec).to_dict()["vconcat"][0]["hconcat"]) == 3
    assert compared_curves(flat.runs[:1], ["mean"]) is None


def test_many_tasks_and_runs_fit_80_columns(tmp_path, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rng = np.random.default_rng(0)
    tasks = ["math", *(f"A_rather_long_name_of_a_task_{n}" for n in range(29))]
    runs = {
        name: {task: rng.random(50) < 0.5 for task in tasks[1:]}
        | {tasks[0]: flipped(25, 50, 2 * n)}
        for n, name in enumerate((None, *(f"sft @ {n}00" for n in range(1, 10))))
    }
    _, text, _ = run("compare", table(tmp_path / "x.csv", runs))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "19 more tasks" in text  # each of two tables has 12 rows: 11 tasks and the mean
    shown = [line.split()[1:] for line in lines if line.startswith("math ")]
    (items, base), changes = shown[0][:2], [each for row in shown for each in row[2:]]
    assert (items, base) == ("50", "50.0")
    assert [float(each.rstrip("▲")) for each in changes] == [4.0 * n for n in range(1, 10)]


def test_a_mapping_of_one_finetune_is_compared_by_analyze(tmp_path, run):
    letters = ["A", "B"] * 30
    lmms_blink(tmp_path / "base", letters, letters)
    for step, wrong in ((500, 4), (1000, 30)):
        lmms_blink(tmp_path / f"c{step}", ["B", "A"] * (wrong // 2) + letters[wrong:], letters)
    file = mapping(
        tmp_path,
        "path: base/",
        *(f"path: c{step}/, source: my mix, step: {step}" for step in (500, 1000)),
    )
    code, text, _ = run("analyze", file, "--out", tmp_path / "out")
    assert code == 0
    first, _, verdict = text.splitlines()[:3]
    assert first == "One finetune: compared with its base, as `transferscope compare` does."
    assert verdict.startswith(("Ship none", "Cannot tell", "Keep"))
    assert "my mix @ 1000" in text
    for word in ("donor", "pirate", "clique", "PGF"):
        assert word not in text.lower()
    assert (tmp_path / "out" / "comparison.json").is_file()


# Names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["v/q_lora_checkpoint-100.json", "v/q_lora_checkpoint-784.json"],
         ["checkpoint-100", "checkpoint-784"]),
        (["logs/500", "logs/1000"], ["500", "1000"]),
        (["runs/a/results", "runs/b/results"], ["a", "b"]),
        (["lora_r8_lr1e4.json", "lora_r16_lr1e4.json"], ["r8", "r16"]),
        (["ft", "ft_v2"], ["ft", "ft_v2"]),
        (["a/checkpoint-5", "b/checkpoint-5"], ["a", "b"]),
        (["runs/seed0/checkpoint-5", "runs/seed1/checkpoint-5"], ["checkpoint-5"] * 2),
        (["x/1.4b-deduped_step133000.json", "x/1.4b-deduped_step134000.json"],
         ["step133000", "step134000"]),
        (["logs/a-very-long-name-of-one-single-run_checkpoint-7"], ["checkpoint-7"]),
        (["logs/sft"], ["sft"]),
        (["m-step5_results_12-30-2022-21-51-20.json", "m-step9_results_12-30-2022-21-52-40.json"],
         ["m-step5", "m-step9"]),
        (["a/results_2026-01-01T10-00-00.1", "a/results_2026-01-02T10-00-00.1"],
         ["2026-01-01T10-00-00.1", "2026-01-02T10-00-00.1"]),
    ],
)  # fmt: skip
def test_runs_are_called_by_what_differs(paths, names):
    assert list(short_names(paths).values()) == names


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("runs/checkpoint-500/eval", 500),
        ("ckpt_1000", 1000),
        ("global_step2000", 2000),
        ("1.4b-deduped_step133000.json", 133000),
        ("iter-7", 7),
        ("checkpoint-1/checkpoint-2", 2),
        ("footstep-3", None),
        ("logs/500", None),
        ("checkpoint-final", None),
    ],
)
def test_the_step_is_read_from_the_path(path, step):
    assert step_of(path) == step


def test_two_names_for_one_path_are_void(tmp_path):
    letters = ["A", "B"] * 30
    lmms_blink(tmp_path / "base", letters, letters)
    lmms_blink(tmp_path / "new", ["A"] * 60, letters)
    found = ts.compare(tmp_path / "base", {"a": tmp_path / "new", "b": tmp_path / "new"})
    assert {run.verdict for run in found.runs} == {"void"}
    assert found.decision.ship is None


def test_wrong_input_is_one_line_with_code_2(tmp_path, run):
    letters = ["A", "B"] * 30
    lmms_blink(tmp_path / "base", letters, letters)
    for words, message in (
        ((tmp_path / "base", tmp_path / "none"), "no such file or folder"),
        ((tmp_path / "base", str(tmp_path / "x*")), "no file or folder matches"),
        ((tmp_path / "base", str(tmp_path / "b*")), "no run beside the base"),
        ((tmp_path / "base",), "compare BASE RUN"),
    ):
        code, text, error = run("compare", *words)
        assert (code, text) == (2, "")
        assert message in error
