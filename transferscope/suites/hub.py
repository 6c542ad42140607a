"""Data sets from the Hugging Face Hub, and the base class of benchmarks published there."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.errors import DataError, MissingExtra, StudyError
from transferscope.suites.folder import read_items
from transferscope.tasks import Item, ItemList, Split, Suite
from transferscope.tasks.untrusted import read_parquet

if TYPE_CHECKING:
    import polars as pl


@dataclass(eq=False)
class HubSuite(Suite):
    """A benchmark that the Hub has for evaluation; its training items are a folder's."""

    path: Path | None = None
    """A local snapshot; null downloads what is needed from the Hub."""

    revision: str | None = None
    """A branch, tag or commit on the Hub; null for the newest."""

    training: Path | None = None
    """A folder with TASK/train.jsonl, as `transferscope build` makes it."""

    def __post_init__(self) -> None:
        for option in ("path", "training"):
            folder = getattr(self, option)
            if folder is not None and not folder.is_dir():
                made = "`transferscope build` makes one, task by task"
                remedy = f"must be a snapshot of {self.hub}" if option == "path" else made
                raise StudyError(f"suite.{option}: {folder}: no such folder; {remedy}")

    @property
    def version(self) -> str:
        """The Hub's revision, or that it is a local copy."""
        return "local" if self.path else self.revision or "newest"

    @abstractmethod
    def evaluation_items(self, task: str) -> list[Item]:
        """All items of a task that the benchmark evaluates."""

    def items(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task: the benchmark's for evaluation, the training folder's for training.

        Raises:
            StudyError: there is no such task or split, no training folder, or no Hub.
            DataError: a file is missing or damaged, or a row is not what it must be.
            MissingExtra: a library that reads the items is not installed.
        """
        names = [each.name for each in self.tasks]
        task = self.check(task, split, [*names, *self.sources] if split == "train" else names)
        if split == "eval":
            return ItemList(self.evaluation_items(task), task, split)
        built = next((each.twin for each in self.tasks if each.name == task), None) or task
        builds = f"`transferscope build {built}` writes them" if built in self.sources else ""
        remedy = builds or "write them yourself"
        if self.training is None:
            raise StudyError(
                f"{self.name} has no training items; {remedy} into a folder, "
                f"which the study names: suite: {{name: {self.name}, training: FOLDER}}"
            )
        path = self.training / task / "train.jsonl"
        if not path.is_file():
            raise StudyError(f"{path}: not found, so {task} has no training items; {remedy}")
        return ItemList(read_items(path, task, self.training), task, split)

    def snapshot(self, patterns: Sequence[str]) -> Path:
        """The local copy, or the Hub's snapshot with the files of these patterns.

        Raises:
            StudyError: the Hub cannot be reached, or does not have it.
            MissingExtra: huggingface_hub is not installed.
        """
        if self.path is not None:
            return self.path
        assert self.hub, "a suite of the Hub names its data set"
        try:
            from huggingface_hub import snapshot_download
            from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
        except ModuleNotFoundError:
            raise MissingExtra(
                "downloading from the Hub needs huggingface_hub; install the extra: "
                "pip install 'transferscope[train]'; or give a local copy as path"
            ) from None
        at = self.revision
        try:
            found = snapshot_download(
                self.hub, repo_type="dataset", revision=at, allow_patterns=list(patterns)
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StudyError(
                f"{self.hub}{f' at {at}' if at else ''}: could not be downloaded from "
                f"the Hub: {line}; or give a local copy as path"
            ) from None
        folder = Path(found)
        if re.fullmatch(r"[0-9a-f]{40}", folder.name):  # all files from one commit
            self.revision = folder.name
        return folder


def parquet(path: Path, columns: Sequence[str] | None = None) -> "pl.DataFrame":
    """A Parquet file's columns of these names, as far as it has them; None: all columns.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return read_parquet(path, columns)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def cached(repository: str, revision: str | None) -> Path | None:
    """The folder of a snapshot downloaded before; None if it is missing. Contacts no server."""
    try:
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                repository, repo_type="dataset", revision=revision, local_files_only=True
            )
        )
    except (ModuleNotFoundError, OSError, ValueError):  # the Hub's errors are of these classes
        return None
