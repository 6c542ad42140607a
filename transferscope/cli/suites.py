"""The commands that show the suites."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from transferscope.cli.app import app
from transferscope.cli.options import AsJson, status
from transferscope.errors import StudyError
from transferscope.tasks import Split, Suite
from transferscope.tasks.untrusted import for_terminal, shown

MOST = 40
"""Problems that are printed."""

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
    from transferscope.suites.presets import PRESETS

    for name, suite in SUITES.items():
        where = f"from {suite.hub} on the Hub or a local copy"
        if name == "hub":
            where = f"any data set of the Hub or a local copy; known: {', '.join(PRESETS)}"
        elif not suite.hub:
            where = f"embedded, version {suite().version}"
        options = ", ".join(option_names(suite))
        opened = sum(task.twin is not None for task in suite.tasks)
        tasks = f"{len(suite.tasks) - opened} tasks, " if suite.tasks else ""
        more = f"; {opened} have an open form" if opened else ""
        print(f"{name}  {tasks}{where}; options: {options}{more}")
    print("A folder with suite.yaml is a suite too.")


SuiteName = Annotated[
    str,
    typer.Argument(
        metavar="SUITE",
        help="Name, folder with suite.yaml, data set of the Hub (OWNER/NAME), or study file.",
    ),
]
SuiteOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-s", metavar="NAME=VALUE", help="A suite option, as in a study file."
    ),
]


def _opened(suite: str, option: list[str] | None) -> Suite:
    """The suite of an argument and its options."""
    from transferscope.study.file import read_study, suite_of
    from transferscope.suites import SUITES, open_suite
    from transferscope.tasks.untrusted import load_yaml

    options: dict[str, Any] = {}
    for each in option or ():
        name, equals, value = each.partition("=")
        if not equals:
            raise StudyError(f"--option {each}: must be NAME=VALUE, such as path=BLINK/")
        try:
            options[name] = load_yaml(value)
        except ValueError as error:
            raise StudyError(f"--option {each}: not YAML: {error}") from None
    if suite.endswith((".yaml", ".yml")):
        if options:
            raise StudyError("--option: a study file has its suite's options")
        return suite_of(read_study(suite, training=False))
    if suite not in SUITES and suite.count("/") == 1 and not Path(suite).exists():
        return open_suite("hub", hub=suite, **options)
    return open_suite(suite, **options)


@suites_app.command(
    epilog="Example: `transferscope suites show glimpse --task Jigsaw --n 8 --out sheet.png`"
)
def show(
    suite: SuiteName,
    task: Annotated[
        str | None, typer.Option(help="One task; the suite's defaults if omitted.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Which items.")] = "eval",
    n: Annotated[int, typer.Option("--n", help="Items of each task.")] = 4,
    option: SuiteOptions = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file.")] = Path("sheet.png"),
) -> None:
    """Draw a contact sheet: items with questions, choices and right answers, as one PNG."""
    from transferscope.store import atomic
    from transferscope.suites.contact_sheet import contact_sheet

    if n < 1:
        raise StudyError(f"--n must be at least 1, but is {n}")
    opened = _opened(suite, option)
    names = opened.defaults if task is None else [task]
    with status("drawing"):
        items = [item for name in names for item in opened.items(name, split)[:n]]
        atomic.write_whole(out, contact_sheet(items, columns=min(n, 4)))
    print(f"{len(items)} items in {out}")
    for note in opened.notes:
        print(note, file=sys.stderr)


@suites_app.command(epilog="Example: `transferscope suites check mine/`")
def check(suite: SuiteName, option: SuiteOptions = None, as_json: AsJson = False) -> None:
    """Read every row, and list what is wrong with it; exit code 1 if anything is.

    Also counts items and options, and shows how often each letter is right; finds items that
    repeat others, and training items that repeat evaluation items.
    """
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from transferscope.suites.check import SuiteCheck

    with status("opening"):
        found = SuiteCheck(_opened(suite, option))
    for task, split in found.parts():
        with status(f"reading {shown(task)}, {split}"):
            found.read(task, split)
    with status("comparing the splits"):
        found.compare()
    if as_json:
        print(json.dumps(found.record()))
    else:
        heads = (
            Column("task", overflow="fold"),
            "split",
            "items",
            "wrong",
            "options",
            "right",
            "p",
        )
        table = Table(*heads, box=None, header_style="bold", pad_edge=False)
        for one in found.splits:
            options = ", ".join(f"{n} x {k or 'open'}" for k, n in one.options.items())
            right = " ".join(f"{letter} {n}" for letter, n in one.right.items())
            p = "" if one.uneven is None else f"{one.uneven:.2g}"
            cells = (one.task, one.split, f"{one.items}", f"{one.wrong}", options, right, p)
            table.add_row(*map(Text, cells))
        Console().print(table)
        print("p: each letter is right equally often; below 0.01, letters give answers away")
        print("\n".join(map(for_terminal, found.wrong[:MOST])), end="\n" * bool(found.wrong))
        if more := found.wrong[MOST:]:
            print(f"and {len(more)} more; --json has all")
        for note in found.suite.notes:
            print(note, file=sys.stderr)
    raise typer.Exit(bool(found.wrong))
