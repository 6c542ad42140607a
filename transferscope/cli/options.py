"""Options of several commands, folders they name, and their progress display."""

import os
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Literal

import typer

from transferscope.errors import DataError, StudyError

Figures = Annotated[bool, typer.Option("--figures", help="Also write the figures, see `figures`.")]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
NoImages = Annotated[
    bool,
    typer.Option("--no-images", help="Leave the items' images out of the page; keep the texts."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

ExecutorName = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="`local`: this machine. `ray`: Ray workers, on the cluster that RAY_ADDRESS names or "
        "on this machine."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=10_000,
        help="Processes; default: one for each GPU with `ray`; on a CPU with `local` one per core "
        "where bases are small, else one.",
    ),
]


def check_folder(out: Path | None) -> None:
    """Refuse an output folder that cannot be written, before any work is done."""
    if out is None:
        return
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(out)):
        raise StudyError(
            f"--out {out}: must be a folder, got an address; `run` and `demo` take addresses"
        )
    if out.exists() and not out.is_dir():
        raise StudyError(f"--out {out}: must be a folder or a new name, got a file")
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK):
        raise StudyError(f"--out {out}: no permission to write in {there}")


def folder_at(place: Path) -> Path:
    """The results folder at a path, which may be that of its analysis file.

    Raises:
        DataError: the path is another file.
    """
    from transferscope import store as results

    folder = place.parent if place.name == results.ANALYSIS else place
    if folder.is_file():
        raise DataError(
            f"{place}: must be a results folder or its {results.ANALYSIS}; "
            "`transferscope analyze` makes one from tables"
        )
    return folder


def status(doing: str) -> AbstractContextManager[object]:
    """A spinner on standard error, if that is a terminal."""
    from rich.console import Console

    return Console(stderr=True).status(f"{doing} ...")
