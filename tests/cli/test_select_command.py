"""`transferscope select`: what it prints and writes, and that a study can train on it."""

import json
import re
from functools import partial

import pytest
from analysis_factory import HOSTILE, Shape, make

from transferscope import store as results
from transferscope.analysis.json_file import plain, to_json
from transferscope.selection import mixture
from transferscope.study.file import parse_study
from transferscope.study.plan import plan_study

STUDY = "name: next\nmodels: {s: glimpse-s}\nsuite: glimpse\nseeds: 1\nrecipe: {items: 250}\n"


@pytest.fixture
def select(run, monkeypatch, tmp_path):
    """Run the command in a folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return partial(run, "select")


@pytest.fixture
def made(tmp_path):
    """An analysis in the folder `study`, and a target that something helps."""
    analysis = make(Shape(models=("3B", "32B"), conduct=True))
    results.save(tmp_path / "study", to_json(analysis))
    found = {t.name: mixture(analysis, t.name) for t in analysis.tasks if t.target}
    target = max((t for t, mix in found.items() if mix.choices), key=lambda t: found[t].expected)
    return analysis, target


@pytest.mark.parametrize("rule", ["default", "paper"])
def test_the_mixture_is_printed_on_80_columns_and_a_study_file_takes_it(select, made, rule):
    analysis, target = made
    code, text, _ = select("--from", "study", "--target", target, "--items", 250, "--rule", rule)
    assert code == 0
    assert all(len(line) <= 80 for line in text.splitlines())
    found = mixture(analysis, target, items=250, rule=rule)
    assert (len(found.choices) > 1) == (rule == "paper")
    for left in (*found.choices, *found.left_out):
        assert left.source in text
    for choice in found.choices:
        cell = analysis.models[found.model].pgf[choice.source][target]
        row, evidence = re.findall(rf"^  {choice.source} .*(?:\n    .*)*", text, re.M)
        assert f"{cell.mean:.2f} PGF" in " ".join(evidence.replace("−", "-").split())
        (seen,) = re.findall(r"% +\d+ +([+−][\d.]+) points", row)
        assert float(seen.replace("−", "-")) == pytest.approx(100 * choice.expected, abs=0.51)
    # The printed lines, in a study on the suite of the same tasks, give each its items.
    lines = text.partition("models and suite:\n")[2]
    study = parse_study(STUDY + re.sub("^  ", "", lines, flags=re.M), "next.yaml")
    parts = plan_study(study).parts[f"for {target}"]
    assert parts == {choice.source: choice.items for choice in found.choices}
    assert sum(parts.values()) == 250


def test_json_is_what_is_written_and_what_the_library_says(select, made, tmp_path):
    analysis, target = made
    asked = ("--from", "study/analysis.json", "--target", target, "--model", "3B", "--risk", 0.5)
    other = next(task.name for task in analysis.tasks if task.name != target)
    options = ("--protect", f"{other}:30", "--items", 99, "--threshold", 0.6, "--json")
    code, text, _ = select(*asked, *options, "--out", "mix.json")
    assert code == 0
    record = json.loads(text)
    assert record == json.loads((tmp_path / "mix.json").read_bytes())
    limits = {"model": "3B", "threshold": 0.6, "items": 99, "protect": {other: 0.3}, "risk": 0.5}
    assert record["mixtures"] == json.loads(
        json.dumps([plain(mixture(analysis, target, **limits))])
    )
    assert select(*asked, "--out", "study")[0] == 2  # a folder


@pytest.mark.parametrize("rule", ["default", "paper"])
def test_without_a_target_each_has_a_line(select, made, rule):
    analysis, target = made
    code, text, _ = select("--from", "study", "--rule", rule, "--protect", f"{target}:40")
    assert code == 0
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    for task in analysis.tasks:
        (line,) = (line for line in lines if line.startswith(f"{task.name} "))
        guard = {target: 0.4} if task.name != target else {}
        found = mixture(analysis, task.name, rule=rule, protect=guard)
        if found.choices:
            sure = min(choice.helps for choice in found.choices)
        else:
            doubtful = ("not surely helping", "does not help")
            sure = max(left.helps for left in found.left_out if left.reason in doubtful)
        (seen,) = re.findall(r"((?:[<>] )?[01]\.\d\d)\)?(?=  [A-Z]|  none)", line)
        if seen[0] not in "<>":
            assert float(seen) == pytest.approx(sure, abs=0.0051)
        else:
            assert sure > 0.995 if seen[0] == ">" else sure < 0.005


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "Countin"], "unknown target 'Countin'; did you mean 'Counting'?"),
        (["--target", "Counting", "--model", "33B"], "unknown model '33B'; did you mean"),
        (["--target", "Counting", "--protect", "Jigsaw"], "expected TASK:POINTS, such as"),
        (["--target", "Counting", "--protect", "Jigsaw:x"], "'Jigsaw:x': expected TASK:POINTS"),
        (["--protect", "Jigsaw:1", "--protect", "Jigsaw:2"], "names 'Jigsaw' twice"),
        (["--protect", "Jigsav:0.1"], "unknown task 'Jigsav' to protect; did you mean 'Jigsaw'?"),
        (["--items", "0"], "items must be at least 1, got 0"),
        (["--from", "nowhere"], "nowhere: no analysis.json in this folder"),
        (["--from", "table.csv"], "table.csv: must be a results folder or its analysis.json"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(select, made, tmp_path, arguments, message):
    (tmp_path / "table.csv").write_text("a,b\n")
    code, text, errors = select("--from", "study", *arguments, "--out", "mix.json")
    assert (code, text) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "mix.json").exists()


def test_names_stay_text(select, tmp_path):
    analysis = make(Shape(models=("[bold]m",), names=("[red]A", *HOSTILE[:-1])))
    results.save(tmp_path / "study", to_json(analysis))
    for target in ("[red]A", HOSTILE[0]):
        code, text, _ = select("--from", "study", "--target", target, "--rule", "paper")
        assert code == 0
        assert target in text
        assert "[bold]m" in text
        assert all(line.isprintable() for line in text.splitlines())
