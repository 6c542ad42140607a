"""README and docs: examples run, what they show is printed, links lead somewhere, the site builds.

A block that takes more than seconds, or needs what a test has not, is marked with a comment above
it: `<!-- not run: needs a GPU -->`. A block with a title is that file. All others run in order,
each page in a folder of its own that holds made-up results; lines shown below a command must be
printed, where the authors' tables and other people's files are beside the checkout.
"""

import contextlib
import csv
import importlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import harness_logs
import numpy as np
import pytest
import typer.main
from fake_engine import FakeEngine
from readers.test_counts import PUBLISHED_BASES

import transferscope as ts
from transferscope import cli
from transferscope import store as results
from transferscope.analysis.json_file import to_json
from transferscope.builders import BUILDERS
from transferscope.execution import runner
from transferscope.readers.harness.mapping import MappedRun, MappingFile
from transferscope.study.file import parse_study

ROOT = Path(__file__).resolve().parents[1]
DOCS, SHARED = ROOT / "docs", ROOT.parent / "shared"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
TEXT = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
DEMO = "transferscope demo --simulated --out demo/"


class Block(NamedTuple):
    """A fenced block."""

    why: str | None
    """Why it is not run; None where it is."""
    language: str
    title: str | None
    code: str


def blocks(text: str) -> list[Block]:
    form = r'(?:^<!-- not run: (.*) -->\n)?^```(\w*)(?: title="(.*)")?\n((?:.*\n)*?)^```$'
    return [Block(w or None, *rest) for w, *rest in re.findall(form, text, re.MULTILINE)]


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command line of a shell, and the lines shown below it."""
    if block.language not in ("sh", "console"):
        return
    prompt = r"^\$ " if block.language == "console" else "^"
    parts = re.split(rf"{prompt}(?=.*\btransferscope )", block.code, flags=re.MULTILINE)
    for part in parts[1:]:
        line, *shown = part.replace("\\\n", " ").splitlines()
        if "transferscope " in line and not line.startswith(("pip ", "#")):
            yield line[line.index("transferscope ") :], shown if block.language == "console" else []


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)[1:]


def called(arguments: list[str]) -> tuple[int, str]:
    """Exit code, and what is printed."""
    if arguments[0] == "plan":  # else it measures this machine's speed for half a minute
        arguments = [*arguments, "--no-calibration"]
    if arguments[0] == "figures":  # tests of the command write the other formats
        arguments = [*arguments, "--format", "svg"]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", ["transferscope", *arguments])
        patch.setenv("COLUMNS", "80")
        try:
            cli.main()
            return 0, printed.getvalue()
        except SystemExit as stopped:
            return int(stopped.code or 0), printed.getvalue()


# What the pages' examples find in their folder


def documented_logs(folder: Path) -> None:
    """The made-up logs of docs/compare.md: a base, three checkpoints, 4 tasks."""
    rng = np.random.default_rng(0)
    course = {  # how much of each is right: base, and after 500, 1,000 and 1,500 steps
        "Jigsaw": (150, 0.55, 0.58, 0.77, 0.83),
        "Relative_Depth": (124, 0.75, 0.74, 0.64, 0.60),
        "Counting": (120, 0.50, 0.51, 0.50, 0.49),
        harness_logs.TASK: (133, 0.48, 0.47, 0.38, 0.36),
    }
    for task, (items, *shares) in course.items():
        gold = rng.permutation(np.resize(["A", "B"], items))
        hard = rng.random(items)
        for name, share in zip(("base", "ckpt-500", "ckpt-1000", "ckpt-1500"), shares, strict=True):
            right = 0.9 * hard + 0.1 * rng.random(items) < share
            letters = np.where(right, gold, np.where(gold == "A", "B", "A"))
            wordy = (rng.random(items) < 0.1) & (name == "base")
            reply = np.where(wordy, np.char.add("The answer is ", letters), letters)
            harness_logs.lmms_blink(folder / name, reply.tolist(), gold.tolist(), task=task)


def study_folder(folder: Path) -> None:
    """`out/`: the study of docs/matrix.md, carried out by an engine that trains nothing."""
    (folder / "weights").mkdir()
    (folder / "weights" / "weights").write_text("m")
    text = titled()["tiny.yaml"].replace(": glimpse-m}", f": {folder / 'weights'}}}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load_engine", FakeEngine().load)
        runner.run_study(parse_study(text, "tiny.yaml"), folder / "out")
    results.save(folder / "out", to_json(ts.analyze(ts.read_results(folder / "out"))))


def authors_files(folder: Path) -> None:
    """The authors' tables and a finetune's real replies; else made-up tables in their form."""
    random = np.random.default_rng(0)
    names = ("Jigsaw", "Art_Style", "Counting", "Visual_Correspondence")
    for size in ("3b", "32b"):
        rows = [
            f"{seed},{source},{target},{random.normal(0.05, 0.1):.4f}\n"
            for seed in range(4)
            for source in names
            for target in names
        ]
        heading = "seed,ft_task,task,perfection_gap_factor\n"
        (folder / f"qwen2.5-vl-{size}.csv").write_text(heading + "".join(rows))
    if SHARED.is_dir():
        for table in (SHARED / "data" / "published").glob("*.csv"):
            (folder / table.name).write_bytes(table.read_bytes())
        real = SHARED / "real" / "checkpoints-blink-flat"
        (folder / "val_answers.json").symlink_to(real / "val_answers.json")
        for file in (real / "val_predictions").iterdir():
            name = re.sub(r".*(?=checkpoint)", "", file.name).replace("QWEN", "base")
            (folder / name).symlink_to(file)


def titled() -> dict[str, str]:
    return {b.title: b.code for text in TEXT.values() for b in blocks(text) if b.title}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that an example may name."""
    folder = tmp_path_factory.mktemp("world")
    documented_logs(folder)
    (folder / "logs").mkdir()
    for name in ("base", "ckpt-500", "ckpt-1000", "ckpt-1500"):
        (folder / "logs" / name).symlink_to(folder / name)
    for name, text in titled().items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "studies").symlink_to(ROOT / "studies")
    authors_files(folder)
    study_folder(folder)
    with contextlib.chdir(folder):
        code, printed = called(words(DEMO))
    assert code == 0
    (folder / "demo.txt").write_text(printed, encoding="utf-8")
    return folder


