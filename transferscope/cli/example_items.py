"""Example items for the page: from the inputs of an analysis to the record of `exhibits.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferscope.cli.options import status
from transferscope.errors import TransferscopeError

if TYPE_CHECKING:
    from transferscope.matrix.examples import ExampleInput, Exhibits
    from transferscope.readers import ReadInput


def exhibits_of(read: Sequence[ReadInput], *, pictures: bool) -> Exhibits | None:
    """The example items; None where no input has items."""
    from transferscope.matrix.examples import choose_examples

    inputs = [_input(one) for one in read if one.table.kind == "predictions"]
    if not inputs:
        return None
    with status("choosing example items"):
        return choose_examples(inputs, images=pictures)


def _input(read: ReadInput) -> ExampleInput:
    """An input's replies, with the suite they come from if this machine has it."""
    from transferscope.matrix.examples import ExampleInput
    from transferscope.study.file import local_suite

    given = ExampleInput(read.table.rows, read.controls)
    if read.study is None:
        why = f"{read.file}: no questions and images, because it has no study file"
        return given._replace(why_not=why)
    try:
        where, own = f"{read.file}: study.yaml", not read.bundled
        return given._replace(suite=local_suite(read.study, where, folders=own))
    except TransferscopeError as error:
        return given._replace(why_not=f"{read.file}: no questions and images: {error}")
