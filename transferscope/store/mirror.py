"""A results folder that is worked on here and kept at an address.

Work goes on in a folder of this machine, which has locks and renames; what is finished there is
sent to the address every few seconds. Tables and adapters that came together are vouched for
together, once all of them are there. What is vouched for is what counts: another machine takes it
from there and goes on.

In:   an address (`away`).
Out:  a folder for as long as the block runs, and its files at the address.
"""

import contextlib
import hashlib
import os
import re
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from transferscope import store as results
from transferscope.errors import DataError, StudyError
from transferscope.store import atomic
from transferscope.store import remote as away
from transferscope.store.remote import Away, Claim

_STUDY = rf"({results.JUDGING}/[^/]+/[^/]+/)?"
_FEATURES = re.compile(f"{_STUDY}{results.FEATURES}/")  # as quickly made as sent
_ADAPTERS = re.compile(f"{_STUDY}{results.ADAPTERS}/")
_TOGETHER = re.compile(
    f"{_STUDY}({results.PREDICTIONS}|{results.CONTROLS}|{results.ASIDE}|{results.ADAPTERS})/"
)


class State(NamedTuple):
    """A file here."""

    size: int
    written: int
    """In nanoseconds."""


class Mirror:
    """A folder here, and what is known of it there."""

    def __init__(self, there: Away, home: Path) -> None:
        self.folder = home / "study"
        self._there, self._home = there, home
        self._claim = Claim(_holder(home), socket.gethostname(), os.getpid())
        known = results.read_json(home / "known.json")
        self._same = {name: (version, State(*state)) for name, (version, state) in known.items()}
        """Files that are the same at both places: their version there, their state here."""
        self._notes: list[str] = []
        self._lost = ""
        """Who goes on in this process's place; empty: nobody."""

    @contextlib.contextmanager
    def kept(
        self, said: Callable[[str], None], fetched: Callable[[int, int], None]
    ) -> Iterator[None]:
        """The folder as it is there; while the block runs and at its end, there as it is here.

        Args:
            said: gets a line where somebody else may be at work there, which takes a while.
            fetched: gets how many files of how many have come.

        Raises:
            StudyError: another process works there, or took over.
            DataError: the address cannot be reached.
        """
        self._there.claim(self._claim, said)
        stop = threading.Event()
        loops = [
            threading.Thread(target=self._repeat, args=(what, stop), daemon=True)
            for what in (self._beat, self.push)
        ]
        loops[0].start()
        try:
            self.pull(fetched)
            loops[1].start()
            yield
        finally:
            stop.set()
            for loop in loops:
                if loop.is_alive():
                    loop.join()
            self._close()

    def news(self) -> list[str]:
        """What is to be said to the user since the last time.

        Raises:
            StudyError: another process took over, so that this one must stop.
        """
        if self._lost:
            raise StudyError(self._lost)
        notes, self._notes = self._notes, []
        return notes

    def _repeat(self, what: Callable[[], None], stop: threading.Event) -> None:
        failed = 0
        while not stop.wait(away.BEAT) and not self._lost:
            try:
                what()
                failed = 0
            except DataError as error:
                failed += 1
                if failed == 2:  # one may be an accident, or a file that moved meanwhile
                    self._notes.append(f"{error}; the work goes on in {self.folder}")

    def _beat(self) -> None:
        """Give a sign of life; find out whether it came too late."""
        other = self._there.claimed()
        if other is not None and other.holder != self._claim.holder:
            self._lost = (
                f"{self._there.address}: a run on {other.host} (process {other.process}) took it "
                "over, since it saw no sign of life of this one for too long"
            )
            return
        self._claim = self._claim._replace(beat=self._claim.beat + 1)
        self._there.beat(self._claim)

    def _close(self) -> None:
        """Send what is left and leave."""
        if self._lost:
            raise StudyError(self._lost)
        try:
            self.push()
        except DataError as error:
            raise DataError(
                f"{error}; what is finished is in {self.folder}, and the same command sends it"
            ) from None
        finally:
            with contextlib.suppress(DataError):
                self._there.free()

    def pull(self, fetched: Callable[[int, int], None]) -> None:
        """Bring here what is new there; what went there goes here."""
        everything, here = self._there.names(), self._here()
        there = counted(everything, vouched := self._there.vouched())
        if vouched is None:  # from here on somebody says so
            self._there.vouch({name: one for name, one in there.items() if _TOGETHER.match(name)})
        new = [
            name
            for name, version in there.items()
            if not _FEATURES.match(name)
            and (name not in here or version != self._same.get(name, ("",))[0])
        ]
        with tempfile.TemporaryDirectory(dir=self._home, prefix="coming-") as coming:
            self._there.fetch(new, Path(coming), lambda count: fetched(count, len(new)))
            for name in new:
                place = self.folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(coming, name), place)
        for name in self._same.keys() - everything.keys():
            if self._same[name][1] == here.get(name):
                (self.folder / name).unlink()
        self._note_same(new, there, self._here())

    def push(self) -> None:
        """Send what is new here; what went here goes there."""
        here = self._here()
        new = {name for name, state in here.items() if self._same.get(name, ("", None))[1] != state}
        gone = self._same.keys() - here.keys()
        if not new and not gone:
            return
        self._there.send(sorted(new), self.folder)
        together, now = {name for name in new | gone if _TOGETHER.match(name)}, self._here()
        if any(now.get(name) != here.get(name) for name in together):
            return  # it changed on the way; the next time
        there = self._there.names()
        if together:
            self._there.vouch(
                {name: there[name] for name in here if _TOGETHER.match(name) and name in there}
            )
        self._there.remove(sorted(gone))
        self._note_same(new, there, here)

    def _here(self) -> dict[str, State]:
        """The files of the folder that are sent."""
        found = {}
        with atomic.MOVING:
            for root, folders, files in os.walk(self.folder):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for path in (Path(root, name) for name in files if not name.startswith(".")):
                    name = path.relative_to(self.folder).as_posix()
                    if not _FEATURES.match(name):
                        with contextlib.suppress(FileNotFoundError):  # it is gone by now
                            stat = path.stat()
                            found[name] = State(stat.st_size, stat.st_mtime_ns)
        return found

    def _note_same(
        self, names: Collection[str], there: Mapping[str, str], here: Mapping[str, State]
    ) -> None:
        """Note that these are the same at both places, and forget what went from one of them."""
        self._same |= {name: (there[name], here[name]) for name in names if name in there}
        self._same = {
            name: one for name, one in self._same.items() if name in there and name in here
        }
        atomic.write_whole(self._home / "known.json", results.as_json(self._same))