@pytest.mark.parametrize("page", [page for page, text in TEXT.items() if blocks(text)])
def test_every_example_of_a_page_runs_and_prints_what_it_shows(page, world, tmp_path, monkeypatch):
    shutil.copytree(world, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(TEXT[page]):
        if block.why is None and block.language == "python":
            exec(compile(block.code, page, "exec"), names)
        for command, shown in commands(block) if block.why is None else ():
            arguments = words(command)
            if not SHARED.is_dir() and "val_answers.json" in arguments:
                continue
            demo = arguments == words(DEMO)
            code, printed = (0, Path("demo.txt").read_text()) if demo else called(arguments)
            gate = {"--protect", "--gain"} & set(arguments) and arguments[0] == "compare"
            assert code in ((0, 1, 3) if gate else (0,)), command
            if SHARED.is_dir():
                lines = [line.rstrip() for line in printed.splitlines()]
                assert [line for line in shown if line not in ("...", *lines)] == [], command


def test_a_block_that_is_not_run_has_a_reason_and_its_options_exist():
    skipped = [block for text in TEXT.values() for block in blocks(text) if block.why is not None]
    marks = [re.findall(r"^<!-- not run", text, re.MULTILINE) for text in TEXT.values()]
    assert len(skipped) == sum(map(len, marks))  # each stands right above a block
    app = typer.main.get_command(cli.app)
    for block in skipped:
        assert re.fullmatch(r"needs \w.+", block.why or ""), block
        for command, _ in commands(block):
            parser = app
            for word in (arguments := words(command)):
                parser = getattr(parser, "commands", {}).get(word, parser)
            known = {option for one in parser.params for option in one.opts}
            assert {word for word in arguments if word.startswith("-")} <= known, command


def test_no_command_hides_in_a_block_that_is_not_fenced():
    for page, text in TEXT.items():
        assert re.findall(r"^ {4,}\$? ?transferscope .*", text, re.MULTILINE) == [], page


# Links


def anchors(text: str) -> set[str]:
    """As the site's builder makes them of headings."""
    made = set()
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M):
        plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
        made.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
    return made


@pytest.mark.parametrize("page", TEXT)
def test_every_link_leads_to_a_file_and_a_heading(page):
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", TEXT[page], flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.is_file(), target
            assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


def test_each_page_is_in_the_menu_and_each_public_name_in_the_reference():
    menu = re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(menu) == sorted(page.name for page in DOCS.glob("*.md"))
    named = re.findall(r"^::: transferscope\.(\w+)$", TEXT["docs/api.md"], re.MULTILINE)
    assert sorted(named) == sorted(ts.__all__)


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for file in tmp_path.rglob("*.html"):
        tag = r'<(?:script|img|link|iframe)[^>]*(?:src|href)="?https?:[^>]*>'
        loaded = re.findall(tag, file.read_text(encoding="utf-8"))
        assert loaded == [], file


# What pages promise about code


def test_every_key_of_a_mapping_file_is_documented():
    for key in (*MappingFile.model_fields, *MappedRun.model_fields):
        row = re.search(rf"^\| `(?:runs: )?{key}` \|", TEXT["docs/harnesses.md"], re.MULTILINE)
        assert row or key == "runs"


