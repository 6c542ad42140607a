"""The items that the page shows: from the inputs of an analysis to `exhibits.json`'s record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from transferscope.cli.options import status
from transferscope.errors import TransferscopeError

if TYPE_CHECKING:
    from transferscope.matrix.example_record import Exhibits
    from transferscope.matrix.examples import Shelf
    from transferscope.readers import ReadInput

NoPictures = Annotated[
    bool,
    typer.Option("--no-pictures", help="Leave the items' pictures out of the page (texts stay)."),
]


def exhibits_of(read: Sequence[ReadInput], *, pictures: bool) -> Exhibits | None:
    """The items to look at; None where no input knows items."""
    from transferscope.matrix.examples import curate

    shelves = [_shelf(one) for one in read if one.table.kind == "predictions"]
    if not shelves:
        return None
    with status("choosing items to show"):
        return curate(shelves, pictures=pictures)


def _shelf(read: ReadInput) -> Shelf:
    """An input's answers, and the suite where they are from if it is on this machine."""
    from transferscope.matrix.examples import Shelf
    from transferscope.study.file import suite_at_hand

    shelf = Shelf(read.table.rows, read.controls)
    if read.study is None:
        return shelf._replace(why_not=f"{read.file}: no study file, so no questions, no pictures")
    try:
        where, own = f"{read.file}: study.yaml", not read.bundled
        return shelf._replace(suite=suite_at_hand(read.study, where, folders=own))
    except TransferscopeError as error:
        return shelf._replace(why_not=f"{read.file}: no questions and no pictures: {error}")
