"""The command that predicts a study's matrix before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferscope.cli.app import app
from transferscope.cli.options import AsJson, Out, StudyFile, check_folder
from transferscope.errors import DataError

FEWEST = 3
"""Sources that a comparison needs."""

if TYPE_CHECKING:
    import xarray as xr

    from transferscope.agreement import Comparison
    from transferscope.analysis import Analysis
    from transferscope.forecast import Forecast
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
    from transferscope.study_file import read_study

    read = read_study(study)
    check_folder(out)
    folder = out or Path(read.name)
    measured = None
    if against is not None or (folder / results.ANALYSIS).is_file():
        measured = analysis_in(against or folder)
        check_results(read, measured, str(against or folder))
    beside = None if other is None else analysis_in(other)
    found = forecasts(read, folder, items)
    compared = {} if measured is None else comparisons(found, measured, beside)
    record = as_record(read, items, found, compared)
    table = results.write_whole(folder / results.FORECAST_TABLE, table_of(found))
    whole = results.write_whole(folder / results.FORECAST, results.as_json(record))
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


def analysis_in(folder: Path) -> Analysis:
    """The analysis of a results folder."""
    from transferscope import results
    from transferscope.serial import from_json

    return from_json(results.read_analysis(folder), str(folder))


def check_results(study: Study, measured: Analysis, where: str) -> None:
    """Refuse results of other models or tasks before any work.

    Raises:
        DataError: naming what is there and what is wanted.
    """
    both = [name for name in study.models if name in measured.models]
    if not both:
        raise DataError(
            f"{where}: has results of {', '.join(measured.models)}; "
            f"the study's models are {', '.join(study.models)}"
        )
    for name in both:
        shared = [source for source in study.sources or () if source in measured.models[name].pgf]
        if len(shared) < FEWEST:
            raise DataError(
                f"{where}: has of the study's sources only {', '.join(shared) or 'none'}; "
                f"a comparison needs {FEWEST}"
            )


def forecasts(study: Study, folder: Path, items: int) -> dict[str, Forecast]:
    """The forecast for each of the study's models."""
    from transferscope.bases import check_places, open_base
    from transferscope.lab import load_lab
    from transferscope.plan import plan_study
    from transferscope.stock import stock_of

    lab = load_lab()
    from transferscope.forecast import forecast as forecast_of

    check_places(study)
    stock = stock_of(study)
    plan = plan_study(study, stock)
    found = {}
    with progress() as tell:
        for name in study.models:
            tell(f"{name}: loading", 0, 0)
            base = open_base(study, lab, name, folder)
            found[name] = forecast_of(
                study,
                stock,
                plan,
                base,
                items=items,
                progress=lambda done, of, name=name: tell(f"{name}: gradients", done, of),
            )
    return found


def comparisons(
    found: Mapping[str, Forecast], measured: Analysis, beside: Analysis | None
) -> dict[str, Comparison]:
    """Each forecast beside what was measured; other models' matrices are baselines."""
    from transferscope.agreement import compare, measured_effects

    effects = {name: measured_effects(its) for name, its in measured.models.items()}
    others = {name: its.mean("seed") for name, its in effects.items()}
    if beside is not None:
        for name, its in beside.models.items():
            label = f"{name} (--other)" if name in others else name
            others[label] = measured_effects(its).mean("seed")
    return {
        name: compare(
            as_matrix(one),
            effects[name],
            {label: its for label, its in others.items() if label != name},
            alpha=measured.settings.alpha,
        )
        for name, one in found.items()
        if name in effects
    }


def as_matrix(one: Forecast) -> xr.DataArray:
    """A forecast's matrix (source, target)."""
    import xarray as xr

    targets = list(next(iter(one.predicted.values())))
    values = [[row[target] for target in targets] for row in one.predicted.values()]
    coordinates = {"source": list(one.predicted), "target": targets}
    return xr.DataArray(values, coordinates, dims=("source", "target"))


def as_record(
    study: Study, items: int, found: Mapping[str, Forecast], compared: Mapping[str, Comparison]
) -> dict[str, Any]:
    """Everything that is known, as JSON can hold it."""
    from transferscope.serial import plain
    from transferscope.store import versions

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
