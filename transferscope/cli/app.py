"""The command itself, to which the other modules add theirs."""

from importlib.metadata import version

import typer

app = typer.Typer(
    name="transferscope",
    help="See what finetuning a vision-language model on one task does to all the others.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"transferscope {version('transferscope')}")
        raise typer.Exit


@app.callback()
def _command(
    _: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None: ...
