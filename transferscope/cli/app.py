"""The `transferscope` command, to which the other modules add subcommands."""

from importlib.metadata import version
from typing import Any

import typer
from typer.core import TyperCommand


class NamedArguments(TyperCommand):
    """A command whose `--help` shows repeated arguments by name, without `<list[str]>`."""

    def get_params(self, ctx: Any) -> Any:
        found = super().get_params(ctx)
        for each in found:
            if each.nargs == -1:
                vars(each)["display_type_rich"] = lambda ctx: None
        return found


app = typer.Typer(
    name="transferscope",
    help="See what finetuning a vision-language model on one task does to all the others.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"transferscope {version('transferscope')}")
        raise typer.Exit


@app.callback(
    epilog="Example: `transferscope demo --simulated --out demo/`, then open demo/report.html."
)
def _command(
    _: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None: ...
