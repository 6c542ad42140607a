"""Options of several commands, folders they name, and their progress display."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from transferscope.errors import DataError, StudyError

if TYPE_CHECKING:
    from transferscope.analysis import Analysis

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]PATH...",
        help="Tables of predictions, accuracies or PGF (CSV, JSONL, Parquet), study folders, "
        "bundles (ZIP) or mapping files (YAML) of other harnesses' results, smallest model first. "
        "NAME= names a table's model.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Results folder; default: the study's name."),
]
Ceiling = Annotated[
    str,
    typer.Option(
        help="Best reachable accuracy: a fraction, `self` (the diagonal's own accuracy), or a CSV "
        "with columns target, ceiling."
    ),
]
Measure = Annotated[str, typer.Option(help="Measure of change: pgf, relative_gain or raw_gain.")]
IncludeSelf = Annotated[
    bool, typer.Option("--include-self", help="Count a task's effect on itself.")
]
Preset = Annotated[
    Literal["default", "paper"],
    typer.Option(help="`paper`: the paper's tests alone, no intervals or null models."),
]
Keep = Annotated[float, typer.Option(help="Share of each sign's edges kept in the transfer graph.")]
Alpha = Annotated[float, typer.Option(help="Level of tests and intervals.")]
Bootstrap = Annotated[int, typer.Option(help="Bootstrap draws.")]
ItemCorrelation = Annotated[
    float, typer.Option(help="Assumed correlation where only counts of correct answers are known.")
]
Seed = Annotated[int, typer.Option(help="Random seed of the analysis.")]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="Do not write the figures folder.")]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

ExecutorName = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="`local`: this process. `ray`: Ray workers, on the cluster that RAY_ADDRESS names or "
        "on this machine."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, max=10_000, help="Ray workers; default: one for each GPU, or one without GPUs."
    ),
]


def check_folder(out: Path | None) -> None:
    """Refuse an output folder that cannot be written, before any work is done."""
    if out is not None and re.match(r"[a-z][a-z0-9+.-]+:/", str(out)):
        raise StudyError(
            f"--out {out}: must be a folder, got an address; `run` and `demo` take addresses"
        )
    if out is not None and out.exists() and not out.is_dir():
        raise StudyError(f"--out {out}: must be a folder or a new name, got a file")
    if out is not None:
        there = next(place for place in (out, *out.absolute().parents) if place.exists())
        if not os.access(there, os.W_OK):
            raise StudyError(f"--out {out}: no permission to write in {there}")


def analysis_in(place: Path) -> Analysis:
    """The analysis in a results folder, or in a file.

    Raises:
        DataError: it is missing or damaged.
    """
    from transferscope import store as results
    from transferscope.analysis.json_file import from_json

    return from_json(results.read_analysis(folder_at(place)), str(place))


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
