"""The command that compares runs with their base, and serves as a gate in CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferscope.cli.app import NamedArguments, app
from transferscope.cli.options import AsJson, check_folder, status
from transferscope.errors import StudyError

if TYPE_CHECKING:
    from transferscope.analysis.comparison import Comparison

BaseAndRuns = Annotated[
    list[str],
    typer.Argument(
        metavar="BASE [NAME=]RUN...",
        help="Files or folders that an evaluation harness wrote (lmms-eval, VLMEvalKit, lm-eval, "
        "Inspect, EvalScope, HELM, OpenCompass, BLINK's own scripts): first of the base, then of "
        "each run; globs too. Or one table, study folder or mapping file that holds base and runs.",
    ),
]
EXIT_CODES = {"pass": 0, "fail": 1, "cannot tell": 3}


@app.command(
    cls=NamedArguments,
    epilog="Example: `transferscope compare logs/base ckpt-500=logs/500 'logs/checkpoint-*'`. "
    "In CI: `transferscope compare logs/base new=logs/new --protect all:5 --markdown`",
)
def compare(
    inputs: BaseAndRuns,
    gold: Annotated[
        Path | None,
        typer.Option(help="BLINK's val_answers.json, for its flat prediction files."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Use this metric of the harness in tasks that have it, such as acc_norm.",
        ),
    ] = None,
    protect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK:POINTS",
            help="Require that the task loses at most POINTS; TASK may be `all` (each task) or "
            "`mean`. Repeatable.",
        ),
    ] = None,
    gain: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK:POINTS", help="Require that the task gains at least POINTS."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for report.html and comparison.json."),
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a row for each run and task as CSV.")
    ] = False,
) -> None:
    """Show what improved, what broke, and which checkpoint to ship.

    With `--protect` or `--gain` every run must meet every condition. Exit code 0: pass; 1: fail;
    3: cannot tell with these items; 2: wrong input.
    """
    if as_markdown + as_json + as_csv > 1:
        raise StudyError("--markdown, --json and --csv: give one of them")
    check_folder(out)
    with status("comparing"):
        from transferscope.readers.compare import compare as compared

        limits = {"protect": protect or (), "gain": gain or ()}
        found = compared(inputs[0], inputs[1:], gold=gold, metric=metric, **limits)
    form = "markdown" if as_markdown else "json" if as_json else "csv" if as_csv else ""
    show(found, out, form)
    if found.gate and (code := EXIT_CODES[found.outcome]):
        raise typer.Exit(code)


def compare_instead(mapping: Path, out: Path | None, *, as_json: bool) -> None:
    """Compare a mapping file that holds a single finetune, in place of an analysis."""
    from transferscope.readers.compare import compare as compared

    with status("comparing"):
        found = compared(mapping)
    if not as_json:
        print("One finetune: compared with its base, as `transferscope compare` does.\n")
    show(found, out, "json" if as_json else "")


def show(found: Comparison, out: Path | None, form: str = "") -> None:
    """Print a comparison, and write its page where a folder is given."""
    data = json.dumps(found.to_dict(), indent=1, ensure_ascii=False) + "\n"
    if form == "json":
        print(data, end="")
    elif form == "csv":
        print(found.table().write_csv(), end="")
    elif form == "markdown":
        from transferscope.report.comparison_forms import markdown

        print(markdown(found), end="")
    else:
        from rich.console import Console

        from transferscope.report.comparison_forms import summary

        console = Console()
        console.print(summary(found, console.width))
    if out is not None:
        from transferscope import store as results
        from transferscope.report.comparison_forms import page

        written = results.save_comparison(out, data.encode(), page(found))
        if not form:
            print(f"\nOpen {written[1]} in a browser; every number is in {written[0]}.")
