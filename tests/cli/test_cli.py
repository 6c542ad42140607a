"""The command as a person uses it: output, files, exit codes; nothing written after an error."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import messages
import polars as pl
import pytest
from analysis_factory import make

from transferscope import store as results
from transferscope.analysis.json_file import from_json, to_json
from transferscope.cli import ORDER, main
from transferscope.stats import simulate

NAMES = ["Art_Style", "Counting", "Jigsaw"]
FEW = pl.col("target").is_in(NAMES) & pl.col("source").is_in(NAMES).fill_null(True)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """An accuracy table of two made-up models and three tasks."""
    frame = simulate.example_study(seeds=2, seed=0)[0].filter(pl.col("model") != "medium", FEW)
    cell = ["model", "seed", "source", "target"]
    counts = frame.group_by(cell, maintain_order=True).agg(
        pl.col("correct").sum().cast(pl.Int64), pl.len().alias("total")
    )
    path = tmp_path_factory.mktemp("tables") / "accuracy.csv"
    counts.write_csv(path)
    return path


def test_python_dash_m_is_the_command():
    asked = [sys.executable, "-m", "transferscope", "--version"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"transferscope {version('transferscope')}"


@pytest.mark.parametrize(
    ("own", "then"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_threads_spin_for_a_short_time_unless_a_user_says_how_long(own, then, monkeypatch):
    monkeypatch.setattr("sys.argv", ["transferscope", "--version"])
    monkeypatch.setattr("os.environ", own)
    with pytest.raises(SystemExit):
        main()
    assert own.get("GOMP_SPINCOUNT") == then


def test_analyze_prints_a_summary_and_writes_the_folder_and_report_draws_it_again(
    run, table, tmp_path
):
    out = tmp_path / "study"
    code, text, _ = run("analyze", table, "--out", out)
    assert code == 0
    for part in ("small", "large", "strongest donors", "Personas", "safe", "without any transfer"):
        assert part in text
    assert sorted(path.name for path in out.iterdir()) == ["analysis.json", "report.html"]
    analysis = from_json((out / "analysis.json").read_bytes())
    assert list(analysis.models) == ["small", "large"]
    page = (out / "report.html").read_bytes()
    assert page.startswith(b"<!doctype html>")
    (out / "report.html").unlink()
    assert run("report", out)[0] == 0
    assert (out / "report.html").read_bytes() == page


def test_without_out_nothing_is_written(run, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text, _ = run("analyze", table)
    assert code == 0
    assert "Nothing was written; --out DIR" in text
    assert list(tmp_path.iterdir()) == []


def test_json_is_the_whole_analysis_and_nothing_else(run, table):
    code, text, _ = run("analyze", table, "--json")
    assert code == 0
    assert json.loads(text)["schema"] == 1


def test_figures_are_written_when_asked_for(run, table, tmp_path, monkeypatch):
    from transferscope.plots import composition

    out, one = tmp_path / "study", tmp_path / "one.csv"
    pl.read_csv(table).filter(pl.col("model") == "small").write_csv(one)
    assert run("analyze", one, "--out", out, "--preset", "paper")[0] == 0
    assert not (out / "figures").exists()
    code, text, _ = run("figures", out, "--format", "svg,png")
    assert code == 0
    written = {path.name: path.read_bytes() for path in (out / "figures").iterdir()}
    assert text.startswith(f"{len(written)} files in {out / 'figures'}; ")
    assert written["heatmap-small.png"].startswith(b"\x89PNG")
    assert written["heatmap-small.svg"].startswith(b"<svg")
    assert not [name for name in written if name.endswith(".pdf")]
    captions = set(re.findall(r"^## (.+)$", written["captions.md"].decode(), re.MULTILINE))
    assert {f"{name}.svg" for name in captions} | {f"{name}.png" for name in captions} | {
        "captions.md"
    } == set(written)
    monkeypatch.setattr(composition, "render", lambda spec, form: form.encode())
    assert run("figures", out, "--out", tmp_path / "paper", "--format", "pdf")[0] == 0
    assert (tmp_path / "paper" / "heatmap-small.pdf").read_bytes() == b"pdf"


def test_figures_come_with_the_analysis_where_that_is_asked(run, table, tmp_path, monkeypatch):
    from transferscope.plots import composition

    monkeypatch.setattr(composition, "render", lambda spec, form: form.encode())
    assert run("analyze", table, "--out", tmp_path, "--preset", "paper", "--figures")[0] == 0
    found = {path.suffix for path in (tmp_path / "figures").iterdir()}
    assert found == {".svg", ".pdf", ".png", ".md"}


def test_an_unknown_format_of_figures_is_refused(run, tmp_path):
    code, _, error = run("figures", tmp_path, "--format", "svg,gif")
    assert code == 2
    assert "must be some of svg, pdf and png" in error


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_demo_says_that_it_is_simulated_on_screen_and_on_the_page(
    run, tmp_path, monkeypatch, whole
):
    if not whole:
        predictions, controls = (
            frame.filter(pl.col("target").is_in(NAMES), model="small")
            for frame in simulate.example_study(seeds=2)
        )
        few = predictions.filter(FEW), controls
        monkeypatch.setattr(simulate, "example_study", lambda: few)
    out = tmp_path / "demo"
    code, text, _ = run("demo", "--simulated", "--out", out)
    assert code == 0
    assert "made-up models" in text
    assert "Simulated" in (out / "report.html").read_text(encoding="utf-8")


def test_tasks_are_those_of_the_papers_table(run):
    listed = json.loads(run("tasks", "--json")[1])["blink"]
    known = {task["name"]: task for task in listed if not task["twin"]}
    assert len(known) == 14
    assert known["IQ_Test"]["level"] is None  # the paper leaves it out
    assert known["Relative_Depth"]["level"] == "low"
    assert known["Jigsaw"]["granularity"] == "crop"
    assert "Relative_Depth" in run("tasks")[1]


@pytest.mark.parametrize("command", ["analyze", "run", "plan", "demo", "report", "tasks"])
def test_every_command_shows_an_example(run, command):
    code, text, _ = run(command, "--help")
    assert code == 0
    assert "Example" in text
    assert "<list[" not in text


def test_a_name_on_the_command_line_names_the_model(run, table, tmp_path):
    one = tmp_path / "one.csv"
    pl.read_csv(table).filter(pl.col("model") == "small").write_csv(one)
    data = json.loads(run("analyze", f"3B={one}", "--json")[1])
    assert list(data["models"]) == ["3B"]


def test_markup_in_a_name_is_shown_as_text(run, table, tmp_path):
    named = tmp_path / "named.csv"
    text = table.read_text(encoding="utf-8")
    named.write_text(text.replace("small", "[red]<script>").replace("Jigsaw", "[/bold]J"))
    out = tmp_path / "study"
    code, printed, _ = run("analyze", named, "--out", out)
    assert code == 0
    assert "[red]<script>" in printed
    assert "[red]<script>" not in (out / "report.html").read_text(encoding="utf-8")


def test_a_ceiling_can_come_from_a_table(run, table, tmp_path):
    ceilings = tmp_path / "ceilings.csv"
    ceilings.write_text("target,ceiling\nArt_Style,0.9\nCounting,0.95\nJigsaw,1\n")
    data = json.loads(run("analyze", table, "--ceiling", ceilings, "--json")[1])
    assert data["settings"]["ceiling"] == {"Art_Style": 0.9, "Counting": 0.95, "Jigsaw": 1.0}


GOOD = "seed,source,target,accuracy\na,,T,0.5\na,T,T,0.6\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, [], "no such file"),
        ("", [], "empty"),
        ("seed,source,target\na,T,T\n", [], "accuracy"),
        ("seed,seed,source,target,accuracy\na,a,T,T,0.5\n", [], "duplicated column 'seed'"),
        (GOOD + "a,T,T,0.7\n", [], "row"),
        (GOOD.replace("0.6", "good"), [], "'good'"),
        (GOOD.replace("0.6", "inf"), [], "inf"),
        (GOOD.replace("0.6", "60"), [], "so fractions and percent are mixed"),
        (GOOD, ["--ceiling", "95"], "divide percent by 100"),
        (GOOD, ["--ceiling", "high"], "not a number, not 'self'"),
        (GOOD, ["--alpha", "2"], "alpha must be"),
        (GOOD, ["--tolerance", "150"], "--tolerance must be points between 0 and 100, got 150"),
        (GOOD, ["--measure", "gain"], "measure must be one of pgf, "),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_no_file(run, tmp_path, text, options, message):
    path, out = tmp_path / "in.csv", tmp_path / "out"
    if text is not None:
        path.write_text(text)
    code, printed, error = run("analyze", path, "--out", out, *options)
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert printed == ""
    assert not out.exists()
    assert len(error.strip().splitlines()) == 1


def test_models_with_different_tasks_are_refused(run, tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text(GOOD)
    two.write_text(GOOD.replace("T", "Other"))
    code, _, error = run("analyze", one, two, "--out", tmp_path / "out")
    assert code == 2
    assert "differ in their" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["s3://bucket/out", "file:///out"])
def test_an_address_is_no_output_folder(run, table, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    code, _, error = run("analyze", table, "--out", out)
    assert (code, error.count("\n")) == (2, 1)
    assert "must be a folder, got an address" in error
    assert not (tmp_path / out.partition("/")[0]).exists()


def test_an_output_folder_that_is_a_file_is_refused_before_any_work(run, table, tmp_path):
    out = tmp_path / "file"
    out.write_text("mine")
    code, _, error = run("analyze", table, "--out", out)
    assert code == 2
    assert "must be a folder or a new name, got a file" in error
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target,top\nT,0.9\n", "no column 'ceiling'"),
        ("target,ceiling\nT,0.9\nT,0.8\n", "row 3: target 'T' has a ceiling already"),
        ("target,ceiling\nT,high\n", "row 2: ceiling is 'high'"),
        ("target,ceiling\nS,0.9\n", "unknown target 'S'"),
    ],
)
def test_a_wrong_table_of_ceilings_is_refused(run, tmp_path, text, message):
    path, ceilings = tmp_path / "in.csv", tmp_path / "ceilings.csv"
    path.write_text(GOOD)
    ceilings.write_text(text)
    code, _, error = run("analyze", path, "--ceiling", ceilings)
    assert code == 2
    assert message in error


def test_a_folder_that_may_not_be_written_is_refused_before_any_work(
    run, table, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.access", lambda place, _: Path(place) != tmp_path)
    code, text, error = run("analyze", table, "--out", tmp_path / "new" / "deep")
    assert (code, text) == (2, "")
    assert f"no permission to write in {tmp_path}" in error


def test_what_is_needed_first_is_listed_first(run):
    text = run("--help")[1]
    listed = [name.replace("_", "-") for name in ORDER]
    assert re.findall(r"^│ ([a-z][a-z-]+)  ", text, re.M) == [*listed, "suites"]
    assert "Example: transferscope demo --simulated" in text


@pytest.mark.parametrize(
    "command",
    [
        "analyze study.yaml",
        "analyze done",
        "analyze nobase.csv",
        "report study.yaml",
        "run done",
        "status study.yaml",
        "plan tuple.yaml",
    ],
)
def test_a_file_that_a_newcomer_mistakes_for_another_is_named(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text("name: one\nmodels: {s: glimpse-s}\nsuite: glimpse\n")
    Path("tuple.yaml").write_text(Path("study.yaml").read_text() + "seeds: two\n")
    Path("nobase.csv").write_text("model,seed,source,target,accuracy\nm,0,S,T,0.5\n")
    results.save("done", to_json(make()))
    code, _, error = run(*command.split())
    assert code == 2
    messages.check(error.removesuffix("\n"))
    assert error.count("\n") == 1


def test_report_takes_the_analysis_itself_as_select_does(run, tmp_path):
    results.save(tmp_path, to_json(make()))
    assert run("report", tmp_path / "analysis.json")[0] == 0
    assert (tmp_path / "report.html").is_file()


def test_suites_lists_what_there_is(run):
    code, text, _ = run("suites")
    assert code == 0
    assert "glimpse  13 tasks, embedded, version glimpse-2; options: difficulty" in text
    assert "blink  14 tasks, from BLINK-Benchmark/BLINK on the Hub or a local copy" in text
    assert "vsi-bench  11 tasks, from nyu-visionx/VSI-Bench on the Hub" in text


def test_no_escape_sequence_of_a_file_reaches_the_terminal(run, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text('name: t\nmodels: {"\\e[2J\\u202e": glimpse-s}\nsuite: glimpse\n')
    code, _, error = run("plan", file)
    assert code == 2
    messages.check(error)
    assert r"\x1b[2J\u202e" in error


def test_a_name_of_a_table_gives_the_terminal_no_orders(run, tmp_path):
    evil = "a\x1b[2Jb\u202ec\x07"
    (tmp_path / "x.csv").write_text(
        "seed,source,target,accuracy\n"
        + "".join(f"0,{source},{target},0.5\n" for source in ("", evil) for target in (evil, "T")),
        encoding="utf-8",
    )
    out = tmp_path / "out"
    code, text, _ = run("analyze", tmp_path / "x.csv", "--out", out)
    again, more, _ = run("select", "--from", out)
    assert (code, again) == (0, 0)
    assert "[2Jb" in text + more
    assert not {"\x1b", "\u202e", "\x07"} & set(text + more)


def test_a_name_that_is_too_long_is_one_line(run, tmp_path):
    code, _, error = run("analyze", "x" * 5000)
    assert (code, error.count("\n"), len(error) < 200) == (2, 1, True)
    assert error.endswith("xxx...: File name too long\n")


def test_suites_show_draws_a_sheet(run, tmp_path):
    sheet = tmp_path / "sheet.png"
    code, text, _ = run("suites", "show", "glimpse", "--task", "Jigsaw", "--n", 3, "--out", sheet)
    assert (code, text) == (0, f"3 items in {sheet}\n")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert run("suites", "show", "glimpse", "--n", 1, "--out", sheet)[1].startswith("13 items")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["glimps"], "unknown suite 'glimps'; did you mean 'glimpse'?"),
        (
            ["glimpse", "--task", "Jigsaws"],
            "unknown task 'Jigsaws'; did you mean 'Jigsaw'? known: Art_Style",
        ),
        (["glimpse", "--n", "-3"], "--n must be at least 1, but is -3"),
        (["glimpse", "-s", "difficulty=2"], "suite.difficulty: Input should be less than"),
    ],
)
def test_suites_show_refuses_what_does_not_exist(run, tmp_path, arguments, said):
    sheet = tmp_path / "sheet.png"
    code, _, error = run("suites", "show", *arguments, "--out", sheet)
    assert code == 2
    assert said in error
    assert not sheet.exists()
