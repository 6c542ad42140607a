"""The commands that show the suites."""

from __future__ import annotations

import sys
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
        where = f"version {suite.version}" if name == "glimpse" else "from the hub or a local copy"
        print(f"{name}  {len(suite.tasks)} tasks, {where}")
    print("A folder with suite.yaml is a suite too.")


@suites_app.command(
    epilog="Example: `transferscope suites show glimpse --task Jigsaw --n 8 --out sheet.png`"
)
def show(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="Name, or folder with suite.yaml.")],
    task: Annotated[str | None, typer.Option(help="One task; all of them if left out.")] = None,
    split: Annotated[
        Literal["train", "eval", "val", "test"],
        typer.Option(help="Which items; `val` and `test` are BLINK's."),
    ] = "eval",
    n: Annotated[int, typer.Option("--n", help="Items of each task.")] = 4,
    difficulty: Annotated[float, typer.Option(help="0 to 1, for glimpse.")] = 0,
    path: Annotated[
        Path | None, typer.Option(help="A benchmark's local copy; else it comes from the hub.")
    ] = None,
    training: Annotated[
        Path | None, typer.Option(help="Training items for a benchmark, from `build`.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Pictures of each video.", min=1, max=512)] = 32,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file.")] = Path("sheet.png"),
) -> None:
    """A contact sheet: items with their questions, choices and right answers, as one PNG."""
    from transferscope.store import atomic
    from transferscope.study import SuiteChoice
    from transferscope.study.file import open_choice
    from transferscope.suites.contact_sheet import contact_sheet

    if n < 1:
        raise StudyError(f"--n must be at least 1, but is {n}")
    choice = SuiteChoice(
        name=suite,
        path=str(path) if path else None,
        training=str(training) if training else None,
        split="test" if split == "test" else "val",
        frames=frames,
    )
    opened = open_choice(choice.model_copy(update={"difficulty": difficulty}))
    usual = getattr(opened, "defaults", [known.name for known in opened.tasks])
    names = usual if task is None else [task]
    with status("drawing"):
        kind = "train" if split == "train" else "eval"
        items = [item for name in names for item in opened.items(name, kind)[:n]]
        atomic.write_whole(out, contact_sheet(items, columns=min(n, 4)))
    print(f"{len(items)} items in {out}")
    for note in getattr(opened, "notes", ()):
        print(note, file=sys.stderr)