@contextlib.contextmanager
def mirrored(
    address: str, said: Callable[[str], None], fetched: Callable[[int, int], None]
) -> Iterator[Mirror]:
    """A folder of this machine that is kept at an address as long as the block runs, and after it.

    Args:
        said, fetched: as `Mirror.kept`.

    Raises:
        StudyError: another process works there, or there is no such place.
        DataError: the address cannot be reached; what is finished stays here.
        MissingExtra: what reaches such addresses is not installed.
    """
    there = Away(address)
    digest = hashlib.sha256(there.address.encode()).hexdigest()[:12]
    last = results.safe_name(there.address.rpartition("/")[2])
    home = results.cache_folder() / "studies" / f"{last}-{digest}"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(atomic.locked(home))
        except StudyError as error:
            raise StudyError(f"{there.address}: {error}") from None
        mirror = Mirror(there, home)
        with mirror.kept(said, fetched):
            yield mirror


@contextlib.contextmanager
def fetched(address: str, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """The files at an address that are wanted, in a folder for as long as the block runs.

    Raises:
        StudyError, MissingExtra: as `mirrored`.
        DataError: it cannot be reached.
    """
    there = Away(address)
    names = counted(there.names(), there.vouched())
    with tempfile.TemporaryDirectory(prefix="transferscope-") as room:
        folder = Path(room, results.safe_name(there.address.rpartition("/")[2]))
        folder.mkdir()
        there.fetch([name for name in names if wanted(name)], folder, lambda _: None)
        yield folder


def counted(names: Mapping[str, str], vouched: Mapping[str, str] | None) -> dict[str, str]:
    """Of the files at an address those that count: tables and adapters if they are vouched for.

    Where nothing ever was, as where somebody put a folder there by hand, all of them count.

    Args:
        names, vouched: versions by name.
    """
    if vouched is None:
        return dict(names)
    return {
        name: version
        for name, version in names.items()
        if not _TOGETHER.match(name) or vouched.get(name) == version
    }


def is_claimed(address: str) -> bool:
    """Whether a run works at an address, or did and had no time to say that it ended."""
    return Away(address).claimed() is not None


def is_result(name: str) -> bool:
    """Whether a file of a results folder is needed to read the results: all but weights are."""
    return not _ADAPTERS.match(name) or name.endswith(f"/{results.RUN}")


def is_log(name: str) -> bool:
    """Whether a file of a results folder says how far the study is."""
    return name.rpartition("/")[2] == results.LOG


def _holder(home: Path) -> str:
    """Who works in this folder, whatever its process: whoever has its lock."""
    path = home / "holder.json"
    if found := results.read_json(path).get("holder"):
        return str(found)
    made = uuid.uuid4().hex
    atomic.write_whole(path, results.as_json({"holder": made}))
    return made
