"""The commands that show the suites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from transferscope.cli.app import app
from transferscope.cli.options import status
from transferscope.errors import StudyError

suites_app = typer.Typer(
    invoke_without_command=True, rich_markup_mode="markdown", add_completion=False
)
app.add_typer(suites_app, name="suites")


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
    with status("drawing"):
        results.write_whole(out, contact_sheet(items, columns=min(n, 4)))
    print(f"{len(items)} items in {out}")
