"""Results folders by path or by address, for the commands that take either."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from transferscope.cli.options import check_folder, status
from transferscope.errors import DataError, TransferscopeError

if TYPE_CHECKING:
    from transferscope.execution.run_state import Event

    OnEvent = Callable[[Event], None]

OutPlace = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Results folder, or an address such as s3://bucket/study; default: the study's name.",
    ),
]
Place = Annotated[
    str, typer.Argument(metavar="DIR", help="A study's results folder, or its address.")
]


class Working(NamedTuple):
    """Where a study is worked on."""

    folder: Path
    address: str
    """Where the folder is copied to; empty: nowhere."""
    watched: Callable[[OnEvent], OnEvent]
    """Wraps a receiver of events, so that each finished shard is sent to the address."""


@contextmanager
def worked_on(out: str) -> Generator[Working]:
    """The folder to work in; it is sent to its address when the block ends."""
    from transferscope.store.remote import is_address, working_copy

    if not is_address(out):
        check_folder(Path(out))
        yield Working(Path(out), "", lambda on_event: on_event)
        return
    with ExitStack() as stack:
        with status(f"fetching from {out}"):
            copy = stack.enter_context(working_copy(out))
        sent = 0

        def watched(on_event: OnEvent) -> OnEvent:
            def send_first(event: Event) -> None:
                nonlocal sent
                if event.cells > sent:  # a shard is finished
                    try:
                        copy.send()
                    except DataError as error:
                        note = f"{error}; the work goes on in {copy.folder}"
                        event = event._replace(note="\n".join(filter(None, (event.note, note))))
                sent = event.cells
                on_event(event)

            return send_first

        yield Working(copy.folder, out, watched)
        with status(f"sending the rest to {out}"):
            stack.close()


@contextmanager
def read_from(place: str, wanted: Callable[[str], bool] | None = None) -> Generator[Path]:
    """A results folder to read: itself, or a temporary copy of what is at an address.

    Args:
        wanted: whether a file is needed; None: all but adapters' weights are.
    """
    from transferscope.store.remote import fetched, is_address, is_result

    if not is_address(place):
        yield Path(place)
        return
    with ExitStack() as stack:
        with status(f"fetching from {place}"):
            folder = stack.enter_context(fetched(place, wanted or is_result))
        try:
            yield folder
        except TransferscopeError as error:  # the temporary folder's name means nothing to anybody
            raise type(error)(str(error).replace(str(folder), place)) from None
