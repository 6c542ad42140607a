"""The commands that show the suites."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from transferscope.cli.app import app
from transferscope.cli.options import status
from transferscope.errors import StudyError
from transferscope.tasks import Split

suites_app = typer.Typer(
    invoke_without_command=True, rich_markup_mode="markdown", add_completion=False
)
app.add_typer(suites_app, name="suites")


@suites_app.callback(epilog="Example: `transferscope suites`")
def suites(context: typer.Context) -> None:
    """List the suites and their options; `show` draws some items."""
    from transferscope.suites import SUITES
    from transferscope.tasks import option_names

    if context.invoked_subcommand is not None:
        return
    for name, suite in SUITES.items():
        where = f"embedded, version {suite().version}"
        if suite.hub:
            where = f"from {suite.hub} on the Hub or a local copy"
        options = ", ".join(option_names(suite))
        opened = sum(task.twin is not None for task in suite.tasks)
        more = f"; {opened} have an open form" if opened else ""
        print(f"{name}  {len(suite.tasks) - opened} tasks, {where}; options: {options}{more}")
    print("A folder with suite.yaml is a suite too.")


@suites_app.command(
    epilog="Example: `transferscope suites show glimpse --task Jigsaw --n 8 --out sheet.png`"
)
def show(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="Name, or folder with suite.yaml.")],
    task: Annotated[
        str | None, typer.Option(help="One task; the suite's defaults if omitted.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Which items.")] = "eval",
    n: Annotated[int, typer.Option("--n", help="Items of each task.")] = 4,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-s", metavar="NAME=VALUE", help="A suite option, as in a study file."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file.")] = Path("sheet.png"),
) -> None:
    """Draw a contact sheet: items with questions, choices and right answers, as one PNG."""
    from transferscope.store import atomic
    from transferscope.suites import open_suite
    from transferscope.suites.contact_sheet import contact_sheet
    from transferscope.tasks.untrusted import load_yaml

    if n < 1:
        raise StudyError(f"--n must be at least 1, but is {n}")
    options = {}
    for each in option or ():
        name, equals, value = each.partition("=")
        if not equals:
            raise StudyError(f"--option {each}: must be NAME=VALUE, such as path=BLINK/")
        try:
            options[name] = load_yaml(value)
        except ValueError as error:
            raise StudyError(f"--option {each}: not YAML: {error}") from None
    opened = open_suite(suite, **options)
    names = opened.defaults if task is None else [task]
    with status("drawing"):
        items = [item for name in names for item in opened.items(name, split)[:n]]
        atomic.write_whole(out, contact_sheet(items, columns=min(n, 4)))
    print(f"{len(items)} items in {out}")
    for note in opened.notes:
        print(note, file=sys.stderr)
