"""The command line: parse, call, print.

The only module that prints or exits. Exit code 0: done; 1: the work failed; 2: the command or an
input was wrong, said in one line on standard error, and nothing was written.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from transferscope.errors import StudyError, TransferscopeError

if TYPE_CHECKING:
    from transferscope.analysis import Analysis
    from transferscope.runner import Event
    from transferscope.study import Study

app = typer.Typer(
    name="transferscope",
    help="See what finetuning a vision-language model on one task does to all the others.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

suites_app = typer.Typer(
    invoke_without_command=True, rich_markup_mode="markdown", add_completion=False
)
app.add_typer(suites_app, name="suites")

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]PATH...",
        help="PGF tables, accuracy tables (CSV or Parquet) or study folders, smallest model first. "
        "NAME= names a table's model.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Results folder; of a study, its name if left out."),
]
Ceiling = Annotated[
    str,
    typer.Option(
        help="Best reachable accuracy: a fraction, `self` (the diagonal's own accuracy), or a CSV "
        "with columns target, ceiling."
    ),
]
Measure = Annotated[
    Literal["pgf", "relative_gain", "raw_gain"], typer.Option(help="Measure of change.")
]
IncludeSelf = Annotated[
    bool, typer.Option("--include-self", help="Count a task's effect on itself.")
]
Preset = Annotated[
    Literal["default", "paper"],
    typer.Option(help="`paper`: the paper's tests alone, no intervals or null models."),
]
Keep = Annotated[float, typer.Option(help="Share of each sign's edges in the transfer graph.")]
Alpha = Annotated[float, typer.Option(help="Level of tests and intervals.")]
Bootstrap = Annotated[int, typer.Option(help="Bootstrap draws.")]
ItemCorrelation = Annotated[
    float, typer.Option(help="Assumed where only counts of correct answers are known.")
]
Seed = Annotated[int, typer.Option(help="Seed of the analysis's own randomness.")]
NoFigures = Annotated[
    bool, typer.Option("--no-figures", help="Leave out the figures folder (the page stays).")
]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def command() -> None:
    """`main` in a process of its own, as the installed command runs it."""
    # Next to nothing made here becomes garbage: looking for it as often as usual, and once more at
    # the end, would take a quarter of a second.
    gc.set_threshold(100_000)
    try:
        main()
    finally:
        gc.freeze()


def main() -> None:
    """Run the command; our own errors become one line and exit code 2."""
    # The analysis multiplies many small matrices, for which BLAS threads cost more than they give.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app()
    except TransferscopeError as error:
        message = " ".join(str(error).split("\n"))
        print(f"transferscope: {message}", file=sys.stderr)
        raise SystemExit(2) from None


@app.command(epilog="Example: `transferscope analyze 3B=small.csv 32B=large.csv --out study/`")
def analyze(
    inputs: Inputs,
    out: Out = None,
    ceiling: Ceiling = "1",
    measure: Measure = "pgf",
    include_self: IncludeSelf = False,
    preset: Preset = "default",
    keep: Keep = 0.2,
    alpha: Alpha = 0.05,
    bootstrap: Bootstrap = 10_000,
    item_correlation: ItemCorrelation = 0.5,
    seed: Seed = 0,
    no_figures: NoFigures = False,
    as_json: AsJson = False,
) -> None:
    """Results into an analysis: summary, `analysis.json`, `report.html` and figures.

    Without `--out` only the summary is printed and nothing is written.
    """
    from transferscope.settings import Settings

    settings = Settings(
        measure=measure,
        include_self=include_self,
        preset=preset,
        alpha=alpha,
        graph_keep=keep,
        bootstrap=bootstrap,
        item_correlation=item_correlation,
        seed=seed,
    )
    settings.check()
    _check_folder(out)
    with _status("reading"):
        from transferscope.readers import read_results
        from transferscope.readers.ceilings import read_ceiling

        matrix = read_results(_named(inputs), ceiling=read_ceiling(ceiling))
    with _status("analysing"):
        from transferscope.assemble import analyze as run

        analysis = run(matrix, settings)
    _finish(analysis, out, figures=not no_figures, as_json=as_json)


@app.command(epilog="Example: `transferscope run studies/glimpse.yaml --out out/`")
def run(
    study: StudyFile, out: Out = None, no_figures: NoFigures = False, as_json: AsJson = False
) -> None:
    """A study: train, score, analyse. Stop it at any time; the same command continues."""
    from transferscope.study import read_study

    read = read_study(study)
    _run(read, out or Path(read.name), figures=not no_figures, as_json=as_json)


@app.command(epilog="Example: `transferscope plan studies/glimpse.yaml --out out/`")
def plan(study: StudyFile, out: Out = None, as_json: AsJson = False) -> None:
    """What a study will do, before anything is spent."""
    from transferscope.plan import Stock, plan_study
    from transferscope.runner import finished_cells
    from transferscope.study import read_study, suite_of

    stock = Stock(suite_of(read := read_study(study)))
    made = plan_study(read, stock)
    finished = finished_cells(read, made, stock, out or Path(read.name))
    summary = made.summary() | {"cells finished": finished}
    lines = [f"{count:>12,} {what}" for what, count in summary.items()]
    print(json.dumps(summary) if as_json else "\n".join(lines))


@app.command(epilog="Example: `transferscope demo --out demo/`")
def demo(
    out: Out = Path("demo"),
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Made-up models; trains nothing, needs no torch.")
    ] = False,
    no_figures: NoFigures = False,
    as_json: AsJson = False,
) -> None:
    """A whole study from nothing: 13 tasks, a small base, minutes on two CPU cores."""
    _check_folder(out)
    if not simulated:
        from transferscope.study import DEMO, parse_study

        study = parse_study(DEMO, "the demo's study")
        return _run(study, out or Path(study.name), figures=not no_figures, as_json=as_json)
    if not as_json:
        print("A simulated study: three made-up models whose true effects are known.\n")
    with _status("simulating and analysing"):
        from transferscope.assemble import analyze as analyzed
        from transferscope.matrix import from_predictions
        from transferscope.simulate import example_predictions

        matrix = from_predictions(example_predictions())
        note = "Simulated: the models, their answers and their effects are made up."
        matrix.attrs["notes"] = [note, *matrix.attrs["notes"]]
        analysis = analyzed(matrix)
    _finish(analysis, out, figures=not no_figures, as_json=as_json)


@app.command(epilog="Example: `transferscope report study/`")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with analysis.json.")],
    no_figures: NoFigures = False,
) -> None:
    """The page and the figures again, from `analysis.json`."""
    from transferscope import results
    from transferscope.serial import from_json

    data = results.read_analysis(folder)
    _write(from_json(data, str(folder)), data, folder, figures=not no_figures)


@app.command(epilog="Example: `transferscope tasks --json`")
def tasks(as_json: AsJson = False) -> None:
    """The tasks that are known by name, with their perceptual level and granularity."""
    from dataclasses import asdict

    from transferscope.suites import TASKS

    if as_json:
        print(json.dumps({suite: [asdict(t) for t in known] for suite, known in TASKS.items()}))
        return
    from rich.console import Console
    from rich.table import Table

    heads = ("suite", "task", "short", "level", "granularity")
    table = Table(*heads, box=None, header_style="bold")
    table.add_column("items", justify="right")
    for suite, known in TASKS.items():
        for t in known:
            table.add_row(suite, t.name, t.abbreviation, t.level, t.granularity, str(t.items or ""))
    Console().print(table)


@suites_app.callback(epilog="Example: `transferscope suites`")
def suites(context: typer.Context) -> None:
    """The suites whose questions can be had; `show` draws some of them."""
    from transferscope.suites import SUITES

    if context.invoked_subcommand is not None:
        return
    for name, make in SUITES.items():
        suite = make()
        print(f"{name}  {len(suite.tasks)} tasks, version {suite.version}")
    print("A folder with suite.yaml is a suite too.")


@suites_app.command(
    epilog="Example: `transferscope suites show glimpse --task Jigsaw --n 8 --out sheet.png`"
)
def show(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="Name, or folder with suite.yaml.")],
    task: Annotated[str | None, typer.Option(help="One task; all of them if left out.")] = None,
    split: Annotated[Literal["train", "eval"], typer.Option(help="Which items.")] = "eval",
    n: Annotated[int, typer.Option("--n", help="Items of each task.")] = 4,
    difficulty: Annotated[float, typer.Option(help="0 to 1, for glimpse.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file.")] = Path("sheet.png"),
) -> None:
    """A contact sheet: items with their questions, choices and right answers, as one PNG."""
    from transferscope import results
    from transferscope.suites import open_suite
    from transferscope.suites.glimpse import Glimpse
    from transferscope.suites.sheet import contact_sheet

    if n < 1:
        raise StudyError(f"--n must be at least 1, but is {n}")
    opened = Glimpse(difficulty) if suite == "glimpse" else open_suite(suite)
    if difficulty and suite != "glimpse":
        raise StudyError(f"--difficulty is for glimpse; {suite} has none")
    names = [known.name for known in opened.tasks] if task is None else [task]
    items = [item for name in names for item in opened.items(name, split)[:n]]
    with _status("drawing"):
        results.write_whole(out, contact_sheet(items, columns=min(n, 4)))
    print(f"{len(items)} items in {out}")


def _named(inputs: list[str]) -> list[str | tuple[str, str]]:
    """`NAME=PATH` as a pair. A path that exists as it stands may hold an equals sign."""
    named: list[str | tuple[str, str]] = []
    for text in inputs:
        name, equals, path = text.partition("=")
        named.append((name, path) if equals and not Path(text).exists() else text)
    return named


def _check_folder(out: Path | None) -> None:
    """Refuse a folder that cannot be one before any work is done."""
    if out is not None and out.exists() and not out.is_dir():
        raise StudyError(f"--out {out}: a file is there, expected a folder or a new name")


def _run(study: Study, out: Path, *, figures: bool, as_json: bool) -> None:
    """A study, then its analysis; exit code 1 where some of it failed."""
    from transferscope.assemble import analyze as analyzed
    from transferscope.readers import read_results
    from transferscope.runner import run_study

    _check_folder(out)
    gc.set_threshold(1000)  # a lab that runs for hours does make garbage
    try:
        with _progress() as tell:
            outcome = run_study(study, out, tell=tell)
    except KeyboardInterrupt:
        print("transferscope: stopped; the same command continues", file=sys.stderr)
        raise SystemExit(1) from None
    if outcome.cells > 0 and outcome.adapters > 0:
        with _status("analysing"):
            analysis = analyzed(read_results(out, ceiling=study.ceilings or 1.0))
        _finish(analysis, out, figures=figures, as_json=as_json)
    if outcome.failed:
        missing = f"{outcome.of - outcome.cells} of {outcome.of} cells are missing"
        print(f"transferscope: {missing}: {'; '.join(outcome.failed)}", file=sys.stderr)
        raise SystemExit(1)


@contextmanager
def _progress() -> Iterator[Callable[[Event], None]]:
    """What is being done, how much of all is done and how long it will take, while it goes on."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    live, cells = console.is_terminal, TextColumn("{task.fields[cells]} cells, left:")
    columns = (TextColumn("{task.description}"), BarColumn(), cells, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not live) as bar:
        task, said = bar.add_task("starting", total=None, cells="0"), ""

        def tell(event: Event) -> None:
            nonlocal said
            cells = f"{event.cells} of {event.of}"
            if event.note:
                console.print(event.note, markup=False)
            if event.doing != said and not live:
                console.print(f"[{cells} cells] {event.doing}", markup=False, soft_wrap=True)
            said = event.doing
            doing = escape(event.doing)
            bar.update(
                task, description=doing, completed=event.work, total=event.total, cells=cells
            )

        yield tell


