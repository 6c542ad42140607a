"""The command that makes training items from an original data set."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferscope.cli.app import app
from transferscope.cli.options import AsJson, status

if TYPE_CHECKING:
    from transferscope.builders.build import BuildProgress, Built


@app.command(
    epilog="Example: `transferscope build Relative_Depth --root DIW/ --out data/ --items 2000 "
    "--against BLINK/`"
)
def build(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="A task of BLINK, e.g. Relative_Depth.")
    ],
    root: Annotated[Path, typer.Option(help="The original data set's own folder.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The suite's folder; several tasks may share it.")
    ],
    items: Annotated[int, typer.Option(help="How many items to make.")] = 2000,
    seed: Annotated[
        int, typer.Option(help="Which items, and where their right answers stand.")
    ] = 0,
    against: Annotated[
        Path | None,
        typer.Option(
            help="A copy of BLINK, or a suite's folder: what shows one of its images is left out."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Training items for a BLINK task, from the data set that BLINK itself was made of.

    Writes `OUT/TASK/train.jsonl` and its images. Stop it at any time; the same command continues.
    """
    from transferscope.builders.build import build as built
    from transferscope.builders.leaks import seen_in

    seen = None
    try:
        if against is not None:
            with status("reading the evaluation images"):
                seen = seen_in(against)
            what = f"{len(seen.names)} evaluation images of {against}"
            print(f"compared with {what}", file=sys.stderr)
        with _progress() as report:
            done = built(task, root, out, items=items, seed=seed, against=seen, report=report)
    except KeyboardInterrupt:
        print("transferscope: stopped; the same command continues", file=sys.stderr)
        raise SystemExit(1) from None
    print(json.dumps(asdict(done)) if as_json else _summary(done, out))


@contextmanager
def _progress() -> Generator[Callable[[BuildProgress], None]]:
    """Items made, of how many, and how long it will take."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    tried = TextColumn("of {task.fields[tried]} tried, left:")
    columns = (TextColumn("items"), BarColumn(), MofNCompleteColumn(), tried, TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("items", total=None, tried=0)

        def report(progress: BuildProgress) -> None:
            bar.update(shown, completed=progress.done, total=progress.of, tried=progress.tried)

        yield report


def _summary(done: Built, out: Path) -> str:
    from transferscope.builders.build import by_letter

    right = by_letter(done.answers)
    lines = [f"{done.made} items of {done.task} in {out} (right answers: {right})"]
    for reason, found in done.skipped.items():
        first = ", ".join(found["first"])
        more = ", ..." if found["count"] > len(found["first"]) else ""
        lines.append(f"  left out {found['count']}: {reason} ({first}{more})")
    if done.against is None:
        lines.append("  not compared with the evaluation split: give --against")
    if done.made < done.wanted:
        lines.append(
            f"{done.made} of the {done.wanted} wanted could be made: {done.dataset} at {done.root} "
            f"offers {done.candidates} candidates, and {done.tried} were tried"
        )
    return "\n".join(lines)
