"""A results folder at an address such as `s3://bucket/study`: copied here, and copied back.

The work goes on in a folder of this machine. What is new at the address is fetched before a run,
and what is new here is sent after each shard. The index is sent last, so that at the address too a
shard's files count all or none. One process at a time may use an address; nothing enforces that.
"""

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from transferscope import store as results
from transferscope.errors import DataError, MissingExtra, StudyError
from transferscope.store import atomic

_NAME = re.compile(r"(\w[\w.-]*/)*\w[\w.-]*", re.ASCII)
"""Names that are copied: nothing hidden, and nothing outside the folder."""
_FEATURES = re.compile(rf"(.*/)?{results.FEATURES}/.*")  # computed as quickly as sent


def is_address(place: str) -> bool:
    """Whether a place is an address, and not a path."""
    return re.match(r"[a-z][a-z0-9+.-]+://", place) is not None


class RemoteCopy:
    """A folder of this machine, and the folder at an address that it is a copy of.

    `known.json` beside the folder lists the files that are equal at both places: name to the
    version there and the state here. So a file that changed at one place is known.

    Raises:
        MissingExtra: fsspec, or its package for such addresses, is not installed.
        StudyError: fsspec knows no such addresses, or the bucket does not exist.
        DataError: the address cannot be reached.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address.rstrip("/"), folder
        self._known = folder.parent / "known.json"
        self._equal: dict[str, Any] = results.read_json(self._known)
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError:
            raise MissingExtra(
                f"{address}: an address needs fsspec; install the extra: "
                "pip install 'transferscope[remote]'"
            ) from None
        try:
            self._remote, root = url_to_fs(self.address)
        except ImportError as error:
            raise MissingExtra(f"{address}: {error}") from None
        except ValueError:
            problem = "must be an address that fsspec knows, such as s3:// or gs://"
            raise StudyError(f"{address}: {problem}") from None
        self._root = root.rstrip("/")
        bucket = self._root.partition("/")[0]
        with self._errors_named():
            exists = not bucket or self._remote.exists(bucket)
        if not exists:
            raise StudyError(f"{address}: {bucket!r} does not exist, or you may not read it")

    def fetch(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Copy here the wanted files that are new at the address, vision features left out."""
        remote, here = self._versions(), self._here()
        changed = (n for n in remote if n not in here or remote[n] != self._equal.get(n, [""])[0])
        new = [name for name in changed if wanted(name) and not _FEATURES.fullmatch(name)]
        for name in new:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        with self._errors_named():
            self._remote.get(self._paths(new), [str(self.folder / name) for name in new])
        self._note_equal(new, remote)

    def send(self) -> None:
        """Copy to the address what is new here, the index last; remove there what is gone here.

        After a `DataError`, the next call sends what is missing.
        """
        here = self._here()
        new = sorted(name for name in here if self._equal.get(name, ["", 0])[1] != here[name])
        gone = self._equal.keys() - here.keys()
        if not new and not gone:
            return
        index = [name for name in new if Path(name).name == results.INDEX]
        for part in ([name for name in new if name not in index], index):
            local, there = [str(self.folder / name) for name in part], self._paths(part)
            with self._errors_named():
                try:
                    self._remote.put(local, there)
                except FileNotFoundError:  # not an object store: folders must be made first
                    for parent in {path.rpartition("/")[0] for path in there}:
                        self._remote.makedirs(parent, exist_ok=True)
                    self._remote.put(local, there)
        with self._errors_named():
            for path in self._paths(sorted(gone)):
                with contextlib.suppress(FileNotFoundError):
                    self._remote.rm_file(path)
        self._note_equal(new, self._versions())

    def _versions(self) -> dict[str, str]:
        """Of each file at the address, a text that changes when the file does."""
        with self._errors_named():
            self._remote.invalidate_cache()
            found = self._remote.find(self._root, detail=True)
        versions = {}
        for path, info in found.items():
            name = path.removeprefix(self._root).lstrip("/")
            if _NAME.fullmatch(name):
                marks = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
                mark = next((str(info[key]) for key in marks if info.get(key)), "")
                versions[name] = f"{info.get('size')} {mark}"
        return versions

    def _here(self) -> dict[str, list[int]]:
        """Size and time of writing of each file of the folder that is sent."""
        names = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*")}
        return {
            name: [path.stat().st_size, path.stat().st_mtime_ns]
            for name, path in names.items()
            if _NAME.fullmatch(name) and not _FEATURES.fullmatch(name) and path.is_file()
        }

    def _note_equal(self, names: Sequence[str], remote: dict[str, str]) -> None:
        here = self._here()
        equal = self._equal | {name: [remote.get(name), here.get(name)] for name in names}
        both = remote.keys() & here.keys()
        self._equal = {name: states for name, states in equal.items() if name in both}
        atomic.write_whole(self._known, results.as_json(self._equal))

    def _paths(self, names: Sequence[str]) -> list[str]:
        return [f"{self._root}/{name}" for name in names]

    @contextlib.contextmanager
    def _errors_named(self) -> Generator[None]:
        try:
            yield
        except Exception as error:  # each file system raises other classes
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(f"{self.address}: cannot be reached: {line}") from None


@contextlib.contextmanager
def working_copy(address: str) -> Generator[RemoteCopy]:
    """A folder of this machine that begins as the address is; the address ends as the folder is.

    Raises:
        StudyError: another process of this machine works there.
        StudyError, MissingExtra, DataError: as `RemoteCopy`; finished files stay on this machine.
    """
    name = results.safe_name(address.rstrip("/").rpartition("/")[2])
    digest = hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:12]
    home = results.cache_folder() / "studies" / f"{name}-{digest}"
    with atomic.locked(home):
        copy = RemoteCopy(address, home / "study")
        copy.fetch()
        try:
            yield copy
        finally:
            try:
                copy.send()
            except DataError as error:
                kept = f"what is finished is in {copy.folder}, and the same command sends it"
                raise DataError(f"{error}; {kept}") from None


@contextlib.contextmanager
def fetched(address: str, wanted: Callable[[str], bool]) -> Generator[Path]:
    """The wanted files at an address, in a temporary folder; errors as for `RemoteCopy`."""
    with tempfile.TemporaryDirectory(prefix="transferscope-") as parent:
        folder = Path(parent, results.safe_name(address.rstrip("/").rpartition("/")[2]))
        folder.mkdir()
        RemoteCopy(address, folder).fetch(wanted)
        yield folder


def is_result(name: str) -> bool:
    """Whether a file is needed to read the results: all but weights are."""
    path = Path(name)
    return results.ADAPTERS not in path.parts or path.name == results.RUN


def is_log(name: str) -> bool:
    """Whether a file records progress."""
    return Path(name).name == results.LOG
