"""The command itself, to which the other modules add theirs."""

import typer

app = typer.Typer(
    name="transferscope",
    help="See what finetuning a vision-language model on one task does to all the others.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