def test_the_page_about_data_sets_shows_how_to_build_every_task():
    for task in BUILDERS:
        part = TEXT["docs/datasets.md"].partition(f"### {task}: ")[2].partition("### ")[0]
        assert f"transferscope build {task} --root " in part
        assert "Files" in part


def test_the_example_of_a_table_is_read_as_it_is_meant(tmp_path):
    (tmp_path / "results.csv").write_text(titled()["results.csv"])
    found = ts.read_results(tmp_path / "results.csv").isel(model=0, seed=0)
    assert found["base_accuracy"].sel(target="Relative_Depth") == 0.0
    assert found["accuracy"].sel(source="Jigsaw", target="Relative_Depth") == 1.0


# The gallery


@pytest.fixture
def make_gallery(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    made = importlib.import_module("make_gallery")
    monkeypatch.setattr(made, "video", video(made.video))
    return made


@cache
def video(make: Callable[[], ts.Analysis]) -> Callable[[], ts.Analysis]:
    """The same, made once."""
    return cache(make)


def test_each_figure_of_the_paper_has_its_place_and_each_picture_is_shown():
    text = TEXT["docs/gallery.md"]
    assert re.findall(r"^## Figure (\d+)$", text, re.MULTILINE) == [str(n) for n in range(1, 11)]
    shown = re.findall(r"\]\(gallery/([^)]+)\)", text)
    pictures = {path.name: path for path in (DOCS / "gallery").iterdir()}
    assert sorted(shown) == sorted(pictures)
    # 4 is the lower half of 3; luck explains the clique of 10
    assert {int(name.split("-")[0]) for name in shown} >= {1, 2, 3, 5, 6, 7, 8, 9}
    assert sum(path.stat().st_size for path in pictures.values()) < 500_000
    for path in pictures.values():
        width = re.search(r'width="([\d.]+)pt"', path.read_text(encoding="utf-8"))
        assert width is not None
        assert round(float(width[1]) / 72 * 25.4, 1) in (85, 175)


def test_the_gallerys_captions_are_those_of_the_published_tables_today(
    make_gallery, published, published_analysis, monkeypatch, tmp_path
):
    """All but Figure 8: its study is no part of the checkout."""
    (tmp_path / "gallery").mkdir()
    monkeypatch.setattr(make_gallery, "DOCS", tmp_path)
    monkeypatch.setattr(make_gallery, "render", lambda *_: b"")
    assert [*make_gallery.tables(published)] == [*published_analysis.models]
    made = make_gallery.page(published_analysis, make_gallery.video(), None)
    eighth = re.compile(r"## Figure 8\n.*?(?=## Figure 9\n)", re.DOTALL)
    assert eighth.sub("", made) == eighth.sub("", TEXT["docs/gallery.md"])


def test_the_heatmaps_extremes_are_those_of_the_published_table(published: Path):
    """In points: the published PGF times the gap of the published bases, which differ by seed."""
    seeds = defaultdict(list)
    with (published / "qwen2.5-vl-32b.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            seeds[row["ft_task"], row["task"]].append(float(row["perfection_gap_factor"]))
    gaps = {task: [100 - base for base in bases[1]] for task, bases in PUBLISHED_BASES.items()}
    points = {
        (source, target): [np.mean(values) * gap for gap in gaps[target]]
        for (source, target), values in seeds.items()
    }
    for word, pick in (("Largest", max), ("Smallest", min)):
        source, target = pick(points, key=lambda pair: np.mean(points[pair]))
        names = f"{source} on {target}".replace("_", " ")
        shown = re.search(rf"{word}: {names}, ([+−]?\d+)", TEXT["docs/gallery.md"])
        assert shown is not None, names
        value = int(shown[1].replace("−", "-"))
        assert min(points[source, target]) - 0.5 <= value <= max(points[source, target]) + 0.5


def test_a_study_of_video_targets_has_the_papers_figure_7(make_gallery):
    from transferscope.plots.gallery import gallery

    study = make_gallery.video()
    shown = {each.stem: each.spec for each in gallery(study) if 7 in each.kind.paper}
    assert list(shown) == ["heatmap-3B", "heatmap-7B", "heatmaps"]
    spec = shown["heatmaps"]
    cells = [row for rows in spec["datasets"].values() for row in rows if "own" in row]
    assert {row["column"] for row in cells} == {"OAO", "OC", "ORD", "RP", "ORDir"}
    assert len(cells) == 2 * 13 * 5


def test_a_lighter_image_keeps_its_shapes(make_gallery):
    full = (
        '<svg class="a" width="9pt"><path aria-hidden="true" d="M1.23456,-0.0004h10" opacity="1"/>'
        '<path d="M0,0h9" display="none"/><text font-family="A, \'B\'" x="1">1.234567</text></svg>'
    )
    assert make_gallery.light(full) == (
        '<svg font-family="A, \'B\'" width="9pt">'
        '<path d="M1.23,-0h10"/><text x="1">1.23</text></svg>'
    )
