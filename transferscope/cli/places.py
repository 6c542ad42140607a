"""Results folders by path or by address, as the commands that take either see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from transferscope.cli.options import check_folder, status
from transferscope.errors import TransferscopeError

if TYPE_CHECKING:
    from transferscope.execution.run_state import Event

    Tell = Callable[[Event], None]

OutPlace = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Results folder, or an address such as s3://bucket/study; the study's name if left "
        "out.",
    ),
]
Place = Annotated[
    str, typer.Argument(metavar="DIR", help="A study's results folder, or its address.")
]


class Working(NamedTuple):
    """Where a study is worked on."""

    folder: Path
    address: str
    """Where it is kept; empty: in the folder."""
    watched: Callable[[Tell], Tell]
    """Adds to what is told: what becomes of the address."""


@contextmanager
def worked_on(out: str) -> Iterator[Working]:
    """The folder to work in; at an address there is what is in it, when the block has ended."""
    from transferscope.store.remote import is_address

    if not is_address(out):
        check_folder(Path(out))
        yield Working(Path(out), "", lambda tell: tell)
        return
    from rich.console import Console

    from transferscope.store.mirror import mirrored

    console = Console(stderr=True, highlight=False)

    def said(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    with ExitStack() as stack:
        with console.status(f"looking at {out} ...") as waiting:

            def fetched(count: int, of: int) -> None:
                waiting.update(f"fetching {count} of {of} files from {out}")

            mirror = stack.enter_context(mirrored(out, said, fetched))

        def watched(tell: Tell) -> Tell:
            return lambda event: tell(event._replace(note=_joined(event.note, *mirror.news())))

        yield Working(mirror.folder, out, watched)
        with console.status(f"sending the rest to {out} ..."):
            stack.close()


def _joined(*notes: str) -> str:
    return "\n".join(note for note in notes if note)


@contextmanager
def read_from(place: str, wanted: Callable[[str], bool] | None = None) -> Iterator[Path]:
    """A results folder to read: itself, or what is fetched from an address for a while.

    Args:
        wanted: what of it is needed; all but adapters' weights if left out.
    """
    from transferscope.store.remote import is_address

    if not is_address(place):
        yield Path(place)
        return
    from transferscope.store.mirror import fetched, is_result

    with ExitStack() as stack:
        with status(f"fetching from {place}"):
            folder = stack.enter_context(fetched(place, wanted or is_result))
        try:
            yield folder
        except TransferscopeError as error:  # which names a folder that nobody knows
            raise type(error)(str(error).replace(str(folder), place)) from None


def held(place: str) -> bool | None:
    """Whether a run has the claim of an address; None for a folder, whose lock says so."""
    from transferscope.store.mirror import is_claimed
    from transferscope.store.remote import is_address

    return is_claimed(place) if is_address(place) else None
