"""The commands that turn results into an analysis, and an analysis into a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from transferscope.cli.app import NamedArguments, app
from transferscope.cli.comparing import compare_instead
from transferscope.cli.options import AsJson, Figures, NoImages, check_folder, folder_at, status
from transferscope.cli.places import Place, read_from
from transferscope.errors import StudyError, TransferscopeError

if TYPE_CHECKING:
    from transferscope.analysis import Analysis
    from transferscope.matrix.examples import Exhibits
    from transferscope.plots.composition import Format
    from transferscope.readers import ReadInput

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]PATH...",
        help="Tables of predictions, accuracies or PGF (CSV, JSONL, Parquet), study folders, "
        "bundles (ZIP) or mapping files (YAML) of other harnesses' results, smallest model first. "
        "NAME= names a table's model.",
    ),
]
Ceiling = Annotated[
    str | None,
    typer.Option(
        help="Best reachable accuracy: a fraction, `self` (the diagonal's own accuracy), or a CSV "
        "with columns target, ceiling. Default: a study's own ceilings, else 1."
    ),
]
Measure = Annotated[str, typer.Option(help="Measure of change: pgf, relative_gain or raw_gain.")]
IncludeSelf = Annotated[
    bool, typer.Option("--include-self", help="Count a task's effect on itself.")
]
Preset = Annotated[
    Literal["default", "paper"],
    typer.Option(help="`paper`: the paper's tests alone, no intervals or null models."),
]
Keep = Annotated[float, typer.Option(help="Share of each sign's edges kept in the transfer graph.")]
Alpha = Annotated[float, typer.Option(help="Level of tests and intervals.")]
Tolerance = Annotated[
    float,
    typer.Option(help="Points of accuracy: a finetune that loses less on every target is safe."),
]
ItemCorrelation = Annotated[
    float, typer.Option(help="Assumed correlation where only counts of correct answers are known.")
]
Seed = Annotated[int, typer.Option(help="Random seed of the analysis.")]


@app.command(
    cls=NamedArguments,
    epilog="Example: `transferscope analyze 3B=small.csv 32B=large.csv --out study/`",
)
def analyze(
    inputs: Inputs,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Results folder to write.")
    ] = None,
    ceiling: Ceiling = None,
    measure: Measure = "pgf",
    include_self: IncludeSelf = False,
    preset: Preset = "default",
    keep: Keep = 0.2,
    alpha: Alpha = 0.05,
    tolerance: Tolerance = 5,
    item_correlation: ItemCorrelation = 0.5,
    seed: Seed = 0,
    figures: Figures = False,
    no_images: NoImages = False,
    as_json: AsJson = False,
) -> None:
    """Analyze results: print a summary, write `analysis.json` and `report.html`.

    Without `--out` only the summary is printed.
    """
    from transferscope.analysis.settings import Settings

    settings = Settings(
        measure=measure,
        include_self=include_self,
        preset=preset,
        alpha=alpha,
        graph_keep=keep,
        tolerance=_fraction(tolerance),
        item_correlation=item_correlation,
        seed=seed,
    )
    settings.check()
    check_folder(out)
    with ExitStack() as stack:
        given = [(name, stack.enter_context(read_from(place))) for name, place in named(inputs)]
        with status("reading"):
            from transferscope.readers import matrix_of, read_inputs
            from transferscope.readers.compare import is_comparison
            from transferscope.readers.files import read_ceiling

            bound = None if ceiling is None else read_ceiling(ceiling)
            read = read_inputs([(name, str(path)) if name else str(path) for name, path in given])
        if len(given) == 1 and is_comparison(given[0][1], read[0].rows):
            return compare_instead(given[0][1], out, as_json=as_json)
        with status("reading"):
            bound = _own_ceilings(read) if bound is None else bound
            matrix = matrix_of(read, ceiling=bound)
        with status("analyzing"):
            from transferscope.analysis.analyze import analyze as run

            analysis = run(matrix, settings)
            if len(given) == 1 and (folder := given[0][1]).is_dir():
                from transferscope.selection.experiment import judged

                analysis = replace(analysis, experiment=judged(folder, analysis))
        shown = None if out is None else exhibits_of(read, images=not no_images)
    finish(analysis, out, shown, figures=figures, as_json=as_json)


@app.command(epilog="Example: `transferscope report study/`")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with analysis.json.")],
    figures: Figures = False,
) -> None:
    """Write the page again, from `analysis.json` and `exhibits.json`."""
    from transferscope import store as results
    from transferscope.analysis.json_file import from_json
    from transferscope.matrix import examples as exhibits

    data = results.read_analysis(folder := folder_at(folder))
    analysis = from_json(data, str(folder))
    beside = results.read_beside(folder, results.EXHIBITS, exhibits.MOST_BYTES)
    where = str(folder / results.EXHIBITS)
    shown = None if beside is None else exhibits.from_json(beside, where)
    write(analysis, data, folder, shown, figures=figures)


@app.command(epilog="Example: `transferscope figures study/ --format pdf`")
def figures(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with analysis.json.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write; default: DIR/figures.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Some of svg, pdf and png, separated by commas.")
    ] = "svg,pdf,png",
) -> None:
    """Write every figure as files for a paper, with their captions in `captions.md`."""
    from transferscope import store as results
    from transferscope.analysis.json_file import from_json
    from transferscope.plots.composition import Format

    wanted = [each for each in get_args(Format) if each in formats.split(",")]
    if len(wanted) < len(formats.split(",")):
        raise StudyError(f"--format {formats}: must be some of svg, pdf and png, such as svg,pdf")
    analysis = from_json(results.read_analysis(folder := folder_at(folder)), str(folder))
    check_folder(out := out or results.figures_folder(folder))
    written = results.save_figures(out, drawn(analysis, wanted))
    print(f"{len(written)} files in {out}; captions.md explains each figure.")


@app.command(epilog="Example: `transferscope export study/ --out bundle.zip`")
def export(
    place: Place,
    out: Annotated[Path, typer.Option("--out", "-o", help="The zip file to write.")],
) -> None:
    """Pack all results into one zip file that any tool can read.

    It holds cells as a table, every reply, the analysis, provenance and checksums; no images.
    """
    from transferscope.report.bundle import export as exported
    from transferscope.store.archive import is_bundle

    if out.is_dir() or not is_bundle(out):
        raise StudyError(f"--out {out}: must end with .zip")
    with read_from(place) as folder, status("gathering"):
        missing = exported(folder, out)
    print(f"{out}: {out.stat().st_size:,} bytes; its README.txt explains every file.")
    print("".join(f"not in it: {what}\n" for what in missing), end="")


@app.command(epilog="Example: `transferscope tasks --json`")
def tasks(as_json: AsJson = False) -> None:
    """List the known tasks with their perceptual level and granularity."""
    from transferscope.suites import SUITES

    if as_json:
        known = {name: [asdict(t) for t in suite.tasks] for name, suite in SUITES.items()}
        print(json.dumps(known))
        return
    from rich.console import Console
    from rich.table import Column, Table

    heads = ("suite", Column("task", overflow="fold"), "short", "level", "granularity")
    heads = (*heads, Column("items", justify="right"))
    table = Table(*heads, box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for name, suite in SUITES.items():
        for t in suite.tasks:
            table.add_row(name, t.name, t.abbreviation, t.level, t.granularity, str(t.items or ""))
    Console().print(table)


def _own_ceilings(read: Sequence[ReadInput]) -> float | dict[str, float] | Literal["self"]:
    """The ceilings of a study that is read alone, as its own run has them; else 1."""
    from transferscope.study.file import ceilings_of

    if len(read) == 1 and (study := read[0].study) is not None:
        return ceilings_of(study, f"{read[0].file}: study.yaml")
    return 1.0


def _fraction(points: float) -> float:
    if not 0 < points < 100:
        raise StudyError(f"--tolerance must be points between 0 and 100, got {points:g}")
    return points / 100


def named(inputs: list[str]) -> list[tuple[str, str]]:
    """(name, path) of each `NAME=PATH`, with an empty name for a plain path.

    An existing path may contain an equals sign.
    """
    pairs = []
    for text in inputs:
        name, equals, path = text.partition("=")
        pairs.append((name, path) if equals and not Path(text).exists() else ("", text))
    return pairs


def exhibits_of(read: Sequence[ReadInput], *, images: bool) -> Exhibits | None:
    """The example items for the page; None where no input has items."""
    from transferscope.matrix.examples import ExampleInput, choose_examples
    from transferscope.study.file import local_suite

    inputs = []
    for one in read:
        if one.kind != "predictions":
            continue
        suite, why = None, f"{one.file}: no questions and images, because it has no study file"
        try:
            if one.study is not None:
                where = f"{one.file}: study.yaml"
                suite = local_suite(one.study, where, folders=not one.bundled)
        except TransferscopeError as error:
            why = f"{one.file}: no questions and images: {error}"
        inputs.append(ExampleInput(one.rows, one.controls, suite, why))
    if not inputs:
        return None
    with status("choosing example items"):
        return choose_examples(inputs, images=images)


def finish(
    analysis: Analysis,
    out: Path | None,
    exhibits: Exhibits | None,
    *,
    figures: bool,
    as_json: bool,
) -> None:
    """Print the analysis, and write it into `out` where that is given."""
    from transferscope.analysis.json_file import to_json

    data = to_json(analysis)
    if as_json:
        print(data.decode(), end="")
    else:
        from rich.console import Console

        from transferscope.report.terminal import summary

        Console().print(summary(analysis))
    if out is not None:
        write(analysis, data, out, exhibits, figures=figures, quiet=as_json)
    elif not as_json:
        print("\nNothing was written; --out DIR writes the page and every number.")


def write(
    analysis: Analysis,
    data: bytes,
    out: Path,
    exhibits: Exhibits | None,
    *,
    figures: bool,
    quiet: bool = False,
) -> None:
    """Make all outputs, then write them."""
    from transferscope import report as reports
    from transferscope import store as results
    from transferscope.matrix.examples import to_json

    with status("writing"):
        page = reports.page(analysis, exhibits)
        shown = None if exhibits is None else to_json(exhibits)
        written = results.save(out, data, page, shown)
    if figures:
        results.save_figures(results.figures_folder(out), drawn(analysis))
    if not quiet:
        print(f"\nOpen {written[1]} in a browser; every number is in {written[0]}.")


def drawn(
    analysis: Analysis, formats: Sequence[Format] = ("svg", "pdf", "png")
) -> dict[str, bytes]:
    """The figures' files by name, and their captions."""
    from rich.console import Console
    from rich.progress import track

    from transferscope.plots.composition import render
    from transferscope.plots.gallery import ReportFigure, captions, gallery

    found = gallery(analysis)
    jobs: list[tuple[ReportFigure, Format]]
    jobs = [(figure, form) for figure in found for form in formats]
    progress = track(jobs, "drawing", console=Console(stderr=True), transient=True)
    files = {f"{figure.stem}.{form}": render(figure.spec, form) for figure, form in progress}
    return files | {"captions.md": captions(found).encode()}
