"""The mapping file, and an engineer's case from it: a base, checkpoints, one command."""

import json

import harness_logs as logs
import pytest
import scipy.stats
from harness_logs import TASK, lmms_blink, mapping, two_runs, vlmevalkit
from tables import Read, refused

from transferscope.analysis.analyze import analyze
from transferscope.analysis.settings import Settings
from transferscope.readers import read_results

GOLD = "AB" * 30


def replies(right, *, style="({})", gold=GOLD):
    """Replies of which the first `right` are right."""
    letters = [g if n < right else "BA"[g == "B"] for n, g in enumerate(gold)]
    return [style.format(letter) for letter in letters]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: [{path: b, sorce: x}]", "run 1: unknown key 'sorce'; did you mean 'source'?"),
        ("runs: []\nmodels: m", "unknown key 'models'; did you mean 'model'?"),
        ("runs: []", "runs: "),
        ("runs: 3", "runs: "),
        ("runs: [{source: x}]", "run 1: path is missing"),
        ("runs: [x]", "run 1: "),
        ("runs: [{path: ''}]", "run 1: path: the name is empty"),
        ('runs: [{path: "a\\0b"}]', "run 1: path: the name 'a\\x00b' holds a NUL character"),
        ("runs: [{path: b, source: x, step: '5'}]", "run 1: step: "),
        ("runs: [{path: b, source: x, step: -5}]", "run 1: step: "),
        ("runs: [{path: b, source: x, seed: [1]}]", "run 1: seed: "),
        ("runs:\n  - {path: b}\n  - {path: c, step: 5}", "run 2 (c): a step without a source"),
        ("runs: [{path: b}]", "no run has a source; there is nothing to compare the base with"),
        ("runs: [{path: b, source: x}]", "no run is the base; give one without a source"),
        (
            "runs:\n  - {path: b, model: m}\n  - {path: c, model: n, source: x}",
            "no run is the base of 'n'; give one without a source",
        ),
        (
            "model: m\nruns: [{path: b, model: n}]",
            "run 1 (b): model is 'n', but the file's is 'm'; keep one",
        ),
        ("runs: [{path: b}]\nruns: []", "line 2: key 'runs' is given twice"),
        ("runs: [", "line 1:"),
        ("runs: !!python/object:os.system {}", "line 1: could not determine a constructor"),
        ("- 1\nruns: 2", "line 2:"),
        ("? [a]\n: 1\nruns: 2", "a key must be a name or a whole number"),
    ],
)
def test_a_mapping_that_is_wrong_is_refused_in_one_line(tmp_path, text, message):
    found = refused(logs.put(tmp_path / "mapping.yaml", text))
    assert found.startswith("mapping.yaml:")
    assert message in found


def test_a_path_that_is_not_there_is_named(tmp_path):
    lmms_blink(tmp_path / "base", replies(30), GOLD)
    assert refused(two_runs(tmp_path)).endswith("tuned: no such file or folder")


def test_a_harness_s_file_without_a_mapping_is_told_what_it_needs(tmp_path):
    file = lmms_blink(tmp_path, replies(30), GOLD)
    assert refused(file) == (
        f"{file.name}: a file of lmms-eval, which is one run alone; compare it with the base by "
        f"`transferscope compare BASE RUN`, or name the runs in a mapping file (docs/harnesses.md)"
    )
    other = logs.put(tmp_path / "x.json", '{\n "a": 1\n}')
    assert refused(other) == (
        "x.json: one JSON object; expected a table: an object on each line, with source, target, "
        "item and score (docs/harnesses.md)"
    )


def test_seeds_models_and_several_paths_make_one_matrix(tmp_path):
    for n, right in enumerate((30, 40, 50, 20, 35)):
        lmms_blink(tmp_path / f"{n}", replies(right), GOLD)
        lmms_blink(tmp_path / f"{n}j", replies(right), GOLD, task="Jigsaw")
    found = read_results(
        mapping(
            tmp_path,
            *(f"path: {p}, model: small" for p in ("0", "0j")),
            *(f"path: {p}, model: small, source: Jigsaw, seed: 0" for p in ("1", "1j")),
            *(f"path: {p}, model: small, source: Jigsaw, seed: 1" for p in ("2", "2j")),
            *(f"path: {p}, model: large" for p in ("3", "3j")),
            *(f"path: {p}, model: large, source: Jigsaw, seed: 0" for p in ("4", "4j")),
            head="",
        )
    )
    assert found["model"].values.tolist() == ["small", "large"]
    assert found["seed"].values.tolist() == ["0", "1"]
    small = found["pgf"].sel(model="small", source="Jigsaw", target=TASK).values
    assert small.tolist() == pytest.approx([1 / 3, 2 / 3])  # (40 - 30) / 30 and (50 - 30) / 30
    large = found["pgf"].sel(model="large", seed="0", target="Jigsaw")
    assert float(large.item()) == pytest.approx(15 / 40)


