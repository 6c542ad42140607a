"""The commands that carry out studies."""

from __future__ import annotations

import gc
import json
import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from transferscope.cli.app import app
from transferscope.cli.costs import duration
from transferscope.cli.options import (
    AsJson,
    ExecutorName,
    Figures,
    NoImages,
    StudyFile,
    Workers,
    check_folder,
    status,
)
from transferscope.cli.places import OutPlace, Working, read_from, worked_on
from transferscope.cli.results import exhibits_of, finish
from transferscope.cli.status import failures
from transferscope.errors import DataError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from transferscope.analysis import Analysis
    from transferscope.execution import Executor
    from transferscope.execution.run_state import Event
    from transferscope.execution.runner import Outcome
    from transferscope.readers import ReadInput
    from transferscope.study import Study


@app.command(epilog="Example: `transferscope run studies/glimpse.yaml --out out/`")
def run(
    study: StudyFile,
    out: OutPlace = None,
    executor: ExecutorName = "local",
    workers: Workers = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse missing or damaged videos; do not skip them.")
    ] = False,
    figures: Figures = False,
    no_images: NoImages = False,
    as_json: AsJson = False,
) -> None:
    """A study: train, score, analyze. Stop it at any time; the same command continues."""
    from transferscope.execution import open_executor
    from transferscope.study.file import read_study

    read = read_study(study)
    if strict:
        read = read.model_copy(update={"suite": read.suite.model_copy(update={"strict": True})})
    show = Show(figures, not no_images, as_json)
    carry_out(read, out or read.name, show, open_executor(executor, workers))