def _status(doing: str) -> AbstractContextManager[object]:
    """What is being done, on standard error where somebody watches."""
    from rich.console import Console

    return Console(stderr=True).status(f"{doing} ...")


def _finish(analysis: Analysis, out: Path | None, *, figures: bool, as_json: bool) -> None:
    from transferscope.serial import to_json

    data = to_json(analysis)
    if as_json:
        print(data.decode(), end="")
    else:
        from rich.console import Console

        from transferscope.report.terminal import summary

        Console().print(summary(analysis))
    if out is not None:
        _write(analysis, data, out, figures=figures, quiet=as_json)


def _write(
    analysis: Analysis, data: bytes, out: Path, *, figures: bool, quiet: bool = False
) -> None:
    """The three outputs; all are made before the first is written."""
    from rich.console import Console
    from rich.progress import track

    from transferscope import report as reports
    from transferscope import results

    drawn: dict[str, bytes] = {}
    if figures:
        charts = reports.figures(analysis)
        jobs = [(stem, form) for stem in charts for form in get_args(reports.Format)]
        console = Console(stderr=True)
        for stem, form in track(jobs, "drawing", console=console, transient=True):
            drawn[f"{stem}.{form}"] = reports.render(charts[stem], form)
    with _status("writing"):
        written = results.save(out, data, reports.page(analysis), drawn)
    if not quiet:
        print(f"\nOpen {written[1]} in a browser; every number is in {written[0]}.")
