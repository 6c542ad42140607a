"""A results folder at an address, such as `s3://bucket/study`: read, written and claimed.

fsspec reaches it, whatever it is: an object store, a web folder, another machine. Names there are a
results folder's own; what else lies there, and what begins with a dot, is left alone.

In:   an address.
Out:  names with what tells their versions apart; files fetched and sent.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transferscope.errors import DataError, MissingExtra, StudyError

CLAIM, VOUCHED = ".claim.json", ".vouched.json"

BEAT = 20.0
"""Seconds between two signs of life of a claim."""
PATIENCE = 4 * BEAT
"""Seconds without one after which a claim is taken over."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://")
_NAME = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
_BATCH = 32
"""Files that are under way at once, where the store allows it."""


def is_address(place: str) -> bool:
    """Whether a place is an address, and not a path."""
    return _ADDRESS.match(place) is not None


class Claim(NamedTuple):
    """Who works on what is at an address."""

    holder: str
    """Of the folder that is worked in: whoever has that folder's lock may have the claim."""
    host: str
    process: int
    beat: int = 0
    """Grows as long as the holder lives."""


class Away:
    """The folder at an address.

    Raises:
        MissingExtra: what reaches such addresses is not installed.
        StudyError: it is no address that anything reaches, or its bucket is not there.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        protocol = address.partition("://")[0]
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError:
            raise MissingExtra(
                f"{address}: an address needs fsspec; install the extra: "
                "pip install 'transferscope[remote]'"
            ) from None
        try:
            self._files, root = url_to_fs(self.address)
        except ImportError as error:
            raise MissingExtra(f"{address}: {error}") from None
        except ValueError:
            raise StudyError(
                f"{address}: nothing reaches {protocol}:// addresses; expected one of fsspec's, "
                "such as s3:// or gs://"
            ) from None
        self._root = root.rstrip("/")
        bucket = self._root.partition("/")[0]
        with self._reached():
            there = not bucket or self._files.exists(bucket)
        if not there:
            raise StudyError(f"{address}: there is no {bucket!r}, or you may not see it")

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (DataError, StudyError):
            raise
        except Exception as error:  # every store has its own
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(f"{self.address}: cannot be reached: {said}") from None

    def names(self) -> dict[str, str]:
        """Every file's version by its name, the folder itself left out."""
        with self._reached():
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        versions = {}
        for path, info in found.items():
            name = path.removeprefix(self._root).lstrip("/")
            if _NAME.fullmatch(name):
                versions[name] = _version(info)
        return versions

    def fetch(self, names: Sequence[str], folder: Path, tell: Callable[[int], None]) -> None:
        """Bring files into a folder, under the same names.

        Args:
            tell: gets the number of those that are there, now and then.
        """
        for start in range(0, len(names), _BATCH):
            tell(start)
            part = names[start : start + _BATCH]
            with self._reached():
                for name in part:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                self._files.get(self._paths(part), [str(folder / name) for name in part])

    def send(self, names: Sequence[str], folder: Path) -> None:
        """Bring files of a folder there, under the same names."""
        for start in range(0, len(names), _BATCH):
            part = names[start : start + _BATCH]
            here, there = [str(folder / name) for name in part], self._paths(part)
            with self._reached():
                try:
                    self._files.put(here, there)
                except FileNotFoundError:  # it has folders, and they come first
                    for path in there:
                        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
                    self._files.put(here, there)

    def remove(self, names: Sequence[str]) -> None:
        """Take files away; one that is not there is no error."""
        with self._reached():
            for path in self._paths(names):
                with contextlib.suppress(FileNotFoundError):
                    self._files.rm_file(path)

    def vouched(self) -> dict[str, str] | None:
        """Versions by name that belong together; None where nobody ever said so."""
        found = self._read(VOUCHED)
        return None if found is None else {name: str(version) for name, version in found.items()}

    def vouch(self, versions: Mapping[str, str]) -> None:
        """Say which versions belong together: those of files that came before, all or none."""
        self._write(VOUCHED, versions)

    def claimed(self) -> Claim | None:
        """Who works there; None: nobody."""
        found = self._read(CLAIM)
        if found is None:
            return None
        try:
            return Claim(*(kind(found[key]) for key, kind in Claim.__annotations__.items()))
        except (KeyError, ValueError, TypeError):
            return Claim("", "an unknown machine", 0)

    def claim(self, ours: Claim, note: Callable[[str], None]) -> None:
        """Claim the folder; a claim without signs of life is taken over.

        Args:
            note: gets a line where that takes a while.

        Raises:
            StudyError: another process works there.
        """
        other = self._first(ours)
        if other is not None and other.holder != ours.holder:
            who = f"a run on {other.host} (process {other.process})"
            note(f"{self.address}: {who} was here; looking whether it still is")
            until = time.monotonic() + PATIENCE
            while (now := self.claimed()) == other and time.monotonic() < until:
                time.sleep(BEAT / 4)
            if now is not None and now != other:
                raise StudyError(
                    f"{self.address}: {who} works there; wait for it, or give another --out"
                )
            if now is not None:
                note(f"{self.address}: no sign of life from it; going on in its place")
        self.beat(ours)

    def _first(self, ours: Claim) -> Claim | None:
        """Another's claim; None: it is ours, made where there was none."""
        for _ in range(2):
            if (other := self.claimed()) is not None:
                return other
            with contextlib.suppress(DataError):  # it exists by now, or the store does not know how
                self._write(CLAIM, ours._asdict(), "create")
                return None
        return None

    def beat(self, ours: Claim) -> None:
        """Write the claim anew."""
        self._write(CLAIM, ours._asdict())

    def _read(self, name: str) -> dict[str, Any] | None:
        """A JSON object; None where there is none, empty where it is damaged."""
        with self._reached():
            try:
                data = self._files.cat_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return None
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, value: Mapping[str, Any], mode: str = "overwrite") -> None:
        path, data = f"{self._root}/{name}", json.dumps(value).encode()
        with self._reached():
            try:
                self._files.pipe_file(path, data, mode=mode)
            except FileNotFoundError:  # it has folders, and they come first
                self._files.makedirs(self._root, exist_ok=True)
                self._files.pipe_file(path, data, mode=mode)

    def free(self) -> None:
        """Give the claim up."""
        self.remove([CLAIM])

    def _paths(self, names: Sequence[str]) -> list[str]:
        return [f"{self._root}/{name}" for name in names]


def _version(info: dict[str, Any]) -> str:
    """What changes when a file does; stores have their own words for it."""
    marks = (info.get(key) for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified"))
    mark = next((str(one) for one in (*marks, info.get("created")) if one), "")
    return f"{info.get('size')} {mark}"
