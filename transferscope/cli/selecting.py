"""The command that chooses what to train on for a target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from transferscope.cli.app import app
from transferscope.cli.options import AsJson, folder_at
from transferscope.cli.places import read_from
from transferscope.errors import StudyError

if TYPE_CHECKING:
    from transferscope.analysis import Analysis
    from transferscope.selection import Mixture


@app.command(
    epilog="Example: `transferscope select --from study/ --target Counting --items 2000 "
    "--protect Jigsaw:5`"
)
def select(
    study: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="STUDY",
            help="A results folder, its address, or its analysis as a file.",
        ),
    ],
    target: Annotated[
        str | None, typer.Option(help="The task to improve; default: each task.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Read this model's matrix; default: the last, hence largest.")
    ] = None,
    rule: Annotated[
        Literal["default", "paper"],
        typer.Option(help="`paper`: every source above a PGF threshold, in equal shares."),
    ] = "default",
    threshold: Annotated[
        float | None,
        typer.Option(help="Least P(more than a point) (0.8); for `paper`, PGF to exceed (0)."),
    ] = None,
    items: Annotated[int | None, typer.Option(help="Training items to divide.")] = None,
    protect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK:POINTS", help="Largest loss of accuracy allowed on a task; repeatable."
        ),
    ] = None,
    risk: Annotated[
        float,
        typer.Option(help="Highest allowed probability of a larger loss on a protected task."),
    ] = 0.1,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the mixture to this JSON file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose training data for a target without training data: the source and its evidence."""
    from transferscope import store as results
    from transferscope.analysis.json_file import from_json, plain
    from transferscope.selection import mixture, mixtures
    from transferscope.store import atomic, cells

    with read_from(study, lambda name: name == results.ANALYSIS) as place:
        analysis = from_json(results.read_analysis(folder_at(place)), str(place))
    limits: dict[str, Any] = {"model": model, "rule": rule, "threshold": threshold, "items": items}
    limits |= {"risk": risk, "protect": protected(protect or [])}
    wanted = {target: mixture(analysis, target, **limits)} if target is not None else None
    found = wanted or mixtures(analysis, **limits)
    head = {"schema": 1, "versions": cells.versions(), "from": study}
    head |= {"measure": analysis.settings.measure, "alpha": analysis.settings.alpha}
    record = plain(head | {"mixtures": list(found.values())})
    if out is not None:
        atomic.write_whole(out, results.as_json(record))
    if as_json:
        print(json.dumps(record))
    else:
        _show(analysis, found, out)


def _show(analysis: Analysis, found: Mapping[str, Mixture], out: Path | None) -> None:
    """One mixture in full or each in a line; then how to train on it."""
    from rich.console import Console

    from transferscope.report.selections import one, several, study_lines

    console = Console(highlight=False)
    first, *more = found.values()
    console.print(several(analysis, found) if more else one(analysis, first))
    if more:
        print("\nOne target in full, with its evidence and how to train on it: --target TASK.")
    elif first.choices:
        print("\nTo train on it, a study file has, beside name, models and suite:\n")
        print("\n".join(f"  {line}" for line in study_lines(first).splitlines()))
    if out is not None:
        print(f"\nEvery number is in {out}.")


def protected(texts: Sequence[str]) -> dict[str, float]:
    """`TASK:POINTS` as {task: loss, a fraction}.

    Raises:
        StudyError: a text has another form, or a task is named twice.
    """
    found: dict[str, float] = {}
    for text in texts:
        task, _, points = text.rpartition(":")
        if task in found:
            raise StudyError(f"--protect names {task!r} twice")
        try:
            found[task] = float(points) / 100
        except ValueError:
            task = ""
        if not task:
            raise StudyError(f"--protect {text!r}: expected TASK:POINTS, such as Counting:5")
    return found