def test_checkpoints_are_sources_of_their_own_in_the_order_of_their_steps(tmp_path):
    for run, right in (("base", 30), ("late", 20), ("early", 29), ("plain", 31)):
        lmms_blink(tmp_path / run, replies(right), GOLD)
    found = read_results(
        mapping(
            tmp_path,
            "path: late/, source: my mix, step: 1000",
            "path: base/",
            "path: early/, source: my mix, step: 90",
            "path: plain/, source: Jigsaw",
        )
    )
    assert found["source"].values.tolist() == ["my mix @ 90", "my mix @ 1000", "Jigsaw"]
    assert found["source_level"].values.tolist() == ["", "", "mid"]


def test_an_engineers_case_from_logs_to_page(tmp_path, run):
    """A base and three checkpoints of one finetune: what it helped, broke, and since when."""
    course = {  # right answers of 60 on each task
        "base": (30, 30, 30),
        "ckpt-500": (30, 36, 29),
        "ckpt-1000": (31, 48, 14),
        "ckpt-1500": (29, 54, 6),
    }
    for name, rights in course.items():
        style = "The answer is {}" if name == "base" else "({})"  # lmms-eval reads T: all wrong
        for task, right in zip(("Counting", "Jigsaw", TASK), rights, strict=True):
            lmms_blink(tmp_path / name, replies(right, style=style), GOLD, task=task)
    file = mapping(
        tmp_path,
        "path: base/",
        *(f"path: ckpt-{step}/, source: Jigsaw, step: {step}" for step in (500, 1000, 1500)),
        head="model: qwen2.5-vl-7b\n",
    )
    out = tmp_path / "out"
    code, text, _ = run("analyze", file, "--out", out)
    assert code == 0
    words = " ".join(text.split())
    assert (
        "Ship none: Jigsaw @ 1000 and Jigsaw @ 1500 are worse on Multi-view Reasoning beyond noise"
    ) in words
    assert "Multi-view Reasoning −26.7 at Jigsaw @ 1000" in words
    assert "base: lmms-eval scored 90 of 180 replies differently from their text" in words
    assert "(90 wrong where the text is right, 0 right where it is not)" in words
    cells = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["cells"]
    harm = [cell for cell in cells if cell["target"] == TASK]
    assert [cell["step"] for cell in harm] == [500, 1000, 1500]
    assert [cell["change"] for cell in harm] == pytest.approx([-1 / 60, -16 / 60, -24 / 60])
    assert [cell["broken"] for cell in harm] == [1, 16, 24]
    # 24 of 60 items broken, none fixed, and two half items
    variance = 0.4 * 0.6 / 59 + (1 + 0.4**2) / 60**2
    assert harm[2]["p"] == pytest.approx(2 * scipy.stats.t.sf(0.4 / variance**0.5, 59), rel=1e-3)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Over the steps of" in page
    assert "scored 90 of 180 replies differently" in page
    analysis = analyze(read_results(file), Settings())
    (trajectory,) = analysis.trajectories
    assert trajectory.steps == [500, 1000, 1500]
    course = trajectory.targets[TASK]
    assert course.effects == pytest.approx([-1 / 30, -16 / 30, -24 / 30])
    assert course.harmed_from == 1000


def test_hostile_names_and_replies_stay_text(tmp_path, run):
    evil = "<img src=x onerror=alert(1)>"
    for name in ("base", "tuned"):
        vlmevalkit(tmp_path / name, [evil, *replies(30)[1:]], GOLD, category=evil, hits=[1] * 60)
    file = mapping(tmp_path, "path: base/", f'path: tuned/, source: "{evil}", step: 1')
    out = tmp_path / "out"
    code, text, _ = run("analyze", file, "--out", out)
    assert code == 0
    assert "onerror" in text
    assert evil not in (out / "report.html").read_text(encoding="utf-8")


def test_errors_of_a_mapping_end_the_command_with_code_2(tmp_path, run):
    file = mapping(tmp_path, "path: nowhere", "path: x, source: y")
    code, text, error = run("analyze", file, "--out", tmp_path / "out", "--json")
    assert (code, text) == (2, "")
    assert error.startswith("transferscope: ")
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_csv_is_no_mapping_and_a_mapping_needs_no_name(tmp_path):
    lmms_blink(tmp_path / "base", replies(30), GOLD)
    lmms_blink(tmp_path / "tuned", replies(40), GOLD)
    file = two_runs(tmp_path, head="# runs below\n").rename(tmp_path / "no ending")
    assert Read(file).names("model") == ["no ending"]
    table = logs.put(
        tmp_path / "x.csv", "seed,source,target,accuracy\n,,runs: 1,0.5\n0,S,runs: 1,1\n"
    )
    assert Read(table).names("target") == ["runs: 1"]


def test_a_source_spelt_otherwise_than_its_target_is_refused(tmp_path):
    """Else a finetune's effect on its own task would count as transfer."""
    for run, right in (("base", 30), ("tuned", 50)):
        lmms_blink(tmp_path / run, replies(right), GOLD)
    found = refused(mapping(tmp_path, "path: base/", "path: tuned/, source: multi_view reasoning"))
    assert found == (
        f"mapping.yaml: task '{TASK}' and 'multi_view reasoning' differ in spelling alone; write "
        "them alike"
    )