@app.command(epilog="Example: `transferscope plan studies/glimpse.yaml --out out/`")
def plan(
    study: StudyFile,
    out: OutPlace = None,
    no_calibration: Annotated[
        bool, typer.Option("--no-calibration", help="Skip the timing calibration.")
    ] = False,
    memory: Annotated[
        float | None,
        typer.Option(min=0.1, max=1e5, metavar="GIB", help="Assume this much GPU memory (GiB)."),
    ] = None,
    tflops: Annotated[
        float | None,
        typer.Option(min=1e-3, max=1e9, help="Assume this many TFLOP/s; skip the calibration."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Also print the least makespan of several workers."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a study will do and cost, before anything is spent; training items need not exist."""
    from rich.console import Console

    from transferscope.cli import costs
    from transferscope.cli.cautions import cautions
    from transferscope.execution.runner import remaining_work
    from transferscope.store.progress import measured_costs
    from transferscope.study.file import read_study
    from transferscope.study.plan import plan_study

    read = read_study(study, training=False)
    with read_from(out or read.name) as folder:
        made = plan_study(read, assume=True)
        done = remaining_work(made, folder)
        summary = made.summary() | {"cells finished": done.cells}
        wanted = costs.Wanted(not no_calibration, memory, tflops, 1 if workers else None)
        found = costs.costs(made, wanted, done.shares)
        found.notes += [*cautions(read, made, found), *made.notes]
        then = None if read.selection is None else costs.judging(read, folder, wanted, found)
        took = measured_costs(folder)
    least = None if workers is None else costs.makespan(found, made, workers)
    for note in made.items.notes:
        print(note, file=sys.stderr)
    if as_json:
        record = summary | found.record() | {"measured": took}
        record |= {"assumed_training_items": list(made.assumed)}
        record |= {} if then is None else {"judging": then._asdict()}
        record |= {} if least is None else {"workers": workers, "least_seconds": least[0]}
        print(json.dumps(record))
        return
    lines = [*costs.remarks(found, made), *costs.spent(took), *([least[1]] if least else [])]
    lines += [] if then is None else costs.judging_lines(then, found)
    console = Console(highlight=False, markup=False)
    print("\n".join(costs.numbers(summary)))
    if found.models:
        print()
        console.print(costs.table(found), soft_wrap=not console.is_terminal)
        print()
    for line in lines:
        print(_wrapped(line, console.width) if console.is_terminal else line)


def _wrapped(line: str, width: int) -> str:
    """A line in as many as a terminal needs, the later ones indented."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False)


@app.command(epilog="Example: `transferscope demo --out demo/`")
def demo(
    out: OutPlace = "demo",
    executor: ExecutorName = "local",
    workers: Workers = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Made-up models; trains nothing, needs no torch.")
    ] = False,
    figures: Figures = False,
    no_images: NoImages = False,
    as_json: AsJson = False,
) -> None:
    """A whole study from nothing: 13 tasks, a small base, minutes on two CPU cores."""
    if not simulated:
        from transferscope.execution import open_executor
        from transferscope.study.file import DEMO, parse_study

        study = parse_study(DEMO, "the demo's study")
        show = Show(figures, not no_images, as_json)
        return carry_out(study, out or study.name, show, open_executor(executor, workers))
    check_folder(folder := Path(out or "demo"))
    if not as_json:
        print("A simulated study: three made-up models whose true effects are known.\n")
    with status("simulating and analyzing"):
        from transferscope.analysis.analyze import analyze as analyzed
        from transferscope.matrix import from_predictions
        from transferscope.matrix.control_runs import with_controls
        from transferscope.stats.simulate import example_study

        predictions, controls = example_study()
        matrix = with_controls(from_predictions(predictions), predictions, controls)
        note = "Simulated: the models, their answers and their effects are made up."
        matrix.attrs["notes"] = [note, *matrix.attrs["notes"]]
        analysis = analyzed(matrix)
    finish(analysis, folder, None, figures=figures, as_json=as_json)


class Show(NamedTuple):
    """How the results are shown."""

    figures: bool
    images: bool
    as_json: bool


def carry_out(study: Study, out: str, show: Show, executor: Executor | None) -> None:
    """A study, then its analysis; exit code 1 where some of it failed."""
    gc.set_threshold(1000)  # training for hours does make garbage
    with worked_on(out) as at:
        outcome, analysis, read = carried_out(study, at, executor)
        if analysis is not None:
            shown = exhibits_of(read, images=show.images)
            finish(analysis, at.folder, shown, figures=show.figures, as_json=show.as_json)
    if at.address:
        print(f"All of it is at {at.address}.", file=sys.stderr if show.as_json else sys.stdout)
    if outcome.failed:
        missing = f"{outcome.of - outcome.cells} of {outcome.of} cells are missing"
        again = shlex.join(["transferscope", *sys.argv[1:]])
        lines = [f"transferscope: {missing}; what failed:"]
        lines += failures([(list(one.runs), one.error) for one in outcome.failed])
        lines.append(f"to try it again, and nothing else: {again}")
        print("\n".join(lines), file=sys.stderr)
        raise SystemExit(1)


class Carried(NamedTuple):
    """What came of a study."""

    outcome: Outcome
    analysis: Analysis | None
    """None where too many runs are missing."""
    read: Sequence[ReadInput]


def carried_out(study: Study, at: Working, executor: Executor | None) -> Carried:
    """The study and its analysis, in the folder where it is worked on."""
    from transferscope.execution.runner import run_study

    out = at.folder
    with progress() as on_event:
        outcome = run_study(study, out, on_event=at.watched(on_event), executor=executor)
    # Not before, as the first step would wait for scipy and xarray.
    from transferscope.analysis.analyze import analyze as analyzed
    from transferscope.readers import matrix_of, read_inputs
    from transferscope.selection import experiment

    if not (outcome.cells > 0 and outcome.adapters > 0):
        return Carried(outcome, None, ())
    try:
        with status("analyzing"):
            read = read_inputs(out)
            analysis = analyzed(matrix_of(read, ceiling=study.ceilings or 1.0))
    except DataError as error:
        if not outcome.failed:
            raise
        print(f"transferscope: not analyzed, as runs are missing: {error}", file=sys.stderr)
        return Carried(outcome, None, ())
    if study.selection is not None and not outcome.failed:
        with progress() as on_event:
            found, outcome = experiment.carry_out(
                study, analysis, out, on_event=at.watched(on_event), executor=executor
            )
        analysis = replace(analysis, experiment=found)
    return Carried(outcome, analysis, read)


@contextmanager
def progress() -> Generator[Callable[[Event], None]]:
    """What is being done, how much of all is done and how long it will take, while it goes on; and
    a word where the user stops it."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    from transferscope.store.progress import seconds_left

    console = Console(stderr=True, highlight=False)
    live, begun = console.is_terminal, time.monotonic()
    what = TextColumn("{task.description}", table_column=Column(no_wrap=True, ratio=1))
    far = TextColumn("{task.fields[far]}", table_column=Column(no_wrap=True))
    bar = Progress(what, BarColumn(14), far, console=console, expand=True)
    lines = Progress(TextColumn("  {task.description}"), console=console)  # one for each worker
    task = bar.add_task("starting", total=None, far="")
    shown_last: dict[str, str] = {}
    printed: dict[str, float] = {}
    workers: dict[str, TaskID] = {}

    def on_event(event: Event) -> None:
        doing, worker = event.doing, event.worker
        left = seconds_left(time.monotonic() - begun, event.work, event.total)
        far = f"{event.cells} of {event.of} cells"
        far += f", {duration(left)} left" if left else ""
        if event.note:
            console.print(event.note, markup=False)
        new = doing != shown_last.get(worker)
        if doing and not live and (new or time.monotonic() - printed.get(worker, begun) > 60):
            by = f"{worker}: " if worker else ""
            console.print(f"[{far}] {by}{doing}", markup=False, soft_wrap=True)
            printed[worker] = time.monotonic()
        shown_last[worker] = doing
        if worker and worker not in workers:
            workers[worker] = lines.add_task("")
        if worker:
            shown = f"{worker}: {doing}" if doing else ""
            lines.update(workers[worker], description=escape(shown), visible=bool(doing))
            doing = f"{sum(bool(shown_last[name]) for name in workers)} at work"
        bar.update(
            task, description=escape(doing), completed=event.work, total=event.total, far=far
        )

    shown = Live(Group(bar, lines), console=console, transient=True) if live else nullcontext()
    try:
        with shown:
            yield on_event
    except KeyboardInterrupt:
        print("transferscope: stopped; the same command continues", file=sys.stderr)
        raise SystemExit(1) from None
