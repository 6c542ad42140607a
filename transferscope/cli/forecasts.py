"""The command that predicts a study's matrix before anything is trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferscope.cli.app import app
from transferscope.cli.options import AsJson, Out, StudyFile, analysis_in, check_folder
from transferscope.errors import DataError

if TYPE_CHECKING:
    from transferscope.forecast import Forecast
    from transferscope.stats.agreement import Comparison
    from transferscope.study import Study


@app.command(epilog="Example: `transferscope forecast studies/glimpse.yaml --out out/`")
def forecast(
    study: StudyFile,
    out: Out = None,
    items: Annotated[int, typer.Option(min=1, help="Items of each task, at most.")] = 200,
    against: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Results to compare with; else those in --out, if any."),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Results of other models, as one more baseline."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict a study's matrix from gradients of the base; where it is measured, compare."""
    from transferscope import results
    from transferscope.lab import load_lab
    from transferscope.results import atomic
    from transferscope.stats.agreement import check_shared, comparisons
    from transferscope.study.file import read_study

    read = read_study(study)
    check_folder(out)
    folder = out or Path(read.name)
    measured = None
    if against is not None or (folder / results.ANALYSIS).is_file():
        measured = analysis_in(against or folder)
        check_shared(read, measured, str(against or folder))
    beside = None if other is None else analysis_in(other)
    lab = load_lab()
    from transferscope.forecast import forecasts

    with progress() as tell:
        found = forecasts(read, lab, folder, items=items, tell=tell)
    compared = {}
    if measured is not None:
        predicted = {name: its.predicted for name, its in found.items()}
        try:
            compared = comparisons(predicted, measured, beside)
        except DataError as error:
            if against is not None:
                raise
            print(f"not compared with {folder}: {error}", file=sys.stderr)
    record = as_record(read, items, found, compared)
    table = atomic.write_whole(folder / results.FORECAST_TABLE, table_of(found))
    whole = atomic.write_whole(folder / results.FORECAST, results.as_json(record))
    if as_json:
        print(json.dumps(record))
        return
    from rich.console import Console

    from transferscope.report.forecasts import summary

    Console(highlight=False).print(summary(found, compared))
    if measured is None:
        print(f"\nNothing to compare with yet: no analysis in {folder}. After the study is run,")
        print("the same command tells how well the forecast did.")
    print(f"\nThe predicted matrix is in {table}, how it was made in {whole}.")


def as_record(
    study: Study, items: int, found: Mapping[str, Forecast], compared: Mapping[str, Comparison]
) -> dict[str, Any]:
    """Everything that is known, as JSON can hold it."""
    from transferscope.analysis.serial import plain
    from transferscope.results.store import versions

    record = {
        "schema": 1,
        "versions": versions(),
        "study": study.name,
        "items": items,
        "unit": "loss taken away, in nats, by a step of length 1",
        "models": dict(found),
        "comparison": dict(compared),
    }
    return plain(record)


def table_of(found: Mapping[str, Forecast]) -> bytes:
    """All predictions as a CSV table: model, source, target, predicted."""
    import polars as pl

    rows = [
        (model, source, target, value)
        for model, one in found.items()
        for source, row in one.predicted.items()
        for target, value in row.items()
    ]
    names = ["model", "source", "target", "predicted"]
    return pl.DataFrame(rows, schema=names, orient="row").write_csv().encode()


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """What is being done, and how much of it is done, while it goes on."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    live, count = console.is_terminal, TextColumn("{task.fields[count]}")
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not live) as bar:
        task, said = bar.add_task("starting", total=None, count=""), ""

        def tell(doing: str, done: int, of: int) -> None:
            nonlocal said
            if doing != said and not live:
                console.print(doing, markup=False, soft_wrap=True)
            said = doing
            count = f"{done} of {of} items" if of else ""
            bar.update(
                task, description=escape(doing), completed=done, total=of or None, count=count
            )

        yield tell
